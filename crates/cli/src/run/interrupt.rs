//! Ctrl-C: the first asks to finish the step and save, a second one stops at once.

use crate::failure::{Outcome, While};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Whether somebody asked to stop.
#[derive(Clone, Debug)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// What shells expect of a program that was ended by Ctrl-C.
const EXIT_CODE: i32 = 130;

impl Interrupt {
    /// Listens for Ctrl-C and for the signal that ends programs.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn listen() -> Outcome<Self> {
        if let Some(asked) = ASKED.get() {
            return Ok(Self { asked: asked.clone() });
        }
        let asked = Arc::new(AtomicBool::new(false));
        let on_signal = asked.clone();
        let handler = move || {
            if on_signal.swap(true, Ordering::SeqCst) {
                std::process::exit(EXIT_CODE);
            }
        };
        ctrlc::set_handler(handler).during("cannot listen for Ctrl-C")?;
        Ok(Self { asked: ASKED.get_or_init(|| asked).clone() })
    }

    /// What was asked is done; the next Ctrl-C is a first one again.
    pub fn withdraw(&self) {
        self.asked.store(false, Ordering::SeqCst);
    }

    /// Whether somebody asked to stop.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}
