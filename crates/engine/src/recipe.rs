//! The recipe: everything that determines a run, as a TOML file of a few tables.
//!
//! What a recipe leaves out is derived by [`Recipe::complete`], which says why; [`Recipe::to_toml`] writes the result
//! with the reasons beside the values, and that file gives the same run again.

mod generate;
mod model;
mod setting;
mod table;
mod tables;

pub use generate::MAX_TOKENS;
pub use setting::Choice;
pub use table::Key;
pub use tables::{
    BaseRecipe, DataRecipe, DpoRecipe, Family, GenerateRecipe, Layout, LoraRecipe, ModelRecipe, MoleculeEncoding,
    MoleculeRecipe, NormChoice, OptimizerKind, PositionKind, Precision, PrivacyRecipe, ScheduleKind, TableRecipe,
    TokenizerKind, TokenizerRecipe, TrainRecipe,
};

use crate::error::{Error, Result};
use crate::weights::PublishedGeneration;
use setting::{describe, nearest};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use table::Table;
use toml::Value;

/// Longest recipe that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Fewest steps between two checkpoints where nobody says, but in a run of so few that it would have none before its end: each
/// takes time, and twice the weights or more on the disk.
const LEAST_CHECKPOINT_STEPS: u64 = 10;

/// Everything that determines a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    /// What it learns from.
    pub data: DataRecipe,
    /// What a table holds.
    pub table: TableRecipe,
    /// How molecules are written.
    pub molecule: MoleculeRecipe,
    /// How data becomes tokens.
    pub tokenizer: TokenizerRecipe,
    /// What it starts from.
    pub base: BaseRecipe,
    /// What learns.
    pub model: ModelRecipe,
    /// How it learns.
    pub train: TrainRecipe,
    /// Which small matrices learn in its place.
    pub lora: LoraRecipe,
    /// How it learns from preferences.
    pub dpo: DpoRecipe,
    /// How single rows are kept from showing.
    pub privacy: PrivacyRecipe,
    /// How it generates.
    pub generate: GenerateRecipe,
}

/// Why derived values are what they are, by `table.key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons(BTreeMap<String, String>);

impl Reasons {
    /// Gives a reason for the value of `table.key`.
    pub fn add(&mut self, key: &str, reason: impl Into<String>) {
        self.0.insert(key.to_owned(), reason.into());
    }

    /// The reason for the value of `table.key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All reasons, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, reason)| (key.as_str(), reason.as_str()))
    }
}

/// Every key that a recipe may have, in the order in which they are written.
pub fn keys() -> Vec<Key> {
    Recipe::default().tables().iter().flat_map(|(_, table)| table.keys().iter().copied()).collect()
}

impl Recipe {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// When it cannot be read, or as [`Recipe::parse`].
    pub fn load(path: &Path) -> Result<Self> {
        Ok(Self::load_with_keys(path)?.0)
    }

    /// The same with the keys that the file gives, as `train.steps`.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn load_with_keys(path: &Path) -> Result<(Self, Vec<String>)> {
        let cannot_read = |source| Error::io("cannot read the recipe", path, source);
        let n_bytes = fs::metadata(path).map_err(cannot_read)?.len();
        if n_bytes > MAX_FILE_BYTES {
            let message = format!("{n_bytes} bytes are too many for a recipe; at most {MAX_FILE_BYTES} are read");
            return Err(Error::file(path, message));
        }
        let bytes = fs::read(path).map_err(cannot_read)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Error::file(path, format!("not a recipe: byte {at} is not UTF-8 text"))
        })?;
        Self::parse_with_keys(&text).map_err(|error| Error::Recipe(format!("{}: {error}", path.display())))
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// [`Error::Recipe`]: what is not TOML, with its line; the unknown key with the nearest known one; the key whose value
    /// is of another type, with what was expected.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self::parse_with_keys(text)?.0)
    }

    fn parse_with_keys(text: &str) -> Result<(Self, Vec<String>)> {
        let document: toml::Table = text.parse().map_err(|error| Error::Recipe(format!("not sound TOML: {error}")))?;
        let (mut recipe, mut given) = (Self::default(), Vec::new());
        let mut assign = |recipe: &mut Self, table: &str, key: &str, value: &Value| {
            given.push(format!("{table}.{key}"));
            recipe.assign(table, key, &[value])
        };
        for (name, value) in &document {
            let Value::Table(keys) = value else { return Err(misplaced(name)) };
            for (key, value) in keys {
                let inner = format!("{name}.{key}");
                match value {
                    Value::Table(keys) if recipe.tables().iter().any(|(table, _)| *table == inner) => {
                        keys.iter().try_for_each(|(key, value)| assign(&mut recipe, &inner, key, value))?;
                    }
                    _ => assign(&mut recipe, name, key, value)?,
                }
            }
        }
        Ok((recipe, given))
    }

    /// Sets one key, as in `--set train.steps=120`. A text needs no quotes.
    ///
    /// # Errors
    /// As [`Recipe::parse`].
    pub fn set(&mut self, path: &str, text: &str) -> Result<()> {
        let Some((table, key)) = path.rsplit_once('.') else {
            return Err(misplaced(path));
        };
        let alone: Option<toml::Table> =
            format!("v = {text}").parse().ok().filter(|table: &toml::Table| table.len() == 1);
        let typed = alone.and_then(|mut table| table.remove("v"));
        let typed = typed.into_iter().chain([Value::String(text.to_owned())]).collect::<Vec<_>>();
        self.assign(table.trim(), key.trim(), &typed.iter().collect::<Vec<_>>())
    }

    /// Gives a key the first of the readings of its value that is of its type.
    fn assign(&mut self, table: &str, key: &str, readings: &[&Value]) -> Result<()> {
        let mut tables = self.tables_mut();
        let names = tables.each_ref().map(|(name, _)| *name);
        let Some((_, fields)) = tables.iter_mut().find(|(name, _)| *name == table) else {
            return Err(Error::Recipe(format!("unknown table [{table}]{}", suggestion(table, names))));
        };
        let Some(known) = fields.keys().iter().find(|known| known.name == key) else {
            return Err(unknown_key(table, key, fields.keys()));
        };
        if readings.iter().any(|value| fields.read(key, value)) {
            return Ok(());
        }
        let found = readings.first().map_or_else(String::new, |value| describe(value));
        Err(Error::Recipe(format!("{table}.{key}: found {found}, expected {}", known.expects())))
    }

    /// Answers as the authors of its base want them, but for the keys that `is_given` names, and says so.
    pub fn take_generation(
        &mut self,
        theirs: &PublishedGeneration,
        is_given: impl Fn(&str) -> bool,
        reasons: &mut Reasons,
    ) {
        let theirs = theirs.over(self.generate.clone());
        for key in self.generate.keys() {
            let (name, value) = (format!("{}.{}", key.table, key.name), theirs.write(key.name));
            let Some(value) = value.filter(|_| !is_given(&name)) else { continue };
            if self.generate.write(key.name).as_ref() != Some(&value) && self.generate.read(key.name, &value) {
                reasons.add(&name, "as the authors of the base want it");
            }
        }
    }

    /// Derives what is left out from what is given, and says why.
    ///
    /// # Errors
    /// [`Error::Recipe`] when the preset is unknown.
    pub fn complete(&mut self, reasons: &mut Reasons) -> Result<()> {
        // The architecture of a base is what it is.
        if self.base.path.is_none() {
            self.model.complete(reasons)?;
        }
        self.train.complete(reasons);
        Ok(())
    }

    /// The recipe as a file, with the reasons as comments; [`Recipe::parse`] gives the same recipe again.
    pub fn to_toml(&self, reasons: &Reasons) -> String {
        let mut text = String::new();
        for (name, table) in self.tables() {
            let is_kept = |key: &&Key| self.base.path.is_none() || !is_of_base(&format!("{name}.{}", key.name));
            if self.is_of_another_kind(name) {
                continue;
            }
            let kept = table.keys().iter().filter(is_kept);
            let written: Vec<_> = kept.filter_map(|key| Some((key, table.write(key.name)?))).collect();
            if written.is_empty() {
                continue;
            }
            let gap = if text.is_empty() { "" } else { "\n" };
            writeln!(text, "{gap}[{name}]").expect("a string takes what is written to it");
            for (key, value) in written {
                let reason = reasons.get(&format!("{name}.{}", key.name));
                let comment =
                    reason.map_or_else(String::new, |reason| format!("  # {}", reason.replace(['\n', '\r'], " ")));
                writeln!(text, "{} = {value}{comment}", key.name).expect("a string takes what is written to it");
            }
        }
        text
    }

    /// The keys that a base decides ([`is_of_base`]) whose values are not those by default.
    pub fn keys_of_base(&self) -> impl Iterator<Item = String> {
        let usual = Self::default();
        let mut keys = Vec::new();
        for ((name, table), (_, usual)) in self.tables().into_iter().zip(usual.tables()) {
            let is_given = |key: &&Key| table.write(key.name) != usual.write(key.name);
            keys.extend(table.keys().iter().filter(is_given).map(|key| format!("{name}.{}", key.name)));
        }
        keys.into_iter().filter(|key| is_of_base(key))
    }

    /// Whether a table is for a kind of data that this recipe is not about, and nothing stands in it.
    fn is_of_another_kind(&self, table: &str) -> bool {
        match table {
            "table" => self.data.kind != "table" && self.table == TableRecipe::default(),
            "molecule" => self.data.kind != "molecule" && self.molecule == MoleculeRecipe::default(),
            _ => false,
        }
    }

    fn tables(&self) -> [(&'static str, &dyn Table); 11] {
        let Self { data, table, molecule, tokenizer, base, model, train, lora, dpo, privacy, generate } = self;
        [
            ("data", data),
            ("table", table),
            ("molecule", molecule),
            ("tokenizer", tokenizer),
            ("base", base),
            ("model", model),
            ("train", train),
            ("train.lora", lora),
            ("train.dpo", dpo),
            ("train.privacy", privacy),
            ("generate", generate),
        ]
    }

    fn tables_mut(&mut self) -> [(&'static str, &mut dyn Table); 11] {
        let Self { data, table, molecule, tokenizer, base, model, train, lora, dpo, privacy, generate } = self;
        [
            ("data", data),
            ("table", table),
            ("molecule", molecule),
            ("tokenizer", tokenizer),
            ("base", base),
            ("model", model),
            ("train", train),
            ("train.lora", lora),
            ("train.dpo", dpo),
            ("train.privacy", privacy),
            ("generate", generate),
        ]
    }
}

/// Whether a key, as `model.n_layers`, is decided by the base where there is one: its architecture and its tokenizer.
pub fn is_of_base(key: &str) -> bool {
    key != "model.context_len" && (key.starts_with("model.") || key.starts_with("tokenizer."))
}

impl TrainRecipe {
    fn complete(&mut self, reasons: &mut Reasons) {
        let Self { steps, learning_rate, .. } = *self;
        let mut because = |key: &str, reason: &str| reasons.add(&format!("train.{key}"), reason);
        self.warmup_steps.get_or_insert_with(|| {
            because("warmup_steps", "2 % of the steps");
            steps.div_ceil(50)
        });
        let floor = match self.schedule {
            ScheduleKind::Cosine => Some((learning_rate / 10.0, "a tenth of learning_rate")),
            ScheduleKind::Linear | ScheduleKind::Wsd => Some((0.0, "the schedule goes down to nothing")),
            ScheduleKind::InverseSqrt | ScheduleKind::Constant => None,
        };
        if let Some((floor, why)) = floor {
            self.min_learning_rate.get_or_insert_with(|| {
                because("min_learning_rate", why);
                floor
            });
        }
        if self.schedule == ScheduleKind::Wsd {
            self.decay_steps.get_or_insert_with(|| {
                because("decay_steps", "the last fifth of the steps");
                steps.div_ceil(5)
            });
        }
        if self.optimizer == OptimizerKind::Muon {
            self.muon_learning_rate.get_or_insert_with(|| {
                because("muon_learning_rate", "as learning_rate: updates are scaled to the size of AdamW's");
                learning_rate
            });
        }
        let tenth = steps.div_ceil(10).max(1);
        for (key, every) in [("validate_every", &mut self.validate_every), ("sample_every", &mut self.sample_every)] {
            every.get_or_insert_with(|| {
                because(key, "ten times in the run");
                tenth
            });
        }
        // A multiple, so that each has a validation loss, by which the best is known; where only the end has one, none can.
        let unit = self.validate_every.filter(|every| (1..steps).contains(every)).unwrap_or(tenth);
        self.checkpoint_every.get_or_insert_with(|| {
            let most = (steps / 2 / unit).max(1);
            let every = unit * tenth.max(LEAST_CHECKPOINT_STEPS).div_ceil(unit).min(most);
            because(
                "checkpoint_every",
                match every {
                    _ if every >= steps => "at the end",
                    _ if every < LEAST_CHECKPOINT_STEPS => "few steps, of which a stop must not lose all",
                    _ if every == tenth => "ten times in the run",
                    _ if unit == tenth => "each takes time and disk",
                    _ => "each takes time and disk, and has a validation loss by which the best is known",
                },
            );
            every
        });
    }
}

fn suggestion<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    nearest(typed, names).map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

/// Names the nearest key of the same table, or the table that the key belongs to.
fn unknown_key(table: &str, key: &str, known: &[Key]) -> Error {
    // One that is only cut short is not meant for the table that has it whole.
    let is_begun = known.iter().any(|known| known.name.starts_with(key));
    let elsewhere = keys().into_iter().find(|other| other.name == key && !is_begun);
    let hint = match elsewhere {
        Some(other) => format!("; it belongs in [{}]", other.table),
        None => suggestion(key, known.iter().map(|known| known.name)),
    };
    let names: Vec<&str> = known.iter().map(|known| known.name).collect();
    let list = if hint.is_empty() { format!("; known are {}", names.join(", ")) } else { hint };
    Error::Recipe(format!("unknown key '{key}' in [{table}]{list}"))
}

/// A key outside of any table.
fn misplaced(name: &str) -> Error {
    let all = keys();
    let near = nearest(name, all.iter().map(|key| key.name));
    let hint = near.and_then(|near| all.iter().find(|key| key.name == near));
    let hint = hint.map_or_else(String::new, |key| format!("; did you mean {}.{}?", key.table, key.name));
    Error::Recipe(format!(
        "'{name}' stands outside of the tables [data] [table] [molecule] [tokenizer] [base] [model] [train] [generate]{hint}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flops::{self, EarlierGradients, Lens, TrainMemory, TrainPlan};
    use crate::train::TrainSettings;
    use genera_tensor::DType;

    fn check_error(text: &str, expect: &str) {
        let error = Recipe::parse(text).expect_err(expect).to_string();
        assert!(error.contains(expect), "expected '{expect}', found '{error}'");
    }

    #[test]
    fn mistakes_are_named_with_what_was_meant() {
        check_error("[train]\nstesp = 1", "unknown key 'stesp' in [train]; did you mean 'steps'?");
        check_error("[train]\nn_layers = 1", "unknown key 'n_layers' in [train]; it belongs in [model]");
        check_error(
            "[train.lora]\ntarget = \"q_proj\"",
            "unknown key 'target' in [train.lora]; did you mean 'targets'?",
        );
        check_error("[train]\nxyzzy = 1", "known are steps, batch_size");
        check_error("[trian]\nsteps = 1", "unknown table [trian]; did you mean 'train'?");
        check_error("steps = 1", "did you mean train.steps?");
        check_error("[train]\nsteps = \"many\"", "train.steps: found the text \"many\", expected a whole number");
        check_error("[train]\nsteps = -1", "train.steps: found the number -1, expected a whole number of at least 0");
        check_error("[train]\nlearning_rate = nan", "found nan, which is not finite, expected a number");
        check_error("[train]\nschedule = \"cosin\"", "expected one of \"cosine\", \"linear\"");
        check_error("[data]\nfiles = [1]", "expected a list of texts");
        check_error("[model]\nd_model = {}", "found a table");
        check_error("[train\n", "not sound TOML: TOML parse error at line 1");
        check_error("[train]\nsteps = 1\nsteps = 2", "duplicate key");
        check_error(&format!("a = {}", "[".repeat(100_000)), "not sound TOML");
    }

    #[test]
    fn single_keys_are_set() {
        let mut recipe = Recipe::default();
        recipe.set("train.steps", "120").unwrap();
        recipe.set("train.learning_rate", "3").unwrap();
        recipe.set("model.preset", "gpt2").unwrap();
        recipe.set("data.files", "12").unwrap();
        recipe.set("train.schedule", "\"wsd\"").unwrap();
        assert_eq!(recipe.train.steps, 120);
        assert_eq!(recipe.train.learning_rate, 3.0);
        assert_eq!(recipe.model.preset, "gpt2");
        assert_eq!(recipe.data.files, ["12"]);
        assert_eq!(recipe.train.schedule, ScheduleKind::Wsd);
        let error = |path, text| Recipe::default().set(path, text).unwrap_err().to_string();
        assert!(error("train.steps", "12 or so").contains("found the text \"12 or so\""));
        assert!(error("steps", "1").contains("did you mean train.steps?"));
        assert!(error("train.steps", "1\nb = 2").contains("found the text"));
    }

    #[test]
    fn checkpoints_come_with_validations() {
        let check = |steps: u64, validate_every: Option<u64>, expect: u64| {
            let mut recipe = Recipe::default();
            (recipe.train.steps, recipe.train.validate_every) = (steps, validate_every);
            recipe.complete(&mut Reasons::default()).unwrap();
            assert_eq!(
                recipe.train.checkpoint_every,
                Some(expect),
                "{steps} steps, validated every {validate_every:?}"
            );
        };
        check(2000, None, 200);
        check(20, None, 10);
        check(1, None, 1);
        check(9, None, 4);
        check(9, Some(8), 8);
        check(20, Some(4), 8);
        check(20, Some(10), 10);
        check(10_000, Some(30), 1020);
        check(1000, Some(400), 400);
        // None before the end has a loss then.
        check(1000, Some(0), 100);
        check(1000, Some(1000), 100);
        check(1000, Some(u64::MAX), 100);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut recipe = Recipe::parse(
            "[data]\nfiles = [\"a \\\"b\\\".txt\"]\n[model]\npreset = \"t5\"\nwindow = 7\n[train]\nseed = 9\noptimizer = \"muon\"\nschedule = \"wsd\"\nlearning_rate = 0.1",
        )
        .unwrap();
        let mut reasons = Reasons::default();
        recipe.complete(&mut reasons).unwrap();
        recipe.generate.stop = Some(["\n", "\"\"\"", "'", "\u{1b}# not a comment"].map(str::to_owned).into());
        reasons.add("data.files", "two\nlines");
        let text = recipe.to_toml(&reasons);
        assert_eq!(Recipe::parse(&text).unwrap(), recipe, "{text}");
        assert!(text.contains("warmup_steps = 20  # 2 % of the steps"), "{text}");
        assert!(text.contains("position = \"relative\"  # as in the preset t5"), "{text}");
        assert!(text.contains("# two lines"), "{text}");
        assert!(text.contains("learning_rate = 0.1\n"), "{text}");
        let again = Recipe::parse(&text).unwrap();
        assert_eq!(again.model.config(100).unwrap(), recipe.model.config(100).unwrap());
    }

    #[test]
    fn fine_tuning_has_tables_of_its_own() {
        let text = "[base]\npath = \"m\"\n[model]\ncontext_len = 64\n[train]\nsteps = 5\n[train.lora]\nrank = 8\n\
                    targets = [\"q_proj\"]\n[train.dpo]\nbeta = 0.2\n";
        let mut recipe = Recipe::parse(text).unwrap();
        assert_eq!((recipe.lora.rank, recipe.dpo.beta), (Some(8), Some(0.2)));
        recipe.set("train.lora.alpha", "16").unwrap();
        recipe.complete(&mut Reasons::default()).unwrap();
        let written = recipe.to_toml(&Reasons::default());
        assert_eq!(Recipe::parse(&written).unwrap(), recipe, "{written}");
        assert!(!written.contains("d_model"), "the base has its own: {written}");
        assert_eq!(recipe.keys_of_base().count(), 0);
        recipe.set("model.n_layers", "7").unwrap();
        recipe.set("tokenizer.kind", "bytes").unwrap();
        assert_eq!(recipe.keys_of_base().collect::<Vec<_>>(), ["tokenizer.kind", "model.n_layers"]);
        assert!(!Recipe::default().to_toml(&Reasons::default()).contains("lora"));
        check_error("[train.lora]\nrnak = 1", "unknown key 'rnak' in [train.lora]; did you mean 'rank'?");
        check_error("[train.lroa]\nrank = 1", "unknown key 'lroa' in [train]");
    }

    /// A key whose reading or writing were forgotten would be lost without a word.
    #[test]
    fn every_key_has_a_meaning_and_a_type() {
        let all = keys();
        assert!(all.len() > 70);
        for key in &all {
            assert!(key.summary.ends_with('.') && !key.expects().is_empty(), "{}.{}", key.table, key.name);
        }
    }

    /// Bytes of a sound recipe changed at random: an error or a recipe, never a panic.
    #[test]
    fn damaged_recipes_are_survived() {
        let mut sound = Recipe::default();
        sound.complete(&mut Reasons::default()).unwrap();
        let sound = sound.to_toml(&Reasons::default()).into_bytes();
        for case in 0..2_000 {
            let key = genera_tensor::Key::new(11).fold(case);
            let mut bytes = sound.clone();
            for change in 0..1 + key.below(0, 3) {
                let at = key.below(3 * change + 1, bytes.len() as u64) as usize;
                match key.below(3 * change + 2, 3) {
                    0 => bytes[at] = b"0123456789-.e\"[]\n =#x"[key.below(3 * change + 3, 21) as usize],
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b'9'),
                }
            }
            let Ok(recipe) = Recipe::parse(&String::from_utf8(bytes).unwrap()) else { continue };
            let _ = TrainSettings::new(&recipe.train);
            if let Ok(config) = recipe.model.config(50) {
                let plan = TrainPlan {
                    rows: recipe.train.batch_size,
                    n_losses: 1,
                    lens: Lens::longest(&config),
                    compute: DType::Bf16,
                    optimizer: recipe.train.optimizer,
                    averages: true,
                    recomputed_blocks: 0,
                    earlier: EarlierGradients::None,
                    adapters: None,
                };
                assert!(TrainMemory::of(&config, &plan).total() > 0 && flops::training(&config, plan.lens) > 0.0);
            }
        }
    }

    #[test]
    fn files_that_are_no_recipes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.toml");
        let error = |path: &Path| Recipe::load(path).unwrap_err().to_string();
        assert!(error(&path).starts_with("cannot read the recipe"));
        fs::write(&path, b"[train]\n\xff").unwrap();
        assert!(error(&path).contains("byte 8 is not UTF-8"));
        fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
        assert!(error(&path).contains("too many for a recipe"));
        fs::write(&path, "[train]\nstep = 1").unwrap();
        assert!(error(&path).contains("r.toml: unknown key 'step'"));
    }
}
