//! Making batches ahead of time, on a thread of their own.

use super::Loader;
use crate::Result;
use genera_tokens::Batch;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// The batches of a [`Loader`] from a given one on, without end, a few of them made ahead; ends after an error.
#[derive(Debug)]
pub struct Prefetch {
    batches: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
}

impl Prefetch {
    /// The batches from number `first` on, at most `depth` of which wait.
    pub fn new(loader: Arc<Loader>, first: u64, depth: usize) -> Self {
        let (sender, batches) = sync_channel(depth);
        let work = move || {
            for index in first.. {
                let batch = loader.batch(index);
                let is_last = batch.is_err();
                // Nobody waits for batches any more when sending fails.
                if sender.send(batch).is_err() || is_last {
                    return;
                }
            }
        };
        Self { batches: Some(batches), thread: Some(std::thread::spawn(work)) }
    }
}

impl Iterator for Prefetch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.batches.as_ref()?.recv() {
            Ok(batch) => Some(batch),
            Err(_) => {
                // The thread has ended: after an error that was given out, or in a panic, which goes on here.
                if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                    std::panic::resume_unwind(panic);
                }
                None
            }
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic on that thread does not matter to one who wants no more batches.
            let _ = thread.join();
        }
    }
}
