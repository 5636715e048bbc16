//! Documents that are learned and measured by at once.

use crate::{Result, Shard};
use genera_tokens::TokenId;
use std::collections::HashMap;

/// Data of more tokens is not looked through: that would take longer than anybody wants to wait for a note.
const MOST_TOKENS: u64 = 1 << 26;

/// How many of the validation documents have the tokens of a training document; `None` where there are too many to look at.
///
/// # Errors
/// When a shard can no longer be read.
pub(super) fn n_copies(train: &Shard, validation: &Shard) -> Result<Option<u64>> {
    if train.info().n_tokens + validation.info().n_tokens > MOST_TOKENS {
        return Ok(None);
    }
    let mut missing: HashMap<Vec<TokenId>, u64> = HashMap::new();
    for i in 0..validation.info().n_documents {
        *missing.entry(validation.document(i)?.ids().to_vec()).or_default() += 1;
    }
    let mut n = 0;
    for i in 0..train.info().n_documents {
        if missing.is_empty() {
            break;
        }
        n += missing.remove(train.document(i)?.ids()).unwrap_or(0);
    }
    Ok(Some(n))
}
