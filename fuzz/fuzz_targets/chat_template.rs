//! A chat template from anywhere, given a conversation.
#![no_main]

use genera_data::{ChatMessage, ChatTemplate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str, bool)| {
    let (source, question, answer, add_generation_prompt) = input;
    let messages = [ChatMessage::new("user", question), ChatMessage::new("assistant", answer)];
    let template = ChatTemplate::new(source, Some("<s>".to_owned()), Some("</s>".to_owned()));
    let _ = template.render(&messages, add_generation_prompt);
});
