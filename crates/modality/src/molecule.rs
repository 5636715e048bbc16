//! Molecules: lines of SMILES, each symbol a token.
//!
//! ```text
//! begin │ logp 17 │ qed any │ C │ C │ ( │ = │ O │ ) │ N │ c │ 1 │ … │ 1 │ end
//! ```
//! In front may stand a token for each property of the molecule that a model is to be asked for: its bin among the quantiles of
//! the training data, or a token that says nothing of it. Training leaves out any of them ([`PropertyChoice`]), so that one
//! model serves every question.
//!
//! Read `molecule/codebook.rs` first; `molecule/grammar.rs` says what may come next, by the rules of `genera_chemistry::smiles`.

mod codebook;
mod demo;
mod fit;
mod grammar;
mod input;
mod property;
mod settings;
mod sieve;
#[cfg(test)]
mod tests;

pub use codebook::MoleculeCodebook;
pub use fit::MoleculeFit;
pub use grammar::MoleculeGrammar;
pub use property::{PropertyBins, PropertyChoice};
pub use settings::{Encoding, MoleculeSettings};
pub use sieve::{MoleculeSieve, line_of};

use crate::{Artifact, Codebook, Demo, Grammar, Input, Modality, Preview, frame_tokens};
use genera_data::prepare::{Fit, StepOf};
use genera_data::{Document, Error, Result, Vary};
use genera_engine::generate::Constraint;
use genera_tokens::{TokenId, TokenSeq};
use serde_json::{Map, Value};
use std::any::Any;
use std::path::Path;
use std::sync::Arc;

/// How decidedly properties are asked for where nothing is said: as [`Guidance::scale`](genera_engine::generate::Guidance).
pub const GUIDANCE: f32 = 2.0;

/// Molecules.
#[derive(Clone, Copy, Debug)]
pub struct Molecule;

/// Pixels of a drawing, across and down.
const PREVIEW: [f64; 2] = [260.0, 200.0];

const DEMOS: &[Demo] = &[Demo {
    name: "small-molecules",
    about: "small molecules made by rule: a ring, a chain and what hangs on them",
    make: demo::molecule,
}];

/// The codebook of molecules behind that of any kind of data.
///
/// # Errors
/// When it is another kind's.
pub fn of(codebook: &Codebook) -> Result<&MoleculeCodebook> {
    let any: &dyn Any = &**codebook;
    any.downcast_ref().ok_or_else(|| Error::Settings {
        problem: format!("the {} tokenizer knows no molecules; expected a codebook of molecules", codebook.name()),
    })
}

impl Modality for Molecule {
    fn name(&self) -> &'static str {
        "molecule"
    }

    fn about(&self) -> &'static str {
        "molecules as SMILES, to be made anew, from a fragment, or with wanted properties"
    }

    fn media_types(&self) -> &'static [&'static str] {
        &["chemical/x-daylight-smiles", "chemical/x-mdl-sdfile", "text/csv"]
    }

    fn is_paired(&self) -> bool {
        false
    }

    fn demos(&self) -> &'static [Demo] {
        DEMOS
    }

    fn fit(&self, settings: &crate::Settings) -> Option<Arc<dyn Fit>> {
        Some(Arc::new(MoleculeFit::new(settings.molecule.clone())))
    }

    fn sieve(&self) -> Option<StepOf> {
        Some(Arc::new(|| Box::new(MoleculeSieve)))
    }

    fn load_codebook(&self, directory: &Path) -> Result<Codebook> {
        Ok(Arc::new(MoleculeCodebook::load(directory)?))
    }

    fn vary(&self, codebook: &Codebook) -> Option<Arc<dyn Vary>> {
        let choice = PropertyChoice::new(of(codebook).ok()?)?;
        Some(Arc::new(choice))
    }

    fn encode(&self, codebook: &Codebook, document: &Document) -> Result<TokenSeq> {
        let line = line_of(document)
            .map_err(|reason| Error::Settings { problem: format!("{}: {reason}", document.origin.place()) })?;
        of(codebook)?.encode_molecule(&line).map(TokenSeq::target)
    }

    /// A beginning of a line of SMILES, of which every molecule is to be made; nothing for any molecule.
    fn encode_prompt(&self, codebook: &Codebook, prompt: &str) -> Result<Vec<TokenId>> {
        of(codebook)?.encode_beginning(prompt.trim(), &[])
    }

    fn input_schema(&self, codebook: &Codebook) -> Value {
        of(codebook).map_or(Value::Bool(false), input::schema)
    }

    fn read_input(&self, codebook: &Codebook, asked: &Map<String, Value>) -> Result<Input> {
        input::read(codebook, asked)
    }

    fn value(&self, codebook: &Codebook, target: &[TokenId], _index: u64) -> Option<Value> {
        input::value(&codebook.decode(target))
    }

    fn decode(&self, codebook: &Codebook, target: &[TokenId]) -> Artifact {
        Artifact { media_type: "chemical/x-daylight-smiles", bytes: codebook.decode(target).into_bytes() }
    }

    fn grammar(&self, codebook: &Codebook) -> Grammar {
        let mut forbidden = frame_tokens(codebook);
        forbidden.extend(of(codebook).map(MoleculeCodebook::property_tokens).unwrap_or_default());
        Grammar { forbidden }
    }

    fn constraint(&self, codebook: &Codebook) -> Option<Box<dyn Constraint>> {
        MoleculeGrammar::new(codebook, &[]).ok().map(|grammar| Box::new(grammar) as Box<dyn Constraint>)
    }

    fn key(&self, text: &str) -> String {
        let molecule = genera_chemistry::Molecule::parse(text);
        molecule.map_or_else(|| text.to_owned(), |molecule| molecule.canonical().to_owned())
    }

    fn preview(&self, artifact: &Artifact) -> Preview {
        let text = artifact.as_text();
        match genera_chemistry::Molecule::parse(&text).and_then(|molecule| molecule.picture(PREVIEW)) {
            Some(picture) => Preview::Svg(picture),
            None => Preview::Text(text),
        }
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["nats_per_token", "bits_per_byte", "token_accuracy"]
    }
}
