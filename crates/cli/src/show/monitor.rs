//! What is shown while a run goes on, on a terminal or not.

use super::{dashboard::Dashboard, lines::Lines};
use crate::run::log::{StepRow, ValidationRow};
use std::io::IsTerminal;
use std::time::Duration;

/// What a run is about, said once at its start.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// For example `stories · llama, 0.8 M parameters, bf16, 2 threads`.
    pub title: String,
    /// Steps of the whole run.
    pub n_steps: u64,
    /// Losses logged in earlier sittings, by step.
    pub losses: Vec<(f64, f64)>,
    /// Validation losses of earlier sittings, by step.
    pub validations: Vec<(f64, f64)>,
    /// What the loss of a perfect model would be, where it is known.
    pub floor_nats: Option<f64>,
    /// Rate of arithmetic that this machine's matrix products reach at best, for the share of it.
    pub peak_flops_per_s: Option<f64>,
}

/// Shows a run while it goes on.
pub trait Monitor {
    /// A step was logged.
    fn step(&mut self, row: &StepRow, left: Option<Duration>);

    /// The validation data was scored.
    fn validation(&mut self, row: &ValidationRow);

    /// A sample was made.
    fn sample(&mut self, step: u64, text: &str);

    /// Something to be read, which stays on the screen.
    fn note(&mut self, text: &str);

    /// The run has ended; leaves the terminal as it was found.
    fn finish(&mut self);
}

/// A dashboard on a terminal, else one plain line every few seconds, on standard error when standard output is for
/// machines.
pub fn monitor(facts: RunFacts, json: bool) -> Box<dyn Monitor> {
    if !json && std::io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb") {
        match Dashboard::new(facts.clone()) {
            Ok(dashboard) => return Box::new(dashboard),
            Err(error) => eprintln!("genera: no dashboard on this terminal ({error}); plain lines instead"),
        }
    }
    Box::new(Lines::new(facts, json))
}
