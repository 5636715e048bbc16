//! `log.jsonl`: one JSON object a line, one line a logged step or validation.

use crate::failure::Outcome;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A logged training step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// Steps done.
    pub step: u64,
    /// Tokens seen since the start of the run.
    pub n_tokens: u64,
    /// Training loss, nats per token, averaged over the steps since the row before, or since the run was resumed.
    pub loss: f64,
    /// Of this step.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Since the row before.
    pub tokens_per_s: f64,
    /// Since the row before.
    pub flops_per_s: f64,
    /// Mean difference of the rewards of chosen and rejected answers, since the row before, in learning from preferences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_margin: Option<f64>,
    /// Share of pairs whose chosen answer has the higher reward, since the row before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference_accuracy: Option<f64>,
    /// Time spent training, since the start of the run, over all its sittings.
    pub seconds: f64,
}

/// A logged validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationRow {
    /// Steps done.
    pub step: u64,
    /// Nats per token.
    pub validation_loss: f64,
    /// Bits per byte of original data; absent where bytes are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// Share of tokens whose most probable prediction is right.
    pub accuracy: f64,
    /// Mean difference of the rewards of chosen and rejected answers, in learning from preferences; the loss is then that
    /// of the pairs, and the accuracy the share of those whose chosen answer has the higher reward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_margin: Option<f64>,
    /// Whether the moving average of the weights was scored.
    #[serde(default)]
    pub is_average: bool,
    /// Time spent training so far.
    pub seconds: f64,
}

/// A logged step of a GAN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdversarialRow {
    /// Steps done.
    pub step: u64,
    /// How far apart the discriminator finds real and made rows (an estimate of Wasserstein's distance).
    pub distance: f64,
    /// How much its slope strays from 1.
    pub penalty: f64,
    /// How far made rows are from what was asked for, nats per row.
    pub condition_loss: f64,
    /// Time spent training, since the start of the run, over all its sittings.
    pub seconds: f64,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Row {
    /// A step of a GAN.
    Adversarial(AdversarialRow),
    /// A validation.
    Validation(ValidationRow),
    /// A training step.
    Step(StepRow),
}

impl Row {
    /// Steps done.
    pub fn step(&self) -> u64 {
        match self {
            Row::Adversarial(row) => row.step,
            Row::Validation(row) => row.step,
            Row::Step(row) => row.step,
        }
    }

    /// Time spent training when it was written.
    pub fn seconds(&self) -> f64 {
        match self {
            Row::Adversarial(row) => row.seconds,
            Row::Validation(row) => row.seconds,
            Row::Step(row) => row.seconds,
        }
    }

    /// The steps, if it is of steps.
    pub fn steps(&self) -> Option<&StepRow> {
        match self {
            Row::Step(row) => Some(row),
            Row::Validation(_) | Row::Adversarial(_) => None,
        }
    }

    /// The validation, if it is one.
    pub fn validation(&self) -> Option<&ValidationRow> {
        match self {
            Row::Validation(row) => Some(row),
            Row::Step(_) | Row::Adversarial(_) => None,
        }
    }
}

/// The log of a run, open for writing.
#[derive(Debug)]
pub struct Log {
    file: File,
}

impl Log {
    /// Opens the log and drops rows beyond `step`: those of work that was lost when the run was killed.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path, step: u64) -> Outcome<Self> {
        let kept: Vec<Row> = read(path)?.into_iter().filter(|row| row.step() <= step).collect();
        let text: String = kept.iter().map(line).collect();
        genera_data::write_atomically(path, text.as_bytes())?;
        Ok(Self { file: OpenOptions::new().append(true).open(path)? })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, row: &Row) -> io::Result<()> {
        self.file.write_all(line(row).as_bytes())
    }
}

fn line(row: &Row) -> String {
    let json = serde_json::to_string(row).expect("a row of numbers is always valid JSON");
    format!("{json}\n")
}

/// The rows of a log; none when there is no file. A last line cut by a kill is left out.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<Row>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The arithmetic of all logged steps: rate times time, row by row.
pub fn n_flops<'r>(steps: impl IntoIterator<Item = &'r StepRow>) -> f64 {
    let mut before = 0;
    let of_row = |row: &StepRow| {
        let n_tokens = row.n_tokens - std::mem::replace(&mut before, row.n_tokens);
        row.flops_per_s * n_tokens as f64 / row.tokens_per_s.max(1e-9)
    };
    steps.into_iter().map(of_row).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step_row(step: u64) -> Row {
        let (loss, learning_rate, grad_norm) = (1.5, 1e-3, 0.7);
        let (tokens_per_s, flops_per_s) = (1e4, 1e11);
        Row::Step(StepRow {
            step,
            n_tokens: 10 * step,
            loss,
            learning_rate,
            grad_norm,
            tokens_per_s,
            flops_per_s,
            reward_margin: None,
            preference_accuracy: None,
            seconds: 2.0,
        })
    }

    #[test]
    fn rows_beyond_the_checkpoint_and_a_cut_line_are_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.jsonl");
        let mut log = Log::open(&path, 0).unwrap();
        let validation = ValidationRow {
            step: 2,
            validation_loss: 1.4,
            bits_per_byte: None,
            accuracy: 0.5,
            reward_margin: None,
            is_average: false,
            seconds: 1.0,
        };
        let rows = [step_row(1), step_row(2), Row::Validation(validation), step_row(3)];
        rows.iter().for_each(|row| log.append(row).unwrap());
        log.file.write_all(b"{\"step\":4,\"n_tok").unwrap();
        assert_eq!(read(&path).unwrap(), rows);
        Log::open(&path, 2).unwrap();
        assert_eq!(read(&path).unwrap(), rows[..3]);
    }
}
