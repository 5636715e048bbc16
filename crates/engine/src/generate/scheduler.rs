//! Which requests are read and which go on: pure bookkeeping, without a tensor or a token.

use super::request::RequestId;
use std::collections::VecDeque;

/// How much the generator does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests R in progress at once; others wait.
    pub n_running: usize,
    /// Prompt tokens read in one step, padding included, unless a single prompt is longer.
    pub n_prefill_tokens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { n_running: 64, n_prefill_tokens: 4096 }
    }
}

/// What one step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Rows of the cache that stay, by their old numbers, in their new order.
    pub(super) keep: Vec<usize>,
    /// The requests in these rows: each goes on by a token.
    pub(super) decode: Vec<RequestId>,
    /// The requests whose prompts are read; their rows come behind the others.
    pub(super) prefill: Vec<RequestId>,
}

/// First come, first served, with as many at once as the limits allow.
#[derive(Debug)]
pub(super) struct Scheduler {
    limits: Limits,
    /// Requests with the number of tokens that each has to read.
    waiting: VecDeque<(RequestId, usize)>,
    /// The request in each row of the cache; `None` for one that has left.
    rows: Vec<Option<RequestId>>,
}

impl Scheduler {
    /// # Panics
    /// When the limits allow nothing.
    pub(super) fn new(limits: Limits) -> Self {
        assert!(limits.n_running > 0, "a generator must be allowed to run at least one request");
        Self { limits, waiting: VecDeque::new(), rows: Vec::new() }
    }

    /// A request that has `n_tokens` to read takes its place at the end of the queue.
    pub(super) fn submit(&mut self, id: RequestId, n_tokens: usize) {
        self.waiting.push_back((id, n_tokens));
    }

    /// A request gives up its row or its place in the queue.
    pub(super) fn leave(&mut self, id: RequestId) {
        self.waiting.retain(|&(waiting, _)| waiting != id);
        self.rows.iter_mut().filter(|row| **row == Some(id)).for_each(|row| *row = None);
    }

    /// A running request has to read `n_tokens` anew, before those that wait.
    pub(super) fn read_again(&mut self, id: RequestId, n_tokens: usize) {
        self.leave(id);
        self.waiting.push_front((id, n_tokens));
    }

    /// What the next step does; the rows are then as it says.
    pub(super) fn plan(&mut self) -> Plan {
        let keep: Vec<usize> = (0..self.rows.len()).filter(|&row| self.rows[row].is_some()).collect();
        let decode: Vec<RequestId> = self.rows.iter().copied().flatten().collect();
        let prefill = self.admit(self.limits.n_running - decode.len());
        self.rows = decode.iter().chain(&prefill).copied().map(Some).collect();
        Plan { keep, decode, prefill }
    }

    fn admit(&mut self, n_free: usize) -> Vec<RequestId> {
        let mut admitted = Vec::new();
        let mut longest = 0;
        while admitted.len() < n_free
            && let Some(&(id, n_tokens)) = self.waiting.front()
        {
            longest = longest.max(n_tokens);
            let fits = longest.saturating_mul(admitted.len() + 1) <= self.limits.n_prefill_tokens;
            if !fits && !admitted.is_empty() {
                break;
            }
            admitted.push(id);
            self.waiting.pop_front();
        }
        admitted
    }

    /// Requests in the rows of the cache.
    pub(super) fn n_running(&self) -> usize {
        self.rows.iter().flatten().count()
    }

    /// Requests in the queue.
    pub(super) fn n_waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(n_running: usize, n_prefill_tokens: usize, lens: &[usize]) -> Scheduler {
        let mut scheduler = Scheduler::new(Limits { n_running, n_prefill_tokens });
        lens.iter().enumerate().for_each(|(i, &len)| scheduler.submit(RequestId(i as u64), len));
        scheduler
    }

    fn ids(ids: &[u64]) -> Vec<RequestId> {
        ids.iter().copied().map(RequestId).collect()
    }

    #[test]
    fn requests_are_admitted_in_order_up_to_the_limits() {
        let mut rows = scheduler(3, 100, &[5, 5, 5, 5]);
        assert_eq!(rows.plan(), Plan { keep: vec![], decode: vec![], prefill: ids(&[0, 1, 2]) });
        assert_eq!(rows.plan(), Plan { keep: vec![0, 1, 2], decode: ids(&[0, 1, 2]), prefill: vec![] });
        rows.leave(RequestId(1));
        assert_eq!(rows.plan(), Plan { keep: vec![0, 2], decode: ids(&[0, 2]), prefill: ids(&[3]) });
        assert_eq!((rows.n_running(), rows.n_waiting()), (3, 0));
    }

    #[test]
    fn padding_counts_as_reading() {
        // 4 + 4 fit into 10 as 2 rows of 4; with 6 they would be 3 rows of 6.
        let mut rows = scheduler(8, 10, &[4, 4, 6, 100, 1]);
        assert_eq!(rows.plan().prefill, ids(&[0, 1]));
        assert_eq!(rows.plan().prefill, ids(&[2]));
        assert_eq!(rows.plan().prefill, ids(&[3]), "a prompt beyond the limit is read alone");
        assert_eq!(rows.plan().prefill, ids(&[4]));
    }

    #[test]
    fn one_may_leave_the_queue_or_read_again() {
        let mut rows = scheduler(2, 100, &[1, 1, 1, 1]);
        rows.leave(RequestId(1));
        assert_eq!(rows.plan().prefill, ids(&[0, 2]));
        rows.read_again(RequestId(0), 7);
        assert_eq!(rows.plan(), Plan { keep: vec![1], decode: ids(&[2]), prefill: ids(&[0]) });
        rows.leave(RequestId(0));
        rows.leave(RequestId(2));
        assert_eq!(rows.plan(), Plan { keep: vec![], decode: vec![], prefill: ids(&[3]) });
    }
}
