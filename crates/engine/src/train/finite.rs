//! Finds the tensor with which things went wrong: the first that holds NaN or infinity.

use crate::model::{Mode, Probe, Rows, Transformer};
use crate::params::Params;
use genera_tensor::{Gradients, ParamId, Tape, Tensor, Var};
use genera_tokens::Batch;

fn is_finite(tensor: &Tensor) -> bool {
    tensor.device().kernels().sum_of_squares(&[tensor.view()]).is_finite()
}

/// The trained parameter that is not finite, if there is one.
pub(super) fn bad_parameter(params: &Params) -> Option<&str> {
    let is_bad = |&i: &usize| params.is_trained(ParamId(i)) && !is_finite(params.master(ParamId(i)));
    let bad = (0..params.len()).find(is_bad)?;
    Some(&params.specs()[bad].name)
}

/// What made the loss of `batch` go wrong in a pass with `mode`: a parameter, or the first layer whose input is not finite.
pub(super) fn cause_of_bad_loss(model: &Transformer, batch: &Batch, mode: Mode<'_>) -> String {
    if let Some(name) = bad_parameter(model.params()) {
        return format!("the parameter {name}");
    }
    let probe = Probe::default();
    let mode = Mode { probe: Some(&probe), recomputed_blocks: 0, ..mode };
    let tape = Tape::inference(model.device());
    let memory = batch.source.as_ref().map(|source| model.encode(&tape, &Rows::of_source(source), mode));
    let hidden = model.decode(&tape, &Rows::of_batch(batch), memory, mode);
    for layer in probe.into_captured() {
        for (part, tensor) in [("queries", &layer.q), ("keys and values", &layer.kv)] {
            if !is_finite(tensor) {
                return format!("the {part} of {}", layer.name);
            }
        }
    }
    let cause = match is_finite(hidden.tensor()) {
        false => "the output of the last block",
        true if !has_finite_logits(model, hidden.tensor()) => "the logits",
        true => "the loss itself, for the logits are finite",
    };
    cause.to_owned()
}

/// Computes the logits a few rows at a time: all of them may be more than fits in memory.
fn has_finite_logits(model: &Transformer, hidden: &Tensor) -> bool {
    let [_, width] = hidden.dims();
    hidden.to_vec().chunks(64 * width).all(|rows| {
        let rows = Tensor::from_f32(model.device(), [rows.len() / width, width], rows);
        is_finite(&model.logits(&Var::constant(rows)))
    })
}

/// The gradient that went wrong first. The way back meets the parameters in reverse, but for the embedding, which a tied
/// head uses last on the way and first on the way back, and which every error reaches in the end.
pub(super) fn cause_of_bad_gradient(params: &Params, gradients: &Gradients) -> String {
    let bad: Vec<ParamId> = gradients.iter().filter(|(_, gradient)| !is_finite(gradient)).map(|(id, _)| id).collect();
    let first = bad.last().map_or("unknown", |id| &params.specs()[id.0].name);
    format!("the gradient of {first}")
}
