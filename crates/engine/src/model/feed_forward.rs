//! down(f(up(x))), plain or gated, by one layer for all tokens or by a few experts for each.

use super::block::Ending;
use super::projection::Projection;
use crate::config::FeedForward;
use crate::params::Params;
use genera_tensor::op::{Group, Linear, Routes, cast, gated, gather_rows, grouped_linear, linear, mix, route};
use genera_tensor::{Activation, DType, Key, ParamId, Tape, Var};
use std::ops::Range;
use std::sync::Arc;

#[derive(Debug)]
pub(super) enum FeedForwardLayer {
    One { activation: Activation, is_gated: bool, weights: Weights },
    Experts { activation: Activation, n_active: usize, router: ParamId, experts: Vec<Weights> },
}

#[derive(Debug)]
pub(super) struct Weights {
    up: ParamId,
    up_bias: Option<ParamId>,
    down: ParamId,
    down_bias: Option<ParamId>,
}

impl Weights {
    fn new(name: &str, params: &Params) -> Self {
        Self {
            up: params.id(&format!("{name}.up.weight")),
            up_bias: params.find(&format!("{name}.up.bias")),
            down: params.id(&format!("{name}.down.weight")),
            down_bias: params.find(&format!("{name}.down.bias")),
        }
    }
}

impl FeedForwardLayer {
    pub(super) fn new(name: &str, config: &FeedForward, params: &Params) -> Self {
        let (activation, is_gated) = (config.activation(), config.is_gated());
        match *config {
            FeedForward::Plain { .. } | FeedForward::Gated { .. } => {
                Self::One { activation, is_gated, weights: Weights::new(name, params) }
            }
            FeedForward::Experts { n_experts, n_active, .. } => {
                let expert = |i| Weights::new(&format!("{name}.experts.{i}"), params);
                let router = params.id(&format!("{name}.router.weight"));
                Self::Experts { activation, n_active, router, experts: (0..n_experts).map(expert).collect() }
            }
        }
    }

    /// # Shapes
    /// x and the result: [B·T, D].
    pub(super) fn forward(
        &self,
        tape: &Tape<'_>,
        params: &Params,
        x: &Var,
        adapter_dropout: Option<(f32, Key)>,
        ending: Ending,
    ) -> Var {
        match self {
            Self::One { activation, is_gated, weights } => {
                let projection = Projection { tape, params, dropout: adapter_dropout };
                one(&projection, x, *activation, *is_gated, weights, ending)
            }
            Self::Experts { activation, n_active, router, experts } => {
                let logits = linear(tape, x, &params.matrix(tape, *router), Linear::plain(DType::F32));
                let routes = route(tape, &logits, *n_active);
                several(tape, params, x, *activation, &routes, experts, ending)
            }
        }
    }
}

fn one(
    projection: &Projection<'_, '_>,
    x: &Var,
    activation: Activation,
    is_gated: bool,
    weights: &Weights,
    ending: Ending,
) -> Var {
    let &Projection { tape, params, .. } = projection;
    let bias = |id: Option<ParamId>| id.map(|id| params.exact(tape, id));
    let in_product = (!is_gated).then_some(activation);
    let up = Linear { bias: bias(weights.up_bias), activation: in_product, ..Linear::plain(params.compute_dtype()) };
    let mut h = projection.apply(x, weights.up, up);
    if is_gated {
        h = gated(tape, activation, &h);
    }
    let down = Linear { bias: bias(weights.down_bias), activation: None, residual: ending.residual, out: ending.out };
    projection.apply(&h, weights.down, down)
}

/// Each token through its experts. Tokens are ordered by expert, so that each expert's product is one.
fn several(
    tape: &Tape<'_>,
    params: &Params,
    x: &Var,
    activation: Activation,
    routes: &Routes,
    experts: &[Weights],
    ending: Ending,
) -> Var {
    let [_, n_active] = routes.shares.tensor().dims();
    let Order { tokens, places, rows } = Order::new(&routes.experts, n_active, experts.len());
    let compute = params.compute_dtype();
    let groups = |id: fn(&Weights) -> ParamId| -> Vec<Group> {
        let of_expert = |(expert, rows): (&Weights, &Range<usize>)| Group {
            rows: rows.clone(),
            weight: params.matrix(tape, id(expert)),
        };
        experts.iter().zip(&rows).filter(|(_, rows)| !rows.is_empty()).map(of_expert).collect()
    };
    let x = gather_rows(tape, &cast(tape, x, compute), &tokens);
    let h = gated(tape, activation, &grouped_linear(tape, &x, &groups(|expert| expert.up), compute));
    let y = grouped_linear(tape, &h, &groups(|expert| expert.down), DType::F32);
    cast(tape, &mix(tape, &y, &routes.shares, &places, ending.residual), ending.out)
}

/// The pairs of a token and one of its experts, ordered by expert.
struct Order {
    /// `[M·k]`: the token of each.
    tokens: Arc<[u32]>,
    /// [M, k]: where each pair has gone.
    places: Arc<[u32]>,
    /// Of each expert.
    rows: Vec<Range<usize>>,
}

impl Order {
    fn new(experts: &[u32], n_active: usize, n_experts: usize) -> Self {
        let mut n_rows = vec![0; n_experts];
        experts.iter().for_each(|&expert| n_rows[expert as usize] += 1);
        let mut rows = Vec::with_capacity(n_experts);
        let mut start = 0;
        for n in n_rows {
            rows.push(start..start + n);
            start += n;
        }
        let mut next: Vec<usize> = rows.iter().map(|rows| rows.start).collect();
        let place = |&expert: &u32| {
            next[expert as usize] += 1;
            next[expert as usize] as u32 - 1
        };
        let places: Arc<[u32]> = experts.iter().map(place).collect();
        let mut tokens = vec![0; experts.len()];
        places.iter().enumerate().for_each(|(pair, &place)| tokens[place as usize] = (pair / n_active) as u32);
        Self { tokens: tokens.into(), places, rows }
    }
}
