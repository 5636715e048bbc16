//! `GET /v1/genera/runs` and `GET /v1/genera/runs/NAME`: what was and is being trained on this machine.

use super::aside;
use super::models::percent_decoded;
use crate::http::{Body, json};
use crate::problem::Problem;
use crate::runs;
use crate::state::State;
use hyper::Response;
use std::sync::Arc;

/// All runs.
///
/// # Errors
/// 500 when reading panics.
pub async fn list(state: &Arc<State>) -> Result<Response<Body>, Problem> {
    let state = state.clone();
    Ok(json(&aside(move || Ok(runs::list(state.settings.runs.as_deref()))).await?))
}

/// One run, with the rows of its log behind the byte that the query names: `after=BYTES`.
///
/// # Errors
/// 404 when there is none, 400 for another query.
pub async fn one(state: &Arc<State>, name: &str, query: Option<&str>) -> Result<Response<Body>, Problem> {
    let after = match query {
        None => 0,
        Some(query) => query.strip_prefix("after=").and_then(|after| after.parse().ok()).ok_or_else(|| {
            Problem::invalid("after", "the query must be `after=BYTES`, where BYTES is the `next` of the answer before")
        })?,
    };
    let (state, name) = (state.clone(), percent_decoded(name));
    Ok(json(&aside(move || runs::one(state.settings.runs.as_deref(), &name, after)).await?))
}
