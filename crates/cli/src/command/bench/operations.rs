//! Where the time of a step goes.

use crate::show::prose::width;
use genera_tensor::{Pass, Profile, Spent};
use serde::Serialize;
use std::io::IsTerminal;

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

/// Columns of a line with everything; in a narrower terminal it has no calls and shorter gaps.
const WIDTH: usize = 50;

/// Prints the operations, one a line.
pub(super) fn print(operations: &[Operation]) {
    let is_terminal = std::io::stdout().is_terminal();
    println!();
    for line in lines(operations, if is_terminal { width() } else { usize::MAX }) {
        println!("{line}");
    }
}

/// A head, the operations and their sum, as lines that fit into this many columns where 40 are enough for them.
fn lines(operations: &[Operation], n_columns: usize) -> Vec<String> {
    let line = |name: &str, pass: &str, calls: &str, ms: &str, percent: &str| {
        if n_columns < WIDTH {
            format!("{name:<14} {pass:<8} {ms:>8} {percent:>5}")
        } else {
            format!("{name:<16} {pass:<9} {calls:>6} {ms:>9} {percent:>6}")
        }
    };
    let (ms, percent) = (|seconds: f64| format!("{:.2}", 1e3 * seconds), |share: f64| format!("{:.1}", 100.0 * share));
    let one = |part: &Operation| {
        line(part.name, part.pass, &format!("{:.0}", part.n_calls), &ms(part.seconds), &percent(part.share))
    };
    let sum = |of: fn(&Operation) -> f64| operations.iter().map(of).sum::<f64>();
    let together = line("together", "", "", &ms(sum(|part| part.seconds)), &percent(sum(|part| part.share)));
    let head = line("a step", "", "calls", "ms", "%");
    [head].into_iter().chain(operations.iter().map(one)).chain([together]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_wider_than_the_terminal() {
        let part = |name, pass| Operation { name, pass, n_calls: 123_456.0, seconds: 12.345_678, share: 0.5 };
        let parts = [part("cross_entropy", "backward"), part("other", "")];
        let narrow = lines(&parts, 40);
        assert!(narrow.iter().all(|line| line.chars().count() <= 40), "{narrow:#?}");
        assert_eq!(narrow[1], "cross_entropy  backward 12345.68  50.0");
        assert_eq!(narrow[3], "together                24691.36 100.0");
        let wide = lines(&parts, WIDTH);
        assert!(wide.iter().all(|line| line.chars().count() == WIDTH), "{wide:#?}");
        assert!(wide[0].contains("calls") && wide[1].contains(" 123456 "), "{wide:#?}");
    }
}
