//! The threads on which templates run, and what becomes of one that does not end.

use super::template::problem;
use crate::Result;
use std::mem;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
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

/// A template that was given up, and its thread.
struct Overdue {
    thread: JoinHandle<()>,
    beginning: String,
}

impl Renderers {
    const fn new(deadline: Duration) -> Self {
        Self { deadline, overdue: Mutex::new(Vec::new()) }
    }

    /// The beginning of a template that runs on behind its deadline.
    pub(super) fn overdue(&self) -> Option<String> {
        let mut given_up = self.overdue.lock().unwrap_or_else(PoisonError::into_inner);
        let (ended, running) = mem::take(&mut *given_up).into_iter().partition(|overdue| overdue.thread.is_finished());
        *given_up = running;
        ended.into_iter().for_each(|overdue: Overdue| drop(overdue.thread.join()));
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
        let builder = std::thread::Builder::new().name("chat template".to_owned()).stack_size(STACK_BYTES);
        let spawned = builder.spawn(move || {
            // Nobody listens any more when the deadline has passed.
            drop(sender.send(render()));
        });
        let thread = spawned.map_err(|error| problem(format!("there is no thread to render it: {error}")))?;
        match receiver.recv_timeout(self.deadline) {
            Ok(rendered) => {
                // It only clears up after itself: a thread that outlives its rendering would keep its stack, and could still
                // run while the process ends.
                let _ = thread.join();
                rendered
            }
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
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    #[test]
    fn no_thread_outlives_its_rendering() {
        /// Says that its thread is ending, after a while.
        struct Last(Arc<AtomicUsize>);

        impl Drop for Last {
            fn drop(&mut self) {
                (0..10_000).for_each(|_| std::thread::yield_now());
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }

        thread_local!(static LAST: RefCell<Option<Last>> = const { RefCell::new(None) });
        let (renderers, n_ended) = (Renderers::new(DEADLINE), Arc::new(AtomicUsize::new(0)));
        for n in 1..=10 {
            let last = Last(n_ended.clone());
            let render = move || {
                LAST.set(Some(last));
                Ok(String::new())
            };
            renderers.run("", render).unwrap();
            assert_eq!(n_ended.load(Ordering::SeqCst), n);
        }
    }
}
