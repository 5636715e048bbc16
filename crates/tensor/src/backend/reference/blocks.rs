//! Products with a right-hand side of quantised blocks.

use super::matmul::finish;
use crate::backend::{Elements, Matmul, PackedMatrix};
use crate::quant::{BlockRows, Codes, Coding, Format};
use half::f16;

/// What this backend keeps of such a matrix: its columns, as they were given.
struct Columns(Vec<Column>);

struct Column {
    format: Format,
    blocks: Vec<u8>,
}

/// The groups of a column: codes above 0, scale, offset.
struct Group {
    codes: Vec<i32>,
    scale: f64,
    offset: f64,
}

pub(super) fn pack(k: usize, parts: &[BlockRows<'_>]) -> PackedMatrix {
    let mut columns = Vec::new();
    for part in parts {
        assert_eq!(part.width, k, "rows of blocks have the length of the sums");
        assert!(part.format.coding().is_some(), "{} has no codes", part.format.name());
        columns.extend((0..part.n_rows()).map(|i| {
            let mut blocks = Vec::new();
            part.read(i..i + 1, &mut blocks);
            Column { format: part.format, blocks }
        }));
    }
    let (n_columns, n_bytes) = (columns.len(), parts.iter().map(BlockRows::n_bytes).sum());
    PackedMatrix { n_rows: k, n_columns, elements: Elements::Blocks, n_bytes, panels: Box::new(Columns(columns)) }
}

fn column(packed: &PackedMatrix, i: usize) -> &Column {
    let columns: &Columns = packed.panels.downcast_ref().expect("a matrix packed by this backend");
    &columns.0[i]
}

impl Column {
    fn coding(&self) -> Coding {
        self.format.coding().expect("a format of codes")
    }

    fn groups(&self) -> Vec<Group> {
        let (coding, mut codes) = (self.coding(), Codes::default());
        let mut groups = Vec::new();
        for block in self.blocks.chunks_exact(self.format.block_bytes()) {
            self.format.codes(block, &mut codes);
            for i in 0..self.format.block_len() / coding.group_len {
                let values = &codes.values[i * coding.group_len..(i + 1) * coding.group_len];
                groups.push(Group {
                    codes: values.iter().map(|&code| i32::from(code) - i32::from(coding.zero())).collect(),
                    scale: f16::from_f32(codes.scales[i]).to_f64(),
                    offset: f16::from_f32(codes.offsets[i]).to_f64(),
                });
            }
        }
        groups
    }
}

pub(super) fn matmul(mut call: Matmul<'_>, packed: &PackedMatrix) {
    for j in 0..call.n {
        let groups = column(packed, j).groups();
        for i in 0..call.m {
            let row: Vec<f32> = (0..call.k).map(|p| call.a.get(i, p)).collect();
            let rounded: Vec<(f64, Vec<i32>)> = row.chunks(32).map(round).collect();
            let mut sum = 0.0;
            let mut at = 0;
            for group in &groups {
                let (scale, codes) = &rounded[at / 32];
                let codes = &codes[at % 32..at % 32 + group.codes.len()];
                let dot: i32 = codes.iter().zip(&group.codes).map(|(a, b)| a * b).sum();
                let of_codes: i32 = codes.iter().sum();
                sum += scale * (group.scale * f64::from(dot) + group.offset * f64::from(of_codes));
                at += group.codes.len();
            }
            finish(&mut call, i, j, sum as f32);
        }
    }
}

/// Scale and codes of neighbours.
fn round(x: &[f32]) -> (f64, Vec<i32>) {
    if x.iter().any(|x| !x.is_finite()) {
        return (f64::NAN, vec![1; x.len()]);
    }
    let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let factor = Some(127.0 / largest).filter(|factor| factor.is_finite()).unwrap_or(0.0);
    (f64::from(largest / 127.0), x.iter().map(|x| (x * factor).round_ties_even() as i32).collect())
}

pub(super) fn unpack(packed: &PackedMatrix, i: usize, out: &mut [f32]) {
    let groups = column(packed, i).groups();
    let numbers = groups.iter().flat_map(|Group { codes, scale, offset }| {
        codes.iter().map(move |&code| (*scale as f32) * code as f32 + *offset as f32)
    });
    out.iter_mut().zip(numbers).for_each(|(out, number)| *out = number);
}
