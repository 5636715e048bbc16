//! As [`attention`](super::attention()), of new queries to keys and values that lie in pages. Nothing flows back.
//!
//! # Source
//! Kwon et al., "PagedAttention", arXiv 2309.06180.

use super::attention::offset_bias_of;
use crate::backend::{AttentionSizes, Heads, Mask, PageLayout, PagedAttention, Visibility};
use crate::dtype::View;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// What all rows of a call have in common.
#[derive(Clone, Debug)]
pub struct PagedSpec {
    /// How a page is laid out.
    pub layout: PageLayout,
    /// Query heads H.
    pub h: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Soft cap of the scaled scores.
    pub cap: Option<f32>,
    /// Which keys a query sees by position.
    pub visibility: Visibility,
    /// [H, R] in f32, with the index of offset 0: see [`OffsetBias`](crate::backend::OffsetBias).
    pub bias: Option<(Var, usize)>,
}

/// One row of queries, and the keys and values that they see.
#[derive(Clone, Debug)]
pub struct PagedRow<'a> {
    /// Its pages, at least as many as its keys need.
    pub pages: Vec<View<'a>>,
    /// Keys in them.
    pub n_keys: u32,
    /// Its queries, the next so many.
    pub n_queries: usize,
    /// Position of its first query among the keys.
    pub position: u32,
}

/// Attention of every head, for rows of any numbers of queries.
///
/// # Shapes
/// q: rows of [N, any number of heads, K], of which the first H are queries; result: [N, H·K] in the storage type of the
/// queries, N = Σ `n_queries`.
pub fn paged_attention(tape: &Tape<'_>, q: &Tensor, spec: &PagedSpec, rows: &[PagedRow<'_>]) -> Var {
    let PageLayout { g, d_head, .. } = spec.layout;
    let n: usize = rows.iter().map(|row| row.n_queries).sum();
    let (h, n_heads_stored) = (spec.h, q.n_elements() / (n * d_head).max(1));
    let mut out = Tensor::scratch(tape.device(), [n, h * d_head], q.dtype());
    let mut first = 0;
    // Rows of equally many queries are one call.
    for rows in rows.chunk_by(|a, b| a.n_queries == b.n_queries) {
        let (b, t) = (rows.len(), rows[0].n_queries);
        let end = first + b * t;
        let width = n_heads_stored * d_head;
        let positions: Vec<u32> = rows.iter().map(|row| row.position).collect();
        let key_lens: Vec<u32> = rows.iter().map(|row| row.n_keys).collect();
        let pages: Vec<Vec<View<'_>>> = rows.iter().map(|row| row.pages.clone()).collect();
        tape.kernels().paged_attention(PagedAttention {
            sizes: AttentionSizes { b, t, s: 0, h, g, d_head, scale: spec.scale, cap: spec.cap },
            layout: spec.layout,
            q: Heads { data: q.view().slice(first * width..end * width), n_heads_stored, first_head: 0 },
            mask: Mask { query_offsets: Some(&positions), key_lens: Some(&key_lens), ..Mask::new(spec.visibility) },
            bias: spec.bias.as_ref().map(offset_bias_of),
            pages: &pages,
            out: out.view_mut().into_slice(first * h * d_head..end * h * d_head),
        });
        first = end;
    }
    tape.push(out, &[], |_, _| ())
}
