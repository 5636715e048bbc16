//! Memory for packed operands that is kept from call to call.

/// Words of a cache line; panels start on one.
const LINE: usize = 16;

/// A growing block of words, aligned to a cache line.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// With room for the way to the first line.
    words: Vec<u32>,
}

impl Scratch {
    /// The first `n_words` words. They hold what was left there, or 0; fresh memory is touched by whoever writes to it first.
    pub(crate) fn words(&mut self, n_words: usize) -> &mut [u32] {
        if self.words.len() < n_words + LINE {
            // By twice at least, so that slow growth is cheap; and the old block goes first, so that there are never two.
            let n_words = (n_words + LINE).max(2 * self.words.len());
            self.words = Vec::new();
            self.words = vec![0; n_words];
        }
        let first = self.first();
        &mut self.words[first..first + n_words]
    }

    /// All words, for reading.
    pub(crate) fn as_ptr(&self) -> *const u32 {
        self.words.as_ptr().wrapping_add(self.first())
    }

    /// The first word of the first whole line.
    fn first(&self) -> usize {
        (self.words.as_ptr() as usize).wrapping_neg() / size_of::<u32>() % LINE
    }
}
