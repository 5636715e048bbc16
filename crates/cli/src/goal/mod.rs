//! Improving what a model makes, toward a score: what scores, and the rounds of making, scoring and learning.

pub mod external;
pub mod known;
pub mod objective;
pub mod rounds;
