//! Molecules from a model: made anew, from a fragment, or with wanted properties; written, drawn, and judged.

pub mod drawings;
pub mod maker;
pub mod options;
pub mod output;
pub mod reference;
pub mod verdict;
