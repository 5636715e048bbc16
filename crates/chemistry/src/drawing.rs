//! Molecules in the plane: files of coordinates, and drawings.

use crate::Molecule;
use crate::structure::{Order, Structure};
use chematic::core::{AtomIdx, BondIdx, BondOrder, kekulize};
use chematic::smiles::{rdkit_2d_coords, rdkit_mol_block_2d, rdkit_parsed_molecule};
use std::fmt::Write;

/// Pixels of a bond of usual length, at most.
const SCALE: f64 = 22.0;
/// Share of a bond's length by which the lines of a double bond are apart, and by which a line ends before a letter.
const GAP: f64 = 0.14;
const ROOM: f64 = 0.3;

/// A point in the plane.
type Point = [f64; 2];

impl Molecule {
    /// A block of a structure file (MDL V2000) with coordinates in the plane; `None` where none can be found.
    pub fn mol_block(&self, name: &str) -> Option<String> {
        let block = rdkit_mol_block_2d(self.graph()).ok()?;
        let (_, rest) = block.split_once('\n')?;
        // The second line names the program that wrote it.
        let (_, rest) = rest.split_once('\n')?;
        let name: String = name.chars().filter(|character| !character.is_control()).take(80).collect();
        Some(format!("{name}\n     Genera          2D\n{rest}"))
    }

    /// A drawing as a picture of its own, black on white; `None` where no place can be found for the atoms.
    pub fn picture(&self, [width, height]: Point) -> Option<String> {
        let drawing = self.drawing([0.0, 0.0], [width, height])?;
        Some(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>{drawing}</svg>"
        ))
    }

    /// A drawing as the inside of an SVG picture of this size in pixels, its corner at (x, y); `None` where no place can be
    /// found for the atoms.
    pub fn drawing(&self, [x, y]: Point, [width, height]: Point) -> Option<String> {
        let graph = rdkit_parsed_molecule(self.graph())?;
        let places = rdkit_2d_coords(self.graph()).ok().filter(|places| places.len() == graph.atom_count())?;
        let structure = Structure::of(self);
        let frame = Frame::around(&places, [x, y], [width, height])?;
        let places: Vec<Point> = places.iter().map(|place| frame.at(*place)).collect();
        let labels: Vec<Option<String>> = (0..structure.n_atoms()).map(|atom| label(&structure, atom)).collect();
        let mut svg = String::new();
        let alternating = kekulize(&structure.graph).unwrap_or_default();
        for (bond, (a, b, order, in_ring)) in structure.bonds().enumerate() {
            let is_double =
                order == Order::Double || alternating.get(&BondIdx(bond as u32)) == Some(&BondOrder::Double);
            let n_lines = match order {
                Order::Triple => 3,
                _ if is_double => 2,
                _ => 1,
            };
            let ends = [(places[a], labels[a].is_some()), (places[b], labels[b].is_some())];
            let inside = if in_ring { Some(centre(&structure, &places, a, b)) } else { None };
            draw_bond(&mut svg, ends, n_lines, frame.scale, inside);
        }
        let size = (0.52 * frame.scale).max(7.0);
        for (label, [x, y]) in labels.iter().zip(&places) {
            if let Some(label) = label {
                let color = color(label);
                let _ = write!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"{size:.1}\" text-anchor=\"middle\" \
                     font-family=\"sans-serif\" fill=\"{color}\">{label}</text>",
                    y + 0.36 * size
                );
            }
        }
        Some(svg)
    }
}

/// From coordinates to pixels.
struct Frame {
    scale: f64,
    middle: Point,
    centre: Point,
}

impl Frame {
    fn around(places: &[Point], [x, y]: Point, [width, height]: Point) -> Option<Self> {
        let range = |axis: usize| {
            let low = places.iter().map(|place| place[axis]).fold(f64::INFINITY, f64::min);
            let high = places.iter().map(|place| place[axis]).fold(f64::NEG_INFINITY, f64::max);
            (low.is_finite() && high.is_finite()).then_some((low, high))
        };
        let ((left, right), (low, high)) = (range(0)?, range(1)?);
        let fitting = ((width - 28.0) / (right - left).max(0.1)).min((height - 28.0) / (high - low).max(0.1));
        let middle = [(left + right) / 2.0, (low + high) / 2.0];
        Some(Self { scale: fitting.clamp(2.0, SCALE), middle, centre: [x + width / 2.0, y + height / 2.0] })
    }

    fn at(&self, [x, y]: Point) -> Point {
        [self.centre[0] + (x - self.middle[0]) * self.scale, self.centre[1] - (y - self.middle[1]) * self.scale]
    }
}

/// What stands at an atom; nothing at a carbon without a charge.
fn label(structure: &Structure, atom: usize) -> Option<String> {
    let entry = structure.graph.atom(AtomIdx(atom as u32));
    if entry.wildcard {
        return Some("*".to_owned());
    }
    if structure.number(atom) == 6 && entry.charge == 0 && structure.degree(atom) > 0 {
        return None;
    }
    let mut label = entry.element.symbol().to_owned();
    // Those that were written and those that were not are the same ones.
    match structure.graph.implicit_hydrogen_count(AtomIdx(atom as u32)).max(entry.hydrogen_count.unwrap_or(0)) {
        0 => {}
        1 => label += "H",
        n => {
            let _ = write!(label, "H<tspan dy=\"3\" font-size=\"70%\">{n}</tspan>");
        }
    }
    match entry.charge {
        0 => {}
        1 => label += "⁺",
        -1 => label += "⁻",
        n => {
            let _ = write!(label, "{n:+}");
        }
    }
    Some(label)
}

fn color(label: &str) -> &'static str {
    match label.as_bytes() {
        [b'N', ..] => "#0072b2",
        [b'O', ..] => "#c03000",
        [b'S', ..] => "#8a6d00",
        [b'F', ..] | [b'C', b'l', ..] | [b'B', b'r', ..] => "#00805a",
        _ => "#202020",
    }
}

/// The middle of the neighbours of a bond: the side of the ring.
fn centre(structure: &Structure, places: &[Point], a: usize, b: usize) -> Point {
    let beside: Vec<Point> = [a, b]
        .into_iter()
        .flat_map(|atom| structure.neighbours(atom).filter(|n| n.in_ring).map(|n| places[n.atom]).collect::<Vec<_>>())
        .collect();
    let n = beside.len().max(1) as f64;
    [beside.iter().map(|place| place[0]).sum::<f64>() / n, beside.iter().map(|place| place[1]).sum::<f64>() / n]
}

fn draw_bond(svg: &mut String, ends: [(Point, bool); 2], n_lines: usize, scale: f64, inside: Option<Point>) {
    let ([(a, a_has_label), (b, b_has_label)], room) = (ends, ROOM * scale);
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let length = dx.hypot(dy).max(1e-6);
    let (ux, uy) = (dx / length, dy / length);
    let shorten = |has_label: bool| if has_label { room.min(0.4 * length) } else { 0.0 };
    let (from, to) = (shorten(a_has_label), shorten(b_has_label));
    let a = [a[0] + ux * from, a[1] + uy * from];
    let b = [b[0] - ux * to, b[1] - uy * to];
    let gap = GAP * scale;
    let shifts: &[f64] = match (n_lines, inside) {
        (1, _) => &[0.0],
        (2, None) => &[-0.5, 0.5],
        // In a ring the second line lies inside.
        (2, Some(middle)) if (middle[0] - a[0]) * -uy + (middle[1] - a[1]) * ux >= 0.0 => &[0.0, 1.0],
        (2, Some(_)) => &[0.0, -1.0],
        _ => &[-1.0, 0.0, 1.0],
    };
    for shift in shifts {
        let (sx, sy) = (-uy * gap * shift, ux * gap * shift);
        let is_inner = inside.is_some() && *shift != 0.0;
        let cut = if is_inner { 0.12 * length } else { 0.0 };
        let _ = write!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#202020\" stroke-width=\"1.3\" \
             stroke-linecap=\"round\"/>",
            a[0] + sx + ux * cut,
            a[1] + sy + uy * cut,
            b[0] + sx - ux * cut,
            b[1] + sy - uy * cut
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atoms_have_the_hydrogens_that_they_have() {
        for (smiles, expected) in [
            ("CNC", "NH"),
            ("CN", "NH<tspan dy=\"3\" font-size=\"70%\">2</tspan>"),
            ("CN(C)C", "N"),
            ("c1cc[nH]c1", "NH"),
            ("c1ccncc1", "N"),
            ("CC(=O)Nc1ccccc1", "O NH"),
            ("C[NH+](C)C", "NH⁺"),
            ("CO", "OH"),
        ] {
            let structure = Structure::of(&Molecule::parse(smiles).unwrap());
            let labels: Vec<String> = (0..structure.n_atoms()).filter_map(|atom| label(&structure, atom)).collect();
            assert_eq!(labels.join(" "), expected, "{smiles}");
        }
    }
}
