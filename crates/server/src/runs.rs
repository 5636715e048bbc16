//! The runs of this machine, as their directories tell of them: read only, and never more than a bounded part at a time.

use crate::limits::{LOG_PART_BYTES, N_RUNS, N_SAMPLES, RECIPE_BYTES, SAMPLE_BYTES};
use crate::problem::Problem;
use genera_engine::checkpoint::RunLock;
use genera_engine::recipe::Recipe;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Every run in a directory, the newest first.
pub fn list(directory: Option<&Path>) -> Value {
    let entries = directory.and_then(|directory| std::fs::read_dir(directory).ok());
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut runs: Vec<(u64, PathBuf)> =
        paths.filter(|path| path.join("recipe.toml").is_file()).map(|path| (modified(&path), path)).collect();
    runs.sort_by(|a, b| b.cmp(a));
    runs.truncate(N_RUNS);
    let runs: Vec<Value> = runs.iter().map(|(modified, path)| summary(path, *modified)).collect();
    let shown = directory.map(|directory| directory.display().to_string());
    json!({ "directory": shown, "runs": runs })
}

/// One run: its recipe and samples, and the rows of its log from byte `after` on; `next` is where to go on reading.
///
/// # Errors
/// 404 when there is no such run, 500 when it cannot be read.
pub fn one(directory: Option<&Path>, name: &str, after: u64) -> Result<Value, Problem> {
    let path = find(directory, name)?;
    let (rows, next) = rows(&path.join("log.jsonl"), after)
        .map_err(|error| Problem::internal(format!("the log of the run {name} cannot be read: {error}")))?;
    let mut run = summary(&path, modified(&path));
    run["rows"] = Value::Array(rows);
    run["next"] = json!(next);
    run["samples"] = samples(&path.join("samples"));
    run["recipe"] = json!(beginning(&path.join("recipe.toml"), RECIPE_BYTES));
    Ok(run)
}

/// The directory of a run. A name is one step down and nothing else.
fn find(directory: Option<&Path>, name: &str) -> Result<PathBuf, Problem> {
    let mut parts = Path::new(name).components();
    let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(only)), None) if only == name);
    let path = directory.filter(|_| is_plain).map(|directory| directory.join(name));
    path.filter(|path| path.join("recipe.toml").is_file()).ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        let message =
            format!("there is no run `{shown}` in the directory of runs (--runs); /v1/genera/runs lists them");
        Problem { param: Some("name".to_owned()), ..Problem::new(StatusCode::NOT_FOUND, "run_not_found", message) }
    })
}

fn summary(path: &Path, modified: u64) -> Value {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let recipe = Recipe::load(&path.join("recipe.toml")).ok();
    let recipe = recipe.map(|recipe| {
        json!({
            "kind": recipe.data.kind, "preset": recipe.model.preset, "n_layers": recipe.model.n_layers,
            "d_model": recipe.model.d_model, "n_steps": recipe.train.steps,
        })
    });
    json!({
        "name": name, "is_running": RunLock::is_held(path), "modified": modified, "about": recipe,
        "last": last_row(&path.join("log.jsonl")),
    })
}

/// When the log was written last.
///
/// # Units
/// Seconds since 1970.
fn modified(run: &Path) -> u64 {
    let metadata = ["log.jsonl", "recipe.toml"].iter().find_map(|name| std::fs::metadata(run.join(name)).ok());
    let time = metadata.and_then(|metadata| metadata.modified().ok());
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |age| age.as_secs())
}

/// The newest row of a step.
fn last_row(log: &Path) -> Option<Value> {
    /// Some rows, whatever is in them.
    const TAIL: u64 = 16 << 10;
    let length = std::fs::metadata(log).ok()?.len();
    let (rows, _) = rows(log, length.saturating_sub(TAIL)).ok()?;
    rows.into_iter().rev().find(|row| row.get("loss").is_some())
}

/// The whole lines of a log from a byte on, and the byte behind them. What is no row is left out.
fn rows(log: &Path, after: u64) -> std::io::Result<(Vec<Value>, u64)> {
    let mut file = match File::open(log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        file => file?,
    };
    // A log that is shorter than what was read of it was begun anew: a run was resumed from before.
    let length = file.metadata()?.len();
    let after = if after > length { 0 } else { after };
    file.seek(SeekFrom::Start(after))?;
    let mut bytes = Vec::new();
    file.take(LOG_PART_BYTES).read_to_end(&mut bytes)?;
    let n_whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..n_whole].split(|&byte| byte == b'\n');
    let rows = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok()).filter(Value::is_object);
    // A line without an end would be waited for for ever.
    let is_stuck = n_whole == 0 && bytes.len() as u64 == LOG_PART_BYTES;
    Ok((rows.collect(), after + if is_stuck { LOG_PART_BYTES } else { n_whole as u64 }))
}

/// The newest samples, in order of the steps.
fn samples(directory: &Path) -> Value {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let step = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let step: u64 = name.strip_prefix("step-")?.strip_suffix(".txt")?.parse().ok()?;
        Some((step, path))
    };
    let mut files: Vec<(u64, PathBuf)> = entries.filter_map(|entry| step(entry.path())).collect();
    files.sort();
    let newest = files.len().saturating_sub(N_SAMPLES);
    let sample = |(step, path): &(u64, PathBuf)| json!({ "step": step, "text": beginning(path, SAMPLE_BYTES) });
    files[newest..].iter().map(sample).collect()
}

/// The beginning of a file as text.
fn beginning(path: &Path, most: u64) -> String {
    let mut bytes = Vec::new();
    // A file that cannot be read shows as empty: it may be about to be written.
    let _ = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_in(directory: &Path) -> PathBuf {
        let run = directory.join("one");
        std::fs::create_dir_all(run.join("samples")).unwrap();
        std::fs::write(run.join("recipe.toml"), "").unwrap();
        std::fs::write(run.join("samples/step-00000010.txt"), "ten").unwrap();
        std::fs::write(run.join("samples/step-00000002.txt"), "two").unwrap();
        run
    }

    #[test]
    fn a_log_is_read_on_from_where_it_was_left() {
        let directory = tempfile::tempdir().unwrap();
        let log = run_in(directory.path()).join("log.jsonl");
        std::fs::write(&log, "{\"step\":1,\"loss\":2.5}\nnonsense\n{\"step\":2,\"loss\":2.0}\n{\"st").unwrap();
        let one = |after: u64| one(Some(directory.path()), "one", after).unwrap();
        let first = one(0);
        assert_eq!(first["rows"], json!([{ "step": 1, "loss": 2.5 }, { "step": 2, "loss": 2.0 }]));
        assert_eq!(first["last"]["step"], 2);
        assert_eq!(first["samples"], json!([{ "step": 2, "text": "two" }, { "step": 10, "text": "ten" }]));
        std::fs::write(
            &log,
            "{\"step\":1,\"loss\":2.5}\nnonsense\n{\"step\":2,\"loss\":2.0}\n{\"step\":3,\"loss\":1.0}\n",
        )
        .unwrap();
        let next = one(first["next"].as_u64().unwrap());
        assert_eq!(next["rows"], json!([{ "step": 3, "loss": 1.0 }]));
        assert_eq!(one(next["next"].as_u64().unwrap())["rows"], json!([]));
        std::fs::write(&log, "{\"step\":1}\n").unwrap();
        assert_eq!(one(next["next"].as_u64().unwrap())["rows"], json!([{ "step": 1 }]), "begun anew");
    }

    #[test]
    fn only_runs_of_the_directory_are_read() {
        let directory = tempfile::tempdir().unwrap();
        run_in(directory.path());
        std::fs::create_dir(directory.path().join("inner")).unwrap();
        for name in ["", ".", "..", "../one", "inner/../one", "/etc", "two", "one/", "one/."] {
            let problem = one(Some(&directory.path().join("inner")), name, 0).unwrap_err();
            assert_eq!(problem.status, StatusCode::NOT_FOUND, "{name}");
            let within = one(Some(directory.path()), name, 0);
            assert!(within.is_err(), "{name}");
        }
        assert!(one(None, "one", 0).is_err());
        assert_eq!(list(Some(directory.path()))["runs"].as_array().unwrap().len(), 1);
        assert_eq!(list(Some(Path::new("/nowhere")))["runs"], json!([]));
    }
}
