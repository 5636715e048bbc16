use super::*;
use crate::Piece;
use genera_tokens::{Special, TokenSeq, Vocab};
use std::path::Path;

fn write(path: &Path, vocab_size: usize, documents: &[TokenSeq]) -> ShardInfo {
    let vocab = Vocab::single("text", vocab_size, Special::default());
    let mut writer = ShardWriter::create(path, &vocab, 7).unwrap();
    for document in documents {
        writer.push(document, Piece::Whole, 10).unwrap();
    }
    writer.finish().unwrap()
}

fn samples(vocab_size: u32) -> Vec<TokenSeq> {
    let mut turns = TokenSeq::conditioned(&[1, 2, 3], &[4]);
    turns.push(genera_tokens::Role::Condition, &[5]);
    turns.push(genera_tokens::Role::Target, &[6, vocab_size - 1]);
    vec![TokenSeq::target(vec![9, 8, 7]), turns, TokenSeq::default(), TokenSeq::conditioned(&[3], &[])]
}

#[test]
fn documents_come_back_with_their_roles() {
    let directory = tempfile::tempdir().unwrap();
    for vocab_size in [300, 1 << 16, (1 << 16) + 1, 200_000] {
        let path = directory.path().join("a.shard");
        let documents = samples(vocab_size);
        let info = write(&path, vocab_size as usize, &documents);
        let shard = Shard::open(&path).unwrap();
        assert_eq!(*shard.info(), info);
        assert_eq!((info.n_tokens, info.n_documents, info.n_bytes), (11, 4, 40));
        for (i, document) in documents.iter().enumerate() {
            assert_eq!(shard.document(i as u64).unwrap(), *document, "document {i}");
        }
        assert_eq!(shard.tokens(2..4).unwrap(), [7, 1]);
        assert_eq!(shard.role_lens(0..4).unwrap(), [(0, 3), (4, 3), (0, 0), (1, 0)]);
        assert_eq!(shard.role_lens(1..2).unwrap(), [(4, 3)]);
        assert_eq!(shard.document_bounds(1..4).unwrap(), [3, 10, 10, 11]);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "temporary files stay behind");
}

#[test]
fn targets_alone_need_no_spans() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.shard");
    let documents: Vec<TokenSeq> = (0..5).map(|n| TokenSeq::target((0..n).collect())).collect();
    let info = write(&path, 100, &documents);
    assert_eq!(info.n_spans, 0);
    let shard = Shard::open(&path).unwrap();
    for (i, document) in documents.iter().enumerate() {
        assert_eq!(shard.document(i as u64).unwrap(), *document, "document {i}");
    }
}

#[test]
fn pieces_make_one_document() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.shard");
    let mut writer = ShardWriter::create(&path, &Vocab::single("text", 9, Special::default()), 0).unwrap();
    for (piece, ids) in [(Piece::First, vec![1, 2]), (Piece::Middle, vec![3]), (Piece::Last, vec![])] {
        writer.push(&TokenSeq::target(ids), piece, 1).unwrap();
    }
    assert_eq!(writer.finish().unwrap().n_documents, 1);
    assert_eq!(Shard::open(&path).unwrap().document(0).unwrap().ids(), [1, 2, 3]);
}

#[test]
fn every_altered_byte_and_every_cut_is_detected() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.shard");
    write(&path, 300, &samples(300));
    let whole = std::fs::read(&path).unwrap();
    for i in 0..whole.len() {
        let mut altered = whole.clone();
        altered[i] ^= 0x10;
        std::fs::write(&path, &altered).unwrap();
        let error = Shard::open(&path).expect_err(&format!("byte {i} altered")).to_string();
        assert!(error.contains("a.shard"), "{error}");
        assert!(Shard::from_bytes(altered).is_err());
        std::fs::write(&path, &whole[..i]).unwrap();
        assert!(Shard::open(&path).is_err(), "cut to {i} bytes");
    }
    assert_eq!(Shard::from_bytes(whole.clone()).unwrap().document(0).unwrap().ids(), [9, 8, 7]);
    std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(Shard::open(&path).unwrap_err().to_string().contains("extended"));
}

#[test]
fn an_unfinished_shard_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let writer = ShardWriter::create(&directory.path().join("a.shard"), &Vocab::default(), 0).unwrap();
    drop(writer);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_header_of_impossible_sizes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.shard");
    let huge = ShardInfo { n_tokens: u64::MAX, n_documents: 1, n_spans: 0, n_bytes: 0, vocab_size: 9, tokenizer: 0 };
    std::fs::write(&path, huge.to_header(0)).unwrap();
    assert!(Shard::open(&path).unwrap_err().to_string().contains("impossible"));
}

/// A shard with a right checksum whose second document gives back spans of the first.
#[test]
fn spans_that_run_backwards_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.shard");
    let info = write(&path, 300, &samples(300));
    let mut bytes = std::fs::read(&path).unwrap();
    let second = info.documents_at().unwrap() as usize + 16 + 8;
    let n_spans = u64::from_le_bytes(bytes[second..second + 8].try_into().unwrap());
    bytes[second - 16..second - 8].copy_from_slice(&(n_spans + 1).to_le_bytes());
    let sum = checksum(&bytes[HEADER_BYTES..]);
    bytes[..HEADER_BYTES].copy_from_slice(&info.to_header(sum));
    let shard = Shard::from_bytes(bytes).unwrap();
    assert!(shard.document(1).unwrap_err().to_string().contains("follow one another"));
    assert!(shard.role_lens(0..4).is_err());
}
