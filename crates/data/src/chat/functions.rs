//! What published chat templates call beyond Jinja itself, as the Hugging Face library defines it.

use super::cost;
use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Output, State, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest text that a single value becomes.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// Bytes of JSON for one unit of fuel: writing them costs about as much as four bytes of plain output.
const JSON_BYTES_PER_FUEL: usize = 16;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// What a template says when it refuses the messages, as by `raise_exception`.
#[derive(Debug)]
pub(super) struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// Ends the rendering with the template's own words.
pub(super) fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "refused").with_source(Refusal(message.to_owned())))
}

/// Prints a value. One that holds another twice, which holds another twice, … is as small as its text is endless, so that
/// the text is bounded while it is written.
pub(super) fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.as_str().is_some() || value.as_object().is_none() {
        return write!(out, "{value}").map_err(Error::from);
    }
    let _ = cost::pay(state, value)?;
    out.write_str(&text_of(value)?).map_err(Error::from)
}

/// The text of a value, as the filter `string` gives it.
pub(super) fn string(value: Value) -> Result<Value, Error> {
    if value.as_str().is_some() { Ok(value) } else { text_of(&value).map(Value::from) }
}

/// What Python's methods give, paid for where the engine counts less than they do.
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match name {
            "split" => cost::parts(state, text, arguments.first().and_then(Value::as_str))?,
            "splitlines" => cost::parts(state, text, Some("\n"))?,
            "format" => cost::format(state, text, arguments)?,
            _ => {}
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)
}

/// The parts of a text, as the engine's filter gives them.
pub(super) fn split(
    state: &State<'_, '_>,
    value: Value,
    separator: Option<Arc<str>>,
    n_max: Option<i64>,
) -> Result<Value, Error> {
    cost::parts(state, value.as_str().unwrap_or_default(), separator.as_deref())?;
    minijinja::filters::split(&value, separator, n_max)
}

/// The lines of a text.
pub(super) fn lines(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    cost::parts(state, value.as_str().unwrap_or_default(), Some("\n"))?;
    minijinja::filters::lines(&value)
}

/// Letters or items from the last to the first.
pub(super) fn reverse(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.chars().rev().collect::<String>().into());
    }
    let mut items = cost::copied(state, &value)?;
    items.reverse();
    Ok(items.into())
}

/// The items of a list as one text.
pub(super) fn join(list: Value, between: Option<String>) -> Result<Value, Error> {
    let (mut text, between) = (String::new(), between.unwrap_or_default());
    for (i, item) in list.try_iter()?.enumerate() {
        text += if i > 0 { between.as_str() } else { "" };
        text += &text_of(&item)?;
        if text.len() > MAX_TEXT_BYTES {
            return Err(too_long());
        }
    }
    Ok(text.into())
}

fn text_of(value: &Value) -> Result<String, Error> {
    let mut out = Bounded::default();
    write!(out, "{value}").map_err(|_| too_long())?;
    Ok(String::from_utf8_lossy(&out.0).into_owned())
}

fn too_long() -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("a value takes more than {MAX_TEXT_BYTES} bytes as text"))
}

/// JSON as Python's `json.dumps(…, ensure_ascii=False)` writes it.
pub(super) fn tojson(state: &State<'_, '_>, value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // The other options of `json.dumps` change nothing for what templates write.
    for name in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(name)?;
    }
    options.assert_all_used()?;
    let failed = |error: serde_json::Error| {
        Error::new(ErrorKind::InvalidOperation, "this value cannot be written as JSON").with_source(error)
    };
    let mut out = Bounded::default();
    match indent {
        Some(n) => {
            let spaces = " ".repeat(n.min(16));
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut out, formatter)).map_err(failed)?;
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut out, Spaced)).map_err(failed)?,
    }
    state.consume_fuel((out.0.len() / JSON_BYTES_PER_FUEL) as u64)?;
    Ok(String::from_utf8_lossy(&out.0).into_owned().into())
}

/// Takes a bounded number of bytes: a value that holds another one twice, which holds another one twice, … has no end.
#[derive(Default)]
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT_BYTES {
            return Err(io::Error::other(format!("it takes more than {MAX_TEXT_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A space after every comma and colon, as Python writes.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// A time in UTC by the codes of C's `strftime`; codes that no template uses stay as they are.
pub(super) fn strftime(time: SystemTime, format: &str) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (n_days, of_day) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let (year, month, day) = date(n_days);
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[(n_days % 7) as usize]);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let hour12 = (hour + 11) % 12 + 1;
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        match rest.next() {
            Some('Y') => text += &year.to_string(),
            Some('y') => text += &format!("{:02}", year % 100),
            Some('m') => text += &format!("{month:02}"),
            Some('d') => text += &format!("{day:02}"),
            Some('e') => text += &format!("{day:2}"),
            Some('B') => text += month_name,
            Some('b' | 'h') => text += &month_name[..3],
            Some('A') => text += day_name,
            Some('a') => text += &day_name[..3],
            Some('H') => text += &format!("{hour:02}"),
            Some('I') => text += &format!("{hour12:02}"),
            Some('p') => text += if hour < 12 { "AM" } else { "PM" },
            Some('M') => text += &format!("{minute:02}"),
            Some('S') => text += &format!("{second:02}"),
            Some('F') => text += &format!("{year}-{month:02}-{day:02}"),
            Some('T') => text += &format!("{hour:02}:{minute:02}:{second:02}"),
            Some('z') => text += "+0000",
            Some('Z') => text += "UTC",
            Some('%') | None => text.push('%'),
            Some(other) => text.extend(['%', other]),
        }
    }
    text
}

/// Year, month and day of a number of days since 1970.
///
/// # Source
/// Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`: years that begin in March, in eras of
/// 400 years.
fn date(n_days: u64) -> (u64, u64, u64) {
    let shifted = n_days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_python_writes_them() {
        let check = |seconds: u64, format: &str, expect: &str| {
            assert_eq!(strftime(UNIX_EPOCH + Duration::from_secs(seconds), format), expect);
        };
        check(0, "%d %b %Y %A", "01 Jan 1970 Thursday");
        check(1_721_952_000, "%d %b %Y", "26 Jul 2024");
        check(951_827_696, "%Y-%m-%d %H:%M:%S %a", "2000-02-29 12:34:56 Tue");
        check(951_827_696, "%I %p %B %e %y %% %q %", "12 PM February 29 00 % %q %");
        check(4_107_542_399, "%F %T", "2100-02-28 23:59:59");
    }
}
