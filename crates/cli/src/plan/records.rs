//! What files for fine-tuning hold: conversations, preferences, prompts with completions, or columns that must be named.

use crate::failure::{Failure, Outcome};
use crate::show::word;
use genera_data::source::{Format, RECORD_LAYOUTS, Record, column_names, first_object, nested_column_names};
use genera_data::{Columns, Files, ReadOptions};
use genera_modality::{Chat, Modality, Preference, Text};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The fields of a prompt and its completion.
pub const COMPLETION: (&str, &str) = ("prompt", "completion");

/// What columns of a question and its answer are usually called.
const PAIRS: [(&str, &str); 7] = [
    COMPLETION,
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
    ("prompt", "response"),
    ("input", "output"),
    ("source", "target"),
];

/// The kind of data that the objects of a file are, or those of all files of a directory, with why; `None` for texts.
///
/// # Errors
/// When a file cannot be read, those of a directory are of different kinds, or they show no kind and no text.
pub fn recognised(path: &Path, has_base: bool) -> Outcome<Option<(&'static str, String)>> {
    let found = of_all(path, |file, fields| {
        let Some(fields) = fields else { return Ok(None) };
        let record = record_in(&fields, has_base);
        if record.is_none() && has_base {
            refuse_unknown(file, fields)?;
        }
        Ok(record)
    })?;
    found.map(|(record, file)| of_record(record, &file, has_base)).transpose()
}

/// What the objects of a JSON file are, or the rows of a table whose columns are called so, or those of all files of a directory;
/// `None` for others. Where nothing is fine-tuned, a field with a text is what counts.
///
/// # Errors
/// When a file cannot be read, or those of a directory are of different kinds.
pub fn record_of(path: &Path, has_base: bool) -> Outcome<Option<Record>> {
    let found = of_all(path, |file, fields| match (fields, Format::of(file).filter(|_| file.is_file())) {
        (Some(fields), _) => Ok(record_in(&fields, has_base)),
        (None, Some(Format::Csv { .. } | Format::Parquet)) => Ok(record_of_columns(&column_names(file)?)),
        _ => Ok(None),
    })?;
    Ok(found.map(|(record, _)| record))
}

/// What `record` says of a file, or of all files of a directory, with the first of them; `None` for texts. It is given the fields of
/// the first object where there are some; a file of JSON with nothing in it is of no kind.
///
/// # Errors
/// Its own; when a file cannot be read, or those of a directory are of different kinds.
fn of_all(
    path: &Path,
    record: impl Fn(&Path, Option<Map<String, Value>>) -> Outcome<Option<Record>>,
) -> Outcome<Option<(Record, PathBuf)>> {
    let mut found: Vec<(Option<Record>, PathBuf)> = Vec::new();
    for file in files(path)? {
        let fields = if holds_objects(&file) { Some(first_object(&file)?) } else { None };
        if fields.as_ref().is_some_and(Map::is_empty) {
            continue;
        }
        let record = record(&file, fields)?;
        if found.iter().all(|(known, _)| *known != record) {
            found.push((record, file));
        }
    }
    if found.len() > 1 {
        return Err(mixed(path, &found));
    }
    Ok(found.pop().and_then(|(record, file)| Some((record?, file))))
}

/// What the rows of a table are, by the names of its columns; a text among them is what counts.
fn record_of_columns(names: &[String]) -> Option<Record> {
    let has_all = |wanted: &[&str]| wanted.iter().all(|wanted| names.iter().any(|name| name == wanted));
    if has_all(&[Columns::DEFAULT_TEXT]) {
        return None;
    }
    if has_all(&["prompt", "chosen", "rejected"]) {
        return Some(Record::Preference);
    }
    (has_all(&[COMPLETION.0, COMPLETION.1]) && !has_all(&["label"])).then_some(Record::Completion)
}

fn record_in(fields: &Map<String, Value>, has_base: bool) -> Option<Record> {
    let is_text = !has_base && fields.contains_key(Columns::DEFAULT_TEXT);
    if is_text { None } else { Record::of(fields) }
}

fn holds_objects(path: &Path) -> bool {
    path.is_file() && Format::of(path).is_some_and(Format::holds_objects)
}

/// What the objects of a file are called in it.
fn parts_of(path: &Path) -> &'static str {
    if Format::of(path) == Some(Format::JsonArray) { "elements" } else { "lines" }
}

/// Whether the objects of these files have a field with a text, whatever stands beside it.
///
/// # Errors
/// When a file cannot be read.
pub fn have_texts(paths: &[String]) -> Outcome<bool> {
    let mut n_texts = 0;
    for file in paths.iter().map(|path| files(Path::new(path))).collect::<Outcome<Vec<_>>>()?.concat() {
        if !holds_objects(&file) || !first_object(&file)?.contains_key(Columns::DEFAULT_TEXT) {
            return Ok(false);
        }
        n_texts += 1;
    }
    Ok(n_texts > 0)
}

/// The file itself, or the files of a directory.
fn files(path: &Path) -> Outcome<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    Ok(Files::open(&[path.to_owned()], ReadOptions::default())?.paths().to_vec())
}

/// The kind of data that learns from such lines.
pub fn kind_of(record: Record) -> &'static str {
    match record {
        Record::Conversation => Chat.name(),
        Record::Preference => Preference.name(),
        Record::Completion => Text.name(),
    }
}

fn of_record(record: Record, file: &Path, has_base: bool) -> Outcome<(&'static str, String)> {
    let parts = parts_of(file);
    let why = match record {
        Record::Conversation => format!("its {parts} hold conversations"),
        Record::Preference => format!("its {parts} have a chosen and a rejected answer"),
        Record::Completion if has_base => {
            let (prompt, completion) = COMPLETION;
            format!(
                "a prompt is given as it stands and its completion learned, as in TRL (by the chat template: --column {prompt} \
                 --target-column {completion})"
            )
        }
        Record::Completion => return Err(completions_alone(file)),
    };
    Ok((kind_of(record), why))
}

fn completions_alone(file: &Path) -> Failure {
    let (parts, file, (prompt, completion)) = (parts_of(file), file.display(), COMPLETION);
    Failure::new(format!(
        "{file}: its {parts} have a {prompt} and a {completion}: name the model that is to learn them with --base MODEL, or train \
         a new one from pairs with --column {prompt} --target-column {completion}"
    ))
}

/// Says which files of a directory are of different kinds.
fn mixed(path: &Path, kinds: &[(Option<Record>, PathBuf)]) -> Failure {
    let about = |record: &Option<Record>| match record {
        Some(Record::Conversation) => "holds conversations",
        Some(Record::Preference) => "holds preferences",
        Some(Record::Completion) => "holds prompts with completions",
        None => "holds neither conversations nor preferences",
    };
    let kinds: Vec<String> =
        kinds.iter().map(|(record, file)| format!("{} {}", file.display(), about(record))).collect();
    Failure::new(format!(
        "{} has files of different kinds: {}; one kind is read at a time: put each into a directory of its own, or name one \
         file",
        path.display(),
        kinds.join(", and ")
    ))
}

/// Refuses lines with these fields, in which no known layout is found, unless there is a text.
fn refuse_unknown(file: &Path, fields: Map<String, Value>) -> Outcome<()> {
    if fields.contains_key(Columns::DEFAULT_TEXT) {
        return Ok(());
    }
    let names: Vec<String> = fields.into_iter().map(|(name, _)| name).collect();
    let parts = parts_of(file);
    Err(Failure::new(format!(
        "{}: its {parts} have the fields {}, which is no layout that is known; {}; or write {parts} like one of\n{}",
        file.display(),
        names.join(", "),
        how_to_name(&names),
        RECORD_LAYOUTS.iter().map(|layout| format!("  {}", layout.example)).collect::<Vec<_>>().join("\n")
    )))
}

/// The columns of a pair, by their names.
fn pair_of(names: &[String]) -> Option<(&'static str, &'static str)> {
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    PAIRS.into_iter().find(|(question, answer)| has(question) && has(answer))
}

/// How to say which fields or columns hold what.
fn how_to_name(names: &[String]) -> String {
    let (question, answer) = pair_of(names).unwrap_or(("QUESTION", "ANSWER"));
    format!(
        "name the fields of a question and its answer (--column {question} --target-column {answer}), or that of a text to go \
         on with (--column NAME)"
    )
}

/// The kind of data that the columns of a table show, from which a base is to learn, with why.
///
/// # Errors
/// When the file cannot be read, or what its columns are must be said.
pub fn recognised_table(path: &Path) -> Outcome<(&'static str, String)> {
    let names = column_names(path)?;
    if let Some(record) = record_of_columns(&names) {
        return of_record(record, path, true);
    }
    Err(Failure::new(format!(
        "{} is a table with the columns {}, and rows are learned from nothing, not from a base of texts; {}; in JSON lines the \
         layouts of conversations and preferences are recognised: {}. To learn the rows, leave out --base",
        path.display(),
        names.join(", "),
        how_to_name(&names),
        how_to_convert(path)
    )))
}

/// The command that makes JSON lines of a table.
fn how_to_convert(path: &Path) -> String {
    let (file, read) = (word(path), if Format::of(path) == Some(Format::Parquet) { "parquet" } else { "csv" });
    format!(
        "python -c \"import pandas, sys; pandas.read_{read}(sys.argv[1]).to_json('data.jsonl', orient='records', lines=True)\" \
         {file}"
    )
}

/// Refuses a table in which what a base is to learn stands in lists, which are read of JSON lines alone: what is beside them
/// would be learned instead.
///
/// # Errors
/// Which column that is, and how to make JSON lines.
pub fn refuse_nested(path: &Path) -> Outcome<()> {
    for file in files(path)?.iter().filter(|file| file.is_file()) {
        if let Some(name) = lists_of_messages(&nested_column_names(file)?) {
            return Err(Failure::new(format!(
                "{}: its column {name} holds lists, which are read of JSON lines alone: {}",
                file.display(),
                how_to_convert(file)
            )));
        }
    }
    Ok(())
}

/// The first of these columns that is a field of a layout.
fn lists_of_messages(nested: &[String]) -> Option<&String> {
    nested.iter().find(|name| RECORD_LAYOUTS.iter().any(|layout| layout.fields.contains(&name.as_str())))
}

/// What to do with a table whose columns look as if a base should learn from them; `None` for another.
///
/// # Errors
/// When the file cannot be read.
pub fn hint_of_table(path: &Path) -> Outcome<Option<String>> {
    let names = column_names(path)?;
    if record_of_columns(&names) == Some(Record::Preference) {
        return Ok(Some("to fine-tune a model on these preferences: --base MODEL".to_owned()));
    }
    Ok(pair_of(&names).map(|(question, answer)| {
        format!(
            "to learn to answer instead: --column {question} --target-column {answer}, with --base MODEL for fine-tuning"
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_looks_like_pairs_says_what_else_it_is_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        let check = |header: &str, expect: Option<&str>| {
            std::fs::write(&path, format!("{header}\n1,2,3\n")).unwrap();
            let hint = hint_of_table(&path).unwrap();
            match expect {
                Some(expect) => assert!(hint.as_ref().is_some_and(|hint| hint.contains(expect)), "{header}: {hint:?}"),
                None => assert_eq!(hint, None, "{header}"),
            }
        };
        check("id,prompt,completion", Some("--column prompt --target-column completion, with --base MODEL"));
        check("prompt,chosen,rejected", Some("preferences: --base MODEL"));
        check("text,chosen,rejected,prompt", None);
        check("id,age,output", None);
    }

    #[test]
    fn columns_of_messages_are_known() {
        let names = |names: [&str; 2]| lists_of_messages(&names.map(str::to_owned)).cloned();
        assert_eq!(names(["tags", "messages"]).as_deref(), Some("messages"));
        assert_eq!(names(["tags", "scores"]), None);
    }
}
