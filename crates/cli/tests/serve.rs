//! `genera serve` as a program: it starts, answers, and ends when it is told to, with a last word to every open stream.

mod common;

use common::{Bench, tiny};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};

fn trained() -> Bench {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=20"]);
    bench
}

/// Starts the program and gives it with the address that it names.
fn served(bench: &Bench, more: &[&str]) -> (Child, String) {
    let arguments = [&["serve", "--model", "tiny=run", "--port", "0", "--json"], more].concat();
    let mut child = bench.command(&arguments).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    (child, told["address"].as_str().unwrap().trim_start_matches("http://").to_owned())
}

fn asked(address: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    stream
}

#[test]
#[cfg(unix)]
fn a_signal_ends_every_stream_with_a_last_word() {
    let bench = trained();
    let (mut child, address) = served(&bench, &["--drain-seconds", "0"]);
    let body = r#"{"prompt": "3 birds", "max_tokens": 100000, "n": 100, "stream": true}"#;
    let mut streams: Vec<TcpStream> = (0..10).map(|_| asked(&address, body)).collect();
    for stream in &mut streams {
        stream.read_exact(&mut [0; 12]).unwrap();
    }
    let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    for mut stream in streams {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("data: [DONE]"), "{text:.300}");
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Weights are read and not mapped: what happens to the files is of no consequence.
#[test]
fn a_model_whose_files_vanish_is_served_on() {
    let bench = trained();
    let (mut child, address) = served(&bench, &[]);
    let ask = || {
        let mut text = String::new();
        let body = r#"{"prompt": "3 birds", "seed": 1, "max_tokens": 10}"#;
        asked(&address, body).read_to_string(&mut text).unwrap();
        let (_, answer) = text.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<serde_json::Value>(answer).unwrap()["choices"].clone()
    };
    let before = ask();
    std::fs::remove_dir_all(bench.path("run")).unwrap();
    assert_eq!(ask(), before);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let bench = Bench::new();
    let check = |arguments: &[&str], expect: &str| {
        let error = bench.refusal(&[&["serve"], arguments].concat());
        assert!(error.contains(expect), "{error}");
    };
    check(&["--model", "nowhere", "--port", "0"], "does not exist");
    check(&["--model", "a=x", "--model", "a=y", "--port", "0"], "two models are called a");
    check(&["--model", "x", "--model", "y", "--adapter", "z"], "--adapter is for a single --model");
    check(&["--model", "x", "--host", "0.0.0.0", "--port", "0"], "--api-key-file");
    bench.write("x.gguf", "");
    check(&["--model", "x.gguf", "--port", "0", "--cache-memory", "1073741824"], "keys and values");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    check(&["--model", "x", "--port", &port], "is in use");
}
