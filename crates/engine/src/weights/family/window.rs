//! Layers with and without a sliding window, as files describe them: `layer_types`, or an older key with a number.

use crate::config::{Stack, Window};
use crate::error::Result;
use crate::weights::config_json::Fields;
use genera_tensor::Visibility;
use serde_json::Value;

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// The window of a model in which only the layers of type `sliding_attention` have one; `is_full` says which see everything
/// where the file has no `layer_types`.
pub(super) fn read(
    fields: &Fields<'_>,
    stack: &Stack,
    tokens: usize,
    is_full: impl Fn(usize) -> bool,
) -> Result<Option<Window>> {
    let n_layers = stack.n_layers;
    let is_full: Vec<bool> = match fields.texts_if_given("layer_types")? {
        Some(types) if types.len() != n_layers => {
            let message =
                format!("'layer_types' has {} entries, expected one for each of {n_layers} layers", types.len());
            return Err(fields.error(message));
        }
        Some(types) => match types.iter().find(|kind| ![FULL, SLIDING].contains(*kind)) {
            Some(other) => {
                let message =
                    format!("'layer_types' has '{other}', which is not supported; known are {FULL}, {SLIDING}");
                return Err(fields.error(message));
            }
            None => types.iter().map(|kind| *kind == FULL).collect(),
        },
        None => (0..n_layers).map(is_full).collect(),
    };
    Ok(Window::of_layers(tokens, &is_full))
}

fn is_full_layer(stack: &Stack, layer: usize) -> bool {
    stack.causal_visibility(layer) == Visibility::Causal
}

/// Keys that a layer with a window sees at most, where there is one.
pub(super) fn tokens(stack: &Stack) -> Option<usize> {
    stack.attention.window.as_ref().map(|window| window.tokens)
}

/// Layers without a window before the first with one; all where none has.
pub(super) fn n_first_full(stack: &Stack) -> usize {
    (0..stack.n_layers).find(|&layer| !is_full_layer(stack, layer)).unwrap_or(stack.n_layers)
}

/// The type of each layer.
pub(super) fn layer_types(stack: &Stack) -> Value {
    (0..stack.n_layers).map(|layer| if is_full_layer(stack, layer) { FULL } else { SLIDING }).collect()
}
