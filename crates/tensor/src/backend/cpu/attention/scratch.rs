//! Memory that each thread keeps between calls, so that a call touches no fresh pages.

use crate::backend::cpu::matmul::scratch::Scratch;
use std::cell::Cell;

/// Words to a cache line: every part starts on one.
const LINE: usize = 16;

thread_local! {
    static KEPT: Cell<Scratch> = Cell::default();
}

/// This thread's memory, given back when dropped. (Not a function that takes a closure: vector code does not survive in one,
/// see [`lanes`](crate::backend::cpu::lanes).)
pub(super) struct ThreadMemory {
    scratch: Scratch,
}

impl ThreadMemory {
    pub(super) fn take() -> Self {
        Self { scratch: KEPT.take() }
    }

    /// Parts of the given lengths. What they hold at first is unspecified.
    pub(super) fn parts<const N: usize>(&mut self, lens: [usize; N]) -> [&mut [f32]; N] {
        let n_words = lens.iter().map(|len| len.next_multiple_of(LINE)).sum();
        let mut rest: &mut [f32] = bytemuck::cast_slice_mut(self.scratch.words(n_words));
        lens.map(|len| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len.next_multiple_of(LINE));
            rest = after;
            &mut part[..len]
        })
    }
}

impl Drop for ThreadMemory {
    fn drop(&mut self) {
        KEPT.set(std::mem::take(&mut self.scratch));
    }
}
