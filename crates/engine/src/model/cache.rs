//! Keys and values of what was read and written so far, so that a new token costs one token's work.

use genera_tensor::backend::{Heads, PAGE_TOKENS, PageLayout, StoreInPages};
use genera_tensor::op::PagedRow;
use genera_tensor::{Device, Tensor, View, ViewMut};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the pages that were handed out and are still in use.
#[derive(Clone, Debug, Default)]
pub struct PageCount(Arc<AtomicUsize>);

impl PageCount {
    /// Pages in use, one that several rows share counted once.
    pub fn n_pages(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The keys and values of [`PAGE_TOKENS`] consecutive tokens in every layer.
#[derive(Debug)]
pub struct Page {
    /// [L, elements of a page]
    tensor: Tensor,
    count: PageCount,
}

impl Page {
    fn new(tensor: Tensor, count: &PageCount) -> Self {
        count.0.fetch_add(1, Ordering::Relaxed);
        Self { tensor, count: count.clone() }
    }

    /// Some elements, to be written to.
    fn written(page: &mut Arc<Self>, elements: Range<usize>) -> ViewMut<'_> {
        let page = Arc::get_mut(page).expect("pages that are written to have been reserved");
        page.tensor.view_mut().into_slice(elements)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.count.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a decoder's pages are made.
#[derive(Clone, Debug)]
pub(super) struct PageShape {
    pub(super) device: Device,
    pub(super) n_layers: usize,
    pub(super) layout: PageLayout,
}

impl PageShape {
    /// A page of zeros: what is not stored yet must be a number.
    fn page(&self, count: &PageCount) -> Page {
        let shape = [self.n_layers, self.layout.n_elements()];
        Page::new(Tensor::zeros(&self.device, shape, self.layout.dtype), count)
    }

    /// # Units
    /// Bytes of a page.
    pub(super) fn page_bytes(&self) -> usize {
        self.n_layers * self.layout.n_elements() * self.layout.dtype.size_bytes()
    }
}

/// The keys and values of one sequence in every layer, in pages. A clone shares them until one of both goes on.
#[derive(Clone, Debug, Default)]
pub struct CacheRow {
    pages: Vec<Arc<Page>>,
    len: usize,
    count: PageCount,
}

impl CacheRow {
    /// An empty row whose pages are counted.
    pub fn new(count: &PageCount) -> Self {
        Self { count: count.clone(), ..Self::default() }
    }

    /// A row that begins with whole pages of others.
    pub fn from_pages(pages: Vec<Arc<Page>>, count: &PageCount) -> Self {
        Self { len: pages.len() * PAGE_TOKENS, pages, count: count.clone() }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pages that hold the tokens.
    pub fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// Forgets the tokens from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.pages.truncate(self.len.div_ceil(PAGE_TOKENS));
    }

    /// Pages that room for `n` more tokens takes: those behind the last, and a copy of that where others have it too.
    pub fn n_pages_for(&self, n: usize) -> usize {
        let first = self.len / PAGE_TOKENS;
        let is_own = self.pages.get(first).is_some_and(|page| Arc::strong_count(page) == 1);
        (self.len + n).div_ceil(PAGE_TOKENS) - first - usize::from(is_own)
    }

    /// Makes room for `n` more tokens, in pages that no other row has.
    pub(super) fn reserve(&mut self, shape: &PageShape, n: usize) {
        for i in self.len / PAGE_TOKENS..(self.len + n).div_ceil(PAGE_TOKENS) {
            if i == self.pages.len() {
                self.pages.push(Arc::new(shape.page(&self.count)));
            } else if Arc::get_mut(&mut self.pages[i]).is_none() {
                self.pages[i] = Arc::new(Page::new(self.pages[i].tensor.copy(), &self.count));
            }
        }
    }

    /// What stores keys and values of `n` new tokens behind those held, in one layer. They count once [`CacheRow::advance`] says
    /// so.
    ///
    /// # Panics
    /// When there is no room for them.
    pub(super) fn storing<'a>(
        &'a mut self,
        shape: &PageShape,
        layer: usize,
        kv: Heads<'a>,
        n: usize,
    ) -> StoreInPages<'a> {
        let (layout, n_elements) = (shape.layout, shape.layout.n_elements());
        let pages = &mut self.pages[self.len / PAGE_TOKENS..(self.len + n).div_ceil(PAGE_TOKENS)];
        let range = layer * n_elements..(layer + 1) * n_elements;
        let pages = pages.iter_mut().map(|page| Page::written(page, range.clone())).collect();
        let first = self.len % PAGE_TOKENS;
        StoreInPages { layout, kv, n_tokens: n, first, pages }
    }

    /// Counts `n` tokens that every layer has stored by now.
    pub(super) fn advance(&mut self, n: usize) {
        self.len += n;
    }

    /// One layer of the row for `n_queries` queries, of which the first stands at the start of `places` and the last key
    /// before its end.
    fn of_layer(&self, shape: &PageShape, layer: usize, n_queries: usize, places: Range<usize>) -> PagedRow<'_> {
        let n = shape.layout.n_elements();
        let pages: Vec<View<'_>> =
            self.pages.iter().map(|page| page.tensor.view().slice(layer * n..(layer + 1) * n)).collect();
        PagedRow { pages, n_keys: places.end as u32, n_queries, position: places.start as u32 }
    }
}

/// The rows that a pass continues, and what it continues them by.
pub(super) struct Continuation<'c> {
    pub(super) shape: PageShape,
    pub(super) rows: &'c mut [CacheRow],
    /// Keys and values of the source in every decoder layer, for each row; none without an encoder.
    pub(super) sources: &'c [CacheRow],
    /// New tokens of each row.
    pub(super) n_new: Vec<usize>,
}

impl Continuation<'_> {
    /// Makes room in every row.
    pub(super) fn reserve(&mut self) {
        for (row, &n) in self.rows.iter_mut().zip(&self.n_new) {
            row.reserve(&self.shape, n);
        }
    }

    /// Keys of the longest row, the new ones included.
    pub(super) fn n_keys_max(&self) -> usize {
        self.rows.iter().zip(&self.n_new).map(|(row, n)| row.len + n).max().unwrap_or(0)
    }

    /// Stores the new tokens' keys and values of a layer.
    ///
    /// # Shapes
    /// qkv: [N, (H + 2·G)·K]; `first_head` = H.
    pub(super) fn store(&mut self, layer: usize, qkv: &Tensor, first_head: usize) {
        let PageLayout { g, d_head, .. } = self.shape.layout;
        let n_heads_stored = first_head + 2 * g;
        let (mut first, width) = (0, n_heads_stored * d_head);
        let (shape, rows) = (&self.shape, self.rows.iter_mut().zip(&self.n_new));
        let rows = rows.map(|(row, &n)| {
            let data = qkv.view().slice(first * width..(first + n) * width);
            first += n;
            row.storing(shape, layer, Heads { data, n_heads_stored, first_head }, n)
        });
        shape.device.kernels().store_in_pages(rows.collect());
    }

    /// The rows of a layer as its new queries see them.
    pub(super) fn own(&self, layer: usize) -> Vec<PagedRow<'_>> {
        let rows = self.rows.iter().zip(&self.n_new);
        rows.map(|(row, &n)| row.of_layer(&self.shape, layer, n, row.len..row.len + n)).collect()
    }

    /// The sources of a layer as the new queries see them.
    pub(super) fn cross(&self, layer: usize) -> Vec<PagedRow<'_>> {
        let rows = self.sources.iter().zip(&self.n_new);
        rows.map(|(row, &n)| row.of_layer(&self.shape, layer, n, 0..row.len)).collect()
    }

    /// Counts the new tokens that every layer has stored by now.
    pub(super) fn advance(&mut self) {
        for (row, &n) in self.rows.iter_mut().zip(&self.n_new) {
            row.advance(n);
        }
    }
}
