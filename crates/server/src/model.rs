//! A model that is served.

use crate::constraint::Grammars;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::worker::Worker;
use genera_engine::config::ModelConfig;
use genera_engine::generate::{Limits, Rules};
use genera_engine::model::{Pooling, Transformer};
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
    /// Whether it was made elsewhere; then no token is forbidden for being special.
    pub is_published: bool,
    /// How its recipe or its authors want answers made, as far as they say.
    pub defaults: GenerateRecipe,
    /// What its authors ask of the tokens of every answer.
    pub rules: Rules,
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
    pub rules: Rules,
    pub created: u64,
    pub about: Vec<(String, String)>,
    pub config: ModelConfig,
    pub n_params: usize,
    /// Tokens of prompt and answer together at most.
    pub context_len: usize,
    /// Bytes of text that may fit the context: as many tokens as it has, each as long as the longest.
    pub most_bytes: usize,
    /// Differs between models that may answer otherwise to the same seed.
    pub fingerprint: String,
    /// Tokens that must not be made.
    pub forbidden: Vec<TokenId>,
    pub worker: Worker,
    /// How a text becomes a vector.
    pub pooling: Pooling,
    grammars: OnceLock<Result<Grammars, String>>,
}

impl Served {
    /// Gives the model to a worker of its own.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(model: Model, settings: &Settings) -> std::io::Result<Self> {
        let Model { name, transformer, codebook, modality, special, is_published, defaults, rules, created, about } =
            model;
        let config = transformer.config().clone();
        let pooling = transformer.pooling().cloned().unwrap_or_default();
        let n_params = ParamCount::of(&config).total();
        let context_len = settings.context_len.map_or(config.context_len, |asked| asked.min(config.context_len));
        let longest = codebook.token_bytes().iter().copied().max().unwrap_or(0).max(LEAST_LONGEST) as usize;
        let limits = generation_limits(settings, &transformer, context_len);
        let worker = Worker::start(transformer, limits, settings.n_waiting)?;
        let stop = special.stop_ids(&codebook.vocab().special, config.vocab_size);
        let mut forbidden = if is_published { Vec::new() } else { modality.grammar(&codebook).forbidden };
        forbidden.retain(|id| !stop.contains(id) && (*id as usize) < config.vocab_size);
        // Matrices are often padded beyond the tokens that there are.
        forbidden.extend((codebook.vocab().size..config.vocab_size).map(|id| id as TokenId));
        let fingerprint =
            format!("fp_{:012x}", codebook.fingerprint().rotate_left(17).wrapping_add(n_params as u64) >> 16);
        let grammars = OnceLock::new();
        Ok(Self {
            name,
            codebook,
            modality,
            special,
            defaults,
            rules,
            created,
            about,
            config,
            n_params,
            context_len,
            most_bytes: context_len.saturating_mul(longest),
            fingerprint,
            forbidden,
            worker,
            pooling,
            grammars,
        })
    }

    /// Refuses texts that cannot fit the context, before work is spent on them.
    ///
    /// # Errors
    /// 400, with both sizes.
    pub fn check_bytes(&self, n_bytes: usize, param: &str) -> Result<(), Problem> {
        if n_bytes <= self.most_bytes {
            return Ok(());
        }
        let message = format!(
            "the prompt has {n_bytes} bytes, but the context of this model holds {} tokens, which are {} bytes at most; shorten \
             the prompt",
            self.context_len, self.most_bytes
        );
        Err(Problem { code: Some("context_length_exceeded"), ..Problem::invalid(param, message) })
    }

    /// Ids that end an answer.
    pub fn stop_ids(&self) -> Vec<TokenId> {
        self.special.stop_ids(&self.codebook.vocab().special, self.config.vocab_size)
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

/// Bytes that a token is taken to have at most where none has more: texts are changed before they are cut into tokens, and may
/// become shorter.
const LEAST_LONGEST: u32 = 64;

/// Prompt tokens read in one step: few, so that answers in progress keep their pace.
const PREFILL_TOKENS: usize = 256;

/// Room for one whole context at least; half of the pages may be kept when no answer needs them.
fn generation_limits(settings: &Settings, model: &Transformer, context_len: usize) -> Limits {
    let n_pages = (settings.cache_bytes / model.page_bytes().max(1)).max(Transformer::n_pages(context_len));
    Limits { n_running: settings.n_running, n_prefill_tokens: PREFILL_TOKENS, n_pages, n_kept_pages: n_pages / 2 }
}
