//! Clients that hang up at random moments: nothing is left of them, and a neighbour notices nothing.

use super::Plan;
use super::client::{Connection, post};
use super::figures::Figures;
use super::random::Random;
use super::server::Server;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

/// Clients at once.
const N_AT_ONCE: usize = 16;

fn neighbour() -> String {
    json!({ "model": "talk", "prompt": "A long story: ", "seed": 3, "max_tokens": 1500, "logit_bias": { "258": -100 } })
        .to_string()
}

fn text(address: SocketAddr) -> Result<Value, String> {
    Ok(post(address, "/v1/completions", &neighbour())?.json()?["choices"].clone())
}

/// Asks for something and leaves, before, while or after it comes.
fn leave(address: SocketAddr, random: &mut Random) -> Result<(), String> {
    let body = json!({
        "model": random.of(&["talk", "rows"]), "n": 1 + random.below(4), "seed": random.below(1000),
        "stream": !random.once_in(3),
    });
    let mut connection = Connection::open(address)?;
    let body = body.to_string();
    // Some leave within their own request.
    let n = if random.once_in(8) { random.below(body.len()) } else { body.len() };
    connection.send_part("POST", "/v1/generate", body.as_bytes(), n)?;
    std::thread::sleep(Duration::from_micros(random.below(60_000) as u64));
    if random.once_in(2) && n == body.len() {
        // A client that has read a little.
        let _ = connection.line();
    }
    Ok(())
}

/// Lets all leave, then looks at what is left.
pub fn run(plan: &Plan, server: &Server, figures: &mut Figures) -> Result<(), String> {
    let address = server.address;
    let alone = text(address)?;
    let next = Mutex::new(0..plan.n_disconnects);
    let beside = std::thread::scope(|scope| {
        for i in 0..N_AT_ONCE {
            let (next, seed) = (&next, plan.seed);
            scope.spawn(move || {
                let mut random = Random::new(seed.wrapping_mul(1000).wrapping_add(i as u64));
                while next.lock().ok().and_then(|mut next| next.next()).is_some() {
                    if let Err(error) = leave(address, &mut random) {
                        eprintln!("soak: disconnects: {error}");
                    }
                }
            });
        }
        scope.spawn(|| text(address)).join().unwrap_or_else(|_| Err("a client panicked".to_owned()))
    })?;
    let seconds = server.wait_until_idle()?;
    figures.note("disconnects: seconds until all is free again", seconds);
    for model in ["talk", "rows"] {
        let n = server.metric("num_requests_running", model)? + server.metric("num_requests_waiting", model)?;
        figures.exactly(&format!("disconnects: {model}, requests left"), n as usize, 0);
        let share = server.metric("kv_cache_usage_perc", model)?;
        figures.exactly(&format!("disconnects: {model}, millionths of the cache in use"), (1e6 * share) as usize, 0);
    }
    figures.exactly(
        "disconnects: neighbours unchanged",
        usize::from(alone == beside) + usize::from(alone == text(address)?),
        2,
    );
    Ok(())
}
