//! What `--set` fixes, whatever else would be chosen.

use crate::failure::{Failure, Outcome, While};
use genera_engine::recipe::{Reasons, Recipe};

/// Keys of the recipe with the values that the person gave them.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Vec<(String, String)>);

impl Overrides {
    /// Reads assignments KEY=VALUE.
    ///
    /// # Errors
    /// When one has no '='.
    pub fn parse(assignments: &[String]) -> Outcome<Self> {
        let pair = |assignment: &String| {
            let (key, value) = assignment.split_once('=').ok_or_else(|| {
                Failure::new(format!("--set {assignment} has no '='; write for example --set train.steps=120"))
            })?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        };
        Ok(Self(assignments.iter().map(pair).collect::<Outcome<_>>()?))
    }

    /// Gives the keys their values.
    ///
    /// # Errors
    /// When the recipe has no such key, or the value is of another type.
    pub fn apply(&self, recipe: &mut Recipe) -> Outcome<()> {
        for (key, value) in &self.0 {
            recipe.set(key, value).during(format!("--set {key}={value}"))?;
        }
        Ok(())
    }

    /// The keys, as in `train.steps`.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// Whether `table.key` is fixed.
    pub fn fixes(&self, key: &str) -> bool {
        self.0.iter().any(|(fixed, _)| fixed == key)
    }

    /// Replaces the reasons of what was chosen by the reason of what is fixed.
    pub fn explain(&self, reasons: &mut Reasons) {
        for (key, _) in &self.0 {
            if reasons.get(key).is_some() {
                reasons.add(key, "set by --set");
            }
        }
    }
}
