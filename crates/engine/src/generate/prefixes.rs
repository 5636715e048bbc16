//! Pages that are kept for requests that begin with the same tokens.

use crate::model::Page;
use genera_tensor::backend::PAGE_TOKENS;
use genera_tokens::TokenId;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Full pages by the tokens in them and the pages before them: a tree, of which only leaves are given up.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    ids: HashMap<Key, PageId>,
    nodes: HashMap<PageId, Node>,
    /// The order in which pages go: the one that was not used for longest first, of equals the later one. A page is used
    /// whenever one behind it is, so that it stands behind all of those.
    order: BTreeSet<Turn>,
    n_pages_max: usize,
    n_made: u64,
    /// Counts the look-ups.
    clock: u64,
}

/// A page's place: the page before it, and its tokens. Compared as they are: pages of other tokens never pass for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    before: PageId,
    tokens: Box<[TokenId]>,
}

/// One kept page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PageId(u64);

impl PageId {
    /// Stands before the first.
    pub(super) const FIRST: Self = Self(0);
}

/// When a page was used last, and which it is.
type Turn = (u64, Reverse<PageId>);

#[derive(Debug)]
struct Node {
    key: Key,
    page: Arc<Page>,
    used: u64,
    /// Kept pages right behind it.
    n_behind: usize,
}

impl Prefixes {
    /// Keeps at most `n_pages_max` pages.
    pub(super) fn new(n_pages_max: usize) -> Self {
        Self { n_pages_max, ..Self::default() }
    }

    /// The kept pages of the longest beginning of a context.
    pub(super) fn find(&mut self, context: &[TokenId]) -> Vec<Arc<Page>> {
        self.clock += 1;
        let (mut before, mut pages) = (PageId::FIRST, Vec::new());
        if self.nodes.is_empty() {
            return pages;
        }
        for tokens in context.chunks_exact(PAGE_TOKENS) {
            let Some(&id) = self.ids.get(&Key { before, tokens: tokens.into() }) else { break };
            self.use_now(id);
            pages.push(self.nodes[&id].page.clone());
            before = id;
        }
        pages
    }

    /// Says that a page is used, and with it all before it.
    fn use_now(&mut self, mut id: PageId) {
        while let Some(node) = self.nodes.get_mut(&id).filter(|node| node.used != self.clock) {
            self.order.remove(&(node.used, Reverse(id)));
            node.used = self.clock;
            self.order.insert((node.used, Reverse(id)));
            id = node.key.before;
        }
    }

    /// Keeps a full page that comes behind another; the place of those behind it. `None` when the one before it is not kept
    /// any more, or there is no room.
    pub(super) fn keep(&mut self, before: PageId, tokens: &[TokenId], page: &Arc<Page>) -> Option<PageId> {
        let key = Key { before, tokens: tokens.into() };
        if let Some(&id) = self.ids.get(&key) {
            self.use_now(id);
            return Some(id);
        }
        if before != PageId::FIRST && !self.nodes.contains_key(&before) {
            return None;
        }
        self.use_now(before);
        while self.nodes.len() >= self.n_pages_max {
            if !self.drop_first(|id, _| id != before) {
                return None;
            }
        }
        self.n_made += 1;
        let id = PageId(self.n_made);
        if let Some(parent) = self.nodes.get_mut(&before) {
            parent.n_behind += 1;
        }
        self.ids.insert(key.clone(), id);
        self.order.insert((self.clock, Reverse(id)));
        self.nodes.insert(id, Node { key, page: page.clone(), used: self.clock, n_behind: 0 });
        Some(id)
    }

    /// Pages that are kept and that no request has.
    ///
    /// # Cost
    /// A look at each kept page.
    pub(super) fn n_spare(&self) -> usize {
        self.nodes.values().filter(|node| Arc::strong_count(&node.page) == 1).count()
    }

    /// Gives up the first in order of the pages that no request has; whether there was one.
    pub(super) fn free_one(&mut self) -> bool {
        self.drop_first(|_, page| Arc::strong_count(page) == 1)
    }

    /// Gives up the first in order of the pages that may go and have none behind them; whether there was one.
    fn drop_first(&mut self, may_go: impl Fn(PageId, &Arc<Page>) -> bool) -> bool {
        let goes = |&&(_, Reverse(id)): &&Turn| {
            self.nodes.get(&id).is_some_and(|node| node.n_behind == 0 && may_go(id, &node.page))
        };
        let Some(&turn) = self.order.iter().find(goes) else { return false };
        self.order.remove(&turn);
        let Some(node) = self.nodes.remove(&turn.1.0) else { return false };
        self.ids.remove(&node.key);
        if let Some(parent) = self.nodes.get_mut(&node.key.before) {
            parent.n_behind -= 1;
        }
        true
    }
}
