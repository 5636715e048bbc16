//! `genera check`: what a user can verify on their own machine.

use super::Common;
use crate::checks::{self, Finding};
use crate::failure::Outcome;
use crate::machine;
use std::process::ExitCode;

/// Check gradients, kernels, caches, masks and reproducibility on this machine.
///
/// Prints a table with the measured errors; the exit code is 1 when one is too large.
///
/// Example: genera check --quick
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave out the slower half: bf16, and the reference kernels on whole models.
    #[arg(long)]
    quick: bool,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let n_threads = common.threads.map_or_else(machine::n_cores, usize::from);
    let mut findings: Vec<Finding> = Vec::new();
    for (title, check) in checks::ALL {
        if !common.json {
            println!("{title}");
        }
        for finding in check(arguments.quick, n_threads)? {
            if !common.json {
                println!("  {finding}");
            }
            findings.push(finding);
        }
    }
    let n_failed = findings.iter().filter(|finding| !finding.is_passed()).count();
    if common.json {
        println!("{}", serde_json::json!({ "passed": n_failed == 0, "n_failed": n_failed, "findings": findings }));
    } else if n_failed == 0 {
        println!("all {} checks passed", findings.len());
    } else {
        println!("{n_failed} of {} checks FAILED", findings.len());
    }
    Ok(if n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
