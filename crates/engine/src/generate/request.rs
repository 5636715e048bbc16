//! What is asked of the generator, checked at the door.

use super::constraint::Constraint;
use super::rules::Rules;
use super::sampling::{Sampling, check_token};
use crate::config::{ModelConfig, Shape};
use crate::error::{Error, Result};
use genera_tokens::TokenId;
use std::fmt;

/// One answer that is wanted. For n answers to one prompt submit n requests with `sample` 0 to n − 1: requests that are
/// admitted together and read the same are read once.
pub struct Request {
    /// What the decoder reads first: a text to go on with, or the token that begins a translation.
    pub prompt: Vec<TokenId>,
    /// What the encoder reads, for a model that has one.
    pub source: Option<Vec<TokenId>>,
    /// Tokens of the answer at most, a stop token not counted.
    pub max_tokens: usize,
    /// The answer ends at these; they are not part of it.
    pub stop: Vec<TokenId>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// What is asked of its tokens beside that.
    pub rules: Rules,
    /// Which of several answers to the same request this is: each has random numbers of its own.
    pub sample: u64,
    /// Number of alternatives reported with each token.
    pub top_logprobs: usize,
    /// What happens when the context is full.
    pub when_full: WhenFull,
    /// Which tokens may come.
    pub constraint: Option<Box<dyn Constraint>>,
    /// Another prompt, away from which the answer is to lead.
    pub guidance: Option<Guidance>,
    /// Tokens that are guessed ahead at most where the text repeats itself, and tried all at once. The answer is the same
    /// as without, token for token.
    pub n_guesses: usize,
}

/// Classifier-free guidance: an answer that fits its prompt more than the model's own distribution does. The logits are
/// o + scale · (l − o), where l are those behind the prompt and the answer so far, and o those behind the other prompt and the
/// same answer; what the answer reports of its tokens is of these.
///
/// # Source
/// Ho and Salimans, "Classifier-free diffusion guidance", arXiv 2207.12598; for tokens Sanchez et al., "Stay on topic with
/// classifier-free guidance", arXiv 2306.17806.
#[derive(Clone, Debug, PartialEq)]
pub struct Guidance {
    /// 1 leaves the model's distribution as it is, more sharpens what sets the prompt apart.
    pub scale: f32,
    /// What the decoder would read of a request that does not ask for it: at most as long as the prompt.
    pub prompt: Vec<TokenId>,
}

/// What happens when prompt and answer fill the model's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The answer ends.
    #[default]
    Stop,
    /// Nothing, as far as positions reach: prompt, source and answer may be longer than the model was made for.
    GoOn,
    /// The older half is forgotten and the answer goes on; what is kept is read again from position 0.
    Slide,
}

/// The number of a request, counted up from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Why a constraint cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has failed, which is a defect.
    Failed,
    /// The answer has become too complex for it to follow.
    TooComplex,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// At this stop token.
    Stop(TokenId),
    /// It has as many tokens as were asked for.
    MaxTokens,
    /// Prompt and answer fill the context.
    ContextFull,
    /// The constraint and the settings left no token to choose.
    NothingAllowed,
    /// The constraint could not go on.
    Faulty(Fault),
    /// The model's logits are not numbers: its weights are damaged.
    NotFinite,
    /// Whoever asked for it ended it.
    Cancelled,
}

/// A finished answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The request's number.
    pub id: RequestId,
    /// What was generated, without prompt and stop token.
    pub tokens: Vec<TokenId>,
    /// ln p of each token in the model's own distribution; of a guided request in the one that it is led to.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub reason: Finish,
}

/// Beyond this, logits would leave what a float can hold.
pub const MAX_GUIDANCE: f32 = 100.0;

/// Alternatives to a token that a request may ask for.
const MAX_TOP_LOGPROBS: usize = 1000;

impl Request {
    /// A request to go on after `prompt` until the context is full, drawing from the model's own distribution.
    pub fn new(prompt: Vec<TokenId>) -> Self {
        Self {
            prompt,
            source: None,
            max_tokens: usize::MAX,
            stop: Vec::new(),
            sampling: Sampling::default(),
            rules: Rules::default(),
            sample: 0,
            top_logprobs: 0,
            when_full: WhenFull::Stop,
            constraint: None,
            guidance: None,
            n_guesses: 0,
        }
    }

    /// A request for an encoder-decoder that reads `source` and begins its answer with `prompt`.
    pub fn with_source(source: Vec<TokenId>, prompt: Vec<TokenId>) -> Self {
        Self { source: Some(source), ..Self::new(prompt) }
    }

    /// Checks that a model of this architecture can meet the request; the generator trusts what passed.
    ///
    /// # Errors
    /// [`Error::Request`], saying what is wrong and what would be right.
    pub fn validate(&self, config: &ModelConfig) -> Result<()> {
        let longest = config.longest(self.when_full == WhenFull::GoOn);
        check_input(config, longest, self.source.as_deref(), &self.prompt)?;
        self.sampling.validate(config.vocab_size)?;
        self.rules.validate(config.vocab_size)?;
        self.stop.iter().try_for_each(|&token| check_token("stop", token, config.vocab_size))?;
        refuse_if(self.max_tokens == 0, || "max_tokens is 0; ask for at least 1 token".to_owned())?;
        refuse_if(self.top_logprobs > MAX_TOP_LOGPROBS.min(config.vocab_size), || {
            let most = MAX_TOP_LOGPROBS.min(config.vocab_size);
            format!("top_logprobs is {}; at most {most} can be reported", self.top_logprobs)
        })?;
        refuse_if(self.when_full == WhenFull::Slide && config.is_encoder_decoder(), || {
            "an encoder-decoder's answer begins with its prompt and cannot slide; use WhenFull::Stop".to_owned()
        })?;
        self.guidance.as_ref().map_or(Ok(()), |guidance| self.check_guidance(guidance, config))
    }

    fn check_guidance(&self, Guidance { scale, prompt }: &Guidance, config: &ModelConfig) -> Result<()> {
        refuse_if(!(0.0..=MAX_GUIDANCE).contains(scale), || {
            format!(
                "guidance is {scale}; expected 0 to {MAX_GUIDANCE}: 1 leaves the answer to the model, more keeps it closer to the prompt"
            )
        })?;
        refuse_if(prompt.is_empty() || prompt.len() > self.prompt.len(), || {
            let (n, most) = (prompt.len(), self.prompt.len());
            format!(
                "the prompt to be guided away from has {n} tokens; it needs at least 1, and at most the {most} of the prompt"
            )
        })?;
        prompt.iter().try_for_each(|&token| check_token("guidance", token, config.vocab_size))?;
        refuse_if(self.when_full == WhenFull::Slide, || {
            "a guided answer begins with its prompt and cannot slide; use WhenFull::Stop".to_owned()
        })?;
        refuse_if(config.is_encoder_decoder(), || {
            "an encoder-decoder answers its source and cannot be guided away from another prompt; leave guidance out"
                .to_owned()
        })?;
        refuse_if(self.n_guesses > 0, || "nothing can be guessed ahead of a guided answer; use n_guesses 0".to_owned())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A constraint says nothing about itself, and prompts must not end up in a log by accident.
        let n_source = self.source.as_ref().map(Vec::len);
        write!(f, "Request({} prompt tokens, {n_source:?} source tokens, {:?})", self.prompt.len(), self.sampling)
    }
}

/// Checks what encoder and decoder are to read, of which each may have `longest` tokens.
///
/// # Errors
/// [`Error::Request`]: a part is missing, empty, too long, or holds a token that does not exist.
pub(super) fn check_input(
    config: &ModelConfig,
    longest: usize,
    source: Option<&[TokenId]>,
    prompt: &[TokenId],
) -> Result<()> {
    refuse_if(matches!(config.shape, Shape::EncoderOnly(_)), || {
        "the model is encoder-only and cannot generate; use a decoder-only or encoder-decoder model".to_owned()
    })?;
    refuse_if(prompt.is_empty(), || {
        "the prompt is empty; the model needs at least one token to go on from, such as its begin token".to_owned()
    })?;
    refuse_if(prompt.len() >= longest, || {
        format!(
            "the prompt has {} tokens, but the model's context holds {longest}, of which the answer needs at least 1; shorten the prompt",
            prompt.len()
        )
    })?;
    prompt.iter().try_for_each(|&token| check_token("prompt", token, config.vocab_size))?;
    match source {
        None => refuse_if(config.is_encoder_decoder(), || {
            "the model has an encoder, but the request has no source for it to read".to_owned()
        }),
        Some(source) => check_source(config, longest, source),
    }
}

fn check_source(config: &ModelConfig, longest: usize, source: &[TokenId]) -> Result<()> {
    refuse_if(!config.is_encoder_decoder(), || {
        "the request has a source, but the model has no encoder; put everything into the prompt".to_owned()
    })?;
    refuse_if(source.is_empty(), || "the source is empty; the encoder needs at least one token".to_owned())?;
    refuse_if(source.len() > longest, || {
        format!("the source has {} tokens, but the model's context holds {longest}; shorten it", source.len())
    })?;
    source.iter().try_for_each(|&token| check_token("source", token, config.vocab_size))
}

pub(super) fn refuse_if(is_wrong: bool, message: impl FnOnce() -> String) -> Result<()> {
    if is_wrong { Err(Error::Request(message())) } else { Ok(()) }
}
