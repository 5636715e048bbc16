//! What this machine can do at best: the rate of its matrix products and of its memory.

use genera_tensor::backend::{Matmul, Matrix};
use genera_tensor::{DType, Device, Tensor};
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
    let zeros = |rows, columns| Tensor::zeros(device, [rows, columns], dtype);
    let (x, w, dy) = (zeros(n_tokens, n_in), zeros(n_out, n_in), zeros(n_tokens, n_out));
    let [m, n, k] = match product {
        Product::Forward => [n_tokens, n_out, n_in],
        Product::InputGradient => [n_tokens, n_in, n_out],
        Product::WeightGradient => [n_out, n_in, n_tokens],
    };
    let out = if product == Product::WeightGradient { DType::F32 } else { dtype };
    let mut c = Tensor::zeros(device, [m, n], out);
    let seconds = fastest(|| {
        let (a, b) = match product {
            Product::Forward => (Matrix::new(x.view(), n_in), Matrix::transposed(w.view(), n_in)),
            Product::InputGradient => (Matrix::new(dy.view(), n_out), Matrix::new(w.view(), n_in)),
            Product::WeightGradient => (Matrix::transposed(dy.view(), n_out), Matrix::new(x.view(), n_in)),
        };
        device.kernels().matmul(Matmul::product([m, n, k], a, b, c.view_mut(), false));
    });
    2.0 * (m * n * k) as f64 / seconds
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

/// Seconds of the fastest of the calls that fit into [`TIME`], at least two.
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
        assert!((1e8..1e13).contains(&read_bandwidth(1)));
    }
}
