//! Rows that are asked for as JSON: conditions by column, and rows with numbers as numbers.

use super::codebook::TableCodebook;
use super::column::{Column, Kind};
use super::condition::{Conditions, code, legal, near};
use super::domain::{Cell, Domain};
use super::grammar::RowGrammar;
use crate::Codebook;
use crate::input::{Input, kind_of, only, short, wrong};
use genera_data::Result;
use genera_engine::generate::Constraint;
use serde_json::{Map, Value, json};

/// Categories that a schema lists at most.
const MAX_LISTED: usize = 1000;

/// The schema of what can be asked of a table.
pub(super) fn schema(table: &TableCodebook) -> Value {
    let columns = table.columns().iter().filter(|column| column.is_learned());
    let columns: Map<String, Value> = columns.map(|column| (column.name.clone(), schema_of(column))).collect();
    let where_ = json!({
        "type": "object", "title": "Only rows with", "properties": columns, "additionalProperties": false,
        "description": "What each column is to hold; those that are left out may hold anything.",
    });
    let conditions = json!({
        "type": "string", "title": "Further conditions",
        "description": "Such as \"income = >50K, age >= 30, country = Mexico | Canada\"; all are to be met.",
    });
    json!({
        "type": "object", "properties": { "where": where_, "conditions": conditions }, "additionalProperties": false,
    })
}

/// What one column may be asked for: a value or, for categories, several; for numbers and dates also limits.
fn schema_of(column: &Column) -> Value {
    let mut forms = match &column.kind {
        Kind::Category { values, has_other } => {
            let named = values.len() - usize::from(*has_other);
            let values: Vec<&str> = values.iter().take(named.min(MAX_LISTED)).map(|value| value.trim()).collect();
            let value = if named > MAX_LISTED { json!({ "type": "string" }) } else { json!({ "enum": values }) };
            vec![value.clone(), json!({ "type": "array", "items": value, "minItems": 1 })]
        }
        _ => {
            let value = value_schema(column);
            let limits = json!({ "min": value, "max": value });
            vec![value, json!({ "type": "object", "properties": limits, "additionalProperties": false })]
        }
    };
    forms.extend(column.missing.as_ref().map(|_| json!({ "type": "null" })));
    json!({ "title": column.name, "description": column.describe(), "anyOf": forms })
}

fn value_schema(column: &Column) -> Value {
    let (low, high) = column.range().unwrap_or_default();
    match &column.kind {
        Kind::Number(format) => json!({
            "type": if format.is_whole() { "integer" } else { "number" },
            "minimum": column.json(&column.text(low)), "maximum": column.json(&column.text(high)),
        }),
        _ => json!({ "type": "string", "examples": [column.text(low), column.text(high)] }),
    }
}

/// Reads what is asked for.
///
/// # Errors
/// When a column or value is none of the table's; what is legal is said.
pub(super) fn read(codebook: &Codebook, input: &Map<String, Value>) -> Result<Input> {
    let table = super::of(codebook)?;
    only(input, &["where", "conditions"])?;
    let text = match input.get("conditions") {
        None => "",
        Some(Value::String(text)) => text,
        Some(other) => return Err(wrong(format!("conditions is {}; expected a text", kind_of(other)))),
    };
    let mut conditions = Conditions::parse(table, text)?;
    match input.get("where") {
        None => {}
        Some(Value::Object(columns)) => {
            columns.iter().try_for_each(|(name, asked)| ask(table, &mut conditions, name, asked))?;
        }
        Some(other) => return Err(wrong(format!("where is {}; expected an object of columns", kind_of(other)))),
    }
    let grammar = RowGrammar::new(codebook, &conditions)?;
    let constraint = move || Box::new(grammar.clone()) as Box<dyn Constraint>;
    let prompt = codebook.vocab().special.begin.into_iter().collect();
    Ok(Input { prompt, given: Vec::new(), guidance: None, constraint: Some(Box::new(constraint)) })
}

fn ask(table: &TableCodebook, conditions: &mut Conditions, name: &str, asked: &Value) -> Result<()> {
    let place = table.columns().iter().position(|column| column.name.trim() == name.trim());
    let place = place.filter(|&i| table.columns()[i].is_learned()).ok_or_else(|| {
        let learned = table.columns().iter().filter(|column| column.is_learned());
        let names: Vec<&str> = learned.map(|column| column.name.as_str()).collect();
        wrong(format!("where: there is no column {:?} to ask for; there is {}", short(name), names.join(", ")))
    })?;
    let column = &table.columns()[place];
    conditions.narrow(column, place, &domain(column, asked)?)
}

/// What a column may hold by what is asked.
fn domain(column: &Column, asked: &Value) -> Result<Domain> {
    match asked {
        Value::Null if column.missing.is_some() => Ok(Domain::exactly(Cell::Missing)),
        Value::Array(items) => {
            let codes = items.iter().map(|item| code_of(column, item)).collect::<Result<Vec<i64>>>()?;
            Ok(Domain::some(codes))
        }
        Value::Object(limits) if column.is_ordered() => {
            only(limits, &["min", "max"])?;
            let mut domain = Domain { missing: false, ..Domain::all(column) };
            if let Some(min) = limits.get("min") {
                (_, domain.low) = limit(column, min)?;
            }
            if let Some(max) = limits.get("max") {
                (domain.high, _) = limit(column, max)?;
            }
            if let (Some(min), Some(max)) = (limits.get("min"), limits.get("max"))
                && domain.low > domain.high
            {
                return Err(wrong(format!("{}: no value is from {min} to {max}", column.name)));
            }
            Ok(domain)
        }
        value => Ok(Domain::some(vec![code_of(column, value)?])),
    }
}

fn code_of(column: &Column, value: &Value) -> Result<i64> {
    let text = text_of(value);
    text.and_then(|text| code(column, &text)).ok_or_else(|| never(column, value))
}

/// The codes next to a limit, from below and from above.
fn limit(column: &Column, value: &Value) -> Result<(i64, i64)> {
    text_of(value).and_then(|text| column.around(&text)).ok_or_else(|| never(column, value))
}

fn never(column: &Column, value: &Value) -> genera_data::Error {
    let shown = text_of(value).map_or_else(|| kind_of(value).to_owned(), |text| format!("{:?}", short(&text)));
    let near = text_of(value).map_or_else(String::new, |text| near(column, &text));
    wrong(format!("where: column {:?} never holds {shown}{near}: {}", column.name, legal(column)))
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A row as JSON, `index` counting the rows that are made: as [`Column::json`].
pub(super) fn row(table: &TableCodebook, cells: &[Option<Cell>], index: u64) -> Value {
    let texts = table.texts(cells);
    let value = |(i, (column, text)): (usize, (&Column, String))| {
        let value = match (cells[i], &column.kind) {
            (_, Kind::Id { .. }) => table.name(i, index).map_or(Value::Null, Value::String),
            (Some(Cell::Code(_)), _) | (None, Kind::Constant { .. }) => column.json(&text),
            _ => Value::Null,
        };
        (column.name.clone(), value)
    };
    Value::Object(table.columns().iter().zip(texts).enumerate().map(value).collect())
}
