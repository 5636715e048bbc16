//! A run as plain lines: for logs, pipes, and those who read with a screen reader.

use super::monitor::{Monitor, RunFacts};
use super::number;
use super::prose::fitted;
use crate::run::log::{StepRow, ValidationRow};
use std::time::{Duration, Instant};

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(5);

/// Prints one line every few seconds.
#[derive(Debug)]
pub struct Lines {
    facts: RunFacts,
    to_stderr: bool,
    last: Option<Instant>,
}

impl Lines {
    /// Lines to standard output, or to standard error when standard output is for machines.
    pub fn new(facts: RunFacts, to_stderr: bool) -> Self {
        let mut lines = Self { facts, to_stderr, last: None };
        lines.print(&lines.facts.title.clone());
        lines
    }

    fn print(&mut self, line: &str) {
        if self.to_stderr { eprintln!("{line}") } else { println!("{line}") }
    }
}

impl Monitor for Lines {
    fn step(&mut self, row: &StepRow, left: Option<Duration>) {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= INTERVAL) || row.step == self.facts.n_steps;
        if is_due {
            self.last = Some(Instant::now());
            self.print(&step_line(&self.facts, row, left));
        }
    }

    fn validation(&mut self, row: &ValidationRow) {
        let per_byte = row.bits_per_byte.map_or_else(String::new, |bits| format!(", {bits:.3} bits per byte"));
        let floor = self.facts.floor_nats.map_or_else(String::new, |floor| format!(" (floor {floor:.4})"));
        let average = if row.is_average { " of the averaged weights" } else { "" };
        let preferences = row.reward_margin.map_or_else(String::new, |margin| {
            format!(", reward margin {margin:.4}, accuracy {:.0} %", 100.0 * row.accuracy)
        });
        self.print(&format!(
            "step {}: validation loss{average} {:.4}{floor}{per_byte}{preferences}",
            row.step, row.validation_loss
        ));
    }

    fn sample(&mut self, step: u64, text: &str) {
        self.print(&format!("step {step}, a sample:\n{}", indented(&glimpse(text))));
    }

    fn note(&mut self, text: &str) {
        let text = if self.to_stderr { text.to_owned() } else { fitted(text, 0) };
        self.print(&text);
    }

    fn finish(&mut self) {}
}

/// One step in one line.
pub fn step_line(facts: &RunFacts, row: &StepRow, left: Option<Duration>) -> String {
    let share = facts
        .peak_flops_per_s
        .map_or_else(String::new, |peak| format!(" ({:.0} % of peak)", 100.0 * row.flops_per_s / peak));
    let left = left.map_or_else(String::new, |left| format!(", {} left", number::duration(left)));
    let preferences = row.reward_margin.zip(row.preference_accuracy).map_or_else(String::new, |(margin, accuracy)| {
        format!(", reward margin {margin:.4}, accuracy {:.0} %", 100.0 * accuracy)
    });
    format!(
        "step {}/{}: loss {:.4}{preferences}, {} tokens/s, {}{share}{left}",
        row.step,
        facts.n_steps,
        row.loss,
        number::count(row.tokens_per_s),
        number::flops_per_s(row.flops_per_s),
    )
}

/// Lines of a sample that are shown, and characters of a line.
const GLIMPSE: (usize, usize) = (12, 100);

/// The beginning of a sample: a few lines, none of them empty or long.
pub fn glimpse(text: &str) -> String {
    let (n_lines, n_characters) = GLIMPSE;
    let mut full = text.lines().filter(|line| !line.trim().is_empty());
    let cut = |line: &str| match line.char_indices().nth(n_characters) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    };
    let mut lines: Vec<String> = full.by_ref().take(n_lines).map(cut).collect();
    let n_more = full.count();
    if n_more > 0 {
        lines.push(format!("… {n_more} more lines in samples/"));
    }
    lines.join("\n")
}

/// Each line moved to the right.
pub fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_takes_a_few_lines() {
        assert_eq!(glimpse("a\n\n \nb\n"), "a\nb");
        let found = glimpse(&format!("{}\n{}", "ü".repeat(150), "x\n\n".repeat(20)));
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!((lines.len(), lines[0].chars().count()), (13, 101));
        assert_eq!(lines[12], "… 9 more lines in samples/");
    }
}
