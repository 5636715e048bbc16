//! From the recipe's `[model]` table to an architecture.

use super::tables::{ModelRecipe, NormChoice, PositionKind};
use super::{Reasons, suggestion};
use crate::config::{Head, ModelConfig, Norm, Position, Rotary, Window};
use crate::error::{Error, Result};
use crate::presets::{self, Architecture, Preset, Sizes, Stacks};

impl ModelRecipe {
    /// The architecture for a vocabulary of `vocab_size` tokens.
    ///
    /// # Errors
    /// When the preset is unknown, or the sizes do not fit together.
    pub fn config(&self, vocab_size: usize) -> Result<ModelConfig> {
        let mut complete = self.clone();
        complete.complete(&mut Reasons::default())?;
        let sizes = complete.sizes(vocab_size)?;
        complete.architecture()?.config(&sizes)
    }

    /// Which stacks the model has.
    ///
    /// # Errors
    /// When the preset is unknown.
    pub fn stacks(&self) -> Result<Stacks> {
        Ok(self.preset()?.architecture.stacks)
    }

    fn preset(&self) -> Result<&'static Preset> {
        presets::find(&self.preset).ok_or_else(|| {
            let names: Vec<&str> = presets::ALL.iter().map(|preset| preset.name).collect();
            let near = suggestion(&self.preset, names.iter().copied());
            let message =
                format!("model.preset: unknown preset '{}'{near}; known are {}", self.preset, names.join(", "));
            Error::Recipe(message)
        })
    }

    /// The preset's architecture with what the recipe says otherwise.
    fn architecture(&self) -> Result<Architecture> {
        let mut architecture = self.preset()?.architecture.clone();
        architecture.position = self.position_like(&architecture.position);
        architecture.norm = self.norm_like(architecture.norm);
        architecture.placement = self.placement.unwrap_or(architecture.placement);
        architecture.activation = self.activation.unwrap_or(architecture.activation);
        architecture.gated = self.gated.unwrap_or(architecture.gated);
        architecture.bias = self.bias.unwrap_or(architecture.bias);
        architecture.embedding.scaled = self.scale_embedding.unwrap_or(architecture.embedding.scaled);
        architecture.head = match (self.tied, architecture.head) {
            (Some(false), _) => Head::Untied,
            (Some(true), Head::Untied | Head::None) => Head::Tied { bias: false, scaled: false },
            (_, head) => head,
        };
        architecture.window = self.window.map(|tokens| Window::regular(tokens, self.window_full_every));
        Ok(architecture)
    }

    /// The scheme that the recipe names, with the settings of the preset's where that is the same.
    fn position_like(&self, preset: &Position) -> Position {
        let position = match self.position {
            None => return self.with_theta(preset.clone()),
            Some(kind) if kind == PositionKind::from(preset) => preset.clone(),
            Some(PositionKind::None) => Position::None,
            Some(PositionKind::Learned) => Position::Learned,
            Some(PositionKind::Sinusoidal) => Position::Sinusoidal,
            Some(PositionKind::Rotary) => Position::Rotary(Rotary::plain(10_000.0, 0)),
            Some(PositionKind::Alibi) => Position::Alibi,
            Some(PositionKind::Relative) => Position::RelativeBias { n_buckets: 32, max_distance: 128 },
        };
        self.with_theta(position)
    }

    fn with_theta(&self, position: Position) -> Position {
        match position {
            Position::Rotary(rotary) => {
                Position::Rotary(Rotary { theta: self.rope_theta.unwrap_or(rotary.theta), ..rotary })
            }
            other => other,
        }
    }

    /// Without biases, a layer norm has none either.
    fn norm_like(&self, preset: Norm) -> Norm {
        let eps = self.norm_eps.map_or(preset.eps(), |eps| eps as f32);
        match self.norm.unwrap_or(NormChoice::from(preset)) {
            NormChoice::Layer => Norm::Layer { eps, bias: self.bias.unwrap_or(true) },
            NormChoice::Rms => Norm::Rms { eps },
        }
    }

    fn sizes(&self, vocab_size: usize) -> Result<Sizes> {
        let Self { n_layers, n_heads, d_model, context_len, .. } = *self;
        let d_head = self.d_head.ok_or_else(|| {
            Error::Config(format!(
                "model.d_model ({d_model}) is not a multiple of model.n_heads ({n_heads}); change one of them, or set model.d_head"
            ))
        })?;
        Ok(Sizes {
            vocab_size,
            context_len,
            d_model,
            n_layers,
            n_encoder_layers: self.n_encoder_layers.unwrap_or(n_layers),
            n_heads,
            n_kv_heads: self.n_kv_heads.unwrap_or(n_heads),
            d_head,
            d_ff: self.d_ff.unwrap_or_default(),
        })
    }

    /// Derives what is left out; the width of a head only where it is a whole number.
    pub(super) fn complete(&mut self, reasons: &mut Reasons) -> Result<()> {
        let architecture = self.architecture()?;
        let as_preset = format!("as in the preset {}", self.preset);
        let Self { n_layers, n_heads, d_model, .. } = *self;
        let mut fill = Fill { reasons };
        if architecture.stacks == Stacks::EncoderDecoder {
            fill.with("n_encoder_layers", &mut self.n_encoder_layers, n_layers, "as many as the decoder has");
        }
        fill.with("n_kv_heads", &mut self.n_kv_heads, n_heads, "one for each query head");
        if n_heads > 0 && d_model.is_multiple_of(n_heads) {
            fill.with("d_head", &mut self.d_head, d_model / n_heads, "d_model / n_heads");
        }
        let rule = if architecture.gated { "8/3 of d_model, rounded up to 32" } else { "4 times d_model" };
        let d_ff = if d_model < 1 << 28 { architecture.usual_d_ff(d_model) } else { d_model };
        fill.with("d_ff", &mut self.d_ff, d_ff, rule);
        fill.with("position", &mut self.position, PositionKind::from(&architecture.position), &as_preset);
        if let Position::Rotary(Rotary { theta, .. }) = architecture.position {
            fill.with("rope_theta", &mut self.rope_theta, theta, "as first published");
        }
        fill.with("norm", &mut self.norm, architecture.norm.into(), &as_preset);
        // Through the shortest decimal form: the f32 nearest 1e-5 is 0.000009999999747… as an f64.
        let eps = architecture.norm.eps().to_string().parse().unwrap_or_default();
        fill.with("norm_eps", &mut self.norm_eps, eps, &as_preset);
        fill.with("placement", &mut self.placement, architecture.placement, &as_preset);
        fill.with("activation", &mut self.activation, architecture.activation, &as_preset);
        fill.with("gated", &mut self.gated, architecture.gated, &as_preset);
        fill.with("bias", &mut self.bias, architecture.bias, &as_preset);
        fill.with("tied", &mut self.tied, architecture.head != Head::Untied, &as_preset);
        fill.with("scale_embedding", &mut self.scale_embedding, architecture.embedding.scaled, &as_preset);
        Ok(())
    }
}

struct Fill<'r> {
    reasons: &'r mut Reasons,
}

impl Fill<'_> {
    /// Gives a key that is left out its value, with the reason.
    fn with<T>(&mut self, key: &str, field: &mut Option<T>, value: T, reason: &str) {
        if field.is_none() {
            *field = Some(value);
            self.reasons.add(&format!("model.{key}"), reason);
        }
    }
}

impl From<&Position> for PositionKind {
    fn from(position: &Position) -> Self {
        match position {
            Position::None => PositionKind::None,
            Position::Learned => PositionKind::Learned,
            Position::Sinusoidal => PositionKind::Sinusoidal,
            Position::Rotary(_) => PositionKind::Rotary,
            Position::Alibi => PositionKind::Alibi,
            Position::RelativeBias { .. } => PositionKind::Relative,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FeedForward, Shape};
    use genera_tensor::Activation;

    fn recipe(keys: &str) -> ModelRecipe {
        crate::recipe::Recipe::parse(&format!("[model]\n{keys}")).unwrap().model
    }

    #[test]
    fn keys_override_the_preset() {
        let keys = "preset = \"llama\"\nposition = \"learned\"\nnorm = \"layer\"\nbias = false\nactivation = \"relu\"\ngated = false\ntied = true\nwindow = 16";
        let config = recipe(keys).config(50).unwrap();
        assert_eq!(config.position, Position::Learned);
        assert_eq!(config.norm, Norm::Layer { eps: 1e-6, bias: false });
        assert_eq!(config.head, Head::Tied { bias: false, scaled: false });
        let Shape::DecoderOnly(stack) = &config.shape else { panic!("{config:?}") };
        assert_eq!(stack.feed_forward, FeedForward::Plain { activation: Activation::Relu, d_ff: 512, bias: false });
        assert_eq!(stack.attention.window, Some(Window::regular(16, 0)));
    }

    #[test]
    fn a_completed_recipe_is_the_same_model() {
        for preset in presets::ALL {
            let given = recipe(&format!("preset = \"{}\"", preset.name));
            let mut complete = given.clone();
            complete.complete(&mut Reasons::default()).unwrap();
            assert_eq!(complete.config(99).unwrap(), given.config(99).unwrap(), "{}", preset.name);
        }
    }

    #[test]
    fn what_does_not_fit_is_explained() {
        let error = |keys| recipe(keys).config(50).unwrap_err().to_string();
        assert!(error("preset = \"lama\"").contains("did you mean 'llama'?"));
        assert!(error("d_model = 130").contains("model.d_model (130) is not a multiple of model.n_heads (4)"));
        assert!(error("n_heads = 0").contains("(0)"));
        assert!(error("rope_theta = 0.0").contains("rope_theta is 0; rotary positions need"));
        assert!(error("rope_theta = -5.0").contains("rope_theta is -5"));
        assert!(error("norm_eps = 0.0").contains("norm_eps is 0 in 32 bits"));
        assert!(error("norm_eps = 1e-50").contains("norm_eps is 0 in 32 bits"));
        assert!(error("norm = \"layer\"\nnorm_eps = -1e-5").contains("norm_eps is -0.00001"));
        assert!(error("norm_eps = 1e50").contains("norm_eps is inf"));
        assert!(error("n_kv_heads = 3").contains("not a multiple of n_kv_heads (3)"));
        assert!(error("d_model = 9000000000000000000").contains("is 9000000000000000000"));
        assert!(error("n_layers = 1000000000").contains("n_layers is 1000000000; at most"));
        assert!(error("n_heads = 100000\nd_head = 8").contains("n_heads is 100000; at most"));
        assert!(error("n_layers = 0").contains("n_layers is 0"));
    }
}
