//! What a published model asks of the tokens of every answer, whatever is drawn or searched.

use super::sampling::check_token;
use crate::error::Result;
use genera_tokens::TokenId;

/// Rules about which token may follow a prompt and the answer so far. The default allows everything.
///
/// # Source
/// The Hugging Face library, `generation/logits_process.py`; each rule names its setting there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// No run of so many tokens stands in prompt and answer twice; 0 for no such rule (`no_repeat_ngram_size`).
    pub no_repeat_ngram: usize,
    /// Runs of tokens that the answer does not complete; a single stop token is none of them (`bad_words_ids`).
    pub bad_words: Vec<Vec<TokenId>>,
    /// Tokens that never come (`suppress_tokens`).
    pub suppressed: Vec<TokenId>,
    /// Tokens that do not come first; where the first one is forced, not second (`begin_suppress_tokens`).
    pub suppressed_first: Vec<TokenId>,
    /// The first token behind a prompt of a single one, such as the decoder's start (`forced_bos_token_id`).
    pub forced_first: Option<TokenId>,
    /// The last token of an answer that has room for one more only (`forced_eos_token_id`).
    pub forced_last: Option<TokenId>,
    /// Tokens of the answer at least, its stop token not counted (`min_new_tokens`).
    pub min_tokens: usize,
    /// Tokens of prompt and answer together at least (`min_length`).
    pub min_len: usize,
}

/// An answer in the making, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The prompt and the answer so far.
    pub(super) text: &'a [TokenId],
    /// Tokens of the prompt.
    pub(super) n_prompt: usize,
    /// Tokens that the whole answer may have.
    pub(super) room: usize,
    /// Tokens that end it.
    pub(super) stop: &'a [TokenId],
}

/// What the rules say of the next token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is this one.
    Forced(TokenId),
    /// It is none of these, some of which may be named twice or not exist.
    Without(Vec<TokenId>),
}

impl Rules {
    /// Checks that the tokens exist which the rules force; others that do not exist cannot come anyway.
    ///
    /// # Errors
    /// [`Error::Request`](crate::Error::Request), naming the token.
    pub fn validate(&self, vocab_size: usize) -> Result<()> {
        let forced = [("forced first token", self.forced_first), ("forced last token", self.forced_last)];
        forced
            .iter()
            .filter_map(|(what, token)| Some((what, (*token)?)))
            .try_for_each(|(what, token)| check_token(what, token, vocab_size))
    }

    /// Whether the token behind `text` is the forced first one.
    pub(super) fn is_opening(&self, text: &[TokenId], n_prompt: usize) -> bool {
        self.forced_first.is_some() && n_prompt == 1 && text.len() == 1
    }

    /// What may come next. A forced token comes whatever the other rules forbid.
    pub(super) fn next(&self, place: &Place<'_>) -> Ruling {
        let Place { text, n_prompt, room, stop } = *place;
        let n_answer = text.len() - n_prompt;
        let last = self.forced_last.filter(|_| n_answer + 1 == room);
        let first = self.forced_first.filter(|_| self.is_opening(text, n_prompt));
        if let Some(token) = last.or(first) {
            return Ruling::Forced(token);
        }
        let mut without = self.suppressed.clone();
        let n_opening = usize::from(self.forced_first.is_some() && n_prompt == 1);
        if n_answer == n_opening {
            without.extend(&self.suppressed_first);
        }
        if n_answer < self.min_tokens || text.len() < self.min_len {
            without.extend(stop);
        }
        without.extend(self.bad_words.iter().filter_map(|word| completes(word, text, stop)));
        without.extend(repeats(text, self.no_repeat_ngram));
        Ruling::Without(without)
    }
}

/// The token with which `text` would end in `word`.
fn completes(word: &[TokenId], text: &[TokenId], stop: &[TokenId]) -> Option<TokenId> {
    let (&last, before) = word.split_last()?;
    let is_end = before.is_empty() && stop.contains(&last);
    (!is_end && text.ends_with(before)).then_some(last)
}

/// The tokens with which the last `n` tokens would stand in the text twice.
fn repeats(text: &[TokenId], n: usize) -> impl Iterator<Item = TokenId> {
    let before = n.checked_sub(1).and_then(|n| text.len().checked_sub(n)).map(|at| &text[at..]);
    before.into_iter().flat_map(move |before| {
        text.windows(before.len() + 1).filter(move |run| run.starts_with(before)).map(|run| run[before.len()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What may not follow `text`, of which the first `n_prompt` tokens are the prompt; `None` where a token is forced.
    fn without(rules: &Rules, text: &[TokenId], n_prompt: usize) -> Option<Vec<TokenId>> {
        match rules.next(&Place { text, n_prompt, room: 6, stop: &[2] }) {
            Ruling::Forced(_) => None,
            Ruling::Without(mut tokens) => {
                tokens.sort_unstable();
                tokens.dedup();
                Some(tokens)
            }
        }
    }

    /// The expected tokens are those that the library's processors set to −∞ for the same texts.
    #[test]
    fn tokens_are_forbidden_as_in_the_library() {
        let text = [5, 7, 5, 8, 7, 5];
        for (n, expected) in [(0, &[][..]), (1, &[5, 7, 8]), (2, &[7, 8]), (3, &[8]), (4, &[]), (9, &[])] {
            let rules = Rules { no_repeat_ngram: n, ..Rules::default() };
            assert_eq!(without(&rules, &text, 2).unwrap(), expected, "runs of {n}");
        }
        let words = vec![vec![9], vec![2], vec![7, 5, 4], vec![5, 3], vec![8, 6], vec![], vec![1; 9]];
        let rules = Rules { bad_words: words, suppressed: vec![2, 90], ..Rules::default() };
        assert_eq!(without(&rules, &text, 2).unwrap(), [2, 3, 4, 9, 90]);
        assert_eq!(without(&Rules { suppressed: vec![], ..rules }, &text, 2).unwrap(), [3, 4, 9]);
    }

    #[test]
    fn an_answer_does_not_end_early() {
        let least = |min_tokens, min_len| Rules { min_tokens, min_len, ..Rules::default() };
        for (rules, ends) in [(least(2, 0), [false, false, true]), (least(0, 4), [false, true, true])] {
            for (n_answer, ends) in ends.into_iter().enumerate() {
                let found = without(&rules, &vec![7; 3 + n_answer], 3).unwrap();
                assert_eq!(found.is_empty(), ends, "{rules:?} behind {n_answer} tokens");
            }
        }
    }

    #[test]
    fn the_first_and_the_last_token_may_be_forced() {
        let rules = Rules {
            forced_first: Some(4),
            forced_last: Some(2),
            suppressed: vec![4],
            suppressed_first: vec![6],
            min_tokens: 9,
            ..Rules::default()
        };
        let next = |text: &[TokenId], n_prompt| rules.next(&Place { text, n_prompt, room: 4, stop: &[2] });
        assert_eq!(next(&[1], 1), Ruling::Forced(4));
        assert_eq!(next(&[1, 4], 1), Ruling::Without(vec![4, 6, 2]));
        assert_eq!(next(&[1, 4, 5], 1), Ruling::Without(vec![4, 2]));
        assert_eq!(next(&[1, 4, 5, 5], 1), Ruling::Forced(2));
        // A longer prompt has begun already.
        assert_eq!(next(&[1, 3], 2), Ruling::Without(vec![4, 6, 2]));
        assert!(rules.validate(5).is_ok());
        assert!(rules.validate(4).unwrap_err().to_string().starts_with("forced first token: token 4 does not exist"));
    }
}
