//! Which keys a query sees, as one span of keys each.

use crate::backend::{AttentionSizes, Mask, Visibility};
use std::collections::HashMap;
use std::ops::Range;

/// The keys that one query sees: those from `first` to `end`, and only the ones of `segment` if one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: usize,
    pub(super) end: usize,
    /// The query's document, where keys of other documents lie between its own.
    pub(super) segment: Option<u32>,
}

impl Span {
    pub(super) const EMPTY: Span = Span { first: 0, end: 0, segment: None };

    pub(super) fn is_empty(&self) -> bool {
        self.first >= self.end
    }

    /// Whether every key of the range is seen.
    pub(super) fn covers(&self, keys: &Range<usize>) -> bool {
        self.segment.is_none() && self.first <= keys.start && keys.end <= self.end
    }
}

/// The keys of `block` between the first and the last that any of these queries sees; empty when none sees any.
pub(super) fn seen_by_any(spans: &[Span], block: &Range<usize>) -> Range<usize> {
    let overlaps = |span: &&Span| !span.is_empty() && span.first < block.end && block.start < span.end;
    let (mut first, mut end) = (block.end, block.start);
    for span in spans.iter().filter(overlaps) {
        first = first.min(span.first.max(block.start));
        end = end.max(span.end.min(block.end));
    }
    first..end.max(first)
}

/// Where the keys of a document lie.
struct Document {
    first: usize,
    end: usize,
    n_keys: usize,
}

/// The span of each of a row's `queries`.
pub(super) fn spans(sizes: &AttentionSizes, mask: &Mask<'_>, row: usize, queries: Range<usize>) -> Vec<Span> {
    let n_keys = mask.key_lens.map_or(sizes.s, |lens| (lens[row] as usize).min(sizes.s));
    let documents = mask.key_segments.map(|segments| documents(&segments[row * sizes.s..][..n_keys]));
    let offset = offset(mask, row);
    let span = |t: usize| {
        let by_position = by_position(mask, row, offset + t);
        let span = Span { first: by_position.start, end: by_position.end.min(n_keys), segment: None };
        match (mask.query_segments, &documents) {
            (Some(of_queries), Some(documents)) => within(span, of_queries[row * sizes.t + t], documents),
            _ => span,
        }
    };
    queries.map(|t| Some(span(t)).filter(|span| !span.is_empty()).unwrap_or(Span::EMPTY)).collect()
}

/// Position of a row's first query.
pub(super) fn offset(mask: &Mask<'_>, row: usize) -> usize {
    mask.query_offsets.map_or(0, |offsets| offsets[row] as usize)
}

fn by_position(mask: &Mask<'_>, row: usize, position: usize) -> Range<usize> {
    match mask.visibility {
        Visibility::Causal => 0..position + 1,
        Visibility::Full => 0..usize::MAX,
        Visibility::Prefix => 0..(position + 1).max(mask.prefix_lens.map_or(0, |lens| lens[row] as usize)),
        Visibility::Window { tokens } => (position + 1).saturating_sub(tokens)..position + 1,
    }
}

/// Narrows a span to the keys of one document.
fn within(span: Span, segment: u32, documents: &HashMap<u32, Document>) -> Span {
    let Some(document) = documents.get(&segment) else { return Span::EMPTY };
    let is_whole = document.end - document.first == document.n_keys;
    Span {
        first: span.first.max(document.first),
        end: span.end.min(document.end),
        segment: (!is_whole).then_some(segment),
    }
}

fn documents(segments: &[u32]) -> HashMap<u32, Document> {
    let mut documents = HashMap::new();
    let mut start = 0;
    for run in segments.chunk_by(|a, b| a == b) {
        let end = start + run.len();
        let document = documents.entry(run[0]).or_insert(Document { first: start, end, n_keys: 0 });
        document.end = end;
        document.n_keys += run.len();
        start = end;
    }
    documents
}
