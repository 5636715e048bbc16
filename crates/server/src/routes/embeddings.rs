//! `POST /v1/embeddings`: texts as vectors.

use super::aside;
use crate::http::{Body, Room, json, read_json};
use crate::limits::{N_TEXTS, at_most};
use crate::model::Served;
use crate::problem::Problem;
use crate::state::{State, unless_closing};
use crate::wire::embeddings::{self, WITHOUT_EFFECT};
use crate::wire::{Prompts, parse};
use genera_engine::config::Shape;
use genera_engine::model::Taken;
use genera_tokens::TokenId;
use hyper::body::Incoming;
use hyper::{Request, Response};
use std::sync::Arc;

pub async fn create(request: Request<Incoming>, state: &Arc<State>, room: &Room) -> Result<Response<Body>, Problem> {
    let input = read_json(request, room).await?;
    let of_task = state.clone();
    // What was read takes its room as long as it is worked on.
    let prepare = move || Ok((prepare(parse(&input.bytes, WITHOUT_EFFECT)?, &of_task)?, input));
    let ((model, texts, format), _input) = aside(prepare).await?;
    let n_tokens = texts.iter().map(Vec::len).sum();
    let vectors = unless_closing(&state.stage, model.worker.embed(texts)).await?;
    Ok(json(&embeddings::list(&model.name, &vectors, format, n_tokens)))
}

type Prepared = (Arc<Served>, Vec<Vec<TokenId>>, embeddings::EncodingFormat);

fn prepare(asked: embeddings::Request, state: &State) -> Result<Prepared, Problem> {
    let model = state.model(asked.model.as_deref())?.clone();
    let width = model.config.d_model as u64;
    if let Some(n) = asked.dimensions.filter(|&n| n != width) {
        let message =
            format!("`dimensions` is {n}; this model makes vectors of {width} numbers, which mean nothing when cut");
        return Err(Problem::invalid("dimensions", message));
    }
    at_most("input", asked.input.len(), N_TEXTS, "texts")?;
    let texts = match asked.input {
        Prompts::Texts(texts) => texts.iter().map(|text| encoded(&model, text)).collect::<Result<Vec<_>, Problem>>()?,
        Prompts::Tokens(lists) => lists,
    };
    if texts.is_empty() || texts.iter().any(Vec::is_empty) {
        return Err(Problem::invalid("input", "`input` is empty, or holds a text without a token"));
    }
    let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
    if longest > model.context_len {
        let message = format!("a text has {longest} tokens, but the context of this model holds {}", model.context_len);
        return Err(Problem { code: Some("context_length_exceeded"), ..Problem::invalid("input", message) });
    }
    Ok((model, texts, asked.encoding_format.unwrap_or_default()))
}

fn encoded(model: &Served, text: &str) -> Result<Vec<TokenId>, Problem> {
    model.check_bytes(text.len(), "input")?;
    let encode = |text: &str| match model.config.shape {
        Shape::EncoderOnly(_) => model.codebook.encode_framed(text),
        // The vector is that of the token behind the text, or before it.
        _ if matches!(model.pooling.taken, Taken::First | Taken::Last) => model.codebook.encode_whole(text),
        // What a model of conversations would read around the text is no part of it.
        _ if model.modality.name() == "chat" => model.codebook.encode(text),
        _ => model.modality.encode_prompt(&model.codebook, text),
    };
    let tokens = encode(&model.pooling.read_as(text)).and_then(|tokens| Ok(model.pooling.cut(tokens, &encode("")?)));
    tokens.map_err(|error| Problem::invalid("input", error.to_string()))
}
