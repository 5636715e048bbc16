//! Options of every command that makes answers.

use crate::failure::{Failure, Outcome};
use genera_engine::generate::{Rules, Sampling};

/// How tokens are chosen, and when an answer ends. What the model's recipe or authors say goes before what is usual.
#[derive(Clone, Debug, clap::Args)]
pub struct SamplingOptions {
    /// Tokens of an answer at most. Where that is more than the context holds, `generate` goes on beyond it with a published model
    /// whose kind of positions does; with others the oldest tokens leave it, and a translation ends there [default: the model's,
    /// else 256 for a text, and for a message what the context holds].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,
    /// Tokens of an answer at least [default: the model's, else 0].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    min_tokens: Option<u32>,
    /// How far to stray from the most probable token; 0 always takes it [default: the model's; where it says nothing of this and the
    /// next three, 0.7 for a message, else 1, and 0 for a translation].
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Choose among the K most probable tokens only; 0 sets no limit [default: the model's, else 0].
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    top_k: Option<usize>,
    /// Choose among the most probable tokens that together have probability P [default: the model's; where it says nothing of these
    /// four, 0.9 for a message, else 1].
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Choose among tokens at least P times as probable as the most probable one [default: the model's, else 0].
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Divides the logits of tokens that stand in the text already; 1 changes nothing [default: the model's, else 1].
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    repetition_penalty: Option<f32>,
    /// No run of N tokens comes twice in the text; 0 for no such rule [default: the model's, else 0].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    no_repeat_ngram_size: Option<u32>,
    /// Subtracted from the logit of every token generated before [default: the model's, else 0].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Subtracted from a token's logit for each time it was generated before [default: the model's, else 0].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// End an answer before this text; may be given several times.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
    /// The same seed gives the same answers.
    #[arg(long, value_name = "S", allow_negative_numbers = true, default_value_t = 0)]
    seed: u64,
}

impl SamplingOptions {
    /// Refuses an answer that would have to be longer than it may be.
    ///
    /// # Errors
    /// When more tokens are asked for at least than at most.
    pub fn check_lengths(&self) -> Outcome<()> {
        match self.min_tokens.zip(self.max_tokens) {
            Some((min, max)) if min > max => Err(Failure::new(format!(
                "--min-tokens is {min} and --max-tokens {max}: an answer cannot have more tokens at least than at most; lower the \
                 one or raise the other"
            ))),
            _ => Ok(()),
        }
    }

    /// Whether anything asks for samples instead of the one best answer.
    pub fn asks_for_samples(&self) -> bool {
        [self.temperature, self.top_p, self.min_p].iter().any(Option::is_some) || self.top_k.is_some()
    }

    /// Whether temperature or top-p is left to what is usual.
    pub fn leaves_open(&self) -> bool {
        self.temperature.is_none() || self.top_p.is_none()
    }

    /// The options by name, and whether each is given.
    pub fn given(&self) -> [(&'static str, bool); 11] {
        [
            ("max-tokens", self.max_tokens.is_some()),
            ("min-tokens", self.min_tokens.is_some()),
            ("no-repeat-ngram-size", self.no_repeat_ngram_size.is_some()),
            ("temperature", self.temperature.is_some()),
            ("top-k", self.top_k.is_some()),
            ("top-p", self.top_p.is_some()),
            ("min-p", self.min_p.is_some()),
            ("repetition-penalty", self.repetition_penalty.is_some()),
            ("presence-penalty", self.presence_penalty.is_some()),
            ("frequency-penalty", self.frequency_penalty.is_some()),
            ("stop", !self.stop.is_empty()),
        ]
    }

    /// `defaults` with what is asked of every answer.
    pub fn rules_over(&self, defaults: Rules) -> Rules {
        Rules {
            no_repeat_ngram: self.no_repeat_ngram_size.map_or(defaults.no_repeat_ngram, |n| n as usize),
            min_tokens: self.min_tokens.map_or(defaults.min_tokens, |n| n as usize),
            // Of two least lengths the one that is asked for holds.
            min_len: if self.min_tokens.is_some() { 0 } else { defaults.min_len },
            ..defaults
        }
    }

    /// `defaults` with what is asked for.
    pub fn over(&self, defaults: Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(defaults.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(defaults.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(defaults.frequency_penalty),
            seed: self.seed,
            ..defaults
        }
    }
}
