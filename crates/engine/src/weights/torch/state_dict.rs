//! From what a pickle built to the tensors of a file.

use super::Sound;
use super::entry::Entry;
use super::global::Global;
use super::pickle::{Fields, MAX_NAME_BYTES, Object, Pickle, Value};
use crate::weights::safetensors::StoredType;
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

/// Most tensors, and most values among which those of a list of layers are looked for.
const MAX_TENSORS: usize = 1 << 16;
/// Most axes of a tensor.
const MAX_AXES: usize = 8;
/// Most layers of a list, and tuples within tuples.
const MAX_LAYERS: usize = 1 << 10;
const MAX_DEPTH: usize = 4;
/// Where training programs keep the tensors beside other things, as in `{"model": …, "optimizer": …}`.
const NESTED: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];

/// A storage as the pickle names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StorageRef {
    /// Its name in the file.
    pub(super) key: Rc<str>,
    /// Its type; none when it only counts bytes.
    pub(super) stored: Option<StoredType>,
    /// Its elements, or bytes.
    pub(super) n: u64,
}

impl StorageRef {
    /// ('storage', kind, key, device, number of elements), and None in old files.
    pub(super) fn of_tuple(fields: &Fields<'_>) -> Sound<Self> {
        let what = "the name of a storage";
        if &**fields.text(0, what)? != "storage" {
            return Err(format!("{what} does not begin with 'storage'"));
        }
        if fields.len() > 5 && fields.value(5, what)? != Value::Nothing {
            return Err(
                "a storage is a part of another, which is not read; save the file again with a newer PyTorch".into()
            );
        }
        let Global::Storage(stored) = fields.global(1, "the kind of a storage")? else {
            return Err("the kind of a storage is another name".to_owned());
        };
        let key = fields.text(2, "the key of a storage")?;
        check_name(key, "the key of a storage")?;
        Ok(Self { key: key.clone(), stored, n: fields.size(4, "the size of a storage")? })
    }

    /// Its size; none when it is larger than any file.
    pub(super) fn n_bytes(&self) -> Option<u64> {
        self.n.checked_mul(self.stored.map_or(1, StoredType::size_bytes) as u64)
    }
}

/// A tensor as the pickle describes it, not yet checked against its storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorRef {
    storage: StorageRef,
    stored: StoredType,
    /// First element in the storage.
    offset: u64,
    shape: Vec<u64>,
    strides: Vec<u64>,
}

impl TensorRef {
    /// (storage, offset, sizes, strides, …); with a type of its own at place 6 when the storage has none.
    pub(super) fn of_arguments(fields: &Fields<'_>, has_type: bool) -> Sound<Self> {
        let storage = fields.storage(0, "the storage of a tensor")?.clone();
        let of_arguments = if has_type { Some(fields.global(6, "the type of a tensor")?) } else { None };
        let stored = match (storage.stored, of_arguments) {
            (Some(stored), None) | (None, Some(Global::Type(stored))) => stored,
            (stored, given) => return Err(format!("a tensor of type {given:?} lies in a storage of type {stored:?}")),
        };
        let offset = fields.size(1, "the offset of a tensor")?;
        let shape = fields.sizes(2, "the shape of a tensor")?;
        let strides = fields.sizes(3, "the strides of a tensor")?;
        if shape.len() > MAX_AXES || shape.len() != strides.len() {
            return Err(format!(
                "a tensor has {} axes and {} strides; expected as many, at most {MAX_AXES}",
                shape.len(),
                strides.len()
            ));
        }
        Ok(Self { storage, stored, offset, shape, strides })
    }
}

/// Where the bytes of a storage lie in the file.
pub(super) type Place<'p> = dyn Fn(&StorageRef) -> Sound<Range<u64>> + 'p;

/// The tensors of the table, each within its storage.
pub(super) fn entries(pickle: &Pickle, place: &Place<'_>) -> Sound<Vec<Entry>> {
    let tensors = tensors(pickle)?;
    if tensors.len() > MAX_TENSORS {
        return Err(format!("it has {} tensors; at most {MAX_TENSORS} are read", tensors.len()));
    }
    let mut names = HashSet::new();
    if let Some((twice, _)) = tensors.iter().find(|(name, _)| !names.insert(name.clone())) {
        return Err(format!("the table has '{twice}' twice"));
    }
    tensors.into_iter().map(|(name, tensor)| entry(&name, tensor, place)).collect()
}

/// The tensors by name, of the whole file, of the table inside of it that holds the model, or of its layers.
fn tensors(pickle: &Pickle) -> Sound<Vec<(Cow<'_, str>, &TensorRef)>> {
    let table = match pickle.object(pickle.root) {
        Some(Object::Table(table)) => table,
        Some(Object::List(layers)) => return of_layers(pickle, layers),
        _ => return Err("it holds no table of tensors; save model.state_dict()".to_owned()),
    };
    let nested = NESTED.iter().filter_map(|key| {
        let (_, value) = table.iter().find(|(name, _)| pickle.text(*name) == Some(key))?;
        match pickle.object(*value) {
            Some(Object::Table(table)) => Some(table),
            _ => None,
        }
    });
    let mut tables = std::iter::once(table).chain(nested).map(|table| of_table(pickle, table));
    let found = tables.find(|found| !found.as_ref().is_ok_and(Vec::is_empty));
    let found =
        found.ok_or_else(|| format!("its table holds no tensors, nor does any of {} in it", NESTED.join(", ")))??;
    Ok(found.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect())
}

/// The tensors of a list of layers, of which each is a tuple (perhaps of tuples) with a table: `3.weight` of the fourth.
fn of_layers<'p>(pickle: &'p Pickle, layers: &[Value]) -> Sound<Vec<(Cow<'p, str>, &'p TensorRef)>> {
    let (mut found, mut n_seen) = (Vec::new(), 0);
    // One tuple or table may be named many times.
    let mut see = |n: usize| {
        n_seen += n;
        let message = || format!("its list of layers names more than {MAX_TENSORS} values, the most that are read");
        if n_seen > MAX_TENSORS { Err(message()) } else { Ok(()) }
    };
    for (i, &layer) in layers.iter().enumerate().take(MAX_LAYERS) {
        // Tuples within tuples, looked at level by level.
        let mut level = vec![layer];
        for _ in 0..MAX_DEPTH {
            let mut next = Vec::new();
            for value in std::mem::take(&mut level) {
                match pickle.object(value) {
                    Some(Object::Table(table)) => {
                        see(table.len())?;
                        let named = of_table(pickle, table)?.into_iter();
                        found.extend(named.map(|(name, tensor)| (Cow::Owned(format!("{i}.{name}")), tensor)));
                    }
                    Some(Object::Tuple(values)) => {
                        see(values.len())?;
                        next.extend(values.iter().take(MAX_LAYERS));
                    }
                    _ => {}
                }
            }
            level = next;
            level.truncate(MAX_LAYERS);
        }
    }
    if found.is_empty() { Err("its list of layers holds no tables of tensors".to_owned()) } else { Ok(found) }
}

fn of_table<'p>(pickle: &'p Pickle, table: &[(Value, Value)]) -> Sound<Vec<(&'p str, &'p TensorRef)>> {
    let tensor = |(name, value): &(Value, Value)| match (pickle.text(*name), pickle.object(*value)) {
        (Some(name), Some(Object::Tensor(tensor))) => {
            Some(check_name(name, "the name of a tensor").map(|()| (name, tensor.as_ref())))
        }
        _ => None,
    };
    table.iter().filter_map(tensor).collect()
}

/// Refuses what many places may name, and would take much memory in each.
fn check_name(name: &str, what: &str) -> Sound<()> {
    if name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(format!("{what} has {} bytes; at most {MAX_NAME_BYTES} are read", name.len()))
}

fn entry(name: &str, tensor: &TensorRef, place: &Place<'_>) -> Sound<Entry> {
    let TensorRef { storage, stored, offset, shape, strides } = tensor;
    let range = place(storage)?;
    let n_stored = (range.end - range.start) / stored.size_bytes() as u64;
    let beyond = || {
        format!(
            "tensor '{name}' of shape {shape:?} with strides {strides:?} from element {offset} goes beyond its storage of \
             {n_stored} elements"
        )
    };
    shape.iter().try_fold(1_u64, |n, &size| n.checked_mul(size)).filter(|&n| n <= u64::MAX >> 4).ok_or_else(beyond)?;
    let is_empty = shape.contains(&0);
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(*offset, |last, (&size, &stride)| last.checked_add(size.saturating_sub(1).checked_mul(stride)?));
    let last = last.filter(|&last| is_empty || last < n_stored).ok_or_else(beyond)?;
    let n_spanned = if is_empty { 0 } else { last - offset + 1 };
    let start = range.start + if is_empty { 0 } else { offset * stored.size_bytes() as u64 };
    let sizes = |sizes: &[u64]| sizes.iter().map(|&size| size as usize).collect();
    Ok(Entry {
        name: name.to_owned(),
        stored: *stored,
        shape: sizes(shape),
        strides: sizes(strides),
        start,
        n_spanned: n_spanned as usize,
        n_stored: n_stored as usize,
    })
}
