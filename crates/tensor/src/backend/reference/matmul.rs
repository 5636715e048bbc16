//! Matrix products with their epilogue.

use super::blocks;
use crate::backend::reference::pointwise::activate;
use crate::backend::{Elements, Matmul, Matrix, PackedMatrix, Rhs};
use crate::dtype::{DType, View};
use crate::quant::{BlockRows, Half};
use half::bf16;

/// What this backend keeps of a packed matrix: its elements, row by row.
type Panels = Vec<f32>;

pub(super) fn matmul(mut call: Matmul<'_>) {
    call.check();
    if let Rhs::Packed(packed) = call.b
        && packed.elements == Elements::Blocks
    {
        return blocks::matmul(call, packed);
    }
    let rounds = call.rounds_to_bf16();
    let operand = |value: f32| if rounds { bf16::from_f32(value).to_f32() } else { value };
    for i in 0..call.m {
        for j in 0..call.n {
            let mut sum = 0.0_f64;
            for p in 0..call.k {
                sum += f64::from(operand(call.a.get(i, p))) * f64::from(operand(rhs_element(&call.b, p, j)));
            }
            finish(&mut call, i, j, sum as f32);
        }
    }
}

impl Matmul<'_> {
    /// Whether the operands are rounded to bf16 before they are multiplied.
    pub(in crate::backend) fn rounds_to_bf16(&self) -> bool {
        match self.b {
            Rhs::Packed(PackedMatrix { elements: Elements::Halves(half), .. }) => {
                *half == Half::Bf16 && self.a.data.dtype() == DType::Bf16
            }
            b => self.a.data.dtype() == DType::Bf16 || b.dtype() == DType::Bf16,
        }
    }

    /// Holds the call to its contract.
    ///
    /// # Panics
    /// When a slice does not fit the sizes, or `accumulate` comes with something else to add.
    pub(in crate::backend) fn check(&self) {
        let (m, n, k) = (self.m, self.n, self.k);
        self.a.check("a", m, k);
        match &self.b {
            Rhs::Matrix(b) => b.check("b", k, n),
            Rhs::Packed(b) => {
                let found = (b.n_rows, b.n_columns);
                assert_eq!(found, (k, n), "the packed right-hand side of a matmul has the wrong sizes");
            }
        }
        check_len("c", self.c.len(), m * n);
        self.bias.iter().for_each(|bias| check_len("bias", bias.len(), n));
        self.pre_activation.iter().for_each(|out| check_len("pre_activation", out.len(), m * n));
        self.residual.iter().for_each(|residual| check_len("residual", residual.len(), m * n));
        let plain = self.bias.is_none() && self.activation.is_none() && self.residual.is_none();
        assert!(plain || !self.accumulate, "a matmul that accumulates takes no bias, activation or residual");
    }
}

impl Matrix<'_> {
    /// Panics unless a logical matrix [rows, columns] lies within the data.
    pub(in crate::backend) fn check(&self, name: &str, rows: usize, columns: usize) {
        let (stored_rows, width) = if self.transposed { (columns, rows) } else { (rows, columns) };
        if stored_rows == 0 || width == 0 {
            return;
        }
        let row_stride = self.row_stride;
        assert!(row_stride >= width, "rows of {name} are {width} wide, but only {row_stride} apart");
        let (needed, len) = ((stored_rows - 1) * row_stride + width, self.data.len());
        assert!(len >= needed, "{name} [{rows}, {columns}] needs {needed} elements, found {len}");
    }
}

impl Rhs<'_> {
    /// Storage type of the elements.
    pub(in crate::backend) fn dtype(&self) -> DType {
        match self {
            Rhs::Matrix(matrix) => matrix.data.dtype(),
            Rhs::Packed(PackedMatrix { elements: Elements::Plain(dtype), .. }) => *dtype,
            // Has no part in the choice between f32 and bf16.
            Rhs::Packed(PackedMatrix { elements: Elements::Halves(_) | Elements::Blocks, .. }) => DType::F32,
        }
    }
}

impl PackedMatrix {
    /// Panics unless there are these columns, and room for them.
    pub(in crate::backend) fn check_columns(&self, columns: &[u32], room: usize) {
        assert_eq!(columns.len() * self.n_rows, room, "room for {} columns of {}", columns.len(), self.n_rows);
        let beyond = columns.iter().find(|&&column| column as usize >= self.n_columns);
        assert!(beyond.is_none(), "column {beyond:?} is not one of the matrix, which has {}", self.n_columns);
    }
}

fn check_len(name: &str, found: usize, expected: usize) {
    assert_eq!(found, expected, "{name} of a matmul has the wrong number of elements");
}

/// Everything that comes after the sum of products of element (i, j).
pub(super) fn finish(call: &mut Matmul<'_>, i: usize, j: usize, sum: f32) {
    let at = i * call.n + j;
    let mut value = sum + call.bias.map_or(0.0, |bias| bias.get(j));
    if let Some(pre_activation) = &mut call.pre_activation {
        pre_activation.set(at, value);
    }
    if let Some(kind) = call.activation {
        value = activate(kind, value);
    }
    if let Some(residual) = call.residual {
        value += residual.get(at);
    }
    call.c.put(at, value, call.accumulate);
}

fn rhs_element(b: &Rhs<'_>, p: usize, j: usize) -> f32 {
    match b {
        Rhs::Matrix(matrix) => matrix.get(p, j),
        Rhs::Packed(packed) => {
            let elements: &Panels = packed.panels.downcast_ref().expect("a matrix packed by this backend");
            elements[p * packed.n_columns + j]
        }
    }
}

pub(super) fn pack(b: Matrix<'_>, k: usize, n: usize) -> PackedMatrix {
    b.check("b", k, n);
    let elements: Panels = (0..k * n).map(|at| b.get(at / n, at % n)).collect();
    let (n_bytes, panels) = (4 * elements.len(), Box::new(elements));
    PackedMatrix { n_rows: k, n_columns: n, elements: Elements::Plain(b.data.dtype()), n_bytes, panels }
}

/// Rows as a file stores them become columns.
pub(super) fn pack_rows(k: usize, parts: &[BlockRows<'_>]) -> PackedMatrix {
    let Some(half) = Half::of_parts(parts) else { return blocks::pack(k, parts) };
    let n = parts.iter().map(BlockRows::n_rows).sum();
    let mut numbers = vec![0.0; n * k];
    let (mut rest, mut bytes) = (&mut *numbers, Vec::new());
    for part in parts {
        assert_eq!(part.width, k, "rows have the length of the sums");
        let (numbers, after) = rest.split_at_mut(part.n_rows() * k);
        part.read(0..part.n_rows(), &mut bytes);
        part.format.decode(&bytes, numbers);
        rest = after;
    }
    let packed = pack(Matrix::transposed(View::F32(&numbers), k), k, n);
    PackedMatrix { elements: Elements::Halves(half), n_bytes: 2 * numbers.len(), ..packed }
}

/// The numbers of some columns, one behind the other.
pub(super) fn unpack(packed: &PackedMatrix, columns: &[u32], out: &mut [f32]) {
    packed.check_columns(columns, out.len());
    for (&column, out) in columns.iter().zip(out.chunks_exact_mut(packed.n_rows)) {
        match packed.elements {
            Elements::Blocks => blocks::unpack(packed, column as usize, out),
            Elements::Plain(_) | Elements::Halves(_) => {
                let element = |p| rhs_element(&Rhs::Packed(packed), p, column as usize);
                out.iter_mut().enumerate().for_each(|(p, out)| *out = element(p));
            }
        }
    }
}
