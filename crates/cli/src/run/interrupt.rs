//! Ctrl-C: the first asks to finish the step and save, a second one stops at once; in a conversation none does more than to stop
//! an answer.

use crate::failure::{Outcome, While};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Whether somebody asked to stop.
#[derive(Clone, Debug)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    /// Whether nothing is under way that could be finished.
    is_idle: Arc<AtomicBool>,
}

static LISTENING: OnceLock<Interrupt> = OnceLock::new();

/// The number of the signal that Ctrl-C sends.
const CTRL_C: i32 = 2;

/// What shells expect of a program that was ended by Ctrl-C.
pub const EXIT_CODE: u8 = exit_code(CTRL_C) as u8;

/// What shells expect of a program that a signal ended.
const fn exit_code(signal: i32) -> i32 {
    128 + signal
}

impl Interrupt {
    /// Listens for Ctrl-C and for the signals that end programs: each asks to stop, and a second one ends the process.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn listen() -> Outcome<Self> {
        Self::start(|_, was_asked| was_asked, || {})
    }

    /// Listens for Ctrl-C, which asks to stop however often it comes; the signals that end programs do so at once. `parting` is
    /// called before the process ends.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn listen_for_ctrl_c(parting: fn()) -> Outcome<Self> {
        Self::start(|signal, _| signal != CTRL_C, parting)
    }

    /// Ctrl-C and the signals that end programs do so at once. `parting` is called before the process ends.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn end_at_once(parting: impl Fn() + Send + 'static) -> Outcome<()> {
        Self::start(|_, _| true, parting).map(drop)
    }

    /// `ends_at_once` gets the signal, and whether one has asked to stop before.
    fn start(ends_at_once: fn(i32, bool) -> bool, parting: impl Fn() + Send + 'static) -> Outcome<Self> {
        if let Some(listening) = LISTENING.get() {
            return Ok(listening.clone());
        }
        let new = Self { asked: Arc::default(), is_idle: Arc::default() };
        let on_signal = new.clone();
        let handler = move |signal| {
            let was_asked = on_signal.asked.swap(true, Ordering::SeqCst);
            if on_signal.is_idle.load(Ordering::SeqCst) || ends_at_once(signal, was_asked) {
                parting();
                std::process::exit(exit_code(signal));
            }
        };
        handle_signals(handler).during("cannot listen for Ctrl-C")?;
        Ok(LISTENING.get_or_init(|| new).clone())
    }

    /// What was asked is done; the next Ctrl-C is a first one again.
    pub fn withdraw(&self) {
        self.asked.store(false, Ordering::SeqCst);
    }

    /// Whether somebody asked to stop.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits for something outside, during which the first Ctrl-C ends the process: there is nothing to finish. `None` where
    /// somebody has asked to stop before.
    pub fn while_idle<T>(&self, wait: impl FnOnce() -> T) -> Option<T> {
        self.is_idle.store(true, Ordering::SeqCst);
        // Whoever asks from here on ends the process; looked at before, a signal in between would only be noted.
        let got = (!self.is_asked()).then(wait);
        self.is_idle.store(false, Ordering::SeqCst);
        got
    }
}

/// Calls `handler` on a thread of its own with the number of each signal that asks to stop.
#[cfg(unix)]
fn handle_signals(handler: impl Fn(i32) + Send + 'static) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || signals.forever().for_each(handler))?;
    Ok(())
}

/// Elsewhere the system tells of nothing but Ctrl-C.
#[cfg(not(unix))]
fn handle_signals(handler: impl Fn(i32) + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(move || handler(CTRL_C))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_waited_for_once_somebody_asked_to_stop() {
        let interrupt = Interrupt { asked: Arc::default(), is_idle: Arc::default() };
        assert_eq!(interrupt.while_idle(|| interrupt.is_idle.load(Ordering::SeqCst)), Some(true));
        interrupt.asked.store(true, Ordering::SeqCst);
        assert_eq!(interrupt.while_idle(|| unreachable!("there may be nothing to read")), None::<()>);
        assert!(!interrupt.is_idle.load(Ordering::SeqCst));
    }
}
