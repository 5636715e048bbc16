//! Self-attention and cross attention of one block, with or without a cache.

use super::block::Ending;
use super::cache::Continuation;
use super::projection::Projection;
use super::stack::{Context, Memory};
use super::transformer::Transformer;
use crate::config::{Attention, QkNorm};
use crate::params::Params;
use genera_tensor::backend::{AttentionSizes, PageLayout};
use genera_tensor::op::{
    AttentionSpec, Linear, MaskSpec, NormSpec, PagedSpec, Queries, attention, columns, concat, norm, paged_attention,
    rotary,
};
use genera_tensor::{Key, NormKind, ParamId, Tape, Tensor, Var, Visibility};
use std::cell::RefCell;

/// One attention layer's projections. Self-attention has one fused matrix [q; k; v], cross attention q and [k; v].
#[derive(Debug)]
pub(super) struct AttentionLayer {
    config: Attention,
    projections: Projections,
    /// Weights of the norms of queries and keys.
    qk_norm: Option<[ParamId; 2]>,
    /// Of these norms.
    eps: f32,
    out: ParamId,
    out_bias: Option<ParamId>,
    name: String,
}

type WithBias = (ParamId, Option<ParamId>);

#[derive(Debug)]
enum Projections {
    Own { qkv: WithBias },
    Cross { q: WithBias, kv: WithBias },
}

/// Collects the inputs of every attention of a pass, for a picture of who attends to whom.
#[derive(Debug, Default)]
pub struct Probe {
    captured: RefCell<Vec<Captured>>,
}

/// The inputs of one attention layer.
#[derive(Clone, Debug)]
pub struct Captured {
    /// For example `decoder.2.attention`.
    pub name: String,
    /// Queries [B·T, H·K].
    pub q: Tensor,
    /// Keys and values [B·S, 2·G·K].
    pub kv: Tensor,
    /// Sizes, mask and bias.
    pub spec: AttentionSpec,
}

impl Captured {
    /// What each head attends to: the softmax of the visible scores, in plain loops, since a picture is small.
    ///
    /// # Shapes
    /// Result: `[H][T][S]`, of the first row of the batch.
    pub fn weights(&self) -> Vec<Vec<Vec<f32>>> {
        let AttentionSizes { t, s, h, g, d_head, scale, cap, .. } = self.spec.sizes;
        let (q, kv) = (self.q.view(), self.kv.view());
        let bias =
            self.spec.bias.as_ref().map(|(bias, origin)| (bias.tensor().view(), bias.tensor().shape().last(), *origin));
        let score = |head: usize, i: usize, j: usize| -> f32 {
            if !self.spec.mask.sees(&self.spec.sizes, 0, i, j) {
                return f32::NEG_INFINITY;
            }
            let (query, key) = ((i * h + head) * d_head, (j * 2 * g + head / (h / g)) * d_head);
            let dot: f32 = (0..d_head).map(|e| q.get(query + e) * kv.get(key + e)).sum();
            let offset = bias.map_or(0.0, |(values, n_offsets, origin)| values.get(head * n_offsets + origin + j - i));
            cap.map_or(dot * scale, |cap| cap * (dot * scale / cap).tanh()) + offset
        };
        let row = |head: usize, i: usize| -> Vec<f32> {
            let scores: Vec<f32> = (0..s).map(|j| score(head, i, j)).collect();
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exponentials: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
            let sum: f32 = exponentials.iter().sum();
            exponentials.iter().map(|x| x / sum).collect()
        };
        (0..h).map(|head| (0..t).map(|i| row(head, i)).collect()).collect()
    }
}

impl Probe {
    /// What was captured, in the order of the layers.
    pub fn into_captured(self) -> Vec<Captured> {
        self.captured.into_inner()
    }
}

impl AttentionLayer {
    pub(super) fn new(name: &str, config: &Attention, eps: f32, params: &Params) -> Self {
        let with_bias =
            |part: &str| (params.id(&format!("{name}.{part}.weight")), params.find(&format!("{name}.{part}.bias")));
        let projections = if params.find(&format!("{name}.qkv.weight")).is_some() {
            Projections::Own { qkv: with_bias("qkv") }
        } else {
            Projections::Cross { q: with_bias("q"), kv: with_bias("kv") }
        };
        let (out, out_bias) = with_bias("out");
        let qk_norm = (config.qk_norm != QkNorm::None)
            .then(|| ["q_norm", "k_norm"].map(|part| params.id(&format!("{name}.{part}.weight"))));
        Self { config: config.clone(), projections, qk_norm, eps, out, out_bias, name: name.to_owned() }
    }

    /// Attention of the rows to themselves (and to what the cache holds).
    ///
    /// # Shapes
    /// x and the result: [B·T, D].
    #[expect(clippy::too_many_arguments, reason = "the layer's whole surroundings, each of another kind")]
    pub(super) fn attend_self(
        &self,
        tape: &Tape<'_>,
        model: &Transformer,
        x: &Var,
        context: &Context<'_>,
        layer: usize,
        bias: Option<&(Var, usize)>,
        cache: Option<&mut Continuation<'_>>,
        ending: Ending,
    ) -> Var {
        let params = model.params();
        let Projections::Own { qkv } = &self.projections else { panic!("{} is not self-attention", self.name) };
        let Attention { n_heads: h, n_kv_heads: g, d_head, .. } = self.config;
        let mut qkv = self.project(tape, params, x, qkv, context.mode.adapter_dropout);
        if let Some([q_norm, k_norm]) = self.qk_norm {
            let (q, k) = (columns(tape, &qkv, 0..h * d_head), columns(tape, &qkv, h * d_head..(h + g) * d_head));
            let v = columns(tape, &qkv, (h + g) * d_head..(h + 2 * g) * d_head);
            let (q, k) = (self.normed(tape, params, &q, q_norm), self.normed(tape, params, &k, k_norm));
            qkv = concat(tape, &[&q, &k, &v]);
        }
        let visibility = context.mask.visibility(layer);
        let is_local = matches!(visibility, Visibility::Window { .. });
        if let Some(spec) = model.positions().rotary(&context.angles, 0..h + g, d_head, is_local) {
            qkv = rotary(tape, qkv, &context.angles.places, &spec);
        }
        if let Some(cache) = cache {
            cache.store(layer, qkv.tensor(), h);
            let spec = self.paged(cache.shape.layout, visibility, bias);
            let y = paged_attention(tape, qkv.tensor(), &spec, &cache.own(layer));
            return self.leave(tape, params, &y, context, ending);
        }
        let (b, t) = (context.rows.b, context.rows.t);
        let spec =
            AttentionSpec { sizes: self.sizes(b, t, t), mask: context.mask.for_layer(layer), bias: bias.cloned() };
        self.finish(tape, params, Queries::Fused(qkv), spec, context, ending)
    }

    /// Attention of the rows to what the encoder made of the source.
    ///
    /// # Shapes
    /// x and the result: [B·T, D].
    #[expect(clippy::too_many_arguments, reason = "the layer's whole surroundings, each of another kind")]
    pub(super) fn attend_memory(
        &self,
        tape: &Tape<'_>,
        params: &Params,
        x: &Var,
        context: &Context<'_>,
        layer: usize,
        cache: Option<&Continuation<'_>>,
        ending: Ending,
    ) -> Var {
        let Projections::Cross { q, .. } = &self.projections else { panic!("{} is not cross attention", self.name) };
        let dropout = context.mode.adapter_dropout;
        let mut q = self.project(tape, params, x, q, dropout);
        if let Some([q_norm, _]) = self.qk_norm {
            q = self.normed(tape, params, &q, q_norm);
        }
        if let Some(cache) = cache {
            let spec = self.paged(cache.shape.layout, Visibility::Full, None);
            let y = paged_attention(tape, q.tensor(), &spec, &cache.cross(layer));
            return self.leave(tape, params, &y, context, ending);
        }
        let Some(memory) = &context.memory else {
            panic!("{} needs the encoder's output; pass it as memory", self.name)
        };
        let kv = self.keys_values(tape, params, memory, dropout);
        let mask = MaskSpec { key_lens: memory.lens.clone(), ..MaskSpec::new(Visibility::Full) };
        let spec = AttentionSpec { sizes: self.sizes(context.rows.b, context.rows.t, memory.s), mask, bias: None };
        self.finish(tape, params, Queries::Cross(q, kv), spec, context, ending)
    }

    /// Keys and values of the encoder's output.
    ///
    /// # Shapes
    /// Result: [B·S, 2·G·K].
    pub(super) fn keys_values(
        &self,
        tape: &Tape<'_>,
        params: &Params,
        memory: &Memory,
        adapter_dropout: Option<(f32, Key)>,
    ) -> Var {
        let Projections::Cross { kv, .. } = &self.projections else { panic!("{} is not cross attention", self.name) };
        let kv = self.project(tape, params, &memory.hidden, kv, adapter_dropout);
        let Some([_, k_norm]) = self.qk_norm else { return kv };
        let width = self.config.n_kv_heads * self.config.d_head;
        let (k, v) = (columns(tape, &kv, 0..width), columns(tape, &kv, width..2 * width));
        concat(tape, &[&self.normed(tape, params, &k, k_norm), &v])
    }

    /// Queries or keys, each head or all of them normed, as wide as the weight is.
    ///
    /// # Shapes
    /// x and the result: [M, heads·K].
    fn normed(&self, tape: &Tape<'_>, params: &Params, x: &Var, weight: ParamId) -> Var {
        let weight = params.exact(tape, weight);
        let (shape, width) = (x.tensor().shape(), weight.tensor().n_elements());
        let spec = NormSpec { kind: NormKind::Rms, eps: self.eps, out: x.tensor().dtype() };
        norm(tape, spec, &x.reshape([shape.n_elements() / width, width]), &weight, None).reshape(shape)
    }

    fn project(
        &self,
        tape: &Tape<'_>,
        params: &Params,
        x: &Var,
        (weight, bias): &WithBias,
        dropout: Option<(f32, Key)>,
    ) -> Var {
        let bias = bias.map(|id| params.exact(tape, id));
        let with = Linear { bias, ..Linear::plain(params.compute_dtype()) };
        Projection { tape, params, dropout }.apply(x, *weight, with)
    }

    fn finish(
        &self,
        tape: &Tape<'_>,
        params: &Params,
        inputs: Queries,
        spec: AttentionSpec,
        context: &Context<'_>,
        ending: Ending,
    ) -> Var {
        if let Some(probe) = context.mode.probe {
            probe.captured.borrow_mut().push(self.capture(tape, &inputs, &spec));
        }
        let y = attention(tape, inputs, &spec);
        self.leave(tape, params, &y, context, ending)
    }

    /// From all heads back to the residual stream.
    fn leave(&self, tape: &Tape<'_>, params: &Params, y: &Var, context: &Context<'_>, ending: Ending) -> Var {
        let bias = self.out_bias.map(|id| params.exact(tape, id));
        let with = Linear { bias, activation: None, residual: ending.residual, out: ending.out };
        Projection { tape, params, dropout: context.mode.adapter_dropout }.apply(y, self.out, with)
    }

    fn sizes(&self, b: usize, t: usize, s: usize) -> AttentionSizes {
        let Attention { n_heads: h, n_kv_heads: g, d_head, .. } = self.config;
        AttentionSizes { b, t, s, h, g, d_head, scale: self.config.score_scale(), cap: self.config.score_cap }
    }

    fn paged(&self, layout: PageLayout, visibility: Visibility, bias: Option<&(Var, usize)>) -> PagedSpec {
        let (scale, cap) = (self.config.score_scale(), self.config.score_cap);
        PagedSpec { layout, h: self.config.n_heads, scale, cap, visibility, bias: bias.cloned() }
    }

    fn capture(&self, tape: &Tape<'_>, inputs: &Queries, spec: &AttentionSpec) -> Captured {
        let AttentionSizes { h, g, d_head, .. } = spec.sizes;
        let (q, kv) = match inputs {
            Queries::Fused(qkv) => {
                let width = (h + 2 * g) * d_head;
                (columns(tape, qkv, 0..h * d_head), columns(tape, qkv, h * d_head..width))
            }
            Queries::Cross(q, kv) => (q.clone(), kv.clone()),
        };
        let (q, kv) = (q.into_tensor(), kv.into_tensor());
        Captured { name: self.name.clone(), q, kv, spec: spec.clone() }
    }
}
