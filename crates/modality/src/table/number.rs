//! Numbers as whole numbers of grid steps.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

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
    /// Whether a comma stands for the point.
    #[serde(default, skip_serializing_if = "is_false")]
    pub comma: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A number with a comma for the point, with the point; `None` for what has no comma, several, or a point besides.
pub(super) fn without_comma(text: &str) -> Option<String> {
    let is_of_number = |byte: u8| byte.is_ascii_digit() || b"+-eE, \t".contains(&byte);
    let (whole, behind) = text.split_once(',')?;
    if behind.contains(',') || !text.bytes().all(is_of_number) {
        return None;
    }
    let number = format!("{whole}.{behind}");
    parse(&number).is_some().then_some(number)
}

/// Whether the comma of such a number cannot part thousands, as three digits behind it might.
pub(super) fn is_decimal_comma(text: &str) -> bool {
    text.trim().rsplit(',').next().is_some_and(|behind| behind.len() != 3)
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

    /// The number in a text, on the grid or beside it.
    pub(super) fn number(&self, text: &str) -> Option<f64> {
        parse(&self.with_point(text))
    }

    /// The number in a text as JSON writes it.
    pub(super) fn json(&self, text: &str) -> Option<Value> {
        let text = self.with_point(text);
        let whole = text.trim().parse::<i64>().ok().map(Value::from);
        whole.or_else(|| parse(&text).map(Value::from))
    }

    /// A number without its point, rounded to as many digits behind it as the format has.
    pub(super) fn scaled(&self, text: &str) -> Option<i64> {
        scaled(&self.with_point(text), self.decimals)
    }

    /// A number in text with a point, whatever the format writes.
    fn with_point<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let comma = if self.comma { without_comma(text) } else { None };
        comma.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// The code of a number in text; off the grid, the nearest.
    pub(super) fn code(&self, text: &str) -> Option<i64> {
        let along = self.scaled(text)?.saturating_sub(self.offset);
        Some(along.saturating_add((self.step / 2).saturating_mul(along.signum())) / self.step.max(1))
    }

    /// The codes next to a number in text, from below and from above: the same where a code stands for just that number.
    pub(super) fn around(&self, text: &str) -> Option<(i64, i64)> {
        let (below, is_exact) = scaled_exactly(&self.with_point(text), self.decimals)?;
        let (along, step) = (below - i128::from(self.offset), i128::from(self.step.max(1)));
        let code = along.div_euclid(step);
        Some(between(code, code + i128::from(!is_exact || along.rem_euclid(step) != 0)))
    }

    /// The number that a code stands for.
    pub(super) fn text(&self, code: i64) -> String {
        let scaled = i128::from(code) * i128::from(self.step) + i128::from(self.offset);
        let unit = 10_i128.pow(self.decimals.min(MAX_DECIMALS));
        let (sign, digits) = (if scaled < 0 { "-" } else { "" }, scaled.abs());
        if self.decimals == 0 {
            return format!("{sign}{digits}");
        }
        let point = if self.comma { ',' } else { '.' };
        let text = format!("{sign}{}{point}{:0width$}", digits / unit, digits % unit, width = self.decimals as usize);
        if self.padded { text } else { text.trim_end_matches('0').trim_end_matches(point).to_owned() }
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

/// Codes beyond this stand for nothing, and can be counted on without overflow.
const MOST: i128 = 1 << 62;

/// Two codes, brought into what codes can be.
pub(super) fn between(below: i128, above: i128) -> (i64, i64) {
    let code = |code: i128| code.clamp(-MOST, MOST) as i64;
    (code(below), code(above))
}

/// Significant digits of a number that are looked at one by one.
const MAX_DIGITS: usize = 30;

/// A number without its point, rounded down to so many digits behind it, and whether nothing was lost: without floats, in which
/// 0.29 is no hundredth.
fn scaled_exactly(text: &str, decimals: u32) -> Option<(i128, bool)> {
    parse(text)?;
    let text = text.trim();
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let behind = mantissa.split_once('.').map_or(0, |(_, behind)| behind.len() as i64);
    let mut shift = i64::from(decimals) - behind + exponent.parse::<i64>().ok()?;
    let (mut value, mut n_digits, mut is_exact) = (0_i128, 0, true);
    for digit in mantissa.bytes().filter(u8::is_ascii_digit).map(|byte| i128::from(byte - b'0')) {
        if n_digits < MAX_DIGITS {
            value = 10 * value + digit;
            n_digits += usize::from(value > 0);
        } else {
            shift += 1;
            is_exact &= digit == 0;
        }
    }
    let power = |places: i64| u32::try_from(places).ok().and_then(|places| 10_i128.checked_pow(places));
    if shift >= 0 {
        // Far beyond all codes the digits do not matter any more.
        let scaled = power(shift).and_then(|power| value.checked_mul(power));
        value = scaled.unwrap_or(if value == 0 { 0 } else { i128::MAX >> 1 });
    } else {
        let (whole, rest) = power(-shift).map_or((0, value), |power| (value / power, value % power));
        (value, is_exact) = (whole, is_exact && rest == 0);
    }
    let below = if mantissa.starts_with('-') { -value - i128::from(!is_exact) } else { value };
    Some((below, is_exact))
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
        let format = |decimals, padded, step, offset| NumberFormat { decimals, padded, step, offset, comma: false };
        check(format(2, true, 1, 0), "-12.50");
        check(format(2, false, 1, 0), "-12.5");
        check(format(1, true, 10, 0), "880.0");
        check(format(0, true, 50, 0), "-150");
        check(format(4, false, 1, 0), "8.3252");
        check(format(3, false, 1, 0), "-0.005");
        check(format(1, true, 10, 5), "-7.5");
        check(format(1, true, 10, 5), "880.5");
        let comma = |decimals, padded| NumberFormat { comma: true, ..format(decimals, padded, 1, 0) };
        check(comma(2, true), "-12,50");
        check(comma(2, false), "-12,5");
        check(comma(2, false), "1000");
        assert_eq!(comma(2, true).code("12.5"), comma(2, true).code("12,50"), "a person may write a point");
        assert_eq!((comma(2, true).code("1,2,3"), comma(2, true).code("1.000,5")), (None, None));
        assert_eq!(comma(1, true).around("0,25"), Some((2, 3)));
        assert_eq!(format(1, true, 10, 5).text(format(1, true, 10, 5).code("3.1").unwrap()), "3.5", "the nearest");
    }

    #[test]
    fn numbers_beside_the_grid_lie_between_two_codes() {
        let format = |decimals, step, offset| NumberFormat { decimals, padded: true, step, offset, comma: false };
        let check = |format: NumberFormat, text: &str, expect: (i64, i64)| {
            assert_eq!(format.around(text), Some(expect), "{text} {format:?}");
        };
        let whole = format(0, 1, 0);
        for (text, expect) in [
            ("30", (30, 30)),
            ("30.4", (30, 31)),
            ("-30.4", (-31, -30)),
            ("30.0000000000000000000000000000000001", (30, 31)),
            ("-0", (0, 0)),
            ("3e1", (30, 30)),
            ("305e-1", (30, 31)),
            ("1e-400000", (0, 1)),
            ("9007199254740993", (9_007_199_254_740_993, 9_007_199_254_740_993)),
        ] {
            check(whole.clone(), text, expect);
        }
        check(format(2, 1, 0), "0.29", (29, 29));
        check(format(1, 10, 5), "3.1", (2, 3));
        check(format(1, 10, 5), "3.5", (3, 3));
        check(format(0, 50, 0), "-149", (-3, -2));
        let far = whole.around("-1e300").unwrap();
        assert!(far.0 == far.1 && far.0 < i64::MIN / 4 && far.0.checked_sub(1).is_some());
        assert_eq!((whole.around("nan"), whole.around("")), (None, None));
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
