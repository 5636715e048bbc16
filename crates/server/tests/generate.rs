//! `POST /v1/generate`: whatever a model makes, as typed items.

mod common;

use common::{Answer, get, model, post, raw, receive, send, start_with, table_model};
use genera_server::Settings;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::OnceLock;

fn server() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    let settings = || Settings::new(([127, 0, 0, 1], 0).into());
    *ADDRESS.get_or_init(|| start_with(settings(), vec![table_model(), model()]))
}

fn ask(body: &Value) -> Answer {
    receive(send(server(), "/v1/generate", &body.to_string()))
}

#[test]
fn rows_meet_what_is_asked_of_them() {
    let body = json!({ "input": { "where": { "member": "true" }, "conditions": "age >= 30" }, "n": 8, "seed": 4 });
    let answer = ask(&body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let whole = answer.json();
    assert_eq!((&whole["object"], &whole["kind"], &whole["seed"]), (&json!("generation"), &json!("table"), &json!(4)));
    let items = whole["items"].as_array().unwrap();
    assert_eq!(items.len(), 8);
    for (i, item) in items.iter().enumerate() {
        assert_eq!(
            (&item["index"], &item["finish_reason"], &item["media_type"]),
            (&json!(i), &json!("stop"), &json!("text/csv"))
        );
        let row = &item["value"];
        assert!(row["member"] == true && row["age"].as_u64().unwrap() >= 30, "{item}");
        assert!(item["text"].as_str().unwrap().contains("true"));
    }
    assert_ne!(items[0]["value"]["id"], items[1]["value"]["id"], "names of rows are distinct");
    assert_eq!(ask(&body).json()["items"], whole["items"], "the same seed gives the same rows");
    let mut stream = body;
    stream["stream"] = json!(true);
    let events = ask(&stream).events();
    let (last, items) = events.split_last().unwrap();
    let mut streamed: Vec<Value> = items.iter().map(|event| event["item"].clone()).collect();
    streamed.sort_by_key(|item| item["index"].as_u64());
    assert_eq!(json!(streamed), whole["items"]);
    assert_eq!(
        (&last["object"], &last["usage"]["completion_tokens"]),
        (&json!("generation"), &whole["usage"]["completion_tokens"])
    );
}

#[test]
fn texts_are_gone_on_with() {
    let body = json!({ "model": "tiny", "input": { "prompt": "ab" }, "max_tokens": 9, "seed": 1, "n": 2 });
    let whole = ask(&body).json();
    assert_eq!(whole["kind"], "text");
    let text = whole["items"][0]["text"].as_str().unwrap();
    assert_eq!((&whole["items"][0]["value"], &whole["items"][0]["preview"]["text"]), (&Value::Null, &json!(text)));
    let mut stream = body;
    stream["stream"] = json!(true);
    let events = ask(&stream).events();
    let deltas = events.iter().filter(|event| event["object"] == "generation.delta" && event["index"] == 0);
    assert_eq!(deltas.filter_map(|event| event["text"].as_str()).collect::<String>(), text);
    let drawn = ask(&json!({ "model": "tiny", "max_tokens": 3 })).json();
    let again = ask(&json!({ "model": "tiny", "max_tokens": 3, "seed": drawn["seed"] })).json();
    assert_eq!(drawn["items"], again["items"], "a drawn seed is told, and can be given again");
}

#[test]
fn what_is_not_of_the_schema_is_refused() {
    let check = |body: Value, param: &str, expect: &str| {
        let answer = ask(&body);
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["param"].as_str()), (400, Some(param)), "{body}: {error}");
        assert!(error["message"].as_str().unwrap().contains(expect), "{body}: {error}");
    };
    check(json!({ "input": { "prompt": "x" } }), "input", "where, conditions");
    check(json!({ "input": { "where": { "height": 1 } } }), "input", "no column");
    check(json!({ "input": { "conditions": "age > 1000" } }), "input", "no row meets");
    check(json!({ "max_tokens": 3 }), "max_tokens", "end by their form");
    check(json!({ "stop": ["x"] }), "stop", "no effect");
    check(json!({ "n": 0 }), "n", "from 1 to 128");
    check(json!({ "model": "tiny", "input": { "prompt": 1 } }), "input", "expected a text");
    let answer = receive(send(server(), "/v1/completions", &json!({ "prompt": "x" }).to_string())).json();
    assert!(answer["error"]["message"].as_str().unwrap().contains("/v1/generate"), "{answer}");
}

#[test]
fn the_schema_of_inputs_can_be_asked_for() {
    let address = server();
    let request = format!("GET /v1/genera/models HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let models = receive(raw(address, &request)).json()["models"].clone();
    assert!(models[0]["input"]["properties"]["where"]["properties"]["age"].is_object(), "{models}");
    assert!(models[1]["input"]["properties"]["prompt"].is_object());
}

#[test]
fn the_interface_describes_itself() {
    let document = get("/openapi.json").json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        if path.ends_with("/runs/{name}") {
            assert_eq!(get(&path.replace("{name}", "none")).status, 404);
        } else if operations.get("get").is_some() {
            assert_eq!(get(&path.replace("{name}", "tiny")).status, 200, "{path}");
        } else {
            assert_eq!(get(path).status, 405, "{path}");
            assert_eq!(post(path, &json!({ "surprise": 1 })).status, 400, "{path}");
        }
    }
}
