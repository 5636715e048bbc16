//! `cargo xtask check`: everything that keeps the repository in order.

use crate::process::{run, run_with};
use crate::{links, reference};

/// Runs every check in turn and stops at the first that fails.
pub fn run_all(full: bool) -> Result<(), String> {
    run("cargo", &["fmt", "--all", "--check"])?;
    run("cargo", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    run_with("cargo", &["doc", "--workspace", "--no-deps", "--quiet"], &[("RUSTDOCFLAGS", "-D warnings")])?;
    links::check()?;
    reference::check()?;
    licences()?;
    if full { crate::full::run_all() } else { Ok(()) }
}

/// Licences, duplicates and sources of the dependencies. Advisories need a database from the network, so they are
/// checked only where it can be had: `cargo deny check advisories`.
fn licences() -> Result<(), String> {
    if run("cargo", &["deny", "--version"]).is_err() {
        return Err("cargo-deny is not installed; run: cargo install --locked cargo-deny --no-default-features".into());
    }
    run("cargo", &["deny", "check", "bans", "licenses", "sources"])
}
