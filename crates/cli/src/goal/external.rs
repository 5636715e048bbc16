//! A command that scores: it reads a candidate a line and prints a number a line.

use super::counted;
use crate::failure::{Failure, Outcome, While};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest line that is read of the command.
const MAX_LINE_BYTES: u64 = 4096;

/// Bytes of its error output that are shown.
const MAX_SHOWN_BYTES: u64 = 2000;

/// How often it is looked whether somebody asked to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// How long a command may take to end after its output did, until nobody waits to hear how it ended.
const MOMENT: Duration = Duration::from_secs(1);

/// Scores of candidates by a command that the shell runs, one for each line, as far as they were read; and why not further.
/// When `is_stopped` says so, the command is ended, and what was read until then is all.
///
/// # Errors
/// When it cannot be started, fails, takes longer than `timeout`, or prints something else than a number for each candidate.
/// Lines beyond the candidates leave no score at all: nobody knows which of them is a header.
pub fn scores(
    command: &str,
    candidates: &[String],
    timeout: Duration,
    is_stopped: &dyn Fn() -> bool,
) -> (Vec<f64>, Outcome<()>) {
    let mut scores = Vec::with_capacity(candidates.len());
    let outcome = start(command).during("cannot be started").and_then(|mut child| {
        let outcome = talk(&mut child, candidates, timeout, is_stopped, &mut scores);
        // Whatever came of it, nothing is left running.
        end(&mut child);
        let _ = child.wait();
        outcome
    });
    (scores, outcome.during(format!("the objective {command:?}")))
}

/// Starts a command as the leader of a group, so that all that it starts can be ended with it. A Ctrl-C of the terminal does not
/// reach the group: whoever waits for it ends it.
fn start(command: &str) -> io::Result<Child> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    shell.spawn()
}

/// Ends a command and all that it started. It has not been waited for yet, so its number is still its own.
fn end(child: &mut Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    let _ = child.kill();
}

/// How a command ended by itself whose output has ended, such as " and ended with exit status 3"; nothing when it goes on. It is
/// not waited for yet, so that its number stays its own.
fn ending(child: &Child) -> String {
    let begun = Instant::now();
    loop {
        if let Some(how) = how_it_ended(child) {
            return format!(" and {how}");
        }
        if begun.elapsed() > MOMENT {
            return String::new();
        }
        std::thread::sleep(GLANCE / 10);
    }
}

#[cfg(unix)]
fn how_it_ended(child: &Child) -> Option<String> {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let glance = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(Pid::from_child(child)), glance).ok()??;
    let exit = status.exit_status().map(|status| format!("ended with exit status {status}"));
    exit.or_else(|| status.terminating_signal().map(|signal| format!("was ended by signal {signal}")))
}

#[cfg(not(unix))]
fn how_it_ended(_child: &Child) -> Option<String> {
    None
}

/// Writes the candidates and reads a number for each.
fn talk(
    child: &mut Child,
    candidates: &[String],
    timeout: Duration,
    is_stopped: &dyn Fn() -> bool,
    scores: &mut Vec<f64>,
) -> Outcome<()> {
    let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Failure::new("has no input and output"));
    };
    write(input, candidates);
    let (said, lines) = (beginning_of(errors), lines_of(output));
    let (deadline, n) = (Instant::now() + timeout, candidates.len());
    loop {
        match next(&lines, deadline, is_stopped) {
            Next::Line(line) if scores.len() < n => scores.push(number(&line, scores.len())?),
            Next::Line(line) if line.trim_ascii().is_empty() => {}
            Next::Line(line) => {
                scores.clear();
                return Err(Failure::new(format!(
                    "printed more lines than the {} that it read, the first too many {:?}; it must print one number a line for \
                     each line that it reads, without a header or a sum. None of this round's scores are taken, as they may be \
                     shifted",
                    counted(n, "candidate"),
                    shown(&line)
                )));
            }
            Next::End if scores.len() == n => return Ok(()),
            Next::End => {
                let status = ending(child);
                end(child);
                let said = said.join().unwrap_or_default();
                let said = if said.is_empty() { String::new() } else { format!("; it said: {said}") };
                return Err(Failure::new(format!(
                    "printed {} for {}{status}; it must print one number a line for each line that it reads{said}",
                    counted(scores.len(), "number"),
                    counted(n, "candidate")
                )));
            }
            Next::Late if scores.len() == n => {
                return Err(Failure::new(format!(
                    "printed all {}, but did not end within {} s; it must end where its input ends",
                    counted(n, "score"),
                    timeout.as_secs_f64()
                )));
            }
            Next::Late => {
                return Err(Failure::new(format!(
                    "took longer than {} s for {} and printed {} of their scores; give it more time with --objective-timeout, or \
                     let it flush its output after each line",
                    timeout.as_secs_f64(),
                    counted(n, "candidate"),
                    scores.len()
                )));
            }
            Next::Stopped => return Ok(()),
        }
    }
}

/// Writes the candidates, a line each, on a thread of its own. A command that reads nothing breaks the pipe; what it prints
/// decides.
fn write(mut input: impl Write + Send + 'static, candidates: &[String]) {
    let text: String = candidates.iter().map(|candidate| format!("{}\n", one_line(candidate))).collect();
    std::thread::spawn(move || input.write_all(text.as_bytes()));
}

/// The beginning of what is said on the error output, once it ends.
fn beginning_of(mut errors: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut shown = Vec::new();
        let _ = (&mut errors).take(MAX_SHOWN_BYTES).read_to_end(&mut shown);
        // The rest is read as well, so that the command does not wait for us.
        let _ = io::copy(&mut errors, &mut io::sink());
        String::from_utf8_lossy(&shown).trim().to_owned()
    })
}

/// The lines of an output as they come.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        loop {
            let mut line = Vec::new();
            let read = (&mut output).take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
            let ends = !read.is_ok_and(|n| n > 0);
            if ends || send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// What comes next of a command.
enum Next {
    /// A line of its output.
    Line(Vec<u8>),
    /// The end of its output.
    End,
    /// The end of its time.
    Late,
    /// Somebody asked to stop.
    Stopped,
}

fn next(lines: &Receiver<Vec<u8>>, deadline: Instant, is_stopped: &dyn Fn() -> bool) -> Next {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if is_stopped() {
            return Next::Stopped;
        }
        if left.is_zero() {
            return Next::Late;
        }
        match lines.recv_timeout(left.min(GLANCE)) {
            Ok(line) => return Next::Line(line),
            Err(RecvTimeoutError::Disconnected) => return Next::End,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn number(line: &[u8], i: usize) -> Outcome<f64> {
    let text = String::from_utf8_lossy(line);
    text.trim().parse().map_err(|_| {
        Failure::new(format!(
            "printed {:?} for candidate {}; expected a number (nan for one that cannot be scored)",
            shown(line),
            i + 1
        ))
    })
}

/// A line as it is shown, not too long.
fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim().chars().take(80).collect()
}

/// A candidate on one line.
pub fn one_line(text: &str) -> String {
    text.trim_end_matches('\n').replace(['\n', '\r'], " ")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(400);

    fn scored(command: &str, candidates: &[&str], timeout: Duration) -> (Vec<f64>, Result<(), String>) {
        let candidates: Vec<String> = candidates.iter().map(|candidate| (*candidate).to_owned()).collect();
        let (scores, outcome) = scores(command, &candidates, timeout, &|| false);
        (scores, outcome.map_err(|failure| format!("{failure:?}")))
    }

    /// What is said of a command for two candidates, and how many scores are kept.
    fn check(command: &str, expect: &str, n_kept: usize) {
        let (scores, outcome) = scored(command, &["a", "bb"], SHORT);
        let message = outcome.expect_err(command);
        assert!(message.contains(expect), "{command}: {message}");
        assert_eq!(scores.len(), n_kept, "{command}");
    }

    #[test]
    fn a_number_is_read_for_each_line() {
        let count = "while read -r line; do echo ${#line}; done";
        assert_eq!(scored(count, &["a", "bb", "c\nd"], LONG), (vec![1.0, 2.0, 3.0], Ok(())));
        assert_eq!(scored("echo 1; echo 2; echo", &["a", "b"], LONG), (vec![1.0, 2.0], Ok(())), "a blank line is none");
    }

    #[test]
    fn commands_that_fail_hang_or_print_garbage_are_named_and_what_was_read_is_kept() {
        check("cat", "printed \\\"a\\\" for candidate 1", 0);
        check("echo 1", "printed 1 number for 2 candidates and ended with exit status 0", 1);
        check("echo 1; echo oops", "printed \\\"oops\\\" for candidate 2", 1);
        check("sleep 20", "took longer than 0.4 s", 0);
        check("echo 1; sleep 20", "printed 1 of their scores", 1);
        check("echo 1; echo 2; sleep 20", "printed all 2 scores, but did not end", 2);
        check("echo oh no >&2; exit 3", "it said: oh no", 0);
        check("no-such-program-here", "not found", 0);
    }

    #[test]
    fn how_a_command_ended_is_told() {
        check("exit 3", "printed 0 numbers for 2 candidates and ended with exit status 3; it must", 0);
        check("kill $$", "and was ended by signal 15; it must", 0);
        check("exec >&-; sleep 20", "printed 0 numbers for 2 candidates; it must", 0);
    }

    #[test]
    fn more_lines_than_candidates_shift_no_scores() {
        check(
            "echo 0; echo 1; echo 2",
            "printed more lines than the 2 candidates that it read, the first too many \\\"2\\\"",
            0,
        );
    }

    #[test]
    fn what_was_read_is_kept_when_somebody_asks_to_stop() {
        let (candidates, begun) = (["a", "b"].map(str::to_owned), Instant::now());
        let is_stopped = || begun.elapsed() > SHORT;
        let (scores, outcome) = scores("echo 1; sleep 20", &candidates, LONG, &is_stopped);
        assert!(outcome.is_ok() && scores == [1.0] && begun.elapsed() < LONG / 2, "{scores:?} {outcome:?}");
    }

    #[test]
    fn all_that_a_command_started_ends_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("late");
        check(&format!("(sleep 1; touch {}) | cat", file.display()), "took longer", 0);
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!file.exists(), "what the shell had started went on");
    }
}
