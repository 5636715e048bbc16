//! The same run gives the same weights, bit for bit: on one thread and on two, and however often it was killed.

mod common;

use common::{Bench, tiny};
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

const WEIGHTS: &str = "model/model.safetensors";

fn weights(bench: &Bench, run: &str) -> Vec<u8> {
    bench.read(&format!("{run}/{WEIGHTS}"))
}

#[test]
fn one_thread_and_two_give_the_same_weights() {
    let bench = tiny();
    for (run, threads) in [("one", "1"), ("two", "2")] {
        bench.run(&["train", "tiny.toml", "--run", run, "--threads", threads]);
    }
    assert!(weights(&bench, "one") == weights(&bench, "two"), "the weights depend on the number of threads");
    bench.run(&["train", "tiny.toml", "--run", "other", "--set", "train.seed=2"]);
    assert!(weights(&bench, "one") != weights(&bench, "other"), "the seed changes nothing");
}

#[test]
fn a_run_killed_twenty_times_ends_with_the_same_weights() {
    let (bench, arguments) = (tiny(), ["train", "tiny.toml"]);
    let started = Instant::now();
    bench.run(&[&arguments[..], &["--run", "whole"]].concat());
    let whole = started.elapsed();
    // Moments spread over the whole length of a sitting, in an order without a pattern.
    for i in 0..20_u32 {
        let mut child = bench.command(&bench.next_sitting(&arguments)).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(f64::from(i * 7 % 20 + 1) / 24.0).max(Duration::from_millis(1)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    bench.run(&bench.next_sitting(&arguments));
    assert!(weights(&bench, "whole") == weights(&bench, "killed"), "a killed run ends with other weights");
    // The log has every row once, as if nothing had happened.
    let steps = |run: &str| -> Vec<u64> {
        let rows = bench.read_text(&format!("{run}/log.jsonl"));
        let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap();
        rows.lines().map(row).collect()
    };
    assert_eq!(steps("whole"), steps("killed"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let bench = tiny();
    let mut arguments = vec!["train", "tiny.toml", "--run", "run", "--set", "train.steps=1000000"];
    arguments.extend(["--set", "train.checkpoint_every=1000000", "--set", "train.validate_every=1000000"]);
    let child = bench.command(&arguments).spawn().unwrap();
    while !bench.path("run/log.jsonl").exists() || bench.read("run/log.jsonl").is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("genera resume run"), "{printed}");
    assert_eq!(common::names(&bench.path("run/checkpoints")).len(), 1);
}

/// As those of `head` and of a pager that is quit.
#[cfg(unix)]
#[test]
fn a_run_outlives_the_readers_of_its_output() {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "whole"]);
    for (run, has_error) in [("output", true), ("both", false)] {
        let mut child = bench.command(&["train", "tiny.toml", "--run", run]).spawn().unwrap();
        let mut first = String::new();
        // The reader goes with the end of the statement.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        child.stderr = child.stderr.take().filter(|_| has_error);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && !first.is_empty(), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error.matches("what is printed is lost, the run is not").count(), usize::from(has_error), "{error}");
        assert!(weights(&bench, "whole") == weights(&bench, run), "{run}");
    }
    // What only prints ends quietly.
    let mut child = bench.command(&["inspect", "whole"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
