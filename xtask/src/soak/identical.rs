//! The same answer alone and among 63 others.

use super::Plan;
use super::client::post;
use super::figures::Figures;
use super::server::Server;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Mutex;

/// Requests at once.
const N_AT_ONCE: usize = 64;

/// A request that differs from others in all that may matter: prompt, length, sampling.
fn body(seed: usize) -> String {
    let prompt = "Once upon a time there was a ".repeat(1 + seed % 9) + ["cat", "dog", "bird"][seed % 3];
    json!({
        "model": "talk", "prompt": prompt, "seed": seed, "max_tokens": 8 + seed % 40, "logprobs": 2,
        "temperature": 0.5 + (seed % 4) as f64 / 4.0, "top_p": 1.0 - (seed % 3) as f64 / 10.0,
        "logit_bias": { "258": -100 },
    })
    .to_string()
}

fn choices(address: SocketAddr, seed: usize) -> Result<Value, String> {
    let answer = post(address, "/v1/completions", &body(seed))?;
    if answer.status != 200 { Err(format!("seed {seed}: {answer:?}")) } else { Ok(answer.json()?["choices"].clone()) }
}

/// Asks all, one after another or [`N_AT_ONCE`] at a time.
pub fn run(plan: &Plan, server: &Server, figures: &mut Figures) -> Result<(), String> {
    let address = server.address;
    let alone = (0..plan.n_seeded).map(|seed| choices(address, seed)).collect::<Result<Vec<Value>, String>>()?;
    let next = Mutex::new(0..plan.n_seeded);
    let together: Mutex<Vec<Option<Value>>> = Mutex::new(vec![None; plan.n_seeded]);
    std::thread::scope(|scope| {
        for _ in 0..N_AT_ONCE {
            scope.spawn(|| {
                while let Some(seed) = next.lock().ok().and_then(|mut next| next.next()) {
                    let answer = choices(address, seed).ok();
                    if let Ok(mut together) = together.lock() {
                        together[seed] = answer;
                    }
                }
            });
        }
    });
    let together = together.into_inner().map_err(|_| "a client panicked")?;
    let n_same = alone.iter().zip(&together).filter(|(alone, among)| Some(*alone) == among.as_ref()).count();
    figures.exactly("identical: same alone and among 63", n_same, plan.n_seeded);
    Ok(())
}
