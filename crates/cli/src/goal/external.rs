//! A command that scores: it reads a candidate a line and prints a number a line.

use crate::failure::{Failure, Outcome, While};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest line that is read of the command.
const MAX_LINE_BYTES: u64 = 4096;

/// Bytes of its error output that are shown.
const MAX_SHOWN_BYTES: u64 = 2000;

/// Scores of candidates by a command that the shell runs, one for each line.
///
/// # Errors
/// When it cannot be started, fails, takes longer than `timeout`, or prints something else than a number for each candidate.
pub fn scores(command: &str, candidates: &[String], timeout: Duration) -> Outcome<Vec<f64>> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .during(format!("cannot run the objective {command:?}"))?;
    let outcome = talk(&mut child, candidates, timeout);
    // Whatever came of it, nothing is left running.
    let _ = child.kill();
    let status = child.wait();
    let scores = outcome.during(format!("the objective {command:?}"))?;
    match status {
        Ok(status) if !status.success() && scores.len() < candidates.len() => {
            Err(Failure::new(format!("the objective {command:?} ended with {status}")))
        }
        _ => Ok(scores),
    }
}

/// Writes the candidates and reads a number for each.
fn talk(child: &mut Child, candidates: &[String], timeout: Duration) -> Outcome<Vec<f64>> {
    let (Some(mut input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Failure::new("has no input and output"));
    };
    let text: String = candidates.iter().map(|candidate| format!("{}\n", one_line(candidate))).collect();
    // A command that reads nothing breaks the pipe; what it prints decides.
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let shown = std::thread::spawn(move || {
        let mut shown = Vec::new();
        let mut errors = errors;
        let _ = (&mut errors).take(MAX_SHOWN_BYTES).read_to_end(&mut shown);
        // The rest is read as well, so that the command does not wait for us.
        let _ = std::io::copy(&mut errors, &mut std::io::sink());
        String::from_utf8_lossy(&shown).trim().to_owned()
    });
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
    let (deadline, mut scores) = (Instant::now() + timeout, Vec::with_capacity(candidates.len()));
    while scores.len() < candidates.len() {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => scores.push(number(&line, scores.len())?),
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                return Err(Failure::new(format!(
                    "took longer than {} s for {} candidates and printed {} of their scores; give it more time with \
                     --objective-timeout, or let it flush its output after each line",
                    timeout.as_secs_f64(),
                    candidates.len(),
                    scores.len()
                )));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let _ = child.kill();
                let said = shown.join().unwrap_or_default();
                let said = if said.is_empty() { String::new() } else { format!("; it said: {said}") };
                return Err(Failure::new(format!(
                    "printed {} numbers for {} candidates; it must print one number a line for each line that it reads{said}",
                    scores.len(),
                    candidates.len()
                )));
            }
        }
    }
    drop(writer);
    Ok(scores)
}

fn number(line: &[u8], i: usize) -> Outcome<f64> {
    let text = String::from_utf8_lossy(line);
    text.trim().parse().map_err(|_| {
        Failure::new(format!(
            "printed {:?} for candidate {}; expected a number (nan for one that cannot be scored)",
            text.trim().chars().take(80).collect::<String>(),
            i + 1
        ))
    })
}

/// A candidate on one line.
pub fn one_line(text: &str) -> String {
    text.trim_end_matches('\n').replace(['\n', '\r'], " ")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn check(command: &str, expect: &str) {
        let candidates = ["a", "bb"].map(str::to_owned);
        let error = scores(command, &candidates, Duration::from_millis(400)).expect_err(command);
        let message = format!("{error:?}");
        assert!(message.contains(expect), "{command}: {message}");
    }

    #[test]
    fn a_number_is_read_for_each_line() {
        let candidates = ["a", "bb", "c\nd"].map(str::to_owned);
        let lens = scores("while read -r line; do echo ${#line}; done", &candidates, Duration::from_secs(20));
        assert_eq!(lens.unwrap(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn commands_that_fail_hang_or_print_garbage_are_named() {
        check("cat", "printed \\\"a\\\" for candidate 1");
        check("echo 1", "printed 1 numbers for 2 candidates");
        check("sleep 20", "took longer than 0.4 s");
        check("echo oh no >&2; exit 3", "it said: oh no");
        check("no-such-program-here", "not found");
    }
}
