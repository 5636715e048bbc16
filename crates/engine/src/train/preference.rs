//! Learning from preferences: pairs of answers to one prompt, of which people chose one.

use super::loss::n_real_tokens;
use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::model::{Mode, Transformer};
use genera_tensor::op::{Preference, preference};
use genera_tensor::{Gradients, Tape};
use genera_tokens::Batch;
use serde::Serialize;

/// Two answers to one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PreferencePair {
    /// The prompt and the better answer, as one row; the answer alone has targets.
    pub chosen: Batch,
    /// The same with the worse answer.
    pub rejected: Batch,
    /// ln p(chosen) − ln p(rejected) of the reference, in nats.
    pub reference_margin: f64,
}

/// How well a model keeps to the preferences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PreferenceScore {
    /// Mean of −ln σ(β · margin).
    pub loss: f64,
    /// Mean of β · ((ln p(chosen) − ln p(rejected)) − the same of the reference).
    pub reward_margin: f64,
    /// Share of pairs whose reward margin is above 0.
    pub accuracy: f64,
    /// Number of pairs.
    pub n_pairs: u64,
}

/// Reward margins below this are rounding errors.
const NO_MARGIN: f64 = 1e-6;

/// Sums over pairs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PreferenceSums {
    loss: f64,
    margin: f64,
    n_right: f64,
    n_pairs: u64,
}

impl PreferenceSums {
    pub(super) fn add(&mut self, loss: f64, margin: f64) {
        self.loss += loss;
        self.margin += margin;
        self.n_right += match margin {
            // But for rounding nothing, as at the start: the model has no opinion.
            margin if margin.abs() < NO_MARGIN => 0.5,
            margin if margin > 0.0 => 1.0,
            _ => 0.0,
        };
        self.n_pairs += 1;
    }

    pub(super) fn score(&self) -> PreferenceScore {
        let n = self.n_pairs as f64;
        let Self { loss, margin, n_right, n_pairs } = *self;
        PreferenceScore { loss: loss / n, reward_margin: margin / n, accuracy: n_right / n, n_pairs }
    }
}

/// −ln p of the targets of a row.
///
/// # Units
/// Nats.
pub fn answer_nll(model: &Transformer, row: &Batch) -> f64 {
    let loss = model.loss(&Tape::inference(model.device()), row, 0.0, 1.0, Mode::default());
    loss.nlls.iter().map(|&nll| f64::from(nll)).sum()
}

impl PreferencePair {
    /// Number of tokens, padding not counted.
    pub(super) fn n_tokens(&self) -> u64 {
        n_real_tokens(&self.chosen) + n_real_tokens(&self.rejected)
    }

    fn spec(&self, beta: f64, scale: f64) -> Preference {
        Preference { reference_margin: self.reference_margin, beta, scale }
    }

    /// Adds the gradients of one pair, both answers on one tape; returns its loss and its reward margin.
    pub(super) fn accumulate(
        &self,
        model: &Transformer,
        beta: f64,
        scale: f64,
        mode: Mode<'_>,
        gradients: &mut Gradients,
    ) -> (f64, f64) {
        let tape = Tape::new(model.device());
        let [chosen, rejected] = [&self.chosen, &self.rejected].map(|row| model.loss(&tape, row, 0.0, 1.0, mode).total);
        let spec = self.spec(beta, scale);
        let nll = |total: &genera_tensor::Var| f64::from(total.tensor().view().get(0));
        let margin = spec.reward_margin(nll(&chosen), nll(&rejected));
        let loss = preference(&tape, &chosen, &rejected, spec);
        let value = nll(&loss) / scale;
        tape.backward(&loss, gradients);
        (value, margin)
    }
}

impl Trainer {
    /// Scores pairs as [`step_preferences`](Self::step_preferences) would, without dropout, with the averaged weights when
    /// they are kept.
    ///
    /// # Errors
    /// [`Error::Training`] when there is no pair.
    pub fn validate_preferences(
        &mut self,
        pairs: impl IntoIterator<Item = PreferencePair>,
        beta: f64,
    ) -> Result<PreferenceScore> {
        let mut sums = PreferenceSums::default();
        self.with_averaged(|model| {
            for pair in pairs {
                let [chosen, rejected] = [&pair.chosen, &pair.rejected].map(|row| answer_nll(model, row));
                let margin = pair.spec(beta, 1.0).reward_margin(chosen, rejected);
                sums.add((-margin).max(0.0) + (-margin.abs()).exp().ln_1p(), margin);
            }
        });
        match sums.n_pairs {
            0 => Err(Error::Training("the validation data is empty: there is no pair in it".to_owned())),
            _ => Ok(sums.score()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::ParamSpec;
    use crate::train::fixture::{preset, recipe, trainer};
    use genera_tensor::ParamId;
    use genera_tokens::IGNORE;

    fn row(tokens: &[u32], n_given: usize) -> Batch {
        let n = tokens.len() - 1;
        let targets = (0..n).map(|i| if i + 1 < n_given { IGNORE } else { tokens[i + 1] }).collect();
        Batch::dense(1, n, tokens[..n].to_vec(), targets)
    }

    fn pairs(model: &Transformer) -> Vec<PreferencePair> {
        let pair = |(prompt, chosen, rejected): (&[u32], &[u32], &[u32])| {
            let chosen = row(&[prompt, chosen].concat(), prompt.len());
            let rejected = row(&[prompt, rejected].concat(), prompt.len());
            let reference_margin = answer_nll(model, &rejected) - answer_nll(model, &chosen);
            PreferencePair { chosen, rejected, reference_margin }
        };
        [(&[1_u32, 2, 3][..], &[4_u32, 5][..], &[6_u32, 7, 8][..]), (&[9, 1], &[2], &[3])].map(pair).into()
    }

    #[test]
    fn margins_grow_from_nothing() {
        let mut trainer = trainer(preset("llama"), &recipe());
        let pairs = pairs(trainer.model());
        let before = trainer.validate_preferences(pairs.clone(), 0.1).unwrap();
        assert!((before.loss - std::f64::consts::LN_2).abs() < 1e-6 && before.reward_margin.abs() < 1e-6, "{before:?}");
        for _ in 0..20 {
            trainer.step_preferences(&pairs, 0.1).unwrap();
        }
        let after = trainer.validate_preferences(pairs, 0.1).unwrap();
        assert!(after.reward_margin > 0.1 && after.accuracy == 1.0 && after.loss < before.loss, "{after:?}");
    }

    /// The gradient of every weight of a tiny model against differences of the loss.
    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let mut trainer = trainer(preset("llama"), &recipe());
        let mut pair = pairs(trainer.model()).remove(0);
        pair.reference_margin += 1.0;
        let beta = 0.5;
        let mut gradients = Gradients::new(trainer.model().params().len());
        pair.accumulate(trainer.model(), beta, 1.0, Mode::default(), &mut gradients);
        let specs: Vec<ParamSpec> = trainer.model().params().specs().to_vec();
        for (i, spec) in specs.iter().enumerate() {
            let id = ParamId(i);
            let Some(gradient) = gradients.get(id).map(|gradient| gradient.to_vec()) else { continue };
            let at = (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs())).unwrap();
            let mut loss_with = |step: f32| {
                trainer.model_mut().params_mut().for_update(id).0.view_mut().f32()[at] += step;
                let loss = trainer.validate_preferences([pair.clone()], beta).unwrap().loss;
                trainer.model_mut().params_mut().for_update(id).0.view_mut().f32()[at] -= step;
                loss
            };
            let h = 2e-3;
            let measured = (loss_with(h) - loss_with(-h)) / (2.0 * f64::from(h));
            let expected = f64::from(gradient[at]);
            assert!(
                (measured - expected).abs() < 2e-2 * expected.abs() + 1e-3,
                "{}: {measured}, {expected}",
                spec.name
            );
        }
    }
}
