//! One block: self-attention, cross attention where there is an encoder, feed-forward; each with its norms and its way
//! back onto the residual stream, one after another or side by side.

use super::attention::AttentionLayer;
use super::cache::Continuation;
use super::feed_forward::FeedForwardLayer;
use super::norm::NormLayer;
use super::stack::Context;
use super::transformer::Transformer;
use crate::config::{ModelConfig, Placement, Stack};
use crate::params::Params;
use genera_tensor::op::{add, cast, dropout, dropout_add};
use genera_tensor::{DType, Tape, Var};

/// How a sub-layer's last product ends: with what added, stored how.
pub(super) struct Ending {
    pub(super) residual: Option<Var>,
    pub(super) out: DType,
}

#[derive(Debug)]
pub(super) struct Block {
    layer: usize,
    attention: (Norms, AttentionLayer),
    cross: Option<(Norms, AttentionLayer)>,
    feed_forward: (Norms, FeedForwardLayer),
}

/// The norms around a sub-layer.
#[derive(Debug)]
struct Norms {
    placement: Placement,
    /// Of what goes into it.
    before: Option<NormLayer>,
    /// Of what comes out of it.
    after: Option<NormLayer>,
    /// Of the sum with the residual stream.
    last: Option<NormLayer>,
}

impl Block {
    pub(super) fn new(
        prefix: &str,
        layer: usize,
        stack: &Stack,
        has_cross: bool,
        config: &ModelConfig,
        params: &Params,
    ) -> Self {
        let name = |part: &str| format!("{prefix}.{layer}.{part}");
        let norms = |part: &str| {
            let norm = |kind: &str| Some(NormLayer::new(&name(&format!("{part}.{kind}")), config, params));
            let (before, after, last) = match config.placement {
                Placement::Pre | Placement::Parallel => (norm("norm"), None, None),
                Placement::Post => (None, None, norm("norm")),
                Placement::Sandwich => (norm("norm"), norm("norm_after"), None),
                Placement::ResPost => (None, norm("norm"), None),
            };
            Norms { placement: config.placement, before, after, last }
        };
        let attention = |part: &str| AttentionLayer::new(&name(part), &stack.attention, config.norm.eps(), params);
        Self {
            layer,
            attention: (norms("attention"), attention("attention")),
            cross: has_cross.then(|| (norms("cross"), attention("cross"))),
            feed_forward: (
                norms("feed_forward"),
                FeedForwardLayer::new(&name("feed_forward"), &stack.feed_forward, params),
            ),
        }
    }

    /// # Shapes
    /// x and the result: [B·T, D] in f32.
    pub(super) fn forward(
        &self,
        tape: &Tape<'_>,
        model: &Transformer,
        x: Var,
        context: &Context<'_>,
        bias: Option<&(Var, usize)>,
        mut cache: Option<&mut Continuation<'_>>,
    ) -> Var {
        let params = model.params();
        let sub_layer = |part: u64| (self.layer as u64) * 4 + part + (context.salt << 32);
        let (norms, attention) = &self.attention;
        let given = x.clone();
        let mut x = norms.around(tape, params, x, None, context, sub_layer(0), |x, ending| {
            attention.attend_self(tape, model, x, context, self.layer, bias, cache.as_deref_mut(), ending)
        });
        if let Some((norms, attention)) = &self.cross {
            x = norms.around(tape, params, x, None, context, sub_layer(1), |x, ending| {
                attention.attend_memory(tape, params, x, context, self.layer, cache.as_deref(), ending)
            });
        }
        let (norms, feed_forward) = &self.feed_forward;
        let beside = (norms.placement == Placement::Parallel).then_some(given);
        norms.around(tape, params, x, beside.as_ref(), context, sub_layer(2), |x, ending| {
            feed_forward.forward(tape, params, x, context.mode.adapter_dropout, ending)
        })
    }

    /// The cross attention, in a decoder with an encoder.
    pub(super) fn cross(&self) -> Option<&AttentionLayer> {
        self.cross.as_ref().map(|(_, attention)| attention)
    }
}

impl Norms {
    /// Takes `x`, or the value `beside` it, through the sub-layer `f` and back onto the residual stream. Without dropout the
    /// last product of `f` adds the residual itself, which saves a pass over memory.
    #[expect(clippy::too_many_arguments, reason = "the sub-layer's whole surroundings, each of another kind")]
    fn around(
        &self,
        tape: &Tape<'_>,
        params: &Params,
        x: Var,
        beside: Option<&Var>,
        context: &Context<'_>,
        salt: u64,
        f: impl FnOnce(&Var, Ending) -> Var,
    ) -> Var {
        let compute = params.compute_dtype();
        let from = beside.unwrap_or(&x);
        let input = match &self.before {
            // The products would round it each for itself.
            None => cast(tape, from, compute),
            Some(norm) => norm.forward(tape, params, from, compute),
        };
        let dropout_of = context.mode.dropout.map(|(p, key)| (p, key.fold(salt)));
        let sum = match (&self.after, dropout_of) {
            (None, None) => f(&input, Ending { residual: Some(x), out: DType::F32 }),
            (None, Some((p, key))) => {
                dropout_add(tape, &x, &f(&input, Ending { residual: None, out: compute }), p, key)
            }
            (Some(after), dropout_of) => {
                let y = after.forward(tape, params, &f(&input, Ending { residual: None, out: compute }), DType::F32);
                let y = dropout_of.map_or_else(|| y.clone(), |(p, key)| dropout(tape, &y, p, key));
                add(tape, &x, &y)
            }
        };
        match &self.last {
            None => sum,
            Some(norm) => norm.forward(tape, params, &sum, DType::F32),
        }
    }
}
