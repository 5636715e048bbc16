//! Low-rank adapters: pairs of small matrices that are learned beside frozen weights.
//!
//! A matrix here may be several published modules on top of each other (query, key and value); each has a pair of its own.
//!
//! # Source
//! Hu et al., "LoRA: low-rank adaptation of large language models", arXiv 2106.09685, section 4.1.

use super::{ParamSpec, Params, Role};
use crate::error::Result;
use genera_tensor::backend::{Matmul, Matrix};
use genera_tensor::{DType, ParamId, Tensor};
use std::borrow::Cow;
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

/// What an adapter of the base itself adds to some rows of a weight that stays in its file.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    rows: Range<usize>,
    /// [rank, in]
    a: Tensor,
    /// [rows, rank]
    b: Tensor,
    scale: f32,
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
                self.set(ParamId(i), &self.numbers(ParamId(i)));
            }
            for adapter in &adapters {
                let product = product(self.master(adapter.a), self.master(adapter.b));
                let (master, _) = self.for_update(ParamId(i));
                let n_rows = master.shape().sizes()[0];
                add(&adapter.rows, adapter.scale, &product, master, &(0..n_rows));
            }
            if !adapters.is_empty() {
                self.packed[i] = None;
                self.round(i);
            }
        }
        if self.n_own == 0 {
            return;
        }
        self.in_files.truncate(self.n_own);
        self.rounded.truncate(self.n_own);
        self.packed.truncate(self.n_own);
        self.masters.truncate(self.n_own);
        self.specs.truncate(self.n_own);
    }

    /// As [`merge`](Self::merge), but what is added to weights that were left in their file is added when they are read: they
    /// stay there, in the format they have. New adapters may follow.
    pub fn settle(&mut self) {
        self.settled.resize_with(self.in_files.len(), Vec::new);
        for (i, adapters) in self.adapters.iter_mut().enumerate().filter(|(i, _)| self.in_files[*i].is_some()) {
            let numbers = |id: ParamId| self.masters[id.0].clone().expect("adapters are numbers");
            let settled =
                |Adapter { rows, a, b, scale, .. }: Adapter| Settled { rows, a: numbers(a), b: numbers(b), scale };
            self.settled[i].extend(adapters.drain(..).map(settled));
        }
        self.merge();
    }

    /// Adds to some rows of a weight in a file what was settled of it.
    pub(super) fn add_settled(&self, id: ParamId, target: &mut Tensor, rows: &Range<usize>) {
        let settled = self.settled.get(id.0).into_iter().flatten();
        settled.for_each(|Settled { rows: of, a, b, scale }| add(of, *scale, &product(a, b), target, rows));
    }

    /// Whether something is added to a weight when it is read.
    pub(crate) fn is_added_to(&self, id: ParamId) -> bool {
        !self.adapters_of(id).is_empty() || self.settled.get(id.0).is_some_and(|settled| !settled.is_empty())
    }

    /// Some numbers of a parameter, read or unpacked if need be, with what its adapters add to them.
    ///
    /// # Errors
    /// When they are in a file that cannot be read.
    ///
    /// # Panics
    /// When the parameter has adapters and the numbers are not whole rows.
    pub(crate) fn merged(&self, id: ParamId, range: &Range<usize>) -> Result<Cow<'_, [f32]>> {
        let numbers = match (self.in_file(id), &self.masters[id.0]) {
            (Some(in_file), _) => in_file.read(range)?.into(),
            (None, Some(master)) => Cow::Borrowed(&master.view().f32()[range.clone()]),
            (None, None) => self.numbers(id).view().f32()[range.clone()].to_vec().into(),
        };
        if !self.is_added_to(id) {
            return Ok(numbers);
        }
        let width = self.specs[id.0].shape.last();
        assert!(range.start.is_multiple_of(width) && range.end.is_multiple_of(width), "whole rows of {width}");
        let rows = range.start / width..range.end / width;
        let mut sum = Tensor::from_f32(self.device(), [rows.len(), width], &numbers);
        self.add_settled(id, &mut sum, &rows);
        for Adapter { rows: of, a, b, scale, .. } in self.adapters_of(id) {
            add(of, *scale, &product(self.master(*a), self.master(*b)), &mut sum, &rows);
        }
        Ok(sum.to_vec().into())
    }
}

/// What an adapter adds, before it is scaled.
///
/// # Shapes
/// a: [rank, in]; b: [rows, rank]; [rows, in].
fn product(a: &Tensor, b: &Tensor) -> Tensor {
    let ([rank, width], [n_rows, _]) = (a.dims(), b.dims());
    let mut product = Tensor::scratch(a.device(), [n_rows, width], DType::F32);
    let (left, right) = (Matrix::new(b.view(), rank), Matrix::new(a.view(), width));
    let matmul = Matmul::product([n_rows, width, rank], left, right, product.view_mut(), false);
    a.device().kernels().matmul(matmul);
    product
}

/// Adds to some rows of a weight what an adapter adds to those of them that it is for.
///
/// # Shapes
/// product: [rows of the adapter, in]; target: [rows, in].
fn add(of: &Range<usize>, scale: f32, product: &Tensor, target: &mut Tensor, rows: &Range<usize>) {
    let (start, end) = (of.start.max(rows.start), of.end.min(rows.end));
    if start >= end {
        return;
    }
    let [_, width] = product.dims();
    let among = |rows: &Range<usize>| (start - rows.start) * width..(end - rows.start) * width;
    let kernels = product.device().kernels();
    let added = product.view().slice(among(of));
    kernels.scale_add(scale, added, 1.0, target.view_mut().into_slice(among(rows)));
}
