//! Against the reference, and against itself cut differently.

use crate::backend::cpu::{Cpu, Isa};
use crate::backend::reference::Reference;
use crate::backend::{Activation, Kernels, Matmul, Matrix, Rhs};
use crate::dtype::{DType, View, ViewMut};
use crate::rng::Key;
use half::bf16;

/// Elements of either type.
#[derive(Clone, Debug, PartialEq)]
enum Elements {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Elements {
    /// Between −1 and 1, the same for the same seed.
    fn random(seed: u64, n: usize, dtype: DType) -> Self {
        let key = Key::new(seed);
        let values = (0..n as u64).map(|i| 2.0 * key.uniform(i) - 1.0);
        match dtype {
            DType::F32 => Elements::F32(values.collect()),
            DType::Bf16 => Elements::Bf16(values.map(bf16::from_f32).collect()),
        }
    }

    fn view(&self) -> View<'_> {
        match self {
            Elements::F32(data) => View::F32(data),
            Elements::Bf16(data) => View::Bf16(data),
        }
    }

    fn view_mut(&mut self) -> ViewMut<'_> {
        match self {
            Elements::F32(data) => ViewMut::F32(data),
            Elements::Bf16(data) => ViewMut::Bf16(data),
        }
    }

    fn bits(&self) -> Vec<u32> {
        (0..self.view().len()).map(|i| self.view().get(i).to_bits()).collect()
    }
}

/// A product with everything that it can have.
#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    a: DType,
    a_transposed: bool,
    b: DType,
    b_transposed: bool,
    packed: bool,
    c: DType,
    accumulate: bool,
    bias: Option<DType>,
    activation: Option<Activation>,
    pre_activation: Option<DType>,
    residual: Option<DType>,
}

impl Case {
    fn plain(m: usize, n: usize, k: usize, dtype: DType) -> Self {
        Self {
            m,
            n,
            k,
            a: dtype,
            a_transposed: false,
            b: dtype,
            b_transposed: false,
            packed: false,
            c: DType::F32,
            accumulate: false,
            bias: None,
            activation: None,
            pre_activation: None,
            residual: None,
        }
    }

    /// The result, and what was kept from before the activation.
    fn run(&self, kernels: &dyn Kernels) -> (Elements, Option<Elements>) {
        let &Self { m, n, k, .. } = self;
        // Rows lie a little further apart than they are wide.
        let stored = |rows: usize, columns: usize, transposed: bool| {
            let (rows, columns) = if transposed { (columns, rows) } else { (rows, columns) };
            (rows * (columns + 3), columns + 3)
        };
        let (a_len, a_stride) = stored(m, k, self.a_transposed);
        let (b_len, b_stride) = stored(k, n, self.b_transposed);
        let (a, b) = (Elements::random(1, a_len, self.a), Elements::random(2, b_len, self.b));
        let b = Matrix { data: b.view(), row_stride: b_stride, transposed: self.b_transposed };
        let packed = self.packed.then(|| kernels.pack(b, k, n));
        let bias = self.bias.map(|dtype| Elements::random(3, n, dtype));
        let residual = self.residual.map(|dtype| Elements::random(4, m * n, dtype));
        let mut pre_activation = self.pre_activation.map(|dtype| Elements::random(5, m * n, dtype));
        let mut c = Elements::random(6, m * n, self.c);
        kernels.matmul(Matmul {
            m,
            n,
            k,
            a: Matrix { data: a.view(), row_stride: a_stride, transposed: self.a_transposed },
            b: packed.as_ref().map_or(Rhs::Matrix(b), Rhs::Packed),
            c: c.view_mut(),
            accumulate: self.accumulate,
            bias: bias.as_ref().map(Elements::view),
            activation: self.activation,
            pre_activation: pre_activation.as_mut().map(Elements::view_mut),
            residual: residual.as_ref().map(Elements::view),
        });
        (c, pre_activation)
    }

    /// Runs the case on every instruction set with 1, 2 and 3 threads and compares with the reference.
    fn check(&self) {
        let (expected, expected_pre) = self.run(&Reference);
        for isa in Isa::available() {
            let (first, first_pre) = self.run(&Cpu::with_isa(1, isa));
            self.compare(&first, &expected, isa);
            if let (Some(found), Some(expected)) = (&first_pre, &expected_pre) {
                self.compare(found, expected, isa);
            }
            for n_threads in [2, 3] {
                let (again, again_pre) = self.run(&Cpu::with_isa(n_threads, isa));
                assert_eq!(again.bits(), first.bits(), "{n_threads} threads, {isa:?}, {self:?}");
                let bits = |pre: &Option<Elements>| pre.as_ref().map(Elements::bits);
                assert_eq!(bits(&again_pre), bits(&first_pre), "{n_threads} threads, {isa:?}, {self:?}");
            }
        }
    }

    fn compare(&self, found: &Elements, expected: &Elements, isa: Isa) {
        let (found, expected) = (found.view(), expected.view());
        assert_eq!(found.dtype(), expected.dtype());
        // The partial sums grow like a random walk, and so do the errors of rounding them: √k · √k.
        let sums = 3e-8 * self.k as f32;
        let stored = if found.dtype() == DType::Bf16 { 1.0 / 128.0 } else { 1e-6 };
        for i in 0..found.len() {
            let (x, y) = (found.get(i), expected.get(i));
            let tolerance = sums + 1e-6 + stored * y.abs();
            assert!((x - y).abs() <= tolerance, "{x} instead of {y} at {i}, {isa:?}, {self:?}");
        }
    }
}

const DTYPES: [DType; 2] = [DType::F32, DType::Bf16];

#[test]
fn all_layouts_and_types_equal_the_reference() {
    for (m, n, k) in [(1, 1, 1), (7, 13, 9), (5, 66, 33), (33, 17, 70), (20, 100, 31), (98, 130, 65)] {
        for variant in 0..32 {
            let [a_transposed, b_transposed, packed] = [1, 2, 4].map(|bit| variant & bit != 0);
            let [a, b] = [8, 16].map(|bit| DTYPES[usize::from(variant & bit != 0)]);
            let case = Case { a_transposed, b_transposed, packed, b, ..Case::plain(m, n, k, a) };
            case.check();
        }
    }
}

#[test]
fn all_sizes_around_a_tile_equal_the_reference() {
    for dtype in DTYPES {
        for m in [1, 2, 3, 4, 5, 6, 7, 12, 13] {
            for n in [1, 8, 15, 16, 17, 31, 32, 48, 63, 64, 65, 129] {
                let k = 1 + (m * n) % 37;
                Case { packed: m % 2 == 0, ..Case::plain(m, n, k, dtype) }.check();
            }
        }
    }
}

#[test]
fn long_sums_and_many_blocks_equal_the_reference() {
    for dtype in DTYPES {
        for (m, n, k) in [(9, 70, 4001), (200, 40, 257), (30, 300, 129)] {
            for (a_transposed, b_transposed) in [(false, false), (true, false), (false, true)] {
                Case { a_transposed, b_transposed, c: dtype, ..Case::plain(m, n, k, dtype) }.check();
            }
        }
    }
}

#[test]
fn everything_after_the_sum_equals_the_reference() {
    let activations = [Activation::Relu, Activation::GeluErf, Activation::GeluTanh, Activation::Silu];
    for variant in 0..64 {
        let dtype = |bit: usize| DTYPES[usize::from(variant & bit != 0)];
        let plain = Case { c: dtype(1), ..Case::plain(13, 70, 21, dtype(2)) };
        let activation = Some(activations[variant % 4]);
        let (bias, residual, pre_activation) = (Some(dtype(4)), Some(dtype(8)), Some(dtype(16)));
        Case { bias, ..plain }.check();
        Case { bias, activation, pre_activation, ..plain }.check();
        Case { bias, activation, pre_activation, residual, ..plain }.check();
        Case { residual, ..plain }.check();
        Case { accumulate: true, a_transposed: variant & 32 != 0, ..plain }.check();
    }
}

#[test]
fn an_empty_sum_is_zero() {
    for dtype in DTYPES {
        let case = Case { bias: Some(DType::F32), packed: true, ..Case::plain(3, 20, 0, dtype) };
        case.check();
        Case { packed: false, a_transposed: true, ..case }.check();
        for (m, n) in [(0, 5), (5, 0), (0, 0)] {
            Case::plain(m, n, 4, dtype).check();
        }
    }
}

/// A row of the result has the same bits whatever stands beside it, and whether B was packed or not.
#[test]
fn rows_do_not_depend_on_their_neighbours() {
    let (m, n, k) = (257, 150, 1700);
    for isa in Isa::available() {
        for (a_dtype, b_dtype) in [(DType::F32, DType::F32), (DType::F32, DType::Bf16), (DType::Bf16, DType::Bf16)] {
            let cpu = Cpu::with_isa(2, isa);
            let (a, b) = (Elements::random(1, m * k, a_dtype), Elements::random(2, k * n, b_dtype));
            let b = Matrix::new(b.view(), n);
            let packed = cpu.pack(b, k, n);
            let product = |rows: std::ops::Range<usize>, b: Rhs<'_>| {
                let mut c = vec![0.0; rows.len() * n];
                let a = Matrix::new(a.view().slice(rows.start * k..rows.end * k), k);
                cpu.matmul(Matmul {
                    m: rows.len(),
                    n,
                    k,
                    a,
                    b,
                    c: ViewMut::F32(&mut c),
                    accumulate: false,
                    bias: None,
                    activation: None,
                    pre_activation: None,
                    residual: None,
                });
                c
            };
            let all = product(0..m, Rhs::Matrix(b));
            assert!(all == product(0..m, Rhs::Packed(&packed)), "{isa:?}");
            for rows in [0..1, 5..6, 100..104, 250..257, 3..110, 256..257] {
                let expected = &all[rows.start * n..rows.end * n];
                assert!(product(rows.clone(), Rhs::Packed(&packed)) == expected, "{isa:?} {rows:?}");
                assert!(product(rows.clone(), Rhs::Matrix(b)) == expected, "{isa:?} {rows:?}");
            }
        }
    }
}

#[test]
fn not_a_number_and_infinity_pass_through() {
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(1, isa);
        for (value, dtype) in [(f32::NAN, DType::Bf16), (f32::INFINITY, DType::Bf16), (f32::NAN, DType::F32)] {
            let mut c = Elements::random(0, 2 * 70, dtype);
            let mut a = vec![1.0; 2 * 5];
            a[7] = value;
            let b = Elements::random(2, 5 * 70, dtype);
            let (left, right) = (Matrix::new(View::F32(&a), 5), Matrix::new(b.view(), 70));
            cpu.matmul(Matmul::product([2, 70, 5], left, right, c.view_mut(), false));
            assert!((0..70).all(|i| c.view().get(i).is_finite() && !c.view().get(70 + i).is_finite()), "{isa:?}");
        }
    }
}

#[test]
#[should_panic(expected = "wrong number of elements")]
fn a_result_of_the_wrong_size_is_refused() {
    let mut c = [0.0; 5];
    let view = View::F32(&[0.0; 4]);
    Cpu::new(1).matmul(Matmul {
        m: 2,
        n: 2,
        k: 2,
        a: Matrix::new(view, 2),
        b: Rhs::Matrix(Matrix::new(view, 2)),
        c: ViewMut::F32(&mut c),
        accumulate: false,
        bias: None,
        activation: None,
        pre_activation: None,
        residual: None,
    });
}

#[test]
fn results_in_bf16_are_those_in_f32_rounded() {
    // Two bf16 whose sum needs rounding, to even in a tie, is too large, or none.
    let rows = [[1.0, 0.00390625], [1.0, 0.01171875], [-1.0, -0.0041], [f32::MAX, f32::MAX], [f32::INFINITY, 1.0]];
    let rows = [&rows[..], &[[f32::INFINITY, f32::NEG_INFINITY], [f32::NAN, 1.0], [-0.0, 0.0]]].concat();
    let (m, n, k) = (rows.len(), 128, 2);
    for dtype in [DType::F32, DType::Bf16] {
        let of = |values: Vec<f32>| match dtype {
            DType::F32 => Elements::F32(values),
            DType::Bf16 => Elements::Bf16(values.into_iter().map(bf16::from_f32).collect()),
        };
        let (a, b) = (of(rows.concat()), of(vec![1.0; k * n]));
        for isa in Isa::available() {
            let product = |mut c: Elements| {
                Cpu::with_isa(1, isa).matmul(Matmul {
                    m,
                    n,
                    k,
                    a: Matrix::new(a.view(), k),
                    b: Rhs::Matrix(Matrix::new(b.view(), n)),
                    c: c.view_mut(),
                    accumulate: false,
                    bias: None,
                    activation: None,
                    pre_activation: None,
                    residual: None,
                });
                c
            };
            let exact = product(Elements::F32(vec![7.0; m * n]));
            let rounded = product(Elements::Bf16(vec![bf16::ONE; m * n]));
            for i in 0..m * n {
                let (found, expected) = (rounded.view().get(i), bf16::from_f32(exact.view().get(i)).to_f32());
                let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                assert!(same, "{found} instead of {expected} in row {}, {dtype:?}, {isa:?}", i / n);
            }
        }
    }
    for (shape, dtype) in [([7, 200, 33], DType::Bf16), ([13, 96, 1700], DType::Bf16), ([13, 96, 900], DType::F32)] {
        let [m, n, k] = shape;
        let case = Case::plain(m, n, k, dtype);
        for isa in Isa::available() {
            let (exact, _) = case.run(&Cpu::with_isa(2, isa));
            let (rounded, _) = Case { c: DType::Bf16, ..case }.run(&Cpu::with_isa(2, isa));
            let expected: Vec<u32> =
                (0..m * n).map(|i| bf16::from_f32(exact.view().get(i)).to_f32().to_bits()).collect();
            assert_eq!(rounded.bits(), expected, "{case:?}, {isa:?}");
        }
    }
}
