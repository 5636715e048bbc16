//! Whether the likelihood that a model gives to rows tells those that it was trained on.

use super::frame;
use crate::failure::Outcome;
use genera_data::Vary;
use genera_engine::model::{Mode, Transformer};
use genera_eval::table::auc;
use genera_modality::table::{RowOrder, TableCodebook};
use genera_tensor::Tape;
use genera_tokens::{Batch, IGNORE, TokenId};
use std::path::Path;

/// Rows of either side that are measured at most.
const MEASURED: u64 = 4_000;

/// Rows that are read at once.
const GROUP: usize = 32;

/// Some of `n` rows, evenly over all of them.
///
/// # Errors
/// Those of `row`.
pub fn drawn(n: u64, mut row: impl FnMut(u64) -> Outcome<Vec<TokenId>>) -> Outcome<Vec<Vec<TokenId>>> {
    let n_drawn = n.min(MEASURED);
    (0..n_drawn).map(|i| row((u128::from(i) * u128::from(n) / u128::from(n_drawn)) as u64)).collect()
}

/// The first rows of a file as tokens.
///
/// # Errors
/// When it cannot be read or lacks a column.
pub fn rows_of(table: &TableCodebook, path: &Path) -> Outcome<Vec<Vec<TokenId>>> {
    let names = table.columns().iter().map(|column| column.name.clone()).collect();
    let rows = frame::open(path, names)?.take(MEASURED as usize);
    rows.map(|row| Ok(table.encode_row(row?.as_row().unwrap_or_default())?)).collect()
}

/// Area under the curve of a membership attack that knows the model: a row that it finds more likely counts as one that it
/// was trained on. `None` when there are none of either.
///
/// # Source
/// Yeom, Giacomelli, Fredrikson, Jha, "Privacy risk in machine learning", arXiv 1709.01604, section 3.
pub fn membership_auc(
    model: &Transformer,
    table: &TableCodebook,
    train: &[Vec<TokenId>],
    holdout: &[Vec<TokenId>],
) -> Option<f64> {
    let order = RowOrder::new(table);
    let scores: Vec<f64> = [train, holdout]
        .into_iter()
        .flat_map(|rows| rows.chunks(GROUP).flat_map(|group| nats(model, &order, group)).collect::<Vec<f64>>())
        .map(|nats| -nats)
        .collect();
    let truth = [vec![1.0; train.len()], vec![0.0; holdout.len()]].concat();
    auc(&scores, &truth)
}

/// −ln p of each row, of its values alone: which column comes next is nothing that the model learns.
fn nats(model: &Transformer, order: &RowOrder, rows: &[Vec<TokenId>]) -> Vec<f64> {
    let len = rows.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1);
    let mut batch = Batch { n_rows: rows.len(), len, ..Batch::default() };
    for row in rows {
        let n = row.len().saturating_sub(1);
        let target = |&id: &TokenId| if order.is_learned(id) { id } else { IGNORE };
        batch.tokens.extend_from_slice(&row[..n]);
        batch.targets.extend(row.iter().skip(1).map(target));
        batch.positions.extend(0..n as u32);
        batch.segments.resize(batch.tokens.len(), 1);
        let end = batch.tokens.len() + len - n;
        batch.tokens.resize(end, 0);
        batch.targets.resize(end, IGNORE);
        batch.positions.resize(end, 0);
        batch.segments.resize(end, 0);
    }
    let loss = model.loss(&Tape::inference(model.device()), &batch, 0.0, 1.0, Mode::default());
    loss.nlls.chunks(len.max(1)).map(|row| row.iter().map(|&nats| f64::from(nats)).sum()).collect()
}
