//! Writes conversations as a model's chat template does, for comparison with other programs:
//! `cargo run -p genera-data --example chat TOKENIZER_DIR CHAT.jsonl` prints a JSON object for each conversation.

use genera_data::chat::{encode_turns, messages_from_json};
use genera_data::{ChatMessage, encode_chat, load_tokenizer};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, file] = arguments.as_slice() else { return Err("expected TOKENIZER_DIR CHAT.jsonl".into()) };
    let tokenizer = load_tokenizer(Path::new(directory))?;
    let template = tokenizer.chat_template().ok_or("the tokenizer has no chat template")?;
    for line in std::fs::read_to_string(file)?.lines() {
        let value: Value = serde_json::from_str(line)?;
        let messages = messages_from_json(&value["messages"].to_string())?;
        let last = messages.iter().rposition(ChatMessage::is_of_assistant).unwrap_or(0);
        let turns = encode_turns(&*tokenizer, &messages)?;
        let written = json!({
            "text": template.render(&messages, false)?,
            "prompt": template.render(&messages[..last], true)?,
            "tokens": encode_chat(&*tokenizer, &messages, false)?,
            "learned": turns.loss_mask(),
        });
        println!("{written}");
    }
    Ok(())
}
