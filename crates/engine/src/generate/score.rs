//! How probable given sequences are under a model.

use super::request::refuse_if;
use super::sampling::check_token;
use crate::config::{ModelConfig, Shape};
use crate::error::Result;
use crate::model::{Loss, Mode, Transformer};
use genera_tensor::Tape;
use genera_tokens::{Batch, IGNORE, Source, TokenId};
use std::ops::{AddAssign, Range};

/// A sequence to be scored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scored {
    /// What the encoder reads, for a model that has one.
    pub source: Option<Vec<TokenId>>,
    /// The decoder's tokens.
    pub tokens: Vec<TokenId>,
    /// So many of them, from the start and at least one, are given and carry no loss.
    pub n_given: usize,
}

/// How sequences are cut and batched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreSettings {
    /// Tokens scored by each further window over a sequence longer than the context: smaller is slower and gives every
    /// token more context. Half the context when absent.
    pub stride: Option<usize>,
    /// Tokens computed at once, padding included.
    pub n_batch_tokens: usize,
}

impl Default for ScoreSettings {
    fn default() -> Self {
        Self { stride: None, n_batch_tokens: 4096 }
    }
}

/// What a model thinks of a sequence; scores add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Tokens that were scored.
    pub n_tokens: u64,
    /// Σ −ln p(token) over them.
    ///
    /// # Units
    /// Nats.
    pub nats: f64,
    /// How many of them were the model's most probable token.
    pub n_hits: u64,
}

impl Score {
    /// Mean of −ln p; not a number when nothing was scored.
    ///
    /// # Units
    /// Nats per token.
    pub fn nats_per_token(&self) -> f64 {
        self.nats / self.n_tokens as f64
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.n_tokens += other.n_tokens;
        self.nats += other.nats;
        self.n_hits += other.n_hits;
    }
}

/// Tokens of a block: long enough to be about as good as independent of the next.
const BLOCK_TOKENS: usize = 256;

/// The score of each sequence. A sequence beyond the context is read by overlapping windows.
///
/// # Errors
/// [`Error::Request`](crate::Error::Request) when a sequence is not one that the model can read.
///
/// # Determinism
/// A score does not depend on the other sequences or on the batching.
pub fn score(model: &Transformer, sequences: &[Scored], settings: &ScoreSettings) -> Result<Vec<Score>> {
    let sum = |blocks: Vec<Score>| {
        let mut sum = Score::default();
        blocks.into_iter().for_each(|block| sum += block);
        sum
    };
    Ok(score_blocks(model, sequences, settings)?.into_iter().map(sum).collect())
}

/// The same of each block of 256 tokens of each sequence, fewer at the end of a window: what an interval is made of.
///
/// # Errors
/// As [`score`].
///
/// # Determinism
/// As [`score`].
pub fn score_blocks(model: &Transformer, sequences: &[Scored], settings: &ScoreSettings) -> Result<Vec<Vec<Score>>> {
    let config = model.config();
    let stride = settings.stride.unwrap_or(config.context_len.div_ceil(2));
    refuse_if(stride == 0 || stride > config.context_len, || {
        format!("the stride is {stride}; it must be from 1 to the model's context, {}", config.context_len)
    })?;
    sequences.iter().try_for_each(|sequence| check(sequence, config))?;
    let windows_of = |(i, sequence): (usize, &Scored)| windows(i, sequence, config.context_len, stride);
    let mut windows: Vec<Window> = sequences.iter().enumerate().flat_map(windows_of).collect();
    // Windows of about equal length together waste little on padding.
    windows.sort_by_key(|window| (window.inputs.len(), window.sequence));
    let mut parts: Vec<(Window, Vec<Score>)> = Vec::with_capacity(windows.len());
    let mut rest = windows.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(n_batched(rest, sequences, settings.n_batch_tokens));
        parts.extend(now.iter().cloned().zip(score_batch(model, now, sequences)));
        rest = later;
    }
    // In the order of the text, whatever the batches were.
    parts.sort_by_key(|(window, _)| (window.sequence, window.inputs.start));
    let mut blocks = vec![Vec::new(); sequences.len()];
    parts.into_iter().for_each(|(window, part)| blocks[window.sequence].extend(part));
    Ok(blocks)
}

/// One forward pass over a part of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    sequence: usize,
    /// Tokens that are read; each predicts the one behind it.
    inputs: Range<usize>,
    /// The first token that is scored.
    first_target: usize,
}

/// Windows that together score every token behind the given ones once.
fn windows(sequence: usize, scored: &Scored, context_len: usize, stride: usize) -> Vec<Window> {
    let n_inputs = scored.tokens.len() - 1;
    let mut windows = Vec::new();
    let mut first_target = scored.n_given;
    let mut end = context_len;
    while first_target <= n_inputs {
        let inputs = end.min(n_inputs).saturating_sub(context_len)..end.min(n_inputs);
        // A window whose targets are all given is skipped.
        if inputs.end >= first_target {
            windows.push(Window { sequence, inputs: inputs.clone(), first_target });
            first_target = inputs.end + 1;
        }
        end += stride;
    }
    windows
}

fn n_batched(windows: &[Window], sequences: &[Scored], n_batch_tokens: usize) -> usize {
    let mut longest = 0;
    let fits = |(i, window): (usize, &Window)| {
        let n_source = sequences[window.sequence].source.as_ref().map_or(0, Vec::len);
        longest = longest.max(window.inputs.len() + n_source);
        longest * (i + 1) <= n_batch_tokens
    };
    windows.iter().enumerate().map(fits).take_while(|&fits| fits).count().max(1)
}

fn score_batch(model: &Transformer, windows: &[Window], sequences: &[Scored]) -> Vec<Vec<Score>> {
    let batch = batch_of(windows, sequences);
    let tape = Tape::inference(model.device());
    let Loss { nlls, hits, .. } = model.loss(&tape, &batch, 0.0, 1.0, Mode::default());
    let rows = batch.targets.chunks(batch.len).zip(nlls.chunks(batch.len)).zip(hits.chunks(batch.len));
    let score_of = |((targets, nlls), hits): ((&[TokenId], &[f32]), &[f32])| {
        let scored = targets.iter().zip(nlls).zip(hits).filter(|((target, _), _)| **target != IGNORE);
        let mut blocks: Vec<Score> = Vec::new();
        for (i, ((_, &nll), &hit)) in scored.enumerate() {
            let token = Score { n_tokens: 1, nats: f64::from(nll), n_hits: u64::from(hit > 0.0) };
            match blocks.last_mut().filter(|_| !i.is_multiple_of(BLOCK_TOKENS)) {
                Some(block) => *block += token,
                None => blocks.push(token),
            }
        }
        blocks
    };
    rows.map(score_of).collect()
}

/// Rows padded on the right; padding is a document of its own, which carries no loss.
fn batch_of(windows: &[Window], sequences: &[Scored]) -> Batch {
    let len = windows.iter().map(|window| window.inputs.len()).max().unwrap_or(0);
    let mut batch = Batch { n_rows: windows.len(), len, source: source_of(windows, sequences), ..Batch::default() };
    for window in windows {
        let tokens = &sequences[window.sequence].tokens;
        for i in 0..len {
            let place = window.inputs.start + i;
            let is_real = place < window.inputs.end;
            let is_scored = is_real && place + 1 >= window.first_target;
            batch.tokens.push(if is_real { tokens[place] } else { 0 });
            batch.targets.push(if is_scored { tokens[place + 1] } else { IGNORE });
            batch.positions.push(i as u32);
            batch.segments.push(u32::from(is_real));
        }
    }
    batch
}

fn source_of(windows: &[Window], sequences: &[Scored]) -> Option<Source> {
    let sources = windows.iter().map(|window| sequences[window.sequence].source.as_deref());
    let sources: Vec<&[TokenId]> = sources.collect::<Option<_>>()?;
    let len = sources.iter().map(|source| source.len()).max()?;
    let padding = |source: &[TokenId]| std::iter::repeat_n(0, len - source.len());
    Some(Source {
        len,
        tokens: sources.iter().flat_map(|source| source.iter().copied().chain(padding(source))).collect(),
        lens: sources.iter().map(|source| source.len() as u32).collect(),
    })
}

fn check(sequence: &Scored, config: &ModelConfig) -> Result<()> {
    let Scored { source, tokens, n_given } = sequence;
    let longest = config.longest(true);
    refuse_if(matches!(config.shape, Shape::EncoderOnly(_)), || {
        "the model is encoder-only and gives no probabilities; use a decoder-only or encoder-decoder model".to_owned()
    })?;
    refuse_if(!(1..=tokens.len()).contains(n_given), || {
        format!("{n_given} of {} tokens are given; at least 1 is needed to go on from, and at most all", tokens.len())
    })?;
    tokens.iter().try_for_each(|&token| check_token("sequence", token, config.vocab_size))?;
    refuse_if(source.is_some() != config.is_encoder_decoder(), || {
        "a source belongs to an encoder-decoder and to no other model".to_owned()
    })?;
    let Some(source) = source else { return Ok(()) };
    source.iter().try_for_each(|&token| check_token("source", token, config.vocab_size))?;
    refuse_if(source.is_empty() || source.len() > longest, || {
        format!("the source has {} tokens; the model reads from 1 to {longest}", source.len())
    })?;
    refuse_if(tokens.len() > longest + 1, || {
        format!("the target has {} tokens, but the model's context holds {longest}", tokens.len() - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every token behind the given ones is a target once, and each window reads at most the context.
    #[test]
    fn windows_score_every_token_once() {
        for (n, n_given, context_len, stride) in
            [(1, 1, 4, 2), (2, 1, 4, 2), (5, 1, 4, 2), (6, 1, 4, 2), (20, 3, 4, 1), (20, 9, 4, 4)]
        {
            let scored = Scored { source: None, tokens: vec![0; n], n_given };
            let windows = windows(0, &scored, context_len, stride);
            let targets: Vec<usize> =
                windows.iter().flat_map(|window| window.first_target..=window.inputs.end).collect();
            assert_eq!(targets, (n_given..n).collect::<Vec<_>>(), "{n} tokens, {n_given} given");
            for Window { inputs, first_target, .. } in windows {
                assert!(inputs.len() <= context_len && inputs.start < first_target, "{inputs:?} {first_target}");
            }
        }
    }
}
