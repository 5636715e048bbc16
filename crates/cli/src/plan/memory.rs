//! Makes a run fit into memory, or refuses it before it starts.

use crate::failure::{Failure, Outcome};
use crate::machine;
use crate::plan::has_pairs;
use crate::show::number;
use genera_engine::ModelConfig;
use genera_engine::config::{Attention, Stack};
use genera_engine::flops::{AdapterPlan, EarlierGradients, Lens, TrainMemory, TrainPlan};
use genera_engine::params::{ParamSpec, Params, Role, layout};
use genera_engine::recipe::{Reasons, Recipe};
use genera_tensor::DType;
use genera_tensor::backend::cpu::stripe_rows;

/// The largest batch of a recipe: how many rows, and how long they are.
pub fn largest_batch(recipe: &Recipe, config: &ModelConfig) -> (usize, Lens) {
    let (data, n_rows, context) =
        (&recipe.data, recipe.train.batch_size, config.context_len.min(recipe.model.context_len));
    if has_pairs(recipe) {
        // A pair at a time.
        return (2, Lens { target: context, source: 0 });
    }
    if super::privacy::is_on(recipe) {
        // A step takes its rows one by one, and validation a few.
        return (n_rows.min(super::privacy::ROWS_AT_ONCE), Lens { target: context, source: 0 });
    }
    if !config.is_encoder_decoder() {
        return (n_rows, Lens { target: context, source: 0 });
    }
    let lens = Lens { target: data.max_target_len.unwrap_or(context), source: data.max_source_len.unwrap_or(context) };
    let fitting = |n_tokens: usize| (n_tokens / (lens.target + lens.source).max(1)).clamp(1, n_rows.max(1));
    (data.tokens_per_batch.map_or(n_rows, fitting), lens)
}

/// The program itself, its data and its threads, beside what training needs.
const PROGRAM_BYTES: usize = 16 << 20;

/// The pool keeps blocks for reuse that nothing fits: with the recipes of the speed comparisons 1 to 6 % of what is in use, and 6 to
/// 18 % where blocks are computed again, whose order of sizes is another on the way back.
const KEPT_SHARE: usize = 32;
const KEPT_SHARE_OF_RECOMPUTED: usize = 8;

/// How much more than planned a run may take: the plan is true to a tenth.
const MARGIN: f64 = 1.1;

/// The parts of [`of_process`], with their names.
pub type Parts = [(&'static str, usize); 9];

/// What a plan depends on beside the recipe and the model.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub dtype: DType,
    pub n_threads: usize,
    /// What the run's base takes as it is loaded, where there is one.
    pub base_bytes: Option<usize>,
    /// What learns beside the base, where that is frozen.
    pub adapters: Option<AdapterPlan>,
}

impl Setting {
    /// Of a run whose model has not been made yet.
    pub fn new(dtype: DType, n_threads: usize) -> Self {
        Self { dtype, n_threads, base_bytes: None, adapters: None }
    }

    /// Of a run that starts from a base, if it does.
    pub fn from_base(dtype: DType, n_threads: usize, base: Option<&Params>, recipe: &Recipe) -> Self {
        let setting = Self::new(dtype, n_threads);
        base.map_or(setting, |params| setting.with_loaded(params, params.own_bytes(), recipe))
    }

    /// Of one whose model or base is there, `n_bytes` without adapters.
    pub fn with_loaded(self, params: &Params, n_bytes: usize, recipe: &Recipe) -> Self {
        let has_dropout = recipe.lora.dropout.is_some_and(|dropout| dropout > 0.0);
        Self { base_bytes: Some(n_bytes), adapters: AdapterPlan::of(params, has_dropout), ..self }
    }
}

/// The memory that the whole process takes while it trains by a recipe.
///
/// # Units
/// Bytes.
pub fn of_process(recipe: &Recipe, config: &ModelConfig, setting: Setting) -> usize {
    parts(recipe, config, setting).iter().fold(0, |sum, (_, n_bytes)| sum.saturating_add(*n_bytes))
}

/// What the memory of [`of_process`] is for.
pub fn parts(recipe: &Recipe, config: &ModelConfig, setting: Setting) -> Parts {
    let memory = needed(recipe, config, setting);
    let TrainMemory { weights, gradients, optimizer, averages, activations } = memory;
    let is_recomputed = recipe.train.recomputed_blocks.is_some_and(|n| n > 0);
    let kept_share = if is_recomputed { KEPT_SHARE_OF_RECOMPUTED } else { KEPT_SHARE };
    [
        ("weights", weights),
        ("gradients", gradients),
        ("optimizer", optimizer),
        ("averages", averages),
        ("activations", activations),
        ("kept for reuse", memory.total() / kept_share),
        ("rearranged", packed_bytes(recipe, config, setting)),
        ("of threads", thread_bytes(recipe, config, setting)),
        ("program", PROGRAM_BYTES),
    ]
}

/// The two largest operands that products rearrange for all threads. A weight's gradient takes the narrower of its layer's inputs and
/// gradients of outputs; each thread rearranges its part of the other for itself. On the way back through the head it is the head's
/// weight.
fn packed_bytes(recipe: &Recipe, config: &ModelConfig, setting: Setting) -> usize {
    let (rows, lens) = largest_batch(recipe, config);
    // Where its parts are too few for all threads, they rearrange it together as well.
    let are_few = |n_out: usize| stripe_rows(n_out, setting.n_threads).is_none();
    let (outputs, inputs) = layers(config).into_iter().fold((0, config.d_model), |(outputs, inputs), [n_out, n_in]| {
        let packs_outputs = n_out <= n_in || are_few(n_out);
        (if packs_outputs { outputs.max(n_out) } else { outputs }, inputs.max(n_in.min(n_out)))
    });
    let n_tokens = rows.saturating_mul(lens.target.max(lens.source));
    let head = config.vocab_size.saturating_mul(config.embedding.width.unwrap_or(config.d_model));
    let right = n_tokens.saturating_mul(inputs).max(head);
    n_tokens.saturating_mul(outputs).saturating_add(right).saturating_mul(setting.dtype.size_bytes())
}

/// What all threads keep for themselves: rearranged rows, and on the way back through attention five numbers for every feature of
/// the queries that share keys.
fn thread_bytes(recipe: &Recipe, config: &ModelConfig, setting: Setting) -> usize {
    let (rows, lens) = largest_batch(recipe, config);
    let len = lens.target.max(lens.source);
    let n_apart = layers(config).into_iter().filter_map(|[n_out, _]| stripe_rows(n_out, setting.n_threads)).max();
    let row_bytes = rows.saturating_mul(len).saturating_mul(setting.dtype.size_bytes());
    let rearranged = row_bytes.saturating_mul(n_apart.unwrap_or(0));
    let of_stack = |stack: &Stack| {
        let Attention { n_heads, n_kv_heads, d_head, .. } = stack.attention;
        n_heads.div_ceil(n_kv_heads.max(1)).saturating_mul(d_head).saturating_mul(5 * 4)
    };
    let attention = config.stacks().iter().map(|(_, stack)| of_stack(stack)).max().unwrap_or(0);
    rearranged.saturating_add(len.saturating_mul(attention)).saturating_mul(setting.n_threads)
}

/// Outputs and inputs of every linear layer.
fn layers(config: &ModelConfig) -> Vec<[usize; 2]> {
    let is_linear = |spec: &&ParamSpec| matches!(spec.role, Role::Matrix | Role::Query | Role::Residual);
    layout(config).iter().filter(is_linear).map(|spec| [spec.shape.n_rows(), spec.shape.last()]).collect()
}

/// The memory that training by a recipe needs.
fn needed(recipe: &Recipe, config: &ModelConfig, setting: Setting) -> TrainMemory {
    let Setting { dtype, base_bytes, adapters, .. } = setting;
    let (rows, lens) = largest_batch(recipe, config);
    let (train, is_private) = (&recipe.train, super::privacy::is_on(recipe));
    let earlier = match () {
        () if recipe.lora.rank.is_some() => EarlierGradients::Never,
        () if is_private || train.accumulate > 1 || has_pairs(recipe) => EarlierGradients::All,
        () => EarlierGradients::None,
    };
    let memory = TrainMemory::of(
        config,
        &TrainPlan {
            rows,
            n_losses: if has_pairs(recipe) { 2 } else { 1 },
            lens,
            compute: dtype,
            optimizer: train.optimizer,
            averages: train.ema_decay > 0.0,
            recomputed_blocks: train.recomputed_blocks.unwrap_or(0),
            earlier,
            adapters,
        },
    );
    if is_private {
        // Those of a row, and their sum.
        return TrainMemory { gradients: memory.gradients.saturating_mul(2), ..memory };
    }
    let Some(rank) = recipe.lora.rank else { return memory };
    let n_trained = adapter_size(config, rank);
    let averages = if train.ema_decay > 0.0 { 4 * n_trained } else { 0 };
    let rounded = if dtype == DType::Bf16 { 2 * n_trained } else { 0 };
    let weights = base_bytes.unwrap_or(memory.weights) + 4 * n_trained + rounded;
    TrainMemory { weights, gradients: 4 * n_trained, optimizer: 8 * n_trained, averages, ..memory }
}

/// Numbers in the adapters of a model at most: every linear layer has some, fused ones three pairs.
fn adapter_size(config: &ModelConfig, rank: usize) -> usize {
    let of_spec = |spec: &ParamSpec| match spec.role {
        Role::Matrix | Role::Query | Role::Residual => rank * (3 * spec.shape.last() + spec.shape.n_rows()),
        _ => 0,
    };
    layout(config).iter().map(of_spec).sum()
}

/// Checks that a model has the blocks that a recipe computes again.
///
/// # Errors
/// When it has fewer.
pub fn check_recomputed_blocks(recipe: &Recipe, config: &ModelConfig) -> Outcome<()> {
    let n_blocks = n_blocks(config);
    match recipe.train.recomputed_blocks {
        Some(n) if n > n_blocks => Err(Failure::new(format!(
            "train.recomputed_blocks is {n}, and the model has {n_blocks} blocks; it must be from 0 to {n_blocks}"
        ))),
        _ => Ok(()),
    }
}

/// Blocks of all stacks together.
fn n_blocks(config: &ModelConfig) -> usize {
    config.stacks().iter().map(|(_, stack)| stack.n_layers).sum()
}

/// Lets as few blocks as possible be computed again for a run to fit into the memory that it may take. A number of blocks
/// that the recipe gives stays. A base has been loaded by now, so it is not among what the machine has to spare.
///
/// # Errors
/// When it does not fit: the plan, and what would make it smaller. As [`check_recomputed_blocks`].
pub fn fit(recipe: &mut Recipe, reasons: &mut Reasons, config: &ModelConfig, setting: Setting) -> Outcome<()> {
    check_recomputed_blocks(recipe, config)?;
    let Some(limit) = Limit::of(recipe, setting.base_bytes.unwrap_or(0)) else { return Ok(()) };
    let n_blocks = n_blocks(config);
    let with = |n: usize| {
        let mut recipe = recipe.clone();
        recipe.train.recomputed_blocks = Some(n);
        recipe
    };
    let choices = recipe.train.recomputed_blocks.map_or(0..=n_blocks, |n| n..=n);
    let most = *choices.end();
    let fits = |n: &usize| of_process(&with(*n), config, setting) as f64 * MARGIN <= limit.bytes as f64;
    let Some(n) = choices.into_iter().find(fits) else {
        let smallest = with(most);
        return Err(Failure::new(format!(
            "this run needs {} of memory and a tenth to spare, and {}\n{}\nTo make it fit: {}",
            number::bytes(of_process(&smallest, config, setting)),
            limit.text(),
            plan_lines(&parts(&smallest, config, setting)),
            ways_to_fit(recipe, most < n_blocks),
        )));
    };
    if recipe.train.recomputed_blocks.is_none() && n > 0 {
        let whole = number::bytes(of_process(recipe, config, setting));
        let reason = format!(
            "of {n_blocks} blocks; to keep what all compute takes {whole} and a tenth to spare, and {}",
            limit.text()
        );
        reasons.add("train.recomputed_blocks", reason);
        recipe.train.recomputed_blocks = Some(n);
    }
    Ok(())
}

/// What would make a run smaller, of all that can be changed in it.
fn ways_to_fit(recipe: &Recipe, more_can_be_recomputed: bool) -> String {
    let (is_private, has_base) = (super::privacy::is_on(recipe), recipe.base.path.is_some());
    // Pairs go through the model one by one, and rows with privacy a few at a time, whatever the batch.
    let is_whole_batch = !has_pairs(recipe) && !is_private;
    let ways = [
        (is_whole_batch, "a smaller train.batch_size (with train.accumulate for the same step)"),
        (more_can_be_recomputed, "more train.recomputed_blocks"),
        (has_base, "a smaller model.context_len"),
        (
            has_base && recipe.lora.rank.is_none(),
            "small matrices beside the frozen base (--lora RANK, train.lora.rank)",
        ),
        (!has_base, "a smaller model.d_model or model.n_layers"),
    ];
    ways.iter().filter(|(helps, _)| *helps).map(|(_, way)| *way).collect::<Vec<_>>().join(", ")
}

/// The memory that a run may take.
struct Limit {
    bytes: usize,
    is_chosen: bool,
}

impl Limit {
    /// What the recipe allows, or the machine has to spare beside what the run holds already, whichever is less; `None` when
    /// neither is known.
    fn of(recipe: &Recipe, held_bytes: usize) -> Option<Self> {
        let chosen = recipe.train.memory_gib.map(|gib| (gib * f64::from(1 << 30)) as usize);
        let available = machine::available_bytes().map(|bytes| bytes.saturating_add(held_bytes));
        let bytes = chosen.into_iter().chain(available).min()?;
        Some(Self { bytes, is_chosen: chosen == Some(bytes) })
    }

    fn text(&self) -> String {
        let bytes = number::bytes(self.bytes);
        if self.is_chosen { format!("train.memory_gib allows {bytes}") } else { format!("{bytes} are available") }
    }
}

fn plan_lines(parts: &Parts) -> String {
    let lines = parts.map(|(name, bytes)| format!("  {name:<14} {:>9}", number::bytes(bytes)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_advised_can_be_changed_and_helps() {
        let recipe = |text: &str| Recipe::parse(text).unwrap();
        let base = "[base]\npath = \"m\"\n";
        for (text, may, may_not) in [
            ("", &["train.batch_size", "recomputed", "d_model"][..], &["context_len", "--lora"][..]),
            (base, &["train.batch_size", "context_len", "--lora"], &["d_model"]),
            (&format!("{base}[train.lora]\nrank = 8"), &["train.batch_size", "context_len"], &["d_model", "--lora"]),
            (&format!("{base}[data]\nkind = \"preference\""), &["context_len", "--lora"], &["train.batch_size"]),
            ("[train.privacy]\nepsilon = 3.0", &["recomputed", "d_model"], &["train.batch_size"]),
        ] {
            let advice = ways_to_fit(&recipe(text), true);
            assert!(may.iter().all(|way| advice.contains(way)), "{text}: {advice}");
            assert!(!may_not.iter().any(|way| advice.contains(way)), "{text}: {advice}");
        }
        assert!(!ways_to_fit(&Recipe::default(), false).contains("recomputed"));
    }
}
