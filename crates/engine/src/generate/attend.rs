//! Who attends to whom in a text, for pictures.

use super::embed::hidden_of_text;
use crate::error::Result;
use crate::model::{Captured, Mode, Probe, Transformer};
use genera_tokens::TokenId;

/// Runs the model over a text and gives what went into each attention layer, in their order ([`Captured::weights`] makes
/// a picture of it). A model with two stacks reads it with its encoder.
///
/// # Errors
/// [`Error::Request`](crate::Error::Request) when the text is empty, longer than the context, or holds a token that does not exist.
pub fn attend(model: &Transformer, tokens: &[TokenId]) -> Result<Vec<Captured>> {
    let probe = Probe::default();
    hidden_of_text(model, tokens, Mode { probe: Some(&probe), ..Mode::default() })?;
    Ok(probe.into_captured())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::tests::models;
    use genera_tensor::{DType, Device};

    #[test]
    fn every_head_spreads_its_attention_over_what_it_sees() {
        let model = models::model(&models::plain(), DType::F32, &Device::cpu(2));
        let layers = attend(&model, &[1, 2, 3, 4]).unwrap();
        assert!(!layers.is_empty());
        for layer in &layers {
            for head in layer.weights() {
                for (i, row) in head.iter().enumerate() {
                    assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{}: {row:?}", layer.name);
                    assert!(row[i + 1..].iter().all(|&weight| weight == 0.0), "nobody sees what is to come");
                }
            }
        }
        assert!(attend(&model, &[]).unwrap_err().to_string().contains("no tokens"));
        assert!(attend(&model, &[99]).unwrap_err().to_string().contains("does not exist"));
    }
}
