//! A moving average of the weights, which is less noisy than the weights themselves.

use crate::params::{Params, Role};
use genera_tensor::{ParamId, Tensor};

/// The averages of all trained parameters.
#[derive(Debug)]
pub(super) struct Averages {
    decay: f64,
    /// `None` for parameters that are not trained.
    by_param: Vec<Option<Tensor>>,
}

impl Averages {
    /// Averages that start at the weights.
    pub(super) fn new(params: &Params, decay: f64) -> Self {
        let start = |i: usize| (params.specs()[i].role != Role::Fixed).then(|| params.master(ParamId(i)).copy());
        Self { decay, by_param: (0..params.len()).map(start).collect() }
    }

    /// Moves the averages towards the weights after step `step`, counted from 1. In the beginning they follow faster, so
    /// that the initial weights are soon forgotten.
    pub(super) fn update(&mut self, params: &Params, step: u64) {
        let decay = self.decay.min((1.0 + step as f64) / (10.0 + step as f64));
        for (i, average) in self.by_param.iter_mut().enumerate() {
            let Some(average) = average else { continue };
            let weights = params.master(ParamId(i));
            let kernels = weights.device().kernels();
            kernels.scale_add((1.0 - decay) as f32, weights.view(), decay as f32, average.view_mut());
        }
    }

    /// Exchanges the averages with the weights; a second call undoes it.
    pub(super) fn swap(&mut self, params: &mut Params) {
        for (i, average) in self.by_param.iter_mut().enumerate() {
            let Some(average) = average else { continue };
            let (weights, rounded) = params.for_update(ParamId(i));
            std::mem::swap(weights, average);
            if let Some(rounded) = rounded {
                weights.device().kernels().cast(weights.view(), rounded.view_mut());
            }
        }
    }

    /// The averages with their parameters.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ParamId, &Tensor)> {
        self.by_param.iter().enumerate().filter_map(|(i, average)| Some((ParamId(i), average.as_ref()?)))
    }

    /// The averages for replacement.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ParamId, &mut Tensor)> {
        self.by_param.iter_mut().enumerate().filter_map(|(i, average)| Some((ParamId(i), average.as_mut()?)))
    }
}
