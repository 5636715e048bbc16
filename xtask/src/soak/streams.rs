//! Many streams at once: none is lost, doubled or out of order, and one that waits costs little.

use super::Plan;
use super::client::{Connection, post};
use super::figures::{Figures, percentile};
use super::server::Server;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::Instant;

/// KiB that a stream that waits may cost.
const MOST_KIB: f64 = 64.0;
const N_TOKENS: usize = 24;

fn body(seed: usize, is_stream: bool) -> Value {
    let mut body = json!({
        "model": "talk", "prompt": format!("Story number {seed}: "), "seed": seed, "max_tokens": N_TOKENS, "stream": is_stream,
        "temperature": 1.0, "logit_bias": { "258": -100 },
    });
    if is_stream {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

/// What one stream brought.
struct Streamed {
    text: String,
    /// Whether it ended with a reason, its usage, and `[DONE]`, each once and in this order.
    is_whole: bool,
    /// Seconds to the first part.
    first: f64,
}

fn read(connection: &mut Connection, start: Instant) -> Result<Streamed, String> {
    let (status, ..) = connection.head()?;
    if status != 200 {
        return Err(format!("status {status}"));
    }
    let mut bytes = Vec::new();
    let mut first = None;
    while connection.chunk(&mut bytes)? {
        first.get_or_insert_with(|| start.elapsed().as_secs_f64());
    }
    let body = String::from_utf8_lossy(&bytes);
    let events: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (done, events) = events.split_last().ok_or("no events")?;
    let events: Vec<Value> = events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
    let (usage, parts) = events.split_last().ok_or("no events")?;
    let n_ends = parts.iter().filter(|part| part["choices"][0]["finish_reason"].is_string()).count();
    let is_last = parts.last().is_some_and(|part| part["choices"][0]["finish_reason"] == "length");
    let is_whole = *done == "[DONE]" && n_ends == 1 && is_last && usage["usage"]["completion_tokens"] == N_TOKENS;
    let text = parts.iter().filter_map(|part| part["choices"][0]["text"].as_str()).collect();
    Ok(Streamed { text, is_whole, first: first.unwrap_or(f64::NAN) })
}

fn one(address: SocketAddr, seed: usize, all_sent: &Barrier) -> Result<Streamed, String> {
    let mut connection = Connection::open(address);
    let start = Instant::now();
    let sent = connection.as_mut().map_err(|error| error.clone());
    let sent =
        sent.and_then(|connection| connection.send("POST", "/v1/completions", body(seed, true).to_string().as_bytes()));
    all_sent.wait();
    sent?;
    read(&mut connection?, start)
}

/// Opens all streams, and compares each with the answer to the same seed.
pub fn run(plan: &Plan, server: &Server, figures: &mut Figures) -> Result<(), String> {
    let address = server.address;
    // What a first answer allocates once is none of the streams'.
    post(address, "/v1/completions", &body(0, false).to_string())?;
    let before = server.resident_kib()?;
    let all_sent = Barrier::new(plan.n_streams + 1);
    let start = Instant::now();
    let (streamed, during) = std::thread::scope(|scope| {
        let spawn = |seed: usize| {
            let all_sent = &all_sent;
            let thread = std::thread::Builder::new().stack_size(256 << 10);
            thread.spawn_scoped(scope, move || one(address, seed, all_sent))
        };
        let threads: Vec<_> = (0..plan.n_streams).map(spawn).collect();
        all_sent.wait();
        let during = server.resident_kib();
        let join =
            |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| match thread.map(|thread| thread.join()) {
                Ok(Ok(streamed)) => streamed,
                _ => Err("a client could not be started".to_owned()),
            };
        (threads.into_iter().map(join).collect::<Vec<Result<Streamed, String>>>(), during)
    });
    let seconds = start.elapsed().as_secs_f64();
    if let Some(Err(error)) = streamed.iter().find(|streamed| streamed.is_err()) {
        eprintln!("soak: streams: the first of those that failed: {error}");
    }
    let n_whole = streamed.iter().flatten().filter(|streamed| streamed.is_whole).count();
    figures.exactly("streams: ended with reason, usage and [DONE]", n_whole, plan.n_streams);
    let mut n_same = 0;
    for (seed, streamed) in streamed.iter().enumerate() {
        let whole = post(address, "/v1/completions", &body(seed, false).to_string())?.json()?;
        let is_same = streamed.as_ref().is_ok_and(|streamed| whole["choices"][0]["text"] == streamed.text.as_str());
        n_same += usize::from(is_same);
    }
    figures.exactly("streams: same text as the whole answer", n_same, plan.n_streams);
    figures.at_most("streams: KiB for each", (during? - before) / plan.n_streams as f64, MOST_KIB);
    let mut first: Vec<f64> = streamed.iter().flatten().map(|streamed| streamed.first).collect();
    figures.note("streams: tokens/s of all together", (plan.n_streams * N_TOKENS) as f64 / seconds);
    figures.note("streams: seconds to the first part, p99", percentile(&mut first, 0.99));
    Ok(())
}
