//! Reference of keys and values in pages: out of the pages, then as without them.

use super::attention::attention as attention_without_pages;
use crate::backend::{Attention, AttentionSizes, Heads, PAGE_TOKENS, PageLayout, PagedAttention, StoreInPages};
use crate::dtype::View;

pub(super) fn store(mut call: StoreInPages<'_>) {
    call.check();
    let PageLayout { g, d_head, .. } = call.layout;
    let Heads { data, n_heads_stored, first_head } = call.kv;
    for token in 0..call.n_tokens {
        let (page, place) = ((call.first + token) / PAGE_TOKENS, (call.first + token) % PAGE_TOKENS);
        for head in 0..g {
            for feature in 0..d_head {
                let new = |head| data.get((token * n_heads_stored + first_head + head) * d_head + feature);
                call.pages[page].set(call.layout.key_at(head, place, feature), new(head));
                call.pages[page].set(call.layout.value_at(head, place, feature), new(g + head));
            }
        }
    }
}

pub(super) fn attention(call: PagedAttention<'_>) {
    call.check();
    let sizes = call.sizes();
    let AttentionSizes { b, t, s, h, g, d_head, .. } = sizes;
    let (mut keys, mut values) = (vec![0.0; b * s * g * d_head], vec![0.0; b * s * g * d_head]);
    for (row, &n_keys) in call.key_lens().iter().enumerate() {
        for token in 0..n_keys as usize {
            let (page, place) = (call.pages[row][token / PAGE_TOKENS], token % PAGE_TOKENS);
            for head in 0..g {
                for feature in 0..d_head {
                    let to = ((row * s + token) * g + head) * d_head + feature;
                    keys[to] = page.get(call.layout.key_at(head, place, feature));
                    values[to] = page.get(call.layout.value_at(head, place, feature));
                }
            }
        }
    }
    let heads = |data| Heads { data: View::F32(data), n_heads_stored: g, first_head: 0 };
    attention_without_pages(Attention {
        sizes,
        q: call.q,
        k: heads(&keys),
        v: heads(&values),
        mask: call.mask,
        bias: call.bias,
        out: call.out,
        log_sum_exp: &mut vec![0.0; b * h * t],
    });
}
