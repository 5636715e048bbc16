//! Queries and keys of Llama: files keep the rows of each head so that the two features which a rotary position turns
//! together are neighbours; here, as in the directories of the Hugging Face library, they are half a head apart.

use super::dialect::Dialect;
use super::reader::Reader;
use crate::error::Result;
use crate::weights::content::StoredRows;
use crate::weights::load::Store;
use genera_tensor::quant::Format;
use std::path::Path;

/// Whether a tensor's rows are those of queries or keys.
pub(super) fn is_turned(name: &str) -> bool {
    let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
    module.ends_with(".attn_q") || module.ends_with(".attn_k")
}

/// The rows of whole heads, from here into a file or back.
///
/// # Panics
/// When `data` is not whole heads of `d_head` rows.
pub(super) fn reordered<T: Copy>(data: &[T], row_len: usize, d_head: usize, into_file: bool) -> Vec<T> {
    assert!(data.len().is_multiple_of(row_len * d_head), "whole heads");
    let mut out = data.to_vec();
    for (from, to) in data.chunks_exact(row_len * d_head).zip(out.chunks_exact_mut(row_len * d_head)) {
        for i in 0..d_head {
            let neighbour = if i < d_head / 2 { 2 * i } else { 2 * (i - d_head / 2) + 1 };
            let (source, target) = if into_file { (i, neighbour) } else { (neighbour, i) };
            to[target * row_len..(target + 1) * row_len]
                .copy_from_slice(&from[source * row_len..(source + 1) * row_len]);
        }
    }
    out
}

/// The tensors of a file, with the rows of queries and keys as they are here.
pub(super) struct Turned {
    reader: Reader,
    /// Rows of a head, where they have to be reordered.
    d_head: Option<usize>,
}

impl Turned {
    /// The tensors of a file of this architecture.
    pub(super) fn new(reader: Reader, dialect: &Dialect, d_head: usize) -> Self {
        Self { reader, d_head: dialect.has_pairs.then_some(d_head) }
    }

    /// Rows of a head, if this tensor has to be reordered.
    fn of(&self, name: &str) -> Option<usize> {
        let rows = self.reader.find(name)?.shape.first()?;
        self.d_head.filter(|d_head| is_turned(name) && rows.is_multiple_of(*d_head))
    }

    fn n_rows(&self, name: &str) -> usize {
        self.reader.find(name).and_then(|entry| entry.shape.first()).map_or(1, |&rows| rows.max(1))
    }
}

impl Store for Turned {
    fn place(&self) -> &Path {
        self.reader.path()
    }

    fn configuration(&self) -> &'static str {
        "its metadata"
    }

    fn names(&self) -> Vec<&str> {
        self.reader.entries().iter().map(|entry| entry.name.as_str()).collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.reader.find(name).map(|entry| entry.shape.as_slice())
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let values = self.reader.read(name)?;
        let row_len = values.len() / self.n_rows(name);
        Ok(match self.of(name) {
            Some(d_head) => reordered(&values, row_len, d_head, false),
            None => values,
        })
    }

    fn stored(&self, name: &str) -> Option<Format> {
        self.reader.find(name).map(|entry| entry.format)
    }

    fn rows(&self, name: &str) -> Result<StoredRows> {
        let rows = self.reader.rows(name)?;
        let Some(d_head) = self.of(name) else { return Ok(rows) };
        let bytes = rows.into_bytes()?;
        let row_len = bytes.len() / self.n_rows(name);
        Ok(StoredRows::InMemory(reordered(&bytes, row_len, d_head, false)))
    }

    fn cut(&mut self, name: &str, parts: &[String]) -> bool {
        self.reader.cut(name, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_into_a_file_and_come_back() {
        let rows: Vec<u32> = (0..2 * 6 * 3).collect();
        let in_file = reordered(&rows, 3, 6, true);
        let firsts: Vec<u32> = in_file.chunks(3).map(|row| row[0] / 3).collect();
        assert_eq!(firsts, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        assert_eq!(reordered(&in_file, 3, 6, false), rows);
    }

    #[test]
    fn only_queries_and_keys_are_turned() {
        for (name, expected) in [
            ("blk.0.attn_q.weight", true),
            ("blk.11.attn_k.bias", true),
            ("blk.0.attn_v.weight", false),
            ("blk.0.attn_q_norm.weight", false),
        ] {
            assert_eq!(is_turned(name), expected, "{name}");
        }
    }
}
