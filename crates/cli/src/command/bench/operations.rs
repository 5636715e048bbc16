//! Where the time of a step goes.

use genera_tensor::{Pass, Profile, Spent};
use serde::Serialize;
use std::time::Duration;

/// One operation of a step.
#[derive(Debug, Serialize)]
pub(super) struct Operation {
    name: &'static str,
    /// Forward or backward, or neither.
    pass: &'static str,
    n_calls: f64,
    seconds: f64,
    share: f64,
}

/// The time of a step by operation, the longest first.
pub(super) fn of(profile: &Profile, n_steps: u32) -> Vec<Operation> {
    let spent = profile.spent();
    let whole: Duration = spent.iter().map(|(_, _, spent)| spent.time).sum();
    let one = |(name, pass, spent): (&'static str, Pass, Spent)| Operation {
        name,
        pass: match pass {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
            Pass::Outside => "",
        },
        n_calls: spent.n as f64 / f64::from(n_steps),
        seconds: spent.time.as_secs_f64() / f64::from(n_steps),
        share: spent.time.as_secs_f64() / whole.as_secs_f64(),
    };
    let mut operations: Vec<Operation> = spent.into_iter().map(one).collect();
    operations.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    operations
}

/// Prints the operations, one a line.
pub(super) fn print(operations: &[Operation]) {
    println!("\n{:<16} {:<9} {:>6} {:>9} {:>6}", "a step", "", "calls", "ms", "%");
    for Operation { name, pass, n_calls, seconds, share } in operations {
        println!("{name:<16} {pass:<9} {n_calls:>6.0} {:>9.2} {:>6.1}", 1e3 * seconds, 100.0 * share);
    }
}
