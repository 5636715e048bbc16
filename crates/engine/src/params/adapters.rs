//! Low-rank adapters: pairs of small matrices that are learned beside frozen weights.
//!
//! A matrix here may be several published modules on top of each other (query, key and value); each has a pair of its own.
//!
//! # Source
//! Hu et al., "LoRA: low-rank adaptation of large language models", arXiv 2106.09685, section 4.1.

use super::{ParamSpec, Params, Role};
use genera_tensor::backend::{Matmul, Matrix};
use genera_tensor::{DType, ParamId, Tensor};
use std::ops::Range;

/// What is added to some rows of a weight: scale · b · a.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// The published module that these rows are.
    pub module: String,
    /// Rows of the weight.
    pub rows: Range<usize>,
    /// (rank, in)
    pub a: ParamId,
    /// (rows, rank)
    pub b: ParamId,
    /// alpha / rank
    pub scale: f32,
}

/// An adapter with its numbers, before it is part of a model.
#[derive(Clone, Debug)]
pub struct NewAdapter {
    /// The weight that it is for.
    pub weight: ParamId,
    /// The published module that these rows are.
    pub module: String,
    /// Rows of the weight.
    pub rows: Range<usize>,
    /// alpha / rank
    pub scale: f32,
    /// [rank, in] in f32.
    pub a: Tensor,
    /// [rows, rank] in f32.
    pub b: Tensor,
}

impl Params {
    /// Adds adapters, which become parameters behind the model's own; those are then frozen.
    ///
    /// # Panics
    /// When there are some already, or the shapes do not fit the weights.
    pub fn attach(&mut self, adapters: Vec<NewAdapter>) {
        assert!(!self.has_adapters(), "a model has adapters once");
        self.n_own = self.specs.len();
        self.adapters = vec![Vec::new(); self.n_own];
        for NewAdapter { weight, module, rows, scale, a, b } in adapters {
            let [_, width] = self.specs[weight.0].shape.sizes()[..] else { panic!("only matrices have adapters") };
            let ([rank, a_width], [b_rows, b_rank]) = (a.dims(), b.dims());
            let fits = a_width == width && b_rank == rank && b_rows == rows.len();
            assert!(fits, "{module}: an adapter of {a:?} and {b:?} does not fit rows {rows:?} of {width}");
            let a = self.push(format!("{module}.lora_A.weight"), a);
            let b = self.push(format!("{module}.lora_B.weight"), b);
            self.adapters[weight.0].push(Adapter { module, rows, a, b, scale });
        }
        self.adapters.iter_mut().for_each(|of_weight| of_weight.sort_by_key(|adapter| adapter.rows.start));
    }

    fn push(&mut self, name: String, values: Tensor) -> ParamId {
        self.specs.push(ParamSpec { name, shape: values.shape(), role: Role::Adapter });
        self.masters.push(Some(values));
        self.rounded.push(None);
        self.packed.push(None);
        let id = self.specs.len() - 1;
        self.round(id);
        ParamId(id)
    }

    /// Whether there are adapters.
    pub fn has_adapters(&self) -> bool {
        !self.adapters.is_empty()
    }

    /// The adapters of a weight, by rows.
    pub fn adapters_of(&self, weight: ParamId) -> &[Adapter] {
        self.adapters.get(weight.0).map_or(&[], Vec::as_slice)
    }

    /// All adapters.
    pub fn adapters(&self) -> impl Iterator<Item = (ParamId, &Adapter)> {
        let by_weight = self.adapters.iter().enumerate();
        by_weight.flat_map(|(i, adapters)| adapters.iter().map(move |adapter| (ParamId(i), adapter)))
    }

    /// Whether a parameter is learned: all that are not fixed, or the adapters alone where there are any.
    pub fn is_trained(&self, id: ParamId) -> bool {
        self.specs[id.0].role != Role::Fixed && (!self.has_adapters() || id.0 >= self.n_own)
    }

    /// Names, shapes and roles of the model's own parameters, without the adapters.
    pub fn own_specs(&self) -> &[ParamSpec] {
        if self.has_adapters() { &self.specs[..self.n_own] } else { &self.specs }
    }

    /// Adds what the adapters add to the weights themselves, and takes the adapters away. Weights that were kept packed only
    /// are then f32 numbers.
    pub fn merge(&mut self) {
        for (i, adapters) in std::mem::take(&mut self.adapters).into_iter().enumerate() {
            if !adapters.is_empty() && self.masters[i].is_none() {
                self.masters[i] = Some(self.numbers(ParamId(i)));
            }
            for Adapter { rows, a, b, scale, .. } in &adapters {
                let (a, b) = (self.master(*a).copy(), self.master(*b).copy());
                let [rank, width] = a.dims();
                let kernels = a.device().kernels();
                let mut product = Tensor::scratch(a.device(), [rows.len(), width], DType::F32);
                let (left, right) = (Matrix::new(b.view(), rank), Matrix::new(a.view(), width));
                kernels.matmul(Matmul::product([rows.len(), width, rank], left, right, product.view_mut(), false));
                let (master, _) = self.for_update(ParamId(i));
                let target = master.view_mut().into_slice(rows.start * width..rows.end * width);
                kernels.scale_add(*scale, product.view(), 1.0, target);
            }
            if !adapters.is_empty() {
                self.packed[i] = None;
                self.round(i);
            }
        }
        if self.n_own == 0 {
            return;
        }
        self.rounded.truncate(self.n_own);
        self.packed.truncate(self.n_own);
        self.masters.truncate(self.n_own);
        self.specs.truncate(self.n_own);
    }
}
