//! One form for characters that Unicode can write in several ways.

use super::{Step, Verdict, edit};
use crate::Document;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Brings text to Unicode normalisation form C, in which é is one character however it was typed.
#[derive(Clone, Copy, Debug)]
pub struct NormaliseUnicode;

impl Step for NormaliseUnicode {
    fn apply(&mut self, document: Document) -> Verdict {
        let normalise = |text: String| if is_nfc(&text) { text } else { text.nfc().collect() };
        Verdict::Keep(edit(document, normalise))
    }
}
