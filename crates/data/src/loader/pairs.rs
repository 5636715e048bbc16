//! Pairs for an encoder-decoder: gathered by length and padded.

use super::rows::count_bytes;
use super::{Loader, LoaderSettings, Padded, Units};
use crate::order::{Permutation, random};
use crate::{Error, Result, Shard};
use genera_tokens::{Batch, IGNORE, Role, Source, TokenId, TokenSeq};
use std::sync::{Arc, Mutex, MutexGuard};

/// A pair by its place and lengths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    document: u32,
    n_source: u32,
    n_target: u32,
}

impl Pair {
    /// The number of its document.
    pub(crate) fn place(self) -> u64 {
        self.document.into()
    }
}

const DOCUMENTS_AT_A_TIME: u32 = 1 << 14;

/// The pairs of a shard that are neither empty nor too long.
///
/// # Cost
/// Reads the shard's documents once; keeps 12 bytes for each.
pub(crate) fn admitted(shard: &Shard, padded: Padded) -> Result<Vec<Pair>> {
    let n_documents = u32::try_from(shard.info().n_documents)
        .map_err(|_| Error::settings("more than 2^32 pairs in one shard; split the files and mix the shards"))?;
    let (max_source_len, max_target_len) = (padded.max_source_len as u64, padded.max_target_len as u64);
    let mut pairs = Vec::new();
    for first in (0..n_documents).step_by(DOCUMENTS_AT_A_TIME as usize) {
        let last = n_documents.min(first.saturating_add(DOCUMENTS_AT_A_TIME));
        let lens = shard.role_lens(first.into()..last.into())?;
        for (document, (n_source, n_target)) in (first..last).zip(lens) {
            if (1..=max_source_len).contains(&n_source) && (1..=max_target_len).contains(&n_target) {
                pairs.push(Pair { document, n_source: n_source as u32, n_target: n_target as u32 });
            }
        }
    }
    Ok(pairs)
}

/// Cuts pairs (each with the number of its source) into batches of similar length within the limits.
pub(crate) fn gather(
    mut pairs: Vec<(usize, Pair)>,
    max_rows: usize,
    max_tokens: Option<usize>,
) -> Vec<Vec<(usize, Pair)>> {
    // A stable sort: pairs of equal lengths stay in their random order.
    pairs.sort_by_key(|(_, pair)| (pair.n_target, pair.n_source));
    let mut batches: Vec<Vec<(usize, Pair)>> = Vec::new();
    let mut longest = (0, 0);
    for (source, pair) in pairs {
        let lens = (longest.0.max(pair.n_source), longest.1.max(pair.n_target));
        let fits = |batch: &Vec<_>| {
            let n_rows = batch.len() + 1;
            n_rows <= max_rows && max_tokens.is_none_or(|max| n_rows * (lens.0 + lens.1) as usize <= max)
        };
        match batches.last_mut().filter(|batch| fits(batch)) {
            Some(batch) => {
                batch.push((source, pair));
                longest = lens;
            }
            None => {
                batches.push(vec![(source, pair)]);
                longest = (pair.n_source, pair.n_target);
            }
        }
    }
    batches
}

type Batches = Arc<Vec<Vec<(usize, Pair)>>>;

/// The order of batches of pairs. A pool of pairs in random order is sorted by length, cut into batches, and the
/// batches are put in random order; then comes the next pool.
pub(crate) struct Pairs {
    padded: Padded,
    max_rows: usize,
    pool_len: u64,
    seed: u64,
    plan: Mutex<Plan>,
}

/// How many batches the pools have is found out as they come.
#[derive(Default)]
struct Plan {
    /// Number of batches before each pool known so far, and of all of them.
    n_batches_before: Vec<u64>,
    /// The pool looked at last.
    last: Option<(u64, Batches)>,
}

impl Pairs {
    /// Batches to a pool: enough to choose pairs of similar length from.
    const BATCHES_PER_POOL: usize = 64;

    pub(crate) fn new(padded: Padded, settings: &LoaderSettings) -> Self {
        let pool_len = settings.rows.saturating_mul(Self::BATCHES_PER_POOL).clamp(1 << 11, 1 << 16) as u64;
        let plan = Mutex::new(Plan { n_batches_before: vec![0], last: None });
        Self { padded, max_rows: settings.rows, pool_len, seed: random(settings.seed, u64::MAX), plan }
    }

    /// # Cost
    /// The first call for a late batch cuts all pools before it: a millisecond for each few thousand pairs.
    pub(crate) fn batch(&self, loader: &Loader, index: u64) -> Result<Batch> {
        let (pool, batches, i) = self.find(loader, index);
        let place = Permutation::new(batches.len() as u64, self.seed, pool).at(i) as usize;
        let load = |(source, pair): &(usize, Pair)| loader.sources[*source].shard.document(pair.place());
        let sequences = batches[place].iter().map(load).collect::<Result<Vec<_>>>()?;
        Ok(pad(&sequences, self.padded.begin, &loader.settings))
    }

    /// The pool of batch `index`, its batches, and the number of the batch among them.
    fn find(&self, loader: &Loader, index: u64) -> (u64, Batches, u64) {
        let mut plan = self.lock();
        while plan.n_batches_before.last().is_some_and(|&n| n <= index) {
            let pool = plan.n_batches_before.len() as u64 - 1;
            let batches = self.pool(loader, pool);
            let n = plan.n_batches_before[pool as usize] + batches.len() as u64;
            plan.n_batches_before.push(n);
            plan.last = Some((pool, batches));
        }
        let pool = plan.n_batches_before.partition_point(|&before| before <= index) as u64 - 1;
        let batches = match &plan.last {
            Some((last, batches)) if *last == pool => batches.clone(),
            _ => self.pool(loader, pool),
        };
        plan.last = Some((pool, batches.clone()));
        (pool, batches, index - plan.n_batches_before[pool as usize])
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn pool(&self, loader: &Loader, pool: u64) -> Batches {
        let pair = |row| {
            let (source, unit) = loader.mixture.pick(row);
            let Units::Pairs(pairs) = &loader.sources[source].units else { unreachable!("the layout is for pairs") };
            (source, pairs[loader.sources[source].unit(unit).0 as usize])
        };
        let pairs = (pool * self.pool_len..(pool + 1) * self.pool_len).map(pair);
        Arc::new(gather(pairs.collect(), self.max_rows, self.padded.max_tokens))
    }
}

/// Pads sequences of a condition and a target to a batch: the encoder reads the condition, the decoder is given
/// `begin` and the target but its last token, and is to say the target.
pub(crate) fn pad(sequences: &[TokenSeq], begin: TokenId, settings: &LoaderSettings) -> Batch {
    let sources: Vec<Vec<TokenId>> = sequences.iter().map(|sequence| sequence.ids_of(Role::Condition)).collect();
    let targets: Vec<Vec<TokenId>> = sequences.iter().map(|sequence| sequence.ids_of(Role::Target)).collect();
    let longest = |rows: &[Vec<TokenId>]| rows.iter().map(Vec::len).max().unwrap_or(0);
    let (source_len, len) = (longest(&sources), longest(&targets));
    let mut batch = Batch { n_rows: sequences.len(), len, ..Batch::default() };
    let mut source = Source { len: source_len, tokens: Vec::new(), lens: Vec::new() };
    for (row, (condition, target)) in sources.iter().zip(&targets).enumerate() {
        source.lens.push(condition.len() as u32);
        source.tokens.extend_from_slice(condition);
        source.tokens.resize((row + 1) * source_len, settings.padding);
        let n = (row + 1) * len;
        batch.tokens.push(begin);
        batch.tokens.extend_from_slice(&target[..target.len() - 1]);
        batch.tokens.resize(n, settings.padding);
        batch.positions.extend(0..target.len() as u32);
        batch.positions.resize(n, 0);
        batch.segments.resize(n - len + target.len(), 1);
        batch.segments.resize(n, 0);
        batch.n_bytes += count_bytes(target, &settings.token_bytes);
        batch.targets.extend_from_slice(target);
        batch.targets.resize(n, IGNORE);
    }
    batch.source = Some(source);
    batch
}
