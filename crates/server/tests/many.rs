//! Many clients at once: good, slow, and gone.

mod common;

use common::{get, post, raw, receive, send, server};
use serde_json::{Value, json};
use std::io::Read;
use std::time::{Duration, Instant};

const CHAT: &str = "/v1/chat/completions";

fn ask(seed: usize, more: Value) -> Value {
    let content = format!("question {} of many", seed % 7);
    let mut body = json!({
        "messages": [{ "role": "user", "content": content }], "seed": seed, "max_tokens": 5 + seed % 30,
        "temperature": 1.0, "logprobs": true,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn an_answer_is_the_same_alone_and_among_others() {
    let alone: Vec<Value> = (0..64).map(|seed| post(CHAT, &ask(seed, json!({}))).json()["choices"].clone()).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|seed| scope.spawn(move || post(CHAT, &ask(seed, json!({}))).json()["choices"].clone()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (seed, (alone, together)) in alone.iter().zip(&together).enumerate() {
        assert_eq!(alone, together, "seed {seed}");
    }
}

#[test]
fn every_stream_ends_as_it_should() {
    std::thread::scope(|scope| {
        for seed in 0..100 {
            scope.spawn(move || {
                let more = json!({ "stream": true, "stream_options": { "include_usage": true }, "logit_bias": { "258": -100 } });
                let events = post(CHAT, &ask(seed, more)).events();
                let ends = events.iter().filter(|event| event["choices"][0]["finish_reason"].is_string()).count();
                assert_eq!(ends, 1);
                assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 5 + seed % 30);
            });
        }
    });
}

/// Waits until nothing is in progress.
fn wait_until_idle() {
    let start = Instant::now();
    let is_idle = || {
        let metrics = get("/metrics").body;
        ["running", "waiting"]
            .iter()
            .all(|what| metrics.contains(&format!("num_requests_{what}{{model_name=\"tiny\"}} 0\n")))
    };
    while !is_idle() {
        assert!(start.elapsed() < Duration::from_secs(60), "answers go on although nobody waits for them");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_hangs_up_leaves_nothing_behind() {
    let neighbour = std::thread::spawn(|| post(CHAT, &ask(29, json!({}))).json()["choices"].clone());
    for i in 0..60 {
        let more = json!({ "stream": i % 2 == 0, "max_tokens": 400, "logit_bias": { "258": -100 }, "n": 3 });
        let mut stream = send(server(), CHAT, &ask(i, more).to_string());
        if i % 3 == 0 {
            let mut some = [0; 200];
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let _ = stream.read(&mut some);
        }
    }
    let beside = neighbour.join().unwrap();
    wait_until_idle();
    assert_eq!(beside, post(CHAT, &ask(29, json!({}))).json()["choices"], "a neighbour's answer changed");
}

#[test]
fn slow_clients_hold_nobody_up() {
    let address = server();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n"
    );
    let slow_heads: Vec<_> = (0..200).map(|_| raw(address, &head[..40])).collect();
    let slow_bodies: Vec<_> = (0..100).map(|_| raw(address, &format!("{head}\r\n{{"))).collect();
    let readers: Vec<_> = (0..20)
        .map(|i| send(address, CHAT, &ask(i, json!({ "stream": true, "max_tokens": 100 })).to_string()))
        .collect();
    let start = Instant::now();
    let answer = post(CHAT, &ask(1, json!({ "max_tokens": 2 })));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    for reader in readers {
        assert!(receive(reader).body.ends_with("data: [DONE]\n\n"));
    }
    drop((slow_heads, slow_bodies));
}
