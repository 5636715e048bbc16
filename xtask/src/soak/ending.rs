//! The signal to end, with streams open: each has its last word.

use super::Plan;
use super::client::Connection;
use super::figures::Figures;
use super::server::Server;
use serde_json::json;
use std::time::Instant;

/// Tells the server to end while streams are open.
pub fn run(plan: &Plan, mut server: Server, figures: &mut Figures) -> Result<(), String> {
    let mut open = Vec::new();
    for seed in 0..plan.n_open {
        let body = json!({
            "model": "talk", "prompt": "x", "seed": seed, "max_tokens": 2000, "n": 16, "stream": true, "logit_bias": { "258": -100 },
        });
        let mut connection = Connection::open(server.address)?;
        connection.send("POST", "/v1/completions", body.to_string().as_bytes())?;
        let (status, ..) = connection.head()?;
        if status != 200 {
            return Err(format!("a stream was answered with {status}"));
        }
        open.push(connection);
    }
    let start = Instant::now();
    server.terminate()?;
    let mut n_told = 0;
    for mut connection in open {
        let mut bytes = Vec::new();
        while connection.chunk(&mut bytes).unwrap_or(false) {}
        n_told += usize::from(String::from_utf8_lossy(&bytes).ends_with("data: [DONE]\n\n"));
    }
    figures.exactly("ending: streams with a final event", n_told, plan.n_open);
    let status = server.wait()?;
    figures.exactly("ending: exit code", status.code().unwrap_or(-1).unsigned_abs() as usize, 0);
    figures.note("ending: seconds from the signal to the end", start.elapsed().as_secs_f64());
    server.check_log("ending", figures);
    Ok(())
}
