//! Pictures of molecules: a page of drawings, and how their properties are distributed.

use crate::failure::Outcome;
use crate::show::histogram::{Scale, histogram};
use crate::show::html::escape;
use crate::show::label::shortened;
use genera_chemistry::{Molecule, Property};
use std::fmt::Write;

/// Drawings in a row, and the pixels of one.
const N_COLUMNS: usize = 5;
const CELL: [f64; 2] = [220.0, 190.0];
/// Pixels below a drawing for what stands there.
const CAPTION: f64 = 44.0;
/// Characters of a line of equally wide ones of ten pixels that fit below a drawing.
const N_CHARACTERS: usize = 34;

/// A page of drawings with number, SMILES, logP, drug-likeness and weight below each, as an SVG file.
pub fn page(molecules: &[(String, Molecule)]) -> String {
    let n_rows = molecules.len().div_ceil(N_COLUMNS).max(1);
    let (width, height) = (CELL[0] * N_COLUMNS as f64, (CELL[1] + CAPTION) * n_rows as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
    );
    for (i, (line, molecule)) in molecules.iter().enumerate() {
        let (x, y) = (CELL[0] * (i % N_COLUMNS) as f64, (CELL[1] + CAPTION) * (i / N_COLUMNS) as f64);
        let drawing = molecule.drawing([x, y], CELL).unwrap_or_default();
        let caption = format!(
            "logP {:.1} · QED {:.2} · {:.0} g/mol",
            Property::LogP.of(molecule),
            Property::Qed.of(molecule),
            Property::Weight.of(molecule)
        );
        let _ = write!(
            svg,
            "<g><title>{}</title>{drawing}<g text-anchor=\"middle\" font-family=\"sans-serif\" fill=\"#505050\">\
             <text x=\"{x:.0}\" y=\"{:.0}\" font-size=\"10\" font-family=\"ui-monospace, monospace\">{}</text>\
             <text x=\"{x:.0}\" y=\"{:.0}\" font-size=\"11\">{caption}</text></g></g>",
            escape(line),
            y + CELL[1] + 10.0,
            escape(&name(i + 1, line)),
            y + CELL[1] + 26.0,
            x = x + CELL[0] / 2.0
        );
    }
    svg + "</svg>\n"
}

/// The number of a molecule with as much of its line as there is room for.
fn name(number: usize, line: &str) -> String {
    let number = format!("{number}. ");
    let room = N_CHARACTERS.saturating_sub(number.len());
    number + &shortened(line, room)
}

/// Histograms of every property of made molecules beside those of the training data, as an SVG file.
///
/// # Errors
/// Never in practice.
pub fn histograms(training: &[Molecule], made: &[Molecule]) -> Outcome<String> {
    let (mut charts, mut height) = (String::new(), 0.0);
    for property in Property::known() {
        let values = |of: &[Molecule]| of.iter().map(|molecule| property.of(molecule)).collect::<Vec<f64>>();
        let bars = histogram(&values(training), &values(made), Scale::Numbers);
        write!(charts, "<g transform=\"translate(0 {height})\">{}</g>", bars.to_svg(property.name())?)?;
        height += bars.height();
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{height}\" viewBox=\"0 0 760 {height}\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>{charts}</svg>\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn molecules(lines: &[&str]) -> Vec<(String, Molecule)> {
        lines.iter().map(|line| ((*line).to_owned(), Molecule::parse(line).unwrap())).collect()
    }

    #[test]
    fn every_drawing_has_its_number_and_as_much_of_its_line_as_fits() {
        let chain = "C".repeat(60);
        let svg = page(&molecules(&["CCO", "c1ccccc1", &chain]));
        for part in [">1. CCO</text>", ">2. c1ccccc1</text>", ">3. CCCC", "C…</text>"] {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
        assert!(svg.contains(&format!("<title>{chain}</title>")), "all of it, to those who point at it");
        assert_eq!(name(100, &chain).chars().count(), N_CHARACTERS);
    }

    #[test]
    fn numbers_of_rings_are_whole() {
        let molecules: Vec<Molecule> =
            molecules(&["CCO", "c1ccccc1", "c1ccccc1C2CC2"]).into_iter().map(|m| m.1).collect();
        let svg = histograms(&molecules, &molecules).unwrap();
        let rings = &svg[svg.find(">rings</text>").unwrap()..];
        for label in [">0</text>", ">1</text>", ">2</text>"] {
            assert!(rings.contains(label), "no {label} in {rings}");
        }
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
