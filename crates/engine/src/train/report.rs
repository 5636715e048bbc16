//! What a training step says about itself.

use super::preference::PreferenceScore;
use serde::Serialize;

/// One step, as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Tokens read since the run began, padding not counted.
    pub n_tokens: u64,
    /// Mean of −ln p(target), without label smoothing, so that it compares with validation.
    ///
    /// # Units
    /// Nats a token.
    pub loss: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Length of the gradient before it was clipped.
    pub grad_norm: f64,
    /// Tokens read in a second, padding not counted.
    pub tokens_per_s: f64,
    /// Useful operations in a second; what is computed twice counts once, padding not at all.
    pub flops_per_s: f64,
    /// How long the step took.
    pub seconds: f64,
    /// How well the model kept to the preferences, where it learns from those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferences: Option<PreferenceScore>,
}
