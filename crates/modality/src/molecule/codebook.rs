//! The symbols of molecules with an id for each.

use super::property::PropertyBins;
use super::settings::{Encoding, settings};
use genera_chemistry::smiles::Symbol;
use genera_chemistry::{Molecule as Structure, Property};
use genera_data::{Error, Result, SpecialTokens, TextStream, Tokenizer, write_atomically};
use genera_engine::generate::Guidance;
use genera_tokens::{Special, TokenId, Vocab};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

/// The file that a codebook is kept in.
pub(super) const FILE: &str = "molecule.json";

/// Longest such file that is read.
const MAX_FILE_BYTES: u64 = 1 << 24;

/// Most symbols of a codebook.
const MAX_SYMBOLS: usize = 1 << 16;

pub(super) const PADDING: TokenId = 0;
pub(super) const BEGIN: TokenId = 1;
pub(super) const END: TokenId = 2;
/// Stands for a symbol that the training data did not have.
pub(super) const UNKNOWN: TokenId = 3;
/// Stands in the place of a property and says nothing of it.
pub(super) const ANY: TokenId = 4;
const FIRST: TokenId = 5;

/// What is written of a codebook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    #[serde(default)]
    encoding: Encoding,
    symbols: Vec<String>,
    #[serde(default)]
    properties: Vec<PropertyBins>,
}

/// The symbols of molecules with an id for each.
#[derive(Clone, Debug)]
pub struct MoleculeCodebook {
    stored: Stored,
    ids: HashMap<String, TokenId>,
    meanings: Vec<Option<Symbol>>,
    /// The first id of each property, and of the symbols.
    first: Vec<TokenId>,
    known: Vec<Property>,
    vocab: Vocab,
    special: SpecialTokens,
    json: String,
}

impl MoleculeCodebook {
    /// A codebook of these symbols and properties.
    ///
    /// # Errors
    /// When there is no symbol, too many, or a property is unknown or its bins do not ascend.
    pub fn new(encoding: Encoding, symbols: BTreeSet<String>, properties: Vec<PropertyBins>) -> Result<Self> {
        Self::of(Stored { encoding, symbols: symbols.into_iter().collect(), properties })
    }

    fn of(stored: Stored) -> Result<Self> {
        let n_symbols = stored.symbols.len();
        if n_symbols == 0 || n_symbols > MAX_SYMBOLS {
            return Err(settings(format!("{n_symbols} symbols of molecules; expected 1 to {MAX_SYMBOLS}")));
        }
        let known = stored.properties.iter().map(|bins| super::settings::property(&bins.property));
        let known = known.collect::<Result<Vec<Property>>>()?;
        if let Some(bins) = stored.properties.iter().find(|bins| !bins.is_sound()) {
            return Err(settings(format!("the bins of {:?} do not ascend", bins.property)));
        }
        let mut next = FIRST;
        let mut first = Vec::new();
        for bins in &stored.properties {
            first.push(next);
            next += bins.n_bins() as TokenId;
        }
        first.push(next);
        let ids: HashMap<String, TokenId> = stored.symbols.iter().cloned().zip(next..).collect();
        if ids.len() < n_symbols {
            return Err(settings("two symbols of molecules are the same"));
        }
        let is_smiles = stored.encoding == Encoding::Smiles;
        let meanings = stored.symbols.iter().map(|text| Symbol::parse(text).filter(|_| is_smiles)).collect();
        let special = Special { padding: Some(PADDING), begin: Some(BEGIN), end: Some(END), unknown: Some(UNKNOWN) };
        let json = serde_json::to_string(&stored).map_err(|error| settings(format!("molecules: {error}")))?;
        let vocab = Vocab::single("molecule", next as usize + n_symbols, special);
        Ok(Self { stored, ids, meanings, first, known, vocab, special: SpecialTokens::standard(), json })
    }

    /// Reads what was written by [`Tokenizer::save`].
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn load(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let bad = |problem: String| Error::BadFile { path: path.clone(), problem };
        let metadata = std::fs::metadata(&path).map_err(|_| Error::Missing { path: path.clone() })?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(bad(format!("{} bytes are too many for the symbols of molecules", metadata.len())));
        }
        let bytes = std::fs::read(&path).map_err(|error| bad(error.to_string()))?;
        Self::from_json(&bytes).map_err(|error| bad(error.to_string()))
    }

    /// Reads a codebook as it is written.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let stored: Stored = serde_json::from_slice(json)
            .map_err(|error| settings(format!("is not the codebook of molecules ({error}); prepare the data again")))?;
        Self::of(stored)
    }

    /// The properties that can be asked for, with their bins.
    pub fn properties(&self) -> impl ExactSizeIterator<Item = (Property, &PropertyBins)> {
        self.known.iter().copied().zip(&self.stored.properties)
    }

    /// How molecules become symbols.
    pub fn encoding(&self) -> Encoding {
        self.stored.encoding
    }

    /// The symbols, in the order of their ids.
    pub fn symbols(&self) -> &[String] {
        &self.stored.symbols
    }

    pub(super) fn first_symbol(&self) -> TokenId {
        *self.first.last().expect("the first symbol is always there")
    }

    /// What a token stands for; `None` for those that are no symbol of SMILES.
    pub(super) fn meaning(&self, id: TokenId) -> Option<Symbol> {
        *self.meanings.get(id.checked_sub(self.first_symbol())? as usize)?
    }

    fn symbol(&self, id: TokenId) -> Option<&str> {
        self.stored.symbols.get(id.checked_sub(self.first_symbol())? as usize).map(String::as_str)
    }

    /// The tokens that say something, or nothing, of properties.
    pub(super) fn property_tokens(&self) -> Vec<TokenId> {
        (ANY..self.first_symbol()).collect()
    }

    /// The tokens of a whole molecule with its properties in front.
    ///
    /// # Errors
    /// When the line holds something that is no symbol.
    pub fn encode_molecule(&self, line: &str) -> Result<Vec<TokenId>> {
        let mut ids = vec![BEGIN];
        if !self.known.is_empty() {
            let structure = Structure::parse(line);
            ids.extend(self.properties().zip(&self.first).map(|((property, bins), &first)| match &structure {
                Some(structure) => first + bins.bin(property.of(structure)) as TokenId,
                None => ANY,
            }));
        }
        ids.extend(self.encode(line)?);
        ids.push(END);
        Ok(ids)
    }

    /// The tokens that a molecule begins with which is to have these properties, and to go on from this line.
    ///
    /// # Errors
    /// When the model did not learn a property, no molecule or none that it saw has such a value of it, or it is asked for twice, or
    /// the line holds a symbol that the model does not know.
    pub fn encode_beginning(&self, line: &str, wanted: &[(Property, f64)]) -> Result<Vec<TokenId>> {
        if let Some((unknown, _)) = wanted.iter().find(|(property, _)| !self.known.contains(property)) {
            let known: Vec<&str> = self.known.iter().map(|property| property.name()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(settings(format!(
                "the model did not learn to be asked for {}; it learned {known} (molecule.properties of its recipe)",
                unknown.name()
            )));
        }
        wanted.iter().try_for_each(|(property, value)| property.check_value(*value).map_err(settings))?;
        let mut ids = vec![BEGIN];
        for ((property, bins), &first) in self.properties().zip(&self.first) {
            let values = wanted.iter().filter(|(known, _)| *known == property).map(|(_, value)| *value);
            ids.push(wanted_bin(bins, values)?.map_or(ANY, |bin| first + bin as TokenId));
        }
        let rest = self.encode(line)?;
        if rest.contains(&UNKNOWN) {
            let unknown =
                self.stored.encoding.symbols(line)?.into_iter().find(|symbol| !self.ids.contains_key(&**symbol));
            let unknown = unknown.unwrap_or_default();
            let known = self.symbols().join(" ");
            return Err(settings(format!("the model learned from no molecule with {unknown:?}; it knows {known}")));
        }
        ids.extend(rest);
        Ok(ids)
    }

    /// What leads molecules with this beginning toward the properties in it, so decidedly; nothing where it has none.
    ///
    /// # Errors
    /// As [`Self::encode_beginning`] of the line alone.
    pub fn guidance(&self, beginning: &[TokenId], line: &str, scale: f32) -> Result<Option<Guidance>> {
        let prompt = self.encode_beginning(line, &[])?;
        Ok((prompt != beginning).then_some(Guidance { scale, prompt }))
    }
}

/// The bin of the one value that is wanted of a property; `None` where none is.
///
/// # Errors
/// When there are several, or it lies beyond what is known to have been seen, where the outer bins would stand for another value.
fn wanted_bin(bins: &PropertyBins, mut values: impl Iterator<Item = f64>) -> Result<Option<usize>> {
    let (name, Some(value)) = (&bins.property, values.next()) else { return Ok(None) };
    if let Some(other) = values.next() {
        return Err(settings(format!("{name} is asked for twice, as {value} and as {other}; give it one value")));
    }
    let (least, greatest) = bins.range();
    if !(least..=greatest).contains(&value) {
        return Err(settings(format!(
            "{name} = {value} is nothing that the model learned: those of its training molecules that were looked at go from \
             {least} to {greatest}; ask for a value between"
        )));
    }
    Ok(Some(bins.bin(value)))
}

impl Tokenizer for MoleculeCodebook {
    fn name(&self) -> &'static str {
        "molecule"
    }

    fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// The tokens of a line of SMILES; those that the training data did not have are unknown.
    fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let id = |symbol: Cow<'_, str>| self.ids.get(&*symbol).copied().unwrap_or(UNKNOWN);
        Ok(self.stored.encoding.symbols(text)?.into_iter().map(id).collect())
    }

    fn decode(&self, ids: &[TokenId]) -> String {
        self.stored.encoding.line(ids.iter().filter_map(|&id| self.symbol(id)))
    }

    fn stream(&self) -> Box<dyn TextStream + '_> {
        Box::new(SymbolStream { codebook: self, ids: Vec::new() })
    }

    fn token_text(&self, id: TokenId) -> String {
        if let Some(symbol) = self.symbol(id) {
            return symbol.to_owned();
        }
        if id >= FIRST
            && let Some(i) = self.first.iter().rposition(|&first| first <= id)
            && let Some(bins) = self.stored.properties.get(i)
        {
            return format!("<{} {}>", bins.property, id - self.first[i]);
        }
        let names = ["<pad>", "<begin>", "<end>", "<unknown>", "<any>"];
        names.get(id as usize).map_or_else(String::new, |name| (*name).to_owned())
    }

    fn token_content(&self, id: TokenId) -> Vec<u8> {
        self.symbol(id).unwrap_or_default().as_bytes().to_vec()
    }

    fn token_bytes(&self) -> Arc<[u32]> {
        (0..self.vocab.size as TokenId).map(|id| self.symbol(id).map_or(0, str::len) as u32).collect()
    }

    fn to_json(&self) -> &str {
        &self.json
    }

    fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    fn special_names(&self) -> Vec<(TokenId, String)> {
        (0..FIRST).map(|id| (id, self.token_text(id))).collect()
    }

    fn save(&self, directory: &Path) -> Result<()> {
        write_atomically(&directory.join(FILE), self.json.as_bytes())
    }
}

struct SymbolStream<'c> {
    codebook: &'c MoleculeCodebook,
    /// Symbols that are SMILES only once all are there.
    ids: Vec<TokenId>,
}

impl TextStream for SymbolStream<'_> {
    fn push(&mut self, id: TokenId) -> String {
        if self.codebook.stored.encoding == Encoding::Smiles {
            return self.codebook.symbol(id).unwrap_or_default().to_owned();
        }
        self.ids.push(id);
        String::new()
    }

    fn finish(&mut self) -> String {
        if self.ids.is_empty() { String::new() } else { self.codebook.decode(&std::mem::take(&mut self.ids)) }
    }
}
