//! Whole files, which a target starts from: what it did not read would only test how it refuses.

use std::fmt::Display;
use std::sync::LazyLock;

/// Whether every input is one, as `cargo xtask fuzz` says once for each target.
static ARE_GIVEN: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FUZZ_SEEDS").is_some());

/// What a reader gave, if it read the input.
///
/// # Panics
/// When it refused a whole file.
pub fn read<T, E: Display>(given: Result<T, E>) -> Option<T> {
    given.inspect_err(|error| assert!(!*ARE_GIVEN, "a whole file is refused: {error}")).ok()
}
