//! What is packed at once, or when it is used again.

use crate::quant::BlockRows;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Something packed. Until it is used a second time it may be rows that are read where they lie: so a first result does not
/// wait until memory for all of them is there and filled.
#[derive(Debug)]
pub(super) struct Packed<T> {
    packed: OnceLock<T>,
    /// What is to be packed; none where that was done at once.
    stored: Option<Stored>,
}

#[derive(Debug)]
struct Stored {
    parts: Vec<BlockRows<'static>>,
    /// Whether there has been a first use of each kind: a table of vectors is looked up and multiplied by for one result.
    was_multiplied: AtomicBool,
    was_unpacked: AtomicBool,
}

/// What it is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Product,
    Unpack,
}

/// What there is to be used.
#[derive(Debug)]
pub(super) enum Found<'a, T> {
    Packed(&'a T),
    Stored(&'a [BlockRows<'static>]),
}

impl<T> Packed<T> {
    pub(super) fn at_once(packed: T) -> Self {
        Self { packed: OnceLock::from(packed), stored: None }
    }

    pub(super) fn when_used(parts: Vec<BlockRows<'static>>) -> Self {
        let (was_multiplied, was_unpacked) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { packed: OnceLock::new(), stored: Some(Stored { parts, was_multiplied, was_unpacked }) }
    }

    /// What is packed, which `pack` does now if need be; or the rows where this is the first use of its kind and
    /// `may_be_stored`.
    pub(super) fn find(
        &self,
        wanted: Use,
        may_be_stored: bool,
        pack: impl FnOnce(&[BlockRows<'_>]) -> T,
    ) -> Found<'_, T> {
        if let Some(packed) = self.packed.get() {
            return Found::Packed(packed);
        }
        let stored = self.stored.as_ref().expect("what is not packed is stored");
        let was_used = match wanted {
            Use::Product => &stored.was_multiplied,
            Use::Unpack => &stored.was_unpacked,
        };
        if !was_used.swap(true, Ordering::Relaxed) && may_be_stored {
            return Found::Stored(&stored.parts);
        }
        Found::Packed(self.packed.get_or_init(|| pack(&stored.parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::Format;
    use std::sync::Arc;

    fn n_rows(packed: &Packed<usize>, wanted: Use, may_be_stored: bool) -> Option<usize> {
        let pack = |parts: &[BlockRows<'_>]| parts.iter().map(BlockRows::n_rows).sum();
        match packed.find(wanted, may_be_stored, pack) {
            Found::Packed(&n_rows) => Some(n_rows),
            Found::Stored(parts) => {
                assert_eq!(parts.len(), 2);
                None
            }
        }
    }

    #[test]
    fn the_second_use_of_a_kind_packs() {
        let part = BlockRows::shared(Format::Bf16, 3, Arc::new(vec![0; 12]));
        let parts = vec![part.clone(), part];
        let packed = Packed::when_used(parts.clone());
        let found = [Use::Product, Use::Unpack, Use::Product, Use::Unpack].map(|kind| n_rows(&packed, kind, true));
        assert_eq!(found, [None, None, Some(4), Some(4)]);
        assert_eq!(n_rows(&Packed::when_used(parts), Use::Product, false), Some(4));
        assert_eq!(n_rows(&Packed::at_once(7), Use::Product, true), Some(7));
    }
}
