//! What a model that is there is made of.

use super::{MAX_SHOWN, architecture};
use crate::command::Common;
use crate::failure::{Outcome, printable};
use crate::model::LoadedModel;
use crate::plan::memory;
use crate::provenance::Provenance;
use crate::run::session::compute_dtype;
use crate::show::{number, row};
use crate::{base, hub, machine, model};
use genera_engine::ModelConfig;
use genera_engine::flops::{self, Lens, RunMemory};
use genera_engine::params::ParamCount;
use genera_engine::recipe::Recipe;
use genera_engine::weights::Purpose;
use genera_engine::weights::gguf::Reader;
use genera_tensor::DType;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

/// Says what a model is made of.
///
/// # Errors
/// When it cannot be read.
pub(super) fn describe(path: &Path, common: Common) -> Outcome {
    let device = machine::device(common.threads);
    let model = model::load(path, None, Purpose::UseAsStored(None), &device)?;
    let config = model.transformer.config();
    let recipe = model.recipe.as_ref();
    // What cannot be read of a base is not known.
    let origin = Provenance::of(&model, path, false).unwrap_or_default().origin;
    let license = origin.license().map(str::to_owned);
    let facts = Facts::of(&model, recipe, stored_formats(path)?, license, device.kernels().n_threads());
    if common.json {
        println!("{}", facts.to_json(config));
    } else {
        facts.print(config, recipe);
    }
    Ok(ExitCode::SUCCESS)
}

/// How many tensors of a GGUF file are in each format, and their bytes; empty for other files.
fn stored_formats(path: &Path) -> Outcome<Vec<Stored>> {
    let path = &*hub::locate(path)?;
    let mut formats: Vec<Stored> = Vec::new();
    if !path.is_file() || !model::is_gguf(path) {
        return Ok(formats);
    }
    for entry in Reader::open(path)?.entries() {
        let format = entry.format.name();
        let n_bytes = entry.format.bytes_of(entry.shape.iter().product());
        match formats.iter_mut().find(|found| found.format == format) {
            Some(found) => (found.n_tensors, found.n_bytes) = (found.n_tensors + 1, found.n_bytes + n_bytes),
            None => formats.push(Stored { format, n_tensors: 1, n_bytes }),
        }
    }
    formats.sort_by_key(|stored| std::cmp::Reverse(stored.n_bytes));
    Ok(formats)
}

/// Tensors of a file that are in one format.
#[derive(Debug, Serialize)]
struct Stored {
    format: &'static str,
    n_tensors: usize,
    n_bytes: usize,
}

struct Facts {
    family: Option<&'static str>,
    stored: Vec<Stored>,
    count: ParamCount,
    forward_flops_per_token: f64,
    training_flops_per_token: f64,
    /// What a token reads of the weights as they are stored.
    decode_bytes: usize,
    /// What weights and cache take, by precision as `--precision` calls them.
    run: [(&'static str, RunMemory); 3],
    train_bytes: Option<usize>,
    step: Option<u64>,
    base: Option<String>,
    adapter: Option<Adapter>,
    has_chat_template: bool,
    license: Option<String>,
}

/// The small matrices beside frozen weights.
#[derive(Debug, Serialize)]
struct Adapter {
    rank: usize,
    alpha: f64,
    /// Ends of the names of the modules that have them.
    targets: Vec<String>,
    parameters: usize,
}

impl Adapter {
    fn of(model: &LoadedModel) -> Option<Self> {
        let params = model.transformer.params();
        let settings = base::lora_settings(model.recipe.as_ref()?)?;
        let end = |module: &str| module.rsplit('.').next().unwrap_or(module).to_owned();
        let targets: BTreeSet<String> = params.adapters().map(|(_, adapter)| end(&adapter.module)).collect();
        let own = &params.specs()[params.own_specs().len()..];
        let parameters = own.iter().map(|spec| spec.shape.n_elements()).sum();
        Some(Self { rank: settings.rank, alpha: settings.alpha, targets: targets.into_iter().collect(), parameters })
    }
}

impl Facts {
    fn of(
        model: &LoadedModel,
        recipe: Option<&Recipe>,
        stored: Vec<Stored>,
        license: Option<String>,
        n_threads: usize,
    ) -> Self {
        let config = model.transformer.config();
        let len = config.context_len;
        let lens = Lens::longest(config);
        let count = ParamCount::of(config);
        let [wide, narrow] = [DType::F32, DType::Bf16].map(|dtype| RunMemory::of(config, 1, lens, dtype));
        // What no product reads is in f32 whatever the precision.
        let others = (2 * narrow.weights).saturating_sub(wide.weights);
        let as_stored = RunMemory { weights: model.transformer.params().product_bytes() + others, cache: wide.cache };
        Self {
            family: model.transformer.published_as(),
            stored,
            forward_flops_per_token: flops::forward(config, lens) / len as f64,
            training_flops_per_token: flops::training(config, lens) / len as f64,
            decode_bytes: model.transformer.params().decode_bytes(config, 1),
            run: [("stored", as_stored), ("f32", wide), ("bf16", narrow)],
            train_bytes: recipe.map(|recipe| {
                let dtype = compute_dtype(recipe);
                let params = model.transformer.params();
                let setting = memory::Setting::new(dtype, n_threads);
                let setting = setting.with_loaded(params, params.bytes_beside_adapters(dtype), recipe);
                memory::of_process(recipe, config, setting)
            }),
            step: model.step,
            base: recipe.and_then(|recipe| recipe.base.path.clone()),
            adapter: Adapter::of(model),
            has_chat_template: model.codebook.as_ref().is_some_and(|codebook| codebook.chat_template().is_some()),
            license,
            count,
        }
    }

    fn to_json(&self, config: &ModelConfig) -> serde_json::Value {
        let by_precision = |bytes: fn(&RunMemory) -> usize| {
            let run = self.run.iter().map(|(precision, memory)| ((*precision).to_owned(), bytes(memory).into()));
            serde_json::Map::from_iter(run)
        };
        serde_json::json!({
            "family": self.family,
            "stored": self.stored,
            "config": config,
            "parameters": architecture::parameters(&self.count),
            "forward_flops_per_token": self.forward_flops_per_token,
            "training_flops_per_token": self.training_flops_per_token,
            "weight_bytes_read_per_token": self.decode_bytes,
            "memory_to_run_bytes": by_precision(RunMemory::total),
            "memory_of_weights_bytes": by_precision(|memory| memory.weights),
            "memory_of_keys_and_values_bytes": by_precision(|memory| memory.cache),
            "memory_to_train_bytes": self.train_bytes,
            "step": self.step,
            "base": self.base,
            "adapter": self.adapter,
            "chat_template": self.has_chat_template,
            "license": self.license,
        })
    }

    fn print(&self, config: &ModelConfig, recipe: Option<&Recipe>) {
        println!("Architecture");
        if let Some(family) = self.family {
            row("family", family);
        }
        architecture::print(config, &self.count);
        println!("\nUse");
        row("chat template", if self.has_chat_template { "yes" } else { "no" });
        let shown = |name: &str| printable(name, MAX_SHOWN);
        row("licence", self.license.as_deref().map_or("not said".to_owned(), shown));
        if !self.stored.is_empty() {
            println!("\nStored");
            for Stored { format, n_tensors, n_bytes } in &self.stored {
                row(format, format_args!("{n_tensors} tensors, {}", number::bytes(*n_bytes)));
            }
        }
        if let Some(base) = &self.base {
            println!("\nTuned from");
            row("base", shown(base));
        }
        if let Some(Adapter { rank, alpha, targets, parameters }) = &self.adapter {
            row("adapter", format_args!("LoRA of rank {rank}, alpha {alpha}"));
            row("of the modules", shown(&targets.join(", ")));
            row("learned parameters", number::count(*parameters as f64));
        }
        println!("\nA token at full context");
        row("forward", number::flops(self.forward_flops_per_token));
        row("training", number::flops(self.training_flops_per_token));
        row("weights read", format_args!("{} (as stored)", number::bytes(self.decode_bytes)));
        println!("\nMemory, with the keys and values of a whole context");
        for (precision, memory) in &self.run {
            let is_default = if *precision == "stored" { " (the default)" } else { "" };
            let [all, weights, cache] = [memory.total(), memory.weights, memory.cache].map(number::bytes);
            let name = format!("to run, {precision}");
            row(&name, format_args!("{all}: weights {weights}, keys and values {cache}{is_default}"));
        }
        if let (Some(bytes), Some(recipe)) = (self.train_bytes, recipe) {
            row("to train", format_args!("{} (batch of {})", number::bytes(bytes), recipe.train.batch_size));
        }
        if let Some(step) = self.step {
            println!("\nThe checkpoint is of step {step}.");
        }
    }
}
