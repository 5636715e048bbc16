//! `cargo xtask soak`: a running server under load, under attack, and at its end. One load program, which prints figures as a
//! table for people and as JSON for programs.

mod client;
mod disconnects;
mod ending;
mod figures;
mod hostile;
mod identical;
mod random;
mod server;
mod slow;
mod streams;

use crate::process::run;
use figures::Figures;
pub use server::{Fixture, Server};
use std::path::PathBuf;

/// How much is asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Seeded requests that must be the same alone and among others.
    n_seeded: usize,
    /// Streams at once.
    n_streams: usize,
    /// Clients that hang up.
    n_disconnects: usize,
    /// Connections that say nothing.
    n_idle: usize,
    /// Damaged and made-up requests.
    n_hostile: usize,
    /// Streams that are open when the server is told to end.
    n_open: usize,
    /// Seed of everything that is drawn.
    seed: u64,
    /// The part to run; all where there is none.
    only: Option<String>,
    /// The program; built for release where none is named.
    genera: Option<PathBuf>,
}

const FULL: Plan = Plan {
    n_seeded: 500,
    n_streams: 1000,
    n_disconnects: 2000,
    n_idle: 2000,
    n_hostile: 1_000_000,
    n_open: 100,
    seed: 1,
    only: None,
    genera: None,
};
const SHORT: Plan =
    Plan { n_seeded: 64, n_streams: 100, n_disconnects: 100, n_idle: 200, n_hostile: 2000, n_open: 20, ..FULL };

type Part = fn(&Plan, &Server, &mut Figures) -> Result<(), String>;

/// What is run against one server after another part; the end of the server comes last, with one of its own.
const PARTS: [(&str, Part); 5] = [
    ("identical", identical::run),
    ("streams", streams::run),
    ("disconnects", disconnects::run),
    ("slow", slow::run),
    ("hostile", hostile::run),
];

/// Runs the parts; fails when a figure misses its goal.
pub fn run_all(options: &[&str]) -> Result<(), String> {
    let plan = plan(options)?;
    // A connection is a file, of which many systems give a program 1024 unless it asks.
    let id = std::process::id().to_string();
    let _ = std::process::Command::new("prlimit").args(["--pid", &id, "--nofile=8192:"]).status();
    let genera = program(&plan)?;
    let fixture = Fixture::make(&genera)?;
    let mut figures = Figures::default();
    let is_wanted = |name: &str| plan.only.as_deref().is_none_or(|only| only == name);
    for (name, part) in PARTS.into_iter().filter(|(name, _)| is_wanted(name)) {
        let server = fixture.start(&[])?;
        part(&plan, &server, &mut figures)?;
        server.check_log(name, &mut figures);
    }
    if is_wanted("ending") {
        ending::run(&plan, fixture.start(&["--drain-seconds", "1"])?, &mut figures)?;
    }
    eprint!("{}", figures.table());
    println!("{}", figures.json());
    figures.verdict()
}

fn plan(options: &[&str]) -> Result<Plan, String> {
    let mut plan = if options.contains(&"--short") { SHORT } else { FULL };
    let mut rest = options.iter().filter(|option| **option != "--short");
    while let Some(option) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{option} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{option} {value} is no number"));
        match *option {
            "--seeded" => plan.n_seeded = number()?,
            "--streams" => plan.n_streams = number()?,
            "--disconnects" => plan.n_disconnects = number()?,
            "--idle" => plan.n_idle = number()?,
            "--hostile" => plan.n_hostile = number()?,
            "--open" => plan.n_open = number()?,
            "--seed" => plan.seed = number()? as u64,
            "--only" => plan.only = Some((*value).to_owned()),
            "--genera" => plan.genera = Some(PathBuf::from(value)),
            _ => {
                let known = "--short, --only PART, --genera PROGRAM, --seed, --seeded, --streams, --disconnects, --idle, --hostile, --open";
                return Err(format!("unknown option {option}; there is {known}"));
            }
        }
    }
    let known: Vec<&str> = PARTS.iter().map(|(name, _)| *name).chain(["ending"]).collect();
    match &plan.only {
        Some(only) if !known.contains(&only.as_str()) => Err(format!("no part {only}; there is {}", known.join(", "))),
        _ => Ok(plan),
    }
}

fn program(plan: &Plan) -> Result<PathBuf, String> {
    if let Some(path) = &plan.genera {
        return path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
    }
    run("cargo", &["build", "--release", "--package", "genera"])?;
    Ok(crate::process::root().join("target/release/genera"))
}
