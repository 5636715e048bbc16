//! JSON objects, one a line or as the elements of an array, the text in one of their fields.

use super::array::Elements;
use super::input::Input;
use super::record::Parts;
use super::text::Lines;
use super::{Columns, Documents, Format};
use crate::document::element;
use crate::{Document, Error, Origin, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The text of an object, and where it stands.
pub(crate) struct Item {
    /// That of its line, or as an element of an array; from 1.
    pub(crate) number: u64,
    /// The line on which an element begins, from 1.
    pub(crate) line: Option<u64>,
    pub(crate) text: String,
}

impl Item {
    fn place(&self) -> String {
        self.line.map_or_else(|| format!("line {}", self.number), |line| element(self.number, line))
    }

    /// What is wrong with the text, and on which line of the file where that is not said already.
    fn explain(&self, error: &serde_json::Error) -> String {
        let text = error.to_string();
        let Some(first) = self.line else { return text };
        let of_text = format!(" at line {} column {}", error.line(), error.column());
        let what = text.strip_suffix(&of_text).unwrap_or(&text);
        format!("{what} on line {}", first + (error.line() as u64).saturating_sub(1))
    }
}

/// The texts of all objects of a file in this format, one that [holds objects](Format::holds_objects).
fn items(path: &Path, input: Input, format: Format) -> Box<dyn Iterator<Item = Result<Item>> + Send> {
    if format == Format::JsonArray {
        return Box::new(Elements::new(path, input));
    }
    let lines = Lines::new(path, input).filter(|line| !line.as_ref().is_ok_and(|line| line.text.trim().is_empty()));
    Box::new(lines.map(|line| line.map(|line| Item { number: line.number, line: None, text: line.text })))
}

/// One document for each object; blank lines are passed over.
pub(crate) fn read(path: &Path, input: Input, format: Format, columns: &Columns) -> Documents {
    let reader = Reader { path: path.to_owned(), columns: columns.clone() };
    Box::new(items(path, input, format).map(move |item| reader.document(item?)))
}

/// The names of the fields of a file's first object; none when the file is empty.
///
/// # Errors
/// When the file cannot be read, or its first line, or the first element of its array, is not a JSON object.
pub fn first_fields(path: &Path) -> Result<Vec<String>> {
    Ok(first_object(path)?.keys().cloned().collect())
}

/// A file's first object; one without fields when the file is empty.
///
/// # Errors
/// As [`first_fields`].
pub fn first_object(path: &Path) -> Result<Map<String, Value>> {
    let input = super::input::open(path, &super::ByteCounter::default())?;
    let mut items = items(path, input, Format::of(path).unwrap_or(Format::JsonLines));
    let Some(item) = items.next() else { return Ok(Map::new()) };
    let reader = Reader { path: path.to_owned(), columns: Columns::default() };
    reader.object(&item?)
}

struct Reader {
    path: PathBuf,
    columns: Columns,
}

impl Reader {
    fn object(&self, item: &Item) -> Result<Map<String, Value>> {
        serde_json::from_str(&item.text).map_err(|error| {
            let why = item.explain(&error);
            self.bad(item, format!("is not a JSON object ({why}); expected something like {}", self.example()))
        })
    }

    /// An object with what is looked for in each.
    fn example(&self) -> String {
        let Columns { text, target, fields, structured, record, .. } = &self.columns;
        if let Some(layout) = record.and_then(|record| record.layouts().next()) {
            return layout.example.to_owned();
        }
        let text = text.as_deref().unwrap_or(Columns::DEFAULT_TEXT);
        if *structured && target.is_none() {
            return format!("{{\"{text}\": [{{\"role\": \"user\", \"content\": \"…\"}}, …]}}");
        }
        let names = [text].into_iter().chain(target.as_deref()).chain(fields.iter().map(String::as_str));
        format!("{{{}}}", names.map(|name| format!("\"{name}\": \"…\"")).collect::<Vec<_>>().join(", "))
    }

    fn document(&self, item: Item) -> Result<Document> {
        let mut object = self.object(&item)?;
        let origin = Origin { line: item.line, ..Origin::new(self.path.to_string_lossy(), item.number - 1) };
        if let Some(record) = self.columns.record {
            let Parts { text, target, rejected } = record.read(&object).map_err(|problem| self.bad(&item, problem))?;
            let fields = self.columns.fields.iter().cloned().zip(rejected).collect();
            return Ok(Document { target, fields, ..Document::text(origin, text) });
        }
        let column = self.columns.text.as_deref().unwrap_or(Columns::DEFAULT_TEXT);
        let text = self.take(&mut object, column, &item)?;
        let target = self.columns.target.as_ref().map(|name| self.take(&mut object, name, &item)).transpose()?;
        let kept = self.columns.fields.iter();
        let fields =
            kept.map(|name| Ok((name.clone(), self.take(&mut object, name, &item)?))).collect::<Result<_>>()?;
        Ok(Document { target, fields, ..Document::text(origin, text) })
    }

    /// Takes a field out of the object: a string as it is, a number or truth value as JSON writes it.
    fn take(&self, object: &mut Map<String, Value>, name: &str, item: &Item) -> Result<String> {
        match object.remove(name) {
            Some(Value::String(text)) => Ok(text),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            Some(value @ (Value::Array(_) | Value::Object(_))) if self.columns.structured => Ok(value.to_string()),
            Some(_) => Err(self.bad(item, format!("field {name:?} is not a string"))),
            None if item.number == 1 => Err(Error::MissingColumn {
                path: self.path.clone(),
                column: name.to_owned(),
                available: object.keys().cloned().collect(),
            }),
            None => Err(self.bad(item, format!("has no field {name:?}, which those before have"))),
        }
    }

    fn bad(&self, item: &Item, problem: String) -> Error {
        Error::bad_record(&self.path, item.place(), problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn documents(text: &str, columns: &Columns) -> Vec<Result<Document>> {
        read(Path::new("a.jsonl"), Box::new(Cursor::new(text.as_bytes().to_vec())), Format::JsonLines, columns)
            .collect()
    }

    #[test]
    fn fields_become_text_target_and_kept_fields() {
        let columns = Columns {
            text: Some("en".into()),
            target: Some("de".into()),
            fields: vec!["year".into()],
            ..Columns::default()
        };
        let found = documents("{\"de\": \"ja\\n\", \"en\": \"yes\", \"year\": 1999}\n\n", &columns);
        let document = found[0].as_ref().unwrap();
        assert_eq!(document.as_text(), Some("yes"));
        assert_eq!(document.target.as_deref(), Some("ja\n"));
        assert_eq!(document.field("year"), Some("1999"));
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn lists_are_taken_as_json_where_they_may_be() {
        let line = "{\"messages\": [{\"role\": \"user\"}], \"id\": 7}";
        let columns = Columns { text: Some("messages".into()), structured: true, ..Columns::default() };
        let found = documents(line, &columns).remove(0).unwrap();
        assert_eq!(found.as_text(), Some("[{\"role\":\"user\"}]"));
        let error = documents("{\"messages\": [", &columns).remove(0).unwrap_err().to_string();
        assert!(error.contains(r#"{"messages": [{"role": "user", "content": "…"}, …]}"#), "{error}");
        assert!(documents(line, &Columns { structured: false, ..columns }).remove(0).is_err());
    }

    #[test]
    fn a_bad_line_is_named() {
        let check = |text: &str, expect: &str| {
            let error = documents(text, &Columns::default()).pop().unwrap().unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("{\"text\": \"a\"}\n{\"text\": \"a\"", "line 2");
        check("{\"text\": \"a\"}\n[1]", "line 2");
        check("{\"body\": \"a\", \"title\": \"b\"}", "it has \"body\", \"title\"");
        check("{\"text\": null}", "not a string");
        check("{\"text\": \"a\"}\n{\"body\": \"a\"}", "line 2");
        check(&format!("{}\n", "[".repeat(100_000)), "line 1");
    }
}
