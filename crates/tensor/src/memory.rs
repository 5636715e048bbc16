//! Memory that is kept and handed out again, so that a training step touches no fresh pages.
//!
//! A request is served by a kept block of its own size class, else by the smallest larger one that wastes little, else by
//! the system. What is kept beside the peak in use is limited: batches of ever new shapes do not pile up blocks.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::{BTreeMap, VecDeque};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Alignment of every block: one page, so that large blocks can be backed by huge pages and never share a cache line.
const ALIGNMENT: usize = 4096;
/// How many times as large as a request a kept block may be to serve it.
const MAX_OVERSIZE: usize = 2;

/// A pool of blocks, sorted by size class.
#[derive(Debug, Default)]
pub struct Memory {
    free: Mutex<Free>,
    reserved_bytes: AtomicUsize,
    in_use_bytes: AtomicUsize,
    peak_bytes: AtomicUsize,
}

// SAFETY: the pointers in `free` are owned blocks that nobody else refers to.
unsafe impl Send for Memory {}
// SAFETY: all access to `free` goes through the mutex.
unsafe impl Sync for Memory {}

impl Memory {
    /// Bytes obtained from the system and not given back, in use or kept for reuse: about 1.5 times the peak in use at most.
    pub fn reserved_bytes(&self) -> usize {
        self.reserved_bytes.load(Ordering::Relaxed)
    }

    /// Bytes in use now.
    pub fn in_use_bytes(&self) -> usize {
        self.in_use_bytes.load(Ordering::Relaxed)
    }

    /// Most bytes that were in use at once.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes.load(Ordering::Relaxed)
    }

    /// What a block takes that is asked to hold so many bytes.
    pub fn block_bytes(n_bytes: usize) -> usize {
        size_class(n_bytes)
    }

    /// Gives the blocks kept for reuse back to the system.
    pub fn release(&self) {
        let mut free = self.free.lock().expect("no thread panics while it holds the pool");
        self.release_oldest(&mut free, usize::MAX);
    }

    /// Gives kept blocks back to the system, those first that were unused longest, until there are none or they are at least
    /// `n_bytes`.
    fn release_oldest(&self, free: &mut Free, n_bytes: usize) {
        let mut n_released = 0;
        while n_released < n_bytes
            && let Some((pointer, class)) = free.take_oldest()
        {
            // SAFETY: the block came from `alloc_zeroed` with this very layout and left the list just now.
            unsafe { dealloc(pointer.as_ptr(), layout(class)) };
            n_released += class;
        }
        self.reserved_bytes.fetch_sub(n_released, Ordering::Relaxed);
    }

    /// A block of at least the size class, with its own.
    fn take(&self, class: usize) -> (NonNull<u8>, usize) {
        let in_use = self.in_use_bytes.fetch_add(class, Ordering::Relaxed) + class;
        let peak = self.peak_bytes.fetch_max(in_use, Ordering::Relaxed).max(in_use);
        let mut free = self.free.lock().expect("no thread panics while it holds the pool");
        if let Some(found) = free.take(class) {
            return found;
        }
        let reserved = self.reserved_bytes.fetch_add(class, Ordering::Relaxed) + class;
        self.release_oldest(&mut free, reserved.saturating_sub(peak.saturating_add(peak / 2)));
        drop(free);
        let layout = layout(class);
        // SAFETY: a class is never 0.
        let block = unsafe { alloc_zeroed(layout) };
        (NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout)), class)
    }
}

/// Blocks kept for reuse.
#[derive(Debug, Default)]
struct Free {
    /// By size class, the one unused longest in front, with the time at which it came back.
    by_class: BTreeMap<usize, VecDeque<(u64, NonNull<u8>)>>,
    n_given_back: u64,
}

impl Free {
    /// The smallest block that fits, the last one given back first, which the cache may still hold.
    fn take(&mut self, class: usize) -> Option<(NonNull<u8>, usize)> {
        let mut fitting = self.by_class.range_mut(class..=class.saturating_mul(MAX_OVERSIZE));
        fitting.find_map(|(&class, blocks)| Some((blocks.pop_back()?.1, class)))
    }

    fn take_oldest(&mut self) -> Option<(NonNull<u8>, usize)> {
        let oldest = |(&class, blocks): (&usize, &VecDeque<(u64, NonNull<u8>)>)| Some((blocks.front()?.0, class));
        let (_, class) = self.by_class.iter().filter_map(oldest).min()?;
        Some((self.by_class.get_mut(&class)?.pop_front()?.1, class))
    }

    fn give_back(&mut self, class: usize, block: NonNull<u8>) {
        self.n_given_back += 1;
        self.by_class.entry(class).or_default().push_back((self.n_given_back, block));
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.release();
    }
}

fn layout(class: usize) -> Layout {
    Layout::from_size_align(class, ALIGNMENT).expect("a size class fits the address space")
}

/// Rounds a size up to one of four steps between powers of two (at most 25 % is wasted), and to whole pages.
fn size_class(n_bytes: usize) -> usize {
    let n_bytes = n_bytes.max(ALIGNMENT);
    let step = (n_bytes.next_power_of_two() / 8).max(ALIGNMENT);
    n_bytes.next_multiple_of(step)
}

/// A block of memory of a [`Memory`] that goes back to it when dropped.
#[derive(Debug)]
pub(crate) struct Block {
    pointer: NonNull<u8>,
    /// What was asked for.
    class: usize,
    /// What it is.
    own_class: usize,
    memory: Arc<Memory>,
}

// SAFETY: a block is owned memory; nothing in it is tied to a thread.
unsafe impl Send for Block {}
// SAFETY: shared access only reads.
unsafe impl Sync for Block {}

impl Block {
    /// A block of at least `n_bytes`. What it holds is initialised, but may be left from an earlier use.
    pub(crate) fn new(memory: &Arc<Memory>, n_bytes: usize) -> Self {
        let class = size_class(n_bytes);
        let (pointer, own_class) = memory.take(class);
        Self { pointer, class, own_class, memory: memory.clone() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the block is at least `class` bytes long, initialised (zeroed when it was made), and owned by `self`.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.class) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.class) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.memory.in_use_bytes.fetch_sub(self.class, Ordering::Relaxed);
        let mut free = self.memory.free.lock().expect("no thread panics while it holds the pool");
        free.give_back(self.own_class, self.pointer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    #[test]
    fn classes_hold_the_size_and_waste_little() {
        for n_bytes in [1, 4096, 4097, 100_000, 1 << 20, (1 << 20) + 1, 12_345_678] {
            let class = size_class(n_bytes);
            assert!(class >= n_bytes && class.is_multiple_of(ALIGNMENT));
            assert!(class <= n_bytes.max(16 * ALIGNMENT) * 5 / 4 + ALIGNMENT, "{n_bytes} -> {class}");
        }
    }

    #[test]
    fn a_dropped_block_is_reused() {
        let memory = Arc::new(Memory::default());
        let first = Block::new(&memory, 10_000);
        let address = first.pointer;
        drop(first);
        let second = Block::new(&memory, 9_000);
        assert_eq!(second.pointer, address);
        assert_eq!(memory.reserved_bytes(), memory.in_use_bytes());
    }

    /// Sizes as of a training run: for each batch other lengths, activations that pile up and are dropped in reverse.
    fn rounds(memory: &Arc<Memory>, n_rounds: u64, varies: bool) {
        for round in 0..n_rounds {
            let n_tokens = if varies { 200 + Key::new(7).below(round, 800) as usize } else { 700 };
            let mut kept = Vec::new();
            for layer in 0..12 {
                for width in [512, 1536, 64, 2048] {
                    kept.push(Block::new(memory, 4 * n_tokens * width));
                }
                // Dropped at once, as what only a forward pass needs.
                drop(Block::new(memory, 4 * n_tokens * (500 + 40 * layer)));
            }
            while let Some(last) = kept.pop() {
                let gradient = Block::new(memory, last.class);
                drop((last, gradient));
            }
        }
    }

    #[test]
    fn varying_sizes_share_their_blocks() {
        let memory = Arc::new(Memory::default());
        rounds(&memory, 200, true);
        let (reserved, peak) = (memory.reserved_bytes() as f64, memory.peak_bytes() as f64);
        assert!(reserved <= 1.6 * peak, "{:.2} times the peak is reserved", reserved / peak);
        assert_eq!(memory.in_use_bytes(), 0);
        memory.release();
        assert_eq!(memory.reserved_bytes(), 0);
    }

    #[test]
    fn equal_rounds_ask_the_system_for_nothing() {
        let memory = Arc::new(Memory::default());
        rounds(&memory, 2, false);
        let kept = |memory: &Memory| -> Vec<NonNull<u8>> {
            let free = memory.free.lock().unwrap();
            let mut kept: Vec<_> = free.by_class.values().flatten().map(|block| block.1).collect();
            kept.sort_unstable();
            kept
        };
        let before = kept(&memory);
        rounds(&memory, 3, false);
        assert_eq!(kept(&memory), before);
    }

    #[test]
    fn a_block_much_too_large_is_left_alone() {
        let memory = Arc::new(Memory::default());
        drop(Block::new(&memory, 1 << 20));
        for (n_bytes, own_class) in [(400_000, size_class(400_000)), (600_000, 1 << 20)] {
            assert_eq!(Block::new(&memory, n_bytes).own_class, own_class);
        }
    }
}
