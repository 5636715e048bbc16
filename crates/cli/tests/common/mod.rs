//! Runs the program as a person would, in a directory of its own.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A directory to run the program in.
pub struct Bench {
    directory: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn read_text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_genera"));
        command.args(arguments).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Goes on with the run `killed`, or begins it with `arguments` where it was killed before it had a recipe.
    pub fn next_sitting<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str> {
        if self.path("killed/recipe.toml").exists() {
            vec!["resume", "killed"]
        } else {
            [arguments, &["--run", "killed"]].concat()
        }
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What the program prints; it must succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "genera {arguments:?} failed ({}): {error}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let printed = self.run(arguments);
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error} in {printed}"))
    }

    /// What the program says when it refuses; it must not panic.
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "genera {arguments:?} should fail");
        assert!(!error.contains("panicked"), "genera {arguments:?} panicked: {error}");
        error
    }
}

/// A text of some thousand characters.
pub fn text() -> String {
    let line = |i: u32| format!("{} birds sat on {} trees, and {} of them sang.\n", i % 17, i % 5 + 1, i % 17 / 2);
    (0..200).map(line).collect()
}

/// A recipe for a model so small that a step takes milliseconds.
pub const TINY: &str = r#"
[data]
kind = "text"
files = ["birds.txt"]

[tokenizer]
kind = "characters"

[model]
preset = "llama"
n_layers = 2
n_heads = 2
d_model = 32
context_len = 32

[train]
steps = 60
batch_size = 4
learning_rate = 0.01
dropout = 0.1
ema_decay = 0.9
checkpoint_every = 4
validate_every = 20
sample_every = 30
log_every = 5

[generate]
max_tokens = 40
"#;

/// A bench with the text and the recipe.
pub fn tiny() -> Bench {
    let bench = Bench::new();
    bench.write("birds.txt", text());
    bench.write("tiny.toml", TINY);
    bench
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
