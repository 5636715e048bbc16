//! What published chat templates call beyond Jinja itself, as the Hugging Face library defines it.

use super::cost;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value};
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq};
use serde_json::ser::{Formatter, Serializer};
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest text that a single value becomes.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// Bytes of JSON for one unit of fuel: writing them costs about as much as four bytes of plain output.
const JSON_BYTES_PER_FUEL: usize = 16;
/// Widest indent of JSON, in bytes.
const MAX_INDENT: usize = 256;
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

/// The engine's filter `format`, by a name that no template can write.
pub(super) const ENGINES_FORMAT: &str = "engine's format";

/// A text with values in place of `%d` and `%(key)s`. The engine panics on letters beyond ASCII in a key.
pub(super) fn format(
    state: &mut State<'_, '_>,
    value: Value,
    values: Rest<Value>,
    keys: Kwargs,
) -> Result<Value, Error> {
    let text = value.as_str().unwrap_or_default();
    let is_foreign = |key: &str| !key.split(')').next().unwrap_or_default().is_ascii();
    if text.split("%(").skip(1).any(is_foreign) {
        let problem = "a key in '%(key)s' has letters beyond ASCII, which is not supported";
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    let has_keys = keys.args().next().is_some();
    let keys = has_keys.then(|| Value::from(keys));
    let arguments: Vec<Value> = std::iter::once(value).chain(values.0).chain(keys).collect();
    state.apply_filter(ENGINES_FORMAT, &arguments)
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

/// JSON as Python's `json.dumps(…, ensure_ascii=False)` writes it, or with the options of that call.
pub(super) fn tojson(state: &State<'_, '_>, value: Value, options: Kwargs) -> Result<Value, Error> {
    let mut out = Bounded::default();
    let formatter = Python::new(&options)?;
    let sorts = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut serializer = Serializer::with_formatter(&mut out, formatter);
    let written = if sorts { Sorted(&value).serialize(&mut serializer) } else { value.serialize(&mut serializer) };
    written.map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, "this value cannot be written as JSON").with_source(error)
    })?;
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

/// A value whose maps are written by the order of their keys. Who writes one has paid for it ([`cost`]), which bounds how
/// deep values hold each other.
struct Sorted<'v>(&'v Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let items = || self.0.try_iter().into_iter().flatten();
        match self.0.kind() {
            ValueKind::Map => {
                let mut keys: Vec<Value> = items().collect();
                keys.sort();
                let item = |key: Value| (self.0.get_item(&key).unwrap_or_default(), key);
                let mut map = serializer.serialize_map(Some(keys.len()))?;
                for (item, key) in keys.into_iter().map(item) {
                    map.serialize_entry(&key, &Sorted(&item))?;
                }
                map.end()
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let mut list = serializer.serialize_seq(None)?;
                items().try_for_each(|item| list.serialize_element(&Sorted(&item)))?;
                list.end()
            }
            _ => self.0.serialize(serializer),
        }
    }
}

/// What Python's `json.dumps` writes between the values.
struct Python {
    between_items: String,
    behind_key: String,
    /// Put before each item on a line of its own, once for each value around it.
    indent: Option<String>,
    is_ascii: bool,
    n_around: usize,
    is_empty: bool,
}

impl Python {
    fn new(options: &Kwargs) -> Result<Self, Error> {
        let wrong = |what: &str| Error::new(ErrorKind::InvalidOperation, format!("tojson expects {what}"));
        let given = |name: &str| -> Result<Option<Value>, Error> {
            let value: Option<Value> = options.get(name)?;
            Ok(value.filter(|value| !value.is_none() && !value.is_undefined()))
        };
        let indent = match given("indent")? {
            None => None,
            Some(text) if text.as_str().is_some_and(|text| text.len() <= MAX_INDENT) => Some(text.to_string()),
            Some(n) => {
                let n = i64::try_from(n).ok().filter(|&n| n <= MAX_INDENT as i64);
                let n = n.ok_or_else(|| wrong(&format!("an indent of at most {MAX_INDENT} spaces")))?;
                Some(" ".repeat(n.max(0) as usize))
            }
        };
        let separators = match given("separators")? {
            None => [if indent.is_some() { "," } else { ", " }, ": "].map(str::to_owned),
            Some(pair) => {
                let both: Vec<Value> = pair.try_iter()?.take(3).collect();
                let both = both.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                let both = both.and_then(|both| <[String; 2]>::try_from(both).ok());
                both.ok_or_else(|| wrong("two separators: what stands between items, and behind a key"))?
            }
        };
        let [between_items, behind_key] = separators;
        let is_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
        Ok(Self { between_items, behind_key, indent, is_ascii, n_around: 0, is_empty: true })
    }

    fn open<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.n_around += 1;
        self.is_empty = true;
        out.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.n_around -= 1;
        if !self.is_empty {
            self.begin_line(out)?;
        }
        self.is_empty = false;
        out.write_all(bracket)
    }

    fn begin_item<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(self.between_items.as_bytes())?;
        }
        self.is_empty = false;
        self.begin_line(out)
    }

    fn begin_line<W: ?Sized + Write>(&self, out: &mut W) -> io::Result<()> {
        let Some(indent) = &self.indent else { return Ok(()) };
        out.write_all(b"\n")?;
        (0..self.n_around).try_for_each(|_| out.write_all(indent.as_bytes()))
    }
}

impl Formatter for Python {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.begin_item(out, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.begin_item(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(self.behind_key.as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if !self.is_ascii {
            return out.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            if matches!(character, ' '..='~') {
                out.write_all(&[character as u8])?;
            } else {
                let units = character.encode_utf16(&mut [0; 2]).to_vec();
                units.into_iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
            }
        }
        Ok(())
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
