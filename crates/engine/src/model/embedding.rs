//! Token ids to vectors: the start of the residual stream, in f32.

use super::norm::NormLayer;
use super::position::Positions;
use super::projection::Projection;
use super::transformer::{Mode, Rows};
use crate::config::ModelConfig;
use crate::params::{Params, place_of_tokens};
use genera_tensor::op::{Linear, cast, dropout, embedding, embedding_add};
use genera_tensor::{DType, ParamId, Tape, Var};
use std::sync::Arc;

/// The look-up tables of a stack.
#[derive(Debug)]
pub(super) struct Embeddings {
    tokens: ParamId,
    projection: Option<ParamId>,
    positions: Option<ParamId>,
    segments: Option<ParamId>,
    norm: Option<NormLayer>,
    scale: f32,
    /// Tells the stacks' dropout masks apart.
    salt: u64,
}

impl Embeddings {
    pub(super) fn new(stack: &str, config: &ModelConfig, params: &Params) -> Self {
        let prefix = place_of_tokens(config, stack);
        Self {
            tokens: params.id("embedding.weight"),
            projection: params.find("embedding.projection.weight"),
            positions: params.find(&format!("{prefix}.position")),
            segments: params.find("embedding.segment"),
            norm: config.embedding.norm.then(|| NormLayer::new(&format!("{prefix}.norm"), config, params)),
            scale: config.embedding_scale(),
            salt: u64::MAX - u64::from(config.is_encoder_decoder() && stack == "decoder"),
        }
    }

    /// # Shapes
    /// Result: [B·T, D] in f32.
    pub(super) fn embed<'a>(
        &'a self,
        tape: &Tape<'a>,
        params: &'a Params,
        positions: &Positions,
        rows: &Rows,
        mode: Mode<'_>,
    ) -> Var {
        let mut x = embedding(tape, &params.table(tape, self.tokens), &rows.tokens, self.scale);
        if let Some(id) = self.projection {
            let narrow = cast(tape, &x, params.compute_dtype());
            let projection = Projection { tape, params, dropout: mode.adapter_dropout };
            x = projection.apply(&narrow, id, Linear::plain(DType::F32));
        }
        if let Some(id) = self.positions {
            x = embedding_add(tape, x, &params.exact(tape, id), &rows.positions, 1.0);
        }
        if let Some(table) = positions.sinusoids() {
            x = embedding_add(tape, x, &table, &rows.positions, 1.0);
        }
        if let Some(id) = self.segments {
            // Plain text is all of the first segment type.
            let first: Arc<[u32]> = rows.tokens.iter().map(|_| 0).collect();
            x = embedding_add(tape, x, &params.exact(tape, id), &first, 1.0);
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(tape, params, &x, DType::F32);
        }
        match mode.dropout {
            Some((p, key)) => dropout(tape, &x, p, key.fold(self.salt)),
            None => x,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::initial_params;
    use crate::train::fixture::{config, preset};
    use genera_tensor::{Device, Key};

    /// A source and a target of the same tokens are silenced in other places.
    #[test]
    fn each_stack_has_dropout_of_its_own() {
        let (device, p, key) = (Device::cpu(1), 0.5, Key::new(3));
        for (name, stack, salt) in
            [("gpt2", "decoder", u64::MAX), ("marian", "encoder", u64::MAX), ("marian", "decoder", u64::MAX - 1)]
        {
            let config = config(preset(name));
            let params = initial_params(&config, 1, DType::F32, &device);
            let (embeddings, positions) = (Embeddings::new(stack, &config, &params), Positions::new(&config, &device));
            let mode = Mode { dropout: Some((p, key)), ..Mode::default() };
            let x = embeddings.embed(&Tape::inference(&device), &params, &positions, &Rows::dense(8, &[5; 16]), mode);
            for (i, x) in (0..).zip(x.tensor().to_vec()) {
                assert_eq!(x == 0.0, key.fold(salt).uniform(i) < p, "{name}, {stack}: {x} at {i}");
            }
        }
    }
}
