//! `genera serve`: models as a service, with a page to try them.

use super::Common;
use crate::failure::{Failure, Outcome, While};
use crate::hub;
use crate::machine;
use crate::model::{LoadedModel, Precision, load};
use crate::plan;
use genera_server::{Model, Settings};
use genera_tensor::Device;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Serve models over HTTP: the OpenAI interface, for several users at once, and a web page at /.
///
/// Programs for the OpenAI interface work when they are told the address, such as http://127.0.0.1:8080/v1. The server
/// listens on this machine alone unless --host says otherwise, and then asks for a key. Ctrl-C or SIGTERM ends it: nothing
/// new is taken in, and open answers have --drain-seconds to end.
///
///   POST /v1/chat/completions   answers in a conversation (stream, tools, JSON of a schema, logprobs, …)
///   POST /v1/completions        goes on with a text
///   POST /v1/responses          answers as items
///   POST /v1/messages           the same by the interface of Anthropic
///   POST /v1/generate           whatever the model makes: texts, translations, rows of a table
///   POST /v1/embeddings         texts as vectors
///   GET  /v1/models             the models and their names
///   GET  /                      the page: talk with a model, let it make things, watch a training, look inside
///   GET  /openapi.json          the interface in full (docs/reference/api.md)
///   GET  /metrics               numbers for Prometheus
///   GET  /health/live, /health/ready
///
/// Examples:
///   genera serve --model hf:HuggingFaceTB/SmolLM2-135M-Instruct
///   genera serve --model small=model.gguf --model stories=runs/stories --port 9000
///   curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \
///     -d '{"messages": [{"role": "user", "content": "Hello!"}]}'
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// A model, perhaps with the name that clients call it: a run directory, one of its checkpoints, a directory in the
    /// Hugging Face layout, a GGUF file, or a pulled hf:ORG/NAME. May be given several times; the first answers those who
    /// name none.
    #[arg(long = "model", value_name = "[NAME=]MODEL", required = true)]
    models: Vec<String>,
    /// An adapter in PEFT's layout for the model (LoRA), or the run that made it.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// What products are computed with.
    #[arg(long, value_name = "PRECISION", value_enum, default_value_t)]
    precision: Precision,
    /// A file with a chat template (Jinja, as in chat_template.jinja) for the model, in place of its own if it has one.
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// The address to listen at; 0.0.0.0 is all of this machine's, which needs --api-key-file.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// The port to listen at; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// A file with a key on each line, at least 16 characters; clients then send one as `Authorization: Bearer KEY`. A
    /// browser asks for it as a password.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Answers of each model in progress at once; others wait.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    max_concurrent: u16,
    /// Answers that may wait for each model; further ones are refused with 429.
    #[arg(long, value_name = "N", default_value_t = 2048)]
    max_waiting: u16,
    /// Memory for the keys and values of each model: of answers in progress, and of beginnings that prompts have in common
    /// [default: a quarter of the free memory, shared by the models].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    cache_memory: Option<u64>,
    /// Tokens of a prompt and its answer together at most [default: the model's context].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    context: Option<u32>,
    /// Seconds that open answers have to end after the signal to stop.
    #[arg(long, value_name = "S", default_value_t = 30)]
    drain_seconds: u16,
    /// A name by which browsers may reach this server, besides localhost and plain addresses; may be given several times.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Another origin whose pages may use this server, such as `https://example.com`; may be given several times.
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// The directory whose runs the page shows; `genera train` makes runs in runs/.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Print method, path, status and time of each request. What clients send is never printed.
    #[arg(long)]
    log_requests: bool,
}

pub fn run(arguments: &Arguments, common: Common) -> Outcome {
    let settings = settings(arguments)?;
    let names = names(&arguments.models)?;
    for (option, file) in [("--chat-template", &arguments.chat_template), ("--adapter", &arguments.adapter)] {
        if file.is_some() && names.len() > 1 {
            return Err(Failure::new(format!(
                "{option} is for a single --model; serve the others apart, or leave it out"
            )));
        }
    }
    // A port that is in use is found out before minutes are spent on loading.
    let listener = genera_server::bind(&settings)?;
    plan::serving::check(&names, settings.cache_bytes)?;
    quiet_panics();
    let device = machine::device(common.threads);
    let load = |(name, path): &(String, PathBuf)| {
        eprintln!("genera: loading {name} from {}", path.display());
        served(name, path, arguments, &device)
    };
    let models = names.iter().map(load).collect::<Outcome<Vec<Model>>>()?;
    let is_json = common.json;
    let shown: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    genera_server::serve(listener, models, settings, |address| announce(address, &shown, is_json))?;
    eprintln!("genera: stopped");
    Ok(ExitCode::SUCCESS)
}

fn announce(address: SocketAddr, models: &[String], is_json: bool) {
    if is_json {
        println!("{}", serde_json::json!({ "address": format!("http://{address}"), "models": models }));
    } else {
        println!("serving {} at http://{address} (Ctrl-C ends it)", models.join(", "));
    }
}

fn settings(arguments: &Arguments) -> Outcome<Settings> {
    let keys = match &arguments.api_key_file {
        Some(path) => keys(path)?,
        None => Vec::new(),
    };
    Ok(Settings {
        keys,
        n_running: arguments.max_concurrent.into(),
        n_waiting: arguments.max_waiting.into(),
        cache_bytes: cache_bytes(arguments),
        context_len: arguments.context.map(|n| n as usize),
        drain: Duration::from_secs(arguments.drain_seconds.into()),
        allowed_hosts: arguments.allow_host.clone(),
        allowed_origins: arguments.allow_origin.clone(),
        runs: Some(arguments.runs.clone()),
        logs_requests: arguments.log_requests,
        ..Settings::new(address(&arguments.host, arguments.port)?)
    })
}

fn cache_bytes(arguments: &Arguments) -> usize {
    /// Where the system does not say how much is free.
    const UNKNOWN: usize = 4 << 30;
    let n_models = arguments.models.len();
    let default = || machine::available_bytes().unwrap_or(UNKNOWN) / 4 / n_models;
    arguments.cache_memory.map_or_else(default, |mib| (mib as usize).saturating_mul(1 << 20))
}

fn address(host: &str, port: u16) -> Outcome<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let mut found = (host, port).to_socket_addrs().during(format!("--host {host}"))?;
    found.next().ok_or_else(|| Failure::new(format!("--host {host} has no address; give one such as 127.0.0.1")))
}

fn keys(path: &Path) -> Outcome<Vec<String>> {
    let text = std::fs::read_to_string(path).during(format!("cannot read the keys in {}", path.display()))?;
    let keys: Vec<String> = text.lines().map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    if keys.is_empty() {
        return Err(Failure::new(format!("{} holds no key; write one on a line", path.display())));
    }
    Ok(keys)
}

/// The models with their names; one without a name goes by that of its file or directory.
fn names(models: &[String]) -> Outcome<Vec<(String, PathBuf)>> {
    let mut named: Vec<(String, PathBuf)> = Vec::new();
    for model in models {
        let (name, path) = match model.split_once('=') {
            Some((name, path)) if !name.is_empty() && !Path::new(model).exists() => (name.to_owned(), path),
            _ => (name_of(model), model.as_str()),
        };
        if named.iter().any(|(known, _)| *known == name) {
            return Err(Failure::new(format!(
                "two models are called {name}; give one another name: --model NAME={path}"
            )));
        }
        named.push((name, PathBuf::from(path)));
    }
    Ok(named)
}

fn name_of(model: &str) -> String {
    if let Some(name) = model.strip_prefix("hf:") {
        return name.to_owned();
    }
    let path = Path::new(model);
    let is_file = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    let name = if is_file { path.file_stem() } else { path.file_name() };
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn served(name: &str, path: &Path, arguments: &Arguments, device: &Device) -> Outcome<Model> {
    let mut model = load(path, arguments.adapter.as_deref(), arguments.precision.purpose(), device)?;
    model.take_template(arguments.chat_template.as_deref())?;
    model.codebook()?;
    model.note_of_ignored();
    let (about, is_published) = (about(&model, path), model.is_published());
    let LoadedModel { mut transformer, codebook, modality, special, defaults, published, .. } = model;
    let codebook = codebook.ok_or_else(|| Failure::new(format!("{} has no tokenizer", path.display())))?;
    transformer.params_mut().pack();
    let changed =
        std::fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or_else(|_| SystemTime::now());
    let created = changed.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let (name, rules) = (name.to_owned(), published.rules);
    Ok(Model { name, transformer, codebook, modality, special, is_published, defaults, rules, created, about })
}

/// What is known of where a model comes from.
fn about(model: &LoadedModel, path: &Path) -> Vec<(String, String)> {
    let mut about = vec![("kind of data".to_owned(), model.modality.name().to_owned())];
    if let Some(step) = model.step {
        about.push(("trained for".to_owned(), format!("{step} steps")));
    }
    let files = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    about.push(("files".to_owned(), files));
    if let Some(recipe) = &model.recipe {
        about.push(("data".to_owned(), recipe.data.kind.clone()));
    }
    about.push(("licence".to_owned(), licence(path).unwrap_or_else(|| "unknown".to_owned())));
    about
}

/// What the card of a model says of its licence, where it has one.
fn licence(path: &Path) -> Option<String> {
    /// The head of a card is short.
    const HEAD_BYTES: u64 = 64 << 10;
    let path = hub::locate(path).ok()?;
    let directory = if path.is_file() { path.parent()? } else { &*path };
    let cards = [directory.join("README.md"), directory.join("model/README.md")];
    let card = cards.iter().find_map(|card| File::open(card).ok())?;
    let mut text = String::new();
    card.take(HEAD_BYTES).read_to_string(&mut text).ok()?;
    let head = text.strip_prefix("---")?.split("\n---").next()?;
    let licence = head.lines().find_map(|line| line.strip_prefix("license:"))?;
    Some(licence.trim().trim_matches('"').chars().take(80).collect())
}

/// A panic's message may quote what somebody wrote; where it happened says enough.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
        eprintln!("genera: a request failed{place}; the others go on");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_names() {
        let check = |model: &str, name: &str, path: &str| {
            let named = names(&[model.to_owned()]).unwrap();
            assert_eq!(named, [(name.to_owned(), PathBuf::from(path))]);
        };
        check("runs/stories", "stories", "runs/stories");
        check("runs/stories/", "stories", "runs/stories/");
        check("a/b.q8.gguf", "b.q8", "a/b.q8.gguf");
        check("hf:org/name", "org/name", "hf:org/name");
        check("small=a/b.gguf", "small", "a/b.gguf");
        assert!(names(&["a=x".to_owned(), "a=y".to_owned()]).is_err());
    }

    #[test]
    fn a_licence_is_read_from_the_head_of_a_card() {
        let directory = tempfile::tempdir().unwrap();
        let check = |card: &str, expect: Option<&str>| {
            std::fs::write(directory.path().join("README.md"), card).unwrap();
            assert_eq!(licence(directory.path()).as_deref(), expect, "{card}");
        };
        check("---\nlibrary_name: x\nlicense: \"apache-2.0\"\n---\n# A model\nlicense: none\n", Some("apache-2.0"));
        check("# A model\nlicense: none\n", None);
        check("---\n---\n", None);
        std::fs::remove_file(directory.path().join("README.md")).unwrap();
        assert_eq!(licence(directory.path()), None);
    }
}
