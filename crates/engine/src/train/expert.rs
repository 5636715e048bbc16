//! Learning from the best of one's own answers (expert iteration).
//!
//! # Source
//! Anthony, Tian and Barber, "Thinking Fast and Slow with Deep Learning and Tree Search", arXiv 1705.08439, the iteration of an
//! expert and its apprentice; for molecules Segler et al., arXiv 1701.01329, section 3.4 (hill climbing).

use genera_tokens::{Batch, IGNORE, TokenId};
use std::collections::HashSet;

/// An answer with its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Expert {
    /// What it says, by which it is known again.
    pub key: String,
    /// What was given, the answer, and the token that ended it.
    pub tokens: Vec<TokenId>,
    /// How many of the tokens were given.
    pub n_given: usize,
    /// What it is worth.
    pub score: f64,
}

/// The best distinct answers so far, best first.
#[derive(Clone, Debug)]
pub struct Experts {
    best: Vec<Expert>,
    keys: HashSet<String>,
    most: usize,
}

impl Experts {
    /// Keeps so many.
    pub fn new(most: usize) -> Self {
        Self { best: Vec::new(), keys: HashSet::new(), most: most.max(1) }
    }

    /// Takes an answer if it is among the best, and not there yet. One whose score is no number never is.
    pub fn consider(&mut self, expert: Expert) -> bool {
        let is_full = self.best.len() == self.most;
        let is_worse = is_full && self.best.last().is_some_and(|last| last.score >= expert.score);
        if expert.score.is_nan() || expert.tokens.len() < 2 || is_worse || self.keys.contains(&expert.key) {
            return false;
        }
        self.keys.insert(expert.key.clone());
        let at = self.best.partition_point(|other| other.score >= expert.score);
        self.best.insert(at, expert);
        if self.best.len() > self.most
            && let Some(last) = self.best.pop()
        {
            self.keys.remove(&last.key);
        }
        true
    }

    /// The answers, best first.
    pub fn best(&self) -> &[Expert] {
        &self.best
    }

    /// Batches of rows of `context_len` tokens that hold every answer once, each seeing only itself; longer ones are cut.
    ///
    /// # Determinism
    /// A function of the answers in their order.
    pub fn batches(&self, n_rows: usize, context_len: usize) -> Vec<Batch> {
        let mut rows: Vec<Vec<&Expert>> = Vec::new();
        let mut room = 0;
        for expert in &self.best {
            let len = (expert.tokens.len() - 1).min(context_len);
            match rows.last_mut().filter(|_| room >= len) {
                Some(row) => row.push(expert),
                None => {
                    rows.push(vec![expert]);
                    room = context_len;
                }
            }
            room -= len;
        }
        rows.chunks(n_rows.max(1)).map(|rows| batch(rows, context_len)).collect()
    }
}

fn batch(rows: &[Vec<&Expert>], context_len: usize) -> Batch {
    let mut batch = Batch { n_rows: rows.len(), len: context_len, ..Batch::default() };
    for (i, row) in rows.iter().enumerate() {
        for (expert, segment) in row.iter().zip(1..) {
            let len = (expert.tokens.len() - 1).min(context_len);
            batch.tokens.extend_from_slice(&expert.tokens[..len]);
            let first = batch.targets.len();
            batch.targets.extend_from_slice(&expert.tokens[1..=len]);
            // What was given is not learned.
            let n_given = expert.n_given.saturating_sub(1).min(len);
            batch.targets[first..first + n_given].fill(IGNORE);
            batch.positions.extend(0..len as u32);
            batch.segments.resize(batch.tokens.len(), segment);
        }
        let n = (i + 1) * context_len;
        batch.tokens.resize(n, 0);
        batch.targets.resize(n, IGNORE);
        batch.positions.resize(n, 0);
        batch.segments.resize(n, 0);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expert(key: &str, n: usize, score: f64) -> Expert {
        Expert { key: key.to_owned(), tokens: (0..n as u32).collect(), n_given: 1, score }
    }

    #[test]
    fn the_best_distinct_answers_are_kept_in_order() {
        let mut experts = Experts::new(3);
        for (key, score) in
            [("a", 1.0), ("b", 3.0), ("b", 9.0), ("c", 2.0), ("nothing", f64::NAN), ("d", 0.5), ("e", 2.5)]
        {
            experts.consider(expert(key, 4, score));
        }
        let keys: Vec<&str> = experts.best().iter().map(|expert| expert.key.as_str()).collect();
        assert_eq!(keys, ["b", "e", "c"]);
        assert!(experts.consider(expert("a", 4, 2.7)), "what fell out may come back");
    }

    #[test]
    fn rows_hold_each_answer_once_and_learn_what_was_not_given() {
        let mut experts = Experts::new(9);
        experts.consider(Expert { n_given: 2, ..expert("a", 5, 3.0) });
        experts.consider(expert("b", 4, 2.0));
        experts.consider(expert("c", 20, 1.0));
        let batches = experts.batches(1, 8);
        assert_eq!(batches.len(), 2);
        assert_eq!(batches[0].tokens, [0, 1, 2, 3, 0, 1, 2, 0]);
        assert_eq!(batches[0].targets, [IGNORE, 2, 3, 4, 1, 2, 3, IGNORE]);
        assert_eq!(batches[0].segments, [1, 1, 1, 1, 2, 2, 2, 0]);
        assert_eq!(batches[1].targets, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
