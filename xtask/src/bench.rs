//! `cargo xtask bench peers`: how fast others train the same models.

use crate::process::{root, run};

/// Builds the program and runs the comparison.
pub fn peers(options: &[&str]) -> Result<(), String> {
    run("cargo", &["build", "--release", "--package", "genera"])?;
    let genera = root().join("target/release/genera");
    let genera = genera.to_str().ok_or("the repository's path is not UTF-8")?;
    run("python3", &[&["benches/peers/compare.py", genera], options].concat())
}
