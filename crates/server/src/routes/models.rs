//! `GET /v1/models` and `GET /v1/models/NAME`.

use crate::http::{Body, json};
use crate::model::Served;
use crate::problem::Problem;
use crate::state::State;
use hyper::Response;
use serde_json::{Value, json as value};
use std::sync::Arc;

/// All models.
pub fn list(state: &State) -> Response<Body> {
    let models: Vec<Value> = state.models.iter().map(|model| described(model)).collect();
    json(&value!({ "object": "list", "data": models }))
}

/// One model.
///
/// # Errors
/// 404.
pub fn one(state: &State, name: &str) -> Result<Response<Body>, Problem> {
    Ok(json(&described(state.model(Some(&percent_decoded(name)))?)))
}

/// What the page shows of the models beyond their names.
///
/// # Errors
/// 500 when an architecture cannot be written.
pub fn facts(state: &State) -> Result<Response<Body>, Problem> {
    let fact = |model: &Arc<Served>| {
        let config = serde_json::to_value(&model.config).map_err(|error| Problem::internal(error.to_string()))?;
        let about: Vec<Value> = model.about.iter().map(|(name, text)| value!([name, text])).collect();
        Ok(value!({
            "id": model.name, "kind": model.modality.name(), "n_params": model.n_params, "context_len": model.context_len,
            "can_chat": model.codebook.chat_template().is_some() && !model.modality.is_paired(),
            "ends_by_form": model.modality.constraint(&model.codebook).is_some(),
            "input": model.modality.input_schema(&model.codebook), "about": about, "config": config,
        }))
    };
    let models = state.models.iter().map(fact).collect::<Result<Vec<Value>, Problem>>()?;
    Ok(json(&value!({ "models": models })))
}

fn described(model: &Served) -> Value {
    value!({ "id": model.name, "object": "model", "created": model.created, "owned_by": "genera" })
}

/// A path in which bytes may be written as %XX.
pub fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_may_be_escaped() {
        assert_eq!(percent_decoded("org%2Fname"), "org/name");
        assert_eq!(percent_decoded("a%zz%4"), "a%zz%4");
    }
}
