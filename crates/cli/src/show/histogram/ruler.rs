//! Bins of numbers, of round width.

use super::{Bin, Bins, MOST_BARS};

/// Digits behind the point that numbers on a grid have at most.
const MOST_DECIMALS: i32 = 6;

/// Whole numbers up to this are exact.
const EXACT: f64 = (1_i64 << 53) as f64;

/// Bins over a range, of a width that suits these values.
pub(super) fn bins(values: impl Iterator<Item = f64> + Clone, range: [f64; 2]) -> Bins {
    let grid = (0..=MOST_DECIMALS).find_map(|decimals| Ruler::of_grid(values.clone(), decimals));
    grid.unwrap_or_else(|| Ruler::of_range(range)).bins(range)
}

/// Measures numbers in units of a power of ten.
struct Ruler {
    /// Units that make 1.
    power: f64,
    /// Digits behind the point of a unit.
    decimals: usize,
    /// A value in units from which the others are multiples of `spacing` away.
    origin: i64,
    spacing: i64,
    /// Whether values lie on units alone.
    is_grid: bool,
}

impl Ruler {
    /// For numbers with at most so many digits behind the point; `None` when there are others, or no number.
    fn of_grid(mut values: impl Iterator<Item = f64>, decimals: i32) -> Option<Self> {
        let power = 10_f64.powi(decimals);
        let units = |value: f64| {
            let (scaled, rounded) = (value * power, (value * power).round());
            ((scaled - rounded).abs() < 1e-5 && rounded.abs() <= EXACT).then_some(rounded as i64)
        };
        let first = units(values.next()?)?;
        let spacing = values.try_fold(0, |spacing, value| Some(divisor(spacing, units(value)?.abs_diff(first))))?;
        let spacing = i64::try_from(spacing).ok()?.max(1);
        Some(Self { power, decimals: decimals as usize, origin: first.rem_euclid(spacing), spacing, is_grid: true })
    }

    /// For numbers anywhere in a range.
    fn of_range([low, high]: [f64; 2]) -> Self {
        // Finer bins than the second would have names that cannot be told apart.
        let width = ((high - low) / MOST_BARS as f64).max(1e-9 * low.abs().max(high.abs())).max(1e-300);
        let decimals = -width.log10().floor() as i32;
        Self { power: 10_f64.powi(decimals), decimals: decimals.max(0) as usize, origin: 0, spacing: 1, is_grid: false }
    }

    fn bins(&self, range: [f64; 2]) -> Bins {
        let [first, last] = self.units(range);
        let width = self.width(first, last);
        let place = |unit: i64| (unit - self.origin).div_euclid(width);
        let start = |place: i64| self.origin + place * width;
        Bins {
            bins: (place(first)..=place(last)).map(|place| self.bin(start(place), width)).collect(),
            end: self.edge(start(place(last) + 1)),
            note: String::new(),
        }
    }

    /// The first and the last unit that a range reaches.
    fn units(&self, [low, high]: [f64; 2]) -> [i64; 2] {
        let exact = |units: f64| units.clamp(-EXACT, EXACT) as i64;
        let (low, high) = (low * self.power, high * self.power);
        if self.is_grid {
            return [exact(low.round()), exact(high.round())];
        }
        let first = exact(low.floor());
        [first, (exact(high.ceil()) - 1).max(first)]
    }

    /// The least round width of a bin in units with which there are not too many.
    fn width(&self, first: i64, last: i64) -> i64 {
        let steps = (0..18).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_i64.pow(power)));
        let place = |unit: i64, width: i64| (unit - self.origin).div_euclid(width);
        let fits = |width: &i64| place(last, *width) - place(first, *width) < MOST_BARS;
        steps.map(|step| self.spacing.saturating_mul(step)).find(fits).unwrap_or(i64::MAX)
    }

    fn bin(&self, first: i64, width: i64) -> Bin {
        // Between numbers with many digits a bin is named by where the next one begins.
        let is_coarse = self.decimals > 0 && width / self.spacing >= 10;
        let last = first + width - i64::from(self.is_grid && !is_coarse);
        let ends = [self.text(first), self.text(last)];
        Bin { start: self.edge(first), label: label(&ends), ends }
    }

    /// Where a bin begins: on a grid half a unit before its first value, which may be a little off.
    fn edge(&self, first: i64) -> f64 {
        if self.is_grid { (first as f64 - 0.5) / self.power } else { first as f64 / self.power }
    }

    fn text(&self, units: i64) -> String {
        let value = units as f64 / self.power;
        if self.decimals > 9 || value.abs() >= 1e15 {
            return format!("{value:.3e}");
        }
        let text = format!("{value:.*}", self.decimals);
        if self.decimals == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
    }
}

/// The name of a bin by its ends, so short that it can stand below it.
fn label([first, last]: &[String; 2]) -> String {
    match format!("{first} to {last}") {
        _ if first == last => first.clone(),
        label if label.chars().count() > 18 => format!("from {first}"),
        label => label,
    }
}

/// The greatest common divisor.
fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
