//! The validation data as batches, every token predicted exactly once.

use super::pairs::{Pair, admitted, gather, pad};
use super::rows::Rows;
use super::{Layout, LoaderSettings, Padded};
use crate::pack::{Stretch, best_fit};
use crate::{Error, Result, Shard};
use genera_tokens::{Batch, TokenSeq};
use std::collections::VecDeque;
use std::sync::Arc;

/// The batches of a whole shard: every token that has one before it in its document is a target exactly once.
/// With [`Layout::Contiguous`] the shard is one document; pairs longer than the limits are left out and counted.
#[derive(Clone)]
pub struct Validation {
    shard: Arc<Shard>,
    settings: LoaderSettings,
    stride: usize,
}

impl Validation {
    /// The batches of `shard`, laid out as `settings` say. A document longer than a row is read through a window that
    /// advances by `stride` tokens, by default its whole length: a smaller stride gives every token more context, and
    /// takes longer.
    ///
    /// # Errors
    /// When the stride is not between 1 and the length of a row.
    pub fn new(shard: Arc<Shard>, settings: LoaderSettings, stride: Option<usize>) -> Result<Self> {
        let stride = stride.unwrap_or(settings.context_len);
        if stride == 0 || stride > settings.context_len || settings.rows == 0 {
            let problem = format!("a stride of {stride}; expected 1 to the context of {}", settings.context_len);
            return Err(Error::settings(problem));
        }
        Ok(Self { shard, settings, stride })
    }

    /// The batches, from the first on; none where there is nothing to predict.
    pub fn batches(&self) -> Box<dyn Iterator<Item = Result<Batch>> + Send + '_> {
        match self.settings.layout {
            Layout::Padded(padded) => match self.pair_batches(padded) {
                Ok(batches) => Box::new(batches.into_iter().map(move |batch| self.pad(&batch, padded))),
                Err(error) => Box::new(std::iter::once(Err(error))),
            },
            Layout::Contiguous | Layout::Packed => Box::new(RowBatches::new(self)),
        }
    }

    /// Number of pairs left out because they are longer than allowed.
    ///
    /// # Errors
    /// When the shard can no longer be read.
    pub fn n_left_out(&self) -> Result<u64> {
        let Layout::Padded(padded) = self.settings.layout else { return Ok(0) };
        Ok(self.shard.info().n_documents - admitted(&self.shard, padded)?.len() as u64)
    }

    fn pair_batches(&self, padded: Padded) -> Result<Vec<Vec<(usize, Pair)>>> {
        let pairs = admitted(&self.shard, padded)?.into_iter().map(|pair| (0, pair));
        Ok(gather(pairs.collect(), self.settings.rows, padded.max_tokens))
    }

    fn pad(&self, batch: &[(usize, Pair)], padded: Padded) -> Result<Batch> {
        let load = |(_, pair): &(usize, Pair)| self.shard.document(pair.place());
        let sequences = batch.iter().map(load).collect::<Result<Vec<TokenSeq>>>()?;
        Ok(pad(&sequences, padded.begin, &self.settings))
    }
}

/// Walks through the documents and keeps what does not fill a row until enough has come together.
struct RowBatches<'a> {
    validation: &'a Validation,
    next_document: u64,
    windows: Windows,
    short: Vec<Stretch>,
    ready: VecDeque<Vec<Stretch>>,
    has_failed: bool,
}

impl<'a> RowBatches<'a> {
    /// Short documents are packed in groups of this many.
    const GROUP: usize = 512;

    fn new(validation: &'a Validation) -> Self {
        let (short, ready) = (Vec::new(), VecDeque::new());
        Self { validation, next_document: 0, windows: Windows::default(), short, ready, has_failed: false }
    }

    fn n_documents(&self) -> u64 {
        let is_one = self.validation.settings.layout == Layout::Contiguous;
        if is_one { 1 } else { self.validation.shard.info().n_documents }
    }

    /// The next row, or none at the end.
    fn next_row(&mut self) -> Result<Option<Vec<Stretch>>> {
        let row_len = self.validation.settings.context_len;
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Ok(Some(row));
            }
            match self.windows.next() {
                Some(window) if window.len == row_len => return Ok(Some(vec![window])),
                Some(window) => self.short.push(window),
                None if self.next_document < self.n_documents() => self.open_document()?,
                None if self.short.is_empty() => return Ok(None),
                None => self.pack(),
            }
            if self.short.len() == Self::GROUP {
                self.pack();
            }
        }
    }

    fn pack(&mut self) {
        self.ready.extend(best_fit(std::mem::take(&mut self.short), self.validation.settings.context_len));
    }

    fn open_document(&mut self) -> Result<()> {
        let Validation { shard, settings, stride } = self.validation;
        let range = match settings.layout {
            Layout::Contiguous => 0..shard.info().n_tokens,
            _ => shard.document_range(self.next_document)?,
        };
        self.windows = Windows {
            document: self.next_document,
            start: range.start,
            n_predictions: (range.end - range.start).saturating_sub(1),
            n_made: 0,
            row_len: settings.context_len as u64,
            stride: *stride as u64,
        };
        self.next_document += 1;
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut rows = Rows::new(&self.validation.settings);
        while rows.n_rows() < self.validation.settings.rows {
            let Some(row) = self.next_row()? else { break };
            rows.push_row(&self.validation.shard, &row)?;
        }
        Ok(if rows.n_rows() == 0 { None } else { Some(rows.finish()) })
    }
}

impl Iterator for RowBatches<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let batch = self.next_batch().transpose();
        self.has_failed = matches!(batch, Some(Err(_)));
        batch
    }
}

/// The windows through which one document is read.
#[derive(Default)]
struct Windows {
    document: u64,
    start: u64,
    n_predictions: u64,
    n_made: u64,
    row_len: u64,
    stride: u64,
}

impl Iterator for Windows {
    type Item = Stretch;

    /// The first window predicts all of its tokens, each further one those that its advance reveals.
    fn next(&mut self) -> Option<Stretch> {
        if self.n_made >= self.n_predictions {
            return None;
        }
        let advance = if self.n_made == 0 { self.row_len } else { self.stride };
        let end = (self.n_made + advance).min(self.n_predictions);
        let first = end.saturating_sub(self.row_len);
        let (len, n_seen) = ((end - first) as usize, (self.n_made - first) as usize);
        self.n_made = end;
        Some(Stretch { document: self.document, start: self.start + first, len, n_seen })
    }
}
