//! Pairs of answers: each document is a prompt with the chosen answer, then the same prompt with the rejected one.

use crate::order::Permutation;
use crate::{Error, Result, Shard};
use genera_tokens::{Batch, IGNORE, Role, Span, TokenSeq};
use std::sync::Arc;

/// Two answers to one prompt, each as a row whose answer alone has targets.
#[derive(Clone, Debug, PartialEq)]
pub struct PreferenceRows {
    /// Number of the document in its shard.
    pub document: u64,
    /// The prompt and the answer that was chosen.
    pub chosen: Batch,
    /// The prompt and the answer that was rejected.
    pub rejected: Batch,
}

/// Gives the pairs of a shard in an order of its own for each epoch.
///
/// # Determinism
/// `batch(i)` is a function of the shard, the settings and i alone.
pub struct Preferences {
    shard: Arc<Shard>,
    /// Those that are short enough.
    documents: Vec<u64>,
    n_pairs: usize,
    seed: u64,
}

impl Preferences {
    /// The pairs of `shard` of which neither answer with its prompt is longer than `context_len` tokens, `n_pairs` a batch; `None`
    /// where all are longer.
    ///
    /// # Errors
    /// When the shard does not hold pairs, or cannot be read.
    pub fn new(shard: Arc<Shard>, context_len: usize, n_pairs: usize, seed: u64) -> Result<Option<Self>> {
        let mut documents = Vec::new();
        for document in 0..shard.info().n_documents {
            let [chosen, rejected] = answers(&shard, document)?;
            if chosen.n_tokens().max(rejected.n_tokens()) <= context_len {
                documents.push(document);
            }
        }
        let has_any = !documents.is_empty();
        Ok(has_any.then_some(Self { shard, documents, n_pairs: n_pairs.max(1), seed }))
    }

    /// Number of pairs.
    pub fn n(&self) -> u64 {
        self.documents.len() as u64
    }

    /// Number of pairs left out because they are too long.
    pub fn n_left_out(&self) -> u64 {
        self.shard.info().n_documents - self.n()
    }

    /// Batch number `index` of the run.
    ///
    /// # Errors
    /// When the shard can no longer be read.
    pub fn batch(&self, index: u64) -> Result<Vec<PreferenceRows>> {
        let first = index * self.n_pairs as u64;
        let place = |number: u64| {
            let (epoch, within) = (number / self.n(), number % self.n());
            Permutation::new(self.n(), self.seed, epoch).at(within)
        };
        (first..first + self.n_pairs as u64).map(|number| self.pair(place(number))).collect()
    }

    /// All pairs, in the order of the documents.
    pub fn all(&self) -> impl Iterator<Item = Result<PreferenceRows>> + '_ {
        (0..self.n()).map(|place| self.pair(place))
    }

    fn pair(&self, place: u64) -> Result<PreferenceRows> {
        let document = self.documents[place as usize];
        let [chosen, rejected] = answers(&self.shard, document)?;
        Ok(PreferenceRows { document, chosen, rejected })
    }
}

/// The two rows of a document.
fn answers(shard: &Shard, document: u64) -> Result<[Batch; 2]> {
    let sequence = shard.document(document)?;
    match sequence.spans() {
        [given, chosen, again, rejected]
            if [given.role, chosen.role] == [Role::Condition, Role::Target]
                && [again.role, rejected.role] == [Role::Condition, Role::Target] =>
        {
            Ok([row(&sequence, given, chosen), row(&sequence, again, rejected)])
        }
        _ => Err(Error::bad_shard(shard.path(), format!("document {document} is not a pair of answers"))),
    }
}

fn row(sequence: &TokenSeq, given: &Span, made: &Span) -> Batch {
    let ids = &sequence.ids()[given.range.start..made.range.end];
    let n = ids.len() - 1;
    let target = |i: usize| if i + 1 < given.range.len() { IGNORE } else { ids[i + 1] };
    Batch::dense(1, n, ids[..n].to_vec(), (0..n).map(target).collect())
}
