//! Where the time of a step goes.

use genera_tensor::{Pass, Profile, Spent};
use serde::Serialize;

/// The name of what no operation covers.
pub(super) const OTHER: &str = "other";

/// One operation of a step.
#[derive(Debug, Serialize)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    /// Forward or backward, or neither.
    pass: &'static str,
    n_calls: f64,
    pub(super) seconds: f64,
    /// Of the mean step.
    share: f64,
}

/// The time of a step by operation, the longest first. They sum to the mean step where whoever takes the steps marks its end
/// with [`OTHER`].
pub(super) fn of(profile: &Profile, n_steps: u32, mean_seconds: f64) -> Vec<Operation> {
    let one = |(name, pass, spent): (&'static str, Pass, Spent)| Operation {
        name,
        pass: match pass {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
            Pass::Outside => "",
        },
        n_calls: spent.n as f64 / f64::from(n_steps),
        seconds: spent.time.as_secs_f64() / f64::from(n_steps),
        share: spent.time.as_secs_f64() / f64::from(n_steps) / mean_seconds,
    };
    let mut operations: Vec<Operation> = profile.spent().into_iter().map(one).collect();
    operations.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    operations
}

/// Prints the operations, one a line.
pub(super) fn print(operations: &[Operation]) {
    println!("\n{:<16} {:<9} {:>6} {:>9} {:>6}", "a step", "", "calls", "ms", "%");
    for Operation { name, pass, n_calls, seconds, share } in operations {
        println!("{name:<16} {pass:<9} {n_calls:>6.0} {:>9.2} {:>6.1}", 1e3 * seconds, 100.0 * share);
    }
    let (seconds, share): (f64, f64) = operations
        .iter()
        .map(|part| (part.seconds, part.share))
        .fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    println!("{:<16} {:<9} {:>6} {:>9.2} {:>6.1}", "together", "", "", 1e3 * seconds, 100.0 * share);
}
