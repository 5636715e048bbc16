//! Which experts a token goes to: the k largest of its logits, and the softmax over those.

use super::check::{Checker, Input};
use super::softmax::formula as softmax;
use crate::shape;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use std::sync::Arc;

/// The experts of each token.
#[derive(Clone, Debug)]
pub struct Routes {
    /// [M, k] in f32: shares, which sum to 1 for each token.
    pub shares: Var,
    /// [M, k]: numbers of the experts, the largest logit first; of equal ones the lower number.
    pub experts: Arc<[u32]>,
}

/// Picks the `k` experts of each token.
///
/// The softmax over the chosen logits is that over all of them, renormalised.
///
/// # Shapes
/// logits: [M, E]; results: [M, k].
///
/// # Source
/// Shazeer et al., "Outrageously large neural networks", arXiv 1701.06538; Jiang et al., "Mixtral of experts", arXiv
/// 2401.04088, section 2.1.
pub fn route(tape: &Tape<'_>, logits: &Var, k: usize) -> Routes {
    let [rows, n_experts] = shape::sizes(&[("route by logits", "M.. E", logits.tensor().shape())]);
    assert!((1..=n_experts).contains(&k), "{k} of {n_experts} experts cannot be chosen");
    let values = logits.tensor().to_vec();
    let (mut experts, mut shares) = (Vec::with_capacity(rows * k), Vec::with_capacity(rows * k));
    let mut order: Vec<u32> = Vec::with_capacity(n_experts);
    for row in values.chunks_exact(n_experts) {
        let logit = |expert: u32| row[expert as usize];
        order.clear();
        order.extend(0..n_experts as u32);
        order.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)));
        let chosen = &order[..k];
        let exponential = |&expert: &u32| (logit(expert) - logit(chosen[0])).exp();
        let sum: f32 = chosen.iter().map(exponential).sum();
        shares.extend(chosen.iter().map(|expert| exponential(expert) / sum));
        experts.extend_from_slice(chosen);
    }
    let (slot, experts): (_, Arc<[u32]>) = (logits.slot(), experts.into());
    let (saved, chosen, dtype) = (shares.clone(), experts.clone(), logits.tensor().dtype());
    let shares = Tensor::from_f32(tape.device(), [rows, k], &shares);
    let shares = tape.push(shares, &[slot], move |sink, dshares| {
        let mut dlogits = vec![0.0; rows * n_experts];
        let dshares = dshares.to_vec();
        for (i, (shares, dshares)) in saved.chunks_exact(k).zip(dshares.chunks_exact(k)).enumerate() {
            let mean: f32 = shares.iter().zip(dshares).map(|(share, d)| share * d).sum();
            for (j, (share, d)) in shares.iter().zip(dshares).enumerate() {
                dlogits[i * n_experts + chosen[i * k + j] as usize] = share * (d - mean);
            }
        }
        sink.add(slot, Tensor::from_f32(sink.device(), [rows, n_experts], &dlogits).cast(dtype));
    });
    Routes { shares, experts }
}

pub(super) fn check(checker: &mut Checker) {
    for k in [1, 2, 5] {
        let formula = |x: &[Vec<f64>]| {
            let row = |row: &[f64]| {
                let mut largest = row.to_vec();
                largest.sort_by(|a, b| b.total_cmp(a));
                softmax(&largest[..k])
            };
            x[0].chunks(5).flat_map(row).collect()
        };
        let shares = |tape: &Tape<'_>, x: &[Var]| route(tape, &x[0], k).shares;
        checker.case(&format!("route to {k} of 5"), &[Input::f32([7, 5])], shares, formula);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn the_largest_come_first_and_of_equals_the_lower_number() {
        let device = Device::reference();
        let logits = Tensor::from_f32(&device, [2, 4], &[0.5, 2.0, 0.5, -1.0, 3.0, 3.0, 3.0, 4.0]);
        let routes = route(&Tape::inference(&device), &Var::constant(logits), 2);
        assert_eq!(*routes.experts, [1, 0, 3, 0]);
    }
}
