//! Prepares a text file in a directory and prints what came of it and how fast that went:
//! `cargo run --release -p genera-data --example prepare -- FILE characters|bytes|bpe:SIZE DIRECTORY [THREADS]`

use genera_data::{Files, Preparation, ReadOptions, TokenizerSpec, prepare};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, kind, directory, rest @ ..] = arguments.as_slice() else {
        return Err("usage: prepare FILE characters|bytes|bpe:SIZE DIRECTORY [THREADS]".into());
    };
    let tokenizer = match kind.split_once(':') {
        None if kind == "characters" => TokenizerSpec::Characters,
        None if kind == "bytes" => TokenizerSpec::Bytes,
        Some(("bpe", size)) => TokenizerSpec::Bpe { vocab_size: size.parse()? },
        _ => return Err("the tokenizer is characters, bytes or bpe:SIZE".into()),
    };
    let n_threads = rest.first().map_or(Ok(0), |threads| threads.parse())?;
    let corpus = Arc::new(Files::open(&[file.into()], ReadOptions::default())?);
    let preparation = Preparation { n_threads, ..Preparation::new(corpus, tokenizer) };
    let mut stage = None;
    let prepared = prepare(&preparation, Path::new(directory), &mut |progress| {
        if stage.replace(progress.stage) != Some(progress.stage) {
            eprintln!();
        }
        let (n_megabytes, elapsed) = (progress.n_bytes / 1_000_000, progress.elapsed);
        eprint!("\r{:?}: {n_megabytes} MB, {:.0} tokens/s, {elapsed:.1?}   ", progress.stage, progress.tokens_per_s());
    })?;
    eprintln!();
    println!("{:#?}", prepared.summary);
    Ok(())
}
