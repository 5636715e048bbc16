//! Data made by rule, so that a first run needs no download and what a perfect model would reach is known.
//!
//! [`StoryGrammar`] writes little stories whose entropy is known exactly; [`SequenceTask`] sets the copy, reverse and
//! sort exercises. Both are pure functions of (seed, index): any example can be made without those before it.

mod rng;
mod sequence_task;
mod story;

pub(crate) use rng::Dice;
pub use sequence_task::{SYMBOLS, SequenceTask, SequenceTaskKind};
pub use story::{Mistake, StoryGrammar};
