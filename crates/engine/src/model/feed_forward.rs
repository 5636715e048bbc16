//! down(f(up(x))), plain or gated.

use super::block::Ending;
use crate::config::FeedForward;
use crate::params::Params;
use genera_tensor::op::{Linear, gated, linear};
use genera_tensor::{ParamId, Tape, Var};

#[derive(Debug)]
pub(super) struct FeedForwardLayer {
    config: FeedForward,
    up: ParamId,
    up_bias: Option<ParamId>,
    down: ParamId,
    down_bias: Option<ParamId>,
}

impl FeedForwardLayer {
    pub(super) fn new(name: &str, config: &FeedForward, params: &Params) -> Self {
        Self {
            config: config.clone(),
            up: params.id(&format!("{name}.up.weight")),
            up_bias: params.find(&format!("{name}.up.bias")),
            down: params.id(&format!("{name}.down.weight")),
            down_bias: params.find(&format!("{name}.down.bias")),
        }
    }

    /// # Shapes
    /// x and the result: [B·T, D].
    pub(super) fn forward(&self, tape: &Tape<'_>, params: &Params, x: &Var, ending: Ending) -> Var {
        let compute = params.compute_dtype();
        let bias = |id: Option<ParamId>| id.map(|id| params.exact(tape, id));
        let activation = match self.config {
            FeedForward::Plain { activation, .. } => Some(activation),
            FeedForward::Gated { .. } => None,
        };
        let up = Linear { bias: bias(self.up_bias), activation, ..Linear::plain(compute) };
        let mut h = linear(tape, x, &params.matrix(tape, self.up), up);
        if let FeedForward::Gated { activation, .. } = self.config {
            h = gated(tape, activation, &h);
        }
        let down = Linear { bias: bias(self.down_bias), activation: None, residual: ending.residual, out: ending.out };
        linear(tape, &h, &params.matrix(tape, self.down), down)
    }
}
