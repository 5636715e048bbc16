//! Where a model that is written anew comes from, and what has to go with it: its card, and the terms of its licence.

use crate::base;
use crate::failure::{Failure, Outcome, While};
use crate::hub::{self, ModelName};
use crate::model::{LoadedModel, is_gguf, run_of};
use genera_engine::recipe::Recipe;
use genera_engine::weights::{Origin, license_files};
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

/// Most runs that are followed from one to its base.
const MAX_BASES: usize = 64;

/// What is known of a model's origin.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// Its licence, its authors and its base.
    pub origin: Origin,
    /// The card that is still its own; none of a tuned model.
    card: Option<PathBuf>,
    /// The terms of its licence.
    terms: Vec<PathBuf>,
}

impl Provenance {
    /// That of a model that was loaded from `given`, where `is_adapted` with an adapter that was trained on it.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn of(model: &LoadedModel, given: &Path, is_adapted: bool) -> Outcome<Self> {
        if let Some(base) = model.recipe.as_ref().and_then(|recipe| recipe.base.path.as_deref()) {
            return Self::of_tuned(Path::new(base));
        }
        if is_adapted {
            return Self::of_tuned(given);
        }
        let place = &model.place;
        let origin = Origin::of(place)?;
        let origin = match repository(given) {
            Some(repository) => origin.from_repository(&repository),
            None => origin,
        };
        let card = Some(place.join("README.md")).filter(|card| card.is_file());
        Ok(Self { origin, card, terms: license_files(place) })
    }

    /// That of a model that was tuned from a base; of a run that was tuned itself, the base of that, whose terms still hold.
    ///
    /// # Errors
    /// When the files of the base cannot be read. One that has gone is still the base.
    pub fn of_tuned(base: &Path) -> Outcome<Self> {
        let next = |base: &PathBuf| base_of_run(base);
        let base = std::iter::successors(Some(base.to_owned()), next).take(MAX_BASES).last().unwrap_or_default();
        let run = run_of(&base);
        let place = run.as_ref().map(|run| Cow::Owned(run.model()));
        let place = place.unwrap_or_else(|| hub::locate(&base).unwrap_or(Cow::Borrowed(&base)));
        let origin = if place.exists() { Origin::of(&place)? } else { Origin::default() };
        let origin = origin.tuned(&name(run.as_ref().map_or(&base, |run| run.path())), repository(&base).as_deref());
        Ok(Self { origin, card: None, terms: license_files(&place) })
    }

    /// Copies the card and the terms into a directory that was made of the model.
    ///
    /// # Errors
    /// When one cannot be copied.
    pub fn copy(&self, directory: &Path) -> Outcome<()> {
        for from in self.card.iter().chain(&self.terms) {
            let to = directory.join(from.file_name().ok_or_else(|| Failure::new("a file without a name"))?);
            fs::copy(from, &to).during(format!("cannot copy {} to {}", from.display(), to.display()))?;
        }
        Ok(())
    }
}

/// What a model is called by its path or name.
pub fn name(path: &Path) -> String {
    let on_hub = path.to_str().and_then(|name| name.parse::<ModelName>().ok());
    let on_hub = on_hub.map(|name| name.file.filter(|file| is_gguf(Path::new(file))).unwrap_or(name.repository));
    let path = on_hub.as_ref().map_or(path, Path::new);
    let name = path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
    // Versions have points too.
    if is_gguf(path) { name[..name.len() - ".gguf".len()].to_owned() } else { name }
}

/// The base of a run, where a model is of one that has a base.
fn base_of_run(model: &Path) -> Option<PathBuf> {
    let run = run_of(model)?;
    let base = Recipe::load(&run.recipe()).ok()?.base.path?;
    // Its name on the hub says more than where it lies.
    let is_on_hub = base.starts_with(hub::PREFIX);
    Some(base::found(&base, &run).ok().filter(|_| !is_on_hub).unwrap_or_else(|| base.into()))
}

/// `ORG/NAME` of a model that is named by its place on the hub.
fn repository(path: &Path) -> Option<String> {
    path.to_str()?.parse::<ModelName>().ok().map(|name| name.repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_points() {
        for (path, expected) in [
            ("models/Llama-3.2-1B", "Llama-3.2-1B"),
            ("a/b.Q4_0.GGUF", "b.Q4_0"),
            ("hf:org/Llama-3.2-1B@v1.0", "Llama-3.2-1B"),
            ("hf:org/gg:q/b.gguf", "b"),
            ("hf:org/gg:Q4_0", "gg"),
            ("run/", "run"),
        ] {
            assert_eq!(name(Path::new(path)), expected, "{path}");
        }
        assert_eq!(repository(Path::new("hf:org/gg@v1:Q4_0")).as_deref(), Some("org/gg"));
        assert_eq!(repository(Path::new("org/gg")), None);
    }
}
