//! Heat maps, as SVG.

use super::html::escape;
use super::label::{depth, opened, short, slanted, title_width};
use super::number::fixed;

/// What the values of a heat map say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// How columns go together, from −1 over 0 to 1.
    Correlation,
    /// How near to perfect something is, which is 1.
    Likeness,
}

/// Where the colours of [`Meaning::Likeness`] begin, unless a value lies below.
const LEAST_LIKENESS: f64 = 0.8;

/// Pixels of the names of rows, of title and legend, and between a map and the names of its columns.
const LEFT: f64 = 130.0;
const TOP: f64 = 74.0;
const GAP: f64 = 12.0;
/// Pixels of a whole map, and of the side of a cell in which a number can be read.
const SIZE: f64 = 420.0;
const READABLE: f64 = 28.0;
/// Pixels of a picture at least, for its legend.
const LEAST_WIDTH: f64 = 530.0;

/// A square of cells between names, each with its number where there is room; grey where there is none.
pub fn heat_map(title: &str, names: &[&str], cell: &dyn Fn(usize, usize) -> Option<f64>, meaning: Meaning) -> String {
    let n = names.len();
    let cells: Vec<Vec<Option<f64>>> =
        (0..n).map(|i| (0..n).map(|j| cell(i, j).filter(|value| value.is_finite())).collect()).collect();
    let colors = Colors::of(meaning, cells.iter().flatten().flatten().copied());
    let side = (SIZE / n.max(1) as f64).clamp(8.0, 48.0);
    let size = side * n as f64;
    let width = (LEFT + size + 40.0).max(LEAST_WIDTH).max(title_width(title));
    let mut svg = opened(title, width, TOP + size + GAP + depth(names.iter().copied()));
    svg += &colors.legend();
    for (i, row) in cells.iter().enumerate() {
        let (name, y) = (escape(&short(names[i])), TOP + side * i as f64);
        svg += &format!(
            "<text x=\"{}\" y=\"{:.1}\" font-size=\"10\" text-anchor=\"end\">{name}</text>",
            LEFT - 6.0,
            y + 0.6 * side
        );
        for (j, value) in row.iter().enumerate() {
            let pair = escape(&format!("{} × {}", names[i], names[j]));
            svg += &colors.square([LEFT + side * j as f64, y], side, *value, &pair);
        }
        svg += &slanted(names[i], LEFT + side * (i as f64 + 0.5), TOP + size + GAP);
    }
    svg + "</svg>"
}

/// Which colour a value has, and how it is written.
struct Colors {
    low: f64,
    high: f64,
    /// Of the least value, of the middle and of the greatest.
    stops: [[f64; 3]; 3],
    /// Digits behind the point that tell values apart.
    n_digits: usize,
    /// What the colours say.
    about: &'static str,
}

impl Colors {
    fn of(meaning: Meaning, values: impl Iterator<Item = f64>) -> Self {
        match meaning {
            Meaning::Correlation => Self {
                low: -1.0,
                high: 1.0,
                stops: [[213.0, 94.0, 0.0], [255.0, 255.0, 255.0], [0.0, 114.0, 178.0]],
                n_digits: 2,
                about: "blue: both rise; orange: one falls; grey: there is none",
            },
            Meaning::Likeness => Self {
                low: (100.0 * values.fold(LEAST_LIKENESS, f64::min)).floor() / 100.0,
                high: 1.0,
                stops: [[153.0, 0.0, 13.0], [244.0, 150.0, 80.0], [244.0, 248.0, 251.0]],
                n_digits: 3,
                about: "1 is ideal and pale; the darker, the worse; grey: none",
            },
        }
    }

    fn color(&self, value: f64) -> [f64; 3] {
        let place = 2.0 * ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        let [from, to] = if place < 1.0 { [self.stops[0], self.stops[1]] } else { [self.stops[1], self.stops[2]] };
        let share = if place < 1.0 { place } else { place - 1.0 };
        std::array::from_fn(|i| from[i] + share * (to[i] - from[i]))
    }

    /// The colours from the least value to the greatest, with both and what lies in the middle.
    fn legend(&self) -> String {
        const N: usize = 30;
        let (x, width) = (12.0, 6.0);
        let mut svg = "<g shape-rendering=\"crispEdges\">".to_owned();
        for i in 0..N {
            let value = self.low + (self.high - self.low) * i as f64 / (N - 1) as f64;
            let (x, color) = (x + width * i as f64, rgb(self.color(value)));
            svg += &format!("<rect x=\"{x}\" y=\"34\" width=\"{width}\" height=\"10\" fill=\"{color}\"/>");
        }
        svg += "</g>";
        for (share, anchor) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
            let value = self.low + share * (self.high - self.low);
            let x = x + share * width * N as f64;
            svg += &format!(
                "<text x=\"{x}\" y=\"57\" font-size=\"11\" text-anchor=\"{anchor}\">{}</text>",
                (value * 1e3).round() / 1e3
            );
        }
        let x = x + width * N as f64 + 14.0;
        svg + &format!("<text x=\"{x}\" y=\"43\" font-size=\"11\" fill=\"#63686e\">{}</text>", self.about)
    }

    /// A cell with its corner at (x, y).
    fn square(&self, [x, y]: [f64; 2], side: f64, value: Option<f64>, pair: &str) -> String {
        let color = value.map_or([221.0; 3], |value| self.color(value));
        let number = value.map_or_else(|| "–".to_owned(), |value| fixed(value, self.n_digits));
        let inside = if side < READABLE {
            String::new()
        } else {
            format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{:.1}\" text-anchor=\"middle\" fill=\"{}\">{number}</text>",
                x + side / 2.0,
                y + 0.5 * side + 4.0,
                (0.27 * side).clamp(9.0, 12.0),
                if is_dark(color) { "#ffffff" } else { "#1d1f21" }
            )
        };
        format!(
            "<g><title>{pair}: {number}</title>\
             <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" fill=\"{}\"/>{inside}</g>",
            rgb(color)
        )
    }
}

fn rgb([red, green, blue]: [f64; 3]) -> String {
    format!("rgb({red:.0},{green:.0},{blue:.0})")
}

/// Whether white is read better on a colour than black, by the brightness of ITU-R BT.601.
fn is_dark([red, green, blue]: [f64; 3]) -> bool {
    0.299 * red + 0.587 * green + 0.114 * blue < 140.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_its_numbers_and_a_legend_and_nothing_of_the_page() {
        let map = heat_map("m", &["<a>", "b"], &|i, j| (i != j).then_some(0.5), Meaning::Correlation);
        assert_eq!(map.matches("<rect").count(), 30 + 4, "the legend and the cells");
        assert!(
            map.contains("rgb(221,221,221)") && !map.contains("<a>") && map.contains("&lt;a&gt; × b: 0.50"),
            "{map}"
        );
        for text in [">0.50</text>", ">-1</text>", ">0</text>", ">1</text>"] {
            assert!(map.contains(text), "no {text} in {map}");
        }
        let (names, none) = (vec!["a"; 40], |_, _| Some(0.25));
        let map = heat_map("m", &names, &none, Meaning::Correlation);
        assert!(!map.contains(">0.25</text>") && map.contains("0.25</title>"), "cells too small for numbers");
        assert!(heat_map("m", &[], &none, Meaning::Likeness).ends_with("</svg>"));
    }

    #[test]
    fn what_is_good_is_pale_and_the_scale_reaches_the_lowest_value() {
        let of = |values: &[f64]| Colors::of(Meaning::Likeness, values.iter().copied());
        assert_eq!([of(&[0.95]).low, of(&[0.95, 0.317]).low], [0.8, 0.31]);
        let colors = of(&[0.95]);
        assert!(!is_dark(colors.color(1.0)) && !is_dark(colors.color(0.95)) && is_dark(colors.color(0.8)));
        let map = heat_map("m", &["a", "b"], &|_, _| Some(0.9964), Meaning::Likeness);
        for text in [">0.996</text>", ">0.8</text>", ">0.9</text>", ">1</text>", "1 is ideal and pale"] {
            assert!(map.contains(text), "no {text} in {map}");
        }
    }

    #[test]
    fn colors_end_where_the_range_does() {
        let colors = Colors::of(Meaning::Correlation, std::iter::empty());
        assert_eq!(rgb(colors.color(-1.0)), "rgb(213,94,0)");
        assert_eq!(rgb(colors.color(0.0)), "rgb(255,255,255)");
        assert_eq!(rgb(colors.color(9.0)), "rgb(0,114,178)");
    }
}
