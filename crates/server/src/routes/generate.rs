//! `POST /v1/generate`: whatever a model makes, as typed items.

use super::job::Job;
use crate::answer::{Piece, Pieces};
use crate::convert::{Prompt, Wishes, wishes};
use crate::http::{Ended, Events};
use crate::identifier;
use crate::model::Served;
use crate::problem::Problem;
use crate::prompt;
use crate::state::State;
use crate::wire::generate::{self, Item, WITHOUT_EFFECT};
use crate::wire::output::Head;
use crate::worker::Answers;
use genera_engine::generate::Request;
use genera_modality::{Artifact, Input};
use genera_tokens::TokenId;
use serde_json::Value;
use std::sync::Arc;

/// Seeds that are drawn are no larger, so that every program can write them: numbers of JavaScript are exact up to there.
const MAX_DRAWN_SEED: u64 = 1 << 53;

/// Items to be made.
pub struct Generate {
    model: Arc<Served>,
    stops: Vec<String>,
    n_prompt: usize,
    seed: u64,
    is_stream: bool,
    /// What of the prompt is a part of every item.
    given: Vec<TokenId>,
}

/// An item under way.
#[derive(Clone)]
struct Growing {
    tokens: Vec<TokenId>,
    text: String,
}

impl Generate {
    /// So many items, with what of the prompt is a part of them.
    fn begin(&self, n: usize) -> Vec<Growing> {
        vec![Growing { tokens: self.given.clone(), text: String::new() }; n]
    }

    fn pieces(&self, answers: Answers) -> Pieces<'_> {
        Pieces::new(&self.model, answers, &self.stops, true)
    }

    /// Adds a piece to its item, which is given when it is complete.
    fn add(&self, piece: &Piece, growing: &mut [Growing]) -> Option<Item> {
        let item = &mut growing[piece.choice];
        item.text += &piece.text;
        item.tokens.extend(piece.tokens.iter().map(|token| token.id));
        let finish_reason = piece.end.as_ref()?.name();
        let (modality, codebook) = (self.model.modality, &self.model.codebook);
        let mut artifact = modality.decode(codebook, &item.tokens);
        if artifact.media_type.starts_with("text/plain") {
            // Cut where a stop string appeared.
            artifact = Artifact::text(std::mem::take(&mut item.text));
        }
        let preview = modality.preview(&artifact);
        let value = modality.value(codebook, &item.tokens, piece.choice as u64);
        Some(Item { index: piece.choice, artifact, value, preview, finish_reason })
    }
}

impl Job for Generate {
    type Asked = generate::Request;
    const WITHOUT_EFFECT: &'static [&'static str] = WITHOUT_EFFECT;
    const PREFIX: &'static str = "gen-";

    fn prepare(asked: generate::Request, state: &State) -> Result<(Self, Vec<Request>), Problem> {
        let model = state.model(asked.model.as_deref())?.clone();
        prompt::check_generates(&model)?;
        let constraint = || model.modality.constraint(&model.codebook);
        if asked.max_tokens.is_some() && constraint().is_some() {
            let message = "`max_tokens` would cut items off that end by their form; leave it out";
            return Err(Problem::invalid("max_tokens", message));
        }
        let seed = asked.seed.unwrap_or_else(|| identifier::random() % MAX_DRAWN_SEED);
        let mut wishes = Wishes {
            max_tokens: asked.max_tokens.map(|n| ("max_tokens", n)),
            seed: Some(seed as i64),
            ..wishes!(asked: n, temperature, top_p, top_k, min_p, repetition_penalty)
        };
        if model.modality.is_paired() && wishes.temperature.is_none() {
            // The one best answer, where nobody asks for another.
            wishes.temperature = Some(0.0);
        }
        let plan = wishes.plan(&model)?;
        let input = model.modality.read_input(&model.codebook, &asked.input);
        let Input { prompt, given, guidance, constraint: of_input } =
            input.map_err(|error| Problem::invalid("input", error.to_string()))?;
        let prompt: Prompt = prompt::of_tokens(&model, prompt)?;
        let form = || of_input.as_ref().map(|make| make()).or_else(constraint);
        let mut requests = plan.requests(&model, &prompt, &form, "input")?;
        requests.iter_mut().for_each(|request| request.guidance.clone_from(&guidance));
        let (n_prompt, is_stream) = (prompt.n_tokens(), asked.stream.unwrap_or(false));
        Ok((Self { n_prompt, given, seed, is_stream, stops: plan.stops, model: model.clone() }, requests))
    }

    fn model(&self) -> &Arc<Served> {
        &self.model
    }

    fn is_stream(&self) -> bool {
        self.is_stream
    }

    async fn whole(&self, answers: Answers, head: &Head) -> Result<Value, Problem> {
        let mut growing = self.begin(answers.len());
        let mut items = Vec::with_capacity(growing.len());
        let mut pieces = self.pieces(answers);
        while let Some(piece) = pieces.next().await? {
            items.extend(self.add(&piece, &mut growing));
        }
        items.sort_by_key(|item| item.index);
        let usage = pieces.usage(self.n_prompt, growing.len());
        Ok(generate::generation(head, self.model.modality.name(), self.seed, &items, &usage))
    }

    async fn write(&self, answers: Answers, head: &Head, mut events: Events) -> Result<(), Ended> {
        let mut growing = self.begin(answers.len());
        let shows_text = self.model.modality.constraint(&self.model.codebook).is_none();
        let mut pieces = self.pieces(answers);
        while let Some(piece) = events.wait(pieces.next()).await?? {
            if shows_text && !piece.text.is_empty() {
                events.send(&generate::delta(head, piece.choice, &piece.text)).await?;
            }
            if let Some(item) = self.add(&piece, &mut growing) {
                events.send(&generate::item(head, self.seed, &item)).await?;
            }
        }
        let usage = pieces.usage(self.n_prompt, growing.len());
        events.send(&generate::generation(head, self.model.modality.name(), self.seed, &[], &usage)).await?;
        events.send_done().await
    }
}
