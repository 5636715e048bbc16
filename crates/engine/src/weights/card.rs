//! The model card: what is known of a model, as the README.md of its directory.

use super::origin::Origin;
use crate::config::{ModelConfig, Shape};
use crate::params::ParamCount;
use std::fmt::Write;

/// What the model card says beside what the model itself shows. What is left out is not mentioned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CardFacts {
    /// What the model is called.
    pub name: String,
    /// What it is for, as the Hugging Face hub names it (`translation`); by its shape when left out.
    pub task: Option<String>,
    /// What it was trained on, one entry a source.
    pub data: Vec<String>,
    /// Tokens seen in training, repetitions included.
    pub n_tokens: Option<u64>,
    /// Optimizer steps.
    pub steps: Option<u64>,
    /// Last training loss.
    ///
    /// # Units
    /// Nats per token.
    pub loss: Option<f64>,
    /// Loss on data that was kept aside.
    ///
    /// # Units
    /// Nats per token.
    pub validation_loss: Option<f64>,
    /// The same per byte of text.
    pub bits_per_byte: Option<f64>,
    /// Floating-point operations of the whole training.
    pub flops: Option<f64>,
    /// Time of the whole training.
    pub seconds: Option<f64>,
    /// Seed of the run.
    pub seed: Option<u64>,
    /// Licence of the weights, its base and languages; "unknown" where no licence is named.
    pub origin: Origin,
    /// Texts that it wrote.
    pub samples: Vec<String>,
    /// Further rows of the table: what, and its value.
    pub other: Vec<(String, String)>,
}

/// How the model is loaded elsewhere, for the card.
pub(super) enum Loading<'l> {
    /// As a published architecture.
    Published { architecture: &'l str, task: &'l str },
    /// By this program only, for the reason given.
    Own { reason: &'l str },
}

/// The text of the card.
pub(super) fn card(config: &ModelConfig, facts: &CardFacts, loading: &Loading<'_>) -> String {
    let mut text = front_matter(facts, loading);
    let name = one_line(&facts.name);
    let _ = writeln!(text, "# {name}\n\n{}\n", description(config));
    let _ = writeln!(text, "| | |\n|---|---|");
    for (what, value) in rows(config, facts) {
        let _ = writeln!(text, "| {what} | {} |", cell(&value));
    }
    text.push_str("\n## Use\n\n");
    text.push_str(&usage(config, loading));
    if !facts.samples.is_empty() {
        text.push_str("\n## Samples\n");
        for sample in &facts.samples {
            let _ = write!(text, "\n{}", indented(sample));
        }
    }
    text.push_str("\n## Limits\n\nIt has learned what its training data says, errors and prejudices included. Nobody has checked what it says.\n");
    text
}

/// The text of the card of an adapter.
pub(super) fn adapter_card(origin: &Origin) -> String {
    let license = origin.license().unwrap_or("unknown");
    let bases: String = origin.bases().iter().map(|base| format!("| adapts | {} |\n", cell(base))).collect();
    format!(
        "---\nlibrary_name: peft\nlicense: {}\n{}tags:\n- genera\n- lora\n---\n\n# An adapter (LoRA)\n\n\
         Small matrices that are added to the weights of a model. Made with Genera.\n\n\
         | | |\n|---|---|\n{bases}| licence | {} |\n\n## Use\n\n\
         With Genera: `genera generate --model BASE --adapter DIR`, where `adapter_config.json` names the base.\n",
        serde_json::json!(license),
        origin.card_lines(),
        cell(license)
    )
}

fn front_matter(facts: &CardFacts, loading: &Loading<'_>) -> String {
    let (library, task) = match loading {
        Loading::Published { task, .. } => ("transformers", *task),
        Loading::Own { .. } => ("genera", "other"),
    };
    let task = facts.task.as_deref().unwrap_or(task);
    let license = facts.origin.license().unwrap_or("unknown");
    let origin = facts.origin.card_lines();
    // JSON texts are YAML texts too: whatever stands in them, they stay texts.
    let [task, license] = [task, license].map(|text| serde_json::json!(text).to_string());
    format!("---\nlibrary_name: {library}\nlicense: {license}\n{origin}pipeline_tag: {task}\ntags:\n- genera\n---\n\n")
}

fn description(config: &ModelConfig) -> String {
    let kind = match config.shape {
        Shape::DecoderOnly(_) => "A decoder-only Transformer: it continues sequences of tokens.",
        Shape::EncoderOnly(_) => "An encoder-only Transformer: it turns sequences of tokens into vectors.",
        Shape::EncoderDecoder { .. } => "An encoder-decoder Transformer: it turns sequences of tokens into others.",
    };
    format!("{kind} Made with Genera.")
}

fn rows(config: &ModelConfig, facts: &CardFacts) -> Vec<(String, String)> {
    let layers: Vec<String> =
        config.stacks().iter().map(|(name, stack)| format!("{} in the {name}", stack.n_layers)).collect();
    let mut rows = vec![
        ("parameters".to_owned(), ParamCount::of(config).total().to_string()),
        ("layers".to_owned(), layers.join(", ")),
        ("width".to_owned(), config.d_model.to_string()),
        ("vocabulary".to_owned(), format!("{} tokens", config.vocab_size)),
        ("longest sequence".to_owned(), format!("{} tokens", config.context_len)),
    ];
    rows.extend(facts.origin.bases().into_iter().map(|base| ("tuned from".to_owned(), base)));
    rows.extend(facts.data.iter().map(|source| ("data".to_owned(), source.clone())));
    let measured = [
        ("tokens seen", facts.n_tokens.map(|n| n.to_string())),
        ("steps", facts.steps.map(|n| n.to_string())),
        ("training loss, nats per token", facts.loss.map(|loss| format!("{loss:.4}"))),
        ("validation loss, nats per token", facts.validation_loss.map(|loss| format!("{loss:.4}"))),
        ("validation, bits per byte", facts.bits_per_byte.map(|bits| format!("{bits:.4}"))),
        ("training, floating-point operations", facts.flops.map(|n| format!("{n:.3e}"))),
        ("training time, seconds", facts.seconds.map(|seconds| format!("{seconds:.0}"))),
        ("seed", facts.seed.map(|seed| seed.to_string())),
        ("licence", Some(facts.origin.license().unwrap_or("unknown").to_owned())),
    ];
    rows.extend(measured.into_iter().filter_map(|(what, value)| Some((what.to_owned(), value?))));
    rows.extend(facts.other.iter().map(|(what, value)| (cell(what), value.clone())));
    rows
}

fn usage(config: &ModelConfig, loading: &Loading<'_>) -> String {
    match loading {
        Loading::Own { reason } => format!(
            "Only Genera loads this model, as `genera generate --model DIR`: {}. The weights in `model.safetensors` have Genera's names.\n",
            one_line(reason)
        ),
        Loading::Published { architecture, .. } => {
            let auto = match config.shape {
                Shape::DecoderOnly(_) => "AutoModelForCausalLM",
                Shape::EncoderOnly(_) => "AutoModel",
                Shape::EncoderDecoder { .. } => "AutoModelForSeq2SeqLM",
            };
            format!(
                "It has the layout of `{architecture}` in Hugging Face transformers, which needs no code beside it:\n\n\
                 ```python\nfrom transformers import {auto}\n\nmodel = {auto}.from_pretrained(\"DIR\")\n```\n\n\
                 and with Genera: `genera generate --model DIR`.\n"
            )
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text inside a table.
fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

/// A text as a block that shows it as it is.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
