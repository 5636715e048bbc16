//! Clients that are slow in every way, and connections that say nothing: a good client notices little.

use super::Plan;
use super::client::{Connection, post};
use super::figures::{Figures, percentile};
use super::server::Server;
use serde_json::json;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Below this a canary's p99 is what else the machine does.
const LEAST_SECONDS: f64 = 0.005;
/// Requests of the good client.
const N_CANARIES: usize = 200;
/// Slow clients of each kind.
const N_SLOW: usize = 50;

/// Seconds of the canary's requests, p99.
fn canary(address: SocketAddr) -> Result<f64, String> {
    let body = json!({ "model": "talk", "prompt": "canary", "seed": 1, "max_tokens": 4 }).to_string();
    let mut connection = Connection::open(address)?;
    let mut seconds = Vec::new();
    for _ in 0..N_CANARIES {
        let start = Instant::now();
        let answer = connection.ask("POST", "/v1/completions", body.as_bytes())?;
        if answer.status != 200 {
            return Err(format!("the canary got {answer:?}"));
        }
        seconds.push(start.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(percentile(&mut seconds, 0.99))
}

fn raw(address: SocketAddr, text: &str) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// Measures the canary alone, and among slow ones.
pub fn run(plan: &Plan, server: &Server, figures: &mut Figures) -> Result<(), String> {
    let address = server.address;
    canary(address)?;
    let alone = canary(address)?;
    let idle = (0..plan.n_idle).map(|_| raw(address, "")).collect::<Result<Vec<TcpStream>, String>>()?;
    let head = format!("POST /v1/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n");
    let mut heads = (0..N_SLOW).map(|_| raw(address, &head[..30])).collect::<Result<Vec<TcpStream>, String>>()?;
    let mut bodies = (0..N_SLOW)
        .map(|_| raw(address, &format!("{head}content-length: 500\r\n\r\n{{")))
        .collect::<Result<Vec<TcpStream>, String>>()?;
    // These ask for much and read nothing of it.
    let much = json!({ "model": "rows", "n": 100, "stream": true }).to_string();
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut connection = Connection::open(address)?;
        connection.send("POST", "/v1/generate", much.as_bytes())?;
        readers.push(connection);
    }
    server.wait_until_idle()?;
    let (done, is_over) = std::sync::mpsc::channel();
    let among = std::thread::scope(|scope| {
        let (heads, bodies) = (&mut heads, &mut bodies);
        let trickle = scope.spawn(move || {
            // A byte now and then, as slow clients send them.
            while is_over.recv_timeout(Duration::from_millis(300)).is_err() {
                for stream in heads.iter_mut().chain(bodies.iter_mut()) {
                    // The server may have had enough of it.
                    let _ = stream.write_all(b" ");
                }
            }
        });
        let among = canary(address);
        let _ = done.send(());
        let _ = trickle.join();
        among
    })?;
    drop((idle, readers));
    figures.note("slow: canary's p99 alone, ms", alone * 1000.0);
    figures.note("slow: canary's p99 among slow and idle ones, ms", among * 1000.0);
    figures.at_most("slow: times the canary's p99, of 5 ms at least", among / alone.max(LEAST_SECONDS), 2.0);
    let answer =
        post(address, "/v1/completions", &json!({ "model": "talk", "prompt": "x", "max_tokens": 1 }).to_string())?;
    figures.exactly("slow: status afterwards", answer.status.into(), 200);
    Ok(())
}
