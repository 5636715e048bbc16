//! How whole numbers of a Parquet column are written as text: some stand for dates, times or decimals.

use crate::calendar::date_of;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::schema::types::ColumnDescriptor;

/// What the whole numbers of a column stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Themselves.
    Plain,
    /// Days since 1970-01-01.
    Date,
    /// So many of these make a second since 1970-01-01.
    Timestamp {
        /// 1000 for milliseconds.
        per_second: i64,
    },
    /// The digits of a number with so many of them behind the point.
    Decimal {
        /// Digits behind the point.
        scale: u32,
    },
}

impl Spelling {
    pub(super) fn of(column: &ColumnDescriptor) -> Self {
        match (column.logical_type_ref(), column.converted_type()) {
            (Some(LogicalType::Date), _) | (None, ConvertedType::DATE) => Self::Date,
            (Some(LogicalType::Timestamp(timestamp)), _) => Self::Timestamp { per_second: per_second(timestamp.unit) },
            (None, ConvertedType::TIMESTAMP_MILLIS) => Self::Timestamp { per_second: 1_000 },
            (None, ConvertedType::TIMESTAMP_MICROS) => Self::Timestamp { per_second: 1_000_000 },
            (Some(LogicalType::Decimal(_)), _) | (None, ConvertedType::DECIMAL) => {
                Self::Decimal { scale: u32::try_from(column.type_scale()).unwrap_or(0).min(18) }
            }
            _ => Self::Plain,
        }
    }

    pub(super) fn spell(self, value: i64) -> Vec<u8> {
        let text = match self {
            Self::Plain => value.to_string(),
            Self::Date => date(value),
            Self::Timestamp { per_second } => timestamp(value, per_second),
            Self::Decimal { scale: 0 } => value.to_string(),
            Self::Decimal { scale } => {
                let (sign, unit) = (if value < 0 { "-" } else { "" }, 10_u64.pow(scale));
                let digits = value.unsigned_abs();
                format!("{sign}{}.{:0width$}", digits / unit, digits % unit, width = scale as usize)
            }
        };
        text.into_bytes()
    }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::MILLIS => 1_000,
        TimeUnit::MICROS => 1_000_000,
        TimeUnit::NANOS => 1_000_000_000,
    }
}

fn date(days: i64) -> String {
    let (year, month, day) = date_of(days);
    format!("{year:04}-{month:02}-{day:02}")
}

fn timestamp(value: i64, per_second: i64) -> String {
    let (seconds, fraction) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let clock = format!("{} {:02}:{:02}:{:02}", date(days), second / 3600, second / 60 % 60, second % 60);
    if fraction == 0 {
        return clock;
    }
    // Microseconds are as fine as dates are read.
    format!("{clock}.{:06}", fraction * 1_000_000 / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelt_as_what_they_stand_for() {
        let check = |spelling: Spelling, value, expect: &str| {
            assert_eq!(String::from_utf8(spelling.spell(value)).unwrap(), expect);
        };
        check(Spelling::Date, 19_782, "2024-02-29");
        check(Spelling::Timestamp { per_second: 1000 }, -1, "1969-12-31 23:59:59.999000");
        check(Spelling::Timestamp { per_second: 1_000_000_000 }, 86_400_000_000_000, "1970-01-02 00:00:00");
        check(Spelling::Decimal { scale: 2 }, -105, "-1.05");
        check(Spelling::Decimal { scale: 0 }, 7, "7");
        check(Spelling::Plain, i64::MIN, "-9223372036854775808");
    }
}
