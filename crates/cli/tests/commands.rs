//! Every command once on real input, as a newcomer would: from a text to a model to answers to a report.

mod common;

use common::{Bench, names, text, tiny};

fn trained() -> Bench {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run"]);
    bench
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_run_directory_holds_what_was_promised() {
    let bench = trained();
    for file in [
        "recipe.toml",
        "log.jsonl",
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/generation_config.json",
        "model/README.md",
    ] {
        assert!(!bench.read(&format!("run/{file}")).is_empty(), "{file}");
    }
    assert!(names(&bench.path("run/events"))[0].starts_with("events.out.tfevents."));
    assert!(names(&bench.path("run/samples")).contains(&"step-00000060.txt".to_owned()));
    // The last two, and the best.
    assert!((2..=3).contains(&names(&bench.path("run/checkpoints")).len()));
    let rows: Vec<serde_json::Value> =
        bench.read_text("run/log.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let step = rows.iter().find(|row| row.get("loss").is_some()).unwrap();
    for key in ["step", "n_tokens", "loss", "learning_rate", "grad_norm", "tokens_per_s", "flops_per_s", "seconds"] {
        number(&step[key]);
    }
    let validation = rows.iter().find(|row| row.get("validation_loss").is_some()).unwrap();
    number(&validation["bits_per_byte"]);
    let losses: Vec<f64> = rows.iter().filter_map(|row| row.get("loss")?.as_f64()).collect();
    assert!(losses.last().unwrap() < &(losses[0] - 0.5), "nothing was learned: {losses:?}");
}

#[test]
fn the_recipe_of_a_run_makes_the_same_run() {
    let bench = trained();
    let recipe = bench.read_text("run/recipe.toml");
    assert!(recipe.contains("d_head = 16  # d_model / n_heads"), "{recipe}");
    bench.run(&["train", "run/recipe.toml", "--run", "again"]);
    assert_eq!(bench.read("run/model/model.safetensors"), bench.read("again/model/model.safetensors"));
}

#[test]
fn texts_are_generated_and_scored() {
    let bench = trained();
    let ask = |seed: &str| bench.run(&["generate", "--model", "run", "--prompt", "3 birds", "--seed", seed]);
    assert_eq!(ask("1"), ask("1"));
    assert_ne!(ask("1"), ask("2"));
    assert!(ask("1").starts_with("3 birds"));
    let greedy = |model: &str| bench.run(&["generate", "--model", model, "--prompt", "4 ", "--temperature", "0"]);
    assert_eq!(greedy("run"), greedy("run/model"), "the exported model answers as the run does");
    let printed = bench.run(&[
        "generate",
        "--model",
        "run",
        "--prompt",
        "5 ",
        "--n",
        "3",
        "--max-tokens",
        "7",
        "--logprobs",
        "2",
        "--json",
    ]);
    assert_eq!(printed.lines().count(), 3);
    for line in printed.lines() {
        let answer: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(answer["tokens"].as_array().unwrap().len() <= 7);
        assert_eq!(answer["logprobs"].as_array().unwrap().len(), answer["tokens"].as_array().unwrap().len());
    }
    // Beyond the context of 32 tokens the run forgets, and what was exported of it goes on; both say so.
    let noted = |model: &str| {
        let output = bench.output(&["generate", "--model", model, "--prompt", "6 ", "--max-tokens", "40"]);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(noted("run").contains("reads 32 tokens: where the text became longer, its older half was forgotten"));
    assert!(noted("run/model").contains("tokens are more than the 32 that the model was made for"));
    let long = ["generate", "--prompt", "6 birds sat on 2 trees, and 3 of them sang.", "--model"];
    assert!(bench.refusal(&[&long[..], &["run"]].concat()).contains("the model's context holds 32"));
    assert!(bench.run(&[&long[..], &["run/model"]].concat()).starts_with("6 birds sat"));

    bench.run(&["generate", "--model", "run", "--output", "said.txt", "--stop", "."]);
    assert!(!bench.read_text("said.txt").contains('.'));

    bench.write("nonsense.txt", "gnas meht fo 3 dna");
    let score = |file: &str| bench.json(&["score", "--model", "run", "--file", file, "--json"]);
    let (known, nonsense) = (score("birds.txt"), score("nonsense.txt"));
    assert_eq!(known["n_tokens"].as_u64().unwrap(), text().len() as u64 - 1);
    assert!(number(&known["nats_per_token"]) < number(&nonsense["nats_per_token"]));
    let bits = number(&known["nats_per_token"]) / std::f64::consts::LN_2;
    assert!((number(&known["bits_per_byte"]) / bits - 1.0).abs() < 1e-3);
    let told =
        |file: &str| String::from_utf8(bench.output(&["score", "--model", "run", "--file", file]).stderr).unwrap();
    let few = told("nonsense.txt");
    assert!(few.contains("17 tokens are too few to judge by; give at least 1000 (--file FILE)"), "{few}");
    assert!(!told("birds.txt").contains("too few"));
}

#[test]
fn each_line_of_a_file_can_be_a_prompt() {
    let bench = trained();
    bench.write("ask.txt", "3 birds\n4 birds\n");
    let ask = |more: &[&str]| {
        let small = ["generate", "--model", "run", "--input", "ask.txt", "--temperature", "0", "--max-tokens", "6"];
        bench.run(&[&small, more].concat())
    };
    assert_eq!(ask(&["--json"]).lines().count(), 1, "the whole file is one prompt");
    let printed = ask(&["--lines"]);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("3 birds") && lines[1].starts_with("4 birds"), "{printed}");
    let alone = ["generate", "--model", "run", "--prompt", "4 birds", "--temperature", "0", "--max-tokens", "6"];
    assert_eq!(bench.run(&alone).trim_end(), lines[1]);
    assert_eq!(ask(&["--lines", "--json"]).lines().count(), 2);
    bench.write("run/model/chat_template.jinja", "{% for m in messages %}{{ m.content }}\n{% endfor %}");
    let chat = |prompt: &str, more: &[&str]| {
        let message = ["generate", "--model", "run/model", "--chat", "--prompt", prompt, "--temperature", "0"];
        bench.run(&[&message[..], &["--max-tokens", "3"], more].concat())
    };
    let told = chat("sat", &["--system", "3 birds"]);
    let written = r#"[{"role": "system", "content": "3 birds"}, {"role": "user", "content": "sat"}]"#;
    assert_eq!(told, chat(written, &[]));
}

/// Answers are in the file as soon as they are finished, and stay there.
#[cfg(unix)]
#[test]
fn finished_answers_outlive_ctrl_c() {
    let bench = trained();
    bench.write("out.txt", "");
    let child = bench
        .command(&["generate", "--model", "run", "--prompt", "3 birds", "--n", "100000000", "--max-tokens", "9"])
        .args(["--output", "out.txt"])
        .spawn()
        .unwrap();
    while bench.read("out.txt").is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let answers = bench.read_text("out.txt");
    let n = answers.split("----------\n").count();
    assert!(answers.split("----------\n").all(|answer| answer.starts_with("3 birds") && answer.ends_with('\n')));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("stopped; wrote {n} answer")) && said.contains("to out.txt"), "{said}");
    // One that is not finished takes no other's place.
    let endless = ["--min-tokens", "1000000", "--max-tokens", "1000000", "--output", "out.txt"];
    let child = bench.command(&["generate", "--model", "run", "--prompt", "3 birds"]).args(endless).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("stopped before an answer was finished"), "{said}");
    assert_eq!(bench.read_text("out.txt"), answers);
}

/// The pipe in the place of the unfinished file takes only the beginning of it.
#[cfg(unix)]
#[test]
fn ctrl_c_leaves_no_unfinished_file() {
    let bench = tiny();
    // Of characters, a tokenizer does not go into such a file.
    let set = ["train.steps=2", "tokenizer.kind=bpe", "tokenizer.vocab_size=300"].map(|set| ["--set", set]);
    bench.run(&[&["train", "tiny.toml", "--run", "run"], set.as_flattened()].concat());
    std::fs::create_dir(bench.path("out")).unwrap();
    bench.write("out.part", "somebody else's");
    for (command, to, place, part) in [
        ("quantize", "f32", "out.gguf", "out.gguf.part"),
        ("export", "gguf", "out.gguf", "out.gguf.part"),
        ("export", "hf", "out", "out/model.safetensors.part"),
    ] {
        let end = if to == "hf" { "" } else { ".gguf" };
        bench.run(&[command, "--model", "run", "--to", to, &format!("{command}-{to}{end}")]);
        let made = std::process::Command::new("mkfifo").arg(bench.path(part)).status().unwrap();
        assert!(made.success());
        let child = bench.command(&[command, "--model", "run", "--to", to, place]).spawn().unwrap();
        let pipe = std::fs::File::open(bench.path(part)).unwrap();
        assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        drop(pipe);
        assert_eq!(output.status.code(), Some(130));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("stopped; nothing of {place} is left")), "{said}");
        assert!(!bench.path(part).exists() && !bench.path("out.gguf").exists());
    }
    assert_eq!(bench.read_text("out.part"), "somebody else's");
}

#[test]
fn answers_beyond_the_context_are_told_of() {
    let bench = trained();
    let said = |n: &str, more: &[&str]| {
        let output =
            bench.output(&[&["generate", "--model", "run", "--prompt", "3 birds", "--max-tokens", n], more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said("40", &[]).contains("older half was forgotten"));
    assert_eq!(said("40", &["--n", "2", "--json"]).matches("older half was forgotten").count(), 1);
    assert!(!said("20", &[]).contains("context"));
    assert!(!said("40", &["--beam", "2"]).contains("was forgotten"));
}

#[test]
fn a_model_can_be_looked_into() {
    let bench = trained();
    let logits = bench.json(&["logits", "--model", "run", "--tokens", "5,9,2", "--json"]);
    let shape: Vec<u64> = serde_json::from_value(logits["shape"].clone()).unwrap();
    assert_eq!(shape[shape.len() - 2], 3);
    assert_eq!(logits["logits"].as_array().unwrap().len() as u64, shape.iter().product::<u64>());
    let told = bench.run(&["inspect", "run"]);
    assert!(told.contains("Memory") && told.contains("chat template") && told.contains("(as stored)"), "{told}");
    assert_eq!(bench.run(&["inspect", "--model", "run"]), told);
    assert!(bench.json(&["inspect", "run", "--json"])["parameters"]["total"].as_u64().unwrap() > 1000);
    for file in ["a.svg", "a.html"] {
        bench.run(&["inspect", "attention", "--model", "run", "--prompt", "3 birds sat", "--output", file]);
        assert!(bench.read_text(file).contains("<svg"), "{file}");
    }
    bench.run(&["train", "tiny.toml", "--run", "other", "--set", "train.steps=20"]);
    bench.run(&["report", "run", "other", "--output", "report.html"]);
    let page = bench.read_text("report.html");
    assert!(page.contains("<svg") && !page.contains("src=\"http"), "one page that needs nothing else");
}

/// Whoever reads what a replay writes computes the loss that was logged.
#[test]
fn a_run_can_be_repeated_elsewhere() {
    let bench = tiny();
    let set = ["train.steps=2", "train.log_every=1", "train.dropout=0", "train.dtype=f32", "data.layout=contiguous"];
    let set = set.iter().flat_map(|set| ["--set", set]);
    bench.run(&["train", "tiny.toml", "--run", "run"].into_iter().chain(set).collect::<Vec<&str>>());
    bench.run(&["replay", "run", "--output", "replay"]);
    let lines = |file: &str| -> Vec<serde_json::Value> {
        bench.read_text(file).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let batches = lines("replay/batches.jsonl");
    assert_eq!(batches.len(), 2);
    let ids = |row: &serde_json::Value| serde_json::from_value::<Vec<usize>>(row.clone()).unwrap();
    let rows = batches[0]["tokens"].as_array().unwrap().iter().zip(batches[0]["targets"].as_array().unwrap());
    let mut nats = Vec::new();
    for (tokens, targets) in rows {
        let tokens: Vec<String> = ids(tokens).iter().map(usize::to_string).collect();
        let ask = ["logits", "--model", "replay/initial", "--tokens", &tokens.join(","), "--json"];
        let logits: Vec<f64> = serde_json::from_value(bench.json(&ask)["logits"].clone()).unwrap();
        let logits = logits.chunks(logits.len() / tokens.len());
        let loss = |(row, target): (&[f64], usize)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[target];
        nats.extend(logits.zip(ids(targets)).map(loss));
    }
    let (found, logged) = (nats.iter().sum::<f64>() / nats.len() as f64, number(&lines("run/log.jsonl")[0]["loss"]));
    assert!((found - logged).abs() < 1e-5, "{found}, and {logged} in the log");
}

#[test]
fn lines_are_translated_and_evaluated() {
    let bench = Bench::new();
    let source: String = (0..300).map(|i| format!("{} and {}\n", i % 10, i / 10 % 10)).collect();
    let target: String = (0..300).map(|i| format!("{} {}\n", i / 10 % 10, i % 10)).collect();
    bench.write("a.txt", source);
    bench.write("b.txt", target);
    bench.write(
        "swap.toml",
        "[data]\nkind = \"translation\"\nfiles = [\"a.txt\"]\ntarget_files = [\"b.txt\"]\n[tokenizer]\nkind = \"characters\"\n\
         [model]\npreset = \"t5\"\nn_layers = 1\nn_encoder_layers = 1\nn_heads = 2\nd_model = 32\ncontext_len = 16\n\
         [train]\nsteps = 150\nbatch_size = 32\nlearning_rate = 0.01\noptimizer = \"muon\"\n[generate]\nmax_tokens = 8\n",
    );
    bench.run(&["train", "swap.toml", "--run", "run"]);
    // What cannot be scored ends no run.
    bench.write("long.txt", "3 and 4 and 5 and 6\n");
    let aside =
        ["data.validation_files=[\"long.txt\"]", "data.validation_target_files=[\"long.txt\"]", "train.steps=1"];
    let set = aside.iter().flat_map(|value| ["--set", value]);
    let arguments: Vec<&str> = ["train", "swap.toml", "--run", "unscored"].into_iter().chain(set).collect();
    let said = bench.run(&arguments);
    assert!(said.contains("none of the documents that were kept aside (1) is within data.max_source_len"), "{said}");
    bench.write("ask.txt", "3 and 4\n8 and 1\n");
    let answers = bench.run(&["generate", "--model", "run", "--input", "ask.txt"]);
    assert_eq!(answers.lines().count(), 2);
    assert_eq!(bench.run(&["generate", "--model", "run", "--prompt", "3 and 4", "--beam", "3"]).lines().count(), 1);
    as_its_authors_want_it(&bench);
    let evaluate =
        ["evaluate", "--model", "run", "--task", "translation", "--file", "a.txt", "--target", "b.txt", "--json"];
    let report = bench.json(&evaluate);
    let figures = report.as_array().unwrap();
    assert_eq!(figures.len(), 4);
    assert!(figures[0]["signature"].as_str().unwrap().contains("tok:13a"), "{report}");
    let score = bench.json(&["score", "--model", "run", "--file", "a.txt", "--target", "b.txt", "--json"]);
    assert!(number(&score["nats_per_token"]) < 1.0, "{score}");
    let (asked, answered) = (bench.read_text("a.txt"), bench.read_text("b.txt"));
    let pair = |(a, b): (&str, &str)| format!("{}\n", serde_json::json!({ "prompt": a, "completion": b }));
    bench.write("pairs.jsonl", asked.lines().zip(answered.lines()).map(pair).collect::<String>());
    let pairs = ["score", "--model", "run", "--file", "pairs.jsonl", "--json"];
    assert_eq!(bench.json(&pairs), score);
    let named = [&pairs[..], &["--column", "prompt", "--target-column", "completion"]].concat();
    assert_eq!(bench.json(&named), score);
    bench.write("ask.txt", "3 and 4\n3 and 4 and 5 and 6\n");
    for command in [
        &["generate", "--input", "ask.txt"][..],
        &["evaluate", "--task", "translation", "--file", "ask.txt", "--target", "ask.txt"],
    ] {
        let message = bench.refusal(&[command, &["--model", "run"]].concat());
        assert!(message.contains("ask.txt, line 2: 20 tokens"), "{message}");
    }
}

/// Beams and samples of a model whose files ask for them, and options beside that.
fn as_its_authors_want_it(bench: &Bench) {
    let ask = |more: &[&str]| {
        let output = bench.output(&[&["generate", "--model", "run/model", "--prompt", "3 and 4"], more].concat());
        assert!(output.status.success(), "{more:?}: {output:?}");
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    bench.write("run/model/generation_config.json", r#"{ "num_beams": 2, "max_new_tokens": 8 }"#);
    let [_, said] = ask(&["--repetition-penalty", "1.5"]);
    assert!(said.contains("2 beams, repetition penalty 1.5"), "{said}");
    let measured = ["--json", "--logprobs", "2"];
    let refused =
        bench.refusal(&[&["generate", "--model", "run/model", "--prompt", "3 and 4"], &measured[..]].concat());
    assert!(refused.contains("--logprobs: without effect on beam search, and 2 beams"), "{refused}");
    let [greedy, _] = ask(&["--beam", "1"]);
    let [printed, said] = ask(&[&measured[..], &["--beam", "1"]].concat());
    let answer: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(answer["text"].as_str().unwrap().trim(), greedy.trim());
    assert!(said.contains("the most probable token each time"), "{said}");
    bench
        .write("run/model/generation_config.json", r#"{ "do_sample": true, "temperature": 0.7, "max_new_tokens": 8 }"#);
    let [_, said] = ask(&[]);
    assert!(said.contains("temperature 0.7, top-k 50, at most 8 tokens"), "{said}");
}

#[test]
fn a_checkpoint_is_a_model() {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=8"]);
    let greedy = |model: &str| bench.run(&["generate", "--model", model, "--prompt", "a", "--temperature", "0"]);
    assert_eq!(greedy("run/checkpoints/step-000008"), greedy("run"));
    assert_ne!(greedy("run/checkpoints/step-000004"), "");
}

#[test]
fn stories_told_are_counted() {
    let bench = tiny();
    let data = ["data.kind=stories", "data.n_examples=200", "train.steps=3", "generate.max_tokens=20"];
    let set = data.iter().flat_map(|set| ["--set", set]);
    bench.run(&["train", "tiny.toml", "--run", "run"].into_iter().chain(set).collect::<Vec<&str>>());
    let report = bench.json(&["evaluate", "--model", "run", "--task", "stories", "--n", "5", "--json"]);
    assert_eq!(report[0]["name"], "grammatical");
    assert_eq!((&report[0]["n"], number(&report[0]["value"])), (&5.into(), 0.0), "{report}");
    assert!(report[1]["value"].is_null(), "of no grammatical story none is new: {report}");
    let of_checkpoint =
        ["evaluate", "--model", "run/checkpoints/step-000003", "--task", "stories", "--n", "5", "--json"];
    assert_eq!(bench.json(&of_checkpoint), report);
    assert!(bench.json(&["inspect", "run/checkpoints/step-000003", "--json"])["memory_to_train_bytes"].is_number());
}

#[test]
fn data_alone_is_enough() {
    let bench = Bench::new();
    bench.write("birds.txt", text());
    let arguments = ["train", "--data", "birds.txt", "--minutes", "0.02", "--set", "train.steps=5"];
    let printed = bench.run(&arguments);
    assert!(printed.contains("less than 4 MiB of text"), "{printed}");
    assert!(bench.path("runs/birds/model/config.json").is_file());
}

/// A table with two columns is enough for a model that answers.
#[test]
fn columns_are_pairs() {
    let bench = Bench::new();
    let rows: String = (0..200).map(|i| format!("{} and {},{} {}\n", i % 10, i / 10, i / 10, i % 10)).collect();
    bench.write("pairs.csv", format!("question,answer\n{rows}"));
    let columns = ["--column", "question", "--target-column", "answer", "--minutes", "0.02", "--set", "train.steps=3"];
    let printed = bench.run(&[&["train", "--data", "pairs.csv"], &columns[..]].concat());
    assert!(printed.contains("a target column is given"), "{printed}");
    assert_eq!(bench.run(&["generate", "--model", "runs/pairs", "--prompt", "3 and 4"]).lines().count(), 1);
}

/// Compressed prompts are read as all other files are, and what the vocabulary lacks is said.
#[test]
fn prompts_come_from_any_file() {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=2", "--set", "data.layout=packed"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, b"a b").unwrap();
    bench.write("prompt.txt.gz", gzip.finish().unwrap());
    assert!(bench.run(&["generate", "--model", "run", "--input", "prompt.txt.gz"]).starts_with("a b"));
    let output = bench.output(&["generate", "--model", "run", "--prompt", "\u{65e5}\u{672c} a"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("2 of 5 tokens are unknown"), "{output:?}");
}

#[test]
fn every_command_shows_an_example() {
    let bench = Bench::new();
    let help = bench.run(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 11, "{commands:?}");
    for command in commands {
        let help = bench.run(&[command, "--help"]);
        for part in ["Example", "--json", "--threads"] {
            assert!(help.contains(part), "genera {command} --help has no {part}");
        }
    }
}

#[test]
fn the_checks_of_this_machine_are_green() {
    let bench = Bench::new();
    let printed = bench.run(&["check", "--quick"]);
    assert!(printed.contains("ok") && !printed.contains("FAILED"), "{printed}");
}
