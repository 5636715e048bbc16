//! What `[generate]` means where it says something, and where it does not.

use super::GenerateRecipe;
use super::table::Table;
use crate::error::{Error, Result};
use crate::generate::Sampling;

/// Tokens of an answer at most where nobody says how many.
pub const MAX_TOKENS: usize = 256;

/// Most texts that beam search follows.
const MAX_BEAM: usize = 256;

impl GenerateRecipe {
    /// How tokens are chosen.
    pub fn sampling(&self) -> Sampling {
        let usual = Sampling::default();
        let number = |chosen: Option<f64>, usual: f32| chosen.map_or(usual, |chosen| chosen as f32);
        Sampling {
            temperature: number(self.temperature, usual.temperature),
            top_k: self.top_k.unwrap_or(usual.top_k),
            top_p: number(self.top_p, usual.top_p),
            min_p: number(self.min_p, usual.min_p),
            repetition_penalty: number(self.repetition_penalty, usual.repetition_penalty),
            presence_penalty: number(self.presence_penalty, usual.presence_penalty),
            frequency_penalty: number(self.frequency_penalty, usual.frequency_penalty),
            ..usual
        }
    }

    /// Tokens of an answer at most.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens.unwrap_or(MAX_TOKENS)
    }

    /// Texts that end an answer.
    pub fn stop(&self) -> Vec<String> {
        self.stop.clone().unwrap_or_default()
    }

    /// Texts that beam search follows; 1 for none.
    pub fn beam(&self) -> usize {
        self.beam.unwrap_or(1)
    }

    /// Power of the length that a beam's score is divided by.
    pub fn length_penalty(&self) -> f64 {
        self.length_penalty.unwrap_or(1.0)
    }

    /// Whether somebody chose how tokens are drawn.
    pub fn is_of_sampling(&self) -> bool {
        self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some()
    }

    /// What somebody chose, also of a recipe that its run wrote with every key, as runs once did: where all are there, one with its
    /// usual value says nothing.
    #[must_use]
    pub fn chosen(self) -> Self {
        if self.keys().iter().any(|key| self.write(key.name).is_none()) {
            return self;
        }
        let usual = Self::default();
        let sampling = usual.sampling();
        let number = |value: Option<f64>, usual: f32| unusual(value, f64::from(usual));
        Self {
            temperature: number(self.temperature, sampling.temperature),
            top_k: unusual(self.top_k, sampling.top_k),
            top_p: number(self.top_p, sampling.top_p),
            min_p: number(self.min_p, sampling.min_p),
            repetition_penalty: number(self.repetition_penalty, sampling.repetition_penalty),
            presence_penalty: number(self.presence_penalty, sampling.presence_penalty),
            frequency_penalty: number(self.frequency_penalty, sampling.frequency_penalty),
            max_tokens: unusual(self.max_tokens, usual.max_tokens()),
            stop: unusual(self.stop, usual.stop()),
            beam: unusual(self.beam, usual.beam()),
            length_penalty: unusual(self.length_penalty, usual.length_penalty()),
        }
    }

    /// Checks that every value has a meaning.
    ///
    /// # Errors
    /// [`Error::Config`], naming the key, what it holds and what it may hold.
    pub fn check(&self) -> Result<()> {
        self.sampling().validate(usize::MAX).map_err(|error| Error::Config(format!("generate.{error}")))?;
        let (max_tokens, beam) = (self.max_tokens(), self.beam());
        let problem = if max_tokens == 0 {
            "max_tokens is 0; it must be at least 1".to_owned()
        } else if !(1..=MAX_BEAM).contains(&beam) {
            format!("beam is {beam}; it must be from 1 (no search) to {MAX_BEAM}")
        } else {
            return Ok(());
        };
        Err(Error::Config(format!("generate.{problem}")))
    }
}

/// A value, unless it is the usual one.
fn unusual<T: PartialEq>(value: Option<T>, usual: T) -> Option<T> {
    value.filter(|value| *value != usual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Reasons, Recipe};

    #[test]
    fn only_what_is_chosen_is_written() {
        let mut recipe = Recipe::default();
        assert!(!recipe.to_toml(&Reasons::default()).contains("[generate]"));
        recipe.set("generate.temperature", "1").unwrap();
        recipe.set("generate.stop", "[]").unwrap();
        let text = recipe.to_toml(&Reasons::default());
        assert!(text.ends_with("[generate]\ntemperature = 1.0\nstop = []\n"), "{text}");
        assert_eq!(Recipe::parse(&text).unwrap().generate.chosen(), recipe.generate);
        assert!(recipe.generate.is_of_sampling());
    }

    /// As runs wrote it that chose nothing but the temperature.
    #[test]
    fn usual_values_beside_all_others_are_not_chosen() {
        let text = "[generate]\ntemperature = 0.5\ntop_k = 0\ntop_p = 1.0\nmin_p = 0.0\nrepetition_penalty = 1.0\n\
                    presence_penalty = 0.0\nfrequency_penalty = 0.0\nmax_tokens = 256\nstop = []\nbeam = 1\n\
                    length_penalty = 1.0\n";
        let generate = Recipe::parse(text).unwrap().generate;
        let expected = GenerateRecipe { temperature: Some(0.5), ..GenerateRecipe::default() };
        assert_eq!(generate.clone().chosen(), expected);
        assert_eq!(generate.sampling(), expected.sampling());
        let fewer = Recipe::parse(&text.replace("beam = 1\n", "")).unwrap().generate;
        assert_eq!(fewer.clone().chosen(), fewer);
    }

    #[test]
    fn values_without_meaning_are_named() {
        GenerateRecipe::default().check().unwrap();
        for (key, value, expect) in [
            ("temperature", "-1", "generate.temperature is -1; it must be 0"),
            ("top_p", "1.5", "generate.top_p is 1.5; it must be above 0"),
            ("repetition_penalty", "0", "generate.repetition_penalty is 0; it must be from 0.001"),
            ("max_tokens", "0", "generate.max_tokens is 0; it must be at least 1"),
            ("beam", "0", "generate.beam is 0; it must be from 1"),
            ("beam", "257", "generate.beam is 257; it must be from 1"),
        ] {
            let mut recipe = Recipe::default();
            recipe.set(&format!("generate.{key}"), value).unwrap();
            let error = recipe.generate.check().expect_err(expect).to_string();
            assert!(error.starts_with(expect), "expected '{expect}', found '{error}'");
        }
    }
}
