//! The tape: what was computed, and how to send a gradient back through it.

use crate::backend::Kernels;
use crate::device::Device;
use crate::dtype::{DType, ViewMut};
use crate::profile::Pass;
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::cell::RefCell;
use std::panic::Location;
use std::path::Path;

/// Which parameter of a model a gradient belongs to: an index into the model's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub usize);

/// Where the gradient of a value goes: a place on the tape, with the form that the gradient has.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    node: usize,
    shape: Shape,
    dtype: DType,
}

/// A value in a computation: a tensor, and its place on the tape if a gradient is wanted.
#[derive(Clone, Debug)]
pub struct Var {
    tensor: Tensor,
    slot: Option<Slot>,
}

impl Var {
    /// A value without gradient.
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, slot: None }
    }

    /// The numbers.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The numbers, given away: unique again if this was the last use.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// Where its gradient goes; `None` when none is wanted.
    pub fn slot(&self) -> Option<Slot> {
        self.slot
    }

    /// The same value under another shape; gradients arrive in the shape it was made with.
    #[must_use]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Self {
        Self { tensor: self.tensor.reshape(shape), ..self.clone() }
    }
}

/// How one operation sends the gradient of its result back to its inputs.
type Backward<'a> = Box<dyn FnOnce(&mut Sink<'_>, Tensor) + 'a>;

enum Node<'a> {
    /// A parameter: its gradient outlives the tape.
    Parameter(ParamId),
    /// An input of a replayed stretch.
    Input,
    /// The result of an operation, with its name.
    Operation(Backward<'a>, &'static str),
}

/// What is computed a second time, in a profile.
const REPLAY: &str = "replay";

/// Records operations, in order, while they are computed.
///
/// Values are computed at once; `backward` then walks the records in reverse. What an operation saved is dropped as
/// soon as its gradient has been sent back, so memory falls while `backward` runs.
pub struct Tape<'a> {
    device: Device,
    nodes: RefCell<Vec<Node<'a>>>,
    is_recording: bool,
    /// Whether what is computed was computed before.
    is_replay: bool,
}

impl<'a> Tape<'a> {
    /// A tape that records.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), nodes: RefCell::default(), is_recording: true, is_replay: false }
    }

    /// A tape that records nothing: operations only compute.
    pub fn inference(device: &Device) -> Self {
        Self { is_recording: false, ..Self::new(device) }
    }

    /// Whether operations are recorded.
    pub fn is_recording(&self) -> bool {
        self.is_recording
    }

    /// Where this computation runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The kernels of the device.
    pub fn kernels(&self) -> &dyn Kernels {
        self.device.kernels()
    }

    /// A parameter, whose gradient (always f32) is added to [`Gradients`] under `id`.
    pub fn parameter(&self, id: ParamId, tensor: &Tensor) -> Var {
        self.leaf(Node::Parameter(id), tensor.clone(), DType::F32)
    }

    fn leaf(&self, node: Node<'a>, tensor: Tensor, dtype: DType) -> Var {
        let slot = self.is_recording.then(|| self.record(node, tensor.shape(), dtype));
        Var { tensor, slot }
    }

    fn mark(&self, name: &'static str, pass: Pass) {
        if let Some(profile) = self.device.profile() {
            profile.mark(name, pass);
        }
    }

    fn record(&self, node: Node<'a>, shape: Shape, dtype: DType) -> Slot {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(node);
        Slot { node: nodes.len() - 1, shape, dtype }
    }

    /// The result of an operation. `backward` gets the gradient of `result` and sends on what the inputs are due; it is
    /// dropped at once when no input wants a gradient. The operation has the name of the file that calls this.
    #[track_caller]
    pub fn push(
        &self,
        result: Tensor,
        inputs: &[Option<Slot>],
        backward: impl FnOnce(&mut Sink<'_>, Tensor) + 'a,
    ) -> Var {
        let name = if self.device.profile().is_some() { file_stem(Location::caller()) } else { "" };
        let (marked, pass) = if self.is_replay { (REPLAY, Pass::Backward) } else { (name, Pass::Forward) };
        self.mark(marked, pass);
        if !self.is_recording || inputs.iter().all(Option::is_none) {
            return Var::constant(result);
        }
        let slot = self.record(Node::Operation(Box::new(backward), name), result.shape(), result.dtype());
        Var { tensor: result, slot: Some(slot) }
    }

    /// Computes `stretch(inputs)` keeping only the inputs, and computes it again when the gradient comes back: memory
    /// for time (activation checkpointing). `stretch` must give the same result both times.
    ///
    /// # Source
    /// Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", arXiv 1604.06174.
    pub fn checkpoint(&self, inputs: Vec<Var>, stretch: impl Fn(&Tape<'a>, &[Var]) -> Var + 'a) -> Var {
        if !self.is_recording {
            return stretch(self, &inputs);
        }
        let constants: Vec<Var> = inputs.iter().map(|input| Var { slot: None, ..input.clone() }).collect();
        let result = stretch(&Tape::inference(&self.device), &constants).into_tensor();
        // Parameters used inside want gradients even when no input does, so this is always recorded.
        let device = self.device.clone();
        let replay = move |sink: &mut Sink<'_>, dresult: Tensor| {
            let tape = Tape { is_replay: true, ..Tape::new(&device) };
            let leaf = |input: &Var| tape.leaf(Node::Input, input.tensor.clone(), input.tensor.dtype());
            let leaves: Vec<Var> = inputs.iter().map(leaf).collect();
            let result = stretch(&tape, &leaves);
            let mut slots = tape.run(&result, dresult, sink.gradients);
            for (input, leaf) in inputs.iter().zip(&leaves) {
                let gradient = leaf.slot.and_then(|slot| slots[slot.node].take());
                if let Some(gradient) = gradient {
                    sink.add(input.slot, gradient);
                }
            }
        };
        let slot = self.record(Node::Operation(Box::new(replay), REPLAY), result.shape(), result.dtype());
        Var { tensor: result, slot: Some(slot) }
    }

    /// Sends the gradient 1 back from the scalar `loss` and adds what arrives at the parameters to `gradients`.
    ///
    /// # Panics
    /// When `loss` is not one f32 number made on this tape.
    pub fn backward(self, loss: &Var, gradients: &mut Gradients) {
        assert_eq!(loss.tensor.n_elements(), 1, "backward starts from a scalar, not from {:?}", loss.tensor);
        let one = Tensor::from_f32(&self.device, loss.tensor.shape(), &[1.0]);
        self.backward_from(loss, one, gradients);
    }

    /// As [`Tape::backward`], from a result of any shape whose gradient is given.
    pub fn backward_from(self, result: &Var, dresult: Tensor, gradients: &mut Gradients) {
        self.run(result, dresult, gradients);
    }

    /// Returns the gradients that stayed on the tape: those of its inputs.
    fn run(self, result: &Var, dresult: Tensor, gradients: &mut Gradients) -> Vec<Option<Tensor>> {
        let nodes = self.nodes.into_inner();
        let parameters = nodes.iter().map(|node| if let Node::Parameter(id) = node { Some(*id) } else { None });
        let mut sink = Sink {
            device: self.device,
            parameters: parameters.collect(),
            slots: nodes.iter().map(|_| None).collect(),
            gradients,
        };
        sink.add(result.slot, dresult);
        for (i, node) in nodes.into_iter().enumerate().rev() {
            if let Node::Operation(backward, name) = node
                && let Some(gradient) = sink.slots[i].take()
            {
                backward(&mut sink, gradient);
                if let Some(profile) = sink.device.profile() {
                    profile.mark(name, Pass::Backward);
                }
            }
        }
        sink.slots
    }
}

/// `linear` for `…/op/linear.rs`.
fn file_stem(place: &'static Location<'static>) -> &'static str {
    Path::new(place.file()).file_stem().and_then(|stem| stem.to_str()).unwrap_or("other")
}

/// Collects gradients on their way back.
pub struct Sink<'s> {
    device: Device,
    parameters: Vec<Option<ParamId>>,
    slots: Vec<Option<Tensor>>,
    gradients: &'s mut Gradients,
}

impl Sink<'_> {
    /// Where the computation runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Lets `write` fill the gradient of `slot`: it gets the elements, and whether to add to them (true) or to replace
    /// what they hold (false). Nothing happens when no gradient is wanted.
    pub fn accumulate(&mut self, slot: Option<Slot>, write: impl FnOnce(ViewMut<'_>, bool)) {
        let Some(slot) = slot else { return };
        let place = Self::place(&self.parameters, &mut self.slots, self.gradients, slot);
        let earlier = place.take();
        let is_first = earlier.is_none();
        let mut gradient = match earlier {
            Some(gradient) => gradient.into_unique(),
            None => Tensor::scratch(&self.device, slot.shape, slot.dtype),
        };
        write(gradient.view_mut(), !is_first);
        *place = Some(gradient);
    }

    /// Adds a finished gradient to that of `slot`; the first one is taken over without a copy.
    pub fn add(&mut self, slot: Option<Slot>, gradient: Tensor) {
        let Some(slot) = slot else { return };
        let place = Self::place(&self.parameters, &mut self.slots, self.gradients, slot);
        if place.is_none() && gradient.dtype() == slot.dtype {
            *place = Some(gradient.reshape(slot.shape));
            return;
        }
        let device = self.device.clone();
        self.accumulate(Some(slot), |out, is_later| {
            device.kernels().scale_add(1.0, gradient.view(), if is_later { 1.0 } else { 0.0 }, out);
        });
    }

    fn place<'p>(
        parameters: &[Option<ParamId>],
        slots: &'p mut [Option<Tensor>],
        gradients: &'p mut Gradients,
        slot: Slot,
    ) -> &'p mut Option<Tensor> {
        match parameters[slot.node] {
            Some(id) => &mut gradients.by_param[id.0],
            None => &mut slots[slot.node],
        }
    }
}

/// The gradients of a model's parameters, summed over every [`Tape::backward`] since they were made.
#[derive(Debug)]
pub struct Gradients {
    by_param: Vec<Option<Tensor>>,
}

impl Gradients {
    /// No gradients yet, for `n_params` parameters.
    pub fn new(n_params: usize) -> Self {
        Self { by_param: (0..n_params).map(|_| None).collect() }
    }

    /// The gradient of a parameter; `None` when it took no part in the loss.
    pub fn get(&self, id: ParamId) -> Option<&Tensor> {
        self.by_param[id.0].as_ref()
    }

    /// The gradient of a parameter for replacement.
    pub fn get_mut(&mut self, id: ParamId) -> &mut Option<Tensor> {
        &mut self.by_param[id.0]
    }

    /// The gradients that there are, in the order of the parameters.
    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &Tensor)> {
        self.by_param.iter().enumerate().filter_map(|(i, gradient)| Some((ParamId(i), gradient.as_ref()?)))
    }
}
