//! Memory that is kept and handed out again, so that a training step touches no fresh pages.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Alignment of every block: one page, so that large blocks can be backed by huge pages and never share a cache line.
const ALIGNMENT: usize = 4096;

/// A pool of blocks, sorted by size class.
#[derive(Debug, Default)]
pub struct Memory {
    free: Mutex<HashMap<usize, Vec<NonNull<u8>>>>,
    reserved_bytes: AtomicUsize,
    in_use_bytes: AtomicUsize,
    peak_bytes: AtomicUsize,
}

// SAFETY: the pointers in `free` are owned blocks that nobody else refers to.
unsafe impl Send for Memory {}
// SAFETY: all access to `free` goes through the mutex.
unsafe impl Sync for Memory {}

impl Memory {
    /// Bytes obtained from the system so far, in use or kept for reuse.
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

    /// Gives the blocks kept for reuse back to the system.
    pub fn release(&self) {
        let mut free = self.free.lock().expect("no thread panics while it holds the pool");
        for (class, blocks) in free.drain() {
            self.reserved_bytes.fetch_sub(class * blocks.len(), Ordering::Relaxed);
            for block in blocks {
                // SAFETY: the block came from `alloc_zeroed` with this very layout and left the list just now.
                unsafe { dealloc(block.as_ptr(), layout(class)) };
            }
        }
    }

    fn take(&self, class: usize) -> NonNull<u8> {
        let in_use = self.in_use_bytes.fetch_add(class, Ordering::Relaxed) + class;
        self.peak_bytes.fetch_max(in_use, Ordering::Relaxed);
        let mut free = self.free.lock().expect("no thread panics while it holds the pool");
        if let Some(block) = free.get_mut(&class).and_then(Vec::pop) {
            return block;
        }
        drop(free);
        self.reserved_bytes.fetch_add(class, Ordering::Relaxed);
        let layout = layout(class);
        // SAFETY: a class is never 0.
        let block = unsafe { alloc_zeroed(layout) };
        NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout))
    }

    fn give_back(&self, class: usize, block: NonNull<u8>) {
        self.in_use_bytes.fetch_sub(class, Ordering::Relaxed);
        let mut free = self.free.lock().expect("no thread panics while it holds the pool");
        free.entry(class).or_default().push(block);
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
    class: usize,
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
        Self { pointer: memory.take(class), class, memory: memory.clone() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the block is `class` bytes long, initialised (zeroed when it was made), and owned by `self`.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.class) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.class) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.memory.give_back(self.class, self.pointer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
