//! Which tokens end an answer: those that a file names, and as in llama.cpp those that are known by what they say.
//!
//! # Source
//! llama.cpp, `src/llama-vocab.cpp`, `llama_vocab::impl::load`.

use super::header::Sound;
use super::metadata::Metadata;
use crate::weights::config_json::SpecialIds;
use genera_tokens::TokenId;
use std::collections::BTreeMap;

/// Keys of ids that end an answer beside the first one: of what stands around code that is filled in, of a message, and of a
/// turn.
const OF_FILES: [&str; 3] =
    ["tokenizer.ggml.fim_pad_token_id", "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id"];
const OF_TURN: [&str; 2] = ["tokenizer.ggml.eom_token_id", "tokenizer.ggml.eot_token_id"];

/// Tokens that end an answer by what they say, whatever kind of token the file calls them. The likelier the end of a turn,
/// the earlier.
const TEXTS: [&str; 32] = [
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
    CLOSED,
];
/// In Gemma's vocabulary it is a mark of HTML, and no end.
const CLOSED: &str = "</s>";

/// The ids that end an answer beside the end token, in the order of a `generation_config.json`: the last ends a turn. And
/// those of them that the file has keys for.
pub(super) fn further(metadata: &Metadata<'_>) -> Sound<(Vec<TokenId>, BTreeMap<String, TokenId>)> {
    let mut keys = BTreeMap::new();
    for key in OF_FILES.into_iter().chain(OF_TURN) {
        keys.extend(metadata.id(key)?.map(|id| (key.to_owned(), id)));
    }
    let by_key = |names: &[&str]| names.iter().filter_map(|&key| keys.get(key).copied()).collect::<Vec<TokenId>>();
    let mut ends: Vec<TokenId> = Vec::new();
    for id in [by_key(&OF_FILES), by_text(metadata)?, by_key(&OF_TURN)].concat() {
        ends.retain(|&known| known != id);
        ends.push(id);
    }
    Ok((ends, keys))
}

/// The keys of a file for a model with these ids: those of the file that they come from, for with a key llama.cpp does not
/// look for what ends a turn by itself. Ids of other files are in the order of a `generation_config.json`.
pub(super) fn keys(special: &SpecialIds) -> BTreeMap<String, TokenId> {
    let in_order = || {
        let further = special.end.iter().skip(1).rev().copied();
        OF_TURN.into_iter().rev().map(str::to_owned).zip(further).collect()
    };
    special.gguf_ends.clone().unwrap_or_else(in_order)
}

/// Whether a token ends an answer by what it says, in every vocabulary.
pub(super) fn is_end(token: &str) -> bool {
    token != CLOSED && TEXTS.contains(&token)
}

fn by_text(metadata: &Metadata<'_>) -> Sound<Vec<TokenId>> {
    let Some(tokens) = metadata.texts("tokenizer.ggml.tokens")? else { return Ok(Vec::new()) };
    let is_gemma = metadata.text("general.architecture")?.is_some_and(|name| name.starts_with("gemma"));
    let place = |token: &str| TEXTS.iter().position(|text| *text == token && !(is_gemma && token == CLOSED));
    let mut found: Vec<(usize, TokenId)> =
        tokens.iter().zip(0..).filter_map(|(token, id)| Some((place(token)?, id))).collect();
    let has = |text: &str| found.iter().any(|&(place, _)| TEXTS[place] == text);
    // In these vocabularies it closes a message, of which an answer has several.
    let goes_on = has("<|return|>") && has("<|call|>") || has("<|flush|>") && (has("<|call|>") || has("<|calls|>"));
    found.retain(|&(place, _)| !(goes_on && TEXTS[place] == "<|end|>"));
    // The likeliest end of a turn is the last.
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

#[cfg(test)]
mod tests {
    use super::super::header::Value;
    use super::*;

    fn check(architecture: &str, tokens: &[&str], keys: &[(&str, i128)], expected: &[TokenId]) {
        let mut map: BTreeMap<String, Value> =
            keys.iter().map(|(key, id)| (format!("tokenizer.ggml.{key}_token_id"), Value::Integer(*id))).collect();
        map.insert("general.architecture".to_owned(), Value::Text(architecture.to_owned()));
        map.insert("tokenizer.ggml.tokens".to_owned(), Value::Texts(tokens.iter().collect()));
        assert_eq!(further(&Metadata(&map)).unwrap().0, expected, "{architecture} {tokens:?} {keys:?}");
    }

    #[test]
    fn ends_are_known_by_their_key_or_by_what_they_say() {
        let phi = ["<|endoftext|>", "<|end|>", "<|user|>", "</s>"];
        check("phi3", &phi, &[("eos", 0)], &[3, 0, 1]);
        check("llama", &["a", "<end_of_turn>", "<|im_end|>"], &[], &[1, 2]);
        // What a key names is the end of a turn, and comes last.
        check("phi3", &phi, &[("eot", 0)], &[3, 1, 0]);
        check("phi3", &phi, &[("eom", 2), ("eot", 1)], &[3, 0, 2, 1]);
        check("qwen2", &["<|repo_name|>", "<|im_end|>", "x"], &[("fim_pad", 2)], &[2, 0, 1]);
        let harmony = ["<|end|>", "<|call|>", "<|return|>"];
        check("llama", &harmony, &[], &[1, 2]);
        check("llama", &harmony[..2], &[], &[1, 0]);
        // Gemma's mark of HTML.
        let closed = ["<end_of_turn>", "</s>"];
        check("llama", &closed, &[], &[1, 0]);
        check("gemma3", &closed, &[], &[0]);
    }
}
