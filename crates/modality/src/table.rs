//! Tables: rows of mixed columns, each value written as a few tokens of its column.
//!
//! ```text
//! begin │ age │ bin 17 │ sex │ Female │ income │ bin 40 │ +3 │ +11 │ end
//! ```
//! A column's token says which value comes; then comes the value: the bin of a number by its quantiles and the position
//! inside it, digit by digit; the token of a category; or the token of a missing value. Training puts any of the columns
//! first ([`RowOrder`]), so that a model can be asked for rows of which any columns are given.
//!
//! Read `table/column.rs` first: whatever a column holds is a whole number, its *code*, and a token narrows the interval in
//! which the code lies. `table/fit.rs` learns the columns, `table/grammar.rs` says what may come next.

mod codebook;
mod column;
mod condition;
mod constraint;
mod date;
mod declared;
mod demo;
mod domain;
mod features;
mod fit;
mod grammar;
mod infer;
mod input;
mod line;
mod mixture;
mod number;
mod order;
mod settings;
mod statistics;
#[cfg(test)]
mod tests;

pub use codebook::TableCodebook;
pub use column::{Column, Kind, is_missing};
pub use condition::Conditions;
pub use constraint::Constraints;
pub use demo::COLUMNS as DEMO_COLUMNS;
pub use domain::{Cell, Domain};
pub use features::{Features, SampledRows};
pub use fit::TableFit;
pub use grammar::RowGrammar;
pub use line::of as csv_line;
pub use order::RowOrder;
pub use settings::TableSettings;

use crate::{Artifact, Codebook, Demo, Grammar, Input, Modality, Preview, frame_tokens};
use genera_data::prepare::Fit;
use genera_data::{Document, Error, Result, Vary};
use genera_engine::generate::Constraint;
use genera_tokens::{TokenId, TokenSeq};
use serde_json::{Map, Value};
use std::any::Any;
use std::path::Path;
use std::sync::Arc;

/// Tables.
#[derive(Clone, Copy, Debug)]
pub struct Table;

const DEMOS: &[Demo] = &[Demo {
    name: "people",
    about: "a small table of people made by rule: numbers, categories, dates and gaps",
    make: demo::person,
}];

/// The codebook of a table behind that of any kind of data.
///
/// # Errors
/// When it is another kind's.
pub fn of(codebook: &Codebook) -> Result<&TableCodebook> {
    let any: &dyn Any = &**codebook;
    any.downcast_ref().ok_or_else(|| Error::Settings {
        problem: format!("a model of a table is needed; this one's tokenizer is {}", codebook.name()),
    })
}

impl Modality for Table {
    fn name(&self) -> &'static str {
        "table"
    }

    fn about(&self) -> &'static str {
        "rows of tables with mixed columns, to be made anew or filled in"
    }

    fn media_types(&self) -> &'static [&'static str] {
        &["text/csv", "text/tab-separated-values", "application/vnd.apache.parquet"]
    }

    fn is_paired(&self) -> bool {
        false
    }

    fn demos(&self) -> &'static [Demo] {
        DEMOS
    }

    fn fit(&self, settings: &crate::Settings) -> Option<Arc<dyn Fit>> {
        Some(Arc::new(TableFit::new(settings.table.clone())))
    }

    fn load_codebook(&self, directory: &Path) -> Result<Codebook> {
        Ok(Arc::new(TableCodebook::load(directory)?))
    }

    fn vary(&self, codebook: &Codebook) -> Option<Arc<dyn Vary>> {
        of(codebook).ok().map(|table| Arc::new(RowOrder::new(table)) as Arc<dyn Vary>)
    }

    fn encode(&self, codebook: &Codebook, document: &Document) -> Result<TokenSeq> {
        let not_row = || Error::Settings { problem: format!("{} is no row of a table", document.origin) };
        of(codebook)?.encode_row(document.as_row().ok_or_else(not_row)?).map(TokenSeq::target)
    }

    /// Every row begins alike; what is wanted of it is a matter of [`Conditions`].
    fn encode_prompt(&self, codebook: &Codebook, prompt: &str) -> Result<Vec<TokenId>> {
        if !prompt.trim().is_empty() {
            let problem = "a table takes no prompt; say what the rows are to be with --where \"column = value\"";
            return Err(Error::Settings { problem: problem.to_owned() });
        }
        Ok(codebook.vocab().special.begin.into_iter().collect())
    }

    fn input_schema(&self, codebook: &Codebook) -> Value {
        of(codebook).map_or(Value::Bool(false), input::schema)
    }

    fn read_input(&self, codebook: &Codebook, asked: &Map<String, Value>) -> Result<Input> {
        input::read(codebook, asked)
    }

    fn value(&self, codebook: &Codebook, target: &[TokenId], index: u64) -> Option<Value> {
        let table = of(codebook).ok()?;
        Some(input::row(table, &table.decode_cells(target), index))
    }

    fn decode(&self, codebook: &Codebook, target: &[TokenId]) -> Artifact {
        Artifact { media_type: "text/csv", bytes: codebook.decode(target).into_bytes() }
    }

    fn grammar(&self, codebook: &Codebook) -> Grammar {
        Grammar { forbidden: frame_tokens(codebook) }
    }

    fn constraint(&self, codebook: &Codebook) -> Option<Box<dyn Constraint>> {
        let conditions = Conditions::none(of(codebook).ok()?);
        RowGrammar::new(codebook, &conditions).ok().map(|grammar| Box::new(grammar) as Box<dyn Constraint>)
    }

    fn preview(&self, artifact: &Artifact) -> Preview {
        Preview::Text(artifact.as_text())
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["nats_per_token", "token_accuracy"]
    }
}
