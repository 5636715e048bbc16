//! SentencePiece's compiled table of characters that are written otherwise, looked through before it is used: the `tokenizers`
//! crate panics at one that is damaged.
//!
//! A table is the size of a tree in bytes, the tree as a double array of 32-bit units, and the texts that its leaves point into,
//! each closed by a zero byte.
//!
//! Source: google/sentencepiece, `normalizer.cc`; darts-clone, `darts.h`.

use serde_json::Value;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes in base64 (RFC 4648, section 4).
pub(super) fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// The bytes that a text in base64 stands for, if [`to_base64`] would write them so.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for four in digits.chunks(4) {
        let mut bits = 0;
        for digit in four {
            bits = bits << 6 | DIGITS.iter().position(|known| known == digit)? as u32;
        }
        let [_, three @ ..] = (bits << (6 * (4 - four.len()))).to_be_bytes();
        bytes.extend_from_slice(&three[..four.len() - 1]);
    }
    (to_base64(&bytes) == text).then_some(bytes)
}

/// Whether every table among the stages of a normalizer can be used.
pub(super) fn are_sound(normalizer: &Value) -> bool {
    if let Some(stages) = normalizer["normalizers"].as_array() {
        return stages.iter().all(are_sound);
    }
    if normalizer["type"] != "Precompiled" {
        return true;
    }
    let table = normalizer["precompiled_charsmap"].as_str().and_then(from_base64);
    table.is_some_and(|table| is_sound(&table).is_some())
}

/// Follows every path through the tree: all stay within it, and all leaves within the texts.
fn is_sound(table: &[u8]) -> Option<()> {
    let (size, rest) = table.split_first_chunk::<4>()?;
    let n_bytes = u32::from_le_bytes(*size) as usize / 4 * 4;
    let (tree, texts) = rest.split_at_checked(n_bytes)?;
    let texts = str::from_utf8(texts).ok()?;
    let units: Vec<u32> =
        tree.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])).collect();
    let offset = |unit: u32| ((unit >> 10) as usize) << ((unit & (1 << 9)) >> 6);
    let mut is_seen = vec![false; units.len()];
    let mut bases = vec![offset(*units.first()?)];
    while let Some(base) = bases.pop() {
        // Any byte may be looked up from here.
        let seen = is_seen.get_mut(base).filter(|_| base | 0xff < units.len())?;
        if std::mem::replace(seen, true) {
            continue;
        }
        for byte in 1..=0xff_usize {
            let unit = units[base ^ byte];
            if (unit & (1 << 31 | 0xff)) as usize != byte {
                continue;
            }
            let next = (base ^ byte) ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let start = (units.get(next)? & !(1 << 31)) as usize;
                texts.is_char_boundary(start).then_some(())?;
            }
            bases.push(next);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_written_in_base64_and_read_again() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert!(["Z", "Zg", "Zg=", "Zh==", "Zg==="].iter().all(|text| from_base64(text).is_none()));
    }

    /// A tree that writes `a` as the text at `start`, by way of a leaf at `leaf`.
    fn table(n_units: usize, leaf: u32, start: u32, texts: &[u8]) -> Vec<u8> {
        let mut units = vec![0_u32; n_units];
        units[0x61] = 0x61 | 1 << 8 | (0x61 ^ leaf) << 10;
        units[1] = start;
        let tree: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        [&(tree.len() as u32).to_le_bytes()[..], &tree, texts].concat()
    }

    #[test]
    fn damaged_tables_are_found() {
        let stage = |table: &[u8]| json!({ "type": "Precompiled", "precompiled_charsmap": to_base64(table) });
        let whole = table(256, 1, 0, b"b\0");
        assert!(are_sound(&json!({ "type": "Sequence", "normalizers": [stage(&whole), { "type": "NFC" }] })));
        let normalizer: tokenizers::NormalizerWrapper = serde_json::from_value(stage(&whole)).unwrap();
        let mut text = tokenizers::NormalizedString::from("xa");
        tokenizers::Normalizer::normalize(&normalizer, &mut text).unwrap();
        assert_eq!(text.get(), "xb");
        for damaged in [
            Vec::new(),
            u32::MAX.to_le_bytes().to_vec(),
            0_u32.to_le_bytes().to_vec(),
            table(255, 1, 0, b"b\0"),
            table(256, 256, 0, b"b\0"),
            table(256, 1, 9, b"b\0"),
            table(256, 1, 1, "é\0".as_bytes()),
            table(256, 1, 0, b"\xff\0"),
        ] {
            assert!(!are_sound(&stage(&damaged)), "{damaged:?}");
        }
        assert!(!are_sound(&json!({ "type": "Precompiled", "precompiled_charsmap": "\"" })));
    }
}
