//! Files in the spelling of older versions say what newer ones say; what is not supported is named.

use super::FAMILIES;
use crate::config::{
    FeedForward, ModelConfig, Placement, Position, QkNorm, Rotary, RotaryScaling, ScoreScale, Window, long_rope_factor,
};
use crate::generate::{Ending, Rules};
use crate::weights::PublishedGeneration;
use crate::weights::config_json::{Fields, parse};
use crate::weights::express::express_as;
use serde_json::{Value, json};
use std::path::Path;

fn read(json: Value) -> Result<ModelConfig, String> {
    let Value::Object(map) = json else { panic!("an object") };
    parse(Path::new("config.json"), &map).map(|published| published.model).map_err(|error| error.to_string())
}

fn rotary(config: &ModelConfig) -> crate::config::Rotary {
    match &config.position {
        Position::Rotary(rotary) => rotary.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn older_spellings_say_the_same() {
    let llama3 = json!({ "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 512 });
    let with = |kind: &str, theta: bool| {
        let mut scaling = llama3.clone();
        scaling[kind] = json!("llama3");
        if theta {
            scaling["rope_theta"] = json!(5e5);
        }
        scaling
    };
    let pairs = [
        (
            json!({ "model_type": "llama", "rope_parameters": with("rope_type", true) }),
            json!({ "model_type": "llama", "rope_theta": 5e5, "rope_scaling": with("type", false) }),
        ),
        (
            json!({ "model_type": "phi3", "rope_parameters": { "rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": 0.75 } }),
            json!({ "model_type": "phi3", "rope_theta": 1e4, "rope_scaling": null, "partial_rotary_factor": 0.75 }),
        ),
        (
            json!({ "model_type": "gpt_neox", "rope_parameters": { "rope_theta": 2e4, "rope_type": "default", "partial_rotary_factor": 0.5 } }),
            json!({ "model_type": "gpt_neox", "rotary_emb_base": 2e4, "rotary_pct": 0.5 }),
        ),
        (
            json!({ "model_type": "gemma3_text", "num_hidden_layers": 6, "rope_parameters": {
                "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 3e6 },
                "sliding_attention": { "rope_type": "default", "rope_theta": 2e4 },
            } }),
            json!({ "model_type": "gemma3_text", "num_hidden_layers": 6, "rope_theta": 3e6, "rope_local_base_freq": 2e4,
                "rope_scaling": { "rope_type": "linear", "factor": 8.0 }, "sliding_window_pattern": 6 }),
        ),
        (
            json!({ "model_type": "gemma3_text", "hidden_size": 64, "rope_scaling": { "type": "linear", "factor": 8.0 } }),
            json!({ "model_type": "gemma3", "hidden_size": 32, "text_config": { "model_type": "gemma3_text", "hidden_size": 64,
                "rope_scaling": { "type": "linear", "factor": 8.0 } } }),
        ),
        (
            json!({ "model_type": "bert", "max_position_embeddings": 64 }),
            json!({ "model_type": "camembert", "max_position_embeddings": 66, "vocab_size": 30_522 }),
        ),
    ];
    for (newer, older) in pairs {
        assert_eq!(read(newer).unwrap(), read(older.clone()).unwrap(), "{older}");
    }
}

#[test]
fn what_a_file_leaves_out_is_as_first_published() {
    let config = read(json!({ "model_type": "gemma3_text" })).unwrap();
    let stack = config.last_stack();
    assert_eq!(stack.attention.window, Some(Window::regular(4096, 6)));
    assert_eq!((stack.attention.qk_norm, stack.attention.scale), (QkNorm::PerHead, ScoreScale::InverseSqrt));
    assert_eq!((rotary(&config).theta, rotary(&config).local_theta), (1e6, Some(1e4)));
    let config = read(json!({ "model_type": "gemma2", "query_pre_attn_scalar": 224 })).unwrap();
    assert_eq!((config.last_stack().attention.score_cap, config.logit_cap), (Some(50.0), Some(30.0)));
    assert_eq!(config.last_stack().attention.scale, ScoreScale::InverseSqrtOf(224.0));
    let config = read(json!({ "model_type": "mixtral" })).unwrap();
    assert!(matches!(config.last_stack().feed_forward, FeedForward::Experts { n_experts: 8, n_active: 2, .. }));
    let config = read(json!({ "model_type": "gpt_neox" })).unwrap();
    assert_eq!((rotary(&config).n_rotated, config.placement), (24, Placement::Parallel));
    let factors = vec![1.0; 48];
    let config = read(json!({ "model_type": "phi3", "max_position_embeddings": 131_072, "rope_scaling":
        { "type": "su", "short_factor": factors, "long_factor": factors } }))
    .unwrap();
    let RotaryScaling::LongRope { original_context_len, attention_factor, .. } = rotary(&config).scaling else {
        panic!("{config:?}")
    };
    assert_eq!((original_context_len, attention_factor), (4096, None));
    let opt = json!({ "model_type": "opt", "hidden_size": 1024, "num_attention_heads": 16, "word_embed_proj_dim": 512,
        "do_layer_norm_before": false });
    let config = read(opt).unwrap();
    assert_eq!((config.embedding_width(), config.placement), (512, Placement::Post));
    // √(1 + 5/12), as published for a context 32 times as long.
    assert!((long_rope_factor(32.0, 4096) - 1.190_238).abs() < 1e-6);
}

/// Where null means something else than a key that is left out.
#[test]
fn null_means_what_the_library_takes_it_for() {
    for model_type in ["llama", "mistral", "mixtral", "qwen2", "qwen3", "phi3", "olmo2"] {
        let json = json!({ "model_type": model_type, "num_attention_heads": 64, "num_key_value_heads": null });
        assert_eq!(read(json).unwrap().last_stack().attention.n_kv_heads, 64, "{model_type}");
    }
    for model_type in ["mistral", "mixtral", "qwen2", "qwen3", "gemma2"] {
        let json = json!({ "model_type": model_type, "use_sliding_window": true, "sliding_window": null });
        assert_eq!(read(json).unwrap().last_stack().attention.window, None, "{model_type}");
    }
}

/// As version 5 of the library reads them.
#[test]
fn rotary_positions_are_read_as_the_library_reads_them() {
    let of = |json: Value| rotary(&read(json).unwrap());
    // An older object goes before a newer one, if there is anything in it.
    let both = json!({ "model_type": "llama", "rope_theta": 500.0, "rope_scaling": { "type": "linear", "factor": 4.0 },
        "rope_parameters": { "rope_type": "default", "rope_theta": 100.0 } });
    assert_eq!((of(both.clone()).theta, of(both.clone()).scaling), (500.0, RotaryScaling::Linear { factor: 4.0 }));
    for nothing in [json!({}), Value::Null] {
        let mut json = both.clone();
        json["rope_scaling"] = nothing;
        assert_eq!((of(json.clone()).theta, of(json).scaling), (100.0, RotaryScaling::None));
    }
    let yarn = |more: Value| {
        let mut scaling = json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16 });
        scaling.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        of(json!({ "model_type": "llama", "rope_parameters": scaling })).scaling
    };
    assert_eq!(yarn(json!({ "mscale": 0.7, "mscale_all_dim": 0.0, "beta_fast": 0 })), yarn(json!({})));
    assert_ne!(yarn(json!({ "mscale": 0.7, "mscale_all_dim": 0.5 })), yarn(json!({})));
    // What Phi-3 was first trained with stands beside its object, and there alone.
    let phi3 = |beside: Value| {
        let scaling = json!({ "rope_type": "longrope", "short_factor": vec![1.0; 48], "long_factor": vec![2.0; 48],
            "original_max_position_embeddings": 16 });
        let mut json = json!({ "model_type": "phi3", "rope_parameters": scaling });
        json.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
        match of(json).scaling {
            RotaryScaling::LongRope { original_context_len, .. } => original_context_len,
            other => panic!("{other:?}"),
        }
    };
    let beside = json!({ "original_max_position_embeddings": 32 });
    assert_eq!((phi3(json!({})), phi3(beside)), (4096, 32));
}

/// The library turns a part of each head in the families whose code asks for it, and whole heads in all others.
#[test]
fn only_families_that_know_it_turn_a_part_of_a_head() {
    let knowing = ["phi3", "gpt_neox"];
    let mut known = 0;
    for family in FAMILIES {
        let json = json!({ "model_type": family.model_type, "hidden_size": 32, "num_attention_heads": 4, "head_dim": 8,
            "num_key_value_heads": 4, "partial_rotary_factor": 0.5, "rotary_pct": 0.5 });
        let Position::Rotary(Rotary { n_rotated, .. }) = read(json).unwrap().position else { continue };
        assert_eq!(n_rotated, if knowing.contains(&family.model_type) { 4 } else { 8 }, "{family:?}");
        known += 1;
    }
    assert_eq!(known, 10);
    let config = read(json!({ "model_type": "phi3", "partial_rotary_factor": 0.75 })).unwrap();
    for preferred in [None, Some("llama"), Some("qwen3")] {
        assert_eq!(express_as(&config, preferred).unwrap().family.model_type, "phi3");
    }
}

/// A share of a head that is no even number of features, and layers with a window in any order.
#[test]
fn odd_shares_and_any_layers_are_read_and_written() {
    let layers = |types: &str| -> Value {
        types.chars().map(|kind| if kind == 'f' { "full_attention" } else { "sliding_attention" }).collect()
    };
    let small = |model_type: &str, more: Value| {
        let mut json = json!({ "model_type": model_type, "hidden_size": 48, "num_attention_heads": 4,
            "num_key_value_heads": 2, "num_hidden_layers": 3, "head_dim": 12 });
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json
    };
    let sliding = json!({ "use_sliding_window": true, "sliding_window": 5, "max_window_layers": 1 });
    let with_types = json!({ "use_sliding_window": true, "sliding_window": 5, "layer_types": layers("sff") });
    let mixed =
        |n: usize, types: &str| json!({ "num_hidden_layers": n, "sliding_window": 5, "layer_types": layers(types) });
    for (json, types) in [
        (small("gpt_neox", json!({})), ""),
        (small("phi3", json!({ "partial_rotary_factor": 0.75 })), ""),
        (small("qwen2", sliding.clone()), "fss"),
        (small("qwen3", sliding), "fss"),
        (small("qwen2", with_types), "sff"),
        (small("gemma2", mixed(4, "fsfs")), "fsfs"),
        (small("gemma3_text", mixed(4, "sfss")), "sfss"),
    ] {
        let config = read(json.clone()).unwrap();
        let family = FAMILIES.iter().find(|family| json["model_type"] == family.model_type).unwrap();
        let mut written = (family.write)(&config);
        if types.is_empty() {
            assert!(matches!(rotary(&config).n_rotated, 3 | 9), "{json}");
        } else {
            assert_eq!(written["layer_types"], layers(types), "{json}");
        }
        written.insert("vocab_size".to_owned(), json!(config.vocab_size));
        assert_eq!((family.read)(&Fields::new(Path::new("config.json"), &written)).unwrap(), config, "{json}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let message = |json| read(json).unwrap_err();
    let unknown = message(json!({ "model_type": "mamba" }));
    for family in FAMILIES {
        assert!(unknown.contains(family.model_type), "{unknown}");
    }
    assert!(!unknown.contains("keys"), "{unknown}");
    let keys = message(json!({ "model_type": "mamba", "hidden_size": 8, "max_window_layers": 2, "hidden_dropout": 0.1,
        "conv_kernel": 4, "state_size": 16 }));
    assert!(keys.ends_with("no known one has its keys conv_kernel, state_size"), "{keys}");
    for idle in [json!(null), json!(false), json!(1.0)] {
        read(json!({ "model_type": "llama", "logit_scale": idle })).unwrap();
    }
    let rope = message(json!({ "model_type": "llama", "rope_scaling": { "type": "spiral", "factor": 2.0 } }));
    assert!(rope.contains("'spiral'") && rope.contains("linear, dynamic, llama3, yarn, longrope"), "{rope}");
    for (json, part) in [
        (json!({ "model_type": "llama", "rope_scaling": { "rope_type": "linear" } }), "needs 'factor'"),
        (json!({ "model_type": "phi3", "rope_scaling": { "type": "longrope" } }), "needs 'short_factor'"),
        (
            json!({ "model_type": "phi3", "rope_scaling": { "type": "longrope", "short_factor": [1.0], "long_factor": [1.0] } }),
            "48 pairs of features",
        ),
        (json!({ "model_type": "opt", "_remove_final_layer_norm": true }), "'_remove_final_layer_norm' is true"),
        (
            json!({ "model_type": "gemma2", "use_bidirectional_attention": true }),
            "'use_bidirectional_attention' is true",
        ),
        (json!({ "model_type": "gemma3_text", "attn_logit_softcapping": 50.0 }), "'attn_logit_softcapping' is 50"),
        (json!({ "model_type": "bart", "normalize_before": true }), "'normalize_before' is true"),
        (json!({ "model_type": "llama", "residual_multiplier": 0.22 }), "'residual_multiplier' is 0.22"),
        (
            json!({ "model_type": "llama", "quantization_config": { "bits": 4 } }),
            "'quantization_config' is {\"bits\":4}",
        ),
        (json!({ "model_type": "llama", "num_hidden_layers": 1 << 28 }), "'num_hidden_layers' is 268435456"),
        (json!({ "model_type": "roberta", "pad_token_id": 0 }), "'pad_token_id' is 0"),
        (json!({ "model_type": "roberta", "max_position_embeddings": 2 }), "expected more than 2"),
        (
            json!({ "model_type": "gemma3", "text_config": { "final_logit_softcapping": 30.0 } }),
            "'final_logit_softcapping' in 'text_config' is 30",
        ),
        (json!({ "model_type": "mixtral", "num_experts_per_tok": 9 }), "1 to 8 experts"),
        (
            json!({ "model_type": "gemma3_text", "num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"] }),
            "'linear_attention'",
        ),
    ] {
        let found = message(json);
        assert!(found.contains(part), "{found}");
    }
}

/// The library takes no null for the width of a window.
#[test]
fn no_window_is_written_as_no_key() {
    for family in FAMILIES.iter().filter(|family| family.model_type.starts_with("gemma")) {
        let json = json!({ "num_hidden_layers": 2, "layer_types": ["full_attention", "full_attention"] });
        let fields = json.as_object().unwrap();
        let config = (family.read)(&Fields::new(Path::new("config.json"), fields)).unwrap();
        let written = (family.write)(&config);
        assert!(!written.contains_key("sliding_window"), "{written:?}");
        assert_eq!((family.read)(&Fields::new(Path::new("config.json"), &written)).unwrap().shape, config.shape);
    }
}

/// The ids of a model that sees are in either object; the outer one goes before.
#[test]
fn ids_are_read_from_both_objects() {
    let json = json!({ "model_type": "gemma3", "eos_token_id": [1, 106], "text_config": { "bos_token_id": 7, "eos_token_id": 5 } });
    let special = parse(Path::new("config.json"), json.as_object().unwrap()).unwrap().special;
    assert_eq!((special.begin, special.end), (Some(7), vec![1, 106]));
}

/// As older files of facebook/bart-large-cnn and Helsinki-NLP/opus-mt say it, which have no `generation_config.json`.
#[test]
fn without_another_file_the_configuration_says_how_to_answer() {
    let generation = |json: Value| parse(Path::new("config.json"), json.as_object().unwrap()).unwrap().generation;
    let rules = |forced_last| Rules { forced_last, ..Rules::default() };
    for (model_type, forced_last) in [("bart", Some(2)), ("marian", Some(0)), ("pegasus", Some(1)), ("t5", None)] {
        let by_default = generation(json!({ "model_type": model_type }));
        assert_eq!((by_default.temperature, by_default.rules), (Some(0.0), rules(forced_last)), "{model_type}");
        let none = generation(json!({ "model_type": model_type, "forced_eos_token_id": null }));
        assert_eq!(none.rules, rules(None), "{model_type}");
    }
    let bart = generation(json!({
        "model_type": "bart", "num_beams": 4, "min_length": 56, "max_length": 142, "no_repeat_ngram_size": 3,
        "length_penalty": 2.0, "early_stopping": true, "forced_bos_token_id": 0,
    }));
    assert_eq!((bart.beam, bart.max_tokens, bart.length_penalty), (Some(4), Some(141), Some(2.0)));
    let expected = Rules { no_repeat_ngram: 3, min_len: 56, forced_first: Some(0), ..rules(Some(2)) };
    assert_eq!((bart.ending, bart.rules), (Some(Ending::First), expected));
    let sampled = json!({ "model_type": "gpt2", "do_sample": true, "temperature": 0.7, "bad_words_ids": [[5]] });
    let sampled = generation(sampled);
    assert_eq!((sampled.temperature, sampled.rules.bad_words), (Some(0.7), vec![vec![5]]));
    assert_eq!(generation(json!({ "model_type": "gpt2" })), PublishedGeneration::default());
}

/// What a family reads, it writes so that it reads the same. It is found for what it read, or another that reads its own
/// words for it as the same; who knows the family gets that one.
#[test]
fn every_family_writes_what_it_reads() {
    let longrope = json!({ "type": "longrope", "short_factor": vec![1.0; 48], "long_factor": vec![2.0; 48] });
    let special = [
        ("phi3", json!({ "partial_rotary_factor": 0.75 })),
        ("phi3", json!({ "sliding_window": 2047 })),
        ("phi3", json!({ "rope_scaling": longrope })),
        ("mistral", json!({ "sliding_window": null })),
        ("opt", json!({ "activation_function": "gelu_new", "do_layer_norm_before": false })),
        ("gpt_neox", json!({ "rotary_pct": 1.0 })),
    ];
    for (model_type, more) in FAMILIES.map(|family| (family.model_type, json!({}))).into_iter().chain(special) {
        let family = FAMILIES.iter().find(|family| family.model_type == model_type).unwrap();
        let mut json = more.as_object().unwrap().clone();
        json.insert("model_type".to_owned(), json!(model_type));
        let config = parse(Path::new("config.json"), &json).unwrap().model;
        let mut written = (family.write)(&config);
        written.insert("vocab_size".to_owned(), json!(config.vocab_size));
        assert_eq!((family.read)(&Fields::new(Path::new("config.json"), &written)).unwrap(), config);
        assert_eq!(express_as(&config, Some(model_type)).unwrap().family, *family, "{more}");
        let found = express_as(&config, None).unwrap();
        let is_equal = found.model == config && found.concessions.is_empty();
        assert!(is_equal || found.family == *family, "{model_type} {more}: {found:?}");
    }
}
