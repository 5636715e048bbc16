//! What is a molecule among the documents of a file, and what is none.

use genera_chemistry::smiles::{MAX_LINE_BYTES, Prefix};
use genera_chemistry::{is_v3000, is_valid, smiles_of_block};
use genera_data::curate::{Step, Verdict};
use genera_data::{Content, Document, Piece};
use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

/// Drops documents that are no molecules, and keeps of others the SMILES alone, without the name behind it.
#[derive(Clone, Copy, Debug)]
pub struct MoleculeSieve;

impl Step for MoleculeSieve {
    fn apply(&mut self, document: Document) -> Verdict {
        if document.piece != Piece::Whole {
            return Verdict::Keep(document);
        }
        match line_of(&document).map(Cow::into_owned) {
            Ok(line) => Verdict::Keep(Document { content: Content::Text(line), ..document }),
            Err(NoMolecule { reason, detail: Some(detail) }) => Verdict::DropFor { reason, detail },
            Err(NoMolecule { reason, detail: None }) => Verdict::Drop(reason),
        }
    }
}

/// Why a document is no molecule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoMolecule {
    /// By which such documents are counted.
    pub reason: &'static str,
    /// What is known of this one: the line that is wrong.
    pub detail: Option<String>,
}

impl Display for NoMolecule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.reason),
            None => f.write_str(self.reason),
        }
    }
}

impl From<&'static str> for NoMolecule {
    fn from(reason: &'static str) -> Self {
        Self { reason, detail: None }
    }
}

/// The SMILES of a document: the first word of a line, or the canonical form of the block of a structure file. A text of several
/// lines in a column or field is such a block too.
///
/// # Errors
/// When it is no molecule: why.
pub fn line_of(document: &Document) -> Result<Cow<'_, str>, NoMolecule> {
    let text = document.as_text().filter(|_| document.target.is_none()).ok_or("no text, so no SMILES")?;
    match document.content {
        Content::Block { line, .. } => of_block(text, line),
        _ if text.trim().contains('\n') => of_block(text, 1),
        _ => of_line(text),
    }
}

fn of_block(text: &str, first_line: u64) -> Result<Cow<'_, str>, NoMolecule> {
    if is_v3000(text) {
        let detail = Some(format!("line {}", first_line + 3));
        return Err(NoMolecule { reason: "no block of MDL V2000: V3000 is not read; write V2000", detail });
    }
    let reason = "no block of a molecule (MDL V2000)";
    smiles_of_block(text, first_line).map(Cow::Owned).map_err(|detail| NoMolecule { reason, detail: Some(detail) })
}

fn of_line(text: &str) -> Result<Cow<'_, str>, NoMolecule> {
    let line = text.split_whitespace().next().ok_or("empty")?;
    if line.len() > MAX_LINE_BYTES {
        return Err("no SMILES: the line is too long".into());
    }
    match Prefix::check(line) {
        Ok(()) => Ok(Cow::Borrowed(line)),
        // The rules of the grammar are a little narrower than RDKit's.
        Err(fault) if !is_valid(line) => Err(fault.as_str().into()),
        Err(_) => Ok(Cow::Borrowed(line)),
    }
}
