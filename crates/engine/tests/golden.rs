//! Models as the Hugging Face library writes them, and what it computes with them: logits, hidden states, greedy
//! continuations, with and without a cache; then the same after a round trip through our own export.
//!
//! GENERA_MODELS may name a directory of more: benches/peers/transformers_models.py makes one of every family.

use genera_engine::config::Shape;
use genera_engine::generate::{Generator, Limits, Request, Sampling, WhenFull};
use genera_engine::model::{Mode, Rows, Transformer};
use genera_engine::weights::{
    CardFacts, PublishedConfig, PublishedGeneration, Purpose, SpecialIds, export_hf, load_hf, read_config,
};
use genera_tensor::{DType, Device, Tape};
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const DIRS: [&str; 8] = ["gpt2", "llama", "qwen2", "gemma3", "mixtral", "marian", "t5-v1_1", "bert"];
const TOLERANCE: f32 = 1e-4;

/// The directory of golden files, or a line that says why there is none.
fn golden(name: &str) -> Option<PathBuf> {
    let Some(data) = std::env::var_os("GENERA_TEST_DATA") else {
        println!("skipped: golden {name}: GENERA_TEST_DATA is not set");
        return None;
    };
    let golden = Path::new(&data).parent().expect("GENERA_TEST_DATA has a parent").join("golden");
    if !golden.exists() {
        println!("skipped: golden {name}: there is no {}", golden.display());
        return None;
    }
    Some(golden.join(name))
}

/// The models, by name: those of the golden files, and any in the directory that GENERA_MODELS names.
fn models() -> Vec<(String, PathBuf)> {
    let known = DIRS.iter().filter_map(|name| Some(((*name).to_owned(), golden(name)?)));
    let further = std::env::var_os("GENERA_MODELS").into_iter().flat_map(|dir| std::fs::read_dir(dir).unwrap());
    let further = further.map(|entry| entry.unwrap().path()).filter(|dir| dir.join("expected.json").exists());
    known.chain(further.map(|dir| (format!("further {}", dir.file_name().unwrap().display()), dir))).collect()
}

struct Expected(Value);

impl Expected {
    fn read(dir: &Path) -> Self {
        Self(serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap())
    }

    fn rows(&self, key: &str) -> Option<Vec<Vec<u32>>> {
        Some(serde_json::from_value(self.0.get(key)?.clone()).unwrap())
    }

    fn numbers(&self, key: &str) -> Option<Vec<f32>> {
        Some(serde_json::from_value(self.0.get(key)?.clone()).unwrap())
    }

    fn ids(&self, key: &str) -> Vec<u32> {
        serde_json::from_value(self.0[key].clone()).unwrap()
    }
}

fn dense(rows: &[Vec<u32>]) -> Rows {
    Rows::dense(rows[0].len(), &rows.concat())
}

/// Hidden states of `tokens`, or of `decoder_tokens` with `tokens` as the source.
fn result(model: &Transformer, tokens: &[Vec<u32>], decoder_tokens: Option<&[Vec<u32>]>) -> Vec<f32> {
    let tape = Tape::inference(model.device());
    let mode = Mode::default();
    let memory = decoder_tokens.map(|_| model.encode(&tape, &dense(tokens), mode));
    let hidden = model.decode(&tape, &dense(decoder_tokens.unwrap_or(tokens)), memory, mode);
    match model.config().head {
        genera_engine::config::Head::None => hidden.tensor().to_vec(),
        _ => model.logits(&hidden).to_vec(),
    }
}

/// The tokens that follow, each the most probable one, by a full pass a token.
fn greedy(model: &Transformer, source: Option<&[Vec<u32>]>, start: &[u32], n: usize) -> Vec<u32> {
    let mut tokens = start.to_vec();
    for _ in 0..n {
        let rows = [tokens.clone()];
        let logits = match source {
            Some(source) => result(model, source, Some(&rows)),
            None => result(model, &rows, None),
        };
        let last = &logits[logits.len() - model.config().vocab_size..];
        let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
        tokens.push(best as u32);
    }
    tokens.split_off(start.len())
}

fn max_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |worst, d| if d.is_nan() { d } else { worst.max(d) })
}

fn check(name: &str, model: &Transformer, expected: &Expected) {
    let tokens = expected.rows("tokens").unwrap();
    let decoder_tokens = expected.rows("decoder_tokens");
    let numbers = expected.numbers("logits").or_else(|| expected.numbers("hidden")).unwrap();
    let found = result(model, &tokens, decoder_tokens.as_deref());
    let difference = if name == "marian" { marian_difference(&found) } else { max_difference(&found, &numbers) };
    println!("{name}: largest difference {difference:.1e}");
    assert!(difference <= TOLERANCE, "{name}: largest difference {difference}");
    if expected.0.get("greedy").is_none() {
        return;
    }
    let continuation = expected.ids("greedy");
    let (source, start) = match expected.0.get("greedy_start") {
        Some(start) => (Some(&tokens[..1]), vec![start.as_u64().unwrap() as u32]),
        None => (None, tokens[0].clone()),
    };
    assert_eq!(greedy(model, source, &start, continuation.len()), continuation, "{name}: greedy continuation");
    assert_eq!(cached(model, source, &start, continuation.len()), continuation, "{name}: with a cache");
}

/// As [`greedy`], by the generator.
fn cached(model: &Transformer, source: Option<&[Vec<u32>]>, start: &[u32], n: usize) -> Vec<u32> {
    let mut generator = Generator::new(model, Limits::default());
    let request = match source {
        Some(source) => Request::with_source(source[0].clone(), start.to_vec()),
        None => Request::new(start.to_vec()),
    };
    let (sampling, when_full) = (Sampling::greedy(), WhenFull::GoOn);
    generator.submit(Request { sampling, max_tokens: n, when_full, ..request }).unwrap();
    generator.run(|_| ControlFlow::Continue(())).remove(0).tokens
}

/// The shared logits of this model were computed with tables of positions that its file does not hold: the library
/// itself, given that file, is 0.15 away from them. `golden/marian.json` holds what the library (transformers 5.23, PyTorch
/// 2.15, f32) computes from the file, at three places.
fn marian_difference(found: &[f32]) -> f32 {
    const SHAPE: [usize; 3] = [2, 11, 199];
    let expected: Value = serde_json::from_str(include_str!("golden/marian.json")).unwrap();
    let at: Vec<[usize; 2]> = serde_json::from_value(expected["at"].clone()).unwrap();
    let logits: Vec<Vec<f32>> = serde_json::from_value(expected["logits"].clone()).unwrap();
    let difference = |([b, t], expected): (&[usize; 2], &Vec<f32>)| {
        max_difference(&found[(b * SHAPE[1] + t) * SHAPE[2]..][..SHAPE[2]], expected)
    };
    at.iter().zip(&logits).map(difference).fold(0.0, f32::max)
}

#[test]
fn logits_are_those_of_the_published_implementation() {
    for (name, dir) in models() {
        let model = load_hf(&dir, &Device::cpu(2), Purpose::Training(DType::F32)).unwrap();
        check(&name, &model, &Expected::read(&dir));
    }
}

#[test]
fn a_round_trip_changes_no_bit() {
    for (name, dir) in models() {
        let device = Device::cpu(1);
        let model = load_hf(&dir, &device, Purpose::Training(DType::F32)).unwrap();
        let PublishedConfig { special, generation, .. } = read_config(&dir).unwrap();
        let out = tempfile::tempdir().unwrap();
        let exported = export_hf(
            &model,
            out.path(),
            &special,
            &generation,
            &CardFacts { name: name.clone(), ..CardFacts::default() },
            None,
        );
        let note = exported.unwrap().note;
        let is_encoder = matches!(model.config().shape, Shape::EncoderOnly(_));
        assert_eq!(note.is_some(), is_encoder, "{name}: {note:?}");
        assert!(note.iter().all(|note| note.contains("pooler")), "{name}: {note:?}");
        let read = read_config(out.path()).unwrap();
        assert_eq!(read.special, special, "{name}");
        if generation != PublishedGeneration::default() {
            assert_eq!(read.generation, generation, "{name}");
        }
        assert_same(&name, &model, &load_hf(out.path(), &device, Purpose::Training(DType::F32)).unwrap());
    }
}

fn assert_same(name: &str, a: &Transformer, b: &Transformer) {
    assert_eq!(a.config(), b.config(), "{name}");
    for spec in a.params().specs() {
        let [a, b] = [a, b].map(|model| model.params().master(model.params().id(&spec.name)).to_vec());
        assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}: {} differs", spec.name);
    }
}

#[test]
fn special_ids_are_those_of_the_files() {
    let ids = |padding, begin, end: &[u32], decoder_start| SpecialIds {
        padding,
        begin,
        end: end.to_vec(),
        decoder_start,
        ..SpecialIds::default()
    };
    for (name, expect) in [
        ("gpt2", ids(None, Some(0), &[0], None)),
        ("llama", ids(None, Some(1), &[2], None)),
        ("qwen2", ids(None, None, &[], None)),
        ("gemma3", ids(Some(0), Some(2), &[1], None)),
        ("mixtral", ids(None, Some(1), &[2], None)),
        ("marian", ids(Some(198), None, &[0], Some(198))),
        ("t5-v1_1", ids(Some(0), None, &[1], Some(0))),
        ("bert", ids(Some(0), None, &[], None)),
    ] {
        let Some(dir) = golden(name) else { return };
        assert_eq!(read_config(&dir).unwrap().special, expect, "{name}");
    }
}
