//! Byte-pair encoding on bytes, with the result of the `tokenizers` crate and many times its speed.
//!
//! Words are independent of one another, and texts repeat them; so each word is merged once and remembered.
//!
//! Source: Sennrich et al. 2016, arXiv 1508.07909, section 3.2; on bytes: Radford et al. 2019 (GPT-2), section 2.2.

use super::table::{Token, TokenTable, tokenizer_by_table};
use super::{SpecialTokens, TextStream, Tokenizer, words};
use crate::{Error, Result};
use genera_tokens::TokenId;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Mutex;

/// Byte-pair encoding on bytes: what GPT-2 introduced.
#[derive(Debug)]
pub struct Bpe {
    table: TokenTable,
    /// The id of every byte.
    byte_ids: [TokenId; 256],
    /// For two neighbouring tokens: the rank of their merge (lower ranks go first), and what they become.
    merges: HashMap<(TokenId, TokenId), Merge>,
    /// Words met before. A caller takes one and gives it back, so that threads never wait for each other.
    memories: Mutex<Vec<Memory>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Merge {
    rank: u32,
    id: TokenId,
}

impl Bpe {
    /// From the rows and merges (pairs of ids, first ranks first) of a `tokenizer.json` that [`json`](super::json) has
    /// recognised.
    ///
    /// # Errors
    /// When a byte has no token, or two tokens merge into one that does not exist.
    pub(crate) fn from_tokens(
        tokens: Vec<Token>,
        merges: &[(TokenId, TokenId)],
        special: SpecialTokens,
        json: String,
    ) -> Result<Self> {
        let table = TokenTable::new(tokens, special, json);
        let n_tokens = table.vocab.size as TokenId;
        let by_bytes: HashMap<&[u8], TokenId> =
            (0..n_tokens).map(|id| (table.bytes(id), id)).filter(|(bytes, _)| !bytes.is_empty()).collect();
        let mut byte_ids = [0; 256];
        for byte in 0..=u8::MAX {
            let missing = || Error::tokenizer(format!("the vocabulary has no token for the byte {byte}"));
            byte_ids[usize::from(byte)] = *by_bytes.get(&[byte][..]).ok_or_else(missing)?;
        }
        let mut ranked = HashMap::with_capacity(merges.len());
        for (rank, &(left, right)) in (0..).zip(merges) {
            let merged = [table.bytes(left), table.bytes(right)].concat();
            let missing = || Error::tokenizer(format!("merge {rank} makes a token that the vocabulary lacks"));
            let id = *by_bytes.get(merged.as_slice()).ok_or_else(missing)?;
            ranked.insert((left, right), Merge { rank, id });
        }
        drop(by_bytes);
        Ok(Self { table, byte_ids, merges: ranked, memories: Mutex::default() })
    }

    /// Merges the bytes of one word: always the pair of lowest rank, the leftmost of them first.
    ///
    /// # Cost
    /// O(n log n) for n bytes, so that a word of a million letters is no trap.
    fn merge(&self, word: &[u8], ids: &mut Vec<TokenId>) {
        let mut symbols = Symbols::new(word.iter().map(|&byte| self.byte_ids[usize::from(byte)]));
        let mut queue = BinaryHeap::new();
        let propose = |symbols: &Symbols, at: usize, queue: &mut BinaryHeap<_>| {
            if let Some(merge) = symbols.pair(at).and_then(|pair| self.merges.get(&pair)) {
                queue.push(Reverse((merge.rank, at)));
            }
        };
        for at in 0..word.len() {
            propose(&symbols, at, &mut queue);
        }
        while let Some(Reverse((rank, at))) = queue.pop() {
            let merge = symbols.pair(at).and_then(|pair| self.merges.get(&pair));
            let Some(merge) = merge.filter(|merge| merge.rank == rank) else { continue };
            symbols.join(at, merge.id);
            propose(&symbols, at, &mut queue);
            if let Some(before) = symbols.before(at) {
                propose(&symbols, before, &mut queue);
            }
        }
        symbols.write(ids);
    }

    fn encode_with(&self, memory: &mut Memory, text: &str) -> Vec<TokenId> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        for word in words::words(text) {
            if !memory.recall(word, &mut ids) {
                let start = ids.len();
                self.merge(word.as_bytes(), &mut ids);
                memory.remember(word, &ids[start..]);
            }
        }
        ids
    }
}

impl Tokenizer for Bpe {
    tokenizer_by_table!("bpe");

    fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        let lock = || self.memories.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut memory = lock().pop().unwrap_or_default();
        let ids = self.encode_with(&mut memory, text);
        lock().push(memory);
        Ok(ids)
    }
}

/// The tokens of a word under way, as a linked list over the positions of its bytes.
struct Symbols {
    ids: Vec<TokenId>,
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl Symbols {
    /// Marks the ends of the list, and the positions that have been joined to one before them.
    const NONE: usize = usize::MAX;

    fn new(ids: impl Iterator<Item = TokenId>) -> Self {
        let ids: Vec<TokenId> = ids.collect();
        let n = ids.len();
        let next = (1..=n).map(|i| if i < n { i } else { Self::NONE }).collect();
        let previous = (0..n).map(|i| i.checked_sub(1).unwrap_or(Self::NONE)).collect();
        Self { ids, next, previous }
    }

    /// The tokens at `at` and after it, if both exist.
    fn pair(&self, at: usize) -> Option<(TokenId, TokenId)> {
        let next = self.next[at];
        (next != Self::NONE).then(|| (self.ids[at], self.ids[next]))
    }

    fn before(&self, at: usize) -> Option<usize> {
        Some(self.previous[at]).filter(|&before| before != Self::NONE)
    }

    /// Makes the tokens at `at` and after it one.
    fn join(&mut self, at: usize, id: TokenId) {
        let gone = self.next[at];
        let after = self.next[gone];
        (self.ids[at], self.next[at], self.next[gone]) = (id, after, Self::NONE);
        if after != Self::NONE {
            self.previous[after] = at;
        }
    }

    fn write(&self, ids: &mut Vec<TokenId>) {
        let mut at = if self.ids.is_empty() { Self::NONE } else { 0 };
        while at != Self::NONE {
            ids.push(self.ids[at]);
            at = self.next[at];
        }
    }
}

/// Words and their ids; forgets all when full, which in natural text is seldom.
#[derive(Debug, Default)]
struct Memory {
    places: HashMap<Box<str>, std::ops::Range<u32>>,
    ids: Vec<TokenId>,
}

impl Memory {
    const MAX_WORDS: usize = 1 << 18;
    /// Longer words seldom come back.
    const MAX_WORD_BYTES: usize = 64;

    /// Appends the ids of `word`, if it is known.
    fn recall(&self, word: &str, ids: &mut Vec<TokenId>) -> bool {
        let Some(place) = self.places.get(word) else { return false };
        ids.extend_from_slice(&self.ids[place.start as usize..place.end as usize]);
        true
    }

    fn remember(&mut self, word: &str, ids: &[TokenId]) {
        if word.len() > Self::MAX_WORD_BYTES {
            return;
        }
        if self.places.len() == Self::MAX_WORDS {
            self.places.clear();
            self.ids.clear();
        }
        let start = self.ids.len() as u32;
        self.ids.extend_from_slice(ids);
        self.places.insert(word.into(), start..self.ids.len() as u32);
    }
}
