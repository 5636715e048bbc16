//! Low-rank adapters in the layout of the Python library PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! PEFT has a pair of matrices for each published module; ours are those of the same modules, so that names alone differ.

use super::card::adapter_card;
use super::config_json::read_json;
use super::export::{write_file, write_json, write_weights};
use super::express::express;
use super::family::{FAMILIES, Family};
use super::load::head_blocks;
use super::names::{Lie, Names, Sources};
use super::origin::Origin;
use super::safetensors::Reader;
use super::written::{Data, Written};
use crate::config::{ModelConfig, Shape};
use crate::disk;
use crate::error::{Error, Result};
use crate::model::Transformer;
use crate::params::{Adapter, NewAdapter, Role};
use genera_tensor::{Device, Key, ParamId, Tensor};
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// The kind of adapter that is read.
const LORA: &str = "LORA";
/// What PEFT puts before the name of a module.
const WRAPPER: &str = "base_model.model.";
/// Longest configuration that is read; it may list every module.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// Most modules with an alpha of their own.
const MAX_PATTERNS: usize = 1 << 16;
/// Largest rank that is made or read: a matrix of full rank is no adapter.
const MAX_RANK: usize = 65_536;
/// Tells the streams of random numbers that grow from one seed apart.
const START_STREAM: u64 = 0x10_4A;

/// Which adapters a model gets, and how they start.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraSettings {
    /// Rank of the matrices.
    pub rank: usize,
    /// Their product is multiplied by alpha / rank.
    pub alpha: f64,
    /// Ends of the names of the modules that have them; all when absent.
    pub targets: Option<Vec<String>>,
    /// Decides how they start.
    pub seed: u64,
}

/// What the files of an adapter say of it, whether or not it can be used here.
#[derive(Debug)]
pub struct AdapterSummary {
    /// Its configuration.
    pub config: SummaryConfig,
    /// Numbers that were learned.
    pub n_parameters: usize,
    /// Size of the file with them.
    pub n_bytes: u64,
}

/// What `adapter_config.json` says of an adapter.
#[derive(Debug, Deserialize, Serialize)]
pub struct SummaryConfig {
    /// Which kind it is; "LORA" is read here.
    pub peft_type: Option<String>,
    /// A directory, or ORG/NAME on the hub.
    pub base_model_name_or_path: Option<String>,
    /// The revision of the base on the hub.
    pub revision: Option<String>,
    /// Rank of the matrices.
    pub r: Option<usize>,
    /// Their product is multiplied by alpha / rank.
    pub lora_alpha: Option<f64>,
    /// Which modules have them.
    pub target_modules: Option<TargetModules>,
}

/// The modules that are adapted: a list of the ends of their names, or a pattern.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// A regular expression of whole names.
    Pattern(String),
    /// Ends of names.
    Names(Vec<String>),
}

impl AdapterSummary {
    /// Reads the files of a directory.
    ///
    /// # Errors
    /// When one is missing or damaged.
    pub fn read(dir: &Path) -> Result<Self> {
        let [config, weights] = [CONFIG, WEIGHTS].map(|file| dir.join(file));
        let config = read_json(&config, MAX_CONFIG_BYTES)?.ok_or_else(|| Error::file(&config, "is missing"))?;
        let n_parameters = Reader::open(&weights)?.entries().iter().map(|entry| entry.n_elements()).sum();
        let n_bytes = weights.metadata().map_err(|error| Error::io("cannot look at", &weights, error))?.len();
        Ok(Self { config, n_parameters, n_bytes })
    }

    /// Whether a directory has the configuration of an adapter.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(CONFIG).is_file()
    }

    /// Whether adapters of its kind are read here.
    pub fn is_of_known_kind(&self) -> bool {
        self.config.peft_type.as_deref() == Some(LORA)
    }
}

/// A published module that is a weight of ours or some rows of one.
struct Module {
    name: String,
    weight: ParamId,
    rows: Range<usize>,
    width: usize,
    lie: Lie,
}

/// Gives a model fresh adapters, which change nothing yet: a is random, b is zero.
///
/// # Errors
/// [`Error::Config`] when the rank is out of range or a target is no module of the model; the known ones are listed.
///
/// # Source
/// PEFT's start, which is that of a linear layer of PyTorch: a uniform within ±1/√in.
pub fn attach_new(model: &mut Transformer, settings: &LoraSettings) -> Result<()> {
    let LoraSettings { rank, alpha, ref targets, seed } = *settings;
    if rank == 0 || rank > MAX_RANK || !(alpha as f32).is_finite() || alpha <= 0.0 {
        return Err(Error::Config(format!(
            "train.lora.rank is {rank} and train.lora.alpha {alpha}; expected a rank from 1 to {MAX_RANK} and an alpha above 0"
        )));
    }
    let modules = modules(model);
    for target in targets.iter().flatten() {
        if !modules.iter().any(|module| is_named(&module.name, target)) {
            return Err(unknown_target(target, &modules));
        }
    }
    let is_wanted = |module: &Module| {
        targets.as_ref().is_none_or(|targets| targets.iter().any(|target| is_named(&module.name, target)))
    };
    let root = Key::new(seed).fold(START_STREAM);
    let device = model.device().clone();
    let new = |(i, module): (usize, Module)| {
        let bound = 1.0 / (module.width as f32).sqrt();
        let key = root.fold(i as u64);
        let a: Vec<f32> = (0..(rank * module.width) as u64).map(|at| bound * (2.0 * key.uniform(at) - 1.0)).collect();
        let b = vec![0.0; module.rows.len() * rank];
        let scale = (alpha / rank as f64) as f32;
        module.adapter(rank, scale, &a, &b, &device)
    };
    let adapters = modules.into_iter().filter(is_wanted).enumerate().map(new).collect();
    model.params_mut().attach(adapters);
    Ok(())
}

/// Gives a model the adapters of a directory in PEFT's layout.
///
/// # Errors
/// When a file is missing, malformed or asks for something that is not supported, or when a module or shape is not the
/// model's; both are named.
pub fn load_adapter(model: &mut Transformer, dir: &Path) -> Result<()> {
    if model.params().has_adapters() {
        return Err(Error::file(dir, "the model has an adapter already; merge it first with `genera export`"));
    }
    let config = AdapterConfig::read(&dir.join(CONFIG))?;
    let path = dir.join(WEIGHTS);
    if !path.is_file() {
        let hint = if dir.join("adapter_model.bin").is_file() {
            "; adapter_model.bin is not read, save it as safetensors"
        } else {
            ""
        };
        return Err(Error::file(&path, format!("is missing{hint}")));
    }
    let reader = Reader::open(&path)?;
    let names = table(model);
    let mut left: BTreeMap<String, String> = BTreeMap::new();
    for entry in reader.entries() {
        let bare = entry.name.strip_prefix(WRAPPER).unwrap_or(&entry.name);
        left.insert(names.map_or(bare.into(), |names| names.bare(bare)).into_owned(), entry.name.clone());
    }
    let device = model.device().clone();
    let mut adapters = Vec::new();
    for module in modules(model) {
        let bare = names.map_or(module.name.as_str().into(), |names| names.bare(&module.name));
        let [a, b] = ["A", "B"].map(|part| left.remove(&format!("{bare}.lora_{part}.weight")));
        let (a, b) = match (a, b) {
            (None, None) => continue,
            (Some(a), Some(b)) => (a, b),
            (a, b) => {
                let alone = a.or(b).unwrap_or_default();
                return Err(Error::file(
                    &path,
                    format!("has '{alone}' without its partner: lora_A and lora_B go together"),
                ));
            }
        };
        let rank = reader.find(&a).map_or(0, |entry| entry.shape.first().copied().unwrap_or(0));
        for (name, expected) in [(&a, [rank, module.width]), (&b, [module.rows.len(), rank])] {
            let found = reader.find(name).map(|entry| entry.shape.clone()).unwrap_or_default();
            if found != expected || rank == 0 || rank > MAX_RANK {
                return Err(Error::file(
                    &path,
                    format!(
                        "tensor '{name}' has shape {found:?}, but the base's module {} asks for {expected:?}; does the adapter belong to this base?",
                        module.name
                    ),
                ));
            }
        }
        let scale = config.scale(&module.name, rank);
        let (a, b) = (reader.read_any(&a)?, reader.read_any(&b)?);
        let b = module.ours(&b, rank);
        adapters.push(module.adapter(rank, scale, &a, &b, &device));
    }
    if let Some(name) = left.values().next() {
        return Err(Error::file(&path, unread(name, left.len())));
    }
    if adapters.is_empty() {
        return Err(Error::file(&path, "holds no adapter"));
    }
    model.params_mut().attach(adapters);
    Ok(())
}

/// How an adapter that is not read becomes a model that is.
const MERGE_ELSEWHERE: &str = "merge it into its base in Python (PEFT's merge_and_unload, then save_pretrained) and take that directory as the model";

/// Why a tensor of an adapter is not read, one of `n`.
fn unread(name: &str, n: usize) -> String {
    let module = |part: &str| name.contains(&format!("{part}."));
    let is_table = ["embed_tokens", "wte", "word_embeddings", "shared", "embed_in"].into_iter().any(module);
    let is_head = ["lm_head", "embed_out"].into_iter().any(module);
    let what = if name.contains("lora_magnitude_vector") {
        "is of DoRA; plain LoRA is read"
    } else if name.contains("lora_embedding_") || is_table && name.contains("lora_") {
        "adapts the table of tokens; adapters of the linear layers in attention and feed-forward are read"
    } else if is_head && name.contains("lora_") {
        "adapts the head; adapters of the linear layers in attention and feed-forward are read"
    } else if is_table || is_head || !name.contains("lora_") {
        "holds whole weights, as modules_to_save and new tokens leave them; pairs of lora_A and lora_B are read"
    } else {
        return format!(
            "has {n} tensors for modules that this base has no adapters for, '{name}' for one; does the adapter belong to this base?"
        );
    };
    format!("tensor '{name}' {what}; train the adapter without it, or {MERGE_ELSEWHERE}")
}

/// What a reader of the adapter wants to know beside its numbers.
#[derive(Clone, Copy, Debug)]
pub struct AdapterFacts<'f> {
    /// The base: a directory, or ORG/NAME on the hub.
    pub base: &'f str,
    /// The revision of the base on the hub, where one was named.
    pub revision: Option<&'f str>,
    /// Share of the features that were silenced in training.
    pub dropout: f64,
    /// The licence of the base and where it comes from, for the card.
    pub origin: &'f Origin,
}

/// Writes the adapters of a model into `dir`, with a card.
///
/// # Errors
/// When a file cannot be written.
pub fn export_adapter(model: &Transformer, dir: &Path, facts: AdapterFacts<'_>) -> Result<()> {
    disk::make_dir(dir).map_err(|source| Error::io("cannot create", dir, source))?;
    let (params, modules) = (model.params(), modules(model));
    let mut tensors = Vec::new();
    for (weight, adapter) in params.adapters() {
        let module = modules.iter().find(|module| module.weight == weight && module.rows == adapter.rows);
        let module = module.expect("an adapter belongs to a module");
        let (a, b) = (params.master(adapter.a), params.master(adapter.b));
        let [rank, _] = a.dims();
        let name = |part: &str| format!("{WRAPPER}{}.lora_{part}.weight", adapter.module);
        let written = |part: &str, tensor: &Tensor, data: Vec<f32>| Written {
            name: name(part),
            shape: tensor.shape().sizes().to_vec(),
            data: Data::Numbers(data.into()),
        };
        tensors.push(written("A", a, a.to_vec()));
        tensors.push(written("B", b, module.theirs(&b.to_vec(), rank)));
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    write_weights(&dir.join(WEIGHTS), &tensors, None)?;
    let readme = adapter_card(facts.origin);
    write_file(&dir.join("README.md"), |out| out.write_all(readme.as_bytes()))?;
    write_json(&dir.join(CONFIG), &config_of(model, &modules, facts))?;
    disk::settle(dir);
    Ok(())
}

fn config_of(model: &Transformer, modules: &[Module], facts: AdapterFacts<'_>) -> Map<String, Value> {
    let params = model.params();
    let sizes = |adapter: &Adapter| {
        let [rank, _] = params.master(adapter.a).dims();
        (rank, f64::from(adapter.scale) * rank as f64)
    };
    let all: Vec<&Adapter> = params.adapters().map(|(_, adapter)| adapter).collect();
    let (rank, alpha) = all.first().map_or((0, 0.0), |adapter| sizes(adapter));
    let (mut ranks, mut alphas) = (Map::new(), Map::new());
    for adapter in &all {
        let (own_rank, own_alpha) = sizes(adapter);
        if (own_rank, own_alpha) != (rank, alpha) {
            ranks.insert(adapter.module.clone(), json!(own_rank));
            alphas.insert(adapter.module.clone(), json!(own_alpha));
        }
    }
    let task = match model.config().shape {
        Shape::DecoderOnly(_) => "CAUSAL_LM",
        Shape::EncoderDecoder { .. } => "SEQ_2_SEQ_LM",
        Shape::EncoderOnly(_) => "FEATURE_EXTRACTION",
    };
    let is_transposed = modules.iter().any(|module| module.lie == Lie::Transposed);
    let value = json!({
        "peft_type": "LORA", "task_type": task, "base_model_name_or_path": facts.base, "inference_mode": true,
        "r": rank, "lora_alpha": alpha, "lora_dropout": facts.dropout, "target_modules": targets(&all, modules),
        "rank_pattern": ranks, "alpha_pattern": alphas, "bias": "none", "fan_in_fan_out": is_transposed,
        "init_lora_weights": true, "use_rslora": false, "use_dora": false, "modules_to_save": null,
        "layers_to_transform": null, "layers_pattern": null, "revision": facts.revision,
    });
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it is written as an object"),
    }
}

/// The ends of the names of the adapted modules; whole names where some module of the same end is not adapted.
fn targets(adapters: &[&Adapter], modules: &[Module]) -> Vec<String> {
    let has_adapter = |name: &str| adapters.iter().any(|adapter| adapter.module == name);
    let mut targets: Vec<String> = adapters
        .iter()
        .map(|adapter| {
            let end = adapter.module.rsplit('.').next().unwrap_or(&adapter.module);
            let is_whole = modules.iter().all(|module| !is_named(&module.name, end) || has_adapter(&module.name));
            (if is_whole { end } else { &adapter.module }).to_owned()
        })
        .collect();
    targets.sort();
    targets.dedup();
    targets
}

/// The linear layers of the blocks, and those from and to another width of the embedding, by their published names. Experts have
/// none: their products are grouped.
fn modules(model: &Transformer) -> Vec<Module> {
    let published = published(model);
    let mut modules = Vec::new();
    for (i, spec) in model.params().own_specs().iter().enumerate() {
        let is_linear = matches!(spec.role, Role::Matrix | Role::Query | Role::Residual);
        if !is_linear || spec.name.contains(".router.") || spec.name.contains(".experts.") {
            continue;
        }
        let sources = published.as_ref().and_then(|(family, config)| Sources::of(family.rows, config, spec));
        let Sources { tensors, lie, .. } = sources.unwrap_or_else(|| Sources::own(spec));
        let [n_rows, width] = spec.shape.sizes()[..] else { continue };
        let (n_tensors, mut start) = (tensors.len(), 0);
        for source in tensors {
            let end = if n_tensors == 1 { n_rows } else { start + source.shape[0] };
            let name = source.name.strip_suffix(".weight").unwrap_or(&source.name).to_owned();
            modules.push(Module { name, weight: ParamId(i), rows: start..end, width, lie });
            start = end;
        }
    }
    modules
}

/// The family whose names a model's modules have, and the configuration in its words: that of the files it came from, or
/// else the one that it would be exported as.
fn published(model: &Transformer) -> Option<(&'static Family, ModelConfig)> {
    let of_files = FAMILIES.iter().find(|family| Some(family.model_type) == model.published_as());
    match of_files {
        Some(family) => Some((family, model.config().clone())),
        None => express(model.config()).ok().map(|expression| (expression.family, expression.model)),
    }
}

/// What the family of a model calls its tensors.
fn table(model: &Transformer) -> Option<Names> {
    published(model).map(|(family, _)| family.names())
}

impl Module {
    fn adapter(self, rank: usize, scale: f32, a: &[f32], b: &[f32], device: &Device) -> NewAdapter {
        let a = Tensor::from_f32(device, [rank, self.width], a);
        let b = Tensor::from_f32(device, [self.rows.len(), rank], b);
        NewAdapter { weight: self.weight, module: self.name, rows: self.rows, scale, a, b }
    }

    /// The rows of b, as they lie in a file, in the order that they have here.
    fn ours(&self, b: &[f32], rank: usize) -> Vec<f32> {
        let mut moved = b.to_vec();
        for (ours, theirs) in self.moved_rows(b.len(), rank) {
            moved[ours].copy_from_slice(&b[theirs]);
        }
        moved
    }

    /// The rows of b, as they lie here, in the order that they have in a file.
    fn theirs(&self, b: &[f32], rank: usize) -> Vec<f32> {
        let mut moved = b.to_vec();
        for (ours, theirs) in self.moved_rows(b.len(), rank) {
            moved[theirs].copy_from_slice(&b[ours]);
        }
        moved
    }

    /// Which numbers of b lie elsewhere in a file: here, and there.
    fn moved_rows(&self, n: usize, rank: usize) -> Vec<(Range<usize>, Range<usize>)> {
        match self.lie {
            Lie::PerHead { d_head } => head_blocks(n, d_head * rank).collect(),
            _ => Vec::new(),
        }
    }
}

/// Whether a module is meant: by its whole name or its end.
fn is_named(module: &str, target: &str) -> bool {
    module.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn unknown_target(target: &str, modules: &[Module]) -> Error {
    let mut ends: Vec<&str> = modules.iter().filter_map(|module| module.name.rsplit('.').next()).collect();
    ends.sort_unstable();
    ends.dedup();
    Error::Config(format!(
        "train.lora.targets: the base has no module '{target}'; its linear layers are {}",
        ends.join(", ")
    ))
}

/// The part of `adapter_config.json` that matters for what the numbers mean.
struct AdapterConfig {
    alpha: f64,
    /// Those of modules by the ends of their names; the first that fits counts.
    alphas: Vec<(String, f64)>,
    is_rank_stabilised: bool,
}

/// Keys that change nothing of what an adapter in files means: how it was made, where it was put, and settings of what is
/// refused by another key.
const IDLE: [&str; 23] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];
/// Starts that leave the base as it is. Others, such as "pissa", take from its weights what they give to the adapter.
const PLAIN_STARTS: [&str; 4] = ["gaussian", "orthogonal", "eva", "mica"];

impl AdapterConfig {
    fn read(path: &Path) -> Result<Self> {
        let raw: RawConfig = read_json(path, MAX_CONFIG_BYTES)?
            .ok_or_else(|| Error::file(path, "is missing; expected a directory in PEFT's layout"))?;
        raw.checked().map_err(|message| Error::file(path, message))
    }

    fn scale(&self, module: &str, rank: usize) -> f32 {
        let own = self.alphas.iter().find(|(pattern, _)| is_named(module, pattern));
        let alpha = own.map_or(self.alpha, |(_, alpha)| *alpha);
        let rank = rank as f64;
        (alpha / if self.is_rank_stabilised { rank.sqrt() } else { rank }) as f32
    }
}

/// A configuration as it stands in the file.
#[derive(Default)]
struct RawConfig {
    peft_type: Setting,
    bias: Setting,
    init_lora_weights: Setting,
    lora_alpha: Setting,
    use_rslora: Setting,
    alpha_pattern: Patterns,
    /// A key that is set and that is not known here.
    unknown: Option<String>,
}

impl RawConfig {
    fn checked(self) -> std::result::Result<AdapterConfig, String> {
        if !self.peft_type.is(LORA) {
            return Err(format!("has peft_type {}; only \"LORA\" is read: {MERGE_ELSEWHERE}", self.peft_type));
        }
        if let Some(key) = self.unknown {
            return Err(format!(
                "asks for {key}, which is not supported; train the adapter without it, or {MERGE_ELSEWHERE}"
            ));
        }
        if self.bias != Setting::Nothing && !self.bias.is("none") {
            return Err(format!("has bias {}; only \"none\" is supported", self.bias));
        }
        let start = &self.init_lora_weights;
        if *start != Setting::Nothing && *start != Setting::True && !PLAIN_STARTS.iter().any(|plain| start.is(plain)) {
            return Err(format!(
                "has init_lora_weights {start}, which changes the weights of the base; save it as a plain adapter first, with path_initial_model_for_weight_conversion of PEFT"
            ));
        }
        let alpha = self.lora_alpha.number().ok_or("has no number 'lora_alpha'")?;
        let of_pattern = |(pattern, value): (String, Setting)| {
            let is_plain = pattern.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            match value.number().filter(|_| is_plain) {
                Some(alpha) => Ok((pattern, alpha)),
                None => Err(format!(
                    "has the alpha_pattern '{pattern}': {value}; only ends of names with a number are read"
                )),
            }
        };
        let alphas = self.alpha_pattern.0.into_iter().map(of_pattern).collect::<std::result::Result<_, _>>()?;
        Ok(AdapterConfig { alpha, alphas, is_rank_stabilised: self.use_rslora != Setting::Nothing })
    }
}

impl<'de> Deserialize<'de> for RawConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = RawConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RawConfig, A::Error> {
                let mut raw = RawConfig::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "peft_type" => raw.peft_type = map.next_value()?,
                        "bias" => raw.bias = map.next_value()?,
                        "init_lora_weights" => raw.init_lora_weights = map.next_value()?,
                        "lora_alpha" => raw.lora_alpha = map.next_value()?,
                        "use_rslora" => raw.use_rslora = map.next_value()?,
                        "alpha_pattern" => raw.alpha_pattern = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        idle if IDLE.contains(&idle) => drop(map.next_value::<IgnoredAny>()?),
                        _ if map.next_value::<Setting>()? != Setting::Nothing => raw.unknown = Some(key),
                        _ => {}
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Alphas by the ends of names, in the order of the file.
#[derive(Default)]
struct Patterns(Vec<(String, Setting)>);

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Patterns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Patterns, A::Error> {
                let mut patterns = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    if patterns.len() == MAX_PATTERNS {
                        return Err(A::Error::custom(format!(
                            "more than {MAX_PATTERNS} patterns, the most that are read"
                        )));
                    }
                    patterns.push(pair);
                }
                Ok(Patterns(patterns))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A value of a key, of which lists and objects are not kept.
#[derive(Clone, Debug, Default, PartialEq)]
enum Setting {
    /// Null, false, or empty.
    #[default]
    Nothing,
    True,
    Number(f64),
    Text(String),
    Other,
}

impl Setting {
    fn is(&self, text: &str) -> bool {
        matches!(self, Setting::Text(found) if found == text)
    }

    /// A number that is finite in single precision.
    fn number(&self) -> Option<f64> {
        match self {
            Setting::Number(number) if (*number as f32).is_finite() => Some(*number),
            _ => None,
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Nothing => f.write_str("null"),
            Setting::True => f.write_str("true"),
            Setting::Number(number) => number.fmt(f),
            Setting::Text(text) => write!(f, "{text:?}"),
            Setting::Other => f.write_str("a list or an object"),
        }
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Setting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> std::result::Result<Setting, E> {
                Ok(Setting::Nothing)
            }

            fn visit_bool<E>(self, value: bool) -> std::result::Result<Setting, E> {
                Ok(if value { Setting::True } else { Setting::Nothing })
            }

            fn visit_u64<E>(self, value: u64) -> std::result::Result<Setting, E> {
                Ok(Setting::Number(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> std::result::Result<Setting, E> {
                Ok(Setting::Number(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> std::result::Result<Setting, E> {
                Ok(Setting::Number(value))
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Setting, E> {
                Ok(if value.is_empty() { Setting::Nothing } else { Setting::Text(value.to_owned()) })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Setting, A::Error> {
                let mut setting = Setting::Nothing;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    setting = Setting::Other;
                }
                Ok(setting)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Setting, A::Error> {
                let mut setting = Setting::Nothing;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    setting = Setting::Other;
                }
                Ok(setting)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests;
