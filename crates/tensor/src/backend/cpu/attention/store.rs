//! New keys and values into their pages.

use crate::backend::cpu::lanes::Element;
use crate::backend::cpu::pool::{Pool, chunks};
use crate::backend::{Heads, PAGE_TOKENS, PageLayout, StoreInPages};
use crate::dtype::{DType, View, ViewMut};
use std::ops::Range;

/// Pages that a thread takes at a time: waking it for fewer costs more than it saves.
const PAGES_AT_ONCE: usize = 16;

/// A page, and the tokens that it takes from place `at` on.
struct Part<'a> {
    layout: PageLayout,
    kv: Heads<'a>,
    tokens: Range<usize>,
    at: usize,
    page: ViewMut<'a>,
}

/// See [`StoreInPages`].
pub(in crate::backend::cpu) fn store_in_pages(pool: &Pool, rows: Vec<StoreInPages<'_>>) {
    let mut parts = Vec::with_capacity(rows.len());
    for row in rows {
        row.check();
        let StoreInPages { layout, kv, n_tokens, first, pages } = row;
        parts.extend(pages.into_iter().enumerate().map(|(i, page)| {
            // Counted from the first new token.
            let start = (i * PAGE_TOKENS).saturating_sub(first);
            let tokens = start..((i + 1) * PAGE_TOKENS - first).min(n_tokens);
            Part { layout, kv, tokens, at: (first + start) % PAGE_TOKENS, page }
        }));
    }
    // Those of one row are long, those of many are short.
    let n_at_once = if parts.len() > 2 * PAGES_AT_ONCE { PAGES_AT_ONCE } else { 1 };
    pool.for_each(chunks(&mut parts, n_at_once), |_, parts| parts.iter_mut().for_each(store_part));
}

fn store_part(Part { layout, kv, tokens, at, page }: &mut Part<'_>) {
    let (tokens, at) = (tokens.clone(), *at);
    match (kv.data, page) {
        (View::F32(from), ViewMut::F32(page)) => store_elements(layout, from, kv, tokens, at, page),
        (View::F32(from), ViewMut::Bf16(page)) => store_elements(layout, from, kv, tokens, at, page),
        (View::Bf16(from), ViewMut::F32(page)) => store_elements(layout, from, kv, tokens, at, page),
        (View::Bf16(from), ViewMut::Bf16(page)) => store_elements(layout, from, kv, tokens, at, page),
    }
}

/// Stores some new tokens from place `at` of a page on.
fn store_elements<S: Element, D: Element>(
    layout: &PageLayout,
    from: &[S],
    kv: &Heads<'_>,
    tokens: Range<usize>,
    at: usize,
    page: &mut [D],
) {
    let PageLayout { g, d_head, dtype } = *layout;
    // From a feature to the next of a pair, and from one value to the next.
    let (key_step, value_step) = match dtype {
        DType::F32 => (PAGE_TOKENS, 1),
        DType::Bf16 => (1, 2),
    };
    for (token, place) in tokens.zip(at..) {
        for head in 0..g {
            let heads = |first: usize| {
                let start = (token * kv.n_heads_stored + kv.first_head + first + head) * d_head;
                &from[start..start + d_head]
            };
            let keys = &mut page[layout.key_at(head, place, 0)..];
            for (i, pair) in heads(0).chunks(2).enumerate() {
                for (j, x) in pair.iter().enumerate() {
                    keys[i * 2 * PAGE_TOKENS + j * key_step] = D::from_f32(x.to_f32());
                }
            }
            let values = page[layout.value_at(head, place, 0)..].iter_mut().step_by(value_step);
            values.zip(heads(g)).for_each(|(to, x)| *to = D::from_f32(x.to_f32()));
        }
    }
}
