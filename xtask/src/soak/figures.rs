//! What was measured, beside what must be reached.

use serde_json::{Value, json};
use std::fmt::Write;

/// All figures.
#[derive(Debug, Default)]
pub struct Figures {
    rows: Vec<Figure>,
}

#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    goal: String,
    is_met: bool,
}

impl Figures {
    /// A figure that must be exactly so.
    pub fn exactly(&mut self, name: &str, value: usize, goal: usize) {
        self.push(name, value as f64, goal.to_string(), value == goal);
    }

    /// A figure that must not be greater.
    pub fn at_most(&mut self, name: &str, value: f64, goal: f64) {
        self.push(name, value, format!("≤ {goal}"), value <= goal);
    }

    /// A figure for whoever wants to know.
    pub fn note(&mut self, name: &str, value: f64) {
        self.push(name, value, String::new(), true);
    }

    fn push(&mut self, name: &str, value: f64, goal: String, is_met: bool) {
        let mark = if is_met { "" } else { "  MISSED" };
        eprintln!("soak: {name}: {value:.3} {goal}{mark}");
        self.rows.push(Figure { name: name.to_owned(), value, goal, is_met });
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::from("\nwhat                                                       value  goal\n");
        for Figure { name, value, goal, is_met } in &self.rows {
            let mark = if *is_met { "" } else { "  MISSED" };
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{name:<50} {value:>13.3}  {goal}{mark}");
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let row = |figure: &Figure| json!({ "name": figure.name, "value": figure.value, "goal": figure.goal, "is_met": figure.is_met });
        json!({ "figures": self.rows.iter().map(row).collect::<Vec<Value>>() })
    }

    /// Fails when a goal is missed.
    pub fn verdict(&self) -> Result<(), String> {
        let missed: Vec<&str> = self.rows.iter().filter(|row| !row.is_met).map(|row| row.name.as_str()).collect();
        if missed.is_empty() { Ok(()) } else { Err(format!("missed: {}", missed.join("; "))) }
    }
}

/// The value that `share` of the others do not exceed.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(at).copied().unwrap_or(f64::NAN)
}
