//! Counts of n-grams: every n-gram of a few sequences gets a small number, order by order.

use std::collections::HashMap;

/// The n-grams of one order in several sequences, equal n-grams with equal ids.
///
/// An n-gram is the (n−1)-gram at the same place and one symbol more, so its id follows from a pair of numbers, whatever
/// its length. Sorting the pairs numbers them without hashing symbols again for each order.
pub(super) struct Ngrams {
    symbols: Vec<Vec<u32>>,
    /// Id of the n-gram that starts at each place, for each sequence.
    ids: Vec<Vec<u32>>,
    n_distinct: usize,
    order: usize,
    pairs: Vec<(u64, u32, u32)>,
}

impl Ngrams {
    /// Starts at order 0; call [`Ngrams::lengthen`] to come to single symbols.
    pub(super) fn new(symbols: Vec<Vec<u32>>) -> Self {
        let ids = symbols.iter().map(|sequence| vec![0; sequence.len()]).collect();
        Self { symbols, ids, n_distinct: 1, order: 0, pairs: Vec::new() }
    }

    /// Goes on to the n-grams that are one symbol longer.
    pub(super) fn lengthen(&mut self) {
        self.order += 1;
        self.collect_pairs();
        self.pairs.sort_unstable();
        for (ids, symbols) in self.ids.iter_mut().zip(&self.symbols) {
            ids.truncate((symbols.len() + 1).saturating_sub(self.order));
        }
        let (mut n_distinct, mut last) = (0, None);
        for &(pair, sequence, place) in &self.pairs {
            n_distinct += u32::from(last != Some(pair));
            last = Some(pair);
            self.ids[sequence as usize][place as usize] = n_distinct - 1;
        }
        self.n_distinct = n_distinct as usize;
    }

    fn collect_pairs(&mut self) {
        self.pairs.clear();
        for (sequence, (ids, symbols)) in self.ids.iter().zip(&self.symbols).enumerate() {
            let added = symbols.iter().skip(self.order - 1);
            self.pairs.extend(ids.iter().zip(added).enumerate().map(|(place, (&id, &symbol))| {
                (u64::from(id) << 32 | u64::from(symbol), sequence as u32, place as u32)
            }));
        }
    }

    /// Number of n-grams in a sequence.
    pub(super) fn n(&self, sequence: usize) -> usize {
        self.ids[sequence].len()
    }

    /// How often each n-gram stands in a sequence, by id.
    pub(super) fn counts(&self, sequence: usize) -> Vec<u32> {
        let mut counts = vec![0; self.n_distinct];
        self.ids[sequence].iter().for_each(|&id| counts[id as usize] += 1);
        counts
    }
}

/// Number of n-grams that two sequences share, each counted as often as it stands in both.
pub(super) fn n_shared(a: &[u32], b: &[u32]) -> u32 {
    a.iter().zip(b).map(|(a, b)| a.min(b)).sum()
}

/// Numbers the words of several texts, equal words with equal numbers.
pub(super) fn number_words<'a, W: IntoIterator<Item = &'a str>>(texts: impl IntoIterator<Item = W>) -> Vec<Vec<u32>> {
    let mut numbers = HashMap::new();
    let mut number = |word| {
        let next = numbers.len() as u32;
        *numbers.entry(word).or_insert(next)
    };
    texts.into_iter().map(|words| words.into_iter().map(&mut number).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_ngrams_are_counted_at_every_order() {
        let texts = ["a b a b c", "a b c a b", "z"];
        let mut ngrams = Ngrams::new(number_words(texts.map(|t| t.split(' '))));
        // Order 1: a a b b c; order 2: ab ab bc; order 3: abc; then none.
        for (order, expect) in [5, 3, 1, 0, 0, 0].into_iter().enumerate() {
            ngrams.lengthen();
            assert_eq!(n_shared(&ngrams.counts(0), &ngrams.counts(1)), expect, "order {}", order + 1);
            assert_eq!(n_shared(&ngrams.counts(0), &ngrams.counts(2)), 0);
            assert_eq!([0, 1, 2].map(|s| ngrams.n(s)), [5, 5, 1].map(|len: usize| len.saturating_sub(order)));
        }
    }
}
