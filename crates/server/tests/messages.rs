//! Anthropic's interface: `POST /v1/messages`.

mod common;

use common::{get, post, receive, send, server};
use serde_json::{Value, json};

const MESSAGES: &str = "/v1/messages";

fn ask(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "max_tokens": 12, "temperature": 0, "messages": [{ "role": "user", "content": "hello" }],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The events of a stream, each by its name, which its data repeats.
fn events(body: &Value) -> Vec<Value> {
    let answer = post(MESSAGES, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let blocks = answer.body.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| {
            let (name, data) = block.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
            data
        })
        .collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[test]
fn a_message_is_answered_whole_and_as_a_stream() {
    let whole = post(MESSAGES, &ask(json!({ "system": "Be brief." }))).json();
    assert_eq!((whole["type"].as_str(), whole["role"].as_str()), (Some("message"), Some("assistant")), "{whole}");
    assert!(whole["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(whole["stop_reason"], "max_tokens");
    assert_eq!(whole["usage"]["output_tokens"], 12);
    let text = whole["content"][0]["text"].as_str().unwrap();
    let events = events(&ask(json!({ "system": "Be brief.", "stream": true })));
    let names = names(&events);
    assert_eq!(names[..2], ["message_start", "content_block_start"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let streamed: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(streamed, text);
    let last = &events[events.len() - 2];
    assert_eq!((&last["delta"]["stop_reason"], &last["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(12)));
}

#[test]
fn an_answer_ends_at_a_stop_sequence() {
    let whole = post(MESSAGES, &ask(json!({}))).json();
    let stop: String = whole["content"][0]["text"].as_str().unwrap().chars().take(2).collect();
    let cut = post(MESSAGES, &ask(json!({ "stop_sequences": [stop] }))).json();
    assert_eq!((cut["stop_reason"].as_str(), cut["stop_sequence"].as_str()), (Some("stop_sequence"), Some(&*stop)));
    assert_eq!(cut["content"], json!([]), "nothing came before it");
}

#[test]
fn tools_are_called_and_their_results_read() {
    let schema = json!({
        "type": "object", "properties": { "city": { "enum": ["Rome", "Oslo"] } }, "required": ["city"],
        "additionalProperties": false,
    });
    let tools = json!([{ "name": "weather", "description": "Of a city", "input_schema": schema }]);
    let more = json!({ "tools": tools, "tool_choice": { "type": "any", "disable_parallel_tool_use": true }, "max_tokens": 300 });
    let whole = post(MESSAGES, &ask(more.clone())).json();
    assert_eq!(whole["stop_reason"], "tool_use", "{whole}");
    let call = &whole["content"][0];
    assert_eq!((call["type"].as_str(), call["name"].as_str()), (Some("tool_use"), Some("weather")));
    assert!(["Rome", "Oslo"].contains(&call["input"]["city"].as_str().unwrap()));
    let mut stream = ask(more);
    stream["stream"] = json!(true);
    let events = events(&stream);
    let input: String = events.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    assert_eq!(serde_json::from_str::<Value>(&input).unwrap(), call["input"]);
    let result = json!([{ "type": "tool_result", "tool_use_id": call["id"], "content": "sunny" }]);
    let turns = json!([
        { "role": "user", "content": "hello" }, { "role": "assistant", "content": whole["content"] },
        { "role": "user", "content": result },
    ]);
    let again = post(MESSAGES, &ask(json!({ "messages": turns, "tools": tools })));
    assert_eq!(again.status, 200, "{again:?}");
}

#[test]
fn tokens_that_were_read_before_are_not_counted_as_input() {
    let content = "the same long question that was asked before, ".repeat(5);
    let asked = || post(MESSAGES, &ask(json!({ "messages": [{ "role": "user", "content": content }] }))).json();
    let (first, second) = (asked()["usage"].clone(), asked()["usage"].clone());
    let cached = second["cache_read_input_tokens"].as_u64().unwrap();
    assert!(cached >= 128, "{second}");
    let all =
        |usage: &Value| usage["input_tokens"].as_u64().unwrap() + usage["cache_read_input_tokens"].as_u64().unwrap();
    assert_eq!(all(&second), all(&first));
}

#[test]
fn refusals_have_the_shape_of_this_interface() {
    let check = |more: Value, status: u16, kind: &str, expect: &str| {
        let answer = post(MESSAGES, &ask(more));
        let error = answer.json();
        assert_eq!(answer.status, status, "{error}");
        assert_eq!((error["type"].as_str(), error["error"]["type"].as_str()), (Some("error"), Some(kind)));
        assert!(error["error"]["message"].as_str().unwrap().contains(expect), "{error}");
    };
    check(json!({ "metadata": { "user_id": "me" } }), 400, "invalid_request_error", "no effect");
    check(json!({ "max_tokens": 0 }), 400, "invalid_request_error", "from 1");
    check(json!({ "model": "other" }), 404, "not_found_error", "there is tiny");
    check(json!({ "messages": [{ "role": "king", "content": "x" }] }), 400, "invalid_request_error", "king");
    let broken = receive(send(server(), MESSAGES, "{")).json();
    assert_eq!(broken["error"]["type"], "invalid_request_error");
    assert_eq!(get(MESSAGES).status, 405);
}
