//! The logits of given tokens, for comparison with other programs.

use super::request::refuse_if;
use super::sampling::check_token;
use crate::config::{Head, ModelConfig};
use crate::error::{Error, Result};
use crate::model::{Mode, Rows, Transformer};
use genera_tensor::{Tape, Tensor};
use genera_tokens::TokenId;

/// What the model says about every position of the rows, which must be of equal length: logits, or hidden states where
/// there is no head.
///
/// `tokens` go to the encoder where there is one, and `decoder_tokens` then to the decoder. Rows may be longer than the model
/// was made for, as far as its positions reach.
///
/// # Shapes
/// Result: [B, T, V], or [B, T, D] without a head, in f32.
///
/// # Errors
/// [`Error::Request`] when the rows are not what the model can read.
pub fn logits_of(
    model: &Transformer,
    tokens: &[Vec<TokenId>],
    decoder_tokens: Option<&[Vec<TokenId>]>,
) -> Result<Tensor> {
    let config = model.config();
    let rows = rows_of("tokens", tokens, config)?;
    let tape = Tape::inference(model.device());
    let (rows, memory) = match (config.is_encoder_decoder(), decoder_tokens) {
        (false, None) => (rows, None),
        (true, Some(decoder_tokens)) => {
            let decoder_rows = rows_of("decoder tokens", decoder_tokens, config)?;
            refuse_if(decoder_rows.b != rows.b, || {
                format!(
                    "there are {} rows of tokens and {} of decoder tokens; give one for each",
                    rows.b, decoder_rows.b
                )
            })?;
            (decoder_rows, Some(model.encode(&tape, &rows, Mode::default())))
        }
        (false, Some(_)) => {
            return Err(Error::Request(
                "the model has one stack and reads no decoder tokens; leave them out".to_owned(),
            ));
        }
        (true, None) => {
            let message = "the model is an encoder-decoder: give decoder tokens as well, starting with its begin token";
            return Err(Error::Request(message.to_owned()));
        }
    };
    let hidden = model.decode(&tape, &rows, memory, Mode::default());
    let result = if config.head == Head::None { hidden.into_tensor() } else { model.logits(&hidden) };
    let width = result.shape().last();
    Ok(result.cast(genera_tensor::DType::F32).reshape([rows.b, rows.t, width]))
}

fn rows_of(what: &str, rows: &[Vec<TokenId>], config: &ModelConfig) -> Result<Rows> {
    let t = rows.first().map_or(0, Vec::len);
    refuse_if(t == 0, || format!("there are no {what}; give at least one"))?;
    let longest = config.longest(true);
    refuse_if(t > longest, || format!("there are {t} {what}, but the model's context holds {longest}; give fewer"))?;
    for row in rows {
        refuse_if(row.len() != t, || format!("rows of {what} must be of equal length; found {t} and {}", row.len()))?;
        row.iter().try_for_each(|&token| check_token(what, token, config.vocab_size))?;
    }
    Ok(Rows::dense(t, &rows.concat()))
}
