//! What is measured is complete, adds up, and stays below its ceilings; what cannot be measured is refused.

mod common;

use common::{Bench, tiny};
use serde_json::Value;
use std::io::{BufRead, BufReader};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A recipe with nothing left open, whose step takes some milliseconds.
const SMALL: &str = "[model]\npreset = \"gpt2\"\nn_layers = 3\nn_heads = 4\nd_model = 64\ncontext_len = 64\n\
                     [tokenizer]\nvocab_size = 500\n[train]\nbatch_size = 8\naccumulate = 2\ndropout = 0.1\nema_decay = 0.9\n";

fn small() -> Bench {
    let bench = Bench::new();
    bench.write("small.toml", SMALL);
    bench
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in: {message}");
    }
}

#[test]
fn a_training_is_measured() {
    let bench = small();
    let measured = bench.json(&["bench", "train", "small.toml", "--steps", "8", "--threads", "2", "--json"]);
    for key in ["tokens_per_s", "loss", "peak_memory_bytes", "peak_tensor_bytes", "n_parameters"] {
        assert!(number(&measured[key]) > 0.0, "{key}: {measured}");
    }
    assert_keys_are_told_of(&measured);
    assert_eq!((&measured["n_threads"], &measured["recomputed_blocks"]), (&2.into(), &0.into()), "{measured}");
    assert_eq!((&measured["n_steps"], &measured["n_step_tokens"]), (&8.into(), &1024.into()), "{measured}");
    assert!(measured["dtype"] == "f32" || measured["dtype"] == "bf16", "{measured}");
    let share = number(&measured["flops_per_s"]) / number(&measured["peak_flops_per_s"]);
    assert_has_origin(&measured);
    assert!((number(&measured["share_of_peak"]) / share - 1.0).abs() < 1e-9 && share < 1.0, "{measured}");
    let planned = bench.json(&["inspect", "small.toml", "--json"]);
    assert_eq!(measured["planned_bytes"], planned["memory_to_train_bytes"]);
    let n_flops = number(&measured["flops_per_s"]) * number(&measured["seconds_per_step"]);
    assert!((n_flops / number(&planned["flops_per_step"]) - 1.0).abs() < 1e-9, "{measured} {planned}");
    let [fastest, slowest] = [0, 1].map(|i| number(&measured["range_of_seconds_per_step"][i]));
    assert!(fastest <= number(&measured["seconds_per_step"]) && number(&measured["seconds_per_step"]) <= slowest);
}

/// The rows of the profile are the step, the one for what no operation covers among them.
#[test]
fn the_parts_of_a_step_sum_to_it() {
    let bench = small();
    let measured = bench.json(&["bench", "train", "small.toml", "--steps", "8", "--threads", "2", "--json"]);
    let rows = measured["operations"].as_array().unwrap();
    for name in ["linear", "attention", "norm", "cross_entropy", "clip", "optimizer", "averages", "other"] {
        assert!(rows.iter().any(|row| row["name"] == name), "no {name} in {measured}");
    }
    let sum = |key: &str| rows.iter().map(|row| number(&row[key])).sum::<f64>();
    assert!((sum("share") - 1.0).abs() < 0.02, "{measured}");
    assert!((sum("seconds") / number(&measured["mean_seconds_per_step"]) - 1.0).abs() < 0.02, "{measured}");
}

/// After two steps all memory is there. The C library is told to give back at once whatever is large, so that each large vector
/// that a step makes for itself would be made of fresh pages.
#[cfg(target_os = "linux")]
#[test]
fn a_step_touches_no_fresh_pages() {
    let bench = small();
    for dtype in ["f32", "bf16"] {
        let set = format!("train.dtype={dtype}");
        let output = bench
            .command(&["bench", "train", "small.toml", "--steps", "8", "--threads", "2", "--json", "--set", &set])
            .env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072")
            .output()
            .unwrap();
        let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
        // Found: none. A few may come from stacks of other threads; the first steps take some thousands.
        let n = number(&measured["minor_faults_per_step"]);
        assert!(n < 6.0, "{dtype}: {n} pages a step");
    }
}

/// The whole process, against what was planned before.
#[cfg(target_os = "linux")]
#[test]
fn training_takes_the_memory_that_was_planned() {
    let bench = Bench::new();
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/bench-b.toml");
    for dtype in ["f32", "bf16"] {
        let set = format!("train.dtype={dtype}");
        let measured =
            bench.json(&["bench", "train", recipe, "--steps", "1", "--threads", "2", "--json", "--set", &set]);
        let ratio = number(&measured["peak_memory_bytes"]) / number(&measured["planned_bytes"]);
        assert!((0.9..1.1).contains(&ratio), "{dtype}: {ratio:.3} times what was planned, {measured}");
    }
}

#[test]
fn a_budget_that_changes_the_run_is_told_of() {
    let bench = small();
    let planned = |n: u32| {
        let set = format!("train.recomputed_blocks={n}");
        number(&bench.json(&["inspect", "small.toml", "--set", &set, "--json"])["memory_to_train_bytes"])
    };
    let gib = 1.1 * 0.5 * (planned(1) + planned(2)) / f64::from(1 << 30);
    let budget = format!("train.memory_gib={gib}");
    let output = bench.output(&["bench", "train", "small.toml", "--steps", "1", "--json", "--set", &budget]);
    let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(measured["recomputed_blocks"], 2, "{measured}");
    assert_says(&String::from_utf8_lossy(&output.stderr), &["train.recomputed_blocks = 2", "train.memory_gib allows"]);
    let printed = bench.run(&["inspect", "small.toml", "--set", &budget]);
    assert_says(&printed, &["2 of 3 blocks", "train.memory_gib allows"]);
}

/// The steps until then are told of.
#[cfg(unix)]
#[test]
fn a_measurement_that_is_stopped_tells_what_it_has() {
    let bench = small();
    let mut child = bench.command(&["bench", "train", "small.toml", "--steps", "100000", "--json"]).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    // The first line is of a step that is measured, five seconds on.
    let line = said.find(|line| line.as_ref().unwrap().starts_with("step ")).unwrap().unwrap();
    assert!(line.contains(" of 100000, ") && line.ends_with(" s left"), "{line}");
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(measured["is_interrupted"] == true && number(&measured["n_steps"]) >= 1.0, "{measured}");
}

/// With the vocabulary that was learned from its data.
#[test]
fn the_recipe_of_a_run_is_measured_as_the_run_was() {
    let bench = Bench::new();
    bench.write("text.txt", common::text());
    let set = ["--set", "train.steps=2", "--set", "tokenizer.kind=characters", "--set", "model.n_layers=1"];
    bench.run(&[&["train", "--data", "text.txt", "--run", "run"], &set[..]].concat());
    let config: Value = serde_json::from_str(&bench.read_text("run/model/config.json")).unwrap();
    for recipe in ["run", "run/recipe.toml"] {
        let output = bench.output(&["bench", "train", recipe, "--steps", "1", "--json"]);
        let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(measured["vocab_size"], config["vocab_size"], "{measured}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("assumed"), "{output:?}");
    }
    // A model that lies beside a recipe by chance is none of its business.
    bench.write("small.toml", SMALL);
    std::fs::rename(bench.path("run/model"), bench.path("model")).unwrap();
    let measured = bench.json(&["bench", "train", "small.toml", "--steps", "1", "--json"]);
    assert_eq!(measured["vocab_size"], 500, "{measured}");
}

/// An empty file would look like a result.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let bench = small();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = bench.command(&["inspect", "small.toml"]).stdout(full).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_says(&String::from_utf8_lossy(&output.stderr), &["cannot write to the standard output", "No space left"]);
    // Long work is done all the same.
    bench.write("text.txt", common::text());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let train = ["train", "--data", "text.txt", "--run", "run", "--set", "train.steps=2", "--set", "model.n_layers=1"];
    let output = bench.command(&train).stdout(full).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_says(
        &String::from_utf8_lossy(&output.stderr),
        &["No space left", "what is printed is lost, the run is not"],
    );
    assert!(bench.path("run/model/model.safetensors").is_file());
}

#[test]
fn what_is_not_measured_is_refused() {
    let bench = small();
    let refused = |set: &str, parts: &[&str]| {
        assert_says(&bench.refusal(&["bench", "train", "small.toml", "--set", set]), parts);
    };
    refused("train.lora.rank=8", &["train.lora cannot be measured", "leave train.lora out"]);
    refused("train.dpo.beta=0.1", &["train.dpo cannot be measured"]);
    refused("train.privacy.epsilon=3", &["train.privacy cannot be measured", "leave train.privacy out"]);
    refused("base.path=model.gguf", &["base cannot be measured"]);
    refused("model.family=gan", &["model.family", "cannot be measured"]);
    refused("data.kind=preference", &["data.kind", "cannot be measured"]);
    refused("train.batch_siz=3", &["batch_siz", "batch_size"]);
    refused("model.n_heads=5", &["64", "5"]);
    refused("train.batch_size=0", &["train.batch_size is 0", "at least 1"]);
    refused("train.accumulate=9223372036854775807", &["train.accumulate is 9223372036854775807", "at most 65536"]);
    refused("train.recomputed_blocks=4", &["train.recomputed_blocks is 4", "has 3 blocks"]);
    refused("data.kind=nonsense", &["data.kind", "nonsense", "known are text"]);
    bench.write("typo.toml", SMALL.replace("n_layers", "n_layer"));
    assert_says(&bench.refusal(&["bench", "train", "typo.toml"]), &["typo.toml", "n_layer", "n_layers"]);
    assert_says(&bench.refusal(&["bench", "train", "nowhere.toml"]), &["nowhere.toml", "cannot read the recipe"]);
    assert_says(&bench.refusal(&["bench", "train", "small.toml", "--steps", "0"]), &["--steps", "0"]);
    assert_says(&bench.refusal(&["inspect", "small.toml", "--set", "train.lora.rank=8"]), &["cannot be planned"]);
    for (set, part) in [
        ("train.accumulate=9223372036854775807", "train.accumulate is"),
        ("train.batch_size=9223372036854775807", "train.batch_size is"),
        ("train.recomputed_blocks=99", "train.recomputed_blocks is 99"),
        ("data.kind=nonsense", "nonsense"),
    ] {
        assert_says(&bench.refusal(&["inspect", "small.toml", "--set", set]), &[part]);
    }
    assert_says(&bench.refusal(&["inspect", "run", "--set", "train.steps=8"]), &["--set changes a recipe", "run"]);
}

/// A recipe of an encoder-decoder, whose step takes some milliseconds.
const PAIRED: &str = "[data]\nmax_source_len = 8\nmax_target_len = 8\n[model]\npreset = \"marian\"\nn_layers = 1\nn_encoder_layers = 1\n\
                      n_heads = 2\nd_model = 16\ncontext_len = 8\n[tokenizer]\nvocab_size = 50\n[train]\nbatch_size = 2\n";

#[test]
fn sequences_that_a_model_cannot_read_are_refused() {
    let bench = Bench::new();
    bench.write("paired.toml", PAIRED);
    for command in [&["bench", "train"][..], &["bench", "roofline", "--output", "r.svg"], &["inspect"]] {
        let refused = |set: &str, parts: &[&str]| {
            assert_says(&bench.refusal(&[command, &["paired.toml", "--set", set]].concat()), parts);
        };
        refused("data.max_source_len=9", &["data.max_source_len = 9", "model.context_len = 8"]);
        refused("data.max_target_len=9", &["data.max_target_len = 9", "model.context_len = 8"]);
        refused("model.context_len=1", &["data.max_source_len = 8", "model.context_len = 1"]);
        refused("data.max_source_len=0", &["data.max_source_len is 0", "at least 1"]);
    }
    bench.run(&["bench", "train", "paired.toml", "--steps", "1"]);
}

#[test]
fn a_recipe_can_be_looked_into() {
    let bench = small();
    let planned = bench.json(&["inspect", "small.toml", "--json"]);
    let parts = planned["memory_to_train"].as_object().unwrap();
    let sum: f64 = parts.values().map(number).sum();
    assert_eq!(sum, number(&planned["memory_to_train_bytes"]), "{planned}");
    assert_eq!((&planned["tokens_per_step"], &planned["config"]["d_model"]), (&1024.into(), &64.into()), "{planned}");
    assert!(number(&planned["parameters"]["total"]) > 1e5, "{planned}");
    let printed = bench.run(&["inspect", "small.toml"]);
    assert_says(&printed, &["Architecture", "Parameters", "A step", "arithmetic", "Memory to train", "activations"]);
    // A plan for another machine is a plan.
    let output = bench.output(&["inspect", "small.toml", "--set", "train.batch_size=100000000"]);
    assert!(output.status.success(), "{output:?}");
    assert_says(&String::from_utf8_lossy(&output.stderr), &["it does not fit", "to spare"]);
}

/// The data would decide the vocabulary, and is not looked at.
#[test]
fn an_assumed_vocabulary_is_told_of() {
    let bench = tiny();
    let output = bench.output(&["inspect", "tiny.toml", "--json"]);
    let planned: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(planned["config"]["vocab_size"], 256);
    assert_says(&String::from_utf8_lossy(&output.stderr), &["256 tokens are assumed", "--set tokenizer.vocab_size=N"]);
    let output = bench.output(&["inspect", "tiny.toml", "--set", "tokenizer.vocab_size=60"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_machine_is_measured() {
    let bench = Bench::new();
    let ceilings = bench.json(&["bench", "machine", "--json", "--threads", "1"]);
    let products = ceilings["products"].as_array().unwrap();
    assert_eq!(products.len(), 15);
    for rate in ["f32_flops_per_s", "bf16_flops_per_s"] {
        let best = products.iter().map(|product| number(&product[rate])).fold(0.0, f64::max);
        assert!(best > 1e8 && number(&ceilings[rate]) >= best, "{rate}: {ceilings}");
    }
    assert!(number(&ceilings["read_bytes_per_s"]) > 1e8, "{ceilings}");
    assert!(number(&ceilings["update_bytes_per_s"]) > 1e8, "{ceilings}");
    assert_keys_are_told_of(&ceilings);
    assert_has_origin(&ceilings);
    assert!((0.0..1e-3).contains(&number(&ceilings["parallel_call_seconds"])), "{ceilings}");
    let emulated = ceilings["isa"] != "avx512bf16";
    assert_eq!(ceilings["bf16_is_emulated"], emulated, "{ceilings}");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(ceilings["instruction_sets"]["avx512bf16"].as_bool(), Some(!emulated), "{ceilings}");
    }
}

/// The page names every key, those of instruction sets apart, which are names themselves.
fn assert_keys_are_told_of(measured: &Value) {
    let page = include_str!("../../../docs/concepts/speed.md");
    for (key, value) in measured.as_object().unwrap() {
        assert!(page.contains(&format!("`{key}`")), "docs/concepts/speed.md lacks {key}");
        value.as_array().into_iter().flatten().filter(|item| item.is_object()).for_each(assert_keys_are_told_of);
    }
}

/// What tells a measurement from another machine's, or an older program's.
fn assert_has_origin(measured: &Value) {
    assert_eq!(measured["version"], env!("CARGO_PKG_VERSION"), "{measured}");
    let date = measured["date"].as_str().unwrap();
    assert!(date.len() == 10 && date.starts_with("20") && date.matches('-').count() == 2, "{measured}");
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        assert!(measured["processor"].as_str().is_some_and(|name| !name.is_empty()), "{measured}");
    }
}

/// The model's context of 32 holds less than the prompt and the answer that are usual, and the cache all of its weights.
#[test]
fn a_small_model_is_measured_as_far_as_its_context_reaches() {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=1", "--json"]);
    let generate =
        |more: &[&str]| bench.output(&[&["bench", "generate", "--model", "run", "--rounds", "2"], more].concat());
    let output = generate(&["--json"]);
    assert_says(&String::from_utf8_lossy(&output.stderr), &["prompts of 16 tokens, continued by 16", "holds 32"]);
    let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&measured["prompt_tokens"], &measured["tokens"]), (&16.into(), &16.into()), "{measured}");
    assert!(number(&measured["decode_tokens_per_s"]) > 0.0, "{measured}");
    assert_has_origin(&measured);
    let output = generate(&["--prompt-tokens", "20", "--tokens", "4"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("prompts of"), "{output:?}");
    assert_says(&printed, &["1 x 20", "1 x 3", concat!("genera ", env!("CARGO_PKG_VERSION"))]);
    if measured["weights_fit_in_cache"] == true {
        assert_eq!(measured["share_of_bandwidth"], Value::Null, "{measured}");
        assert_says(&printed, &["a step, in the cache"]);
    } else {
        assert!(number(&measured["share_of_bandwidth"]) > 0.0, "{measured}");
    }
}

#[test]
fn a_training_is_drawn_below_its_ceilings() {
    let bench = tiny();
    let drawn = bench.json(&["bench", "roofline", "tiny.toml", "--steps", "1", "--output", "roofline.svg", "--json"]);
    // Three products each of qkv, out, up, down and head.
    let products = drawn["products"].as_array().unwrap();
    assert_eq!(products.len(), 15, "{drawn}");
    assert!(number(&drawn["step"]["flops_per_byte"]) > 0.1, "{drawn}");
    let highest = number(&drawn["peaks"][0]["flops_per_s"]);
    let stages = drawn["stages"].as_array().unwrap();
    for point in products.iter().chain(stages).chain([&drawn["step"]]) {
        let rate = number(&point["flops_per_s"]);
        assert!(rate <= highest, "{point} in {drawn}");
        let by_memory = number(&drawn["bytes_per_s"]) * number(&point["flops_per_byte"]);
        assert!(rate <= by_memory || point["cached"].is_string(), "{point} in {drawn}");
    }
    let names: Vec<&str> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["attention", "optimizer"], "{drawn}");
    assert_says(&bench.read_text("roofline.svg"), &["weight gradient", "optimizer"]);
    // What holds some hundred kilobytes fits into any cache that is known.
    if drawn["last_level_cache_bytes"].as_u64().is_some_and(|n| n >= 1 << 20) {
        assert_eq!(stages[1]["cached"], "fits", "{drawn}");
        assert_says(&bench.read_text("roofline.svg"), &["optimizer (fits in the cache)"]);
    }
    let training = &drawn["training"];
    assert_eq!(training["flops_per_s"], drawn["step"]["flops_per_s"], "{drawn}");
    assert_has_origin(training);
}

/// Each optimizer has a point, and what a memory budget makes of a recipe is what is drawn: blocks that are computed again have
/// more traffic for the same arithmetic.
#[test]
fn every_optimizer_and_what_a_budget_changes_is_drawn() {
    let bench = small();
    let draw = |set: &str, more: &[&str]| {
        let roofline = ["bench", "roofline", "small.toml", "--steps", "1", "--output", "r.svg", "--set", set];
        bench.run(&[&roofline, more].concat())
    };
    let drawn = |set: &str| serde_json::from_str::<Value>(&draw(set, &["--json"])).unwrap();
    let printed = draw("train.optimizer=sgd", &[]);
    assert_says(&printed, &["tokens/s", "peak of matrix products", "together", "wrote r.svg"]);
    assert_says(&bench.read_text("r.svg"), &["optimizer"]);
    // Sums on one side, products on the other.
    let intensity = |drawn: &Value| number(&drawn["stages"][1]["flops_per_byte"]);
    let [muon, adamw] = ["muon", "adamw"].map(|name| drawn(&format!("train.optimizer={name}")));
    assert!(intensity(&muon) > 1.0 && intensity(&adamw) < 0.7, "{muon} {adamw}");
    let planned = |n: u32| {
        let set = format!("train.recomputed_blocks={n}");
        number(&bench.json(&["inspect", "small.toml", "--set", &set, "--json"])["memory_to_train_bytes"])
    };
    let gib = 1.1 * 0.5 * (planned(1) + planned(2)) / f64::from(1 << 30);
    let fitted = drawn(&format!("train.memory_gib={gib}"));
    assert_eq!((&fitted["recomputed_blocks"], &fitted["training"]["recomputed_blocks"]), (&2.into(), &2.into()));
    assert_says(&bench.read_text("r.svg"), &["Computed again on the way back: 2 blocks"]);
    let step = |drawn: &Value| number(&drawn["step"]["flops_per_byte"]);
    assert!(step(&adamw) > 1.05 * step(&fitted), "{adamw} {fitted}");
}

/// A picture that cannot be written is found out before anything is measured: with steps that would take hours.
#[test]
fn an_output_that_cannot_be_written_is_refused_at_once() {
    let bench = tiny();
    let refusal =
        |output: &str| bench.refusal(&["bench", "roofline", "tiny.toml", "--steps", "100000", "--output", output]);
    assert_says(&refusal("roofline.png"), &["end it in .svg"]);
    assert_says(&refusal("none/roofline.svg"), &["no directory none"]);
    std::fs::create_dir(bench.path("taken.svg")).unwrap();
    assert_says(&refusal("taken.svg"), &["is a directory"]);
}
