//! One file per kind of data: how it becomes tokens, and how tokens become something a person can read or see.
//!
//! [`ALL`] lists them; names on the command line, pages of the reference and the tests of the laws iterate over it.
//! Start with the trait [`Modality`], then read `text.rs`.
//!
//! # The laws, tested for every member
//! - decoding what was encoded gives the document back;
//! - what the grammar allows decodes;
//! - hostile input gives an error, never a panic;
//! - ids stay inside the vocabulary.

mod answer;
mod chat;
pub mod demo;
mod input;
pub mod molecule;
mod preference;
pub mod table;
mod text;
mod translation;

pub use answer::AnswerStream;
pub use chat::Chat;
pub use input::Input;
pub use molecule::Molecule;
pub use preference::{Preference, REJECTED};
pub use table::Table;
pub use text::Text;
pub use translation::Translation;

use genera_data::prepare::{EncoderOf, Fit, StepOf};
use genera_data::{Document, Encode, Error, Result, Tokenizer, Vary, load_tokenizer};
use genera_engine::generate::Constraint;
use genera_tokens::{TokenId, TokenSeq};
use molecule::MoleculeSettings;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;
use table::TableSettings;

/// Every kind of data.
pub const ALL: &[&dyn Modality] = &[&Text, &Translation, &Chat, &Preference, &Table, &Molecule];

/// The kind of data of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Modality> {
    ALL.iter().copied().find(|modality| modality.name() == name)
}

/// The kind of data that has a built-in demo source of this name, and the source.
pub fn demo_by_name(name: &str) -> Option<(&'static dyn Modality, &'static Demo)> {
    let of = |modality: &'static dyn Modality| {
        let demo = modality.demos().iter().find(|demo| demo.name == name)?;
        Some((modality, demo))
    };
    ALL.iter().copied().find_map(of)
}

/// How the kinds of data are to take what they are given; each looks at its own part.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The columns of tables.
    pub table: TableSettings,
    /// How molecules are written.
    pub molecule: MoleculeSettings,
}

/// What a kind of data learned about its values before training: for text its tokenizer, for tables their columns.
pub type Codebook = Arc<dyn Tokenizer>;

/// A kind of data with its codebook: turns documents into tokens.
pub struct Encoder {
    modality: &'static dyn Modality,
    codebook: Codebook,
    /// Tokens of the model that is to learn from them, where there may be fewer than the codebook has.
    n_rows: Option<usize>,
}

impl Encoder {
    /// What makes such an encoder, once the codebook is there. Tokens beyond `n_rows` are refused.
    pub fn of(modality: &'static dyn Modality, n_rows: Option<usize>) -> EncoderOf {
        Arc::new(move |codebook| Box::new(Self { modality, codebook, n_rows }))
    }
}

impl Encode for Encoder {
    fn encode(&self, document: &Document) -> Result<TokenSeq> {
        let sequence = self.modality.encode(&self.codebook, document)?;
        if let Some(n_rows) = self.n_rows {
            let texts = || [document.as_text(), document.target.as_deref(), document.field(REJECTED)];
            let is_written = |token: &str| texts().into_iter().flatten().any(|text| text.contains(token));
            check_tokens(&self.codebook, sequence.ids(), n_rows, is_written)
                .map_err(|error| chat::of_document(error, document))?;
        }
        Ok(sequence)
    }
}

/// Refuses tokens that a tokenizer has and its model, of `n_rows`, has not. `is_written` tells whether the name of a token
/// stands in the text that they are of.
///
/// # Errors
/// When there is one: which, and who wrote it.
pub fn check_tokens(
    codebook: &Codebook,
    ids: &[TokenId],
    n_rows: usize,
    is_written: impl Fn(&str) -> bool,
) -> Result<()> {
    let Some(&id) = ids.iter().find(|&&id| id as usize >= n_rows) else { return Ok(()) };
    let token = codebook.token_text(id);
    let advice = match codebook.chat_template() {
        _ if is_written(&token) => "leave it out",
        Some(template) if template.source().contains(&token) => {
            "the chat template writes it: give the model another one, or take a model that has the token"
        }
        _ => "the tokenizer writes it around texts: give the model another one, or take a model that has the token",
    };
    let problem = format!("the token {token:?} ({id}) is beyond the {n_rows} that the model has learned; {advice}");
    Err(Error::Settings { problem })
}

/// Something a person can read, see or hear, with its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Such as `text/plain`.
    pub media_type: &'static str,
    /// The file's bytes.
    pub bytes: Vec<u8>,
}

impl Artifact {
    /// A plain text.
    pub fn text(text: String) -> Self {
        Self { media_type: "text/plain", bytes: text.into_bytes() }
    }

    /// The bytes as text; what is not UTF-8 shows as U+FFFD.
    pub fn as_text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// An artifact in the form that a terminal or a page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preview {
    /// Text as it is.
    Text(String),
    /// A drawing: a whole SVG picture.
    Svg(String),
}

/// A built-in source of documents made by rule, so that a first run needs no download.
#[derive(Clone, Copy, Debug)]
pub struct Demo {
    /// Its name in a recipe's `data.kind` and on the command line.
    pub name: &'static str,
    /// One sentence on what it makes.
    pub about: &'static str,
    /// Document `index` of the source with this seed.
    pub make: fn(seed: u64, index: u64) -> Document,
}

/// Which tokens a model may produce next, beyond what the engine knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// Ids that never stand in what is generated.
    pub forbidden: Vec<TokenId>,
}

/// One kind of data and its two-way road to tokens.
pub trait Modality: Sync {
    /// Its name: in recipes, on the command line, as a vocabulary span.
    fn name(&self) -> &'static str;

    /// One sentence on what it is for.
    fn about(&self) -> &'static str;

    /// How its files are recognised.
    fn media_types(&self) -> &'static [&'static str];

    /// Whether its documents have a part that is given and a part that is to be produced, so that an encoder-decoder
    /// suits it.
    fn is_paired(&self) -> bool;

    /// Whether what it makes goes on with the prompt, so that both are read as one text.
    fn goes_on(&self) -> bool {
        false
    }

    /// Built-in sources of documents.
    fn demos(&self) -> &'static [Demo];

    /// What learns the values of its documents before they can be written as tokens; none where a text tokenizer writes them.
    fn fit(&self, _settings: &Settings) -> Option<Arc<dyn Fit>> {
        None
    }

    /// What drops, with a reason, documents that are none of its kind, and brings others to their form.
    fn sieve(&self) -> Option<StepOf> {
        None
    }

    /// Reads the codebook that a preparation has left in `directory`.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    fn load_codebook(&self, directory: &Path) -> Result<Codebook> {
        load_tokenizer(directory)
    }

    /// What rewrites documents each time they are learned from; none where they stay as they are.
    fn vary(&self, _codebook: &Codebook) -> Option<Arc<dyn Vary>> {
        None
    }

    /// A document as tokens: what is given, then what is to be produced.
    ///
    /// # Errors
    /// When the document lacks a part or the codebook cannot express it.
    fn encode(&self, codebook: &Codebook, document: &Document) -> Result<TokenSeq>;

    /// What a person gives to get something made, as tokens: the beginning of a text, or a source sentence.
    ///
    /// # Errors
    /// When the codebook cannot express it.
    fn encode_prompt(&self, codebook: &Codebook, prompt: &str) -> Result<Vec<TokenId>>;

    /// The JSON Schema of what may be asked for: what a form asks a person for, and what a program sends.
    fn input_schema(&self, _codebook: &Codebook) -> Value {
        if self.is_paired() {
            input::of_text("Source", "What is to be answered.", true)
        } else {
            input::of_text("Beginning", "What to go on from; nothing for a new one.", false)
        }
    }

    /// Reads what is asked for by [`Modality::input_schema`].
    ///
    /// # Errors
    /// When it is not as the schema says, or the codebook cannot express it.
    fn read_input(&self, codebook: &Codebook, input: &Map<String, Value>) -> Result<Input> {
        let prompt = self.encode_prompt(codebook, input::text_of(input)?)?;
        Ok(Input { prompt, given: Vec::new(), guidance: None, constraint: None })
    }

    /// The parts of what was made as JSON, where it has parts. `index` counts what is made at a time.
    fn value(&self, _codebook: &Codebook, _target: &[TokenId], _index: u64) -> Option<Value> {
        None
    }

    /// What a person wants of the tokens that were produced.
    fn decode(&self, codebook: &Codebook, target: &[TokenId]) -> Artifact;

    /// What a model may never produce.
    fn grammar(&self, codebook: &Codebook) -> Grammar;

    /// What a model may produce next, token by token, where that depends on what came before: one for each answer.
    fn constraint(&self, _codebook: &Codebook) -> Option<Box<dyn Constraint>> {
        None
    }

    /// What two artifacts have in common that are the same, however they are written.
    fn key(&self, text: &str) -> String {
        text.to_owned()
    }

    /// How an artifact is shown.
    fn preview(&self, artifact: &Artifact) -> Preview;

    /// Names of the measures in `genera_eval::metric` that fit.
    fn metrics(&self) -> &'static [&'static str];
}

/// What a model goes on from that is given nothing and has no token to begin with: a line break, as between two documents.
///
/// # Errors
/// When the codebook has neither a line break nor a space.
pub fn opening(codebook: &Codebook) -> Result<Vec<TokenId>> {
    codebook.encode("\n").or_else(|_| codebook.encode(" "))
}

/// The special tokens but the end: they frame and fill, and are never part of what is made.
fn frame_tokens(codebook: &Codebook) -> Vec<TokenId> {
    let special = codebook.vocab().special;
    let mut ids: Vec<TokenId> = [special.padding, special.begin, special.unknown].into_iter().flatten().collect();
    ids.retain(|&id| Some(id) != special.end);
    ids
}

#[cfg(test)]
mod tests;
