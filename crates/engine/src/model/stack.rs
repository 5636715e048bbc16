//! Equal blocks on top of each other, and what they share.

use super::block::Block;
use super::cache::Continuation;
use super::norm::NormLayer;
use super::position::Angles;
use super::transformer::{Mode, Rows, Transformer};
use super::visibility::StackMask;
use crate::config::{ModelConfig, Placement, Stack};
use crate::params::Params;
use genera_tensor::{ParamId, Tape, Tensor, Var};
use std::sync::Arc;

/// What all blocks of a pass share.
#[derive(Clone)]
pub struct Context<'m> {
    /// The tokens.
    pub rows: Rows,
    /// Who sees whom, layer by layer.
    pub(super) mask: StackMask,
    /// Where rotary positions find a token's angles.
    pub(super) angles: Angles,
    /// The encoder's output.
    pub memory: Option<Memory>,
    /// Dropout and the like.
    pub mode: Mode<'m>,
    /// Tells the stacks' dropout masks apart.
    pub(super) salt: u64,
}

/// The encoder's output, for cross attention.
#[derive(Clone, Debug)]
pub struct Memory {
    /// [B·S, D]
    pub hidden: Var,
    /// Padded source length S.
    pub s: usize,
    /// `[B]`: real source tokens of each row.
    pub lens: Option<Arc<[u32]>>,
}

#[derive(Debug)]
pub(super) struct StackLayers {
    blocks: Vec<Block>,
    norm: Option<NormLayer>,
    relative_bias: Option<ParamId>,
    is_causal: bool,
}

impl StackLayers {
    pub(super) fn new(name: &str, stack: &Stack, has_cross: bool, config: &ModelConfig, params: &Params) -> Self {
        let block = |layer| Block::new(name, layer, stack, has_cross, config, params);
        let has_norm = config.placement != Placement::Post;
        Self {
            blocks: (0..stack.n_layers).map(block).collect(),
            norm: has_norm.then(|| NormLayer::new(&format!("{name}.norm"), config, params)),
            relative_bias: params.find(&format!("{name}.relative_bias")),
            is_causal: name == "decoder",
        }
    }

    pub(super) fn n_blocks(&self) -> usize {
        self.blocks.len()
    }

    /// # Shapes
    /// x: [B·T, D] in f32; result: [B·T, D], in the products' storage type when there is a last norm, else in f32.
    pub(super) fn forward<'a>(
        &'a self,
        tape: &Tape<'a>,
        model: &'a Transformer,
        mut x: Var,
        context: &Context<'_>,
        cache: Option<&mut Continuation<'_>>,
    ) -> Var {
        let params = model.params();
        let n_keys = cache.as_ref().map_or(context.rows.t, |cache| cache.n_keys_max());
        let table = self.relative_bias.map(|id| params.exact(tape, id));
        let bias = model.positions().bias(tape, table.as_ref(), n_keys, self.is_causal);
        match cache {
            Some(cache) => {
                cache.reserve();
                for block in &self.blocks {
                    x = block.forward(tape, model, x, context, bias.as_ref(), Some(cache));
                }
                cache.advance();
            }
            None => {
                let n_replayed = if tape.is_recording() { context.mode.recomputed_blocks } else { 0 };
                for (layer, block) in self.blocks.iter().enumerate() {
                    x = if layer < n_replayed {
                        replayed(tape, model, block, x, context, bias.as_ref())
                    } else {
                        block.forward(tape, model, x, context, bias.as_ref(), None)
                    };
                }
            }
        }
        match &self.norm {
            Some(norm) => norm.forward(tape, params, &x, params.compute_dtype()),
            None => x,
        }
    }

    /// Keys and values of the encoder's output in every block.
    ///
    /// # Shapes
    /// Each: [B·S, 2·G·K].
    pub(super) fn keys_values_of(&self, tape: &Tape<'_>, params: &Params, memory: &Memory) -> Vec<Tensor> {
        let keys_values = |block: &Block| {
            let cross = block.cross().expect("every block of a decoder with an encoder has cross attention");
            cross.keys_values(tape, params, memory, None).into_tensor()
        };
        self.blocks.iter().map(keys_values).collect()
    }
}

/// A block whose inside is computed again on the way back.
fn replayed<'a>(
    tape: &Tape<'a>,
    model: &'a Transformer,
    block: &'a Block,
    x: Var,
    context: &Context<'_>,
    bias: Option<&(Var, usize)>,
) -> Var {
    // Everything that a gradient flows into must be an input of the stretch: x, the encoder's output, the bias.
    let mut inputs = vec![x];
    inputs.extend(context.memory.as_ref().map(|memory| memory.hidden.clone()));
    inputs.extend(bias.map(|(bias, _)| bias.clone()));
    let origin = bias.map(|(_, origin)| *origin);
    let memory = context.memory.as_ref().map(|memory| (memory.s, memory.lens.clone()));
    let Mode { dropout, adapter_dropout, .. } = context.mode;
    let mode = Mode { dropout, adapter_dropout, ..Mode::default() };
    let (rows, mask, salt) = (context.rows.clone(), context.mask.clone(), context.salt);
    let angles = context.angles.clone();
    tape.checkpoint(inputs, move |tape, inputs| {
        let mut inputs = inputs.iter().cloned();
        let mut next = || inputs.next().expect("the stretch gets the inputs it was recorded with");
        let x = next();
        let memory = memory.clone().map(|(s, lens)| Memory { hidden: next(), s, lens });
        let bias = origin.map(|origin| (next(), origin));
        let context = Context { rows: rows.clone(), mask: mask.clone(), angles: angles.clone(), memory, mode, salt };
        block.forward(tape, model, x, &context, bias.as_ref(), None)
    })
}
