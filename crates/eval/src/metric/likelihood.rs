//! How likely a model finds documents.

use super::Metric;
use crate::{Better, Error, Statistics, Unit};
use std::f64::consts::LN_2;

/// What a model gave to one document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likelihood {
    /// Negative natural logarithm of the probability, summed over tokens.
    pub nats: f64,
    /// How many tokens were predicted, an end-of-text token included where there is one.
    pub n_tokens: usize,
    /// How many bytes of text those tokens stand for.
    pub n_bytes: usize,
}

impl Likelihood {
    /// One row a document, for the metrics of this file.
    ///
    /// # Errors
    /// When a likelihood is negative or not finite, or no document has a token.
    pub fn statistics(documents: &[Self]) -> Result<Statistics, Error> {
        let is_wrong = |d: &&Self| !(d.nats.is_finite() && d.nats >= 0.0);
        if let Some((document, wrong)) = documents.iter().enumerate().find(|(_, d)| is_wrong(d)) {
            return Err(Error::NotALikelihood { document, nats: wrong.nats });
        }
        if documents.iter().all(|d| d.n_tokens == 0) {
            return Err(Error::NoTokens);
        }
        Ok(Statistics::new(documents.iter().map(|d| [d.nats, d.n_tokens as f64, d.n_bytes as f64]), ""))
    }
}

/// Mean loss: nats for each token.
///
/// Comparable between models with the same tokenizer only.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NatsPerToken;

/// Bits for each byte of text: the size of the text compressed by the model, over 8 times that of the text.
///
/// Comparable between tokenizers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BitsPerByte;

/// e to the mean loss: between how many equally likely tokens the model wavers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity;

impl Metric for NatsPerToken {
    fn name(&self) -> &'static str {
        "nats_per_token"
    }

    fn summary(&self) -> &'static str {
        "mean loss"
    }

    fn unit(&self) -> Unit {
        Unit::NatsPerToken
    }

    fn better(&self) -> Better {
        Better::Lower
    }

    fn score(&self, sums: &[f64]) -> f64 {
        sums[0] / sums[1]
    }
}

impl Metric for BitsPerByte {
    fn name(&self) -> &'static str {
        "bits_per_byte"
    }

    fn summary(&self) -> &'static str {
        "mean loss in bits for each byte of text, comparable between tokenizers"
    }

    fn unit(&self) -> Unit {
        Unit::BitsPerByte
    }

    fn better(&self) -> Better {
        Better::Lower
    }

    fn score(&self, sums: &[f64]) -> f64 {
        sums[0] / LN_2 / sums[2]
    }
}

impl Metric for Perplexity {
    fn name(&self) -> &'static str {
        "perplexity"
    }

    fn summary(&self) -> &'static str {
        "e to the mean loss"
    }

    fn unit(&self) -> Unit {
        Unit::Choices
    }

    fn better(&self) -> Better {
        Better::Lower
    }

    fn score(&self, sums: &[f64]) -> f64 {
        NatsPerToken.score(sums).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_weigh_by_their_length() {
        // 30 tokens at 1/16 and 10 at 1/2: 4 bits and 1 bit a token, over 65 bytes.
        let long = Likelihood { nats: 30.0 * 16f64.ln(), n_tokens: 30, n_bytes: 45 };
        let short = Likelihood { nats: 10.0 * 2f64.ln(), n_tokens: 10, n_bytes: 20 };
        let sums = Likelihood::statistics(&[long, short]).unwrap().sum();
        let expect = [
            (NatsPerToken.score(&sums), 3.25 * LN_2),
            (BitsPerByte.score(&sums), 2.0),
            (Perplexity.score(&sums), 9.513_656_920_021_768),
        ];
        for (score, expect) in expect {
            assert!((score - expect).abs() < 1e-12, "{score}, not {expect}");
        }
    }

    #[test]
    fn what_is_no_likelihood_is_refused() {
        let document = |nats, n_tokens| Likelihood { nats, n_tokens, n_bytes: 1 };
        for nats in [f64::NAN, f64::INFINITY, -0.5] {
            let error = Likelihood::statistics(&[document(1.0, 1), document(nats, 1)]).unwrap_err();
            assert!(error.to_string().starts_with("document 2 scored"), "{error}");
        }
        assert_eq!(Likelihood::statistics(&[document(0.0, 0)]), Err(Error::NoTokens));
        assert_eq!(Likelihood::statistics(&[]), Err(Error::NoTokens));
    }
}
