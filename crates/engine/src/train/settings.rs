//! What the trainer needs to know of a recipe, checked.

use super::optimizer::{AdamWSettings, MuonSettings, OptimizerSettings, SgdSettings};
use super::privacy::PrivacySettings;
use super::schedule::{Descent, Schedule};
use crate::error::{Error, Result};
use crate::recipe::{LoraRecipe, OptimizerKind, PrivacyRecipe, Reasons, Recipe, ScheduleKind, TrainRecipe};

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainSettings {
    /// Decides the dropout masks.
    pub seed: u64,
    /// How the learning rate goes.
    pub schedule: Schedule,
    /// How weights follow gradients.
    pub optimizer: OptimizerSettings,
    /// Longest gradient; 0 for no limit.
    pub clip: f64,
    /// Share of the target's probability that is spread over all tokens.
    pub label_smoothing: f32,
    /// Share of features silenced at random.
    pub dropout: f32,
    /// The same for what goes into adapters.
    pub adapter_dropout: f32,
    /// How slowly the moving average of the weights follows them; 0 for no average.
    pub ema_decay: f64,
    /// See [`crate::model::Mode::recomputed_blocks`].
    pub recomputed_blocks: usize,
    /// How rows are kept from showing; [`Trainer::step_private`](super::Trainer::step_private) needs it.
    pub privacy: Option<PrivacySettings>,
}

impl TrainSettings {
    /// Takes the settings from a recipe's `[train]` table; what it leaves out is derived.
    ///
    /// # Errors
    /// [`Error::Config`], naming the key, what it holds and what it may hold.
    pub fn new(recipe: &TrainRecipe) -> Result<Self> {
        let mut whole = Recipe { train: recipe.clone(), ..Recipe::default() };
        whole.complete(&mut Reasons::default())?;
        let recipe = &whole.train;
        check(recipe)?;
        Ok(Self {
            seed: recipe.seed,
            schedule: schedule(recipe),
            optimizer: optimizer(recipe),
            clip: recipe.clip,
            label_smoothing: recipe.label_smoothing as f32,
            dropout: recipe.dropout as f32,
            adapter_dropout: 0.0,
            ema_decay: recipe.ema_decay,
            recomputed_blocks: recipe.recomputed_blocks.unwrap_or(0),
            privacy: None,
        })
    }
}

impl TrainSettings {
    /// The same with dropout of what goes into the adapters.
    ///
    /// # Errors
    /// [`Error::Config`] when the share is out of range.
    pub fn with_lora(self, lora: &LoraRecipe) -> Result<Self> {
        let dropout = lora.dropout.unwrap_or(0.0);
        if !(dropout >= 0.0 && (dropout as f32) < 1.0) {
            return Err(Error::Config(format!("train.lora.dropout is {dropout}; it must be from 0 to below 1")));
        }
        Ok(Self { adapter_dropout: dropout as f32, ..self })
    }
}

impl TrainSettings {
    /// The same with privacy, where the recipe asks for it: `clip` is then that of each row.
    ///
    /// # Errors
    /// [`Error::Config`] when the gradients of rows have no limit, or no noise or secret is set.
    pub fn with_privacy(self, privacy: &PrivacyRecipe, train: &TrainRecipe) -> Result<Self> {
        if privacy.epsilon.is_none() {
            return Ok(self);
        }
        let noise_multiplier = privacy.noise_multiplier.unwrap_or(0.0);
        if self.clip <= 0.0 || !(noise_multiplier > 0.0 && noise_multiplier.is_finite()) {
            return Err(Error::Config(format!(
                "privacy needs train.clip above 0, which limits the gradient of each row, and noise: train.clip is {}, \
                 train.privacy.noise_multiplier is {noise_multiplier}",
                self.clip
            )));
        }
        let expected_rows = (train.batch_size * train.accumulate.max(1)) as f64;
        let secret = privacy.secret.ok_or_else(|| {
            Error::Config("train.privacy has no secret: a run has privacy from its beginning, or not at all".to_owned())
        })?;
        let privacy = PrivacySettings { clip: self.clip, noise_multiplier, expected_rows, secret };
        Ok(Self { clip: 0.0, privacy: Some(privacy), ..self })
    }
}

/// Most rows of a micro-batch: far more than memory holds, and few enough that no count of them overflows.
const MAX_BATCH_SIZE: usize = 1 << 27;

/// Most micro-batches of a step, whose tokens lie in memory together.
const MAX_ACCUMULATE: usize = 1 << 16;

fn check(recipe: &TrainRecipe) -> Result<()> {
    // What counts is the 32-bit number that is computed with: 0.99999999999 is 1 there, 1e-50 is 0, 1e50 is infinite.
    let not_negative = |value: f64| value >= 0.0 && (value as f32).is_finite();
    let positive = |value: f64| not_negative(value) && value as f32 > 0.0;
    let from_0_to_1 = |value: f64| not_negative(value) && (value as f32) < 1.0;
    let muon_rate = recipe.muon_learning_rate.unwrap_or(recipe.learning_rate);
    let floor = recipe.min_learning_rate.unwrap_or(0.0);
    let memory = recipe.memory_gib.unwrap_or(1.0);
    let rows: [(&str, f64, bool, &str); 14] = [
        ("learning_rate", recipe.learning_rate, positive(recipe.learning_rate), "above 0"),
        ("muon_learning_rate", muon_rate, positive(muon_rate), "above 0"),
        ("min_learning_rate", floor, not_negative(floor) && floor <= recipe.learning_rate, "from 0 to learning_rate"),
        ("beta1", recipe.beta1, from_0_to_1(recipe.beta1), "from 0 to below 1"),
        ("beta2", recipe.beta2, from_0_to_1(recipe.beta2), "from 0 to below 1"),
        ("eps", recipe.eps, positive(recipe.eps), "above 0"),
        ("momentum", recipe.momentum, from_0_to_1(recipe.momentum), "from 0 to below 1"),
        ("weight_decay", recipe.weight_decay, not_negative(recipe.weight_decay), "at least 0"),
        ("clip", recipe.clip, recipe.clip == 0.0 || positive(recipe.clip), "at least 0"),
        ("label_smoothing", recipe.label_smoothing, from_0_to_1(recipe.label_smoothing), "from 0 to below 1"),
        ("dropout", recipe.dropout, from_0_to_1(recipe.dropout), "from 0 to below 1"),
        ("ema_decay", recipe.ema_decay, from_0_to_1(recipe.ema_decay), "from 0 to below 1"),
        ("memory_gib", memory, positive(memory), "above 0"),
        ("batch_size", recipe.batch_size as f64, recipe.batch_size > 0, "at least 1"),
    ];
    let counts = [("batch_size", recipe.batch_size, MAX_BATCH_SIZE), ("accumulate", recipe.accumulate, MAX_ACCUMULATE)];
    for (key, value, is_good, range) in rows {
        if !is_good {
            let (text, computed) = (value.to_string(), (value as f32).to_string());
            let rounded = if text == computed { String::new() } else { format!(", which is {computed} in 32 bits") };
            return Err(Error::Config(format!("train.{key} is {text}{rounded}; it must be {range}")));
        }
    }
    if let Some((key, n, most)) = counts.into_iter().find(|(_, n, most)| n > most) {
        return Err(Error::Config(format!("train.{key} is {n}; it must be at most {most}")));
    }
    if recipe.accumulate == 0 || recipe.steps == 0 {
        return Err(Error::Config("train.steps and train.accumulate must be at least 1".to_owned()));
    }
    Ok(())
}

fn schedule(recipe: &TrainRecipe) -> Schedule {
    Schedule {
        steps: recipe.steps,
        warmup_steps: recipe.warmup_steps.unwrap_or(0),
        descent: match recipe.schedule {
            ScheduleKind::Cosine => Descent::Cosine,
            ScheduleKind::Linear => Descent::Linear,
            ScheduleKind::Wsd => Descent::Late { decay_steps: recipe.decay_steps.unwrap_or(0) },
            ScheduleKind::InverseSqrt => Descent::InverseSqrt,
            ScheduleKind::Constant => Descent::Constant,
        },
        floor: recipe.min_learning_rate.unwrap_or(0.0) / recipe.learning_rate,
    }
}

fn optimizer(recipe: &TrainRecipe) -> OptimizerSettings {
    let &TrainRecipe { learning_rate, weight_decay, momentum, .. } = recipe;
    let adamw = AdamWSettings {
        learning_rate,
        beta1: recipe.beta1 as f32,
        beta2: recipe.beta2 as f32,
        eps: recipe.eps as f32,
        weight_decay,
    };
    match recipe.optimizer {
        OptimizerKind::AdamW => OptimizerSettings::AdamW(adamw),
        OptimizerKind::Muon => {
            let learning_rate = recipe.muon_learning_rate.unwrap_or(learning_rate);
            let matrices = MuonSettings { learning_rate, momentum: momentum as f32, weight_decay };
            OptimizerSettings::Muon { matrices, rest: adamw }
        }
        OptimizerKind::Sgd => {
            OptimizerSettings::Sgd(SgdSettings { learning_rate, momentum: momentum as f32, weight_decay })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        let check = |set: fn(&mut TrainRecipe), expect: &str| {
            let mut recipe = TrainRecipe::default();
            set(&mut recipe);
            let error = TrainSettings::new(&recipe).expect_err(expect).to_string();
            assert!(error.contains(expect), "expected '{expect}', found '{error}'");
        };
        check(|r| r.learning_rate = 0.0, "train.learning_rate is 0; it must be above 0");
        check(|r| r.min_learning_rate = Some(1.0), "train.min_learning_rate is 1; it must be from 0 to learning_rate");
        check(|r| r.beta2 = 1.0, "train.beta2 is 1");
        check(|r| r.dropout = -0.1, "train.dropout is -0.1");
        check(|r| r.batch_size = 0, "train.batch_size is 0");
        check(|r| r.batch_size = usize::MAX, "it must be at most 134217728");
        check(|r| r.accumulate = 65_537, "train.accumulate is 65537; it must be at most 65536");
        check(|r| r.beta1 = 0.999_999_999_99, "train.beta1 is 0.99999999999, which is 1 in 32 bits; it must be from 0");
        check(|r| r.beta2 = 0.999_999_999_99, "train.beta2 is 0.99999999999, which is 1 in 32 bits; it must be from 0");
        check(|r| r.momentum = 0.999_999_999_99, "train.momentum");
        check(|r| r.dropout = 0.999_999_999_99, "train.dropout");
        check(|r| r.label_smoothing = 0.999_999_999_99, "train.label_smoothing");
        check(|r| r.ema_decay = 0.999_999_999_99, "train.ema_decay");
        check(|r| r.eps = 1e-50, "which is 0 in 32 bits; it must be above 0");
        check(|r| r.learning_rate = 1e-50, "train.learning_rate");
        check(|r| r.learning_rate = 1e50, "which is inf in 32 bits");
        check(|r| r.weight_decay = 1e50, "train.weight_decay");
        check(|r| r.clip = 1e-50, "train.clip");
        check(|r| r.clip = f64::NAN, "train.clip");
        check(|r| r.steps = 0, "train.steps");
    }

    #[test]
    fn the_floor_is_a_share_of_the_peak() {
        let recipe = TrainRecipe { learning_rate: 0.01, min_learning_rate: Some(0.002), ..TrainRecipe::default() };
        assert_eq!(TrainSettings::new(&recipe).unwrap().schedule.floor, 0.2);
    }
}
