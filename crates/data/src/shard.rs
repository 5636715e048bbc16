//! Token shards: the tokens of a corpus on disk, with where documents end and what each stretch is for.
//!
//! ```text
//! header     128 bytes: magic, version, sizes, checksum of all that follows, checksum of the header itself
//! tokens     2 or 4 bytes each, padded to a multiple of 8
//! documents  8 bytes each: where its tokens end; with roles, 8 more: where its spans end
//! spans      8 bytes each: where it ends, twice, plus 1 for a target; absent when every document is one target
//! ```
//! All numbers are little-endian. A shard is written under a temporary name, synced and renamed; so it is whole or
//! absent, and its checksum is verified when it is opened.
//!
//! Tokens are read by position, not through a memory map: a row costs one system call of about a microsecond, the
//! resident memory stays small however big the shard, and a file that another program cuts short is an error instead
//! of the end of the process.

mod reader;
mod writer;

pub use reader::Shard;
pub use writer::ShardWriter;

use crc32fast::Hasher;

const MAGIC: &[u8; 8] = b"GENERATK";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 128;
/// Where the header's own checksum stands: its last four bytes.
const HEADER_SUM_AT: usize = HEADER_BYTES - 4;

/// What a shard holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// Number of tokens.
    pub n_tokens: u64,
    /// Number of documents.
    pub n_documents: u64,
    /// Number of stretches with a role; 0 when every document is one target.
    pub n_spans: u64,
    /// Number of bytes of text that the tokens stand for.
    pub n_bytes: u64,
    /// Size of the vocabulary.
    pub vocab_size: u64,
    /// [`Tokenizer::fingerprint`](crate::Tokenizer::fingerprint) of the tokenizer that made it.
    pub tokenizer: u64,
}

impl ShardInfo {
    /// Bytes per token on disk.
    fn token_width(&self) -> u64 {
        if self.vocab_size <= 1 << 16 { 2 } else { 4 }
    }

    /// Bytes per document on disk.
    fn document_width(&self) -> u64 {
        if self.n_spans > 0 { 16 } else { 8 }
    }

    /// Where the documents stand; none when no file can be so big.
    fn documents_at(&self) -> Option<u64> {
        let n_token_bytes = self.n_tokens.checked_mul(self.token_width())?.checked_next_multiple_of(8)?;
        n_token_bytes.checked_add(HEADER_BYTES as u64)
    }

    /// Where the spans stand.
    fn spans_at(&self) -> Option<u64> {
        self.documents_at()?.checked_add(self.n_documents.checked_mul(self.document_width())?)
    }

    /// Size of the file.
    fn file_len(&self) -> Option<u64> {
        self.spans_at()?.checked_add(self.n_spans.checked_mul(8)?)
    }

    fn to_header(self, body_sum: u32) -> [u8; HEADER_BYTES] {
        let fields = [self.n_tokens, self.n_documents, self.n_spans, self.n_bytes, self.vocab_size, self.tokenizer];
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&body_sum.to_le_bytes());
        for (place, field) in header[16..].chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        let sum = checksum(&header[..HEADER_SUM_AT]);
        header[HEADER_SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        header
    }

    /// What a header says, and the checksum of the body.
    ///
    /// # Errors
    /// In words, when it is not the header of a whole shard of this version.
    fn from_header(header: &[u8; HEADER_BYTES]) -> Result<(Self, u32), String> {
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let field = |i: usize| u64::from_le_bytes(header[16 + 8 * i..24 + 8 * i].try_into().expect("eight bytes"));
        if &header[..8] != MAGIC {
            return Err("is not a token shard".to_owned());
        }
        if u32_at(8) != VERSION {
            return Err(format!("is of version {}, but this program reads version {VERSION}", u32_at(8)));
        }
        if checksum(&header[..HEADER_SUM_AT]) != u32_at(HEADER_SUM_AT) {
            return Err("has been altered: the checksum of its header does not match".to_owned());
        }
        let info = Self {
            n_tokens: field(0),
            n_documents: field(1),
            n_spans: field(2),
            n_bytes: field(3),
            vocab_size: field(4),
            tokenizer: field(5),
        };
        Ok((info, u32_at(12)))
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
