//! Documents that are read otherwise each time.

use genera_tokens::TokenId;

/// Rewrites documents as they are read from a shard: the columns of a row in another order each time.
pub trait Vary: Send + Sync {
    /// Rewrites a whole document, which keeps its length.
    ///
    /// # Determinism
    /// The result is a function of the tokens and `key`, which is another one at each reading.
    fn vary(&self, tokens: &mut [TokenId], key: u64);

    /// Whether a token is to be predicted; one that the grammar forces is not.
    fn is_learned(&self, token: TokenId) -> bool;
}
