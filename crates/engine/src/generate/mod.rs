//! Generation: from prompts to answers, token by token.
//!
//! Read [`generator`](Generator) first: each step asks the `scheduler` (pure bookkeeping) which requests are read and
//! which go on, runs the model over `kv_cache`, and lets each request's [`Sampler`] choose a token under its
//! [`Constraint`]. [`generate_naively`] is the same without cache or batch, in a few lines, for comparison.
//! [`Dialogue`] answers turn by turn and reads only what is new. [`beam_search`] looks for the most probable answer instead of drawing one. [`score`] and [`logits_of`] measure given
//! tokens.

mod attend;
mod beam;
mod constraint;
mod dialogue;
mod draft;
mod embed;
mod generator;
mod guide;
mod logits;
mod lookup;
mod naive;
mod prefill;
mod prefixes;
mod progress;
mod request;
mod rules;
mod sampler;
mod sampling;
mod scheduler;
mod score;
#[cfg(test)]
pub(crate) mod tests;

pub use attend::attend;
pub use beam::{BeamInput, BeamSettings, Ending, Hypothesis, beam_search, beam_search_by_group};
pub use constraint::{Allowed, Constraint, TokenMask};
pub use dialogue::Dialogue;
pub use embed::embed;
pub use generator::{Event, Generator};
pub use logits::logits_of;
pub use naive::generate_naively;
pub use request::{Answer, Fault, Finish, Guidance, MAX_GUIDANCE, Request, RequestId, WhenFull};
pub use rules::Rules;
pub use sampler::{Choice, Logits, Sampler, Scratch};
pub use sampling::Sampling;
pub use scheduler::Limits;
pub use score::{Score, ScoreSettings, Scored, score, score_blocks};
