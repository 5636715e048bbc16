//! Where answers are written, each as soon as it is finished.

use crate::answers::Answer;
use crate::failure::{Failure, Outcome, While};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// In which form answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// What is shown of the prompt, and what follows; several answers are set apart by a line.
    Text,
    /// The same on one line.
    Lines,
    /// One JSON object an answer, one a line.
    Json,
}

/// An answer as JSON.
#[derive(Debug, Serialize)]
struct JsonAnswer<'a> {
    prompt: &'a str,
    #[serde(flatten)]
    answer: Answer,
}

/// Writes answers. A file is opened with the first of them: what lies there stays while anything else can be wrong.
pub struct AnswerWriter {
    path: Option<PathBuf>,
    out: Option<Box<dyn Write>>,
    shape: Shape,
    /// Answers written.
    pub n_written: u64,
}

impl AnswerWriter {
    /// To a file, or to standard output.
    ///
    /// # Errors
    /// When the file could not be written; it is left as it is.
    pub fn new(path: Option<PathBuf>, shape: Shape) -> Outcome<Self> {
        if let Some(path) = &path {
            check(path)?;
        }
        Ok(Self { path, out: None, shape, n_written: 0 })
    }

    /// In which form they are written.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The file, where there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Writes an answer to `prompt`, which is shown or is a part of the object.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn write(&mut self, prompt: &str, answer: Answer) -> Outcome<()> {
        let text = match self.shape {
            Shape::Lines => format!("{prompt}{}", answer.text.trim_end_matches('\n')).replace('\n', " ") + "\n",
            Shape::Text => {
                let rule = if self.n_written > 0 { "----------\n" } else { "" };
                format!("{rule}{prompt}{}\n", answer.text.trim_end_matches('\n'))
            }
            Shape::Json => format!("{}\n", serde_json::to_string(&JsonAnswer { prompt, answer })?),
        };
        self.n_written += 1;
        self.write_part(&text)
    }

    /// Writes a part of an answer.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn write_part(&mut self, text: &str) -> Outcome<()> {
        let out = self.out()?;
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).during("cannot write the output")
    }

    /// Ends the output; a file without answers is empty then.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&mut self) -> Outcome<()> {
        self.out()?.flush().during("cannot finish the output")
    }

    fn out(&mut self) -> Outcome<&mut dyn Write> {
        if self.out.is_none() {
            self.out = Some(match &self.path {
                Some(path) => Box::new(File::create(path).during(format!("cannot write {}", path.display()))?),
                None => Box::new(std::io::stdout()),
            });
        }
        Ok(self.out.as_deref_mut().expect("it was opened"))
    }
}

/// Refuses a path that cannot be written, before anything is made in vain.
///
/// # Errors
/// Why it cannot be written; what lies there is left as it is.
pub fn check(path: &Path) -> Outcome<()> {
    let cannot = || format!("cannot write {}", path.display());
    if path.is_file() {
        return OpenOptions::new().write(true).open(path).map(drop).during(cannot());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        Err(Failure::new(format!("{}: it is a directory; name a file in it", cannot())))
    } else if !parent.is_dir() {
        Err(Failure::new(format!("{}: there is no directory {}; make it first", cannot(), parent.display())))
    } else {
        check_directory(parent).during(cannot())
    }
}

/// Whether a file can be made in a directory.
#[cfg(unix)]
fn check_directory(directory: &Path) -> Outcome<()> {
    Ok(rustix::fs::access(directory, rustix::fs::Access::WRITE_OK)?)
}

#[cfg(not(unix))]
fn check_directory(_directory: &Path) -> Outcome<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer { text: text.to_owned(), ..Answer::default() }
    }

    #[test]
    fn a_file_stays_until_the_first_answer_and_holds_each_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.txt");
        std::fs::write(&path, "old").unwrap();
        let held = || std::fs::read_to_string(&path).unwrap();
        let mut writer = AnswerWriter::new(Some(path.clone()), Shape::Text).unwrap();
        assert_eq!(held(), "old");
        writer.write("a", answer("b\n")).unwrap();
        assert_eq!(held(), "ab\n");
        writer.write("a", answer("c")).unwrap();
        assert_eq!(held(), "ab\n----------\nac\n");
        let mut writer = AnswerWriter::new(Some(path.clone()), Shape::Lines).unwrap();
        writer.write("a\nb", answer(" c\nd\n")).unwrap();
        assert_eq!(held(), "a b c d\n");
        AnswerWriter::new(Some(path.clone()), Shape::Json).unwrap().finish().unwrap();
        assert_eq!(held(), "");
    }

    #[test]
    fn what_cannot_be_written_is_refused_before() {
        let directory = tempfile::tempdir().unwrap();
        let refusal = |path: PathBuf| format!("{:?}", AnswerWriter::new(Some(path), Shape::Text).err().unwrap());
        assert!(refusal(directory.path().to_owned()).contains("is a directory"));
        assert!(refusal(directory.path().join("none/x.txt")).contains("there is no directory"));
    }
}
