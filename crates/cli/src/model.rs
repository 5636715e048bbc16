//! Opening a model: a run directory, a directory in the Hugging Face layout, a GGUF file, or one pulled from the hub.

use crate::base;
use crate::failure::{Failure, Outcome, While};
use crate::hub;
use crate::plan;
use crate::run::directory::RunDirectory;
use crate::scoring;
use crate::show::word;
use crate::tables::gan;
use genera_data::tokenize::Templated;
use genera_data::{ChatTemplate, Reads, export_tokenizer, has_tokenizer, load_tokenizer, tokenizer_from_json};
use genera_engine::checkpoint::{Checkpoint, Rejected, latest_good};
use genera_engine::config::Shape;
use genera_engine::generate::{Generator, Limits};
use genera_engine::model::Transformer;
use genera_engine::recipe::{GenerateRecipe, Recipe};
use genera_engine::weights::{
    AdapterSummary, GgufFacts, GgufFile, GgufModel, Origin, PublishedConfig, PublishedGeneration, Purpose, SpecialIds,
    TokenizerFiles, load_adapter, load_hf, read_config,
};
use genera_modality::{Codebook, Modality, Molecule, Table, Text, Translation, check_tokens};
use genera_tensor::quant::Format;
use genera_tensor::{DType, Device};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashSet;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// A model with everything that is needed to use it.
pub struct LoadedModel {
    /// Where it lies.
    pub place: PathBuf,
    /// The model, with its averaged weights where there are any.
    pub transformer: Transformer,
    /// Its tokenizer; a directory without one can only be asked for token ids.
    pub codebook: Option<Codebook>,
    /// The kind of data it makes.
    pub modality: &'static dyn Modality,
    /// Ids that open, close and fill.
    pub special: SpecialIds,
    /// How its recipe, or its authors, want answers made, as far as they say.
    pub defaults: GenerateRecipe,
    /// What its authors say of that; of a run, what it took over from the authors of its base.
    pub published: PublishedGeneration,
    /// The recipe it was trained by, where there is one.
    pub recipe: Option<Recipe>,
    /// Steps it was trained for, where that is known.
    pub step: Option<u64>,
}

/// Which model, and how it computes.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct ModelArguments {
    /// A run directory, one of its checkpoints, a directory in the Hugging Face layout, a GGUF file, or a pulled hf:ORG/NAME.
    #[arg(long = "model", value_name = "MODEL")]
    pub path: PathBuf,
    /// An adapter in PEFT's layout for it (LoRA), or the run that made it.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// What products are computed with.
    #[arg(long, value_name = "PRECISION", value_enum, default_value_t)]
    pub precision: Precision,
}

/// A model where one is needed.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct OptionalModel {
    /// A run directory, one of its checkpoints, a directory in the Hugging Face layout, a GGUF file, or a pulled hf:ORG/NAME.
    #[arg(long = "model", value_name = "MODEL", required_unless_present_any = ["synthetic", "samples"])]
    path: Option<PathBuf>,
    /// An adapter in PEFT's layout for it (LoRA), or the run that made it.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// What products are computed with.
    #[arg(long, value_name = "PRECISION", value_enum, default_value_t)]
    precision: Precision,
}

impl OptionalModel {
    /// The model.
    ///
    /// # Errors
    /// When none is given.
    pub fn given(&self) -> Outcome<ModelArguments> {
        let path = self.path.clone().ok_or_else(|| Failure::new("this task needs a model: --model MODEL"))?;
        Ok(ModelArguments { path, adapter: self.adapter.clone(), precision: self.precision })
    }

    /// What to call it in a message.
    pub fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "the model".to_owned(), |path| path.display().to_string())
    }
}

/// What products are computed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// Weights as they are stored, of 16 bits in 16 bits. A model in bf16 computes in bf16, one in f32 or f16 in f32; what
    /// quantised weights multiply is rounded to 8 bits.
    #[default]
    Stored,
    /// f32: all weights are widened, so that nothing is rounded any further.
    F32,
    /// bf16: weights and what they multiply are rounded to it, which is fastest where the processor multiplies bf16.
    Bf16,
    /// Weights are rounded to blocks of 8 bits while they are read, and what they multiply to 8 bits as well.
    #[value(name = "q8_0")]
    Q8_0,
    /// As q8_0, with blocks of 6 bits.
    #[value(name = "q6_k")]
    Q6K,
    /// As q8_0, with blocks of 4 bits, and the table of tokens in 8.
    #[value(name = "q4_k")]
    Q4K,
    /// As q4_k, in the oldest format: the fastest, and the coarsest.
    #[value(name = "q4_0")]
    Q4_0,
}

impl Precision {
    /// The purpose of a model that computes so.
    pub fn purpose(self) -> Purpose {
        match self {
            Precision::Stored => Purpose::UseAsStored(None),
            Precision::F32 => Purpose::Use(DType::F32),
            Precision::Bf16 => Purpose::Use(DType::Bf16),
            Precision::Q8_0 => Purpose::UseQuantised(Format::Q8_0),
            Precision::Q6K => Purpose::UseQuantised(Format::Q6K),
            Precision::Q4K => Purpose::UseQuantised(Format::Q4K),
            Precision::Q4_0 => Purpose::UseQuantised(Format::Q4_0),
        }
    }
}

impl ModelArguments {
    /// Loads the model, to be used and not to be trained.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(&self, device: &Device) -> Outcome<LoadedModel> {
        load(&self.path, self.adapter.as_deref(), self.precision.purpose(), device)
    }

    /// As [`Self::load`], for one answer to a person who waits: weights are put in order when they are used again, not before
    /// the first token.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load_to_answer(&self, device: &Device) -> Outcome<LoadedModel> {
        let purpose = match self.precision.purpose() {
            Purpose::UseAsStored(dtype) => Purpose::UseInPlace(dtype),
            other => other,
        };
        load(&self.path, self.adapter.as_deref(), purpose, device)
    }

    /// Loads another model, to compute as this one does.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load_beside(&self, path: &Path, device: &Device) -> Outcome<LoadedModel> {
        load(path, None, self.precision.purpose(), device)
    }
}

/// Loads a model, with an adapter in PEFT's layout where one is given.
///
/// # Errors
/// When there is no model at `path` or of that name, its files cannot be used, or the adapter does not fit it.
pub fn load(path: &Path, adapter: Option<&Path>, purpose: Purpose, device: &Device) -> Outcome<LoadedModel> {
    let mut model = bare(path, purpose, device)?;
    if let Some(adapter) = adapter {
        let adapter = adapter_at(adapter);
        if let Some(note) = base::note_on_adapter(&adapter, path, &model.place) {
            eprintln!("genera: {note}");
        }
        load_adapter(&mut model.transformer, &adapter)?;
    }
    Ok(model)
}

/// Where an adapter lies: a run that made one stands for it.
fn adapter_at(path: &Path) -> Cow<'_, Path> {
    let run = RunDirectory::open(path).ok().filter(|_| !AdapterSummary::is_in(path));
    let of_run = run.map(|run| run.adapter()).filter(|adapter| AdapterSummary::is_in(adapter));
    of_run.map_or(Cow::Borrowed(path), Cow::Owned)
}

/// The kind of data that a model makes, where its files say so without being read whole.
///
/// # Errors
/// When the recipe of a run cannot be read.
pub fn kind(path: &Path) -> Outcome<Option<&'static dyn Modality>> {
    let path = &*hub::locate(path)?;
    let is_run = path.join("recipe.toml").is_file();
    let run = if is_run { Some(RunDirectory::open(path)?) } else { run_of_checkpoint(path) };
    match run {
        Some(run) => Ok(Some(plan::data::modality_of(&Recipe::load(&run.recipe())?.data)?.0)),
        None => Ok(kind_of_directory(path)),
    }
}

/// A directory in the Hugging Face layout does not say what it makes, but its files do.
fn kind_of_directory(path: &Path) -> Option<&'static dyn Modality> {
    let kinds: [(&str, &dyn Modality); 2] = [("table.json", &Table), ("molecule.json", &Molecule)];
    kinds.into_iter().find(|(file, _)| path.join(file).is_file()).map(|(_, modality)| modality)
}

fn bare(path: &Path, purpose: Purpose, device: &Device) -> Outcome<LoadedModel> {
    let path = &*hub::locate(path)?;
    if gan::directory(path)?.is_some() {
        return Err(Failure::new(format!(
            "{} is a GAN: it makes rows (`genera generate`) and gives them no likelihood, so a Transformer is needed here \
             (family = \"transformer\")",
            path.display()
        )));
    }
    if path.join("recipe.toml").is_file() {
        return of_run(path, purpose, device);
    }
    if path.join("config.json").is_file() {
        return of_directory(path, purpose, device);
    }
    if let Some(run) = run_of_checkpoint(path) {
        return of_checkpoint(&run, Checkpoint::open(path)?, purpose, device);
    }
    if is_gguf(path) {
        return of_gguf(path, purpose, device);
    }
    if AdapterSummary::is_in(path) {
        return Err(Failure::new(format!(
            "{} is an adapter: name its base with --model and it with --adapter (`genera inspect` says which base)",
            path.display()
        )));
    }
    let what = if path.exists() { "holds no model" } else { "does not exist" };
    let hint = hub::meant(path).map_or_else(String::new, |name| {
        format!("; for a model of the Hugging Face hub write {}", word(Path::new(&name)))
    });
    Err(Failure::new(format!(
        "{} {what}; a model is a run directory (made by `genera train`), one of its checkpoints, a directory with \
         config.json, model.safetensors and tokenizer.json, a .gguf file, or hf:ORG/NAME once it was pulled{hint}",
        path.display()
    )))
}

/// Whether a path names a GGUF file.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// Checks that a GGUF file that is to be made will be known for one.
///
/// # Errors
/// When its name ends otherwise.
pub fn check_gguf_name(path: &Path) -> Outcome<()> {
    if is_gguf(path) { Ok(()) } else { Err(Failure::new(format!("{} should end in .gguf", path.display()))) }
}

fn of_run(path: &Path, purpose: Purpose, device: &Device) -> Outcome<LoadedModel> {
    let run = RunDirectory::open(path)?;
    let (checkpoint, rejected) = latest_good(path)?;
    warn_of_rejected(&rejected);
    let Some(checkpoint) = checkpoint else {
        return Err(Failure::new(format!(
            "{} has no checkpoint yet; the first is written after train.checkpoint_every steps or when training stops \
             (`genera resume {}` goes on with it)",
            path.display(),
            word(path)
        )));
    };
    of_checkpoint(&run, checkpoint, purpose, device)
}

/// The run that a model is of: a run directory, one of its checkpoints, or the model in it.
pub fn run_of(path: &Path) -> Option<RunDirectory> {
    let of_export = || {
        let path = path.canonicalize().ok().filter(|path| path.ends_with("model"))?;
        RunDirectory::open(path.parent()?).ok()
    };
    RunDirectory::open(path).ok().or_else(|| run_of_checkpoint(path)).or_else(of_export)
}

/// The run whose `checkpoints/` this directory lies in.
fn run_of_checkpoint(path: &Path) -> Option<RunDirectory> {
    let path = path.canonicalize().ok().filter(|path| path.join("manifest.json").is_file())?;
    RunDirectory::open(path.parent()?.parent()?).ok()
}

fn of_checkpoint(
    run: &RunDirectory,
    checkpoint: Checkpoint,
    purpose: Purpose,
    device: &Device,
) -> Outcome<LoadedModel> {
    let recipe = Recipe::load(&run.recipe())?;
    // What learned from conversations is used as its export is, which does not say so: it goes on with a text.
    let modality = scoring::as_text(plan::data::modality_of(&recipe.data)?.0);
    let codebook = modality.load_codebook(&run.data())?;
    let mut transformer = if recipe.lora.rank.is_some() {
        let mut base = base::open(&mut recipe.clone(), Some(run), purpose, device)?.ok_or_else(|| {
            Failure::new(format!("{} has adapters, but its recipe names no base", run.path().display()))
        })?;
        checkpoint.adapt(&mut base.transformer)?;
        base.transformer
    } else {
        let mut model = checkpoint.model(purpose.compute(DType::F32), device)?;
        model.set_pooling(base::pooling_of(run)?);
        model
    };
    match purpose {
        Purpose::Training(_) | Purpose::BesideAdapters(_) | Purpose::Export => {}
        Purpose::UseQuantised(format) => transformer.params_mut().freeze_as(format)?,
        Purpose::Use(_) | Purpose::UseAsStored(_) | Purpose::UseInPlace(_) => transformer.params_mut().freeze(),
    }
    let special = base::special_of(run)?;
    let special = special.unwrap_or_else(|| SpecialIds::of(&codebook.vocab().special, transformer.config()));
    let step = Some(checkpoint.manifest.step);
    let published = base::generation_of(run, &recipe, &transformer)?;
    let defaults = published.over(recipe.generate.clone().chosen());
    let (codebook, recipe) = (Some(codebook), Some(recipe));
    let place = run.path().to_owned();
    Ok(LoadedModel { place, transformer, codebook, modality, special, defaults, published, recipe, step })
}

fn of_directory(path: &Path, purpose: Purpose, device: &Device) -> Outcome<LoadedModel> {
    let PublishedConfig { special, generation: published, .. } = read_config(path)?;
    let kind = kind_of_directory(path);
    let codebook = || match kind {
        Some(modality) => modality.load_codebook(path).map(Some),
        None => has_tokenizer(path).then(|| load_tokenizer(path)).transpose().or_else(|error| {
            // Of files older than tokenizer.json not all kinds are read; ids of tokens do without.
            if path.join("tokenizer.json").is_file() {
                return Err(error);
            }
            eprintln!("genera: {}; only ids of tokens can be read and written", Failure::from(error).message());
            Ok(None)
        }),
    };
    let (transformer, codebook) = both(|| load_hf(path, device, purpose), codebook);
    let (transformer, codebook) = (transformer?, codebook?);
    check_tokenizer(path, &transformer, codebook.as_ref())?;
    let modality = match kind {
        Some(modality) => modality,
        None if transformer.config().is_encoder_decoder() => &Translation,
        None => &Text,
    };
    Ok(LoadedModel {
        place: path.to_owned(),
        transformer,
        codebook,
        modality,
        special,
        defaults: published.over(GenerateRecipe::default()),
        published,
        recipe: None,
        step: None,
    })
}

fn of_gguf(path: &Path, purpose: Purpose, device: &Device) -> Outcome<LoadedModel> {
    let mut file = GgufFile::open(path)?;
    let tokenizer = file.take_tokenizer();
    let codebook = || -> Outcome<Option<Codebook>> {
        let Some(files) = tokenizer.files()? else { return Ok(None) };
        let codebook = tokenizer_from_json(&files.tokenizer, Some(&files.config));
        codebook.map(Some).during(format!("{}: its tokenizer", path.display()))
    };
    let (model, codebook) = both(|| file.load(device, purpose), codebook);
    let (GgufModel { transformer, special, generation: published }, codebook) = (model?, codebook?);
    check_tokenizer(path, &transformer, codebook.as_ref())?;
    Ok(LoadedModel {
        place: path.to_owned(),
        transformer,
        codebook,
        modality: &Text,
        special,
        defaults: published.over(GenerateRecipe::default()),
        published,
        recipe: None,
        step: None,
    })
}

/// Refuses a tokenizer with more tokens than the model has; fewer are usual, since tables of tokens are padded. Tokens that
/// were added to it may lie beyond, such as the mask that models are trained without.
fn check_tokenizer(path: &Path, transformer: &Transformer, codebook: Option<&Codebook>) -> Outcome<()> {
    let (n_tokens, n_rows) = (codebook.map_or(0, |codebook| codebook.vocab().size), transformer.config().vocab_size);
    let Some(codebook) = codebook.filter(|_| n_tokens > n_rows) else { return Ok(()) };
    let added = added_tokens(codebook)?;
    if (n_rows..n_tokens).all(|id| added.contains(&(id as u64)) || codebook.token_text(id as u32).is_empty()) {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::new(format!(
        "{path}: its tokenizer has {n_tokens} tokens, but the model only {n_rows}; do its files belong together?"
    )))
}

/// The ids of the tokens that were added to a vocabulary, the special ones among them.
fn added_tokens(codebook: &Codebook) -> Outcome<HashSet<u64>> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        added_tokens: Vec<Added>,
    }
    #[derive(Deserialize)]
    struct Added {
        id: u64,
    }
    let file: File = serde_json::from_str(codebook.to_json())?;
    Ok(file.added_tokens.into_iter().map(|token| token.id).collect())
}

/// Does two things at the same time. Reading weights keeps one processor busy, and reading a tokenizer another.
fn both<A, B: Send>(first: impl FnOnce() -> A, second: impl FnOnce() -> B + Send) -> (A, B) {
    thread::scope(|scope| {
        let second = scope.spawn(second);
        (first(), second.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Says which checkpoints are damaged, and that an earlier one is used.
pub fn warn_of_rejected(rejected: &[Rejected]) {
    for Rejected { dir, reason } in rejected {
        let failure = Failure::new(format!("{} cannot be used ({reason}); taking the one before", dir.display()));
        eprintln!("genera: {}", failure.message());
    }
}

impl LoadedModel {
    /// The tokenizer.
    ///
    /// # Errors
    /// When the model has none.
    pub fn codebook(&self) -> Outcome<&Codebook> {
        self.codebook.as_ref().ok_or_else(|| {
            Failure::new(format!(
                "{}: the model has no tokenizer (tokenizer.json or the files that came before it beside its config.json, or in its GGUF file), so text cannot \
                 be turned into its tokens; copy the tokenizer.json of the model that it was made from there",
                self.place.display()
            ))
        })
    }

    /// Gives it the chat template in a file, in place of its own if it has one; without a file it stays as it is.
    ///
    /// # Errors
    /// When the file cannot be read, or no template has an effect on the model.
    pub fn take_template(&mut self, file: Option<&Path>) -> Outcome<()> {
        let Some(file) = file else { return Ok(()) };
        let is_encoder = matches!(self.transformer.config().shape, Shape::EncoderOnly(_));
        if is_encoder || self.modality.name() != Text.name() {
            return Err(Failure::new(format!(
                "--chat-template: without effect on {}, which does not go on with a text; leave it out",
                self.place.display()
            )));
        }
        self.codebook = Some(with_template(self.codebook()?, file)?);
        Ok(())
    }

    /// Whether it is used as models made elsewhere are: it has no recipe, and its kind of data is none of ours alone.
    pub fn is_published(&self) -> bool {
        self.recipe.is_none() && kind_of_directory(&self.place).is_none()
    }

    /// Says what its authors want of answers and do not get.
    pub fn note_of_ignored(&self) {
        let ignored = self.published.not_done();
        if !ignored.is_empty() {
            eprintln!("genera: the model's authors ask for what is not done here: {}", ignored.join(", "));
        }
    }

    /// Whether texts may be longer than it was made for. A published model goes on where its positions do, as it does
    /// elsewhere; one of one's own has learned nothing beyond.
    pub fn goes_on(&self) -> bool {
        let config = self.transformer.config();
        self.recipe.is_none() && config.longest(true) > config.context_len
    }

    /// Writes its tokenizer for other programs, if it has one.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn export_tokenizer(&self, directory: &Path) -> Outcome<()> {
        let Some(codebook) = &self.codebook else { return Ok(()) };
        Ok(export_tokenizer(&**codebook, directory, reads(&self.transformer))?)
    }

    /// Its ids with a meaning, for programs that ask no tokenizer where an answer ends.
    pub fn exported_ids(&self) -> SpecialIds {
        let n_rows = self.transformer.config().vocab_size;
        let codebook = self.codebook.as_ref();
        codebook.map_or_else(
            || self.special.clone(),
            |codebook| self.special.with_all_ends(&codebook.vocab().special, n_rows),
        )
    }

    /// What goes into a GGUF file of it beside its weights.
    pub fn gguf_facts(&self, name: &str, origin: Origin) -> GgufFacts {
        let tokenizer = self.codebook.as_ref().map(|codebook| {
            let (special, template) = (codebook.special_tokens(), codebook.chat_template());
            let config = serde_json::json!({
                "bos_token": special.begin.as_deref().or(template.and_then(ChatTemplate::begin)),
                "eos_token": special.end,
                "pad_token": special.padding,
                "unk_token": special.unknown,
                "add_bos_token": special.begin.is_some(),
                "add_eos_token": self.special.end.first().is_some_and(|&end| codebook.closing() == [end]),
                "chat_template": template.map(ChatTemplate::source),
            });
            TokenizerFiles { tokenizer: codebook.to_json().to_owned(), config: config.to_string() }
        });
        let (special, generation) = (self.special.clone(), self.published.clone());
        let name = origin.name().unwrap_or(name).to_owned();
        GgufFacts { name, special, generation, origin, tokenizer }
    }

    /// What there is to say of a GGUF file of it: without a tokenizer it is of little use.
    pub fn note_on_gguf(&self) -> Option<String> {
        self.codebook.is_none().then(|| {
            format!(
                "{} has no tokenizer, and so the file has none: llama.cpp does not open it; put the tokenizer.json of the model \
                 that it was made from beside its config.json, and write the file anew",
                self.place.display()
            )
        })
    }

    /// The weights, and what else is known of the model.
    ///
    /// # Errors
    /// When it has no tokenizer.
    pub fn split(self) -> Outcome<(Transformer, ModelFacts)> {
        let codebook = self.codebook()?.clone();
        let Self { transformer, modality, special, defaults, published, .. } = self;
        Ok((transformer, ModelFacts { codebook, modality, special, defaults, published }))
    }

    /// The model as answers need it.
    ///
    /// # Errors
    /// When it has no tokenizer.
    pub fn speaking(&self) -> Outcome<SpeakingModel<'_>> {
        let codebook = self.codebook()?;
        let model = SpeakingModel::new(&self.transformer, codebook, self.modality, &self.special);
        Ok(SpeakingModel { is_published: self.is_published(), ..model })
    }
}

/// A tokenizer with the chat template in a file.
///
/// # Errors
/// When the file cannot be read.
pub fn with_template(codebook: &Codebook, file: &Path) -> Outcome<Codebook> {
    let template = ChatTemplate::read(file, &**codebook).during("--chat-template")?;
    Ok(Arc::new(Templated::new(codebook.clone(), template)))
}

/// What stands around the texts that a model reads.
pub fn reads(transformer: &Transformer) -> Reads {
    if transformer.config().is_encoder_decoder() { Reads::Sources } else { Reads::Beginnings }
}

/// What is known of a model beside its weights, while these are being trained.
pub struct ModelFacts {
    /// Its tokenizer.
    pub codebook: Codebook,
    /// The kind of data it makes.
    pub modality: &'static dyn Modality,
    /// Ids that open, close and fill.
    pub special: SpecialIds,
    /// How its recipe, or its authors, want answers made, as far as they say.
    pub defaults: GenerateRecipe,
    /// What of that its authors say.
    pub published: PublishedGeneration,
}

/// A model with its tokenizer, ready to answer; a loaded one or one that is being trained.
#[derive(Clone)]
pub struct SpeakingModel<'m> {
    /// The model.
    pub transformer: &'m Transformer,
    /// Its tokenizer.
    pub codebook: &'m Codebook,
    /// The kind of data it makes.
    pub modality: &'m dyn Modality,
    special: &'m SpecialIds,
    is_published: bool,
    draft: Option<&'m Transformer>,
}

impl<'m> SpeakingModel<'m> {
    /// A model that is being trained.
    pub fn new(
        transformer: &'m Transformer,
        codebook: &'m Codebook,
        modality: &'m dyn Modality,
        special: &'m SpecialIds,
    ) -> Self {
        Self { transformer, codebook, modality, special, is_published: false, draft: None }
    }

    /// Lets a smaller model guess ahead.
    ///
    /// # Errors
    /// When the tokens of one are not those of the other, as far as both have them.
    pub fn with_draft(self, draft: &'m LoadedModel) -> Outcome<Self> {
        let codebook = draft.codebook()?;
        let (size, n) = (self.codebook.vocab().size, codebook.vocab().size);
        let same = |&id: &u32| self.codebook.decode(&[id]) == codebook.decode(&[id]);
        let n_same = (0..size.min(n) as u32).take_while(same).count();
        // Lists of tokens in GGUF files are as long as the tables, which are padded to different sizes.
        if n_same < size.min(n) {
            return Err(Failure::new(format!(
                "--draft: the two models have different tokens ({size} and {n}, alike up to token {n_same}); a draft model \
                 must have the tokenizer of the model that it guesses for, like a smaller one of the same family"
            )));
        }
        Ok(Self { draft: Some(&draft.transformer), ..self })
    }

    /// What answers requests.
    ///
    /// # Errors
    /// When the draft model cannot guess for the model.
    pub fn generator(&self, limits: Limits) -> Outcome<Generator<'m>> {
        let generator = Generator::new(self.transformer, limits);
        match self.draft {
            Some(draft) => Ok(generator.with_draft(draft)?),
            None => Ok(generator),
        }
    }

    /// Ids that end an answer.
    pub fn stop_ids(&self) -> Vec<u32> {
        self.special.stop_ids(&self.codebook.vocab().special, self.transformer.config().vocab_size)
    }

    /// Tokens that it never makes: of a published model none, as elsewhere; else those that its kind of data forbids, less
    /// those that end an answer.
    pub fn forbidden(&self) -> Vec<u32> {
        if self.is_published {
            return Vec::new();
        }
        let (stop, n_rows) = (self.stop_ids(), self.transformer.config().vocab_size);
        let mut ids = self.modality.grammar(self.codebook).forbidden;
        ids.retain(|id| !stop.contains(id) && (*id as usize) < n_rows);
        ids
    }

    /// Refuses tokens of a prompt that its tokenizer has and it has not.
    ///
    /// # Errors
    /// When there is one: which, and who wrote it.
    pub fn check_tokens(&self, ids: &[u32], prompt: &str) -> Outcome<()> {
        let n_rows = self.transformer.config().vocab_size;
        Ok(check_tokens(self.codebook, ids, n_rows, |token| prompt.contains(token))?)
    }

    /// What the decoder of an encoder-decoder reads first.
    ///
    /// # Errors
    /// As [`SpecialIds::decoder_opening`].
    pub fn decoder_start(&self) -> Outcome<u32> {
        Ok(self.special.decoder_opening(self.transformer.config().vocab_size)?)
    }

    /// How many of these tokens stand for something that the vocabulary lacks.
    pub fn n_unknown(&self, ids: &[u32]) -> usize {
        let unknown = self.codebook.vocab().special.unknown;
        ids.iter().filter(|&&id| Some(id) == unknown).count()
    }

    /// The tokens of a prompt in which the names of special tokens stand for these, such as a mask or marks around a gap.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_with_special(&self, prompt: &str) -> Outcome<Vec<u32>> {
        let ids = self.codebook.encode_with_special(prompt)?;
        let empty = self.encode("")?;
        let is_closed = self.modality.is_paired() || matches!(self.transformer.config().shape, Shape::EncoderOnly(_));
        // What stands before a text stands before an empty one too, and behind that something else.
        let n_before = |some: Vec<u32>| empty.iter().zip(&some).take_while(|(a, b)| a == b).count();
        let n_before = if is_closed { self.encode("a").map_or(0, n_before) } else { empty.len() };
        let (before, after) = empty.split_at(n_before);
        // Who writes them out does not want them twice.
        let before = if ids.starts_with(before) { &[] } else { before };
        let after = if ids.ends_with(after) { &[] } else { after };
        Ok([before, &ids, after].concat())
    }

    /// The tokens of a prompt.
    ///
    /// # Errors
    /// When the vocabulary lacks a character of it.
    pub fn encode(&self, prompt: &str) -> Outcome<Vec<u32>> {
        Ok(match self.transformer.config().shape {
            Shape::EncoderOnly(_) => self.codebook.encode_framed(prompt)?,
            _ => self.modality.encode_prompt(self.codebook, prompt)?,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
