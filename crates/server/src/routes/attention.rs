//! `POST /v1/genera/attention`: who attends to whom in a text.

use super::aside;
use crate::http::{Body, Room, json, read_json};
use crate::limits::{N_DRAWN_TOKENS, at_most, whole_in_range};
use crate::model::Served;
use crate::problem::Problem;
use crate::state::{State, unless_closing};
use crate::wire::attention::{self, WITHOUT_EFFECT};
use crate::wire::parse;
use genera_engine::config::Shape;
use genera_tokens::TokenId;
use hyper::body::Incoming;
use hyper::{Request, Response};
use std::sync::Arc;

pub async fn create(request: Request<Incoming>, state: &Arc<State>, room: &Room) -> Result<Response<Body>, Problem> {
    let input = read_json(request, room).await?;
    let of_task = state.clone();
    let (model, tokens, layer) = aside(move || prepare(&parse(&input.bytes, WITHOUT_EFFECT)?, &of_task)).await?;
    let names: Vec<String> = tokens.iter().map(|&id| model.codebook.token_text(id)).collect();
    let attended = unless_closing(&state.stage, model.worker.attend(tokens, layer)).await?;
    Ok(json(&attention::answer(&names, &attended)))
}

fn prepare(asked: &attention::Request, state: &State) -> Result<(Arc<Served>, Vec<TokenId>, usize), Problem> {
    let model = state.model(asked.model.as_deref())?.clone();
    let layer = whole_in_range("layer", asked.layer, 0, 10_000)?;
    let tokens = if let Shape::EncoderOnly(_) = model.config.shape {
        model.codebook.encode_framed(&asked.text)
    } else if model.codebook.chat_template().is_some() {
        // As it stands, without what a conversation has around it.
        model.codebook.encode(&asked.text)
    } else {
        model.modality.encode_prompt(&model.codebook, &asked.text)
    };
    let tokens = tokens.map_err(|error| Problem::invalid("text", error.to_string()))?;
    if tokens.is_empty() {
        return Err(Problem::invalid("text", "`text` is empty; give something to look at"));
    }
    at_most("text", tokens.len(), N_DRAWN_TOKENS.min(model.context_len), "tokens")?;
    Ok((model, tokens, layer))
}
