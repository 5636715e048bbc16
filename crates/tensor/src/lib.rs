//! Tensors, a tape of coarse operations, and the kernels that run them: the only crate with unsafe code.
//!
//! Data flows down: an operation in [`op`] allocates its result as a [`Tensor`], calls one of the [`backend::Kernels`]
//! of the tensor's [`Device`], and leaves on the [`Tape`] how to send a gradient back. Start with [`Tape`], then read one
//! operation, for example [`op::linear`].

pub mod backend;
mod device;
mod dtype;
mod memory;
pub mod op;
mod profile;
pub mod quant;
mod rng;
mod shape;
mod tape;
mod tensor;
mod weight;

pub use backend::{Activation, NormKind, Visibility};
pub use device::Device;
pub use dtype::{DType, View, ViewMut};
pub use memory::Memory;
pub use profile::{Pass, Profile, Spent};
pub use rng::Key;
pub use shape::{MAX_AXES, Shape};
pub use tape::{Gradients, ParamId, Tape, Var};
pub use tensor::Tensor;
pub use weight::Weight;
