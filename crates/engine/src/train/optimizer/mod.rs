//! How weights follow gradients: one [`Optimizer`] for each parameter, chosen by what the parameter is for.

mod adamw;
mod muon;
mod sgd;

pub use adamw::AdamWSettings;
pub use muon::MuonSettings;
pub use sgd::SgdSettings;

use crate::config::ModelConfig;
use crate::error::Result;
use crate::params::{ParamSpec, Params, Role, row_blocks};
use genera_tensor::{Gradients, ParamId, Tensor, backend};
use std::fmt;

/// What all parameters share in a step.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Number of the step, from 1.
    pub step: u64,
    /// Learning rate as a share of its peak.
    pub share: f64,
    /// Factor on the gradients, from clipping.
    pub gradient_scale: f32,
}

/// The weights of one parameter.
#[derive(Debug)]
pub struct Weights<'a> {
    /// In f32.
    pub master: &'a mut Tensor,
    /// Their rounded copy, where products use one.
    pub rounded: Option<&'a mut Tensor>,
}

impl Weights<'_> {
    /// Brings the rounded copy up to date.
    fn round(self) {
        if let Some(rounded) = self.rounded {
            self.master.device().kernels().cast(self.master.view(), rounded.view_mut());
        }
    }
}

/// Steps that are done together, after all parameters were asked.
pub type Sweep<'s> = Vec<backend::AdamW<'s>>;

/// How the weights of one parameter follow its gradients, and what it remembers of them.
pub trait Optimizer: fmt::Debug + Send {
    /// Changes the weights by one step, or leaves that to `sweep`, which does it for many parameters at once.
    fn update<'s>(&'s mut self, weights: Weights<'s>, gradient: &'s Tensor, update: &Update, sweep: &mut Sweep<'s>);

    /// What it remembers, by name.
    fn state(&self) -> Vec<(&'static str, &Tensor)>;

    /// What it remembers, for replacement.
    fn state_mut(&mut self) -> Vec<(&'static str, &mut Tensor)>;
}

/// Which optimizer, and how it is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptimizerSettings {
    /// AdamW for everything.
    AdamW(AdamWSettings),
    /// Muon for the matrices inside the blocks, AdamW for the rest.
    Muon {
        /// How Muon is set.
        matrices: MuonSettings,
        /// How AdamW is set.
        rest: AdamWSettings,
    },
    /// Plain gradients with momentum for everything.
    Sgd(SgdSettings),
}

impl OptimizerSettings {
    /// The highest learning rate.
    pub fn learning_rate(&self) -> f64 {
        match self {
            OptimizerSettings::AdamW(settings) | OptimizerSettings::Muon { rest: settings, .. } => {
                settings.learning_rate
            }
            OptimizerSettings::Sgd(settings) => settings.learning_rate,
        }
    }

    /// The optimizer of one parameter; `None` for those that are not trained.
    fn choose(
        &self,
        config: &ModelConfig,
        spec: &ParamSpec,
        params: &Params,
        id: ParamId,
    ) -> Option<Box<dyn Optimizer>> {
        if !params.is_trained(id) {
            return None;
        }
        let weights = params.master(id);
        let decays = decays(spec.role);
        match (self, spec.role) {
            (OptimizerSettings::Muon { matrices, .. }, Role::Matrix | Role::Query | Role::Residual) => {
                let blocks = row_blocks(config, spec);
                Some(Box::new(muon::Muon::new(*matrices, weights, blocks, params.compute_dtype())))
            }
            (OptimizerSettings::AdamW(settings) | OptimizerSettings::Muon { rest: settings, .. }, _) => {
                Some(Box::new(adamw::AdamW::new(*settings, weights, decays)))
            }
            (OptimizerSettings::Sgd(settings), _) => Some(Box::new(sgd::Sgd::new(*settings, weights, decays))),
        }
    }
}

/// Whether weight decay shrinks a parameter: matrices and tables, not the vectors.
fn decays(role: Role) -> bool {
    matches!(role, Role::Embedding | Role::Head | Role::Matrix | Role::Query | Role::Residual | Role::Adapter)
}

/// The optimizers of all parameters of a model.
#[derive(Debug)]
pub struct ModelOptimizer {
    by_param: Vec<Option<Box<dyn Optimizer>>>,
}

impl ModelOptimizer {
    /// Optimizers that have seen nothing yet.
    pub fn new(settings: &OptimizerSettings, config: &ModelConfig, params: &Params) -> Self {
        let choose = |(i, spec)| settings.choose(config, spec, params, ParamId(i));
        Self { by_param: params.specs().iter().enumerate().map(choose).collect() }
    }

    /// AdamW for every parameter, whatever it is for.
    pub fn adamw(settings: AdamWSettings, params: &Params) -> Self {
        let of = |(i, spec): (usize, &ParamSpec)| {
            let weights = params.master(ParamId(i));
            Some(Box::new(adamw::AdamW::new(settings, weights, decays(spec.role))) as Box<dyn Optimizer>)
        };
        Self { by_param: params.specs().iter().enumerate().map(of).collect() }
    }

    /// Changes all parameters by one step, in their order; those without gradient stay.
    pub fn update(&mut self, params: &mut Params, gradients: &Gradients, update: &Update) {
        let Some((_, first)) = gradients.iter().next() else { return };
        let learns = |id: ParamId| gradients.get(id).is_some();
        let optimizers = self.by_param.iter_mut().enumerate().filter(|(i, _)| learns(ParamId(*i)));
        let mut sweep = Sweep::new();
        let parts = optimizers.zip(gradients.iter()).zip(params.many_for_update(learns));
        for (((_, optimizer), (_, gradient)), (master, rounded)) in parts {
            if let Some(optimizer) = optimizer {
                optimizer.update(Weights { master, rounded }, gradient, update, &mut sweep);
            }
        }
        first.device().kernels().adamw(sweep);
    }

    /// What the optimizers remember, as `<parameter>.<name>`.
    pub fn state<'s>(&'s self, params: &Params) -> Vec<(String, &'s Tensor)> {
        let named = params.specs().iter().zip(&self.by_param);
        let optimizers = named.filter_map(|(spec, optimizer)| Some((spec, optimizer.as_deref()?)));
        let of_one = |(spec, optimizer): (&ParamSpec, &'s dyn Optimizer)| {
            let state = optimizer.state().into_iter();
            state.map(|(name, tensor)| (format!("{}.{name}", spec.name), tensor)).collect::<Vec<_>>()
        };
        optimizers.flat_map(of_one).collect()
    }

    /// Replaces what the optimizers remember by what `read` gives for each name and shape.
    ///
    /// # Errors
    /// What `read` reports.
    pub fn restore(&mut self, params: &Params, read: &mut super::ReadTensor<'_>) -> Result<()> {
        for (spec, optimizer) in params.specs().iter().zip(&mut self.by_param) {
            for (name, tensor) in optimizer.iter_mut().flat_map(|optimizer| optimizer.state_mut()) {
                let values = read(&format!("{}.{name}", spec.name), tensor.shape().sizes())?;
                tensor.view_mut().f32().copy_from_slice(&values);
            }
        }
        Ok(())
    }
}
