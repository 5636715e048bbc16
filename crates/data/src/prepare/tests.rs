use super::*;
use crate::{Aligned, Document, Files, Generated, Layout, LoaderSettings, Origin, Padded, ReadOptions, Validation};
use std::path::PathBuf;
use tempfile::TempDir;

fn files(directory: &TempDir, contents: &[(&str, &str)]) -> Arc<dyn Corpus> {
    let paths: Vec<PathBuf> = contents.iter().map(|(name, _)| directory.path().join(name)).collect();
    for (path, (_, text)) in paths.iter().zip(contents) {
        std::fs::write(path, text).unwrap();
    }
    Arc::new(Files::open(&paths, ReadOptions { lines: false, ..ReadOptions::default() }).unwrap())
}

fn run(preparation: &Preparation, directory: &TempDir) -> Result<Prepared> {
    prepare(preparation, &directory.path().join("cache"), &mut |_| ())
}

fn text_of(prepared: &Prepared, shard: &Shard) -> String {
    prepared.tokenizer.decode(&shard.tokens(0..shard.info().n_tokens).unwrap())
}

#[test]
fn one_text_is_split_at_its_end_and_has_no_special_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let text = "Größe und Maß. ".repeat(100);
    let corpus = files(&directory, &[("a.txt", &text)]);
    for spec in [TokenizerSpec::Characters, TokenizerSpec::Bytes, TokenizerSpec::Bpe { vocab_size: 280 }] {
        let prepared = run(&Preparation::new(corpus.clone(), spec), &directory).unwrap();
        let validation = prepared.validation.clone().unwrap();
        let characters: Vec<char> = text.chars().collect();
        assert_eq!(text_of(&prepared, &prepared.train), characters[..1350].iter().collect::<String>());
        assert_eq!(text_of(&prepared, &validation), characters[1350..].iter().collect::<String>());
        assert_eq!(prepared.tokenizer.vocab().special, genera_tokens::Special::default());
        assert_eq!(prepared.summary.n_bytes + prepared.summary.n_validation_bytes, text.len() as u64);
        assert_eq!((prepared.train.info().n_documents, validation.info().n_documents), (1, 1));
    }
}

#[test]
fn a_text_in_many_pieces_is_one_document() {
    let directory = tempfile::tempdir().unwrap();
    let text = "Wer reitet so spät durch Nacht und Wind? ".repeat(80_000);
    let corpus = files(&directory, &[("a.md", &text)]);
    let prepared = run(&Preparation::new(corpus, TokenizerSpec::Bpe { vocab_size: 300 }), &directory).unwrap();
    let validation = prepared.validation.clone().unwrap();
    assert!(text_of(&prepared, &prepared.train) + &text_of(&prepared, &validation) == text);
    assert_eq!((prepared.train.info().n_documents, validation.info().n_documents), (1, 1));
    let whole = prepared.tokenizer.encode(&text[..2 << 20]).unwrap();
    let n_same = whole.len() as u64 - 10;
    assert!(whole[..n_same as usize] == prepared.train.tokens(0..n_same).unwrap(), "cuts between pieces change tokens");
}

#[test]
fn many_documents_are_split_one_by_one_between_begin_and_end() {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..1000).map(|i| format!("{{\"text\": \"document {i}\"}}\n{{\"text\": \" \"}}\n")).collect();
    let corpus = files(&directory, &[("a.jsonl", &lines)]);
    let prepared = run(&Preparation::new(corpus, TokenizerSpec::Characters), &directory).unwrap();
    let (summary, special) = (&prepared.summary, prepared.tokenizer.vocab().special);
    assert_eq!((summary.n_documents, summary.n_validation_documents), (900, 100));
    assert_eq!(summary.dropped, BTreeMap::from([("empty".to_owned(), 1000)]));
    let validation = prepared.validation.clone().unwrap();
    let mut numbers = Vec::new();
    for (shard, n) in [(&prepared.train, 900), (&validation, 100)] {
        for i in 0..n {
            let document = shard.document(i).unwrap();
            assert_eq!((document.ids().first().copied(), document.ids().last().copied()), (special.begin, special.end));
            let text = prepared.tokenizer.decode(document.ids());
            numbers.push(text.strip_prefix("document ").unwrap().parse::<u32>().unwrap());
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
}

#[test]
fn variants_go_where_their_document_goes_and_never_into_validation() {
    let directory = tempfile::tempdir().unwrap();
    let make = || -> Box<dyn Iterator<Item = Document> + Send> {
        Box::new((0..100).flat_map(|i| {
            let of = move |text: String| Document::text(Origin::new("rule", i), text);
            // Number 7 is dropped, and what it is in other words with it.
            let first = of(if i == 7 { " ".to_owned() } else { format!("{i} a") });
            let other = move |j| Document { is_variant: true, ..of(format!("{i} {j}")) };
            std::iter::once(first).chain(["b", "c"].map(other))
        }))
    };
    let corpus = Arc::new(Generated::new("in three ways", make));
    let split = Split::Documents { fraction: 0.1 };
    let preparation = Preparation { split, ..Preparation::new(corpus, TokenizerSpec::Bytes) };
    let prepared = run(&preparation, &directory).unwrap();
    let texts = |shard: &Shard| -> Vec<String> {
        (0..shard.info().n_documents).map(|i| prepared.tokenizer.decode(shard.document(i).unwrap().ids())).collect()
    };
    let (train, validation) = (texts(&prepared.train), texts(prepared.validation.as_ref().unwrap()));
    assert!((9..=10).contains(&validation.len()) && train.len() == 3 * (99 - validation.len()), "{train:?}");
    assert!(validation.iter().all(|text| text.ends_with(" a")), "{validation:?}");
    let number = |text: &String| text.split(' ').next().unwrap().to_owned();
    let learned: std::collections::HashSet<String> = train.iter().map(number).collect();
    assert!(!learned.contains("7") && validation.iter().all(|text| !learned.contains(&number(text))), "{learned:?}");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..20_000).map(|i| format!("{{\"text\": \"line {} of {i}\"}}\n", i * i)).collect();
    let corpus = files(&directory, &[("a.jsonl", &lines)]);
    let bytes: Vec<Vec<u8>> = [1, 2, 5]
        .into_iter()
        .map(|n_threads| {
            let spec = TokenizerSpec::Bpe { vocab_size: 400 };
            let cache = directory.path().join(format!("cache {n_threads}"));
            prepare(&Preparation { n_threads, ..Preparation::new(corpus.clone(), spec) }, &cache, &mut |_| ()).unwrap();
            ["train.shard", "validation.shard", "tokenizer.json"]
                .into_iter()
                .flat_map(|name| std::fs::read(cache.join(name)).unwrap())
                .collect()
        })
        .collect();
    assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2]);
}

#[test]
fn a_preparation_is_used_again_until_something_changes() {
    let directory = tempfile::tempdir().unwrap();
    let corpus = files(&directory, &[("a.txt", &"to be or not to be ".repeat(50))]);
    let preparation = Preparation::new(corpus, TokenizerSpec::Characters);
    assert!(!run(&preparation, &directory).unwrap().is_reused);
    assert!(run(&preparation, &directory).unwrap().is_reused);
    let other = Preparation { split: Split::EndOfText { fraction: 0.2 }, ..preparation.clone() };
    assert!(!run(&other, &directory).unwrap().is_reused);
    assert!(!run(&preparation, &directory).unwrap().is_reused);

    let shard = directory.path().join("cache/train.shard");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let repaired = run(&preparation, &directory).unwrap();
    assert!(!repaired.is_reused);
    assert!(repaired.notice.unwrap().contains("checksum"));

    std::fs::write(directory.path().join("a.txt"), "something else entirely").unwrap();
    let changed = Files::open(&[directory.path().join("a.txt")], ReadOptions::default()).unwrap();
    let preparation = Preparation { corpus: Arc::new(changed), ..preparation };
    assert!(!run(&preparation, &directory).unwrap().is_reused);
}

#[test]
fn aligned_files_become_pairs_or_an_error_with_both_counts() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.de"), directory.path().join("a.en"));
    std::fs::write(&source, "eins\nzwei\ndrei\n").unwrap();
    std::fs::write(&target, "one\r\ntwo\r\nthree").unwrap();
    let corpus = Arc::new(Aligned::open(&source, &target).unwrap());
    let preparation = Preparation { split: Split::None, ..Preparation::new(corpus, TokenizerSpec::Characters) };
    let prepared = run(&preparation, &directory).unwrap();
    assert!(prepared.validation.is_none() && prepared.summary.has_pairs);
    let pair = prepared.train.document(2).unwrap();
    let part = |role| prepared.tokenizer.decode(&pair.ids_of(role));
    assert_eq!(
        (part(genera_tokens::Role::Condition), part(genera_tokens::Role::Target)),
        ("drei".into(), "three".into())
    );
    assert_eq!(prepared.summary.n_bytes, 11);

    let special = prepared.tokenizer.vocab().special;
    let padded = Padded { begin: special.begin.unwrap(), max_source_len: 9, max_target_len: 9, max_tokens: None };
    let settings = LoaderSettings {
        layout: Layout::Padded(padded),
        rows: 8,
        context_len: 9,
        seed: 0,
        padding: special.padding.unwrap(),
        token_bytes: prepared.tokenizer.token_bytes(),
        vary: None,
    };
    let validation = Validation::new(prepared.train.clone(), settings, None).unwrap();
    assert_eq!(validation.batches().map(|batch| batch.unwrap().n_bytes).sum::<u64>(), prepared.summary.n_bytes);

    std::fs::write(&target, "one\n").unwrap();
    let corpus = Arc::new(Aligned::open(&source, &target).unwrap());
    let error = run(&Preparation { corpus, ..preparation }, &directory).err().unwrap().to_string();
    assert!(error.contains("a.de has 3 lines but") && error.contains("a.en has 1"), "{error}");
}

#[test]
fn a_corpus_of_its_own_serves_for_validation() {
    let directory = tempfile::tempdir().unwrap();
    let train = files(&directory, &[("a.txt", "to be or not"), ("b.txt", "that is it")]);
    let validation = files(&directory, &[("v.txt", "not to be")]);
    let preparation = Preparation { validation: Some(validation), ..Preparation::new(train, TokenizerSpec::Bytes) };
    let prepared = run(&preparation, &directory).unwrap();
    assert_eq!(text_of(&prepared, &prepared.validation.clone().unwrap()), "not to be");
    assert_eq!(text_of(&prepared, &prepared.train), "to be or notthat is it");
}

#[test]
fn documents_made_by_rule_need_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let make = || -> Box<dyn Iterator<Item = Document> + Send> {
        Box::new((0..50).map(|i| Document::text(Origin::new("rule", i), format!("story {i}"))))
    };
    let preparation = Preparation::new(Arc::new(Generated::new("stories 0..50", make)), TokenizerSpec::Bytes);
    let prepared = run(&preparation, &directory).unwrap();
    // Few documents are cut at the end of the text, so that one of them counts on both sides.
    assert_eq!(prepared.summary.n_documents + prepared.summary.n_validation_documents, 51);
    assert!(run(&preparation, &directory).unwrap().is_reused);
}

#[test]
fn bad_input_is_named_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let check = |name: &str, contents: &[u8], expect: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, contents).unwrap();
        let corpus = Files::open(&[path], ReadOptions::default()).unwrap();
        let error = run(&Preparation::new(Arc::new(corpus), TokenizerSpec::Bytes), &directory).err().expect(expect);
        assert!(error.to_string().contains(expect), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        let left = directory.path().join("cache").read_dir().map_or(0, Iterator::count);
        assert_eq!(left, 0, "files are left behind");
    };
    check("empty.txt", b"", "holds no data");
    check("blank.txt", b" \n\n", "1 empty");
    check("latin.txt", b"na\xefve", "offset 2");
    check("program", b"\x7fELF\x01", "a program");
    check("a.jsonl", b"{\"text\": \"a\"}\n{\"tex", "line 2");
    check("a.csv", b"body,title\na,b\n", "it has \"body\", \"title\"");
    check("a.txt.gz", b"plain", "not gzip");
    check("a.parquet", b"PAR1 and no more", "Parquet");
    let missing = Files::open(&[directory.path().join("nowhere.txt")], ReadOptions::default()).unwrap_err();
    assert!(missing.to_string().contains("does not exist"));
}
