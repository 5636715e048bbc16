//! How the authors of a model want it to answer: `generation_config.json`, and the same in the metadata of a GGUF file.

use super::config_json::Fields;
use crate::error::Result;
use crate::recipe::GenerateRecipe;

/// Settings of generation that a model comes with; `None` for what it leaves open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PublishedGeneration {
    /// `temperature`, or 0 where `do_sample` is false.
    pub temperature: Option<f64>,
    /// `top_k`
    pub top_k: Option<usize>,
    /// `top_p`
    pub top_p: Option<f64>,
    /// `min_p`
    pub min_p: Option<f64>,
    /// `repetition_penalty`
    pub repetition_penalty: Option<f64>,
    /// `max_new_tokens`
    pub max_tokens: Option<usize>,
    /// `num_beams`
    pub beam: Option<usize>,
    /// `length_penalty`
    pub length_penalty: Option<f64>,
}

impl PublishedGeneration {
    /// Understands a `generation_config.json`.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self> {
        let share = |key| fields.number_if_given(key, 0.0..=1.0);
        let is_greedy = fields.flag_if_given("do_sample")? == Some(false);
        let temperature = fields.number_if_given("temperature", 0.0..=1e3)?;
        Ok(Self {
            temperature: if is_greedy { Some(0.0) } else { temperature },
            top_k: fields.whole_if_given("top_k")?.map(|k| k as usize),
            top_p: share("top_p")?,
            min_p: share("min_p")?,
            repetition_penalty: fields.number_if_given("repetition_penalty", 1e-3..=1e3)?,
            max_tokens: fields.size_if_given("max_new_tokens")?,
            beam: fields.size_if_given("num_beams")?,
            length_penalty: fields.number_if_given("length_penalty", -1e3..=1e3)?,
        })
    }

    /// Whether it says how tokens are chosen.
    pub fn is_of_sampling(&self) -> bool {
        self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some()
    }

    /// `defaults` with what is set here.
    pub fn over(&self, defaults: GenerateRecipe) -> GenerateRecipe {
        GenerateRecipe {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(defaults.repetition_penalty),
            max_tokens: self.max_tokens.unwrap_or(defaults.max_tokens),
            beam: self.beam.unwrap_or(defaults.beam),
            length_penalty: self.length_penalty.unwrap_or(defaults.length_penalty),
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::path::Path;

    fn read(json: Value) -> Result<PublishedGeneration> {
        PublishedGeneration::read(&Fields::new(Path::new("generation_config.json"), json.as_object().unwrap()))
    }

    #[test]
    fn what_is_left_open_stays_as_it_was() {
        let published =
            read(json!({ "do_sample": true, "temperature": 0.6, "top_k": 20, "max_new_tokens": 7 })).unwrap();
        let recipe = published.over(GenerateRecipe { top_p: 0.5, ..GenerateRecipe::default() });
        assert_eq!((recipe.temperature, recipe.top_k, recipe.top_p, recipe.max_tokens), (0.6, 20, 0.5, 7));
        assert!(published.is_of_sampling());
        let nothing = read(json!({ "eos_token_id": 2, "top_p": null })).unwrap();
        assert_eq!(nothing, PublishedGeneration::default());
        assert!(!nothing.is_of_sampling());
        assert_eq!(read(json!({ "do_sample": false, "temperature": 0.6 })).unwrap().temperature, Some(0.0));
    }

    #[test]
    fn values_without_meaning_are_named() {
        for (json, expect) in [
            (json!({ "temperature": -1.0 }), "'temperature' is -1.0, expected a number from 0 to 1000"),
            (json!({ "top_p": 1.5 }), "'top_p' is 1.5, expected a number from 0 to 1"),
            (json!({ "top_k": "many" }), "'top_k' is \"many\", expected a whole number"),
            (json!({ "max_new_tokens": 0 }), "'max_new_tokens' is 0"),
            (json!({ "repetition_penalty": 0.0 }), "'repetition_penalty' is 0.0"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(expect) && error.contains("generation_config.json"), "{error}");
        }
    }
}
