//! Who sees whom.

use super::transformer::Rows;
use crate::config::Stack;
use genera_tensor::Visibility;
use genera_tensor::op::MaskSpec;

/// The masks of a stack's layers: all alike but for sliding windows.
#[derive(Clone, Debug)]
pub(super) struct StackMask {
    base: MaskSpec,
    by_layer: Vec<Visibility>,
}

impl StackMask {
    /// The mask of one layer.
    pub(super) fn for_layer(&self, layer: usize) -> MaskSpec {
        MaskSpec { visibility: self.visibility(layer), ..self.base.clone() }
    }

    /// What tokens of one layer see by position.
    pub(super) fn visibility(&self, layer: usize) -> Visibility {
        self.by_layer.get(layer).copied().unwrap_or(self.base.visibility)
    }
}

/// Every real token of a row sees every other.
pub(super) fn of_encoder(rows: &Rows) -> StackMask {
    let base = MaskSpec { key_lens: rows.lens.clone(), ..with_segments(rows, Visibility::Full) };
    StackMask { base, by_layer: Vec::new() }
}

/// Every token sees those before it in its document.
pub(super) fn of_decoder(rows: &Rows, stack: &Stack) -> StackMask {
    let base = MaskSpec { key_lens: rows.lens.clone(), ..with_segments(rows, Visibility::Causal) };
    StackMask { base, by_layer: by_layer(stack) }
}

/// New tokens see what the cache holds and those before them.
pub(super) fn of_cached(stack: &Stack) -> StackMask {
    StackMask { base: MaskSpec::new(Visibility::Causal), by_layer: by_layer(stack) }
}

fn with_segments(rows: &Rows, visibility: Visibility) -> MaskSpec {
    let segments = rows.segments.clone().map(|segments| (segments.clone(), segments));
    MaskSpec { segments, ..MaskSpec::new(visibility) }
}

fn by_layer(stack: &Stack) -> Vec<Visibility> {
    (0..stack.n_layers).map(|layer| stack.causal_visibility(layer)).collect()
}
