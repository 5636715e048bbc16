//! Numbers as whole numbers of grid steps.

use serde::{Deserialize, Serialize};

/// How the numbers of a column are written, and on which grid they lie: code · step + offset is the number without its point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberFormat {
    /// Digits behind the point.
    pub decimals: u32,
    /// Whether zeros at the end are written.
    pub padded: bool,
    /// Distance of two neighbours on the grid, in units of the last digit.
    pub step: i64,
    /// Where the grid lies beside zero, from 0 to below `step`, in units of the last digit.
    #[serde(default)]
    pub offset: i64,
}

/// The widest grid on which all of some whole numbers lie: its step, and where it lies beside zero.
pub(super) fn grid(values: impl Iterator<Item = i64> + Clone) -> (i64, i64) {
    let Some(first) = values.clone().next() else { return (1, 0) };
    let step = values.fold(0, |step, value| greatest_common_divisor(step, value.saturating_sub(first)));
    // A single value is a multiple of itself.
    if step == 0 { (first.saturating_abs().max(1), 0) } else { (step, first.rem_euclid(step)) }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.saturating_abs(), b.saturating_abs());
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Numbers beyond this are not whole in a float.
pub(super) const MAX_SCALED: f64 = 9_007_199_254_740_992.0;

/// Most digits behind the point that are told apart.
pub(super) const MAX_DECIMALS: u32 = 12;

impl NumberFormat {
    /// Whether none has digits behind the point.
    pub fn is_whole(&self) -> bool {
        let unit = 10_i64.pow(self.decimals.min(MAX_DECIMALS));
        self.step % unit == 0 && self.offset % unit == 0
    }

    /// The code of a number in text; off the grid, the nearest.
    pub(super) fn code(&self, text: &str) -> Option<i64> {
        let along = scaled(text, self.decimals)?.saturating_sub(self.offset);
        Some(along.saturating_add((self.step / 2).saturating_mul(along.signum())) / self.step.max(1))
    }

    /// The number that a code stands for.
    pub(super) fn text(&self, code: i64) -> String {
        let scaled = i128::from(code) * i128::from(self.step) + i128::from(self.offset);
        let unit = 10_i128.pow(self.decimals.min(MAX_DECIMALS));
        let (sign, digits) = (if scaled < 0 { "-" } else { "" }, scaled.abs());
        if self.decimals == 0 {
            return format!("{sign}{digits}");
        }
        let text = format!("{sign}{}.{:0width$}", digits / unit, digits % unit, width = self.decimals as usize);
        if self.padded { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
    }

    /// The number that a code stands for, to be compared with others.
    pub fn value(&self, code: i64) -> f64 {
        (code as f64 * self.step as f64 + self.offset as f64) / 10_f64.powi(self.decimals as i32)
    }
}

/// A finite number in text, as floats are written.
pub(super) fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    // Words such as "inf" and "nan" are numbers to Rust.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if is_number { text.parse().ok().filter(|value: &f64| value.is_finite()) } else { None }
}

/// A number without its point, rounded to so many digits behind it.
pub(super) fn scaled(text: &str, decimals: u32) -> Option<i64> {
    let scaled = (parse(text)? * 10_f64.powi(decimals as i32)).round();
    (scaled.abs() <= MAX_SCALED).then_some(scaled as i64)
}

/// How many digits stand behind the point of a number in text; an exponent moves the point.
pub(super) fn decimals_of(text: &str) -> u32 {
    let (mantissa, exponent) = match text.trim().split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().unwrap_or(0_i64)),
        None => (text.trim(), 0),
    };
    let behind = mantissa.split_once('.').map_or(0, |(_, behind)| behind.len() as i64);
    behind.saturating_sub(exponent).clamp(0, 400) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were_written() {
        let check = |format: NumberFormat, text: &str| {
            assert_eq!(format.text(format.code(text).unwrap()), text, "{format:?}");
        };
        let format = |decimals, padded, step, offset| NumberFormat { decimals, padded, step, offset };
        check(format(2, true, 1, 0), "-12.50");
        check(format(2, false, 1, 0), "-12.5");
        check(format(1, true, 10, 0), "880.0");
        check(format(0, true, 50, 0), "-150");
        check(format(4, false, 1, 0), "8.3252");
        check(format(3, false, 1, 0), "-0.005");
        check(format(1, true, 10, 5), "-7.5");
        check(format(1, true, 10, 5), "880.5");
        assert_eq!(format(1, true, 10, 5).text(format(1, true, 10, 5).code("3.1").unwrap()), "3.5", "the nearest");
    }

    #[test]
    fn grids_may_lie_beside_zero() {
        let of = |values: &[i64]| grid(values.iter().copied());
        assert_eq!(of(&[5, 15, -25]), (10, 5));
        assert_eq!(of(&[880, -20]), (900, 880));
        assert_eq!(of(&[0, 100, 150]), (50, 0));
        assert_eq!((of(&[7, 7]), of(&[0]), of(&[])), ((7, 0), (1, 0), (1, 0)));
        assert_eq!(of(&[i64::MIN, i64::MAX]).0, i64::MAX, "far ends do not overflow");
    }

    #[test]
    fn what_is_no_number_has_no_code() {
        for text in ["", "nan", "inf", "-inf", "1,5", "12a", "0x10", "1e400", "--1", "."] {
            assert_eq!(scaled(text, 2), None, "{text:?}");
        }
        assert_eq!(scaled("1e300", 0), None, "beyond what a float tells apart");
        assert_eq!(scaled(" 1e2 ", 1), Some(1000));
    }

    #[test]
    fn digits_behind_the_point_are_counted() {
        for (text, expect) in [("1", 0), ("1.50", 2), ("1.5e-3", 4), ("1.5e3", 0), ("1e-400000", 400)] {
            assert_eq!(decimals_of(text), expect, "{text}");
        }
    }
}
