//! What is a molecule among the documents of a file, and what is none.

use genera_chemistry::smiles::{MAX_LINE_BYTES, Prefix};
use genera_data::curate::{Step, Verdict};
use genera_data::{Content, Document, Piece};
use std::borrow::Cow;

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
            Err(reason) => Verdict::Drop(reason),
        }
    }
}

/// The SMILES of a document: the first word of a line, or the canonical form of the block of a structure file.
///
/// # Errors
/// When it is no molecule: why.
pub fn line_of(document: &Document) -> Result<Cow<'_, str>, &'static str> {
    let text = document.as_text().filter(|_| document.target.is_none()).ok_or("no text, so no SMILES")?;
    if text.contains("M  END") {
        return genera_chemistry::smiles_of_block(text)
            .map(Cow::Owned)
            .map_err(|_| "no block of a molecule (MDL V2000)");
    }
    let line = text.split_whitespace().next().ok_or("empty")?;
    if line.len() > MAX_LINE_BYTES {
        return Err("no SMILES: the line is too long");
    }
    match Prefix::check(line) {
        Ok(()) => Ok(Cow::Borrowed(line)),
        // The rules of the grammar are a little narrower than RDKit's.
        Err(fault) if !genera_chemistry::is_valid(line) => Err(fault.as_str()),
        Err(_) => Ok(Cow::Borrowed(line)),
    }
}
