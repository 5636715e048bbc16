//! Pages that are kept for requests that begin with the same tokens.

use crate::model::Page;
use genera_tensor::backend::PAGE_TOKENS;
use genera_tokens::TokenId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Full pages by the tokens in them and the pages before them.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    nodes: HashMap<Key, Node>,
    /// The order in which pages go: the one that was not used for longest first, of equals the later one, so that what comes
    /// behind a page goes before it.
    order: BTreeMap<Turn, Key>,
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

/// When a page was used last, and which it is.
type Turn = (u64, Reverse<PageId>);

#[derive(Debug)]
struct Node {
    id: PageId,
    page: Arc<Page>,
    used: u64,
}

impl Node {
    fn turn(&self) -> Turn {
        (self.used, Reverse(self.id))
    }
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
            let Some(node) = self.used(&Key { before, tokens: tokens.into() }) else { break };
            pages.push(node.page.clone());
            before = node.id;
        }
        pages
    }

    /// A kept page, which is used now.
    fn used(&mut self, key: &Key) -> Option<&Node> {
        let node = self.nodes.get_mut(key)?;
        let before = node.turn();
        node.used = self.clock;
        if let Some(key) = self.order.remove(&before) {
            self.order.insert(node.turn(), key);
        }
        Some(node)
    }

    /// Keeps a full page that comes behind another; the place of those behind it.
    pub(super) fn keep(&mut self, before: PageId, tokens: &[TokenId], page: &Arc<Page>) -> PageId {
        let key = Key { before, tokens: tokens.into() };
        if let Some(node) = self.used(&key) {
            return node.id;
        }
        while self.nodes.len() >= self.n_pages_max && self.drop_first(|_| true) {}
        self.n_made += 1;
        let node = Node { id: PageId(self.n_made), page: page.clone(), used: self.clock };
        let id = node.id;
        if self.nodes.len() < self.n_pages_max {
            self.order.insert(node.turn(), key.clone());
            self.nodes.insert(key, node);
        }
        id
    }

    /// Gives up the first in order of the pages that no request has; whether there was one.
    pub(super) fn free_one(&mut self) -> bool {
        self.drop_first(|page| Arc::strong_count(page) == 1)
    }

    /// Gives up the first in order of the pages that may go; whether there was one.
    fn drop_first(&mut self, may_go: impl Fn(&Arc<Page>) -> bool) -> bool {
        let first = self.order.iter().find(|(_, key)| self.nodes.get(key).is_some_and(|node| may_go(&node.page)));
        let Some((&turn, _)) = first else { return false };
        self.order.remove(&turn).is_some_and(|key| self.nodes.remove(&key).is_some())
    }
}
