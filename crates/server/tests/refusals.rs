//! What is refused, and how.

mod common;

use common::{CONTEXT_LEN, post, raw, receive, send, server, start};
use genera_server::Settings;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CHAT: &str = "/v1/chat/completions";

fn refused(path: &str, body: &Value, status: u16, param: Option<&str>, expect: &str) {
    let answer = post(path, body);
    assert_eq!(answer.status, status, "{body}: {answer:?}");
    let error = &answer.json()["error"];
    assert_eq!(error["param"].as_str(), param, "{body}: {error}");
    assert!(error["message"].as_str().unwrap().contains(expect), "{body}: {error}");
    assert!(error["type"].is_string() && error.get("code").is_some());
}

fn chat(more: Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": "hello" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn every_field_that_is_wrong_is_named() {
    let check = |more: Value, param: &str, expect: &str| refused(CHAT, &chat(more), 400, Some(param), expect);
    check(json!({ "surprise": 1 }), "surprise", "no field");
    check(json!({ "user": "me" }), "user", "no effect");
    check(json!({ "temperature": 3 }), "temperature", "from 0 to 2");
    check(json!({ "temperature": "hot" }), "temperature", "expected f64");
    check(json!({ "temperature": 1e300 }), "temperature", "from 0 to 2");
    check(json!({ "top_p": -1 }), "top_p", "from 0 to 1");
    check(json!({ "n": 0 }), "n", "from 1 to 128");
    check(json!({ "n": 1_000_000_000 }), "n", "from 1 to 128");
    check(json!({ "n": -1 }), "n", "expected u64");
    check(json!({ "max_tokens": 0 }), "max_tokens", "from 1");
    check(json!({ "max_tokens": 1, "max_completion_tokens": 1 }), "max_tokens", "two names");
    check(json!({ "top_logprobs": 2 }), "top_logprobs", "`logprobs`: true");
    check(json!({ "logprobs": true, "top_logprobs": 21 }), "top_logprobs", "from 0 to 20");
    check(json!({ "stop": [""] }), "stop", "empty");
    check(json!({ "stop": vec!["x"; 17] }), "stop", "at most 16");
    check(json!({ "logit_bias": { "999": 1 } }), "logit_bias", "there are 0 to 258");
    check(json!({ "logit_bias": { "x": 1 } }), "logit_bias", "no token x");
    check(json!({ "stream_options": {} }), "stream_options", "`stream`: true");
    check(json!({ "messages": [] }), "messages", "empty");
    check(json!({ "messages": [{ "role": "king", "content": "x" }] }), "messages[0].role", "unknown variant `king`");
    check(json!({ "messages": [{ "role": "user" }] }), "messages[0].content", "missing");
    check(
        json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
        "messages[0].content[0].type",
        "image_url",
    );
    check(json!({ "tool_choice": "auto" }), "tool_choice", "without `tools`");
    check(
        json!({ "tools": [{ "type": "function", "function": { "name": "a b" } }] }),
        "tools[0].function.name",
        "letters",
    );
    check(
        json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": { "type": "nonsense" } } } }),
        "response_format.json_schema.schema",
        "cannot be kept to",
    );
    check(json!({ "structured_outputs": { "regex": "(" } }), "structured_outputs.regex", "cannot be kept to");
    let named = json!({ "role": "user", "name": "Ann", "content": "x" });
    check(json!({ "messages": [named] }), "messages[0].name", "has no effect");
    let tool = json!({ "type": "function", "function": { "name": "f" } });
    let choice = json!({ "type": "function", "function": { "name": "f", "mode": "fast" } });
    check(json!({ "tools": [tool], "tool_choice": choice }), "tool_choice", "expected");
    let tokens = json!({ "prompt": [[999_999]], "stream": true });
    refused("/v1/completions", &tokens, 400, Some("prompt"), "999999");
    let block = json!({ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } });
    let cached = json!({ "max_tokens": 5, "messages": [{ "role": "user", "content": [block] }] });
    let answer = post("/v1/messages", &cached);
    assert!(answer.status == 400 && answer.body.contains("cache_control"), "{answer:?}");
    refused(CHAT, &json!({}), 400, None, "missing field `messages`");
    refused(CHAT, &chat(json!({ "model": "other" })), 404, Some("model"), "there is tiny");
    refused("/v1/embeddings", &json!({ "input": [] }), 400, Some("input"), "empty");
    refused("/v1/embeddings", &json!({ "input": "x", "dimensions": 3 }), 400, Some("dimensions"), "16 numbers");
    refused("/v1/nothing", &json!({}), 404, None, "no such route");
    refused("/v1/models", &json!({}), 405, None, "with GET");
}

#[test]
fn a_prompt_beyond_the_context_is_refused_with_both_counts() {
    let long = "x".repeat(CONTEXT_LEN);
    let n = CONTEXT_LEN + "<s>".len() + "user:".len();
    let message = json!({ "messages": [{ "role": "user", "content": long }] });
    let answer = post(CHAT, &message).json();
    let text = answer["error"]["message"].as_str().unwrap().to_owned();
    assert!(text.contains(&CONTEXT_LEN.to_string()), "{text}");
    assert!((n..n + 20).any(|n| text.contains(&n.to_string())), "{text}");
    assert_eq!(answer["error"]["code"], "context_length_exceeded");
    let huge = json!({ "messages": [{ "role": "user", "content": "<s>".repeat(1_000_000) }] });
    let start = Instant::now();
    let answer = post(CHAT, &huge);
    assert!(answer.status == 400 && answer.body.contains("3000000 bytes"), "{}", answer.status);
    assert!(start.elapsed() < Duration::from_secs(20), "work is not spent on what cannot fit");
}

/// Clients that announce much and send little hold no more than they send.
#[test]
fn slow_large_bodies_leave_room_for_others() {
    let address = server();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: 4194304\r\n\r\n{{"
    );
    let slow: Vec<_> = (0..40).map(|_| raw(address, &head)).collect();
    assert_eq!(post(CHAT, &chat(json!({ "max_tokens": 1 }))).status, 200);
    drop(slow);
}

#[test]
fn what_is_no_request_is_refused() {
    let address = server();
    let status =
        |head: &str, body: &str| receive(raw(address, &format!("{head}\r\nconnection: close\r\n\r\n{body}"))).status;
    let post = format!("POST {CHAT} HTTP/1.1\r\nhost: {address}");
    assert_eq!(status(&format!("{post}\r\ncontent-type: application/json\r\ncontent-length: 1"), "{"), 400);
    assert_eq!(status(&format!("{post}\r\ncontent-type: text/plain\r\ncontent-length: 2"), "{}"), 415);
    assert_eq!(status(&format!("{post}\r\ncontent-type: application/json\r\ncontent-length: 99999999"), ""), 413);
    assert_eq!(status(&format!("POST {CHAT} HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 0"), ""), 403);
    assert_eq!(status(&format!("{post}\r\norigin: https://evil.example\r\ncontent-length: 0"), ""), 403);
    assert_eq!(
        status(&format!("GET /v1/models HTTP/1.1\r\nhost: {address}\r\nx-long: {}", "x".repeat(40_000)), ""),
        431
    );
}

#[test]
fn a_key_is_asked_for() {
    let mut settings = Settings::new(([127, 0, 0, 1], 0).into());
    settings.keys.push("a-key-of-sixteen!".to_owned());
    let address = start(settings);
    let status = |head: &str| {
        receive(raw(address, &format!("GET {head}\r\nhost: {address}\r\nconnection: close\r\n\r\n"))).status
    };
    assert_eq!(status("/v1/models HTTP/1.1"), 401);
    assert_eq!(status("/v1/models HTTP/1.1\r\nauthorization: Bearer nonsense"), 401);
    assert_eq!(status("/v1/models HTTP/1.1\r\nauthorization: Bearer a-key-of-sixteen!"), 200);
    assert_eq!(status("/v1/models HTTP/1.1\r\nx-api-key: a-key-of-sixteen!"), 200);
    assert_eq!(status("/health/live HTTP/1.1"), 200);
    assert_eq!(status("/metrics HTTP/1.1"), 401);
}

#[test]
fn too_many_at_once_are_refused_at_once() {
    let settings = Settings { n_running: 1, n_waiting: 1, ..Settings::new(([127, 0, 0, 1], 0).into()) };
    let address = start(settings);
    let body = chat(json!({ "n": 3 })).to_string();
    let answer = receive(send(address, CHAT, &body));
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(answer.head.to_lowercase().contains("retry-after"), "{}", answer.head);
}

#[test]
fn strangers_are_not_let_in_by_mistake() {
    let open = Settings::new(([0, 0, 0, 0], 0).into());
    assert!(genera_server::bind(&open).unwrap_err().to_string().contains("--api-key-file"));
    let first = genera_server::bind(&Settings::new(([127, 0, 0, 1], 0).into())).unwrap();
    let taken = Settings::new(first.local_addr().unwrap());
    assert!(genera_server::bind(&taken).unwrap_err().to_string().contains("is in use"));
}

/// A short form of the requests that `cargo xtask soak` sends for hours.
#[test]
fn damaged_requests_change_nothing() {
    let good = chat(json!({
        "seed": 1, "max_tokens": 3, "temperature": 0.5, "stop": ["x"], "logit_bias": { "5": 1 }, "logprobs": true,
        "response_format": { "type": "json_object" }, "tools": [],
    }))
    .to_string();
    let before = post(CHAT, &chat(json!({ "seed": 5, "max_tokens": 5 }))).json()["choices"].clone();
    let mut state = 1_u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    const PIECES: &[&str] =
        &["{", "}", "[", "]", "\"", "null", "-1", "1e999", "\\u0000", "\\ud800", "\u{0}", "[[[[[[", ",", ":"];
    for _ in 0..300 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(128) as u8,
                1 => drop(bytes.drain(at..(at + random(9)).min(bytes.len()))),
                _ => drop(bytes.splice(at..at, PIECES[random(PIECES.len())].bytes())),
            }
        }
        let answer = receive(send(server(), CHAT, &String::from_utf8_lossy(&bytes)));
        assert!(matches!(answer.status, 200 | 400 | 404), "{answer:?} for {}", String::from_utf8_lossy(&bytes));
    }
    assert_eq!(post(CHAT, &chat(json!({ "seed": 5, "max_tokens": 5 }))).json()["choices"], before);
}
