//! Bad input gets an error that says what happened and what to do, and nothing is lost.

mod common;

use common::{Bench, TINY, names, text, tiny};
use std::time::Duration;

/// Each of `parts` must be in the message.
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in: {message}");
    }
}

fn train_says(bench: &Bench, set: &[&str], parts: &[&str]) {
    let mut arguments = vec!["train", "tiny.toml", "--run", "refused"];
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    assert_says(&bench.refusal(&arguments), parts);
    assert!(!bench.path("refused").exists(), "a refused run leaves its directory behind");
}

#[test]
fn files_that_cannot_be_read() {
    let bench = tiny();
    bench.write("empty.txt", "");
    bench.write("binary.txt", b"plain at first \0\x01\x02");
    bench.write("latin1.txt", b"caf\xe9 au lait");
    let json = |text: &str, parts: &[&str]| {
        bench.write("data.json", text);
        train_says(&bench, &["data.files=[\"data.json\"]"], &[&["data.json"], parts].concat());
    };
    json("{\"text\": \"a\"}\n{\"text\": \"b\"}\n", &["one array of objects", "name it .jsonl", "jq", ".txt"]);
    json("[{\"text\": \"a\"},\n{\"text\": \"b\"},\n3]", &["element 3 (line 3)", "is a number; expected an object"]);
    json("[{\"text\": \"a\"},\n{\"text\": \"b\"", &["within element 2 (line 2)", "cut short"]);
    json("[]", &["no document"]);
    train_says(&bench, &["data.files=[\"none.txt\"]"], &["none.txt", "does not exist"]);
    train_says(&bench, &["data.files=[\"empty.txt\"]"], &["empty.txt", "no data"]);
    train_says(&bench, &["data.files=[\"binary.txt\"]"], &["binary.txt", "byte 15"]);
    train_says(&bench, &["data.files=[\"latin1.txt\"]"], &["latin1.txt", "offset 3"]);
}

#[test]
fn aligned_files_of_different_length() {
    let bench = Bench::new();
    bench.write("a.txt", "one\ntwo\nthree\n");
    bench.write("b.txt", "eins\nzwei\n");
    let message = bench.refusal(&["train", "--data", "a.txt", "--target", "b.txt", "--run", "refused"]);
    assert_says(&message, &["a.txt", "3", "b.txt", "2"]);
    assert!(!bench.path("refused").exists());
}

#[test]
fn what_diverged_is_not_called_good() {
    let bench = tiny();
    let set = ["train.learning_rate=1e12", "train.warmup_steps=0", "train.ema_decay=0", "train.validate_every=1"];
    let mut arguments = vec!["train", "tiny.toml", "--run", "run"];
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    assert_says(&bench.refusal(&arguments), &["diverged", "train.learning_rate", "no checkpoint was written yet"]);
    bench.run(&["train", "tiny.toml", "--run", "good", "--set", "train.steps=2"]);
    let mut weights = bench.read("good/model/model.safetensors");
    let n_header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    weights[8 + n_header..].fill(0xff);
    bench.write("good/model/model.safetensors", weights);
    for more in [&["--prompt", "3"][..], &["--json"]] {
        let arguments = [&["generate", "--model", "good/model"], more].concat();
        assert_says(&bench.refusal(&arguments), &["not finite", "diverged"]);
    }
    // What was shown of the prompt ends with its line.
    let output = bench.output(&["generate", "--model", "good/model", "--prompt", "3 birds"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "3 birds\n");
}

#[test]
fn recipes_with_mistakes() {
    let bench = tiny();
    train_says(&bench, &["train.learnin_rate=0.1"], &["learnin_rate", "learning_rate"]);
    train_says(&bench, &["train.steps=many"], &["train.steps", "many"]);
    train_says(&bench, &["model.n_heads=5"], &["32", "5"]);
    train_says(&bench, &["train.recomputed_blocks=3"], &["train.recomputed_blocks is 3", "has 2 blocks"]);
    train_says(&bench, &["train.accumulate=9223372036854775807"], &["train.accumulate is", "at most 65536"]);
    train_says(&bench, &["train.batch_size=9223372036854775807"], &["train.batch_size is", "at most 134217728"]);
    train_says(&bench, &["train.steps"], &["="]);
    bench.write("typo.toml", TINY.replace("n_layers", "n_layer"));
    assert_says(&bench.refusal(&["train", "typo.toml"]), &["typo.toml", "n_layer", "n_layers"]);
    bench.write("broken.toml", "[data\nkind = 3");
    assert_says(&bench.refusal(&["train", "broken.toml"]), &["broken.toml", "line 1"]);
    assert_says(&bench.refusal(&["train", "nowhere.toml"]), &["nowhere.toml"]);
}

#[test]
fn instructions_that_the_processor_lacks() {
    let bench = tiny();
    for name in ["avx1024", "AVX2"] {
        let output = bench.command(&["inspect", "tiny.toml"]).env("GENERA_ISA", name).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert_says(&message, &[&format!("genera: GENERA_ISA is `{name}`"), "portable", "unset it"]);
        assert!(!message.contains("panicked"), "{message}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn more_memory_than_there_is() {
    let bench = tiny();
    let parts = ["this run needs", "are available", "activations", "train.batch_size"];
    train_says(&bench, &["model.d_model=8192", "model.n_layers=96", "train.batch_size=4096"], &parts);
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run"]);
    let checkpoints = bench.path("run/checkpoints");
    let last = checkpoints.join(names(&checkpoints).last().unwrap()).join("model.safetensors");
    let mut bytes = std::fs::read(&last).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&last, &bytes).unwrap();
    let output = bench.output(&["generate", "--model", "run", "--prompt", "3 "]);
    assert!(output.status.success());
    let warned = String::from_utf8(output.stderr).unwrap();
    assert_says(&warned, &["step-000060", "SHA-256"]);
    std::fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let before = bench.read("run/model/model.safetensors");
    let output = bench.output(&["resume", "run"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(before == bench.read("run/model/model.safetensors"), "the way from the checkpoint before ends elsewhere");
}

#[test]
fn damaged_data_is_noticed() {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=4"]);
    let shard = bench.path("run/data/train.shard");
    let mut bytes = std::fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&shard, &bytes).unwrap();
    let output = bench.output(&["resume", "run"]);
    assert!(output.status.success());
    assert_says(&String::from_utf8_lossy(&output.stderr), &["train.shard", "checksum", "prepared again"]);
    // The same data again: nothing more to say.
    assert!(bench.output(&["resume", "run"]).stderr.is_empty());
    std::fs::write(&shard, &bytes[..middle]).unwrap();
    bench.write("birds.txt", text() + "A wren.");
    assert_says(&bench.refusal(&["resume", "run"]), &["no longer those", "genera train"]);
}

#[test]
fn a_directory_with_other_files_is_left_alone() {
    let bench = tiny();
    std::fs::create_dir(bench.path("data")).unwrap();
    bench.write("data/poems.txt", text());
    assert_says(&bench.refusal(&["train", "tiny.toml", "--run", "."]), &["holds other files", "--run"]);
    let alone = bench.path("project");
    std::fs::create_dir_all(alone.join("data")).unwrap();
    std::fs::write(alone.join("data/poems.txt"), "a").unwrap();
    assert_says(&bench.refusal(&["train", "tiny.toml", "--run", "project"]), &["holds other files"]);
    assert_eq!(names(&alone), ["data"]);
    assert_eq!(names(&bench.path("data")), ["poems.txt"]);
}

/// What a killed preparation leaves is used or cleared away by the next.
#[test]
fn a_preparation_that_was_cut_off_is_taken_up() {
    let bench = tiny();
    std::fs::create_dir_all(bench.path("run/data")).unwrap();
    bench.write("run/lock", "1");
    bench.write("run/recipe.toml.77.tmp", "half");
    bench.write("run/data/train.shard.77.tmp", "half");
    bench.write("run/data/train.shard.77.spans", "half");
    bench.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=2"]);
    for directory in ["run", "run/data"] {
        assert!(names(&bench.path(directory)).iter().all(|name| !name.contains(".77.")));
    }
}

#[test]
fn models_that_cannot_learn_the_data() {
    let bench = tiny();
    train_says(&bench, &["model.preset=t5"], &["t5", "no pairs", "gpt2 or llama"]);
    train_says(&bench, &["model.preset=bert"], &["bert", "encoder"]);
    train_says(&bench, &["data.validation_fraction=1"], &["fraction is 1; expected at least 0", "less than 1"]);
    train_says(&bench, &["data.layout=padded"], &["data.layout", "contiguous or packed"]);
    train_says(&bench, &["data.kind=copy"], &["llama", "pairs", "t5"]);
    let copy = ["data.kind=copy", "model.preset=marian", "data.max_source_len=99"];
    train_says(&bench, &copy, &["data.max_source_len", "99", "model.context_len", "32"]);
}

#[test]
fn a_run_without_a_step_has_no_report() {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=2"]);
    let log = bench.read_text("run/log.jsonl");
    let validation: Vec<&str> = log.lines().filter(|line| line.contains("validation_loss")).collect();
    bench.write("run/log.jsonl", validation.join("\n") + "\n");
    assert_says(&bench.refusal(&["report", "run", "--output", "a.html"]), &["no logged step"]);
}

/// An output file is not touched before the input is known to be readable.
#[test]
fn outputs_outlive_mistakes() {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=2"]);
    bench.write("precious.txt", "gold");
    let generate = ["generate", "--model", "run", "--output", "precious.txt", "--input"];
    assert_says(&bench.refusal(&[&generate[..], &["typo.txt"]].concat()), &["typo.txt"]);
    assert_says(&bench.refusal(&[&generate[..], &["./precious.txt"]].concat()), &["both", "precious.txt"]);
    assert_eq!(bench.read_text("precious.txt"), "gold");
    assert_says(&bench.refusal(&["generate", "--model", "run", "--beam", "2", "--top-k", "3"]), &["--beam", "--top-k"]);
    assert_says(&bench.refusal(&["generate", "--model", "run", "--logprobs", "3"]), &["--json"]);
    let greedy = ["generate", "--model", "run", "--n", "3", "--temperature", "0"];
    assert_says(&bench.refusal(&greedy), &["same answer", "--beam"]);
    assert_says(&bench.refusal(&["generate", "--model", "run", "--length-penalty", "2"]), &["--beam B"]);
    assert_says(&bench.refusal(&["generate", "--model", "run", "--stop", ""]), &["--stop"]);
    assert_says(&bench.refusal(&["generate", "--model", "run", "--output", "none/x"]), &["no directory none"]);
    assert_says(&bench.refusal(&["logits", "--model", "run", "--tokens", "5, x"]), &["'x' is no token id"]);
    bench.run(&["logits", "--model", "run", "--tokens", "5, 9"]);
    std::fs::remove_file(bench.path("run/model/tokenizer.json")).unwrap();
    assert_says(&bench.refusal(&["generate", "--model", "run/model"]), &["run/model: the model has no tokenizer"]);
    assert_says(&bench.refusal(&["report", "run", "--output", "precious.txt"]), &["precious.txt", ".html"]);
    assert_says(&bench.refusal(&["evaluate", "--model", "run", "--task", "stories"]), &["text", "stories"]);
    assert_eq!(bench.read_text("precious.txt"), "gold");
}

/// What cannot be heeded is refused, not ignored.
#[test]
fn options_of_the_other_way_to_train() {
    let bench = tiny();
    for option in [["--minutes", "3"], ["--preset", "t5"], ["--target", "b.txt"]] {
        assert_says(&bench.refusal(&[&["train", "tiny.toml"], &option[..]].concat()), &[option[0], "cannot be used"]);
    }
    assert_says(&bench.refusal(&["train", "--data", "birds.txt", "--minutes", "-1"]), &["-1", "not a time"]);
    bench.write("one.txt", "hello");
    assert_says(&bench.refusal(&["train", "--data", "one.txt"]), &["more data"]);
    assert!(!bench.path("runs/one").exists());
}

/// A model or seed cannot change in the middle of a run.
#[test]
fn a_run_goes_on_as_it_began() {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=4"]);
    let recipe = bench.read_text("run/recipe.toml").replace("train.steps=4", "");
    bench.write(
        "run/recipe.toml",
        recipe.replace("\nn_layers = 2", "\nn_layers = 3").replace("\nsteps = 4", "\nsteps = 8"),
    );
    assert_says(&bench.refusal(&["resume", "run"]), &["another model or seed", "step-000004"]);
    let endless = recipe.replace("\nsteps = 4", "\nsteps = 4000000000000");
    bench.write("run/recipe.toml", endless.replace("\nkeep_last = 2", "\nkeep_last = 1000000000000"));
    let disk = ["are to be written, but only", "write fewer of its checkpoints, each"];
    if cfg!(unix) {
        assert_says(&bench.refusal(&["resume", "run"]), &disk);
        train_says(&bench, &["train.steps=4000000000000", "train.keep_last=1000000000000"], &disk);
    }
    bench.write("run/recipe.toml", recipe.replace("\nsteps = 4", "\nsteps = 8"));
    let resumed = bench.run(&["resume", "run"]);
    assert_says(&resumed, &["going on after step 4 of 8", "Trained"]);
    // As after a kill between the last checkpoint and the export.
    std::fs::remove_dir_all(bench.path("run/model")).unwrap();
    let complete = bench.run(&["resume", "run"]);
    assert!(complete.contains("complete: all its 8 steps") && !complete.contains("going on"), "{complete}");
    assert!(bench.path("run/model/model.safetensors").is_file());
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let bench = tiny();
    let set = ["--set", "train.learning_rate=1e30", "--set", "train.clip=0", "--set", "train.warmup_steps=0"];
    let message =
        bench.refusal(&[&["train", "tiny.toml", "--run", "run", "--set", "train.optimizer=sgd"], &set[..]].concat());
    assert_says(&message, &["step", "learning_rate", "checkpoint"]);
}

#[test]
fn a_directory_is_one_run_and_one_process() {
    let bench = tiny();
    let long = ["train", "tiny.toml", "--run", "run", "--set", "train.steps=1000000"];
    let mut child = bench.command(&long).stdout(std::process::Stdio::null()).spawn().unwrap();
    while !bench.path("run/log.jsonl").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let message = bench.refusal(&["resume", "run"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_says(&message, &["run", "is training in this run directory"]);
    assert_says(&bench.refusal(&["train", "tiny.toml", "--run", "run"]), &["genera resume run"]);
}

#[test]
fn prompts_and_models_that_do_not_fit() {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=2"]);
    let long = text();
    assert_says(&bench.refusal(&["generate", "--model", "run", "--prompt", &long]), &["32", "context"]);
    assert_says(&bench.refusal(&["generate", "--model", "run", "--prompt", "Ω"]), &["Ω"]);
    assert_says(&bench.refusal(&["generate", "--model", "nowhere"]), &["nowhere", "does not exist"]);
    assert_says(&bench.refusal(&["logits", "--model", "run", "--tokens", "5,9999"]), &["9999"]);
    let endless = ["optimize", "--model", "run", "--objective-command", "cat", "--output", "better"];
    assert_says(&bench.refusal(&endless), &["no token that ends an answer", "separate documents"]);
    assert_says(&bench.refusal(&["score", "--model", "run", "--file", "none.txt"]), &["none.txt"]);
    let task = ["evaluate", "--model", "run", "--task", "copy"];
    assert_says(&bench.refusal(&task), &["sequence-to-sequence"]);
    assert_says(&bench.refusal(&["resume", "nowhere"]), &["nowhere", "genera train"]);
}
