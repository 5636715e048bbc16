use super::super::Reader;
use super::super::dialect::DIALECTS;
use super::super::metadata::Metadata;
use super::*;
use crate::config::{FeedForward, Position, QkNorm, Rotary, RotaryScaling, ScoreScale, Shape, long_rope_factor};
use crate::generate::logits_of;
use crate::generate::tests::models::model;
use crate::model::{Pooling, Taken};
use crate::presets::{self, Sizes};
use crate::weights::config_json;
use crate::weights::{GgufFile, GgufModel, Purpose};
use genera_tensor::{Activation, DType, Device};
use serde_json::{Value as Json, json};

const TOKENS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

fn config(preset: &str) -> ModelConfig {
    let sizes = Sizes {
        vocab_size: 40,
        context_len: 32,
        d_model: 64,
        n_layers: 2,
        n_encoder_layers: 0,
        n_heads: 4,
        n_kv_heads: if preset == "gpt2" { 4 } else { 2 },
        d_head: 16,
        d_ff: 96,
    };
    presets::find(preset).unwrap().architecture.config(&sizes).unwrap()
}

fn facts() -> GgufFacts {
    let special = SpecialIds { padding: None, begin: Some(1), end: vec![2], ..SpecialIds::default() };
    let generation = PublishedGeneration::default();
    GgufFacts { name: "test".to_owned(), special, generation, origin: Origin::default(), tokenizer: None }
}

fn logits(model: &Transformer) -> Vec<f32> {
    logits_of(model, &[TOKENS.to_vec()], None).unwrap().to_vec()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap_or(0.0)
}

/// A small model of every architecture that llama.cpp has a name for.
fn published(model_type: &str) -> ModelConfig {
    let json = json!({
        "model_type": model_type, "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": if model_type == "gpt_neox" { 4 } else { 2 }, "head_dim": 8,
        "max_position_embeddings": 32, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 96, "n_positions": 32,
        "sliding_window": if model_type == "mixtral" { Json::Null } else { json!(5) },
        "query_pre_attn_scalar": 8, "num_local_experts": 4,
        "rope_scaling": if model_type == "phi3" {
            json!({ "type": "longrope", "short_factor": [1.0, 1.5, 2.0, 2.5], "long_factor": [1.0, 2.0, 3.0, 4.0] })
        } else {
            Json::Null
        },
        "original_max_position_embeddings": 4,
    });
    config_json::parse(Path::new("config.json"), json.as_object().unwrap()).unwrap().model
}

#[test]
fn what_is_exported_is_the_same_model() {
    let (device, directory) = (Device::cpu(2), tempfile::tempdir().unwrap());
    for Dialect { model_type, .. } in &DIALECTS {
        let config = published(model_type);
        let mut model = model(&config, DType::F32, &device);
        model.set_published_as(Some(model_type));
        let path = directory.path().join(format!("{model_type}.gguf"));
        export_gguf(&model, &path, Some(Format::F32), &facts()).unwrap();
        let loaded = GgufFile::open(&path).unwrap().load(&device, Purpose::Training(DType::F32)).unwrap();
        let GgufModel { transformer, special, .. } = loaded;
        assert_eq!(transformer.published_as(), Some(*model_type));
        assert_eq!(*transformer.config(), with_factor_written_out(config), "{model_type}");
        assert_eq!((special.begin, special.end.as_slice()), (Some(1), &[2][..]), "{model_type}");
        // The factor is kept in 32 bits.
        let difference = largest_difference(&logits(&transformer), &logits(&model));
        assert!(
            difference < if *model_type == "phi3" { 1e-4 } else { f32::MIN_POSITIVE },
            "{model_type}: {difference}"
        );
    }
}

/// Files of LongRoPE name the factor on the scores, be it the usual one.
fn with_factor_written_out(mut config: ModelConfig) -> ModelConfig {
    if let Position::Rotary(rotary) = &mut config.position
        && let RotaryScaling::LongRope { attention_factor, original_context_len, .. } = &mut rotary.scaling
    {
        let stretched = config.context_len as f64 / *original_context_len as f64;
        *attention_factor = Some(f64::from(long_rope_factor(stretched, *original_context_len) as f32));
    }
    config
}

/// Norms of queries and keys, biases, and an untied head come and go with the configuration.
#[test]
fn variants_of_a_family_are_the_same_model() {
    let (device, directory) = (Device::cpu(2), tempfile::tempdir().unwrap());
    let with = |qkv_bias: bool, qk_norm: QkNorm| {
        let mut config = config("llama");
        let Shape::DecoderOnly(stack) = &mut config.shape else { panic!("a decoder") };
        (stack.attention.qkv_bias, stack.attention.qk_norm) = (qkv_bias, qk_norm);
        config
    };
    for (name, config) in [
        ("llama", with(false, QkNorm::None)),
        ("qwen2", with(true, QkNorm::None)),
        ("qwen3", with(false, QkNorm::PerHead)),
    ] {
        let model = model(&config, DType::F32, &device);
        let path = directory.path().join(format!("{name}.gguf"));
        export_gguf(&model, &path, Some(Format::F32), &facts()).unwrap();
        let loaded = GgufFile::open(&path).unwrap().load(&device, Purpose::Training(DType::F32)).unwrap().transformer;
        assert_eq!(loaded.config(), model.config(), "{name}");
        assert_eq!(logits(&loaded), logits(&model), "{name}");
    }
}

/// What llama.cpp computes in its own way.
#[test]
fn what_would_compute_otherwise_is_refused() {
    let refused = |model_type: &str, change: &dyn Fn(&mut ModelConfig)| {
        let mut config = published(model_type);
        change(&mut config);
        architecture::dialect(model_type, &config).unwrap_err().to_string()
    };
    fn attention(config: &mut ModelConfig) -> &mut crate::config::Attention {
        let Shape::DecoderOnly(stack) = &mut config.shape else { panic!("a decoder") };
        &mut stack.attention
    }
    let scale = refused("gemma3_text", &|config| attention(config).scale = ScoreScale::InverseSqrtOf(50.0));
    assert!(scale.contains("query_pre_attn_scalar of 50 instead of 8"), "{scale}");
    let pattern = refused("gemma2", &|config| attention(config).window.as_mut().unwrap().full_every = 3);
    let odd = refused("gpt_neox", &|config| {
        let Position::Rotary(rotary) = &mut config.position else { panic!("rotary positions") };
        rotary.n_rotated = 3;
    });
    assert!(odd.contains("an odd number of features (3)"), "{odd}");
    assert!(pattern.contains("pattern of layers with a window other than 2"), "{pattern}");
    let cap = refused("gemma2", &|config| config.logit_cap = None);
    assert!(cap.contains("without a cap"), "{cap}");
    let window = refused("mixtral", &|config| {
        attention(config).window = Some(crate::config::Window::regular(4, 0));
    });
    assert!(window.contains("mixtral with a sliding window is not written"), "{window}");
    for Dialect { model_type, activation, .. } in &DIALECTS {
        let other = if *activation == Activation::GeluErf { Activation::GeluTanh } else { Activation::GeluErf };
        let refused = refused(model_type, &|config| feed_forward(config, other));
        assert!(refused.contains("the activation gelu"), "{model_type}: {refused}");
    }
    let relu = refused("llama", &|config| feed_forward(config, Activation::Relu));
    assert!(relu.contains("the activation relu instead of silu, which has no place in a GGUF file of llama"), "{relu}");
    let scale = refused("gpt2", &|config| attention(config).scale = ScoreScale::One);
    assert!(scale.contains("a scale of attention scores other than"), "{scale}");
}

/// Makes layers compute with another activation.
fn feed_forward(config: &mut ModelConfig, other: Activation) {
    let Shape::DecoderOnly(stack) = &mut config.shape else { panic!("a decoder") };
    match &mut stack.feed_forward {
        FeedForward::Plain { activation, .. }
        | FeedForward::Gated { activation, .. }
        | FeedForward::Experts { activation, .. } => *activation = other,
    }
}

/// Every id that ends an answer, and how tokens are chosen.
#[test]
fn ends_and_sampling_come_back() {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let model = model(&config("llama"), DType::F32, &device);
    let path = directory.path().join("x.gguf");
    for (end, temperature) in [(vec![2, 5, 7], Some(0.6)), (vec![2, 7], Some(0.0)), (vec![2], None)] {
        let special = SpecialIds { end: end.clone(), ..facts().special };
        let generation = PublishedGeneration {
            temperature,
            top_k: Some(20),
            top_p: Some(0.9),
            min_p: Some(0.05),
            repetition_penalty: Some(1.1),
            ..PublishedGeneration::default()
        };
        export_gguf(
            &model,
            &path,
            Some(Format::F32),
            &GgufFacts { special, generation: generation.clone(), ..facts() },
        )
        .unwrap();
        let loaded = GgufFile::open(&path).unwrap().load(&device, Purpose::Use(DType::F32)).unwrap();
        let mut found = loaded.special.end;
        found.sort_unstable();
        assert_eq!(found, end);
        assert_eq!(loaded.generation, generation);
    }
}

/// What a file says of ends comes back as it was, and no more: a key stops llama.cpp's own search.
#[test]
fn keys_of_ends_are_those_of_the_file_that_they_come_from() {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let (model, path) = (model(&config("llama"), DType::F32, &device), directory.path().join("x.gguf"));
    let token = |id: u32, content: &str| json!({ "id": id, "content": content, "special": true });
    let tokenizer = json!({
        "added_tokens": [token(1, "<|end_of_text|>"), token(2, "<|eom_id|>"), token(3, "<|eot_id|>")],
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": { "a": 0 }, "merges": [] },
    });
    let tokenizer = Some(TokenizerFiles { tokenizer: tokenizer.to_string(), config: "{}".to_owned() });
    let keys_of = |reader: &Reader| -> Vec<(String, i128)> {
        let ids = ["eot", "eom", "fim_pad"].map(|key| format!("tokenizer.ggml.{key}_token_id"));
        let found = ids.iter().filter_map(|key| match reader.metadata().get(key)? {
            Value::Integer(id) => Some((key["tokenizer.ggml.".len()..key.len() - "_token_id".len()].to_owned(), *id)),
            other => panic!("{other:?}"),
        });
        found.collect()
    };
    let said = |keys: &[(&str, u32)]| {
        Some(keys.iter().map(|&(key, id)| (format!("tokenizer.ggml.{key}_token_id"), id)).collect())
    };
    for (end, gguf_ends, expected) in [
        (vec![3], said(&[("eot", 3)]), &[("eot", 3)][..]),
        (vec![3], said(&[]), &[]),
        (vec![3], said(&[("fim_pad", 5)]), &[("fim_pad", 5)]),
        // Of files in the Hugging Face layout.
        (vec![1, 2, 3], None, &[("eot", 3), ("eom", 2)]),
    ] {
        let mut special = SpecialIds { end, gguf_ends, ..facts().special };
        for _ in 0..2 {
            let facts = GgufFacts { special, tokenizer: tokenizer.clone(), ..facts() };
            export_gguf(&model, &path, Some(Format::F32), &facts).unwrap();
            let keys = keys_of(&Reader::open(&path).unwrap());
            assert!(keys.iter().map(|(key, id)| (key.as_str(), *id)).eq(expected.iter().copied()), "{keys:?}");
            special = GgufFile::open(&path).unwrap().load(&device, Purpose::Use(DType::F32)).unwrap().special;
            assert!([1, 2, 3].iter().all(|id| special.end.contains(id)), "{special:?}");
        }
    }
}

/// Quantised weights give what they are decoded to, but for what is lost by rounding what they multiply.
#[test]
fn quantised_weights_stay_near_their_model() {
    let (device, directory) = (Device::cpu(2), tempfile::tempdir().unwrap());
    let model = model(&config("llama"), DType::F32, &device);
    let expected = logits(&model);
    let spread = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    for (format, by_weights, by_inputs) in [
        (Format::F16, 2e-3, 1e-5),
        (Format::Q8_0, 0.02, 0.03),
        (Format::Q5_1, 0.15, 0.03),
        (Format::Q4_0, 0.3, 0.03),
        // Rows of 64 are not whole blocks of these.
        (Format::Q4K, 0.15, 0.03),
        (Format::Q6K, 0.02, 0.03),
    ] {
        let path = directory.path().join(format.name()).with_extension("gguf");
        export_gguf(&model, &path, Some(format), &facts()).unwrap();
        let loaded = |purpose| GgufFile::open(&path).unwrap().load(&device, purpose).unwrap().transformer;
        let widened = logits(&loaded(Purpose::Use(DType::F32)));
        let stored = logits(&loaded(Purpose::UseAsStored(None)));
        let lost = largest_difference(&widened, &expected) / spread;
        assert!(lost < by_weights && lost > 0.0, "{}: {lost}", format.name());
        let strayed = largest_difference(&stored, &widened) / spread;
        assert!(strayed < by_inputs, "{}: {strayed}", format.name());
    }
}

#[test]
fn what_has_no_words_in_gguf_is_refused() {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let path = directory.path().join("x.gguf");
    let refusal = |config: &ModelConfig, format| {
        let error = export_gguf(&model(config, DType::F32, &device), &path, Some(format), &facts()).unwrap_err();
        assert!(!path.exists());
        error.to_string()
    };
    let alibi = refusal(&ModelConfig { position: Position::Alibi, ..config("gpt2") }, Format::F32);
    assert!(alibi.contains("cannot be a GGUF file"), "{alibi}");
    let q2_k = refusal(&config("llama"), Format::Q2K);
    assert!(q2_k.contains("q2_k is read, not written"), "{q2_k}");
}

/// A byte-level tokenizer with an added token, and one of SentencePiece's kind.
#[test]
fn tokenizers_come_back() {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let model = model(&config("llama"), DType::F32, &device);
    let vocab = |tokens: &[&str]| -> Json {
        Json::Object(tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect())
    };
    let byte_level = json!({
        "added_tokens": [{ "id": 3, "content": "<|end|>", "special": true }],
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true },
        "model": { "type": "BPE", "vocab": vocab(&["a", "b", "ab"]), "merges": [["a", "b"]] },
    });
    let sentence_piece = json!({
        "added_tokens": [{ "id": 0, "content": "<unk>", "special": true }],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "▁" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        ] },
        "model": {
            "type": "BPE", "vocab": vocab(&["<unk>", "<0x0A>", "▁", "a", "b", "▁a", "ab"]),
            "merges": ["a b", "▁ a"], "byte_fallback": true, "unk_token": "<unk>",
        },
    });
    for (i, (file, merges)) in
        [(byte_level, json!(["a b"])), (sentence_piece, json!([["a", "b"], ["▁", "a"]]))].into_iter().enumerate()
    {
        let config = json!({
            "eos_token": "ab", "add_bos_token": false, "add_eos_token": true, "chat_template": "{{ messages }}",
        });
        let tokenizer = TokenizerFiles { tokenizer: file.to_string(), config: config.to_string() };
        let path = directory.path().join(format!("{i}.gguf"));
        export_gguf(&model, &path, Some(Format::F16), &GgufFacts { tokenizer: Some(tokenizer), ..facts() }).unwrap();
        let loaded = GgufFile::open(&path).unwrap().take_tokenizer().files().unwrap().unwrap();
        let (found, settings): (Json, Json) =
            (serde_json::from_str(&loaded.tokenizer).unwrap(), serde_json::from_str(&loaded.config).unwrap());
        for (token, id) in file["model"]["vocab"].as_object().unwrap() {
            assert_eq!(found["model"]["vocab"][token], *id, "{token}");
        }
        assert_eq!(found["model"]["merges"], merges);
        assert_eq!(found["added_tokens"][0]["content"], file["added_tokens"][0]["content"]);
        assert_eq!(settings["chat_template"], config["chat_template"]);
        assert_eq!((&settings["add_bos_token"], &settings["add_eos_token"]), (&json!(false), &json!(true)));
    }
}

/// Gemma's runs of spaces: in files that write them as spaces they are cut out of texts, in others merges make them.
#[test]
fn runs_of_spaces_stay_tokens() {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let (model, path) = (model(&config("llama"), DType::F32, &device), directory.path().join("x.gguf"));
    let token = |id: u32, content: &str| json!({ "id": id, "content": content, "normalized": false, "special": false });
    let tokenizer = json!({
        "added_tokens": [token(1, "▁▁"), token(2, "<i>▁")],
        "normalizer": { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        "model": {
            "type": "BPE", "vocab": { "<unk>": 0, "▁▁": 1, "<i>▁": 2, "▁": 3, "a": 4 },
            "merges": ["▁ ▁"], "byte_fallback": true, "unk_token": "<unk>",
        },
    });
    let tokenizer = Some(TokenizerFiles { tokenizer: tokenizer.to_string(), config: "{}".to_owned() });
    export_gguf(&model, &path, Some(Format::F16), &GgufFacts { tokenizer, ..facts() }).unwrap();
    let files = GgufFile::open(&path).unwrap().take_tokenizer().files().unwrap().unwrap();
    let found: Json = serde_json::from_str(&files.tokenizer).unwrap();
    let added: Vec<&Json> = found["added_tokens"].as_array().unwrap().iter().map(|token| &token["content"]).collect();
    assert_eq!(added, ["  ", "<i> "]);
    let mut entries = Reader::open(&path).unwrap().metadata().clone();
    let marks = ["<unk>", "▁▁", "<i>▁", "▁", "a"].into_iter().collect();
    entries.extend([
        ("tokenizer.ggml.tokens".to_owned(), Value::Texts(marks)),
        ("tokenizer.ggml.token_type".to_owned(), Value::Integers(vec![2, 4, 4, 1, 1])),
        ("tokenizer.ggml.scores".to_owned(), Value::Floats(vec![0.0; 5])),
    ]);
    let files = tokenizer::files(&Metadata(&entries)).unwrap().unwrap();
    let found: Json = serde_json::from_str(&files.tokenizer).unwrap();
    assert_eq!(found["model"]["merges"], json!([["▁", "▁"]]));
}

/// Any file of a model stands for all; the first may hold nothing but the metadata, as llama.cpp can write it.
#[test]
fn a_model_in_several_files_is_read_whole() {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let model = model(&config("llama"), DType::F32, &device);
    let Expression { json, model: theirs, .. } = express_as(model.config(), Some("llama")).unwrap();
    let dialect = architecture::dialect("llama", model.config()).unwrap();
    let mut metadata = vec![("general.architecture".to_owned(), Value::Text(dialect.name.to_owned()))];
    metadata.extend(architecture::metadata(dialect, &json, model.config()));
    let path = |number: usize, n_parts: usize| directory.path().join(format!("m-{number:05}-of-{n_parts:05}.gguf"));
    for (n_parts, n_in_first) in [(2, 5), (3, 0)] {
        let mut rest = tensors(&model, &theirs, dialect, Format::F32);
        for number in 1..=n_parts {
            let n = if number == 1 { n_in_first } else { rest.len() / (n_parts - number + 1) };
            let part: Vec<_> = rest.drain(..n).collect();
            let mut values = if number == 1 { metadata.clone() } else { Vec::new() };
            let split = [("split.no", number - 1), ("split.count", n_parts)];
            values.extend(split.map(|(key, value)| (key.to_owned(), Value::Integer((value as u32).into()))));
            write::write(&path(number, n_parts), &values, &part).unwrap();
        }
        for number in 1..=n_parts {
            for purpose in [Purpose::Use(DType::F32), Purpose::UseInPlace(None)] {
                let loaded = GgufFile::open(&path(number, n_parts)).unwrap().load(&device, purpose).unwrap();
                assert_eq!(logits(&loaded.transformer), logits(&model), "part {number} of {n_parts}");
            }
        }
    }
    let refused = |path: &Path| format!("{}", GgufFile::open(path).unwrap_err());
    std::fs::copy(path(1, 2), directory.path().join("m.gguf")).unwrap();
    let said = refused(&directory.path().join("m.gguf"));
    assert!(said.contains("one of the 2 files") && said.contains("-00001-of-00002.gguf"), "{said}");
    std::fs::copy(path(1, 2), path(2, 2)).unwrap();
    let said = refused(&path(1, 2));
    assert!(said.contains("split.no is 0") && said.contains("asks for 1 and 2"), "{said}");
    std::fs::remove_file(path(2, 3)).unwrap();
    let said = refused(&path(3, 3));
    assert!(said.contains("m-00002-of-00003.gguf is missing"), "{said}");
}

/// Metadata of a file.
type Entries = Vec<(String, Value)>;

/// The configuration of a Llama's file with further keys.
fn config_with(keys: &[(&str, Value)]) -> Result<ModelConfig> {
    let more = keys.iter().map(|(key, value)| (format!("llama.{key}"), value.clone()));
    config_after(&config("llama"), "llama", |metadata| metadata.extend(more))
}

/// The configuration that comes back from a file whose metadata were changed.
fn config_after(config: &ModelConfig, model_type: &str, change: impl FnOnce(&mut Entries)) -> Result<ModelConfig> {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let (model, path) = (model(config, DType::F32, &device), directory.path().join("x.gguf"));
    let Expression { json, model: theirs, .. } = express_as(model.config(), Some(model_type)).unwrap();
    let dialect = architecture::dialect(model_type, model.config())?;
    let mut metadata = vec![("general.architecture".to_owned(), Value::Text(dialect.name.to_owned()))];
    metadata.extend(architecture::metadata(dialect, &json, model.config()));
    change(&mut metadata);
    write::write(&path, &metadata, &tensors(&model, &theirs, dialect, Format::F32))?;
    let loaded = GgufFile::open(&path)?.load(&device, Purpose::Use(DType::F32))?;
    Ok(loaded.transformer.config().clone())
}

/// Puts another number in the place of a key's.
fn put(key: &str, number: i128) -> impl FnOnce(&mut Entries) {
    move |metadata| {
        let (_, value) = metadata.iter_mut().find(|(known, _)| known == key).unwrap();
        *value = Value::Integer(number);
    }
}

/// Keys that most files lack, and that llama.cpp computes otherwise by.
#[test]
fn keys_that_change_the_result_are_used_or_refused() {
    let scaling = |keys: &[(&str, Value)]| match config_with(keys).unwrap().position {
        Position::Rotary(rotary) => rotary.scaling,
        other => panic!("{other:?}"),
    };
    let linear = RotaryScaling::Linear { factor: 4.0 };
    assert_eq!(scaling(&[("rope.scale_linear", Value::Float(4.0))]), linear);
    assert_eq!(scaling(&[("rope.scaling.factor", Value::Float(4.0))]), linear);
    let none = Value::Text("none".to_owned());
    for keys in [
        &[("rope.scale_linear", Value::Float(1.0))][..],
        &[("rope.scaling.factor", Value::Float(4.0)), ("rope.scaling.type", none)],
        // 1/√16, as without it.
        &[("attention.scale", Value::Float(0.25)), ("logit_scale", Value::Float(1.0))],
        &[("attention.scale", Value::Float(0.0)), ("attention.clamp_kqv", Value::Float(0.0))],
    ] {
        assert_eq!(config_with(keys).unwrap(), config("llama"), "{keys:?}");
    }
    for (key, value) in [
        ("attention.scale", 0.9),
        ("logit_scale", 3.0),
        ("embedding_scale", 12.0),
        ("residual_scale", 0.5),
        ("attention.clamp_kqv", 8.0),
    ] {
        let error = config_with(&[(key, Value::Float(value))]).unwrap_err().to_string();
        assert!(error.contains(&format!("'llama.{key}' is ")) && error.contains("not supported"), "{error}");
    }
}

/// llama.cpp turns neighbours of the part that is turned, and files have neighbours of the whole head.
#[test]
fn a_part_of_a_head_is_turned_where_the_family_knows_it() {
    let error = config_after(&config("llama"), "llama", put("llama.rope.dimension_count", 4)).unwrap_err().to_string();
    assert!(error.contains("'llama.rope.dimension_count' is 4") && error.contains("expected 16"), "{error}");
    let mut plain = published("phi3");
    plain.position = Position::Rotary(Rotary::plain(1e4, 8));
    let found = config_after(&plain, "phi3", put("phi3.rope.dimension_count", 4)).unwrap();
    assert_eq!(found.position, Position::Rotary(Rotary::plain(1e4, 4)));
}

/// llama.cpp applies both to the wavelengths.
#[test]
fn factors_of_wavelengths_are_used_beside_a_linear_scale() {
    let mut llama3 = config("llama");
    let Position::Rotary(rotary) = &mut llama3.position else { panic!("a rotary model") };
    rotary.scaling =
        RotaryScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context_len: 8 };
    let with = |kind: &str| {
        config_after(&llama3, "llama", |metadata| {
            metadata.push(("llama.rope.scaling.type".to_owned(), Value::Text(kind.to_owned())));
            metadata.push(("llama.rope.scaling.factor".to_owned(), Value::Float(4.0)));
        })
    };
    let factors = |kind: &str| match with(kind).unwrap().position {
        Position::Rotary(Rotary { scaling: RotaryScaling::LongRope { long, .. }, .. }) => long,
        other => panic!("{other:?}"),
    };
    let stretched: Vec<f64> = factors("none").iter().map(|factor| factor * 4.0).collect();
    assert_eq!(factors("linear"), stretched);
    let error = with("yarn").unwrap_err().to_string();
    assert!(error.contains("'llama.rope.scaling.type' is 'yarn' beside rope_freqs.weight"), "{error}");
}

/// A file of GGUF has no `config.json` to be mended.
#[test]
fn what_does_not_fit_is_said_of_the_metadata() {
    let error = config_after(&config("llama"), "llama", put("llama.feed_forward_length", 64)).unwrap_err().to_string();
    assert!(error.contains("but its metadata asks for") && !error.contains("config.json"), "{error}");
}

/// How texts become vectors comes and goes with the file, as far as it has a number there.
#[test]
fn pooling_comes_back() {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let (mut model, path) = (model(&config("llama"), DType::F32, &device), directory.path().join("x.gguf"));
    let unknown = || Taken::Unknown("the modules A, B".to_owned());
    for (taken, normalizes, expected, note) in [
        (None, true, None, None),
        (Some(Taken::Mean), true, Some(Taken::Mean), None),
        (Some(Taken::Mean), false, Some(Taken::Mean), Some("keep their length")),
        (Some(Taken::First), true, Some(Taken::First), None),
        (Some(Taken::Last), true, Some(Taken::Last), None),
        (Some(Taken::Largest), true, None, Some("how texts become vectors (max) cannot be written")),
        (Some(unknown()), true, None, Some("(the modules A, B) cannot be written")),
    ] {
        model.set_pooling(taken.map(|taken| Pooling { taken, normalizes, ..Pooling::default() }));
        let said = export_gguf(&model, &path, Some(Format::F32), &facts()).unwrap();
        assert_eq!(said.is_some(), note.is_some(), "{said:?}");
        assert!(said.iter().zip(note).all(|(said, note)| said.contains(note)), "{said:?}");
        let loaded = GgufFile::open(&path).unwrap().load(&device, Purpose::Use(DType::F32)).unwrap().transformer;
        assert_eq!(loaded.pooling().map(|pooling| pooling.taken.clone()), expected);
    }
    assert_eq!(pooling::of_gguf(4).unwrap().taken, Taken::Unknown("pooling_type 4".to_owned()));
}

/// llama.cpp takes the usual window where a file of Gemma 2 names none.
#[test]
fn gemma_2_has_a_window_in_files_that_do_not_say_so() {
    const KEY: &str = "gemma2.attention.sliding_window";
    let config = published("gemma2");
    let window = |config: &ModelConfig, change: &dyn Fn(&mut Entries)| {
        let found = config_after(config, "gemma2", change).unwrap();
        found.last_stack().attention.window.as_ref().map(|window| window.tokens)
    };
    assert_eq!(window(&config, &|_| {}), Some(5));
    assert_eq!(window(&config, &|metadata| metadata.retain(|(key, _)| key != KEY)), Some(4096));
    let none = |metadata: &mut Entries| {
        metadata.retain(|(key, _)| key != KEY);
        metadata.push((KEY.to_owned(), Value::Integer(0)));
    };
    assert_eq!(window(&config, &none), None);
    let mut without = config.clone();
    let Shape::DecoderOnly(stack) = &mut without.shape else { panic!("a decoder") };
    stack.attention.window = None;
    assert_eq!(window(&without, &|_| {}), Some(config.context_len), "all there is");
}

/// The name under which llama.cpp cuts in the same way says too whether words that are tokens stay whole.
#[test]
fn the_way_of_cutting_has_a_name_by_what_it_does_with_merges() {
    let llama = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let bytes = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
    let split = json!({ "type": "Split", "pattern": { "Regex": llama }, "behavior": "Isolated", "invert": false });
    let of_llama = json!({ "type": "Sequence", "pretokenizers": [split, bytes(false)] });
    for (pre_tokenizer, ignores, expected) in [
        (&of_llama, json!(true), Some("llama-bpe")),
        (&of_llama, json!(false), Some("dbrx")),
        (&of_llama, Json::Null, Some("dbrx")),
        (&bytes(true), json!(false), Some("gpt-2")),
        (&bytes(true), json!(true), None),
    ] {
        let tokenizer = json!({
            "added_tokens": [], "normalizer": null, "pre_tokenizer": pre_tokenizer,
            "model": { "type": "BPE", "ignore_merges": ignores, "vocab": { "a": 0, "b": 1 }, "merges": [] },
        });
        let files = TokenizerFiles { tokenizer: tokenizer.to_string(), config: "{}".to_owned() };
        let found = tokenizer::metadata(&files, 2)
            .map(|metadata| metadata.into_iter().find(|(key, _)| key == "tokenizer.ggml.pre").map(|(_, value)| value));
        match expected {
            Some(name) => assert_eq!(found, Ok(Some(Value::Text(name.to_owned())))),
            None => assert!(found.unwrap_err().contains("ignore_merges true"), "{pre_tokenizer}"),
        }
    }
}

/// Files of GGUF do not say it; llama.cpp knows Phi-3 by its name.
#[test]
fn white_space_behind_tokens_of_phi_3_is_left_out() {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let (model, path) = (model(&config("llama"), DType::F32, &device), directory.path().join("x.gguf"));
    let token = |id: u32, content: &str| json!({ "id": id, "content": content, "special": true });
    let tokenizer = json!({
        "added_tokens": [token(1, "<s>"), token(2, "</s>"), token(3, "<|endoftext|>"), token(4, "<|user|>")],
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": { "a": 0 }, "merges": [] },
    });
    for (name, expected) in [("Phi-3 mini", [false, true, false, true]), ("Phi 4", [false; 4])] {
        let tokenizer = TokenizerFiles { tokenizer: tokenizer.to_string(), config: "{}".to_owned() };
        let facts = GgufFacts { name: name.to_owned(), tokenizer: Some(tokenizer), ..facts() };
        export_gguf(&model, &path, Some(Format::F16), &facts).unwrap();
        let loaded = GgufFile::open(&path).unwrap().take_tokenizer().files().unwrap().unwrap();
        let file: Json = serde_json::from_str(&loaded.tokenizer).unwrap();
        let stripped: Vec<bool> =
            file["added_tokens"].as_array().unwrap().iter().map(|token| token["rstrip"] == true).collect();
        assert_eq!(stripped, expected, "{name}");
    }
}
