//! `genera quickstart`: the whole way on built-in stories, in a minute and a half.

use super::{Common, train};
use crate::failure::Outcome;
use crate::model::SpeakingModel;
use crate::output;
use crate::plan::overrides::Overrides;
use crate::run::directory::RunDirectory;
use crate::run::session::Ending;
use crate::show::number;
use crate::stories::{self, Told};
use genera_engine::recipe::{Reasons, Recipe};
use genera_engine::weights::SpecialIds;
use genera_eval::Figure;
use genera_modality::Text;
use std::process::ExitCode;
use std::time::Duration;

/// Train a small model on built-in stories, and see what it learned.
///
/// Takes about a minute on two cores and needs no data and no network.
///
/// Example: genera quickstart
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// The recipe: one pass over more stories than fit into the time, so that what is learned is the rule.
const RECIPE: &str = include_str!("../../../../recipes/quickstart.toml");

/// Stories that are made to be counted.
const N_STORIES: u32 = 200;

pub fn run(_: Arguments, common: Common) -> Outcome {
    output::make_dispensable();
    let recipe = Recipe::parse(RECIPE)?;
    let path = RunDirectory::free_name("quickstart");
    let mut session = train::start(
        recipe,
        &Overrides::default(),
        Reasons::default(),
        &path,
        train::Plan::AsRecipe { given: Vec::new() },
        common,
    )?;
    let ending = session.train()?;
    if ending == Ending::Interrupted {
        return Ok(train::conclude(&session, ending, common));
    }
    let floor = session.floor().map_or(f64::NAN, |floor| floor.nats_per_char);
    let bits_per_byte = session.latest_validation().and_then(|row| row.bits_per_byte).unwrap_or(f64::NAN);
    // The stories are written in ASCII: a byte is a character.
    let loss = bits_per_byte * std::f64::consts::LN_2;
    let (recipe, seconds, codebook) = (session.recipe().clone(), session.seconds(), session.codebook().clone());
    let mut transformer = session.into_model();
    transformer.params_mut().pack();
    let special = SpecialIds::of(&codebook.vocab().special, transformer.config());
    let model = SpeakingModel::new(&transformer, &codebook, &Text, &special);
    let Told { texts, grammatical, new } = stories::tell(&model, &recipe, N_STORIES)?;
    if common.json {
        let report = serde_json::json!({
            "run": path, "seconds": seconds, "nats_per_char": loss, "floor_nats_per_char": floor,
            "above_floor": loss / floor - 1.0, "figures": [grammatical, new], "stories": &texts[..3],
        });
        println!("{report}");
        return Ok(ExitCode::SUCCESS);
    }
    let path = path.display();
    println!("Three new stories it tells:\n");
    for story in &texts[..3] {
        println!("  {}\n", textwrap(story, 100).join("\n  "));
    }
    println!("Loss on unseen stories   {loss:.4} nats per character");
    println!("Entropy of the stories   {floor:.4} (what a perfect model would lose)");
    println!("Above the entropy        {:.2} %", 100.0 * (loss / floor - 1.0));
    println!("Of {N_STORIES} stories told      {}", share(&grammatical, "are grammatical"));
    println!("Of those                 {}", share(&new, "are new: not in the training data"));
    println!("Trained in               {}", number::duration(Duration::from_secs_f64(seconds)));
    println!("\nThe run is in {path}. What to try next:");
    println!("  genera generate --model {path} --prompt \"{}\"", first_words(&texts));
    println!("  genera report {path} --output report.html");
    println!("  genera inspect {path}");
    println!("  genera train --data YOUR-TEXT.txt --minutes 10");
    Ok(ExitCode::SUCCESS)
}

/// A share with its interval, in words.
fn share(figure: &Figure, what: &str) -> String {
    let interval =
        figure.interval.map_or_else(String::new, |i| format!(" (95 % interval {:.1} to {:.1})", i.low, i.high));
    format!("{:.1} % {what}{interval}", figure.value)
}

fn first_words(texts: &[String]) -> String {
    let words = texts.first().map(|text| text.split(' ').take(3).collect::<Vec<&str>>());
    words.unwrap_or_default().join(" ")
}

/// Breaks a text into lines of at most `width` characters, at spaces.
fn textwrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
