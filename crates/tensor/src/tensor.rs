//! A block of numbers with a shape.

use crate::device::Device;
use crate::dtype::{DType, View, ViewMut};
use crate::memory::Block;
use crate::shape::Shape;
use std::fmt;
use std::sync::Arc;

/// Numbers of one storage type, contiguous, with a shape. Cloning shares the numbers.
#[derive(Clone)]
pub struct Tensor {
    block: Arc<Block>,
    shape: Shape,
    dtype: DType,
    device: Device,
}

impl Tensor {
    /// A tensor whose elements are whatever the memory held before; for kernels that write every element.
    pub fn scratch(device: &Device, shape: impl Into<Shape>, dtype: DType) -> Self {
        let shape = shape.into();
        let block = Block::new(device.memory(), shape.n_elements() * dtype.size_bytes());
        Self { block: Arc::new(block), shape, dtype, device: device.clone() }
    }

    /// A tensor of zeros.
    pub fn zeros(device: &Device, shape: impl Into<Shape>, dtype: DType) -> Self {
        let mut tensor = Self::scratch(device, shape, dtype);
        device.kernels().scale(0.0, tensor.view_mut());
        tensor
    }

    /// A tensor with these elements.
    ///
    /// # Panics
    /// When their number is not that of the shape.
    pub fn from_f32(device: &Device, shape: impl Into<Shape>, values: &[f32]) -> Self {
        let mut tensor = Self::scratch(device, shape, DType::F32);
        let (n, expected) = (values.len(), tensor.shape.n_elements());
        assert_eq!(n, expected, "{n} values cannot fill the {expected} elements of {}", tensor.shape);
        tensor.view_mut().f32().copy_from_slice(values);
        tensor
    }

    /// The sizes of its axes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The sizes of its axes, as many as the caller expects.
    ///
    /// # Panics
    /// When it has another number of axes.
    #[track_caller]
    pub fn dims<const N: usize>(&self) -> [usize; N] {
        let sizes = self.shape.sizes();
        sizes
            .try_into()
            .unwrap_or_else(|_| panic!("expected a tensor of {N} axes, found {} of {}", sizes.len(), self.shape))
    }

    /// Number of elements.
    pub fn n_elements(&self) -> usize {
        self.shape.n_elements()
    }

    /// The storage type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The same elements under another shape.
    ///
    /// # Panics
    /// When the number of elements differs.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        let (n, expected) = (self.n_elements(), shape.n_elements());
        assert_eq!(n, expected, "cannot see the {n} elements of {} as the {expected} of {shape}", self.shape);
        Self { shape, ..self.clone() }
    }

    /// The elements.
    pub fn view(&self) -> View<'_> {
        let bytes = &self.block.bytes()[..self.n_elements() * self.dtype.size_bytes()];
        match self.dtype {
            DType::F32 => View::F32(bytemuck::cast_slice(bytes)),
            DType::Bf16 => View::Bf16(bytemuck::cast_slice(bytes)),
        }
    }

    /// The elements for writing.
    ///
    /// # Panics
    /// When another tensor shares them.
    #[track_caller]
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        let n_bytes = self.n_elements() * self.dtype.size_bytes();
        let block = Arc::get_mut(&mut self.block).expect("a tensor that is written to must not be shared");
        let bytes = &mut block.bytes_mut()[..n_bytes];
        match self.dtype {
            DType::F32 => ViewMut::F32(bytemuck::cast_slice_mut(bytes)),
            DType::Bf16 => ViewMut::Bf16(bytemuck::cast_slice_mut(bytes)),
        }
    }

    /// Whether no other tensor shares the elements, so that they may be written to.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.block) == 1
    }

    /// The same elements, in memory that nothing else shares: itself if that is so already, else a copy.
    pub fn into_unique(self) -> Self {
        if self.is_unique() { self } else { self.copy() }
    }

    /// A copy of the elements in memory of its own.
    pub fn copy(&self) -> Self {
        self.cast(self.dtype)
    }

    /// A copy with another storage type, rounded to nearest even where that is narrower.
    pub fn cast(&self, dtype: DType) -> Self {
        let mut out = Self::scratch(&self.device, self.shape, dtype);
        self.device.kernels().cast(self.view(), out.view_mut());
        out
    }

    /// The elements as f32, in memory of the caller.
    pub fn to_vec(&self) -> Vec<f32> {
        match self.view() {
            View::F32(data) => data.to_vec(),
            View::Bf16(data) => data.iter().map(|x| x.to_f32()).collect(),
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {} on {:?})", self.dtype, self.shape, self.device)
    }
}
