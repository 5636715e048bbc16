//! Conversations to learn from: the tokens of what the assistant says are the target, all others are given.

use super::encode::{Marked, template_of};
use super::{ChatMessage, ChatTemplate};
use crate::{Error, Result, Tokenizer};
use genera_tokens::{Role, TokenId, TokenSeq};
use std::ops::Range;

/// A conversation of which every turn of the assistant is a target: the answer and the token that ends it.
///
/// Where a turn begins and ends is found by rendering the conversation up to there, exactly.
///
/// # Errors
/// When the tokenizer has no template, the template refuses the messages or writes the turns otherwise once others follow,
/// or the assistant says nothing.
pub fn encode_turns(tokenizer: &dyn Tokenizer, messages: &[ChatMessage]) -> Result<TokenSeq> {
    encode(tokenizer, messages, |_| true)
}

/// As [`encode_turns`], with the last message as the only target.
///
/// # Errors
/// As [`encode_turns`].
pub fn encode_answer(tokenizer: &dyn Tokenizer, messages: &[ChatMessage]) -> Result<TokenSeq> {
    encode(tokenizer, messages, |i| i + 1 == messages.len())
}

fn encode(tokenizer: &dyn Tokenizer, messages: &[ChatMessage], is_wanted: impl Fn(usize) -> bool) -> Result<TokenSeq> {
    let template = template_of(tokenizer)?;
    let marked = Marked::new(tokenizer, messages)?;
    let whole = template.render_dateless(&marked.messages, false)?;
    let ids = marked.encode(tokenizer, &whole)?;
    let special = tokenizer.special_names();
    let is_special = |id: &TokenId| special.iter().any(|(special, _)| special == id);
    let mut sequence = TokenSeq::default();
    let mut n_done = 0;
    let turns = messages.iter().enumerate().filter(|(i, message)| message.is_of_assistant() && is_wanted(*i));
    for (i, _) in turns {
        let turn = turn(template, &marked.messages, i, &whole)?;
        // A token that reaches over the border belongs to what follows it.
        let place = |at: usize| Ok::<usize, Error>(n_common(&ids, &marked.encode(tokenizer, &whole[..at])?));
        let (start, end) = (place(turn.start)?.max(n_done), place(turn.end)?);
        let last = (start..end).rev().find(|&at| is_special(&ids[at]));
        let end = last.map_or(end, |last| last + 1);
        sequence.push(Role::Condition, &ids[n_done..start]);
        sequence.push(Role::Target, &ids[start..end.max(start)]);
        n_done = end.max(start);
    }
    if n_done == 0 {
        return Err(Error::settings(
            "a conversation without a turn of the assistant: there is nothing to learn from it; expected messages of \
             the role \"assistant\"",
        ));
    }
    sequence.push(Role::Condition, &ids[n_done..]);
    Ok(sequence)
}

/// Where the template writes what message `i` says.
fn turn(template: &ChatTemplate, messages: &[ChatMessage], i: usize, whole: &str) -> Result<Range<usize>> {
    let before = template.render_dateless(&messages[..i], true)?;
    let after = template.render_dateless(&messages[..=i], false)?;
    if !whole.starts_with(&before) || !whole.starts_with(&after) || before.len() > after.len() {
        return Err(Error::Template {
            problem: format!(
                "it writes message {} otherwise when more messages follow or when it asks for an answer, so that what \
                 the model has to say there is not certain; give conversations with a single answer, at their end, or \
                 another template (chat_template.jinja beside the base's tokenizer)",
                i + 1
            ),
        });
    }
    Ok(before.len()..after.len())
}

/// Length of the longest common beginning.
fn n_common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpecialTokens;
    use crate::tokenize::{Bytes, Templated};
    use std::sync::Arc;

    const PLAIN: &str = "{% for m in messages %}<s>{{ m.role[0] }}:{{ m.content }}</s>\n{% endfor %}\
                         {% if add_generation_prompt %}<s>a:{% endif %}";

    fn tokenizer(template: &str) -> Templated {
        Templated::new(Arc::new(Bytes::new(&SpecialTokens::standard())), ChatTemplate::new(template, None, None))
    }

    fn talk(turns: &[(&str, &str)]) -> Vec<ChatMessage> {
        turns.iter().map(|&(role, content)| ChatMessage::new(role, content)).collect()
    }

    fn shown(tokenizer: &Templated, sequence: &TokenSeq) -> String {
        let text = |&id: &TokenId| tokenizer.token_text(id);
        let of_span = |span: &genera_tokens::Span| {
            let text: String = sequence.ids()[span.range.clone()].iter().map(text).collect();
            if span.role == Role::Target { format!("[{text}]") } else { text }
        };
        sequence.spans().iter().map(of_span).collect()
    }

    #[test]
    fn the_answers_and_the_tokens_that_end_them_are_learned() {
        let tokenizer = tokenizer(PLAIN);
        let talk = talk(&[("user", "x"), ("assistant", "y"), ("user", "z</s>"), ("assistant", "")]);
        let found = shown(&tokenizer, &encode_turns(&tokenizer, &talk).unwrap());
        assert_eq!(found, "<s>u:x</s>\n<s>a:[y</s>]\n<s>u:z</s></s>\n<s>a:[</s>]\n");
        let found = shown(&tokenizer, &encode_answer(&tokenizer, &talk[..2]).unwrap());
        assert_eq!(found, "<s>u:x</s>\n<s>a:[y</s>]\n");
    }

    #[test]
    fn without_an_ending_token_the_whole_turn_is_learned() {
        let tokenizer = tokenizer("{% for m in messages %}{{ m.content }}|{% endfor %}");
        let found = encode_turns(&tokenizer, &talk(&[("user", "x"), ("assistant", "yy")])).unwrap();
        assert_eq!(shown(&tokenizer, &found), "x|[yy|]");
    }

    #[test]
    fn templates_that_change_their_mind_are_refused() {
        let last = tokenizer("{% for m in messages %}{{ m.content }}{{ '!' if loop.last }}{% endfor %}");
        let turns = talk(&[("user", "x"), ("assistant", "y"), ("user", "z")]);
        let error = encode_turns(&last, &turns).unwrap_err().to_string();
        assert!(error.contains("writes message 2 otherwise"), "{error}");
        let error = encode_turns(&tokenizer(PLAIN), &talk(&[("user", "x")])).unwrap_err().to_string();
        assert!(error.contains("without a turn of the assistant"), "{error}");
    }
}
