//! `cargo xtask bench`: how fast others do the same work.

mod figures;

use crate::full;
use crate::process::{root, run, run_with};
use crate::python;
use figures::Figures;
use std::fs::File;
use std::path::Path;
use std::thread::available_parallelism;

const HELP: &str = "\
How fast others do the same work. Builds the program first.

  cargo xtask bench peers    trains the models of recipes/bench-*.toml beside PyTorch, candle and burn, then bench kernels,
                             bench scaling of models a and b to two threads, the losses of 50 steps beside PyTorch's, and bf16
                             beside f32 trained to the end; ends with a table of what is asked and what was reached
    --quick                  in fewer rounds, with freed memory kept alone (an hour on two cores)
    --models A,B             of a, b, c, encoder-decoder; the kernels are the same for all
    --peers A,B              of pytorch, candle, burn, and of pytorch, gemm, faer for the kernels
    --only-models            without what comes after the models
    --text FILE              what is trained on to the end (default: tinyshakespeare, text/tinyshakespeare.txt in the directory
                             that GENERA_TEST_DATA names; without that Genera's own documents and sources, the first 1.1 MB)
    --threads N              of every program (default: as many as each of them takes)
    --python PATH            an interpreter (default: GENERA_PYTHON, or python3); where it has no torch, or no
                             transformers to compare losses with, a virtual environment is made in target/peers/venv
  cargo xtask bench kernels  products and attention beside those of PyTorch and of the Rust crates gemm and faer
    --quick, --peers, --threads, --python
  cargo xtask bench scaling  trains the models on one thread and on all cores, or N, in turns; needs Python alone
    --quick, --models, --threads, --python
  cargo xtask bench generate MODEL.gguf
                             reading and writing beside llama.cpp, in every format; needs llama-cpp-python in python3 or
                             GENERA_PYTHON (--help: its options)
";
/// As benches/peers has them.
const MODELS: [&str; 4] = ["a", "b", "c", "encoder-decoder"];
const TRAINING_PEERS: [&str; 3] = ["pytorch", "candle", "burn"];
const KERNEL_PEERS: [&str; 3] = ["pytorch", "gemm", "faer"];

/// What a comparison is asked for.
#[derive(Debug, Default, PartialEq)]
struct Options<'a> {
    is_quick: bool,
    only_models: bool,
    models: Option<&'a str>,
    peers: Option<&'a str>,
    threads: Option<&'a str>,
    python: Option<&'a str>,
    text: Option<&'a str>,
}

/// Runs the comparison that the first word names.
pub fn run_all(words: &[&str]) -> Result<(), String> {
    let asks_for_help = words.iter().any(|word| ["--help", "-h"].contains(word));
    match *words {
        ["generate", ..] if asks_for_help => run(&python::named(None)?, &["benches/peers/generate.py", "--help"]),
        _ if asks_for_help => {
            print!("{HELP}");
            Ok(())
        }
        ["peers", ref options @ ..] => peers(options),
        ["kernels", ref options @ ..] => {
            let options = parse(options, &["--quick", "--peers", "--threads", "--python"], &KERNEL_PEERS)?;
            compare("kernels.py", &options, &interpreter(&options, "torch")?, &build()?, &[])
        }
        ["scaling", ref options @ ..] => {
            let options = parse(options, &["--quick", "--models", "--threads", "--python"], &[])?;
            let python = python::named(options.python)?;
            python::check(&python)?;
            compare("scaling.py", &options, &python, &build()?, &[])
        }
        ["generate", ref options @ ..] => {
            let python = python::named(None)?;
            python::check(&python)?;
            run(&python, &[&["benches/peers/generate.py", &build()?], options].concat())
        }
        _ => Err(format!("expected bench peers, kernels, scaling or generate\n\n{HELP}")),
    }
}

/// Compares the training of whole models, then what goes with it, each even where one before it failed; ends with the table
/// of all figures.
fn peers(words: &[&str]) -> Result<(), String> {
    let known = ["--quick", "--models", "--peers", "--only-models", "--text", "--threads", "--python"];
    let options = parse(words, &known, &[TRAINING_PEERS, KERNEL_PEERS].concat())?;
    let training = among(&TRAINING_PEERS, options.peers);
    let kernels = among(&KERNEL_PEERS, options.peers).filter(|_| !options.only_models);
    if training.is_none() && kernels.is_none() {
        return Err(format!("none of these peers trains models; {} do", TRAINING_PEERS.join(", ")));
    }
    // Looked for before an hour of work.
    let test_data = std::env::var("GENERA_TEST_DATA").ok();
    let text = if options.only_models { None } else { text(options.text, test_data)? };
    let options = Options { text: None, ..options };
    // Losses are compared with those of a model of transformers.
    let modules = if options.only_models { "torch" } else { "torch, transformers" };
    let (python, genera, figures) = (interpreter(&options, modules)?, build()?, Figures::begin()?);
    let path = figures.path();
    let environment = [(figures::VARIABLE, path.as_str())];
    let run = |script, options: &Options| {
        figures.collect(script, || compare(script, options, &python, &genera, &environment))
    };
    // The script itself knows best who trains what, where nobody is named.
    let beside = |peers: Option<&str>| options.peers.and(peers).map(str::to_owned);
    let mut outcomes = Vec::new();
    if training.is_some() {
        let peers = beside(training.as_deref());
        outcomes.push(run("compare.py", &Options { peers: peers.as_deref(), ..options }));
    }
    if kernels.is_some() {
        let peers = beside(kernels.as_deref());
        outcomes.push(run("kernels.py", &Options { models: None, peers: peers.as_deref(), ..options }));
    }
    if !options.only_models {
        let n_cores = available_parallelism().map_or(1, usize::from);
        if n_cores > 1 && options.threads != Some("1") {
            let two = Options { models: Some("a,b"), peers: None, threads: Some("2"), ..options };
            outcomes.push(run("scaling.py", &two));
        }
        if among(&["pytorch"], options.peers).is_some() {
            let compared = || full::compare_losses(&genera, &python, "gpt2", &environment);
            outcomes.push(figures.collect("losses beside PyTorch's", compared));
        }
        outcomes.push(run("losses.py", &Options { models: None, peers: None, text: text.as_deref(), ..options }));
    }
    println!("\n{}", figures.table()?);
    let failures: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// The text that is trained on to the end, where an option names one or it is among the test data.
fn text(named: Option<&str>, test_data: Option<String>) -> Result<Option<String>, String> {
    let in_test_data = || test_data.map(|directory| format!("{directory}/text/tinyshakespeare.txt"));
    let Some(text) = named.map(str::to_owned).or_else(in_test_data) else { return Ok(None) };
    // Programs are started in the repository.
    let path = std::path::absolute(Path::new(&text)).map_err(|error| format!("{text}: {error}"))?;
    File::open(&path).map_err(|error| format!("--text {text}: {error}"))?;
    Ok(Some(path.display().to_string()))
}

/// Reads the options that a comparison knows, with some of these peers.
fn parse<'a>(words: &[&'a str], known: &[&str], peers: &[&str]) -> Result<Options<'a>, String> {
    let mut options = Options::default();
    let mut rest = words.iter().copied();
    while let Some(option) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{option} needs a value"));
        match option {
            _ if !known.contains(&option) => {
                return Err(format!("unknown option {option}; there is {}, and --help", known.join(", ")));
            }
            "--quick" => options.is_quick = true,
            "--only-models" => options.only_models = true,
            "--models" => options.models = Some(some_of(&MODELS, option, value()?)?),
            "--peers" => options.peers = Some(some_of(peers, option, value()?)?),
            "--threads" => options.threads = Some(count(option, value()?)?),
            "--text" => options.text = Some(value()?),
            _ => options.python = Some(value()?),
        }
    }
    Ok(options)
}

/// Names with a comma between, each of them known.
fn some_of<'a>(known: &[&str], option: &str, names: &'a str) -> Result<&'a str, String> {
    match names.split(',').find(|name| !known.contains(name)) {
        Some(name) => {
            // PyTorch stands in two lists.
            let mut list = known.to_vec();
            list.sort_unstable();
            list.dedup();
            Err(format!("{option}: there is no {name:?}; there is {}, with a comma between", list.join(", ")))
        }
        None => Ok(names),
    }
}

fn count<'a>(option: &str, text: &'a str) -> Result<&'a str, String> {
    match text.parse::<u16>() {
        Ok(1..) => Ok(text),
        _ => Err(format!("{option} {text}: a number of threads is wanted, 1 or more")),
    }
}

/// Those of the list that are wanted, which are all where nothing is said; none where there is none of them.
fn among(list: &[&str], wanted: Option<&str>) -> Option<String> {
    let wanted: Vec<&str> = wanted.map_or_else(|| list.to_vec(), |names| names.split(',').collect());
    let found: Vec<&str> = wanted.into_iter().filter(|name| list.contains(name)).collect();
    (!found.is_empty()).then(|| found.join(","))
}

/// A Python that has what the wanted peers need, these modules where PyTorch is one.
fn interpreter(options: &Options, modules: &str) -> Result<String, String> {
    let python = python::named(options.python)?;
    match among(&["pytorch"], options.peers) {
        Some(_) => python::with_modules(&python, modules),
        None => python::check(&python).map(|()| python),
    }
}

/// The program, built for release.
fn build() -> Result<String, String> {
    run("cargo", &["build", "--release", "--package", "genera"])?;
    let genera = root().join("target/release/genera").into_os_string();
    genera.into_string().map_err(|_| "the repository's path is not UTF-8".to_owned())
}

/// Runs a script of benches/peers.
fn compare(
    script: &str,
    options: &Options,
    python: &str,
    genera: &str,
    environment: &[(&str, &str)],
) -> Result<(), String> {
    let script = format!("benches/peers/{script}");
    let mut arguments = vec![script.as_str(), genera];
    arguments.extend(options.is_quick.then_some("--quick"));
    let given = [
        ("--models", options.models),
        ("--peers", options.peers),
        ("--text", options.text),
        ("--threads", options.threads),
    ];
    for (option, value) in given {
        arguments.extend(value.into_iter().flat_map(|value| [option, value]));
    }
    run_with(python, &arguments, environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["--quick", "--models", "--peers", "--threads"];

    #[test]
    fn reads_what_is_known_and_names_it_where_something_else_is_asked() {
        let read = |words: &[&'static str]| parse(words, &KNOWN, &TRAINING_PEERS);
        let expected = Options { is_quick: true, models: Some("a,encoder-decoder"), ..Options::default() };
        assert_eq!(read(&["--models", "a,encoder-decoder", "--quick"]), Ok(expected));
        assert_eq!(read(&["--threads", "2"]).map(|options| options.threads), Ok(Some("2")));
        for (words, expected) in [
            (
                ["--models", "a,d"],
                "--models: there is no \"d\"; there is a, b, c, encoder-decoder, with a comma between",
            ),
            (
                ["--peers", "gemm"],
                "--peers: there is no \"gemm\"; there is burn, candle, pytorch, with a comma between",
            ),
            (["--threads", "0"], "--threads 0: a number of threads is wanted, 1 or more"),
            (["--quick", "--models"], "--models needs a value"),
            (["--slow", "x"], "unknown option --slow; there is --quick, --models, --peers, --threads, and --help"),
        ] {
            assert_eq!(read(&words), Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_text_is_had_without_test_data_and_one_that_is_named_must_be_there() {
        assert_eq!(text(None, None), Ok(None));
        assert!(text(None, Some("/nowhere".to_owned())).is_err_and(|error| error.contains("tinyshakespeare.txt")));
        assert!(text(Some("no-such-text"), None).is_err_and(|error| error.starts_with("--text no-such-text: ")));
    }

    #[test]
    fn peers_of_the_other_comparison_are_left_to_it() {
        assert_eq!(among(&TRAINING_PEERS, None).as_deref(), Some("pytorch,candle,burn"));
        assert_eq!(among(&KERNEL_PEERS, Some("burn,pytorch")).as_deref(), Some("pytorch"));
        assert_eq!(among(&KERNEL_PEERS, Some("burn")), None);
    }
}
