//! Filling the rows of a batch.

use super::{Layout, LoaderSettings, Vary};
use crate::order::random;
use crate::pack::Stretch;
use crate::{Result, Shard};
use genera_tokens::{Batch, IGNORE, TokenId};
use std::sync::Arc;

/// Rows under way.
pub(crate) struct Rows {
    batch: Batch,
    padding: TokenId,
    /// Whether a stretch is part of one document, whose roles count.
    has_documents: bool,
    token_bytes: Arc<[u32]>,
    vary: Option<Arc<dyn Vary>>,
    /// Makes this reading of the documents differ from others; without it they stay as they are.
    reading: Option<u64>,
}

impl Rows {
    pub(crate) fn new(settings: &LoaderSettings) -> Self {
        Self {
            batch: Batch { len: settings.context_len, ..Batch::default() },
            padding: settings.padding,
            has_documents: settings.layout != Layout::Contiguous,
            token_bytes: settings.token_bytes.clone(),
            vary: settings.vary.clone(),
            reading: None,
        }
    }

    /// The documents of the rows that follow are varied by `key`.
    pub(crate) fn read_anew(&mut self, key: u64) {
        self.reading = Some(key);
    }

    pub(crate) fn row_len(&self) -> usize {
        self.batch.len
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.batch.n_rows
    }

    /// Appends a row of `stretches`, padded at the end.
    pub(crate) fn push_row(&mut self, shard: &Shard, stretches: &[Stretch]) -> Result<()> {
        for (stretch, segment) in stretches.iter().zip(1..) {
            self.push_stretch(shard, stretch, segment)?;
        }
        self.batch.n_rows += 1;
        let n = self.batch.n_rows * self.batch.len;
        self.batch.tokens.resize(n, self.padding);
        self.batch.targets.resize(n, IGNORE);
        self.batch.positions.resize(n, 0);
        self.batch.segments.resize(n, 0);
        Ok(())
    }

    fn push_stretch(&mut self, shard: &Shard, stretch: &Stretch, segment: u32) -> Result<()> {
        let mut ids = shard.tokens(stretch.start..stretch.start + stretch.len as u64 + 1)?;
        if let (Some(vary), Some(key)) = (&self.vary, self.reading)
            && is_whole(shard, stretch)?
        {
            vary.vary(&mut ids, random(key, stretch.document));
        }
        self.batch.tokens.extend_from_slice(&ids[..stretch.len]);
        self.batch.positions.extend(0..stretch.len as u32);
        self.batch.segments.resize(self.batch.tokens.len(), segment);
        let first = self.batch.targets.len();
        self.batch.targets.extend_from_slice(&ids[1..]);
        let targets = &mut self.batch.targets[first..];
        targets[..stretch.n_seen].fill(IGNORE);
        if let Some(vary) = &self.vary {
            targets.iter_mut().filter(|target| !vary.is_learned(**target)).for_each(|target| *target = IGNORE);
        }
        if self.has_documents && shard.info().n_spans > 0 {
            let start = shard.document_range(stretch.document)?.start;
            let is_target = shard.document(stretch.document)?.loss_mask();
            let mask = &is_target[(stretch.start - start) as usize + 1..];
            targets.iter_mut().zip(mask).filter(|(_, is_target)| !**is_target).for_each(|(target, _)| *target = IGNORE);
        }
        Ok(())
    }

    /// The batch, with the bytes of its targets counted.
    pub(crate) fn finish(self) -> Batch {
        let n_bytes = count_bytes(&self.batch.targets, &self.token_bytes);
        Batch { n_bytes, ..self.batch }
    }
}

/// Whether a stretch is all of its document.
fn is_whole(shard: &Shard, stretch: &Stretch) -> Result<bool> {
    let range = shard.document_range(stretch.document)?;
    Ok(range.start == stretch.start && range.end - range.start == stretch.len as u64 + 1)
}

/// Number of bytes that `targets` stand for.
pub(crate) fn count_bytes(targets: &[TokenId], token_bytes: &[u32]) -> u64 {
    targets.iter().filter_map(|&target| token_bytes.get(target as usize)).map(|&n| u64::from(n)).sum()
}
