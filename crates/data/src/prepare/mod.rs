//! From a corpus to token shards on disk, in two passes: a survey that finds every error in the files, counts, and
//! makes the tokenizer; and the encoding, on all threads.

mod cache;
mod copies;
mod encode;
mod fit;
mod survey;

use crate::curate::{CurationSettings, Step};
use crate::encode::{Encode, TextEncoder};
use crate::split::{Rule, Split};
use crate::tokenize::{Bytes, Characters, load_tokenizer, train_bpe};
use crate::{ByteCounter, Corpus, Error, Result, Shard, SpecialTokens, Tokenizer, TokenizerSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use survey::Survey;

pub use cache::{load_prepared, load_summary};
pub use fit::{Fit, Fitting};

/// What makes an encoder of documents for a tokenizer.
pub type EncoderOf = Arc<dyn Fn(Arc<dyn Tokenizer>) -> Box<dyn Encode> + Send + Sync>;

/// What makes a step of curation, new for each pass over a corpus.
pub type StepOf = Arc<dyn Fn() -> Box<dyn Step> + Send + Sync>;

/// What is to be prepared, and how.
#[derive(Clone)]
pub struct Preparation {
    /// The documents.
    pub corpus: Arc<dyn Corpus>,
    /// Documents for validation, instead of a part of the corpus.
    pub validation: Option<Arc<dyn Corpus>>,
    /// The tokenizer to make or load.
    pub tokenizer: TokenizerSpec,
    /// Learns the values of the documents, for kinds of data that no text tokenizer can write; it then takes the place of
    /// `tokenizer`.
    pub fit: Option<Arc<dyn Fit>>,
    /// The special tokens of a tokenizer that is made; by default none for one long text, else the standard ones.
    pub special: Option<SpecialTokens>,
    /// The validation data, when there is no corpus of its own for it.
    pub split: Split,
    /// Makes what turns documents into tokens, once the tokenizer is there.
    pub encoder: EncoderOf,
    /// Which documents are edited or dropped.
    pub curation: CurationSettings,
    /// A step behind those of `curation` that knows the kind of data: what is none of it is dropped.
    pub sieve: Option<StepOf>,
    /// Number of threads; 0 for as many as the machine has.
    pub n_threads: usize,
}

impl Preparation {
    /// The steps of curation, new, as for one pass over a corpus.
    fn steps(&self) -> Vec<Box<dyn Step>> {
        let mut steps = self.curation.steps();
        steps.extend(self.sieve.as_ref().map(|sieve| sieve()));
        steps
    }
}

impl Preparation {
    /// The documents of `corpus` as they are, a tenth of them for validation.
    pub fn new(corpus: Arc<dyn Corpus>, tokenizer: TokenizerSpec) -> Self {
        Self {
            corpus,
            validation: None,
            tokenizer,
            fit: None,
            special: None,
            split: Split::Auto { fraction: 0.1 },
            encoder: Arc::new(|tokenizer| Box::new(TextEncoder::new(tokenizer))),
            curation: CurationSettings::default(),
            sieve: None,
            n_threads: 0,
        }
    }
}

/// What [`prepare`] is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading all documents once, to find errors and to count.
    Survey,
    /// Learning a vocabulary.
    TrainTokenizer,
    /// Turning documents into tokens.
    Encode,
}

/// How far [`prepare`] has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// Bytes read from disk in this stage.
    pub n_bytes: u64,
    /// Bytes to read in this stage, when known.
    pub n_bytes_total: Option<u64>,
    /// Documents read in this stage.
    pub n_documents: u64,
    /// Tokens written.
    pub n_tokens: u64,
    /// Since this stage began.
    pub elapsed: Duration,
}

impl Progress {
    /// Tokens written per second of this stage.
    pub fn tokens_per_s(&self) -> f64 {
        self.n_tokens as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// What was prepared, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The corpus by name.
    pub corpus: String,
    /// Documents for training.
    pub n_documents: u64,
    /// Documents for validation.
    pub n_validation_documents: u64,
    /// Tokens for training.
    pub n_tokens: u64,
    /// Tokens for validation.
    pub n_validation_tokens: u64,
    /// Bytes of text that the training targets stand for.
    pub n_bytes: u64,
    /// Bytes of text that the validation targets stand for.
    pub n_validation_bytes: u64,
    /// Whether the documents are pairs of a text and what is to be produced from it.
    pub has_pairs: bool,
    /// Documents dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// The first of them: where they stand, and why they were dropped.
    #[serde(default)]
    pub dropped_examples: Vec<String>,
    /// Kind of the tokenizer.
    pub tokenizer: String,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// How the validation data was chosen.
    pub split: String,
}

/// Data ready for training.
pub struct Prepared {
    /// Text to tokens and back.
    pub tokenizer: Arc<dyn Tokenizer>,
    /// The training data.
    pub train: Arc<Shard>,
    /// The validation data, if there is any.
    pub validation: Option<Arc<Shard>>,
    /// The same in numbers.
    pub summary: Summary,
    /// Whether an earlier preparation of the same data was found and used.
    pub is_reused: bool,
    /// Why an earlier preparation of the same data could not be used.
    pub notice: Option<String>,
}

impl Prepared {
    /// How many of the validation documents are training documents too, by their tokens; `None` where there are too many to look
    /// at.
    ///
    /// # Errors
    /// When the data can no longer be read.
    pub fn n_copies(&self) -> Result<Option<u64>> {
        self.validation.as_ref().map_or(Ok(Some(0)), |validation| copies::n_copies(&self.train, validation))
    }
}

/// Prepares a corpus in `directory`, or finds that this has been done before.
///
/// The directory then holds `tokenizer.json`, `tokenizer_config.json`, `train.shard`, `validation.shard` and
/// `summary.json`. What is there already is used when the files (by size and time of change) and the settings are the
/// same.
///
/// # Errors
/// When a file is missing or damaged (before anything is written), no document is left, or the disk is full.
///
/// # Determinism
/// The same files and settings give the same bytes, whichever the number of threads.
///
/// # Cost
/// Memory is bounded, however big the corpus; the files are read twice. Only one process may prepare in a directory at a
/// time: what a killed one left behind is cleared away.
pub fn prepare(preparation: &Preparation, directory: &Path, progress: &mut dyn FnMut(&Progress)) -> Result<Prepared> {
    let key = cache::key(preparation)?;
    let notice = match cache::find(directory, &key, preparation.fit.as_deref()) {
        Ok(Some(prepared)) => return Ok(prepared),
        Ok(None) => None,
        Err(error) => Some(error.to_string()),
    };
    std::fs::create_dir_all(directory).map_err(|source| Error::io(directory, "create", source))?;
    encode::Shards::clear_unfinished(directory);
    let mut report = Report::new(progress);
    let mut survey = Survey::take(preparation, &mut report)?;
    let rule = match preparation.validation {
        Some(_) => Rule::AllTraining,
        None => preparation.split.rule(survey.n_documents, survey.n_characters, survey.has_pairs)?,
    };
    report.begin(Stage::TrainTokenizer, None);
    let tokenizer = match survey.fitting.take() {
        Some(fitting) => fitting.finish()?,
        None => make_tokenizer(preparation, &survey, rule)?,
    };
    let encoder = (preparation.encoder)(tokenizer.clone());
    let shards = encode::Shards::write(preparation, directory, &*encoder, &*tokenizer, rule, &mut report)?;
    let summary = Summary {
        corpus: preparation.corpus.name(),
        has_pairs: survey.has_pairs,
        dropped: survey.dropped,
        dropped_examples: survey.dropped_examples,
        tokenizer: tokenizer.name().to_owned(),
        vocab_size: tokenizer.vocab().size,
        split: preparation
            .validation
            .as_ref()
            .map_or_else(|| rule.describe(), |corpus| format!("validation is {}", corpus.name())),
        ..shards.summary()
    };
    tokenizer.save(directory)?;
    cache::save(directory, &key, &summary)?;
    let prepared = load_prepared(directory, preparation.fit.as_deref())?;
    Ok(Prepared { is_reused: false, notice, ..prepared })
}

fn make_tokenizer(preparation: &Preparation, survey: &Survey, rule: Rule) -> Result<Arc<dyn Tokenizer>> {
    let is_one_text = survey.n_documents == 1 && !survey.has_pairs;
    let default = || if is_one_text { SpecialTokens::none() } else { SpecialTokens::standard() };
    let special = preparation.special.clone().unwrap_or_else(default);
    Ok(match &preparation.tokenizer {
        TokenizerSpec::Characters => Arc::new(Characters::new(&survey.characters(), &special)?),
        TokenizerSpec::Bytes => Arc::new(Bytes::new(&special)),
        TokenizerSpec::Bpe { vocab_size } => Arc::new(train_bpe(&survey.sample(rule), *vocab_size, &special)?),
        TokenizerSpec::File(path) => load_tokenizer(path)?,
    })
}

/// Tells of progress now and then.
struct Report<'a> {
    tell: &'a mut dyn FnMut(&Progress),
    counter: ByteCounter,
    progress: Progress,
    began: Instant,
    told: Instant,
}

impl<'a> Report<'a> {
    const INTERVAL: Duration = Duration::from_millis(100);

    fn new(tell: &'a mut dyn FnMut(&Progress)) -> Self {
        let (began, counter) = (Instant::now(), ByteCounter::default());
        let progress = Progress {
            stage: Stage::Survey,
            n_bytes: 0,
            n_bytes_total: None,
            n_documents: 0,
            n_tokens: 0,
            elapsed: Duration::ZERO,
        };
        Self { tell, counter, progress, began, told: began }
    }

    fn begin(&mut self, stage: Stage, n_bytes_total: Option<u64>) {
        self.tell();
        self.counter = ByteCounter::default();
        self.began = Instant::now();
        self.progress = Progress { stage, n_bytes_total, n_documents: 0, n_tokens: 0, ..self.progress };
        self.tell();
    }

    fn advance(&mut self, n_documents: u64, n_tokens: u64) {
        self.progress.n_documents += n_documents;
        self.progress.n_tokens += n_tokens;
        if self.told.elapsed() >= Self::INTERVAL {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.told = Instant::now();
        self.progress.n_bytes = self.counter.get();
        self.progress.elapsed = self.began.elapsed();
        (self.tell)(&self.progress);
    }
}

/// Bytes on disk of the corpus and its validation corpus.
fn n_bytes_total(preparation: &Preparation) -> Option<u64> {
    let validation = preparation.validation.as_ref().map_or(Some(0), |corpus| corpus.n_bytes());
    Some(preparation.corpus.n_bytes()? + validation?)
}

#[cfg(test)]
mod tests;
