//! The one Transformer. Everything that computes with a model goes through this file.

use super::cache::{CacheRow, Continuation, PageShape};
use super::embedding::Embeddings;
use super::head::HeadLayer;
use super::pooling::Pooling;
use super::position::{Positions, Switch};
use super::stack::{Context, Memory, StackLayers};
use super::{Probe, visibility};
use crate::config::{ModelConfig, Shape};
use crate::params::Params;
use genera_tensor::backend::{Heads, PAGE_TOKENS, PageLayout};
use genera_tensor::op::{HeadLoss, LossSpec, cast};
use genera_tensor::{DType, Device, Key, Tape, Tensor, Var};
use genera_tokens::{Batch, Source};
use std::sync::Arc;

/// A model: its architecture, its numbers, and the forward pass.
#[derive(Debug)]
pub struct Transformer {
    config: ModelConfig,
    params: Params,
    device: Device,
    /// The `model_type` of the files it was loaded from.
    published_as: Option<&'static str>,
    /// How its files say that texts become vectors.
    pooling: Option<Pooling>,
    positions: Positions,
    encoder: Option<(Embeddings, StackLayers)>,
    decoder: Option<(Embeddings, StackLayers)>,
    head: HeadLayer,
}

/// How a forward pass behaves while training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mode<'m> {
    /// Probability of dropout, and the key of this pass's masks.
    pub dropout: Option<(f32, Key)>,
    /// The same for what goes into the adapters.
    pub adapter_dropout: Option<(f32, Key)>,
    /// The first so many blocks, the encoder's before the decoder's, keep only their input and are computed again on the way
    /// back: by then the blocks above them have given their memory up.
    pub recomputed_blocks: usize,
    /// Where attention weights are captured for a picture.
    pub probe: Option<&'m Probe>,
}

/// Rows of tokens as one stack sees them.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Number of rows B.
    pub b: usize,
    /// Length T of a row.
    pub t: usize,
    /// [B, T]
    pub tokens: Arc<[u32]>,
    /// [B, T]: position of each token inside its document.
    pub positions: Arc<[u32]>,
    /// [B, T]: document of each token, when a row holds several or is padded.
    pub segments: Option<Arc<[u32]>>,
    /// `[B]`: number of real tokens of each row; all when absent.
    pub lens: Option<Arc<[u32]>>,
}

impl Rows {
    /// Rows of equal length, each one stretch of one document from position 0.
    ///
    /// # Panics
    /// When the number of tokens is not a multiple of `t`.
    pub fn dense(t: usize, tokens: &[u32]) -> Self {
        let b = tokens.len() / t;
        assert_eq!(tokens.len(), b * t, "{} tokens do not make rows of {t}", tokens.len());
        let positions = (0..b).flat_map(|_| 0..t as u32).collect();
        Self { b, t, tokens: tokens.into(), positions, segments: None, lens: None }
    }

    /// New tokens that continue rows, one row behind the other in one, each at the positions behind those that it holds.
    fn continuing(new: &[&[u32]], rows: &[CacheRow]) -> Self {
        let tokens: Arc<[u32]> = new.concat().into();
        let positions = new.iter().zip(rows).flat_map(|(new, row)| (row.len() as u32..).take(new.len())).collect();
        let segments = new.iter().zip(0..).flat_map(|(new, row)| std::iter::repeat_n(row, new.len())).collect();
        Self { b: 1, t: tokens.len(), tokens, positions, segments: Some(segments), lens: None }
    }

    /// The decoder's side of a batch.
    pub fn of_batch(batch: &Batch) -> Self {
        let segments = (!batch.is_dense()).then(|| batch.segments.as_slice().into());
        let (tokens, positions) = (batch.tokens.as_slice().into(), batch.positions.as_slice().into());
        Self { b: batch.n_rows, t: batch.len, tokens, positions, segments, lens: None }
    }

    /// The encoder's side of a batch.
    pub fn of_source(source: &Source) -> Self {
        let rows = Self::dense(source.len, &source.tokens);
        Self { lens: Some(source.lens.as_slice().into()), ..rows }
    }
}

/// The loss of a batch with what was measured on the way.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The sum that is minimised, times its scale.
    pub total: Var,
    /// −ln p(target) of every position, 0 where ignored; [B·T].
    ///
    /// # Units
    /// Nats.
    pub nlls: Vec<f32>,
    /// Whether the target was the most probable token, as 1 or 0; [B·T].
    pub hits: Vec<f32>,
}

impl Transformer {
    /// A model from its architecture and numbers.
    ///
    /// # Panics
    /// When `params` does not have the layout of `config`, which must have been validated.
    pub fn new(config: ModelConfig, mut params: Params, device: &Device) -> Self {
        params.set_head(config.head);
        assert_eq!(
            params.specs(),
            crate::params::layout(&config),
            "the parameters must have the layout of the architecture"
        );
        let (encoder, decoder) = match &config.shape {
            Shape::DecoderOnly(stack) => (None, Some(("decoder", stack))),
            Shape::EncoderOnly(stack) => (Some(("encoder", stack)), None),
            Shape::EncoderDecoder { encoder, decoder } => (Some(("encoder", encoder)), Some(("decoder", decoder))),
        };
        let has_cross = config.is_encoder_decoder();
        let layers = |(name, stack), cross| {
            (Embeddings::new(name, &config, &params), StackLayers::new(name, stack, cross, &config, &params))
        };
        Self {
            positions: Positions::new(&config, device),
            encoder: encoder.map(|encoder| layers(encoder, false)),
            decoder: decoder.map(|decoder| layers(decoder, has_cross)),
            head: HeadLayer::new(&config, &params),
            config,
            params,
            device: device.clone(),
            published_as: None,
            pooling: None,
        }
    }

    /// Remembers the `model_type` of the files that it was loaded from: several may have the same architecture under other
    /// names.
    pub(crate) fn set_published_as(&mut self, model_type: Option<&'static str>) {
        self.published_as = model_type;
    }

    /// The `model_type` of the files that it was loaded from, where there were any.
    pub fn published_as(&self) -> Option<&'static str> {
        self.published_as
    }

    /// Remembers how the files that it was loaded from, or those of its base, say that texts become vectors.
    pub fn set_pooling(&mut self, pooling: Option<Pooling>) {
        self.pooling = pooling;
    }

    /// How the files that it was loaded from say that texts become vectors, where they do.
    pub fn pooling(&self) -> Option<&Pooling> {
        self.pooling.as_ref()
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The numbers.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The numbers, for an optimizer.
    pub fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Loss of a batch: `scale` · Σ over the targets.
    pub fn loss<'a>(&'a self, tape: &Tape<'a>, batch: &Batch, smoothing: f32, scale: f32, mode: Mode<'_>) -> Loss {
        let memory = batch.source.as_ref().map(|source| self.encode(tape, &Rows::of_source(source), mode));
        let hidden = self.decode(tape, &Rows::of_batch(batch), memory, mode);
        let spec = LossSpec { targets: batch.targets.as_slice().into(), smoothing, scale, cap: None };
        let HeadLoss { loss, nlls, hits } = self.head.loss(tape, &self.params, &hidden, spec, mode.adapter_dropout);
        Loss { total: loss, nlls, hits }
    }

    /// What the encoder makes of the source rows.
    ///
    /// # Panics
    /// When the model has no encoder.
    pub fn encode<'a>(&'a self, tape: &Tape<'a>, rows: &Rows, mode: Mode<'_>) -> Memory {
        let (embeddings, encoder) = self.encoder.as_ref().expect("the model has no encoder; use decode");
        let x = embeddings.embed(tape, &self.params, &self.positions, rows, mode);
        let mask = visibility::of_encoder(rows);
        let angles = self.positions.angles(rows);
        let context = Context { rows: rows.clone(), mask, angles, memory: None, mode, salt: 1 };
        let hidden = encoder.forward(tape, self, x, &context, None);
        Memory { hidden, s: rows.t, lens: rows.lens.clone() }
    }

    /// Hidden states of the decoder (of the encoder, in an encoder-only model) for whole rows.
    ///
    /// # Shapes
    /// Result: [B·T, D].
    pub fn decode<'a>(&'a self, tape: &Tape<'a>, rows: &Rows, memory: Option<Memory>, mode: Mode<'_>) -> Var {
        let Some((embeddings, decoder)) = &self.decoder else { return self.encode(tape, rows, mode).hidden };
        let x = embeddings.embed(tape, &self.params, &self.positions, rows, mode);
        let n_encoder = self.encoder.as_ref().map_or(0, |(_, encoder)| encoder.n_blocks());
        // Once for the keys and values of all blocks.
        let rounded =
            |memory: Memory| Memory { hidden: cast(tape, &memory.hidden, self.params.compute_dtype()), ..memory };
        let mode = Mode { recomputed_blocks: mode.recomputed_blocks.saturating_sub(n_encoder), ..mode };
        let context = Context {
            rows: rows.clone(),
            mask: visibility::of_decoder(rows, self.config.last_stack()),
            angles: self.positions.angles(rows),
            memory: memory.map(rounded),
            mode,
            salt: 0,
        };
        decoder.forward(tape, self, x, &context, None)
    }

    /// Hidden states of new tokens that continue rows of keys and values; the rows then hold them too.
    ///
    /// `sources`: what [`Transformer::read_sources`] made of each row's source, for a model with an encoder; else none.
    ///
    /// # Shapes
    /// Result: [N, D], the new tokens row by row.
    ///
    /// # Determinism
    /// A hidden state depends on the tokens of its row alone, not on the other rows, nor on how many are new at a time.
    pub fn decode_cached(&self, new: &[&[u32]], rows: &mut [CacheRow], sources: &[CacheRow]) -> Var {
        let (embeddings, decoder) = self.decoder.as_ref().expect("only a decoder generates token by token");
        assert_eq!(new.len(), rows.len(), "every row is continued, if by nothing");
        let tape = Tape::inference(&self.device);
        let joined = Rows::continuing(new, rows);
        let mode = Mode::default();
        let x = embeddings.embed(&tape, &self.params, &self.positions, &joined, mode);
        let mask = visibility::of_cached(self.config.last_stack());
        let angles = self.positions.angles(&joined);
        let context = Context { rows: joined, mask, angles, memory: None, mode, salt: 0 };
        let n_new = new.iter().map(|tokens| tokens.len()).collect();
        let mut cache = Continuation { shape: self.page_shape(), rows, sources, n_new };
        decoder.forward(&tape, self, x, &context, Some(&mut cache))
    }

    /// Keys and values of the source for every decoder layer and row, computed once a request.
    pub fn read_sources(&self, memory: &Memory) -> Vec<CacheRow> {
        let (_, decoder) = self.decoder.as_ref().expect("only a decoder looks at an encoder");
        let tape = Tape::inference(&self.device);
        let (s, shape) = (memory.s, self.page_shape());
        let n_rows = memory.hidden.tensor().shape().n_rows() / s.max(1);
        let lens: Vec<usize> =
            (0..n_rows).map(|row| memory.lens.as_ref().map_or(s, |lens| lens[row] as usize)).collect();
        let mut rows = vec![CacheRow::default(); n_rows];
        rows.iter_mut().zip(&lens).for_each(|(row, &len)| row.reserve(&shape, len));
        for (layer, kv) in decoder.keys_values_of(&tape, &self.params, memory).iter().enumerate() {
            let [_, width] = kv.dims();
            let rows = rows.iter_mut().zip(&lens).enumerate().map(|(i, (row, &len))| {
                let data = kv.view().slice(i * s * width..(i * s + len) * width);
                row.storing(&shape, layer, Heads { data, n_heads_stored: 2 * shape.layout.g, first_head: 0 }, len)
            });
            self.device.kernels().store_in_pages(rows.collect());
        }
        rows.iter_mut().zip(&lens).for_each(|(row, &len)| row.advance(len));
        rows
    }

    fn page_shape(&self) -> PageShape {
        let stack = self.config.last_stack();
        let (g, d_head) = (stack.attention.n_kv_heads, stack.attention.d_head);
        let layout = PageLayout { g, d_head, dtype: self.params.cache_dtype() };
        PageShape { device: self.device.clone(), n_layers: stack.n_layers, layout }
    }

    /// Pages of keys and values that a row of so many tokens takes.
    pub fn n_pages(n_tokens: usize) -> usize {
        n_tokens.div_ceil(PAGE_TOKENS)
    }

    /// What a page of keys and values takes: [`PAGE_TOKENS`] tokens of a row.
    ///
    /// # Units
    /// Bytes.
    pub fn page_bytes(&self) -> usize {
        self.page_shape().page_bytes()
    }

    /// Logits of hidden states.
    ///
    /// # Shapes
    /// hidden: [M, D]; result: [M, V] in f32.
    pub fn logits(&self, hidden: &Var) -> Tensor {
        let tape = Tape::inference(&self.device);
        self.head.logits(&tape, &self.params, hidden).into_tensor()
    }

    /// The length, if there is one, beyond which a row's keys are made otherwise from its first token on: a cache that is
    /// to grow past it must be read again (LongRoPE, dynamic scaling).
    pub fn switch(&self) -> Option<Switch> {
        self.positions.switch()
    }

    /// Whether keys made for a row of `held` tokens are those of a row of `len`.
    pub fn keeps(&self, held: usize, len: usize) -> bool {
        self.switch().is_none_or(|switch| switch.keeps(held, len))
    }

    /// Storage type of the products' operands.
    pub fn compute_dtype(&self) -> DType {
        self.params.compute_dtype()
    }

    pub(super) fn positions(&self) -> &Positions {
        &self.positions
    }
}
