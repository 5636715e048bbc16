//! Trains a model of the speed comparisons in candle on random tokens, and prints one JSON object.
//!
//!     cargo run --release -- a --steps 10
//!
//! Models, sizes and optimizer are those of pytorch_train.py. In f32 alone: candle multiplies bf16 by way of f32. Its fused
//! layer norm, softmax and attention have no backward pass, so these are made of plain operations.

#[path = "../../work.rs"]
mod work;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{
    AdamW, Embedding, Init, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear, loss, ops,
};
use std::f64::consts::PI;
use work::{Sizes, Work};

struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(width: usize, vars: VarBuilder) -> Result<Self> {
        let weight = vars.get_with_hints(width, "weight", Init::Const(1.0))?;
        Ok(Self { weight, bias: vars.get_with_hints(width, "bias", Init::Const(0.0))? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm_slow(x, &self.weight, &self.bias, 1e-5)
    }
}

struct Block {
    n_heads: usize,
    norm: Norm,
    norm_inner: Norm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(&Sizes { n_heads, width, .. }: &Sizes, vars: VarBuilder) -> Result<Self> {
        Ok(Self {
            n_heads,
            norm: Norm::new(width, vars.pp("norm"))?,
            norm_inner: Norm::new(width, vars.pp("norm_inner"))?,
            q: linear(width, width, vars.pp("q"))?,
            k: linear(width, width, vars.pp("k"))?,
            v: linear(width, width, vars.pp("v"))?,
            out: linear(width, width, vars.pp("out"))?,
            up: linear(width, 4 * width, vars.pp("up"))?,
            down: linear(4 * width, width, vars.pp("down"))?,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (rows, context, width) = x.dims3()?;
        let d_head = width / self.n_heads;
        let h = self.norm.forward(x)?;
        let heads = |part: &Linear| {
            // One product for each of the three: taking one apart would cost more on the way back.
            part.forward(&h)?.reshape((rows, context, self.n_heads, d_head))?.transpose(1, 2)?.contiguous()
        };
        let q = (heads(&self.q)? / (d_head as f64).sqrt())?;
        let scores = q.matmul(&heads(&self.k)?.t()?)?.broadcast_add(mask)?;
        let mixed = ops::softmax(&scores, D::Minus1)?
            .matmul(&heads(&self.v)?)?
            .transpose(1, 2)?
            .reshape((rows, context, width))?;
        let x = (x + self.out.forward(&mixed)?)?;
        let inner = gelu(&self.up.forward(&self.norm_inner.forward(&x)?)?)?;
        x + self.down.forward(&inner)?
    }
}

/// The tanh form, written with a sigmoid: with candle's own, whose way back computes powers, a step of model B takes 1.3
/// times as long.
fn gelu(x: &Tensor) -> Result<Tensor> {
    let slope = 2.0 * (2.0 / PI).sqrt();
    x * ops::sigmoid(&(x * ((x.sqr()? * (0.044715 * slope))? + slope)?)?)?
}

struct Gpt {
    tokens: Embedding,
    positions: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
    mask: Tensor,
}

impl Gpt {
    fn new(sizes: &Sizes, vars: VarBuilder) -> Result<Self> {
        let &Sizes { n_layers, width, context, vocabulary, .. } = sizes;
        let normal = |stdev| Init::Randn { mean: 0.0, stdev };
        let tokens = vars.get_with_hints((vocabulary, width), "tokens", normal(0.02))?;
        let mask = (0..context * context).map(|i| if i % context > i / context { f32::NEG_INFINITY } else { 0.0 });
        Ok(Self {
            tokens: Embedding::new(tokens, width),
            positions: vars.get_with_hints((context, width), "positions", normal(1.0))?,
            blocks: (0..n_layers).map(|i| Block::new(sizes, vars.pp(i))).collect::<Result<_>>()?,
            norm: Norm::new(width, vars.pp("norm"))?,
            mask: Tensor::from_iter(mask, vars.device())?.reshape((context, context))?,
        })
    }

    fn forward(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let mut h = self.tokens.forward(x)?.broadcast_add(&self.positions)?;
        for block in &self.blocks {
            h = block.forward(&h, &self.mask)?;
        }
        let head = Linear::new(self.tokens.embeddings().clone(), None);
        loss::cross_entropy(&head.forward(&self.norm.forward(&h)?)?.flatten_to(1)?, y)
    }
}

fn step(model: &Gpt, vars: &[Var], optimizer: &mut AdamW, x: &Tensor, y: &Tensor) -> Result<f32> {
    let loss = model.forward(x, y)?;
    let mut gradients = loss.backward()?;
    let mut squares = 0.0;
    for var in vars {
        squares += gradients.get(var).expect("a gradient").sqr()?.sum_all()?.to_scalar::<f32>()?;
    }
    let norm = squares.sqrt();
    if norm > 1.0 {
        for var in vars {
            let clipped = (gradients.get(var).expect("a gradient") / norm as f64)?;
            gradients.insert(var, clipped);
        }
    }
    optimizer.step(&gradients)?;
    loss.to_scalar()
}

fn main() -> Result<()> {
    let work = Work::from_arguments();
    let vars = VarMap::new();
    let model = Gpt::new(&work.sizes, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    let vars = vars.all_vars();
    let options = ParamsAdamW { lr: 1e-3, beta1: 0.9, beta2: 0.95, weight_decay: 0.1, ..Default::default() };
    let mut optimizer = AdamW::new(vars.clone(), options)?;
    let x = Tensor::new(work.tokens(1), &Device::Cpu)?.reshape((work.sizes.rows, work.sizes.context))?;
    let y = Tensor::new(work.tokens(2), &Device::Cpu)?;
    let n_parameters = vars.iter().map(|var| var.elem_count()).sum();
    work.measure("candle-core", include_str!("../Cargo.lock"), n_parameters, || {
        step(&model, &vars, &mut optimizer, &x, &y).expect("a step")
    });
    Ok(())
}
