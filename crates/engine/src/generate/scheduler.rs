//! Which requests run and how much of each is read: pure bookkeeping, without a tensor or a token.

use super::request::RequestId;
use std::collections::VecDeque;

/// How much the generator does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests R in progress at once; others wait.
    pub n_running: usize,
    /// Prompt tokens read in one step, beside a token for every request that goes on. Longer prompts are read in parts.
    pub n_prefill_tokens: usize,
    /// Pages of keys and values that all requests may take together, see [`Transformer::page_bytes`]. When there are no
    /// more, the request that came last gives its own up and reads again later; one that runs alone goes on beyond the
    /// limit. Not counted are what an encoder-decoder keeps of its sources, what a draft model has read, and the other prompts
    /// of guided requests.
    ///
    /// [`Transformer::page_bytes`]: crate::model::Transformer::page_bytes
    pub n_pages: usize,
    /// Of these, pages that are kept when no request needs them any more, for one that begins with the same tokens.
    pub n_kept_pages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { n_running: 64, n_prefill_tokens: 512, n_pages: usize::MAX, n_kept_pages: 0 }
    }
}

/// First come, first served, with as many at once as the limits allow.
#[derive(Debug)]
pub(super) struct Scheduler {
    limits: Limits,
    waiting: VecDeque<RequestId>,
    /// In the order in which they were admitted.
    running: Vec<RequestId>,
}

impl Scheduler {
    /// # Panics
    /// When the limits allow nothing.
    pub(super) fn new(limits: Limits) -> Self {
        assert!(limits.n_running > 0, "a generator must be allowed to run at least one request");
        assert!(limits.n_prefill_tokens > 0, "a generator must be allowed to read at least one token at a time");
        Self { limits, waiting: VecDeque::new(), running: Vec::new() }
    }

    /// A request takes its place at the end of the queue.
    pub(super) fn submit(&mut self, id: RequestId) {
        self.waiting.push_back(id);
    }

    /// A request gives up its place.
    pub(super) fn leave(&mut self, id: RequestId) {
        self.waiting.retain(|&waiting| waiting != id);
        self.running.retain(|&running| running != id);
    }

    /// The request that was admitted last waits again, before all others; none when it is the only one.
    pub(super) fn put_off(&mut self) -> Option<RequestId> {
        let id = if self.running.len() > 1 { self.running.pop() } else { None };
        self.waiting.extend(id);
        self.waiting.rotate_right(usize::from(id.is_some()));
        id
    }

    /// The request that is to be let in next, if there is a place for it.
    pub(super) fn next(&self) -> Option<RequestId> {
        self.waiting.front().copied().filter(|_| self.running.len() < self.limits.n_running)
    }

    /// Lets the next request in.
    pub(super) fn admit(&mut self) {
        self.running.extend(self.waiting.pop_front());
    }

    /// How many tokens of each running request are read next, from how many each has yet to read. One that goes on by its
    /// newest token reads it whatever the others do; longer stretches share the limit, first come, first served.
    pub(super) fn shares(&self, n_unread: &[usize], is_divisible: &[bool]) -> Vec<usize> {
        let mut left = self.limits.n_prefill_tokens;
        let share = |(&n_unread, &is_divisible): (&usize, &bool)| {
            if n_unread <= 1 {
                return n_unread;
            }
            let share = if is_divisible || left == 0 { n_unread.min(left) } else { n_unread };
            left = left.saturating_sub(share);
            share
        };
        n_unread.iter().zip(is_divisible).map(share).collect()
    }

    /// The requests that run.
    pub(super) fn running(&self) -> &[RequestId] {
        &self.running
    }

    /// Requests in the queue.
    pub(super) fn n_waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(n_running: usize, n_prefill_tokens: usize, n: u64) -> Scheduler {
        let mut scheduler = Scheduler::new(Limits { n_running, n_prefill_tokens, ..Limits::default() });
        (0..n).for_each(|i| scheduler.submit(RequestId(i)));
        scheduler
    }

    fn ids(ids: &[u64]) -> Vec<RequestId> {
        ids.iter().copied().map(RequestId).collect()
    }

    fn admit_all(requests: &mut Scheduler) {
        while requests.next().is_some() {
            requests.admit();
        }
    }

    #[test]
    fn requests_are_admitted_in_order_while_there_are_places() {
        let mut requests = scheduler(3, 100, 5);
        admit_all(&mut requests);
        assert_eq!((requests.running(), requests.n_waiting()), (ids(&[0, 1, 2]).as_slice(), 2));
        requests.leave(RequestId(1));
        requests.leave(RequestId(3));
        assert_eq!(requests.next(), Some(RequestId(4)));
        admit_all(&mut requests);
        assert_eq!((requests.running(), requests.next()), (ids(&[0, 2, 4]).as_slice(), None));
    }

    #[test]
    fn the_last_is_put_off_and_comes_back_first() {
        let mut requests = scheduler(3, 100, 4);
        admit_all(&mut requests);
        assert_eq!(requests.put_off(), Some(RequestId(2)));
        assert_eq!(requests.put_off(), Some(RequestId(1)));
        assert_eq!(requests.put_off(), None, "one alone goes on");
        admit_all(&mut requests);
        assert_eq!((requests.running(), requests.n_waiting()), (ids(&[0, 1, 2]).as_slice(), 1));
    }

    #[test]
    fn long_stretches_share_the_limit_and_single_tokens_do_not() {
        let requests = scheduler(8, 10, 0);
        assert_eq!(requests.shares(&[1, 4, 1, 9, 3], &[true; 5]), [1, 4, 1, 6, 0]);
        assert_eq!(requests.shares(&[25, 3, 0], &[true; 3]), [10, 0, 0]);
        let divisible = [true, false, false];
        assert_eq!(
            requests.shares(&[4, 25, 3], &divisible),
            [4, 25, 0],
            "what must be read at once is, while any is left"
        );
    }
}
