//! Copy, reverse and sort: the three exercises that show whether an encoder-decoder learns to move tokens about.

use std::ops::RangeInclusive;

use super::rng::Dice;

/// The symbols of the exercises, one character each, in the order in which `sort` puts them (that of ASCII).
pub const SYMBOLS: &str = "+-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How many different symbols a source has at most that practises repetition.
const FEW: RangeInclusive<usize> = 4..=16;

/// What is to be done with the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceTaskKind {
    /// The target is the source.
    Copy,
    /// The target is the source from its end to its beginning.
    Reverse,
    /// The target is the source with its symbols in ascending order.
    Sort,
}

impl SequenceTaskKind {
    /// Every exercise.
    pub const ALL: [Self; 3] = [Self::Copy, Self::Reverse, Self::Sort];

    /// The name on the command line and in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Reverse => "reverse",
            Self::Sort => "sort",
        }
    }

    /// The exercise of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The one right answer to `source`.
    pub fn solve(self, source: &str) -> String {
        match self {
            Self::Copy => source.to_owned(),
            Self::Reverse => source.chars().rev().collect(),
            Self::Sort => {
                let mut symbols: Vec<char> = source.chars().collect();
                symbols.sort_unstable();
                symbols.into_iter().collect()
            }
        }
    }
}

/// Pairs (source, target) of one exercise: random symbols, and what is to be made of them.
///
/// Symbols stand next to each other without spaces, so a character tokenizer has one token per symbol.
///
/// # Determinism
/// A pair is a pure function of the task, the seed and the index.
///
/// # Example
/// ```
/// use genera_modality::demo::{SequenceTask, SequenceTaskKind};
///
/// let task = SequenceTask::new(SequenceTaskKind::Sort);
/// let (source, target) = task.sample(1, 0);
/// assert!(task.check(&source, &target));
/// assert!(!task.check("ba", "ba"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceTask {
    kind: SequenceTaskKind,
    lengths: RangeInclusive<usize>,
}

impl SequenceTask {
    /// The exercise with sources of 1 to 20 symbols.
    pub fn new(kind: SequenceTaskKind) -> Self {
        Self { kind, lengths: 1..=20 }
    }

    /// The same exercise with sources of these lengths, each as likely as the next.
    ///
    /// # Panics
    /// When the range is empty.
    #[must_use]
    pub fn with_lengths(self, lengths: RangeInclusive<usize>) -> Self {
        assert!(!lengths.is_empty(), "a sequence task needs at least one length, and {lengths:?} holds none");
        Self { lengths, ..self }
    }

    /// What is to be done with the source.
    pub fn kind(&self) -> SequenceTaskKind {
        self.kind
    }

    /// How many symbols a source may have.
    pub fn lengths(&self) -> RangeInclusive<usize> {
        self.lengths.clone()
    }

    /// Pair `index` of `seed`: (source, target). Every symbol is as likely as the next.
    pub fn sample(&self, seed: u64, index: u64) -> (String, String) {
        self.draw(&mut Dice::new(seed, index), SYMBOLS.as_bytes())
    }

    /// A pair to learn from: every second source has but a few different symbols. Otherwise a symbol that comes four
    /// times, which has to be counted, would hardly ever be seen.
    pub fn practice(&self, seed: u64, index: u64) -> (String, String) {
        let mut dice = Dice::new(seed, index);
        let all = SYMBOLS.as_bytes();
        if dice.below(2) == 0 {
            return self.draw(&mut dice, all);
        }
        let n_different = FEW.start() + dice.below(FEW.end() - FEW.start() + 1);
        let few: Vec<u8> = (0..n_different).map(|_| all[dice.below(all.len())]).collect();
        self.draw(&mut dice, &few)
    }

    fn draw(&self, dice: &mut Dice, symbols: &[u8]) -> (String, String) {
        let (shortest, longest) = (*self.lengths.start(), *self.lengths.end());
        let n_symbols = shortest + dice.below(longest - shortest + 1);
        let source: String = (0..n_symbols).map(|_| char::from(symbols[dice.below(symbols.len())])).collect();
        let target = self.kind.solve(&source);
        (source, target)
    }

    /// Whether `target` is the right answer to `source`.
    pub fn check(&self, source: &str, target: &str) -> bool {
        self.kind.solve(source) == target
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_symbols_are_64_in_ascending_order() {
        let symbols = SYMBOLS.as_bytes();
        assert_eq!(symbols.len(), 64);
        assert!(symbols.is_sorted_by(|a, b| a < b));
        assert!(symbols.iter().all(u8::is_ascii_graphic));
    }

    #[test]
    fn answers() {
        let check = |kind: SequenceTaskKind, source, expect| assert_eq!(kind.solve(source), expect, "{kind:?}");
        check(SequenceTaskKind::Copy, "b9Za+", "b9Za+");
        check(SequenceTaskKind::Reverse, "b9Za+", "+aZ9b");
        check(SequenceTaskKind::Sort, "b9Za+b", "+9Zabb");
        check(SequenceTaskKind::Sort, "", "");
    }

    #[test]
    fn only_the_answer_passes() {
        for kind in SequenceTaskKind::ALL {
            let task = SequenceTask::new(kind);
            for index in 0..500 {
                let (source, target) = task.sample(3, index);
                assert!(task.check(&source, &target));
                assert!(!task.check(&source, &format!("{target}a")));
                assert!(!task.check(&source, &target[1..]));
            }
        }
        let reverse = SequenceTask::new(SequenceTaskKind::Reverse);
        assert!(!reverse.check("ab", "ab") && !reverse.check("ab", "bb"));
    }

    #[test]
    fn repeated_symbols_are_practised() {
        let task = SequenceTask::new(SequenceTaskKind::Sort);
        let repeats = |source: &str| SYMBOLS.chars().any(|symbol| source.matches(symbol).count() >= 4);
        let share = |pair: fn(&SequenceTask, u64, u64) -> (String, String)| {
            (0..2_000).filter(|&index| repeats(&pair(&task, 1, index).0)).count()
        };
        let (in_samples, in_practice) = (share(SequenceTask::sample), share(SequenceTask::practice));
        assert!(in_practice > 10 * in_samples.max(20), "{in_practice} {in_samples}");
    }

    #[test]
    fn every_length_and_every_symbol_comes_up() {
        for lengths in [1..=20, 5..=5, 0..=2] {
            let task = SequenceTask::new(SequenceTaskKind::Copy).with_lengths(lengths.clone());
            let sources: Vec<String> = (0..2_000).map(|index| task.sample(1, index).0).collect();
            let seen: BTreeSet<usize> = sources.iter().map(String::len).collect();
            assert_eq!(seen, lengths.collect());
            let symbols: BTreeSet<char> = sources.iter().flat_map(|source| source.chars()).collect();
            assert_eq!(symbols, SYMBOLS.chars().collect());
        }
    }

    #[test]
    fn pairs_depend_on_seed_and_index_alone() {
        let task = SequenceTask::new(SequenceTaskKind::Sort).with_lengths(20..=20);
        let sources: BTreeSet<String> = (0..1_000).map(|i| task.sample(i % 2, i / 2).0).collect();
        assert_eq!(sources.len(), 1_000);
        assert_eq!(task.sample(9, 4), task.clone().sample(9, 4));
    }

    #[test]
    fn names_lead_back() {
        for kind in SequenceTaskKind::ALL {
            assert_eq!(SequenceTaskKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(SequenceTaskKind::from_name("shuffle"), None);
    }
}
