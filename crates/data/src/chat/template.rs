//! The chat template of a model: a Jinja program that writes a conversation as the text that the model was trained on.
//!
//! Templates come with downloaded models, so they are bounded: they see nothing but the messages, every instruction, byte
//! and item that they handle costs fuel, of which there is a fixed amount, and there is a deadline. While one runs on behind
//! its deadline, no other is rendered.

use super::ChatMessage;
use super::functions::{self, Refusal};
use super::program;
use super::renderers::{ENDLESS, RENDERERS};
use crate::tokenize::{name_of, role_of};
use crate::{Error, Result, Tokenizer};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, ErrorKind, State, Value, context};
use serde_json::{Map, Value as Json};
use std::error::Error as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest template that is read; published ones have some kilobytes.
const MAX_SOURCE_BYTES: usize = 1 << 20;
/// What a template may spend: one unit is an instruction, or 64 bytes of text. Enough for a thousand turns, and gone in
/// a tenth of a second.
const BASE_FUEL: u64 = 400_000;
/// Bytes of messages that pay for one unit more.
const BYTES_PER_FUEL: usize = 4;
/// Calls of macros and includes within each other.
const MAX_DEPTH: usize = 64;
/// Special tokens that a template can write besides those that open and close a text.
const FURTHER_ROLES: [&str; 5] = ["unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// The list of those without a role.
const MORE_TOKENS: &str = "additional_special_tokens";
/// Those with a role that other models do not have.
const OWN_TOKENS: &str = "extra_special_tokens";
/// Midnight of 26 July 2024: the day that templates of Llama 3 name when they do not know the date.
const FIXED_DAY: Duration = Duration::from_secs(1_721_952_000);

/// Writes conversations as text.
#[derive(Debug)]
pub struct ChatTemplate {
    source: Arc<str>,
    /// Where it was read from, if not with a model.
    file: Option<PathBuf>,
    begin: Option<String>,
    end: Option<String>,
    /// Its further special tokens by their names in `tokenizer_config.json`.
    further: Map<String, Json>,
    compiled: Arc<OnceLock<Result<Compiled, String>>>,
}

impl ChatTemplate {
    /// A template with the names of the tokens that open and close a text. What is wrong with it is said when it is used
    /// first, so that a model with a broken template can still go on with a text.
    pub fn new(source: impl Into<Arc<str>>, begin: Option<String>, end: Option<String>) -> Self {
        Self { source: source.into(), file: None, begin, end, further: Map::new(), compiled: Arc::default() }
    }

    /// The template in a `tokenizer_config.json`: a text, or the one named "default" of several.
    pub(crate) fn of_config(config: &Json) -> Option<Self> {
        let source = match &config["chat_template"] {
            Json::String(source) => source.clone(),
            Json::Array(named) => {
                let default = named.iter().find(|template| template["name"] == "default").or(named.first())?;
                default["template"].as_str()?.to_owned()
            }
            _ => return None,
        };
        Some(Self::with_tokens_of(source, config))
    }

    /// The template of a model's directory: `chat_template.jinja`, or else the one in its `tokenizer_config.json`.
    ///
    /// # Errors
    /// When the first is there but cannot be read.
    pub(crate) fn load(directory: &Path, config: &Json) -> Result<Option<Self>> {
        let alone = crate::tokenize::read_if_there(&directory.join("chat_template.jinja"))?;
        Ok(alone.map_or_else(|| Self::of_config(config), |source| Some(Self::with_tokens_of(source, config))))
    }

    /// The template in a file of its own, for the model of a tokenizer: its special tokens are those of the tokenizer, or of the
    /// template that it had.
    ///
    /// # Errors
    /// When the file cannot be read, is no text, or is too long for a template.
    pub fn read(path: &Path, tokenizer: &dyn Tokenizer) -> Result<Self> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_SOURCE_BYTES as u64 + 1).read_to_end(&mut bytes));
        read.map_err(|source| Error::io(path, "read", source))?;
        if bytes.len() > MAX_SOURCE_BYTES {
            let problem = format!("is too long: a chat template has at most {MAX_SOURCE_BYTES} bytes");
            return Err(Error::bad_file(path, problem));
        }
        let source =
            String::from_utf8(bytes).map_err(|_| Error::bad_file(path, "is no text, and so no chat template"))?;
        // Some editors mark their files with one.
        let source = source.strip_prefix('\u{feff}').map_or(source.clone(), str::to_owned);
        let (special, before) = (tokenizer.special_tokens(), tokenizer.chat_template());
        let begin = special.begin.clone().or(before.and_then(|template| template.begin.clone()));
        let end = special.end.clone().or(before.and_then(|template| template.end.clone()));
        let mut further = before.map(|template| template.further.clone()).unwrap_or_default();
        for (role, name) in [("unk_token", &special.unknown), ("pad_token", &special.padding)] {
            further.extend(name.as_ref().map(|name| (role.to_owned(), Json::from(name.as_str()))));
        }
        let template = Self { file: Some(path.to_owned()), further, ..Self::new(source, begin, end) };
        template.check()?;
        Ok(template)
    }

    /// Refuses a template that cannot write a message, or leaves it out.
    fn check(&self) -> Result<()> {
        const MARK: &str = "a message of whoever asks";
        let message = |role: &str| ChatMessage::new(role, MARK);
        // Some want to be told how to answer before they hear anything else.
        let user = self.render(&[message("user")], true);
        let both = || self.render(&[message("system"), message("user")], true);
        let written = user.or_else(|error| both().map_err(|_| error))?;
        if written.contains(MARK) {
            Ok(())
        } else {
            Err(self.named(problem("it leaves out what the user says, so no model would hear it".to_owned())))
        }
    }

    /// An error of its own with its file.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Template { problem, .. } => Error::Template { file: self.file.clone(), problem },
            other => other,
        }
    }

    fn with_tokens_of(source: String, config: &Json) -> Self {
        let mut further = Map::new();
        for role in FURTHER_ROLES {
            further.extend(role_of(config, role).map(|name| (role.to_owned(), Json::from(name))));
        }
        for (role, token) in config[OWN_TOKENS].as_object().into_iter().flatten() {
            further.extend(name_of(token).map(|name| (role.clone(), Json::from(name))));
        }
        if let Some(more) = config[MORE_TOKENS].as_array() {
            further.insert(MORE_TOKENS.to_owned(), more.iter().filter_map(name_of).collect());
        }
        let [begin, end] = ["bos_token", "eos_token"].map(|role| role_of(config, role).map(str::to_owned));
        Self { further, ..Self::new(source, begin, end) }
    }

    /// What a `tokenizer_config.json` says of its special tokens besides those that open and close a text.
    pub(crate) fn further_tokens(&self) -> Map<String, Json> {
        let is_usual = |role: &str| role == MORE_TOKENS || FURTHER_ROLES.contains(&role);
        let all = self.further.iter().map(|(role, token)| (role.clone(), token.clone()));
        let (mut usual, own): (Map<_, _>, Map<_, _>) = all.partition(|(role, _)| is_usual(role));
        if !own.is_empty() {
            usual.insert(OWN_TOKENS.to_owned(), Json::Object(own));
        }
        usual
    }

    /// Its source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The name of the token that opens a text, as `bos_token` in the template.
    pub fn begin(&self) -> Option<&str> {
        self.begin.as_deref()
    }

    /// The name of the token that closes a text, as `eos_token` in the template.
    pub fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }

    /// The conversation as text; with `add_generation_prompt` it ends where the assistant's answer begins.
    ///
    /// # Errors
    /// [`Error::Template`]: what is not Jinja, with its line; the template's own words when it refuses the messages; and
    /// when it goes on for ever or writes too much.
    pub fn render(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String> {
        self.render_at(messages, &[], add_generation_prompt, SystemTime::now())
    }

    /// As [`render`](Self::render), up to where the answer begins, with tools that the assistant may call: functions as the
    /// OpenAI interface describes them.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_with_tools(&self, messages: &[ChatMessage], tools: &[Json]) -> Result<String> {
        self.render_at(messages, tools, true, SystemTime::now())
    }

    /// Whether a template, this or another, still runs although its deadline has passed.
    pub fn is_any_overdue() -> bool {
        RENDERERS.overdue().is_some()
    }

    /// Whether it writes tools at all.
    pub fn knows_tools(&self) -> bool {
        self.source.contains("tools")
    }

    /// As [`render`](Self::render), on a day that never changes, for templates that write the date: what is trained on
    /// does not depend on when it was prepared.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_dateless(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String> {
        self.render_at(messages, &[], add_generation_prompt, UNIX_EPOCH + FIXED_DAY)
    }

    fn render_at(
        &self,
        messages: &[ChatMessage],
        tools: &[Json],
        add_generation_prompt: bool,
        now: SystemTime,
    ) -> Result<String> {
        let n_bytes = messages.iter().map(n_bytes_of).sum::<usize>() + tools.iter().map(n_json_bytes).sum::<usize>();
        let fuel = BASE_FUEL + (n_bytes / BYTES_PER_FUEL) as u64;
        let context = context! {
            messages => messages.iter().map(seen_by_template).collect::<Vec<Value>>(),
            add_generation_prompt,
            bos_token => self.begin.as_deref().unwrap_or_default(),
            eos_token => self.end.as_deref().unwrap_or_default(),
            // The Hugging Face library defines them always: templates ask whether they are none.
            tools => (!tools.is_empty()).then(|| Value::from(Serde(tools))),
            documents => Value::from(()),
        };
        let context = context! { ..context, ..Value::from(Serde(&self.further)) };
        let (source, compiled) = (self.source.clone(), self.compiled.clone());
        let rendered = RENDERERS.run(&self.source, move || {
            let compiled = compiled.get_or_init(|| Compiled::new(&source)).clone();
            let Compiled { mut environment, source, syntax } = compiled.map_err(problem)?;
            environment.set_fuel(Some(fuel));
            environment.add_function("strftime_now", move |format: &str| functions::strftime(now, format));
            program::render(&environment, &source, &syntax, context).map_err(|error| problem(explain(&error)))
        });
        rendered.map_err(|error| self.named(error))
    }
}

/// Length of a message, in bytes.
fn n_bytes_of(message: &ChatMessage) -> usize {
    let fields = message.fields.iter().map(|(name, value)| name.len() + n_json_bytes(value));
    message.role.len() + message.content.len() + fields.sum::<usize>()
}

fn n_json_bytes(value: &Json) -> usize {
    value.to_string().len()
}

fn seen_by_template(message: &ChatMessage) -> Value {
    let turn = context! { role => &message.role, content => &message.content };
    if message.fields.is_empty() {
        turn
    } else {
        context! { ..turn, ..Value::from(Serde(&message.fields)) }
    }
}

/// A template that was looked at once, ready to be rendered.
#[derive(Clone, Debug)]
struct Compiled {
    environment: Environment<'static>,
    source: Arc<str>,
    syntax: SyntaxConfig,
}

impl Compiled {
    fn new(source: &str) -> Result<Self, String> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(format!("it has {} bytes; at most {MAX_SOURCE_BYTES} are read", source.len()));
        }
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.map_err(|error| error.to_string())?;
        let source = program::source(&without_generation_marks(source), &syntax).map_err(|error| explain(&error))?;
        Ok(Self { environment: environment(), source: source.into(), syntax })
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    program::prepare(&mut environment);
    environment.set_recursion_limit(MAX_DEPTH);
    environment.set_unknown_method_callback(functions::method);
    environment.set_formatter(functions::print);
    environment.add_filter("string", functions::string);
    environment.add_filter("join", functions::join);
    environment.add_filter("split", functions::split);
    environment.add_filter("lines", functions::lines);
    environment.add_filter("reverse", functions::reverse);
    environment.add_filter(functions::ENGINES_FORMAT, minijinja::filters::format);
    environment.add_filter("format", functions::format);
    // It writes everything there is.
    environment.remove_global("debug");
    // Rarely used, and each makes something long of a small value.
    for name in ["pprint", "indent", "zip", "chain", "batch", "slice", "groupby", "sum"] {
        environment.remove_filter(name);
    }
    environment.add_function("raise_exception", functions::raise_exception);
    environment.add_filter("tojson", |state: &State<'_, '_>, value: Value, options: Kwargs| {
        functions::tojson(state, value, options)
    });
    environment
}

pub(super) fn problem(problem: String) -> Error {
    Error::Template { file: None, problem }
}

/// What went wrong, with its line; the template's own words where it refused.
fn explain(error: &minijinja::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(Refusal(message)) = inner.downcast_ref() {
            return format!("it refuses these messages: {message}");
        }
        cause = inner.source();
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return ENDLESS.to_owned();
    }
    let place = error.line().map_or_else(String::new, |line| format!("line {line}: "));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    format!("{place}{detail}")
}

/// Some templates mark what the assistant says with `{% generation %}` … `{% endgeneration %}`, which writes nothing.
fn without_generation_marks(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        text += before;
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let word = tag.trim_start_matches("{%").trim_end_matches("%}").trim_matches(['-', '+']).trim();
        match word {
            "generation" => text += &tag.replace("generation", "if true"),
            "endgeneration" => text += &tag.replace("endgeneration", "endif"),
            _ => text += tag,
        }
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests;
