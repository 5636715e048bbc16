//! Which published architecture can express a configuration.
//!
//! Each family writes what it can say of the configuration, and that is read back. What then differs, it cannot express;
//! but a bias that only the family has can be zero, and a head that is the embedding table can be left away.

use super::config_json::Fields;
use super::family::{FAMILIES, Family};
use crate::config::{Head, ModelConfig};
use serde_json::{Map, Value, json};
use std::path::Path;

/// A configuration in the words of a family.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub(super) family: &'static Family,
    /// The architecture's part of `config.json`.
    pub(super) json: Map<String, Value>,
    /// What it means: ours, but for the concessions.
    pub(super) model: ModelConfig,
    /// What becomes of that which the family has in excess or lacks.
    pub(super) concessions: Vec<String>,
}

/// The published architecture that can express `config`.
///
/// # Errors
/// Why none can, in words for the user.
pub fn architecture_of(config: &ModelConfig) -> std::result::Result<&'static Family, String> {
    express(config).map(|expression| expression.family)
}

/// Says `config` in the words of the family that needs the fewest concessions for it.
///
/// # Errors
/// As [`architecture_of`].
pub(super) fn express(config: &ModelConfig) -> std::result::Result<Expression, String> {
    express_as(config, None)
}

/// The same, preferring the family of this `model_type`, as long as it can: two may write the same architecture alike and be
/// read otherwise, or have other names.
///
/// # Errors
/// As [`architecture_of`].
pub(super) fn express_as(config: &ModelConfig, preferred: Option<&str>) -> std::result::Result<Expression, String> {
    let mut attempts: Vec<Attempt> = FAMILIES.iter().map(|family| attempt(family, config)).collect();
    attempts.sort_by_key(|attempt| {
        (
            Some(attempt.family.model_type) != preferred || !attempt.obstacles.is_empty(),
            attempt.obstacles.iter().any(|text| text.starts_with("shape ")),
            attempt.obstacles.len(),
            attempt.concessions.len(),
        )
    });
    let Attempt { family, json, model, concessions, obstacles } = attempts.swap_remove(0);
    match model {
        Some(model) if obstacles.is_empty() => Ok(Expression { family, json, model, concessions }),
        _ => Err(format!(
            "no known published architecture can express it; the nearest is {}, but here {}",
            family.model_type,
            obstacles.join(", ")
        )),
    }
}

struct Attempt {
    family: &'static Family,
    json: Map<String, Value>,
    model: Option<ModelConfig>,
    concessions: Vec<String>,
    obstacles: Vec<String>,
}

fn attempt(family: &'static Family, config: &ModelConfig) -> Attempt {
    let mut json = Map::new();
    json.insert("architectures".to_owned(), json!([family.architecture]));
    json.insert("model_type".to_owned(), json!(family.model_type));
    json.insert("vocab_size".to_owned(), json!(config.vocab_size));
    json.extend((family.write)(config));
    let mut attempt = Attempt { family, json, model: None, concessions: Vec::new(), obstacles: Vec::new() };
    match (family.read)(&Fields::new(Path::new("config.json"), &attempt.json)) {
        Ok(model) => {
            let [ours, theirs] = [config, &model].map(|config| json!(config));
            compare("", &ours, &theirs, &mut attempt.concessions, &mut attempt.obstacles);
            attempt.model = Some(model);
        }
        Err(error) => attempt.obstacles.push(error.to_string()),
    }
    attempt
}

/// Sorts what differs between two configurations into what can be made up for and what cannot.
fn compare(path: &str, ours: &Value, theirs: &Value, concessions: &mut Vec<String>, obstacles: &mut Vec<String>) {
    match (ours, theirs) {
        _ if ours == theirs => {}
        (Value::Object(ours), Value::Object(theirs)) if ours.keys().eq(theirs.keys()) => {
            for ((key, ours), theirs) in ours.iter().zip(theirs.values()) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, ours, theirs, concessions, obstacles);
            }
        }
        _ => match concession(path, ours, theirs) {
            Some(text) => concessions.push(text),
            None => obstacles.push(format!("{path} is {}, there {}", brief(ours), brief(theirs))),
        },
    }
}

/// What makes up for a difference without changing a result.
fn concession(path: &str, ours: &Value, theirs: &Value) -> Option<String> {
    let last = path.rsplit('.').next()?;
    let is_absent_bias = last.ends_with("bias") && (ours, theirs) == (&json!(false), &json!(true));
    let is_absent_table = last == "n_segment_types" && *ours == json!(0);
    let is_embedding_as_head =
        *ours == json!(Head::Tied { bias: false, scaled: false }) && *theirs == json!(Head::None);
    match last {
        _ if is_absent_bias || is_absent_table => Some(format!("{path}: written as zeros")),
        "head" if is_embedding_as_head => Some("head: left away, it is the embedding table".to_owned()),
        _ => None,
    }
}

/// A variant with data by its name alone.
fn brief(value: &Value) -> String {
    match value {
        Value::Object(map) => map.keys().next().cloned().unwrap_or_default(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
