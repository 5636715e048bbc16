//! The body of a request from anywhere; its first byte says to which route.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let n = genera_server::paths().count();
    if let Some(path) = genera_server::paths().nth(usize::from(*first) % n) {
        let _ = genera_server::check_body(path, body);
    }
});
