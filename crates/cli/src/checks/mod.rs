//! The checks behind `genera check`: each measures an error and has a limit for it.

mod exact;
mod gradients;
mod models;

use crate::failure::Outcome;
use serde::Serialize;
use std::fmt;

/// A group of checks: whether to be quick, and the number of threads.
type Check = fn(bool, usize) -> Outcome<Vec<Finding>>;

/// Every group, in the order of the table.
pub const ALL: &[(&str, Check)] = &[
    ("operations against their formulas, gradients against finite differences (f64)", gradients::operations),
    ("whole models: gradient against finite differences", gradients::models),
    ("vector instructions against plain loops, whole models", gradients::against_reference),
    ("cached decoding against the full forward pass", exact::cached),
    ("micro-batches against one batch", exact::accumulation),
    ("identical bits with 1, 2 and 3 threads", exact::threads),
    ("identical bits after stopping and resuming", exact::resumed),
    ("hidden tokens change nothing", exact::masks),
];

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was checked.
    pub name: String,
    /// The measured error; for checks of identity the number of differing bits' places.
    pub error: f64,
    /// The largest that passes.
    pub limit: f64,
}

impl Finding {
    /// A finding with its limit.
    pub fn new(name: impl Into<String>, error: f64, limit: f64) -> Self {
        Self { name: name.into(), error, limit }
    }

    /// Whether the error is within the limit; one that is not a number is not.
    pub fn is_passed(&self) -> bool {
        self.error <= self.limit
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_passed() { "ok" } else { "FAILED" };
        let limit = if self.limit == 0.0 { "exact".to_owned() } else { format!("limit {:.0e}", self.limit) };
        write!(f, "{:<58} {:>9.1e}  {limit:<12} {verdict}", self.name, self.error)
    }
}
