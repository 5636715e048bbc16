//! Keys and values of what was read and written so far, so that a new token costs one token's work.

use super::transformer::Rows;
use genera_tensor::backend::CopyColumns;
use genera_tensor::{DType, Device, Tensor, Var};
use std::sync::Arc;

/// The cache of one decoder stack: every row's keys and values in every layer.
#[derive(Debug)]
pub struct StackCache {
    device: Device,
    /// A layer: [R, capacity, 2·G·K], keys then values of each token.
    layers: Vec<Tensor>,
    lens: Vec<u32>,
    capacity: usize,
    width: usize,
}

impl StackCache {
    /// An empty cache for `n_rows` rows of up to `capacity` tokens.
    pub(super) fn new(
        device: &Device,
        n_layers: usize,
        n_rows: usize,
        capacity: usize,
        width: usize,
        dtype: DType,
    ) -> Self {
        let layer = |_| Tensor::scratch(device, [n_rows, capacity, width], dtype);
        let layers = (0..n_layers).map(layer).collect();
        Self { device: device.clone(), layers, lens: vec![0; n_rows], capacity, width }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.lens.len()
    }

    /// Tokens held of each row.
    pub fn lens(&self) -> &[u32] {
        &self.lens
    }

    /// Tokens that fit in a row.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The cache with row i taken from row `from[i]` of this one, and room for `capacity` tokens a row.
    ///
    /// Beam search reorders rows this way, finished requests leave, and a full cache grows.
    #[must_use]
    pub fn rearranged(&self, from: &[usize], capacity: usize) -> Self {
        let rows: Vec<_> = from.iter().map(|&row| (self, row)).collect();
        Self::gathered(&rows, capacity)
    }

    /// A cache of rows taken from other caches of the same model, with room for `capacity` tokens a row.
    ///
    /// # Panics
    /// When there is no row, or one holds more than `capacity` tokens.
    #[must_use]
    pub fn gathered(rows: &[(&StackCache, usize)], capacity: usize) -> Self {
        let (first, _) = *rows.first().expect("a cache has at least one row");
        let (n_layers, width) = (first.layers.len(), first.width);
        let dtype = first.layers.first().map_or(DType::F32, Tensor::dtype);
        let mut new = Self::new(&first.device, n_layers, rows.len(), capacity, width, dtype);
        new.lens = rows.iter().map(|(cache, row)| cache.lens[*row]).collect();
        for (layer, into) in new.layers.iter_mut().enumerate() {
            for (to, (cache, row)) in rows.iter().enumerate() {
                let n_tokens = cache.lens[*row] as usize;
                assert!(n_tokens <= capacity, "a row of {n_tokens} tokens does not fit into a cache for {capacity}");
                let src = row * cache.capacity * width..(row * cache.capacity + n_tokens) * width;
                let dst = to * capacity * width..(to * capacity + n_tokens) * width;
                let dst = into.view_mut().into_slice(dst);
                first.device.kernels().cast(cache.layers[layer].view().slice(src), dst);
            }
        }
        new
    }

    /// Shortens a row to `len` tokens.
    pub fn truncate(&mut self, row: usize, len: u32) {
        self.lens[row] = self.lens[row].min(len);
    }

    /// The rows with the positions at which they continue the cache.
    pub(super) fn placed(&self, rows: &Rows) -> Rows {
        assert_eq!(rows.b, self.n_rows(), "the cache has {} rows, the input {}", self.n_rows(), rows.b);
        let last = |&len: &u32| len + rows.t as u32 - 1;
        let needed = self.lens.iter().map(last).max().map_or(0, |last| last as usize + 1);
        assert!(needed <= self.capacity, "the cache holds {} tokens a row, {needed} are needed", self.capacity);
        let positions = self.lens.iter().flat_map(|&len| len..len + rows.t as u32).collect();
        Rows { positions, ..rows.clone() }
    }

    pub(super) fn layer(&mut self, layer: usize) -> KeyValues<'_> {
        KeyValues { data: &mut self.layers[layer], lens: &self.lens, capacity: self.capacity, width: self.width }
    }

    /// Counts the tokens that every layer has stored by now.
    pub(super) fn advance(&mut self, rows: &Rows) {
        for (row, len) in self.lens.iter_mut().enumerate() {
            *len += rows.lens.as_ref().map_or(rows.t as u32, |lens| lens[row]);
        }
    }
}

/// One layer of a [`StackCache`].
pub(super) struct KeyValues<'c> {
    data: &'c mut Tensor,
    lens: &'c [u32],
    capacity: usize,
    width: usize,
}

impl KeyValues<'_> {
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Stores the columns of `qkv` from `first` on behind what each row holds, and returns all keys and values.
    ///
    /// # Shapes
    /// qkv: [B·T, first + 2·G·K]; result: [B·capacity, 2·G·K].
    pub(super) fn append(&mut self, qkv: &Tensor, first: usize) -> Var {
        let t = qkv.shape().n_rows() / self.lens.len();
        let stride = first + self.width;
        for (row, &len) in self.lens.iter().enumerate() {
            let start = (row * self.capacity + len as usize) * self.width;
            let kernels = qkv.device().kernels();
            kernels.copy_columns(CopyColumns {
                rows: t,
                width: self.width,
                src: qkv.view().slice(row * t * stride..(row + 1) * t * stride),
                src_stride: stride,
                src_column: first,
                dst: self.data.view_mut().into_slice(start..start + t * self.width),
                dst_stride: self.width,
                dst_column: 0,
                accumulate: false,
            });
        }
        Var::constant(self.data.reshape([self.lens.len() * self.capacity, self.width]))
    }
}

/// Keys and values of the source in every decoder layer; they do not grow.
#[derive(Clone, Debug)]
pub struct CrossCache {
    pub(super) layers: Vec<Tensor>,
    pub(super) s: usize,
    pub(super) lens: Option<Arc<[u32]>>,
}

impl CrossCache {
    pub(super) fn layer(&self, layer: usize) -> Var {
        Var::constant(self.layers[layer].clone())
    }

    pub(super) fn s(&self) -> usize {
        self.s
    }

    pub(super) fn lens(&self) -> Option<Arc<[u32]>> {
        self.lens.clone()
    }

    /// The cache with row i taken from row `from[i]` of this one.
    #[must_use]
    pub fn rearranged(&self, from: &[usize]) -> Self {
        let rows: Vec<_> = from.iter().map(|&row| (self, row)).collect();
        Self::gathered(&rows)
    }

    /// A cache of rows taken from other caches of the same model.
    ///
    /// # Panics
    /// When there is no row.
    #[must_use]
    pub fn gathered(rows: &[(&CrossCache, usize)]) -> Self {
        let (first, _) = *rows.first().expect("a cache has at least one row");
        let lens: Arc<[u32]> = rows.iter().map(|(cache, row)| cache.len(*row)).collect();
        let s = lens.iter().copied().max().unwrap_or(0) as usize;
        let layer = |layer: usize| {
            let [_, width] = first.layers[layer].dims();
            let like = &first.layers[layer];
            let mut out = Tensor::scratch(like.device(), [rows.len() * s, width], like.dtype());
            for (to, ((cache, row), &len)) in rows.iter().zip(lens.iter()).enumerate() {
                let n = len as usize * width;
                let src = row * cache.s * width;
                let dst = out.view_mut().into_slice(to * s * width..to * s * width + n);
                like.device().kernels().cast(cache.layers[layer].view().slice(src..src + n), dst);
            }
            out
        };
        Self { layers: (0..first.layers.len()).map(layer).collect(), s, lens: Some(lens) }
    }

    /// Source tokens of a row.
    fn len(&self, row: usize) -> u32 {
        self.lens.as_ref().map_or(self.s as u32, |lens| lens[row])
    }
}

/// What one block may use of the caches.
pub(super) struct LayerCache<'c> {
    pub(super) own: &'c mut KeyValues<'c>,
    pub(super) cross: Option<&'c CrossCache>,
}
