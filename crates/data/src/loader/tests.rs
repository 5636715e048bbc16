use super::*;
use crate::{Piece, ShardWriter};
use genera_tokens::{IGNORE, Special, TokenSeq, Vocab};
use std::collections::HashSet;
use tempfile::TempDir;

/// A shard of `documents`, in a directory that lives as long as it.
fn shard(documents: &[TokenSeq]) -> (TempDir, Arc<Shard>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.shard");
    let vocab = Vocab::single("text", 100_000, Special::default());
    let mut writer = ShardWriter::create(&path, &vocab, 0).unwrap();
    for document in documents {
        writer.push(document, Piece::Whole, 0).unwrap();
    }
    writer.finish().unwrap();
    (directory, Arc::new(Shard::open(&path).unwrap()))
}

fn settings(layout: Layout, rows: usize, context_len: usize) -> LoaderSettings {
    LoaderSettings { layout, rows, context_len, seed: 1, padding: 0, token_bytes: vec![2; 100_000].into(), vary: None }
}

/// Documents of the given lengths whose tokens count from 1, so that each token of the shard is another.
fn counting(lens: &[u32]) -> Vec<TokenSeq> {
    let mut next = 1;
    let mut document = |len| {
        next += len;
        TokenSeq::target((next - len..next).collect())
    };
    lens.iter().map(|&len| document(len)).collect()
}

fn targets(batch: &Batch) -> Vec<TokenId> {
    batch.targets.iter().copied().filter(|&target| target != IGNORE).collect()
}

/// Checks that each target is the token after the one beside it, and that the rest of the batch is consistent.
fn check_counting(batch: &Batch) {
    assert_eq!(batch.tokens.len(), batch.n_rows * batch.len);
    assert_eq!(batch.n_bytes, 2 * batch.n_targets() as u64);
    for i in 0..batch.tokens.len() {
        if batch.targets[i] != IGNORE {
            assert_eq!(batch.targets[i], batch.tokens[i] + 1);
            assert!(batch.segments[i] > 0);
        }
        let continues = i % batch.len > 0 && batch.segments[i] > 0 && batch.segments[i - 1] == batch.segments[i];
        if continues {
            assert_eq!(batch.positions[i], batch.positions[i - 1] + 1);
            assert_eq!(batch.tokens[i], batch.tokens[i - 1] + 1);
        } else {
            assert_eq!(batch.positions[i], 0);
        }
    }
}

#[test]
fn windows_cover_the_stream_once_an_epoch_at_another_offset_each_time() {
    let (_directory, shard) = shard(&counting(&[700, 301]));
    let loader = Loader::new(vec![(shard, 1.0)], settings(Layout::Contiguous, 3, 10)).unwrap();
    assert_eq!(loader.rows_per_epoch(), 99);
    let mut offsets = HashSet::new();
    for epoch in 0..5 {
        let batches: Vec<Batch> = (0..33).map(|i| loader.batch(epoch * 33 + i).unwrap()).collect();
        batches.iter().for_each(check_counting);
        assert!(batches.iter().all(Batch::is_dense));
        let seen: Vec<TokenId> = batches.iter().flat_map(targets).collect();
        assert_eq!(seen.len(), 990);
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 990, "a token was seen twice in an epoch");
        offsets.insert(*seen.iter().min().unwrap());
    }
    assert!(offsets.len() > 2, "{offsets:?}");
}

#[test]
fn packed_rows_hold_every_prediction_of_every_document_once_an_epoch() {
    let lens: Vec<u32> = (0..1500).map(|i| (i * 7919) % 23).chain([200, 1, 0, 33]).collect();
    let (_directory, shard) = shard(&counting(&lens));
    let loader = Loader::new(vec![(shard, 1.0)], settings(Layout::Packed, 1, 16)).unwrap();
    let batches: Vec<Batch> = (0..loader.rows_per_epoch()).map(|i| loader.batch(i).unwrap()).collect();
    batches.iter().for_each(check_counting);
    let seen: Vec<TokenId> = batches.iter().flat_map(targets).collect();
    let expected: u32 = lens.iter().map(|len| len.saturating_sub(1)).sum();
    assert_eq!(seen.len(), expected as usize);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
    let filled = seen.len() as f64 / (batches.len() * 16) as f64;
    assert!(filled > 0.97, "rows are filled to {filled:.3}");
}

#[test]
fn given_tokens_carry_no_loss() {
    let documents = [TokenSeq::conditioned(&[1, 2, 3], &[4, 5]), TokenSeq::conditioned(&[11], &[12, 13])];
    let (_directory, shard) = shard(&documents);
    let loader = Loader::new(vec![(shard, 1.0)], settings(Layout::Packed, 1, 8)).unwrap();
    let batch = loader.batch(0).unwrap();
    assert_eq!(batch.tokens, [1, 2, 3, 4, 11, 12, 0, 0]);
    assert_eq!(batch.targets, [IGNORE, IGNORE, 4, 5, 12, 13, IGNORE, IGNORE]);
    assert_eq!(batch.segments, [1, 1, 1, 1, 2, 2, 0, 0]);
}

const PADDED: Padded = Padded { begin: 1, max_source_len: 9, max_target_len: 9, max_tokens: None };

/// Pairs of which each has tokens of its own, of lengths up to 12.
fn pairs(n: u32) -> Vec<TokenSeq> {
    let pair = |i: u32| {
        let (n_source, n_target) = (i * 7 % 12 + 1, i * 11 % 12 + 1);
        TokenSeq::conditioned(&vec![10 + i; n_source as usize], &vec![10 + i; n_target as usize])
    };
    (0..n).map(pair).collect()
}

#[test]
fn pairs_are_padded_and_shifted() {
    let (_directory, shard) =
        shard(&[TokenSeq::conditioned(&[5, 6, 2], &[7, 2]), TokenSeq::conditioned(&[8, 2], &[9, 4, 2])]);
    let validation = Validation::new(shard, settings(Layout::Padded(PADDED), 2, 9), None).unwrap();
    let batch = validation.batches().next().unwrap().unwrap();
    assert_eq!(batch.tokens, [1, 7, 0, 1, 9, 4]);
    assert_eq!(batch.targets, [7, 2, IGNORE, 9, 4, 2]);
    assert_eq!(batch.segments, [1, 1, 0, 1, 1, 1]);
    let source = batch.source.unwrap();
    assert_eq!((source.len, source.tokens, source.lens), (3, vec![5, 6, 2, 8, 2, 0], vec![3, 2]));
}

#[test]
fn pairs_come_once_an_epoch_within_the_limits() {
    let (_directory, shard) = shard(&pairs(4096));
    for max_tokens in [None, Some(60)] {
        let layout = Layout::Padded(Padded { max_tokens, ..PADDED });
        let loader = Loader::new(vec![(shard.clone(), 1.0)], settings(layout, 8, 9)).unwrap();
        assert_eq!(loader.rows_per_epoch() + loader.n_left_out(), 4096);
        let (mut seen, mut n_padded, mut n_real, mut index) = (Vec::new(), 0, 0, 0);
        while (seen.len() as u64) < 2048 {
            let batch = loader.batch(index).unwrap();
            assert!(batch.n_rows <= 8);
            let source = batch.source.as_ref().unwrap();
            let n_tokens = batch.n_tokens();
            assert!(max_tokens.is_none_or(|max| n_tokens <= max), "{n_tokens} tokens");
            n_padded += n_tokens;
            n_real += batch.n_targets() + source.lens.iter().sum::<u32>() as usize;
            seen.extend(source.tokens.chunks(source.len).map(|row| row[0]));
            index += 1;
        }
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "a pair came twice in an epoch");
        assert!(n_real * 10 > n_padded * 8, "{n_real} of {n_padded} tokens are real");
    }
}

#[test]
fn a_batch_depends_on_its_number_alone() {
    let (_directory, text) = shard(&counting(&[500, 80, 9, 30, 12]));
    let (_other_directory, pairs) = shard(&pairs(3000));
    let budget = Padded { max_tokens: Some(70), ..PADDED };
    for (shard, layout) in [(&text, Layout::Contiguous), (&text, Layout::Packed), (&pairs, Layout::Padded(budget))] {
        let new = |seed| {
            let settings = LoaderSettings { seed, ..settings(layout, 4, 10) };
            Arc::new(Loader::new(vec![(shard.clone(), 2.0), (shard.clone(), 1.0)], settings).unwrap())
        };
        let in_order: Vec<Batch> = (0..900).map(|i| new(1).batch(i).unwrap()).take(3).collect();
        let once = new(1);
        let all: Vec<Batch> = (0..900).map(|i| once.batch(i).unwrap()).collect();
        assert_eq!(all[..3], in_order);
        assert_eq!(new(1).batch(700).unwrap(), all[700], "a fresh loader at a late batch");
        assert_eq!(once.batch(2).unwrap(), all[2], "going back");
        let resumed: Vec<Batch> = Prefetch::new(new(1), 895, 2).take(5).map(Result::unwrap).collect();
        assert_eq!(resumed, all[895..]);
        assert_ne!(new(2).batch(0).unwrap(), all[0]);
    }
}

#[test]
fn validation_predicts_every_token_once() {
    let lens = [3, 0, 1, 40, 16, 17, 18, 100, 2, 5];
    let (_directory, shard) = shard(&counting(&lens));
    for (layout, n_expected) in [(Layout::Contiguous, 201), (Layout::Packed, 193)] {
        for stride in [None, Some(16), Some(5), Some(1)] {
            let validation = Validation::new(shard.clone(), settings(layout, 3, 16), stride).unwrap();
            let batches: Vec<Batch> = validation.batches().map(Result::unwrap).collect();
            batches.iter().for_each(check_counting);
            let seen: Vec<TokenId> = batches.iter().flat_map(targets).collect();
            assert_eq!(seen.len(), n_expected, "{layout:?} {stride:?}");
            assert_eq!(seen.iter().collect::<HashSet<_>>().len(), n_expected);
            let context = |batch: &Batch| {
                let of_targets = batch.targets.iter().zip(&batch.positions).filter(|(target, _)| **target != IGNORE);
                of_targets.map(|(_, position)| u64::from(*position)).sum::<u64>()
            };
            let mean = batches.iter().map(context).sum::<u64>() as f64 / n_expected as f64;
            assert!(stride != Some(1) || layout == Layout::Packed || mean > 14.0, "mean context {mean}");
        }
    }
}

#[test]
fn a_short_stream_is_one_short_row_of_validation() {
    let (_directory, shard) = shard(&counting(&[5]));
    let validation = Validation::new(shard, settings(Layout::Contiguous, 4, 16), None).unwrap();
    let batches: Vec<Batch> = validation.batches().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    assert_eq!(targets(&batches[0]), [2, 3, 4, 5]);
}

#[test]
fn validation_of_pairs_is_complete() {
    let (_directory, shard) = shard(&pairs(100));
    let layout = Layout::Padded(Padded { max_source_len: 12, max_target_len: 12, ..PADDED });
    let validation = Validation::new(shard, settings(layout, 7, 12), None).unwrap();
    let n_rows: usize = validation.batches().map(|batch| batch.unwrap().n_rows).sum();
    assert_eq!(n_rows, 100);
    assert_eq!(validation.n_left_out().unwrap(), 0);
}

#[test]
fn data_too_small_for_a_row_is_an_error() {
    let check = |documents: &[TokenSeq], layout: Layout, expect: &str| {
        let (_directory, shard) = shard(documents);
        let error = Loader::new(vec![(shard, 1.0)], settings(layout, 2, 10)).err().expect("an error").to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(&counting(&[10]), Layout::Contiguous, "has 10 tokens, but one row takes 11");
    check(&counting(&[1, 1]), Layout::Packed, "two tokens or more");
    check(&counting(&[5]), Layout::Padded(PADDED), "none of the 1 pairs");
}

#[test]
fn each_document_is_drawn_by_itself() {
    let (_directory, shard) = shard(&counting(&[5; 400]));
    let draw = |secret| Poisson::new(shard.clone(), settings(Layout::Packed, 1, 64), 40, secret).unwrap();
    let sizes: Vec<usize> = (0..200).map(|step| draw(7).step(step).unwrap().len()).collect();
    let mean = sizes.iter().sum::<usize>() as f64 / 200.0;
    let variance = sizes.iter().map(|&n| (n as f64 - mean).powi(2)).sum::<f64>() / 200.0;
    // A binomial of 400 at 0.1 has mean 40 and variance 36.
    assert!((mean - 40.0).abs() < 1.7 && (22.0..54.0).contains(&variance), "{mean} {variance}");
    assert_eq!(draw(7).step(3).unwrap(), draw(7).step(3).unwrap());
    assert_ne!(draw(7).step(3).unwrap(), draw(8).step(3).unwrap());
    let batch = &draw(7).step(0).unwrap()[0];
    assert_eq!((batch.n_rows, batch.len, batch.n_targets()), (1, 4, 4));
    check_counting(batch);
    assert!(Poisson::new(shard.clone(), settings(Layout::Packed, 1, 64), 401, 7).is_err());
}
