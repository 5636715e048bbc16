//! A norm with its learned weight and bias.

use crate::config::{ModelConfig, Norm};
use crate::params::Params;
use genera_tensor::op::{NormSpec, norm};
use genera_tensor::{DType, ParamId, Tape, Var};

#[derive(Debug)]
pub(super) struct NormLayer {
    weight: ParamId,
    bias: Option<ParamId>,
    norm: Norm,
}

impl NormLayer {
    pub(super) fn new(name: &str, config: &ModelConfig, params: &Params) -> Self {
        Self {
            weight: params.id(&format!("{name}.weight")),
            bias: params.find(&format!("{name}.bias")),
            norm: config.norm,
        }
    }

    /// # Shapes
    /// x and the result: [.., D]; the result is stored as `out`.
    pub(super) fn forward(&self, tape: &Tape<'_>, params: &Params, x: &Var, out: DType) -> Var {
        let spec = NormSpec { kind: self.norm.kind(), eps: self.norm.eps(), out };
        let bias = self.bias.map(|id| params.exact(tape, id));
        norm(tape, spec, x, &params.exact(tape, self.weight), bias.as_ref())
    }
}
