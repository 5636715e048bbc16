//! Prints the pairs of answers that each step of a run learns from, for comparison with other programs:
//! `cargo run -p genera-data --example pairs SHARD CONTEXT_LEN BATCH_SIZE SEED STEPS` prints a JSON list a step.

use genera_data::{Preferences, Shard};
use genera_tokens::{Batch, IGNORE};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shard, context_len, batch_size, seed, steps] = arguments.as_slice() else {
        return Err("expected SHARD CONTEXT_LEN BATCH_SIZE SEED STEPS".into());
    };
    let shard = Arc::new(Shard::open(Path::new(shard))?);
    let pairs = Preferences::new(shard, context_len.parse()?, batch_size.parse()?, seed.parse()?)?;
    let pairs = pairs.ok_or("no pair is short enough")?;
    for step in 0..steps.parse()? {
        let batch = pairs.batch(step)?;
        let pair = |pair: &genera_data::PreferenceRows| json!({ "chosen": row(&pair.chosen), "rejected": row(&pair.rejected) });
        println!("{}", batch.iter().map(pair).collect::<Value>());
    }
    Ok(())
}

fn row(batch: &Batch) -> Value {
    let target = |&id: &u32| if id == IGNORE { -100 } else { i64::from(id) };
    json!({ "tokens": batch.tokens, "targets": batch.targets.iter().map(target).collect::<Vec<_>>() })
}
