//! Requests that nobody should send: made from the interface's own description, and damaged.

use super::Plan;
use super::client::{Connection, get, post};
use super::figures::Figures;
use super::random::Random;
use super::server::Server;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Clients at once.
const N_AT_ONCE: usize = 8;
/// Statuses that a bad request may be answered with.
const ALLOWED: [u16; 9] = [200, 400, 404, 405, 408, 413, 415, 429, 503];
/// Levels within each other that are made.
const DEPTH: usize = 6;

const TEXTS: [&str; 16] = [
    "",
    "a",
    "hello",
    "\u{0}",
    "\u{ffff}",
    "🦀🦀🦀",
    "{{ x }}",
    "{% for i in range(99999999) %}x{% endfor %}",
    "(a+)+$",
    "((a{99}){99}){99}",
    "start: start start",
    "../../etc/passwd",
    "<s>assistant: </s>",
    "null",
    "-1e999",
    "\r\n\r\nGET / HTTP/1.1",
];
const PIECES: [&str; 18] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "-",
    "1e999",
    "9999999999999999999999",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "[[[[[[[[[[",
    "{\"a\":",
    "\"model\":\"talk\",",
    "true",
];

/// Makes bodies by a schema, mostly right and always a little wrong.
struct Maker<'s> {
    document: &'s Value,
    random: Random,
}

impl Maker<'_> {
    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if self.random.once_in(12) || depth == 0 {
            return self.anything();
        }
        if let Some(path) = schema["$ref"].as_str() {
            let target = self.document.pointer(path.trim_start_matches('#')).cloned().unwrap_or_default();
            return self.value(&target, depth - 1);
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(values) = schema["enum"].as_array().filter(|values| !values.is_empty()) {
            return self.random.of(values).clone();
        }
        let forms = schema["anyOf"].as_array().or(schema["oneOf"].as_array()).filter(|forms| !forms.is_empty());
        if let Some(forms) = forms {
            let form = self.random.of(forms).clone();
            return self.value(&form, depth - 1);
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => vec!["object", "string"],
        };
        let kind = (*self.random.of(&kinds)).to_owned();
        self.of_kind(&kind, schema, depth)
    }

    fn of_kind(&mut self, kind: &str, schema: &Value, depth: usize) -> Value {
        match kind {
            "object" => self.object(schema, depth),
            "array" => (0..self.random.below(4)).map(|_| self.value(&schema["items"], depth - 1)).collect(),
            "integer" => json!(*self.random.of(&[0_i64, 1, 2, 3, 7, -1, 64, 129, 1 << 40, i64::MAX])),
            "number" => json!(*self.random.of(&[0.0, 1.0, 0.5, 2.0, -1.0, 1e-300, 1e300, 99.0])),
            "boolean" => json!(self.random.once_in(2)),
            "null" => Value::Null,
            _ => json!(*self.random.of(&TEXTS)),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut object = Map::new();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if (required.contains(&name.as_str()) && !self.random.once_in(20)) || self.random.once_in(5) {
                object.insert(name.clone(), self.value(field, depth - 1));
            }
        }
        if self.random.once_in(15) {
            object.insert((*self.random.of(&TEXTS)).to_owned(), self.anything());
        }
        Value::Object(object)
    }

    fn anything(&mut self) -> Value {
        match self.random.below(8) {
            0 => Value::Null,
            1 => json!(self.random.once_in(2)),
            2 => json!(self.random.bits() as i64),
            3 => json!(f64::from_bits(self.random.bits())),
            4 => json!([[], [[]], {}]),
            5 => json!({ "type": "object", "properties": { "a": { "$ref": "#" } } }),
            6 => json!("x".repeat(1 << self.random.below(14))),
            _ => json!(*self.random.of(&TEXTS)),
        }
    }

    /// A body for one of the routes. Lengths are kept small, mostly: it is the server that is tested and not the model.
    fn body(&mut self, schema: &Value) -> Vec<u8> {
        let mut body = self.value(schema, DEPTH);
        if let Some(object) = body.as_object_mut() {
            if !self.random.once_in(10) {
                object.insert("model".to_owned(), json!(self.random.of(&["talk", "talk", "rows"])));
            }
            for name in ["max_tokens", "max_completion_tokens", "max_output_tokens"] {
                if object.contains_key(name) || (name == "max_tokens" && self.random.once_in(2)) {
                    object.insert(name.to_owned(), json!(1 + self.random.below(4)));
                }
            }
        }
        let mut bytes = body.to_string().into_bytes();
        if self.random.once_in(3) {
            self.damage(&mut bytes);
        }
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.random.below(4) {
            let at = self.random.below(bytes.len() + 1);
            match self.random.below(4) {
                0 if at < bytes.len() => bytes[at] = self.random.bits() as u8,
                1 => drop(bytes.drain(at..(at + self.random.below(12)).min(bytes.len()))),
                2 => bytes.truncate(at),
                _ => drop(bytes.splice(at..at, self.random.of(&PIECES).bytes())),
            }
        }
    }
}

/// The routes that read something, with the schemas of what they read.
fn routes(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let schema = |operations: &Value| operations.pointer("/post/requestBody/content/application~1json/schema").cloned();
    paths.filter_map(|(path, operations)| Some((path.clone(), schema(operations)?))).collect()
}

fn canary(address: SocketAddr) -> Result<Value, String> {
    let body =
        json!({ "model": "talk", "prompt": "canary", "seed": 1, "max_tokens": 20, "logit_bias": { "258": -100 } });
    Ok(post(address, "/v1/completions", &body.to_string())?.json()?["choices"].clone())
}

/// What all clients count.
struct Counts {
    next: Mutex<std::ops::Range<usize>>,
    n_ok: AtomicUsize,
    n_wrong: AtomicUsize,
    n_changed: AtomicUsize,
}

/// Sends all of them, with a good request now and then.
pub fn run(plan: &Plan, server: &Server, figures: &mut Figures) -> Result<(), String> {
    let address = server.address;
    let document = get(address, "/openapi.json")?.json()?;
    let routes = routes(&document);
    let before = canary(address)?;
    let counts = Counts {
        next: Mutex::new(0..plan.n_hostile),
        n_ok: AtomicUsize::new(0),
        n_wrong: AtomicUsize::new(0),
        n_changed: AtomicUsize::new(0),
    };
    let start = Instant::now();
    let clients: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let spawn = |i: usize| {
            let (document, routes, counts, before) = (&document, &routes, &counts, &before);
            let random = Random::new(plan.seed.wrapping_mul(1000).wrapping_add(i as u64));
            scope.spawn(move || attack(address, &mut Maker { document, random }, routes, counts, before))
        };
        let threads: Vec<_> = (0..N_AT_ONCE).map(spawn).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a client panicked".to_owned())))
            .collect()
    });
    clients.into_iter().collect::<Result<(), String>>()?;
    figures.note("hostile: requests", plan.n_hostile as f64);
    figures.note("hostile: requests per second", plan.n_hostile as f64 / start.elapsed().as_secs_f64());
    figures.note("hostile: answered with 200", counts.n_ok.load(Ordering::Relaxed) as f64);
    figures.exactly("hostile: answered as they should not be", counts.n_wrong.load(Ordering::Relaxed), 0);
    figures.exactly("hostile: good requests that changed", counts.n_changed.load(Ordering::Relaxed), 0);
    let seconds = server.wait_until_idle()?;
    figures.note("hostile: seconds until all is free again", seconds);
    figures.exactly("hostile: good request afterwards", usize::from(canary(address)? == before), 1);
    Ok(())
}

fn attack(
    address: SocketAddr,
    maker: &mut Maker<'_>,
    routes: &[(String, Value)],
    counts: &Counts,
    before: &Value,
) -> Result<(), String> {
    let mut connection = Connection::open(address)?;
    loop {
        let Some(i) = counts.next.lock().map_err(|_| "a client panicked")?.next() else { return Ok(()) };
        let (path, schema) = maker.random.of(routes).clone();
        let body = maker.body(&schema);
        match connection.ask("POST", &path, &body) {
            Ok(answer) if ALLOWED.contains(&answer.status) => {
                counts.n_ok.fetch_add(usize::from(answer.status == 200), Ordering::Relaxed);
            }
            Ok(answer) => {
                counts.n_wrong.fetch_add(1, Ordering::Relaxed);
                let shown = String::from_utf8_lossy(&body);
                eprintln!("soak: hostile: {path} answered {} {:.300} to {shown:.2000}", answer.status, answer.body);
            }
            Err(error) => {
                counts.n_wrong.fetch_add(1, Ordering::Relaxed);
                eprintln!("soak: hostile: {path}: {error} for {:.2000}", String::from_utf8_lossy(&body));
                connection = Connection::open(address)?;
            }
        }
        if i % 1000 == 0 && canary(address)? != *before {
            counts.n_changed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
