//! Memory that each thread keeps between calls, so that a call touches no fresh pages.

use std::cell::Cell;

/// Words to a cache line: every part starts on one.
const LINE: usize = 16;

thread_local! {
    static KEPT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// This thread's memory, given back when dropped. (Not a function that takes a closure: vector code does not survive in one,
/// see [`lanes`](crate::backend::cpu::lanes).)
pub(super) struct Scratch {
    memory: Vec<f32>,
}

impl Scratch {
    pub(super) fn take() -> Self {
        Self { memory: KEPT.take() }
    }

    /// Parts of the given lengths. What they hold at first is unspecified.
    pub(super) fn parts<const N: usize>(&mut self, lens: [usize; N]) -> [&mut [f32]; N] {
        let total = lens.iter().map(|len| len.next_multiple_of(LINE)).sum::<usize>() + LINE;
        if self.memory.len() < total {
            self.memory.resize(total, 0.0);
        }
        let skip = self.memory.as_ptr().align_offset(4 * LINE).min(LINE);
        let mut rest = &mut self.memory[skip..];
        lens.map(|len| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len.next_multiple_of(LINE));
            rest = after;
            &mut part[..len]
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        KEPT.set(std::mem::take(&mut self.memory));
    }
}
