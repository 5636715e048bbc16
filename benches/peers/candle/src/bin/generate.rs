//! The work of `genera bench generate` in candle: reads a prompt of random tokens, then writes greedily.
//!
//! ```text
//! generate MODEL.gguf PROMPT_TOKENS TOKENS
//! ```
//!
//! One JSON object on standard output. Threads: `RAYON_NUM_THREADS`.

use candle_core::quantized::gguf_file::Content;
use candle_core::{DType, Device, Result, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use std::fs::File;
use std::time::Instant;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, n_prompt, n_tokens] = arguments.as_slice() else { panic!("generate MODEL.gguf PROMPT_TOKENS TOKENS") };
    let (n_prompt, n_tokens): (usize, usize) = (n_prompt.parse().expect("a number"), n_tokens.parse().expect("a number"));
    let device = Device::Cpu;
    let mut file = File::open(path)?;
    let content = Content::read(&mut file)?;
    let mut model = ModelWeights::from_gguf(content, &mut file, &device)?;
    // Any tokens that every vocabulary has.
    let prompt: Vec<u32> = (0..n_prompt as u32).map(|i| i * 7919 % 30_000).collect();
    let start = Instant::now();
    let mut next = greedy(&model.forward(&Tensor::new(prompt.as_slice(), &device)?.unsqueeze(0)?, 0)?)?;
    let prefill = start.elapsed().as_secs_f64();
    for i in 0..n_tokens - 1 {
        let input = Tensor::new(&[next], &device)?.unsqueeze(0)?;
        next = greedy(&model.forward(&input, n_prompt + i)?)?;
    }
    let decode = start.elapsed().as_secs_f64() - prefill;
    println!(
        "{{\"prefill_tokens_per_s\": {}, \"decode_tokens_per_s\": {}}}",
        n_prompt as f64 / prefill,
        (n_tokens - 1) as f64 / decode
    );
    Ok(())
}

fn greedy(logits: &Tensor) -> Result<u32> {
    logits.squeeze(0)?.to_dtype(DType::F32)?.argmax(0)?.to_scalar()
}
