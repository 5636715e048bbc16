//! The built-in stories, whose entropy is known: how far a model is from what could be reached.

use crate::answers::{self, Settings};
use crate::failure::Outcome;
use crate::model::SpeakingModel;
use crate::plan::data::{N_DEMO_VALIDATION, demo_seed};
use genera_engine::recipe::Recipe;
use genera_eval::Figure;
use genera_modality::Codebook;
use genera_modality::demo::StoryGrammar;
use std::collections::HashSet;

/// What a perfect model would lose on a run's validation stories.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// Nats per token, the end of a story among the tokens.
    pub nats_per_token: f64,
    /// Nats per character, without one for the end.
    pub nats_per_char: f64,
}

/// The floor of a run on the built-in stories; `None` for other data.
///
/// # Errors
/// Never in practice: the tokenizer knows every character of the grammar.
pub fn floor_of(recipe: &Recipe, codebook: &Codebook) -> Outcome<Option<Floor>> {
    if recipe.data.kind != "stories" {
        return Ok(None);
    }
    let grammar = StoryGrammar::new();
    let seed = demo_seed(recipe.train.seed, 1);
    let (mut nats, mut n_tokens, mut n_chars) = (0.0, 0, 0);
    for index in 0..N_DEMO_VALIDATION {
        let story = grammar.sample(seed, index);
        nats -= grammar.log_probability(&story).unwrap_or(0.0);
        n_chars += story.chars().count();
        n_tokens += codebook.encode(&story)?.len() + 1;
    }
    Ok(Some(Floor { nats_per_token: nats / n_tokens as f64, nats_per_char: nats / n_chars as f64 }))
}

/// Stories that a model told, and what they are worth.
#[derive(Clone, Debug)]
pub struct Told {
    /// The stories.
    pub texts: Vec<String>,
    /// The share that the grammar can make.
    pub grammatical: Figure,
    /// The share of the grammatical ones that is not in the training data.
    pub new: Figure,
}

/// Has a model tell `n` stories, and checks them against the grammar and the training data of its run.
///
/// # Errors
/// As [`answers::answer`].
pub fn tell(model: &SpeakingModel<'_>, recipe: &Recipe, n: u32) -> Outcome<Told> {
    let settings = Settings { n, ..Settings::of_recipe(&recipe.generate) };
    let mut answers = answers::answer(model, vec![model.encode("")?], &settings)?;
    let texts: Vec<String> = answers.pop().unwrap_or_default().into_iter().map(|answer| answer.text).collect();
    let grammar = StoryGrammar::new();
    let seed = demo_seed(recipe.train.seed, 0);
    let known: HashSet<String> =
        (0..recipe.data.n_examples.unwrap_or(0)).map(|index| grammar.sample(seed, index)).collect();
    let grammatical: Vec<&String> = texts.iter().filter(|text| grammar.is_grammatical(text)).collect();
    let n_new = grammatical.iter().filter(|text| !known.contains(**text)).count();
    let new = Figure::share("new among the grammatical", n_new, grammatical.len());
    Ok(Told { grammatical: Figure::share("grammatical", grammatical.len(), texts.len()), new, texts })
}
