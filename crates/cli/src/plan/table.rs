//! What a recipe says about a table, and whether a file is one.

use crate::failure::{Failure, Outcome};
use genera_data::Columns;
use genera_data::prepare::{Fit, Prepared};
use genera_data::source::{Format, column_names};
use genera_engine::recipe::{Layout, Reasons, Recipe};
use genera_modality::table::{self, Constraints, TableCodebook, TableSettings};
use genera_modality::{Settings, demo_by_name};
use std::path::Path;
use std::sync::Arc;

/// Share of the rows that is kept aside to judge the others by.
const VALIDATION_FRACTION: f64 = 0.1;

/// Shortest rows of a batch: several rows of the table fit into one.
const LEAST_CONTEXT: usize = 256;

/// Why a file is a table whose whole rows are to be learned; `None` when it is none, or a table of texts.
///
/// # Errors
/// When the file cannot be read.
pub fn recognised(path: &Path) -> Outcome<Option<String>> {
    if !path.is_file() || !matches!(Format::of(path), Some(Format::Csv { .. } | Format::Parquet)) {
        return Ok(None);
    }
    let names = column_names(path)?;
    let is_of_texts = names.len() < 2 || names.iter().any(|name| name == Columns::DEFAULT_TEXT);
    let why = || {
        format!("{} columns and none named text: whole rows are learned (a text column: --column NAME)", names.len())
    };
    Ok((!is_of_texts).then(why))
}

/// The columns of a file but those that are left out.
///
/// # Errors
/// When the file cannot be read, or a column that is to be left out does not exist.
pub fn kept_columns(path: &Path, skip: &[String]) -> Outcome<Vec<String>> {
    let names = column_names(path)?;
    if let Some(unknown) = skip.iter().find(|name| !names.contains(name)) {
        return Err(Failure::new(format!(
            "table.skip: {} has no column {unknown:?}; it has {}",
            path.display(),
            names.join(", ")
        )));
    }
    Ok(names.into_iter().filter(|name| !skip.contains(name)).collect())
}

/// How the kinds of data are to take what they are given.
///
/// # Errors
/// When the file of a table cannot be read.
pub fn settings(recipe: &Recipe) -> Outcome<Settings> {
    let table = recipe.table.clone();
    let columns = match recipe.data.files.first() {
        Some(file) if recipe.data.kind == "table" => kept_columns(Path::new(file), &table.skip)?,
        None if demo_by_name(&recipe.data.kind).is_some_and(|(modality, _)| modality.name() == "table") => {
            table::DEMO_COLUMNS.map(str::to_owned).to_vec()
        }
        _ => Vec::new(),
    };
    if let Some(target) = table.target.as_ref().filter(|target| !columns.is_empty() && !columns.contains(target)) {
        return Err(Failure::new(format!(
            "table.target: there is no column {target:?} to be predicted; the columns are {}",
            columns.join(", ")
        )));
    }
    let molecule = super::molecule::settings(&recipe.molecule);
    Ok(Settings {
        molecule,
        table: TableSettings {
            columns,
            types: table.types,
            constraints: table.constraints,
            combinations: table.combinations,
            unique: table.unique,
            domains: table.domains,
            is_private: recipe.privacy.epsilon.is_some(),
            n_bins: table.bins,
            protect_rare: table.protect_rare,
            any_order: table.any_order,
        },
    })
}

/// What has learned the values of a run's data; `None` for kinds with a text tokenizer.
///
/// # Errors
/// As [`super::data::modality_of`].
pub fn fit(recipe: &Recipe) -> Outcome<Option<Arc<dyn Fit>>> {
    let (modality, _) = super::data::modality_of(&recipe.data)?;
    Ok(modality.fit(&Settings::default()))
}

/// Decides what the recipe of a table leaves open.
///
/// # Errors
/// When it goes on with a base, which knows no columns.
pub fn settle(recipe: &mut Recipe, reasons: &mut Reasons, has_base: bool) -> Outcome<()> {
    if has_base {
        return Err(Failure::new("a table is learned from nothing, not from a base of texts; leave out --base"));
    }
    if recipe.data.layout.is_none() {
        recipe.data.layout = Some(Layout::Packed);
        reasons.add("data.layout", "rows, which must not see each other");
    }
    Ok(())
}

/// Where a person has said nothing, keeps enough rows aside to judge by.
pub fn keep_aside(recipe: &mut Recipe, reasons: &mut Reasons) {
    recipe.data.validation_fraction = VALIDATION_FRACTION;
    reasons.add("data.validation_fraction", "rows that are kept aside to judge the made ones by");
}

/// Makes rows of a batch long enough for those of the table, and says what the columns are.
///
/// # Errors
/// When the recipe's context is too short for a row.
pub fn fit_context(recipe: &mut Recipe, reasons: &mut Reasons, prepared: &Prepared, is_fixed: bool) -> Outcome<()> {
    let Ok(table) = table::of(&prepared.tokenizer) else { return Ok(()) };
    let longest = table.max_row_len();
    if is_fixed && recipe.model.context_len < longest {
        return Err(Failure::new(format!(
            "model.context_len = {} is too short: a row of this table takes up to {longest} tokens; make it at least \
             {longest}, or leave it out",
            recipe.model.context_len
        )));
    }
    if !is_fixed {
        recipe.model.context_len = longest.next_multiple_of(32).max(LEAST_CONTEXT);
        reasons.add("model.context_len", format!("a row of the table takes up to {longest} tokens"));
    }
    Ok(())
}

/// Rows that are looked at to see whether constraints hold.
const MOST_LOOKED_AT: u64 = 10_000;

/// Says how many rows break the order of columns that the recipe declares; not where that would tell of rows that are private.
/// Combinations are those of the rows, and hold in each.
///
/// # Errors
/// When the rows cannot be read.
pub fn say_broken(prepared: &Prepared, recipe: &Recipe) -> Outcome<()> {
    let Ok(table) = table::of(&prepared.tokenizer) else { return Ok(()) };
    let orders = Constraints { orders: table.constraints().orders.clone(), ..Constraints::default() };
    if super::privacy::is_on(recipe) || orders.orders.is_empty() {
        return Ok(());
    }
    let n_rows = prepared.train.info().n_documents;
    let places = (0..n_rows).step_by(n_rows.div_ceil(MOST_LOOKED_AT).max(1) as usize);
    let (mut n_broken, mut n) = (0, 0);
    for i in places {
        let cells = table.decode_cells(prepared.train.document(i)?.ids());
        n_broken += u64::from(!orders.hold(table.columns(), &cells));
        n += 1;
    }
    if n_broken > 0 {
        eprintln!(
            "genera: {n_broken} of {n} rows that were looked at do not keep to table.constraints; the rows that are made will"
        );
    }
    Ok(())
}

/// The columns with what they hold, a line each.
pub fn describe(table: &TableCodebook) -> String {
    let width = table.columns().iter().map(|column| column.name.chars().count()).max().unwrap_or(0);
    let line = |column: &table::Column| format!("  {:<width$}  {}", column.name, column.describe());
    table.columns().iter().map(line).collect::<Vec<String>>().join("\n")
}
