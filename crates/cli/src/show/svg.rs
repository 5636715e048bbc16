//! Curves as SVG, for reports.

use crate::failure::{Failure, Outcome};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One curve of a chart.
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Points (x, y) in order of x.
    pub points: Vec<(f64, f64)>,
    /// Marked by dots as well.
    pub has_dots: bool,
}

/// A chart of several curves.
pub struct Chart<'c> {
    /// What it shows.
    pub title: &'c str,
    /// Meaning and unit of x.
    pub x_label: &'c str,
    /// Meaning and unit of y.
    pub y_label: &'c str,
    /// The curves.
    pub curves: &'c [Curve],
}

const WIDTH: i32 = 760;
/// Pixels of the plot with its axes, of title and legend, and of a line of the legend.
const PLOT: i32 = 310;
const HEAD: i32 = 40;
const LINE: i32 = 18;
/// Where the legend begins, and the pixels of a name's mark and of a character of it.
const LEGEND: i32 = 74;
const MARK: i32 = 18;
const CHARACTER: i32 = 7;
const QUIET: RGBColor = RGBColor(99, 104, 110);

/// Share of the range of a settled curve that its first values may add.
const ROOM: f64 = 0.25;

/// Colours of which the first seven differ for most colour-blind people as well (Okabe and Ito, "Color universal design", 2008); the
/// others are for pictures that need more.
pub(super) const COLORS: [RGBColor; 16] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
    RGBColor(136, 34, 85),
    RGBColor(153, 153, 51),
    RGBColor(51, 34, 136),
    RGBColor(190, 30, 45),
    RGBColor(0, 190, 200),
    RGBColor(120, 80, 40),
    RGBColor(150, 220, 120),
    RGBColor(250, 160, 130),
    RGBColor(190, 190, 190),
];

impl Chart<'_> {
    /// The chart as an `<svg>` element; empty when there is no point to draw.
    ///
    /// # Errors
    /// When the drawing library fails.
    pub fn to_svg(&self) -> Outcome<String> {
        let Some((x, y)) = self.bounds() else { return Ok(String::new()) };
        let mut svg = String::new();
        self.draw(&mut svg, x, y).map_err(|error| Failure::new(format!("cannot draw '{}': {error}", self.title)))?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String, x: [f64; 2], y: [f64; 2]) -> Result<(), Box<dyn std::error::Error>> {
        let note = self.note(y);
        let n_lines = self.names().last().map_or(0, |(_, [_, line])| line + 1) + i32::from(note.is_some());
        let root =
            SVGBackend::with_string(svg, (WIDTH as u32, (HEAD + LINE * n_lines + PLOT) as u32)).into_drawing_area();
        let mut area = root.titled(self.title, ("sans-serif", 18))?;
        if let Some(note) = note {
            area = area.titled(&note, ("sans-serif", 14).into_font().color(&QUIET))?;
        }
        self.draw_legend(&area)?;
        let (_, plot) = area.split_vertically(area.dim_in_pixel().1 as i32 - PLOT);
        let mut chart = ChartBuilder::on(&plot)
            .margin(10)
            .margin_top(4)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(x[0]..x[1], y[0]..y[1])?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(225, 225, 225))
            .x_desc(self.x_label)
            .y_desc(self.y_label)
            .x_label_formatter(&|value| super::number::count(*value))
            .y_label_formatter(&|value| tick(*value))
            .draw()?;
        for (curve, color) in self.drawn() {
            for piece in within(curve.finite(), y) {
                chart.draw_series(LineSeries::new(piece, color.stroke_width(2)))?;
            }
            let dots = curve.finite().filter(|(_, value)| curve.has_dots && (y[0]..=y[1]).contains(value));
            chart.draw_series(dots.map(|point| Circle::new(point, 3, color.filled())))?;
        }
        root.present()?;
        Ok(())
    }

    /// Names with the colours of their curves, above the plot, where no curve can be.
    fn draw_legend(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Box<dyn std::error::Error>> {
        let style = ("sans-serif", 14).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
        for ((curve, [x, line]), (_, color)) in self.names().into_iter().zip(self.drawn()) {
            let y = LINE * line + LINE / 2;
            area.draw(&PathElement::new([(x, y), (x + MARK, y)], color.stroke_width(2)))?;
            if curve.has_dots {
                area.draw(&Circle::new((x + MARK / 2, y), 3, color.filled()))?;
            }
            area.draw(&Text::new(curve.name.as_str(), (x + MARK + 6, y), style.clone()))?;
        }
        Ok(())
    }

    /// The curves that have a point, with their colours.
    fn drawn(&self) -> impl Iterator<Item = (&Curve, RGBColor)> {
        self.curves.iter().filter(|curve| curve.finite().next().is_some()).zip(COLORS.into_iter().cycle())
    }

    /// Where the name of each of them stands: x, and the line.
    fn names(&self) -> Vec<(&Curve, [i32; 2])> {
        let (mut x, mut line) = (LEGEND, 0);
        let place = |(curve, _): (&Curve, RGBColor)| {
            let width = MARK + 30 + CHARACTER * curve.name.chars().count().min(200) as i32;
            if x > LEGEND && x + width > WIDTH {
                (x, line) = (LEGEND, line + 1);
            }
            x += width;
            [x - width, line]
        };
        let places: Vec<[i32; 2]> = self.drawn().map(place).collect();
        self.drawn().map(|(curve, _)| curve).zip(places).collect()
    }

    /// What lies outside the range of y, for people.
    fn note(&self, [low, high]: [f64; 2]) -> Option<String> {
        let values = || self.curves.iter().flat_map(Curve::finite).map(|(_, y)| y);
        let (least, greatest) = (values().fold(low, f64::min), values().fold(high, f64::max));
        let parts = [
            (greatest > high).then(|| format!("up to {}", outside(greatest))),
            (least < low).then(|| format!("down to {}", outside(least))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("the first values, {}, are not shown", parts.join(" and ")))
    }

    /// The range of x, and of y without what the first twentieth of each curve adds, where that would press the rest flat.
    fn bounds(&self) -> Option<([f64; 2], [f64; 2])> {
        let settled =
            |curve: &Curve| curve.points[curve.points.len() / 20..].iter().map(|point| point.1).collect::<Vec<f64>>();
        let [low, high] = range(self.curves.iter().flat_map(settled).filter(|y| y.is_finite()))?;
        let [least, greatest] = range(self.curves.iter().flat_map(Curve::finite).map(|(_, y)| y))?;
        let [first, last] = range(self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.0))?;
        let room = ROOM * (high - low);
        let low = if low - least > room { low } else { least };
        let high = if greatest - high > room { high } else { greatest };
        let margin = if high > low { 0.05 * (high - low) } else { 0.5 };
        Some(([first.min(0.0), last.max(1.0)], [low - margin, high + margin]))
    }
}

/// The least and the greatest of some numbers; `None` of nothing.
fn range(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    values.map(|value| [value; 2]).reduce(|[low, high], [value, _]| [low.min(value), high.max(value)])
}

impl Curve {
    /// The points that are numbers.
    fn finite(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().copied().filter(|(_, y)| y.is_finite())
    }
}

/// The pieces of a curve within a range of y, ending where it leaves the range.
fn within(points: impl Iterator<Item = (f64, f64)>, [low, high]: [f64; 2]) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut before: Option<(f64, f64)> = None;
    for point in points {
        if let Some([start, end]) = before.and_then(|before| inside(before, point, [low, high])) {
            match pieces.last_mut() {
                Some(piece) if piece.last() == Some(&start) => piece.push(end),
                _ => pieces.push(vec![start, end]),
            }
        }
        before = Some(point);
    }
    pieces
}

/// The part of a line from `a` to `b` within a range of y.
fn inside(a: (f64, f64), b: (f64, f64), [low, high]: [f64; 2]) -> Option<[(f64, f64); 2]> {
    if a.1.max(b.1) < low || a.1.min(b.1) > high {
        return None;
    }
    let moved = |point: (f64, f64)| match point.1.clamp(low, high) {
        y if y == point.1 => point,
        y => (a.0 + (b.0 - a.0) * ((y - a.1) / (b.1 - a.1)), y),
    };
    Some([moved(a), moved(b)])
}

/// The number at a line of the grid: as many digits as it has.
fn tick(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    match rounded.abs() {
        0.0 => "0".to_owned(),
        size if size < 1000.0 => format!("{rounded}"),
        _ => super::number::count(rounded),
    }
}

/// A number that is no line of the grid.
fn outside(value: f64) -> String {
    if value.abs() < 1000.0 { super::number::fixed(value, 2) } else { super::number::count(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, ys: impl IntoIterator<Item = f64>) -> Curve {
        let points = ys.into_iter().enumerate().map(|(x, y)| (x as f64, y)).collect();
        Curve { name: name.to_owned(), points, has_dots: true }
    }

    fn svg(curves: &[Curve]) -> String {
        Chart { title: "Loss", x_label: "step", y_label: "nats", curves }.to_svg().unwrap()
    }

    #[test]
    fn a_chart_has_its_labels_and_curves() {
        let svg_of_one = svg(&[curve("run <a>", [9.0, f64::NAN, 1.5])]);
        assert!(svg_of_one.starts_with("<svg"));
        for part in ["Loss", "polyline", "run &lt;a&gt;"] {
            assert!(svg_of_one.contains(part), "no {part} in {svg_of_one}");
        }
        assert_eq!(svg(&[]), "");
        assert!(!svg(&[curve("some", [1.0, 2.0]), curve("empty", [])]).contains("empty"));
    }

    #[test]
    fn names_that_have_no_room_in_a_line_stand_in_the_next() {
        let curves: Vec<Curve> = (0..8).map(|i| curve(&format!("a rather long name, {i}"), [1.0, 2.0])).collect();
        let chart = Chart { title: "", x_label: "", y_label: "", curves: &curves };
        let places: Vec<[i32; 2]> = chart.names().into_iter().map(|(_, place)| place).collect();
        assert!(places[0] == [LEGEND, 0] && places[7][1] > 0 && places.iter().all(|[x, _]| *x < WIDTH), "{places:?}");
        assert!(svg(&curves).matches("a rather long name").count() == 8);
    }

    #[test]
    fn what_lies_outside_is_named_and_left_out() {
        let settling =
            |first: f64| curve("loss", [first].into_iter().chain((1..40).map(|i| 1.5 - f64::from(i) / 80.0)));
        assert!(svg(&[settling(3.26)]).contains("the first values, up to 3.26, are not shown"));
        assert!(svg(&[settling(-7.0)]).contains("the first values, down to -7.00, are not shown"));
        assert!(!svg(&[settling(1.5)]).contains("not shown"));
    }

    #[test]
    fn curves_are_cut_where_they_leave_the_range() {
        let cut = |ys: &[f64]| within(curve("", ys.iter().copied()).finite(), [0.0, 1.0]);
        assert_eq!(cut(&[3.0, 0.5, 0.75]), [[(0.8, 1.0), (1.0, 0.5), (2.0, 0.75)]]);
        assert_eq!(cut(&[0.5, 2.5, 0.5]), [[(0.0, 0.5), (0.25, 1.0)], [(1.75, 1.0), (2.0, 0.5)]]);
        assert_eq!(cut(&[2.0, -1.0]), [[(1.0 / 3.0, 1.0), (2.0 / 3.0, 0.0)]]);
        assert!(cut(&[2.0, 3.0]).is_empty());
    }

    #[test]
    fn ticks_have_the_digits_that_they_need() {
        let check = |value, expected: &str| assert_eq!(tick(value), expected);
        check(-1e-17, "0");
        check(-0.0, "0");
        check(-0.25, "-0.25");
        check(12_000.0, "12.0k");
    }
}
