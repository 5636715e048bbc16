//! Pages that are kept for requests that begin with the same tokens.

use crate::model::Page;
use genera_tensor::backend::PAGE_TOKENS;
use genera_tokens::TokenId;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// Full pages by the tokens in them and the pages before them.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    nodes: HashMap<Key, Node>,
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

/// One kept page; 0 stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PageId(u64);

#[derive(Debug)]
struct Node {
    id: PageId,
    page: Arc<Page>,
    used: u64,
}

impl Prefixes {
    /// Keeps at most `n_pages_max` pages.
    pub(super) fn new(n_pages_max: usize) -> Self {
        Self { n_pages_max, ..Self::default() }
    }

    /// The kept pages of the longest beginning of a context.
    pub(super) fn find(&mut self, context: &[TokenId]) -> Vec<Arc<Page>> {
        self.clock += 1;
        let (mut before, mut pages) = (PageId::default(), Vec::new());
        if self.nodes.is_empty() {
            return pages;
        }
        for tokens in context.chunks_exact(PAGE_TOKENS) {
            let Some(node) = self.nodes.get_mut(&Key { before, tokens: tokens.into() }) else { break };
            node.used = self.clock;
            pages.push(node.page.clone());
            before = node.id;
        }
        pages
    }

    /// Keeps a full page that comes behind another; the place of those behind it.
    pub(super) fn keep(&mut self, before: PageId, tokens: &[TokenId], page: &Arc<Page>) -> PageId {
        let key = Key { before, tokens: tokens.into() };
        if let Some(node) = self.nodes.get_mut(&key) {
            node.used = self.clock;
            return node.id;
        }
        while self.nodes.len() >= self.n_pages_max && self.drop_oldest(|_| true) {}
        self.n_made += 1;
        let id = PageId(self.n_made);
        if self.nodes.len() < self.n_pages_max {
            self.nodes.insert(key, Node { id, page: page.clone(), used: self.clock });
        }
        id
    }

    /// Gives up the page that was not used for longest of those that no request has; whether there was one.
    pub(super) fn free_oldest(&mut self) -> bool {
        self.drop_oldest(|page| Arc::strong_count(page) == 1)
    }

    /// Gives up the page that was not used for longest of those that may go, the later one of equals: what comes behind a
    /// page goes before it. Whether there was one.
    fn drop_oldest(&mut self, may_go: impl Fn(&Arc<Page>) -> bool) -> bool {
        let nodes = self.nodes.iter().filter(|(_, node)| may_go(&node.page));
        let key = nodes.min_by_key(|(_, node)| (node.used, Reverse(node.id))).map(|(key, _)| key.clone());
        key.is_some_and(|key| self.nodes.remove(&key).is_some())
    }
}
