//! Where a model that is written anew comes from, and what has to go with it: its card, and the terms of its licence.

use crate::failure::{Failure, Outcome, While};
use crate::hub::{self, ModelName};
use crate::model::LoadedModel;
use genera_engine::weights::{Origin, license_files};
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

/// What is known of a model's origin.
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

    /// That of a model that was tuned from a base.
    ///
    /// # Errors
    /// When the files of the base cannot be read. One that has gone is still the base.
    pub fn of_tuned(base: &Path) -> Outcome<Self> {
        let place = hub::locate(base).unwrap_or(Cow::Borrowed(base));
        let origin = if place.exists() { Origin::of(&place)? } else { Origin::default() };
        let origin = origin.tuned(&name(base), repository(base).as_deref());
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
    let name = path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
    let name = name.split('@').next().unwrap_or_default();
    // Versions have points too.
    let is_file = Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
    if is_file { name[..name.len() - 5].to_owned() } else { name.to_owned() }
}

/// `ORG/NAME` of a model that is named by its place on the hub.
fn repository(path: &Path) -> Option<String> {
    path.to_str()?.parse::<ModelName>().ok().map(|name| name.repository)
}
