//! Conversations to learn from: the tokens of what the assistant says are the target, all others are given.

use super::borders::{Place, Turns};
use super::encode::{Marked, template_of};
use super::{ChatMessage, ChatTemplate};
use crate::{Error, Result, Tokenizer};
use genera_tokens::{Role, TokenId, TokenSeq};
use std::cell::OnceCell;
use std::collections::HashSet;
use std::ops::Range;

/// A conversation of which every turn of the assistant is a target, unless it says that it is not learned: the answer and the
/// token that ends it.
///
/// Where a turn begins and ends is found by rendering the conversation up to there, exactly; where there are several, or the
/// template writes earlier turns otherwise once others follow, by marks behind the messages. A token that reaches over a border
/// belongs to what follows it.
///
/// # Errors
/// When the tokenizer has no template, the template refuses the messages or writes them so that neither finds the turns, or the
/// assistant says nothing.
///
/// # Cost
/// A few renderings of the whole conversation, and of each kind of white space that its messages end with.
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
    let place = Place::new(tokenizer, &marked, &whole)?;
    let special: HashSet<TokenId> = tokenizer.special_names().into_iter().map(|(id, _)| id).collect();
    let is_target = |&i: &usize| messages[i].is_of_assistant() && messages[i].is_learned && is_wanted(i);
    let wanted: Vec<usize> = (0..messages.len()).filter(is_target).collect();
    let by_marks = OnceCell::new();
    let turns = || by_marks.get_or_init(|| Turns::new(template, &marked, &whole));
    let mut sequence = TokenSeq::default();
    let mut n_done = 0;
    for &i in &wanted {
        let exact = || exact_turn(template, &marked.messages, i, &whole);
        let turn = match wanted.len() {
            1 => exact().or_else(|error| turns().find(i).ok_or(error))?,
            _ => turns().find(i).map_or_else(exact, Ok)?,
        };
        let (start, end) = (place.token(turn.start)?.max(n_done), place.token(turn.end)?);
        let last = (start..end).rev().find(|&at| special.contains(&place.ids[at]));
        let end = last.map_or(end, |last| last + 1);
        sequence.push(Role::Condition, &place.ids[n_done..start]);
        sequence.push(Role::Target, &place.ids[start..end.max(start)]);
        n_done = end.max(start);
    }
    if n_done == 0 {
        return Err(Error::settings(
            "a conversation without a turn of the assistant: there is nothing to learn from it; expected messages of \
             the role \"assistant\", not all of them with a \"weight\" of 0",
        ));
    }
    sequence.push(Role::Condition, &place.ids[n_done..]);
    Ok(sequence)
}

/// Where the template writes what message `i` says, by rendering up to there.
fn exact_turn(template: &ChatTemplate, messages: &[ChatMessage], i: usize, whole: &str) -> Result<Range<usize>> {
    let before = template.render_dateless(&messages[..i], true)?;
    let after = template.render_dateless(&messages[..=i], false)?;
    if !whole.starts_with(&before) || !whole.starts_with(&after) || before.len() > after.len() {
        return Err(Error::Template {
            file: None,
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
    fn what_has_no_weight_is_read_and_not_learned() {
        let tokenizer = tokenizer(PLAIN);
        let mut talk = talk(&[("user", "x"), ("assistant", "y"), ("user", "z"), ("assistant", "w")]);
        talk[1].is_learned = false;
        let found = shown(&tokenizer, &encode_turns(&tokenizer, &talk).unwrap());
        assert_eq!(found, "<s>u:x</s>\n<s>a:y</s>\n<s>u:z</s>\n<s>a:[w</s>]\n");
        let error = encode_turns(&tokenizer, &talk[..2]).unwrap_err().to_string();
        assert!(error.contains("nothing to learn from it"), "{error}");
    }

    #[test]
    fn without_an_ending_token_the_whole_turn_is_learned() {
        let tokenizer = tokenizer("{% for m in messages %}{{ m.content }}|{% endfor %}");
        let found = encode_turns(&tokenizer, &talk(&[("user", "x"), ("assistant", "yy")])).unwrap();
        assert_eq!(shown(&tokenizer, &found), "x|[yy|]");
    }

    /// As Qwen 3 does: what was thought is left out once the user speaks again, and the last answer has a place for it.
    const THINKING: &str = "\
        {%- set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}\
        {% endfor %}{% for m in messages %}{% set content = m.content %}{% set thought = '' %}\
        {% if m.role == 'assistant' and '</think>' in content %}\
        {% set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\
        {% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}\
        <s>{{ m.role[0] }}:{% if m.role == 'assistant' and loop.index0 > ns.last %}<think>{{ thought.strip('\\n') }}</think>{% endif %}\
        {{ content }}</s>\n{% endfor %}{% if add_generation_prompt %}<s>a:{% endif %}";

    #[test]
    fn answers_are_found_where_the_template_shortens_them_later() {
        let tokenizer = tokenizer(THINKING);
        let turns = [
            ("user", "x"),
            ("assistant", "<think>\n1\n</think>\n\ny"),
            ("user", "<s>a:"),
            ("assistant", "yy"),
            ("user", "z"),
            ("assistant", "<think>\n3\n</think>\n\nw </s>"),
        ];
        let found = shown(&tokenizer, &encode_turns(&tokenizer, &talk(&turns)).unwrap());
        assert_eq!(
            found,
            "<s>u:x</s>\n<s>a:[y</s>]\n<s>u:<s>a:</s>\n<s>a:[yy</s>]\n<s>u:z</s>\n<s>a:[<think>3</think>w </s></s>]\n"
        );
        let found = shown(&tokenizer, &encode_turns(&tokenizer, &talk(&turns[..3])).unwrap());
        assert_eq!(found, "<s>u:x</s>\n<s>a:[y</s>]\n<s>u:<s>a:</s>\n");
    }

    /// As Phi 3.5 does: the whole conversation is closed too, where no answer is asked for.
    const CLOSED: &str = "{% for m in messages %}<s>{{ m.role[0] }}:{{ m.content }}</s>\n{% endfor %}\
                          {% if add_generation_prompt %}<s>a:{% else %}<pad>{% endif %}";

    #[test]
    fn answers_are_found_where_the_template_closes_the_conversation() {
        let tokenizer = tokenizer(CLOSED);
        let turns = [("user", "x"), ("assistant", "y"), ("user", "z"), ("assistant", "w")];
        let found = shown(&tokenizer, &encode_turns(&tokenizer, &talk(&turns)).unwrap());
        assert_eq!(found, "<s>u:x</s>\n<s>a:[y</s>]\n<s>u:z</s>\n<s>a:[w</s>\n<pad>]");
    }

    /// What of it the template writes behind an answer is learned.
    #[test]
    fn answers_are_found_whatever_white_space_messages_end_with() {
        let turns = [
            ("user", "Hi"),
            ("assistant", "Hello!"),
            ("user", "Thanks "),
            ("assistant", ""),
            ("user", "1\n\n"),
            ("assistant", " 2 \n"),
            ("user", "bye"),
            ("assistant", " "),
            ("user", "3"),
            ("assistant", "ciao\n"),
        ];
        let kept = "<s>u:Hi</s>\n<s>a:[Hello!</s>]\n<s>u:Thanks </s>\n<s>a:[</s>]\n<s>u:1\n\n</s>\n<s>a:[ 2 \n</s>]\n\
                    <s>u:bye</s>\n<s>a:[ </s>]\n<s>u:3</s>\n<s>a:";
        let taken = "<s>u:Hi\n</s>\n<s>a:[Hello!\n</s>]\n<s>u:Thanks\n</s>\n<s>a:[\n</s>]\n<s>u:1\n</s>\n<s>a:[2\n</s>]\n\
                     <s>u:bye\n</s>\n<s>a:[\n</s>]\n<s>u:3\n</s>\n<s>a:";
        let taking = CLOSED.replace("{{ m.content }}", "{{ m.content | trim }}\n");
        for (template, expected) in [
            (THINKING, format!("{kept}[<think></think>ciao\n</s>]\n")),
            (CLOSED, format!("{kept}[ciao\n</s>\n<pad>]")),
            (taking.as_str(), format!("{taken}[ciao\n</s>\n<pad>]")),
        ] {
            let tokenizer = tokenizer(template);
            assert_eq!(shown(&tokenizer, &encode_turns(&tokenizer, &talk(&turns)).unwrap()), expected, "{template}");
        }
    }

    #[test]
    fn a_long_conversation_takes_no_longer_for_each_turn() {
        let tokenizer = tokenizer(PLAIN);
        let words = "some words that are said ".repeat(20);
        let turns: Vec<(&str, &str)> =
            (0..2000).map(|i| (if i % 2 == 0 { "user" } else { "assistant" }, words.as_str())).collect();
        let start = std::time::Instant::now();
        let sequence = encode_turns(&tokenizer, &talk(&turns)).unwrap();
        assert_eq!(sequence.spans().iter().filter(|span| span.role == Role::Target).count(), 1000);
        assert!(start.elapsed().as_secs_f64() < 1.0, "{:?}", start.elapsed());
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
