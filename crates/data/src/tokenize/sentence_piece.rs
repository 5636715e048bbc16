//! SentencePiece's own files: a protocol buffer with the pieces, their scores, and how texts are normalised.
//!
//! Source: google/sentencepiece, `sentencepiece_model.proto`.

use super::charsmap::to_base64;
use crate::{Error, Result};
use genera_tokens::{MAX_PIECE_BYTES, merges_of_scores};
use serde_json::{Value, json};

/// A model as its file describes it.
#[derive(Debug, PartialEq)]
pub(super) struct SentencePiece {
    pub(super) pieces: Vec<Piece>,
    pub(super) algorithm: Algorithm,
    /// The piece of what the others cannot express.
    pub(super) unknown: usize,
    byte_fallback: bool,
    /// The table of characters that are written otherwise, compiled.
    charsmap: Vec<u8>,
    /// Whether texts begin as if a space stood before them.
    pub(super) has_prefix: bool,
    /// Whether several spaces count as one, and those around a text as none.
    trims: bool,
}

/// One piece of text.
#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// What a piece stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// Text.
    Normal,
    /// What the others cannot express.
    Unknown,
    /// A mark that no text writes.
    Control,
    /// Text that is cut out before anything else.
    UserDefined,
    /// Nothing.
    Unused,
    /// One byte.
    Byte,
}

/// How texts are cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The cut of the highest sum of scores.
    Unigram,
    /// Merges, the piece of the highest score first.
    BytePairs,
}

impl SentencePiece {
    /// # Errors
    /// When `bytes` are not such a file, or one that cuts texts in another way.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut model = Self {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            unknown: 0,
            byte_fallback: false,
            charsmap: Vec::new(),
            has_prefix: true,
            trims: true,
        };
        for field in Fields(bytes) {
            match field? {
                (1, Wire::Bytes(piece)) => model.pieces.push(Piece::read(piece)?),
                (2, Wire::Bytes(trainer)) => model.read_trainer(trainer)?,
                (3, Wire::Bytes(normalizer)) => model.read_normalizer(normalizer)?,
                _ => {}
            }
        }
        if model.pieces.get(model.unknown).is_none() {
            return Err(wrong("it has no piece for what the others cannot express"));
        }
        Ok(model)
    }

    fn read_trainer(&mut self, bytes: &[u8]) -> Result<()> {
        for field in Fields(bytes) {
            match field? {
                (3, Wire::Whole(1)) => self.algorithm = Algorithm::Unigram,
                (3, Wire::Whole(2)) => self.algorithm = Algorithm::BytePairs,
                (3, _) => return Err(wrong("it cuts texts into words or characters; Unigram and byte pairs are read")),
                (35, Wire::Whole(flag)) => self.byte_fallback = flag != 0,
                (40, Wire::Whole(id)) => self.unknown = usize::try_from(id).unwrap_or(usize::MAX),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, bytes: &[u8]) -> Result<()> {
        for field in Fields(bytes) {
            match field? {
                (2, Wire::Bytes(charsmap)) => self.charsmap = charsmap.to_vec(),
                (3, Wire::Whole(flag)) => self.has_prefix = flag != 0,
                (4, Wire::Whole(flag)) => self.trims = flag != 0,
                (5, Wire::Whole(0)) => return Err(wrong("it leaves spaces as they are, which no known model does")),
                _ => {}
            }
        }
        Ok(())
    }

    /// The stages of a `tokenizer.json` that write texts as the model was trained with them.
    pub(super) fn normalizers(&self) -> Vec<Value> {
        let charsmap = (!self.charsmap.is_empty())
            .then(|| json!({ "type": "Precompiled", "precompiled_charsmap": to_base64(&self.charsmap) }));
        charsmap.into_iter().collect()
    }

    /// The same with the spaces counted as one.
    pub(super) fn normalizers_of_spaces(&self) -> Vec<Value> {
        let replace = |pattern: &str, content: &str| json!({ "type": "Replace", "pattern": { "Regex": pattern }, "content": content });
        let mut all = self.normalizers();
        if self.trims {
            all.extend([replace(r"\A +| +\z", ""), replace(" {2,}", " ")]);
        }
        all
    }

    /// The `model` of a `tokenizer.json`.
    ///
    /// # Errors
    /// When there are more merges than are read.
    pub(super) fn model(&self) -> Result<Value> {
        let unknown = &self.pieces[self.unknown].text;
        Ok(match self.algorithm {
            Algorithm::Unigram => {
                let vocab: Vec<Value> = self.pieces.iter().map(|piece| json!([piece.text, piece.score])).collect();
                json!({ "type": "Unigram", "unk_id": self.unknown, "byte_fallback": self.byte_fallback, "vocab": vocab })
            }
            Algorithm::BytePairs => {
                let vocab: serde_json::Map<String, Value> =
                    self.pieces.iter().zip(0_u32..).map(|(piece, id)| (piece.text.clone(), Value::from(id))).collect();
                json!({
                    "type": "BPE", "unk_token": unknown, "fuse_unk": true, "byte_fallback": self.byte_fallback,
                    "vocab": vocab, "merges": self.merges()?,
                })
            }
        })
    }

    /// Every pair of pieces that makes a piece, by the score of what it makes. Gemma's runs of spaces are user-defined, and
    /// texts have them only once their spaces are written as U+2581.
    fn merges(&self) -> Result<Vec<[&str; 2]>> {
        let is_text = |piece: &&Piece| matches!(piece.kind, PieceKind::Normal | PieceKind::UserDefined);
        merges_of_scores(self.pieces.iter().filter(is_text).map(|piece| (piece.text.as_str(), piece.score)))
            .map_err(|problem| wrong(format!("it has {problem}")))
    }
}

impl Piece {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: PieceKind::Normal };
        for field in Fields(bytes) {
            match field? {
                (1, Wire::Bytes(text)) => {
                    if text.len() > MAX_PIECE_BYTES {
                        let n = text.len();
                        return Err(wrong(format!("it has a piece of {n} bytes; at most {MAX_PIECE_BYTES} are read")));
                    }
                    let text = str::from_utf8(text).map_err(|_| wrong("it has a piece that is not UTF-8"))?;
                    piece.text = text.to_owned();
                }
                (2, Wire::Four(bytes)) => {
                    piece.score = f32::from_le_bytes(bytes);
                    if !piece.score.is_finite() {
                        return Err(wrong(format!("the piece '{}' has the score {}", piece.text, piece.score)));
                    }
                }
                (3, Wire::Whole(kind)) => {
                    piece.kind = match kind {
                        1 => PieceKind::Normal,
                        2 => PieceKind::Unknown,
                        3 => PieceKind::Control,
                        4 => PieceKind::UserDefined,
                        5 => PieceKind::Unused,
                        6 => PieceKind::Byte,
                        other => return Err(wrong(format!("it has a piece of the unknown kind {other}"))),
                    }
                }
                _ => {}
            }
        }
        Ok(piece)
    }
}

fn wrong(problem: impl Into<String>) -> Error {
    Error::tokenizer(format!("is not a model of SentencePiece that is read here: {}", problem.into()))
}

/// The fields of a message, each with its number.
struct Fields<'b>(&'b [u8]);

/// What a field holds.
enum Wire<'b> {
    Whole(u64),
    Bytes(&'b [u8]),
    Four([u8; 4]),
    Eight,
}

impl<'b> Fields<'b> {
    fn take(&mut self, n: u64) -> Result<&'b [u8]> {
        let n = usize::try_from(n).ok().filter(|&n| n <= self.0.len());
        let (taken, rest) = self.0.split_at(n.ok_or_else(|| wrong("it is cut short, or claims too much"))?);
        self.0 = rest;
        Ok(taken)
    }

    fn whole(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(wrong("it has a number of more than ten bytes"))
    }

    fn field(&mut self) -> Result<(u64, Wire<'b>)> {
        let key = self.whole()?;
        let value = match key & 7 {
            0 => Wire::Whole(self.whole()?),
            1 => self.take(8).map(|_| Wire::Eight)?,
            2 => {
                let n = self.whole()?;
                Wire::Bytes(self.take(n)?)
            }
            5 => {
                let bytes = self.take(4)?;
                Wire::Four([bytes[0], bytes[1], bytes[2], bytes[3]])
            }
            other => return Err(wrong(format!("it has a field of the unknown type {other}"))),
        };
        Ok((key >> 3, value))
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u64, Wire<'b>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_model_are_refused() {
        for (bytes, expected) in [
            (&b""[..], "no piece for what"),
            (&[0x0a, 0x05, 0x0a, 0x01], "cut short"),
            (&[0x0a, 0x03, 0x0a, 0x01, 0xff], "not UTF-8"),
            (&[0x0b], "unknown type 3"),
            (&[0xff; 11], "more than ten bytes"),
            (&[0x0a, 0x02, 0x18, 0x09], "unknown kind 9"),
            (&[0x12, 0x02, 0x18, 0x03], "words or characters"),
        ] {
            let message = SentencePiece::read(bytes).expect_err(expected).to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
