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
            Weight::Packed(packed) => [packed.n_columns, packed.n_rows].into(),
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
