//! Guessing what comes next from the text itself: where the last tokens stood before, what followed them may follow again.
//!
//! # Source
//! Saxena, "Prompt lookup decoding", 2023; Yang et al., "Inference with reference", arXiv 2304.04487.

use genera_tokens::TokenId;

/// Tokens that have to be the same, and fewer where so many are not found.
const LONGEST: usize = 3;
const SHORTEST: usize = 2;

/// Up to `n` tokens that may follow `context`: those that followed the newest place where its last tokens stood before.
pub(super) fn guess(context: &[TokenId], n: usize) -> &[TokenId] {
    for len in (SHORTEST..=LONGEST).rev() {
        let Some(before) = context.len().checked_sub(len).filter(|_| n > 0) else { continue };
        let last = &context[before..];
        if let Some(at) = (0..before).rev().find(|&at| &context[at..at + len] == last) {
            return &context[at + len..(at + len + n).min(context.len())];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_before_is_guessed() {
        for (context, n, expected) in [
            (&[1, 2, 3, 4, 5, 1, 2, 3][..], 2, &[4, 5][..]),
            // Of several places the newest.
            (&[1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3], 1, &[8]),
            // Three in a row before two.
            (&[9, 1, 2, 5, 8, 1, 2, 6, 9, 1, 2], 1, &[5]),
            (&[8, 1, 2, 6, 9, 1, 2], 1, &[6]),
            // It may run into the end, which repeats itself.
            (&[4, 4, 4, 4], 9, &[4]),
            (&[1, 2, 3], 4, &[]),
            (&[1, 2, 1, 2], 0, &[]),
            (&[], 4, &[]),
        ] {
            assert_eq!(guess(context, n), expected, "{context:?}");
        }
    }
}
