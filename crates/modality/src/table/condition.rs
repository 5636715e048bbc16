//! What is asked of rows: `income = >50K, age >= 30, country = Mexico | Canada`.

use super::codebook::TableCodebook;
use super::column::{Bin, Column, Kind};
use super::domain::{Cell, Domain};
use super::settings::settings;
use genera_data::Result;

/// What every cell of a row may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    domains: Vec<Domain>,
    asked: Vec<bool>,
}

/// Longest first, so that `<=` is not read as `<`.
const OPERATORS: [&str; 6] = ["<=", ">=", "!=", "=", "<", ">"];

impl Conditions {
    /// None: any row will do.
    pub fn none(table: &TableCodebook) -> Self {
        let domains: Vec<Domain> = table.columns().iter().map(Domain::all).collect();
        Self { asked: vec![false; domains.len()], domains }
    }

    /// Reads conditions that are all to be met, with commas between them. Each is a column, one of `=` `!=` `<` `<=` `>`
    /// `>=`, and a value; behind `=` and `!=` also several with `|` between them or a range such as `20..30`. A value with
    /// a comma stands in double quotes; `missing` is a gap. Limits may be finer than the values of the column; what stands
    /// behind `=` and `!=` is a value that it can have.
    ///
    /// # Errors
    /// When a column is unknown, a value is none that the column can have, or nothing meets them; what is legal is listed.
    pub fn parse(table: &TableCodebook, text: &str) -> Result<Self> {
        let mut conditions = Self::none(table);
        for part in split(text, ',').into_iter().filter(|part| !part.trim().is_empty()) {
            let (i, operator, wanted) = clause(table, part.trim())?;
            let column = &table.columns()[i];
            let domain = domain(column, operator, wanted.trim())?;
            conditions.narrow(column, i, &domain)?;
        }
        Ok(conditions)
    }

    /// Asks for what lies in `domain` besides, of column number `i`.
    ///
    /// # Errors
    /// When nothing is left.
    pub(super) fn narrow(&mut self, column: &Column, i: usize, domain: &Domain) -> Result<()> {
        let both = self.domains[i].both(domain);
        if both.is_empty_for(column) {
            return Err(settings(format!("no row meets what is asked of {:?}: {}", column.name, legal(column))));
        }
        (self.domains[i], self.asked[i]) = (both, true);
        Ok(())
    }

    /// Asks for a row with these cells; `None` is to be filled in, with something. Cells that the table cannot hold are
    /// asked for as near as it can.
    pub fn given(table: &TableCodebook, cells: &[Option<Cell>]) -> Self {
        let mut conditions = Self::none(table);
        for (i, (column, cell)) in
            table.columns().iter().zip(cells).enumerate().filter(|(_, (column, _))| column.is_learned())
        {
            match cell {
                Some(Cell::Code(code)) => {
                    let Bin { low, high } = column.bins[column.nearest_bin(*code)];
                    conditions.domains[i] = Domain::exactly(Cell::Code((*code).clamp(low, high)));
                    conditions.asked[i] = true;
                }
                Some(Cell::Missing) | None => conditions.domains[i].missing = false,
            }
        }
        conditions
    }

    /// What each cell may hold.
    pub fn domains(&self) -> &[Domain] {
        &self.domains
    }

    /// Whether something is asked of a column.
    pub fn asks_for(&self, column: usize) -> bool {
        self.asked[column]
    }

    /// Whether a row meets them.
    pub fn are_met(&self, cells: &[Option<Cell>]) -> bool {
        let meets = |(domain, cell): (&Domain, &Option<Cell>)| cell.is_none_or(|cell| domain.allows(cell));
        self.domains.iter().zip(cells).all(meets)
    }
}

/// Parts of a text between separators that do not stand in quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    text.split(move |character: char| {
        is_quoted ^= character == '"';
        character == separator && !is_quoted
    })
    .collect()
}

/// Column, operator and value of a condition. The longest name of a column that fits is meant.
fn clause<'t>(table: &TableCodebook, text: &'t str) -> Result<(usize, &'static str, &'t str)> {
    let read = |(i, column): (usize, &Column)| {
        let name = column.name.trim();
        let rest = text.strip_prefix(name).or_else(|| text.strip_prefix(&format!("\"{name}\"")))?.trim_start();
        let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator))?;
        Some((name.len(), (i, operator, &rest[operator.len()..])))
    };
    let found = table.columns().iter().enumerate().filter_map(read).max_by_key(|(len, _)| *len);
    let (_, found) = found.ok_or_else(|| {
        let names: Vec<&str> = table.columns().iter().map(|column| column.name.as_str()).collect();
        let learned = table.columns().iter().find(|column| column.is_learned());
        let start = text.split(['=', '<', '>', '!']).next().unwrap_or_default().trim().trim_matches('"');
        let problem = if start.is_empty() || start == text {
            format!("{text:?} is no condition; write for example {:?}", example(learned))
        } else {
            format!("there is no column {start:?}")
        };
        settings(format!("{problem}. The columns are {}", names.join(", ")))
    })?;
    let column = &table.columns()[found.0];
    if !column.is_learned() {
        let name = &column.name;
        return Err(settings(format!(
            "column {name:?} is not learned, so it takes no condition ({})",
            column.describe()
        )));
    }
    Ok(found)
}

/// A condition that this column takes.
fn example(column: Option<&Column>) -> String {
    let of = |column: &Column| {
        format!("{} = {}", column.name, quoted(&column.text(column.range().map_or(0, |(low, _)| low))))
    };
    column.map_or_else(|| "column = value".to_owned(), of)
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// A value as a condition writes it: in quotes where it would be cut.
fn quoted(value: &str) -> String {
    if value.contains([',', '|']) { format!("\"{value}\"") } else { value.to_owned() }
}

/// What may be meant by a value that a column does not hold.
fn meant(wanted: &str) -> &'static str {
    let lower = wanted.to_ascii_lowercase();
    if wanted.starts_with('=') {
        " (one = is enough)"
    } else if lower.contains(" and ") || lower.contains(" or ") || wanted.contains(';') {
        " (a comma stands between conditions, a bar between values: age > 30, country = Mexico | Canada)"
    } else {
        ""
    }
}

/// What a column may hold by one condition.
fn domain(column: &Column, operator: &str, wanted: &str) -> Result<Domain> {
    let all = Domain::all(column);
    match operator {
        "=" => one_of(column, wanted),
        "!=" => without(column, &one_of(column, wanted)?),
        _ if !column.is_ordered() => Err(settings(format!(
            "column {:?} has no order, so {operator} says nothing about it; take = or !=. {}",
            column.name,
            legal(column)
        ))),
        _ => {
            let (below, above) = limit(column, wanted)?;
            let (low, high) = match operator {
                "<=" => (all.low, below),
                ">=" => (above, all.high),
                "<" => (all.low, above - 1),
                _ => (below + 1, all.high),
            };
            Ok(Domain { low, high, only: None, missing: false })
        }
    }
}

/// The values between bars, or a range.
fn one_of(column: &Column, wanted: &str) -> Result<Domain> {
    // Quotes may stand around the range, or around each of its ends.
    let whole = unquoted(wanted);
    let range = if whole.contains('"') { wanted } else { whole }.split_once("..");
    if let Some((low, high)) = range.filter(|_| column.is_ordered()) {
        let ((_, low), (high, _)) = (limit(column, low)?, limit(column, high)?);
        return Ok(Domain { low, high, only: None, missing: false });
    }
    let (mut codes, mut missing) = (Vec::new(), false);
    for part in split(wanted, '|') {
        let text = unquoted(part);
        match code(column, text) {
            Some(code) => codes.push(code),
            None if text == "missing" && column.missing.is_some() => missing = true,
            None => {
                let (name, near, legal) = (&column.name, near(column, text), legal(column));
                return Err(settings(format!("column {name:?} never holds {text:?}{near}{}: {legal}", meant(text))));
            }
        }
    }
    Ok(Domain { missing, ..Domain::some(codes) })
}

/// The code of a value that the column can really have, and that stands for just this value.
pub(super) fn code(column: &Column, text: &str) -> Option<i64> {
    let code = match &column.kind {
        // What is not listed is rare, which nobody asks for by name.
        Kind::Category { values, .. } => values.iter().position(|value| value.trim() == text.trim())? as i64,
        _ => column.around(text).filter(|(below, above)| below == above)?.0,
    };
    column.bins.iter().any(|bin| (bin.low..=bin.high).contains(&code)).then_some(code)
}

/// What the column holds beside a value that it does not hold, in words; nothing where it has no order.
pub(super) fn near(column: &Column, text: &str) -> String {
    let Some((below, above)) = column.around(text) else { return String::new() };
    match column.held_around(below, above).map(|code| code.map(|code| column.text(code))) {
        [Some(lower), Some(higher)] => format!("; near it are {lower} and {higher}"),
        [Some(near), None] | [None, Some(near)] => format!("; nearest to it is {near}"),
        [None, None] => String::new(),
    }
}

/// The codes next to a limit, which may be finer than the grid of the column.
fn limit(column: &Column, text: &str) -> Result<(i64, i64)> {
    let text = unquoted(text);
    column.around(text).ok_or_else(|| {
        let name = &column.name;
        settings(format!("{text:?} is no limit of column {name:?}{}: {}", meant(text), legal(column)))
    })
}

/// Values that are listed one by one at most.
const MAX_LISTED: u64 = 1 << 20;

/// All values of a column but those of a domain.
fn without(column: &Column, domain: &Domain) -> Result<Domain> {
    let n = column.bins.iter().fold(0_u64, |n, bin| n.saturating_add(bin.width()));
    if n > MAX_LISTED {
        let name = &column.name;
        return Err(settings(format!("column {name:?} has too many values for !=; take < or >. {}", legal(column))));
    }
    let codes = column.bins.iter().flat_map(|bin| bin.low..=bin.high);
    let codes = codes.filter(|&code| !domain.allows(Cell::Code(code))).collect();
    Ok(Domain { missing: column.missing.is_some() && !domain.missing, ..Domain::some(codes) })
}

/// What a column may hold, for messages.
pub(super) fn legal(column: &Column) -> String {
    let name = &column.name;
    let gap = if column.missing.is_some() { ", or missing" } else { "" };
    match (&column.kind, column.range()) {
        (Kind::Category { values, .. }, _) => {
            let shown: Vec<String> = values.iter().take(40).map(|value| quoted(value.trim())).collect();
            let more = if values.len() > shown.len() {
                format!(" and {} more", values.len() - shown.len())
            } else {
                String::new()
            };
            format!("{name} is one of {}{more}{gap}", shown.join(", "))
        }
        (_, Some((low, high))) => {
            format!("{name} goes from {} to {}{gap}", quoted(&column.text(low)), quoted(&column.text(high)))
        }
        _ => format!("{name}: {}", column.describe()),
    }
}
