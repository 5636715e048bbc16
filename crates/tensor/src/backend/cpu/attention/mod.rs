//! Attention in one pass over the keys, with memory linear in the number of queries and keys.
//!
//! # Source
//! Online softmax: Milakov and Gimelshein, arXiv 1805.02867. Blocks and the backward pass: Dao, Fu, Ermon, Rudra and Ré,
//! "FlashAttention", arXiv 2205.14135, algorithms 1 and 4.

mod backward;
mod check;
mod forward;
mod gradients;
mod inputs;
mod logits;
mod output;
mod record;
mod scratch;
mod source;
mod store;
mod visible;
mod weighing;
mod words;

#[cfg(test)]
mod paged_tests;
#[cfg(test)]
mod tests;

use self::backward::Backward;
pub(super) use self::forward::Workspace;
pub(super) use self::store::store_in_pages;

use self::forward::Forward;
use self::gradients::{Given, Gradients};
use self::inputs::{Inputs, QueryLines, Task};
use self::output::OutputHeads;
use self::source::{InPages, Strided};
use self::words::Words;
use super::Cpu;
use super::isa::Isa;
use super::pool::Pool;
use super::reduce::add_partial_sums;
use super::shared_view::SharedView;
use crate::backend::{Attention, AttentionBackward, AttentionSizes, PagedAttention};
use crate::dtype::{DType, ViewMut};

/// See [`Attention`].
pub(super) fn attention(pool: &Pool, isa: Isa, workspace: &Workspace, call: Attention<'_>) {
    check::forward(&call);
    let inputs = Inputs::of_forward(&call);
    let words = words(isa, &inputs);
    let forward = Forward {
        lines: inputs.lines,
        words,
        source: Strided { inputs: &inputs, words },
        out: heads_of_queries(&inputs.lines, call.out),
        log_sum_exp: Some(SharedView::new(ViewMut::F32(call.log_sum_exp))),
    };
    forward.run(pool, isa, workspace);
}

/// See [`PagedAttention`].
pub(super) fn paged_attention(pool: &Pool, isa: Isa, workspace: &Workspace, call: PagedAttention<'_>) {
    check::paged(&call);
    let PagedAttention { layout, q, mask, bias, pages, .. } = call;
    let lines = QueryLines { sizes: call.sizes(), q, mask, bias };
    let words = Words::new(isa, layout.dtype == DType::Bf16);
    let source = InPages { layout, pages, words };
    let forward = Forward { lines, words, source, out: heads_of_queries(&lines, call.out), log_sum_exp: None };
    forward.run(pool, isa, workspace);
}

fn heads_of_queries(lines: &QueryLines<'_>, out: ViewMut<'_>) -> OutputHeads {
    OutputHeads { data: SharedView::new(out), n_heads_stored: lines.sizes.h, first_head: 0 }
}

/// See [`AttentionBackward`].
pub(super) fn attention_backward(cpu: &Cpu, call: AttentionBackward<'_>) {
    check::backward(&call);
    let inputs = Inputs::of_backward(&call);
    let words = words(cpu.isa, &inputs);
    let AttentionSizes { b, h, g, .. } = inputs.lines.sizes;
    let n_offsets = inputs.lines.bias.filter(|_| call.dbias.is_some()).map_or(0, |bias| bias.n_offsets);
    // One for each row, added up in the order of the rows.
    let mut dbiases = cpu.attention.dbiases.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    dbiases.resize(b * h * n_offsets, 0.0);
    let given = Given { out: call.out, log_sum_exp: call.log_sum_exp, dout: call.dout };
    let gradients = Gradients::new(&inputs.lines, call.into, &mut dbiases);
    cpu.pool.run(b * g, &|i| {
        let task = Task { row: i / g, kv_head: i % g, lines: 0..inputs.lines.n_lines() };
        cpu.isa.run(Backward { inputs: &inputs, words, task: &task, given: &given, gradients: &gradients });
    });
    if let Some(dbias) = call.dbias {
        add_partial_sums(cpu, &dbiases, h * n_offsets, 0, dbias, true);
    }
}

/// Products are of bf16 as soon as one input is, where the processor has them.
fn words(isa: Isa, inputs: &Inputs<'_>) -> Words {
    Words::new(isa, [inputs.lines.q, inputs.k, inputs.v].iter().any(|heads| heads.data.dtype() == DType::Bf16))
}
