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
            Some((p, key)) => dropout(tape, &x, p, key.fold(u64::MAX)),
            None => x,
        }
    }
}
