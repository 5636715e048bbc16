//! `cargo xtask clients`: the official clients and a real browser against a server of tiny models. What is not installed is
//! skipped, and that is said.

use crate::process::{output, root, run_with};
use crate::soak::{Fixture, Server};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Packages of Python, from PyPI.
const PACKAGES: [&str; 4] = ["openai", "anthropic", "jsonschema", "selenium"];

/// Runs all that can be run.
pub fn run_all(options: &[&str]) -> Result<(), String> {
    let genera = match options {
        ["--genera", path] => PathBuf::from(path).canonicalize().map_err(|error| format!("{path}: {error}"))?,
        [] => {
            crate::process::run("cargo", &["build", "--package", "genera"])?;
            root().join("target/debug/genera")
        }
        _ => return Err("unknown options; there is --genera PROGRAM".to_owned()),
    };
    let fixture = Fixture::make(&genera)?;
    fixture.train_slow()?;
    let training = Training::start(&genera, &fixture)?;
    let runs = fixture.path("runs");
    let server = fixture.start(&["--runs", &runs, "--model", &format!("slow={}", fixture.path("slow/model"))])?;
    let address = format!("http://{}", server.address);
    match python() {
        Some(python) => with_python(&python, &address)?,
        None => println!(
            "skipped: the clients of Python and the page: python3 with venv and pip, or the network, is missing"
        ),
    }
    with_node(&address)?;
    drop(training);
    check_log(&server)
}

fn check_log(server: &Server) -> Result<(), String> {
    let n = server.n_panics();
    if n == 0 { Ok(()) } else { Err(format!("the server's log has {n} panics")) }
}

fn with_python(python: &str, address: &str) -> Result<(), String> {
    let run = |arguments: &[&str]| run_with(python, arguments, &[("PYTHONDONTWRITEBYTECODE", "1")]);
    run(&["benches/clients/openai_client.py", address, "talk"])?;
    run(&["benches/clients/anthropic_client.py", address, "talk"])?;
    run(&["benches/clients/openai_schema.py", address, "talk"])?;
    let is_there = |program: &str| output("sh", &["-c", &format!("command -v {program}")]).is_ok();
    if !is_there("chromium") || !is_there("chromedriver") {
        println!("skipped: the page in a browser: chromium or chromedriver is missing");
        return Ok(());
    }
    let shots = root().join("target/clients/page");
    std::fs::create_dir_all(&shots).map_err(|error| format!("{}: {error}", shots.display()))?;
    run(&[
        "benches/clients/page.py",
        address,
        "--shots",
        &shots.display().to_string(),
        "--chat",
        "slow",
        "--table",
        "rows",
        "--live",
        "live",
    ])
}

/// A Python with the packages: the one that is there, or one of our own.
fn python() -> Option<String> {
    let imports = format!("import {}", PACKAGES.join(", "));
    let has_all = |python: &str| output(python, &["-c", &imports]).is_ok();
    if let Ok(named) = std::env::var("GENERA_PYTHON")
        && has_all(&named)
    {
        return Some(named);
    }
    if has_all("python3") {
        return Some("python3".to_owned());
    }
    let venv = root().join("target/clients/venv");
    let python = venv.join("bin/python").display().to_string();
    if !has_all(&python) {
        output("python3", &["-m", "venv", &venv.display().to_string()]).ok()?;
        output(&python, &[&["-m", "pip", "install", "--quiet"], &PACKAGES[..]].concat()).ok()?;
    }
    has_all(&python).then_some(python)
}

fn with_node(address: &str) -> Result<(), String> {
    let modules = root().join("target/clients/node");
    if output("node", &["--version"]).is_err() || output("npm", &["--version"]).is_err() {
        println!("skipped: the client of Node: node or npm is missing");
        return Ok(());
    }
    let place = modules.display().to_string();
    if !modules.join("node_modules/openai").exists()
        && output("npm", &["install", "--silent", "--no-audit", "--no-fund", "--prefix", &place, "openai"]).is_err()
    {
        println!("skipped: the client of Node: npm cannot install it");
        return Ok(());
    }
    run_with("node", &["benches/clients/openai_client.mjs", address, "talk"], &[("NODE_PATH", &place)])
}

/// A training in progress, for the page to watch; it ends when this is dropped.
struct Training(Child);

impl Training {
    fn start(genera: &Path, fixture: &Fixture) -> Result<Self, String> {
        let run = fixture.path("runs/live");
        if Path::new(&run).exists() {
            std::fs::remove_dir_all(&run).map_err(|error| format!("{run}: {error}"))?;
        }
        let mut command = Command::new(genera);
        command.args(["train", &fixture.path("talk.toml"), "--run", &run, "--json"]);
        for set in [
            "train.steps=1000000",
            "train.log_every=1",
            "train.sample_every=50",
            "train.validate_every=50",
            "train.checkpoint_every=1000000",
        ] {
            command.args(["--set", set]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.map(Self).map_err(|error| format!("{}: {error}", genera.display()))
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        // One that has ended already needs no ending.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
