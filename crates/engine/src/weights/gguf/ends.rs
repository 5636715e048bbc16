//! Which tokens end an answer: those that a file names, and as in llama.cpp those that are known by what they say.
//!
//! # Source
//! llama.cpp, `src/llama-vocab.cpp`, `llama_vocab::impl::load`.

use super::header::Sound;
use super::metadata::Metadata;
use super::tokenizer::{CONTROL, USER_DEFINED};
use genera_tokens::TokenId;

/// Ids that end an answer beside the first one: of a turn, and of a message.
const OF_TURN: [&str; 2] = ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
/// Ids of what stands around code that is filled in.
const OF_FILES: [&str; 3] =
    ["tokenizer.ggml.fim_pad_token_id", "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id"];

/// Tokens that end an answer by what they say. llama.cpp has `</s>` too, which in Gemma's vocabulary is a mark of HTML, and in
/// any other is the end token by its id.
const TEXTS: [&str; 31] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// The ids that end an answer beside the end token, in the order of a `generation_config.json`: the last ends a turn.
pub(super) fn further(metadata: &Metadata<'_>) -> Sound<Vec<TokenId>> {
    let by_key = |keys: &mut dyn Iterator<Item = &&str>| {
        keys.filter_map(|key| metadata.id(key).transpose()).collect::<Sound<Vec<TokenId>>>()
    };
    let mut ends: Vec<TokenId> = Vec::new();
    for id in [by_key(&mut OF_FILES.iter())?, by_text(metadata)?, by_key(&mut OF_TURN.iter().rev())?].concat() {
        ends.retain(|&known| known != id);
        ends.push(id);
    }
    Ok(ends)
}

/// The keys for ids in that order.
pub(super) fn keys(end: &[TokenId]) -> impl Iterator<Item = (&'static str, TokenId)> {
    OF_TURN.into_iter().zip(end.iter().skip(1).rev().copied())
}

fn by_text(metadata: &Metadata<'_>) -> Sound<Vec<TokenId>> {
    let types = metadata.integers("tokenizer.ggml.token_type")?.unwrap_or_default();
    let Some(tokens) = metadata.texts("tokenizer.ggml.tokens")? else { return Ok(Vec::new()) };
    let mut found: Vec<(usize, TokenId)> = Vec::new();
    for ((token, &kind), id) in tokens.iter().zip(types).zip(0..) {
        if matches!(kind, CONTROL | USER_DEFINED)
            && let Some(place) = TEXTS.iter().position(|text| *text == token)
        {
            found.push((place, id));
        }
    }
    let has = |text: &str| found.iter().any(|&(place, _)| TEXTS[place] == text);
    // In these vocabularies it closes a message, of which an answer has several.
    let goes_on = has("<|return|>") && has("<|call|>") || has("<|flush|>") && (has("<|call|>") || has("<|calls|>"));
    found.retain(|&(place, _)| !(goes_on && TEXTS[place] == "<|end|>"));
    // The likelier the end of a turn, the later.
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

#[cfg(test)]
mod tests {
    use super::super::header::Value;
    use super::*;
    use std::collections::BTreeMap;

    fn check(tokens: &[(&str, i64)], keys: &[(&str, i128)], expected: &[TokenId]) {
        let mut map: BTreeMap<String, Value> =
            keys.iter().map(|(key, id)| (format!("tokenizer.ggml.{key}_token_id"), Value::Integer(*id))).collect();
        let texts = tokens.iter().map(|(token, _)| token).collect();
        map.insert("tokenizer.ggml.tokens".to_owned(), Value::Texts(texts));
        let types = tokens.iter().map(|(_, kind)| *kind).collect();
        map.insert("tokenizer.ggml.token_type".to_owned(), Value::Integers(types));
        assert_eq!(further(&Metadata(&map)).unwrap(), expected, "{tokens:?} {keys:?}");
    }

    #[test]
    fn ends_are_known_by_their_key_or_by_what_they_say() {
        let phi = [("<|endoftext|>", CONTROL), ("<|end|>", CONTROL), ("<|user|>", CONTROL), ("</s>", USER_DEFINED)];
        check(&phi, &[("eos", 0)], &[0, 1]);
        check(&[("a", 1), ("<end_of_turn>", USER_DEFINED), ("<|im_end|>", 1)], &[], &[1]);
        // What a key names is the end of a turn, and comes last.
        check(&phi, &[("eot", 0)], &[1, 0]);
        check(&phi, &[("eom", 2), ("eot", 1)], &[0, 2, 1]);
        check(&[("<|repo_name|>", CONTROL), ("<|im_end|>", CONTROL), ("x", 1)], &[("fim_pad", 2)], &[2, 0, 1]);
        let harmony = [("<|end|>", CONTROL), ("<|call|>", CONTROL), ("<|return|>", CONTROL)];
        check(&harmony, &[], &[1, 2]);
        check(&harmony[..2], &[], &[1, 0]);
    }
}
