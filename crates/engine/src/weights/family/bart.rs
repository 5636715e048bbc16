//! BART: Marian's layers with a table of learned positions, behind two rows that mean nothing, and a norm of the embeddings
//! for each stack.

use super::marian::{ROWS, read_common, write_pegasus};
use super::{Family, no_copy};
use crate::config::{Embedding, ModelConfig, Placement, Position};
use crate::error::Result;
use crate::weights::config_json::Fields;
use crate::weights::names::Row;
use serde_json::{Map, Value};

pub(super) static BART: Family = Family {
    model_type: "bart",
    other_types: &[],
    architecture: "BartForConditionalGeneration",
    covers: "BART, whose norms come after each part",
    task: "text2text-generation",
    prefixes: &["model."],
    rows: &[
        &[
            Row::after(2, "encoder.embedding.position", &["model.encoder.embed_positions.weight"]),
            Row::after(2, "decoder.embedding.position", &["model.decoder.embed_positions.weight"]),
            Row::plain("encoder.embedding.norm", &["model.encoder.layernorm_embedding"]),
            Row::plain("decoder.embedding.norm", &["model.decoder.layernorm_embedding"]),
        ],
        ROWS,
    ],
    // What older files count versions with.
    ignored: &["encoder.version", "decoder.version"],
    cuts: &[],
    ids: [Some(1), Some(0), Some(2), Some(2)],
    forced_end: Some(2),
    read,
    write,
    embedding_copy: no_copy,
};

fn read(fields: &Fields<'_>) -> Result<ModelConfig> {
    // Switches of the first published version; all of these models have had only one setting.
    for (key, expected) in [
        ("normalize_before", false),
        ("normalize_embedding", true),
        ("add_final_layer_norm", false),
        ("static_position_embeddings", false),
    ] {
        fields.must_be(key, expected)?;
    }
    let config = read_common(fields, 50_265, Placement::Post)?;
    let embedding = Embedding { norm: true, per_stack: true, ..config.embedding };
    Ok(ModelConfig { position: Position::Learned, embedding, ..config })
}

fn write(config: &ModelConfig) -> Map<String, Value> {
    let mut map = write_pegasus(config);
    map.remove("static_position_embeddings");
    map
}
