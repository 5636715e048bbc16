//! Training: batches in, better weights out.
//!
//! Read [`Trainer::step`] first. `schedule` says how fast to learn, `optimizer` how weights follow gradients, `clip` how
//! long a gradient may be, `ema` averages the weights, `privacy` keeps single rows
//! from showing, `loss` counts, `report` says what happened.

pub(crate) mod clip;
pub(crate) mod ema;
mod expert;
mod finite;
#[cfg(test)]
pub(crate) mod fixture;
mod loss;
mod optimizer;
mod preference;
mod privacy;
mod report;
mod schedule;
mod settings;
mod trainer;

pub use expert::{Expert, Experts};
pub use loss::Validation;
pub use optimizer::{
    AdamWSettings, ModelOptimizer, MuonSettings, Optimizer, OptimizerSettings, SgdSettings, Sweep, Update,
};
pub use preference::{PreferencePair, PreferenceScore, answer_nll};
pub use privacy::{NoisySteps, PrivacySettings, noise_multiplier};
pub use report::StepReport;
pub use schedule::{Descent, Schedule};
pub use settings::TrainSettings;
pub use trainer::{ReadTensor, Trainer, TrainerState};
