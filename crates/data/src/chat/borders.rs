//! Where in a rendered conversation the turns are, and with which tokens they begin and end.

use super::encode::{MARKS, Marked};
use super::{ChatMessage, ChatTemplate};
use crate::{Result, Tokenizer};
use genera_tokens::TokenId;
use std::cell::{OnceCell, RefCell};
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
    /// What stands between the end of a message and the answer to it, by the message's role.
    openings: RefCell<HashMap<String, Option<String>>>,
    /// What stands behind an answer.
    closing: OnceCell<Option<String>>,
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
            .map(|(message, &mark)| ChatMessage { content: with_mark(&message.content, mark), ..message.clone() });
        let messages: Vec<ChatMessage> = messages.collect();
        let ends =
            template.render_dateless(&messages, false).map(|text| ends(&text, &marks, whole)).unwrap_or_default();
        Self { template, marked, whole, messages, marks, ends, openings: RefCell::default(), closing: OnceCell::new() }
    }

    /// Where message `i` of the assistant is written: from where the model begins to answer up to the next message.
    pub(super) fn find(&self, i: usize) -> Option<Range<usize>> {
        let before = self.end(i.checked_sub(1)?)?;
        let start = before + self.opening(i).filter(|opening| self.whole[before..].starts_with(opening))?.len();
        if i + 1 == self.messages.len() {
            return Some(start..self.whole.len());
        }
        let is_empty = self.messages[i].content.trim().is_empty();
        let end = if is_empty { start } else { self.end(i).filter(|&end| end >= start)? };
        Some(start..end + self.n_closing(i, &self.whole[end..])?)
    }

    /// Length of what stands behind answer `i`, where `rest` begins. What the template writes at a conversation's end alone is
    /// missing there; then the turn goes up to the special token that ends it.
    fn n_closing(&self, i: usize, rest: &str) -> Option<usize> {
        let closing = self.closing(i)?;
        if rest.starts_with(closing) {
            return Some(closing.len());
        }
        let n_same: usize =
            closing.chars().zip(rest.chars()).take_while(|(a, b)| a == b).map(|(letter, _)| letter.len_utf8()).sum();
        self.marked.last_special_in(&rest[..n_same])
    }

    fn end(&self, i: usize) -> Option<usize> {
        *self.ends.get(i)?
    }

    fn opening(&self, i: usize) -> Option<String> {
        let role = self.messages[i - 1].role.clone();
        let find = || self.behind(i - 1, &self.messages[..i], true);
        self.openings.borrow_mut().entry(role).or_insert_with(find).clone()
    }

    fn closing(&self, i: usize) -> Option<&str> {
        self.closing.get_or_init(|| self.behind(i, &self.messages[..=i], false)).as_deref()
    }

    /// What the template writes behind what message `i` says, the last of these.
    fn behind(&self, i: usize, messages: &[ChatMessage], add_generation_prompt: bool) -> Option<String> {
        let text = self.template.render_dateless(messages, add_generation_prompt).ok()?;
        let mark = self.marks.get(i)?;
        text.rsplit_once(*mark).map(|(_, behind)| behind.to_owned())
    }
}

/// What a message says with a mark behind its last letter: templates take white space away.
fn with_mark(content: &str, mark: char) -> String {
    match content.trim_end() {
        "" => content.to_owned(),
        text => format!("{text}{mark}{}", &content[text.len()..]),
    }
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
