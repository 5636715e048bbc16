//! A conversation of a chat file from anywhere.
#![no_main]

use genera_data::chat::{first_messages, messages_from_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = messages_from_json(text);
    let _ = first_messages(text);
});
