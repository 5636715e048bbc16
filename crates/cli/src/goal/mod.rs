//! Improving what a model makes, toward a score: what scores, and the rounds of making, scoring and learning.

pub mod external;
pub mod known;
pub mod objective;
pub mod rounds;

/// A number of things as a person says it: 1 candidate, 2 candidates.
pub fn counted(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}
