//! What a column holds, found out from its cells or as a person says.

use super::column::{Bin, Column, Kind};
use super::date::{DateFormat, formats_of};
use super::number::{MAX_DECIMALS, NumberFormat, grid, scaled, without_comma};
use super::settings::{TableSettings, Type, settings};
use super::statistics::{MAX_DISTINCT, Statistics, start_of};
use genera_data::Result;

/// A column in which so many cells or more are all distinct names its rows.
const LEAST_IDS: u64 = 100;

/// Categories that get a token of their own.
const OWN_CATEGORIES: usize = 1024;

/// Values of a number that are told apart at most: with its digits behind the point, the range has no more steps.
const MAX_STEPS: f64 = 1e9;

/// Cells that one bin should hold on average at least.
const CELLS_PER_BIN: u64 = 20;

/// What is written for whatever is rare.
const OTHER: &str = "(rare)";

/// The column of this name with these cells.
///
/// # Errors
/// When it cannot hold what a person says that it holds.
pub(super) fn column(name: &str, cells: &Statistics, wanted: Option<Type>, table: &TableSettings) -> Result<Column> {
    let missing = (cells.n_missing > 0).then(|| cells.missing.clone().unwrap_or_default());
    let of = |kind, bins| Column { name: name.to_owned(), kind, bins, missing: missing.clone() };
    if cells.n_present == 0 {
        return Ok(of(Kind::Empty, Vec::new()));
    }
    let cannot = |what: &str| {
        settings(format!(
            "table.types: column {name:?} cannot be {what}: it holds for example {:?}",
            example(cells, what)
        ))
    };
    let number = || number(cells).map(|format| numeric(Kind::Number(format), cells, table, of));
    let date = || date(cells).map(|format| numeric(Kind::Date(format), cells, table, of));
    let category = || category(cells, table).map(|(kind, bins)| of(kind, bins));
    let id = || of(Kind::Id { pattern: pattern(cells) }, Vec::new());
    match wanted {
        Some(Type::Number) => number().ok_or_else(|| cannot("a number")),
        Some(Type::Integer) => number().filter(is_whole).ok_or_else(|| cannot("an integer")),
        Some(Type::Date) => date().ok_or_else(|| cannot("a date")),
        Some(Type::Boolean) if cells.n_distinct() > 2 => Err(cannot("a truth value")),
        Some(Type::Category | Type::Boolean) => category().ok_or_else(|| {
            settings(format!(
                "table.types: column {name:?} has more than {MAX_DISTINCT} distinct values, too many categories"
            ))
        }),
        Some(Type::Id) => Ok(id()),
        None => Ok(match () {
            () if cells.n_distinct() == 1 && missing.is_none() => {
                of(Kind::Constant { value: cells.sample[0].clone() }, Vec::new())
            }
            () if names_rows(name, cells) => id(),
            () => number().or_else(date).or_else(category).unwrap_or_else(id),
        }),
    }
}

fn is_whole(column: &Column) -> bool {
    matches!(&column.kind, Kind::Number(format) if format.is_whole())
}

/// A cell that shows why a column is not what it is said to be.
fn example(cells: &Statistics, what: &str) -> String {
    let is_number = |text: &&String| scaled(text, 0).is_some() || without_comma(text).is_some();
    let shows =
        cells.sample.iter().find(|text| !(what.contains("number") || what.contains("integer")) || !is_number(text));
    shows.or(cells.sample.first()).cloned().unwrap_or_default()
}

/// Whether a column is there to tell rows apart: all distinct, and no measurement.
fn names_rows(name: &str, cells: &Statistics) -> bool {
    let is_distinct = match &cells.counts {
        Some(counts) => counts.len() as u64 == cells.n_present,
        // Too many to be categories.
        None => cells.numbers().is_none() && date(cells).is_none() || is_key(name),
    };
    if !is_distinct || cells.n_present < LEAST_IDS {
        return false;
    }
    if let Some((numbers, _)) = cells.numbers() {
        let is_dense = numbers.max - numbers.min < 2.0 * cells.n_present as f64;
        return numbers.max_decimals == 0 && (is_dense || is_key(name));
    }
    date(cells).is_none()
}

/// Whether a name says that the column names rows.
fn is_key(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    ["id", "key", "uuid", "guid", "index"]
        .iter()
        .any(|end| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with(['_', '-', ' ', '.'])))
}

/// How the numbers are written; `None` when not all cells are numbers that can be told apart.
fn number(cells: &Statistics) -> Option<NumberFormat> {
    let (numbers, comma) = cells.numbers()?;
    let range = (numbers.max - numbers.min).max(f64::MIN_POSITIVE);
    let reach = numbers.max.abs().max(numbers.min.abs()).max(f64::MIN_POSITIVE);
    // A range of 10 has room for 8 digits behind the point; a number of 10^6, for 9.
    let room = (MAX_STEPS / range).log10().min((super::number::MAX_SCALED / reach).log10()).floor();
    if room < 0.0 && (super::number::MAX_SCALED / reach) < 1.0 {
        return None;
    }
    let decimals = numbers.max_decimals.min(MAX_DECIMALS).min(room.clamp(0.0, f64::from(MAX_DECIMALS)) as u32);
    let padded = numbers.min_decimals == numbers.max_decimals;
    let format = NumberFormat { decimals, padded, step: 1, offset: 0, comma };
    let weighted = cells.weighted();
    let (step, offset) = grid(weighted.iter().filter_map(|(text, _)| format.scaled(text)));
    Some(NumberFormat { step, offset, ..format })
}

/// How the dates are written; `None` when one format does not read all.
fn date(cells: &Statistics) -> Option<DateFormat> {
    let weighted = cells.weighted();
    let formats = formats_of(weighted.first()?.0);
    let reads_all = |format: &DateFormat| weighted.iter().all(|(text, _)| format.scaled(text).is_some());
    let format = formats.into_iter().find(reads_all)?;
    let (step, offset) = grid(weighted.iter().filter_map(|(text, _)| format.scaled(text)));
    Some(DateFormat { step, offset, ..format })
}

/// A column whose codes have an order, cut into bins of about equally many cells.
fn numeric(kind: Kind, cells: &Statistics, table: &TableSettings, of: impl Fn(Kind, Vec<Bin>) -> Column) -> Column {
    let column = of(kind, Vec::new());
    let weighted = cells.weighted();
    let mut codes: Vec<(i64, u64)> =
        weighted.into_iter().filter_map(|(text, count)| Some((column.code(text)?, count))).collect();
    // Beyond the sample lie the extremes.
    if let (None, Some((numbers, _))) = (&cells.counts, cells.numbers()) {
        let ends = [numbers.min, numbers.max];
        codes.extend(ends.iter().filter_map(|end| Some((column.code(&format!("{end}"))?, 1))));
    }
    codes.sort_unstable();
    codes.dedup_by(|later, earlier| {
        let is_same = later.0 == earlier.0;
        earlier.1 += if is_same { later.1 } else { 0 };
        is_same
    });
    without_extremes(&mut codes, table.protect_rare as u64);
    let n: u64 = codes.iter().map(|(_, count)| count).sum();
    let n_bins = (n / CELLS_PER_BIN).clamp(8, table.n_bins.max(1) as u64);
    Column { bins: quantiles(&codes, n_bins), ..column }
}

/// Makes the least values that fewer than `least` cells have together one value, and the greatest as well.
fn without_extremes(codes: &mut Vec<(i64, u64)>, least: u64) {
    for _ in 0..2 {
        while codes.len() > 1 && codes[0].1 < least {
            let (_, count) = codes.remove(0);
            codes[0].1 += count;
        }
        codes.reverse();
    }
}

/// Cuts codes in ascending order into about `n_bins` bins. A frequent code has a bin of its own, and where there are no more
/// codes than bins, each has.
fn quantiles(codes: &[(i64, u64)], n_bins: u64) -> Vec<Bin> {
    let bin = |low, high| Bin { low, high };
    if codes.len() as u64 <= n_bins {
        return codes.iter().map(|&(code, _)| bin(code, code)).collect();
    }
    let n: u64 = codes.iter().map(|(_, count)| count).sum();
    let share = n.div_ceil(n_bins).max(1);
    let (mut bins, mut open, mut n_open): (Vec<Bin>, Option<Bin>, u64) = (Vec::new(), None, 0);
    for &(code, count) in codes {
        if count >= share {
            bins.extend(open.take());
            bins.push(bin(code, code));
            n_open = 0;
            continue;
        }
        open = Some(bin(open.map_or(code, |open| open.low), code));
        n_open += count;
        if n_open >= share {
            bins.extend(open.take());
            n_open = 0;
        }
    }
    bins.extend(open);
    bins
}

/// The texts, the most frequent first; `None` when they are too many.
fn category(cells: &Statistics, table: &TableSettings) -> Option<(Kind, Vec<Bin>)> {
    let mut counted: Vec<(&str, u64)> = cells.counts.as_ref().map(|_| cells.weighted())?;
    counted.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let n_all = counted.len();
    counted.retain(|&(_, count)| count >= table.protect_rare as u64);
    let has_other = counted.len() < n_all;
    let mut values: Vec<String> = counted.iter().map(|(value, _)| (*value).to_owned()).collect();
    if has_other {
        values.push(OTHER.to_owned());
    }
    let n_own = values.len().min(OWN_CATEGORIES) as i64;
    let mut bins: Vec<Bin> = (0..n_own).map(|code| Bin { low: code, high: code }).collect();
    if n_own < values.len() as i64 {
        bins.push(Bin { low: n_own, high: values.len() as i64 - 1 });
    }
    Some((Kind::Category { values, has_other }, bins))
}

/// The most frequent form of the cells that name rows.
fn pattern(cells: &Statistics) -> String {
    let mut forms = std::collections::BTreeMap::<String, usize>::new();
    for text in cells.sample.iter().take(10_000) {
        *forms.entry(form(text)).or_default() += 1;
    }
    let best = forms.into_iter().max_by_key(|(form, n)| (*n, std::cmp::Reverse(form.clone())));
    let form = best.map_or_else(String::new, |(form, _)| form);
    // The beginning that all cells share stays as it is.
    let first = cells.sample.first().map_or("", String::as_str);
    let shared = cells
        .sample
        .iter()
        .fold(first.len(), |n, text| first.bytes().zip(text.bytes()).take(n).take_while(|(a, b)| a == b).count());
    let shared = start_of(first, shared).trim_end_matches(|c: char| c.is_ascii_digit());
    let n_shared = shared.chars().count();
    let own: String = shared.chars().flat_map(|c| ['\\', c]).collect();
    let rest: String = units(&form).skip(n_shared).flatten().collect();
    own + &rest
}

/// A text with `9` for each digit, `a` and `A` for letters, and a backslash before anything else.
fn form(text: &str) -> String {
    let one = |c: char| match c {
        '0'..='9' => [Some('9'), None],
        'a'..='z' => [Some('a'), None],
        'A'..='Z' => [Some('A'), None],
        other => [Some('\\'), Some(other)],
    };
    text.chars().take(64).flat_map(one).flatten().collect()
}

/// The places of a pattern, each with the backslash before it.
fn units(pattern: &str) -> impl Iterator<Item = Vec<char>> {
    let mut characters = pattern.chars();
    std::iter::from_fn(move || match characters.next()? {
        '\\' => Some(std::iter::once('\\').chain(characters.next()).collect()),
        other => Some(vec![other]),
    })
}

/// Text number `i` of a pattern: its open places count up, and more digits stand behind it when they do not suffice.
pub(super) fn id_text(pattern: &str, i: u64) -> String {
    let mut rest = i;
    let mut places: Vec<Vec<char>> = units(pattern).collect();
    for place in places.iter_mut().rev() {
        let (base, first) = match place[0] {
            '9' => (10, '0'),
            'a' => (26, 'a'),
            'A' => (26, 'A'),
            _ => continue,
        };
        *place = vec![char::from(first as u8 + (rest % base) as u8)];
        rest /= base;
    }
    let plain = |place: Vec<char>| if place[0] == '\\' { place.get(1).copied() } else { Some(place[0]) };
    let text: String = places.into_iter().filter_map(plain).collect();
    if rest > 0 { format!("{text}-{rest}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(name: &str, cells: &[String], settings: &TableSettings) -> Column {
        let mut statistics = Statistics::new(1);
        cells.iter().for_each(|cell| statistics.add(cell));
        column(name, &statistics, None, settings).unwrap()
    }

    fn check(name: &str, cells: impl IntoIterator<Item = String>, expect: &str) -> Column {
        let column = infer(name, &cells.into_iter().collect::<Vec<_>>(), &TableSettings::default());
        assert_eq!(column.describe(), expect);
        column
    }

    #[test]
    fn kinds_are_found_out() {
        check("a", (0..200).map(|i| (i % 90).to_string()), "whole numbers, 0 to 89");
        check("a", (0..200).map(|i| format!("{}.0", i % 90)), "whole numbers, 0.0 to 89.0");
        check(
            "a",
            (0..200).map(|i| format!("{:.2}", i as f64 / 7.0)),
            "numbers, 0.00 to 28.43, 2 digits behind the point",
        );
        check(
            "a",
            (0..200).map(|i| format!("{:.2}", i as f64 / 7.0).replace('.', ",")),
            "numbers, 0,00 to 28,43, 2 digits behind the point",
        );
        // Commas that may part thousands.
        check("a", (0..200).map(|i| format!("1,{:03}", i % 90)), "90 categories");
        check("a", (0..200).map(|i| ["yes", "no"][i % 2].to_owned()), "truth values, no or yes");
        check("a", (0..200).map(|i| ["x", "y", "NA"][i % 3].to_owned()), "2 categories, with gaps");
        check("a", (0..200).map(|i| format!("2024-01-{:02}", i % 28 + 1)), "dates, 2024-01-01 to 2024-01-28");
        check("a", (0..200).map(|i| format!("C-{i:05}")), "names rows, not learned: new ones like \"C-00000\"");
        check("id", (0..200).map(|i| (1000 * i).to_string()), "names rows, not learned: new ones like \"000000\"");
        check("a", (0..200).map(|_| "same".to_owned()), "always \"same\"");
        check("a", (0..200).map(|_| String::new()), "always missing");
        check("a", (0..9).map(|i| format!("person {i}")), "9 categories");
        check("a", (0..200).map(|i| format!("1e{i}")), "200 categories");
    }

    #[test]
    fn frequent_values_have_bins_of_their_own() {
        let cells: Vec<String> =
            (0..10_000).map(|i| if i % 2 == 0 { "0".into() } else { (i * 7).to_string() }).collect();
        let column = infer("a", &cells, &TableSettings::default());
        assert_eq!(column.bins[0], Bin { low: 0, high: 0 });
        assert!((60..=70).contains(&column.bins.len()), "{}", column.bins.len());
    }

    #[test]
    fn the_rare_is_merged_on_demand() {
        let table = TableSettings { protect_rare: 5, ..TableSettings::default() };
        let cells: Vec<String> =
            (0..300).map(|i| if i == 7 { "secret".into() } else { ["x", "y"][i % 2].into() }).collect();
        let column = infer("a", &cells, &table);
        assert_eq!(column.describe(), "3 categories, the last for all rare ones");
        assert_eq!(column.text(column.code("secret").unwrap()), OTHER);
        assert!(!format!("{column:?}").contains("secret"));
        let cells: Vec<String> = (0..300).map(|i| if i == 7 { "9999".into() } else { (i % 30).to_string() }).collect();
        assert_eq!(infer("a", &cells, &table).describe(), "whole numbers, 0 to 29");
    }

    #[test]
    fn ids_are_distinct() {
        let all: std::collections::HashSet<String> = (0..20_000).map(|i| id_text("\\C9a", i)).collect();
        assert_eq!(all.len(), 20_000);
        assert_eq!(id_text("\\C9a", 27), "C1b");
        assert_eq!(id_text("", 3), "-3");
        assert_eq!(id_text("\\", 0), "");
    }
}
