//! A model from a directory in the Hugging Face layout.

use super::config_json::{PublishedConfig, read_config};
use super::content::StoredRows;
use super::family::Family;
use super::in_file::InFile;
use super::names::{Lie, Names, Source, Sources};
use super::pooling;
use super::shards::Shards;
use crate::config::{FeedForward, Head, ModelConfig, Position};
use crate::error::{Error, Result};
use crate::model::{Transformer, sinusoid};
use crate::params::{EMBEDDING, Kept, ParamSpec, Params, Role, layout, least_tensors, packed, quantised};
use genera_tensor::backend::PackedMatrix;
use genera_tensor::quant::{BlockRows, Format};
use genera_tensor::{DType, Device, Shape, Tensor, ViewMut};
use half::bf16;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Most bytes that the fixed tables of a position scheme may take: no weights stand behind them.
const MAX_TABLE_BYTES: u128 = 1 << 30;
/// How far a stored sine may be from ours: as far as bf16 rounds.
const MAX_SINE_ERROR: f32 = 1.0 / 256.0;

/// Bytes of two tensors that are compared at a time.
const COMPARED_BYTES: usize = 1 << 16;

/// What a model is loaded for, which decides what is kept of its matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be trained or saved: the numbers in f32, and products in this type.
    Training(DType),
    /// To stand frozen beside adapters that are trained: matrices as they are stored, or rounded where products in this type
    /// round them; a table that is stored in more bits than they have is kept in f32 as well, in which it is looked up.
    BesideAdapters(DType),
    /// To be used: only the form that products use, in this type.
    Use(DType),
    /// To be used, matrices as they are stored: quantised blocks, and numbers of 16 bits where products are in a type that
    /// has all of them. Products are in this type; without one in bf16 if all matrices are stored so, and else in f32.
    UseAsStored(Option<DType>),
    /// As [`Self::UseAsStored`], but each matrix may be read where it lies until it is used again, so that a first answer comes
    /// sooner. Its file must stay as it is until then: products panic with an [`Error`] that tells of a file that can no longer
    /// be read.
    UseInPlace(Option<DType>),
    /// To be used, matrices rounded to this format; products of others are in f32.
    UseQuantised(Format),
    /// To be written into other files: all numbers stay in theirs until then, and nothing can be computed.
    Export,
}

impl Purpose {
    /// Storage type of what products are given and give, for matrices that are stored in `stored`.
    pub fn compute(self, stored: DType) -> DType {
        match self {
            Purpose::Training(dtype) | Purpose::BesideAdapters(dtype) | Purpose::Use(dtype) => dtype,
            Purpose::UseAsStored(dtype) | Purpose::UseInPlace(dtype) => dtype.unwrap_or(stored),
            Purpose::UseQuantised(_) | Purpose::Export => DType::F32,
        }
    }
}

/// Loads `config.json` and the weights beside it: `model.safetensors`, or several files with their index; f32, bf16 or f16.
///
/// # Errors
/// When a file is missing, malformed or not supported, and when names or shapes do not fit the configuration.
///
/// # Cost
/// Memory: for training four bytes a parameter, and two more for those in matrices when it computes in bf16; beside adapters
/// what is stored, and no more than two for those in matrices when it computes in bf16; otherwise what products need, and to
/// be exported next to nothing.
pub fn load_hf(dir: &Path, device: &Device, purpose: Purpose) -> Result<Transformer> {
    let PublishedConfig { model, family, .. } = read_config(dir)?;
    let pooling = pooling::read(dir)?;
    let mut model = load_from(model, family.map(Family::names), Box::new(Shards::open(dir)?), device, purpose)?;
    model.set_published_as(family.map(|family| family.model_type));
    model.set_pooling(pooling);
    Ok(model)
}

/// Loads the weights of a model whose architecture is known.
///
/// # Errors
/// As [`load_hf`].
pub(super) fn load_from(
    model: ModelConfig,
    table: Option<Names>,
    store: Box<dyn Store>,
    device: &Device,
    purpose: Purpose,
) -> Result<Transformer> {
    let mut files = Files { table, store: store.into() };
    files.cut(&model);
    files.check_count(&model)?;
    let model = ModelConfig { head: files.settled_head(&model)?, ..model };
    check_tables(&model, &files)?;
    files.check_sines(&model)?;
    let specs = layout(&model);
    // Everything is found and measured before anything is allocated.
    let found = specs.iter().map(|spec| files.locate(&model, spec)).collect::<Result<Vec<_>>>()?;
    files.refuse_unknown(&model, &found)?;
    let compute = purpose.compute(files.stored_in(specs.iter().zip(&found)));
    let kept = specs.iter().zip(found).map(|(spec, found)| files.keep(spec, found, device, purpose, compute));
    let kept = kept.collect::<Result<Vec<_>>>()?;
    let params = Params::kept(specs, kept, compute);
    Ok(Transformer::new(model, params, device))
}

/// How numbers are stored, and their bytes.
type Stored = (Format, StoredRows);

/// Tensors by name.
pub(super) trait Store: Send + Sync {
    /// Where they are, for messages.
    fn place(&self) -> &Path;

    /// What the architecture is read from, for messages.
    fn configuration(&self) -> &'static str {
        "config.json"
    }

    /// All names, in no order.
    fn names(&self) -> Vec<&str>;

    /// The sizes of a tensor.
    fn shape(&self, name: &str) -> Option<&[usize]>;

    /// The elements of a tensor that is there.
    ///
    /// # Errors
    /// When it holds no real numbers or cannot be read.
    fn read(&self, name: &str) -> Result<Vec<f32>>;

    /// How a tensor is stored: in quantised blocks, as f32, f16 or bf16, row by row. None for all else.
    fn stored(&self, name: &str) -> Option<Format>;

    /// The bytes of a tensor that is stored in such a format.
    ///
    /// # Errors
    /// When they cannot be read.
    fn rows(&self, name: &str) -> Result<StoredRows>;

    /// Puts matrices of these names in the place of a tensor, each an equal share of its rows; false where it cannot.
    fn cut(&mut self, name: &str, parts: &[String]) -> bool;
}

/// The weights of a model under the names that its kind of files gives them.
struct Files {
    table: Option<Names>,
    store: Arc<dyn Store>,
}

/// The tensors of the files that make a parameter.
pub(super) struct Found {
    pub(super) names: Vec<String>,
    pub(super) lie: Lie,
    /// Further tensors with the same numbers.
    pub(super) repeated: Vec<String>,
}

impl Files {
    /// Takes apart what holds several tensors. What is not as expected stays, and is an unknown tensor then.
    fn cut(&mut self, model: &ModelConfig) {
        let (Some(table), FeedForward::Experts { n_experts, .. }) = (self.table, &model.last_stack().feed_forward)
        else {
            return;
        };
        let names: Vec<String> = self.store.names().into_iter().map(str::to_owned).collect();
        for name in names {
            // No more parts than the file has matrices.
            let n_matrices = match self.store.shape(&name) {
                Some([n, _, _]) => *n,
                Some([_, _]) => 1,
                _ => continue,
            };
            let n_expected = |is_of_experts| if is_of_experts { *n_experts } else { 1 };
            let parts = table.cut(&name).filter(|cut| n_expected(cut.is_of_experts()) == n_matrices);
            if let Some(parts) = parts.and_then(|_| table.parts(&name, *n_experts)) {
                let store = Arc::get_mut(&mut self.store).expect("nobody else has it before the weights are read");
                store.cut(&name, &parts);
            }
        }
    }

    /// Refuses a configuration of more blocks than the files can have, before anything is made for each.
    fn check_count(&self, model: &ModelConfig) -> Result<()> {
        let (n, least) = (self.store.names().len(), least_tensors(model));
        if n >= least {
            return Ok(());
        }
        Err(self.error(format!(
            "has {n} tensors, but the layers and experts that {} asks for take at least {least}; do the two belong together?",
            self.store.configuration()
        )))
    }

    /// Refuses a table of fixed positions that holds others than the model is to be given.
    fn check_sines(&self, model: &ModelConfig) -> Result<()> {
        let Some(table) = self.table.filter(|_| model.position == Position::Sinusoidal) else { return Ok(()) };
        let (width, n_positions) = (model.d_model, model.context_len);
        for name in self.store.names().into_iter().filter(|name| table.is_sines(name)) {
            let is_near =
                |(i, value): (usize, &f32)| (value - sinusoid(i / width, i % width, width)).abs() <= MAX_SINE_ERROR;
            let shape = self.store.shape(name).unwrap_or_default();
            let fits = matches!(shape, &[n, found] if n <= n_positions && found == width);
            if !fits || !self.store.read(name)?.iter().enumerate().all(is_near) {
                return Err(self.error(format!(
                    "tensor '{name}' of shape {shape:?} does not hold the sines and cosines of {width} features at up to {n_positions} positions; other positions of a {} model are not supported",
                    table.model_type
                )));
            }
        }
        Ok(())
    }

    /// Where a parameter's numbers are.
    fn locate(&self, model: &ModelConfig, spec: &ParamSpec) -> Result<Found> {
        let Sources { tensors, lie, mut also, or_zeros, .. } = self.sources(model, spec)?;
        self.check_copies(&tensors, &also)?;
        if spec.name == EMBEDDING && model.head != Head::Untied {
            // What it holds has been compared when the head was settled.
            also.extend(self.head_source(model).into_iter().flat_map(|(names, _)| names));
        }
        let also: Vec<String> = also.iter().filter_map(|name| self.present(name)).collect();
        let mut names = Vec::new();
        if or_zeros && tensors.iter().all(|source| self.present(&source.name).is_none()) {
            return Ok(Found { names, lie, repeated: also });
        }
        for source in tensors {
            let name = self.present(&source.name).or_else(|| also.first().cloned()).ok_or_else(|| {
                self.error(format!(
                    "has no tensor '{}' of shape {:?}, which is '{}' here and which {} asks for",
                    source.name,
                    source.shape,
                    spec.name,
                    self.store.configuration()
                ))
            })?;
            let found = self.store.shape(&name).unwrap_or_default();
            if found != source.shape {
                return Err(self.error(format!(
                    "tensor '{name}' has shape {found:?}, but {} asks for {:?} (it is '{}' here, of shape {})",
                    self.store.configuration(),
                    source.shape,
                    spec.name,
                    spec.shape
                )));
            }
            names.push(name);
        }
        Ok(Found { names, lie, repeated: also })
    }

    fn sources(&self, model: &ModelConfig, spec: &ParamSpec) -> Result<Sources> {
        let Some(table) = self.table else { return Ok(Sources::own(spec)) };
        Sources::of(table.rows, model, spec).ok_or_else(|| {
            let configuration = self.store.configuration();
            self.error(format!(
                "{} has no weight for '{}', which {configuration} asks for",
                table.model_type, spec.name
            ))
        })
    }

    /// Refuses tensors that should hold the numbers of the first of `tensors` once more, and hold others.
    fn check_copies(&self, tensors: &[Source], also: &[String]) -> Result<()> {
        if also.is_empty() {
            return Ok(());
        }
        let names = tensors.first().map(|source| &source.name).into_iter().chain(also);
        let present: Vec<String> = names.filter_map(|name| self.present(name)).collect();
        let Some((first, copies)) = present.split_first() else { return Ok(()) };
        for copy in copies {
            if !self.are_same(copy, first)? {
                return Err(self.different(copy, first));
            }
        }
        Ok(())
    }

    fn different(&self, copy: &str, first: &str) -> Error {
        let configuration = self.store.configuration();
        self.error(format!("'{copy}' differs from '{first}', but {configuration} says that one serves as both"))
    }

    /// Whether two tensors hold the same numbers.
    fn are_same(&self, a: &str, b: &str) -> Result<bool> {
        if self.store.shape(a) != self.store.shape(b) {
            return Ok(false);
        }
        if self.store.stored(a).is_none() || self.store.stored(a) != self.store.stored(b) {
            return Ok(self.store.read(a)? == self.store.read(b)?);
        }
        let rows = [self.store.rows(a)?, self.store.rows(b)?];
        let [a, b] = rows.each_ref().map(StoredRows::bytes);
        let n_bytes = a.n_bytes();
        let is_same = (0..n_bytes).step_by(COMPARED_BYTES).all(|at| {
            let [mut of_a, mut of_b] = [a, b].map(|_| vec![0; COMPARED_BYTES.min(n_bytes - at)]);
            a.read(at, &mut of_a);
            b.read(at, &mut of_b);
            of_a == of_b
        });
        rows.into_iter().try_for_each(StoredRows::finish)?;
        Ok(is_same)
    }

    /// The name under which a file has a tensor: what wrote it decides on the prefix.
    fn present(&self, name: &str) -> Option<String> {
        let forms = self.table.map_or_else(|| vec![name.to_owned()], |table| table.forms(name));
        forms.into_iter().find(|form| self.store.shape(form).is_some())
    }

    /// The family's names for the weight of an untied head, if it has one, and whether the embedding serves where it is missing.
    fn head_source(&self, model: &ModelConfig) -> Option<(Vec<String>, bool)> {
        let spec = table("head.weight", model);
        let Sources { tensors, also, or_embedding, .. } = Sources::of(self.table?.rows, model, &spec)?;
        Some((tensors.into_iter().map(|source| source.name).chain(also).collect(), or_embedding))
    }

    /// The head as the weights have it. Files that call it tied may carry one of its own all the same, or the other way round.
    fn settled_head(&self, model: &ModelConfig) -> Result<Head> {
        let Some((names, or_embedding)) = self.head_source(model) else { return Ok(model.head) };
        let heads: Vec<String> = names.iter().filter_map(|name| self.present(name)).collect();
        let Head::Tied { bias, scaled } = model.head else {
            let is_embedding = model.head == Head::Untied && or_embedding && heads.is_empty();
            return Ok(if is_embedding { Head::Tied { bias: false, scaled: false } } else { model.head });
        };
        let embedding = self.sources(model, &table(EMBEDDING, model))?.tensors[0].name.clone();
        let Some(embedding) = self.present(&embedding) else { return Ok(model.head) };
        for head in heads {
            if !self.are_same(&head, &embedding)? {
                return if bias || scaled { Err(self.different(&head, &embedding)) } else { Ok(Head::Untied) };
            }
        }
        Ok(model.head)
    }

    /// A tensor that nothing was asked of means that config.json and the weights speak of different models.
    fn refuse_unknown(&self, model: &ModelConfig, found: &[Found]) -> Result<()> {
        let names = found.iter().flat_map(|found| found.names.iter().chain(&found.repeated));
        let used: HashSet<&str> = names.map(String::as_str).collect();
        let is_unknown = |name: &&str| !used.contains(name) && !self.table.is_some_and(|table| table.ignores(name));
        let mut unknown: Vec<&str> = self.store.names().into_iter().filter(is_unknown).collect();
        unknown.sort_unstable();
        let Some(first) = unknown.first() else { return Ok(()) };
        let kind = self.table.map_or("this", |table| table.model_type);
        let n_layers: Vec<String> =
            model.stacks().iter().map(|(name, stack)| format!("{} in the {name}", stack.n_layers)).collect();
        Err(self.error(format!(
            "has {} tensors that a {kind} model with {} layers does not have, '{first}' for one; do {} and the weights belong together?",
            unknown.len(),
            n_layers.join(" and "),
            self.store.configuration()
        )))
    }

    /// bf16 if that is what all matrices are stored in, and else f32.
    fn stored_in<'a>(&self, mut params: impl Iterator<Item = (&'a ParamSpec, &'a Found)>) -> DType {
        let are_bf16 = params.all(|(spec, found)| !is_multiplied(spec) || self.is_bf16(found));
        if are_bf16 { DType::Bf16 } else { DType::F32 }
    }

    fn has_blocks(&self, found: &Found) -> bool {
        found.names.iter().any(|name| self.store.stored(name).is_some_and(|format| format.coding().is_some()))
    }

    fn is_bf16(&self, found: &Found) -> bool {
        found.names.iter().all(|name| self.store.stored(name) == Some(Format::Bf16))
    }

    /// What is to be kept of a parameter.
    fn keep(&self, spec: &ParamSpec, found: Found, device: &Device, purpose: Purpose, compute: DType) -> Result<Kept> {
        if purpose == Purpose::Export && !found.names.is_empty() {
            return Ok(Kept::InFile(InFile::new(self.store.clone(), found, spec.clone(), device.clone())));
        }
        let found = &found;
        if !is_multiplied(spec) || matches!(purpose, Purpose::Training(_)) {
            return Ok(Kept::Numbers(self.read(spec, found, device)?));
        }
        let is_beside = matches!(purpose, Purpose::BesideAdapters(_));
        if is_beside && compute == DType::Bf16 && !self.has_blocks(found) {
            if self.is_bf16(found)
                && let Some(parts) = self.read_stored(spec, found, compute, device)?
            {
                return Ok(Kept::Rounded(joined(spec, parts, device)?));
            }
            let numbers = self.read(spec, found, device)?;
            let is_exact = spec.name == EMBEDDING && !self.is_bf16(found);
            return Ok(if is_exact { Kept::Numbers(numbers) } else { Kept::Rounded(numbers.cast(compute)) });
        }
        let is_as_stored = match purpose {
            Purpose::BesideAdapters(_) | Purpose::UseAsStored(_) | Purpose::UseInPlace(_) => true,
            Purpose::Use(_) => compute == DType::Bf16 && self.is_bf16(found),
            Purpose::Training(_) | Purpose::UseQuantised(_) | Purpose::Export => false,
        };
        if is_as_stored && let Some(parts) = self.read_stored(spec, found, compute, device)? {
            let is_for_later = matches!(purpose, Purpose::UseInPlace(_));
            return Ok(Kept::Packed(Arc::new(pack(device, spec.shape.last(), parts, is_for_later)?)));
        }
        let numbers = self.read(spec, found, device)?;
        if is_beside && compute == DType::F32 {
            return Ok(Kept::Numbers(numbers));
        }
        if let Purpose::UseQuantised(format) = purpose {
            return Ok(Kept::Packed(Arc::new(quantised(&spec.name, &numbers, format)?)));
        }
        let weight = if compute == DType::F32 { numbers } else { numbers.cast(compute) };
        Ok(Kept::Packed(Arc::new(packed(&weight))))
    }

    /// The parts of a parameter as they are multiplied without being widened; `None` where they cannot be.
    fn read_stored(
        &self,
        spec: &ParamSpec,
        found: &Found,
        compute: DType,
        device: &Device,
    ) -> Result<Option<Vec<Stored>>> {
        let narrow = |name: &String| self.store.stored(name).filter(|format| *format != Format::F32);
        let formats: Option<Vec<Format>> = found.names.iter().map(narrow).collect();
        let Some((formats, &first)) = formats.as_ref().and_then(|formats| Some((formats, formats.first()?))) else {
            return Ok(None);
        };
        let are_halves = formats.iter().any(|format| format.half().is_some());
        let has_all_numbers = compute == DType::F32 || first == Format::Bf16;
        if are_halves && !(has_all_numbers && formats.iter().all(|format| *format == first)) {
            return Ok(None);
        }
        if found.lie == Lie::Plain {
            let parts = formats.iter().zip(&found.names).map(|(format, name)| Ok((*format, self.store.rows(name)?)));
            return parts.collect::<Result<_>>().map(Some);
        }
        if !are_halves {
            return Ok(None);
        }
        // They only change places, so nothing is rounded.
        let numbers = self.read(spec, found, device)?;
        let mut bytes = vec![0; first.bytes_of(spec.shape.n_elements())];
        first.encode(numbers.view().f32(), &mut bytes);
        Ok(Some(vec![(first, StoredRows::InMemory(bytes))]))
    }

    fn read(&self, spec: &ParamSpec, found: &Found, device: &Device) -> Result<Tensor> {
        if found.names.is_empty() {
            return Ok(Tensor::zeros(device, spec.shape, DType::F32));
        }
        let mut tensor = Tensor::scratch(device, spec.shape, DType::F32);
        found.read(&*self.store, spec, tensor.view_mut().into_f32())?;
        Ok(tensor)
    }

    fn error(&self, message: String) -> Error {
        Error::file(self.store.place(), message)
    }
}

impl Found {
    /// Reads the numbers of the parameter.
    ///
    /// # Errors
    /// When they are no real numbers, or cannot be read.
    pub(super) fn read(&self, store: &dyn Store, spec: &ParamSpec, mut rest: &mut [f32]) -> Result<()> {
        for name in &self.names {
            let values = store.read(name)?;
            let n_skipped = if let Lie::After(n) = self.lie { n * spec.shape.last() } else { 0 };
            let (part, after) = rest.split_at_mut(values.len() - n_skipped);
            match self.lie {
                Lie::Plain | Lie::OneRow => part.copy_from_slice(&values),
                Lie::After(_) => part.copy_from_slice(&values[n_skipped..]),
                Lie::LessOne => part.iter_mut().zip(&values).for_each(|(part, value)| *part = value + 1.0),
                Lie::Transposed => transpose(&values, part.len() / spec.shape.last(), part),
                Lie::PerHead { d_head } => {
                    let width = values.len() / spec.shape.sizes()[0];
                    for (ours, theirs) in head_blocks(values.len(), d_head * width) {
                        part[ours].copy_from_slice(&values[theirs]);
                    }
                }
            }
            rest = after;
        }
        Ok(())
    }
}

/// Whether products use the parameter, or tokens are looked up in it.
fn is_multiplied(spec: &ParamSpec) -> bool {
    spec.role.is_product() || spec.name == EMBEDDING
}

/// A parameter from parts that are stored in bf16.
fn joined(spec: &ParamSpec, parts: Vec<Stored>, device: &Device) -> Result<Tensor> {
    let mut tensor = Tensor::scratch(device, spec.shape, DType::Bf16);
    let ViewMut::Bf16(mut rest) = tensor.view_mut() else { unreachable!("it was made in bf16") };
    for (_, rows) in parts {
        let bytes = rows.into_bytes()?;
        let (numbers, _) = bytes.as_chunks();
        let (part, after) = rest.split_at_mut(numbers.len());
        part.iter_mut().zip(numbers).for_each(|(number, &bytes)| *number = bf16::from_le_bytes(bytes));
        rest = after;
    }
    Ok(tensor)
}

/// Rows of `width`, rearranged for products: now, or, where they lie in a file and it `is_for_later`, when they are used again.
fn pack(device: &Device, width: usize, parts: Vec<Stored>, is_for_later: bool) -> Result<PackedMatrix> {
    if is_for_later && parts.iter().all(|(_, rows)| matches!(rows, StoredRows::InPlace(_))) {
        let shared = parts.into_iter().map(|(format, rows)| BlockRows::shared(format, width, rows.for_later()));
        return Ok(device.kernels().pack_blocks_when_used(width, shared.collect()));
    }
    let rows: Vec<_> = parts.iter().map(|(format, rows)| BlockRows::new(*format, width, rows.bytes())).collect();
    let packed = device.kernels().pack_blocks(width, &rows);
    parts.into_iter().try_for_each(|(_, rows)| rows.finish())?;
    Ok(packed)
}

/// Puts the parts of an entry in its place, for [`Store::cut`]: `part` makes one of the whole, the part's number, name and
/// shape. False, and nothing is done, where the rows are not as many equal parts, or a name is there already.
pub(super) fn cut_entry<E: Clone>(
    entries: &mut Vec<E>,
    by_name: &mut HashMap<String, usize>,
    name: &str,
    parts: &[String],
    shape: impl Fn(&E) -> &[usize],
    part: impl Fn(&E, usize, String, Vec<usize>) -> E,
) -> bool {
    let Some(&at) = by_name.get(name) else { return false };
    let whole = entries[at].clone();
    let [rows @ .., width] = shape(&whole) else { return false };
    let (n_rows, n) = (rows.iter().product::<usize>(), parts.len());
    let is_known = |part: &String| part != name && by_name.contains_key(part);
    if n == 0 || *width == 0 || n_rows == 0 || !n_rows.is_multiple_of(n) || parts.iter().any(is_known) {
        return false;
    }
    by_name.remove(name);
    for (i, name) in parts.iter().enumerate() {
        let entry = part(&whole, i, name.clone(), vec![n_rows / n, *width]);
        if i == 0 {
            entries[at] = entry;
            by_name.insert(name.clone(), at);
        } else {
            by_name.insert(name.clone(), entries.len());
            entries.push(entry);
        }
    }
    true
}

/// A table of one row a token.
fn table(name: &str, model: &ModelConfig) -> ParamSpec {
    ParamSpec {
        name: name.to_owned(),
        shape: Shape::new(&[model.vocab_size, model.embedding_width()]),
        role: Role::Embedding,
    }
}

/// Writes the transpose of `src`, a matrix with `n_columns` columns.
///
/// # Shapes
/// src: [n, n_columns]; dst: [n_columns, n].
pub(super) fn transpose(src: &[f32], n_columns: usize, dst: &mut [f32]) {
    let n = dst.len() / n_columns.max(1);
    for (column, values) in dst.chunks_exact_mut(n.max(1)).enumerate() {
        for (row, value) in values.iter_mut().enumerate() {
            *value = src[row * n_columns + column];
        }
    }
}

/// Where the numbers of each head's queries, keys and values are here, (3, H, K), and in a file, (H, 3, K): `n` numbers in
/// blocks of `len`.
pub(super) fn head_blocks(n: usize, len: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let n_heads = n / (3 * len);
    let block = move |i: usize| i * len..(i + 1) * len;
    (0..3 * n_heads).map(move |i| (block(i), block(i % n_heads * 3 + i / n_heads)))
}

/// Refuses lengths whose tables of positions would fill the memory.
fn check_tables(model: &ModelConfig, files: &Files) -> Result<()> {
    let width = match &model.position {
        Position::Sinusoidal => model.d_model,
        Position::Alibi => 2 * model.last_stack().attention.n_heads,
        // Those of rotary positions end early.
        Position::None | Position::Learned | Position::RelativeBias { .. } | Position::Rotary(_) => 0,
    };
    let n_bytes = 4 * width as u128 * model.context_len as u128;
    if n_bytes <= MAX_TABLE_BYTES {
        return Ok(());
    }
    Err(files.error(format!(
        "{} asks for a context of {} tokens, whose table of positions takes {n_bytes} bytes; at most {MAX_TABLE_BYTES} are allowed, lower it there",
        files.store.configuration(),
        model.context_len
    )))
}

#[cfg(test)]
mod tests;
