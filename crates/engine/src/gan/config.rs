//! What the networks are made of.

use crate::error::{Error, Result};
use crate::params::{ParamSpec, Role};
use genera_tensor::{Device, Key, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Limits of what may come from a file.
const MAX_FEATURES: usize = 1 << 16;
const MAX_WIDTH: usize = 1 << 14;
const MAX_LAYERS: usize = 64;
const MAX_PACK: usize = 1 << 10;

/// One part of a row's vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Part {
    /// A number between −1 and 1.
    Number,
    /// One of several, as a one-hot vector.
    Choice {
        /// How many.
        n: usize,
        /// Whether a condition may ask for one of them.
        is_asked: bool,
    },
}

impl Part {
    fn width(self) -> usize {
        match self {
            Part::Number => 1,
            Part::Choice { n, .. } => n,
        }
    }

    fn n_conditions(self) -> usize {
        match self {
            Part::Choice { n, is_asked: true } => n,
            _ => 0,
        }
    }
}

/// What the networks are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GanConfig {
    /// The parts of a row, in order.
    pub parts: Vec<Part>,
    /// Width of the hidden layers.
    pub d_hidden: usize,
    /// Number of hidden layers of either network.
    pub n_layers: usize,
    /// Numbers of noise that a row is made of.
    pub d_noise: usize,
    /// Rows that the discriminator judges together, so that it sees whether they are all alike.
    ///
    /// # Source
    /// Lin, Khetan, Fanti, Oh, "PacGAN", arXiv 1712.04086.
    pub n_packed: usize,
}

impl GanConfig {
    /// Checks what may come from a file.
    ///
    /// # Errors
    /// [`Error::Config`], naming what is out of range.
    pub fn validate(&self) -> Result<()> {
        let total = self.parts.iter().map(|part| part.width()).fold(0_usize, usize::saturating_add);
        let checks = [
            ("parts of a row", total, 1..=MAX_FEATURES),
            ("options of a choice", self.parts.iter().map(|part| part.width()).min().unwrap_or(0), 1..=MAX_FEATURES),
            ("width of the hidden layers", self.d_hidden, 1..=MAX_WIDTH),
            ("number of hidden layers", self.n_layers, 1..=MAX_LAYERS),
            ("numbers of noise", self.d_noise, 1..=MAX_WIDTH),
            ("rows judged together", self.n_packed, 1..=MAX_PACK),
        ];
        match checks.into_iter().find(|(_, value, range)| !range.contains(value)) {
            None => Ok(()),
            Some((what, value, range)) => Err(Error::Config(format!(
                "a GAN's {what} come to {value}; expected {} to {}",
                range.start(),
                range.end()
            ))),
        }
    }

    /// Length F of a row's vector.
    pub fn n_features(&self) -> usize {
        self.parts.iter().map(|part| part.width()).sum()
    }

    /// Length C of a condition.
    pub fn n_conditions(&self) -> usize {
        self.parts.iter().map(|part| part.n_conditions()).sum()
    }

    /// The parts with their places in a row's vector.
    pub fn ranges(&self) -> impl Iterator<Item = (Part, Range<usize>)> + '_ {
        let mut end = 0;
        self.parts.iter().map(move |&part| {
            end += part.width();
            (part, end - part.width()..end)
        })
    }

    /// The choices that may be asked for, with their places in a row's vector and in a condition.
    pub fn asked(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + '_ {
        let mut end = 0;
        self.ranges().filter(|(part, _)| part.n_conditions() > 0).map(move |(part, range)| {
            end += part.n_conditions();
            (range, end - part.n_conditions()..end)
        })
    }

    /// Names, shapes and roles of all parameters, the generator's first.
    pub(super) fn layout(&self) -> Vec<ParamSpec> {
        let mut specs = Vec::new();
        let mut push =
            |name: String, shape: &[usize], role| specs.push(ParamSpec { name, shape: Shape::new(shape), role });
        let mut width = self.d_noise + self.n_conditions();
        for layer in 0..self.n_layers {
            push(format!("generator.{layer}.weight"), &[self.d_hidden, width], Role::Matrix);
            push(format!("generator.{layer}.bias"), &[self.d_hidden], Role::Bias);
            push(format!("generator.{layer}.norm.weight"), &[self.d_hidden], Role::NormWeight);
            push(format!("generator.{layer}.norm.bias"), &[self.d_hidden], Role::Bias);
            width += self.d_hidden;
        }
        push("generator.out.weight".to_owned(), &[self.n_features(), width], Role::Matrix);
        push("generator.out.bias".to_owned(), &[self.n_features()], Role::Bias);
        let mut width = self.judged_len();
        for layer in 0..self.n_layers {
            push(format!("discriminator.{layer}.weight"), &[self.d_hidden, width], Role::Matrix);
            push(format!("discriminator.{layer}.bias"), &[self.d_hidden], Role::Bias);
            width = self.d_hidden;
        }
        push("discriminator.out.weight".to_owned(), &[1, width], Role::Matrix);
        push("discriminator.out.bias".to_owned(), &[1], Role::Bias);
        specs
    }

    /// What the discriminator reads at once: packed rows, each with its condition.
    pub(super) fn judged_len(&self) -> usize {
        self.n_packed * (self.n_features() + self.n_conditions())
    }

    /// Initial numbers of all parameters: uniform within 1 / √inputs.
    pub(super) fn initial(&self, seed: u64, device: &Device) -> Vec<Tensor> {
        let specs = self.layout();
        let mut n_inputs = 1;
        let values = specs.iter().zip(0..).map(|(spec, i)| {
            n_inputs = if spec.role == Role::Matrix { spec.shape.last() } else { n_inputs };
            let n = spec.shape.n_elements();
            let values = match (spec.role, spec.name.contains(".norm.")) {
                (Role::NormWeight, _) => vec![1.0; n],
                (_, true) => vec![0.0; n],
                _ => {
                    let mut values = vec![0.0; n];
                    Key::new(seed).fold(i).uniforms(0, &mut values);
                    let bound = 1.0 / (n_inputs as f32).sqrt();
                    values.iter_mut().for_each(|value| *value = (2.0 * *value - 1.0) * bound);
                    values
                }
            };
            Tensor::from_f32(device, spec.shape, &values)
        });
        values.collect()
    }
}
