//! A chat template from anywhere, given a conversation: a byte that says whether an answer is to begin, the template, a zero, a
//! question, a zero, and an answer. Its thread must end soon after it was given up.
#![no_main]

mod seed;

use genera_data::{ChatMessage, ChatTemplate};
use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};

/// Time for a thread that was given up to end: the fuzzer's checks make everything slow.
const GRACE: Duration = Duration::from_secs(10);

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let mut parts = text.splitn(3, '\0');
    let [source, question, answer] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let messages = [ChatMessage::new("user", question), ChatMessage::new("assistant", answer)];
    let template = ChatTemplate::new(source, Some("<s>".to_owned()), Some("</s>".to_owned()));
    let _ = seed::read(template.render(&messages, first % 2 == 1));
    let start = Instant::now();
    while ChatTemplate::is_any_overdue() {
        assert!(start.elapsed() < GRACE, "a template runs on although it was given up");
        std::thread::sleep(Duration::from_millis(10));
    }
});
