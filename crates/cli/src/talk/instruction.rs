//! Lines that begin with a slash: what a person asks of the program, not of the model.

use crate::failure::{Failure, Outcome};
use crate::show::prose::wrapped;
use std::fmt::Write;
use std::path::PathBuf;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Say this to the model.
    Say(String),
    /// List the instructions.
    Help,
    /// Show what the model was told, or tell it this.
    System(Option<String>),
    /// Forget all that was said.
    Reset,
    /// Forget the newest question and its answer.
    Undo,
    /// Answer the newest question anew.
    Retry,
    /// Change the newest question and have it answered.
    Edit,
    /// Write what was said to a file.
    Save(PathBuf),
    /// Show counts and speed.
    Stats,
    /// End.
    Quit,
}

/// Name, argument, what it does.
const ALL: [(&str, &str, &str); 9] = [
    ("help", "", "this list"),
    ("system", "[TEXT]", "tell the model how to answer from now on; without TEXT show what it was told"),
    ("reset", "", "forget all that was said"),
    ("undo", "", "forget the newest question and its answer"),
    ("retry", "", "answer the newest question anew"),
    ("edit", "", "change the newest question, also one that was refused or stopped, and have it answered"),
    ("save", "FILE", "write the conversation: .jsonl as a chat file to train on, else as text"),
    ("stats", "", "questions, tokens, speed"),
    ("quit", "", "end, as Ctrl-D does"),
];

/// The instructions, one a line, and how to write a message, in so many columns.
pub fn help(width: usize) -> String {
    const INDENT: usize = 19;
    let mut text = String::new();
    for (name, argument, summary) in ALL {
        let line = format!("  {:<16} {summary}", format!("/{name} {argument}"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", wrapped(&line, width, INDENT));
    }
    let about = "A line that ends in \\ goes on in the next, and \"\"\" begins and ends a message of several lines. \
                 // begins a message with a slash. Ctrl-C stops an answer and keeps what was said of it, or takes back a message \
                 that is still being read.";
    text + &wrapped(about, width, 0) + "\n"
}

/// The names of the instructions that begin with `start`, which has its slash.
pub fn completions(start: &str) -> Vec<String> {
    let names = ALL.iter().map(|(name, ..)| format!("/{name}"));
    names.filter(|name| name.starts_with(start)).collect()
}

impl Instruction {
    /// What a message asks for.
    ///
    /// # Errors
    /// When it begins with a slash but names no instruction, or one that lacks its argument or has one too many.
    pub fn parse(message: &str) -> Outcome<Self> {
        let Some(line) = message.strip_prefix('/') else { return Ok(Self::Say(message.to_owned())) };
        if line.starts_with('/') {
            return Ok(Self::Say(line.to_owned()));
        }
        let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = argument.trim();
        let instruction = match name {
            "system" => return Ok(Self::System(Some(argument.to_owned()).filter(|text| !text.is_empty()))),
            "save" if argument.is_empty() => return Err(Failure::new("/save needs the name of a file: /save FILE")),
            "save" => return Ok(Self::Save(argument.into())),
            "help" | "?" => Self::Help,
            "reset" => Self::Reset,
            "undo" => Self::Undo,
            "retry" => Self::Retry,
            "edit" => Self::Edit,
            "stats" => Self::Stats,
            "quit" | "exit" | "bye" => Self::Quit,
            _ => {
                return Err(Failure::new(format!(
                    "there is no /{name}; /help lists what there is, // begins a message with a slash"
                )));
            }
        };
        if argument.is_empty() {
            Ok(instruction)
        } else {
            Err(Failure::new(format!("/{name} stands alone, without '{argument}'")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_instructions() {
        let check = |line: &str, expect: Instruction| assert_eq!(Instruction::parse(line).unwrap(), expect, "{line}");
        check("hello /quit", Instruction::Say("hello /quit".to_owned()));
        check("//etc is a directory", Instruction::Say("/etc is a directory".to_owned()));
        check("/system Be  brief.\nNow.", Instruction::System(Some("Be  brief.\nNow.".to_owned())));
        check("/system", Instruction::System(None));
        check("/save a b.txt ", Instruction::Save("a b.txt".into()));
        check("/quit", Instruction::Quit);
        for wrong in ["/", "/quti", "/save", "/undo 2"] {
            assert!(Instruction::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_help_lists_is_known() {
        for (name, argument, _) in ALL {
            let argument = argument.trim_matches(['[', ']']);
            assert!(!matches!(Instruction::parse(&format!("/{name} {argument}")).unwrap(), Instruction::Say(_)));
        }
        assert_eq!(completions("/re"), ["/reset", "/retry"]);
        assert!(help(60).lines().all(|line| line.len() <= 60), "{}", help(60));
    }
}
