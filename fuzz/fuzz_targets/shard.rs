//! A token shard. Its two checksums are set right first: without that, nearly every input would end at them.
#![no_main]

mod seed;

use genera_data::Shard;
use libfuzzer_sys::fuzz_target;

const HEADER_BYTES: usize = 128;
const HEADER_SUM_AT: usize = HEADER_BYTES - 4;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    let _ = Shard::from_bytes(bytes.clone());
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let body_sum = crc32fast::hash(&bytes[HEADER_BYTES..]);
    bytes[12..16].copy_from_slice(&body_sum.to_le_bytes());
    let header_sum = crc32fast::hash(&bytes[..HEADER_SUM_AT]);
    bytes[HEADER_SUM_AT..HEADER_SUM_AT + 4].copy_from_slice(&header_sum.to_le_bytes());
    let Some(shard) = seed::read(Shard::from_bytes(bytes)) else { return };
    let info = shard.info().clone();
    for document in 0..info.n_documents.min(64) {
        let _ = shard.document(document);
    }
    let _ = shard.tokens(0..info.n_tokens.min(4096));
    let _ = shard.document_bounds(0..info.n_documents.min(64));
});
