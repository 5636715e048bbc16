use super::super::{Cpu, Isa};
use crate::backend::reference::Reference;
use crate::backend::{
    Attention, AttentionBackward, AttentionGradients, AttentionSizes, Heads, Kernels, Mask, OffsetBias, Visibility,
};
use crate::dtype::{DType, View, ViewMut};
use half::bf16;

/// Elements of either type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Data {
    pub(super) fn new(dtype: DType, values: Vec<f32>) -> Self {
        match dtype {
            DType::F32 => Data::F32(values),
            DType::Bf16 => Data::Bf16(values.into_iter().map(bf16::from_f32).collect()),
        }
    }

    /// Not-a-numbers, so that an element which is not written shows.
    pub(super) fn unset(dtype: DType, len: usize) -> Self {
        Self::new(dtype, vec![f32::NAN; len])
    }

    pub(super) fn view(&self) -> View<'_> {
        match self {
            Data::F32(data) => View::F32(data),
            Data::Bf16(data) => View::Bf16(data),
        }
    }

    pub(super) fn view_mut(&mut self) -> ViewMut<'_> {
        match self {
            Data::F32(data) => ViewMut::F32(data),
            Data::Bf16(data) => ViewMut::Bf16(data),
        }
    }

    pub(super) fn values(&self) -> Vec<f32> {
        (0..self.view().len()).map(|i| self.view().get(i)).collect()
    }

    pub(super) fn bits(&self) -> Vec<u32> {
        self.values().into_iter().map(f32::to_bits).collect()
    }
}

/// Uniform in −1..1, a different stream for each seed.
pub(super) fn uniform(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..8).for_each(|_| assert!(next() < 1.0));
    (0..len).map(|_| next()).collect()
}

/// One call, described. What is not given is absent.
#[derive(Clone, Debug)]
struct Case {
    sizes: AttentionSizes,
    visibility: Visibility,
    query_offsets: Option<Vec<u32>>,
    key_lens: Option<Vec<u32>>,
    prefix_lens: Option<Vec<u32>>,
    query_segments: Option<Vec<u32>>,
    key_segments: Option<Vec<u32>>,
    has_bias: bool,
    /// Queries, keys and values.
    dtype: DType,
    /// Result and its gradient.
    out_dtype: DType,
    /// Queries, keys and values in one tensor.
    is_fused: bool,
}

/// Sizes [b, t, s, h, g, d_head].
fn case(visibility: Visibility, [b, t, s, h, g, d_head]: [usize; 6]) -> Case {
    Case {
        sizes: AttentionSizes { b, t, s, h, g, d_head, scale: 1.5 / (d_head as f32).sqrt(), cap: None },
        visibility,
        query_offsets: None,
        key_lens: None,
        prefix_lens: None,
        query_segments: None,
        key_segments: None,
        has_bias: false,
        dtype: DType::F32,
        out_dtype: DType::F32,
        is_fused: false,
    }
}

fn capped(cap: f32, case: Case) -> Case {
    Case { sizes: AttentionSizes { cap: Some(cap), ..case.sizes }, ..case }
}

/// The tensors of a case.
#[derive(Clone)]
struct Tensors {
    q: Data,
    k: Data,
    v: Data,
    bias: Vec<f32>,
    dout: Data,
}

/// What comes out of both passes.
struct Results {
    out: Data,
    log_sum_exp: Vec<f32>,
    /// dq and dkv, or their fused form alone.
    gradients: Vec<Data>,
    dbias: Vec<f32>,
}

impl Case {
    fn tensors(&self) -> Tensors {
        let AttentionSizes { b, t, s, h, g, d_head, .. } = self.sizes;
        let data = |seed, len| Data::new(self.dtype, uniform(seed, len).iter().map(|x| 2.0 * x).collect());
        let (q, k) = if self.is_fused {
            let qkv = data(1, b * t * (h + 2 * g) * d_head);
            (qkv.clone(), qkv)
        } else {
            (data(1, b * t * h * d_head), data(2, b * s * 2 * g * d_head))
        };
        let dout = Data::new(self.out_dtype, uniform(3, b * t * h * d_head));
        Tensors { q, v: k.clone(), k, bias: uniform(4, h * self.n_offsets()), dout }
    }

    /// From the last query's position back, to the last key.
    fn n_offsets(&self) -> usize {
        self.origin() + self.sizes.s
    }

    fn origin(&self) -> usize {
        let offset = self.query_offsets.as_ref().and_then(|offsets| offsets.iter().max().copied()).unwrap_or(0);
        offset as usize + self.sizes.t
    }

    fn heads<'a>(&self, tensors: &'a Tensors) -> [Heads<'a>; 3] {
        let AttentionSizes { h, g, .. } = self.sizes;
        let heads =
            |data: &'a Data, n_heads_stored, first_head| Heads { data: data.view(), n_heads_stored, first_head };
        let (q_stored, kv_stored, first) = if self.is_fused { (h + 2 * g, h + 2 * g, h) } else { (h, 2 * g, 0) };
        [heads(&tensors.q, q_stored, 0), heads(&tensors.k, kv_stored, first), heads(&tensors.v, kv_stored, first + g)]
    }

    fn mask(&self) -> Mask<'_> {
        Mask {
            visibility: self.visibility,
            query_offsets: self.query_offsets.as_deref(),
            key_lens: self.key_lens.as_deref(),
            prefix_lens: self.prefix_lens.as_deref(),
            query_segments: self.query_segments.as_deref(),
            key_segments: self.key_segments.as_deref(),
        }
    }

    fn bias<'a>(&self, tensors: &'a Tensors) -> Option<OffsetBias<'a>> {
        let bias = OffsetBias { values: &tensors.bias, n_offsets: self.n_offsets(), origin: self.origin() };
        self.has_bias.then_some(bias)
    }

    fn forward(&self, kernels: &dyn Kernels, tensors: &Tensors) -> (Data, Vec<f32>) {
        let AttentionSizes { b, t, h, d_head, .. } = self.sizes;
        let mut out = Data::unset(self.out_dtype, b * t * h * d_head);
        let mut log_sum_exp = vec![f32::NAN; b * h * t];
        let [q, k, v] = self.heads(tensors);
        kernels.attention(Attention {
            sizes: self.sizes,
            q,
            k,
            v,
            mask: self.mask(),
            bias: self.bias(tensors),
            out: out.view_mut(),
            log_sum_exp: &mut log_sum_exp,
        });
        (out, log_sum_exp)
    }

    fn backward(&self, kernels: &dyn Kernels, tensors: &Tensors, out: Data, log_sum_exp: Vec<f32>) -> Results {
        let AttentionSizes { b, t, s, h, g, d_head, .. } = self.sizes;
        let mut dq = Data::unset(self.out_dtype, b * t * (if self.is_fused { h + 2 * g } else { h }) * d_head);
        let mut dkv = Data::unset(self.out_dtype, b * s * 2 * g * d_head);
        let mut dbias = vec![0.25; if self.has_bias { h * self.n_offsets() } else { 0 }];
        let [q, k, v] = self.heads(tensors);
        kernels.attention_backward(AttentionBackward {
            sizes: self.sizes,
            q,
            k,
            v,
            mask: self.mask(),
            bias: self.bias(tensors),
            out: out.view(),
            log_sum_exp: &log_sum_exp,
            dout: tensors.dout.view(),
            into: if self.is_fused {
                AttentionGradients::Fused(dq.view_mut())
            } else {
                AttentionGradients::Cross { dq: dq.view_mut(), dkv: dkv.view_mut() }
            },
            dbias: self.has_bias.then_some(&mut dbias),
        });
        let gradients = if self.is_fused { vec![dq] } else { vec![dq, dkv] };
        Results { out, log_sum_exp, gradients, dbias }
    }

    fn both(&self, kernels: &dyn Kernels, tensors: &Tensors) -> Results {
        let (out, log_sum_exp) = self.forward(kernels, tensors);
        self.backward(kernels, tensors, out, log_sum_exp)
    }
}

impl Results {
    fn bits(&self) -> Vec<u32> {
        let mut bits = self.out.bits();
        bits.extend(self.log_sum_exp.iter().chain(&self.dbias).map(|x| x.to_bits()));
        bits.extend(self.gradients.iter().flat_map(Data::bits));
        bits
    }
}

/// Two documents that take turns, and keys of a third that nobody asks for.
fn scattered(len: usize) -> Vec<u32> {
    (0..len).map(|i| [5, 5, 7, 5, 7, 7, 9][i * i / 3 % 7]).collect()
}

/// Documents one after the other.
fn packed(len: usize, document_len: usize) -> Vec<u32> {
    (0..len).map(|i| (i / document_len) as u32).collect()
}

/// Every mask, awkward sizes, each difficulty alone and some together.
fn cases() -> Vec<Case> {
    use Visibility::{Causal, Full, Prefix, Window};
    let mut cases = vec![
        case(Causal, [2, 130, 130, 2, 2, 64]),
        case(Full, [1, 70, 133, 2, 1, 32]),
        case(Full, [1, 1, 1, 1, 1, 1]),
        case(Causal, [2, 0, 300, 2, 1, 16]),
        case(Full, [1, 3, 65, 2, 2, 3]),
        case(Full, [2, 7, 40, 6, 2, 20]),
        case(Causal, [1, 17, 17, 1, 1, 128]),
        case(Causal, [1, 67, 67, 4, 1, 80]),
        case(Window { tokens: 1 }, [1, 20, 20, 1, 1, 16]),
        case(Window { tokens: 30 }, [1, 200, 200, 2, 2, 8]),
        Case { prefix_lens: Some(vec![0, 90]), ..case(Prefix, [2, 100, 100, 2, 1, 24]) },
        Case { key_lens: Some(vec![0, 65, 3]), ..case(Full, [3, 9, 66, 2, 2, 16]) },
        Case {
            query_offsets: Some(vec![90, 0, 128]),
            key_lens: Some(vec![95, 5, 133]),
            ..case(Causal, [3, 5, 133, 4, 2, 32])
        },
        Case {
            query_segments: Some(packed(150, 37)),
            key_segments: Some(packed(150, 37)),
            ..case(Causal, [1, 150, 150, 2, 1, 16])
        },
        Case {
            query_segments: Some(scattered(160)),
            key_segments: Some(scattered(160).iter().map(|x| x + 2).collect()),
            ..case(Causal, [2, 80, 80, 3, 3, 10])
        },
        // Windows that lie between the keys of their document.
        Case {
            query_segments: Some(vec![5; 70]),
            key_segments: Some(scattered(70)),
            ..case(Window { tokens: 1 }, [1, 70, 70, 2, 1, 16])
        },
        Case {
            query_offsets: Some(vec![40, 3]),
            has_bias: true,
            ..case(Window { tokens: 50 }, [2, 77, 120, 4, 2, 33])
        },
        Case { key_lens: Some(vec![131]), has_bias: true, ..case(Full, [1, 66, 140, 2, 2, 48]) },
        Case { is_fused: true, has_bias: true, ..case(Causal, [2, 65, 65, 4, 2, 12]) },
        Case { is_fused: true, ..capped(0.7, case(Causal, [2, 65, 65, 4, 2, 12])) },
        capped(1.5, case(Window { tokens: 30 }, [1, 200, 200, 3, 1, 21])),
        Case {
            query_offsets: Some(vec![90, 0, 128]),
            key_lens: Some(vec![95, 5, 133]),
            ..capped(50.0, case(Causal, [3, 5, 133, 4, 2, 32]))
        },
    ];
    let bf16: Vec<_> = cases.iter().map(|case| Case { dtype: DType::Bf16, ..case.clone() }).collect();
    let out = bf16.iter().step_by(2).map(|case| Case { out_dtype: DType::Bf16, ..case.clone() }).collect::<Vec<_>>();
    cases.extend(bf16);
    cases.extend(out);
    cases
}

/// Largest difference between two lists, which may hold −∞ at the same places but nothing that is not a number.
pub(super) fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let difference = |(a, b): (&f32, &f32)| if a == b { 0.0 } else { (a - b).abs() };
    let distances = found.iter().zip(expected).map(difference);
    distances.fold(0.0, |max, x| if x.is_nan() { f32::INFINITY } else { x.max(max) })
}

/// Rounding to bf16 on the way, once or a few times, against a result of about 1.
fn tolerance(case: &Case, isa: Isa) -> f32 {
    match (case.dtype, case.out_dtype, isa) {
        (DType::F32, DType::F32, _) => 3e-6,
        (DType::Bf16, DType::F32, Isa::Portable | Isa::Avx2 | Isa::Avx512) => 3e-6,
        _ => 1e-2,
    }
}

#[test]
fn forward_agrees_with_the_reference() {
    for case in cases() {
        let tensors = case.tensors();
        let (out, log_sum_exp) = case.forward(&Reference, &tensors);
        for isa in Isa::available() {
            let (found, found_log_sum_exp) = case.forward(&Cpu::with_isa(2, isa), &tensors);
            let far = distance(&found.values(), &out.values());
            assert!(far < tolerance(&case, isa), "out: {far} {isa:?} {case:?}");
            let far = distance(&found_log_sum_exp, &log_sum_exp);
            assert!(far < 2e-5, "log_sum_exp: {far} {isa:?} {case:?}");
        }
    }
}

/// A query does not know how many others there are, nor how many keys come after those that it sees.
#[test]
fn a_query_gives_the_same_bits_alone_in_a_chunk_and_in_the_whole() {
    let n = 150;
    for (dtype, visibility, h, has_bias) in [
        (DType::F32, Visibility::Causal, 2, false),
        (DType::Bf16, Visibility::Causal, 4, false),
        (DType::Bf16, Visibility::Window { tokens: 70 }, 2, true),
        (DType::F32, Visibility::Window { tokens: 33 }, 2, true),
    ] {
        let whole = Case { dtype, has_bias, ..case(visibility, [1, n, n, h, 2, 64]) };
        let tensors = whole.tensors();
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(2, isa);
            let (out, log_sum_exp) = whole.forward(&cpu, &tensors);
            for chunk in [1, 2, 3, 7, 8, 64] {
                for start in (0..n).step_by(chunk) {
                    let t = chunk.min(n - start);
                    let part = Case {
                        sizes: AttentionSizes { t, ..whole.sizes },
                        query_offsets: Some(vec![start as u32]),
                        key_lens: Some(vec![(start + t) as u32]),
                        ..whole.clone()
                    };
                    let mut of_part = tensors.clone();
                    let width = h * 64;
                    of_part.q = Data::new(dtype, tensors.q.values()[start * width..(start + t) * width].to_vec());
                    // The same bias, seen from another origin.
                    let skipped = whole.origin().abs_diff(part.origin());
                    of_part.bias =
                        of_chunk(&tensors.bias, h, whole.origin() >= part.origin(), skipped, part.n_offsets());
                    let (part_out, part_log_sum_exp) = part.forward(&cpu, &of_part);
                    let expected = &out.bits()[start * width..(start + t) * width];
                    assert_eq!(part_out.bits(), expected, "{isa:?} {dtype:?} {visibility:?} queries {start}+{t}");
                    for head in 0..h {
                        let expected = &log_sum_exp[head * n + start..][..t];
                        assert_eq!(&part_log_sum_exp[head * t..][..t], expected);
                    }
                }
            }
        }
    }
}

/// The bias of each head without its first `skipped` entries, cut or filled to `n_offsets`.
fn of_chunk(bias: &[f32], h: usize, is_shorter: bool, skipped: usize, n_offsets: usize) -> Vec<f32> {
    assert!(is_shorter, "a chunk reaches no further back than the whole");
    let width = bias.len() / h;
    bias.chunks(width).flat_map(|head| head[skipped..][..n_offsets].to_vec()).collect()
}

#[test]
fn keys_beyond_the_length_do_not_count_even_if_they_hold_nonsense() {
    let whole = Case { key_lens: Some(vec![70]), dtype: DType::Bf16, ..case(Visibility::Full, [1, 10, 90, 2, 1, 32]) };
    let tensors = whole.tensors();
    let mut spoilt = tensors.clone();
    let mut values = tensors.k.values();
    values[70 * 2 * 32..].fill(f32::NAN);
    (spoilt.k, spoilt.v) = (Data::new(DType::Bf16, values.clone()), Data::new(DType::Bf16, values));
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(2, isa);
        let (found, expected) = (whole.forward(&cpu, &spoilt), whole.forward(&cpu, &tensors));
        assert_eq!(found.0.bits(), expected.0.bits(), "{isa:?}");
        assert_eq!(found.1, expected.1);
    }
}

#[test]
fn backward_agrees_with_the_reference() {
    for case in cases() {
        let tensors = case.tensors();
        let (out, log_sum_exp) = case.forward(&Reference, &tensors);
        let expected = case.backward(&Reference, &tensors, out.clone(), log_sum_exp.clone());
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(2, isa);
            let found = case.backward(&cpu, &tensors, out.clone(), log_sum_exp.clone());
            for (name, found, expected) in found
                .gradients
                .iter()
                .zip(&expected.gradients)
                .map(|(a, b)| ("dqkv", a.values(), b.values()))
                .chain([("dbias", found.dbias.clone(), expected.dbias.clone())])
            {
                let size = expected.iter().fold(1.0_f32, |max, x| x.abs().max(max));
                let far = distance(&found, &expected) / size;
                assert!(far < 2.0 * tolerance(&case, isa), "{name}: {far} {isa:?} {case:?}");
            }
        }
    }
}

/// Whatever they computed before.
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for isa in Isa::available() {
        let cpus = [2, 3].map(|n_threads| Cpu::with_isa(n_threads, isa));
        for case in cases() {
            let tensors = case.tensors();
            let expected = case.both(&Cpu::with_isa(1, isa), &tensors).bits();
            for cpu in &cpus {
                assert!(case.both(cpu, &tensors).bits() == expected, "{} {case:?}", cpu.name());
            }
        }
    }
}

#[test]
fn a_query_that_sees_no_key_gives_zeros_and_passes_nothing_back() {
    let blind = Case {
        query_segments: Some(vec![0, 0, 0, 8, 8, 0, 0, 0, 8, 0]),
        key_segments: Some(vec![0; 10]),
        has_bias: true,
        ..case(Visibility::Causal, [1, 10, 10, 2, 2, 7])
    };
    for dtype in [DType::F32, DType::Bf16] {
        let blind = Case { dtype, ..blind.clone() };
        let mut tensors = blind.tensors();
        let mut dout = tensors.dout.values();
        let of_blind: Vec<usize> = [3, 4, 8].iter().flat_map(|t| t * 14..(t + 1) * 14).collect();
        of_blind.iter().for_each(|&at| dout[at] = f32::NAN);
        tensors.dout = Data::F32(dout);
        for isa in Isa::available() {
            let results = blind.both(&Cpu::with_isa(2, isa), &tensors);
            let (out, dq) = (results.out.values(), results.gradients[0].values());
            assert!(of_blind.iter().all(|&at| out[at] == 0.0 && dq[at] == 0.0), "{isa:?}");
            assert!([3, 4, 8, 13, 14, 18].iter().all(|&at| results.log_sum_exp[at] == f32::NEG_INFINITY));
            let all = results.gradients.iter().flat_map(|data| data.values()).chain(results.dbias);
            assert!(all.into_iter().all(f32::is_finite), "{isa:?}");
        }
    }
}

/// A model that has gone wrong says so.
#[test]
fn what_is_not_a_number_stays_so() {
    for dtype in [DType::F32, DType::Bf16] {
        let case = Case { dtype, has_bias: true, ..case(Visibility::Causal, [1, 150, 150, 2, 2, 16]) };
        let mut of_query = case.tensors();
        let mut values = of_query.q.values();
        values[3 * 2 * 16 + 5] = f32::NAN;
        of_query.q = Data::new(dtype, values);
        // A whole block of keys.
        let mut of_keys = case.tensors();
        let mut values = of_keys.k.values();
        values[..64 * 4 * 16].fill(f32::NAN);
        of_keys.k = Data::new(dtype, values);
        for tensors in [of_query, of_keys] {
            let are_nan = |results: &Results| {
                let of = |values: &[f32]| values.iter().map(|x| x.is_nan()).collect::<Vec<_>>();
                let gradients = results.gradients.iter().flat_map(|gradient| of(&gradient.values()));
                (of(&results.out.values()), of(&results.log_sum_exp), gradients.collect::<Vec<_>>())
            };
            let expected = are_nan(&case.both(&Reference, &tensors));
            assert!(expected.0.contains(&true) && expected.2.contains(&true));
            for isa in Isa::available() {
                let found = are_nan(&case.both(&Cpu::with_isa(2, isa), &tensors));
                assert!((&found.0, &found.1) == (&expected.0, &expected.1), "{isa:?} {dtype:?}");
                // Hidden keys of a block may get some too.
                assert!(
                    found.2.iter().zip(&expected.2).all(|(found, expected)| found >= expected),
                    "{isa:?} {dtype:?}"
                );
            }
        }
    }
}

/// Attention as its definition says, in f64: Σ out·dout.
fn loss(case: &Case, q: &[f64], kv: &[f64], bias: &[f64], dout: &[f32]) -> f64 {
    let AttentionSizes { b, t, s, h, g, d_head, scale, .. } = case.sizes;
    let mut loss = 0.0;
    for (row, i, head) in (0..b * t * h).map(|line| (line / (t * h), line / h % t, line % h)) {
        let position = i + case.query_offsets.as_ref().map_or(0, |offsets| offsets[row] as usize);
        let key = |j: usize, d: usize, first: usize| kv[((row * s + j) * 2 * g + first + head / (h / g)) * d_head + d];
        let at = ((row * t + i) * h + head) * d_head;
        let seen: Vec<usize> = (0..s).filter(|&j| j <= position).collect();
        let score = |j: usize| {
            let dot: f64 = (0..d_head).map(|d| q[at + d] * key(j, d, 0)).sum();
            dot * f64::from(scale) + bias[head * case.n_offsets() + case.origin() + j - position]
        };
        let total: f64 = seen.iter().map(|&j| score(j).exp()).sum();
        for j in seen {
            let dot: f64 = (0..d_head).map(|d| key(j, d, g) * f64::from(dout[at + d])).sum();
            loss += score(j).exp() / total * dot;
        }
    }
    loss
}

#[test]
fn the_reference_agrees_with_finite_differences() {
    let case =
        Case { query_offsets: Some(vec![5, 3]), has_bias: true, ..case(Visibility::Causal, [2, 4, 12, 4, 2, 3]) };
    let tensors = case.tensors();
    let results = case.both(&Reference, &tensors);
    let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let (q, kv, dout) = (tensors.q.values(), tensors.k.values(), tensors.dout.values());
    let inputs = [wide(&q), wide(&kv), wide(&tensors.bias)];
    let dbias: Vec<f32> = results.dbias.iter().map(|x| x - 0.25).collect();
    let gradients = [results.gradients[0].values(), results.gradients[1].values(), dbias];
    for (which, gradient) in gradients.iter().enumerate() {
        for (i, &found) in gradient.iter().enumerate() {
            let at = |step: f64| {
                let mut inputs = inputs.clone();
                inputs[which][i] += step;
                loss(&case, &inputs[0], &inputs[1], &inputs[2], &dout)
            };
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((f64::from(found) - expected).abs() < 2e-6, "input {which} element {i}: {found} {expected}");
        }
    }
}
