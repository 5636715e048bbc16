//! Trains a model of the speed comparisons in burn, with its backend burn-flex, on random tokens, and prints one JSON
//! object.
//!
//!     cargo run --release -- a --steps 10
//!
//! Models, sizes and optimizer are those of pytorch_train.py. In f32 alone: burn-flex multiplies bf16 by way of f32.

#[path = "../../work.rs"]
mod work;

use burn::module::{Initializer, ModuleVisitor, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{TensorData, module};
use std::f64::consts::PI;
use work::{Sizes, Work};

#[derive(Module, Debug)]
struct Block {
    n_heads: usize,
    norm: LayerNorm,
    norm_inner: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(&Sizes { n_heads, width, .. }: &Sizes, device: &Device) -> Self {
        let norm = || LayerNormConfig::new(width).init(device);
        let linear = |d_input, d_output| LinearConfig::new(d_input, d_output).init(device);
        Self {
            n_heads,
            norm: norm(),
            norm_inner: norm(),
            q: linear(width, width),
            k: linear(width, width),
            v: linear(width, width),
            out: linear(width, width),
            up: linear(width, 4 * width),
            down: linear(4 * width, width),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [rows, context, width] = x.dims();
        let h = self.norm.forward(x.clone());
        // One product for each of the three: taking one apart would cost more on the way back.
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|part| {
            let shape = [rows, context, self.n_heads, width / self.n_heads];
            part.forward(h.clone()).reshape(shape).swap_dims(1, 2)
        });
        let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let mixed = module::attention(q, k, v, None, None, options);
        let x = x + self.out.forward(mixed.swap_dims(1, 2).reshape([rows, context, width]));
        let inner = gelu(self.up.forward(self.norm_inner.forward(x.clone())));
        x + self.down.forward(inner)
    }
}

/// The tanh form, written with a sigmoid: with burn's own, of more operations, a step of model B takes 1.3 times as long.
fn gelu(x: Tensor<3>) -> Tensor<3> {
    let slope = 2.0 * (2.0 / PI).sqrt();
    x.clone() * sigmoid(x.clone() * (x.square() * (0.044715 * slope) + slope))
}

#[derive(Module, Debug)]
struct Gpt {
    tokens: Embedding,
    positions: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl Gpt {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        let &Sizes { n_layers, width, context, vocabulary, .. } = sizes;
        let normal = |std| Initializer::Normal { mean: 0.0, std };
        Self {
            tokens: EmbeddingConfig::new(vocabulary, width).with_initializer(normal(0.02)).init(device),
            positions: normal(1.0).init([context, width], device),
            blocks: (0..n_layers).map(|_| Block::new(sizes, device)).collect(),
            norm: LayerNormConfig::new(width).init(device),
        }
    }

    fn forward(&self, x: Tensor<2, Int>, y: Tensor<1, Int>) -> Tensor<1> {
        let embedded = self.tokens.forward(x) + self.positions.val().unsqueeze();
        let h = self.blocks.iter().fold(embedded, |h, block| block.forward(h));
        let head = self.tokens.weight.val().transpose();
        let logits = module::linear(self.norm.forward(h), head, None).flatten(0, 1);
        CrossEntropyLossConfig::new().init(&y.device()).forward(logits, y)
    }
}

/// Adds up the squares of all gradients.
struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: f32,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<N>>) {
        let gradient = self.gradients.get::<N>(param.id).expect("a gradient");
        self.sum += gradient.square().sum().into_scalar::<f32>();
    }
}

/// Divides all gradients by their norm.
struct Clip<'a> {
    gradients: &'a mut GradientsParams,
    norm: f32,
}

impl ModuleVisitor for Clip<'_> {
    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<N>>) {
        let gradient = self.gradients.remove::<N>(param.id).expect("a gradient");
        self.gradients.register(param.id, gradient / self.norm);
    }
}

fn main() {
    let work = Work::from_arguments();
    let &Sizes { context, rows, .. } = &work.sizes;
    let device = Device::flex().autodiff();
    let mut model = Gpt::new(&work.sizes, &device);
    let mut optimizer: ModuleOptimizer =
        AdamWConfig::new().with_beta_2(0.95).with_epsilon(1e-8).with_weight_decay(0.1).init();
    let tokens = |seed| work.tokens(seed).into_iter().map(|id| id as i32).collect::<Vec<_>>();
    let x = Tensor::<2, Int>::from_data(TensorData::new(tokens(1), [rows, context]), &device);
    let y = Tensor::<1, Int>::from_data(TensorData::new(tokens(2), [rows * context]), &device);
    let n_parameters = model.num_params();
    work.measure("burn", include_str!("../Cargo.lock"), n_parameters, || {
        let loss = model.forward(x.clone(), y.clone());
        let mut gradients = GradientsParams::from_grads(loss.backward(), &model);
        let mut squares = Squares { gradients: &gradients, sum: 0.0 };
        model.visit(&mut squares);
        let norm = squares.sum.sqrt();
        if norm > 1.0 {
            model.visit(&mut Clip { gradients: &mut gradients, norm });
        }
        model = optimizer.step(1e-3, model.clone(), gradients);
        loss.into_scalar::<f32>()
    });
}
