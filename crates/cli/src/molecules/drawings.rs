//! Pictures of molecules: a page of drawings, and how their properties are distributed.

use crate::failure::Outcome;
use crate::show::bars::Bars;
use crate::show::html::escape;
use genera_chemistry::{Molecule, Property};
use std::fmt::Write;

/// Drawings in a row, and the pixels of one.
const N_COLUMNS: usize = 5;
const CELL: [f64; 2] = [220.0, 190.0];
/// Pixels below a drawing for what stands there.
const CAPTION: f64 = 26.0;

/// A page of drawings with logP, drug-likeness and weight below each, as an SVG file.
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
            "<g><title>{}</title>{drawing}<text x=\"{:.0}\" y=\"{:.0}\" font-size=\"11\" text-anchor=\"middle\" \
             font-family=\"sans-serif\" fill=\"#505050\">{caption}</text></g>",
            escape(line),
            x + CELL[0] / 2.0,
            y + CELL[1] + 12.0
        );
    }
    svg + "</svg>\n"
}

/// Bins of a histogram.
const N_BINS: usize = 24;

/// Histograms of every property of made molecules beside those of the training data, as an SVG file.
///
/// # Errors
/// When the drawing library fails.
pub fn histograms(training: &[Molecule], made: &[Molecule]) -> Outcome<String> {
    let mut charts = Vec::new();
    for property in Property::known() {
        let values = |of: &[Molecule]| of.iter().map(|molecule| property.of(molecule)).collect::<Vec<f64>>();
        charts.push(histogram(&values(training), &values(made)).to_svg(property.name())?);
    }
    Ok(stacked(&charts))
}

fn histogram(training: &[f64], made: &[f64]) -> Bars {
    let all = || training.iter().chain(made).copied().filter(|value| value.is_finite());
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    if !(low.is_finite() && high.is_finite()) {
        return Bars::default();
    }
    let step = ((high - low) / N_BINS as f64).max(1e-9);
    let shares = |values: &[f64]| {
        let mut shares = vec![0.0; N_BINS];
        for value in values.iter().filter(|value| value.is_finite()) {
            shares[(((value - low) / step) as usize).min(N_BINS - 1)] += 1.0 / values.len() as f64;
        }
        shares
    };
    let label = |i: usize| {
        let middle = low + (i as f64 + 0.5) * step;
        if high - low > 20.0 { format!("{middle:.0}") } else { format!("{middle:.2}") }
    };
    Bars { labels: (0..N_BINS).map(label).collect(), real: shares(training), synthetic: shares(made) }
}

/// Pictures one below the other in one.
fn stacked(charts: &[String]) -> String {
    const HEIGHT: usize = 350;
    let height = HEIGHT * charts.len();
    let mut svg = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{height}\">");
    for (i, chart) in charts.iter().enumerate() {
        let _ = write!(svg, "<g transform=\"translate(0 {})\">{chart}</g>", i * HEIGHT);
    }
    svg + "</svg>\n"
}
