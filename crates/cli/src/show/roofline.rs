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
    /// How fast memory is read and written at best, both counted.
    pub bytes_per_s: f64,
    /// What the last-level caches hold, where the system tells.
    pub last_level_cache_bytes: Option<usize>,
    /// Blocks whose forward pass is done again on the way back; that is traffic, and no arithmetic of the model.
    pub recomputed_blocks: usize,
    /// How fast large products are, the fastest first; at least one.
    pub peaks: Vec<Peak>,
    /// The products of the model's layers.
    pub products: Vec<LayerPoint>,
    /// What else takes time in a step.
    pub stages: Vec<StagePoint>,
    /// A whole training step.
    pub step: Measured,
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

/// A point, and what caches have to do with it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    #[serde(flatten)]
    pub point: Point,
    /// What it goes through at once.
    pub held_bytes: f64,
    /// `null` where all of the traffic may have gone to memory.
    pub cached: Option<Cached>,
}

/// Why traffic may be faster than memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cached {
    /// The last-level caches hold all that it goes through.
    Fits,
    /// It was faster than memory, so that caches gave a part of it.
    Partly,
}

/// A product of a layer.
#[derive(Debug, Serialize)]
pub struct LayerPoint {
    pub layer: String,
    pub product: Product,
    #[serde(flatten)]
    pub measured: Measured,
}

/// A part of a step that is no product of a layer.
#[derive(Debug, Serialize)]
pub struct StagePoint {
    pub name: Stage,
    #[serde(flatten)]
    pub measured: Measured,
}

/// Which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Attention,
    Optimizer,
}

impl Stage {
    /// Its name, also among the operations of a step.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Optimizer => "optimizer",
        }
    }

    fn mark(self) -> (Mark, RGBColor) {
        match self {
            Self::Attention => (Mark::Diamond, RGBColor(110, 0, 190)),
            Self::Optimizer => (Mark::Hourglass, RGBColor(0, 90, 30)),
        }
    }
}

impl Measured {
    /// A point below the line of memory, unless caches have to do with it.
    pub fn new(point: Point, held_bytes: f64, bytes_per_s: f64, last_level_cache_bytes: Option<usize>) -> Self {
        let fits = last_level_cache_bytes.is_some_and(|n_bytes| held_bytes <= n_bytes as f64);
        let is_above = point.flops_per_s > bytes_per_s * point.flops_per_byte;
        let cached = if fits { Some(Cached::Fits) } else { is_above.then_some(Cached::Partly) };
        Self { point, held_bytes, cached }
    }

    /// Its name in the legend.
    fn named(&self, name: &str) -> String {
        match self.cached {
            None => name.to_owned(),
            Some(Cached::Fits) => format!("{name} (fits in the cache)"),
            Some(Cached::Partly) => format!("{name} (partly cached)"),
        }
    }
}

/// The form of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Square,
    Disc,
    Triangle,
    Cross,
    Diamond,
    Hourglass,
    Star,
}

impl Mark {
    fn of(product: Product) -> Self {
        match product {
            Product::Forward => Self::Disc,
            Product::InputGradient => Self::Triangle,
            Product::WeightGradient => Self::Cross,
        }
    }

    /// Its corners around the middle.
    fn corners(self) -> &'static [(i32, i32)] {
        match self {
            // All at a distance of 5.
            #[rustfmt::skip]
            Self::Disc => &[
                (5, 0), (4, 3), (3, 4), (0, 5), (-3, 4), (-4, 3), (-5, 0), (-4, -3), (-3, -4), (0, -5), (3, -4), (4, -3),
            ],
            Self::Square => &[(-5, -5), (5, -5), (5, 5), (-5, 5)],
            Self::Triangle => &[(0, -7), (6, 4), (-6, 4)],
            #[rustfmt::skip]
            Self::Cross => &[
                (-6, -4), (-4, -6), (0, -2), (4, -6), (6, -4), (2, 0), (6, 4), (4, 6), (0, 2), (-4, 6), (-6, 4), (-2, 0),
            ],
            Self::Diamond => &[(0, -7), (7, 0), (0, 7), (-7, 0)],
            Self::Hourglass => &[(-6, -7), (6, -7), (1, 0), (6, 7), (-6, 7), (-1, 0)],
            Self::Star => &[(0, -9), (2, -3), (9, -3), (4, 2), (6, 9), (0, 5), (-6, 9), (-4, 2), (-9, -3), (-2, -3)],
        }
    }
    fn polygon(self, (x, y): (i32, i32), color: RGBColor) -> Polygon<(i32, i32)> {
        let corners: Vec<(i32, i32)> = self.corners().iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        Polygon::new(corners, color.filled())
    }
}

/// A line of the legend, with the points that it stands for.
struct Entry {
    name: String,
    mark: Mark,
    color: RGBColor,
    points: Vec<(Point, RGBColor)>,
}

/// Pixels of the plot, axes included, with what stands above it.
const PLOT: [i32; 2] = [660, 480];
/// Of the legend beside it: a line, a character, what stands before a name, and what is above it.
const LINE: i32 = 19;
const CHARACTER: i32 = 7;
const MARK: i32 = 30;
const TOP: i32 = 80;
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
        let entries = self.legend();
        let longest = entries.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0).min(100);
        let width = PLOT[0] + MARK + CHARACTER * longest as i32;
        let height = PLOT[1].max(TOP + LINE * (1 + entries.len() as i32));
        let root = SVGBackend::with_string(svg, (width as u32, height as u32)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut area = root.titled(&self.title, ("sans-serif", 18))?;
        for note in self.notes() {
            area = area.titled(&note, ("sans-serif", 12).into_font().color(&INK))?;
        }
        // Beside the plot it hides no point.
        let (left, right) = area.split_horizontally(PLOT[0]);
        let [x, y] = self.ranges().map(|range| range.clone().log_scale().with_key_points(ticks(&range)));
        let mut plot =
            ChartBuilder::on(&left).margin(12).x_label_area_size(46).y_label_area_size(64).build_cartesian_2d(x, y)?;
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
        let style = ("sans-serif", 13).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
        for (i, Entry { name, mark, color, points }) in entries.into_iter().enumerate() {
            let marked =
                |(point, color): (Point, RGBColor)| EmptyElement::at(point.place()) + mark.polygon((0, 0), color);
            plot.draw_series(points.into_iter().map(marked))?;
            let y = LINE * (1 + i as i32);
            right.draw(&mark.polygon((MARK / 2 - 3, y), color))?;
            right.draw(&Text::new(name, (MARK - 6, y), style.clone()))?;
        }
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
        let slope = |x: f64| (x, giga(self.bytes_per_s) * x);
        let ridge = |peak: &Peak| peak.flops_per_s / self.bytes_per_s;
        let top = ridge(&self.peaks[0]);
        plot.draw_series(LineSeries::new([slope(start), slope(top)], INK.stroke_width(2)))?;
        let memory = format!("memory: {:.1} GB/s", giga(self.bytes_per_s));
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

    /// A colour for each layer, a mark for each of its products, and both of its own for everything else.
    fn legend(&self) -> Vec<Entry> {
        let mut layers: Vec<&str> = self.products.iter().map(|mark| mark.layer.as_str()).collect();
        layers.dedup();
        // No model has so many sizes that they begin again.
        let colored = || layers.iter().copied().zip(COLORS.iter().copied().cycle());
        let of_layer = |(name, color): (&str, RGBColor)| Entry {
            name: name.to_owned(),
            mark: Mark::Square,
            color,
            points: Vec::new(),
        };
        let color = |layer: &str| colored().find(|(name, _)| *name == layer).map_or(INK, |(_, color)| color);
        let of_product = |product: Product| {
            let points = self.products.iter().filter(|mark| mark.product == product);
            let points = points.map(|mark| (mark.measured.point, color(&mark.layer))).collect();
            Entry { name: product.name().to_owned(), mark: Mark::of(product), color: INK, points }
        };
        let alone = |name: &str, (mark, color): (Mark, RGBColor), measured: &Measured| Entry {
            name: measured.named(name),
            mark,
            color,
            points: vec![(measured.point, color)],
        };
        let of_stage = |stage: &StagePoint| alone(stage.name.name(), stage.name.mark(), &stage.measured);
        let step = alone("whole step", (Mark::Star, INK), &self.step);
        let of_layers = colored().map(of_layer).chain(Product::ALL.map(of_product));
        of_layers.chain(self.stages.iter().map(of_stage)).chain([step]).collect()
    }

    /// What one must know to read the picture.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let products = self.products.iter().map(|mark| mark.measured);
        let mut all = products.chain(self.stages.iter().map(|stage| stage.measured)).chain([self.step]);
        if all.any(|measured| measured.cached.is_some()) {
            let cache = self
                .last_level_cache_bytes
                .map_or_else(String::new, |n| format!(" (last level: {})", number::bytes(n)));
            notes.push(format!(
                "What the cache{cache} holds, as often all that a product alone needs, may stand above the line of memory."
            ));
        }
        match self.recomputed_blocks {
            0 => {}
            n => notes.push(format!(
                "Computed again on the way back: {n} blocks. Their second forward pass counts as traffic and not as arithmetic."
            )),
        }
        notes
    }

    /// Ranges of x and y that show the ridges and every point.
    fn ranges(&self) -> [Range<f64>; 2] {
        let points = || {
            self.products
                .iter()
                .map(|mark| mark.measured.point)
                .chain(self.stages.iter().map(|stage| stage.measured.point))
                .chain([self.step.point])
        };
        let range = |of: fn(Point) -> f64, low: f64, high: f64| {
            let low = points().map(|point| of(point) / 1.5).fold(low, f64::min);
            low..points().map(|point| of(point) * 1.5).fold(high, f64::max)
        };
        let (top, bottom) = (&self.peaks[0], &self.peaks[self.peaks.len() - 1]);
        let [left, right] = [bottom, top].map(|peak| peak.flops_per_s / self.bytes_per_s);
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

    /// A picture with as many layers, whose points are all the same.
    fn roofline(n_layers: usize) -> Roofline {
        let point = Point { flops_per_byte: 100.0, flops_per_s: 5e10 };
        let peak = |dtype, flops_per_s| Peak { dtype, flops_per_s };
        let measured = Measured { point, held_bytes: 1e9, cached: None };
        let products = (0..n_layers)
            .flat_map(|i| Product::ALL.map(|product| LayerPoint { layer: format!("layer <{i}>"), product, measured }));
        let stage = |name, flops_per_byte| StagePoint {
            name,
            measured: Measured { point: Point { flops_per_byte, flops_per_s: 3e9 }, ..measured },
        };
        Roofline {
            title: "a <model>".to_owned(),
            bytes_per_s: 2e10,
            last_level_cache_bytes: Some(32 << 20),
            recomputed_blocks: 0,
            peaks: vec![peak("bf16", 2e11), peak("f32", 1e11)],
            products: products.collect(),
            stages: vec![stage(Stage::Attention, 0.5), stage(Stage::Optimizer, 0.7)],
            step: measured,
        }
    }

    #[test]
    fn the_picture_has_its_ceilings_and_points() {
        let mut roofline = roofline(1);
        let [x, y] = roofline.ranges();
        assert!(x.contains(&0.5) && y.contains(&3.0), "{x:?}, {y:?}");
        let svg = roofline.to_svg().unwrap();
        // Of the legend, and of the points: three products, two stages, the step.
        assert_eq!(svg.matches("<polygon").count(), roofline.legend().len() + 3 + 2 + 1, "{svg}");
        let parts = [
            "a &lt;model&gt;",
            "memory: 20.0 GB/s",
            "bf16 products: 200 GFLOP/s",
            "layer &lt;0&gt;",
            "weight gradient",
            "attention",
            "whole step",
        ];
        for part in parts {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
        assert!(!svg.contains("cache") && !svg.contains("Computed again"), "{svg}");
        roofline.stages[1].measured.cached = Some(Cached::Fits);
        roofline.step.cached = Some(Cached::Partly);
        roofline.recomputed_blocks = 3;
        let svg = roofline.to_svg().unwrap();
        let parts =
            ["optimizer (fits in the cache)", "whole step (partly cached)", "32.0 MiB", "Computed again", "3 blocks"];
        for part in parts {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
    }

    /// As many sizes as the largest models have, and everything else.
    #[test]
    fn no_two_lines_of_the_legend_look_alike() {
        let entries = roofline(COLORS.len()).legend();
        assert_eq!(entries.len(), 16 + 3 + 2 + 1);
        let distance = |a: RGBColor, b: RGBColor| {
            [(a.0, b.0), (a.1, b.1), (a.2, b.2)].map(|(a, b)| (f64::from(a) - f64::from(b)).powi(2)).iter().sum::<f64>()
        };
        for (i, a) in entries.iter().enumerate() {
            for b in &entries[i + 1..] {
                let is_apart = distance(a.color, b.color).sqrt() > 50.0;
                assert!(a.mark != b.mark || is_apart, "{} and {}: {:?}, {:?}", a.name, b.name, a.color, b.color);
            }
        }
        // What is no product has a mark and an ink that nothing else has.
        for (i, a) in entries.iter().enumerate().skip(16 + 3) {
            assert!(entries.iter().enumerate().all(|(j, b)| i == j || a.mark != b.mark), "{}", a.name);
        }
    }

    #[test]
    fn what_is_faster_than_memory_comes_from_a_cache() {
        let point = Point { flops_per_byte: 0.5, flops_per_s: 3e9 };
        let cached = |held, read, cache| Measured::new(point, held, read, cache).cached;
        assert_eq!(cached(1e9, 7e9, Some(1 << 20)), None);
        assert_eq!(cached(1e9, 5e9, Some(1 << 20)), Some(Cached::Partly));
        assert_eq!(cached(1e6, 7e9, Some(1 << 20)), Some(Cached::Fits));
        assert_eq!(cached(1e6, 7e9, None), None);
        assert_eq!(cached(1e6, 5e9, None), Some(Cached::Partly));
    }
}
