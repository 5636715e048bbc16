//! `genera reference`, hidden: the pages of docs/reference, made from the lists in the code.

use crate::failure::Outcome;
use crate::plan::records;
use genera_data::source::{RECORD_LAYOUTS, Record};
use genera_engine::weights::FAMILIES;
use genera_engine::weights::gguf::DIALECTS;
use genera_engine::{presets, recipe};
use std::fmt::Write;
use std::process::ExitCode;

/// Print a page of the reference.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[arg(value_enum)]
    page: Page,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Page {
    Commands,
    Recipe,
    Presets,
    Architectures,
    Modalities,
    Metrics,
    Api,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let mut page = String::new();
    match arguments.page {
        Page::Commands => commands(&mut page)?,
        Page::Recipe => recipe_keys(&mut page)?,
        Page::Presets => presets_page(&mut page)?,
        Page::Architectures => architectures(&mut page)?,
        Page::Modalities => modalities(&mut page)?,
        Page::Metrics => metrics(&mut page)?,
        Page::Api => page.push_str(&genera_server::reference()),
    }
    print!("{page}");
    Ok(ExitCode::SUCCESS)
}

fn commands(page: &mut String) -> Outcome<()> {
    let mut root = crate::command().term_width(100);
    root.build();
    writeln!(page, "# Commands\n\nEvery command takes `--json`, `--threads N` and `--help`.")?;
    let visible: Vec<_> =
        root.get_subcommands_mut().filter(|command| !command.is_hide_set() && command.get_name() != "help").collect();
    for command in visible {
        help(page, "##", command)?;
        for nested in command.get_subcommands_mut().filter(|nested| nested.get_name() != "help") {
            help(page, "###", nested)?;
        }
    }
    Ok(())
}

/// A command's help under a heading.
fn help(page: &mut String, heading: &str, command: &mut clap::Command) -> Outcome<()> {
    let name = command.get_name().to_owned();
    let text = trimmed(&command.render_long_help().to_string());
    Ok(writeln!(page, "\n{heading} {name}\n\n```text\n{text}\n```")?)
}

fn trimmed(help: &str) -> String {
    help.lines().map(str::trim_end).collect::<Vec<&str>>().join("\n").trim().to_owned()
}

fn recipe_keys(page: &mut String) -> Outcome<()> {
    writeln!(
        page,
        "# The keys of a recipe\n\nWhat is left out is derived; `recipe.toml` in the run directory says how and why."
    )?;
    let mut table = "";
    for key in recipe::keys() {
        if key.table != table {
            table = key.table;
            writeln!(page, "\n## {table}\n\n| key | expects | meaning |\n|---|---|---|")?;
        }
        writeln!(page, "| `{}` | {} | {} |", key.name, key.expects(), key.summary)?;
    }
    Ok(())
}

fn presets_page(page: &mut String) -> Outcome<()> {
    writeln!(
        page,
        "# Presets\n\nFamilies of architectures, for `model.preset` and `--preset`.\n\n| name | what it is |\n|---|---|"
    )?;
    for preset in presets::ALL {
        writeln!(page, "| `{}` | {} |", preset.name, preset.summary)?;
    }
    Ok(())
}

const OF_ARCHITECTURES: &str = "\
# Published architectures

A directory in the Hugging Face layout whose `config.json` has one of these `model_type`s is loaded as it is, and so is a GGUF
file of an architecture in the third column. A trained model that one of them can express is exported as it
(`genera export --to hf`, `--to gguf`). A value of `config.json` that is not covered is refused, and named.

Tested against: for every family tiny random models in several variants, of today's spelling and older ones, give the logits of
transformers to 1e-4 and the same greedy continuation (`benches/peers/transformers_models.py`, and
`crates/engine/tests/golden.rs`); those with a name in GGUF are exported, and llama.cpp computes the same from the file
(`benches/peers/llama_cpp_families.py`).

| `model_type` | class in transformers | GGUF | what is covered | tested against |
|---|---|---|---|---|
";

/// Families that were tried with published weights too.
const TRIED: [(&str, &str); 2] =
    [("llama", "SmolLM2-135M-Instruct in llama.cpp"), ("bert", "all-MiniLM-L6-v2 in transformers")];

fn architectures(page: &mut String) -> Outcome<()> {
    page.push_str(OF_ARCHITECTURES);
    for family in FAMILIES {
        let dialect = DIALECTS.iter().find(|dialect| dialect.model_type == family.model_type);
        let gguf = dialect.map_or_else(|| "–".to_owned(), |dialect| format!("`{}`", dialect.name));
        let tried = TRIED.iter().find(|(model_type, _)| *model_type == family.model_type).map(|(_, what)| *what);
        let peers = ["transformers"].into_iter().chain(dialect.map(|_| "llama.cpp")).chain(tried);
        let peers: Vec<&str> = peers.collect();
        let model_types: Vec<String> = family.model_types().map(|model_type| format!("`{model_type}`")).collect();
        writeln!(
            page,
            "| {} | `{}` | {gguf} | {} | {} |",
            model_types.join(", "),
            family.architecture,
            family.covers,
            peers.join(", ")
        )?;
    }
    Ok(())
}

fn modalities(page: &mut String) -> Outcome<()> {
    writeln!(page, "# Kinds of data\n\nA .json file with one array of objects is read wherever JSON lines are.\n")?;
    for modality in genera_modality::ALL {
        writeln!(page, "## {}\n\n{}.\n", modality.name(), modality.about())?;
        writeln!(
            page,
            "Media types: {}. Measures: {}.\n",
            modality.media_types().join(", "),
            modality.metrics().join(", ")
        )?;
        let of_modality = |record: &Record| records::kind_of(*record) == modality.name();
        for layout in RECORD_LAYOUTS.iter().filter(|layout| of_modality(&layout.record)) {
            writeln!(page, "- JSON lines as `{}` ({})", layout.example, layout.name)?;
        }
        for demo in modality.demos() {
            writeln!(page, "- built-in source `{}`: {}", demo.name, demo.about)?;
        }
        writeln!(page)?;
    }
    Ok(())
}

fn metrics(page: &mut String) -> Outcome<()> {
    writeln!(page, "# Measures\n\n| name | what it is |\n|---|---|")?;
    for entry in genera_eval::metric::ALL {
        writeln!(page, "| `{}` | {} |", entry.name(), entry.metric().summary())?;
    }
    Ok(())
}
