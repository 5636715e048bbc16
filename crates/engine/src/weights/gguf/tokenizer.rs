//! The tokenizer in a GGUF file's metadata, as the two files that the Hugging Face library keeps.

use super::header::Sound;
use super::metadata::Metadata;
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;

/// A tokenizer as other programs keep it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`
    pub tokenizer: String,
    /// `tokenizer_config.json`: which tokens open, close, fill, and the chat template.
    pub config: String,
}

/// Kinds of tokens, as `tokenizer.ggml.token_type` numbers them.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// How text is cut into words before the merges, by the name that llama.cpp has for it in `tokenizer.ggml.pre`.
///
/// Each pattern is the one in the `tokenizer.json` that the model was published with.
fn pre_tokenizer(name: &str) -> Option<Json> {
    let split = |pattern: &str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
    let bytes = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
    let sequence = |stages: &[Json]| json!({ "type": "Sequence", "pretokenizers": stages });
    Some(match name {
        "default" | "gpt-2" | "olmo" | "dbrx" | "phi-2" | "jais" => bytes(true),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => {
            sequence(&[json!({ "type": "Digits", "individual_digits": true }), bytes(true)])
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" => sequence(&[
            split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            bytes(false),
        ]),
        "qwen2" | "deepseek-r1-qwen" | "megrez" => sequence(&[
            split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            bytes(false),
        ]),
        _ => return None,
    })
}

/// The names that [`pre_tokenizer`] knows, for messages.
const KNOWN: &str =
    "default, gpt-2, smollm, starcoder, refact, command-r, olmo, dbrx, llama-bpe, llama3, falcon3, qwen2";

/// The tokenizer of a file; `None` when it has none.
///
/// # Errors
/// What is missing or not known, in words.
pub(super) fn files(metadata: &Metadata<'_>) -> Sound<Option<TokenizerFiles>> {
    let Some(model) = metadata.text("tokenizer.ggml.model")? else { return Ok(None) };
    let tokens = metadata.texts("tokenizer.ggml.tokens")?.ok_or("it has a tokenizer without tokens")?;
    let types = metadata.integers("tokenizer.ggml.token_type")?.unwrap_or_default();
    if !types.is_empty() && types.len() != tokens.len() {
        return Err(format!("it has {} tokens, and types for {}", tokens.len(), types.len()));
    }
    let kind = |id: usize| types.get(id).copied().unwrap_or(1);
    let added: Vec<Json> = (0..tokens.len())
        .filter(|&id| matches!(kind(id), CONTROL | USER_DEFINED))
        .map(|id| {
            json!({
                "id": id, "content": tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind(id) == CONTROL,
            })
        })
        .collect();
    let stages = match model {
        "gpt2" => byte_level(metadata, tokens)?,
        "llama" => sentence_piece(metadata, tokens)?,
        other => return Err(format!("its tokenizer is of the kind '{other}'; known are gpt2 and llama")),
    };
    let mut file = object(json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": added }));
    file.extend(object(stages));
    file.insert("post_processor".to_owned(), Json::Null);
    Ok(Some(TokenizerFiles {
        tokenizer: Json::Object(file).to_string(),
        config: config(metadata, tokens)?.to_string(),
    }))
}

/// Byte-pair encoding over bytes, with its list of merges.
fn byte_level(metadata: &Metadata<'_>, tokens: &[String]) -> Sound<Json> {
    let merges = metadata.texts("tokenizer.ggml.merges")?.ok_or("its tokenizer has no merges")?;
    let name = metadata.text("tokenizer.ggml.pre")?.unwrap_or("default");
    let pre_tokenizer = pre_tokenizer(name).ok_or_else(|| {
        format!("its tokenizer cuts words in the way '{name}', which is not known; known are {KNOWN}")
    })?;
    let ignore_merges = matches!(name, "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral");
    Ok(json!({
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
            "vocab": vocab(tokens), "merges": merges,
        },
    }))
}

/// SentencePiece's byte-pair encoding: the merge that makes the token of the highest score goes first.
fn sentence_piece(metadata: &Metadata<'_>, tokens: &[String]) -> Sound<Json> {
    let scores = metadata.floats("tokenizer.ggml.scores")?.unwrap_or_default();
    if scores.len() != tokens.len() {
        return Err(format!("its tokenizer has {} tokens, and scores for {}", tokens.len(), scores.len()));
    }
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let pairs = cuts.filter_map(|(left, right)| Some((*ids.get(left)?, *ids.get(right)?)));
        merges.extend(pairs.map(|(left, right)| (scores[id], left, right)));
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let merges: Vec<Json> = merges.iter().map(|&(_, left, right)| json!([tokens[left], tokens[right]])).collect();
    let has_space = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let to_mark = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let prepend = has_space.then(|| json!({ "type": "Prepend", "prepend": "▁" }));
    let normalizers: Vec<Json> = prepend.into_iter().chain([to_mark]).collect();
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    decoders.extend(has_space.then(|| json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 })));
    let unknown = metadata.token("tokenizer.ggml.unknown_token_id", tokens)?;
    Ok(json!({
        "normalizer": { "type": "Sequence", "normalizers": normalizers },
        "pre_tokenizer": null,
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab(tokens), "merges": merges,
        },
    }))
}

fn config(metadata: &Metadata<'_>, tokens: &[String]) -> Sound<Json> {
    let mut config =
        object(json!({ "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false }));
    for (role, key) in [("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"), ("unk_token", "unknown")]
    {
        let token = metadata.token(&format!("tokenizer.ggml.{key}_token_id"), tokens)?;
        config.extend(token.map(|token| (role.to_owned(), json!(token))));
    }
    // SentencePiece's models have always begun with it.
    let begins = metadata
        .flag("tokenizer.ggml.add_bos_token")?
        .unwrap_or(metadata.text("tokenizer.ggml.model")? == Some("llama"));
    config.insert("add_bos_token".to_owned(), json!(begins));
    let template = metadata.text("tokenizer.chat_template")?;
    config.extend(template.map(|template| ("chat_template".to_owned(), json!(template))));
    Ok(Json::Object(config))
}

fn vocab(tokens: &[String]) -> Json {
    Json::Object(tokens.iter().zip(0_u32..).map(|(token, id)| (token.clone(), json!(id))).collect())
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(map) => map,
        other => panic!("expected an object, found {other}"),
    }
}
