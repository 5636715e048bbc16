//! The data sets that results are reported on, when they are there: `GENERA_TEST_DATA` names their directory.

use genera_data::{
    Aligned, Files, Layout, LoaderSettings, Padded, Preparation, ReadOptions, Split, TokenizerSpec, Validation, prepare,
};
use std::path::PathBuf;
use std::sync::Arc;

fn data(name: &str) -> Option<PathBuf> {
    let found = std::env::var_os("GENERA_TEST_DATA").map(|directory| PathBuf::from(directory).join(name));
    let found = found.filter(|path| path.exists());
    if found.is_none() {
        println!("skipped: no {name} (set GENERA_TEST_DATA to the directory of the data sets)");
    }
    found
}

#[test]
fn tinyshakespeare_is_split_and_numbered_as_by_nanogpt() {
    let Some(path) = data("text/tinyshakespeare.txt") else { return };
    let directory = tempfile::tempdir().unwrap();
    let corpus = Arc::new(Files::open(std::slice::from_ref(&path), ReadOptions::default()).unwrap());
    let preparation = Preparation::new(corpus, TokenizerSpec::Characters);
    let prepared = prepare(&preparation, directory.path(), &mut |_| ()).unwrap();
    let validation = prepared.validation.unwrap();
    assert_eq!(prepared.tokenizer.vocab().size, 65);
    assert_eq!((prepared.train.info().n_tokens, validation.info().n_tokens), (1_003_854, 111_540));
    assert_eq!(prepared.tokenizer.encode("\n !hii there").unwrap()[..5], [0, 1, 2, 46, 47]);
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(prepared.tokenizer.decode(&validation.tokens(0..111_540).unwrap()), text[1_003_854..]);

    let settings = LoaderSettings {
        layout: Layout::Contiguous,
        rows: 32,
        context_len: 64,
        seed: 0,
        padding: 0,
        token_bytes: prepared.tokenizer.token_bytes(),
        vary: None,
    };
    let batches = Validation::new(validation, settings, None).unwrap();
    assert_eq!(batches.batches().map(|batch| batch.unwrap().n_targets()).sum::<usize>(), 111_539);
}

#[test]
fn multi30k_becomes_padded_pairs() {
    let (Some(german), Some(english)) = (data("translation/train.de.gz"), data("translation/train.en.gz")) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let corpus = Arc::new(Aligned::open(&german, &english).unwrap());
    let spec = TokenizerSpec::Bpe { vocab_size: 4000 };
    let preparation = Preparation { split: Split::Documents { fraction: 0.02 }, ..Preparation::new(corpus, spec) };
    let prepared = prepare(&preparation, directory.path(), &mut |_| ()).unwrap();
    assert!(prepared.summary.has_pairs);
    let special = prepared.tokenizer.vocab().special;
    let padded =
        Padded { begin: special.begin.unwrap(), max_source_len: 128, max_target_len: 128, max_tokens: Some(4096) };
    let settings = LoaderSettings {
        layout: Layout::Padded(padded),
        rows: 4096,
        context_len: 128,
        seed: 0,
        padding: special.padding.unwrap(),
        token_bytes: prepared.tokenizer.token_bytes(),
        vary: None,
    };
    let validation = Validation::new(prepared.validation.unwrap(), settings, None).unwrap();
    let batches: Vec<_> = validation.batches().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.n_bytes).sum::<u64>(), prepared.summary.n_validation_bytes);
    assert!(batches.iter().all(|batch| batch.n_tokens() <= 4096));
    assert_eq!(validation.n_left_out().unwrap(), 0);
}
