//! y = softmax(s · q·kᵀ + bias, over the visible keys) · v for every head; the scores may be soft-capped.
//!
//! One pass over the keys; nothing of size T × S is ever kept. The backward pass computes the probabilities again from
//! the saved logarithm of each query's sum.
//!
//! # Source
//! Dao et al., "FlashAttention", arXiv 2205.14135; Dao, "FlashAttention-2", arXiv 2307.08691 (the backward pass);
//! Ainslie et al., "GQA", arXiv 2305.13245 (grouped heads); Gemma Team, "Gemma 2", arXiv 2408.00118, section 2 (soft caps).

use super::check::{Checker, Input};
use crate::backend::{
    Attention, AttentionBackward, AttentionGradients, AttentionSizes, Heads, Mask, OffsetBias, Visibility,
};
use crate::dtype::{DType, View};
use crate::shape::{self, Shape};
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use std::sync::Arc;

/// The documents that queries [B, T] and keys [B, S] belong to.
pub type Segments = (Arc<[u32]>, Arc<[u32]>);

/// Who sees whom, owned, so that the backward pass can see it too.
#[derive(Clone, Debug)]
pub struct MaskSpec {
    /// By position.
    pub visibility: Visibility,
    /// `[B]`: position of each row's first query; 0 when absent.
    pub query_offsets: Option<Arc<[u32]>>,
    /// `[B]`: real keys of each row; all when absent.
    pub key_lens: Option<Arc<[u32]>>,
    /// `[B]`: see [`Visibility::Prefix`].
    pub prefix_lens: Option<Arc<[u32]>>,
    /// [B, T] for queries and [B, S] for keys: only tokens of the same document see each other.
    pub segments: Option<Segments>,
}

impl MaskSpec {
    /// A mask by position alone.
    pub fn new(visibility: Visibility) -> Self {
        Self { visibility, query_offsets: None, key_lens: None, prefix_lens: None, segments: None }
    }

    /// Whether query `i` of a row sees its key `j`.
    pub fn sees(&self, sizes: &AttentionSizes, row: usize, i: usize, j: usize) -> bool {
        let position = i + self.query_offsets.as_ref().map_or(0, |offsets| offsets[row] as usize);
        let prefix = self.prefix_lens.as_ref().map_or(0, |lens| lens[row] as usize);
        let by_position = match self.visibility {
            Visibility::Full => true,
            Visibility::Causal => j <= position,
            Visibility::Prefix => j <= position || j < prefix,
            Visibility::Window { tokens } => j <= position && j + tokens > position,
        };
        let is_real = self.key_lens.as_ref().is_none_or(|lens| j < lens[row] as usize);
        let same = |(q, k): &(Arc<[u32]>, Arc<[u32]>)| q[row * sizes.t + i] == k[row * sizes.s + j];
        by_position && is_real && self.segments.as_ref().is_none_or(same)
    }

    fn borrow(&self) -> Mask<'_> {
        Mask {
            visibility: self.visibility,
            query_offsets: self.query_offsets.as_deref(),
            key_lens: self.key_lens.as_deref(),
            prefix_lens: self.prefix_lens.as_deref(),
            query_segments: self.segments.as_ref().map(|(queries, _)| queries.as_ref()),
            key_segments: self.segments.as_ref().map(|(_, keys)| keys.as_ref()),
        }
    }
}

/// Sizes, mask and bias of an attention.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Sizes and scale.
    pub sizes: AttentionSizes,
    /// Who sees whom.
    pub mask: MaskSpec,
    /// [H, R] in f32, with the index of offset 0: see [`OffsetBias`].
    pub bias: Option<(Var, usize)>,
}

/// Where queries, keys and values come from.
#[derive(Clone, Debug)]
pub enum Queries {
    /// One tensor [B·T, (H + 2·G)·K]: queries, keys, values side by side.
    Fused(Var),
    /// Queries [B·T, H·K], and keys and values side by side [B·S, 2·G·K]: cross attention, or a cache.
    Cross(Var, Var),
}

/// The tensors of a [`Queries`] with the heads that each role has in them.
struct Saved {
    q: Tensor,
    kv: Option<Tensor>,
}

impl Saved {
    fn heads(&self, sizes: &AttentionSizes) -> [Heads<'_>; 3] {
        let AttentionSizes { h, g, .. } = *sizes;
        let heads = |data, n_heads_stored, first_head| Heads { data, n_heads_stored, first_head };
        match &self.kv {
            None => [0, h, h + g].map(|first| heads(self.q.view(), h + 2 * g, first)),
            Some(kv) => [heads(self.q.view(), h, 0), heads(kv.view(), 2 * g, 0), heads(kv.view(), 2 * g, g)],
        }
    }
}

/// Attention of every head.
///
/// # Shapes
/// Inputs as in [`Queries`]; result: [B·T, H·K] in the storage type of the queries.
///
/// # Cost
/// Memory linear in T and S, both ways.
pub fn attention(tape: &Tape<'_>, inputs: Queries, spec: &AttentionSpec) -> Var {
    let sizes = spec.sizes;
    let AttentionSizes { b, t, h, d_head, .. } = sizes;
    let (q, kv) = match inputs {
        Queries::Fused(qkv) => (qkv, None),
        Queries::Cross(q, kv) => (q, Some(kv)),
    };
    let (q_slot, kv_slot) = (q.slot(), kv.as_ref().and_then(Var::slot));
    let saved = Saved { q: q.into_tensor(), kv: kv.map(Var::into_tensor) };
    check_sizes(&saved, &sizes, spec.bias.is_some());
    let mut out = Tensor::scratch(tape.device(), [b * t, h * d_head], saved.q.dtype());
    let mut log_sum_exp = Tensor::scratch(tape.device(), [b, h, t], DType::F32);
    let [q, k, v] = saved.heads(&sizes);
    let bias = borrow_bias(spec);
    let (mask, log_sum_exp_view) = (spec.mask.borrow(), log_sum_exp.view_mut().into_f32());
    let call = Attention { sizes, q, k, v, mask, bias, out: out.view_mut(), log_sum_exp: log_sum_exp_view };
    tape.kernels().attention(call);
    let bias_slot = spec.bias.as_ref().and_then(|(bias, _)| bias.slot());
    let (spec, y) = (spec.clone(), out.clone());
    tape.push(out, &[q_slot, kv_slot, bias_slot], move |sink, dout| {
        let device = sink.device().clone();
        let mut dq = Tensor::scratch(&device, saved.q.shape(), saved.q.dtype());
        let mut dkv = saved.kv.as_ref().map(|kv| Tensor::scratch(&device, kv.shape(), kv.dtype()));
        let mut dbias = bias_slot.map(|_| bias_gradient(&spec));
        let into = match &mut dkv {
            None => AttentionGradients::Fused(dq.view_mut()),
            Some(dkv) => AttentionGradients::Cross { dq: dq.view_mut(), dkv: dkv.view_mut() },
        };
        let [q, k, v] = saved.heads(&sizes);
        let mut dbias_view = dbias.as_mut().map(Tensor::view_mut);
        device.kernels().attention_backward(AttentionBackward {
            sizes,
            q,
            k,
            v,
            mask: spec.mask.borrow(),
            bias: borrow_bias(&spec),
            out: y.view(),
            log_sum_exp: log_sum_exp.view().f32(),
            dout: dout.view(),
            into,
            dbias: dbias_view.as_mut().map(|view| view.f32()),
        });
        sink.add(q_slot, dq);
        if let Some(dkv) = dkv {
            sink.add(kv_slot, dkv);
        }
        if let Some(dbias) = dbias {
            sink.add(bias_slot, dbias);
        }
    })
}

fn check_sizes(saved: &Saved, sizes: &AttentionSizes, has_bias: bool) {
    let AttentionSizes { b, t, s, h, g, d_head, .. } = *sizes;
    let check = |name: &str, names: &str, tensor: &Tensor, expected: [usize; 2]| {
        let (found, expected) = (tensor.shape(), Shape::from(expected));
        let sizes = format!("B {b}, T {t}, S {s}, H {h}, G {g}, K {d_head}");
        let (wanted, fits) = (shape::named(names, expected), found.n_elements() == expected.n_elements());
        assert!(fits, "attention of {sizes} takes {name} {wanted}, found {}", shape::named(names, found));
    };
    match &saved.kv {
        None => {
            assert_eq!(t, s, "queries, keys and values side by side are equally many: T {t}, S {s}");
            check("qkv", "B·T.. (H+2·G)·K", &saved.q, [b * t, (h + 2 * g) * d_head]);
        }
        Some(kv) => {
            check("q", "B·T.. H·K", &saved.q, [b * t, h * d_head]);
            check("kv", "B·S.. 2·G·K", kv, [b * s, 2 * g * d_head]);
        }
    }
    assert!(sizes.cap.is_none() || !has_bias, "a capped score takes no bias");
    assert!(h.is_multiple_of(g), "{h} query heads H cannot share {g} key/value heads G evenly");
}

fn borrow_bias(spec: &AttentionSpec) -> Option<OffsetBias<'_>> {
    spec.bias.as_ref().map(offset_bias_of)
}

/// A bias [H, R] with the index of offset 0.
pub(super) fn offset_bias_of((bias, origin): &(Var, usize)) -> OffsetBias<'_> {
    let [_, n_offsets] = shape::sizes(&[("add bias", "H R", bias.tensor().shape())]);
    let View::F32(values) = bias.tensor().view() else { panic!("an offset bias is f32, found {:?}", bias.tensor()) };
    OffsetBias { values, n_offsets, origin: *origin }
}

fn bias_gradient(spec: &AttentionSpec) -> Tensor {
    let (bias, _) = spec.bias.as_ref().expect("called only when there is a bias");
    Tensor::zeros(bias.tensor().device(), bias.tensor().shape(), DType::F32)
}

/// The f64 formula: every score, every probability.
fn formula(
    sizes: &AttentionSizes,
    mask: &MaskSpec,
    qkv: [&dyn Fn(usize, usize, usize) -> f64; 3],
    bias: &dyn Fn(usize, isize) -> f64,
) -> Vec<f64> {
    let AttentionSizes { b, t, s, h, g, d_head, scale, cap } = *sizes;
    let [q, k, v] = qkv;
    let mut out = Vec::with_capacity(b * t * h * d_head);
    for (row, i, head) in (0..b).flat_map(|r| (0..t).flat_map(move |i| (0..h).map(move |head| (r, i, head)))) {
        let kv_head = head / (h / g);
        let seen: Vec<usize> = (0..s).filter(|&j| mask.sees(sizes, row, i, j)).collect();
        let offset = mask.query_offsets.as_ref().map_or(0, |offsets| offsets[row] as isize);
        let score = |&j: &usize| {
            let dot: f64 = (0..d_head).map(|e| q(row * t + i, head, e) * k(row * s + j, kv_head, e)).sum();
            let score = dot * f64::from(scale);
            let capped = cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
            capped + bias(head, j as isize - i as isize - offset)
        };
        let scores: Vec<f64> = seen.iter().map(score).collect();
        let weights = if seen.is_empty() { vec![] } else { super::softmax::formula(&scores) };
        out.extend(
            (0..d_head).map(|e| seen.iter().zip(&weights).map(|(&j, p)| p * v(row * s + j, kv_head, e)).sum::<f64>()),
        );
    }
    out
}

fn masks() -> Vec<(&'static str, MaskSpec)> {
    let new = MaskSpec::new;
    let segments: Arc<[u32]> = Arc::from([1, 1, 1, 2, 2, 2, 2, 3, 3, 1, 1, 2, 2, 2, 3, 3, 0, 0]);
    vec![
        ("causal", new(Visibility::Causal)),
        ("full", new(Visibility::Full)),
        ("window", new(Visibility::Window { tokens: 3 })),
        ("prefix", MaskSpec { prefix_lens: Some(Arc::from([4, 0])), ..new(Visibility::Prefix) }),
        ("padding", MaskSpec { key_lens: Some(Arc::from([9, 5])), ..new(Visibility::Full) }),
        ("documents", MaskSpec { segments: Some((segments.clone(), segments)), ..new(Visibility::Causal) }),
    ]
}

pub(super) fn check(checker: &mut Checker) {
    let (b, t, h, g, d_head) = (2, 9, 4, 2, 6);
    let plain = AttentionSizes { b, t, s: t, h, g, d_head, scale: 0.4, cap: None };
    let stored = h + 2 * g;
    let with_cap = ("window, capped", MaskSpec::new(Visibility::Window { tokens: 3 }));
    for (name, mask) in masks().into_iter().chain([with_cap]) {
        let sizes = AttentionSizes { cap: name.ends_with("capped").then_some(0.8), ..plain };
        let spec = AttentionSpec { sizes, mask: mask.clone(), bias: None };
        let at = |x: &[f64], row: usize, head: usize, e: usize| x[(row * stored + head) * d_head + e];
        let expected = |x: &[Vec<f64>]| {
            let x = &x[0];
            let (q, k, v) = (
                |row, head, e| at(x, row, head, e),
                |row, head, e| at(x, row, h + head, e),
                |row, head, e| at(x, row, h + g + head, e),
            );
            formula(&sizes, &mask, [&q, &k, &v], &|_, _| 0.0)
        };
        let operation = move |tape: &Tape<'_>, x: &[Var]| attention(tape, Queries::Fused(x[0].clone()), &spec);
        checker.case(&format!("attention, {name}"), &[Input::new([b * t, stored * d_head])], operation, expected);
    }
    check_cross(checker);
}

/// Cross attention with padded keys, a query offset and a relative bias.
fn check_cross(checker: &mut Checker) {
    let (b, t, s, h, g, d_head) = (2, 3, 7, 2, 1, 5);
    let sizes = AttentionSizes { b, t, s, h, g, d_head, scale: 0.5, cap: None };
    let (n_offsets, origin) = (t + s + 3, t + 2);
    let (key_lens, query_offsets) = (Some(Arc::from([7, 4])), Some(Arc::from([2, 0])));
    for visibility in [Visibility::Full, Visibility::Causal] {
        let mask =
            MaskSpec { key_lens: key_lens.clone(), query_offsets: query_offsets.clone(), ..MaskSpec::new(visibility) };
        let given = mask.clone();
        let operation = move |tape: &Tape<'_>, x: &[Var]| {
            let spec = AttentionSpec { sizes, mask: given.clone(), bias: Some((x[2].clone(), origin)) };
            attention(tape, Queries::Cross(x[0].clone(), x[1].clone()), &spec)
        };
        let expected = |x: &[Vec<f64>]| {
            let q = |row, head, e| x[0][(row * h + head) * d_head + e];
            let k = |row, head, e| x[1][(row * 2 * g + head) * d_head + e];
            let v = |row, head, e| x[1][(row * 2 * g + g + head) * d_head + e];
            let bias = |head: usize, offset: isize| x[2][head * n_offsets + (origin as isize + offset) as usize];
            formula(&sizes, &mask, [&q, &k, &v], &bias)
        };
        let inputs = [Input::new([b * t, h * d_head]), Input::new([b * s, 2 * g * d_head]), Input::f32([h, n_offsets])];
        checker.case(&format!("cross attention with bias, {visibility:?}"), &inputs, operation, expected);
    }
}
