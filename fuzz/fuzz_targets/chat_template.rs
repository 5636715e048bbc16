//! A chat template from anywhere, given a conversation. Its thread must end soon after it was given up.
#![no_main]

use genera_data::{ChatMessage, ChatTemplate};
use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};

/// Time for a thread that was given up to end: the fuzzer's checks make everything slow.
const GRACE: Duration = Duration::from_secs(10);

fuzz_target!(|input: (&str, &str, &str, bool)| {
    let (source, question, answer, add_generation_prompt) = input;
    let messages = [ChatMessage::new("user", question), ChatMessage::new("assistant", answer)];
    let template = ChatTemplate::new(source, Some("<s>".to_owned()), Some("</s>".to_owned()));
    let _ = template.render(&messages, add_generation_prompt);
    let start = Instant::now();
    while ChatTemplate::is_any_overdue() {
        assert!(start.elapsed() < GRACE, "a template runs on although it was given up");
        std::thread::sleep(Duration::from_millis(10));
    }
});
