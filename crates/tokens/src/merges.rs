//! How a vocabulary with scores cuts text, said as a list of merges.

use std::collections::HashMap;

/// Longest piece, in bytes; published ones have some hundred at most.
pub const MAX_PIECE_BYTES: usize = 1 << 10;
/// Most bytes that are looked at in search of the merges, the square of each piece's length; the largest vocabularies need
/// a tenth.
const MAX_SEARCHED_BYTES: usize = 1 << 29;
/// Most merges; the largest vocabularies have 600,000.
pub const MAX_MERGES: usize = 1 << 21;

/// Every pair of pieces that makes a piece, that of the highest score first. Give only pieces of text: a piece with a meaning
/// of its own is never made of others.
///
/// # Errors
/// What is too much of it, in words.
pub fn merges_of_scores<'p>(pieces: impl IntoIterator<Item = (&'p str, f32)>) -> Result<Vec<[&'p str; 2]>, String> {
    let pieces: Vec<(&str, f32)> = pieces.into_iter().collect();
    let longest = pieces.iter().map(|(piece, _)| piece.len()).max().unwrap_or(0);
    if longest > MAX_PIECE_BYTES {
        return Err(format!("a token of {longest} bytes; at most {MAX_PIECE_BYTES} are read"));
    }
    if pieces.iter().map(|(piece, _)| piece.len().pow(2)).sum::<usize>() > MAX_SEARCHED_BYTES {
        return Err("too many long tokens to look for merges in".to_owned());
    }
    let places: HashMap<&str, usize> = pieces.iter().map(|&(piece, _)| piece).zip(0..).collect();
    let mut merges = Vec::new();
    for (piece, score) in pieces {
        let cuts = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        let pairs = cuts.filter_map(|(left, right)| Some(([*places.get(left)?, *places.get(right)?], [left, right])));
        merges.extend(pairs.map(|(places, pair)| (score, places, pair)));
        if merges.len() > MAX_MERGES {
            return Err(format!("too many merges; at most {MAX_MERGES} are read"));
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    Ok(merges.into_iter().map(|(_, _, pair)| pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_goes_first() {
        let pieces = [("a", 0.0), ("b", 0.0), ("aab", -2.0), ("ab", -1.0)];
        assert_eq!(merges_of_scores(pieces).unwrap(), [["a", "b"], ["a", "ab"]]);
    }

    #[test]
    fn they_take_bounded_time_and_memory() {
        let refusal = |tokens: &[String]| {
            merges_of_scores(tokens.iter().map(|token| (token.as_str(), 0.0))).expect_err("it is too much")
        };
        assert!(refusal(&["a".repeat(1025)]).contains("a token of 1025 bytes; at most 1024"));
        let long: Vec<String> = (0..600).map(|i| format!("{i:0>1000}")).collect();
        assert!(refusal(&long).contains("too many long tokens"));
    }
}
