//! Where in a rendered conversation the turns are, and with which tokens they begin and end.

use super::encode::{MARKS, Marked};
use super::{ChatMessage, ChatTemplate};
use crate::{Result, Tokenizer};
use genera_tokens::TokenId;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Finds turns by marks behind what the messages say.
pub(super) struct Turns<'t> {
    template: &'t ChatTemplate,
    marked: &'t Marked,
    whole: &'t str,
    messages: Vec<ChatMessage>,
    marks: Vec<char>,
    /// Where what each message says ends, if the template writes it once; empty when it writes other things with marks.
    ends: Vec<Option<usize>>,
    /// What stands behind the last letter of a message where no more follow: by its role, the white space that it ends with, and
    /// whether an answer is asked for.
    endings: RefCell<HashMap<(String, String, bool), Option<String>>>,
}

impl<'t> Turns<'t> {
    /// For the text `whole`, as the template writes the messages.
    pub(super) fn new(template: &'t ChatTemplate, marked: &'t Marked, whole: &'t str) -> Self {
        let texts = marked.messages.iter().map(|message| message.content.as_str()).chain([whole, template.source()]);
        let used: HashSet<char> = texts.flat_map(str::chars).filter(|mark| MARKS.contains(mark)).collect();
        let marks: Vec<char> = MARKS.filter(|mark| !used.contains(mark)).take(marked.messages.len()).collect();
        let messages = marked
            .messages
            .iter()
            .zip(&marks)
            .map(|(message, &mark)| if is_blank(message) { message.clone() } else { with_mark(message, mark) });
        let messages: Vec<ChatMessage> = messages.collect();
        let ends =
            template.render_dateless(&messages, false).map(|text| ends(&text, &marks, whole)).unwrap_or_default();
        Self { template, marked, whole, messages, marks, ends, endings: RefCell::default() }
    }

    /// Where message `i` of the assistant is written: from where the model begins to answer up to the next message.
    pub(super) fn find(&self, i: usize) -> Option<Range<usize>> {
        let before = self.end(i.checked_sub(1)?)?;
        let start =
            before + self.ending(i - 1, true).filter(|opening| self.whole[before..].starts_with(opening))?.len();
        if i + 1 == self.messages.len() {
            return Some(start..self.whole.len());
        }
        let end = if is_blank(&self.messages[i]) { start } else { self.end(i).filter(|&end| end >= start)? };
        Some(start..end + self.n_closing(i, &self.whole[end..])?)
    }

    /// Length of what stands behind answer `i`, where `rest` begins. What the template writes at a conversation's end alone is
    /// missing there; then the turn goes up to the special token that ends it.
    fn n_closing(&self, i: usize, rest: &str) -> Option<usize> {
        let closing = self.ending(i, false)?;
        if rest.starts_with(&closing) {
            return Some(closing.len());
        }
        let n_same: usize =
            closing.chars().zip(rest.chars()).take_while(|(a, b)| a == b).map(|(letter, _)| letter.len_utf8()).sum();
        self.marked.last_special_in(&rest[..n_same])
    }

    fn end(&self, i: usize) -> Option<usize> {
        *self.ends.get(i)?
    }

    /// What stands behind the last letter of a message like `i`: the white space that it ends with, where the template leaves it,
    /// and what the template writes.
    fn ending(&self, i: usize, add_generation_prompt: bool) -> Option<String> {
        let message = &self.marked.messages[i];
        let (_, space) = trimmed(&message.content);
        let key = (message.role.clone(), space.to_owned(), add_generation_prompt);
        self.endings.borrow_mut().entry(key).or_insert_with(|| self.behind(i, add_generation_prompt)).clone()
    }

    /// What the template writes behind the last letter of message `i` where no more follow.
    fn behind(&self, i: usize, add_generation_prompt: bool) -> Option<String> {
        let mark = *self.marks.get(i)?;
        let mut messages = self.messages[..=i].to_vec();
        messages[i] = with_mark(&self.marked.messages[i], mark);
        let text = self.template.render_dateless(&messages, add_generation_prompt).ok()?;
        text.rsplit_once(mark).map(|(_, behind)| behind.to_owned())
    }
}

fn is_blank(message: &ChatMessage) -> bool {
    message.content.trim().is_empty()
}

/// A message with a mark behind its last letter: templates take white space away.
fn with_mark(message: &ChatMessage, mark: char) -> ChatMessage {
    let (text, space) = trimmed(&message.content);
    ChatMessage { content: format!("{text}{mark}{space}"), ..message.clone() }
}

/// A text, and the white space that it ends with.
fn trimmed(text: &str) -> (&str, &str) {
    text.split_at(text.trim_end().len())
}

/// Where the marks stand in `text`, counted without them, if it is `whole` but for them.
fn ends(text: &str, marks: &[char], whole: &str) -> Vec<Option<usize>> {
    let numbers: HashMap<char, usize> = marks.iter().enumerate().map(|(i, &mark)| (mark, i)).collect();
    let (mut plain, mut found) = (String::with_capacity(whole.len()), vec![Vec::new(); marks.len()]);
    for character in text.chars() {
        match numbers.get(&character) {
            Some(&i) => found[i].push(plain.len()),
            None => plain.push(character),
        }
    }
    if plain != whole {
        return Vec::new();
    }
    let once = |places: Vec<usize>| if let [place] = places[..] { Some(place) } else { None };
    found.into_iter().map(once).collect()
}

/// The tokens of a text, and which of them stands at a byte.
pub(super) struct Place<'t> {
    tokenizer: &'t dyn Tokenizer,
    marked: &'t Marked,
    text: &'t str,
    pub(super) ids: Vec<TokenId>,
    /// Byte and token where a special token stands before which nothing matters for what follows; first the beginning.
    fixed: Vec<(usize, usize)>,
}

impl<'t> Place<'t> {
    /// # Errors
    /// As [`Marked::encode`].
    pub(super) fn new(tokenizer: &'t dyn Tokenizer, marked: &'t Marked, text: &'t str) -> Result<Self> {
        let ids = marked.encode(tokenizer, text)?;
        let mut cuts = marked.special_in(text);
        cuts.retain(|&cut| cut > 0);
        cuts.push(text.len());
        let (mut fixed, mut joined) = (vec![(0, 0)], Vec::with_capacity(ids.len()));
        for cut in cuts {
            let (from, _) = fixed[fixed.len() - 1];
            joined.extend(marked.encode(tokenizer, &text[from..cut])?);
            fixed.push((cut, joined.len()));
        }
        if joined != ids {
            fixed.truncate(1);
        }
        Ok(Self { tokenizer, marked, text, ids, fixed })
    }

    /// The token at byte `at`; one that reaches over it counts as behind it.
    ///
    /// # Errors
    /// As [`Marked::encode`].
    pub(super) fn token(&self, at: usize) -> Result<usize> {
        let (from, n_before) = self.fixed[self.fixed.partition_point(|&(byte, _)| byte <= at).saturating_sub(1)];
        let ids = self.marked.encode(self.tokenizer, &self.text[from..at])?;
        Ok(n_before + n_common(&self.ids[n_before..], &ids))
    }
}

/// Length of the longest common beginning.
fn n_common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
