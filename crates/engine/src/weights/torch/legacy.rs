//! The layout before 2020: five pickles, then the storages, each with its number of elements before it.

use super::Sound;
use super::bytes::{Bytes, read_at};
use super::entry::Entry;
use super::pickle::{MAX_PICKLE_BYTES, Object, Pickle, Value};
use super::state_dict::{self, StorageRef};
use crate::weights::content::Content;
use std::collections::HashMap;
use std::ops::Range;

/// A pickle of the number that such files begin with.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
/// The only version of the layout that there was.
const VERSION: i64 = 1001;

/// Whether a file begins as this layout does.
pub(super) fn is_beginning(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// The tensors that the fourth pickle describes, each with its place in the file.
pub(super) fn entries(content: &mut dyn Content, file_len: u64) -> Sound<Vec<Entry>> {
    let bytes = read_at(content, 0, file_len.min(MAX_PICKLE_BYTES), "its beginning")?;
    let mut at = MAGIC.len();
    let mut next = || -> Sound<Pickle> {
        let (pickle, n_bytes) = Pickle::load(&bytes[at..])?;
        at += n_bytes;
        Ok(pickle)
    };
    let version = next()?;
    if version.root != Value::Integer(VERSION) {
        return Err(format!("its layout is version {:?}, expected {VERSION}", version.root));
    }
    refuse_big_endian(&next()?)?;
    let (table, keys) = (next()?, next()?);
    let places = places(content, file_len, at as u64, &table, &keys)?;
    let place = |storage: &StorageRef| {
        places.get(&*storage.key).cloned().ok_or_else(|| format!("the file has no storage '{}'", storage.key))
    };
    state_dict::entries(&table, &place)
}

fn refuse_big_endian(system: &Pickle) -> Sound<()> {
    let Some(Object::Table(table)) = system.object(system.root) else {
        return Err("it does not say which system wrote it".to_owned());
    };
    let order = table.iter().find(|(key, _)| system.text(*key) == Some("little_endian"));
    match order {
        Some((_, Value::Flag(true))) => Ok(()),
        _ => Err("it was written on a big-endian machine, which is not read; save it again on another".to_owned()),
    }
}

/// Where each storage lies, in the order of `keys` from `at` to the end of the file.
fn places(
    content: &mut dyn Content,
    file_len: u64,
    mut at: u64,
    table: &Pickle,
    keys: &Pickle,
) -> Sound<HashMap<String, Range<u64>>> {
    let known: HashMap<&str, &StorageRef> = table.storages().map(|storage| (&*storage.key, storage)).collect();
    if let Some(other) = table.storages().find(|storage| known[&*storage.key] != *storage) {
        return Err(format!("storage '{}' is described in two ways", other.key));
    }
    let Some(Object::List(list)) = keys.object(keys.root) else {
        return Err("it does not list its storages".to_owned());
    };
    let mut places = HashMap::new();
    for &key in list {
        let key = keys.text(key).ok_or("the key of a storage is no text")?;
        let storage = known.get(key).ok_or_else(|| format!("it lists storage '{key}', which no tensor lies in"))?;
        let range = locate(content, file_len, at, storage)?;
        at = range.end;
        if places.insert(key.to_owned(), range).is_some() {
            return Err(format!("it lists storage '{key}' twice"));
        }
    }
    if at != file_len {
        return Err(format!("{} bytes follow its last storage", file_len - at));
    }
    Ok(places)
}

/// The bytes of a storage, behind its number of elements at `at`.
fn locate(content: &mut dyn Content, file_len: u64, at: u64, storage: &StorageRef) -> Sound<Range<u64>> {
    let key = &storage.key;
    let start = at.checked_add(8).filter(|&start| start <= file_len);
    let start = start.ok_or_else(|| format!("it is cut short before storage '{key}'"))?;
    let n = Bytes::new(&read_at(content, at, 8, "the size of a storage")?).u64("the size of a storage")?;
    if n != storage.n {
        return Err(format!("storage '{key}' has {n} elements, expected {}", storage.n));
    }
    let end = storage.n_bytes().and_then(|n_bytes| start.checked_add(n_bytes)).filter(|&end| end <= file_len);
    let end = end.ok_or_else(|| format!("storage '{key}' of {n} elements at byte {start} goes beyond the file"))?;
    Ok(start..end)
}
