//! A product with a weight and, where it has them, with its adapters.

use crate::params::{Adapter, Params};
use genera_tensor::op::{Linear, activation, add, concat, dropout, linear, scale};
use genera_tensor::{DType, Key, ParamId, Tape, Tensor, Var};

/// How the products of a layer are made.
pub(super) struct Projection<'p, 't> {
    pub(super) tape: &'p Tape<'t>,
    pub(super) params: &'p Params,
    /// Probability of dropout of what goes into the adapters, and its key.
    pub(super) dropout: Option<(f32, Key)>,
}

impl Projection<'_, '_> {
    /// f(x · wᵀ + Δ + b) + r, where Δ is what the adapters of w add.
    ///
    /// # Shapes
    /// x: [M, in]; result: [M, out].
    pub(super) fn apply(&self, x: &Var, weight: ParamId, with: Linear) -> Var {
        let &Self { tape, params, .. } = self;
        let matrix = params.matrix(tape, weight);
        let adapters = params.adapters_of(weight);
        if adapters.is_empty() {
            return linear(tape, x, &matrix, with);
        }
        let delta = self.delta(x, weight, adapters);
        let Linear { bias, activation: kind, residual, out } = with;
        let y = linear(tape, x, &matrix, Linear { bias, activation: None, residual: Some(delta), out });
        let y = kind.map_or_else(|| y.clone(), |kind| activation(tape, kind, &y));
        residual.map_or_else(|| y.clone(), |residual| add(tape, &residual, &y))
    }

    /// scale · (x · aᵀ) · bᵀ for the rows of each adapter, zeros for the rows between them.
    ///
    /// # Shapes
    /// Result: [M, out] in f32.
    fn delta(&self, x: &Var, weight: ParamId, adapters: &[Adapter]) -> Var {
        let &Self { tape, params, .. } = self;
        let x = match self.dropout {
            Some((p, key)) => dropout(tape, x, p, key.fold(weight.0 as u64)),
            None => x.clone(),
        };
        let m = x.tensor().shape().n_rows();
        let zeros = |width: usize| Var::constant(Tensor::zeros(tape.device(), [m, width], DType::F32));
        let (mut parts, mut n_done) = (Vec::new(), 0);
        for Adapter { rows, a, b, scale: factor, .. } in adapters {
            if rows.start > n_done {
                parts.push(zeros(rows.start - n_done));
            }
            let h = linear(tape, &x, &params.matrix(tape, *a), Linear::plain(params.compute_dtype()));
            let h = scale(tape, &h, *factor);
            parts.push(linear(tape, &h, &params.matrix(tape, *b), Linear::plain(DType::F32)));
            n_done = rows.end;
        }
        let n_rows = params.specs()[weight.0].shape.n_rows();
        if n_done < n_rows {
            parts.push(zeros(n_rows - n_done));
        }
        if parts.len() == 1 { parts.remove(0) } else { concat(tape, &parts.iter().collect::<Vec<_>>()) }
    }
}
