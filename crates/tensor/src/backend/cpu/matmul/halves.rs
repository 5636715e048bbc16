//! Rows of 16-bit numbers as a file stores them, rearranged into panels without being widened.

use super::kernel::{KernelSet, Operands};
use super::panels::{PackedPanels, PanelLayout};
use super::scratch::Scratch;
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::pool::{Pool, chunks};
use crate::backend::{Elements, PackedMatrix};
use crate::quant::{BlockRows, Half};
use std::cell::RefCell;
use std::ops::Range;

/// Steps that are written column by column while their words stay in the nearest cache.
const BLOCK_STEPS: usize = 64;

thread_local! {
    /// The columns of a panel as they are stored, and those of one part.
    static COLUMNS: RefCell<(Vec<u8>, Vec<u8>)> = RefCell::default();
}

/// Where a number is among the words of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) word: usize,
    /// Bits below it in the word.
    pub(super) shift: usize,
}

impl Place {
    /// The f16 of a lane of a panel, the earlier (0) or the later (1) of a step: a vector has all earlier ones first.
    pub(super) fn of_f16(lane: usize, part: usize, n_lanes: usize) -> Self {
        let (vector, lane) = (lane / n_lanes * n_lanes, lane % n_lanes);
        Self { word: vector + (part * n_lanes + lane) / 2, shift: lane % 2 * 16 }
    }
}

/// Rearranges rows, which are the columns of the matrix [k, n], for repeated use.
///
/// # Panics
/// When a row has another length than `k`.
pub(in crate::backend::cpu) fn pack(
    pool: &Pool,
    isa: Isa,
    half: Half,
    k: usize,
    parts: &[BlockRows<'_>],
) -> PackedMatrix {
    assert!(parts.iter().all(|part| part.width == k), "rows have the length of the sums");
    let n = parts.iter().map(BlockRows::n_rows).sum();
    let layout = PanelLayout::new(KernelSet::of(isa, Operands::F32ByHalf(half)), n, k.div_ceil(2));
    let mut words = Scratch::default();
    let panels = chunks(words.words(layout.n_words()), layout.n_panel_words().max(1));
    pool.for_each(panels, |panel, words| {
        COLUMNS.with_borrow_mut(|(columns, of_part)| {
            read_columns(parts, layout.columns(panel), columns, of_part);
            pack_panel(half, &layout, columns, 2 * k, words);
        });
    });
    let panels = Box::new(PackedPanels::of_halves(layout, words));
    let n_bytes = 4 * layout.n_words();
    PackedMatrix { n_rows: k, n_columns: n, elements: Elements::Halves(half), n_bytes, panels }
}

/// Reads some columns of the whole matrix, which may lie in several parts.
fn read_columns(parts: &[BlockRows<'_>], wanted: Range<usize>, columns: &mut Vec<u8>, of_part: &mut Vec<u8>) {
    columns.clear();
    let mut first = 0;
    for part in parts {
        let rows = wanted.start.max(first)..wanted.end.min(first + part.n_rows());
        if rows.len() == wanted.len() {
            part.read(rows.start - first..rows.end - first, columns);
        } else if !rows.is_empty() {
            part.read(rows.start - first..rows.end - first, of_part);
            columns.extend_from_slice(of_part);
        }
        first += part.n_rows();
    }
}

/// Fills the words of a panel, which are 0, from columns of so many bytes, one behind the other.
fn pack_panel(half: Half, layout: &PanelLayout, columns: &[u8], n_column_bytes: usize, words: &mut [u32]) {
    let width = words.len() / layout.n_steps.max(1);
    for (block, words) in words.chunks_mut(BLOCK_STEPS * width.max(1)).enumerate() {
        for (lane, column) in columns.chunks_exact(n_column_bytes.max(1)).enumerate() {
            let column = &column[4 * BLOCK_STEPS * block..];
            match half {
                Half::Bf16 => pack_pairs(column, lane, width, words),
                Half::F16 => {
                    let places = [0, 1].map(|part| Place::of_f16(lane, part, layout.n_lanes));
                    pack_numbers(column, places, width, words);
                }
            }
        }
    }
}

/// Two numbers make the word of a lane as they lie.
fn pack_pairs(column: &[u8], lane: usize, width: usize, words: &mut [u32]) {
    let (pairs, last) = column.as_chunks::<4>();
    let mut words = words.iter_mut().skip(lane).step_by(width);
    for (&pair, word) in pairs.iter().zip(&mut words) {
        *word = u32::from_le_bytes(pair);
    }
    if let (&[low, high], Some(word)) = (last, words.next()) {
        *word = u32::from(u16::from_le_bytes([low, high]));
    }
}

/// Two numbers lie in words of other lanes as well.
fn pack_numbers(column: &[u8], places: [Place; 2], width: usize, words: &mut [u32]) {
    for (pair, words) in column.chunks(4).zip(words.chunks_exact_mut(width)) {
        for (number, place) in pair.chunks_exact(2).zip(places) {
            words[place.word] |= u32::from(u16::from_le_bytes([number[0], number[1]])) << place.shift;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::backend::cpu::{Cpu, Isa};
    use crate::backend::reference::Reference;
    use crate::backend::{Elements, Kernels, Matmul, Matrix, PackedMatrix, Rhs};
    use crate::dtype::{View, ViewMut};
    use crate::quant::{BlockRows, Format};
    use crate::rng::Key;
    use half::bf16;

    const FORMATS: [Format; 2] = [Format::F16, Format::Bf16];
    /// Rows, columns and length of the sums: whole and partial tiles, pairs and blocks.
    const SIZES: [[usize; 3]; 8] =
        [[1, 1, 1], [1, 64, 32], [1, 131, 129], [3, 17, 66], [7, 100, 2], [98, 130, 65], [40, 33, 1701], [2, 5, 0]];

    fn normals(seed: u64, n: usize) -> Vec<f32> {
        (0..n as u64).map(|i| Key::new(seed).normal(i)).collect()
    }

    /// The bytes of n rows of k numbers, and the numbers themselves.
    fn rows(format: Format, n: usize, k: usize) -> (Vec<u8>, Vec<f32>) {
        let (mut bytes, mut numbers) = (vec![0; format.bytes_of(n * k)], vec![0.0; n * k]);
        // Some are denormal as f16.
        let values: Vec<f32> = normals(7, n * k).iter().map(|x| if *x < -1.0 { x * 1e-6 } else { *x }).collect();
        format.encode(&values, &mut bytes);
        format.decode(&bytes, &mut numbers);
        (bytes, numbers)
    }

    /// Stored in two parts, as the rows of a fused matrix are.
    fn packed(kernels: &dyn Kernels, format: Format, k: usize, bytes: &[u8]) -> PackedMatrix {
        let (first, rest) = bytes.split_at(bytes.len() / (2 * k.max(1)) / 3 * 2 * k);
        let parts = [first, rest].map(<[u8]>::to_vec);
        kernels.pack_blocks(k, &[0, 1].map(|i| BlockRows::new(format, k, &parts[i])))
    }

    fn product(kernels: &dyn Kernels, [m, n, k]: [usize; 3], a: Matrix<'_>, b: &PackedMatrix) -> Vec<f32> {
        let mut c = vec![0.0; m * n];
        let plain = Matmul::product([m, n, k], a, a, ViewMut::F32(&mut c), false);
        kernels.matmul(Matmul { b: Rhs::Packed(b), ..plain });
        c
    }

    #[test]
    fn products_have_the_bits_of_the_widened_numbers() {
        for (isa, format) in Isa::available().flat_map(|isa| FORMATS.map(|format| (isa, format))) {
            for [m, n, k] in SIZES.into_iter().filter(|[.., k]| *k > 0) {
                let (bytes, numbers) = rows(format, n, k);
                let x = normals(1, m * k);
                let by_columns: Vec<f32> = (0..m * k).map(|i| x[i % m * k + i / m]).collect();
                for a in [Matrix::new(View::F32(&x), k), Matrix::transposed(View::F32(&by_columns), m)] {
                    for n_threads in [1, 3] {
                        let cpu = Cpu::with_isa(n_threads, isa);
                        let halves = packed(&cpu, format, k, &bytes);
                        let widened = cpu.pack(Matrix::transposed(View::F32(&numbers), k), k, n);
                        let [found, expected] = [&halves, &widened].map(|b| product(&cpu, [m, n, k], a, b));
                        assert!(found == expected, "{isa:?} {format:?} {m} {n} {k} {n_threads} threads");
                        assert!(matches!(halves.elements, Elements::Halves(_)));
                    }
                }
            }
        }
    }

    #[test]
    fn products_are_those_of_the_reference() {
        for (isa, format) in Isa::available().flat_map(|isa| FORMATS.map(|format| (isa, format))) {
            for sizes in SIZES {
                let [m, n, k] = sizes;
                let (bytes, _) = rows(format, n, k);
                let x = normals(1, m * k);
                let rounded: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
                for a in [View::F32(&x), View::Bf16(&rounded)].map(|x| Matrix::new(x, k)) {
                    let cpu = Cpu::with_isa(1, isa);
                    let n = if k == 0 { 0 } else { n };
                    let of =
                        |kernels: &dyn Kernels| product(kernels, [m, n, k], a, &packed(kernels, format, k, &bytes));
                    for (found, expected) in of(&cpu).iter().zip(of(&Reference)) {
                        let tolerance = 1e-6 * (1.0 + k as f32);
                        assert!(
                            (found - expected).abs() < tolerance,
                            "{found} {expected} {isa:?} {format:?} {sizes:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_are_found_again() {
        let (n, k) = (83, 37);
        let columns: Vec<u32> = (0..n as u32).rev().chain([0, 64]).collect();
        for format in FORMATS {
            let (bytes, numbers) = rows(format, n, k);
            let expected: Vec<f32> = columns.iter().flat_map(|&i| &numbers[i as usize * k..][..k]).copied().collect();
            let backends = Isa::available().map(|isa| Box::new(Cpu::with_isa(2, isa)) as Box<dyn Kernels>);
            for kernels in backends.chain([Box::new(Reference) as Box<dyn Kernels>]) {
                let mut found = vec![0.0; columns.len() * k];
                kernels.unpack(&packed(&*kernels, format, k, &bytes), &columns, &mut found);
                assert!(found == expected, "{format:?} {}", kernels.name());
            }
        }
    }

    #[test]
    fn infinities_and_what_is_no_number_stay() {
        for (isa, format) in Isa::available().flat_map(|isa| FORMATS.map(|format| (isa, format))) {
            let mut bytes = vec![0; 4 * 2];
            let values = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -2.0];
            format.encode(&values, &mut bytes);
            let cpu = Cpu::with_isa(1, isa);
            let b = cpu.pack_blocks(1, &[BlockRows::new(format, 1, &bytes)]);
            let found = product(&cpu, [1, 4, 1], Matrix::new(View::F32(&[1.0]), 1), &b);
            assert!(found[..2] == values[..2] && found[2].is_nan() && found[3] == -2.0, "{isa:?} {format:?} {found:?}");
        }
    }

    #[test]
    #[should_panic(expected = "cannot be packed together")]
    fn other_formats_beside_them_are_refused() {
        let parts = [Format::F16, Format::Q8_0].map(|format| (format, vec![0; format.bytes_of(32)]));
        let parts: Vec<_> = parts.iter().map(|(format, bytes)| BlockRows::new(*format, 32, bytes)).collect();
        Cpu::new(1).pack_blocks(32, &parts);
    }

    /// Half of the memory of f32, whatever the tail of the last panel adds.
    #[test]
    fn they_take_two_bytes_each() {
        let (bytes, _) = rows(Format::Bf16, 192, 64);
        assert_eq!(packed(&Cpu::new(1), Format::Bf16, 64, &bytes).n_bytes, 2 * 192 * 64);
    }
}
