//! Hidden states to logits, or straight to the loss.

use super::projection::Projection;
use crate::config::{Head, ModelConfig};
use crate::params::Params;
use genera_tensor::op::{HeadLoss, Linear, LossSpec, cast, linear, linear_cross_entropy, scale, soft_cap};
use genera_tensor::{DType, Key, ParamId, Tape, Var};

#[derive(Debug)]
pub(super) struct HeadLayer {
    weight: ParamId,
    /// From the model's width to the table's.
    projection: Option<ParamId>,
    bias: Option<ParamId>,
    /// Factor on the hidden states.
    scale: f32,
    /// Soft cap of the logits.
    cap: Option<f32>,
}

impl HeadLayer {
    pub(super) fn new(config: &ModelConfig, params: &Params) -> Self {
        let scaled = matches!(config.head, Head::Tied { scaled: true, .. });
        Self {
            weight: params.find("head.weight").unwrap_or_else(|| params.id("embedding.weight")),
            projection: params.find("head.projection.weight"),
            bias: params.find("head.bias"),
            scale: if scaled { 1.0 / (config.d_model as f32).sqrt() } else { 1.0 },
            cap: config.logit_cap,
        }
    }

    /// # Shapes
    /// hidden: [M, D]; result: [M, V] in f32.
    pub(super) fn logits(&self, tape: &Tape<'_>, params: &Params, hidden: &Var) -> Var {
        let hidden = self.prepared(tape, params, hidden, None);
        let bias = self.bias(params);
        let with = Linear { bias, ..Linear::plain(DType::F32) };
        let logits = linear(tape, &hidden, &params.matrix(tape, self.weight), with);
        match self.cap {
            Some(cap) => soft_cap(tape, logits, cap),
            None => logits,
        }
    }

    /// `spec` without the cap, which the model has; `dropout` of what goes into the adapters.
    pub(super) fn loss(
        &self,
        tape: &Tape<'_>,
        params: &Params,
        hidden: &Var,
        spec: LossSpec,
        dropout: Option<(f32, Key)>,
    ) -> HeadLoss {
        let (hidden, spec) = (self.prepared(tape, params, hidden, dropout), LossSpec { cap: self.cap, ..spec });
        linear_cross_entropy(tape, &hidden, &params.matrix(tape, self.weight), self.bias(params).as_ref(), &spec)
    }

    fn prepared(&self, tape: &Tape<'_>, params: &Params, hidden: &Var, dropout: Option<(f32, Key)>) -> Var {
        let hidden = cast(tape, hidden, params.compute_dtype());
        let hidden = if self.scale == 1.0 { hidden } else { scale(tape, &hidden, self.scale) };
        match self.projection {
            Some(id) => Projection { tape, params, dropout }.apply(&hidden, id, Linear::plain(params.compute_dtype())),
            None => hidden,
        }
    }

    /// Fixed, so no gradient is asked for.
    fn bias(&self, params: &Params) -> Option<Var> {
        self.bias.map(|id| Var::constant(params.master(id).clone()))
    }
}
