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
mod scratch;
mod visible;
mod words;

#[cfg(test)]
mod tests;

use self::backward::Backward;
use self::forward::Forward;
use self::gradients::{Given, Gradients};
use self::inputs::{Inputs, Task};
use self::output::{Output, OutputHeads};
use self::words::Words;
use super::isa::Isa;
use super::matmul::kernel::MAX_ROWS;
use super::pool::Pool;
use crate::backend::{Attention, AttentionBackward, AttentionSizes};
use crate::dtype::DType;

/// Most lines of a forward task: their state should stay in the second-level cache.
const TASK_LINES: usize = 1024;
/// Fewest lines of a task while there are enough tasks: each packs the keys it sees.
const TASK_LINES_MIN: usize = 96;

/// See [`Attention`].
pub(super) fn attention(pool: &Pool, isa: Isa, call: Attention<'_>) {
    check::forward(&call);
    let inputs = Inputs::of_forward(&call);
    let words = words(isa, &inputs);
    let tasks = forward_tasks(&inputs, pool.n_threads());
    let out = OutputHeads { data: Output::new(call.out), n_heads_stored: inputs.sizes.h, first_head: 0 };
    let log_sum_exp = Output::F32(call.log_sum_exp.as_mut_ptr(), call.log_sum_exp.len());
    pool.run(tasks.len(), &|i| {
        isa.run(Forward { inputs: &inputs, words, task: &tasks[i], out, log_sum_exp });
    });
}

/// See [`AttentionBackward`].
pub(super) fn attention_backward(pool: &Pool, isa: Isa, call: AttentionBackward<'_>) {
    check::backward(&call);
    let inputs = Inputs::of_backward(&call);
    let words = words(isa, &inputs);
    let AttentionSizes { b, h, g, .. } = inputs.sizes;
    let n_offsets = inputs.bias.filter(|_| call.dbias.is_some()).map_or(0, |bias| bias.n_offsets);
    // One for each row, added up in the order of the rows.
    let mut dbiases = vec![0.0; b * h * n_offsets];
    let given = Given { out: call.out, log_sum_exp: call.log_sum_exp, dout: call.dout };
    let gradients = Gradients::new(&inputs, call.into, &mut dbiases);
    pool.run(b * g, &|i| {
        let task = Task { row: i / g, kv_head: i % g, lines: 0..inputs.n_lines() };
        isa.run(Backward { inputs: &inputs, words, task: &task, given: &given, gradients: &gradients });
    });
    let Some(dbias) = call.dbias else { return };
    for dbias_of_row in dbiases.chunks_exact((h * n_offsets).max(1)) {
        dbias.iter_mut().zip(dbias_of_row).for_each(|(sum, x)| *sum += x);
    }
}

/// Products are of bf16 as soon as one input is, where the processor has them.
fn words(isa: Isa, inputs: &Inputs<'_>) -> Words {
    Words::new(isa, [inputs.q, inputs.k, inputs.v].iter().any(|heads| heads.data.dtype() == DType::Bf16))
}

/// Cuts the lines of each row and key/value head so that every thread has work. The last lines come first: under a causal
/// mask they take longest.
fn forward_tasks(inputs: &Inputs<'_>, n_threads: usize) -> Vec<Task> {
    let n_heads = inputs.sizes.b * inputs.sizes.g;
    let n_lines = inputs.n_lines();
    if n_heads == 0 || n_lines == 0 {
        return Vec::new();
    }
    let n_parts_wanted = if n_threads == 1 { 1 } else { (4 * n_threads).div_ceil(n_heads) };
    let n_lines_min = if n_heads < n_threads { MAX_ROWS } else { TASK_LINES_MIN };
    let size = n_lines.div_ceil(n_parts_wanted).clamp(n_lines_min, TASK_LINES.max(n_lines_min));
    let size = size.next_multiple_of(MAX_ROWS);
    let mut tasks = Vec::with_capacity(n_heads * n_lines.div_ceil(size));
    for start in (0..n_lines).step_by(size).rev() {
        for head in 0..n_heads {
            let (row, kv_head) = (head / inputs.sizes.g, head % inputs.sizes.g);
            tasks.push(Task { row, kv_head, lines: start..(start + size).min(n_lines) });
        }
    }
    tasks
}
