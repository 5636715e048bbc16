use crate::backend::cpu::attention::tests::{Data, distance, uniform};
use crate::backend::cpu::{Cpu, Isa};
use crate::backend::reference::Reference;
use crate::backend::{
    AttentionSizes, Heads, Kernels, Mask, OffsetBias, PAGE_TOKENS, PageLayout, PagedAttention, StoreInPages, Visibility,
};
use crate::dtype::DType;

/// Rows of `lens` tokens, of which the last `t` at most are queries.
#[derive(Clone, Debug)]
struct Case {
    visibility: Visibility,
    lens: Vec<u32>,
    t: usize,
    h: usize,
    layout: PageLayout,
    cap: Option<f32>,
    has_bias: bool,
}

/// Heads [h, g, d_head].
fn case(visibility: Visibility, lens: &[u32], t: usize, [h, g, d_head]: [usize; 3], dtype: DType) -> Case {
    let layout = PageLayout { g, d_head, dtype };
    Case { visibility, lens: lens.to_vec(), t, h, layout, cap: None, has_bias: false }
}

fn cases() -> Vec<Case> {
    use DType::{Bf16, F32};
    use Visibility::{Causal, Full, Window};
    vec![
        case(Causal, &[1], 1, [1, 1, 1], F32),
        case(Causal, &[1, 64, 65], 1, [2, 2, 3], Bf16),
        case(Causal, &[570], 1, [9, 3, 64], F32),
        case(Causal, &[570], 1, [9, 3, 64], Bf16),
        case(Causal, &[300, 7, 1030], 1, [4, 2, 80], Bf16),
        case(Causal, &[700], 130, [6, 2, 20], F32),
        case(Causal, &[333, 40], 40, [4, 4, 32], Bf16),
        case(Full, &[100, 3, 257], 5, [4, 1, 128], F32),
        case(Full, &[100, 3, 257], 2, [8, 2, 16], Bf16),
        case(Window { tokens: 70 }, &[600, 20], 1, [2, 1, 48], F32),
        case(Window { tokens: 33 }, &[600], 90, [2, 1, 48], Bf16),
        Case { cap: Some(2.0), ..case(Causal, &[290], 3, [4, 2, 32], F32) },
        Case { has_bias: true, ..case(Causal, &[290, 66], 1, [4, 4, 64], F32) },
        Case { has_bias: true, ..case(Causal, &[290], 70, [4, 2, 64], Bf16) },
    ]
}

impl Case {
    fn longest(&self) -> usize {
        self.lens.iter().copied().max().unwrap_or(0) as usize
    }

    /// Keys and values of each row, [tokens, 2·G, K].
    fn keys_values(&self) -> Vec<Data> {
        let PageLayout { g, d_head, .. } = self.layout;
        let of_row = |(row, &len): (usize, &u32)| {
            let values = uniform(50 + row as u64, len as usize * 2 * g * d_head);
            Data::new(DType::F32, values.iter().map(|x| 2.0 * x).collect())
        };
        self.lens.iter().enumerate().map(of_row).collect()
    }

    /// Pages filled with stretches of `n` tokens.
    fn pages(&self, kernels: &dyn Kernels, n: usize) -> Vec<Vec<Data>> {
        let fill = |kv: &Data, len: usize| {
            let zeros = || Data::new(self.layout.dtype, vec![0.0; self.layout.n_elements()]);
            let mut pages: Vec<Data> = (0..len.div_ceil(PAGE_TOKENS)).map(|_| zeros()).collect();
            let row_len = 2 * self.layout.g * self.layout.d_head;
            for start in (0..len).step_by(n) {
                let end = (start + n).min(len);
                let data = kv.view().slice(start * row_len..end * row_len);
                kernels.store_in_pages(vec![StoreInPages {
                    layout: self.layout,
                    kv: Heads { data, n_heads_stored: 2 * self.layout.g, first_head: 0 },
                    n_tokens: end - start,
                    first: start % PAGE_TOKENS,
                    pages: pages[start / PAGE_TOKENS..end.div_ceil(PAGE_TOKENS)]
                        .iter_mut()
                        .map(Data::view_mut)
                        .collect(),
                }]);
            }
            pages
        };
        self.keys_values().iter().zip(&self.lens).map(|(kv, &len)| fill(kv, len as usize)).collect()
    }

    /// Queries of all tokens of all rows, [row][token], each [H, K].
    fn queries(&self) -> Vec<Vec<Vec<f32>>> {
        let width = self.h * self.layout.d_head;
        let of_row = |(row, &len): (usize, &u32)| {
            uniform(90 + row as u64, len as usize * width).chunks(width).map(<[f32]>::to_vec).collect()
        };
        self.lens.iter().enumerate().map(of_row).collect()
    }

    /// The results of up to `t` queries from `from[row]` on.
    fn attend(&self, kernels: &dyn Kernels, pages: &[Vec<Data>], from: &[usize], t: usize) -> Vec<f32> {
        let (b, d_head) = (self.lens.len(), self.layout.d_head);
        let queries = self.queries();
        let query = |row: usize, i: usize| {
            queries[row].get(from[row] + i).cloned().unwrap_or_else(|| vec![0.5; self.h * d_head])
        };
        let q: Vec<f32> = (0..b * t).flat_map(|i| query(i / t, i % t)).collect();
        let q = Data::new(DType::F32, q);
        let offsets: Vec<u32> = from.iter().map(|&from| from as u32).collect();
        let lens: Vec<u32> = from.iter().zip(&self.lens).map(|(&from, &len)| len.min((from + t) as u32)).collect();
        let origin = self.longest() + self.t;
        let bias = uniform(7, self.h * 2 * origin);
        let bias = OffsetBias { values: &bias, n_offsets: 2 * origin, origin };
        let pages: Vec<Vec<_>> = pages.iter().map(|row| row.iter().map(Data::view).collect()).collect();
        let mut out = Data::unset(DType::F32, b * t * self.h * d_head);
        kernels.paged_attention(PagedAttention {
            sizes: AttentionSizes { b, t, s: 0, h: self.h, g: self.layout.g, d_head, scale: 0.3, cap: self.cap },
            layout: self.layout,
            q: Heads { data: q.view(), n_heads_stored: self.h, first_head: 0 },
            mask: Mask { query_offsets: Some(&offsets), key_lens: Some(&lens), ..Mask::new(self.visibility) },
            bias: self.has_bias.then_some(bias),
            pages: &pages,
            out: out.view_mut(),
        });
        out.values()
    }

    /// The last queries of each row.
    fn last(&self, kernels: &dyn Kernels, pages: &[Vec<Data>]) -> Vec<f32> {
        let from: Vec<usize> = self.lens.iter().map(|&len| (len as usize).saturating_sub(self.t)).collect();
        self.attend(kernels, pages, &from, self.t)
    }
}

#[test]
fn pages_agree_with_the_reference() {
    for case in cases() {
        let expected = case.last(&Reference, &case.pages(&Reference, 1));
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(2, isa);
            let pages = case.pages(&cpu, 37);
            assert!(pages == case.pages(&Reference, 64), "{isa:?} {case:?}");
            let found = case.last(&cpu, &pages);
            let far = distance(&found, &expected);
            // Queries and weights are rounded to bf16 only where products are of bf16.
            let tolerance = if isa == Isa::Avx512Bf16 && case.layout.dtype == DType::Bf16 { 2e-2 } else { 5e-6 };
            assert!(far < tolerance, "{far} {isa:?} {case:?}");
        }
    }
}

#[test]
fn any_number_of_threads_and_any_call_give_the_same_bits() {
    for case in cases().into_iter().filter(|case| case.visibility != Visibility::Full) {
        for isa in Isa::available() {
            let one = Cpu::with_isa(1, isa);
            let pages = case.pages(&one, 64);
            let expected: Vec<u32> = case.last(&one, &pages).iter().map(|x| x.to_bits()).collect();
            for n_threads in [2, 3, 8] {
                let found = case.last(&Cpu::with_isa(n_threads, isa), &pages);
                assert!(found.iter().map(|x| x.to_bits()).eq(expected.iter().copied()), "{n_threads} {isa:?} {case:?}");
            }
            // One query after another, each with as many keys as there were by then.
            let width = case.h * case.layout.d_head;
            for i in 0..case.t {
                let from: Vec<usize> = case.lens.iter().map(|&len| (len as usize).saturating_sub(case.t) + i).collect();
                let found = case.attend(&Cpu::with_isa(2, isa), &pages, &from, 1);
                for (row, &len) in case.lens.iter().enumerate().filter(|&(row, &len)| from[row] < len as usize) {
                    let expected = &expected[(row * case.t + i) * width..][..width];
                    let found = found[row * width..][..width].iter().map(|x| x.to_bits());
                    assert!(found.eq(expected.iter().copied()), "row {row} of {len}, query {i} {isa:?} {case:?}");
                }
            }
        }
    }
}

#[test]
fn many_rows_are_stored_together_as_one_by_one() {
    let (layout, n_rows) = (PageLayout { g: 2, d_head: 5, dtype: DType::F32 }, 83);
    let row_len = 2 * layout.g * layout.d_head;
    let new = Data::new(DType::F32, uniform(9, n_rows * row_len));
    let stored = |kernels: &dyn Kernels, n_at_once: usize| {
        let mut pages: Vec<Data> = (0..n_rows).map(|_| Data::new(DType::F32, vec![0.0; layout.n_elements()])).collect();
        for (part, pages) in pages.chunks_mut(n_at_once).enumerate() {
            let rows = pages.iter_mut().enumerate().map(|(i, page)| {
                let row = part * n_at_once + i;
                let data = new.view().slice(row * row_len..(row + 1) * row_len);
                let kv = Heads { data, n_heads_stored: 2 * layout.g, first_head: 0 };
                StoreInPages { layout, kv, n_tokens: 1, first: row % PAGE_TOKENS, pages: vec![page.view_mut()] }
            });
            kernels.store_in_pages(rows.collect());
        }
        pages.iter().map(Data::values).collect::<Vec<_>>()
    };
    let expected = stored(&Reference, 1);
    assert_eq!(stored(&Cpu::new(2), n_rows), expected);
    assert_eq!(stored(&Cpu::new(2), 7), expected);
}
