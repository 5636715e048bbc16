//! Curves as SVG, for reports.

use crate::failure::{Failure, Outcome};
use plotters::prelude::*;

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

const SIZE: (u32, u32) = (760, 360);

/// Colours that differ for most colour-blind people as well (Okabe and Ito, "Color universal design", 2008).
pub(super) const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
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
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 18))
            .margin(10)
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
        for (curve, color) in self.curves.iter().zip(COLORS.iter().cycle()) {
            let finite = || curve.points.iter().copied().filter(|(_, y)| y.is_finite());
            let line = chart.draw_series(LineSeries::new(finite(), color.stroke_width(2)))?;
            line.label(&curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
            if curve.has_dots {
                chart.draw_series(finite().map(|point| Circle::new(point, 3, color.filled())))?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
        root.present()?;
        Ok(())
    }

    /// The range of x, and of y without the first twentieth of each curve, which would press the rest flat.
    fn bounds(&self) -> Option<([f64; 2], [f64; 2])> {
        let xs = || self.curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.0));
        let settled =
            |curve: &Curve| curve.points[curve.points.len() / 20..].iter().map(|point| point.1).collect::<Vec<f64>>();
        let ys: Vec<f64> = self.curves.iter().flat_map(settled).filter(|y| y.is_finite()).collect();
        let low = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let xs: Vec<f64> = xs().collect();
        let padded = |low: f64, high: f64| {
            let margin = if high > low { 0.05 * (high - low) } else { 0.5 };
            [low - margin, high + margin]
        };
        (!ys.is_empty()).then(|| ([low(&xs).min(0.0), high(&xs).max(1.0)], padded(low(&ys), high(&ys))))
    }
}

/// The number at a line of the grid: as many digits as it has.
fn tick(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded.abs() < 1000.0 { format!("{rounded}") } else { super::number::count(rounded) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_its_labels_and_curves() {
        let curves = [Curve {
            name: "run <a>".to_owned(),
            points: vec![(0.0, 9.0), (1.0, f64::NAN), (2.0, 1.5)],
            has_dots: true,
        }];
        let svg = Chart { title: "Loss", x_label: "step", y_label: "nats", curves: &curves }.to_svg().unwrap();
        assert!(
            svg.starts_with("<svg")
                && svg.contains("Loss")
                && svg.contains("polyline")
                && svg.contains("run &lt;a&gt;")
        );
        let none = Chart { title: "Loss", x_label: "step", y_label: "nats", curves: &[] };
        assert_eq!(none.to_svg().unwrap(), "");
    }
}
