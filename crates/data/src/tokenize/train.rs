//! Training byte-pair encoding on a sample of the data.

use super::{Bpe, SpecialTokens, json, words};
use crate::{Error, Result};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Trainer};

/// A pair must occur this often to become a token.
const MIN_FREQUENCY: u64 = 2;

/// Byte-pair encoding of at most `vocab_size` tokens, special ones included, learned from `samples`.
///
/// # Errors
/// When `vocab_size` leaves no room for the 256 bytes and the special tokens.
///
/// # Determinism
/// The same samples in any order give the same tokenizer, whichever the number of threads.
pub fn train_bpe(samples: &[String], vocab_size: usize, special: &SpecialTokens) -> Result<Bpe> {
    let special = special.without_unknown();
    let n_least = 256 + special.names().len();
    if vocab_size < n_least {
        let problem = format!(
            "a byte-pair vocabulary of {vocab_size} is too small: the 256 bytes and the special tokens alone are {n_least}"
        );
        return Err(Error::tokenizer(problem));
    }
    let names = special.names();
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocab_size)
        .min_frequency(MIN_FREQUENCY)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(names.iter().map(|name| AddedToken::from(*name, true)).collect())
        .build();
    let failed = |error: tokenizers::Error| Error::tokenizer(format!("byte-pair training failed: {error}"));
    let words_of = |text: &str| Ok(words::words(text).map(|word| json::byte_level(word.as_bytes())).collect());
    trainer.feed(samples.iter(), words_of).map_err(failed)?;
    let mut model = BPE::default();
    trainer.train(&mut model).map_err(failed)?;
    let model = serde_json::to_value(&model).map_err(|error| Error::tokenizer(error.to_string()))?;
    json::bpe(model, &special)
}
