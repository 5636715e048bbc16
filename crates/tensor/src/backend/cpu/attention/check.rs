//! Whether a call keeps its contract. The kernels rely on it: they check nothing again.

use super::inputs::{Inputs, QueryLines};
use super::visible;
use crate::backend::{Attention, AttentionBackward, AttentionGradients, AttentionSizes, Heads, PagedAttention};

/// # Panics
/// When a tensor does not have the size that the call states.
pub(super) fn forward(call: &Attention<'_>) {
    inputs(&Inputs::of_forward(call));
    let sizes = &call.sizes;
    len("out", call.out.len(), sizes.b * sizes.t * sizes.h * sizes.d_head);
    len("log_sum_exp", call.log_sum_exp.len(), sizes.b * sizes.h * sizes.t);
}

/// # Panics
/// When a tensor does not have the size that the call states.
pub(super) fn backward(call: &AttentionBackward<'_>) {
    inputs(&Inputs::of_backward(call));
    let sizes = &call.sizes;
    let (n_out, n_keys) = (sizes.b * sizes.t * sizes.h * sizes.d_head, sizes.b * sizes.s * 2 * sizes.g * sizes.d_head);
    len("out", call.out.len(), n_out);
    len("dout", call.dout.len(), n_out);
    len("log_sum_exp", call.log_sum_exp.len(), sizes.b * sizes.h * sizes.t);
    match &call.into {
        AttentionGradients::Fused(into) => {
            assert_eq!(sizes.t, sizes.s, "one tensor of queries, keys and values needs as many queries as keys");
            len("the gradient", into.len(), n_out + n_keys);
        }
        AttentionGradients::Cross { dq, dkv } => {
            len("dq", dq.len(), n_out);
            len("dkv", dkv.len(), n_keys);
        }
    }
    if let Some(dbias) = &call.dbias {
        let bias = call.bias.expect("the gradient of a bias needs the bias");
        len("dbias", dbias.len(), sizes.h * bias.n_offsets);
    }
}

/// # Panics
/// When a tensor does not have the size that the call states.
pub(super) fn paged(call: &PagedAttention<'_>) {
    call.check();
    let PagedAttention { q, mask, bias, .. } = *call;
    let sizes = call.sizes();
    lines(&QueryLines { sizes, q, mask, bias });
    len("out", call.out.len(), sizes.b * sizes.t * sizes.h * sizes.d_head);
}

fn inputs(inputs: &Inputs<'_>) {
    lines(&inputs.lines);
    let sizes = &inputs.lines.sizes;
    heads("k", &inputs.k, sizes, [sizes.s, sizes.g]);
    heads("v", &inputs.v, sizes, [sizes.s, sizes.g]);
}

fn heads(name: &str, heads: &Heads<'_>, sizes: &AttentionSizes, [n_rows, n_heads]: [usize; 2]) {
    assert!(heads.first_head + n_heads <= heads.n_heads_stored, "{name}: more heads than are stored");
    len(name, heads.data.len(), sizes.b * n_rows * heads.n_heads_stored * sizes.d_head);
}

fn lines(lines: &QueryLines<'_>) {
    let sizes = &lines.sizes;
    assert!(sizes.d_head > 0, "a head needs at least one feature");
    assert!(
        sizes.g > 0 && sizes.h.is_multiple_of(sizes.g),
        "{} query heads cannot share {} key/value heads evenly",
        sizes.h,
        sizes.g
    );
    heads("q", &lines.q, sizes, [sizes.t, sizes.h]);
    assert!(sizes.cap.is_none() || lines.bias.is_none(), "a capped score takes no bias");
    mask(lines);
    if lines.bias.is_some() {
        bias(lines);
    }
}

fn mask(lines: &QueryLines<'_>) {
    let (sizes, mask) = (&lines.sizes, &lines.mask);
    let optional = [
        ("query_offsets", mask.query_offsets, sizes.b),
        ("key_lens", mask.key_lens, sizes.b),
        ("prefix_lens", mask.prefix_lens, sizes.b),
        ("query_segments", mask.query_segments, sizes.b * sizes.t),
        ("key_segments", mask.key_segments, sizes.b * sizes.s),
    ];
    for (name, values, expected) in optional {
        if let Some(values) = values {
            len(name, values.len(), expected);
        }
    }
    let both = mask.query_segments.is_none() || mask.key_segments.is_some();
    assert!(both, "query segments need key segments");
}

/// Every offset between a query and a key that it sees must be stored.
fn bias(lines: &QueryLines<'_>) {
    let (sizes, Some(bias)) = (&lines.sizes, &lines.bias) else { return };
    len("the bias", bias.values.len(), sizes.h * bias.n_offsets);
    for row in 0..sizes.b {
        let offset = visible::offset(&lines.mask, row);
        for (t, span) in visible::spans(sizes, &lines.mask, row, 0..sizes.t).iter().enumerate() {
            let covered = span.is_empty()
                || (bias.origin + span.first >= offset + t && bias.origin + span.end <= offset + t + bias.n_offsets);
            assert!(
                covered,
                "the bias must cover the offset of every visible key (row {row}, query {t}, keys {span:?})"
            );
        }
    }
}

fn len(name: &str, found: usize, expected: usize) {
    assert_eq!(found, expected, "attention: {name} has {found} elements, expected {expected}");
}
