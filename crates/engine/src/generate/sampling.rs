//! How a request wants its tokens chosen.

use crate::error::{Error, Result};
use genera_tokens::TokenId;
use serde::{Deserialize, Serialize};

/// Settings of the sampler. The default draws from the model's own distribution.
///
/// They act in the order in which they stand here; see [`Sampler`](super::Sampler) for what each does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Added to the logits of single tokens; −∞ forbids one.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Above 1 makes every token less likely that stands in the prompt or the answer; 1 for none.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of every token that the answer holds; 0 for none.
    pub presence_penalty: f32,
    /// Subtracted from the logit of a token for each time that the answer holds it; 0 for none.
    pub frequency_penalty: f32,
    /// Divides the logits; 0 takes the most probable token (the lowest id wins a tie).
    pub temperature: f32,
    /// Only this many most probable tokens take part; 0 for all.
    pub top_k: usize,
    /// Only the most probable tokens that together reach this probability take part; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this probable, relative to the most probable one, take part; 0 for all.
    pub min_p: f32,
    /// Where the random numbers come from.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            logit_bias: Vec::new(),
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// The most probable token at every step.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Checks that every setting has a meaning.
    ///
    /// # Errors
    /// [`Error::Request`], naming the setting, what it holds and what it may hold.
    pub fn validate(&self, vocab_size: usize) -> Result<()> {
        // Far beyond all use, and far from overflow.
        let penalty = -1000.0..=1000.0;
        in_range("temperature", self.temperature, 0.0..=f32::MAX, "0 (always the most probable token) or above")?;
        in_range("top_p", self.top_p, f32::MIN_POSITIVE..=1.0, "above 0 and at most 1 (1 for no limit)")?;
        in_range("min_p", self.min_p, 0.0..=1.0, "from 0 (no limit) to 1")?;
        in_range("repetition_penalty", self.repetition_penalty, 0.001..=1000.0, "from 0.001 to 1000 (1 for none)")?;
        in_range("presence_penalty", self.presence_penalty, penalty.clone(), "from -1000 to 1000 (0 for none)")?;
        in_range("frequency_penalty", self.frequency_penalty, penalty, "from -1000 to 1000 (0 for none)")?;
        for &(token, bias) in &self.logit_bias {
            in_range(
                "logit_bias",
                bias,
                f32::NEG_INFINITY..=f32::MAX,
                "a number, or minus infinity to forbid a token",
            )?;
            check_token("logit_bias", token, vocab_size)?;
        }
        Ok(())
    }
}

/// Refuses a token that the model does not have.
pub(super) fn check_token(what: &str, token: TokenId, vocab_size: usize) -> Result<()> {
    if (token as usize) < vocab_size {
        return Ok(());
    }
    Err(Error::Request(format!("{what}: token {token} does not exist; the model has tokens 0 to {}", vocab_size - 1)))
}

fn in_range(name: &str, value: f32, range: std::ops::RangeInclusive<f32>, expected: &str) -> Result<()> {
    // A NaN lies in no range.
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::Request(format!("{name} is {value}; it must be {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Sampling)) -> String {
        let mut sampling = Sampling::default();
        change(&mut sampling);
        sampling.validate(10).expect_err("must be refused").to_string()
    }

    #[test]
    fn settings_without_meaning_are_refused() {
        assert_eq!(
            refusal(|s| s.temperature = -1.0),
            "temperature is -1; it must be 0 (always the most probable token) or above"
        );
        assert!(refusal(|s| s.temperature = f32::NAN).starts_with("temperature is NaN"));
        assert!(refusal(|s| s.temperature = f32::INFINITY).starts_with("temperature is inf"));
        assert_eq!(refusal(|s| s.top_p = 0.0), "top_p is 0; it must be above 0 and at most 1 (1 for no limit)");
        assert!(refusal(|s| s.top_p = 1.5).starts_with("top_p is 1.5"));
        assert!(refusal(|s| s.min_p = -0.1).starts_with("min_p is -0.1"));
        assert!(refusal(|s| s.repetition_penalty = 0.0).starts_with("repetition_penalty is 0"));
        assert!(refusal(|s| s.presence_penalty = f32::INFINITY).starts_with("presence_penalty is inf"));
        assert!(refusal(|s| s.frequency_penalty = f32::NAN).starts_with("frequency_penalty is NaN"));
        assert_eq!(
            refusal(|s| s.logit_bias = vec![(10, 1.0)]),
            "logit_bias: token 10 does not exist; the model has tokens 0 to 9"
        );
        assert!(refusal(|s| s.logit_bias = vec![(1, f32::INFINITY)]).starts_with("logit_bias is inf"));
        let edge = Sampling { top_p: 1.0, min_p: 1.0, logit_bias: vec![(9, f32::NEG_INFINITY)], ..Sampling::greedy() };
        edge.validate(10).expect("is allowed");
    }
}
