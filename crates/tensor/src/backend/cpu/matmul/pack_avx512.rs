//! Packing in blocks of 16 steps by 16 lines.

use super::pack::{Operand, Target, Word};
use crate::backend::cpu::isa::Isa;
use crate::dtype::View;
use std::arch::x86_64::*;
use std::ops::Range;

/// Packs like [`super::pack::pack`] and returns true, or returns false where it has no way.
pub(super) unsafe fn pack(
    _isa: Isa,
    _word: Word,
    _operand: &Operand<'_>,
    _steps: Range<usize>,
    _lines: Range<usize>,
    _target: Target,
) -> bool {
    false
}
