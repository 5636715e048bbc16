//! Fine-tuning, from a base to an adapter that others read: each way of it once, killed and resumed, and what is refused.

mod common;

use common::{Bench, tiny};
use genera_engine::weights::gguf::{Reader, Value};
use std::io::Write;
use std::process::Stdio;
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
    for i in 0..6_u32 {
        let mut child = bench.command(&bench.next_sitting(arguments)).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(f64::from(i * 5 % 6 + 1) / 8.0).max(Duration::from_millis(1)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    bench.run(&bench.next_sitting(arguments));
    let read = |run: &str| bench.read(&format!("{run}/{file}"));
    assert!(read("whole") == read("killed"), "{arguments:?}: a killed run ends otherwise");
}

fn logits(bench: &Bench, model: &[&str]) -> Vec<f64> {
    let answer = bench.json(&with(&[&["logits", "--tokens", "3,5,2,7", "--json", "--model"], model]));
    answer["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).max_by(f64::total_cmp).unwrap_or(0.0)
}

#[test]
fn an_adapter_is_trained_loaded_and_merged() {
    let bench = bench();
    let report = bench.json(&with(&[&CHAT, &LORA, &["--run", "run", "--json"]]));
    let loss = |key: &str| report[key].as_f64().unwrap();
    assert!(loss("validation_loss") < loss("validation_loss_before"), "{report}");
    let recipe = bench.read_text("run/recipe.toml");
    assert!(recipe.contains("[base]") && recipe.contains("sha256 = ") && recipe.contains("[train.lora]"), "{recipe}");
    let measured = bench.refusal(&["bench", "train", "run"]);
    assert!(measured.contains("base cannot be measured") && measured.contains("its log.jsonl"), "{measured}");
    let trained = logits(&bench, &["run"]);
    assert!(distance(&trained, &logits(&bench, &["base"])) > 0.1);
    assert_eq!(distance(&trained, &logits(&bench, &["base", "--adapter", "run/adapter"])), 0.0);
    assert_eq!(distance(&trained, &logits(&bench, &["base", "--adapter", "run"])), 0.0, "a run stands for its adapter");
    let told = bench.run(&["export", "--model", "base", "--adapter", "run/adapter", "--to", "hf", "merged"]);
    assert!(told.contains("wrote merged (f32, ") && !told.contains("rounds"), "{told}");
    for model in [&["run"][..], &["base", "--adapter", "run"]] {
        for dtype in ["bf16", "f16"] {
            let told = bench.run(&with(&[&["export", "--to", "hf", "--dtype", dtype, "rounded", "--model"], model]));
            let expected = format!("merged into weights of {dtype}, which rounds away the smallest of what it changes");
            assert!(told.contains(&expected) && told.contains("--dtype f32"), "{told}");
            std::fs::remove_dir_all(bench.path("rounded")).unwrap();
        }
    }
    let told = bench.run(&["inspect", "run/adapter"]);
    assert!(told.contains("LORA") && told.contains("alpha") && told.contains("--adapter run/adapter"), "{told}");
    let refused = bench.refusal(&["generate", "--model", "run/adapter"]);
    assert!(refused.contains("is an adapter"), "{refused}");
    let tune = |base| ["train", "--base", base, "--data", "chat.jsonl", "--lora", "2"];
    let refused = bench.refusal(&tune("run/adapter"));
    let run = bench.path("run").display().to_string();
    assert!(refused.contains(&format!("(--base {run})")), "{refused}");
    assert!(refused.contains(&format!("genera export --model {run} --to hf merged")), "{refused}");
    std::fs::create_dir(bench.path("alone")).unwrap();
    std::fs::copy(bench.path("run/adapter/adapter_config.json"), bench.path("alone/adapter_config.json")).unwrap();
    let refused = bench.refusal(&tune("alone"));
    assert!(
        refused.contains("genera export --model BASE --adapter ") && refused.contains("--base merged"),
        "{refused}"
    );
    assert!(distance(&trained, &logits(&bench, &["merged"])) < 1e-4);
    bench.run(&["export", "--model", "run", "--to", "hf", "merged-run"]);
    for (model, is_noted) in [("merged", true), ("base", false)] {
        for adapter in ["run", "run/adapter"] {
            let output = bench.output(&["logits", "--model", model, "--adapter", adapter, "--tokens", "3"]);
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.success().then(|| told.contains("seems to be another")), Some(is_noted), "{told}");
        }
    }
    assert_eq!(bench.read("merged/model.safetensors"), bench.read("merged-run/model.safetensors"));
    assert_eq!(bench.read_text("merged/chat_template.jinja"), TEMPLATE);
    bench.run(&["generate", "--model", "run", "--prompt", "3 birds sat", "--max-tokens", "20"]);
    bench.run(&["score", "--model", "base", "--adapter", "run/adapter", "--file", "birds.txt"]);
    for (dtype, name) in [("bf16", "bfloat16"), ("F16", "float16")] {
        let (half, copy) = (format!("{dtype}-dir"), format!("{dtype}-copy"));
        let told = bench.run(&["export", "--model", "base", "--to", "hf", "--dtype", dtype, &half]);
        assert!(!told.contains("adapter"), "{told}");
        bench.run(&["export", "--model", &half, "--to", "hf", &copy]);
        assert!(bench.read_text(&format!("{copy}/config.json")).contains(&format!("\"dtype\": \"{name}\"")));
        let weights = bench.read(&format!("{half}/model.safetensors"));
        assert_eq!(weights, bench.read(&format!("{copy}/model.safetensors")));
        assert!(weights.len() < bench.read("merged/model.safetensors").len() * 6 / 10);
    }
    let taken = bench.refusal(&["export", "--model", "base", "--to", "hf", "merged"]);
    assert!(taken.contains("is there already"), "{taken}");
    let named = bench.refusal(&["export", "--model", "base", "--to", "gguf", "merged.bin"]);
    assert!(named.contains("merged.bin should end in .gguf"), "{named}");
    for (to, hint) in
        [("Q8_0", "genera quantize --to q8_0"), ("q4_k_m", "--to q4_k"), ("fp16", "--to gguf --dtype f16")]
    {
        let refused = bench.refusal(&["export", "--model", "base", "--to", to, "other"]);
        assert!(refused.contains(hint), "{refused}");
    }
    for command in [["export", "--to", "gguf"], ["quantize", "--to", "q8_0"]] {
        let refused = bench.refusal(&with(&[&command, &["--model", "base", "missing/a.gguf"]]));
        assert!(refused.contains("mkdir -p missing"), "{refused}");
    }
    // A penalty may be negative, and what may not is named with its range.
    bench.run(&["generate", "--model", "run", "--prompt", "3", "--max-tokens", "2", "--presence-penalty", "-0.5"]);
    let lengths = ["generate", "--model", "run", "--prompt", "3", "--min-tokens", "9", "--max-tokens", "5"];
    let lengths = bench.refusal(&lengths);
    assert!(lengths.contains("--min-tokens is 9 and --max-tokens 5"), "{lengths}");
    bench.write("latin.txt", b"caf\xe9\n");
    for more in [&["--lines"][..], &[]] {
        let arguments = with(&[&["generate", "--model", "run", "--input", "latin.txt"], more]);
        let latin = bench.refusal(&arguments);
        assert!(latin.contains("latin.txt") && latin.contains("is not UTF-8") && latin.contains("iconv -f"), "{latin}");
    }
    let facts = bench.run(&["inspect", "run"]);
    let rank = LORA[1];
    for part in ["Tuned from", "base", &format!("LoRA of rank {rank}"), "q_proj"] {
        assert!(facts.contains(part), "expected {part} in: {facts}");
    }
    let facts = bench.json(&["inspect", "run", "--json"]);
    assert!(facts["base"].as_str().unwrap().ends_with("base") && facts["adapter"]["rank"] == 4, "{facts}");
    let negative = bench.refusal(&["generate", "--model", "run", "--prompt", "3", "--max-tokens", "-5"]);
    assert!(negative.contains("--max-tokens") && negative.contains("-5 is not in"), "{negative}");
}

#[test]
fn a_run_answers_as_the_authors_of_its_base_want_it() {
    let bench = bench();
    let wanted = r#"{ "do_sample": false, "max_new_tokens": 5, "no_repeat_ngram_size": 3, "stop_strings": ["x"] }"#;
    bench.write("base/generation_config.json", wanted);
    bench.run(&with(&[&CHAT, &["--set", "train.steps=2", "--run", "run"]]));
    let exported: serde_json::Value =
        serde_json::from_str(&bench.read_text("run/model/generation_config.json")).unwrap();
    let keys = ["do_sample", "max_new_tokens", "no_repeat_ngram_size", "stop_strings"];
    assert_eq!(keys.map(|key| exported[key].to_string()), ["false", "5", "3", r#"["x"]"#]);
    let output = bench.output(&["generate", "--model", "run", "--prompt", "3 birds"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(r#"ask for what is not done here: stop_strings = ["x"]"#), "{said}");
    let n_tokens = || {
        let answer = bench.json(&["generate", "--model", "run", "--prompt", "3 birds", "--json"]);
        answer["tokens"].as_array().unwrap().len()
    };
    assert_eq!(n_tokens(), 5);
    let recipe = bench.read_text("run/recipe.toml");
    for line in ["temperature = 0.0", "max_tokens = 5"] {
        assert!(recipe.contains(&format!("{line}  # as the authors of the base want it\n")), "{recipe}");
    }
}

/// `[generate]` as runs once wrote it where nobody had chosen anything.
const USUAL: &str = "\n[generate]\ntemperature = 1.0\ntop_k = 0\ntop_p = 1.0\nmin_p = 0.0\nrepetition_penalty = 1.0\n\
                     presence_penalty = 0.0\nfrequency_penalty = 0.0\nmax_tokens = 256\nstop = []\nbeam = 1\nlength_penalty = 1.0\n";

#[test]
fn a_run_answers_messages_as_its_base_does() {
    let bench = bench();
    bench.run(&with(&[&CHAT, &LORA, &["--run", "run"]]));
    bench.run(&with(&[&CHAT, &["--set", "train.steps=2", "--run", "whole"]]));
    let recipe = bench.read_text("run/recipe.toml");
    assert!(!recipe.contains("[generate]"), "{recipe}");
    let asked = |model: &[&str]| {
        let ask = ["generate", "--chat", "--prompt", "3 birds sat", "--n", "5", "--model"];
        let output = bench.output(&with(&[&ask, model]));
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let talked = |model: &[&str]| {
        let mut child =
            bench.command(&with(&[&["chat", "--json", "--model"], model])).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"3 birds sat\n4 birds sat\n").unwrap();
        let printed = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let answers = printed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        answers.map(|answer| (answer["content"].clone(), answer["finish"].clone())).collect::<Vec<_>>()
    };
    let beside = ["base", "--adapter", "run/adapter"];
    let (expected, expected_talk) = (asked(&beside), talked(&beside));
    assert!(expected[1].contains("temperature 0.7, top-p 0.9 (as is usual for messages"), "{}", expected[1]);
    assert_eq!(expected_talk.len(), 2);
    assert_eq!((asked(&["run"]), talked(&["run"])), (expected.clone(), expected_talk.clone()));
    let [_, said] = asked(&["whole"]);
    assert!(said.contains("as is usual for messages"), "{said}");
    bench.write("run/recipe.toml", format!("{recipe}{USUAL}"));
    assert_eq!((asked(&["run"]), talked(&["run"])), (expected, expected_talk));
    // What is chosen holds, also with the usual value.
    for generate in ["\n[generate]\ntemperature = 1.0\n", &USUAL.replace("top_k = 0", "top_k = 3")] {
        bench.write("run/recipe.toml", format!("{recipe}{generate}"));
        let [_, said] = asked(&["run"]);
        assert!(!said.contains("usual"), "{said}");
    }
}

#[test]
fn the_warm_up_goes_by_the_steps_that_there_are() {
    let bench = bench();
    bench.run(&with(&[&CHAT, &["--set", "train.steps=200", "--set", "train.batch_size=1", "--run", "run"]]));
    assert!(bench.read_text("run/recipe.toml").contains("warmup_steps = 6 "));
}

/// How texts become vectors stays as it was, in a run that is used, exported or gone on with.
#[test]
fn a_run_makes_vectors_as_its_base_does() {
    let bench = bench();
    let module = |i: u32, path: &str, kind: &str| serde_json::json!({ "idx": i, "path": path, "type": format!("sentence_transformers.models.{kind}") });
    bench.write(
        "base/modules.json",
        serde_json::json!([module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")]).to_string(),
    );
    std::fs::create_dir(bench.path("base/1_Pooling")).unwrap();
    bench.write("base/1_Pooling/config.json", r#"{ "pooling_mode_lasttoken": true }"#);
    bench.run(&with(&[&CHAT, &["--set", "train.steps=2", "--run", "run"]]));
    // As after an export that was ended.
    std::fs::create_dir(bench.path("copy")).unwrap();
    bench.write("copy/model.safetensors.part", "half");
    let said = bench.run(&["export", "--model", "run", "--to", "hf", "copy"]);
    assert!(said.contains("wrote copy (") && !bench.path("copy/model.safetensors.part").exists(), "{said}");
    std::fs::remove_dir_all(bench.path("run/model")).unwrap();
    bench.run(&["resume", "run"]);
    for model in ["copy", "run/model"] {
        let read = |file: &str| serde_json::from_str(&bench.read_text(&format!("{model}/{file}"))).unwrap();
        let (pooling, modules): (serde_json::Value, serde_json::Value) =
            (read("1_Pooling/config.json"), read("modules.json"));
        assert_eq!(pooling["pooling_mode_lasttoken"], true, "{model}: {pooling}");
        assert_eq!(modules.as_array().unwrap().len(), 2, "{model}: {modules}");
    }
}

/// A value that somebody gives holds, also where it is what every recipe has.
#[test]
fn what_a_recipe_says_goes_before_the_authors_of_its_base() {
    let bench = bench();
    bench.write(
        "base/generation_config.json",
        r#"{ "do_sample": true, "temperature": 0.7, "top_k": 20, "repetition_penalty": 1.1 }"#,
    );
    let set = ["--set", "train.steps=2", "--set", "generate.temperature=1.0", "--run", "set"];
    bench.run(&with(&[&CHAT, &set]));
    let place = bench.path("base").display().to_string();
    let generate = "[generate]\ntop_k = 0\n";
    bench.write(
        "given.toml",
        format!("[data]\nkind = \"chat\"\nfiles = [\"chat.jsonl\"]\n[base]\npath = {place:?}\n[model]\ncontext_len = 32\n[train]\nsteps = 2\n{generate}"),
    );
    bench.run(&["train", "given.toml", "--set", "generate.repetition_penalty=1.0", "--run", "given"]);
    for (run, temperature, top_k, penalty) in [("set", 1.0, 20, 1.1), ("given", 0.7, 0, 1.0)] {
        let recipe = bench.read_text(&format!("{run}/recipe.toml"));
        for line in [
            format!("\ntemperature = {temperature:?}"),
            format!("\ntop_k = {top_k}"),
            format!("\nrepetition_penalty = {penalty:?}"),
        ] {
            assert!(recipe.contains(&line), "{run}: {recipe}");
        }
        assert!(!recipe.contains("temperature = 1.0  #"), "{recipe}");
        let output = bench.output(&["generate", "--model", run, "--prompt", "3 birds", "--max-tokens", "2"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("temperature {temperature}")), "{said}");
        assert!(said.contains("as the run's recipe sets it"), "{said}");
        assert_eq!((said.contains("top-k 20"), said.contains("penalty 1.1")), (top_k == 20, penalty == 1.1), "{said}");
        let exported = bench.read_text(&format!("{run}/model/generation_config.json"));
        let exported: serde_json::Value = serde_json::from_str(&exported).unwrap();
        let found = ["temperature", "top_k", "repetition_penalty"].map(|key| exported[key].as_f64().unwrap());
        assert_eq!(found, [temperature, f64::from(top_k), penalty], "{run}");
    }
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

/// Long answers among those kept aside end no run, and neither does one that is resumed.
#[test]
fn pairs_that_cannot_be_scored_end_no_run() {
    let bench = bench();
    let long = "3 birds sat. ".repeat(6);
    let pair = serde_json::json!({ "prompt": "3 birds", "chosen": long, "rejected": "trees" });
    bench.write("long.jsonl", format!("{pair}\n"));
    let aside =
        ["--set", "data.validation_files=[\"long.jsonl\"]", "--set", "train.steps=2", "--lora", "1", "--run", "run"];
    let told = bench.run(&with(&[&["train", "--base", "base", "--data", "preferences.jsonl"], &aside]));
    let note = "none of the documents that were kept aside (1) is within model.context_len";
    assert!(told.contains(note) && !told.contains("so that its loss says little"), "{told}");
    let recipe = bench.read_text("run/recipe.toml");
    bench.write("run/recipe.toml", recipe.replace("\nsteps = 2", "\nsteps = 3"));
    let told = bench.run(&["resume", "run"]);
    assert!(told.contains(note), "{told}");
    bench.write("long.jsonl", format!("{pair}\n").repeat(4));
    let refused = bench.refusal(&["train", "--base", "base", "--data", "long.jsonl"]);
    assert!(refused.contains("raise model.context_len"), "{refused}");
}

/// A row that is not full counts as one.
#[test]
fn a_pass_reads_every_row() {
    let bench = bench();
    let line = |i: u32| {
        let turns = [("user", format!("{} birds sat", i % 10)), ("assistant", format!("{} sang", i / 10))];
        let turns = turns.map(|(role, content)| serde_json::json!({ "role": role, "content": content }));
        format!("{}\n", serde_json::json!({ "messages": turns }))
    };
    bench.write("short.jsonl", (0..20).map(line).collect::<String>());
    bench.write("other.jsonl", line(29));
    let arguments =
        ["train", "--base", "base", "--data", "short.jsonl", "--lora", "1", "--epochs", "2", "--run", "run"];
    let set = ["--set", "train.batch_size=1", "--set", "data.validation_files=[\"other.jsonl\"]"];
    let told = bench.run(&with(&[&arguments, &set]));
    assert!(!told.contains("one pass over all of it"), "{told}");
    let recipe = bench.read_text("run/recipe.toml");
    assert!(recipe.contains("\nsteps = 40") && recipe.contains("2 epochs of 20 rows"), "{recipe}");
}

#[test]
fn a_base_of_the_hub_is_named_as_other_programs_do() {
    let bench = bench();
    let (model, commit) = ("hub/models--org--name", "0123456789abcdef0123456789abcdef01234567");
    for directory in ["refs", "snapshots"] {
        std::fs::create_dir_all(bench.path(&format!("{model}/{directory}"))).unwrap();
    }
    std::fs::rename(bench.path("base"), bench.path(&format!("{model}/snapshots/{commit}"))).unwrap();
    bench.write(&format!("{model}/refs/v1"), commit);
    let run = |arguments: &[&str]| {
        let output = bench.command(arguments).env("HF_HUB_CACHE", bench.path("hub")).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let base = "hf:org/name@v1";
    run(&["train", "--base", base, "--data", "chat.jsonl", "--lora", "1", "--set", "train.steps=1", "--run", "run"]);
    let config: serde_json::Value = serde_json::from_str(&bench.read_text("run/adapter/adapter_config.json")).unwrap();
    assert_eq!((&config["base_model_name_or_path"], &config["revision"]), (&"org/name".into(), &"v1".into()));
    let told = run(&["inspect", "run/adapter"]);
    assert!(told.contains(&format!("--model {base} --adapter run/adapter")), "{told}");
    let logits = |model: &[&str]| run(&with(&[&["logits", "--tokens", "3,5,2,7", "--json", "--model"], model]));
    assert_eq!(logits(&[base, "--adapter", "run/adapter"]), logits(&["run"]));
}

/// Which column holds what may be said in a recipe's words as well, and a text counts where nothing can be said.
#[test]
fn what_is_named_is_not_guessed() {
    let bench = bench();
    let few = ["--set", "train.steps=2", "--run"];
    let data = |file: &'static str| ["train", "--base", "base", "--data", file];
    bench.write("body.jsonl", "{\"body\": \"3 birds\"}\n".repeat(20));
    bench.run(&with(&[&data("body.jsonl"), &["--set", "data.column=body"], &few, &["body"]]));
    assert!(bench.read_text("body/recipe.toml").contains("kind = \"text\""));
    let line = r#"{"instruction": "3 birds", "input": "", "output": "4 trees", "text": "3 birds sat"}"#;
    bench.write("alpaca.jsonl", format!("{line}\n").repeat(20));
    bench.run(&with(&[&data("alpaca.jsonl"), &few, &["said"]]));
    assert!(bench.read_text("said/recipe.toml").contains("kind = \"chat\""));
    bench.run(&["score", "--model", "base", "--file", "alpaca.jsonl"]);
    std::fs::remove_file(bench.path("base/chat_template.jinja")).unwrap();
    bench.run(&with(&[&data("alpaca.jsonl"), &few, &["text"]]));
    assert!(bench.read_text("text/recipe.toml").contains("kind = \"text\""));
    bench.run(&["score", "--model", "base", "--file", "alpaca.jsonl"]);
    // Pairs that are gone on with are documents of their own.
    bench.write("q.txt", "3 birds\n".repeat(20));
    bench.write("a.txt", "4 trees\n".repeat(20));
    let pairs = ["train", "--base", "base", "--data", "q.txt", "--target", "a.txt", "--set", "data.kind=text"];
    bench.run(&with(&[&pairs, &few, &["pairs"]]));
    assert!(bench.read_text("pairs/recipe.toml").contains("layout = \"packed\""));
}

/// A file with nothing in it is of no kind.
#[test]
fn an_empty_file_does_not_make_a_directory_mixed() {
    let bench = bench();
    std::fs::create_dir(bench.path("chats")).unwrap();
    bench.write("chats/a.jsonl", bench.read("chat.jsonl"));
    bench.write("chats/empty.jsonl", "");
    bench.run(&["train", "--base", "base", "--data", "chats", "--set", "train.steps=2", "--run", "run"]);
    assert!(bench.read_text("run/recipe.toml").contains("kind = \"chat\""));
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
fn what_learned_from_conversations_scores_texts_and_conversations() {
    let bench = bench();
    bench.run(&with(&[&CHAT, &LORA, &["--run", "run"]]));
    let score = |model: &[&str], file: &str| {
        bench.json(&with(&[&["score", "--json", "--file", file, "--model"], model])).as_object().unwrap().clone()
    };
    assert_eq!(score(&["run"], "birds.txt"), score(&["base", "--adapter", "run/adapter"], "birds.txt"));
    let texts = score(&["run"], "birds.txt");
    for key in ["nats_per_token", "perplexity", "bits_per_byte", "accuracy"] {
        let (value, interval) = (texts[key].as_f64().unwrap(), &texts[&format!("{key}_interval")]);
        let [low, high] = ["low", "high"].map(|end| interval[end].as_f64().unwrap());
        assert!(low < value && value < high && high - low < value, "{key}: {value} in {interval}");
        assert_eq!(interval["confidence"], 0.95);
    }
    let said = bench.run(&["score", "--model", "run", "--file", "birds.txt"]);
    assert_eq!(said.matches("95 % interval").count(), 3, "{said}");
    bench.write("three.txt", "3 b");
    assert!(score(&["run"], "three.txt")["perplexity_interval"].is_null());
    let (chat, before) = (score(&["run"], "chat.jsonl"), score(&["base"], "chat.jsonl"));
    // "4 of them sang.\n", twice in each.
    assert_eq!((chat["n_tokens"].as_u64(), chat["n_bytes"].as_u64()), (Some(40 * 2 * 16), Some(40 * 2 * 16)));
    let nats = |scores: &serde_json::Map<String, serde_json::Value>| scores["nats_per_token"].as_f64().unwrap();
    assert!(nats(&chat) < nats(&before), "{chat:?} {before:?}");
    assert_eq!(score(&["run", "--column", "prompt"], "preferences.jsonl")["n_bytes"], 40 * 11 + 14);
    // The chosen answers as the template writes them, whether the layout or somebody says which these are.
    let chosen = score(&["run"], "preferences.jsonl");
    assert_eq!((chosen["n_tokens"].as_u64(), chosen["n_bytes"].as_u64()), (Some(40 * 16), Some(40 * 16)));
    let named = ["run", "--column", "prompt", "--target-column", "chosen"];
    assert_eq!(score(&named, "preferences.jsonl"), chosen);
    let completion = serde_json::json!({ "prompt": "3 birds sat", "completion": " on 4 trees" });
    bench.write("completions.jsonl", format!("{completion}\n").repeat(40));
    assert_eq!(score(&["run"], "completions.jsonl")["n_bytes"], 40 * 11);
    // The files of a directory as one alone, where they are of one kind.
    std::fs::create_dir_all(bench.path("chats/more")).unwrap();
    let lines = bench.read_text("chat.jsonl");
    let half = lines.match_indices('\n').nth(19).unwrap().0 + 1;
    bench.write("chats/a.jsonl", &lines[..half]);
    bench.write("chats/more/b.jsonl", &lines[half..]);
    assert_eq!(score(&["run"], "chats"), chat);
    bench.write("chats/c.jsonl", bench.read("completions.jsonl"));
    let mixed = bench.refusal(&["score", "--model", "run", "--file", "chats"]);
    assert!(mixed.contains("chats/c.jsonl holds prompts with completions"), "{mixed}");
}

#[test]
fn what_learned_from_conversations_is_quantised() {
    let bench = tiny();
    let bpe = ["--set", "tokenizer.kind=bpe", "--set", "tokenizer.vocab_size=300", "--set", "train.steps=3"];
    bench.run(&with(&[&["train", "tiny.toml", "--run", "first"], &bpe]));
    std::fs::rename(bench.path("first/model"), bench.path("base")).unwrap();
    bench.write("base/chat_template.jinja", TEMPLATE);
    let line = serde_json::json!({"messages": [
        {"role": "user", "content": "3 birds"}, {"role": "assistant", "content": "4 trees"},
    ]});
    bench.write("chat.jsonl", format!("{line}\n").repeat(40));
    bench.run(&with(&[&CHAT, &["--lora", "2", "--set", "train.steps=2", "--run", "run"]]));
    let quantize = |to: &str, out: &str, more: &[&str]| {
        let output = bench.output(&with(&[&["quantize", "--model", "run", "--to", to, out], more]));
        let [said, told] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{told}");
        (said, told)
    };
    let (said, told) = quantize("q8_0", "a.gguf", &[]);
    assert!(said.starts_with("wrote a.gguf (q8_0") && said.contains("perplexity"), "{said}");
    assert_eq!(said.matches("95 % interval").count(), 3, "{said}");
    assert!(!told.contains("too few") && !told.contains("do not fit"), "{told}");
    for (text, out) in [("birds.txt", "b.gguf"), ("chat.jsonl", "c.gguf")] {
        assert!(quantize("Q8_0", out, &["--text", text]).0.contains("perplexity"), "{text}");
    }
    bench.write("pairs.jsonl", "{\"prompt\": \"3 birds sat\", \"completion\": \" on 4 trees\"}\n".repeat(40));
    assert!(quantize("q8_0", "p.gguf", &["--text", "pairs.jsonl"]).0.contains("perplexity"));
    bench.write("body.jsonl", "{\"body\": \"3 birds sat\"}\n".repeat(40));
    assert!(quantize("q8_0", "y.gguf", &["--text", "body.jsonl", "--column", "body"]).0.contains("perplexity"));
    bench.write("short.txt", "3 birds sat");
    let (_, told) = quantize("q4_k", "d.gguf", &["--text", "short.txt"]);
    assert!(told.contains("tokens are too few to judge by"), "{told}");
    assert!(told.contains("q5_0") && told.contains("instead of q4_k, whose blocks of 256"), "{told}");
    bench.write("one.txt", "3");
    let refused = bench.refusal(&["quantize", "--model", "run", "--to", "q8_0", "e.gguf", "--text", "one.txt"]);
    assert!(refused.contains("at least two") && !bench.path("e.gguf").exists(), "{refused}");
    // What cannot be read is said before the model is.
    bench.write("broken.jsonl", "{\"text\": ");
    std::fs::create_dir(bench.path("empty")).unwrap();
    for text in ["broken.jsonl", "empty", "missing.txt"] {
        let refused = bench.refusal(&["quantize", "--model", "run", "--to", "q8_0", "e.gguf", "--text", text]);
        assert!(refused.contains(text) && !refused.contains("reading run"), "{refused}");
    }
    // Without a chat template a text counts, whatever stands beside it.
    bench.write("beside.jsonl", "{\"text\": \"3 birds sat on 4 trees\", \"messages\": []}\n".repeat(40));
    let beside = ["quantize", "--model", "first", "--to", "q8_0", "f.gguf", "--text", "beside.jsonl"];
    assert!(bench.run(&beside).contains("perplexity"));
    assert!(bench.run(&["quantize", "--help"]).contains("q4_k"));
    bench.run(&["export", "--model", "base", "--to", "hf", "--dtype", "bf16", "half"]);
    bench.run(&["export", "--model", "half", "--to", "gguf", "half.gguf"]);
    // A file that is a whole model is that whatever its name is.
    std::fs::copy(bench.path("half.gguf"), bench.path("half-00001-of-00002.gguf")).unwrap();
    let named = ["train", "--base", "half-00001-of-00002.gguf", "--data", "chat.jsonl", "--set", "train.steps=1"];
    bench.run(&with(&[&named, &["--lora", "2", "--run", "named"]]));
    assert_eq!(logits(&bench, &["named"]).len(), logits(&bench, &["half.gguf"]).len());
    let general = |file: &str, key: &str| match Reader::open(&bench.path(file)).unwrap().metadata().get(key) {
        Some(Value::Text(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    // Licence and authors of a published model go with it, and a tuned one names its base.
    let card =
        "---\nlicense: apache-2.0\nlanguage:\n- en\nbase_model: org/Bigger-1B\nauthor: Somebody\n---\n# A model\n";
    bench.write("half/README.md", card);
    bench.write("half/LICENSE.txt", "the terms");
    bench.run(&["quantize", "--no-perplexity", "--model", "half", "--to", "q8_0", "card.gguf"]);
    bench.run(&["quantize", "--no-perplexity", "--model", "card.gguf", "--to", "q4_0", "again.gguf"]);
    bench.run(&["export", "--model", "again.gguf", "--to", "gguf", "third.gguf"]);
    for file in ["card.gguf", "again.gguf", "third.gguf"] {
        assert_eq!(general(file, "general.license"), "apache-2.0", "{file}");
        assert_eq!(general(file, "general.author"), "Somebody", "{file}");
        assert_eq!(general(file, "general.name"), "half", "{file}");
        assert_eq!(general(file, "general.base_model.0.repo_url"), "https://huggingface.co/org/Bigger-1B", "{file}");
    }
    bench.run(&["export", "--model", "half", "--to", "hf", "--dtype", "f32", "whole"]);
    assert_eq!(
        (bench.read_text("whole/README.md"), bench.read_text("whole/LICENSE.txt")),
        (card.into(), "the terms".into())
    );
    bench.run(&["export", "--model", "again.gguf", "--to", "hf", "unpacked"]);
    let made = bench.read_text("unpacked/README.md");
    assert!(made.contains("license: \"apache-2.0\"") && made.contains("base_model:\n- \"org/Bigger-1B\""), "{made}");
    let chat = ["train", "--base", "half", "--data", "chat.jsonl", "--set", "train.steps=2", "--run"];
    bench.run(&with(&[&chat, &["tuned"]]));
    bench.run(&with(&[&chat, &["adapted", "--lora", "2"]]));
    bench.run(&["export", "--model", "adapted", "--to", "hf", "merged"]);
    for directory in ["tuned/model", "merged"] {
        let (file, terms) = (format!("{directory}/README.md"), format!("{directory}/LICENSE.txt"));
        let made = bench.read_text(&file);
        assert_eq!(bench.read_text(&terms), "the terms", "{terms}");
        assert!(
            made.contains("license: \"apache-2.0\"\nlanguage:\n- \"en\"\npipeline_tag:")
                && made.contains("| tuned from | half |"),
            "{file}: {made}"
        );
        // The key means repositories of the hub, which refuses a card with another base.
        assert!(!made.contains("base_model"), "{file}: {made}");
    }
    let made = bench.read_text("adapted/adapter/README.md");
    let begins = "---\nlibrary_name: peft\nlicense: \"apache-2.0\"\nlanguage:\n- \"en\"\ntags:";
    assert!(made.starts_with(begins) && made.contains("| adapts | half |"), "{made}");
    assert_eq!(bench.read_text("adapted/adapter/LICENSE.txt"), "the terms");
    // Adapters over adapters leave the weights in the format of the first base.
    bench.run(&[
        "train",
        "--base",
        "adapted",
        "--data",
        "chat.jsonl",
        "--lora",
        "2",
        "--set",
        "train.steps=2",
        "--run",
        "twice",
    ]);
    bench.run(&["export", "--model", "twice", "--to", "hf", "both"]);
    assert!(bench.read_text("both/config.json").contains("\"bfloat16\""));
    assert!(bench.read_text("both/README.md").contains("| tuned from | half |"));
    // Also where it was tuned from a run that was tuned from it.
    let checkpoint = format!("tuned/checkpoints/{}", common::names(&bench.path("tuned/checkpoints"))[0]);
    for (i, base) in ["adapted", "tuned", "tuned/model", &checkpoint].into_iter().enumerate() {
        let (run, out) = (format!("run-{i}"), format!("out-{i}"));
        bench.run(&["train", "--base", base, "--data", "chat.jsonl", "--set", "train.steps=1", "--run", &run]);
        bench.run(&["export", "--model", &run, "--to", "hf", &out]);
        let made = bench.read_text(&format!("{out}/README.md"));
        assert!(made.contains("license: \"apache-2.0\"") && made.contains("| tuned from | half |"), "{base}: {made}");
        assert_eq!(bench.read_text(&format!("{out}/LICENSE.txt")), "the terms", "{base}");
    }
    bench.run(&["quantize", "--no-perplexity", "--model", "adapted", "--to", "q8_0", "adapted.gguf"]);
    let beside = ["quantize", "--no-perplexity", "--model", "half", "--adapter", "adapted/adapter", "--to", "q8_0"];
    bench.run(&with(&[&beside, &["beside.gguf"]]));
    assert_eq!(logits(&bench, &["beside.gguf"]), logits(&bench, &["adapted.gguf"]));
    assert_eq!(general("adapted.gguf", "general.base_model.0.name"), "half");
    assert_eq!(general("adapted.gguf", "general.license"), "apache-2.0");
    for to in ["hf", "gguf"] {
        let out = format!("wide.{to}");
        let wide = bench.run(&["export", "--model", "a.gguf", "--to", to, &out]);
        assert!(wide.contains("quantised (q8_0) and widened to f32") && wide.contains("quantize --to q8_0"), "{wide}");
        let narrow =
            bench.run(&["export", "--model", "a.gguf", "--to", to, "--dtype", "bf16", &format!("narrow.{to}")]);
        assert!(!narrow.contains("widened") && !wide.contains("no tokenizer"), "{wide}{narrow}");
    }
    std::fs::remove_file(bench.path("wide.hf/tokenizer.json")).unwrap();
    let noted = bench.run(&["export", "--model", "wide.hf", "--to", "gguf", "mute.gguf"]);
    assert!(noted.contains("wide.hf has no tokenizer") && noted.contains("llama.cpp does not open it"), "{noted}");
    let output = bench.output(&["quantize", "--model", "wide.hf", "--to", "q8_0", "quiet.gguf"]);
    let noted = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && noted.contains("wide.hf has no tokenizer"), "{noted}");
    // What is quantised again says so, and is written all the same.
    assert!(!told.contains("quantised already"), "{told}");
    for (from, to, is_warned) in [("a.gguf", "Q4_K", true), ("a.gguf", "f16", false), ("half.gguf", "q8_0", false)] {
        let out = format!("{from}-{to}.gguf");
        let output = bench.output(&["quantize", "--no-perplexity", "--json", "--model", from, "--to", to, &out]);
        let [said, told] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success() && bench.path(&out).exists(), "{told}");
        assert_eq!(told.contains("a.gguf is quantised already (q8_0)"), is_warned, "{told}");
        assert_eq!(said.contains("\"requantised_from\":\"q8_0\""), is_warned, "{said}");
    }
    for (name, nearest) in [("Q4_K_M", "q4_k"), ("q5_k_m", "q5_1"), ("q4_k_s", "q4_k"), ("fp16", "f16")] {
        let refused = bench.refusal(&["quantize", "--model", "base", "--to", name, "x.gguf"]);
        assert!(refused.contains(&format!("the nearest is {nearest}: --to {nearest}")), "{refused}");
    }
    let unknown = bench.refusal(&["quantize", "--model", "base", "--to", "q9", "x.gguf"]);
    assert!(unknown.contains("possible values: f32") && unknown.contains("q4_k"), "{unknown}");
    let facts = bench.run(&["inspect", "half.gguf"]);
    assert!(facts.contains("bf16"), "{facts}");
    let facts = bench.run(&["inspect", "d.gguf"]);
    assert!(facts.contains("llama") && facts.contains("q5_0") && facts.contains("to run, stored"), "{facts}");
    let facts = bench.run(&["inspect", "card.gguf"]);
    assert!(facts.contains("apache-2.0") && facts.contains("keys and values"), "{facts}");
}

#[test]
fn long_conversations_end_no_run() {
    let bench = bench();
    let turn = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
    let long = [turn("user", &"3 birds sat. ".repeat(6)), turn("assistant", "4 trees")];
    let line = format!("{}\n", serde_json::json!({ "messages": long }));
    bench.write("long.jsonl", line.repeat(12));
    let arguments = ["train", "--base", "base", "--data", "long.jsonl", "--set", "data.validation_fraction=0.5"];
    let few = ["--set", "train.steps=2", "--set", "train.learning_rate=0.001"];
    let said = bench.run(&with(&[&arguments, &few, &["--lora", "2", "--run", "run"]]));
    assert!(said.contains("conversations are longer than a row of 32 tokens"), "{said}");
    assert!(said.contains("do not fit the model's context of 32"), "{said}");
    assert!(said.contains("of them trained (LoRA, rank 2: "), "{said}");
    for module in ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] {
        assert!(said.contains(module), "{said}");
    }
    let said = bench.run(&with(&[&arguments, &few, &["--set", "train.sample_every=0", "--run", "my run"]]));
    assert!(!said.contains("a sample") && said.contains("--model 'my run'"), "{said}");
    assert_eq!(common::names(&bench.path("my run/samples")), [""; 0]);
}

#[test]
fn a_base_is_found_from_anywhere() {
    let bench = bench();
    bench.run(&with(&[&CHAT, &["--lora", "2", "--set", "train.steps=2", "--run", "runs/run"]]));
    let run = bench.path("runs/run").display().to_string();
    let ask = || bench.command(&["logits", "--model", &run, "--tokens", "1"]).current_dir("/").output().unwrap();
    assert!(ask().status.success());
    // As a recipe may have it that was written by hand.
    let recipe = bench.read_text("runs/run/recipe.toml");
    let place = bench.path("base").display().to_string();
    assert!(recipe.contains(&place), "{recipe}");
    bench.write("runs/run/recipe.toml", recipe.replace(&place, "base"));
    assert!(ask().status.success());
    std::fs::rename(bench.path("base"), bench.path("other")).unwrap();
    let error = String::from_utf8(ask().stderr).unwrap();
    assert!(error.contains("is missing") && error.contains("base.path = \"base\""), "{error}");
}

/// Files name tokens that the model has no row for: tokens added to the tokenizer, and padding.
#[test]
fn tokens_beyond_those_of_the_base_are_refused_before_training() {
    let bench = bench();
    let edit = |file: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut json = serde_json::from_str(&bench.read_text(file)).unwrap();
        change(&mut json);
        bench.write(file, json.to_string());
    };
    let config: serde_json::Value = serde_json::from_str(&bench.read_text("base/config.json")).unwrap();
    let n_rows = config["vocab_size"].as_u64().unwrap();
    edit("base/tokenizer.json", &|json| {
        let added = json["added_tokens"].as_array_mut().unwrap();
        added.extend([("<turn>", true), ("<b>", false)].into_iter().zip(n_rows..).map(|((content, special), id)| {
            serde_json::json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special,
            })
        }));
    });
    edit("base/generation_config.json", &|json| json["pad_token_id"] = n_rows.into());
    let few = ["--set", "train.steps=2", "--run"];
    bench.run(&with(&[&CHAT, &few, &["padded"]]));
    bench.write("base/chat_template.jinja", format!("<turn>{TEMPLATE}"));
    let beyond = |token: &str, id: u64| format!("the token {token:?} ({id}) is beyond the {n_rows} that the model has");
    for data in ["chat.jsonl", "preferences.jsonl"] {
        let error = bench.refusal(&with(&[&["train", "--base", "base", "--data", data], &few, &["run"]]));
        assert!(error.contains(&format!("{data}, line 1: {}", beyond("<turn>", n_rows))), "{error}");
        assert!(error.contains("the chat template writes it") && !error.contains("leave it out"), "{error}");
        assert!(!bench.path("run").exists());
    }
    bench.write("bold.jsonl", r#"{"text": "3 birds"}"#.to_owned() + "\n" + r#"{"text": "<b>4 trees"}"#);
    let error = bench.refusal(&with(&[&["train", "--base", "base", "--data", "bold.jsonl"], &few, &["run"]]));
    assert!(error.contains(&format!("bold.jsonl, line 2: {}", beyond("<b>", n_rows + 1))), "{error}");
    assert!(error.contains("leave it out") && !bench.path("run").exists(), "{error}");
    let attention = ["inspect", "attention", "--model", "base", "--output", "a.svg", "--prompt", "3 <b>birds"];
    let error = bench.refusal(&attention);
    assert!(error.contains(&beyond("<b>", n_rows + 1)) && error.contains("leave it out"), "{error}");
}

const FEW: [&str; 7] = ["--lora", "1", "--set", "train.steps=1", "--set", "train.sample_every=0", "--run"];

/// Trains a little on a file or directory, and gives the kind of data and what was learned from it.
fn learned(bench: &Bench, data: &str, more: &[&str]) -> (String, Vec<u8>) {
    let run = format!("of-{data}");
    bench.run(&with(&[&["train", "--base", "base", "--data", data], more, &FEW, &[&run]]));
    let recipe = bench.read_text(&format!("{run}/recipe.toml"));
    let kind = recipe.split("kind = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    (kind, bench.read(&format!("{run}/adapter/adapter_model.safetensors")))
}

#[test]
fn a_directory_is_recognised_as_its_files_are() {
    let bench = bench();
    for (directory, file, kind) in
        [("chats", "chat.jsonl", "chat"), ("pairs", "preferences.jsonl", "preference"), ("texts", "birds.txt", "text")]
    {
        std::fs::create_dir_all(bench.path(directory).join("more")).unwrap();
        bench.write(&format!("{directory}/more/{file}"), bench.read(file));
        let of_directory = learned(&bench, directory, &[]);
        assert_eq!(of_directory.0, kind, "{directory}");
        assert!(kind == "text" || of_directory == learned(&bench, file, &[]), "{directory} is read otherwise");
    }
    let mixed = |parts: &[&str]| {
        let error = bench.refusal(&["train", "--base", "base", "--data", "chats"]);
        let parts = parts.iter().chain(&["chats has files of different kinds", "a directory of its own"]);
        parts.for_each(|part| assert!(error.contains(part), "{part}: {error}"));
    };
    bench.write("chats/pairs.jsonl", bench.read("preferences.jsonl"));
    mixed(&["chats/more/chat.jsonl holds conversations", "chats/pairs.jsonl holds preferences"]);
    std::fs::rename(bench.path("chats/pairs.jsonl"), bench.path("chats/README.md")).unwrap();
    mixed(&["chats/more/chat.jsonl holds conversations", "chats/README.md holds neither"]);
}

#[test]
fn the_layouts_of_other_tools_are_read_alike() {
    let bench = bench();
    let write = |file: &str, line: &dyn Fn(&str, &str) -> serde_json::Value| {
        let line = |i: u32| line(&format!("{} birds sat", i % 17), &format!("{} sang", i % 9));
        bench.write(file, (0..40).map(|i| format!("{}\n", line(i))).collect::<String>());
    };
    let turn = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
    let from = |from: &str, value: &str| serde_json::json!({ "from": from, "value": value });
    write("openai.jsonl", &|q, a| serde_json::json!({ "messages": [turn("user", q), turn("assistant", a)] }));
    write("sharegpt.jsonl", &|q, a| serde_json::json!({ "conversations": [from("human", q), from("gpt", a)] }));
    write("alpaca.jsonl", &|q, a| serde_json::json!({ "instruction": q, "input": "", "output": a, "text": "trees" }));
    let completed =
        |q: &str, a: &str| serde_json::json!({ "prompt": [turn("user", q)], "completion": [turn("assistant", a)] });
    write("trl.jsonl", &completed);
    let conversations = learned(&bench, "openai.jsonl", &[]);
    assert_eq!(conversations.0, "chat");
    for file in ["sharegpt.jsonl", "alpaca.jsonl", "trl.jsonl"] {
        assert!(learned(&bench, file, &[]) == conversations, "{file} is read otherwise");
    }
    let pair = |q: &str, a: &str| serde_json::json!({ "prompt": q, "chosen": a, "rejected": "trees" });
    write("texts.jsonl", &pair);
    let whole = |q: &str, a: &str| serde_json::json!([turn("user", q), turn("assistant", a)]);
    write("whole.jsonl", &|q, a| serde_json::json!({ "chosen": whole(q, a), "rejected": whole(q, "trees") }));
    write(
        "llama.jsonl",
        &|q, a| serde_json::json!({ "conversations": [from("human", q)], "chosen": from("gpt", a), "rejected": from("gpt", "trees") }),
    );
    let preferences = learned(&bench, "texts.jsonl", &[]);
    assert_eq!(preferences.0, "preference");
    for file in ["whole.jsonl", "llama.jsonl"] {
        assert!(learned(&bench, file, &[]) == preferences, "{file} is read otherwise");
    }
    // Published files are often one array, on one line or many, also in a directory beside a description of it.
    let array = |file: &str| {
        let lines = bench.read_text(file);
        let objects = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>();
        serde_json::Value::Array(objects)
    };
    bench.write("sharegpt.json", array("sharegpt.jsonl").to_string());
    bench.write("alpaca.json", format!("{:#}", array("alpaca.jsonl")));
    std::fs::create_dir(bench.path("published")).unwrap();
    bench.write("published/train.json", bench.read("alpaca.json"));
    bench.write("published/dataset_infos.json", "{\"default\": {\"features\": []}}");
    bench.write("published/labels.json", "[\"a\", \"b\"]");
    for file in ["sharegpt.json", "alpaca.json", "published"] {
        assert!(learned(&bench, file, &[]) == conversations, "{file} is read otherwise");
    }
    bench.write("pairs.json", array("texts.jsonl").to_string());
    assert!(learned(&bench, "pairs.json", &[]) == preferences);
    // The same columns mean the same in a table.
    let rows = |(i, j): (u32, u32)| format!("{} birds sat,{} sang,trees\n", i % 17, j % 9);
    bench.write("pairs.csv", "prompt,chosen,rejected\n".to_owned() + &(0..40).zip(0..40).map(rows).collect::<String>());
    assert!(learned(&bench, "pairs.csv", &[]) == preferences);
}

/// A prompt and its completion are texts as they stand, unless somebody asks for the template.
#[test]
fn a_completion_goes_on_with_its_prompt_and_is_learned_alone() {
    let bench = bench();
    let line = |i: u32| serde_json::json!({ "prompt": format!("{} birds", i % 17), "completion": " sang." });
    bench.write("texts.jsonl", (0..40).map(|i| format!("{}\n", line(i))).collect::<String>());
    let (kind, as_text) = learned(&bench, "texts.jsonl", &[]);
    let recipe = bench.read_text("of-texts.jsonl/recipe.toml");
    assert!(kind == "text" && recipe.contains("target_column = \"completion\""), "{recipe}");
    let summary: serde_json::Value =
        serde_json::from_str(&bench.read_text("of-texts.jsonl/data/summary.json")).unwrap();
    let (n, n_bytes) = (summary["n_documents"].as_u64().unwrap(), summary["n_bytes"].as_u64().unwrap());
    assert_eq!(n_bytes, n * 6, "{summary}");
    bench.write(
        "texts.csv",
        "prompt,completion\n".to_owned() + &(0..40).map(|i| format!("{} birds, sang.\n", i % 17)).collect::<String>(),
    );
    assert!(learned(&bench, "texts.csv", &[]) == (kind, as_text.clone()), "a table is read otherwise");
    bench.write("said.jsonl", bench.read("texts.jsonl"));
    let (kind, said) = learned(&bench, "said.jsonl", &["--column", "prompt", "--target-column", "completion"]);
    assert!(kind == "chat" && said != as_text);
    bench.write("asked.jsonl", bench.read("texts.jsonl"));
    assert!(learned(&bench, "asked.jsonl", &["--set", "data.kind=chat"]) == (kind, said));
}

#[test]
fn a_layout_that_is_not_known_is_named_with_the_way_out() {
    let bench = bench();
    let check = |file: &str, content: &str, base: bool, parts: &[&str]| {
        bench.write(file, content.repeat(3));
        let base: &[&str] = if base { &["--base", "base"] } else { &[] };
        let error = bench.refusal(&with(&[&["train", "--data", file], base]));
        parts.iter().for_each(|part| assert!(error.contains(part), "{file}: no {part} in {error}"));
    };
    let question = "{\"question\": \"3\", \"answer\": \"4\"}\n";
    check(
        "q.jsonl",
        question,
        true,
        &["the fields question, answer", "--column question --target-column answer", "\"messages\""],
    );
    let completion = "{\"prompt\": \"3\", \"completion\": \"4\"}\n";
    check("c.jsonl", completion, false, &["--base MODEL", "--column prompt --target-column completion"]);
    let label = "{\"prompt\": \"3\", \"completion\": \"4\", \"label\": true}\n";
    check("k.jsonl", label, true, &["k.jsonl, line 1", "KTO"]);
    let alpaca = "{\"instruction\": \"3\", \"output\": \"4\"}\n";
    check("a.jsonl", alpaca, false, &["--base MODEL"]);
    check("later.jsonl", &(alpaca.to_owned() + question), true, &["later.jsonl, line 2", "\"instruction\""]);
    let later = |first: &str| format!("[\n{first},{}]", question.trim_end());
    bench.write("later.json", later(alpaca));
    let error = bench.refusal(&["train", "--base", "base", "--data", "later.json"]);
    assert!(error.contains("later.json, element 2 (line 3)") && error.contains("\"instruction\""), "{error}");
    bench.write("unknown.json", later(question));
    let error = bench.refusal(&["train", "--base", "base", "--data", "unknown.json"]);
    assert!(error.contains("its elements have the fields question, answer"), "{error}");
    let rows = "instruction,input,output\n3,4,5\n";
    let way = [
        "instruction, input, output",
        "--column instruction --target-column output",
        "pandas.read_csv",
        "leave out --base",
    ];
    check("rows.csv", rows, true, &way);
}

/// Whoever has a model without a template can give it one, which the run keeps.
#[test]
fn a_base_is_given_a_chat_template() {
    let bench = bench();
    std::fs::rename(bench.path("base/chat_template.jinja"), bench.path("mine.jinja")).unwrap();
    let error = bench.refusal(&CHAT);
    assert!(error.contains("--chat-template FILE"), "{error}");
    let error = bench.refusal(&with(&[&CHAT, &["--chat-template", "none.jinja"]]));
    assert!(error.contains("--chat-template") && error.contains("none.jinja"), "{error}");
    bench.write("short.jinja", format!("{TEMPLATE}{{% if messages | length > 2 %}}\n{{{{ 1 + 'a' }}}}{{% endif %}}"));
    let error = bench.refusal(&with(&[&CHAT, &["--chat-template", "short.jinja"]]));
    assert!(error.contains("short.jinja: line 3: number and string cannot be added (with chat.jsonl, line"), "{error}");
    let few = ["--set", "train.steps=4", "--set", "train.checkpoint_every=2"];
    bench.run(&with(&[&CHAT, &few, &["--chat-template", "mine.jinja", "--run", "run"]]));
    assert_eq!(bench.read_text("run/model/chat_template.jinja"), TEMPLATE);
    bench.run(&["train", "run/recipe.toml", "--run", "again"]);
    assert_eq!(bench.read("again/model/model.safetensors"), bench.read("run/model/model.safetensors"));
    std::fs::remove_file(bench.path("mine.jinja")).unwrap();
    bench.run(&with(&[&["resume", "run"]]));
    bench.run(&["generate", "--model", "run", "--chat", "--prompt", "3 birds", "--max-tokens", "2"]);
    let alone = bench.refusal(&["train", "tiny.toml", "--set", "base.chat_template=x"]);
    assert!(alone.contains("base.chat_template is for a base"), "{alone}");
}

/// What a run learned from does not change what `generate` does with a prompt: its model says nothing of that.
#[test]
fn a_run_reads_a_prompt_as_its_model_does() {
    let bench = bench();
    for data in ["chat.jsonl", "preferences.jsonl"] {
        let few = ["--set", "train.steps=3", "--run", data, "--set", "train.learning_rate=0.01"];
        let run = format!("run-{data}");
        bench.run(&with(&[&["train", "--base", "base", "--data", data], &few[..2], &few[4..], &["--run", &run]]));
        let said = |model: &str, more: &[&str]| {
            let arguments =
                ["generate", "--model", model, "--prompt", "3 birds", "--temperature", "0", "--max-tokens", "8"];
            let output = bench.output(&with(&[&arguments, more]));
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
        };
        let model = format!("{run}/model");
        let ([text, hint], [of_model, _]) = (said(&run, &[]), said(&model, &[]));
        assert!(text.starts_with("3 birds") && text == of_model, "{data}: {text:?} {of_model:?}");
        assert_eq!(hint.contains("learned from conversations"), data == "chat.jsonl", "{hint}");
        assert!(hint.contains("--chat says it as a message instead"), "{hint}");
        let ([answer, _], [of_model, _]) = (said(&run, &["--chat"]), said(&model, &["--chat"]));
        assert!(!answer.contains("3 birds") && answer == of_model, "{data}: {answer:?} {of_model:?}");
    }
}

/// Copies of what was learned say little of what is new, with a base as without.
#[test]
fn copies_in_the_validation_data_are_named() {
    let bench = bench();
    let chat = bench.read_text("chat.jsonl");
    bench.write("twice.jsonl", chat.repeat(2));
    bench.write("texts.jsonl", (0..40).map(|i| format!("{{\"text\": \"{} birds\"}}\n", i % 5)).collect::<String>());
    let told = |arguments: &[&str]| {
        let few = ["--set", "train.steps=1", "--set", "train.sample_every=0", "--set", "data.validation_fraction=0.1"];
        let output = bench.output(&with(&[arguments, &few]));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        told
    };
    let base = ["train", "--base", "base", "--lora", "1", "--data"];
    let note = "validation documents are copies of training documents";
    assert!(told(&with(&[&base, &["twice.jsonl"]])).contains(note));
    assert!(told(&with(&[&base, &["texts.jsonl"]])).contains(note));
    let once = ["--set", "data.deduplicate=true"];
    assert!(!told(&with(&[&base, &["twice.jsonl"], &once])).contains(note));
    assert!(!told(&with(&[&base, &["chat.jsonl"]])).contains(note));
    assert!(told(&["train", "--data", "texts.jsonl", "--minutes", "0.01"]).contains(note));
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
    check(&with(&[&CHAT, &["--epochs", "2", "--set", "train.steps=3"]]), "leave out one of them");
    check(&with(&[&CHAT, &["--minutes", "2"]]), "--epochs N");
    check(&["train", "tiny.toml", "--lora", "2"], "cannot be used with");
    for (value, expect) in [
        ("train.batch_size=0", "train.batch_size is 0; it must be at least 1"),
        ("train.batch_size=9223372036854775807", "it must be at most"),
        ("train.accumulate=0", "must be at least 1"),
        ("train.steps=0", "must be at least 1"),
        ("model.context_len=0", "model.context_len is 0; it must be at least 1"),
        ("train.learning_rate=nan", "found nan, which is not finite"),
        ("generate.temperature=-1", "generate.temperature is -1; it must be 0"),
        ("generate.max_tokens=0", "generate.max_tokens is 0; it must be at least 1"),
    ] {
        check(&with(&[&CHAT, &["--lora", "2", "--run", "half-made", "--set", value]]), expect);
        assert!(!bench.path("half-made").exists(), "{value}");
    }
    check(&with(&[&CHAT, &["--set", "model.context_len=33"]]), "beyond the 32 tokens");
    check(&with(&[&CHAT, &["--preferences"]]), "preferences are JSON lines");
    check(&with(&[&CHAT, &["--set", "model.n_layers=7"]]), "model.n_layers is decided by the base");
    let preferences = ["train", "--base", "base", "--data", "preferences.jsonl"];
    check(&with(&[&preferences, &["--set", "train.dpo.beta=0"]]), "train.dpo.beta is 0");
    check(&with(&[&preferences, &["--set", "train.dpo.beta=-0.1"]]), "above 0");
    check(&["logits", "--model", "base", "--adapter", "first", "--tokens", "1"], "adapter_config.json");
    let pair = |rejected: &str| {
        format!("{}\n", serde_json::json!({ "prompt": "3 birds", "chosen": "4 trees", "rejected": rejected }))
    };
    bench.write("same.jsonl", pair("4 trees").repeat(3));
    let same = ["train", "--base", "base", "--data", "same.jsonl"];
    check(&same, "3 the chosen and the rejected answer are the same");
    check(&same, "same.jsonl, line 1:");
    let tool = r#"[{"role": "user", "content": "3"}, {"role": "assistant", "tool_calls": []}]"#;
    bench.write("tools.jsonl", format!("{{\"prompt\": {tool}, \"chosen\": \"4\", \"rejected\": \"5\"}}\n").repeat(3));
    check(&["train", "--base", "base", "--data", "tools.jsonl"], "tools.jsonl, line 1: message 2 has no content");
    let slip = ["generate", "--model", "base", "--chat", "--prompt", r#"[{"role": "user", "content": "3"},]"#];
    check(&slip, "is not a conversation in JSON (trailing comma");
    let line = |role: &str| {
        let turns = [("user", "3 birds"), (role, "4 trees")];
        let turns = turns.map(|(role, content)| serde_json::json!({ "role": role, "content": content }));
        format!("{}\n", serde_json::json!({ "messages": turns }))
    };
    bench.write("bot.jsonl", line("assistant").repeat(5) + &line("bot"));
    check(
        &["train", "--base", "base", "--data", "bot.jsonl"],
        "bot.jsonl, line 6: message 2 has the unknown role \"bot\"",
    );
    bench.write("bot.json", format!("[{}]", bench.read_text("bot.jsonl").trim_end().replace('\n', ",\n\n")));
    check(
        &["train", "--base", "base", "--data", "bot.json"],
        "bot.json, element 6 (line 11): message 2 has the unknown role \"bot\"",
    );
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
