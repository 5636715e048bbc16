//! Numbers as whole numbers of grid steps.

use serde::{Deserialize, Serialize};

/// How the numbers of a column are written, and on which grid they lie: code · step is the number without its point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberFormat {
    /// Digits behind the point.
    pub decimals: u32,
    /// Whether zeros at the end are written.
    pub padded: bool,
    /// Distance of two neighbours on the grid, in units of the last digit.
    pub step: i64,
}

/// Numbers beyond this are not whole in a float.
pub(super) const MAX_SCALED: f64 = 9_007_199_254_740_992.0;

/// Most digits behind the point that are told apart.
pub(super) const MAX_DECIMALS: u32 = 12;

impl NumberFormat {
    /// Whether none has digits behind the point.
    pub fn is_whole(&self) -> bool {
        self.decimals == 0 || self.step % 10_i64.pow(self.decimals.min(MAX_DECIMALS)) == 0
    }

    /// The code of a number in text; off the grid, the nearest.
    pub(super) fn code(&self, text: &str) -> Option<i64> {
        let scaled = scaled(text, self.decimals)?;
        Some((scaled + (self.step / 2) * scaled.signum()) / self.step.max(1))
    }

    /// The number that a code stands for.
    pub(super) fn text(&self, code: i64) -> String {
        let scaled = i128::from(code) * i128::from(self.step);
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
        code as f64 * self.step as f64 / 10_f64.powi(self.decimals as i32)
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
        check(NumberFormat { decimals: 2, padded: true, step: 1 }, "-12.50");
        check(NumberFormat { decimals: 2, padded: false, step: 1 }, "-12.5");
        check(NumberFormat { decimals: 1, padded: true, step: 10 }, "880.0");
        check(NumberFormat { decimals: 0, padded: true, step: 50 }, "-150");
        check(NumberFormat { decimals: 4, padded: false, step: 1 }, "8.3252");
        check(NumberFormat { decimals: 3, padded: false, step: 1 }, "-0.005");
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
