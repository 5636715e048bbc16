//! Laws of generation over small random models of every shape and position scheme.

mod beam;
mod dialogue;
mod generator;
pub(crate) mod models;
mod pages;
mod refusal;
mod sampler;
mod score;

use super::sampler::Logits;
use genera_tensor::View;
use genera_tensor::backend::{Kernels, reference::Reference};

impl<'l> Logits<'l> {
    /// Of some logits, in plain loops.
    fn of(values: &'l [f32]) -> Self {
        let mut sum = [0.0];
        Reference.log_sum_exp(values.len(), View::F32(values), &mut sum);
        Self { values, log_sum_exp: sum[0] }
    }
}
