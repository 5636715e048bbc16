//! Tables: rows made and filled in by a model, and what they are worth beside real ones.

pub mod acceptance;
pub mod completion;
pub mod finish;
pub mod frame;
pub mod gan;
pub mod judgement;
pub mod likelihood;
pub mod maker;
pub mod options;
pub mod page;
mod weighing;
