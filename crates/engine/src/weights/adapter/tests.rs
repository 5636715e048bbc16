use super::*;
use crate::generate::logits_of;
use crate::model::initial_params;
use crate::train::fixture::{config, preset};
use genera_tensor::DType;

fn facts(origin: &Origin) -> AdapterFacts<'_> {
    AdapterFacts { base: "there", revision: None, dropout: 0.1, origin }
}

/// Of a preset, or with embeddings narrower than the model, as the OPT of 350 million parameters has.
fn model(name: &str) -> Transformer {
    let mut config = config(preset(if name == NARROW { "gpt2" } else { name }));
    config.embedding.width = (name == NARROW).then_some(8);
    let device = Device::cpu(1);
    let params = initial_params(&config, 3, DType::F32, &device);
    let mut model = Transformer::new(config, params, &device);
    model.set_published_as((name == NARROW).then_some("opt"));
    model
}

fn settings() -> LoraSettings {
    LoraSettings { rank: 3, alpha: 6.0, targets: None, seed: 5 }
}

/// Adapters that do something.
fn trained(name: &str) -> Transformer {
    let mut model = model(name);
    attach_new(&mut model, &settings()).unwrap();
    let ids: Vec<ParamId> = model.params().adapters().map(|(_, adapter)| adapter.b).collect();
    for (i, id) in ids.into_iter().enumerate() {
        let (weights, _) = model.params_mut().for_update(id);
        let key = Key::new(9).fold(i as u64);
        let n = weights.n_elements() as u64;
        let values: Vec<f32> = (0..n).map(|at| 0.1 * key.normal(at)).collect();
        weights.view_mut().f32().copy_from_slice(&values);
    }
    model
}

fn logits(model: &Transformer) -> Vec<f32> {
    let decoder = [vec![1, 2, 3]];
    let decoder = model.config().is_encoder_decoder().then_some(&decoder[..]);
    logits_of(model, &[vec![1, 5, 7, 2]], decoder).unwrap().to_vec()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap_or(0.0)
}

const NARROW: &str = "narrow";
const NAMES: [&str; 5] = ["llama", "gpt2", "t5", "marian", NARROW];

#[test]
fn fresh_adapters_change_nothing_and_trained_ones_are_merged_into_the_same_model() {
    for name in NAMES {
        let plain = logits(&model(name));
        let mut fresh = model(name);
        attach_new(&mut fresh, &settings()).unwrap();
        assert_eq!(distance(&logits(&fresh), &plain), 0.0, "{name}");
        let mut trained = trained(name);
        let adapted = logits(&trained);
        assert!(distance(&adapted, &plain) > 1e-2, "{name}");
        trained.params_mut().merge();
        assert!(!trained.params().has_adapters());
        assert!(distance(&logits(&trained), &adapted) < 1e-5, "{name}");
    }
}

#[test]
fn what_is_written_is_read() {
    for name in NAMES {
        let directory = tempfile::tempdir().unwrap();
        let model_with = trained(name);
        export_adapter(&model_with, directory.path(), facts(&Origin::default())).unwrap();
        let config = AdapterSummary::read(directory.path()).unwrap().config;
        let Some(TargetModules::Names(targets)) = config.target_modules else { panic!("no list of modules") };
        assert_eq!(
            targets.iter().filter(|target| target.starts_with("project_")).count(),
            if name == NARROW { 2 } else { 0 }
        );
        let mut again = model(name);
        load_adapter(&mut again, directory.path()).unwrap();
        assert_eq!(logits(&again), logits(&model_with), "{name}");
        assert!(load_adapter(&mut again, directory.path()).unwrap_err().to_string().contains("already"));
    }
}

#[test]
fn targets_are_the_ends_of_names() {
    let mut some = model("llama");
    let targets = Some(vec!["q_proj".to_owned(), "layers.1.mlp.down_proj".to_owned()]);
    attach_new(&mut some, &LoraSettings { targets, ..settings() }).unwrap();
    let modules: Vec<&str> = some.params().adapters().map(|(_, adapter)| adapter.module.as_str()).collect();
    let expected =
        ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj"];
    assert_eq!(modules, expected);
    let directory = tempfile::tempdir().unwrap();
    export_adapter(&some, directory.path(), facts(&Origin::default())).unwrap();
    let config: Value = serde_json::from_slice(&std::fs::read(directory.path().join(CONFIG)).unwrap()).unwrap();
    assert_eq!(config["target_modules"], json!(["model.layers.1.mlp.down_proj", "q_proj"]));
    let wrong = LoraSettings { targets: Some(vec!["proj".to_owned()]), ..settings() };
    let error = attach_new(&mut model("llama"), &wrong).unwrap_err().to_string();
    assert!(error.contains("no module 'proj'") && error.contains("k_proj"), "{error}");
}

/// As PEFT finds it on the hub.
#[test]
fn a_base_of_the_hub_is_named_with_its_revision() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::default());
    for revision in [None, Some("v1")] {
        let facts = AdapterFacts { base: "org/name", revision, ..facts(&origin) };
        export_adapter(&trained("llama"), directory.path(), facts).unwrap();
        let config = AdapterSummary::read(directory.path()).unwrap().config;
        assert_eq!(config.base_model_name_or_path.as_deref(), Some("org/name"));
        assert_eq!(config.revision.as_deref(), revision);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let check = |expect: &str| {
        let error = load_adapter(&mut model("llama"), directory.path()).unwrap_err().to_string();
        assert!(error.contains(expect), "expected '{expect}', found '{error}'");
    };
    check("is missing");
    export_adapter(&trained("gpt2"), directory.path(), facts(&Origin::default())).unwrap();
    check("does the adapter belong to this base?");
    let path = directory.path().join(CONFIG);
    let config = std::fs::read_to_string(&path).unwrap();
    for (from, to, expect) in [
        ("\"use_dora\": false", "\"use_dora\": true", "use_dora"),
        ("\"bias\": \"none\"", "\"bias\": \"all\"", "bias \"all\""),
        ("\"LORA\"", "\"IA3\"", "only \"LORA\""),
        ("\"lora_alpha\": 6.0", "\"lora_alpha\": \"x\"", "lora_alpha"),
        ("\"alpha_pattern\": {}", "\"alpha_pattern\": {\"(a|b)\": 1}", "alpha_pattern"),
        (
            "\"init_lora_weights\": true",
            "\"init_lora_weights\": \"pissa_niter_4\"",
            "init_lora_weights \"pissa_niter_4\"",
        ),
        ("\"revision\": null", "\"alora_invocation_tokens\": [5]", "alora_invocation_tokens"),
        ("\"revision\": null", "\"layer_replication\": [[0, 1]]", "layer_replication"),
        ("\"revision\": null", "\"another\": 0.5", "asks for another"),
        // As far as the configuration goes, these are read.
        (
            "\"revision\": null",
            "\"layer_replication\": null, \"use_qalora\": false, \"target_parameters\": []",
            "belong to this base",
        ),
        (
            "\"init_lora_weights\": true",
            "\"init_lora_weights\": \"gaussian\", \"eva_config\": {\"rho\": 2}",
            "belong to this base",
        ),
    ] {
        assert!(config.contains(from), "{config}");
        std::fs::write(&path, config.replace(from, to)).unwrap();
        check(expect);
    }
}

/// As PEFT takes the first pattern of the file that fits.
#[test]
fn the_first_alpha_pattern_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(CONFIG);
    std::fs::write(&path, r#"{"peft_type":"LORA","lora_alpha":1,"alpha_pattern":{"self_attn.q_proj":2,"q_proj":32}}"#)
        .unwrap();
    let config = AdapterConfig::read(&path).unwrap();
    assert_eq!(["a.self_attn.q_proj", "a.q_proj", "a.v_proj"].map(|name| config.scale(name, 1)), [2.0, 32.0, 1.0]);
}

/// What PEFT writes beside the pairs of linear layers is named for what it is.
#[test]
fn what_is_not_read_of_an_adapter_is_named() {
    for (name, expect) in [
        ("base_model.model.model.embed_tokens.lora_embedding_A", "adapts the table of tokens"),
        ("base_model.model.model.embed_tokens.weight", "holds whole weights"),
        ("base_model.model.lm_head.weight", "holds whole weights"),
        ("base_model.model.lm_head.lora_A.weight", "adapts the head"),
        ("base_model.model.model.norm.weight", "holds whole weights"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "is of DoRA"),
    ] {
        let message = unread(name, 1);
        assert!(message.contains(expect) && message.contains(name), "{message}");
        assert!(message.contains("merge_and_unload") && !message.contains("belong"), "{message}");
    }
    let other = unread("base_model.model.transformer.h.0.attn.c_attn.lora_A.weight", 3);
    assert!(other.contains("has 3 tensors") && other.contains("belong to this base"), "{other}");
}
