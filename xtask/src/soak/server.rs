//! The server under test, with tiny models of its own.

use super::client::get;
use super::figures::Figures;
use crate::process::root;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const TALK: &str = r#"
[data]
kind = "stories"
n_examples = 200
[tokenizer]
kind = "bytes"
[model]
preset = "llama"
n_layers = 2
n_heads = 2
d_model = 32
context_len = 2048
[train]
steps = 20
batch_size = 2
"#;
/// So slow that a person can stop it, and without an end of its own.
const SLOW: &str = r#"
[data]
kind = "stories"
n_examples = 50
[tokenizer]
kind = "bytes"
[model]
preset = "llama"
n_layers = 8
n_heads = 4
d_model = 256
context_len = 2048
[train]
steps = 2
batch_size = 1
validation_tokens = 2000
[generate]
max_tokens = 20
"#;
const ROWS: &str = r#"
[data]
kind = "people"
n_examples = 300
[model]
preset = "llama"
n_layers = 1
n_heads = 2
d_model = 32
[train]
steps = 20
batch_size = 4
"#;
const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

/// The program and its models.
pub struct Fixture {
    genera: PathBuf,
    directory: PathBuf,
}

impl Fixture {
    /// Trains the models, unless they are there from another time.
    pub fn make(genera: &Path) -> Result<Self, String> {
        let directory = root().join("target/soak");
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let fixture = Self { genera: genera.to_owned(), directory };
        fixture.train("talk", TALK)?;
        fixture.train("rows", ROWS)?;
        fixture.add_template("talk")?;
        Ok(fixture)
    }

    /// Adds a model that writes slowly and without an end.
    pub fn train_slow(&self) -> Result<(), String> {
        self.train("slow", SLOW)?;
        self.add_template("slow")?;
        for name in ["config.json", "generation_config.json"] {
            self.edit(&format!("slow/model/{name}"), |config| config["eos_token_id"] = Value::Null)?;
        }
        self.edit("slow/model/tokenizer_config.json", |config| config["eos_token"] = Value::Null)
    }

    /// A path below the directory of the models.
    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn train(&self, name: &str, recipe: &str) -> Result<(), String> {
        let run = self.directory.join(name);
        if run.join("model/config.json").exists() {
            return Ok(());
        }
        if run.exists() {
            fs::remove_dir_all(&run).map_err(|error| format!("{}: {error}", run.display()))?;
        }
        let path = self.directory.join(format!("{name}.toml"));
        fs::write(&path, recipe).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut command = Command::new(&self.genera);
        let output = command.arg("train").arg(&path).arg("--run").arg(&run).arg("--json").output();
        let output = output.map_err(|error| format!("{}: {error}", self.genera.display()))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(format!("training {name} failed: {errors}")) }
    }

    /// Makes a model of texts one that can be talked to.
    fn add_template(&self, name: &str) -> Result<(), String> {
        self.edit(&format!("{name}/model/tokenizer_config.json"), |config| config["chat_template"] = json!(TEMPLATE))
    }

    fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let path = self.directory.join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|_| "{}".to_owned());
        let mut config: Value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        change(&mut config);
        fs::write(&path, config.to_string()).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Starts the server at a free port.
    pub fn start(&self, more: &[&str]) -> Result<Server, String> {
        let log = self.directory.join("server.log");
        let errors = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut command = Command::new(&self.genera);
        command.args(["serve", "--json", "--port", "0", "--max-concurrent", "64", "--cache-memory", "64"]);
        command.arg("--model").arg(format!("talk={}", self.directory.join("talk/model").display()));
        command.arg("--model").arg(format!("rows={}", self.directory.join("rows").display()));
        let mut child = command
            .args(more)
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.genera.display()))?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or("the server has no output")?;
        BufReader::new(out).read_line(&mut line).map_err(|error| error.to_string())?;
        let told: Value = serde_json::from_str(&line)
            .map_err(|_| format!("the server did not start: {}", fs::read_to_string(&log).unwrap_or_default()))?;
        let address = told["address"].as_str().unwrap_or_default().trim_start_matches("http://").parse();
        let address = address.map_err(|_| format!("the server told no address: {line}"))?;
        Ok(Server { child, address, log })
    }
}

/// A running server; it ends when this is dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Memory that it has now.
    ///
    /// # Units
    /// KiB.
    pub fn resident_kib(&self) -> Result<f64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse().ok());
        kib.ok_or_else(|| format!("{path} tells no VmRSS"))
    }

    /// The number behind a line of /metrics.
    pub fn metric(&self, name: &str, model: &str) -> Result<f64, String> {
        let page = get(self.address, "/metrics")?.body;
        let start = format!("vllm:{name}{{model_name=\"{model}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&start)).and_then(|value| value.parse().ok());
        value.ok_or_else(|| format!("/metrics has no {name}"))
    }

    /// Waits until nothing is in progress; the seconds that it took.
    pub fn wait_until_idle(&self) -> Result<f64, String> {
        let start = Instant::now();
        loop {
            let mut n = 0.0;
            for model in ["talk", "rows"] {
                n += self.metric("num_requests_running", model)? + self.metric("num_requests_waiting", model)?;
            }
            if n == 0.0 {
                return Ok(start.elapsed().as_secs_f64());
            }
            if start.elapsed() > Duration::from_secs(120) {
                return Err(format!("{n} requests are still in progress although nobody waits for them"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The panics that it wrote down.
    pub fn n_panics(&self) -> usize {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains("a request failed") || line.contains("panicked")).count()
    }

    /// Counts the panics that it wrote down among the figures.
    pub fn check_log(&self, part: &str, figures: &mut Figures) {
        figures.exactly(&format!("{part}: panics in the log"), self.n_panics(), 0);
    }

    /// Tells it to end.
    pub fn terminate(&self) -> Result<(), String> {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        told.map_err(|error| error.to_string()).map(drop)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus, String> {
        self.child.wait().map_err(|error| error.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already needs no ending.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
