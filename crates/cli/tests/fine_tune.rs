//! Fine-tuning, from a base to an adapter that others read: each way of it once, killed and resumed, and what is refused.

mod common;

use common::{Bench, tiny};
use std::time::{Duration, Instant};

/// Writes nothing that the characters of the tiny text lack; an answer ends with its line.
const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}.\n{% endfor %}";

/// A bench with a base, which has a chat template, and files of conversations and preferences.
fn bench() -> Bench {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "first"]);
    std::fs::rename(bench.path("first/model"), bench.path("base")).unwrap();
    bench.write("base/chat_template.jinja", TEMPLATE);
    let line = |i: u32| (format!("{} birds sat", i % 17), format!("{} of them sang", i % 9));
    let chat = |i: u32| {
        let (question, answer) = line(i);
        let turns = [("user", &question), ("assistant", &answer), ("user", &question), ("assistant", &answer)];
        let turns = turns.map(|(role, content)| serde_json::json!({ "role": role, "content": content }));
        format!("{}\n", serde_json::json!({ "messages": turns }))
    };
    bench.write("chat.jsonl", (0..40).map(chat).collect::<String>());
    let preference = |i: u32| {
        let (prompt, chosen) = line(i);
        format!("{}\n", serde_json::json!({ "prompt": prompt, "chosen": chosen, "rejected": "trees" }))
    };
    bench.write("preferences.jsonl", (0..40).map(preference).collect::<String>());
    bench
}

const CHAT: [&str; 5] = ["train", "--base", "base", "--data", "chat.jsonl"];
const LORA: [&str; 10] = [
    "--lora",
    "4",
    "--set",
    "train.lora.dropout=0.1",
    "--set",
    "train.learning_rate=0.02",
    "--set",
    "train.checkpoint_every=3",
    "--set",
    "train.steps=30",
];

fn with<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

/// Trains once without and once with being killed, which must make no difference to `file`.
fn check_resume(bench: &Bench, arguments: &[&str], file: &str) {
    let started = Instant::now();
    bench.run(&with(&[arguments, &["--run", "whole"]]));
    let whole = started.elapsed();
    // Killed before it had a directory, it begins anew.
    let next = || {
        let first = with(&[arguments, &["--run", "killed"]]);
        if bench.path("killed/recipe.toml").exists() { vec!["resume", "killed"] } else { first }
    };
    for i in 0..6_u32 {
        let mut child = bench.command(&next()).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(f64::from(i * 5 % 6 + 1) / 8.0).max(Duration::from_millis(1)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    bench.run(&next());
    let read = |run: &str| bench.read(&format!("{run}/{file}"));
    assert!(read("whole") == read("killed"), "{arguments:?}: a killed run ends otherwise");
}

fn logits(bench: &Bench, model: &[&str]) -> Vec<f64> {
    let answer = bench.json(&with(&[&["logits", "--tokens", "3,5,2,7", "--json", "--model"], model]));
    answer["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn an_adapter_is_trained_loaded_and_merged() {
    let bench = bench();
    let report = bench.json(&with(&[&CHAT, &LORA, &["--run", "run", "--json"]]));
    let loss = |key: &str| report[key].as_f64().unwrap();
    assert!(loss("validation_loss") < loss("validation_loss_before"), "{report}");
    let recipe = bench.read_text("run/recipe.toml");
    assert!(recipe.contains("[base]") && recipe.contains("sha256 = ") && recipe.contains("[train.lora]"), "{recipe}");
    let trained = logits(&bench, &["run"]);
    assert!(distance(&trained, &logits(&bench, &["base"])) > 0.1);
    assert_eq!(distance(&trained, &logits(&bench, &["base", "--adapter", "run/adapter"])), 0.0);
    bench.run(&["export", "--model", "base", "--adapter", "run/adapter", "--to", "hf", "merged"]);
    assert!(distance(&trained, &logits(&bench, &["merged"])) < 1e-4);
    bench.run(&["export", "--model", "run", "--to", "hf", "merged-run"]);
    assert_eq!(bench.read("merged/model.safetensors"), bench.read("merged-run/model.safetensors"));
    assert_eq!(bench.read_text("merged/chat_template.jinja"), TEMPLATE);
    bench.run(&["generate", "--model", "run", "--prompt", "3 birds sat", "--max-tokens", "20"]);
    bench.run(&["score", "--model", "base", "--adapter", "run/adapter", "--file", "birds.txt"]);
    let taken = bench.refusal(&["export", "--model", "base", "--to", "hf", "merged"]);
    assert!(taken.contains("is there already"), "{taken}");
}

#[test]
fn an_adapter_that_was_killed_ends_the_same() {
    check_resume(&bench(), &with(&[&CHAT, &LORA]), "adapter/adapter_model.safetensors");
}

#[test]
fn full_fine_tuning_that_was_killed_ends_the_same() {
    let more = ["--set", "train.learning_rate=0.003", "--set", "train.checkpoint_every=3", "--set", "train.steps=20"];
    check_resume(&bench(), &with(&[&CHAT, &more]), "model/model.safetensors");
}

#[test]
fn preferences_widen_the_margin() {
    let bench = bench();
    let arguments = ["train", "--base", "base", "--data", "preferences.jsonl", "--preferences"];
    let arguments = with(&[&arguments, &LORA]);
    check_resume(&bench, &arguments, "adapter/adapter_model.safetensors");
    let rows = bench.read_text("whole/log.jsonl");
    let rows = rows.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let margins: Vec<f64> =
        rows.filter(|row| row["validation_loss"].is_number()).filter_map(|row| row["reward_margin"].as_f64()).collect();
    let (first, last) = (margins.first().unwrap(), margins.last().unwrap());
    assert!(first.abs() < 1e-6 && *last > 0.5, "{margins:?}");
}

#[test]
fn pairs_become_conversations_and_texts_are_gone_on_with() {
    let bench = bench();
    bench.write("pairs.csv", "q,a\n3 birds,4 trees\n".to_owned() + &"1 birds,2 trees\n".repeat(20));
    let few = ["--set", "train.steps=2", "--run"];
    let pairs = ["train", "--base", "base", "--data", "pairs.csv", "--column", "q", "--target-column", "a"];
    bench.run(&with(&[&pairs, &few, &["pairs"]]));
    assert!(bench.read_text("pairs/recipe.toml").contains("kind = \"chat\""));
    bench.run(&with(&[&["train", "--base", "pairs", "--data", "birds.txt"], &few, &["text"]]));
    bench.run(&["train", "text/recipe.toml", "--run", "again"]);
    assert_eq!(bench.read("text/model/model.safetensors"), bench.read("again/model/model.safetensors"));
}

#[test]
fn what_cannot_work_is_refused() {
    let bench = bench();
    let check = |arguments: &[&str], expect: &str| {
        let error = bench.refusal(arguments);
        assert!(error.contains(expect), "{arguments:?}: expected '{expect}', found '{error}'");
    };
    check(&["train", "--data", "chat.jsonl"], "--base MODEL");
    check(&["train", "--base", "nothing", "--data", "chat.jsonl"], "does not exist");
    check(&with(&[&CHAT, &["--lora", "0"]]), "train.lora.rank is 0");
    check(&with(&[&CHAT, &["--lora", "2", "--set", "train.lora.targets=[\"x\"]"]]), "no module 'x'");
    check(&with(&[&CHAT, &["--epochs", "-1"]]), "--epochs");
    check(&with(&[&CHAT, &["--set", "model.context_len=33"]]), "beyond the 32 tokens");
    check(&with(&[&CHAT, &["--preferences"]]), "preferences are JSON lines");
    check(&["logits", "--model", "base", "--adapter", "first", "--tokens", "1"], "adapter_config.json");
    bench.write("bad.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"3\"}]}\n".repeat(3));
    check(&["train", "--base", "base", "--data", "bad.jsonl"], "without a turn of the assistant");
    bench.write(
        "base/chat_template.jinja",
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    );
    check(&CHAT, "does not come to an end");
    bench.write("base/chat_template.jinja", TEMPLATE);
    bench.run(&with(&[&CHAT, &["--lora", "2", "--set", "train.steps=2", "--run", "run"]]));
    let mut weights = bench.read("base/model.safetensors");
    *weights.last_mut().unwrap() ^= 1;
    bench.write("base/model.safetensors", weights);
    check(&["logits", "--model", "run", "--tokens", "1"], "is not the model that this run began with");
    check(&["resume", "run"], "is not the model that this run began with");
}
