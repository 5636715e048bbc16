//! `cargo xtask bench`: how fast others do the same work.

use crate::process::{root, run};

/// Compares the training of whole models, then the kernels.
pub fn peers(options: &[&str]) -> Result<(), String> {
    compare("benches/peers/compare.py", options)?;
    let is_quick = options.contains(&"--quick");
    kernels(if is_quick { &["--quick"] } else { &[] })
}

/// Compares matrix products and attention.
pub fn kernels(options: &[&str]) -> Result<(), String> {
    compare("benches/peers/kernels.py", options)
}

/// Compares reading and writing with a published model.
pub fn generate(options: &[&str]) -> Result<(), String> {
    compare("benches/peers/generate.py", options)
}

/// Builds the program and runs a comparison.
fn compare(script: &str, options: &[&str]) -> Result<(), String> {
    run("cargo", &["build", "--release", "--package", "genera"])?;
    let genera = root().join("target/release/genera");
    let genera = genera.to_str().ok_or("the repository's path is not UTF-8")?;
    run("python3", &[&[script, genera], options].concat())
}
