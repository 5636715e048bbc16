//! Which published architecture can express a configuration.
//!
//! Each family writes what it can say of the configuration, and that is read back. What then differs, it cannot express;
//! but a bias that only the family has can be zero.

use super::config_json::Fields;
use super::family::{FAMILIES, Family};
use crate::config::ModelConfig;
use serde_json::{Map, Value, json};
use std::path::Path;

/// A configuration in the words of a family.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub(super) family: &'static Family,
    /// The architecture's part of `config.json`.
    pub(super) json: Map<String, Value>,
    /// What it means: ours, but for what is to be filled with zeros.
    pub(super) model: ModelConfig,
    /// What is to be filled with zeros.
    pub(super) zeros: Vec<String>,
}

/// The published architecture that can express `config`.
///
/// # Errors
/// Why none can, in words for the user.
pub fn architecture_of(config: &ModelConfig) -> std::result::Result<&'static Family, String> {
    express(config).map(|expression| expression.family)
}

/// Says `config` in the words of the family that needs the fewest zeros for it.
///
/// # Errors
/// As [`architecture_of`].
pub(super) fn express(config: &ModelConfig) -> std::result::Result<Expression, String> {
    let mut attempts: Vec<Attempt> = FAMILIES.iter().map(|family| attempt(family, config)).collect();
    attempts.sort_by_key(|attempt| {
        (attempt.obstacles.iter().any(|text| text.starts_with("shape ")), attempt.obstacles.len(), attempt.zeros.len())
    });
    let Attempt { family, json, model, zeros, obstacles } = attempts.swap_remove(0);
    match model {
        Some(model) if obstacles.is_empty() => Ok(Expression { family, json, model, zeros }),
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
    zeros: Vec<String>,
    obstacles: Vec<String>,
}

fn attempt(family: &'static Family, config: &ModelConfig) -> Attempt {
    let mut json = Map::new();
    json.insert("architectures".to_owned(), json!([family.architecture]));
    json.insert("model_type".to_owned(), json!(family.model_type));
    json.insert("vocab_size".to_owned(), json!(config.vocab_size));
    json.extend((family.write)(config));
    let mut attempt = Attempt { family, json, model: None, zeros: Vec::new(), obstacles: Vec::new() };
    match (family.read)(&Fields::new(Path::new("config.json"), &attempt.json)) {
        Ok(model) => {
            let [ours, theirs] = [config, &model].map(|config| json!(config));
            compare("", &ours, &theirs, &mut attempt.zeros, &mut attempt.obstacles);
            attempt.model = Some(model);
        }
        Err(error) => attempt.obstacles.push(error.to_string()),
    }
    attempt
}

/// Sorts what differs between two configurations into what zeros make up for and what nothing does.
fn compare(path: &str, ours: &Value, theirs: &Value, zeros: &mut Vec<String>, obstacles: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) if ours.keys().eq(theirs.keys()) => {
            for ((key, ours), theirs) in ours.iter().zip(theirs.values()) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, ours, theirs, zeros, obstacles);
            }
        }
        _ if ours == theirs => {}
        (Value::Bool(false), Value::Bool(true)) if path.ends_with("bias") => zeros.push(path.to_owned()),
        (Value::Number(n), _) if path.ends_with("n_segment_types") && n.as_u64() == Some(0) => {
            zeros.push(path.to_owned());
        }
        _ => obstacles.push(format!("{path} is {}, there {}", brief(ours), brief(theirs))),
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
