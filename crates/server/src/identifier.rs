//! Names for answers, and seeds for those who bring none.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// 64 random bits from the system's key for hashing, which is drawn once a thread, and a counter.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A new name, such as `chatcmpl-0f3a…`.
pub fn new(prefix: &str) -> String {
    format!("{prefix}{:016x}{:08x}", random(), random() as u32)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
