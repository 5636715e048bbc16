//! On what and when something was measured.

use crate::machine;
use genera_data::calendar::date_of;
use serde::Serialize;
use std::fmt;
use std::time::SystemTime;

/// What tells a measurement from one of another machine, another day or another version of the program.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Origin {
    /// The name that the processor gives itself; `null` where the system does not tell.
    processor: Option<String>,
    /// Of the program.
    version: &'static str,
    /// Year, month and day, as in Greenwich.
    date: String,
}

impl Origin {
    /// This machine, now.
    pub(super) fn here() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            processor: machine::processor_name(),
            version: env!("CARGO_PKG_VERSION"),
            date: date(since_1970.as_secs()),
        }
    }
}

/// The date of a time in seconds since 1970.
fn date(seconds: u64) -> String {
    let (year, month, day) = date_of((seconds / 86_400) as i64);
    format!("{year}-{month:02}-{day:02}")
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, version, date } = self;
        if let Some(processor) = processor {
            write!(f, "{processor}, ")?;
        }
        write!(f, "genera {version}, {date}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_names_what_is_known() {
        assert_eq!(date(1_709_251_199), "2024-02-29");
        assert_eq!(date(1_709_251_200), "2024-03-01");
        let origin = |processor| Origin { processor, version: "1.2.3", date: date(0) }.to_string();
        assert_eq!(origin(Some("Some CPU".to_owned())), "Some CPU, genera 1.2.3, 1970-01-01");
        assert_eq!(origin(None), "genera 1.2.3, 1970-01-01");
    }
}
