//! Bars side by side, as SVG.

use super::html::escape;
use super::label::{depth, fitting_title, opened, reach, shortened, slanted};
use super::number::fixed;
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
    /// What is to be known of all places, in a few words; may be empty.
    pub note: String,
}

const WIDTH: f64 = 760.0;
/// Pixels of title and legend, of the highest bar, and between the bars and their labels.
const TOP: f64 = 50.0;
const PLOT: f64 = 208.0;
const GAP: f64 = 14.0;
/// Pixels at the right edge, and where the legend begins.
const RIGHT: f64 = 12.0;
const LEGEND: f64 = WIDTH - 190.0;
/// Places that are all named; of more, every second one is.
const MOST_NAMED: usize = 20;
const REAL: &str = "#0072b2";
const SYNTHETIC: &str = "#d55e00";

impl Bars {
    /// The bars as an `<svg>` element; empty when there is none.
    ///
    /// # Errors
    /// Never in practice.
    pub fn to_svg(&self, title: &str) -> Outcome<String> {
        if self.greatest() <= 0.0 {
            return Ok(String::new());
        }
        let mut svg = opened(&fitting_title(title, LEGEND), WIDTH, self.height());
        self.draw_legend(&mut svg)?;
        self.draw_scale(&mut svg)?;
        (0..self.labels.len()).try_for_each(|i| self.draw_place(&mut svg, i))?;
        write!(svg, "{}</svg>", rule(self.left(), TOP + PLOT, "#1d1f21"))?;
        Ok(svg)
    }

    /// Pixels from the top of the picture to its bottom; none where there is no picture.
    pub fn height(&self) -> f64 {
        let labels = self.labels.iter().map(String::as_str);
        if self.greatest() > 0.0 { (TOP + PLOT + GAP + depth(labels)).ceil() } else { 0.0 }
    }

    fn greatest(&self) -> f64 {
        self.real.iter().chain(&self.synthetic).copied().fold(0.0, f64::max)
    }

    /// Where the first place begins, so that its label ends on the picture.
    fn left(&self) -> f64 {
        self.labels.first().map_or(0.0, |label| reach(label)).max(56.0)
    }

    fn draw_legend(&self, svg: &mut String) -> Outcome<()> {
        for (i, (name, color)) in [("real", REAL), ("synthetic", SYNTHETIC)].into_iter().enumerate() {
            let x = LEGEND + 80.0 * i as f64;
            write!(svg, "<rect x=\"{x}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{color}\"/>")?;
            write!(svg, "<text x=\"{}\" y=\"22\" font-size=\"12\">{name}</text>", x + 16.0)?;
        }
        let note = escape(&shortened(&self.note, 100));
        write!(svg, "<text x=\"12\" y=\"38\" font-size=\"11\" fill=\"#63686e\">{note}</text>")?;
        Ok(())
    }

    /// Lines at round percentages.
    fn draw_scale(&self, svg: &mut String) -> Outcome<()> {
        let (left, greatest) = (self.left(), self.greatest());
        for percent in [0.0].into_iter().chain(ticks(100.0 * greatest)) {
            let y = TOP + PLOT * (1.0 - percent / (100.0 * greatest));
            let text = (percent * 1e6).round() / 1e6;
            write!(
                svg,
                "{}<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" text-anchor=\"end\">{text} %</text>",
                rule(left, y, "#e1e1e1"),
                left - 6.0,
                y + 4.0
            )?;
        }
        Ok(())
    }

    /// Both bars of a place, and its name.
    fn draw_place(&self, svg: &mut String, i: usize) -> Outcome<()> {
        let (n, left, greatest) = (self.labels.len(), self.left(), self.greatest());
        let step = (WIDTH - left - RIGHT) / n as f64;
        let (x, label) = (left + step * i as f64, &self.labels[i]);
        for (share, color, shift) in [(self.real[i], REAL, 0.06), (self.synthetic[i], SYNTHETIC, 0.5)] {
            let height = PLOT * share / greatest;
            write!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{color}\">\
                 <title>{}: {} %</title></rect>",
                x + shift * step,
                TOP + PLOT - height,
                0.42 * step,
                escape(label),
                fixed(100.0 * share, 2)
            )?;
        }
        if n <= MOST_NAMED || i.is_multiple_of(2) || i + 1 == n {
            *svg += &slanted(label, x + 0.5 * step, TOP + PLOT + GAP);
        }
        Ok(())
    }
}

/// A level line over all places.
fn rule(left: f64, y: f64, color: &str) -> String {
    let right = WIDTH - RIGHT;
    format!("<line x1=\"{left:.1}\" y1=\"{y:.1}\" x2=\"{right:.1}\" y2=\"{y:.1}\" stroke=\"{color}\"/>")
}

/// Two or three round numbers at equal distances from 0, up to the greatest one.
fn ticks(greatest: f64) -> Vec<f64> {
    let power = 10_f64.powf(greatest.log10().floor() - 1.0);
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 25.0, 50.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| greatest / step < 4.0).unwrap_or(greatest);
    (1..=(greatest / step) as usize).map(|i| i as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(labels: &[&str]) -> Bars {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        Bars { labels, real: vec![0.25, 0.75], synthetic: vec![0.5, 0.5], note: "a < b".to_owned() }
    }

    #[test]
    fn bars_hold_what_they_show_and_nothing_of_the_page() {
        let svg = bars(&["<a>", "b"]).to_svg("x & y").unwrap();
        assert!(svg.contains("&lt;a&gt;") && svg.contains("x &amp; y") && svg.contains("a &lt; b"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 6, "two of the legend and two for each place");
        assert_eq!(Bars::default().to_svg("none").unwrap(), "");
        assert_eq!(Bars::default().height(), 0.0);
    }

    #[test]
    fn bars_stand_on_a_line_below_round_percentages() {
        let svg = bars(&["a", "b"]).to_svg("x").unwrap();
        for tick in [">0 %<", ">20 %<", ">40 %<", ">60 %<"] {
            assert!(svg.contains(tick), "no {tick} in {svg}");
        }
        assert!(svg.ends_with("stroke=\"#1d1f21\"/></svg>"), "{svg}");
        for percent in 1..=1000 {
            let ticks = ticks(f64::from(percent) / 10.0);
            assert!((2..=3).contains(&ticks.len()) && ticks[ticks.len() - 1] <= f64::from(percent) / 10.0, "{percent}");
        }
    }

    #[test]
    fn a_picture_is_as_high_as_its_labels_need() {
        let (short, long) = (bars(&["a", "b"]), bars(&["a", "a rather long name"]));
        assert!(short.height() + 40.0 < long.height(), "{} and {}", short.height(), long.height());
        assert!(bars(&["a rather long name", "b"]).left() > short.left());
    }
}
