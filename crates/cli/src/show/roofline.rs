//! What a machine can do and what training does of it, as a picture.

use super::number;
use super::svg::COLORS;
use crate::failure::{Failure, Outcome};
use crate::rates::Product;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::combinators::{BindKeyPoints, LogCoord, WithKeyPoints};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Serialize;
use std::ops::Range;

/// The rates of a machine, and what was measured below them.
///
/// # Source
/// Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore architectures",
/// Communications of the ACM 52(4), 2009.
#[derive(Debug, Serialize)]
pub struct Roofline {
    /// What was measured, and on what.
    pub title: String,
    /// How fast memory is read.
    pub read_bytes_per_s: f64,
    /// How fast large products are, the fastest first; at least one.
    pub peaks: Vec<Peak>,
    /// The products of the model's layers.
    pub products: Vec<LayerPoint>,
    /// What else takes time in a step.
    pub stages: Vec<StagePoint>,
    /// A whole training step.
    pub step: Point,
}

/// The best rate of a storage type.
#[derive(Debug, Serialize)]
pub struct Peak {
    pub dtype: &'static str,
    pub flops_per_s: f64,
}

/// How much arithmetic there is for each byte of memory traffic, and how fast it goes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Point {
    pub flops_per_byte: f64,
    pub flops_per_s: f64,
}

/// A product of a layer.
#[derive(Debug, Serialize)]
pub struct LayerPoint {
    pub layer: String,
    pub product: Product,
    #[serde(flatten)]
    pub point: Point,
}

/// A part of a step that is no product of a layer.
#[derive(Debug, Serialize)]
pub struct StagePoint {
    pub name: &'static str,
    #[serde(flatten)]
    pub point: Point,
}

const SIZE: (u32, u32) = (800, 480);
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

type Axis = WithKeyPoints<LogCoord<f64>>;
type Plot<'p, 's> = ChartContext<'p, SVGBackend<'s>, Cartesian2d<Axis, Axis>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

impl Roofline {
    /// The picture as an `<svg>` element, on white.
    ///
    /// # Errors
    /// When the drawing library fails.
    pub fn to_svg(&self) -> Outcome<String> {
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|error| Failure::new(format!("cannot draw the roofline: {error}")))?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Drawn {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let [x, y] = self.ranges().map(|range| range.clone().log_scale().with_key_points(ticks(&range)));
        let mut plot = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        plot.configure_mesh()
            .bold_line_style(GRID)
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 15))
            .x_desc("arithmetic for each byte of memory traffic, FLOP/byte")
            .y_desc("rate, GFLOP/s")
            .x_label_formatter(&|value| format!("{value}"))
            .y_label_formatter(&|value| format!("{value}"))
            .draw()?;
        self.draw_ceilings(&mut plot)?;
        self.draw_points(&mut plot)?;
        plot.configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .label_font(("sans-serif", 13))
            .background_style(WHITE)
            .border_style(GRID)
            .draw()?;
        root.present()?;
        Ok(())
    }

    /// What memory allows, up to the highest peak, and each peak from where memory allows it.
    fn draw_ceilings(&self, plot: &mut Plot<'_, '_>) -> Drawn {
        let [Range { start, end }, _] = self.ranges();
        let label = |text: String, (x, y): (f64, f64), above: bool| {
            let (y, side) = if above { (1.02 * y, VPos::Bottom) } else { (y / 1.02, VPos::Top) };
            Text::new(text, (x, y), ("sans-serif", 14).into_font().color(&INK).pos(Pos::new(HPos::Left, side)))
        };
        let slope = |x: f64| (x, giga(self.read_bytes_per_s) * x);
        let ridge = |peak: &Peak| peak.flops_per_s / self.read_bytes_per_s;
        let top = ridge(&self.peaks[0]);
        plot.draw_series(LineSeries::new([slope(start), slope(top)], INK.stroke_width(2)))?;
        let memory = format!("memory: {:.1} GB/s", giga(self.read_bytes_per_s));
        // Below the lowest ridge, where the names of the peaks begin.
        let (x, y) = slope((start * self.peaks.last().map_or(top, ridge)).sqrt());
        plot.draw_series([label(memory, (1.06 * x, y), false)])?;
        for (i, peak) in self.peaks.iter().enumerate() {
            let (start, height) = slope(ridge(peak));
            plot.draw_series(LineSeries::new([(start, height), (end, height)], INK.stroke_width(2)))?;
            let text = format!("{} products: {}", peak.dtype, number::flops_per_s(peak.flops_per_s));
            plot.draw_series([label(text, (1.1 * start, height), i == 0)])?;
        }
        Ok(())
    }

    /// A colour for each layer, a mark for each of its products, a square for what is none.
    fn draw_points(&self, plot: &mut Plot<'_, '_>) -> Drawn {
        let mut layers: Vec<&str> = self.products.iter().map(|mark| mark.layer.as_str()).collect();
        layers.dedup();
        let colored = || layers.iter().copied().zip(COLORS.iter().copied().cycle());
        for (layer, color) in colored() {
            plot.draw_series(std::iter::empty::<Circle<(f64, f64), i32>>())?
                .label(layer)
                .legend(move |(x, y)| Rectangle::new([(x + 2, y - 5), (x + 12, y + 5)], color.filled()));
        }
        let marks = |product| {
            let of_product = self.products.iter().filter(move |mark| mark.product == product);
            let color = |layer: &str| colored().find(|(name, _)| *name == layer).map_or(INK, |(_, color)| color);
            of_product.map(move |mark| (mark.point.place(), color(&mark.layer)))
        };
        plot.draw_series(marks(Product::Forward).map(|(at, color)| Circle::new(at, 5, color.filled())))?
            .label(Product::Forward.name())
            .legend(|(x, y)| Circle::new((x + 7, y), 5, INK.filled()));
        plot.draw_series(marks(Product::InputGradient).map(|(at, color)| TriangleMarker::new(at, 7, color.filled())))?
            .label(Product::InputGradient.name())
            .legend(|(x, y)| TriangleMarker::new((x + 7, y), 7, INK.filled()));
        plot.draw_series(marks(Product::WeightGradient).map(|(at, color)| Cross::new(at, 5, color.stroke_width(3))))?
            .label(Product::WeightGradient.name())
            .legend(|(x, y)| Cross::new((x + 7, y), 5, INK.stroke_width(3)));
        for (stage, color) in self.stages.iter().zip(COLORS.iter().copied().cycle().skip(layers.len())) {
            let square = move |(x, y): (i32, i32)| Rectangle::new([(x - 5, y - 5), (x + 5, y + 5)], color.filled());
            plot.draw_series([EmptyElement::at(stage.point.place()) + square((0, 0))])?
                .label(stage.name)
                .legend(move |(x, y)| square((x + 7, y)));
        }
        plot.draw_series([Circle::new(self.step.place(), 6, INK.stroke_width(3))])?
            .label("whole step")
            .legend(|(x, y)| Circle::new((x + 7, y), 6, INK.stroke_width(3)));
        Ok(())
    }

    /// Ranges of x and y that show the ridges and every point.
    fn ranges(&self) -> [Range<f64>; 2] {
        let points = || {
            self.products
                .iter()
                .map(|mark| mark.point)
                .chain(self.stages.iter().map(|stage| stage.point))
                .chain([self.step])
        };
        let range = |of: fn(Point) -> f64, low: f64, high: f64| {
            let low = points().map(|point| of(point) / 1.5).fold(low, f64::min);
            low..points().map(|point| of(point) * 1.5).fold(high, f64::max)
        };
        let (top, bottom) = (&self.peaks[0], &self.peaks[self.peaks.len() - 1]);
        let [left, right] = [bottom, top].map(|peak| peak.flops_per_s / self.read_bytes_per_s);
        [
            range(|point| point.place().0, left / 4.0, 40.0 * right),
            range(|point| point.place().1, giga(bottom.flops_per_s / 6.0), giga(1.4 * top.flops_per_s)),
        ]
    }
}

impl Point {
    fn place(self) -> (f64, f64) {
        (self.flops_per_byte, giga(self.flops_per_s))
    }
}

fn giga(value: f64) -> f64 {
    value / 1e9
}

/// 1, 2 and 5 times the powers of ten within a range.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let powers = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    // Divided, because 0.001 has no exact value to multiply by.
    let scaled = |power: i32, digit: f64| {
        if power < 0 { digit / 10_f64.powi(-power) } else { digit * 10_f64.powi(power) }
    };
    powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| scaled(power, digit))).filter(|x| range.contains(x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(ticks(&(0.3..25.0)), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]);
        assert_eq!(ticks(&(0.0009..0.0051)), [0.001, 0.002, 0.005]);
    }

    #[test]
    fn the_picture_has_its_ceilings_and_points() {
        let point = Point { flops_per_byte: 100.0, flops_per_s: 5e10 };
        let peak = |dtype, flops_per_s| Peak { dtype, flops_per_s };
        let products = Product::ALL.map(|product| LayerPoint { layer: "qkv".to_owned(), product, point });
        let roofline = Roofline {
            title: "a <model>".to_owned(),
            read_bytes_per_s: 2e10,
            peaks: vec![peak("bf16", 2e11), peak("f32", 1e11)],
            products: products.into(),
            stages: vec![StagePoint { name: "attention", point: Point { flops_per_byte: 0.5, flops_per_s: 3e9 } }],
            step: point,
        };
        let [x, y] = roofline.ranges();
        assert!(x.contains(&0.5) && y.contains(&3.0), "{x:?}, {y:?}");
        let svg = roofline.to_svg().unwrap();
        let parts = [
            "a &lt;model&gt;",
            "memory: 20.0 GB/s",
            "bf16 products: 200 GFLOP/s",
            "qkv",
            "weight gradient",
            "attention",
        ];
        for part in parts {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
    }
}
