//! The tables of a recipe: every key with its meaning and its default.

use super::setting::choice;
use super::table::table;
use crate::config::{Norm, Placement};
use genera_tensor::Activation;

/// How tokens are laid out in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One endless text, cut anywhere.
    Contiguous,
    /// Documents one after another, each seeing only itself.
    Packed,
    /// One example a row, filled up to a common length.
    Padded,
}
choice!(Layout { "contiguous" => Layout::Contiguous, "packed" => Layout::Packed, "padded" => Layout::Padded });

/// How text becomes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerKind {
    /// A token for each character that occurs.
    Characters,
    /// A token for each byte.
    Bytes,
    /// Byte-pair encoding, learned from the data.
    Bpe,
    /// A `tokenizer.json` made elsewhere.
    File,
}
choice!(TokenizerKind {
    "characters" => TokenizerKind::Characters,
    "bytes" => TokenizerKind::Bytes,
    "bpe" => TokenizerKind::Bpe,
    "file" => TokenizerKind::File,
});

/// What kind of model learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The Transformer, token by token.
    Transformer,
    /// A generative adversarial network, for tables: a baseline. See [`crate::gan`].
    Gan,
}
choice!(Family { "transformer" => Family::Transformer, "gan" => Family::Gan });

/// Schemes of positions, without their settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionKind {
    /// See [`crate::config::Position::None`].
    None,
    /// See [`crate::config::Position::Learned`].
    Learned,
    /// See [`crate::config::Position::Sinusoidal`].
    Sinusoidal,
    /// See [`crate::config::Position::Rotary`].
    Rotary,
    /// See [`crate::config::Position::Alibi`].
    Alibi,
    /// See [`crate::config::Position::RelativeBias`].
    Relative,
}
choice!(PositionKind {
    "none" => PositionKind::None,
    "learned" => PositionKind::Learned,
    "sinusoidal" => PositionKind::Sinusoidal,
    "rotary" => PositionKind::Rotary,
    "alibi" => PositionKind::Alibi,
    "relative" => PositionKind::Relative,
});

/// Norms, without their settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormChoice {
    /// See [`Norm::Layer`].
    Layer,
    /// See [`Norm::Rms`].
    Rms,
}
choice!(NormChoice { "layer" => NormChoice::Layer, "rms" => NormChoice::Rms });

impl From<Norm> for NormChoice {
    fn from(norm: Norm) -> Self {
        match norm {
            Norm::Layer { .. } => NormChoice::Layer,
            Norm::Rms { .. } => NormChoice::Rms,
        }
    }
}

choice!(Placement {
    "pre" => Placement::Pre,
    "post" => Placement::Post,
    "sandwich" => Placement::Sandwich,
    "res_post" => Placement::ResPost,
    "parallel" => Placement::Parallel,
});

// Checkpoints have these names too; see `config::activation_name`.
choice!(Activation {
    "relu" => Activation::Relu,
    "gelu" => Activation::GeluErf,
    "gelu_tanh" => Activation::GeluTanh,
    "silu" => Activation::Silu,
});

/// How molecules become symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoleculeEncoding {
    /// SMILES.
    Smiles,
    /// Symbols of which every line is a molecule.
    Robust,
}
choice!(MoleculeEncoding { "smiles" => MoleculeEncoding::Smiles, "robust" => MoleculeEncoding::Robust });

/// Storage type of the products' operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// bf16 where the processor multiplies it, f32 elsewhere.
    Auto,
    /// All in f32.
    F32,
    /// bf16 with f32 master weights and f32 sums.
    Bf16,
}
choice!(Precision { "auto" => Precision::Auto, "f32" => Precision::F32, "bf16" => Precision::Bf16 });

/// How the learning rate goes after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleKind {
    /// Down half a cosine.
    Cosine,
    /// Down a straight line.
    Linear,
    /// Level, then down over the last `decay_steps` ("warm-up, stable, decay").
    Wsd,
    /// Down with the square root of the step.
    InverseSqrt,
    /// Level.
    Constant,
}
choice!(ScheduleKind {
    "cosine" => ScheduleKind::Cosine,
    "linear" => ScheduleKind::Linear,
    "wsd" => ScheduleKind::Wsd,
    "inverse_sqrt" => ScheduleKind::InverseSqrt,
    "constant" => ScheduleKind::Constant,
});

/// How weights follow gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay.
    AdamW,
    /// Orthogonalised momentum for matrices, AdamW for the rest.
    Muon,
    /// Plain gradients with momentum.
    Sgd,
}
choice!(OptimizerKind {
    "adamw" => OptimizerKind::AdamW,
    "muon" => OptimizerKind::Muon,
    "sgd" => OptimizerKind::Sgd,
});

table! {
    /// What it learns from.
    "data" => DataRecipe {
        /// Kind of data: text, translation, chat, preference, table, or a built-in source such as stories, copy, reverse, sort.
        kind: String = "text".to_owned(),
        /// Files and directories to learn from; relative to where the program is started.
        files: Vec<String> = Vec::new(),
        /// Files whose lines are what the lines of `files` are to become.
        target_files: Vec<String> = Vec::new(),
        /// Column or field that holds the text, in tables and JSON lines.
        column: Option<String> = None,
        /// Column or field that holds the target.
        target_column: Option<String> = None,
        /// Write every line end as one line feed.
        unify_newlines: bool = false,
        /// Bring composed characters to one form (Unicode NFC).
        normalise_unicode: bool = false,
        /// Drop documents with fewer characters.
        min_characters: Option<usize> = None,
        /// Drop documents with more characters.
        max_characters: Option<usize> = None,
        /// Drop documents that repeat an earlier one exactly.
        deduplicate: bool = false,
        /// Share of the data kept aside to measure what was learned.
        validation_fraction: f64 = 0.05,
        /// Files to measure on, instead of a share of the data.
        validation_files: Vec<String> = Vec::new(),
        /// Targets of `validation_files`.
        validation_target_files: Vec<String> = Vec::new(),
        /// Number of examples that a built-in source makes.
        n_examples: Option<u64> = None,
        /// How tokens are laid out in rows.
        layout: Option<Layout> = None,
        /// Longest source of an example; longer ones are left out.
        max_source_len: Option<usize> = None,
        /// Longest target of an example; longer ones are left out.
        max_target_len: Option<usize> = None,
        /// Number of tokens of a padded batch, instead of a fixed number of rows.
        tokens_per_batch: Option<usize> = None,
    }
}

table! {
    /// What a table holds beyond what its cells show.
    "table" => TableRecipe {
        /// What columns hold, where it is not to be found out: number, integer, category, boolean, date or id, as in
        /// "zip = category".
        types: Vec<String> = Vec::new(),
        /// What holds in each row between two numbers or dates, as in "start <= end".
        constraints: Vec<String> = Vec::new(),
        /// Columns whose values stand together only as they do in the data, as in "city + country".
        combinations: Vec<String> = Vec::new(),
        /// Columns that together never repeat, as in "name + birth".
        unique: Vec<String> = Vec::new(),
        /// Columns that are left out.
        skip: Vec<String> = Vec::new(),
        /// Column to be predicted from the others when the rows are judged; the last in which rows differ by default.
        target: Option<String> = None,
        /// Bins of a number at most.
        bins: usize = 128,
        /// What columns may hold, said beforehand instead of found out: a range as in "age = 17..90", values as in
        /// "sex = Male | Female"; "missing" among them stands for a gap. Privacy needs it for every column.
        domains: Vec<String> = Vec::new(),
        /// Merge categories of fewer rows, and as many of the least and greatest numbers.
        protect_rare: usize = 0,
        /// Learn to go on from any given columns; without it rows are shorter, and nothing can be asked of them.
        any_order: bool = true,
    }
}

table! {
    /// How data becomes tokens.
    "tokenizer" => TokenizerRecipe {
        /// Which tokenizer.
        kind: Option<TokenizerKind> = None,
        /// Number of tokens that byte-pair encoding learns.
        vocab_size: Option<usize> = None,
        /// The `tokenizer.json` of kind "file".
        file: Option<String> = None,
    }
}

table! {
    /// The model that training starts from (fine-tuning); without it a new one is made.
    "base" => BaseRecipe {
        /// A model directory in the Hugging Face layout, a GGUF file, or a run directory; its tokenizer is taken too.
        path: Option<String> = None,
        /// SHA-256 of its weights, so that a run goes on from the same ones.
        sha256: Option<String> = None,
        /// A file with a chat template in place of its own, if it has one; the run keeps what is in it.
        chat_template: Option<String> = None,
    }
}

table! {
    /// Low-rank adaptation: small matrices that are learned beside the frozen ones of the base.
    "train.lora" => LoraRecipe {
        /// Rank of the matrices; without it all weights are trained.
        rank: Option<usize> = None,
        /// Their product is multiplied by alpha / rank.
        alpha: Option<f64> = None,
        /// Share of the features that are silenced at random on their way into them.
        dropout: Option<f64> = None,
        /// The modules that have them, by the end of their published names, as "q_proj"; all linear layers of the blocks when absent.
        targets: Option<Vec<String>> = None,
    }
}

table! {
    /// Direct preference optimisation, for data of kind preference.
    "train.dpo" => DpoRecipe {
        /// How dear it is to leave the base: the factor on the log-probability ratios.
        beta: Option<f64> = None,
    }
}

table! {
    /// Differential privacy, for tables: what is published of the model tells little about any single row.
    "train.privacy" => PrivacyRecipe {
        /// How much a row may show at most (ε); without it there is no privacy.
        epsilon: Option<f64> = None,
        /// Probability with which that may be exceeded (δ).
        delta: Option<f64> = None,
        /// Noise on the sum of the rows' gradients, as a multiple of `train.clip`; follows from epsilon and delta.
        noise_multiplier: Option<f64> = None,
        /// Decides the noise and which rows a step sees. Drawn anew when absent; whoever knows it can take the noise off.
        secret: Option<u64> = None,
    }
}

table! {
    /// What learns.
    "model" => ModelRecipe {
        /// What kind of model: "transformer", or for tables also "gan", a generative adversarial network of n_layers hidden
        /// layers of width d_model as a baseline.
        family: Family = Family::Transformer,
        /// Family of architectures; every key below that is left out follows it.
        preset: String = "llama".to_owned(),
        /// Number of blocks, of the decoder where there are two stacks.
        n_layers: usize = 4,
        /// Number of blocks of the encoder.
        n_encoder_layers: Option<usize> = None,
        /// Number of query heads.
        n_heads: usize = 4,
        /// Number of key/value heads; divides `n_heads`.
        n_kv_heads: Option<usize> = None,
        /// Width of a head.
        d_head: Option<usize> = None,
        /// Width of the residual stream.
        d_model: usize = 128,
        /// Width of the feed-forward layers.
        d_ff: Option<usize> = None,
        /// Longest sequence, in tokens.
        context_len: usize = 128,
        /// How the model knows where a token stands.
        position: Option<PositionKind> = None,
        /// Base of the rotary frequencies.
        rope_theta: Option<f64> = None,
        /// Which norm.
        norm: Option<NormChoice> = None,
        /// Added to the variance or mean square in a norm.
        norm_eps: Option<f64> = None,
        /// Where the norms stand.
        placement: Option<Placement> = None,
        /// The non-linearity of the feed-forward layers.
        activation: Option<Activation> = None,
        /// Whether a gate goes through the non-linearity (SwiGLU, GeGLU).
        gated: Option<bool> = None,
        /// Biases on the matrices.
        bias: Option<bool> = None,
        /// Whether the head is the embedding table.
        tied: Option<bool> = None,
        /// Whether embeddings are multiplied by the square root of their width.
        scale_embedding: Option<bool> = None,
        /// Number of tokens that a token sees at most, itself included; everything when left out.
        window: Option<usize> = None,
        /// Every so many layers one sees everything in spite of `window`; 0 for none.
        window_full_every: usize = 0,
    }
}

table! {
    /// How it learns.
    "train" => TrainRecipe {
        /// Number of steps.
        steps: u64 = 1000,
        /// Rows of a micro-batch.
        batch_size: usize = 16,
        /// Micro-batches of a step, whose gradients are added up.
        accumulate: usize = 1,
        /// Decides the initial weights, the order of the data and the dropout masks.
        seed: u64 = 1,
        /// Storage type of the matrix products' operands.
        dtype: Precision = Precision::Auto,
        /// How weights follow gradients.
        optimizer: OptimizerKind = OptimizerKind::AdamW,
        /// Highest learning rate.
        learning_rate: f64 = 1e-3,
        /// Highest learning rate of matrices under Muon.
        muon_learning_rate: Option<f64> = None,
        /// Learning rate that the schedule goes down to, and would reach at the step after the last.
        min_learning_rate: Option<f64> = None,
        /// Steps over which the learning rate rises.
        warmup_steps: Option<u64> = None,
        /// How the learning rate goes after that.
        schedule: ScheduleKind = ScheduleKind::Cosine,
        /// Steps at the end over which the schedule "wsd" falls.
        decay_steps: Option<u64> = None,
        /// AdamW: how slowly the mean of the gradients is forgotten.
        beta1: f64 = 0.9,
        /// AdamW: how slowly the mean of their squares is forgotten.
        beta2: f64 = 0.95,
        /// AdamW: added to the root of the mean square.
        eps: f64 = 1e-8,
        /// Muon and SGD: how slowly earlier gradients are forgotten.
        momentum: f64 = 0.95,
        /// How much matrices shrink at each step, times the learning rate.
        weight_decay: f64 = 0.1,
        /// Longest gradient; a longer one is shortened to it. 0 for no limit.
        clip: f64 = 1.0,
        /// Share of the target's probability that is spread over all tokens.
        label_smoothing: f64 = 0.0,
        /// Share of features silenced at random while training.
        dropout: f64 = 0.0,
        /// How slowly the moving average of the weights follows them; 0 for no average.
        ema_decay: f64 = 0.0,
        /// Memory that training may take, in GiB; what the machine has to spare when absent.
        memory_gib: Option<f64> = None,
        /// Blocks of which only the input is kept, the rest being computed again on the way back (activation
        /// checkpointing): less memory, up to a third more time, the same weights. As few as fit the memory when absent.
        recomputed_blocks: Option<usize> = None,
        /// Steps between rows of the log.
        log_every: u64 = 10,
        /// Steps between measurements on the validation data; 0 for the end alone.
        validate_every: Option<u64> = None,
        /// About how many tokens of the validation data are measured each time; all when absent.
        validation_tokens: Option<u64> = None,
        /// Steps between checkpoints; 0 for the end alone.
        checkpoint_every: Option<u64> = None,
        /// Number of checkpoints kept, beside the best.
        keep_last: usize = 2,
        /// Steps between samples of what the model makes, the last at the end; 0 for none.
        sample_every: Option<u64> = None,
    }
}

table! {
    /// How molecules are written; only for them.
    "molecule" => MoleculeRecipe {
        /// How molecules become symbols: as SMILES, or robust: by symbols of which every line is a molecule (without stereochemistry).
        encoding: MoleculeEncoding = MoleculeEncoding::Smiles,
        /// Further ways of writing each molecule that are learned beside its own (randomised SMILES).
        randomised: usize = 0,
        /// Properties that the model learns to be asked for: logp, qed, weight, sa, rings.
        properties: Vec<String> = Vec::new(),
        /// Bins of each of them.
        bins: usize = 64,
    }
}

table! {
    /// How it generates, unless a command says otherwise; only what somebody chose stands here.
    "generate" => GenerateRecipe {
        /// How adventurous the choice of a token is; 0 always takes the most probable. 1 when absent, 0.7 for the answer to a message.
        temperature: Option<f64> = None,
        /// Choose among this many most probable tokens; 0 for all, as when absent.
        top_k: Option<usize> = None,
        /// Choose among the most probable tokens that have this much probability together. 1 when absent, 0.9 for the answer to a
        /// message.
        top_p: Option<f64> = None,
        /// Choose among tokens with at least this share of the most probable one's probability; 0 when absent.
        min_p: Option<f64> = None,
        /// Factor by which tokens that occurred become less likely; 1 for none, as when absent.
        repetition_penalty: Option<f64> = None,
        /// Taken off the logit of tokens that occurred; 0 when absent.
        presence_penalty: Option<f64> = None,
        /// Taken off the logit of tokens for each time they occurred; 0 when absent.
        frequency_penalty: Option<f64> = None,
        /// Most tokens made; 256 when absent, and as many as the context holds for the answer to a message.
        max_tokens: Option<usize> = None,
        /// Texts at which generation stops.
        stop: Option<Vec<String>> = None,
        /// Number of candidates that beam search keeps; 1 for none, as when absent.
        beam: Option<usize> = None,
        /// Exponent of the length by which a candidate's log-probability is divided; 1 when absent.
        length_penalty: Option<f64> = None,
    }
}
