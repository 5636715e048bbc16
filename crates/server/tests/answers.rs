//! What is answered to requests that are as they should be.

mod common;

use common::{get, post, receive, send};
use genera_engine::model::{Pooling, Taken};
use genera_server::Settings;
use serde_json::{Value, json};

fn chat(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "messages": [{ "role": "user", "content": "hello" }], "seed": 7, "max_tokens": 12,
        "logit_bias": { "258": -100 },
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn text(answer: &Value, choice: usize) -> String {
    answer["choices"][choice]["message"]["content"].as_str().unwrap_or_else(|| panic!("no text in {answer}")).to_owned()
}

fn streamed(events: &[Value], choice: u64) -> String {
    let choices = events.iter().filter_map(|event| event["choices"].get(0)).filter(|part| part["index"] == choice);
    choices.filter_map(|part| part["delta"]["content"].as_str()).collect()
}

#[test]
fn a_chat_is_answered_whole_and_as_a_stream() {
    let answer = post("/v1/chat/completions", &chat(json!({ "n": 2 })));
    assert_eq!(answer.status, 200, "{answer:?}");
    let whole = answer.json();
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["choices"][0]["message"]["refusal"], Value::Null);
    assert_eq!(whole["usage"]["completion_tokens"], 24);
    assert_eq!(whole["usage"]["total_tokens"], 24 + whole["usage"]["prompt_tokens"].as_u64().unwrap());
    assert_ne!(text(&whole, 0), text(&whole, 1), "answers to one request differ");
    let ask = chat(json!({ "n": 2, "stream": true, "stream_options": { "include_usage": true } }));
    let events = post("/v1/chat/completions", &ask).events();
    for choice in 0..2 {
        assert_eq!(streamed(&events, choice as u64), text(&whole, choice));
    }
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events[0]["usage"], Value::Null);
    let (last, before) = events.split_last().unwrap();
    // How much of the prompt is held already depends on what other requests do.
    for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(last["usage"][count], whole["usage"][count]);
    }
    assert_eq!(last["choices"], json!([]));
    let ends = before.iter().filter(|event| event["choices"][0]["finish_reason"] == "length").count();
    assert_eq!(ends, 2);
}

#[test]
fn logprobs_belong_to_the_text() {
    let ask = chat(json!({ "logprobs": true, "top_logprobs": 3 }));
    let whole = post("/v1/chat/completions", &ask).json();
    let tokens = whole["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    assert_eq!(tokens.len(), 12);
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|token| token["bytes"].as_array().unwrap())
        .map(|byte| byte.as_u64().unwrap() as u8)
        .collect();
    assert_eq!(String::from_utf8_lossy(&bytes), text(&whole, 0));
    for token in &tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64());
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
    }
    let events =
        post("/v1/chat/completions", &chat(json!({ "logprobs": true, "top_logprobs": 3, "stream": true }))).events();
    let parts = events.iter().filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array());
    assert_eq!(parts.flatten().cloned().collect::<Vec<Value>>(), tokens);
}

#[test]
fn an_answer_ends_at_a_stop_string() {
    let ask = |more: Value| {
        let mut body = json!({ "prompt": "ab", "seed": 3, "max_tokens": 40, "logit_bias": { "258": -100 } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post("/v1/completions", &body)
    };
    let whole = ask(json!({})).json();
    let full = whole["choices"][0]["text"].as_str().unwrap().to_owned();
    let stop: String = full.chars().filter(|&c| c != '\u{fffd}').nth(5).unwrap().to_string();
    let cut = ask(json!({ "stop": [stop] })).json();
    assert_eq!(cut["choices"][0]["finish_reason"], "stop");
    assert_eq!(cut["choices"][0]["text"], full[..full.find(&stop).unwrap()], "{stop:?} in {full:?}");
    let streamed: String = ask(json!({ "stop": stop, "stream": true }))
        .events()
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(cut["choices"][0]["text"], streamed);
    let echoed = ask(json!({ "echo": true })).json();
    assert_eq!(echoed["choices"][0]["text"], format!("ab{full}"));
    let tokens = ask(json!({ "prompt": [256 + 1, 97, 98] })).json();
    assert_eq!(tokens["choices"][0]["text"], full, "the same prompt in tokens");
    let logprobs = ask(json!({ "logprobs": 2 })).json();
    assert_eq!(logprobs["choices"][0]["logprobs"]["tokens"].as_array().unwrap().len(), 40);
}

#[test]
fn an_answer_keeps_to_lengths_and_does_not_repeat_itself() {
    // The end would come at once.
    let ended = |more: Value| {
        let mut body = chat(json!({ "logit_bias": { "258": 100 } }));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post("/v1/chat/completions", &body).json()["usage"]["completion_tokens"].clone()
    };
    assert_eq!([ended(json!({})), ended(json!({ "min_tokens": 5 }))], [0, 5]);
    let n_distinct = |n: u32| {
        let ask = chat(json!({ "no_repeat_ngram_size": n, "max_tokens": 60, "logprobs": true }));
        let answer = post("/v1/chat/completions", &ask).json();
        let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
        let distinct: std::collections::HashSet<String> =
            tokens.iter().map(|token| token["bytes"].to_string()).collect();
        distinct.len()
    };
    assert_eq!(n_distinct(1), 60);
    assert!(n_distinct(0) < 60);
}

#[test]
fn answers_keep_to_a_schema() {
    let schema = json!({
        "type": "object", "properties": { "kind": { "enum": ["cat", "dog"] }, "legs": { "type": "integer", "minimum": 0, "maximum": 99 } },
        "required": ["kind", "legs"], "additionalProperties": false,
    });
    for seed in 0..5 {
        let format = json!({ "type": "json_schema", "json_schema": { "name": "animal", "schema": schema } });
        let ask = chat(json!({ "response_format": format, "seed": seed, "max_tokens": 200, "logit_bias": {} }));
        let answer = post("/v1/chat/completions", &ask).json();
        assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
        let value: Value = serde_json::from_str(&text(&answer, 0)).unwrap();
        assert!(["cat", "dog"].contains(&value["kind"].as_str().unwrap()), "{value}");
        assert!(value["legs"].as_u64().unwrap() < 100);
    }
    let outputs = json!({ "structured_outputs": { "choice": ["yes", "no"] }, "logit_bias": {} });
    let answer = post("/v1/chat/completions", &chat(outputs)).json();
    assert!(["yes", "no"].contains(&text(&answer, 0).as_str()), "{answer}");
}

#[test]
fn tools_are_called() {
    let parameters = json!({
        "type": "object", "properties": { "city": { "enum": ["Rome", "Oslo"] } }, "required": ["city"],
        "additionalProperties": false,
    });
    let tools = json!([{ "type": "function", "function": { "name": "weather", "parameters": parameters } }]);
    let ask = json!({ "tools": tools, "tool_choice": "required", "parallel_tool_calls": false, "max_tokens": 300, "logit_bias": {} });
    let answer = post("/v1/chat/completions", &chat(ask.clone())).json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "weather");
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(["Rome", "Oslo"].contains(&arguments["city"].as_str().unwrap()));
    let mut stream = chat(ask);
    stream["stream"] = json!(true);
    let events = post("/v1/chat/completions", &stream).events();
    let streamed = events.iter().find_map(|event| event["choices"][0]["delta"]["tool_calls"].get(0)).unwrap();
    assert_eq!(streamed["function"], call["function"]);
    assert_eq!(streamed["index"], 0);
    let messages = json!([
        { "role": "user", "content": "hello" }, choice["message"],
        { "role": "tool", "tool_call_id": call["id"], "content": "sunny" },
    ]);
    let again = post("/v1/chat/completions", &chat(json!({ "messages": messages, "tools": tools })));
    assert_eq!(again.status, 200, "an answer can be sent back: {again:?}");
}

#[test]
fn texts_become_vectors() {
    let body = json!({ "input": ["a cat", "a dog"], "encoding_format": "float" });
    let answer = post("/v1/embeddings", &body).json();
    let vector = |i: usize| answer["data"][i]["embedding"].as_array().unwrap().clone();
    assert_eq!((vector(0).len(), vector(1).len()), (16, 16));
    assert_ne!(vector(0), vector(1));
    let coded = post("/v1/embeddings", &json!({ "input": "a cat", "encoding_format": "base64" })).json();
    assert_eq!(coded["data"][0]["embedding"].as_str().unwrap().len(), (16_usize * 4).div_ceil(3) * 4);
}

/// Where that is the vector of the last token, it is the end token's only where the tokenizer's files say so.
#[test]
fn vectors_of_last_tokens_are_of_whole_texts() {
    let mut model = common::model();
    model.transformer.set_pooling(Some(Pooling { taken: Taken::Last, ..Pooling::default() }));
    let (begin, end) = (model.codebook.vocab().special.begin, model.codebook.vocab().special.end);
    let ids = model.codebook.encode("a cat").unwrap();
    let address = common::start_with(Settings::new(([127, 0, 0, 1], 0).into()), vec![model]);
    let vector = |input: Value| {
        let body = json!({ "input": input }).to_string();
        receive(send(address, "/v1/embeddings", &body)).json()["data"][0]["embedding"].clone()
    };
    let whole: Vec<u32> = begin.into_iter().chain(ids.clone()).collect();
    assert_eq!(vector(json!("a cat")), vector(json!([whole])));
    let closed: Vec<u32> = ids.into_iter().chain(end).collect();
    assert_ne!(vector(json!("a cat")), vector(json!([closed])));
}

#[test]
fn models_health_and_metrics_are_there() {
    assert_eq!(get("/v1/models").json()["data"][0]["id"], "tiny");
    assert_eq!(get("/v1/models/tiny").json()["object"], "model");
    assert_eq!(get("/v1/models/other").status, 404);
    assert_eq!(get("/health/live").status, 200);
    assert_eq!(get("/health/ready").json()["status"], "ready");
    assert!(get("/metrics").body.contains("vllm:num_requests_running{model_name=\"tiny\"}"));
}

#[test]
fn what_was_read_before_is_counted() {
    let content = "a long question that many ask, ".repeat(6);
    let ask = |seed: u64| chat(json!({ "messages": [{ "role": "user", "content": content }], "seed": seed, "n": 2 }));
    let cached = |usage: &Value| usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let first = post("/v1/chat/completions", &ask(1)).json()["usage"].clone();
    // Other tests' requests begin with the same few tokens.
    assert!(cached(&first) < 64, "that two answers share one reading does not count: {first}");
    let second = post("/v1/chat/completions", &ask(2)).json()["usage"].clone();
    assert!(cached(&second) >= 128 && cached(&second) < second["prompt_tokens"].as_u64().unwrap(), "{second}");
    let events = post(
        "/v1/chat/completions",
        &chat(json!({
            "messages": [{ "role": "user", "content": content }], "stream": true,
            "stream_options": { "include_usage": true },
        })),
    )
    .events();
    assert!(cached(&events.last().unwrap()["usage"]) >= 128);
}
