//! `genera reference`, hidden: the pages of docs/reference, made from the lists in the code.

use crate::failure::Outcome;
use clap::CommandFactory;
use genera_engine::weights::FAMILIES;
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
    Modalities,
    Metrics,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let mut page = String::new();
    match arguments.page {
        Page::Commands => commands(&mut page)?,
        Page::Recipe => recipe_keys(&mut page)?,
        Page::Presets => presets_page(&mut page)?,
        Page::Modalities => modalities(&mut page)?,
        Page::Metrics => metrics(&mut page)?,
    }
    print!("{page}");
    Ok(ExitCode::SUCCESS)
}

fn commands(page: &mut String) -> Outcome<()> {
    let mut root = crate::Arguments::command().term_width(100);
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
    let use_of_families = "Directories with a `config.json` of one of these families are loaded as they are. A trained \
                           model that one of them can express is exported as it.";
    writeln!(page, "\n# Published families\n\n{use_of_families}\n\n| `model_type` | class |\n|---|---|")?;
    for family in FAMILIES {
        writeln!(page, "| `{}` | {} |", family.model_type, family.architecture)?;
    }
    Ok(())
}

fn modalities(page: &mut String) -> Outcome<()> {
    writeln!(page, "# Kinds of data\n")?;
    for modality in genera_modality::ALL {
        writeln!(page, "## {}\n\n{}.\n", modality.name(), modality.about())?;
        writeln!(
            page,
            "Media types: {}. Measures: {}.\n",
            modality.media_types().join(", "),
            modality.metrics().join(", ")
        )?;
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
