//! A set of tokens, one bit each.

use genera_tokens::TokenId;

/// Which tokens of a vocabulary are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u64>,
    n_tokens: usize,
}

impl TokenMask {
    /// Every one of `n_tokens` tokens is allowed.
    pub fn all(n_tokens: usize) -> Self {
        let mut mask = Self { words: Vec::new(), n_tokens };
        mask.allow_all(n_tokens);
        mask
    }

    /// None of `n_tokens` tokens is allowed.
    pub fn none(n_tokens: usize) -> Self {
        Self { words: vec![0; n_tokens.div_ceil(64)], n_tokens }
    }

    /// Makes this a mask that allows every one of `n_tokens` tokens, in the memory that it has.
    pub fn allow_all(&mut self, n_tokens: usize) {
        self.n_tokens = n_tokens;
        self.words.clear();
        self.words.resize(n_tokens.div_ceil(64), u64::MAX);
        if let Some(last) = self.words.last_mut()
            && !n_tokens.is_multiple_of(64)
        {
            *last = (1 << (n_tokens % 64)) - 1;
        }
    }

    /// Number of tokens of the vocabulary.
    pub fn len(&self) -> usize {
        self.n_tokens
    }

    /// Whether the vocabulary is empty.
    pub fn is_empty(&self) -> bool {
        self.n_tokens == 0
    }

    /// Whether `token` is allowed; one outside the vocabulary never is.
    pub fn allows(&self, token: TokenId) -> bool {
        self.words.get(token as usize / 64).is_some_and(|word| word >> (token % 64) & 1 == 1)
    }

    /// Allows `token`.
    ///
    /// # Panics
    /// When it is outside the vocabulary.
    pub fn allow(&mut self, token: TokenId) {
        assert!((token as usize) < self.n_tokens, "token {token} is outside the vocabulary of {}", self.n_tokens);
        self.words[token as usize / 64] |= 1 << (token % 64);
    }

    /// Forbids `token`; one outside the vocabulary is forbidden already.
    pub fn forbid(&mut self, token: TokenId) {
        if let Some(word) = self.words.get_mut(token as usize / 64) {
            *word &= !(1 << (token % 64));
        }
    }

    /// Forbids every token that `other` forbids.
    ///
    /// # Panics
    /// When `other` is of another vocabulary.
    pub fn intersect(&mut self, other: &TokenMask) {
        assert_eq!(self.n_tokens, other.n_tokens, "both masks must be of one vocabulary");
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    /// Forbids every token whose bit is 0 in `words`, of 32 tokens each, the lowest bit first; and those beyond the words.
    pub fn intersect_words(&mut self, words: &[u32]) {
        for (i, word) in self.words.iter_mut().enumerate() {
            let half = |at: usize| u64::from(words.get(at).copied().unwrap_or(0));
            *word &= half(2 * i) | half(2 * i + 1) << 32;
        }
    }

    /// Forbids every token for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(TokenId) -> bool) {
        let allowed: Vec<TokenId> = self.iter().collect();
        allowed.into_iter().filter(|&token| !keep(token)).for_each(|token| self.forbid(token));
    }

    /// The allowed tokens in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = TokenId> {
        (0..self.n_tokens as TokenId).filter(|&token| self.allows(token))
    }

    /// Number of allowed tokens.
    pub fn n_allowed(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Sets the logit of every forbidden token to −∞.
    pub(in crate::generate) fn apply(&self, logits: &mut [f32]) {
        for (word, block) in self.words.iter().zip(logits.chunks_mut(64)) {
            if *word != u64::MAX {
                let forbidden = block.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0);
                forbidden.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_a_set_of_tokens() {
        for n in [1, 63, 64, 65, 130] {
            let mut mask = TokenMask::all(n);
            assert_eq!(mask.n_allowed(), n);
            assert!(!mask.allows(n as TokenId), "{n}");
            mask.forbid(n as TokenId - 1);
            mask.forbid(500);
            assert_eq!(mask.n_allowed(), n - 1);
            mask.retain(|token| token % 2 == 0);
            assert!(mask.iter().all(|token| token % 2 == 0 && token < n as TokenId - 1));
            let mut logits = vec![1.0; n];
            mask.apply(&mut logits);
            assert_eq!(logits.iter().filter(|logit| logit.is_finite()).count(), mask.n_allowed());
        }
    }

    #[test]
    fn words_of_32_bits_are_a_mask_too() {
        let mut mask = TokenMask::all(130);
        mask.intersect_words(&[1 << 31, 2, 0, 1]);
        assert_eq!(mask.iter().collect::<Vec<_>>(), [31, 33, 96]);
    }

    #[test]
    fn none_allows_what_is_added() {
        let mut mask = TokenMask::none(70);
        mask.allow(69);
        assert_eq!(mask.iter().collect::<Vec<_>>(), [69]);
    }
}
