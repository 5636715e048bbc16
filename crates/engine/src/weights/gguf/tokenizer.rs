//! The tokenizer in a GGUF file's metadata, as the two files that the Hugging Face library keeps.

use super::ends;
use super::header::{Sound, Texts, Value};
use super::metadata::Metadata;
use genera_tokens::{MAX_ADDED_TOKENS, merges_of_scores};
use serde::{Serialize, Serializer};
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
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;

/// The key that says what a model is called.
pub(super) const NAME: &str = "general.name";
/// Parts of names of models whose tokens take the white space behind them, as in llama.cpp: no file says it of a token.
const PHI_3: [&str; 2] = ["phi-3", "phi3"];
/// Their tokens that do not.
const KEEP_SPACE_OF_PHI_3: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

/// A way of cutting text into words before the merges, and what llama.cpp does with it.
struct Cutting {
    /// What llama.cpp calls it in `tokenizer.ggml.pre`; the first name is written, but for "default".
    names: &'static [&'static str],
    /// As in the `tokenizer.json` that the models were published with; what has no name, or "default", is cut as llama.cpp
    /// cuts it.
    stages: &'static [Stage],
    /// Whether words that are tokens stay whole, and texts begin with the begin token.
    is_llama_3: bool,
}

enum Stage {
    /// At what a pattern matches.
    Split(&'static str),
    /// Each digit for itself.
    Digits,
    /// Into bytes, after GPT-2's own pattern or without one.
    Bytes { use_regex: bool },
}

const BYTES: Stage = Stage::Bytes { use_regex: false };
const LLAMA_3: &[Stage] = &[
    Stage::Split(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    BYTES,
];
const HAN: Stage = Stage::Split("[一-龥ࠀ-一가-\u{D7FF}]+");

/// Every known way.
const CUTTINGS: [Cutting; 10] = [
    Cutting {
        names: &["default"],
        stages: &[
            Stage::Split(r"[\p{P}\$\+<=>\^~\|]+"),
            Stage::Split(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
            Stage::Split(r"\p{N}+"),
            Stage::Split("[0-9][0-9][0-9]"),
            BYTES,
        ],
        is_llama_3: false,
    },
    Cutting {
        names: &[
            "gpt-2",
            "olmo",
            "phi-2",
            "jais",
            "a.x-4.0",
            "mellum",
            "gigachat",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "modern-bert",
            "exaone4",
            "mpt",
            "trillion",
            "granite-docling",
        ],
        stages: &[Stage::Bytes { use_regex: true }],
        is_llama_3: false,
    },
    Cutting {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        stages: &[Stage::Digits, Stage::Bytes { use_regex: true }],
        is_llama_3: false,
    },
    Cutting {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        stages: LLAMA_3,
        is_llama_3: true,
    },
    Cutting { names: &["dbrx", "smaug-bpe"], stages: LLAMA_3, is_llama_3: false },
    Cutting {
        names: &["qwen2", "deepseek-r1-qwen", "megrez", "kormo", "f2llmv2", "stablelm2", "hunyuan"],
        stages: &[
            Stage::Split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            BYTES,
        ],
        is_llama_3: false,
    },
    Cutting {
        names: &["tekken"],
        stages: &[
            Stage::Split(
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            BYTES,
        ],
        is_llama_3: true,
    },
    Cutting {
        names: &["gpt-4o", "llama4", "kanana2", "talkie"],
        stages: &[
            Stage::Split(
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            BYTES,
        ],
        is_llama_3: false,
    },
    Cutting {
        names: &["deepseek-llm"],
        stages: &[
            Stage::Split("[\r\n]"),
            Stage::Split(CASED_LETTERS),
            Stage::Split("\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+"),
            Stage::Split(r"\s+$"),
            HAN,
            Stage::Digits,
            BYTES,
        ],
        is_llama_3: false,
    },
    Cutting {
        names: &["deepseek-coder"],
        stages: &[
            Stage::Split("[\r\n]"),
            Stage::Split(r"\s?\p{L}+"),
            Stage::Split(r"\s?\p{P}+"),
            HAN,
            Stage::Digits,
            BYTES,
        ],
        is_llama_3: false,
    },
];

/// Letters of a case, as DeepSeek LLM lists them.
const CASED_LETTERS: &str = "\\s?[A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-\u{2AF}\
     \u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}\
     \u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\
     \u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\u{1D79}-\
     \u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\
     \u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}\
     \u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}\u{1FF6}-\
     \u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}\u{2126}\u{2128}\u{212A}-\
     \u{212D}\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}\u{2C00}-\
     \u{2C7B}\u{2C7E}-\u{2CE4}\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}\
     -\u{A76F}\u{A771}-\u{A787}\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}\
     \u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}\
     -\u{10CB2}\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}]+";

impl Cutting {
    fn of(name: &str) -> Option<&'static Self> {
        CUTTINGS.iter().find(|cutting| cutting.names.contains(&name))
    }

    /// The same as `pre_tokenizer` of a `tokenizer.json`.
    fn to_json(&self) -> Json {
        let stages: Vec<Json> = self.stages.iter().map(Stage::to_json).collect();
        if let [stage] = &stages[..] { stage.clone() } else { json!({ "type": "Sequence", "pretokenizers": stages }) }
    }
}

impl Stage {
    fn to_json(&self) -> Json {
        match self {
            Self::Split(pattern) => {
                json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false })
            }
            Self::Digits => json!({ "type": "Digits", "individual_digits": true }),
            Self::Bytes { use_regex } => json!({
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex,
            }),
        }
    }
}

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
    // As in llama.cpp, what ends answers is no text, whatever its kind.
    let kind = |id: usize| match types.get(id) {
        _ if ends::is_end(&tokens[id]) => CONTROL,
        kind => kind.copied().unwrap_or(NORMAL),
    };
    let name = metadata.text(NAME)?.unwrap_or_default().to_lowercase();
    let is_phi_3 = PHI_3.iter().any(|part| name.contains(part));
    let is_added = |&id: &usize| matches!(kind(id), CONTROL | USER_DEFINED);
    let n_added = (0..tokens.len()).filter(is_added).count();
    if n_added > MAX_ADDED_TOKENS {
        return Err(format!("it has {n_added} control and user-defined tokens; at most {MAX_ADDED_TOKENS} are read"));
    }
    let added = (0..tokens.len()).filter(is_added).map(|id| AddedToken {
        id,
        content: &tokens[id],
        single_word: false,
        lstrip: false,
        rstrip: is_phi_3 && !KEEP_SPACE_OF_PHI_3.contains(&&tokens[id]),
        normalized: false,
        special: kind(id) == CONTROL,
    });
    let added = added.collect();
    let stages = match model {
        "gpt2" => byte_level(metadata, tokens)?,
        "llama" => sentence_piece(metadata, tokens, &kind)?,
        other => return Err(format!("its tokenizer is of the kind '{other}'; known are gpt2 and llama")),
    };
    let (truncation, padding, post_processor) = ((), (), ());
    let file = TokenizerFile { version: "1.0", truncation, padding, added_tokens: added, post_processor, stages };
    let tokenizer = serde_json::to_string(&file).map_err(|error| error.to_string())?;
    Ok(Some(TokenizerFiles { tokenizer, config: config(metadata, tokens)?.to_string() }))
}

/// What a `tokenizer.json` holds. Written as it is, without a copy of the vocabulary in between.
#[derive(Serialize)]
struct TokenizerFile<'m> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<AddedToken<'m>>,
    post_processor: (),
    #[serde(flatten)]
    stages: Stages<'m>,
}

/// A token that is cut out of texts before anything else.
#[derive(Serialize)]
struct AddedToken<'m> {
    id: usize,
    content: &'m str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

#[derive(Serialize)]
struct Stages<'m> {
    normalizer: Json,
    pre_tokenizer: Json,
    decoder: Json,
    model: MergeModel<'m>,
}

/// Byte-pair encoding.
#[derive(Serialize)]
struct MergeModel<'m> {
    r#type: &'static str,
    dropout: (),
    unk_token: Option<&'m str>,
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    #[serde(serialize_with = "by_name")]
    vocab: &'m Texts,
    merges: Merges<'m>,
}

/// Pairs of tokens, as one text with a blank between or as two.
#[derive(Serialize)]
#[serde(untagged)]
enum Merges<'m> {
    Texts(&'m Texts),
    Pairs(Vec<[&'m str; 2]>),
}

impl<'m> MergeModel<'m> {
    fn new(vocab: &'m Texts, merges: Merges<'m>) -> Self {
        Self {
            r#type: "BPE",
            dropout: (),
            unk_token: None,
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab,
            merges,
        }
    }
}

/// Tokens with their ids.
fn by_name<S: Serializer>(tokens: &Texts, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(tokens.iter().zip(0_u32..))
}

/// Byte-pair encoding over bytes, with its list of merges.
fn byte_level<'m>(metadata: &'m Metadata<'_>, tokens: &'m Texts) -> Sound<Stages<'m>> {
    let merges = metadata.texts("tokenizer.ggml.merges")?.ok_or("its tokenizer has no merges")?;
    let name = metadata.text("tokenizer.ggml.pre")?.unwrap_or("default");
    let cutting = Cutting::of(name).ok_or_else(|| {
        let known = CUTTINGS.map(|cutting| cutting.names.join(", ")).join(", ");
        format!("its tokenizer cuts words in the way '{name}', which is not known; known are {known}")
    })?;
    let decoder = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let model = MergeModel { ignore_merges: cutting.is_llama_3, ..MergeModel::new(tokens, Merges::Texts(merges)) };
    Ok(Stages { normalizer: Json::Null, pre_tokenizer: cutting.to_json(), decoder, model })
}

/// SentencePiece's byte-pair encoding: the merge that makes the token of the highest score goes first.
fn sentence_piece<'m>(
    metadata: &'m Metadata<'_>,
    tokens: &'m Texts,
    kind: &impl Fn(usize) -> i64,
) -> Sound<Stages<'m>> {
    let scores = metadata.floats("tokenizer.ggml.scores")?.unwrap_or_default();
    if scores.len() != tokens.len() {
        return Err(format!("its tokenizer has {} tokens, and scores for {}", tokens.len(), scores.len()));
    }
    // Gemma's runs of spaces are user-defined, and where they are written as U+2581 only merges make them.
    let is_text = |&(id, _): &(usize, _)| matches!(kind(id), NORMAL | USER_DEFINED);
    let texts = tokens.iter().zip(scores.iter().copied()).enumerate().filter(is_text);
    let merges = merges_of_scores(texts.map(|(_, text)| text)).map_err(|what| format!("its tokenizer has {what}"))?;
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
    Ok(Stages {
        normalizer: json!({ "type": "Sequence", "normalizers": normalizers }),
        pre_tokenizer: Json::Null,
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        model: MergeModel {
            unk_token: unknown,
            fuse_unk: true,
            byte_fallback: true,
            ..MergeModel::new(tokens, Merges::Pairs(merges))
        },
    })
}

/// A tokenizer as metadata, for a model of `n_rows` tokens.
///
/// # Errors
/// Why GGUF has no words for it.
pub(super) fn metadata(files: &TokenizerFiles, n_rows: usize) -> Sound<Vec<(String, Value)>> {
    let [file, config] = [&files.tokenizer, &files.config].map(|json| serde_json::from_str::<Json>(json));
    let (file, config) = (file.map_err(|e| e.to_string())?, config.map_err(|e| e.to_string())?);
    let model = &file["model"];
    if model["type"] != "BPE" {
        return Err(format!("it is of the kind {}, expected byte-pair encoding", model["type"]));
    }
    let (mut tokens, mut types) = (vec![None; n_rows], vec![UNUSED; n_rows]);
    let mut put = |token: &str, id: &Json, kind: i64| {
        let id = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|&id| id < n_rows);
        let id = id.ok_or_else(|| format!("its token '{token}' is beyond the model's {n_rows}"))?;
        (tokens[id], types[id]) = (Some(token.to_owned()), kind);
        Ok::<(), String>(())
    };
    let is_sentence_piece = model["byte_fallback"] == true;
    for (token, id) in model["vocab"].as_object().ok_or("it has no vocabulary")? {
        put(token, id, kind_of(token, is_sentence_piece))?;
    }
    // The model has learned nothing of added tokens beyond its own, and nobody else can read one.
    let is_known = |token: &&Json| token["id"].as_u64().is_none_or(|id| id < n_rows as u64);
    for token in file["added_tokens"].as_array().into_iter().flatten().filter(is_known) {
        let (content, id) = (token["content"].as_str().unwrap_or_default(), &token["id"]);
        match token["special"] == true {
            true => put(content, id, CONTROL)?,
            // llama.cpp cuts them out of texts before it writes spaces as U+2581.
            false if is_sentence_piece => put(&content.replace('▁', " "), id, USER_DEFINED)?,
            false => put(content, id, USER_DEFINED)?,
        }
    }
    let tokens: Vec<String> =
        tokens.into_iter().enumerate().map(|(id, token)| token.unwrap_or_else(|| format!("[PAD{id}]"))).collect();
    let pairs = merges(model)?;
    let mut list = vec![("tokenizer.ggml.token_type".to_owned(), Value::Integers(types))];
    let mut push = |key: &str, value: Value| list.push((format!("tokenizer.ggml.{key}"), value));
    if is_sentence_piece {
        let has_space = begins_with_space(&file)?;
        push("model", Value::Text("llama".to_owned()));
        push("scores", Value::Floats(scores(&tokens, &pairs)));
        push("add_space_prefix", Value::Flag(has_space));
    } else {
        // llama.cpp leaves composition (NFC) to those who write the text.
        let normalizers = stages(&file["normalizer"], "normalizers");
        if let Some(other) = normalizers.into_iter().find(|stage| stage["type"] != "NFC") {
            return Err(no_words_for("normalizer", other));
        }
        push("model", Value::Text("gpt2".to_owned()));
        push("pre", Value::Text(name_of_cutting(&file["pre_tokenizer"], model["ignore_merges"] == true)?.to_owned()));
        push("merges", Value::Texts(pairs.iter().map(|(left, right)| format!("{left} {right}")).collect()));
    }
    for (role, key) in [("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"), ("unk_token", "unknown")]
    {
        let name = config[role].as_str().or_else(|| config[role]["content"].as_str());
        let id = name.and_then(|name| tokens.iter().position(|token| token == name));
        if let Some(id) = id {
            push(&format!("{key}_token_id"), Value::Integer(id as i128));
        }
    }
    push("add_bos_token", Value::Flag(config["add_bos_token"] == true));
    if config["add_eos_token"] == true {
        push("add_eos_token", Value::Flag(true));
    }
    push("tokens", Value::Texts(tokens.iter().collect()));
    if let Some(template) = config["chat_template"].as_str() {
        list.push(("tokenizer.chat_template".to_owned(), Value::Text(template.to_owned())));
    }
    Ok(list)
}

/// What llama.cpp calls the way in which a stage cuts words, of a model that keeps those of its vocabulary whole or does not.
fn name_of_cutting(stage: &Json, keeps_words: bool) -> Sound<&'static str> {
    let cuts_so = |cutting: &&Cutting| cutting.names != ["default"] && is_same(&cutting.to_json(), stage);
    let mut found = CUTTINGS.iter().filter(cuts_so).peekable();
    found.peek().ok_or("it cuts words in a way that llama.cpp has no name for")?;
    found.find(|cutting| cutting.is_llama_3 == keeps_words).map(|cutting| cutting.names[0]).ok_or_else(|| {
        format!("llama.cpp has no name for its way of cutting words together with ignore_merges {keeps_words}")
    })
}

fn no_words_for(stage: &str, value: &Json) -> String {
    format!("GGUF has no words for its {stage} {value}")
}

/// Whether a tokenizer of SentencePiece's kind puts a space before a text.
///
/// # Errors
/// When it changes or cuts texts in another way than llama.cpp does, which writes spaces as U+2581 and no more.
fn begins_with_space(file: &Json) -> Sound<bool> {
    let mut has_space = false;
    for stage in stages(&file["normalizer"], "normalizers") {
        match stage["type"].as_str() {
            Some("Prepend") if stage["prepend"] == "▁" => has_space = true,
            Some("Replace") if stage["pattern"]["String"] == " " && stage["content"] == "▁" => {}
            _ => return Err(no_words_for("normalizer", stage)),
        }
    }
    let inner_mark = || {
        let tokens = file["model"]["vocab"].as_object().into_iter().flat_map(Map::keys);
        tokens.into_iter().any(|token| token.char_indices().skip(1).any(|(_, character)| character == '▁'))
    };
    for stage in stages(&file["pre_tokenizer"], "pretokenizers") {
        match stage["type"].as_str() {
            // Without the words cut apart, tokens that reach into the next one would be made.
            Some("Metaspace") if stage["split"] != false && inner_mark() => {
                return Err(no_words_for("pre_tokenizer", stage));
            }
            Some("Metaspace") if stage["replacement"] == "▁" => {
                let scheme = stage["prepend_scheme"].as_str();
                has_space |= scheme.map_or(stage["add_prefix_space"] != false, |scheme| scheme != "never");
            }
            // Spaces have been written otherwise by then.
            Some("Split") if stage["pattern"]["String"] == " " => {}
            _ => return Err(no_words_for("pre_tokenizer", stage)),
        }
    }
    Ok(has_space)
}

/// The stages of a sequence, or the one that there is.
fn stages<'s>(stage: &'s Json, list: &str) -> Vec<&'s Json> {
    match stage[list].as_array() {
        _ if stage.is_null() => Vec::new(),
        Some(stages) => stages.iter().collect(),
        None => vec![stage],
    }
}

fn kind_of(token: &str, is_sentence_piece: bool) -> i64 {
    let is_byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
    match is_sentence_piece {
        true if is_byte => BYTE,
        true if token == "<unk>" => UNKNOWN,
        _ => NORMAL,
    }
}

/// Whether two stages cut in the same way: settings that only concern decoding do not count.
fn is_same(ours: &Json, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Json::Object(ours), Json::Object(theirs)) => {
            // A pattern that matches every text cuts as what does not match is cut out.
            let cuts_all =
                ours.get("pattern").and_then(|it| it["Regex"].as_str()).is_some_and(|it| it.ends_with(r"|\s+"));
            let is_turned = cuts_all && theirs.get("behavior") == Some(&json!("Removed"));
            let is_turned = is_turned && theirs.get("invert") == Some(&json!(true));
            let counts =
                |key: &String| !(key == "trim_offsets" || is_turned && matches!(key.as_str(), "behavior" | "invert"));
            ours.iter()
                .filter(|(key, _)| counts(key))
                .all(|(key, ours)| theirs.get(key).map_or_else(|| *ours == json!(true), |theirs| is_same(ours, theirs)))
        }
        (Json::Array(ours), Json::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| is_same(ours, theirs))
        }
        _ => ours == theirs,
    }
}

/// The merges, as either form of the file has them.
fn merges(model: &Json) -> Sound<Vec<(String, String)>> {
    let merges = model["merges"].as_array().ok_or("it has no merges")?;
    let pair = |merge: &Json| match (merge.as_str(), merge.as_array().map(Vec::as_slice)) {
        (Some(text), _) => text.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())),
        (None, Some([left, right])) => Some((left.as_str()?.to_owned(), right.as_str()?.to_owned())),
        _ => None,
    };
    merges.iter().map(|merge| pair(merge).ok_or_else(|| format!("{merge} is no merge"))).collect()
}

/// Scores that make SentencePiece merge in the order of the list.
fn scores(tokens: &[String], merges: &[(String, String)]) -> Vec<f32> {
    let mut rank = HashMap::new();
    for (i, (left, right)) in merges.iter().enumerate() {
        rank.entry(format!("{left}{right}")).or_insert(-(i as f32));
    }
    tokens.iter().map(|token| rank.get(token).copied().unwrap_or(-1e6)).collect()
}

fn config(metadata: &Metadata<'_>, tokens: &Texts) -> Sound<Json> {
    let mut config =
        object(json!({ "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false }));
    for (role, key) in [("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"), ("unk_token", "unknown")]
    {
        let token = metadata.token(&format!("tokenizer.ggml.{key}_token_id"), tokens)?;
        config.extend(token.map(|token| (role.to_owned(), json!(token))));
    }
    // SentencePiece's models have always begun with it.
    let begins_by_itself = metadata.text("tokenizer.ggml.model")? == Some("llama")
        || metadata.text("tokenizer.ggml.pre")?.and_then(Cutting::of).is_some_and(|cutting| cutting.is_llama_3);
    let begins = metadata.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(begins_by_itself);
    config.insert("add_bos_token".to_owned(), json!(begins));
    let ends = metadata.flag("tokenizer.ggml.add_eos_token")?;
    config.extend(ends.map(|ends| ("add_eos_token".to_owned(), json!(ends))));
    let template = metadata.text("tokenizer.chat_template")?;
    config.extend(template.map(|template| ("chat_template".to_owned(), json!(template))));
    Ok(Json::Object(config))
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(map) => map,
        other => panic!("expected an object, found {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_space_before_the_text_is_found_where_it_stands() {
        let metaspace = |scheme: &str, split: bool| json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split });
        let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
        let prepend = json!({ "type": "Prepend", "prepend": "▁" });
        let older = json!({ "type": "Sequence", "normalizers": [prepend, replace] });
        let split = json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious" });
        let model = |token: &str| json!({ "vocab": { token: 0 } });
        let check = |normalizer: &Json, pre_tokenizer: &Json, token: &str, expected: Option<bool>| {
            let file = json!({ "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "model": model(token) });
            let found = begins_with_space(&file);
            assert_eq!(found.clone().ok(), expected, "{file} {found:?}");
            assert!(expected.is_some() || found.unwrap_err().contains("GGUF has no words for its"));
        };
        check(&older, &Json::Null, "a▁b", Some(true));
        check(&replace, &split, "a▁b", Some(false));
        check(&Json::Null, &metaspace("first", false), "a▁b", Some(true));
        check(&Json::Null, &metaspace("always", true), "▁b", Some(true));
        check(&Json::Null, &metaspace("never", false), "▁b", Some(false));
        check(&Json::Null, &json!({ "type": "Metaspace", "replacement": "▁" }), "▁b", Some(true));
        check(&Json::Null, &metaspace("always", true), "a▁b", None);
        check(&json!({ "type": "Lowercase" }), &metaspace("always", false), "▁b", None);
        check(&older, &json!({ "type": "Whitespace" }), "▁b", None);
    }

    /// Each way that has a name of its own is read by each of its names, and written under the first.
    #[test]
    fn ways_of_cutting_come_and_go_by_name() {
        for cutting in &CUTTINGS {
            for name in cutting.names {
                let metadata = BTreeMap::from([
                    ("tokenizer.ggml.model".to_owned(), Value::Text("gpt2".to_owned())),
                    ("tokenizer.ggml.pre".to_owned(), Value::Text((*name).to_owned())),
                    ("tokenizer.ggml.tokens".to_owned(), Value::Texts(["a", "b"].into_iter().collect())),
                    ("tokenizer.ggml.merges".to_owned(), Value::Texts(std::iter::empty::<&str>().collect())),
                ]);
                let files = files(&Metadata(&metadata)).unwrap().unwrap();
                let begins = serde_json::from_str::<Json>(&files.config).unwrap()["add_bos_token"] == true;
                assert_eq!(begins, cutting.is_llama_3, "{name}");
                let of_turned = files
                    .tokenizer
                    .replace(r#""behavior":"Isolated","invert":false"#, r#""behavior":"Removed","invert":true"#);
                let write = |tokenizer: &str| {
                    let files = TokenizerFiles { tokenizer: tokenizer.to_owned(), config: "{}".to_owned() };
                    super::metadata(&files, 2)
                        .map(|list| list.into_iter().find(|(key, _)| key.ends_with("pre")).unwrap().1)
                };
                let expected = (*name != "default").then(|| Value::Text(cutting.names[0].to_owned()));
                assert_eq!(write(&files.tokenizer).ok(), expected, "{name}");
                let has_rest = name.starts_with("deepseek-") && !name.ends_with("-qwen");
                assert_eq!(write(&of_turned).ok(), expected.filter(|_| !has_rest), "{name}");
            }
        }
    }

    #[test]
    fn too_many_control_tokens_are_refused() {
        let files = |n: usize| {
            let metadata = BTreeMap::from([
                ("tokenizer.ggml.model".to_owned(), Value::Text("gpt2".to_owned())),
                ("tokenizer.ggml.tokens".to_owned(), Value::Texts((0..n).map(|i| i.to_string()).collect())),
                ("tokenizer.ggml.token_type".to_owned(), Value::Integers(vec![CONTROL; n])),
                ("tokenizer.ggml.merges".to_owned(), Value::Texts(Texts::default())),
            ]);
            files(&Metadata(&metadata)).map(|files| files.unwrap().tokenizer)
        };
        let added = r#""added_tokens":[{"id":0,"content":"0","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}]"#;
        assert!(files(1).unwrap().contains(added));
        assert!(
            files(MAX_ADDED_TOKENS + 1).unwrap_err().contains("131073 control and user-defined tokens; at most 131072")
        );
    }

    /// As SentencePiece has it: only texts are made of others, those that are cut out of texts before too.
    #[test]
    fn texts_do_not_become_control_tokens() {
        let tokens: Texts = ["<unk>", "</s>", "</", "s>", "<x>", "x>", "<", "<eos>", "eos>"].into_iter().collect();
        let types = [UNKNOWN, CONTROL, NORMAL, NORMAL, USER_DEFINED, NORMAL, NORMAL, NORMAL, NORMAL];
        let metadata = |types: &[i64]| {
            let mut map = BTreeMap::from([
                ("tokenizer.ggml.model".to_owned(), Value::Text("llama".to_owned())),
                ("tokenizer.ggml.tokens".to_owned(), Value::Texts(tokens.clone())),
                ("tokenizer.ggml.scores".to_owned(), Value::Floats(vec![0.0; tokens.len()])),
            ]);
            map.extend(
                (!types.is_empty()).then(|| ("tokenizer.ggml.token_type".to_owned(), Value::Integers(types.to_vec()))),
            );
            let files = files(&Metadata(&map)).unwrap().unwrap();
            serde_json::from_str::<Json>(&files.tokenizer).unwrap()["model"]["merges"].clone()
        };
        assert_eq!(metadata(&types), json!([["<", "x>"]]));
        assert_eq!(metadata(&[]), json!([["</", "s>"], ["<", "x>"]]));
    }
}
