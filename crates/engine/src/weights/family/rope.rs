//! Rotary positions as files describe them: `rope_parameters` today, `rope_theta` beside `rope_scaling` in older ones.

use crate::config::{ModelConfig, Position, Rotary, RotaryScaling, long_rope_factor};
use crate::error::Result;
use crate::weights::config_json::Fields;
use serde_json::{Map, Value, json};

/// The types of scaling, as files name them.
const KINDS: [&str; 6] = ["default", "linear", "dynamic", "llama3", "yarn", "longrope"];

/// What the families leave out of their files, and what they call it.
pub(super) struct Defaults {
    pub(super) theta: f64,
    pub(super) theta_key: &'static str,
    /// The key of the share of each head that is turned, and that share; none where the library turns whole heads, whatever
    /// a file says.
    pub(super) share: Option<(&'static str, f64)>,
    /// Context first trained with, where only the file and not the object says another; the model's own when absent.
    pub(super) original_context_len: Option<usize>,
}

/// The key of the context first trained with, in a file or in its object.
pub(in crate::weights) const ORIGINAL_CONTEXT_LEN: &str = "original_max_position_embeddings";

/// The key of the share of a head that is turned, in the object and mostly beside it.
pub(super) const SHARE: &str = "partial_rotary_factor";

pub(super) const DEFAULTS: Defaults =
    Defaults { theta: 10_000.0, theta_key: "rope_theta", share: None, original_context_len: None };

/// Rotary positions that are alike in all layers.
pub(super) fn read(fields: &Fields<'_>, defaults: &Defaults, d_head: usize, context_len: usize) -> Result<Rotary> {
    // Where a file has both, the library takes the older one.
    let older = fields.object("rope_scaling")?.filter(|rope| !rope.is_empty());
    let rope = if older.is_some() { older } else { fields.object("rope_parameters")? };
    of_object(fields, rope.as_ref(), defaults, d_head, context_len)
}

/// Rotary positions by the object `rope`, and what is left out there by the keys of the file.
pub(super) fn of_object(
    fields: &Fields<'_>,
    rope: Option<&Fields<'_>>,
    defaults: &Defaults,
    d_head: usize,
    context_len: usize,
) -> Result<Rotary> {
    let theta = fields.positive(defaults.theta_key, defaults.theta)?;
    let n_rotated = match defaults.share {
        None => d_head,
        Some((key, usual)) => {
            let beside = fields.positive(key, usual)?;
            let share = rope.map_or(Ok(beside), |rope| rope.positive(SHARE, beside))?;
            (d_head as f64 * share) as usize
        }
    };
    let Some(rope) = rope else { return Ok(Rotary::plain(theta, n_rotated)) };
    let theta = rope.positive("rope_theta", theta)?;
    let scaling = scaling(fields, rope, defaults, context_len)?;
    Ok(Rotary { scaling, ..Rotary::plain(theta, n_rotated) })
}

fn scaling(fields: &Fields<'_>, rope: &Fields<'_>, defaults: &Defaults, context_len: usize) -> Result<RotaryScaling> {
    let kind = rope.text("rope_type", rope.text("type", "default")?)?;
    let of = format!("rope scaling of type '{kind}'");
    // What lies beside the object goes before what is in it.
    let original_context_len = fields.size(
        ORIGINAL_CONTEXT_LEN,
        match defaults.original_context_len {
            Some(default) => default,
            None => rope.size(ORIGINAL_CONTEXT_LEN, context_len)?,
        },
    )?;
    let stretched = context_len as f64 / original_context_len as f64;
    Ok(match kind {
        "default" => RotaryScaling::None,
        "linear" => RotaryScaling::Linear { factor: rope.required("factor", &of)? },
        "dynamic" => RotaryScaling::Dynamic { factor: rope.required("factor", &of)? },
        "llama3" => RotaryScaling::Llama3 {
            factor: rope.required("factor", &of)?,
            low_freq_factor: rope.required("low_freq_factor", &of)?,
            high_freq_factor: rope.required("high_freq_factor", &of)?,
            original_context_len,
        },
        "yarn" if !rope.is_given("long_factor") => {
            let factor = rope.positive("factor", stretched)?;
            RotaryScaling::Yarn {
                factor,
                original_context_len,
                attention_factor: yarn_attention_factor(rope, factor)?,
                beta_fast: above_0(rope, "beta_fast")?.unwrap_or(32.0),
                beta_slow: above_0(rope, "beta_slow")?.unwrap_or(1.0),
                truncate: rope.flag("truncate", true)?,
            }
        }
        // The first files of Phi-3 call it "su" or "yarn".
        "longrope" | "su" | "yarn" => {
            let given = rope.positive_if_given("attention_factor")?;
            let by_factor = rope.positive_if_given("factor")?;
            let attention_factor = given.or(by_factor.map(|factor| long_rope_factor(factor, original_context_len)));
            RotaryScaling::LongRope {
                short: rope.required_list("short_factor", &of)?,
                long: rope.required_list("long_factor", &of)?,
                original_context_len,
                attention_factor,
            }
        }
        other => {
            let known = KINDS.join(", ");
            return Err(rope.error(format!("rotary positions of type '{other}' are not supported; known are {known}")));
        }
    })
}

/// As the file has it, or by its two parts; none where it is the usual one.
fn yarn_attention_factor(rope: &Fields<'_>, factor: f64) -> Result<Option<f64>> {
    let scale = |mscale: f64| if factor > 1.0 { 0.1 * mscale * factor.ln() + 1.0 } else { 1.0 };
    let given = rope.positive_if_given("attention_factor")?;
    let parts = above_0(rope, "mscale")?.zip(above_0(rope, "mscale_all_dim")?);
    Ok(given.or_else(|| parts.map(|(above, below)| scale(above) / scale(below))))
}

/// A number of YaRN, of which 0 says as much as nothing.
fn above_0(rope: &Fields<'_>, key: &str) -> Result<Option<f64>> {
    Ok(rope.number_if_given(key, 0.0..=f64::MAX)?.filter(|&number| number > 0.0))
}

/// The object that [`of_object`] reads; the default where positions are not rotary.
pub(super) fn object(config: &ModelConfig) -> Value {
    let plain = Rotary::plain(DEFAULTS.theta, config.last_stack().attention.d_head);
    let rotary = if let Position::Rotary(rotary) = &config.position { rotary } else { &plain };
    let mut map = Map::new();
    map.insert("rope_theta".to_owned(), json!(rotary.theta));
    let d_head = config.last_stack().attention.d_head;
    if rotary.n_rotated != d_head {
        map.insert(SHARE.to_owned(), json!(share(rotary.n_rotated, d_head)));
    }
    map.extend(super::object(scaling_object(&rotary.scaling)));
    Value::Object(map)
}

/// Writes the object, for older readers too.
pub(super) fn write(config: &ModelConfig, map: &mut Map<String, Value>) {
    let object = object(config);
    map.insert("rope_theta".to_owned(), object["rope_theta"].clone());
    if object["rope_type"] != "default" {
        map.insert("rope_scaling".to_owned(), object.clone());
    }
    map.insert("rope_parameters".to_owned(), object);
}

/// The least share of a head that is read as `n_rotated` features.
pub(super) fn share(n_rotated: usize, d_head: usize) -> f64 {
    let share = n_rotated as f64 / d_head as f64;
    if (share * d_head as f64) as usize == n_rotated { share } else { share.next_up() }
}

fn scaling_object(scaling: &RotaryScaling) -> Value {
    match scaling {
        RotaryScaling::None => json!({ "rope_type": "default" }),
        RotaryScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RotaryScaling::Dynamic { factor } => json!({ "rope_type": "dynamic", "factor": factor }),
        RotaryScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_len } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            ORIGINAL_CONTEXT_LEN: original_context_len,
        }),
        RotaryScaling::Yarn { factor, original_context_len, attention_factor, beta_fast, beta_slow, truncate } => {
            json!({
                "rope_type": "yarn",
                "factor": factor,
                ORIGINAL_CONTEXT_LEN: original_context_len,
                "attention_factor": attention_factor,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "truncate": truncate,
            })
        }
        RotaryScaling::LongRope { short, long, original_context_len, attention_factor } => json!({
            "rope_type": "longrope",
            "short_factor": short,
            "long_factor": long,
            ORIGINAL_CONTEXT_LEN: original_context_len,
            "attention_factor": attention_factor,
        }),
    }
}
