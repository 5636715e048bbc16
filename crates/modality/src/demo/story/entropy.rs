//! The exact figures of a grammar, by following the distribution of what the variables hold through the rules.

use std::collections::BTreeMap;

use super::grammar::{Bindings, Grammar, Piece, VariableSet};

/// What is known exactly of the stories of a grammar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measure {
    /// Of one story.
    pub(super) entropy_nats: f64,
    /// The mean number of characters of a story.
    pub(super) mean_chars: f64,
    /// No story has more characters.
    pub(super) longest_chars: usize,
    /// The number of different stories.
    pub(super) n_stories: f64,
}

/// The probability of each state of the variables that a walk follows and that are still needed. A `BTreeMap`, so that
/// sums are formed in one order on every machine.
type States = BTreeMap<Bindings, f64>;

/// A walk through the grammar that sees some of the variables, and counts the choices and characters that depend on
/// them alone.
struct Walk<'a> {
    grammar: &'a Grammar,
    /// `None` counts what depends on no variable.
    followed: Option<VariableSet>,
    entropy_nats: f64,
    mean_chars: f64,
}

impl Grammar {
    /// Measures the grammar.
    ///
    /// By the chain rule, the entropy of a story is the sum over its choices of the mean entropy of each given those
    /// before it; the mean length is the sum over the pieces of the mean length of each. Which alternative of a rule is
    /// taken depends on nothing; a piece depends on the past through the variables that it says or excepts. So it is
    /// enough to walk through the rules once for each set of variables that depend on each other, with the
    /// distribution over the words that they hold, instead of once with all variables together.
    ///
    /// # Cost
    /// The number of pieces times the number of states of the largest such set: some milliseconds.
    pub(super) fn measure(&self) -> Measure {
        let sets = self.independent_sets().into_iter().map(Some);
        let walks = sets.chain([None]).map(|followed| Walk::through_all(self, followed));
        let (entropy_nats, mean_chars) =
            walks.fold((0.0, 0.0), |(nats, chars), walk| (nats + walk.entropy_nats, chars + walk.mean_chars));
        Measure { entropy_nats, mean_chars, longest_chars: self.longest_chars(0), n_stories: self.n_stories(0) }
    }

    /// How many different texts the rule has, given what is held when it begins.
    fn n_stories(&self, rule: usize) -> f64 {
        let n_texts = |piece: &Piece| match piece {
            Piece::Text(_) | Piece::Say { .. } => 1.0,
            Piece::Draw { list, except, .. } => (self.lists[*list].words.len() - except.len()) as f64,
            Piece::Expand(rule) => self.n_stories(*rule),
        };
        self.rules[rule].alternatives.iter().map(|option| option.pieces.iter().map(n_texts).product::<f64>()).sum()
    }

    /// A bound: takes the longest word at each place, whether or not they can stand in one story.
    fn longest_chars(&self, rule: usize) -> usize {
        let longest = |list: usize, form: usize| {
            self.lists[list].words.clone().map(|word| self.form(word, form).chars().count()).max().unwrap_or(0)
        };
        let longest_held = |held: usize, form: usize| {
            let lists = self.pieces().filter_map(|piece| match piece {
                Piece::Draw { variable, list, .. } if *variable == Some(held) => Some(*list),
                _ => None,
            });
            lists.map(|list| longest(list, form)).max().unwrap_or(0)
        };
        let n_chars = |piece: &Piece| match piece {
            Piece::Text(text) => text.chars().count(),
            Piece::Say { variable, form } => longest_held(*variable, *form),
            Piece::Draw { list, form, .. } => longest(*list, *form),
            Piece::Expand(rule) => self.longest_chars(*rule),
        };
        let options = self.rules[rule].alternatives.iter();
        options.map(|option| option.pieces.iter().map(n_chars).sum()).max().unwrap_or(0)
    }
}

impl<'a> Walk<'a> {
    fn through_all(grammar: &'a Grammar, followed: Option<VariableSet>) -> Self {
        let mut walk = Self { grammar, followed, entropy_nats: 0.0, mean_chars: 0.0 };
        walk.through_rule(0, &States::from([(Bindings::default(), 1.0)]), VariableSet::default());
        walk
    }

    /// The states after the rule, when `needed` are the variables that are used later.
    fn through_rule(&mut self, rule: usize, states: &States, needed: VariableSet) -> States {
        let rule = &self.grammar.rules[rule];
        let shares = shares(rule.alternatives.iter().map(|option| option.weight));
        if self.followed.is_none() {
            self.entropy_nats += states.values().sum::<f64>() * entropy(&shares);
        }
        let mut after = States::new();
        for (option, share) in rule.alternatives.iter().zip(shares) {
            let mut taken = States::new();
            let kept = self.grammar.needed_before(&option.pieces, needed);
            states.iter().for_each(|(bindings, p)| add(&mut taken, bindings.only(kept), p * share));
            self.through(&option.pieces, taken, needed).into_iter().for_each(|(b, p)| add(&mut after, b, p));
        }
        after
    }

    fn through(&mut self, pieces: &[Piece], mut states: States, needed: VariableSet) -> States {
        for (i, piece) in pieces.iter().enumerate() {
            let needed = self.grammar.needed_before(&pieces[i + 1..], needed);
            states = match piece {
                Piece::Expand(rule) => self.through_rule(*rule, &states, needed),
                _ if self.counts(piece) => self.through_piece(piece, &states, needed),
                _ => states,
            };
        }
        states
    }

    /// Whether the piece depends on the variables of this walk.
    fn counts(&self, piece: &Piece) -> bool {
        let variable = match piece {
            Piece::Say { variable, .. } => Some(variable),
            Piece::Draw { variable, except, .. } => variable.as_ref().or(except.first()),
            Piece::Text(_) | Piece::Expand(_) => None,
        };
        match (variable, self.followed) {
            (Some(variable), Some(followed)) => followed.contains(*variable),
            (variable, followed) => variable.is_none() && followed.is_none(),
        }
    }

    fn through_piece(&mut self, piece: &Piece, states: &States, needed: VariableSet) -> States {
        let mut after = States::new();
        for (bindings, p) in states {
            let text = match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Say { variable, form } => self.grammar.said(bindings, *variable, *form),
                _ => {
                    self.draw(piece, bindings, *p, needed, &mut after);
                    continue;
                }
            };
            self.mean_chars += p * text.chars().count() as f64;
            add(&mut after, bindings.only(needed), *p);
        }
        after
    }

    fn draw(&mut self, piece: &Piece, bindings: &Bindings, p: f64, needed: VariableSet, after: &mut States) {
        let Piece::Draw { variable, list, form, except } = piece else { return };
        let shares = shares(self.grammar.drawable(*list, except, bindings).map(|(_, weight)| weight));
        self.entropy_nats += p * entropy(&shares);
        for ((word, _), share) in self.grammar.drawable(*list, except, bindings).zip(shares) {
            self.mean_chars += p * share * self.grammar.form(word, *form).chars().count() as f64;
            add(after, bindings.with(*variable, word).only(needed), p * share);
        }
    }
}

fn add(states: &mut States, bindings: Bindings, p: f64) {
    *states.entry(bindings).or_insert(0.0) += p;
}

fn shares(weights: impl Iterator<Item = u32>) -> Vec<f64> {
    let weights: Vec<f64> = weights.map(f64::from).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

fn entropy(shares: &[f64]) -> f64 {
    shares.iter().map(|share| -share * share.ln()).sum()
}
