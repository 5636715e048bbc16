//! What a person says beforehand that a column may hold, so that nothing of it is found out from the rows.

use super::column::{Bin, Column, Kind};
use super::date::{DateFormat, formats_of};
use super::number::{MAX_DECIMALS, NumberFormat, decimals_of, is_decimal_comma, parse, without_comma};
use super::settings::{TableSettings, find, settings};
use genera_data::Result;

/// Most values that are listed for a column.
const MAX_VALUES: usize = 1024;

/// What stands for a gap among the values.
const GAP: &str = "missing";

/// The declared columns, `None` for those of which nothing is said.
///
/// # Errors
/// When a declaration names no column, or holds no range and no list of values.
pub(super) fn columns(table: &TableSettings) -> Result<Vec<Option<Column>>> {
    let mut columns = vec![None; table.columns.len()];
    for text in &table.domains {
        let (place, wanted) = split(table, text)?;
        columns[place] = Some(column(&table.columns[place], wanted, table.n_bins, text)?);
    }
    Ok(columns)
}

/// The column that a declaration is about, by the longest name that fits, and what is said of it.
fn split<'t>(table: &TableSettings, text: &'t str) -> Result<(usize, &'t str)> {
    let mut equals = text.match_indices('=').map(|(i, _)| i);
    let fits = |&i: &usize| table.columns.iter().any(|name| name.trim() == text[..i].trim());
    let wrong =
        || settings(format!("table.domains: {text:?} is not of the form \"column = LOW..HIGH\" or \"column = A | B\""));
    let first = text.find('=').ok_or_else(wrong)?;
    let place = equals.rfind(fits).unwrap_or(first);
    Ok((find(&table.columns, &text[..place], "table.domains")?, &text[place + 1..]))
}

fn column(name: &str, wanted: &str, n_bins: usize, text: &str) -> Result<Column> {
    let parts: Vec<&str> = wanted.split('|').map(unquoted).collect();
    let has_gap = parts.contains(&GAP);
    let values: Vec<&str> = parts.into_iter().filter(|part| *part != GAP).collect();
    let wrong = |problem: &str| settings(format!("table.domains: {text:?} {problem}"));
    let of = |kind, bins| Column { name: name.to_owned(), kind, bins, missing: has_gap.then(String::new) };
    if let [range] = values.as_slice()
        && let Some((low, high)) = range.split_once("..")
    {
        let kind = ordered(low.trim(), high.trim()).ok_or_else(|| wrong("has no range of two numbers or two dates"))?;
        let column = of(kind, Vec::new());
        let ends = column.code(low).zip(column.code(high)).filter(|(low, high)| low <= high);
        let (low, high) = ends.ok_or_else(|| wrong("has a range that ends before it begins, or reaches too far"))?;
        return Ok(Column { bins: even(low, high, n_bins), ..column });
    }
    if values.is_empty() || values.len() > MAX_VALUES || values.iter().any(|value| value.is_empty()) {
        return Err(wrong("names no values, an empty one, or more than 1024"));
    }
    let bins = (0..values.len() as i64).map(|code| Bin { low: code, high: code }).collect();
    let values = values.into_iter().map(str::to_owned).collect();
    Ok(of(Kind::Category { values, has_other: false }, bins))
}

fn unquoted(part: &str) -> &str {
    let part = part.trim();
    part.strip_prefix('"').and_then(|part| part.strip_suffix('"')).unwrap_or(part)
}

/// Numbers as finely as the ends of their range are written, or dates as both are.
fn ordered(low: &str, high: &str) -> Option<Kind> {
    // Both ends may have commas that part thousands: nothing is guessed then.
    let comma = [low, high].iter().any(|end| without_comma(end).is_some() && is_decimal_comma(end));
    let with_point = |text: &str| without_comma(text).filter(|_| comma).unwrap_or_else(|| text.to_owned());
    let ends = [with_point(low), with_point(high)];
    if ends.iter().all(|end| parse(end).is_some()) {
        let [a, b] = ends.map(|end| decimals_of(&end));
        let decimals = a.max(b).min(MAX_DECIMALS);
        return Some(Kind::Number(NumberFormat { decimals, padded: a == b, step: 1, offset: 0, comma }));
    }
    let reads_high = |format: &DateFormat| format.scaled(high).is_some();
    formats_of(low).into_iter().find(reads_high).map(Kind::Date)
}

/// Bins of equal width: where the values lie is not known.
fn even(low: i64, high: i64, n_bins: usize) -> Vec<Bin> {
    let width = Bin { low, high }.width();
    let n = width.min(n_bins.max(1) as u64);
    let start = |i: u64| low + (u128::from(width) * u128::from(i) / u128::from(n)) as i64;
    (0..n).map(|i| Bin { low: start(i), high: start(i + 1) - 1 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(domains: &[&str]) -> TableSettings {
        let columns = ["age", "pay", "since", "a = b", "sex"].map(str::to_owned).to_vec();
        TableSettings {
            columns,
            domains: domains.iter().map(|text| (*text).to_owned()).collect(),
            ..TableSettings::default()
        }
    }

    #[test]
    fn columns_are_what_is_said_of_them() {
        let check = |text: &str, place: usize, expect: &str| {
            assert_eq!(columns(&table(&[text])).unwrap()[place].as_ref().unwrap().describe(), expect);
        };
        check("age = 17..90", 0, "whole numbers, 17 to 90");
        check("pay = -0.50..99999.99 | missing", 1, "numbers, -0.50 to 99999.99, 2 digits behind the point, with gaps");
        check("pay = 0,00..99,50", 1, "numbers, 0,00 to 99,50, 2 digits behind the point");
        check("since = 2020-01-01..2024-12-31", 2, "dates, 2020-01-01 to 2024-12-31");
        check("a = b = 1..2", 3, "whole numbers, 1 to 2");
        check("sex = Male | \"Female\" | missing", 4, "2 categories, with gaps");
    }

    #[test]
    fn bins_cover_the_range_without_gaps() {
        let bins = even(-7, 1_000_000, 128);
        assert_eq!((bins.len(), bins[0].low, bins[127].high), (128, -7, 1_000_000));
        assert!(bins.windows(2).all(|pair| pair[0].high + 1 == pair[1].low));
        assert_eq!(even(3, 5, 128).len(), 3);
    }

    #[test]
    fn what_cannot_be_is_explained() {
        let check = |text: &str, expect: &str| {
            let error = columns(&table(&[text])).expect_err(text).to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("age", "is not of the form");
        check("ages = 1..2", "there is no column \"ages\"");
        check("age = 9..1", "ends before it begins");
        check("age = 1..2030-01-01", "no range of two numbers or two dates");
        check("age = ", "names no values");
        check("age = missing", "names no values");
        check("age = 1..1e300", "reaches too far");
        check("pay = 1,000..50,000", "no range of two numbers or two dates");
    }
}
