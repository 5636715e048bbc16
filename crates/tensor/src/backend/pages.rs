//! Keys and values in pages, so that sequences of any length grow, share what they have in common, and end, without moving
//! one another's.
//!
//! # Source
//! Kwon et al., "PagedAttention", arXiv 2309.06180. Unlike there, a page lies in memory as the products read it: keys with
//! their tokens side by side, values with their features side by side.

use super::{AttentionSizes, Heads, Mask, OffsetBias};
use crate::dtype::{DType, View, ViewMut};

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 64;

/// Rows of a page are a multiple of so many elements wide.
const GRAIN: usize = 16;

/// How the keys and values of [`PAGE_TOKENS`] consecutive tokens of one layer lie in memory.
///
/// For each key/value head first the keys, feature by feature: \[K, tokens\]; then the values, token by token:
/// \[tokens, K\]. K is filled up with zeros. In bf16 two neighbours along the sums of the products (features of a key, tokens
/// of a value) lie side by side: keys [K/2, tokens, 2], values [tokens/2, K, 2].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLayout {
    /// Key/value heads G.
    pub g: usize,
    /// Width K of a head.
    pub d_head: usize,
    /// Storage type.
    pub dtype: DType,
}

impl PageLayout {
    /// Elements of a page.
    pub fn n_elements(&self) -> usize {
        self.g * self.head_elements()
    }

    /// Width of a row of values.
    pub fn value_width(&self) -> usize {
        self.d_head.next_multiple_of(GRAIN)
    }

    /// Elements that the keys of one head take; its values come behind them.
    pub fn key_elements(&self) -> usize {
        self.d_head.next_multiple_of(2) * PAGE_TOKENS
    }

    /// Elements that one head takes.
    pub fn head_elements(&self) -> usize {
        self.key_elements() + PAGE_TOKENS * self.value_width()
    }

    /// Place of a feature of a token's key.
    pub fn key_at(&self, head: usize, token: usize, feature: usize) -> usize {
        head * self.head_elements() + self.place(feature, token, PAGE_TOKENS)
    }

    /// Place of a feature of a token's value.
    pub fn value_at(&self, head: usize, token: usize, feature: usize) -> usize {
        head * self.head_elements() + self.key_elements() + self.place(token, feature, self.value_width())
    }

    /// Place of step `step` of a sum in column `column`, in rows that are `width` wide.
    fn place(&self, step: usize, column: usize, width: usize) -> usize {
        match self.dtype {
            DType::F32 => step * width + column,
            DType::Bf16 => (step / 2 * width + column) * 2 + step % 2,
        }
    }
}

/// Stores keys and values of consecutive new tokens of one row and layer.
#[derive(Debug)]
pub struct StoreInPages<'a> {
    /// How a page is laid out.
    pub layout: PageLayout,
    /// Rows of new tokens: from `first_head` on G heads of keys, then G heads of values.
    pub kv: Heads<'a>,
    /// Number of new tokens.
    pub n_tokens: usize,
    /// Place of the first one in the first page.
    pub first: usize,
    /// The pages that take them, just as many as it needs.
    pub pages: Vec<ViewMut<'a>>,
}

impl StoreInPages<'_> {
    /// # Panics
    /// When a size does not fit the others.
    pub(super) fn check(&self) {
        let PageLayout { g, d_head, .. } = self.layout;
        let Heads { data, n_heads_stored, first_head } = self.kv;
        assert!(first_head + 2 * g <= n_heads_stored, "keys and values of {g} heads are stored");
        assert!(data.len() >= self.n_tokens * n_heads_stored * d_head, "there are {} new tokens", self.n_tokens);
        assert!(self.first < PAGE_TOKENS, "the first new token belongs into the first page");
        let needed = (self.first + self.n_tokens).div_ceil(PAGE_TOKENS);
        assert_eq!(self.pages.len(), needed, "{} tokens from {} on need {needed} pages", self.n_tokens, self.first);
        check_pages(&self.layout, self.pages.iter().map(ViewMut::as_view));
    }
}

/// As [`Attention`](super::Attention), of new queries to keys and values in pages.
///
/// # Determinism
/// The result of a query depends on it and on the keys that it sees, not on the call: a sequence that is read at once and one
/// that is read in parts get the same bits.
#[derive(Debug)]
pub struct PagedAttention<'a> {
    /// Sizes; S is not used.
    pub sizes: AttentionSizes,
    /// How a page is laid out.
    pub layout: PageLayout,
    /// Queries, rows [B·T].
    pub q: Heads<'a>,
    /// Who sees whom: by position and with the lengths of all rows, not by document.
    pub mask: Mask<'a>,
    /// Added to the scores.
    pub bias: Option<OffsetBias<'a>>,
    /// `[B]`: each row's pages, at least as many as its keys need.
    pub pages: &'a [Vec<View<'a>>],
    /// [B, T, H, K]
    pub out: ViewMut<'a>,
}

impl<'a> PagedAttention<'a> {
    /// The sizes, with the keys of the longest row as S.
    pub(super) fn sizes(&self) -> AttentionSizes {
        let s = self.key_lens().iter().copied().max().unwrap_or(0) as usize;
        AttentionSizes { s, ..self.sizes }
    }

    /// Keys of each row.
    pub(super) fn key_lens(&self) -> &'a [u32] {
        self.mask.key_lens.expect("rows of pages have as many keys as the mask says")
    }

    /// # Panics
    /// When the pages do not fit the sizes.
    pub(super) fn check(&self) {
        let AttentionSizes { b, g, d_head, .. } = self.sizes;
        assert_eq!([g, d_head], [self.layout.g, self.layout.d_head], "pages are of the heads that are attended to");
        assert!(self.mask.query_segments.is_none() && self.mask.key_segments.is_none(), "pages hold one document");
        assert_eq!(self.pages.len(), b, "every row has its pages");
        for (pages, &n_keys) in self.pages.iter().zip(self.key_lens()) {
            let needed = (n_keys as usize).div_ceil(PAGE_TOKENS);
            assert!(pages.len() >= needed, "{n_keys} keys need {needed} pages, found {}", pages.len());
            check_pages(&self.layout, pages.iter().copied());
        }
    }
}

fn check_pages<'a>(layout: &PageLayout, mut pages: impl Iterator<Item = View<'a>>) {
    let fits = pages.all(|page| page.len() == layout.n_elements() && page.dtype() == layout.dtype);
    assert!(fits, "a page of {layout:?} has {} elements of {}", layout.n_elements(), layout.dtype);
}
