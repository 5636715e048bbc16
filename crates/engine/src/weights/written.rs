//! Tensors of a file to be. Their numbers are fetched when they are written, so that no more than one has to be in memory.

use super::in_file::{CHUNK, Sink};
use super::load::{head_blocks, transpose};
use super::names::{Lie, Sources};
use crate::params::{EMBEDDING, ParamSpec, Params, encode};
use genera_tensor::ParamId;
use genera_tensor::quant::Format;
use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::Range;

/// A tensor of the file to be.
pub(super) struct Written<'p> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) data: Data<'p>,
}

/// The numbers of a tensor.
pub(super) enum Data<'p> {
    /// As they are.
    Numbers(Cow<'p, [f32]>),
    /// Those of a parameter.
    OfParam(Part<'p>),
}

/// What is done to numbers after that.
type Change = dyn Fn(Vec<f32>) -> Vec<f32>;

/// Some of the numbers of a parameter, and what becomes of them.
pub(super) struct Part<'p> {
    params: &'p Params,
    id: ParamId,
    range: Range<usize>,
    /// How they lie in the file.
    lie: Lie,
    /// Sizes of the parameter, for those that lie otherwise.
    shape: (usize, usize),
    /// What else is done to them.
    then: Option<Box<Change>>,
}

impl<'p> Data<'p> {
    /// What the model has of a parameter; `None` when it has not that parameter.
    pub(super) fn of(params: &'p Params, name: &str) -> Option<Self> {
        let id = params.find(name)?;
        let shape = params.specs()[id.0].shape;
        let (range, shape) = (0..shape.n_elements(), (shape.sizes()[0], shape.last()));
        Some(Self::OfParam(Part { params, id, range, lie: Lie::Plain, shape, then: None }))
    }

    /// Zeros for a parameter that the model has not.
    pub(super) fn zeros(spec: &ParamSpec) -> Self {
        Self::Numbers(vec![0.0; spec.shape.n_elements()].into())
    }

    /// The same after all that is done to them already.
    #[must_use]
    pub(super) fn then(self, change: impl Fn(Vec<f32>) -> Vec<f32> + 'static) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(change(numbers.into_owned()).into()),
            Self::OfParam(part) => Self::OfParam(Part { then: Some(Box::new(change)), ..part }),
        }
    }

    /// How the numbers are stored where they come from, in 32 or 16 bits; f32 for all else.
    pub(super) fn format(&self) -> Format {
        let stored = match self {
            Self::Numbers(_) => None,
            Self::OfParam(Part { params, id, range, .. }) => {
                params.in_file(*id).and_then(|in_file| in_file.format(range))
            }
        };
        stored.filter(|format| format.coding().is_none()).unwrap_or(Format::F32)
    }

    /// Hands out the numbers in their order, some whole blocks at a time.
    ///
    /// # Errors
    /// When they cannot be read, with an [`Error`](crate::Error) inside, or are not taken.
    pub(super) fn each_chunk(&self, sink: &mut Sink<'_>) -> io::Result<()> {
        match self {
            Self::Numbers(numbers) => numbers.chunks(CHUNK).try_for_each(sink),
            Self::OfParam(part) => part.each_chunk(sink),
        }
    }

    /// Writes the numbers in a format; `name` is for messages.
    ///
    /// # Errors
    /// As [`Self::each_chunk`]; when the format cannot hold a number.
    ///
    /// # Panics
    /// When they are not whole blocks of the format.
    pub(super) fn encode(&self, name: &str, format: Format, out: &mut dyn Write) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.each_chunk(&mut |numbers| {
            bytes.resize(format.bytes_of(numbers.len()), 0);
            encode(name, format, numbers, &mut bytes).map_err(io::Error::other)?;
            out.write_all(&bytes)
        })
    }

    /// Those of a part of the rows.
    fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(numbers[range].to_vec().into()),
            Self::OfParam(Part { params, id, range: whole, lie, shape, .. }) => {
                let range = whole.start + range.start..whole.start + range.end;
                Self::OfParam(Part { params, id: *id, range, lie: *lie, shape: *shape, then: None })
            }
        }
    }

    fn lying(self, lie: Lie, shape: (usize, usize)) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(as_in_file(numbers.into_owned(), lie, shape).into()),
            Self::OfParam(part) => Self::OfParam(Part { lie, shape, ..part }),
        }
    }
}

impl Part<'_> {
    fn each_chunk(&self, sink: &mut Sink<'_>) -> io::Result<()> {
        let Self { params, id, range, .. } = self;
        let is_as_here = matches!(self.lie, Lie::Plain | Lie::OneRow) && self.then.is_none();
        match params.in_file(*id) {
            Some(in_file) if is_as_here && !params.is_added_to(*id) => in_file.each_chunk(range, sink),
            _ => self.numbers()?.chunks(CHUNK).try_for_each(sink),
        }
    }

    /// All of them, with what adapters add.
    fn numbers(&self) -> io::Result<Cow<'_, [f32]>> {
        let numbers = self.params.merged(self.id, &self.range).map_err(io::Error::other)?;
        if matches!(self.lie, Lie::Plain | Lie::OneRow) && self.then.is_none() {
            return Ok(numbers);
        }
        let changed = as_in_file(numbers.into_owned(), self.lie, self.shape);
        Ok(match &self.then {
            Some(then) => then(changed),
            None => changed,
        }
        .into())
    }
}

/// The format in which the numbers of all matrices are stored, f32 where they are not alike. Routers are small, and in f32 in
/// GGUF files.
pub fn format_of_matrices(params: &Params) -> Format {
    let is_matrix =
        |spec: &&ParamSpec| spec.role.is_product() && !spec.name.contains(".router.") || spec.name == EMBEDDING;
    let matrices = params.own_specs().iter().filter(is_matrix);
    let mut formats = matrices.filter_map(|spec| Some(Data::of(params, &spec.name)?.format()));
    let first = formats.next().unwrap_or(Format::F32);
    if formats.all(|format| format == first) { first } else { Format::F32 }
}

/// What the weights of a model take in a file at least: in one format, or each as it is stored.
///
/// # Units
/// Bytes.
pub fn bytes_as(params: &Params, format: Option<Format>) -> usize {
    let of_spec = |spec: &ParamSpec| Some((Data::of(params, &spec.name)?.format(), spec.shape.n_elements()));
    let numbers = params.own_specs().iter().filter_map(of_spec);
    match format {
        Some(format) => format.bytes_of(numbers.map(|(_, n)| n).sum()),
        None => numbers.map(|(stored, n)| stored.bytes_of(n)).sum(),
    }
}

/// A parameter as the tensors of the file.
pub(super) fn split<'p>(sources: Sources, data: Data<'p>, spec: &ParamSpec) -> Vec<Written<'p>> {
    let mut start = 0;
    let is_as_here = matches!(sources.lie, Lie::Plain | Lie::OneRow);
    let shape = (spec.shape.sizes()[0], spec.shape.last());
    if !is_as_here {
        let source = sources.tensors.into_iter().next().expect("a parameter that lies otherwise is one tensor");
        return vec![Written { name: source.name, shape: source.shape, data: data.lying(sources.lie, shape) }];
    }
    let part = |(name, shape): (String, Vec<usize>)| {
        let range = start..start + shape.iter().product::<usize>();
        start = range.end;
        Written { name, shape, data: data.slice(range) }
    };
    sources.tensors.into_iter().map(|source| (source.name, source.shape)).map(part).collect()
}

/// The numbers of a parameter as they lie in a file.
///
/// # Shapes
/// shape: the rows of the parameter, and its last size.
fn as_in_file(data: Vec<f32>, lie: Lie, (n_rows, width): (usize, usize)) -> Vec<f32> {
    match lie {
        Lie::Plain | Lie::OneRow => data,
        Lie::Transposed => {
            let mut turned = vec![0.0; data.len()];
            transpose(&data, width, &mut turned);
            turned
        }
        Lie::PerHead { d_head } => {
            let mut by_head = vec![0.0; data.len()];
            for (ours, theirs) in head_blocks(data.len(), d_head * data.len() / n_rows) {
                by_head[theirs].copy_from_slice(&data[ours]);
            }
            by_head
        }
        Lie::LessOne => data.into_iter().map(|x| x - 1.0).collect(),
        Lie::After(n) => [vec![0.0; n * width], data].concat(),
    }
}
