//! What this machine can do at best: the rate of its matrix products, of attention and of its memory, and what it costs to
//! share work among threads.

use crate::machine;
use genera_tensor::backend::cpu::Cpu;
use genera_tensor::backend::{
    Attention, AttentionBackward, AttentionGradients, AttentionSizes, Heads, Kernels, Mask, Matmul, Matrix,
};
use genera_tensor::{DType, Device, Key, Tensor, Visibility};
use serde::{Serialize, Serializer};
use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The three products of a linear layer, y = x·Wᵀ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// y = x·Wᵀ
    Forward,
    /// dx = dy·W
    InputGradient,
    /// dW = dyᵀ·x, in f32
    WeightGradient,
}

impl Product {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Forward, Self::InputGradient, Self::WeightGradient];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::InputGradient => "input gradient",
            Self::WeightGradient => "weight gradient",
        }
    }

    /// Storage type of its result, when the operands are in `dtype`.
    fn result(self, dtype: DType) -> DType {
        if self == Self::WeightGradient { DType::F32 } else { dtype }
    }
}

impl Serialize for Product {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Sizes of a linear layer's product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Rows of x.
    pub n_tokens: usize,
    /// Columns of x.
    pub n_in: usize,
    /// Columns of y.
    pub n_out: usize,
}

impl Layer {
    /// Operations of each of its products: a multiplication and an addition count as two.
    pub fn flops(self) -> f64 {
        2.0 * (self.n_tokens * self.n_in * self.n_out) as f64
    }

    /// Memory traffic of a product that reads its operands and writes its result once.
    ///
    /// # Units
    /// Bytes.
    pub fn bytes(self, dtype: DType, product: Product) -> f64 {
        let Self { n_tokens, n_in, n_out } = self;
        let (x, w, y) = (n_tokens * n_in, n_out * n_in, n_tokens * n_out);
        let (read, written) = match product {
            Product::Forward => (x + w, y),
            Product::InputGradient => (y + w, x),
            Product::WeightGradient => (y + x, w),
        };
        (read * dtype.size_bytes() + written * product.result(dtype).size_bytes()) as f64
    }
}

/// Sizes of causal attention over one row, every head with keys and values of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfAttention {
    /// Heads H.
    pub n_heads: usize,
    /// Width K of a head.
    pub d_head: usize,
    /// Positions T.
    pub context_len: usize,
}

impl SelfAttention {
    /// Operations of both passes: 4·T·T·K a head forward and 8·T·T·K backward, half of them under the causal mask. That the
    /// scores are computed again on the way back does not count, as it does not in the operations of a model.
    pub fn flops(self) -> f64 {
        (4 + 8) as f64 / 2.0 * (self.n_heads * self.context_len * self.context_len * self.d_head) as f64
    }
}

/// Time for which a rate is measured.
const TIME: Duration = Duration::from_millis(300);

/// Large products, the fastest of which is the peak: squares, and those of a Transformer's layers, of which there are tokens
/// enough for all threads. The cheapest come first.
fn large(n_threads: usize) -> [Layer; 5] {
    let n_tokens = 1536.max(256 * n_threads);
    [
        Layer { n_tokens: 768, n_in: 768, n_out: 768 },
        Layer { n_tokens: n_tokens / 3, n_in: 512, n_out: 2048 },
        Layer { n_tokens, n_in: 384, n_out: 1536 },
        Layer { n_tokens, n_in: 1536, n_out: 384 },
        Layer { n_tokens: 1152, n_in: 1152, n_out: 1152 },
    ]
}

/// Time for which each of them is measured.
const TIME_OF_LARGE: Duration = Duration::from_millis(50);

/// Time to look for the peak where a person waits for something else.
pub const GLANCE: Duration = Duration::from_millis(300);

/// Time to look for the peak where it is what is asked for: all products are measured, unless they take seconds.
pub const LOOK: Duration = Duration::from_secs(10);

/// Best rate of large matrix products in `dtype`: forward and for the input's gradient, at least one, and as many others as
/// there is time for. They are measured on a device of their own, whose memory goes with it.
///
/// # Units
/// FLOP/s.
pub fn peak(n_threads: usize, dtype: DType, time: Duration) -> f64 {
    let (device, start) = (Device::cpu(n_threads), Instant::now());
    let products =
        large(n_threads).into_iter().flat_map(|layer| [(layer, Product::Forward), (layer, Product::InputGradient)]);
    let mut best = 0.0;
    for (layer, product) in products {
        best = product_within(&device, dtype, layer, product, TIME_OF_LARGE).max(best);
        if start.elapsed() > time {
            break;
        }
    }
    best
}

/// Best rate of one product in `dtype`.
///
/// # Units
/// FLOP/s.
pub fn product(device: &Device, dtype: DType, layer: Layer, product: Product) -> f64 {
    product_within(device, dtype, layer, product, TIME)
}

fn product_within(device: &Device, dtype: DType, layer: Layer, product: Product, time: Duration) -> f64 {
    let Layer { n_tokens, n_in, n_out } = layer;
    let [x, w, dy] = [[n_tokens, n_in], [n_out, n_in], [n_tokens, n_out]];
    let (a, b, [m, n, k]) = match product {
        Product::Forward => (x, w, [n_tokens, n_out, n_in]),
        Product::InputGradient => (dy, w, [n_tokens, n_in, n_out]),
        Product::WeightGradient => (dy, x, [n_out, n_in, n_tokens]),
    };
    let [left, right] = [a, b].map(|shape| random(device, shape).cast(dtype));
    let mut c = Tensor::zeros(device, [m, n], product.result(dtype));
    let seconds = fastest(time, || {
        let (a, b) = match product {
            Product::Forward => (Matrix::new(left.view(), a[1]), Matrix::transposed(right.view(), b[1])),
            Product::InputGradient => (Matrix::new(left.view(), a[1]), Matrix::new(right.view(), b[1])),
            Product::WeightGradient => (Matrix::transposed(left.view(), a[1]), Matrix::new(right.view(), b[1])),
        };
        device.kernels().matmul(Matmul::product([m, n, k], a, b, c.view_mut(), false));
    });
    layer.flops() / seconds
}

/// Shortest time of attention forward and backward in `dtype`.
///
/// # Units
/// Seconds.
pub fn attention(device: &Device, dtype: DType, shape: SelfAttention) -> f64 {
    let SelfAttention { n_heads: h, d_head, context_len: t } = shape;
    let sizes = AttentionSizes { b: 1, t, s: t, h, g: h, d_head, scale: 1.0 / (d_head as f32).sqrt(), cap: None };
    let [qkv, dout] = [3, 1].map(|n| random(device, [t, n * h * d_head]).cast(dtype));
    let (mut out, mut gradient, mut log_sum_exp) = (dout.copy(), qkv.copy(), vec![0.0; h * t]);
    let [q, k, v] = [0, h, 2 * h].map(|first_head| Heads { data: qkv.view(), n_heads_stored: 3 * h, first_head });
    let (mask, bias) = (Mask::new(Visibility::Causal), None);
    fastest(TIME, || {
        let sums = &mut log_sum_exp[..];
        device.kernels().attention(Attention { sizes, q, k, v, mask, bias, out: out.view_mut(), log_sum_exp: sums });
        let (out, dout, log_sum_exp, dbias) = (out.view(), dout.view(), &log_sum_exp[..], None);
        let into = AttentionGradients::Fused(gradient.view_mut());
        let call = AttentionBackward { sizes, q, k, v, mask, bias, out, log_sum_exp, dout, into, dbias };
        device.kernels().attention_backward(call);
    })
}

/// How fast memory is read, and changed where it lies, and how that was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bandwidth {
    /// Best rate of all threads together, of reading alone.
    pub read_bytes_per_s: f64,
    /// Best rate of all threads together, what is read and what is written back: many processors do both at once.
    pub update_bytes_per_s: f64,
    /// What was read each time.
    pub n_bytes_read: usize,
    /// What the last-level caches hold, where the system tells.
    pub last_level_cache_bytes: Option<usize>,
}

/// Least memory that is read to see how fast that goes.
const LEAST_READ_BYTES: usize = 512 << 20;

/// How many times the last-level caches' size is read, so that little of it is still there from the time before.
const CACHES_READ: usize = 4;

/// Best rates at which all threads together read and change memory that no cache holds. The threads are there before the clock
/// starts, and each has written what it reads, so that it lies in the memory nearest to it.
pub fn bandwidth(n_threads: usize) -> Bandwidth {
    let last_level_cache_bytes = machine::last_level_cache_bytes();
    let spare = machine::available_bytes().map_or(usize::MAX, |bytes| bytes / 2);
    let n_bytes = (CACHES_READ * last_level_cache_bytes.unwrap_or(0)).max(LEAST_READ_BYTES).min(spare);
    let n_words = n_bytes / size_of::<u64>();
    let [read, update] = seconds_to_pass(n_words, n_threads);
    Bandwidth {
        read_bytes_per_s: (8 * n_words) as f64 / read,
        update_bytes_per_s: (2 * 8 * n_words) as f64 / update,
        n_bytes_read: 8 * n_words,
        last_level_cache_bytes,
    }
}

/// A pass over memory.
type Pass = fn(&mut [u64]);

const READ: Pass = |words| {
    black_box(black_box(&*words).iter().fold(0_u64, |sum, word| sum.wrapping_add(*word)));
};
const UPDATE: Pass = |words| {
    words.iter_mut().for_each(|word| *word = word.wrapping_add(1));
    black_box(words);
};

/// Shortest times in which all threads together read so many words, and change them.
fn seconds_to_pass(n_words: usize, n_threads: usize) -> [f64; 2] {
    let mut words = vec![0_u64; n_words];
    let parts: Vec<&mut [u64]> = words.chunks_mut(n_words.div_ceil(n_threads.max(1)).max(1)).collect();
    let barrier = &Barrier::new(parts.len());
    let mut parts = parts.into_iter();
    let own = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        for part in parts {
            scope.spawn(move || pass_in_rounds(part, barrier));
        }
        pass_in_rounds(own, barrier)
    })
}

/// How often memory is passed over, after once to warm up.
const N_ROUNDS: usize = 8;

/// Reads `part`, then changes it, while the other threads do the same with theirs: seconds of the fastest rounds but the first, as
/// long as the slowest thread took.
fn pass_in_rounds(part: &mut [u64], barrier: &Barrier) -> [f64; 2] {
    part.fill(1);
    [READ, UPDATE].map(|pass| fastest_round(part, barrier, pass))
}

fn fastest_round(part: &mut [u64], barrier: &Barrier, pass: Pass) -> f64 {
    let mut best = f64::INFINITY;
    for round in 0..=N_ROUNDS {
        barrier.wait();
        let start = Instant::now();
        pass(part);
        barrier.wait();
        if round > 0 {
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    best
}

/// How long each thread is busy in a call whose cost is measured: longer than any of them takes to join.
const BUSY: Duration = Duration::from_micros(20);

/// What it costs to share work among all threads of a pool, when calls follow each other closely: how much longer a call takes
/// in which each thread has [`BUSY`] to do than one thread takes for its part. The median of many.
///
/// # Units
/// Seconds.
pub fn parallel_call(n_threads: usize) -> f64 {
    const N_CALLS: usize = 2000;
    let cpu = Cpu::new(n_threads);
    let busy = |_| {
        let start = Instant::now();
        while start.elapsed() < BUSY {
            spin_loop();
        }
    };
    let n_threads = cpu.n_threads();
    let usual = |call: &dyn Fn()| {
        let timed = |_| {
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64()
        };
        median((0..N_CALLS).map(timed))
    };
    let alone = usual(&|| busy(0));
    (usual(&|| cpu.run_tasks(n_threads, &busy)) - alone).max(0.0)
}

/// The value in the middle, of an even number of values the mean of both; NaN of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n => f64::midpoint(values[(n - 1) / 2], values[n / 2]),
    }
}

/// Numbers in 0..1; a processor may multiply zeros faster.
fn random(device: &Device, shape: [usize; 2]) -> Tensor {
    let mut values = vec![0.0; shape[0] * shape[1]];
    Key::new(1).uniforms(0, &mut values);
    Tensor::from_f32(device, shape, &values)
}

/// Seconds of the fastest of the calls that fit into `time`, after one that warms up.
fn fastest(time: Duration, mut call: impl FnMut()) -> f64 {
    call();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    loop {
        let before = Instant::now();
        call();
        best = best.min(before.elapsed().as_secs_f64());
        if start.elapsed() > time {
            return best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median([7.0]), 7.0);
        assert_eq!(median([9.0, 1.0]), 5.0);
        assert_eq!(median([3.0, 100.0, 1.0]), 3.0);
        assert_eq!(median([4.0, 100.0, 1.0, 2.0]), 3.0);
        assert!(median([]).is_nan());
    }

    #[test]
    fn rates_are_those_of_a_computer() {
        let device = Device::cpu(1);
        let layer = Layer { n_tokens: 64, n_in: 48, n_out: 80 };
        for kind in Product::ALL {
            let rate = product(&device, DType::F32, layer, kind);
            assert!((1e6..1e13).contains(&rate), "{}: {rate}", kind.name());
        }
        let shape = SelfAttention { n_heads: 2, d_head: 16, context_len: 33 };
        let rate = shape.flops() / attention(&device, DType::F32, shape);
        assert!((1e6..1e13).contains(&rate), "attention: {rate}");
        let n_words = (2 << 20) + 1;
        for n_threads in [1, 2, 3] {
            for seconds in seconds_to_pass(n_words, n_threads) {
                let rate = (8 * n_words) as f64 / seconds;
                assert!((1e6..1e14).contains(&rate), "{n_threads} threads: {rate}");
            }
        }
        let mut words = [0; 3];
        pass_in_rounds(&mut words, &Barrier::new(1));
        assert_eq!(words, [2 + N_ROUNDS as u64; 3]);
        let call = parallel_call(2);
        assert!((0.0..1e-2).contains(&call), "{call}");
        let best = peak(1, DType::F32, Duration::ZERO);
        assert!((1e6..1e13).contains(&best), "{best}");
        assert_eq!(layer.flops(), 2.0 * 245_760.0);
        assert_eq!(layer.bytes(DType::Bf16, Product::Forward), 2.0 * (64.0 * 48.0 + 80.0 * 48.0 + 64.0 * 80.0));
        assert_eq!(
            layer.bytes(DType::Bf16, Product::WeightGradient),
            2.0 * (64.0 * 48.0 + 64.0 * 80.0) + 4.0 * 80.0 * 48.0
        );
    }
}
