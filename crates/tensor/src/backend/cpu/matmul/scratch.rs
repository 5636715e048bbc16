//! Memory for packed operands that is kept from call to call.

/// A cache line; panels start on one.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// A growing block of words, aligned to a cache line.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    lines: Vec<Line>,
}

impl Scratch {
    /// The first `n_words` words. They hold what was left there, or 0.
    pub(crate) fn words(&mut self, n_words: usize) -> &mut [u32] {
        let n_lines = n_words.div_ceil(16);
        if self.lines.len() < n_lines {
            self.lines.resize(n_lines, Line([0; 16]));
        }
        // SAFETY: a line is 16 words without padding, and there are `n_lines` of them.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), n_words) }
    }

    /// All words, for reading.
    pub(crate) fn as_ptr(&self) -> *const u32 {
        self.lines.as_ptr().cast()
    }
}
