//! Reference attention: for each query the scores of all keys, their softmax, the weighted sum of the values.

use super::pointwise::{slope_of_cap, soft_capped};
use crate::backend::{
    Attention, AttentionBackward, AttentionGradients, AttentionSizes, Heads, Mask, OffsetBias, Visibility,
};
use crate::dtype::ViewMut;

/// What forward and backward read alike.
struct Inputs<'a> {
    sizes: AttentionSizes,
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    mask: Mask<'a>,
    bias: Option<OffsetBias<'a>>,
}

/// One query: its row, its place in the row, its head.
#[derive(Clone, Copy)]
struct Query {
    row: usize,
    t: usize,
    head: usize,
}

pub(super) fn attention(mut call: Attention<'_>) {
    let Attention { sizes, q, k, v, mask, bias, .. } = call;
    let inputs = Inputs { sizes, q, k, v, mask, bias };
    for query in queries(sizes) {
        let scores = inputs.scores(query);
        let log_sum_exp = log_sum_exp(&scores);
        for d in 0..sizes.d_head {
            let sum = visible(&scores)
                .map(|(s, score)| (score - log_sum_exp).exp() * inputs.value(query, s, d))
                .fold(0.0, |a, b| a + b);
            call.out.set(inputs.out_at(query, d), sum);
        }
        call.log_sum_exp[inputs.statistic_at(query)] = log_sum_exp;
    }
}

pub(super) fn attention_backward(mut call: AttentionBackward<'_>) {
    let AttentionBackward { sizes, q, k, v, mask, bias, out, dout, .. } = call;
    let inputs = Inputs { sizes, q, k, v, mask, bias };
    let mut dq = vec![0.0; sizes.b * sizes.t * sizes.h * sizes.d_head];
    let mut dk = vec![0.0; sizes.b * sizes.s * sizes.g * sizes.d_head];
    let mut dv = dk.clone();
    for query in queries(sizes) {
        let scores = inputs.scores(query);
        let log_sum_exp = call.log_sum_exp[inputs.statistic_at(query)];
        let dout_at = |d| dout.get(inputs.out_at(query, d));
        let dot = (0..sizes.d_head).map(|d| dout_at(d) * out.get(inputs.out_at(query, d))).fold(0.0, |a, b| a + b);
        for (s, score) in visible(&scores) {
            let p = (score - log_sum_exp).exp();
            let dp = (0..sizes.d_head).map(|d| dout_at(d) * inputs.value(query, s, d)).fold(0.0, |a, b| a + b);
            let dscore = p * (dp - dot);
            // A capped score has no bias, so it is all of the logit.
            let dproduct = sizes.scale * sizes.cap.map_or(dscore, |cap| dscore * slope_of_cap(score, cap));
            for d in 0..sizes.d_head {
                let (at_q, at_k) = (inputs.out_at(query, d), inputs.key_gradient_at(query, s, d));
                dq[at_q] += dproduct * inputs.key(query, s, d);
                dk[at_k] += dproduct * inputs.query(query, d);
                dv[at_k] += p * dout_at(d);
            }
            if let Some(dbias) = call.dbias.as_deref_mut() {
                let bias = bias.expect("the gradient of a bias needs the bias");
                dbias[inputs.bias_at(&bias, query, s)] += dscore;
            }
        }
    }
    write_gradients(sizes, call.into, &dq, &dk, &dv);
}

fn queries(sizes: AttentionSizes) -> impl Iterator<Item = Query> {
    let AttentionSizes { b, t, h, .. } = sizes;
    (0..b * t * h).map(move |i| Query { row: i / (t * h), t: i / h % t, head: i % h })
}

/// The scores that are not hidden, with their keys.
fn visible(scores: &[Option<f32>]) -> impl Iterator<Item = (usize, f32)> {
    scores.iter().enumerate().filter_map(|(s, score)| Some((s, (*score)?)))
}

/// ln Σ exp(score), −∞ when every key is hidden.
fn log_sum_exp(scores: &[Option<f32>]) -> f32 {
    let max = visible(scores).map(|(_, score)| score).fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY && !visible(scores).any(|(_, score)| score.is_nan()) {
        return max;
    }
    max + visible(scores).map(|(_, score)| (score - max).exp()).fold(0.0, |a, b| a + b).ln()
}

impl Inputs<'_> {
    /// The score of each key, none where it is hidden.
    fn scores(&self, query: Query) -> Vec<Option<f32>> {
        (0..self.sizes.s).map(|s| self.sees(query, s).then(|| self.score(query, s))).collect()
    }

    fn score(&self, query: Query, s: usize) -> f32 {
        let dot = (0..self.sizes.d_head).map(|d| self.query(query, d) * self.key(query, s, d)).fold(0.0, |a, b| a + b);
        let bias = self.bias.map_or(0.0, |bias| bias.values[self.bias_at(&bias, query, s)]);
        let score = self.sizes.scale * dot;
        self.sizes.cap.map_or(score, |cap| soft_capped(score, cap)) + bias
    }

    fn sees(&self, query: Query, s: usize) -> bool {
        let mask = &self.mask;
        let position = self.position(query);
        let by_position = match mask.visibility {
            Visibility::Causal => s <= position,
            Visibility::Full => true,
            Visibility::Prefix => s <= position || mask.prefix_lens.is_some_and(|lens| s < lens[query.row] as usize),
            Visibility::Window { tokens } => s <= position && position < s + tokens,
        };
        let is_real = mask.key_lens.is_none_or(|lens| s < lens[query.row] as usize);
        let same_document = mask.query_segments.is_none_or(|segments| {
            let of_keys = mask.key_segments.expect("query segments need key segments");
            segments[query.row * self.sizes.t + query.t] == of_keys[query.row * self.sizes.s + s]
        });
        by_position && is_real && same_document
    }

    /// Position of the query in its row's sequence of keys.
    fn position(&self, query: Query) -> usize {
        self.mask.query_offsets.map_or(0, |offsets| offsets[query.row] as usize) + query.t
    }

    fn bias_at(&self, bias: &OffsetBias<'_>, query: Query, s: usize) -> usize {
        let at = (bias.origin + s).checked_sub(self.position(query)).filter(|&at| at < bias.n_offsets);
        query.head * bias.n_offsets + at.expect("the bias must cover the offset of every visible key")
    }

    fn query(&self, query: Query, d: usize) -> f32 {
        self.element(&self.q, query.row * self.sizes.t + query.t, query.head, d)
    }

    fn key(&self, query: Query, s: usize, d: usize) -> f32 {
        self.element(&self.k, query.row * self.sizes.s + s, self.kv_head(query), d)
    }

    fn value(&self, query: Query, s: usize, d: usize) -> f32 {
        self.element(&self.v, query.row * self.sizes.s + s, self.kv_head(query), d)
    }

    fn element(&self, heads: &Heads<'_>, row: usize, head: usize, d: usize) -> f32 {
        heads.data.get((row * heads.n_heads_stored + heads.first_head + head) * self.sizes.d_head + d)
    }

    fn kv_head(&self, query: Query) -> usize {
        query.head / (self.sizes.h / self.sizes.g)
    }

    /// Index into [B, T, H, K].
    fn out_at(&self, query: Query, d: usize) -> usize {
        ((query.row * self.sizes.t + query.t) * self.sizes.h + query.head) * self.sizes.d_head + d
    }

    /// Index into [B, H, T].
    fn statistic_at(&self, query: Query) -> usize {
        (query.row * self.sizes.h + query.head) * self.sizes.t + query.t
    }

    /// Index into [B, S, G, K].
    fn key_gradient_at(&self, query: Query, s: usize, d: usize) -> usize {
        ((query.row * self.sizes.s + s) * self.sizes.g + self.kv_head(query)) * self.sizes.d_head + d
    }
}

/// Copies dq [B·T, H·K], dk and dv [B·S, G·K] to where they belong.
fn write_gradients(sizes: AttentionSizes, into: AttentionGradients<'_>, dq: &[f32], dk: &[f32], dv: &[f32]) {
    let (q_width, kv_width) = (sizes.h * sizes.d_head, sizes.g * sizes.d_head);
    match into {
        AttentionGradients::Fused(mut into) => {
            assert_eq!(sizes.t, sizes.s, "one tensor of queries, keys and values needs as many queries as keys");
            let width = q_width + 2 * kv_width;
            write_columns(&mut into, width, 0, dq, q_width);
            write_columns(&mut into, width, q_width, dk, kv_width);
            write_columns(&mut into, width, q_width + kv_width, dv, kv_width);
        }
        AttentionGradients::Cross { dq: mut into_q, dkv: mut into_kv } => {
            write_columns(&mut into_q, q_width, 0, dq, q_width);
            write_columns(&mut into_kv, 2 * kv_width, 0, dk, kv_width);
            write_columns(&mut into_kv, 2 * kv_width, kv_width, dv, kv_width);
        }
    }
}

fn write_columns(into: &mut ViewMut<'_>, stride: usize, first_column: usize, from: &[f32], width: usize) {
    for (i, &value) in from.iter().enumerate() {
        into.set(i / width * stride + first_column + i % width, value);
    }
}
