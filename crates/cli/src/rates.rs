//! What this machine can do at best: the rate of its matrix products, of attention and of its memory.

use genera_tensor::backend::{
    Attention, AttentionBackward, AttentionGradients, AttentionSizes, Heads, Mask, Matmul, Matrix,
};
use genera_tensor::{DType, Device, Key, Tensor, Visibility};
use serde::{Serialize, Serializer};
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
    /// Operations of both passes: 4·T·T·K a head forward and 10·T·T·K backward, half of them under the causal mask.
    pub fn flops(self) -> f64 {
        (4 + 10) as f64 / 2.0 * (self.n_heads * self.context_len * self.context_len * self.d_head) as f64
    }
}

/// Time for which a rate is measured.
const TIME: Duration = Duration::from_millis(300);

/// Best rate of large matrix products in `dtype`.
///
/// # Units
/// FLOP/s.
pub fn peak(device: &Device, dtype: DType) -> f64 {
    product(device, dtype, Layer { n_tokens: 768, n_in: 768, n_out: 768 }, Product::Forward)
}

/// Best rate of one product in `dtype`.
///
/// # Units
/// FLOP/s.
pub fn product(device: &Device, dtype: DType, layer: Layer, product: Product) -> f64 {
    let Layer { n_tokens, n_in, n_out } = layer;
    let [x, w, dy] =
        [[n_tokens, n_in], [n_out, n_in], [n_tokens, n_out]].map(|shape| random(device, shape).cast(dtype));
    let [m, n, k] = match product {
        Product::Forward => [n_tokens, n_out, n_in],
        Product::InputGradient => [n_tokens, n_in, n_out],
        Product::WeightGradient => [n_out, n_in, n_tokens],
    };
    let mut c = Tensor::zeros(device, [m, n], product.result(dtype));
    let seconds = fastest(|| {
        let (a, b) = match product {
            Product::Forward => (Matrix::new(x.view(), n_in), Matrix::transposed(w.view(), n_in)),
            Product::InputGradient => (Matrix::new(dy.view(), n_out), Matrix::new(w.view(), n_in)),
            Product::WeightGradient => (Matrix::transposed(dy.view(), n_out), Matrix::new(x.view(), n_in)),
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
    fastest(|| {
        let sums = &mut log_sum_exp[..];
        device.kernels().attention(Attention { sizes, q, k, v, mask, bias, out: out.view_mut(), log_sum_exp: sums });
        let (out, dout, log_sum_exp, dbias) = (out.view(), dout.view(), &log_sum_exp[..], None);
        let into = AttentionGradients::Fused(gradient.view_mut());
        let call = AttentionBackward { sizes, q, k, v, mask, bias, out, log_sum_exp, dout, into, dbias };
        device.kernels().attention_backward(call);
    })
}

/// Best rate at which all threads together read memory that no cache holds.
///
/// # Units
/// Bytes/s.
pub fn read_bandwidth(n_threads: usize) -> f64 {
    const N_WORDS: usize = 1 << 26;
    let words = vec![1_u64; N_WORDS];
    let share = N_WORDS.div_ceil(n_threads.max(1));
    let seconds = fastest(|| {
        std::thread::scope(|scope| {
            for part in words.chunks(share) {
                scope.spawn(|| std::hint::black_box(part.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word))));
            }
        });
    });
    (8 * N_WORDS) as f64 / seconds
}

/// Numbers in 0..1; a processor may multiply zeros faster.
fn random(device: &Device, shape: [usize; 2]) -> Tensor {
    let mut values = vec![0.0; shape[0] * shape[1]];
    Key::new(1).uniforms(0, &mut values);
    Tensor::from_f32(device, shape, &values)
}

/// Seconds of the fastest of the calls that fit into [`TIME`], after one that warms up.
fn fastest(mut call: impl FnMut()) -> f64 {
    call();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    loop {
        let before = Instant::now();
        call();
        best = best.min(before.elapsed().as_secs_f64());
        if start.elapsed() > TIME {
            return best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!((1e8..1e13).contains(&read_bandwidth(1)));
        assert_eq!(layer.flops(), 2.0 * 245_760.0);
        assert_eq!(layer.bytes(DType::Bf16, Product::Forward), 2.0 * (64.0 * 48.0 + 80.0 * 48.0 + 64.0 * 80.0));
        assert_eq!(
            layer.bytes(DType::Bf16, Product::WeightGradient),
            2.0 * (64.0 * 48.0 + 64.0 * 80.0) + 4.0 * 80.0 * 48.0
        );
    }
}
