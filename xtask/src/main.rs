//! Developer tasks: `cargo xtask check` is what CI runs after the tests.

mod bench;
mod check;
mod clients;
mod full;
mod fuzz;
mod links;
mod process;
mod python;
mod reference;
mod soak;

use std::process::ExitCode;

const HELP: &str = "\
Developer tasks of Genera.

  cargo xtask check          formatting, clippy, documentation, links, reference pages, licences of dependencies
  cargo xtask check --full   the same, and what needs PyTorch: exported models in transformers, loss curves
  cargo xtask docs           writes docs/reference from the lists in the code
  cargo xtask bench peers    the speed of training beside that of PyTorch, candle and burn, then bench kernels
                             (bench --help: the options of each)
  cargo xtask bench kernels  products and attention beside those of PyTorch and Rust crates (--quick: two rounds)
  cargo xtask bench scaling  the speed of training on one thread and on all cores (--quick: two short rounds)
  cargo xtask bench generate MODEL.gguf
                             reading and writing beside llama.cpp, in every format (--quick: two of them, once)
  cargo xtask clients        the official clients of the OpenAI and Anthropic interfaces, and the page in Chromium, against a
                             server of tiny models; what is not installed is skipped (--genera PROGRAM)
  cargo xtask soak           a server of tiny models under load and attack: figures as a table and as JSON (--short: in a
                             minute; --only PART, --hostile N, --genera PROGRAM and others, which a wrong one lists)
  cargo xtask fuzz SECONDS [TARGET...]
                             runs every fuzz target, or those named, for so long each (needs cargo-fuzz)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["check"] => check::run_all(false),
        ["check", "--full"] => check::run_all(true),
        ["bench", ref words @ ..] => bench::run_all(words),
        ["docs"] => reference::write(),
        ["clients", ref options @ ..] => clients::run_all(options),
        ["soak", ref options @ ..] => soak::run_all(options),
        ["fuzz", seconds, ref targets @ ..] => fuzz::run_targets(seconds, targets),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
