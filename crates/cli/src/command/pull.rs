//! `genera pull`: fetches a model from the Hugging Face hub.

use super::Common;
use crate::destination::check_room;
use crate::failure::{Failure, Outcome, While};
use crate::hub::{Cache, Client, Listing, ModelName, RemoteFile, Settings, Target, fetch, is_paper, matching, select};
use crate::show::status_line::StatusLine;
use crate::show::{number, word};
use genera_data::has_tokenizer;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Fetch a model from the Hugging Face hub, to be used as --model hf:ORG/NAME.
///
/// What is read here is fetched and nothing else: configuration, tokenizer, chat template, and weights in safetensors, or
/// in PyTorch's format where there are no others. What was cut off goes on where it was; every file is verified,
/// also what is there already. HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to the Hugging Face
/// library, whose cache is used.
///
/// Examples:
///   genera pull hf:HuggingFaceTB/SmolLM2-135M-Instruct
///   genera pull hf:bartowski/SmolLM2-135M-Instruct-GGUF --file SmolLM2-135M-Instruct-Q4_0.gguf
///   genera pull hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q4_0
///   genera pull hf:openai-community/gpt2@main gpt2
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// hf:ORG/NAME, or hf:ORG/NAME@REVISION for a branch, a tag or a commit; with :FILE behind it as with --file, or with the
    /// type of one of several GGUF files (:Q4_0).
    #[arg(value_name = "MODEL")]
    model: String,
    /// Write plain files into this directory instead of the cache.
    #[arg(value_name = "OUT")]
    out: Option<PathBuf>,
    /// Fetch this file alone, such as one of several GGUF files.
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let name: ModelName = arguments.model.parse()?;
    if let (Some(named), Some(file)) = (&name.file, &arguments.file) {
        return Err(Failure::new(format!(
            "{name} names the file '{named}', and --file names '{file}'; name one of them"
        )));
    }
    let settings = Settings::of_environment()?;
    if let Some(variable) = settings.offline_by {
        let name = arguments.file.map_or(name.clone(), |file| name.with_file(&file));
        return offline(&name, &settings, variable, arguments.out.is_some(), common);
    }
    let cache = Cache::new(&settings);
    let client = Client::new(settings)?;
    let listing = Listing::ask(&client, &name)?;
    let file = arguments.file.or_else(|| name.file.as_deref().map(|file| file_of(&listing, file)));
    let files = select(&listing, file.as_deref()).during(&name)?;
    files.iter().try_for_each(|file| file.check()).during(&name)?;
    let files = match &arguments.out {
        Some(out) if file.is_none() => without_kept(files, out)?,
        _ => files,
    };
    let pull = Pull { client: &client, name: &name, listing: &listing, files: &files };
    let n_fetched = match &arguments.out {
        Some(out) => pull.fill_directory(out)?,
        None => pull.fill_cache(&cache)?,
    };
    // Where nothing else came, the first GGUF file is the model.
    let only_gguf = || files.first().map(|file| &file.path).filter(|path| crate::model::is_gguf(Path::new(path)));
    let path = match (&arguments.out, &file) {
        (Some(out), Some(file)) => out.join(file),
        (Some(out), None) => only_gguf().map_or_else(|| out.clone(), |file| out.join(file)),
        (None, Some(file)) => cache.snapshot(&name, &listing.commit).join(file),
        (None, None) => cache.find(&name)?,
    };
    let model = match (&file, &arguments.out) {
        (Some(file), _) if !crate::model::is_gguf(Path::new(file)) => None,
        (_, Some(_)) => Some(path.display().to_string()),
        // With others of its kind beside it, now or later, only its own name stays right.
        (Some(file), None) if listing.gguf().len() > 1 || listing.find("config.json").is_some() => {
            Some(name.with_file(file).to_string())
        }
        (_, None) => Some(ModelName { file: None, ..name.clone() }.to_string()),
    };
    pull.report(&path, model.as_deref(), n_fetched, common);
    Ok(ExitCode::SUCCESS)
}

/// The file that is meant by a part of its name, or the name as it is where there is none or several.
fn file_of(listing: &Listing, wanted: &str) -> String {
    let gguf = listing.gguf();
    match matching(wanted, gguf.iter().map(|file| file.path.as_str())).as_slice() {
        [file] if listing.find(wanted).is_none() => (*file).to_owned(),
        _ => wanted.to_owned(),
    }
}

/// Nothing may be fetched: says where the model is, if it was pulled.
fn offline(name: &ModelName, settings: &Settings, variable: &str, has_out: bool, common: Common) -> Outcome {
    if has_out {
        return Err(Failure::new(format!("{variable} forbids to fetch {name}; unset it")));
    }
    let cache = Cache::new(settings);
    let path = cache.find(name)?;
    if common.json {
        println!("{}", serde_json::json!({ "model": name.to_string(), "path": path, "fetched_bytes": 0 }));
    } else {
        println!("{name} was pulled before ({variable} is set, so the hub was not asked)\n  {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be fetched.
struct Pull<'p> {
    client: &'p Client,
    name: &'p ModelName,
    listing: &'p Listing,
    files: &'p [&'p RemoteFile],
}

impl Pull<'_> {
    /// Fetches what the cache lacks; gives the number of bytes.
    fn fill_cache(&self, cache: &Cache) -> Outcome<u64> {
        let mut progress = Progress::new(self.files);
        self.check_room(|file| Target::new(cache.blob(self.name, file)))?;
        for file in self.files {
            let target = Target::new(cache.blob(self.name, file));
            if is_sound(&target.whole, file, &mut progress)? {
                progress.skip(file);
            } else {
                self.fetch(file, &target, &mut progress)?;
            }
            cache.link(self.name, self.listing, file)?;
        }
        cache.note(self.name, &self.listing.commit)?;
        Ok(progress.n_fetched)
    }

    /// Fetches what a directory lacks; gives the number of bytes.
    fn fill_directory(&self, out: &Path) -> Outcome<u64> {
        let mut progress = Progress::new(self.files);
        // What is in the way of one file is said before another is there.
        let is_there = |file: &&RemoteFile| is_there(&out.join(&file.path), file, &mut progress);
        let are_there = self.files.iter().map(is_there).collect::<Outcome<Vec<bool>>>()?;
        self.check_room(|file| Target::new(out.join(&file.path)))?;
        for (file, is_there) in self.files.iter().zip(are_there) {
            if is_there {
                progress.skip(file);
            } else {
                self.fetch(file, &Target::new(out.join(&file.path)), &mut progress)?;
            }
        }
        Ok(progress.n_fetched)
    }

    /// Whether there is room for what is missing of all files.
    fn check_room(&self, target: impl Fn(&RemoteFile) -> Target) -> Outcome<()> {
        let n_there = |path: &Path| path.metadata().map_or(0, |found| found.len());
        let n_missing = |file: &&RemoteFile| -> u64 {
            let target = target(file);
            file.n_bytes.saturating_sub(n_there(&target.whole).max(n_there(&target.partial)))
        };
        let n_needed = self.files.iter().map(n_missing).fold(0, u64::saturating_add);
        let first = self.files.first().map(|file| target(file).partial);
        let directory = first.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
        let remedy = "name a directory on another disk (OUT, or HF_HOME for the cache)";
        check_room(directory, n_needed, "fetched", remedy).during(self.name)
    }

    fn fetch(&self, file: &RemoteFile, target: &Target, progress: &mut Progress) -> Outcome<()> {
        let place = format!("{}/resolve/{}", self.name.repository, self.listing.commit);
        progress.begin();
        fetch(self.client, &place, file, target, &mut |n_there| progress.show(file, n_there)).during(self.name)?;
        progress.end(file);
        Ok(())
    }

    /// Whether the model looks as if it had a chat template: by a file of its own, or, as those in a GGUF file are not looked into, by
    /// its name.
    fn is_told_how_to_talk(&self) -> bool {
        let names = self.files.iter().map(|file| file.path.as_str()).chain([self.name.repository.as_str()]);
        let says_so = |name: &str| ["chat", "instruct"].iter().any(|word| name.to_lowercase().contains(word));
        names.into_iter().any(says_so)
    }

    fn report(&self, path: &Path, model: Option<&str>, n_fetched: u64, common: Common) {
        let n_bytes: u64 = self.files.iter().map(|file| file.n_bytes).sum();
        if common.json {
            let files = self.files.iter().map(|file| {
                serde_json::json!({ "path": file.path, "bytes": file.n_bytes, "checksum": file.checksum.digits() })
            });
            let report = serde_json::json!({
                "model": self.name.to_string(), "commit": self.listing.commit, "path": path,
                "files": files.collect::<Vec<_>>(), "fetched_bytes": n_fetched,
            });
            println!("{report}");
            return;
        }
        let fetched = if n_fetched == 0 {
            "all there already".to_owned()
        } else {
            format!("{} fetched", number::bytes_of_file(n_fetched))
        };
        let commit = self.listing.commit.get(..12).unwrap_or_default();
        let files = if self.files.len() == 1 { "1 file".to_owned() } else { format!("{} files", self.files.len()) };
        println!("{} at commit {commit}: {files}, {}, {fetched}", self.name, number::bytes_of_file(n_bytes));
        println!("  {}", path.display());
        if let Some(model) = model {
            let model = word(Path::new(model));
            let has = |name: &str| self.files.iter().any(|file| file.path == name);
            if has("adapter_config.json") && !has("config.json") {
                let path = word(path);
                println!(
                    "An adapter; use it with its base: genera generate --model BASE --adapter {path} --prompt TEXT"
                );
                return;
            }
            if path.is_dir() && !has_tokenizer(path) {
                println!(
                    "It has no tokenizer, so it reads ids of tokens alone: genera logits --model {model} --tokens 1,2,3"
                );
                println!(
                    "For texts, pull it into a directory (genera pull {} OUT) and copy the tokenizer.json of the model that it was \
                     made from there",
                    self.name
                );
                return;
            }
            match self.is_told_how_to_talk() {
                true => println!("Use it: genera chat --model {model}"),
                false => println!("Use it: genera generate --model {model} --prompt \"Once upon a time\""),
            }
        }
    }
}

/// Whether a file of the cache is there and what the hub promises; a damaged one is removed.
fn is_sound(path: &Path, file: &RemoteFile, progress: &mut Progress) -> Outcome<bool> {
    if !path.metadata().is_ok_and(|found| found.len() == file.n_bytes) {
        return Ok(false);
    }
    if progress.compare(path, file)? {
        return Ok(true);
    }
    eprintln!("genera: {}: {} is damaged and is fetched anew", file.path, path.display());
    std::fs::remove_file(path).during(format!("cannot remove {}", path.display()))?;
    Ok(false)
}

/// The files but for a card and terms that the directory has of its own, which are left as they are.
fn without_kept<'l>(files: Vec<&'l RemoteFile>, out: &Path) -> Outcome<Vec<&'l RemoteFile>> {
    let mut wanted = Vec::new();
    for file in files {
        let path = out.join(&file.path);
        if is_paper(file) && path.exists() && !is_same(&path, file, &mut |_| {})? {
            eprintln!("genera: {} is not the hub's and is left as it is", path.display());
        } else {
            wanted.push(file);
        }
    }
    Ok(wanted)
}

/// Whether a file of the directory is the hub's.
fn is_there(path: &Path, file: &RemoteFile, progress: &mut Progress) -> Outcome<bool> {
    if !path.exists() {
        return Ok(false);
    }
    if progress.compare(path, file)? {
        return Ok(true);
    }
    Err(Failure::new(format!(
        "{} is there already and is not the hub's; move it away or name another directory",
        path.display()
    )))
}

/// Whether a file holds what the hub promises; `watch` is told how many bytes were compared.
fn is_same(path: &Path, file: &RemoteFile, watch: &mut dyn FnMut(u64)) -> Outcome<bool> {
    if !path.metadata().is_ok_and(|found| found.len() == file.n_bytes) {
        return Ok(false);
    }
    file.checksum.is_of(path, file.n_bytes, watch).during(format!("cannot read {}", path.display()))
}

/// How far it is, on the standard error output.
struct Progress {
    line: StatusLine,
    n_total: u64,
    /// Bytes of the files before this one.
    n_before: u64,
    /// Bytes of this file that were there before; not known until the first report.
    n_resumed: Option<u64>,
    n_fetched: u64,
    /// Time spent fetching.
    time: Duration,
    begun: Instant,
}

impl Progress {
    fn new(files: &[&RemoteFile]) -> Self {
        Self {
            line: StatusLine::new(),
            n_total: files.iter().map(|file| file.n_bytes).sum(),
            n_before: 0,
            n_resumed: None,
            n_fetched: 0,
            time: Duration::ZERO,
            begun: Instant::now(),
        }
    }

    fn skip(&mut self, file: &RemoteFile) {
        self.n_before += file.n_bytes;
    }

    fn begin(&mut self) {
        self.n_resumed = None;
        self.begun = Instant::now();
    }

    fn show(&mut self, file: &RemoteFile, n_there: u64) {
        let n_resumed = *self.n_resumed.get_or_insert(n_there);
        let n_done = self.n_before + n_there;
        let n_fetched = self.n_fetched + n_there.saturating_sub(n_resumed);
        let seconds = (self.time + self.begun.elapsed()).as_secs_f64();
        let n_total = self.n_total;
        self.line.show(|| {
            let rate = n_fetched as f64 / seconds.max(1e-3);
            let left = Duration::try_from_secs_f64((n_total - n_done) as f64 / rate).unwrap_or(Duration::MAX);
            let left = if rate > 0.0 { format!(", {} left", number::duration(left)) } else { String::new() };
            let percent = 100.0 * n_done as f64 / n_total.max(1) as f64;
            let rate = number::bytes_of_file(rate as u64);
            format!(
                "{}  {} of {}  {percent:.0} %  {rate}/s{left}",
                file.path,
                number::bytes_of_file(n_done),
                number::bytes_of_file(n_total)
            )
        });
    }

    /// Whether a file holds what the hub promises; shows how far it has been compared.
    fn compare(&mut self, path: &Path, file: &RemoteFile) -> Outcome<bool> {
        let same = is_same(path, file, &mut |n_read| {
            self.line.show(|| {
                format!(
                    "{}  verifying, {} of {}",
                    file.path,
                    number::bytes_of_file(n_read),
                    number::bytes_of_file(file.n_bytes)
                )
            });
        });
        self.line.hide();
        same
    }

    fn end(&mut self, file: &RemoteFile) {
        self.n_before += file.n_bytes;
        self.n_fetched += file.n_bytes.saturating_sub(self.n_resumed.unwrap_or(0));
        self.time += self.begun.elapsed();
    }
}
