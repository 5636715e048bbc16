//! A matrix that vectors are multiplied by.

use crate::backend::{Matmul, Matrix, PackedMatrix, Rhs};
use crate::device::Device;
use crate::dtype::{DType, View, ViewMut};
use crate::shape::Shape;
use crate::tape::{Slot, Var};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Elements that are unpacked at a time on the way back through a packed weight.
const UNPACKED_ELEMENTS: usize = 1 << 20;

/// The weight [N, K] of a product x · wᵀ.
#[derive(Clone, Debug)]
pub enum Weight {
    /// Numbers on the tape.
    Plain {
        /// The numbers.
        var: Var,
        /// Rearranged beside them, which products then use.
        packed: Option<Arc<PackedMatrix>>,
    },
    /// Only the rearranged form: a weight that is not trained, perhaps quantised.
    Packed(Arc<PackedMatrix>),
}

impl From<Var> for Weight {
    fn from(var: Var) -> Self {
        Weight::Plain { var, packed: None }
    }
}

impl From<&Var> for Weight {
    fn from(var: &Var) -> Self {
        var.clone().into()
    }
}

impl Weight {
    /// [N, K]
    pub fn shape(&self) -> Shape {
        match self {
            Weight::Plain { var, .. } => var.tensor().shape(),
            Weight::Packed(packed) => [packed.n_columns(), packed.n_rows()].into(),
        }
    }

    /// Where its gradient goes; `None` when none is wanted.
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Weight::Plain { var, .. } => var.slot(),
            Weight::Packed(_) => None,
        }
    }

    /// wᵀ, to multiply by.
    pub(crate) fn transposed(&self) -> Rhs<'_> {
        match self {
            Weight::Plain { packed: Some(packed), .. } | Weight::Packed(packed) => Rhs::Packed(packed),
            Weight::Plain { var, packed: None } => {
                Rhs::Matrix(Matrix::transposed(var.tensor().view(), var.tensor().shape().last()))
            }
        }
    }

    /// `dx (+)= dy · w`: the way back to what was multiplied.
    ///
    /// # Shapes
    /// dy: [M, N]; dx: [M, K].
    pub(crate) fn send_back(&self, device: &Device, dy: Matrix<'_>, m: usize, mut dx: ViewMut<'_>, accumulate: bool) {
        let [n, k] = self.shape().sizes().try_into().expect("a matrix");
        let kernels = device.kernels();
        let packed = match self {
            Weight::Plain { var, .. } => {
                let w = Matrix::new(var.tensor().view(), k);
                return kernels.matmul(Matmul::product([m, k, n], dy, w, dx, accumulate));
            }
            Weight::Packed(packed) => packed,
        };
        let step = (UNPACKED_ELEMENTS / k.max(1)).clamp(1, n.max(1));
        let mut rows = Tensor::scratch(device, [step, k], DType::F32);
        for first in (0..n).step_by(step) {
            let ids: Vec<u32> = (first..n.min(first + step)).map(|row| row as u32).collect();
            let rows = &mut rows.view_mut().into_f32()[..ids.len() * k];
            kernels.unpack(packed, &ids, rows);
            let part = Matrix { data: dy.data.slice(first..dy.data.len()), ..dy };
            let (w, is_later) = (Matrix::new(View::F32(rows), k), accumulate || first > 0);
            kernels.matmul(Matmul::product([m, k, ids.len()], part, w, dx.reborrow(), is_later));
        }
    }

    /// `out = scale · w[ids]`, rows of K.
    ///
    /// # Panics
    /// When an id is not a row.
    pub(crate) fn gather(&self, device: &Device, ids: &[u32], scale: f32, out: &mut [f32]) {
        match self {
            Weight::Plain { var, .. } => {
                let (table, out) = (var.tensor(), ViewMut::F32(out));
                device.kernels().gather(table.view(), table.shape().last(), ids, scale, out, false);
            }
            Weight::Packed(packed) => {
                device.kernels().unpack(packed, ids, out);
                if scale != 1.0 {
                    out.iter_mut().for_each(|x| *x *= scale);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Linear, embedding, linear};
    use crate::quant::{BlockRows, Format};
    use crate::{Gradients, Key, ParamId, Tape};

    /// More rows than are unpacked at a time.
    const SIZES: [usize; 3] = [3, 300, 4096];

    fn normals(device: &Device, seed: u64, shape: [usize; 2]) -> Tensor {
        let values: Vec<f32> = (0..(shape[0] * shape[1]) as u64).map(|i| Key::new(seed).normal(i)).collect();
        Tensor::from_f32(device, shape, &values)
    }

    /// The gradient of what a weight multiplies, for a sum of the results with random factors.
    fn gradient(device: &Device, weight: &Weight) -> Vec<f32> {
        let [m, n, k] = SIZES;
        let tape = Tape::new(device);
        let x = tape.parameter(ParamId(0), &normals(device, 1, [m, k]));
        let y = linear(&tape, &x, weight, Linear::plain(DType::F32));
        let mut gradients = Gradients::new(1);
        tape.backward_from(&y, normals(device, 2, [m, n]), &mut gradients);
        gradients.get(ParamId(0)).expect("x is a parameter").to_vec()
    }

    #[test]
    fn the_gradient_goes_back_through_packed_weights() {
        let [_, n, k] = SIZES;
        let device = Device::cpu(2);
        let numbers = normals(&device, 3, [n, k]);
        let mut bytes = vec![0; Format::Q8_0.bytes_of(n * k)];
        Format::Q8_0.encode(&numbers.to_vec(), &mut bytes);
        let mut decoded = vec![0.0; n * k];
        Format::Q8_0.decode(&bytes, &mut decoded);
        let kernels = device.kernels();
        let whole = kernels.pack(Matrix::transposed(numbers.view(), k), k, n);
        let blocks = kernels.pack_blocks(k, &[BlockRows::new(Format::Q8_0, k, &bytes)]);
        let plain = |numbers: Tensor| Weight::from(Var::constant(numbers));
        for (packed, same) in [(whole, numbers.clone()), (blocks, Tensor::from_f32(&device, [n, k], &decoded))] {
            let (found, expected) =
                (gradient(&device, &Weight::Packed(Arc::new(packed))), gradient(&device, &plain(same)));
            let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            let error =
                found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap_or(0.0) / largest;
            assert!(error < 1e-6, "{error}");
        }
    }

    #[test]
    fn rows_are_looked_up_in_packed_tables() {
        let device = Device::cpu(1);
        let (table, ids): (_, Arc<[u32]>) = (normals(&device, 4, [50, 32]), Arc::from([49, 0, 7, 7]));
        let packed = Arc::new(device.kernels().pack(Matrix::transposed(table.view(), 32), 32, 50));
        let tape = Tape::inference(&device);
        let look_up = |weight: Weight| embedding(&tape, &weight, &ids, 3.0).tensor().to_vec();
        assert_eq!(look_up(Weight::Packed(packed)), look_up(Var::constant(table).into()));
    }
}
