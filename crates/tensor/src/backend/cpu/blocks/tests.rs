use crate::backend::cpu::Cpu;
use crate::backend::cpu::isa::Isa;
use crate::backend::reference::Reference;
use crate::backend::{Activation, Kernels, Matmul, Matrix, PackedMatrix, Rhs};
use crate::dtype::{View, ViewMut};
use crate::quant::{BlockRows, Format};
use crate::rng::Key;
use std::sync::Arc;

/// Every format with codes.
fn formats() -> impl Iterator<Item = Format> {
    Format::all().filter(|format| format.coding().is_some())
}

fn normals(seed: u64, n: usize) -> Vec<f32> {
    (0..n as u64).map(|i| Key::new(seed).normal(i)).collect()
}

/// Rows of blocks whose bytes are random, and whose scales are small numbers.
fn blocks(format: Format, n_rows: usize, width: usize) -> Vec<u8> {
    if format.can_encode() {
        let mut bytes = vec![0; format.bytes_of(n_rows * width)];
        format.encode(&normals(format.number().into(), n_rows * width), &mut bytes);
        return bytes;
    }
    let n_bytes = format.bytes_of(n_rows * width);
    let mut bytes: Vec<u8> = (0..n_bytes as u64).map(|i| Key::new(77).below(i, 256) as u8).collect();
    // Where the halves of a block are: their upper byte gives a sign and an exponent.
    let halves: &[usize] = match format {
        Format::Q2K => &[80, 82],
        Format::Q3K => &[108],
        _ => &[0, 2],
    };
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        halves.iter().for_each(|&at| block[at + 1] = 0x24);
    }
    bytes
}

struct Case {
    x: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
    m: usize,
    k: usize,
    n: usize,
}

impl Case {
    fn new(m: usize, k: usize, n: usize) -> Self {
        Self { x: normals(1, m * k), bias: normals(2, n), residual: normals(3, m * n), m, k, n }
    }

    fn run(&self, kernels: &dyn Kernels, parts: &[BlockRows<'_>]) -> Vec<f32> {
        self.product(kernels, &kernels.pack_blocks(self.k, parts))
    }

    fn product(&self, kernels: &dyn Kernels, packed: &PackedMatrix) -> Vec<f32> {
        let mut c = vec![0.0; self.m * self.n];
        kernels.matmul(Matmul {
            m: self.m,
            n: self.n,
            k: self.k,
            a: Matrix::new(View::F32(&self.x), self.k),
            b: Rhs::Packed(packed),
            c: ViewMut::F32(&mut c),
            accumulate: false,
            bias: Some(View::F32(&self.bias)),
            activation: Some(Activation::Relu),
            pre_activation: None,
            residual: Some(View::F32(&self.residual)),
        });
        c
    }
}

fn largest_error(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap_or(0.0) / largest
}

#[test]
fn products_are_those_of_the_reference() {
    let sizes = [(1, 1), (1, 37), (3, 16), (9, 50), (70, 33)];
    for format in formats() {
        // Of small blocks an odd number as well.
        let widths: &[usize] = if format.block_len() == 32 { &[2 * 256, 32, 96] } else { &[2 * 256] };
        for (m, n, k) in sizes.iter().flat_map(|&(m, n)| widths.iter().map(move |&k| (m, n, k))) {
            let case = Case::new(m, k, n);
            let bytes = blocks(format, n, case.k);
            let parts = [BlockRows::new(format, case.k, &bytes)];
            let expected = case.run(&Reference, &parts);
            for isa in Isa::available() {
                let found = case.run(&Cpu::with_isa(2, isa), &parts);
                let error = largest_error(&found, &expected);
                assert!(error < 2e-6, "{}, {m} x {n} x {k}, {}: {error}", format.name(), isa.name());
            }
        }
    }
}

/// A row gives the same bits alone and among others, with any threads, and with any instructions that fuse.
#[test]
fn bits_do_not_depend_on_rows_threads_or_instructions() {
    for format in formats() {
        let case = Case::new(70, 256, 100);
        let bytes = blocks(format, case.n, case.k);
        let parts = [BlockRows::new(format, case.k, &bytes)];
        let fusing: Vec<Isa> = Isa::available().filter(|&isa| isa >= Isa::Avx2).collect();
        let Some(&first) = fusing.first() else { return };
        let expected = case.run(&Cpu::with_isa(1, first), &parts);
        for &isa in &fusing {
            for n_threads in [1, 2, 3] {
                let found = case.run(&Cpu::with_isa(n_threads, isa), &parts);
                assert!(found == expected, "{}, {}, {n_threads} threads", format.name(), isa.name());
            }
        }
        for row in [0, 33, 69] {
            let alone = Case {
                x: case.x[row * case.k..][..case.k].to_vec(),
                bias: case.bias.clone(),
                residual: case.residual[row * case.n..][..case.n].to_vec(),
                m: 1,
                ..case
            };
            let found = alone.run(&Cpu::with_isa(2, first), &parts);
            assert!(found == expected[row * case.n..][..case.n], "{}, row {row}", format.name());
        }
    }
}

/// Parts of different formats side by side, as the fused projections of mixed files are.
#[test]
fn parts_of_different_formats_stand_side_by_side() {
    let case = Case::new(5, 256, 20 + 3 + 17);
    let owned: Vec<(Format, Vec<u8>)> = [(Format::Q4K, 20), (Format::Q8_0, 3), (Format::Q6K, 17)]
        .into_iter()
        .map(|(format, n)| (format, blocks(format, n, case.k)))
        .collect();
    let parts: Vec<BlockRows<'_>> =
        owned.iter().map(|(format, bytes)| BlockRows::new(*format, case.k, bytes)).collect();
    let expected = case.run(&Reference, &parts);
    for isa in Isa::available() {
        assert!(largest_error(&case.run(&Cpu::with_isa(2, isa), &parts), &expected) < 2e-6, "{}", isa.name());
    }
}

#[test]
fn columns_are_unpacked() {
    let (k, n) = (512, 41);
    for format in formats() {
        let bytes = blocks(format, n, k);
        let parts = [BlockRows::new(format, k, &bytes)];
        let columns = [40, 0, 17, 17];
        let mut decoded = vec![0.0; n * k];
        format.decode(&bytes, &mut decoded);
        let expected: Vec<f32> = columns.iter().flat_map(|&i| decoded[i as usize * k..][..k].to_vec()).collect();
        let mut backends: Vec<Box<dyn Kernels>> = vec![Box::new(Reference)];
        backends.extend(Isa::available().map(|isa| Box::new(Cpu::with_isa(2, isa)) as Box<dyn Kernels>));
        for kernels in backends {
            let mut found = vec![0.0; columns.len() * k];
            kernels.unpack(&kernels.pack_blocks(k, &parts), &columns, &mut found);
            let error = largest_error(&found, &expected);
            // Half a unit of an f16 twice, where scale and offset are products.
            assert!(error < 1e-3, "{}, {}: {error}", format.name(), kernels.name());
        }
    }
}

/// The first product and the first look-up read rows where they lie; of many rows, or when used again, they are packed.
#[test]
fn a_matrix_packed_when_used_gives_the_same_bits() {
    let k = 256;
    for format in formats() {
        let owned = [37, 20].map(|n| blocks(format, n, k));
        let borrowed: Vec<_> = owned.iter().map(|bytes| BlockRows::new(format, k, bytes)).collect();
        let shared = || owned.iter().map(|bytes| BlockRows::shared(format, k, Arc::new(bytes.clone()))).collect();
        let columns = [56, 0, 36, 37];
        for (isa, m) in Isa::available().flat_map(|isa| [1, 5, 70].map(|m| (isa, m))) {
            let (cpu, case) = (Cpu::with_isa(2, isa), Case::new(m, k, 57));
            let at_once = cpu.pack_blocks(k, &borrowed);
            let when_used = cpu.pack_blocks_when_used(k, shared());
            assert_eq!(when_used.n_bytes, at_once.n_bytes);
            let expected = case.product(&cpu, &at_once);
            let mut numbers = vec![0.0; columns.len() * k];
            cpu.unpack(&at_once, &columns, &mut numbers);
            for time in 1..=3 {
                let mut found = vec![0.0; columns.len() * k];
                cpu.unpack(&when_used, &columns, &mut found);
                assert!(found == numbers, "{}, {}, unpacked {time} times", format.name(), isa.name());
                let found = case.product(&cpu, &when_used);
                assert!(found == expected, "{}, {}, {m} rows, {time} times", format.name(), isa.name());
            }
        }
    }
}

#[test]
fn plain_matrices_are_unpacked_too() {
    let (k, n) = (33, 70);
    let values = normals(4, n * k);
    let rounded: Vec<half::bf16> = values.iter().map(|&x| half::bf16::from_f32(x)).collect();
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(2, isa);
        for data in [View::F32(&values), View::Bf16(&rounded)] {
            let packed = cpu.pack(Matrix::transposed(data, k), k, n);
            let mut found = vec![0.0; 2 * k];
            cpu.unpack(&packed, &[69, 5], &mut found);
            let expected: Vec<f32> = (69 * k..70 * k).chain(5 * k..6 * k).map(|i| data.get(i)).collect();
            assert_eq!(found, expected, "{}", isa.name());
        }
    }
}

/// Numbers that are told from zero by no code are none.
#[test]
fn tiny_numbers_are_zeros() {
    let mut case = Case::new(2, 256, 20);
    let bytes = blocks(Format::Q4_0, case.n, case.k);
    for tiny in [1e-38, 1e-45] {
        case.x[..case.k].fill(tiny);
        case.x[7] = 0.0;
        let parts = [BlockRows::new(Format::Q4_0, case.k, &bytes)];
        let expected = case.run(&Reference, &parts);
        for isa in Isa::available() {
            let error = largest_error(&case.run(&Cpu::with_isa(1, isa), &parts), &expected);
            assert!(error < 1e-5, "{tiny} {}: {error}", isa.name());
        }
    }
}

/// What is not finite must not become a number.
#[test]
fn numbers_that_are_not_finite_spoil_their_row_only() {
    let mut case = Case::new(3, 256, 20);
    let bytes = blocks(Format::Q4_0, case.n, case.k);
    let parts = [BlockRows::new(Format::Q4_0, case.k, &bytes)];
    for bad in [f32::NAN, f32::INFINITY] {
        case.x[case.k + 100] = bad;
        for isa in Isa::available() {
            let c = Case { bias: case.bias.clone(), residual: case.residual.clone(), x: case.x.clone(), ..case };
            let packed = Cpu::with_isa(1, isa).pack_blocks(c.k, &parts);
            let mut out = vec![0.0; c.m * c.n];
            let a = Matrix::new(View::F32(&c.x), c.k);
            let product = Matmul::product([c.m, c.n, c.k], a, a, ViewMut::F32(&mut out), false);
            Cpu::with_isa(1, isa).matmul(Matmul { b: Rhs::Packed(&packed), ..product });
            let is_bad: Vec<bool> = out.chunks(c.n).map(|row| row.iter().all(|x| x.is_nan())).collect();
            assert_eq!(is_bad, [false, true, false], "{}", isa.name());
        }
    }
}
