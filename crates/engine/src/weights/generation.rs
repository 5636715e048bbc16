//! How the authors of a model want it to answer: `generation_config.json`, and the same in the metadata of a GGUF file.

use super::config_json::{Fields, short};
use crate::error::Result;
use crate::generate::{Ending, Rules};
use crate::recipe::GenerateRecipe;
use serde_json::{Map, Value, json};

/// Settings of generation that a model comes with; `None` for what it leaves open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PublishedGeneration {
    /// `temperature`, or 0 where `do_sample` is false, and for an encoder-decoder that does not say that it is true.
    pub temperature: Option<f64>,
    /// `top_k`, or 50 where `do_sample` is true and nothing is said of it, as in the library.
    pub top_k: Option<usize>,
    /// `top_p`
    pub top_p: Option<f64>,
    /// `min_p`
    pub min_p: Option<f64>,
    /// `repetition_penalty`
    pub repetition_penalty: Option<f64>,
    /// `max_new_tokens`; of an encoder-decoder `max_length` as well, less the token that its decoder starts from.
    pub max_tokens: Option<usize>,
    /// `num_beams`, of an encoder-decoder; others do not search.
    pub beam: Option<usize>,
    /// `length_penalty`
    pub length_penalty: Option<f64>,
    /// `early_stopping`
    pub ending: Option<Ending>,
    /// What is asked of the tokens of every answer.
    pub rules: Rules,
    /// `max_length` of a model that goes on with a text: it counts the prompt too and limits nothing here.
    pub max_length: Option<usize>,
    /// What the file asks for beside that and does not get.
    pub ignored: Map<String, Value>,
}

/// Keys that change what is answered and have no equal here, with the values beside null with which they change nothing.
const IGNORED: [(&str, &[f64]); 15] = [
    ("diversity_penalty", &[0.0]),
    ("encoder_no_repeat_ngram_size", &[0.0]),
    ("encoder_repetition_penalty", &[1.0]),
    ("epsilon_cutoff", &[0.0]),
    ("eta_cutoff", &[0.0]),
    ("exponential_decay_length_penalty", &[]),
    ("force_words_ids", &[]),
    ("guidance_scale", &[1.0]),
    ("num_beam_groups", &[1.0]),
    ("penalty_alpha", &[0.0]),
    ("sequence_bias", &[]),
    ("stop_strings", &[]),
    ("top_h", &[]),
    ("typical_p", &[1.0]),
    ("watermarking_config", &[]),
];

/// Whether tokens are drawn; beams are not here.
const DO_SAMPLE: &str = "do_sample";

/// Among so many most probable tokens the library draws where nobody says how many.
const DEFAULT_TOP_K: usize = 50;

/// Tokens that a rule may name at most.
const MAX_RULE_TOKENS: usize = 1 << 16;

impl PublishedGeneration {
    /// Understands a `generation_config.json`.
    pub(super) fn read(fields: &Fields<'_>, is_encoder_decoder: bool) -> Result<Self> {
        let share = |key| fields.number_if_given(key, 0.0..=1.0);
        let (max_length, whole_length) = match fields.size_if_given("max_length")? {
            length if is_encoder_decoder => (length, None),
            length => (None, length),
        };
        let mut published = Self {
            temperature: fields.number_if_given("temperature", 0.0..=1e3)?,
            top_k: fields.whole_if_given("top_k")?.map(|k| k as usize),
            // The library keeps one token in any case.
            top_p: share("top_p")?.map(|share| share.max(f64::from(f32::MIN_POSITIVE))),
            min_p: share("min_p")?,
            repetition_penalty: fields.number_if_given("repetition_penalty", 1e-3..=1e3)?,
            max_tokens: fields.size_if_given("max_new_tokens")?.or(max_length.map(|len| (len - 1).max(1))),
            beam: fields.size_if_given("num_beams")?,
            length_penalty: fields.number_if_given("length_penalty", -1e3..=1e3)?,
            ending: ending(fields)?,
            rules: rules(fields)?,
            max_length: whole_length,
            ignored: ignored(fields),
        };
        let is_sampled = fields.flag_if_given(DO_SAMPLE)?;
        match is_sampled {
            Some(false) => published.temperature = Some(0.0),
            // Only who can be taken to be greedy otherwise has to say it.
            Some(true) if is_encoder_decoder => published.temperature = published.temperature.or(Some(1.0)),
            None if is_encoder_decoder => published.temperature = Some(0.0),
            _ => {}
        }
        if is_sampled == Some(true) {
            published.top_k = published.top_k.or(Some(DEFAULT_TOP_K));
        }
        if let Some(n_beams) = published.beam.filter(|&n_beams| n_beams > 1) {
            if !is_encoder_decoder {
                published.beam = None;
                published.ignored.insert("num_beams".to_owned(), json!(n_beams));
            } else if is_sampled == Some(true) {
                published.ignored.insert(DO_SAMPLE.to_owned(), json!(true));
            }
        }
        Ok(published)
    }

    /// What is asked for and not done, each with its value, for a person.
    pub fn not_done(&self) -> Vec<String> {
        let one = |(key, value): (&String, &Value)| {
            format!("{key} = {}{}", short(value), if key == DO_SAMPLE { " of beams" } else { "" })
        };
        self.ignored.iter().map(one).collect()
    }

    /// The same as the keys of a `generation_config.json`.
    pub fn to_json(&self) -> Map<String, Value> {
        let Self { temperature, top_k, top_p, min_p, repetition_penalty, .. } = *self;
        // Others may do what is not done here.
        let mut map = self.ignored.clone();
        let mut set = |key: &str, value: Option<Value>| map.extend(value.map(|value| (key.to_owned(), value)));
        let is_greedy = temperature == Some(0.0);
        set(DO_SAMPLE, self.is_of_sampling().then(|| json!(!is_greedy)));
        set("temperature", temperature.filter(|_| !is_greedy).map(Value::from));
        // Nothing would mean the library's own number.
        let is_unlimited = self.is_of_sampling() && !is_greedy;
        set("top_k", top_k.or(is_unlimited.then_some(0)).map(Value::from));
        set("top_p", top_p.map(Value::from));
        set("min_p", min_p.map(Value::from));
        set("repetition_penalty", repetition_penalty.map(Value::from));
        set("max_new_tokens", self.max_tokens.map(Value::from));
        set("max_length", self.max_length.map(Value::from));
        set("num_beams", self.beam.map(Value::from));
        set("length_penalty", self.length_penalty.map(Value::from));
        set("early_stopping", self.ending.map(early_stopping));
        let Rules { no_repeat_ngram, bad_words, suppressed, suppressed_first, min_tokens, min_len, .. } = &self.rules;
        for (key, n) in
            [("no_repeat_ngram_size", *no_repeat_ngram), ("min_new_tokens", *min_tokens), ("min_length", *min_len)]
        {
            set(key, (n > 0).then(|| json!(n)));
        }
        set("bad_words_ids", (!bad_words.is_empty()).then(|| json!(bad_words)));
        for (key, tokens) in [("suppress_tokens", suppressed), ("begin_suppress_tokens", suppressed_first)] {
            set(key, (!tokens.is_empty()).then(|| json!(tokens)));
        }
        set("forced_bos_token_id", self.rules.forced_first.map(Value::from));
        set("forced_eos_token_id", self.rules.forced_last.map(Value::from));
        map
    }

    /// Whether it says how tokens are chosen.
    pub fn is_of_sampling(&self) -> bool {
        self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some()
    }

    /// `defaults` with what is set here.
    pub fn over(&self, defaults: GenerateRecipe) -> GenerateRecipe {
        GenerateRecipe {
            temperature: self.temperature.or(defaults.temperature),
            top_k: self.top_k.or(defaults.top_k),
            top_p: self.top_p.or(defaults.top_p),
            min_p: self.min_p.or(defaults.min_p),
            repetition_penalty: self.repetition_penalty.or(defaults.repetition_penalty),
            max_tokens: self.max_tokens.or(defaults.max_tokens),
            beam: self.beam.or(defaults.beam),
            length_penalty: self.length_penalty.or(defaults.length_penalty),
            ..defaults
        }
    }

    /// The same with the values of a recipe for what is set here and there: that of a run that began with this model.
    #[must_use]
    pub fn as_in(self, recipe: &GenerateRecipe) -> Self {
        fn one<T>(theirs: Option<T>, of_run: Option<T>) -> Option<T> {
            theirs.map(|theirs| of_run.unwrap_or(theirs))
        }
        Self {
            temperature: one(self.temperature, recipe.temperature),
            top_k: one(self.top_k, recipe.top_k),
            top_p: one(self.top_p, recipe.top_p),
            min_p: one(self.min_p, recipe.min_p),
            repetition_penalty: one(self.repetition_penalty, recipe.repetition_penalty),
            max_tokens: one(self.max_tokens, recipe.max_tokens),
            beam: one(self.beam, recipe.beam),
            length_penalty: one(self.length_penalty, recipe.length_penalty),
            ..self
        }
    }
}

fn ignored(fields: &Fields<'_>) -> Map<String, Value> {
    let of_key = |(key, neutral): (&str, &[f64])| {
        let value = fields.value_if_given(key)?;
        let is_neutral = *value == json!(false) || value.as_f64().is_some_and(|number| neutral.contains(&number));
        (!is_neutral && value.as_array().is_none_or(|list| !list.is_empty())).then(|| (key.to_owned(), value.clone()))
    };
    IGNORED.into_iter().filter_map(of_key).collect()
}

fn ending(fields: &Fields<'_>) -> Result<Option<Ending>> {
    if matches!(fields.text("early_stopping", ""), Ok("never")) {
        return Ok(Some(Ending::Certain));
    }
    let is_early = fields.flag_if_given("early_stopping")?;
    Ok(is_early.map(|is_early| if is_early { Ending::First } else { Ending::Likely }))
}

fn early_stopping(ending: Ending) -> Value {
    match ending {
        Ending::First => json!(true),
        Ending::Likely => json!(false),
        Ending::Certain => json!("never"),
    }
}

fn rules(fields: &Fields<'_>) -> Result<Rules> {
    let size = |key| Ok(fields.whole_if_given(key)?.unwrap_or(0) as usize);
    let rules = Rules {
        no_repeat_ngram: size("no_repeat_ngram_size")?,
        bad_words: fields.id_lists("bad_words_ids")?,
        suppressed: fields.ids("suppress_tokens")?,
        suppressed_first: fields.ids("begin_suppress_tokens")?,
        forced_first: fields.ids("forced_bos_token_id")?.first().copied(),
        // Of several the library takes the lowest.
        forced_last: fields.ids("forced_eos_token_id")?.into_iter().min(),
        min_tokens: size("min_new_tokens")?,
        min_len: size("min_length")?,
    };
    let n_tokens = rules.bad_words.iter().map(Vec::len).sum::<usize>() + rules.suppressed.len();
    if n_tokens > MAX_RULE_TOKENS {
        return Err(fields.error(format!("it forbids {n_tokens} tokens; at most {MAX_RULE_TOKENS} are read")));
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Sampling;
    use std::path::Path;

    fn read(json: Value) -> Result<PublishedGeneration> {
        read_of(json, false)
    }

    fn read_of(json: Value, is_encoder_decoder: bool) -> Result<PublishedGeneration> {
        let path = Path::new("generation_config.json");
        PublishedGeneration::read(&Fields::new(path, json.as_object().unwrap()), is_encoder_decoder)
    }

    #[test]
    fn what_is_left_open_stays_as_it_was() {
        let published =
            read(json!({ "do_sample": true, "temperature": 0.6, "top_k": 20, "max_new_tokens": 7 })).unwrap();
        let of_recipe = GenerateRecipe { top_k: Some(3), top_p: Some(0.5), ..GenerateRecipe::default() };
        let recipe = published.over(of_recipe.clone());
        assert_eq!((recipe.temperature, recipe.top_k, recipe.top_p), (Some(0.6), Some(20), Some(0.5)));
        assert_eq!((recipe.max_tokens, recipe.min_p), (Some(7), None));
        assert!(published.is_of_sampling());
        let of_run = published.as_in(&of_recipe);
        assert_eq!((of_run.temperature, of_run.top_k, of_run.top_p), (Some(0.6), Some(3), None));
        let nothing = read(json!({ "eos_token_id": 2, "top_p": null })).unwrap();
        assert_eq!(nothing, PublishedGeneration::default());
        assert!(!nothing.is_of_sampling());
        assert_eq!(read(json!({ "do_sample": false, "temperature": 0.6 })).unwrap().temperature, Some(0.0));
    }

    /// As transformers 5 takes them.
    #[test]
    fn what_samples_says_so() {
        let check = |json: Value, is_encoder_decoder, temperature, top_k| {
            let published = read_of(json.clone(), is_encoder_decoder).unwrap();
            assert_eq!((published.temperature, published.top_k), (temperature, top_k), "{json}");
        };
        for is_encoder_decoder in [false, true] {
            check(json!({ "do_sample": true, "temperature": 0.6 }), is_encoder_decoder, Some(0.6), Some(50));
            check(json!({ "do_sample": true, "top_k": 0, "temperature": 1.0 }), is_encoder_decoder, Some(1.0), Some(0));
            check(json!({ "do_sample": false, "top_k": 9 }), is_encoder_decoder, Some(0.0), Some(9));
        }
        check(json!({ "temperature": 0.6, "top_k": 9 }), true, Some(0.0), Some(9));
        check(json!({ "do_sample": true }), true, Some(1.0), Some(50));
        check(json!({ "temperature": 0.6 }), false, Some(0.6), None);
        let unlimited = read(json!({ "temperature": 0.6 })).unwrap().to_json();
        assert_eq!((&unlimited["do_sample"], &unlimited["top_k"]), (&json!(true), &json!(0)));
    }

    #[test]
    fn what_is_ignored_is_named() {
        let neutral = json!({
            "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0, "sequence_bias": null, "stop_strings": [],
            "encoder_no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1, "num_beam_groups": 1,
            "diversity_penalty": 0.0, "guidance_scale": null, "num_beams": 1, "exponential_decay_length_penalty": null,
        });
        assert_eq!(read(neutral).unwrap().not_done(), [""; 0]);
        let asking = json!({
            "typical_p": 0.2, "stop_strings": ["x"], "exponential_decay_length_penalty": [9, 1.5], "penalty_alpha": 0.6,
        });
        let expected = [
            "exponential_decay_length_penalty = [9,1.5]",
            "penalty_alpha = 0.6",
            "stop_strings = [\"x\"]",
            "typical_p = 0.2",
        ];
        let check = |json: &Value, is_encoder_decoder, expected: &[&str]| {
            let published = read_of(json.clone(), is_encoder_decoder).unwrap();
            assert_eq!(published.not_done(), expected, "{json}");
            let written = published.to_json();
            assert!(json.as_object().unwrap().iter().all(|(key, value)| written[key] == *value), "{written:?}");
            assert_eq!(read_of(Value::Object(written), is_encoder_decoder).unwrap(), published);
        };
        check(&asking, false, &expected);
        let drawn = json!({ "do_sample": true, "num_beams": 4 });
        check(&drawn, true, &["do_sample = true of beams"]);
        // What goes on with a text is drawn, and nothing is searched.
        check(&drawn, false, &["num_beams = 4"]);
        assert_eq!(read(drawn).unwrap().beam, None);
    }

    /// As facebook/bart-large-cnn has it, and more.
    #[test]
    fn an_encoder_decoder_brings_its_rules() {
        let json = json!({
            "early_stopping": true, "forced_bos_token_id": 0, "forced_eos_token_id": [2, 5], "length_penalty": 2.0,
            "max_length": 142, "min_length": 56, "no_repeat_ngram_size": 3, "num_beams": 4, "bad_words_ids": [[7], [8, 9]],
            "suppress_tokens": [11], "begin_suppress_tokens": [12, 13], "min_new_tokens": 3,
        });
        let published = read_of(json.clone(), true).unwrap();
        let rules = Rules {
            no_repeat_ngram: 3,
            bad_words: vec![vec![7], vec![8, 9]],
            suppressed: vec![11],
            suppressed_first: vec![12, 13],
            forced_first: Some(0),
            forced_last: Some(2),
            min_tokens: 3,
            min_len: 56,
        };
        assert_eq!(published.rules, rules);
        assert_eq!(
            (published.temperature, published.max_tokens, published.ending),
            (Some(0.0), Some(141), Some(Ending::First))
        );
        assert_eq!(read_of(Value::Object(published.to_json()), true).unwrap(), published);
        // What goes on with a text is sampled unless its file says otherwise, and its max_length counts the prompt.
        let decoder = read(json).unwrap();
        assert_eq!((decoder.temperature, decoder.max_tokens), (None, None));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (json, is_encoder_decoder) in [
            (json!({}), false),
            (json!({}), true),
            (json!({ "do_sample": true }), true),
            (json!({ "do_sample": false, "top_k": 5, "early_stopping": "never" }), false),
            (json!({ "temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1 }), false),
            (json!({ "max_length": 64 }), false),
            (json!({ "temperature": 0.6, "max_new_tokens": 9, "num_beams": 2, "early_stopping": false }), true),
        ] {
            let published = read_of(json.clone(), is_encoder_decoder).unwrap();
            assert_eq!(read_of(Value::Object(published.to_json()), is_encoder_decoder).unwrap(), published, "{json}");
        }
    }

    #[test]
    fn a_top_p_of_0_leaves_one_token() {
        for json in [json!({ "top_p": 0 }), json!({ "do_sample": false, "top_p": 0.0 })] {
            let top_p = read(json).unwrap().top_p.unwrap() as f32;
            assert!(top_p < 1e-30);
            Sampling { top_p, ..Sampling::default() }.validate(4).unwrap();
        }
    }

    #[test]
    fn values_without_meaning_are_named() {
        for (json, expect) in [
            (json!({ "temperature": -1.0 }), "'temperature' is -1.0, expected a number from 0 to 1000"),
            (json!({ "top_p": 1.5 }), "'top_p' is 1.5, expected a number from 0 to 1"),
            (json!({ "top_k": "many" }), "'top_k' is \"many\", expected a whole number"),
            (json!({ "max_new_tokens": 0 }), "'max_new_tokens' is 0"),
            (json!({ "bad_words_ids": [7] }), "'bad_words_ids' is [7], expected a list of lists of token ids"),
            (json!({ "suppress_tokens": ["a"] }), "'suppress_tokens' is [\"a\"], expected a token id"),
            (json!({ "early_stopping": "often" }), "'early_stopping' is \"often\", expected true or false"),
            (json!({ "repetition_penalty": 0.0 }), "'repetition_penalty' is 0.0"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(expect) && error.contains("generation_config.json"), "{error}");
        }
    }
}
