//! A moving average of the weights, which is less noisy than the weights themselves.

use crate::params::Params;
use genera_tensor::{ParamId, Tensor};

/// The averages of all trained parameters.
#[derive(Debug)]
pub(crate) struct Averages {
    decay: f64,
    /// `None` for parameters that are not trained.
    by_param: Vec<Option<Tensor>>,
}

impl Averages {
    /// Averages that start at the weights.
    pub(crate) fn new(params: &Params, decay: f64) -> Self {
        let start = |i: usize| params.is_trained(ParamId(i)).then(|| params.master(ParamId(i)).copy());
        Self { decay, by_param: (0..params.len()).map(start).collect() }
    }

    /// Moves the averages towards the weights after step `step`, counted from 1. In the beginning they follow faster, so
    /// that the initial weights are soon forgotten.
    pub(crate) fn update(&mut self, params: &Params, step: u64) {
        let decay = self.decay.min((1.0 + step as f64) / (10.0 + step as f64));
        let trained =
            self.by_param.iter_mut().enumerate().filter_map(|(i, average)| Some((ParamId(i), average.as_mut()?)));
        let pairs: Vec<_> =
            trained.map(|(id, average)| (params.master(id).view().f32(), average.view_mut().into_f32())).collect();
        // decay·average + (1 − decay)·weights with both factors rounded would not keep weights that stand still.
        params.device().kernels().move_averages((1.0 - decay) as f32, pairs);
    }

    /// Exchanges the averages with the weights; a second call undoes it.
    pub(crate) fn swap(&mut self, params: &mut Params) {
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
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ParamId, &Tensor)> {
        self.by_param.iter().enumerate().filter_map(|(i, average)| Some((ParamId(i), average.as_ref()?)))
    }

    /// The averages for replacement.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ParamId, &mut Tensor)> {
        self.by_param.iter_mut().enumerate().filter_map(|(i, average)| Some((ParamId(i), average.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{ParamSpec, Role};
    use genera_tensor::{DType, Device, Key};

    /// Numbers around a level of their own, for long enough that only the level matters.
    #[test]
    fn slow_averages_agree_with_f64() {
        const DECAY: f64 = 0.9999;
        let (device, n) = (Device::cpu(1), 32);
        let level = |i: usize| 0.1 + i as f32 / 20.0;
        let at = |step: u64| -> Vec<f32> {
            (0..n).map(|i| level(i) * (1.0 + 0.1 * Key::new(step).normal(i as u64))).collect()
        };
        let shape = genera_tensor::Shape::new(&[n]);
        let spec = ParamSpec { name: "w".to_owned(), shape, role: Role::NormWeight };
        let start: Vec<f32> = (0..n).map(level).collect();
        let mut params = Params::new(vec![spec], vec![Tensor::from_f32(&device, [n], &start)], DType::F32);
        let mut averages = Averages::new(&params, DECAY);
        let mut expect: Vec<f64> = start.iter().map(|&x| f64::from(x)).collect();
        for step in 1_000_000..1_030_000 {
            let weights = at(step);
            for (average, &weight) in expect.iter_mut().zip(&weights) {
                *average = DECAY * *average + (1.0 - DECAY) * f64::from(weight);
            }
            params.for_update(ParamId(0)).0.view_mut().f32().copy_from_slice(&weights);
            averages.update(&params, step);
        }
        let found = averages.iter().next().map(|(_, average)| average.to_vec()).unwrap_or_default();
        let differences = found.iter().zip(&expect).map(|(&x, y)| (f64::from(x) - y).abs() / y);
        let largest = differences.max_by(f64::total_cmp).unwrap_or(0.0);
        assert!(found.len() == n && largest < 2e-5, "{largest}");
    }

    #[test]
    fn weights_that_stand_still_are_their_own_average() {
        let device = Device::cpu(1);
        let values: Vec<f32> = (0..64).map(|i| 0.01 + i as f32 / 7.0).collect();
        let spec = ParamSpec { name: "w".to_owned(), shape: genera_tensor::Shape::new(&[64]), role: Role::NormWeight };
        let params = Params::new(vec![spec], vec![Tensor::from_f32(&device, [64], &values)], DType::F32);
        for decay in [0.9, 0.999, 0.9999] {
            let mut averages = Averages::new(&params, decay);
            (1_000_000..1_001_000).for_each(|step| averages.update(&params, step));
            let (_, average) = averages.iter().next().expect("an average");
            assert_eq!(average.to_vec(), values, "{decay}");
        }
    }
}
