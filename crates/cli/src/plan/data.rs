//! From a recipe's `[data]` and `[tokenizer]` tables to a corpus and how it is read.

use crate::base::Base;
use crate::failure::{Failure, Outcome};
use crate::plan::records;
use genera_data::Split;
use genera_data::curate::CurationSettings;
use genera_data::prepare::{Preparation, Prepared};
use genera_data::source::{Format, Record};
use genera_data::{Aligned, Columns, Corpus, Document, Files, Generated, ReadOptions, SpecialTokens, TokenizerSpec};
use genera_engine::ModelConfig;
use genera_engine::config::Shape;
use genera_engine::presets::{self, Stacks};
use genera_engine::recipe::{DataRecipe, Layout, Reasons, Recipe, TokenizerKind};
use genera_modality::{Chat, Demo, Encoder, Modality, REJECTED, Text, Translation, by_name, demo_by_name};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Below this, each character is a token of its own: there is too little text to learn longer ones from.
const CHARACTERS_BELOW_BYTES: u64 = 4 << 20;

/// Examples that a built-in source makes for validation.
pub const N_DEMO_VALIDATION: u64 = 1000;

/// The kind of data a recipe names, and the built-in source if it names one.
///
/// # Errors
/// When the name is unknown; the known ones are listed.
pub fn modality_of(data: &DataRecipe) -> Outcome<(&'static dyn Modality, Option<&'static Demo>)> {
    if let Some((modality, demo)) = demo_by_name(&data.kind) {
        return Ok((modality, Some(demo)));
    }
    by_name(&data.kind).map(|modality| (modality, None)).ok_or_else(|| {
        let kinds = genera_modality::ALL.iter().map(|modality| modality.name());
        let demos = genera_modality::ALL.iter().flat_map(|modality| modality.demos().iter().map(|demo| demo.name));
        let known: Vec<&str> = kinds.chain(demos).collect();
        Failure::new(format!("data.kind: unknown kind of data '{}'; known are {}", data.kind, known.join(", ")))
    })
}

/// Decides what the data tables leave open: tokenizer, layout, lengths.
///
/// # Errors
/// When the kind of data is unknown, or there is nothing to read.
pub fn settle(recipe: &mut Recipe, reasons: &mut Reasons, base: Option<&Base>) -> Outcome<()> {
    if let Some(base) = base {
        settle_kind(recipe, reasons, base)?;
    }
    let (modality, demo) = modality_of(&recipe.data)?;
    if base.is_none() && ["chat", "preference"].contains(&modality.name()) {
        return Err(Failure::new(format!(
            "{} teaches a model that can already write: name it with --base MODEL (or base.path in the recipe)",
            modality.name()
        )));
    }
    if demo.is_none() && recipe.data.files.is_empty() {
        return Err(Failure::new("data.files is empty: name at least one file or directory to learn from"));
    }
    if demo.is_some() && recipe.data.n_examples.is_none() {
        recipe.data.n_examples = Some(100_000);
        reasons.add("data.n_examples", "enough that a short run sees few examples twice");
    }
    if modality.name() == "table" {
        super::table::settle(recipe, reasons, base.is_some())?;
    } else if modality.name() == "molecule" {
        super::molecule::settle(recipe, reasons, base.is_some())?;
    } else if base.is_none() {
        settle_tokenizer(recipe, reasons, modality, demo);
    }
    let data = &mut recipe.data;
    if data.layout.is_none() {
        let is_one_text = demo.is_none() && data.target_files.is_empty() && is_one_plain_text(&data.files);
        let (layout, reason) = match (modality.is_paired(), is_one_text) {
            (true, _) => (Layout::Padded, "pairs of different lengths"),
            (false, true) => (Layout::Contiguous, "one continuous text"),
            (false, false) => (Layout::Packed, "separate documents, which must not see each other"),
        };
        data.layout = Some(layout);
        reasons.add("data.layout", reason);
    }
    if modality.is_paired() {
        for (key, len) in [("max_source_len", &mut data.max_source_len), ("max_target_len", &mut data.max_target_len)] {
            if len.is_none() {
                *len = Some(recipe.model.context_len);
                reasons.add(&format!("data.{key}"), "model.context_len");
            }
        }
    }
    Ok(())
}

/// Pairs for a base that only goes on with texts become conversations, where it knows what those look like; completions for one
/// that turns a text into another become pairs.
fn settle_kind(recipe: &mut Recipe, reasons: &mut Reasons, base: &Base) -> Outcome<()> {
    let (modality, _) = modality_of(&recipe.data)?;
    let is_recognised = modality.name() == Chat.name() && reasons.get("data.kind").is_some();
    if is_recognised && base.codebook.chat_template().is_none() && records::have_texts(&recipe.data.files)? {
        recipe.data.kind = Text.name().to_owned();
        reasons.add("data.kind", "each line has a text as well, and the base has no chat template for conversations");
        return Ok(());
    }
    let is_completed = modality.name() == Text.name() && recipe.data.target_column.is_some();
    if is_completed && base.transformer.config().is_encoder_decoder() {
        recipe.data.kind = Translation.name().to_owned();
        reasons.add("data.kind", "the base turns one text into another: a prompt and its completion");
    }
    if !modality.is_paired() || base.transformer.config().is_encoder_decoder() {
        return Ok(());
    }
    if base.codebook.chat_template().is_none() {
        return Err(Failure::new(
            "the base goes on with a text and has no chat template, so it cannot be told what a pair is; give it one with \
             --chat-template FILE, take a base that has one or an encoder-decoder, or learn the answer as what goes on with \
             the question as it stands (--set data.kind=text)",
        ));
    }
    recipe.data.kind = "chat".to_owned();
    reasons.add("data.kind", "each pair is a question and its answer, written by the base's chat template");
    Ok(())
}

/// The kind of data that the first line of a file shows, or those of the files of a directory, with why: the columns of a table,
/// conversations, preferences or completions.
///
/// # Errors
/// When a file cannot be read, or must be told what is what in it.
pub fn recognised(path: &Path, has_base: bool) -> Outcome<Option<(&'static str, String)>> {
    if let Some(why) = super::molecule::recognised(path)? {
        return Ok(Some(("molecule", why)));
    }
    if has_base {
        records::refuse_nested(path)?;
    }
    match super::table::recognised(path)? {
        Some(_) if has_base => records::recognised_table(path).map(Some),
        Some(why) => {
            let hint = records::hint_of_table(path)?.map_or_else(String::new, |hint| format!("; {hint}"));
            Ok(Some(("table", why + &hint)))
        }
        None => records::recognised(path, has_base),
    }
}

/// Checks that a model can learn this kind of data, as it is laid out.
///
/// # Errors
/// When it cannot: what it was given for, and what fits.
pub fn check_fit(recipe: &Recipe, config: &ModelConfig) -> Outcome<()> {
    let (modality, _) = modality_of(&recipe.data)?;
    let (kind, preset) = (&recipe.data.kind, &recipe.model.preset);
    let (model, advice) = match &recipe.base.path {
        Some(base) => {
            (format!("the base {base}"), format!("take a base of another family, such as {}", fitting(modality)))
        }
        None => (format!("model.preset {preset}"), format!("take {}", fitting(modality))),
    };
    let problem = match (&config.shape, modality.is_paired()) {
        (Shape::EncoderOnly(_), _) => {
            format!("{model} is an encoder, which reads but makes nothing; for {kind} {advice}")
        }
        (Shape::EncoderDecoder { .. }, false) => {
            format!("{model} turns one text into another, and {kind} has no pairs; {advice}, or give --target")
        }
        (Shape::DecoderOnly(_), true) => format!("{model} goes on with a text, and {kind} has pairs; {advice}"),
        _ => String::new(),
    };
    if !problem.is_empty() {
        return Err(Failure::new(problem));
    }
    if modality.is_paired() != (recipe.data.layout == Some(Layout::Padded)) {
        let fits = if modality.is_paired() { "padded" } else { "contiguous or packed" };
        return Err(Failure::new(format!("data.layout: {kind} needs {fits}")));
    }
    if modality.is_paired() { check_lens(&recipe.data, config) } else { Ok(()) }
}

/// Checks that a model can read both sides of pairs as long as they may be.
///
/// # Errors
/// Naming the key that is empty, or beyond the model's context.
pub fn check_lens(data: &DataRecipe, config: &ModelConfig) -> Outcome<()> {
    for (key, len) in [("max_source_len", data.max_source_len), ("max_target_len", data.max_target_len)] {
        let problem = match len {
            Some(0) => format!("data.{key} is 0; it must be at least 1"),
            Some(len) if len > config.context_len => format!(
                "data.{key} = {len} is beyond model.context_len = {}; make the one smaller or the other larger",
                config.context_len
            ),
            _ => continue,
        };
        return Err(Failure::new(problem));
    }
    Ok(())
}

/// Presets that learn a kind of data, as a list in words.
fn fitting(modality: &dyn Modality) -> String {
    let wanted = if modality.is_paired() { Stacks::EncoderDecoder } else { Stacks::DecoderOnly };
    let fitting = presets::ALL.iter().filter(|preset| preset.architecture.stacks == wanted);
    fitting.map(|preset| preset.name).collect::<Vec<&str>>().join(" or ")
}

fn settle_tokenizer(recipe: &mut Recipe, reasons: &mut Reasons, modality: &dyn Modality, demo: Option<&Demo>) {
    let n_bytes = total_bytes(&recipe.data.files);
    let tokenizer = &mut recipe.tokenizer;
    if tokenizer.kind.is_none() {
        let (kind, reason) = if tokenizer.file.is_some() {
            (TokenizerKind::File, "tokenizer.file is given")
        } else if demo.is_some() {
            (TokenizerKind::Characters, "the built-in sources have few characters")
        } else if n_bytes < CHARACTERS_BELOW_BYTES && !modality.is_paired() {
            (TokenizerKind::Characters, "less than 4 MiB of text: too little to learn longer tokens from")
        } else {
            (TokenizerKind::Bpe, "fewer, longer tokens cost less time")
        };
        tokenizer.kind = Some(kind);
        reasons.add("tokenizer.kind", reason);
    }
    if tokenizer.kind == Some(TokenizerKind::Bpe) && tokenizer.vocab_size.is_none() {
        let (size, reason) = match n_bytes {
            0..10_000_000 => (4096, "less than 10 MB of text"),
            10_000_000..200_000_000 => (8192, "10 to 200 MB of text"),
            _ => (16_384, "more than 200 MB of text"),
        };
        tokenizer.vocab_size = Some(size);
        reasons.add("tokenizer.vocab_size", reason);
    }
}

fn total_bytes(files: &[String]) -> u64 {
    fn size(path: &Path, depth: usize) -> u64 {
        let Ok(metadata) = std::fs::metadata(path) else { return 0 };
        if metadata.is_file() {
            return metadata.len();
        }
        if depth == 0 {
            return 0;
        }
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| size(&entry.path(), depth - 1)).sum()
    }
    files.iter().map(|file| size(Path::new(file), 16)).sum()
}

fn is_one_plain_text(files: &[String]) -> bool {
    let [file] = files else { return false };
    Path::new(file).is_file() && matches!(Format::of(Path::new(file)), None | Some(Format::Text))
}

/// Looks whether the files are there, before longer work begins.
///
/// # Errors
/// When one is missing or cannot be read.
pub fn check_files(data: &DataRecipe) -> Outcome<()> {
    let lists = [&data.files, &data.target_files, &data.validation_files, &data.validation_target_files];
    for files in lists.into_iter().filter(|files| !files.is_empty()) {
        Files::open(&files.iter().map(PathBuf::from).collect::<Vec<_>>(), ReadOptions::default())?;
    }
    Ok(())
}

/// Says how many documents are learned and measured by at once; not of rows of a table, which may well be alike, nor of what is
/// made by rule.
///
/// # Errors
/// When the prepared data cannot be read.
pub fn say_copies(prepared: &Prepared, recipe: &Recipe) -> Outcome<()> {
    let (modality, demo) = modality_of(&recipe.data)?;
    if demo.is_some() || modality.name() == "table" {
        return Ok(());
    }
    let n_all = prepared.summary.n_validation_documents;
    if let Some(n) = prepared.n_copies()?.filter(|&n| n > 0) {
        eprintln!(
            "genera: {n} of {n_all} validation documents are copies of training documents, so that the validation loss says \
             less of new ones; --set data.deduplicate=true keeps one of each"
        );
    }
    Ok(())
}

/// What is to be tokenised, and how; `base` is where a run keeps the tokenizer of its base, and `n_rows` how many tokens that
/// base has, where it is known.
///
/// # Errors
/// When a file is missing, empty or of a kind that cannot be read.
pub fn preparation(recipe: &Recipe, n_threads: usize, base: &Path, n_rows: Option<usize>) -> Outcome<Preparation> {
    let (modality, demo) = modality_of(&recipe.data)?;
    let data = &recipe.data;
    let corpus = match demo {
        Some(demo) => generated(demo, recipe.train.seed, 0, data.n_examples.unwrap_or(100_000)),
        None => files(modality, &data.files, &data.target_files, data, &recipe.table.skip)?,
    };
    let corpus = match recipe.molecule.randomised {
        n if n > 0 && modality.name() == "molecule" => {
            Arc::new(super::molecule::Randomised::new(corpus, n, recipe.train.seed)) as Arc<dyn Corpus>
        }
        _ => corpus,
    };
    let validation = match demo {
        // Another stream of the same rule: fresh examples.
        Some(demo) => Some(generated(demo, recipe.train.seed, 1, N_DEMO_VALIDATION)),
        None if data.validation_files.is_empty() => None,
        None => Some(files(modality, &data.validation_files, &data.validation_target_files, data, &recipe.table.skip)?),
    };
    let fraction = data.validation_fraction;
    let is_contiguous = data.layout == Some(Layout::Contiguous);
    Ok(Preparation {
        corpus,
        validation,
        tokenizer: if recipe.base.path.is_some() {
            TokenizerSpec::File(base.to_owned())
        } else {
            tokenizer_spec(recipe)?
        },
        fit: modality.fit(&super::table::settings(recipe)?),
        sieve: modality.sieve(),
        special: Some(if is_contiguous { SpecialTokens::none() } else { SpecialTokens::standard() }),
        split: match fraction {
            0.0 => Split::None,
            _ if is_contiguous => Split::EndOfText { fraction },
            // The end of a conversation without its beginning would teach nothing.
            _ if ["chat", "preference", "table", "molecule"].contains(&modality.name()) => {
                Split::Documents { fraction }
            }
            _ => Split::Auto { fraction },
        },
        encoder: Encoder::of(modality, n_rows),
        curation: CurationSettings {
            unify_newlines: data.unify_newlines,
            normalise_unicode: data.normalise_unicode,
            drop_empty: true,
            min_characters: data.min_characters,
            max_characters: data.max_characters,
            deduplicate: data.deduplicate,
        },
        n_threads,
    })
}

fn tokenizer_spec(recipe: &Recipe) -> Outcome<TokenizerSpec> {
    let tokenizer = &recipe.tokenizer;
    Ok(match tokenizer.kind.unwrap_or(TokenizerKind::Characters) {
        TokenizerKind::Characters => TokenizerSpec::Characters,
        TokenizerKind::Bytes => TokenizerSpec::Bytes,
        TokenizerKind::Bpe => TokenizerSpec::Bpe { vocab_size: tokenizer.vocab_size.unwrap_or(4096) },
        TokenizerKind::File => {
            let file = tokenizer.file.as_ref().ok_or_else(|| {
                Failure::new("tokenizer.kind is \"file\", but tokenizer.file does not name the tokenizer.json")
            })?;
            TokenizerSpec::File(PathBuf::from(file))
        }
    })
}

fn generated(demo: &'static Demo, seed: u64, stream: u64, n: u64) -> Arc<dyn Corpus> {
    let seed = demo_seed(seed, stream);
    let name = format!("{} (built in, seed {seed}, {n} examples)", demo.name);
    let documents = move || -> Box<dyn Iterator<Item = Document> + Send> {
        Box::new((0..n).map(move |index| (demo.make)(seed, index)))
    };
    Arc::new(Generated::new(name, documents))
}

/// Seeds of a built-in source's streams: 0 trains, 1 validates, 2 is for evaluation after training.
pub const fn demo_seed(seed: u64, stream: u64) -> u64 {
    seed.wrapping_mul(4).wrapping_add(stream)
}

fn files(
    modality: &dyn Modality,
    files: &[String],
    targets: &[String],
    data: &DataRecipe,
    skip: &[String],
) -> Outcome<Arc<dyn Corpus>> {
    if !targets.is_empty() {
        let ([file], [target]) = (files, targets) else {
            return Err(Failure::new(format!(
                "data.files names {} files and data.target_files {}; aligned texts are one file each",
                files.len(),
                targets.len()
            )));
        };
        return Ok(Arc::new(Aligned::open(Path::new(file), Path::new(target))?));
    }
    if modality.is_paired() && data.target_column.is_none() {
        return Err(Failure::new(
            "translation needs targets: data.target_files (--target FILE), or data.target_column for tables and JSON lines",
        ));
    }
    let columns = columns(modality, files, data, skip)?;
    let paths: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    let options = ReadOptions { columns, lines: modality.name() == "molecule" };
    Ok(Arc::new(Files::open(&paths, options)?))
}

/// Which fields of the files are what.
fn columns(modality: &dyn Modality, files: &[String], data: &DataRecipe, skip: &[String]) -> Outcome<Columns> {
    let (text, target) = (data.column.clone(), data.target_column.clone());
    if modality.name() == "table" {
        let first = files
            .first()
            .map(Path::new)
            .filter(|path| path.is_file())
            .ok_or_else(|| Failure::new("data.files: a table needs its file by name, not a directory of files"))?;
        return Ok(Columns::rows(super::table::kept_columns(first, skip)?));
    }
    if modality.name() == "molecule" {
        return super::molecule::columns(files, text);
    }
    let is_open = text.is_none() && target.is_none();
    Ok(match (modality.name(), &target) {
        ("preference", _) => {
            let usual = columns_of(Record::Preference);
            let (text, target) = (text.or(usual.text), target.or(usual.target));
            Columns { text, target, record: usual.record.filter(|_| is_open), ..usual }
        }
        ("chat", None) => conversation_columns(text),
        (name, _) => Columns { text, target, structured: name == "chat", ..Columns::default() },
    })
}

/// Which fields of lines in any known layout, or columns of a table that are called so, are what.
pub fn columns_of(record: Record) -> Columns {
    let of_pair = |text: &str, target: &str| Columns {
        text: Some(text.to_owned()),
        target: Some(target.to_owned()),
        record: Some(record),
        ..Columns::default()
    };
    match record {
        Record::Conversation => conversation_columns(None),
        Record::Completion => of_pair(records::COMPLETION.0, records::COMPLETION.1),
        Record::Preference => {
            Columns { fields: vec![REJECTED.to_owned()], structured: true, ..of_pair("prompt", "chosen") }
        }
    }
}

/// Which fields of a chat file are what: the conversation is in `given`, or in any layout that is known.
pub fn conversation_columns(given: Option<String>) -> Columns {
    let record = given.is_none().then_some(Record::Conversation);
    let text = given.or_else(|| Some("messages".to_owned()));
    Columns { text, structured: true, record, ..Columns::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_the_base_or_the_preset() {
        let mut recipe = Recipe::default();
        "chat".clone_into(&mut recipe.data.kind);
        "bert".clone_into(&mut recipe.model.preset);
        let config = recipe.model.config(50).unwrap();
        let problem = |recipe: &Recipe| check_fit(recipe, &config).unwrap_err().message().to_owned();
        assert!(problem(&recipe).contains("model.preset bert is an encoder"), "{}", problem(&recipe));
        "llama".clone_into(&mut recipe.model.preset);
        recipe.base.path = Some("b".to_owned());
        let problem = problem(&recipe);
        assert!(problem.starts_with("the base b is an encoder") && problem.contains("another family"), "{problem}");
    }
}
