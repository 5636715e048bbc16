//! `POST /v1/responses`: answers as items.

mod common;

use common::post;
use serde_json::{Value, json};

const RESPONSES: &str = "/v1/responses";

fn ask(more: Value) -> Value {
    let mut body = json!({ "model": "tiny", "input": "hello", "temperature": 0, "max_output_tokens": 12 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn events(body: &Value) -> Vec<Value> {
    let answer = post(RESPONSES, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let blocks = answer.body.split("\n\n").filter(|block| !block.is_empty());
    let read = |(i, block): (usize, &str)| {
        let (name, data) = block.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
        assert_eq!(data["sequence_number"], i);
        data
    };
    blocks.enumerate().map(read).collect()
}

/// An answer without what differs from one time to the next.
fn plain(response: &Value) -> Value {
    let mut response = response.clone();
    for name in ["id", "created_at", "completed_at", "usage"] {
        response[name] = Value::Null;
    }
    for item in response["output"].as_array_mut().unwrap() {
        item["id"] = Value::Null;
        if item.get("call_id").is_some() {
            item["call_id"] = Value::Null;
        }
    }
    response
}

#[test]
fn a_text_is_answered_whole_and_as_a_stream() {
    let body = ask(json!({ "instructions": "Be brief.", "metadata": { "of": "me" } }));
    let whole = post(RESPONSES, &body).json();
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("incomplete")), "{whole}");
    assert_eq!(whole["incomplete_details"], json!({ "reason": "max_output_tokens" }));
    assert_eq!((&whole["metadata"], &whole["store"]), (&json!({ "of": "me" }), &json!(false)));
    let item = &whole["output"][0];
    assert_eq!(
        (&item["type"], &item["role"], &item["content"][0]["type"]),
        (&json!("message"), &json!("assistant"), &json!("output_text"))
    );
    assert_eq!(whole["usage"]["output_tokens"], 12);
    let mut stream = body;
    stream["stream"] = json!(true);
    let events = events(&stream);
    let names: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        names[..4],
        ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    );
    let end =
        ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete"];
    assert_eq!(names[names.len() - 4..], end);
    let text: String = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(text, item["content"][0]["text"].as_str().unwrap());
    assert_eq!(plain(&events.last().unwrap()["response"]), plain(&whole));
}

#[test]
fn logprobs_are_told_when_they_are_included() {
    let more = json!({ "include": ["message.output_text.logprobs"], "top_logprobs": 2 });
    let whole = post(RESPONSES, &ask(more)).json();
    let logprobs = whole["output"][0]["content"][0]["logprobs"].as_array().unwrap();
    assert_eq!(logprobs.len(), 12);
    assert_eq!(logprobs[0]["top_logprobs"].as_array().unwrap().len(), 2);
}

#[test]
fn functions_are_called_and_what_they_give_is_read() {
    let parameters = json!({
        "type": "object", "properties": { "city": { "enum": ["Rome", "Oslo"] } }, "required": ["city"],
        "additionalProperties": false,
    });
    let tools = json!([{ "type": "function", "name": "weather", "parameters": parameters, "strict": true }]);
    let more = json!({
        "tools": tools, "tool_choice": { "type": "function", "name": "weather" }, "max_output_tokens": 300,
    });
    let whole = post(RESPONSES, &ask(more.clone())).json();
    assert_eq!(whole["status"], "completed", "{whole}");
    let call = &whole["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("weather")));
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!(["Rome", "Oslo"].contains(&arguments["city"].as_str().unwrap()));
    let mut stream = ask(more);
    stream["stream"] = json!(true);
    let events = events(&stream);
    let done = events.iter().find(|event| event["type"] == "response.function_call_arguments.done").unwrap();
    assert_eq!(done["arguments"], call["arguments"]);
    assert_eq!(plain(&events.last().unwrap()["response"]), plain(&whole));
    let input = json!([
        { "role": "user", "content": [{ "type": "input_text", "text": "hello" }] }, call,
        { "type": "function_call_output", "call_id": call["call_id"], "output": "sunny" },
    ]);
    let again = post(RESPONSES, &ask(json!({ "input": input, "tools": tools })));
    assert_eq!(again.status, 200, "an answer can be sent back: {again:?}");
    let message = &again.json()["output"][0];
    let input = json!([{ "role": "user", "content": "hello" }, message, { "role": "user", "content": "and?" }]);
    assert_eq!(post(RESPONSES, &ask(json!({ "input": input }))).status, 200);
}

#[test]
fn answers_keep_to_a_schema() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer", "maximum": 99 } }, "required": ["n"], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "name": "number", "schema": schema });
    let whole =
        post(RESPONSES, &ask(json!({ "text": { "format": format }, "max_output_tokens": 300, "temperature": 1 })))
            .json();
    let text = whole["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["n"].as_i64().unwrap() <= 99);
}

#[test]
fn what_has_no_effect_is_refused() {
    let check = |more: Value, param: &str, expect: &str| {
        let answer = post(RESPONSES, &ask(more.clone()));
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["param"].as_str()), (400, Some(param)), "{more}: {error}");
        assert!(error["message"].as_str().unwrap().contains(expect), "{more}: {error}");
    };
    check(json!({ "store": true }), "store", "neither kept");
    check(json!({ "background": true }), "background", "neither kept");
    check(json!({ "previous_response_id": "resp_1" }), "previous_response_id", "no effect");
    check(json!({ "reasoning": {} }), "reasoning", "no effect");
    check(json!({ "truncation": "auto" }), "truncation", "unknown variant");
    check(json!({ "top_logprobs": 2 }), "top_logprobs", "include");
    check(json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type", "unknown variant");
    check(json!({ "input": [{ "role": "user" }] }), "input[0].content", "missing");
    check(json!({ "input": [{ "role": "king", "content": "x" }] }), "input[0].role", "king");
    check(json!({ "input": [{ "type": "function_call", "call_id": "x" }] }), "input[0].name", "missing");
    check(json!({ "input": [] }), "input", "empty");
    check(json!({ "metadata": { "x": "y".repeat(600) } }), "metadata", "at most 512");
    assert_eq!(
        post(RESPONSES, &ask(json!({ "store": false, "background": false, "truncation": "disabled" }))).status,
        200
    );
}
