//! JSON lines: one object a line, the text in one of its fields.

use super::input::Input;
use super::record::Parts;
use super::text::{Line, Lines};
use super::{Columns, Documents};
use crate::{Document, Error, Origin, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// One document for each object; blank lines are passed over.
pub(crate) fn read(path: &Path, input: Input, columns: &Columns) -> Documents {
    let reader = Reader { path: path.to_owned(), columns: columns.clone() };
    let lines = Lines::new(path, input).filter(|line| !line.as_ref().is_ok_and(|line| line.text.trim().is_empty()));
    Box::new(lines.map(move |line| reader.document(line?)))
}

/// The names of the fields of a file's first object; none when the file is empty.
///
/// # Errors
/// When the file cannot be read, or its first line is not a JSON object.
pub fn first_fields(path: &Path) -> Result<Vec<String>> {
    Ok(first_object(path)?.keys().cloned().collect())
}

/// A file's first object; one without fields when the file is empty.
///
/// # Errors
/// As [`first_fields`].
pub fn first_object(path: &Path) -> Result<Map<String, Value>> {
    let input = super::input::open(path, &super::ByteCounter::default())?;
    let mut lines = Lines::new(path, input).filter(|line| !line.as_ref().is_ok_and(|line| line.text.trim().is_empty()));
    let Some(line) = lines.next() else { return Ok(Map::new()) };
    let reader = Reader { path: path.to_owned(), columns: Columns::default() };
    reader.object(&line?)
}

struct Reader {
    path: PathBuf,
    columns: Columns,
}

impl Reader {
    fn object(&self, line: &Line) -> Result<Map<String, Value>> {
        serde_json::from_str(&line.text).map_err(|error| {
            self.bad(line, format!("is not a JSON object ({error}); expected something like {}", self.example()))
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

    fn document(&self, line: Line) -> Result<Document> {
        let mut object = self.object(&line)?;
        let origin = Origin::new(self.path.to_string_lossy(), line.number - 1);
        if let Some(record) = self.columns.record {
            let Parts { text, target, rejected } = record.read(&object).map_err(|problem| self.bad(&line, problem))?;
            let fields = self.columns.fields.iter().cloned().zip(rejected).collect();
            return Ok(Document { target, fields, ..Document::text(origin, text) });
        }
        let column = self.columns.text.as_deref().unwrap_or(Columns::DEFAULT_TEXT);
        let text = self.take(&mut object, column, &line)?;
        let target = self.columns.target.as_ref().map(|name| self.take(&mut object, name, &line)).transpose()?;
        let kept = self.columns.fields.iter();
        let fields =
            kept.map(|name| Ok((name.clone(), self.take(&mut object, name, &line)?))).collect::<Result<_>>()?;
        Ok(Document { target, fields, ..Document::text(origin, text) })
    }

    /// Takes a field out of the object: a string as it is, a number or truth value as JSON writes it.
    fn take(&self, object: &mut Map<String, Value>, name: &str, line: &Line) -> Result<String> {
        match object.remove(name) {
            Some(Value::String(text)) => Ok(text),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            Some(value @ (Value::Array(_) | Value::Object(_))) if self.columns.structured => Ok(value.to_string()),
            Some(_) => Err(self.bad(line, format!("field {name:?} is not a string"))),
            None if line.number == 1 => Err(Error::MissingColumn {
                path: self.path.clone(),
                column: name.to_owned(),
                available: object.keys().cloned().collect(),
            }),
            None => Err(self.bad(line, format!("has no field {name:?}, which the lines before have"))),
        }
    }

    fn bad(&self, line: &Line, problem: String) -> Error {
        Error::bad_record(&self.path, format!("line {}", line.number), problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn documents(text: &str, columns: &Columns) -> Vec<Result<Document>> {
        read(Path::new("a.jsonl"), Box::new(Cursor::new(text.as_bytes().to_vec())), columns).collect()
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
