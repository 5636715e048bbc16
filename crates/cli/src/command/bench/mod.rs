//! `genera bench`: how fast this machine is, and how fast it trains and generates.

mod generate;
mod layers;
mod machine;
mod operations;
mod optimizer;
mod origin;
mod roofline;
mod traffic;
mod train;

use super::Common;
use crate::failure::Outcome;
use std::thread::available_parallelism;

/// Measure speed on this machine.
///
/// Examples:
///   genera bench train recipes/bench-a.toml --steps 20
///   genera bench machine
///   genera bench roofline recipes/bench-a.toml --output roofline.svg
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Train on fixed synthetic tokens of a recipe's shape: tokens/s, FLOP/s, peak memory, time by operation.
    ///
    /// The peak that FLOP/s are a share of is the best rate of large matrix products in the recipe's storage type (of 768 and
    /// 1,152 cubed, and three as those of a Transformer's layers; forward and for the input's gradient), measured before and after
    /// the training. The operations are those of the model: 6 for each token and each weight that it is multiplied by (a looked-up
    /// embedding is not) and those of attention, half of them under a causal mask; what is computed a second time to save memory,
    /// and what the optimizer multiplies (Muon), do not count. A run directory in place of a recipe gives the run's own, with its
    /// vocabulary. Only the training of new Transformers is measured: not that of a base (--base), from preferences, with privacy or
    /// of a GAN.
    ///
    /// In the time by operation, cross_entropy is the head with its loss, both ways; linear all other layers; replay what is
    /// computed a second time; other what lies between. It sums to the mean step. docs/concepts/speed.md has every key of --json.
    ///
    /// Example: genera bench train recipes/bench-a.toml --set train.dtype=bf16 --json
    Train(train::Arguments),
    /// Read prompts of random tokens and go on with them: tokens/s of both, peak memory, share of the memory bandwidth.
    ///
    /// Example: genera bench generate --model model.gguf --prompt-tokens 512 --tokens 128
    Generate(generate::Arguments),
    /// The ceilings: instruction sets, memory bandwidth, the cost of sharing work among threads, and the rate of matrix products
    /// and of attention of a Transformer's shapes; docs/concepts/speed.md has every key of --json.
    ///
    /// Example: genera bench machine --threads 1
    Machine(machine::Arguments),
    /// Draw what this machine can do, and of that a recipe's matrix products, attention, optimizer and whole training step.
    ///
    /// The ceilings are the rates of large matrix products and of reading memory, each the best of before and after the training, or
    /// what the training itself has shown to be possible. A point stands where it would if all traffic went to memory; what a cache
    /// holds is faster, may stand above the line of memory, and is named in the legend. Of blocks that are computed again on the way
    /// back (train.recomputed_blocks) the second forward pass counts as traffic and not as arithmetic. The training's measurements are
    /// printed as by genera bench train.
    ///
    /// Example: genera bench roofline recipes/bench-a.toml --output roofline.svg
    Roofline(roofline::Arguments),
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    let n_cores = available_parallelism().map_or(1, usize::from);
    if let Some(n_threads) = common.threads.filter(|&n| usize::from(n) > n_cores) {
        eprintln!("genera: {n_threads} threads share {n_cores} cores, which is slower than as many threads as cores");
    }
    match arguments.what {
        What::Train(arguments) => train::run(&arguments, common),
        What::Generate(arguments) => generate::run(&arguments, common),
        What::Machine(arguments) => machine::run(&arguments, common),
        What::Roofline(arguments) => roofline::run(&arguments, common),
    }
}
