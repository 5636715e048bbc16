//! Dates and times as whole numbers.

use super::number::between;
use genera_data::calendar::{date_of, days_of};
use serde::{Deserialize, Serialize};

/// In which order a date is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DateOrder {
    YearMonthDay,
    DayMonthYear,
    MonthDayYear,
}

/// How the dates of a column are written, and on which grid they lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateFormat {
    pub(super) order: DateOrder,
    /// What stands between year, month and day.
    pub(super) separator: char,
    /// What stands between date and time, where there is a time.
    pub(super) time: Option<TimeFormat>,
    /// Distance of two neighbours on the grid: days, or with a time microseconds.
    pub(super) step: i64,
    /// Where the grid lies beside 1970-01-01, from 0 to below `step`: dates that are all Mondays.
    #[serde(default)]
    pub(super) offset: i64,
}

/// How the time of day is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TimeFormat {
    /// A blank or a T.
    pub(super) separator: char,
    /// Whether seconds are written.
    pub(super) has_seconds: bool,
    /// Digits behind the seconds' point.
    pub(super) decimals: u32,
    /// What stands behind: nothing, `Z`, `+00:00`.
    pub(super) zone: String,
}

const MICROSECONDS_A_DAY: i64 = 86_400_000_000;

impl DateFormat {
    /// Whether there is a time of day.
    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }

    /// The code of a date in text; off the grid, the one before.
    pub(super) fn code(&self, text: &str) -> Option<i64> {
        Some(self.scaled(text)?.saturating_sub(self.offset).div_euclid(self.step.max(1)))
    }

    /// The codes next to a date in text, from below and from above: the same where a code stands for just that date.
    pub(super) fn around(&self, text: &str) -> Option<(i64, i64)> {
        let (along, step) = (i128::from(self.scaled(text)?) - i128::from(self.offset), i128::from(self.step.max(1)));
        let code = along.div_euclid(step);
        Some(between(code, code + i128::from(along.rem_euclid(step) != 0)))
    }

    /// Days or microseconds since 1970-01-01.
    pub(super) fn scaled(&self, text: &str) -> Option<i64> {
        let text = text.trim();
        let Some(time) = &self.time else { return self.days(text) };
        let (date, clock) = text.split_once(time.separator)?;
        let clock = clock.strip_suffix(time.zone.as_str())?;
        let days = self.days(date)?;
        Some(days * MICROSECONDS_A_DAY + microseconds(clock)?)
    }

    fn days(&self, text: &str) -> Option<i64> {
        let mut parts = text.split(self.separator);
        let mut next = || parts.next().filter(|part| part.len() <= 4).and_then(number);
        let (a, b, c) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return None;
        }
        match self.order {
            DateOrder::YearMonthDay => days_of(a.into(), b, c),
            DateOrder::DayMonthYear => days_of(c.into(), b, a),
            DateOrder::MonthDayYear => days_of(c.into(), a, b),
        }
    }

    /// The date that a code stands for.
    pub(super) fn text(&self, code: i64) -> String {
        let scaled = code.saturating_mul(self.step).saturating_add(self.offset);
        match &self.time {
            None => self.date_text(scaled),
            Some(time) => {
                let date = self.date_text(scaled.div_euclid(MICROSECONDS_A_DAY));
                format!("{date}{}{}", time.separator, time.text(scaled.rem_euclid(MICROSECONDS_A_DAY)))
            }
        }
    }

    fn date_text(&self, days: i64) -> String {
        let (year, month, day) = date_of(days);
        let separator = self.separator;
        match self.order {
            DateOrder::YearMonthDay => format!("{year:04}{separator}{month:02}{separator}{day:02}"),
            DateOrder::DayMonthYear => format!("{day:02}{separator}{month:02}{separator}{year:04}"),
            DateOrder::MonthDayYear => format!("{month:02}{separator}{day:02}{separator}{year:04}"),
        }
    }

    /// Days since 1970-01-01, to be compared with others.
    pub fn value(&self, code: i64) -> f64 {
        let scaled = code as f64 * self.step as f64 + self.offset as f64;
        if self.has_time() { scaled / MICROSECONDS_A_DAY as f64 } else { scaled }
    }
}

impl TimeFormat {
    fn text(&self, microseconds: i64) -> String {
        let (second, fraction) = (microseconds / 1_000_000, microseconds % 1_000_000);
        let mut text = format!("{:02}:{:02}", second / 3600, second / 60 % 60);
        if self.has_seconds {
            text += &format!(":{:02}", second % 60);
        }
        if self.decimals > 0 {
            let digits = format!("{fraction:06}");
            text += &format!(".{}", &digits[..self.decimals.min(6) as usize]);
        }
        text + &self.zone
    }
}

/// A whole number of nothing but digits.
fn number(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) { None } else { text.parse().ok() }
}

/// Microseconds since midnight of a time such as 12:30, 12:30:59 or 12:30:59.250.
fn microseconds(clock: &str) -> Option<i64> {
    let mut parts = clock.split(':');
    let (hour, minute) = (number(parts.next()?)?, number(parts.next()?)?);
    let (second, fraction) = match parts.next() {
        None => (0, 0),
        Some(second) => {
            let (whole, behind) = second.split_once('.').unwrap_or((second, ""));
            (number(whole)?, fraction(behind)?)
        }
    };
    let is_time = hour < 24 && minute < 60 && second < 60 && parts.next().is_none();
    is_time.then(|| (i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second)) * 1_000_000 + fraction)
}

/// Microseconds of the digits behind the seconds' point; finer ones are cut off.
fn fraction(behind: &str) -> Option<i64> {
    if !behind.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = behind.chars().chain("000000".chars()).take(6).collect();
    digits.parse().ok()
}

/// The formats that a text may be written in.
pub(super) fn formats_of(text: &str) -> Vec<DateFormat> {
    let text = text.trim();
    if !text.is_ascii() || !(8..=40).contains(&text.len()) {
        return Vec::new();
    }
    let date = text.find([' ', 'T']).map_or(text, |end| &text[..end]);
    let Some(separator) = date.chars().find(|c| !c.is_ascii_digit()).filter(|c| "-/.".contains(*c)) else {
        return Vec::new();
    };
    let time = if date.len() == text.len() { None } else { time_format(&text[date.len()..]) };
    if time.is_none() && date.len() < text.len() {
        return Vec::new();
    }
    let of = |order| DateFormat { order, separator, time: time.clone(), step: 1, offset: 0 };
    // Day before month stands first: where both read all values, that is what most of the world writes.
    let all = [DateOrder::YearMonthDay, DateOrder::DayMonthYear, DateOrder::MonthDayYear].map(of);
    let is_exact = |format: &DateFormat| format.scaled(text).is_some_and(|scaled| format.text(scaled) == text);
    all.into_iter().filter(is_exact).collect()
}

/// The format of what stands behind a date, such as ` 12:30` or `T12:30:59.25Z`.
fn time_format(text: &str) -> Option<TimeFormat> {
    let separator = text.chars().next()?;
    let rest = &text[1..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(end);
    if !["", "Z", "+00:00", "+0000", " UTC"].contains(&zone) {
        return None;
    }
    let decimals = clock.split_once('.').map_or(0, |(_, behind)| behind.len() as u32);
    let has_seconds = clock.matches(':').count() == 2;
    Some(TimeFormat { separator, has_seconds, decimals, zone: zone.to_owned() }).filter(|time| time.decimals <= 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_recognised_and_come_back() {
        for text in [
            "2024-02-29",
            "29.02.2024",
            "02/29/2024",
            "1969-12-31 23:59",
            "2024-02-29T12:30:59Z",
            "2024-02-29 12:30:59.250",
            "2024/02/29 00:00:00+00:00",
        ] {
            let formats = formats_of(text);
            assert!(!formats.is_empty(), "{text}");
            for format in formats {
                assert_eq!(format.text(format.code(text).unwrap()), text);
            }
        }
        assert_eq!(formats_of("03/04/2024").len(), 2, "either order");
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in ["", "2024", "2023-02-29", "2024-13-01", "1.2.2024", "12:30", "2024-02-29 25:00", "2024-02-29 noon"]
        {
            assert!(formats_of(text).is_empty(), "{text}");
        }
        let format = &formats_of("2024-02-29")[0];
        for text in ["2024-02", "2024-02-29-1", "99999-01-01", "2024-2x-29", "٢٠٢٤-02-29"] {
            assert_eq!(format.code(text), None, "{text}");
        }
    }
}
