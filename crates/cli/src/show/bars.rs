//! Bars side by side and heat maps, as SVG.

use super::html::escape;
use crate::failure::Outcome;
use std::fmt::Write;

/// Two distributions over the same places.
#[derive(Clone, Debug, Default)]
pub struct Bars {
    /// What stands below each place.
    pub labels: Vec<String>,
    /// Shares of the one.
    pub real: Vec<f64>,
    /// Shares of the other.
    pub synthetic: Vec<f64>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 260.0;
const REAL: &str = "#0072b2";
const SYNTHETIC: &str = "#d55e00";

impl Bars {
    /// The bars as an `<svg>` element; empty when there is none.
    ///
    /// # Errors
    /// Never in practice.
    pub fn to_svg(&self, title: &str) -> Outcome<String> {
        let greatest = self.real.iter().chain(&self.synthetic).copied().fold(0.0, f64::max);
        if greatest <= 0.0 {
            return Ok(String::new());
        }
        let (left, top, bottom) = (48.0, 40.0, 96.0);
        let (step, plot) = ((WIDTH - left - 12.0) / self.labels.len() as f64, HEIGHT - top - 12.0);
        let mut svg = opened(title, WIDTH, HEIGHT + bottom - 12.0);
        for (i, (name, color)) in [("real", REAL), ("synthetic", SYNTHETIC)].into_iter().enumerate() {
            let x = WIDTH - 190.0 + 80.0 * i as f64;
            write!(svg, "<rect x=\"{x}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{color}\"/>")?;
            write!(svg, "<text x=\"{}\" y=\"22\" font-size=\"12\">{name}</text>", x + 16.0)?;
        }
        write!(svg, "<text x=\"4\" y=\"{}\" font-size=\"11\">{:.1} %</text>", top + 4.0, 100.0 * greatest)?;
        for (i, label) in self.labels.iter().enumerate() {
            let x = left + step * i as f64;
            for (share, color, shift) in [(self.real[i], REAL, 0.06), (self.synthetic[i], SYNTHETIC, 0.5)] {
                let height = plot * share / greatest;
                write!(
                    svg,
                    "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>",
                    x + shift * step,
                    top + plot - height,
                    0.42 * step
                )?;
            }
            if self.labels.len() <= 20 || i % 3 == 0 {
                svg += &slanted(label, x + 0.5 * step, top + plot + 14.0);
            }
        }
        Ok(svg + "</svg>")
    }
}

/// A square of cells between names, blue for the least and the greatest values of the range dark, grey where there is none.
pub fn heat_map(title: &str, names: &[&str], cell: &dyn Fn(usize, usize) -> Option<f64>, range: (f64, f64)) -> String {
    let n = names.len().max(1) as f64;
    let (left, top) = (130.0, 44.0);
    let side = (420.0 / n).clamp(8.0, 48.0);
    let size = side * n;
    let mut svg = opened(title, left + size + 40.0, top + size + 100.0);
    for (i, name_of_row) in names.iter().enumerate() {
        let y = top + side * i as f64;
        let name = escape(&shortened(name_of_row));
        svg += &format!(
            "<text x=\"{}\" y=\"{:.1}\" font-size=\"10\" text-anchor=\"end\">{name}</text>",
            left - 6.0,
            y + 0.6 * side
        );
        for (j, name_of_column) in names.iter().enumerate() {
            let x = left + side * j as f64;
            let (color, text) = match cell(i, j) {
                Some(value) => (color(value, range), format!("{value:.3}")),
                None => ("#dddddd".to_owned(), "–".to_owned()),
            };
            svg += &format!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" fill=\"{color}\">\
                 <title>{name} × {}: {text}</title></rect>",
                escape(name_of_column)
            );
        }
        svg += &slanted(name_of_row, left + side * (i as f64 + 0.5), top + size + 12.0);
    }
    svg + "</svg>"
}

/// From orange over white to blue.
fn color(value: f64, (low, high): (f64, f64)) -> String {
    let place = ((value - low) / (high - low)).clamp(0.0, 1.0);
    let (ends, share) = if place < 0.5 {
        (([213, 94, 0], [255, 255, 255]), 2.0 * place)
    } else {
        (([255, 255, 255], [0, 114, 178]), 2.0 * place - 1.0)
    };
    let mixed = |i: usize| f64::from(ends.0[i]) + share * (f64::from(ends.1[i]) - f64::from(ends.0[i]));
    format!("rgb({:.0},{:.0},{:.0})", mixed(0), mixed(1), mixed(2))
}

fn opened(title: &str, width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" fill=\"#1d1f21\">\
         <text x=\"12\" y=\"22\" font-size=\"15\">{}</text>",
        escape(title)
    )
}

fn slanted(label: &str, x: f64, y: f64) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"10\" text-anchor=\"end\" transform=\"rotate(-40 {x:.1} {y:.1})\">{}</text>",
        escape(&shortened(label))
    )
}

fn shortened(label: &str) -> String {
    let label = label.trim();
    if label.chars().count() <= 18 { label.to_owned() } else { label.chars().take(17).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_hold_what_they_show_and_nothing_of_the_page() {
        let bars = Bars { labels: vec!["<a>".into(), "b".into()], real: vec![0.25, 0.75], synthetic: vec![0.5, 0.5] };
        let svg = bars.to_svg("x & y").unwrap();
        assert!(svg.contains("&lt;a&gt;") && svg.contains("x &amp; y") && svg.matches("<rect").count() == 6);
        assert_eq!(Bars::default().to_svg("none").unwrap(), "");
        let map = heat_map("m", &["<a>", "b"], &|i, j| (i != j).then_some(0.5), (-1.0, 1.0));
        assert!(map.matches("<rect").count() == 4 && map.contains("#dddddd") && !map.contains("<a>"));
        assert_eq!(color(-1.0, (-1.0, 1.0)), "rgb(213,94,0)");
        assert_eq!(color(9.0, (-1.0, 1.0)), "rgb(0,114,178)");
    }
}
