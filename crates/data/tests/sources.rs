//! Files of every container, plain and compressed, alone and in directories, through the public face.

use flate2::write::GzEncoder;
use genera_data::{ByteCounter, Columns, Corpus, Document, Files, ReadOptions, Result};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::Write;
use std::path::{Path, PathBuf};

fn read(paths: &[PathBuf], options: ReadOptions) -> Result<Vec<Document>> {
    Files::open(paths, options)?.documents(&ByteCounter::default())?.collect()
}

fn texts(paths: &[PathBuf], options: ReadOptions) -> Vec<String> {
    read(paths, options).unwrap().iter().map(|document| document.as_text().unwrap().to_owned()).collect()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn table(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

const TABLES: &[&str] = &[
    "none-v1.parquet",
    "none-v2.parquet",
    "snappy-v1.parquet",
    "gzip-v1.parquet",
    "brotli-v1.parquet",
    "lz4-v1.parquet",
    "zstd-v1.parquet",
    "zstd-v2.parquet",
];

#[test]
fn parquet_of_every_compression_is_read_row_by_row() {
    let fields = vec!["id".to_owned(), "score".to_owned()];
    let columns = Columns { target: Some("label".into()), fields, ..Columns::default() };
    for name in TABLES {
        let documents =
            read(&[table(name)], ReadOptions { columns: columns.clone(), ..ReadOptions::default() }).unwrap();
        assert_eq!(documents.len(), 700, "{name}");
        for (i, document) in documents.iter().enumerate() {
            let text = if i % 50 == 7 { String::new() } else { format!("row {i} – zażółć gęślą jaźń") };
            assert_eq!(document.as_text().unwrap(), text, "{name}");
            assert_eq!(document.target, Some(format!("label {}", i % 3)), "{name}");
            assert_eq!(document.field("id"), Some(i.to_string().as_str()), "{name}");
            assert_eq!(document.field("score"), Some((i as f64 / 4.0).to_string().as_str()), "{name}");
        }
    }
}

#[test]
fn parquet_columns_with_lists_are_named() {
    assert_eq!(genera_data::source::nested_column_names(&table("none-v1.parquet")).unwrap(), ["tags"]);
    assert_eq!(genera_data::source::column_names(&table("none-v1.parquet")).unwrap(), ["id", "text", "label", "score"]);
}

#[test]
fn a_missing_parquet_column_is_named_with_those_that_exist() {
    let columns = Columns { text: Some("body".into()), ..Columns::default() };
    let options = ReadOptions { columns, ..ReadOptions::default() };
    let error = read(&[table("none-v1.parquet")], options).unwrap_err().to_string();
    assert!(error.contains("\"body\"; it has \"id\", \"text\", \"label\", \"score\""), "{error}");
}

#[test]
fn damaged_parquet_is_an_error_or_other_text_but_never_a_panic() {
    for name in ["zstd-v1.parquet", "snappy-v1.parquet"] {
        let whole = std::fs::read(table(name)).unwrap();
        for i in (0..whole.len()).step_by(37) {
            let mut altered = whole.clone();
            altered[i] ^= 0x55;
            for bytes in [altered, whole[..i].to_vec()] {
                let documents =
                    genera_data::source::read_bytes(bytes, genera_data::source::Format::Parquet, &Columns::default());
                // Whether it is an error depends on the byte: Parquet has no checksum that covers all of them.
                let _ = documents.map(Iterator::count);
            }
        }
    }
}

#[test]
fn a_directory_is_read_in_sorted_order_whatever_the_containers() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("b/2.txt", b"second");
    write("b/10.md.gz", &gzip(b"first"));
    write(
        "c.jsonl.zst",
        &compress_to_vec(&b"{\"text\": \"third\"}\n{\"text\": \"fourth\"}\n"[..], CompressionLevel::Fastest),
    );
    write("d.tsv", b"n\ttext\n1\tfifth\n");
    write("e.csv.gz", &gzip(b"text\nsixth\n"));
    write(".hidden.txt", b"hidden");
    write(".git/a.txt", b"hidden");
    write("empty.txt", b"");
    write("picture.png", b"\x89PNG");
    write("f.json.gz", &gzip(b" [{\"text\": \"seventh\"},\n{\"text\": \"eighth\"}]\n"));
    write("g.json.zst", &compress_to_vec(&b"[{\"text\": \"ninth\"}]"[..], CompressionLevel::Fastest));
    // What describes data is none.
    for (name, text) in [("dataset_info.json", "{\"text\": \"a\"}"), ("labels.json", "[\"a\"]"), ("none.json", "[]")] {
        write(name, text.as_bytes());
    }
    let found = texts(&[directory.path().to_owned()], ReadOptions::default());
    let expected = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"];
    assert_eq!(found, expected);
    let lines = ReadOptions { lines: true, ..ReadOptions::default() };
    assert_eq!(
        texts(&[directory.path().join("b"), directory.path().join("d.tsv")], lines),
        ["first", "second", "fifth"]
    );
}

#[test]
fn a_directory_without_data_says_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("notes.doc"), "x").unwrap();
    let error = Files::open(&[directory.path().to_owned()], ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains(".jsonl") && error.contains("notes.doc"), "{error}");
}

#[test]
fn the_fingerprint_changes_with_the_file_and_the_options() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.txt");
    std::fs::write(&path, "a").unwrap();
    let open = |options| Files::open(std::slice::from_ref(&path), options).unwrap().fingerprint();
    let first = open(ReadOptions::default());
    assert_eq!(first, open(ReadOptions::default()));
    assert_ne!(first, open(ReadOptions { lines: true, ..ReadOptions::default() }));
    std::fs::write(&path, "ab").unwrap();
    assert_ne!(first, open(ReadOptions::default()));
}

#[test]
fn progress_counts_the_bytes_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.txt.gz");
    let packed = gzip(&b"to be or not to be ".repeat(100_000));
    std::fs::write(&path, &packed).unwrap();
    let (files, counter) = (Files::open(&[path], ReadOptions::default()).unwrap(), ByteCounter::default());
    assert_eq!(files.documents(&counter).unwrap().count(), 2);
    assert_eq!(Some(counter.get()), files.n_bytes());
}
