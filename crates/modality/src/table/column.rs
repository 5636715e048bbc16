//! One column: what it holds, and how a value becomes a few tokens and back.
//!
//! Whatever the column holds, a value is a whole number, its *code*: the place of a category in the list, the number of grid
//! steps of a number or a date. Codes are cut into bins that each have a token; inside of a bin, base-32 digits say where.

use super::date::DateFormat;
use super::infer::id_text;
use super::number::NumberFormat;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Base of the digits that say where in its bin a value lies.
pub(super) const BASE: u64 = 32;

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Kind {
    /// Numbers on a grid.
    Number(NumberFormat),
    /// Dates or times on a grid.
    Date(DateFormat),
    /// One of a few texts, the most frequent first. Truth values are categories too.
    Category {
        /// The texts as they stand in the file.
        values: Vec<String>,
        /// Whether the last one stands for whatever is not listed: rare ones, which are not to be told apart.
        #[serde(default)]
        has_other: bool,
    },
    /// Always the same text.
    Constant {
        /// The text.
        value: String,
    },
    /// A text that names a row and is never learned: new ones are made by its pattern.
    Id {
        /// A frequent form, in which `9` stands for a digit, `a` and `A` for letters, and what is behind `\` for itself.
        pattern: String,
    },
    /// Always missing.
    Empty,
}

/// A stretch of codes with a token of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// Its first code.
    pub low: i64,
    /// Its last code.
    pub high: i64,
}

impl Bin {
    /// Number of codes in it.
    pub fn width(self) -> u64 {
        self.high.abs_diff(self.low).saturating_add(1)
    }

    /// Number of digits that tell its codes apart.
    pub fn n_digits(self) -> u32 {
        let (mut n, mut reach) = (0, 1_u64);
        while reach < self.width() {
            n += 1;
            reach = reach.saturating_mul(BASE);
        }
        n
    }

    /// The digits of a code in it, the highest first.
    pub fn digits(self, code: i64) -> impl Iterator<Item = u64> {
        let offset = code.clamp(self.low, self.high).abs_diff(self.low);
        (0..self.n_digits()).rev().map(move |place| offset / BASE.pow(place) % BASE)
    }

    /// The codes that begin with these digits; empty when there are none.
    pub fn narrowed(self, digits: &[u64]) -> Option<Bin> {
        let n_left = self.n_digits().checked_sub(digits.len() as u32)?;
        let start = digits.iter().try_fold(0_u64, |sum, &digit| sum.checked_mul(BASE)?.checked_add(digit))?;
        let unit = BASE.checked_pow(n_left)?;
        let start = start.checked_mul(unit)?;
        if start >= self.width() {
            return None;
        }
        let end = (start + unit - 1).min(self.width() - 1);
        Some(Bin { low: self.low + start as i64, high: self.low + end as i64 })
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// The stretches of codes, in ascending order, not overlapping; none where nothing is learned.
    pub bins: Vec<Bin>,
    /// How a missing value is written, where any was missing.
    pub missing: Option<String>,
}

/// Characters of a constant that are shown.
const MOST_SHOWN: usize = 40;

/// How pandas and with it most tools write a missing value.
const MISSING: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Whether a cell is a gap.
pub fn is_missing(text: &str) -> bool {
    MISSING.contains(&text.trim())
}

impl Column {
    /// Whether its values are written as tokens; the others are the same in each row, or made by a pattern.
    pub fn is_learned(&self) -> bool {
        !self.bins.is_empty()
    }

    /// The number of its tokens: its own, the bins', the missing value's, and the digits'.
    pub(super) fn n_tokens(&self) -> usize {
        if !self.is_learned() {
            return 0;
        }
        1 + self.bins.len() + usize::from(self.missing.is_some()) + BASE as usize * self.n_digit_places()
    }

    /// Most digits of any of its bins.
    pub(super) fn n_digit_places(&self) -> usize {
        self.bins.iter().map(|bin| bin.n_digits()).max().unwrap_or(0) as usize
    }

    /// The longest that a value with its column's token can be.
    pub(super) fn max_len(&self) -> usize {
        if self.is_learned() { 2 + self.n_digit_places() } else { 0 }
    }

    /// The code of a cell that is not missing; `None` when it is nothing that the column can hold.
    pub fn code(&self, text: &str) -> Option<i64> {
        match &self.kind {
            Kind::Number(format) => format.code(text),
            Kind::Date(format) => format.code(text),
            Kind::Category { values, has_other } => {
                position(values, text).or_else(|| has_other.then(|| values.len() as i64 - 1))
            }
            Kind::Constant { .. } | Kind::Id { .. } | Kind::Empty => None,
        }
    }

    /// The codes next to a value in text, from below and from above: the same where a code stands for just that value. `None` for
    /// what is no value of the column's kind, or has no order.
    pub(super) fn around(&self, text: &str) -> Option<(i64, i64)> {
        match &self.kind {
            Kind::Number(format) => format.around(text),
            Kind::Date(format) => format.around(text),
            Kind::Category { .. } | Kind::Constant { .. } | Kind::Id { .. } | Kind::Empty => None,
        }
    }

    /// The greatest code up to this one that the column holds, and the least from that one on.
    pub(super) fn held_around(&self, below: i64, above: i64) -> [Option<i64>; 2] {
        let lower = self.bins.iter().rev().find(|bin| bin.low <= below).map(|bin| below.min(bin.high));
        let higher = self.bins.iter().find(|bin| bin.high >= above).map(|bin| above.max(bin.low));
        [lower, higher]
    }

    /// The cell that a code stands for.
    pub fn text(&self, code: i64) -> String {
        match &self.kind {
            Kind::Number(format) => format.text(code),
            Kind::Date(format) => format.text(code),
            Kind::Category { values, .. } => {
                usize::try_from(code).ok().and_then(|code| values.get(code)).cloned().unwrap_or_default()
            }
            Kind::Constant { value } => value.clone(),
            Kind::Id { .. } | Kind::Empty => String::new(),
        }
    }

    /// The bin in which a code lies, or the nearest to it.
    pub(super) fn nearest_bin(&self, code: i64) -> usize {
        let after = self.bins.partition_point(|bin| bin.high < code);
        let Some(bin) = self.bins.get(after) else { return self.bins.len().saturating_sub(1) };
        let before = after.checked_sub(1).map(|before| code.abs_diff(self.bins[before].high));
        if bin.low <= code || before.is_none_or(|distance| distance > code.abs_diff(bin.low)) {
            after
        } else {
            after - 1
        }
    }

    /// Whether the column can hold just this value: between two that it held counts as well, what is rare does not.
    pub fn knows(&self, text: &str) -> bool {
        super::condition::code(self, text).is_some()
    }

    /// The number that a cell holds, off the grid as well: of dates the days since 1970-01-01. `None` where it holds none.
    pub fn number(&self, text: &str) -> Option<f64> {
        match &self.kind {
            Kind::Number(format) => format.number(text),
            _ => self.code(text).map(|code| self.value(code)),
        }
    }

    /// A cell as JSON has it: numbers and truth values as such, gaps as null, all else as text.
    pub fn json(&self, text: &str) -> Value {
        if is_missing(text) || self.missing.as_deref() == Some(text) {
            return Value::Null;
        }
        let value = match &self.kind {
            Kind::Number(format) => format.json(text),
            Kind::Category { values, .. } if values.iter().all(|value| truth(value).is_some()) => {
                truth(text).map(Value::from)
            }
            _ => None,
        };
        value.unwrap_or_else(|| Value::from(text))
    }

    /// The smallest and the largest code.
    pub fn range(&self) -> Option<(i64, i64)> {
        Some((self.bins.first()?.low, self.bins.last()?.high))
    }

    /// What a code stands for, as a number that can be compared: of dates the days since 1970-01-01.
    pub fn value(&self, code: i64) -> f64 {
        match &self.kind {
            Kind::Number(format) => format.value(code),
            Kind::Date(format) => format.value(code),
            _ => code as f64,
        }
    }

    /// Whether its codes have the order of its values, so that they can be compared.
    pub fn is_ordered(&self) -> bool {
        matches!(self.kind, Kind::Number(_) | Kind::Date(_))
    }

    /// In a few words, for people.
    pub fn describe(&self) -> String {
        let missing = if self.missing.is_some() { ", with gaps" } else { "" };
        let range = || {
            self.range().map_or_else(String::new, |(low, high)| format!("{} to {}", self.text(low), self.text(high)))
        };
        let what = match &self.kind {
            Kind::Number(format) if format.is_whole() => format!("whole numbers, {}", range()),
            Kind::Number(format) => format!("numbers, {}, {} digits behind the point", range(), format.decimals),
            Kind::Date(format) if format.has_time() => format!("times, {}", range()),
            Kind::Date(_) => format!("dates, {}", range()),
            Kind::Category { values, .. } if is_truth(values) => format!("truth values, {}", values.join(" or ")),
            Kind::Category { values, has_other: false } if values.len() == 1 => "1 category".to_owned(),
            Kind::Category { values, has_other: false } => format!("{} categories", values.len()),
            Kind::Category { values, has_other: true } => {
                format!("{} categories, the last for all rare ones", values.len())
            }
            Kind::Constant { value } => match value.char_indices().nth(MOST_SHOWN) {
                Some((end, _)) => format!("always {:?}…", &value[..end]),
                None => format!("always {value:?}"),
            },
            Kind::Id { pattern } => format!("names rows, not learned: new ones like {:?}", id_text(pattern, 0)),
            Kind::Empty => return "always missing".to_owned(),
        };
        format!("{what}{missing}")
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Where a text stands in a list; white space around it does not matter.
fn position(values: &[String], text: &str) -> Option<i64> {
    let exact = values.iter().position(|value| value == text);
    let near = || values.iter().position(|value| value.trim() == text.trim());
    exact.or_else(near).map(|place| place as i64)
}

fn is_truth(values: &[String]) -> bool {
    let is_one = |value: &String| {
        ["true", "false", "yes", "no", "t", "f", "y", "n"].contains(&value.trim().to_ascii_lowercase().as_str())
    };
    values.len() == 2 && values.iter().all(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_values_in_json() {
        let format = |decimals, comma| NumberFormat { decimals, padded: true, step: 1, offset: 0, comma };
        let of = |kind, text: &str| {
            let column = Column { name: "a".to_owned(), kind, bins: Vec::new(), missing: Some("-".to_owned()) };
            column.json(text).to_string()
        };
        assert_eq!(of(Kind::Number(format(0, false)), " -30"), "-30");
        assert_eq!(of(Kind::Number(format(2, false)), "1.50"), "1.5");
        assert_eq!(of(Kind::Number(format(2, false)), "+.5"), "0.5");
        assert_eq!(of(Kind::Number(format(2, true)), "1,50"), "1.5");
        assert_eq!(of(Kind::Number(format(2, true)), "abc"), "\"abc\"");
        assert_eq!([of(Kind::Empty, "-"), of(Kind::Empty, "NA"), of(Kind::Empty, "")], ["null"; 3]);
        let category =
            |values: [&str; 2]| Kind::Category { values: values.map(str::to_owned).to_vec(), has_other: false };
        assert_eq!(of(category(["True", "false"]), "True"), "true");
        assert_eq!(of(category(["true", "maybe"]), "true"), "\"true\"");
        assert_eq!(of(category(["1", "2"]), "2"), "\"2\"");
    }

    #[test]
    fn digits_tell_the_codes_of_a_bin_apart() {
        for width in [1, 2, 31, 32, 33, 1024, 1025, 40_000] {
            let bin = Bin { low: -7, high: -7 + width - 1 };
            assert_eq!(bin.width(), width as u64);
            for code in [bin.low, bin.low + width / 2, bin.high] {
                let digits: Vec<u64> = bin.digits(code).collect();
                assert_eq!(digits.len() as u32, bin.n_digits());
                assert_eq!(bin.narrowed(&digits), Some(Bin { low: code, high: code }), "{width}");
                for n in 0..digits.len() {
                    let wide = bin.narrowed(&digits[..n]).unwrap();
                    assert!(wide.low <= code && code <= wide.high);
                }
            }
        }
        assert_eq!(Bin { low: 0, high: 39 }.narrowed(&[1, 8]), None, "40 is beyond the bin");
        assert_eq!(Bin { low: 0, high: 39 }.narrowed(&[0, 0, 0]), None, "no such digit");
        assert_eq!(Bin { low: i64::MIN, high: i64::MAX }.width(), u64::MAX);
    }

    #[test]
    fn the_nearest_bin_takes_what_lies_in_none() {
        let bins = [(0, 4), (10, 10), (20, 30)].map(|(low, high)| Bin { low, high }).to_vec();
        let column = Column { name: String::new(), kind: Kind::Empty, bins, missing: None };
        for (code, expect) in [(-5, 0), (4, 0), (6, 0), (8, 1), (10, 1), (14, 1), (16, 2), (99, 2)] {
            assert_eq!(column.nearest_bin(code), expect, "{code}");
        }
    }
}
