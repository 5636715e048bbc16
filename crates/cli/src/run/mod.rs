//! A run and its directory: everything that training leaves behind, and what goes on from it.

pub mod adversarial;
pub mod directory;
pub mod export;
pub mod interrupt;
pub mod log;
pub mod preferences;
pub mod preparing;
pub mod samples;
pub mod session;
pub mod tensorboard;
