//! ChemNet: a network that learned to tell what molecules do, whose activations say how alike sets of molecules are.
//!
//! # Source
//! Preuer et al., "Fréchet ChemNet Distance", arXiv 1803.09518; the layers as in the package `fcd_torch` 1.0.7: two convolutions
//! over the characters of canonical SMILES and two recurrent layers (LSTM), the first of which reads them backwards.

use genera_tensor::backend::{Kernels, Matmul, Matrix};
use genera_tensor::{Device, ViewMut};

/// Numbers that a molecule becomes.
pub const N_ACTIVATIONS: usize = 512;

/// Characters of a molecule that are read, and positions behind each convolution.
const LENS: [usize; 3] = [350, 175, 88];
const N_SYMBOLS: usize = 35;
const N_CHANNELS: usize = 32;
const N_HIDDEN: usize = 128;
/// Characters that a convolution sees at once, and from one place to the next.
const KERNEL: usize = 4;
const STRIDE: usize = 2;

/// Molecules at a time: the weights are read once for all of them.
const BATCH: usize = 128;

const SYMBOLS: [&str; N_SYMBOLS] = [
    "C", "N", "O", "H", "F", "Cl", "P", "B", "Br", "S", "I", "Si", "#", "(", ")", "+", "-", "1", "2", "3", "4", "5",
    "6", "7", "8", "=", "[", "]", "@", "c", "n", "o", "s", "X", ".",
];
const UNKNOWN: usize = 33;
const END: usize = 34;

/// A recurrent layer.
#[derive(Clone, Debug)]
struct Lstm {
    /// [4 · H, D]
    input: Vec<f32>,
    /// [4 · H, H]
    hidden: Vec<f32>,
    /// `[4 · H]`
    bias: Vec<f32>,
    n_input: usize,
    n_hidden: usize,
}

/// The weights of the network by the names in its file.
pub type ChemNetWeights<'w> = dyn FnMut(&str) -> Result<Vec<f32>, String> + 'w;

/// The network.
#[derive(Clone, Debug)]
pub struct ChemNet {
    /// [32, 35, 4]
    first: Vec<f32>,
    /// [32, 32 · 4], as it is multiplied: a row of the window by its places, then channels.
    second: Vec<f32>,
    backwards: Lstm,
    forwards: Lstm,
}

impl ChemNet {
    /// Takes the weights, named by layer: `0.weight`, `1.weight`, `2.weight_ih_l0` and so on.
    ///
    /// # Errors
    /// When one is missing or of another size.
    pub fn new(weights: &mut ChemNetWeights<'_>) -> Result<Self, String> {
        let mut sized = |name: &str, n: usize| {
            let values = weights(name)?;
            if values.len() != n {
                return Err(format!("{name} of ChemNet holds {} numbers, expected {n}", values.len()));
            }
            Ok(values)
        };
        let mut lstm = |layer: usize, n_input: usize, n_hidden: usize| {
            let mut part = |name: &str, n: usize| sized(&format!("{layer}.{name}"), n);
            let input = part("weight_ih_l0", 4 * n_hidden * n_input)?;
            let hidden = part("weight_hh_l0", 4 * n_hidden * n_hidden)?;
            let (a, b) = (part("bias_ih_l0", 4 * n_hidden)?, part("bias_hh_l0", 4 * n_hidden)?);
            let bias = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            Ok::<Lstm, String>(Lstm { input, hidden, bias, n_input, n_hidden })
        };
        let (backwards, forwards) = (lstm(2, N_CHANNELS, N_HIDDEN)?, lstm(3, N_HIDDEN, N_ACTIVATIONS)?);
        let first = sized("0.weight", N_CHANNELS * N_SYMBOLS * KERNEL)?;
        let stored = sized("1.weight", N_CHANNELS * N_CHANNELS * KERNEL)?;
        let mut second = vec![0.0; stored.len()];
        for out in 0..N_CHANNELS {
            for channel in 0..N_CHANNELS {
                for place in 0..KERNEL {
                    second[(out * KERNEL + place) * N_CHANNELS + channel] =
                        stored[(out * N_CHANNELS + channel) * KERNEL + place];
                }
            }
        }
        Ok(Self { first, second, backwards, forwards })
    }

    /// The activations of molecules in canonical SMILES.
    ///
    /// # Shapes
    /// [number of molecules, 512]
    ///
    /// # Cost
    /// 0.25 GFLOP a molecule, in the device's matrix products.
    pub fn activations(&self, molecules: &[String], device: &Device, done: &mut dyn FnMut(usize)) -> Vec<f32> {
        let mut activations = Vec::with_capacity(molecules.len() * N_ACTIVATIONS);
        for batch in molecules.chunks(BATCH) {
            activations.extend(self.of_batch(batch, device.kernels()));
            done(activations.len() / N_ACTIVATIONS);
        }
        activations
    }

    fn of_batch(&self, batch: &[String], kernels: &dyn Kernels) -> Vec<f32> {
        let rows = batch.len();
        // By position first, so that a step of a recurrent layer finds its rows together.
        let mut sequence = vec![0.0; LENS[2] * rows * N_CHANNELS];
        for (row, smiles) in batch.iter().enumerate() {
            let features = self.convolve(&symbols_of(smiles), kernels);
            for (position, values) in features.chunks(N_CHANNELS).enumerate() {
                sequence[(position * rows + row) * N_CHANNELS..][..N_CHANNELS].copy_from_slice(values);
            }
        }
        let mut between = vec![0.0; LENS[2] * rows * N_HIDDEN];
        let mut state = State::new(rows, N_HIDDEN);
        for position in (0..LENS[2]).rev() {
            state.step(&self.backwards, &sequence[position * rows * N_CHANNELS..][..rows * N_CHANNELS], kernels);
            between[position * rows * N_HIDDEN..][..rows * N_HIDDEN].copy_from_slice(&state.hidden);
        }
        let mut state = State::new(rows, N_ACTIVATIONS);
        for position in 0..LENS[2] {
            state.step(&self.forwards, &between[position * rows * N_HIDDEN..][..rows * N_HIDDEN], kernels);
        }
        state.hidden
    }

    /// Both convolutions.
    ///
    /// # Shapes
    /// [88, 32]
    fn convolve(&self, symbols: &[usize], kernels: &dyn Kernels) -> Vec<f32> {
        // One place of padding on either side; each symbol counts 1/35, as the network learned it.
        let mut narrow = vec![0.0_f32; (LENS[1] + 3) * N_CHANNELS];
        for (position, out) in narrow[N_CHANNELS..].chunks_mut(N_CHANNELS).take(LENS[1]).enumerate() {
            for place in 0..KERNEL {
                let at = (position * STRIDE + place).checked_sub(1);
                let Some(&symbol) = at.and_then(|at| symbols.get(at)) else { continue };
                let weights = self.first[symbol * KERNEL + place..].iter().step_by(N_SYMBOLS * KERNEL);
                out.iter_mut().zip(weights).for_each(|(out, weight)| *out += weight / N_SYMBOLS as f32);
            }
            out.iter_mut().for_each(|x| *x = selu(*x));
        }
        let n_window = KERNEL * N_CHANNELS;
        let mut out = vec![0.0; LENS[2] * N_CHANNELS];
        let step = STRIDE * N_CHANNELS;
        let windows: Vec<f32> = (0..LENS[2]).flat_map(|i| narrow[i * step..][..n_window].iter().copied()).collect();
        let windows = Matrix::new(genera_tensor::View::F32(&windows), n_window);
        let weights = Matrix::transposed(genera_tensor::View::F32(&self.second), n_window);
        let sizes = [LENS[2], N_CHANNELS, n_window];
        kernels.matmul(Matmul::product(sizes, windows, weights, ViewMut::F32(&mut out), false));
        out.iter_mut().for_each(|x| *x = selu(*x));
        out
    }
}

/// The symbols of a molecule and the end behind them, as far as they are read.
fn symbols_of(smiles: &str) -> Vec<usize> {
    let bytes = smiles.as_bytes();
    let mut symbols = Vec::new();
    let mut at = 0;
    while at < bytes.len() && symbols.len() < LENS[0] - 1 {
        let is_pair = bytes.get(at + 1).is_some_and(|next| b"ril".contains(next));
        let text = smiles.get(at..at + 1 + usize::from(is_pair)).unwrap_or("X");
        symbols.push(SYMBOLS.iter().position(|symbol| *symbol == text).unwrap_or(UNKNOWN));
        at += 1 + usize::from(is_pair);
        if bytes.get(at) == Some(&b'.') {
            break;
        }
    }
    symbols.push(END);
    symbols
}

/// The self-normalising unit.
///
/// # Source
/// Klambauer et al., arXiv 1706.02515.
fn selu(x: f32) -> f32 {
    const ALPHA: f32 = 1.673_263_2;
    const SCALE: f32 = 1.050_701;
    SCALE * if x > 0.0 { x } else { ALPHA * x.exp_m1() }
}

/// What a recurrent layer remembers of each row.
struct State {
    rows: usize,
    hidden: Vec<f32>,
    cell: Vec<f32>,
    gates: Vec<f32>,
}

impl State {
    fn new(rows: usize, n_hidden: usize) -> Self {
        let zeros = vec![0.0; rows * n_hidden];
        Self { rows, hidden: zeros.clone(), cell: zeros, gates: vec![0.0; 4 * rows * n_hidden] }
    }

    /// Takes one position of every row.
    fn step(&mut self, layer: &Lstm, input: &[f32], kernels: &dyn Kernels) {
        use genera_tensor::View::F32;
        let n_gates = 4 * layer.n_hidden;
        for (gates, first) in self.gates.chunks_mut(n_gates).zip(std::iter::repeat(&layer.bias)) {
            gates.copy_from_slice(first);
        }
        for (x, weights, width) in
            [(input, &layer.input, layer.n_input), (&self.hidden[..], &layer.hidden, layer.n_hidden)]
        {
            let (x, weights) = (Matrix::new(F32(x), width), Matrix::transposed(F32(weights), width));
            let sizes = [self.rows, n_gates, width];
            kernels.matmul(Matmul::product(sizes, x, weights, ViewMut::F32(&mut self.gates), true));
        }
        let n = layer.n_hidden;
        for ((gates, cell), hidden) in
            self.gates.chunks(n_gates).zip(self.cell.chunks_mut(n)).zip(self.hidden.chunks_mut(n))
        {
            for i in 0..n {
                // Input, forget, candidate, output: PyTorch's order.
                let (input, forget) = (sigmoid(gates[i]), sigmoid(gates[n + i]));
                cell[i] = forget * cell[i] + input * gates[2 * n + i].tanh();
                hidden[i] = sigmoid(gates[3 * n + i]) * cell[i].tanh();
            }
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
