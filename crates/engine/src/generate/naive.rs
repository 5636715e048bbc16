//! The reference for everything else here: no cache, no batch, the whole context again for every token.

use super::guide::lead;
use super::prefill::padded;
use super::progress::{Next, Progress};
use super::request::{Answer, Request, RequestId};
use super::sampler::{Logits, Scratch};
use crate::error::Result;
use crate::model::{Mode, Transformer};
use genera_tensor::op::gather_rows;
use genera_tensor::{Tape, Tensor};
use genera_tokens::TokenId;

/// What [`Generator`](super::Generator) must give for the same request.
///
/// # Errors
/// [`Error::Request`](crate::Error::Request) when the model cannot meet the request.
///
/// # Cost
/// A full forward pass for every token.
pub fn generate_naively(model: &Transformer, request: Request) -> Result<Answer> {
    request.validate(model.config())?;
    let mut progress = Progress::new(RequestId(0), request, model);
    let mut scratch = Scratch::default();
    loop {
        let source = progress.source.as_deref();
        let mut logits = logits_behind(model, source, &progress.context);
        if let Some((scale, other)) = progress.guided() {
            let mut led = logits.view().f32().to_vec();
            lead(&mut led, logits_behind(model, source, &other).view().f32(), scale);
            logits = Tensor::from_f32(model.device(), logits.dims::<2>(), &led);
        }
        if let Next::End | Next::Token(_, true) = progress.advance(Logits::of_one(&logits), &mut scratch) {
            return Ok(progress.into_answer());
        }
    }
}

/// The logits of the token behind a context: one whole forward pass.
///
/// # Shapes
/// Result: [1, V].
pub(super) fn logits_behind(model: &Transformer, source: Option<&[TokenId]>, context: &[TokenId]) -> Tensor {
    let tape = Tape::inference(model.device());
    let memory = source.map(|source| model.encode(&tape, &padded(&[source]), Mode::default()));
    let hidden = model.decode(&tape, &padded(&[context]), memory, Mode::default());
    let last = [context.len() as u32 - 1].into();
    model.logits(&gather_rows(&tape, &hidden, &last))
}
