//! The learned numbers of a model: names, shapes, roles, and where they are kept.

mod adapters;

pub use adapters::{Adapter, NewAdapter};

use adapters::Settled;

use crate::config::{FeedForward, Head, ModelConfig, Placement, Position, QkNorm, Stack};
use crate::error::{Error, Result};
use crate::weights::InFile;
use genera_tensor::backend::{Elements, Matrix, PackedMatrix};
use genera_tensor::quant::{BlockRows, Format, Half};
use genera_tensor::{DType, Device, Memory, ParamId, Shape as TensorShape, Tape, Tensor, Var, Weight};
use std::panic::panic_any;
use std::sync::Arc;

/// What a parameter is for: decides how it starts and how it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A vector per token, position or segment.
    Embedding,
    /// The untied output table.
    Head,
    /// A weight matrix (out, in) inside a block.
    Matrix,
    /// The query projection, whose start depends on the score scale.
    Query,
    /// A weight matrix whose result is added to the residual stream.
    Residual,
    /// A norm's weight.
    NormWeight,
    /// A bias vector.
    Bias,
    /// A table of T5's relative biases.
    RelativeBias,
    /// Not trained: kept as loaded.
    Fixed,
    /// One of the small matrices beside a frozen weight.
    Adapter,
}

impl Role {
    /// Whether vectors are multiplied by it.
    pub(crate) fn is_product(self) -> bool {
        matches!(self, Role::Matrix | Role::Query | Role::Residual | Role::Head)
    }
}

/// Name, shape and role of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Dotted path, for example `decoder.3.attention.qkv.weight`.
    pub name: String,
    /// Sizes.
    pub shape: TensorShape,
    /// What it is for.
    pub role: Role,
}

impl ParamSpec {
    /// Whether products take a rounded copy where they compute in this type: tables and matrices, not the biases of positions.
    pub fn is_rounded(&self, compute: DType) -> bool {
        compute == DType::Bf16 && self.shape.sizes().len() == 2 && self.role != Role::RelativeBias
    }
}

/// Rows of the matrices that were laid on top of each other: query, key and value; key and value; gate and up.
pub fn row_blocks(config: &ModelConfig, spec: &ParamSpec) -> Vec<usize> {
    let whole = vec![spec.shape.n_rows()];
    let stacks = config.stacks();
    let Some((_, stack)) = stacks.iter().find(|(name, _)| spec.name.starts_with(&format!("{name}."))) else {
        // A projection of the embedding.
        return whole;
    };
    let attention = &stack.attention;
    let (q, kv) = (attention.n_heads * attention.d_head, attention.n_kv_heads * attention.d_head);
    match spec.name.rsplit('.').nth(1) {
        Some(FUSED_QKV) => vec![q, kv, kv],
        Some("kv") => vec![kv, kv],
        Some("up") if stack.feed_forward.is_gated() => vec![stack.d_ff(); 2],
        _ => whole,
    }
}

/// Rows of a fused matrix that make a published model's single weight: query, key and value lie on top of each other.
pub const FUSED_QKV: &str = "qkv";

/// The table of a vector for each token.
pub(crate) const EMBEDDING: &str = "embedding.weight";

/// The list of a model's parameters, in a fixed order.
pub fn layout(config: &ModelConfig) -> Vec<ParamSpec> {
    let mut list = Layout { config, specs: Vec::new() };
    let d = config.d_model;
    let width = config.embedding_width();
    list.push(EMBEDDING, &[config.vocab_size, width], Role::Embedding);
    if config.embedding.width.is_some() {
        list.linear("embedding.projection", [d, width], Role::Matrix, false);
    }
    if config.embedding.n_segment_types > 0 {
        list.push("embedding.segment", &[config.embedding.n_segment_types, d], Role::Embedding);
    }
    let mut placed: Vec<String> = config.stacks().iter().map(|(name, _)| place_of_tokens(config, name)).collect();
    placed.dedup();
    placed.iter().for_each(|prefix| list.place_of_tokens(prefix));
    for (name, stack) in config.stacks() {
        list.stack(name, stack);
    }
    if config.embedding.width.is_some() && config.head != Head::None {
        list.linear("head.projection", [width, d], Role::Matrix, false);
    }
    match config.head {
        Head::Untied => list.push("head.weight", &[config.vocab_size, width], Role::Head),
        Head::Tied { bias: true, .. } => list.push("head.bias", &[config.vocab_size], Role::Fixed),
        Head::Tied { .. } | Head::None => {}
    }
    list.specs
}

/// A number of tensors that a file of such a model does not fall short of, however it groups them: two for attention and two
/// for each feed-forward layer.
pub(crate) fn least_tensors(config: &ModelConfig) -> usize {
    let of_stack = |(_, stack): &(_, &Stack)| {
        let n_feed_forward =
            if let FeedForward::Experts { n_experts, .. } = stack.feed_forward { n_experts } else { 1 };
        stack.n_layers * (2 + 2 * n_feed_forward)
    };
    config.stacks().iter().map(of_stack).sum()
}

/// The prefix of what a stack adds to the vectors of its tokens: one for all stacks, or one for each.
pub(crate) fn place_of_tokens(config: &ModelConfig, stack: &str) -> String {
    if config.embedding.per_stack { format!("{stack}.embedding") } else { "embedding".to_owned() }
}

struct Layout<'c> {
    config: &'c ModelConfig,
    specs: Vec<ParamSpec>,
}

impl Layout<'_> {
    fn push(&mut self, name: &str, shape: &[usize], role: Role) {
        self.specs.push(ParamSpec { name: name.to_owned(), shape: TensorShape::new(shape), role });
    }

    fn norm(&mut self, name: &str) {
        self.push(&format!("{name}.weight"), &[self.config.d_model], Role::NormWeight);
        if self.config.norm.has_bias() {
            self.push(&format!("{name}.bias"), &[self.config.d_model], Role::Bias);
        }
    }

    fn linear(&mut self, name: &str, [out, input]: [usize; 2], role: Role, bias: bool) {
        self.push(&format!("{name}.weight"), &[out, input], role);
        if bias {
            self.push(&format!("{name}.bias"), &[out], Role::Bias);
        }
    }

    fn place_of_tokens(&mut self, prefix: &str) {
        if self.config.position == Position::Learned {
            let shape = [self.config.context_len, self.config.d_model];
            self.push(&format!("{prefix}.position"), &shape, Role::Embedding);
        }
        if self.config.embedding.norm {
            self.norm(&format!("{prefix}.norm"));
        }
    }

    fn stack(&mut self, name: &str, stack: &Stack) {
        if let Position::RelativeBias { n_buckets, .. } = self.config.position {
            self.push(&format!("{name}.relative_bias"), &[n_buckets, stack.attention.n_heads], Role::RelativeBias);
        }
        let has_cross = name == "decoder" && self.config.is_encoder_decoder();
        for layer in 0..stack.n_layers {
            let prefix = format!("{name}.{layer}");
            self.attention(&format!("{prefix}.attention"), stack, false);
            if has_cross {
                self.attention(&format!("{prefix}.cross"), stack, true);
            }
            self.feed_forward(&format!("{prefix}.feed_forward"), &stack.feed_forward);
        }
        if self.config.placement != Placement::Post {
            self.norm(&format!("{name}.norm"));
        }
    }

    /// The norms of a sub-layer carry its name: `<name>.norm`, and `<name>.norm_after` when sandwiched.
    fn norms_of(&mut self, name: &str) {
        self.norm(&format!("{name}.norm"));
        if self.config.placement == Placement::Sandwich {
            self.norm(&format!("{name}.norm_after"));
        }
    }

    fn attention(&mut self, name: &str, stack: &Stack, is_cross: bool) {
        let (attention, d) = (&stack.attention, self.config.d_model);
        let (q, kv) = (attention.n_heads * attention.d_head, 2 * attention.n_kv_heads * attention.d_head);
        self.norms_of(name);
        if is_cross {
            self.linear(&format!("{name}.q"), [q, d], Role::Query, attention.qkv_bias);
            self.linear(&format!("{name}.kv"), [kv, d], Role::Matrix, attention.qkv_bias);
        } else {
            self.linear(&format!("{name}.{FUSED_QKV}"), [q + kv, d], Role::Matrix, attention.qkv_bias);
        }
        let (n_query, n_key) = match attention.qk_norm {
            QkNorm::None => (0, 0),
            QkNorm::PerHead => (attention.d_head, attention.d_head),
            QkNorm::AllHeads => (q, kv / 2),
        };
        for (part, width) in [("q_norm", n_query), ("k_norm", n_key)].into_iter().filter(|(_, width)| *width > 0) {
            self.push(&format!("{name}.{part}.weight"), &[width], Role::NormWeight);
        }
        self.linear(&format!("{name}.out"), [d, q], Role::Residual, attention.out_bias);
    }

    fn feed_forward(&mut self, name: &str, feed_forward: &FeedForward) {
        let d = self.config.d_model;
        self.norms_of(name);
        match *feed_forward {
            FeedForward::Plain { d_ff, bias, .. } => self.up_and_down(name, [d_ff, d_ff], bias),
            FeedForward::Gated { d_ff, bias, .. } => self.up_and_down(name, [2 * d_ff, d_ff], bias),
            FeedForward::Experts { d_ff, n_experts, .. } => {
                self.linear(&format!("{name}.router"), [n_experts, d], Role::Matrix, false);
                for expert in 0..n_experts {
                    self.up_and_down(&format!("{name}.experts.{expert}"), [2 * d_ff, d_ff], false);
                }
            }
        }
    }

    fn up_and_down(&mut self, name: &str, [width, d_ff]: [usize; 2], bias: bool) {
        let d = self.config.d_model;
        self.linear(&format!("{name}.up"), [width, d], Role::Matrix, bias);
        self.linear(&format!("{name}.down"), [d, d_ff], Role::Residual, bias);
    }
}

/// Number of parameters by group, for reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamCount {
    /// Token, position and segment tables, and an untied head.
    pub embedding: usize,
    /// Attention and cross attention.
    pub attention: usize,
    /// Feed-forward layers.
    pub feed_forward: usize,
    /// Norms and relative biases.
    pub other: usize,
}

impl ParamCount {
    /// Counts a model's parameters.
    pub fn of(config: &ModelConfig) -> Self {
        let mut count = Self::default();
        for spec in layout(config) {
            let group = match spec.role {
                Role::Embedding | Role::Head | Role::Fixed => &mut count.embedding,
                Role::NormWeight | Role::RelativeBias => &mut count.other,
                _ if spec.name.contains(".feed_forward.") && !spec.name.contains(".norm") => &mut count.feed_forward,
                _ if spec.name.contains(".norm") => &mut count.other,
                _ => &mut count.attention,
            };
            *group += spec.shape.n_elements();
        }
        count
    }

    /// All parameters.
    pub fn total(&self) -> usize {
        self.embedding + self.attention + self.feed_forward + self.other
    }
}

/// What is kept of a parameter.
#[derive(Debug)]
pub enum Kept {
    /// Its numbers, in f32.
    Numbers(Tensor),
    /// Of a matrix, only the rounded copy that products use, in bf16: it is frozen.
    Rounded(Tensor),
    /// Of a matrix, only the form that products use: it is not trained any more.
    Packed(Arc<PackedMatrix>),
    /// Nothing but where its numbers are: the model is written into other files, and not used.
    InFile(InFile),
}

/// The learned numbers: master copies in f32, and the rounded copies that products use.
#[derive(Debug)]
pub struct Params {
    specs: Vec<ParamSpec>,
    /// None of a matrix that is kept rounded or packed only.
    masters: Vec<Option<Tensor>>,
    /// bf16 copies of the matrices, when the model computes in bf16.
    rounded: Vec<Option<Tensor>>,
    /// Rearranged copies of the matrices, when the model only generates.
    packed: Vec<Option<Arc<PackedMatrix>>>,
    /// Where the numbers are that were left in their files.
    in_files: Vec<Option<InFile>>,
    compute: DType,
    /// Whether the embedding table is the head too.
    is_tied: bool,
    /// Number of the model's own parameters, where adapters follow them.
    n_own: usize,
    /// By weight; empty without any.
    adapters: Vec<Vec<Adapter>>,
    /// What is added to numbers when they are read from their file, by weight.
    settled: Vec<Vec<Settled>>,
}

impl Params {
    /// Takes the numbers of every parameter, in the order of `specs`.
    ///
    /// # Panics
    /// When a tensor is not f32 or has another shape than its spec.
    pub fn new(specs: Vec<ParamSpec>, masters: Vec<Tensor>, compute: DType) -> Self {
        Self::kept(specs, masters.into_iter().map(Kept::Numbers).collect(), compute)
    }

    /// Takes what is kept of every parameter, in the order of `specs`. `compute` is the storage type of what products
    /// are given and give.
    ///
    /// # Panics
    /// When something has another type or shape than its spec.
    pub fn kept(specs: Vec<ParamSpec>, kept: Vec<Kept>, compute: DType) -> Self {
        assert_eq!(specs.len(), kept.len(), "one tensor a parameter");
        let n = specs.len();
        let (masters, packed) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let (rounded, in_files) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let (n_own, adapters) = (0, Vec::new());
        let (is_tied, settled) = (false, Vec::new());
        let mut params = Self { specs, masters, rounded, packed, in_files, compute, is_tied, n_own, adapters, settled };
        for (i, kept) in kept.into_iter().enumerate() {
            let spec = &params.specs[i];
            let fits = match &kept {
                Kept::Numbers(master) => spec.shape == master.shape() && master.dtype() == DType::F32,
                Kept::Rounded(rounded) => spec.shape == rounded.shape() && rounded.dtype() == DType::Bf16,
                Kept::Packed(packed) => spec.shape == [packed.n_columns(), packed.n_rows()].into(),
                Kept::InFile(_) => true,
            };
            assert!(fits, "{} must be {}, as f32, rounded to bf16 or packed, found {kept:?}", spec.name, spec.shape);
            let (master, rounded, packed, in_file) = match kept {
                Kept::Numbers(master) => (Some(master), None, None, None),
                Kept::Rounded(rounded) => (None, Some(rounded), None, None),
                Kept::Packed(packed) => (None, None, Some(packed), None),
                Kept::InFile(in_file) => (None, None, None, Some(in_file)),
            };
            params.masters.push(master);
            params.rounded.push(rounded);
            params.packed.push(packed);
            params.in_files.push(in_file);
        }
        params.round_all();
        params
    }

    /// Tells whether the embedding table is the head too, as the model knows.
    pub(crate) fn set_head(&mut self, head: Head) {
        self.is_tied = matches!(head, Head::Tied { .. });
    }

    /// Names, shapes and roles.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// Number of parameter tensors.
    pub fn len(&self) -> usize {
        self.specs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Storage type of the products' operands.
    pub fn compute_dtype(&self) -> DType {
        self.compute
    }

    /// Storage type of keys and values: the products', but bf16 where weights are quantised, whose products round far more.
    pub fn cache_dtype(&self) -> DType {
        let holds_blocks = self.packed.iter().flatten().any(|packed| packed.elements() == Elements::Blocks);
        if holds_blocks { DType::Bf16 } else { self.compute }
    }

    /// The id of a parameter by name.
    pub fn find(&self, name: &str) -> Option<ParamId> {
        self.specs.iter().position(|spec| spec.name == name).map(ParamId)
    }

    /// The id of a parameter that the layout is known to have.
    ///
    /// # Panics
    /// When it has not.
    pub fn id(&self, name: &str) -> ParamId {
        self.find(name).unwrap_or_else(|| panic!("the model has no parameter '{name}'"))
    }

    /// The f32 numbers of a parameter.
    ///
    /// # Panics
    /// When they are not kept.
    pub fn master(&self, id: ParamId) -> &Tensor {
        let name = &self.specs[id.0].name;
        self.masters[id.0].as_ref().unwrap_or_else(|| {
            panic!("of {name} no f32 numbers are kept, only a rounded copy, a packed form or a file")
        })
    }

    /// Where the numbers of a parameter are that were left in their file.
    pub(crate) fn in_file(&self, id: ParamId) -> Option<&InFile> {
        self.in_files.get(id.0)?.as_ref()
    }

    /// Whether the f32 numbers of a parameter are kept, and not only a rounded copy, a packed form or where they are in a file.
    pub fn has_numbers(&self, id: ParamId) -> bool {
        self.masters[id.0].is_some()
    }

    /// The formats of blocks in which numbers lie that were left in their files, the one of most numbers first.
    pub fn blocks_in_files(&self) -> Vec<Format> {
        let stored = |(in_file, spec): (&Option<InFile>, &ParamSpec)| {
            let n = spec.shape.n_elements();
            Some((in_file.as_ref()?.format(&(0..n)).filter(|format| format.coding().is_some())?, n))
        };
        let mut found: Vec<(Format, usize)> = Vec::new();
        for (format, n) in self.in_files.iter().zip(&self.specs).filter_map(stored) {
            match found.iter_mut().find(|(known, _)| *known == format) {
                Some((_, sum)) => *sum += n,
                None => found.push((format, n)),
            }
        }
        found.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        found.into_iter().map(|(format, _)| format).collect()
    }

    /// The f32 numbers of a parameter, unpacked or read if need be.
    ///
    /// # Panics
    /// With an [`Error`], when they are in a file that can no longer be read.
    pub fn numbers(&self, id: ParamId) -> Tensor {
        if let (None, Some(rounded)) = (&self.masters[id.0], &self.rounded[id.0]) {
            return rounded.cast(DType::F32);
        }
        match (&self.masters[id.0], &self.packed[id.0]) {
            (Some(master), _) => master.clone(),
            (None, None) => {
                let in_file = self.in_file(id).expect("something of every parameter is kept");
                let mut numbers = in_file.tensor().unwrap_or_else(|error| panic_any(error));
                let n_rows = numbers.shape().sizes()[0];
                self.add_settled(id, &mut numbers, &(0..n_rows));
                numbers
            }
            (None, Some(packed)) => {
                let device = self.device();
                let rows: Vec<u32> = (0..packed.n_columns() as u32).collect();
                let mut out = Tensor::scratch(device, self.specs[id.0].shape, DType::F32);
                device.kernels().unpack(packed, &rows, out.view_mut().into_f32());
                out
            }
        }
    }

    /// Where the numbers are, or go when they are read from their file. Norms are never packed, so there is one of both.
    pub(crate) fn device(&self) -> &Device {
        let in_memory = self.masters.iter().flatten().next().map(Tensor::device);
        let device = in_memory.or_else(|| self.in_files.iter().flatten().next().map(InFile::device));
        device.expect("a model has a norm")
    }

    /// The f32 numbers of a parameter and their rounded copy, for an optimizer that updates both.
    pub fn for_update(&mut self, id: ParamId) -> (&mut Tensor, Option<&mut Tensor>) {
        self.many_for_update(|other| other == id).next().expect("a parameter of the layout")
    }

    /// As [`for_update`](Self::for_update), of all chosen parameters at once, in their order.
    ///
    /// # Panics
    /// When their numbers are not kept.
    pub fn many_for_update(
        &mut self,
        is_chosen: impl Fn(ParamId) -> bool,
    ) -> impl Iterator<Item = (&mut Tensor, Option<&mut Tensor>)> {
        let parts = self.masters.iter_mut().zip(&mut self.rounded).zip(&mut self.packed).zip(&self.specs).enumerate();
        let chosen = parts.filter(move |(i, _)| is_chosen(ParamId(*i)));
        chosen.map(|(_, (((master, rounded), packed), spec))| {
            *packed = None;
            let master = master.as_mut().unwrap_or_else(|| {
                panic!("of {} no f32 numbers are kept, only a rounded copy, a packed form or a file", spec.name)
            });
            (master, rounded.as_mut())
        })
    }

    /// Replaces the f32 numbers of a parameter.
    pub fn set(&mut self, id: ParamId, values: &Tensor) {
        assert_eq!(values.shape(), self.specs[id.0].shape, "{} keeps its shape", self.specs[id.0].name);
        self.masters[id.0] = Some(values.copy());
        self.packed[id.0] = None;
        if let Some(in_file) = self.in_files.get_mut(id.0) {
            *in_file = None;
        }
        if let Some(settled) = self.settled.get_mut(id.0) {
            settled.clear();
        }
        self.round(id.0);
    }

    /// Rearranges every matrix that a model multiplies by, for generation; undone for a parameter when it is updated.
    pub fn pack(&mut self) {
        for i in 0..self.specs.len() {
            if self.is_multiplied(i) {
                let Some(weight) = self.rounded[i].as_ref().or(self.masters[i].as_ref()) else { continue };
                self.packed[i] = Some(Arc::new(packed(weight)));
            }
        }
    }

    /// Whether the model multiplies by a parameter.
    fn is_multiplied(&self, i: usize) -> bool {
        self.specs[i].role.is_product() || self.is_tied && self.specs[i].name == EMBEDDING
    }

    /// Memory of the packed matrices that every token is multiplied by.
    pub fn product_bytes(&self) -> usize {
        let is_read = |i: &usize| self.specs[*i].role.is_product() || self.is_tied;
        let packed = (0..self.specs.len()).filter(is_read).filter_map(|i| self.packed[i].as_ref());
        packed.map(|packed| packed.n_bytes()).sum()
    }

    /// Memory of the packed matrices that are read to add a token to each of `n_rows` texts: without what only reads a source, and
    /// of experts no more than these tokens can choose.
    pub fn decode_bytes(&self, config: &ModelConfig, n_rows: usize) -> usize {
        let is_source = |name: &str| name.starts_with("encoder.") || name.ends_with(".cross.kv.weight");
        let (chosen, of) = match config.last_stack().feed_forward {
            FeedForward::Experts { n_experts, n_active, .. } => {
                (n_active.saturating_mul(n_rows).min(n_experts), n_experts)
            }
            _ => (1, 1),
        };
        let is_read = |i: &usize| self.specs[*i].role.is_product() || self.is_tied;
        let n_bytes = |i: usize| {
            let (name, n_bytes) = (&self.specs[i].name, self.packed[i].as_ref().map_or(0, |packed| packed.n_bytes()));
            match () {
                () if config.is_encoder_decoder() && is_source(name) => 0,
                () if name.contains(".experts.") => n_bytes * chosen / of.max(1),
                () => n_bytes,
            }
        };
        (0..self.specs.len()).filter(is_read).map(n_bytes).sum()
    }

    /// As [`Params::freeze`], every matrix rounded to a format.
    ///
    /// # Errors
    /// When the format cannot hold a number; the parameters are of no use then.
    pub fn freeze_as(&mut self, format: Format) -> Result<()> {
        for i in 0..self.specs.len() {
            if self.is_multiplied(i)
                && let Some(master) = self.masters[i].take()
            {
                self.packed[i] = Some(Arc::new(quantised(&self.specs[i].name, &master, format)?));
                self.rounded[i] = None;
            }
        }
        Ok(())
    }

    /// Keeps only the packed form of every matrix that a model multiplies by: half of the memory or less, and the model
    /// cannot be trained or saved any more.
    pub fn freeze(&mut self) {
        self.pack();
        for i in 0..self.specs.len() {
            if self.packed[i].is_some() {
                (self.masters[i], self.rounded[i]) = (None, None);
            }
        }
    }

    /// Keeps only the rounded copy of every matrix that vectors are multiplied by, where there is one: the model's own numbers
    /// are frozen from here on.
    pub fn keep_rounded(&mut self) {
        for i in 0..self.own_specs().len() {
            if self.specs[i].role.is_product() && self.rounded[i].is_some() {
                self.masters[i] = None;
            }
        }
    }

    /// Memory of what is kept of the model's own parameters, without adapters.
    pub fn own_bytes(&self) -> usize {
        let n_bytes = |tensor: &Tensor| Memory::block_bytes(tensor.n_elements() * tensor.dtype().size_bytes());
        let of_tensor = |tensor: &Option<Tensor>| tensor.as_ref().map_or(0, n_bytes);
        let of_param = |i: usize| {
            let packed = self.packed[i].as_ref().map_or(0, |packed| packed.n_bytes());
            of_tensor(&self.masters[i]) + of_tensor(&self.rounded[i]) + packed
        };
        (0..self.own_specs().len()).map(of_param).sum()
    }

    /// As [`Params::own_bytes`] of a model that is loaded to be used, were it loaded to be trained beside adapters with products in
    /// `compute`: matrices in f32 are rounded then, and an embedding that vectors are multiplied by
    /// is kept in both types.
    pub fn bytes_beside_adapters(&self, compute: DType) -> usize {
        let beside = |i: usize, packed: &PackedMatrix| {
            let n_elements = self.specs[i].shape.n_elements();
            let of = |size: usize| Memory::block_bytes(n_elements * size);
            match packed.elements() {
                Elements::Plain(DType::F32) if self.specs[i].role.is_product() => of(compute.size_bytes()),
                Elements::Plain(DType::F32) | Elements::Halves(Half::F16)
                    if self.specs[i].name == EMBEDDING && compute == DType::Bf16 =>
                {
                    of(4) + of(2)
                }
                Elements::Plain(dtype) => of(dtype.size_bytes()),
                Elements::Halves(_) => of(2),
                Elements::Blocks => packed.n_bytes(),
            }
        };
        let packed = (0..self.own_specs().len()).filter_map(|i| Some((i, self.packed[i].as_ref()?)));
        packed.fold(self.own_bytes(), |n_bytes, (i, packed)| n_bytes - packed.n_bytes() + beside(i, packed))
    }

    /// A parameter in f32 on the tape: norms, biases, look-up tables.
    pub fn exact(&self, tape: &Tape<'_>, id: ParamId) -> Var {
        self.on_tape(tape, id, self.master(id))
    }

    /// A table of vectors to look up: in f32, unless only its packed form or a rounded copy is kept.
    pub fn table(&self, tape: &Tape<'_>, id: ParamId) -> Weight {
        match (&self.masters[id.0], &self.packed[id.0], &self.rounded[id.0]) {
            (None, Some(packed), _) => Weight::Packed(packed.clone()),
            (None, None, Some(rounded)) => Var::constant(rounded.clone()).into(),
            _ => self.exact(tape, id).into(),
        }
    }

    /// A matrix to multiply by, in the storage type of the products.
    pub fn matrix(&self, tape: &Tape<'_>, id: ParamId) -> Weight {
        let packed = self.packed[id.0].clone();
        match (&self.masters[id.0], packed) {
            (None, Some(packed)) => Weight::Packed(packed),
            (_, packed) => {
                let tensor = self.rounded[id.0].as_ref().unwrap_or_else(|| self.master(id));
                Weight::Plain { var: self.on_tape(tape, id, tensor), packed }
            }
        }
    }

    /// Nobody wants the gradient of what is frozen.
    fn on_tape(&self, tape: &Tape<'_>, id: ParamId, tensor: &Tensor) -> Var {
        if self.is_trained(id) { tape.parameter(id, tensor) } else { Var::constant(tensor.clone()) }
    }

    fn round_all(&mut self) {
        (0..self.specs.len()).for_each(|i| self.round(i));
    }

    fn round(&mut self, i: usize) {
        if let Some(master) = &self.masters[i] {
            self.rounded[i] = self.specs[i].is_rounded(self.compute).then(|| master.cast(DType::Bf16));
        }
    }
}

/// A matrix rounded to a format, as products use it; tables of tokens to 8 bits at least, and one whose rows are no whole
/// blocks not at all.
///
/// # Errors
/// As [`encode`].
pub(crate) fn quantised(name: &str, weight: &Tensor, format: Format) -> Result<PackedMatrix> {
    let [.., width] = *weight.shape().sizes() else { return Ok(packed(weight)) };
    let is_table = name == EMBEDDING || name == "head.weight";
    let wanted = if is_table && format != Format::Q6K { Format::Q8_0 } else { format };
    let Some(format) = [wanted, Format::Q8_0].into_iter().find(|format| width.is_multiple_of(format.block_len()))
    else {
        return Ok(packed(weight));
    };
    let mut bytes = vec![0; format.bytes_of(weight.n_elements())];
    encode(name, format, weight.view().f32(), &mut bytes)?;
    Ok(weight.device().kernels().pack_blocks(width, &[BlockRows::new(format, width, &bytes)]))
}

/// Rounds numbers of a tensor of this name to a format.
///
/// # Errors
/// [`Error::Config`] when they are too large for it, or are to be codes and no numbers.
pub(crate) fn encode(name: &str, format: Format, numbers: &[f32], bytes: &mut [u8]) -> Result<()> {
    format.encode(numbers, bytes);
    if format == Format::F32 || format.holds(numbers, bytes) {
        return Ok(());
    }
    let wider = if format == Format::Bf16 { "f32" } else { "bf16 or f32" };
    let format = format.name();
    Err(Error::Config(format!("'{name}' has numbers that {format} cannot hold, too large or not finite; take {wider}")))
}

/// A weight rearranged for products.
///
/// # Shapes
/// weight: [N, K].
pub(crate) fn packed(weight: &Tensor) -> PackedMatrix {
    let [n, k] = weight.dims();
    weight.device().kernels().pack(Matrix::transposed(weight.view(), k), k, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Shape;
    use crate::model::{Transformer, initial_params};
    use crate::presets;
    use crate::train::fixture::{config, preset};

    /// Without a head, the embedding table is looked up and never multiplied by.
    #[test]
    fn the_embedding_is_packed_where_it_is_the_head() {
        let device = Device::cpu(1);
        for (head, expect) in
            [(Head::None, false), (Head::Untied, false), (Head::Tied { bias: false, scaled: false }, true)]
        {
            let config = ModelConfig { head, ..config(preset("bert")) };
            let params = initial_params(&config, 1, DType::F32, &device);
            let mut model = Transformer::new(config, params, &device);
            model.params_mut().pack();
            let params = model.params();
            let is_packed = |name: &str| params.packed[params.id(name).0].is_some();
            assert_eq!(is_packed("embedding.weight"), expect, "{head:?}");
            assert!(is_packed("encoder.0.attention.qkv.weight"), "{head:?}");
        }
    }

    /// Every token reads the matrices of its own path alone.
    #[test]
    fn only_what_a_token_reads_is_counted() {
        let device = Device::cpu(1);
        let frozen = |config: ModelConfig| {
            let params = initial_params(&config, 1, DType::F32, &device);
            let mut model = Transformer::new(config, params, &device);
            model.params_mut().freeze();
            model
        };
        let bytes_of = |model: &Transformer, part: &str| {
            let params = model.params();
            let of = |(spec, packed): (&ParamSpec, &Option<Arc<PackedMatrix>>)| match packed {
                Some(packed) if spec.name.contains(part) => packed.n_bytes(),
                _ => 0,
            };
            params.specs.iter().zip(&params.packed).map(of).sum::<usize>()
        };
        let llama = frozen(config(preset("llama")));
        let all = llama.params().product_bytes();
        assert_eq!(llama.params().decode_bytes(llama.config(), 1), all);

        let t5 = frozen(config(preset("t5")));
        let of_source = bytes_of(&t5, "encoder.") + bytes_of(&t5, ".cross.kv.");
        assert!(of_source > 0);
        assert_eq!(t5.params().decode_bytes(t5.config(), 3), t5.params().product_bytes() - of_source);

        let (n_experts, n_active) = (4, 2);
        let mut config = config(preset("llama"));
        if let Shape::DecoderOnly(stack) = &mut config.shape {
            let activation = stack.feed_forward.activation();
            stack.feed_forward = FeedForward::Experts { activation, d_ff: 24, n_experts, n_active };
        }
        let mixtral = frozen(config);
        let of_experts = bytes_of(&mixtral, ".experts.");
        let others = mixtral.params().product_bytes() - of_experts;
        let expect = |n_rows: usize| others + of_experts * (n_active * n_rows).min(n_experts) / n_experts;
        for n_rows in [1, 100] {
            let found = mixtral.params().decode_bytes(mixtral.config(), n_rows);
            assert!(found.abs_diff(expect(n_rows)) < 64, "{n_rows} rows: {found}, not {}", expect(n_rows));
        }
    }

    #[test]
    fn fused_matrices_are_taken_apart() {
        let sizes = presets::Sizes {
            vocab_size: 11,
            context_len: 8,
            d_model: 16,
            n_layers: 1,
            n_encoder_layers: 1,
            n_heads: 4,
            n_kv_heads: 2,
            d_head: 4,
            d_ff: 24,
        };
        let mut config = presets::find("t5").unwrap().architecture.config(&sizes).unwrap();
        config.embedding.width = Some(12);
        for spec in layout(&config) {
            if !matches!(spec.role, Role::Matrix | Role::Query | Role::Residual) {
                continue;
            }
            let expect: &[usize] = match spec.name.rsplit('.').nth(1) {
                Some("qkv") => &[16, 8, 8],
                Some("kv") => &[8, 8],
                Some("up") => &[24, 24],
                _ if spec.name.starts_with("head.") => &[12],
                _ => &[16],
            };
            assert_eq!(row_blocks(&config, &spec), expect, "{}", spec.name);
        }
    }
}
