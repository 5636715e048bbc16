//! What a model makes of whole texts, as one vector each.

use super::request::refuse_if;
use super::sampling::check_token;
use crate::error::{Error, Result};
use crate::model::{Mode, Pooling, Rows, Transformer};
use genera_tensor::{DType, Tape, Tensor};
use genera_tokens::TokenId;

/// A text's vector from the last hidden states of its tokens, as the model's files say it: or else their mean, scaled to
/// length 1. A model with two stacks reads it with its encoder.
///
/// # Shapes
/// Result: `[D]`.
///
/// # Errors
/// [`Error::Request`](crate::Error::Request) when the text is empty, longer than positions reach, or holds a token that does
/// not exist, and when the model's files ask for a way that is not known.
///
/// # Source
/// Reimers and Gurevych, "Sentence-BERT", arXiv 1908.10084, section 3 (mean of all output vectors).
pub fn embed(model: &Transformer, tokens: &[TokenId]) -> Result<Vec<f32>> {
    let hidden = hidden_of_text(model, tokens, Mode::default())?.cast(DType::F32);
    let usual = Pooling::default();
    model.pooling().unwrap_or(&usual).pool(hidden.view().f32(), model.config().d_model).map_err(|way| {
        Error::Request(format!(
            "this model makes vectors of texts by {way}, which is not computed here; expected the mean, the first, the last or the \
             largest of the hidden states"
        ))
    })
}

/// The last hidden states of a whole text. A model with two stacks reads it with its encoder.
///
/// # Shapes
/// Result: `[T, D]`.
///
/// # Errors
/// As [`embed`].
pub(super) fn hidden_of_text(model: &Transformer, tokens: &[TokenId], mode: Mode<'_>) -> Result<Tensor> {
    let config = model.config();
    refuse_if(tokens.is_empty(), || "the text has no tokens; give at least one".to_owned())?;
    let longest = config.longest(true);
    refuse_if(tokens.len() > longest, || {
        format!("the text has {} tokens, but the model's context holds {longest}", tokens.len())
    })?;
    tokens.iter().try_for_each(|&token| check_token("text", token, config.vocab_size))?;
    let (tape, rows) = (Tape::inference(model.device()), Rows::dense(tokens.len(), tokens));
    let hidden = if config.is_encoder_decoder() {
        model.encode(&tape, &rows, mode).hidden
    } else {
        model.decode(&tape, &rows, None, mode)
    };
    Ok(hidden.into_tensor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ModelConfig, Position};
    use crate::generate::tests::models;
    use crate::model::Taken;
    use genera_tensor::Device;

    #[test]
    fn a_text_becomes_a_vector_of_length_one() {
        let model = models::model(&models::plain(), DType::F32, &Device::cpu(2));
        let vector = embed(&model, &[1, 2, 3]).unwrap();
        assert_eq!(vector.len(), 16);
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        assert_ne!(vector, embed(&model, &[1, 3, 2]).unwrap(), "the order counts");
        assert!(embed(&model, &[]).unwrap_err().to_string().contains("no tokens"));
        assert!(embed(&model, &[99]).unwrap_err().to_string().contains("does not exist"));
        assert_eq!(embed(&model, &[1; 99]).unwrap().len(), 16, "rotary positions go on");
        let mut model = model;
        let way = |taken: Taken| Some(Pooling { taken, normalizes: false, ..Pooling::default() });
        model.set_pooling(way(Taken::First));
        let first = embed(&model, &[1, 2, 3]).unwrap();
        assert_eq!(embed(&model, &[1]).unwrap(), first, "a causal model sees nothing behind it");
        model.set_pooling(way(Taken::Unknown("rank".to_owned())));
        assert!(embed(&model, &[1]).unwrap_err().to_string().contains("by rank, which is not computed"));
        let learned = ModelConfig { position: Position::Learned, ..models::plain() };
        let model = models::model(&learned, DType::F32, &Device::cpu(2));
        assert!(embed(&model, &[1; 99]).unwrap_err().to_string().contains("context holds 24"));
    }
}
