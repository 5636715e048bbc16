//! What candidates are scored by: a property of molecules, or a command.

use super::external;
use crate::failure::{Failure, Outcome};
use genera_chemistry::{Molecule, Property};
use std::time::Duration;

/// What candidates are scored by; more is better.
#[derive(Clone, Debug, PartialEq)]
pub enum Objective {
    /// A property of molecules, upwards or downwards.
    Extreme {
        /// Which.
        property: Property,
        /// 1 or −1.
        sign: f64,
    },
    /// A property of molecules near a value.
    Near {
        /// Which.
        property: Property,
        /// The value.
        value: f64,
    },
    /// A command.
    Command {
        /// As the shell takes it.
        command: String,
        /// How long it may take for the candidates of a round.
        timeout: Duration,
    },
}

impl Objective {
    /// Reads `qed`, `-logp` (as little as possible) or `weight = 350` (near this value).
    ///
    /// # Errors
    /// When the property is unknown; the known ones are listed. When no molecule has such a value of it.
    pub fn parse(text: &str) -> Outcome<Self> {
        let known = Property::ALL.map(Property::name).join(", ");
        let wrong = || {
            Failure::new(format!(
                "--objective: {text:?} is no objective; give a property of molecules ({known}), with - before it for as little \
                 as possible or \"= value\" behind it, or a command with --objective-command"
            ))
        };
        if let Some((name, value)) = text.split_once('=') {
            let property = Property::by_name(name).ok_or_else(wrong)?;
            property.check().map_err(Failure::new)?;
            let value = value.trim().parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(wrong)?;
            property.check_value(value).map_err(|problem| Failure::new(format!("--objective: {problem}")))?;
            return Ok(Self::Near { property, value });
        }
        let (name, sign) = text.trim().strip_prefix('-').map_or((text, 1.0), |name| (name, -1.0));
        let property = Property::by_name(name).ok_or_else(wrong)?;
        property.check().map_err(Failure::new)?;
        Ok(Self::Extreme { property, sign })
    }

    /// Scores candidates, NaN (or an infinity of a command) for one that cannot be scored: as many as could be before somebody asked to stop, or before what
    /// the second part says.
    ///
    /// # Errors
    /// When a command fails.
    pub fn scores(&self, candidates: &[String], is_stopped: &dyn Fn() -> bool) -> (Vec<f64>, Outcome<()>) {
        let of_molecules = |score: &dyn Fn(&Molecule) -> f64| {
            candidates.iter().map(|line| Molecule::parse(line).map_or(f64::NAN, |molecule| score(&molecule))).collect()
        };
        match self {
            Self::Extreme { property, sign } => (of_molecules(&|molecule| sign * property.of(molecule)), Ok(())),
            Self::Near { property, value } => {
                (of_molecules(&|molecule| -(property.of(molecule) - value).abs()), Ok(()))
            }
            Self::Command { command, timeout } => external::scores(command, candidates, *timeout, is_stopped),
        }
    }

    /// Whether it is for molecules alone.
    pub fn is_of_molecules(&self) -> bool {
        !matches!(self, Self::Command { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_no_molecule_has_are_no_objective() {
        assert_eq!(Objective::parse("rings = 2").unwrap(), Objective::Near { property: Property::Rings, value: 2.0 });
        for (text, part) in [
            ("qed = 7", "qed is a number from 0 to 1"),
            ("rings=2.5", "rings is a whole number"),
            ("weight = -3", "more than 0"),
            ("qed = high", "is no objective"),
        ] {
            let said = format!("{:?}", Objective::parse(text).unwrap_err());
            assert!(said.contains("--objective: ") && said.contains(part), "{said}");
        }
    }
}
