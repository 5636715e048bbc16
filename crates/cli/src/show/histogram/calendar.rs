//! Bins of hours, days, weeks, months and years.

use super::{Bin, Bins, MOST_BARS};
use genera_data::calendar::{date_of, days_of};

/// What a bin is so many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Minute,
    Day,
    Month,
}

/// Lengths of bins with a time of day, then without.
const TIMES: [(Unit, i64); 8] = [
    (Unit::Minute, 1),
    (Unit::Minute, 5),
    (Unit::Minute, 15),
    (Unit::Minute, 30),
    (Unit::Minute, 60),
    (Unit::Minute, 180),
    (Unit::Minute, 360),
    (Unit::Minute, 720),
];
const DATES: [(Unit, i64); 14] = [
    (Unit::Day, 1),
    (Unit::Day, 7),
    (Unit::Month, 1),
    (Unit::Month, 3),
    (Unit::Month, 6),
    (Unit::Month, 12),
    (Unit::Month, 24),
    (Unit::Month, 60),
    (Unit::Month, 120),
    (Unit::Month, 240),
    (Unit::Month, 600),
    (Unit::Month, 1200),
    (Unit::Month, 2400),
    (Unit::Month, 6000),
];

const MINUTES_A_DAY: i64 = 1440;

/// A Monday, with which weeks begin.
const MONDAY: i64 = 4;

/// The first day of the year 0 and the last one of the year 9999.
const CALENDAR: [f64; 2] = [-719_528.0, 2_932_896.0];

/// Bins over a range of days, of a length that suits these values.
pub(super) fn bins(mut values: impl Iterator<Item = f64>, range: [f64; 2]) -> Bins {
    let [low, high] = range.map(|day| day.clamp(CALENDAR[0], CALENDAR[1]));
    let times: &[(Unit, i64)] = if values.all(|day| day.fract() == 0.0) { &[] } else { &TIMES };
    let fits = |(unit, n): &&(Unit, i64)| unit.place(high, *n) - unit.place(low, *n) < MOST_BARS;
    // All years from 0 to 9999 are twenty of these.
    let (unit, n) = times.iter().chain(&DATES).find(fits).copied().unwrap_or((Unit::Month, 6000));
    let (first, last) = (unit.place(low, n), unit.place(high, n));
    let bin = |place: i64| {
        let first = unit.origin() + place * n;
        let ends = [unit.text(first, n), unit.text(first + n - 1, n)];
        Bin { start: unit.start(first), label: ends[0].clone(), ends }
    };
    Bins {
        bins: (first..=last).map(bin).collect(),
        end: unit.start(unit.origin() + (last + 1) * n),
        note: unit.note(n),
    }
}

impl Unit {
    /// A unit with which a bin may begin.
    fn origin(self) -> i64 {
        if self == Self::Day { MONDAY } else { 0 }
    }

    /// The bin of `n` units that a day lies in, counted from the origin.
    fn place(self, day: f64, n: i64) -> i64 {
        (self.of(day) - self.origin()).div_euclid(n)
    }

    /// The unit that a day lies in; months are counted from the year 0, all others from 1970-01-01.
    fn of(self, day: f64) -> i64 {
        match self {
            // A third of a day is not exact.
            Self::Minute => (day * MINUTES_A_DAY as f64 + 1e-6).floor() as i64,
            Self::Day => day.floor() as i64,
            Self::Month => {
                let (year, month, _) = date_of(day.floor() as i64);
                12 * year + i64::from(month) - 1
            }
        }
    }

    /// The day with which a unit begins.
    fn start(self, unit: i64) -> f64 {
        match self {
            Self::Minute => unit as f64 / MINUTES_A_DAY as f64,
            Self::Day => unit as f64,
            Self::Month => {
                let (year, month) = (unit.div_euclid(12), unit.rem_euclid(12) as u32 + 1);
                days_of(year, month, 1).map_or(CALENDAR[1] + 1.0, |day| day as f64)
            }
        }
    }

    /// How a unit is written in bins of `n`.
    fn text(self, unit: i64, n: i64) -> String {
        let date = |day: i64| {
            let (year, month, day) = date_of(day);
            format!("{year:04}-{month:02}-{day:02}")
        };
        match self {
            Self::Minute => {
                let minute = unit.rem_euclid(MINUTES_A_DAY);
                format!("{} {:02}:{:02}", date(unit.div_euclid(MINUTES_A_DAY)), minute / 60, minute % 60)
            }
            Self::Day => date(unit),
            Self::Month if n % 12 == 0 => format!("{:04}", unit.div_euclid(12)),
            Self::Month => format!("{:04}-{:02}", unit.div_euclid(12), unit.rem_euclid(12) + 1),
        }
    }

    fn note(self, n: i64) -> String {
        let (n, name) = match self {
            Self::Minute if n % 60 == 0 => (n / 60, "hour"),
            Self::Minute => (n, "minute"),
            Self::Day => (n, "day"),
            Self::Month if n % 12 == 0 => (n / 12, "year"),
            Self::Month => (n, "month"),
        };
        if n == 1 { format!("each bar spans one {name}") } else { format!("each bar spans {n} {name}s") }
    }
}
