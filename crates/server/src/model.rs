//! A model that is served.

use crate::constraint::Grammars;
use crate::problem::Problem;
use crate::worker::Worker;
use genera_engine::config::ModelConfig;
use genera_engine::model::Transformer;
use genera_engine::params::ParamCount;
use genera_engine::recipe::GenerateRecipe;
use genera_engine::weights::SpecialIds;
use genera_modality::{Codebook, Modality};
use genera_tokens::TokenId;
use std::sync::OnceLock;

/// A model with everything that is needed to answer.
pub struct Model {
    /// What clients call it.
    pub name: String,
    /// The model.
    pub transformer: Transformer,
    /// Its tokenizer.
    pub codebook: Codebook,
    /// The kind of data it makes.
    pub modality: &'static dyn Modality,
    /// Ids that open, close and fill.
    pub special: SpecialIds,
    /// How its recipe wants answers made.
    pub defaults: GenerateRecipe,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// What its licence and data are, as far as that is known, for the page.
    pub about: Vec<(String, String)>,
}

/// What the rest of the server knows of a model; the model itself belongs to its worker.
pub struct Served {
    pub name: String,
    pub codebook: Codebook,
    pub modality: &'static dyn Modality,
    pub special: SpecialIds,
    pub defaults: GenerateRecipe,
    pub created: u64,
    pub about: Vec<(String, String)>,
    pub config: ModelConfig,
    pub n_params: usize,
    /// Tokens of prompt and answer together at most.
    pub context_len: usize,
    /// Differs between models that may answer otherwise to the same seed.
    pub fingerprint: String,
    /// Tokens that must not be made.
    pub forbidden: Vec<TokenId>,
    pub worker: Worker,
    grammars: OnceLock<Result<Grammars, String>>,
}

impl Served {
    /// Everything but the model, which `worker` owns by now.
    pub fn new(parts: Parts, context_len: usize, worker: Worker) -> Self {
        let Parts { name, codebook, modality, special, defaults, created, about, config, n_params } = parts;
        let mut forbidden = modality.grammar(&codebook).forbidden;
        forbidden.retain(|&id| (id as usize) < config.vocab_size);
        // Matrices are often padded beyond the tokens that there are.
        forbidden.extend((codebook.vocab().size..config.vocab_size).map(|id| id as TokenId));
        let fingerprint =
            format!("fp_{:012x}", codebook.fingerprint().rotate_left(17).wrapping_add(n_params as u64) >> 16);
        let grammars = OnceLock::new();
        Self {
            name,
            codebook,
            modality,
            special,
            defaults,
            created,
            about,
            config,
            n_params,
            context_len,
            fingerprint,
            forbidden,
            worker,
            grammars,
        }
    }

    /// Ids that end an answer.
    pub fn stop_ids(&self) -> Vec<TokenId> {
        let mut ids = self.special.stop_ids(&self.codebook.vocab().special);
        ids.retain(|&id| (id as usize) < self.config.vocab_size);
        ids
    }

    /// What compiles schemas and grammars for its tokens; made when first needed.
    ///
    /// # Errors
    /// 400 when the tokenizer has no end, without which an answer cannot end where a grammar does.
    pub fn grammars(&self) -> Result<&Grammars, Problem> {
        let made =
            self.grammars.get_or_init(|| Grammars::new(&self.codebook, &self.stop_ids(), self.config.vocab_size));
        made.as_ref().map_err(|message| Problem::invalid("response_format", message.as_str()))
    }
}

/// A model without its numbers.
pub struct Parts {
    name: String,
    codebook: Codebook,
    modality: &'static dyn Modality,
    special: SpecialIds,
    defaults: GenerateRecipe,
    created: u64,
    about: Vec<(String, String)>,
    config: ModelConfig,
    n_params: usize,
}

impl Model {
    /// What the worker owns, and the rest.
    pub(crate) fn split(self) -> (Transformer, Parts) {
        let Self { name, transformer, codebook, modality, special, defaults, created, about } = self;
        let (config, n_params) = (transformer.config().clone(), ParamCount::of(transformer.config()).total());
        (transformer, Parts { name, codebook, modality, special, defaults, created, about, config, n_params })
    }
}
