//! What the routes are, for `/openapi.json` and the reference: one list, and the types that read requests.

use crate::problem::Problem;
use crate::wire::{attention, chat, completions, embeddings, generate, messages, parse, responses};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

/// A route.
pub struct Route {
    /// How it is asked.
    pub method: &'static str,
    /// Where it is; `{name}` stands for any name.
    pub path: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// What it reads.
    pub asks: Option<Asks>,
    /// What it answers.
    pub answers: &'static str,
    /// In which form.
    pub media_type: &'static str,
}

/// What a route reads.
pub struct Asks {
    /// The schema of the type that reads it.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether a body can be read.
    pub read: fn(&[u8], &[&str]) -> Result<(), Problem>,
    /// Fields of the published interface that are refused, since they mean nothing here.
    pub without_effect: &'static [&'static str],
}

const JSON: &str = "application/json";

const fn reads<T: JsonSchema + DeserializeOwned>(without_effect: &'static [&'static str]) -> Option<Asks> {
    Some(Asks { schema: SchemaGenerator::subschema_for::<T>, read: read::<T>, without_effect })
}

fn read<T: DeserializeOwned>(body: &[u8], without_effect: &[&str]) -> Result<(), Problem> {
    parse::<T>(body, without_effect).map(drop)
}

const fn post(path: &'static str, about: &'static str, asks: Option<Asks>, answers: &'static str) -> Route {
    Route { method: "POST", path, about, asks, answers, media_type: JSON }
}

const fn get(path: &'static str, about: &'static str, answers: &'static str) -> Route {
    Route { method: "GET", path, about, asks: None, answers, media_type: JSON }
}

/// Every route but the page's files.
pub const ALL: &[Route] = &[
    post(
        "/v1/chat/completions",
        "Answers in a conversation.",
        reads::<chat::Request>(chat::WITHOUT_EFFECT),
        "A `chat.completion`; with `stream` events of `chat.completion.chunk`, then `[DONE]`.",
    ),
    post(
        "/v1/completions",
        "Goes on with texts.",
        reads::<completions::Request>(completions::WITHOUT_EFFECT),
        "A `text_completion`; with `stream` events of the same form, then `[DONE]`.",
    ),
    post(
        "/v1/responses",
        "Answers in a conversation, as items.",
        reads::<responses::Request>(responses::WITHOUT_EFFECT),
        "A `response`; with `stream` named events from `response.created` to `response.completed`, `response.incomplete` or \
         `response.failed`.",
    ),
    post(
        "/v1/messages",
        "Answers in a conversation, by the interface of Anthropic.",
        reads::<messages::Request>(messages::WITHOUT_EFFECT),
        "A `message`; with `stream` named events from `message_start` to `message_stop`.",
    ),
    post(
        "/v1/embeddings",
        "Makes vectors of texts: as the model's files say, or else the mean of the last hidden states, of length 1.",
        reads::<embeddings::Request>(embeddings::WITHOUT_EFFECT),
        "A list of `embedding`s.",
    ),
    post(
        "/v1/generate",
        "Makes whatever the model makes: texts, translations, rows of a table, as typed items.",
        reads::<generate::Request>(generate::WITHOUT_EFFECT),
        "A `generation` with its `items` and its `seed`; with `stream` events of `generation.delta` and `generation.item`, the \
         `generation` without items, then `[DONE]`.",
    ),
    get("/v1/models", "Lists the models.", "A list of `model`s."),
    get("/v1/models/{name}", "Tells of one model.", "A `model`."),
    get(
        "/v1/genera/models",
        "Tells what the models are: parameters, architecture, kind of data, and the JSON Schema of what `/v1/generate` takes.",
        "An object with `models`.",
    ),
    post(
        "/v1/genera/attention",
        "Tells who attends to whom in a text.",
        reads::<attention::Request>(attention::WITHOUT_EFFECT),
        "An `attention` with `tokens`, and `heads` with a weight for each token that looks and each that is looked at.",
    ),
    get("/v1/genera/runs", "Lists the runs in the directory of runs (`--runs`).", "An object with `runs`."),
    get(
        "/v1/genera/runs/{name}",
        "Tells of one run: recipe, samples, and the rows of its log behind `?after=BYTES`, the `next` of the answer before.",
        "An object with `rows`, `next`, `samples` and `recipe`.",
    ),
    get("/openapi.json", "Describes the interface in the form of OpenAPI 3.1.", "The description."),
    Route {
        media_type: "text/plain",
        ..get("/metrics", "Counts, for Prometheus, under the names that vLLM gave them.", "Lines of numbers.")
    },
    get("/health/live", "Tells whether the program is alive; asks for no key.", "200."),
    get(
        "/health/ready",
        "Tells whether every model's thread is alive and takes requests; asks for no key.",
        "200, or 503 while it is not so.",
    ),
];
