//! The threads on which templates run, and what becomes of one that does not end.

use super::template::problem;
use crate::Result;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

/// Longest time that rendering may take; a long conversation takes some milliseconds.
pub(super) const DEADLINE: Duration = Duration::from_millis(900);
/// Stack for rendering: values that hold each other are freed recursively, as deep as the fuel reaches.
const STACK_BYTES: usize = 256 << 20;
/// Letters of a template that name it in a message.
const SHOWN_LETTERS: usize = 60;

pub(super) const ENDLESS: &str =
    "it does not come to an end, or writes more text than a conversation of this length can need";

/// Those of this process.
pub(super) static RENDERERS: Renderers = Renderers::new(DEADLINE);

/// Runs renderings, each on a thread with a deep stack.
///
/// What they do costs fuel, so that they end by themselves; the deadline is for computers on which the fuel lasts longer, and for
/// what nobody has counted. A thread cannot be stopped from outside: while one runs on, all other renderings are refused, so that
/// threads and memory do not pile up.
pub(super) struct Renderers {
    deadline: Duration,
    overdue: Mutex<Vec<Overdue>>,
}

/// A template that was given up, and whether its thread is still there.
struct Overdue {
    thread: Weak<()>,
    beginning: String,
}

impl Renderers {
    const fn new(deadline: Duration) -> Self {
        Self { deadline, overdue: Mutex::new(Vec::new()) }
    }

    /// The beginning of a template that runs on behind its deadline.
    pub(super) fn overdue(&self) -> Option<String> {
        let mut given_up = self.overdue.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.retain(|overdue| overdue.thread.strong_count() > 0);
        given_up.first().map(|overdue| overdue.beginning.clone())
    }

    /// Renders the template `source`, or gives it up when the deadline has passed.
    pub(super) fn run(&self, source: &str, render: impl FnOnce() -> Result<String> + Send + 'static) -> Result<String> {
        if let Some(beginning) = self.overdue() {
            return Err(problem(format!(
                "no conversation is written while the template that begins with {beginning:?} runs on behind its deadline; \
                 start the program again, with another template for that model (chat_template.jinja beside its tokenizer)"
            )));
        }
        let (sender, receiver) = mpsc::channel();
        let running = Arc::new(());
        let thread = Arc::downgrade(&running);
        let builder = std::thread::Builder::new().name("chat template".to_owned()).stack_size(STACK_BYTES);
        let spawned = builder.spawn(move || {
            // Nobody listens any more when the deadline has passed.
            drop(sender.send(render()));
            drop(running);
        });
        spawned.map_err(|error| problem(format!("there is no thread to render it: {error}")))?;
        match receiver.recv_timeout(self.deadline) {
            Ok(rendered) => rendered,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let beginning = source.chars().take(SHOWN_LETTERS).collect();
                self.overdue.lock().unwrap_or_else(PoisonError::into_inner).push(Overdue { thread, beginning });
                Err(problem(ENDLESS.to_owned()))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(problem("the template engine failed".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_runs_on_stops_all_others_until_it_ends() {
        let renderers = Renderers::new(Duration::from_millis(20));
        let (end, is_ended) = mpsc::channel::<()>();
        let endless = move || {
            let _ = is_ended.recv();
            Ok(String::new())
        };
        let error = renderers.run("{{ endless }}", endless).unwrap_err().to_string();
        assert!(error.contains("does not come to an end"), "{error}");
        let error = renderers.run("{{ other }}", || Ok("a".to_owned())).unwrap_err().to_string();
        assert!(error.contains("begins with \"{{ endless }}\""), "{error}");
        drop(end);
        while renderers.overdue().is_some() {
            std::thread::yield_now();
        }
        assert_eq!(renderers.run("{{ other }}", || Ok("a".to_owned())).unwrap(), "a");
    }
}
