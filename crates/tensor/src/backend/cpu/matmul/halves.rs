//! Rows of 16-bit numbers as a file stores them, rearranged into panels without being widened.

use super::kernel::{KernelSet, Operands};
use super::pack::{self, Operand, Target, Word};
use super::panels::{PackedPanels, PanelLayout};
use super::scratch::Scratch;
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::packed::Packed;
use crate::backend::cpu::pool::{Pool, chunks};
use crate::backend::{Elements, Matrix, PackedMatrix};
use crate::dtype::View;
use crate::quant::{BlockRows, Half};
use std::cell::RefCell;
use std::ops::Range;

/// Steps that are written column by column while their words stay in the nearest cache.
const BLOCK_STEPS: usize = 64;

thread_local! {
    /// The columns of a panel as they are stored.
    static COLUMNS: RefCell<Vec<u32>> = RefCell::default();
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
    let layout = layout(isa, half, k, parts);
    matrix(half, k, layout, Packed::at_once(pack_all(pool, isa, &layout, parts)))
}

/// As [`pack`], done when the matrix is used again.
///
/// # Panics
/// As [`pack`].
pub(in crate::backend::cpu) fn pack_when_used(
    isa: Isa,
    half: Half,
    k: usize,
    parts: Vec<BlockRows<'static>>,
) -> PackedMatrix {
    matrix(half, k, layout(isa, half, k, &parts), Packed::when_used(parts))
}

fn layout(isa: Isa, half: Half, k: usize, parts: &[BlockRows<'_>]) -> PanelLayout {
    assert!(parts.iter().all(|part| part.width == k), "rows have the length of the sums");
    let n = parts.iter().map(BlockRows::n_rows).sum();
    PanelLayout::new(KernelSet::of(isa, Operands::F32ByHalf(half)), n, k.div_ceil(2))
}

fn matrix(half: Half, k: usize, layout: PanelLayout, words: Packed<Scratch>) -> PackedMatrix {
    let (n_columns, n_bytes) = (layout.n, 4 * layout.n_words());
    let panels = Box::new(PackedPanels::new(layout, words));
    PackedMatrix { n_rows: k, n_columns, elements: Elements::Halves(half), n_bytes, panels }
}

fn half_of(parts: &[BlockRows<'_>]) -> Half {
    Half::of_parts(parts).expect("rows of numbers of 16 bits")
}

/// The words of all panels.
pub(super) fn pack_all(pool: &Pool, isa: Isa, layout: &PanelLayout, parts: &[BlockRows<'_>]) -> Scratch {
    let mut words = Scratch::default();
    let panels = chunks(words.words(layout.n_words()), layout.n_panel_words().max(1));
    pool.for_each(panels, |panel, words| read_panel(isa, layout, parts, panel, words));
    words
}

/// Fills the words of a panel, which are 0, from rows as they are stored.
pub(super) fn read_panel(isa: Isa, layout: &PanelLayout, parts: &[BlockRows<'_>], panel: usize, words: &mut [u32]) {
    let half = half_of(parts);
    with_columns(parts, layout.columns(panel), |columns, k| match half {
        Half::Bf16 if k.is_multiple_of(2) && cfg!(target_endian = "little") => pack_words(isa, layout, columns, words),
        _ => pack_panel(half, layout, bytemuck::cast_slice(columns), k, words),
    });
}

/// The numbers of a column, from rows as they are stored.
pub(super) fn read_column(parts: &[BlockRows<'_>], column: usize, out: &mut [f32]) {
    let half = half_of(parts);
    with_columns(parts, column..column + 1, |words, _| {
        let (numbers, _) = bytemuck::cast_slice::<_, u8>(words).as_chunks();
        out.iter_mut().zip(numbers).for_each(|(out, &number)| *out = half.widen(u16::from_le_bytes(number)));
    });
}

/// Reads some columns of the whole matrix, which may lie in several parts: their bytes one behind the other, filled up to
/// whole words, and their length.
fn with_columns(parts: &[BlockRows<'_>], wanted: Range<usize>, then: impl FnOnce(&[u32], usize)) {
    let (k, n_column_bytes) = parts.first().map_or((0, 0), |part| (part.width, part.row_bytes()));
    let n_bytes = wanted.len() * n_column_bytes;
    COLUMNS.with_borrow_mut(|columns| {
        columns.resize(n_bytes.div_ceil(4), 0);
        let mut rest = &mut bytemuck::cast_slice_mut(columns)[..n_bytes];
        let mut first = 0;
        for part in parts {
            let rows = wanted.start.max(first)..wanted.end.min(first + part.n_rows());
            if !rows.is_empty() {
                let (out, after) = rest.split_at_mut(rows.len() * n_column_bytes);
                part.read_to(rows.start - first..rows.end - first, out);
                rest = after;
            }
            first += part.n_rows();
        }
        then(columns, k);
    });
}

/// Fills a panel from columns of whole words, each of which holds the two numbers of a step as they lie.
fn pack_words(isa: Isa, layout: &PanelLayout, columns: &[u32], words: &mut [u32]) {
    let n_steps = layout.n_steps;
    let width = words.len() / n_steps.max(1);
    let data = View::F32(bytemuck::cast_slice(columns));
    let operand = Operand::rhs(Matrix::transposed(data, n_steps), n_steps);
    let lines = 0..columns.len() / n_steps.max(1);
    let target = Target { start: words.as_mut_ptr(), step_stride: width, line_stride: 1 };
    // SAFETY: the panel has a word for every step and line, and the columns have them too.
    unsafe { pack::pack(isa, Word::F32, &operand, 0..n_steps, lines, target) };
}

/// Fills the words of a panel, which are 0, from columns of `k` numbers, one behind the other.
fn pack_panel(half: Half, layout: &PanelLayout, columns: &[u8], k: usize, words: &mut [u32]) {
    let width = words.len() / layout.n_steps.max(1);
    for (block, words) in words.chunks_mut(BLOCK_STEPS * width.max(1)).enumerate() {
        for (lane, column) in columns.chunks_exact((2 * k).max(1)).enumerate() {
            let column = &column[4 * BLOCK_STEPS * block..];
            let places = [0, 1].map(|part| match half {
                Half::Bf16 => Place { word: lane, shift: 16 * part },
                Half::F16 => Place::of_f16(lane, part, layout.n_lanes),
            });
            pack_numbers(column, places, width, words);
        }
    }
}

/// Two numbers of a column, which may lie in words of different lanes.
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
    use std::sync::Arc;

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

    /// The first product and the first look-up read rows where they lie; of many rows, or when used again, they are packed.
    #[test]
    fn a_matrix_packed_when_used_gives_the_same_bits() {
        for (isa, format) in Isa::available().flat_map(|isa| FORMATS.map(|format| (isa, format))) {
            for [m, n, k] in SIZES.into_iter().filter(|[.., k]| *k > 0) {
                let (bytes, numbers) = rows(format, n, k);
                let (first, rest) = bytes.split_at(n / 3 * 2 * k);
                let parts = [first, rest].map(|part| BlockRows::shared(format, k, Arc::new(part.to_vec())));
                let cpu = Cpu::with_isa(3, isa);
                let when_used = cpu.pack_blocks_when_used(k, parts.to_vec());
                let at_once = packed(&cpu, format, k, &bytes);
                let x = normals(1, m * k);
                let a = Matrix::new(View::F32(&x), k);
                let expected = product(&cpu, [m, n, k], a, &at_once);
                let column = n / 2;
                for time in 1..=3 {
                    let mut found = vec![0.0; k];
                    cpu.unpack(&when_used, &[column as u32], &mut found);
                    assert!(found == numbers[column * k..][..k], "{isa:?} {format:?} {n} {k}, unpacked {time} times");
                    let found = product(&cpu, [m, n, k], a, &when_used);
                    assert!(found == expected, "{isa:?} {format:?} {m} {n} {k}, {time} times");
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
