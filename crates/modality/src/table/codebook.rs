//! The columns of a table with an id for each of their tokens.

use super::column::{BASE, Bin, Column, Kind};
use super::constraint::Constraints;
use super::domain::Cell;
use super::number::MAX_DECIMALS;
use super::settings::settings;
use genera_data::{Error, Result, SpecialTokens, TextStream, Tokenizer, write_atomically};
use genera_tokens::{Special, TokenId, Vocab};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// The file that a codebook is kept in.
const FILE: &str = "table.json";

/// Longest such file that is read.
const MAX_FILE_BYTES: u64 = 1 << 28;

/// Most ids of a table.
const MAX_TOKENS: usize = 1 << 22;

/// Greatest code; far from overflow, and beyond all that is whole in a float.
const MAX_CODE: i64 = 1 << 58;

pub(super) const PADDING: TokenId = 0;
pub(super) const BEGIN: TokenId = 1;
pub(super) const END: TokenId = 2;
/// Stands for a cell that the column cannot hold.
pub(super) const UNKNOWN: TokenId = 3;
const FIRST: TokenId = 4;

/// What is written of a codebook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    columns: Vec<Column>,
    constraints: Constraints,
    any_order: bool,
}

/// The columns of a table with an id for each of their tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCodebook {
    stored: Stored,
    /// The first id of each column.
    first: Vec<TokenId>,
    /// The codes of each column's categories, which may be very many.
    places: Vec<Places>,
    vocab: Vocab,
    special: SpecialTokens,
    json: String,
}

/// Where the texts of a list stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    exact: HashMap<String, i64>,
    /// Without the white space around them.
    trimmed: HashMap<String, i64>,
}

impl Places {
    fn of(column: &Column) -> Self {
        let mut places = Self::default();
        if let Kind::Category { values, .. } = &column.kind {
            for (value, code) in values.iter().zip(0..) {
                places.exact.entry(value.clone()).or_insert(code);
                places.trimmed.entry(value.trim().to_owned()).or_insert(code);
            }
        }
        places
    }

    /// As [`Column::code`].
    fn code(&self, column: &Column, text: &str) -> Option<i64> {
        let Kind::Category { values, has_other } = &column.kind else { return column.code(text) };
        let known = self.exact.get(text).or_else(|| self.trimmed.get(text.trim())).copied();
        known.or_else(|| has_other.then(|| values.len() as i64 - 1))
    }
}

/// What a token means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Special,
    /// The value of this column comes.
    Column(usize),
    /// The value lies in this bin.
    Bin(usize, usize),
    /// There is no value.
    Missing(usize),
    /// A digit, counted from the last place.
    Digit {
        column: usize,
        place: usize,
        digit: u64,
    },
}

impl TableCodebook {
    /// A codebook of these columns.
    ///
    /// # Errors
    /// When they contradict themselves or are too many.
    pub fn new(columns: Vec<Column>, constraints: Constraints, any_order: bool) -> Result<Self> {
        let stored = Stored { columns, constraints, any_order };
        check(&stored).map_err(|problem| settings(format!("the columns of a table: {problem}")))?;
        let mut next = FIRST as usize;
        let mut first = Vec::new();
        for column in &stored.columns {
            first.push(next as TokenId);
            next += column.n_tokens();
        }
        let special = Special { padding: Some(PADDING), begin: Some(BEGIN), end: Some(END), unknown: Some(UNKNOWN) };
        let json = serde_json::to_string(&stored).map_err(|error| settings(format!("a table: {error}")))?;
        Ok(Self {
            vocab: Vocab::single("table", next, special),
            special: SpecialTokens::standard(),
            places: stored.columns.iter().map(Places::of).collect(),
            stored,
            first,
            json,
        })
    }

    /// Reads what was written by [`Tokenizer::save`].
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn load(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let bad = |problem: String| Error::BadFile { path: path.clone(), problem };
        let metadata = std::fs::metadata(&path).map_err(|_| Error::Missing { path: path.clone() })?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(bad(format!("{} bytes are too many for the columns of a table", metadata.len())));
        }
        let bytes = std::fs::read(&path).map_err(|error| bad(error.to_string()))?;
        Self::from_json(&bytes).map_err(|error| bad(error.to_string()))
    }

    /// Reads a codebook as it is written.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let stored: Stored = serde_json::from_slice(json)
            .map_err(|error| settings(format!("is not the codebook of a table ({error}); prepare the data again")))?;
        Self::new(stored.columns, stored.constraints, stored.any_order)
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.stored.columns
    }

    /// What holds between them.
    pub fn constraints(&self) -> &Constraints {
        &self.stored.constraints
    }

    /// Whether any columns may be given.
    pub fn any_order(&self) -> bool {
        self.stored.any_order
    }

    /// The longest that a row can be.
    ///
    /// # Units
    /// Tokens, the one that begins and the one that ends it included.
    pub fn max_row_len(&self) -> usize {
        2 + self.columns().iter().map(Column::max_len).sum::<usize>()
    }

    pub(super) fn column_token(&self, column: usize) -> TokenId {
        self.first[column]
    }

    pub(super) fn bin_token(&self, column: usize, bin: usize) -> TokenId {
        self.first[column] + 1 + bin as TokenId
    }

    pub(super) fn missing_token(&self, column: usize) -> TokenId {
        self.bin_token(column, self.columns()[column].bins.len())
    }

    /// The id of a digit, counted from the last place.
    pub(super) fn digit_token(&self, column: usize, place: usize, digit: u64) -> TokenId {
        let after = usize::from(self.columns()[column].missing.is_some());
        self.missing_token(column) + (after + place * BASE as usize) as TokenId + digit as TokenId
    }

    pub(super) fn meaning(&self, id: TokenId) -> Meaning {
        if id < FIRST || !self.vocab.contains(id) {
            return Meaning::Special;
        }
        let column = self.first.partition_point(|&first| first <= id) - 1;
        let (offset, of) = ((id - self.first[column]) as usize, &self.columns()[column]);
        match offset {
            0 => Meaning::Column(column),
            _ if offset <= of.bins.len() => Meaning::Bin(column, offset - 1),
            _ if of.missing.is_some() && offset == of.bins.len() + 1 => Meaning::Missing(column),
            _ => {
                let i = offset - 1 - of.bins.len() - usize::from(of.missing.is_some());
                Meaning::Digit { column, place: i / BASE as usize, digit: i as u64 % BASE }
            }
        }
    }

    /// What the cells of a row hold; `None` for columns that are not learned and for what a column cannot hold.
    ///
    /// # Errors
    /// When there are more or fewer cells than columns.
    pub fn cells(&self, row: &[String]) -> Result<Vec<Option<Cell>>> {
        if row.len() != self.columns().len() {
            return Err(settings(format!(
                "a row has {} cells, but there are {} columns",
                row.len(),
                self.columns().len()
            )));
        }
        let cell = |((column, places), text): ((&Column, &Places), &String)| match column.is_learned() {
            false => None,
            true if super::column::is_missing(text) => column.missing.is_some().then_some(Cell::Missing),
            true => places.code(column, text).map(Cell::Code),
        };
        Ok(self.columns().iter().zip(&self.places).zip(row).map(cell).collect())
    }

    /// The tokens of a row.
    ///
    /// # Errors
    /// As [`TableCodebook::cells`].
    pub fn encode_row(&self, row: &[String]) -> Result<Vec<TokenId>> {
        let mut ids = vec![BEGIN];
        for (i, cell) in self.cells(row)?.into_iter().enumerate().filter(|(i, _)| self.columns()[*i].is_learned()) {
            ids.push(self.column_token(i));
            self.push_cell(i, cell, &mut ids);
        }
        ids.push(END);
        Ok(ids)
    }

    fn push_cell(&self, i: usize, cell: Option<Cell>, ids: &mut Vec<TokenId>) {
        match cell {
            None => ids.push(UNKNOWN),
            Some(Cell::Missing) => ids.push(self.missing_token(i)),
            Some(Cell::Code(code)) => {
                let number = self.columns()[i].nearest_bin(code);
                let bin = self.columns()[i].bins[number];
                ids.push(self.bin_token(i, number));
                let places = (0..bin.n_digits() as usize).rev();
                ids.extend(places.zip(bin.digits(code)).map(|(place, digit)| self.digit_token(i, place, digit)));
            }
        }
    }

    /// What tokens say about the cells; `None` where they say nothing, or nothing whole.
    pub fn decode_cells(&self, ids: &[TokenId]) -> Vec<Option<Cell>> {
        let mut cells = vec![None; self.columns().len()];
        let mut open: Option<(usize, Bin, Vec<u64>)> = None;
        for &id in ids {
            match self.meaning(id) {
                Meaning::Missing(column) => cells[column] = Some(Cell::Missing),
                Meaning::Bin(column, bin) => open = Some((column, self.columns()[column].bins[bin], Vec::new())),
                Meaning::Digit { column, digit, .. } => {
                    if let Some((_, _, digits)) = open.as_mut().filter(|(open, ..)| *open == column) {
                        digits.push(digit);
                    }
                }
                Meaning::Special | Meaning::Column(_) => open = None,
            }
            if let Some((column, bin, digits)) = &open
                && let Some(Bin { low, high }) = bin.narrowed(digits)
                && low == high
            {
                cells[*column] = Some(Cell::Code(low));
            }
        }
        cells
    }

    /// The texts of cells; what is not learned is the constant, or nothing.
    pub fn texts(&self, cells: &[Option<Cell>]) -> Vec<String> {
        let text = |(column, cell): (&Column, &Option<Cell>)| match (cell, &column.kind) {
            (Some(Cell::Code(code)), _) => column.text(*code),
            (Some(Cell::Missing), _) => column.missing.clone().unwrap_or_default(),
            (None, Kind::Constant { value }) => value.clone(),
            (None, _) => column.missing.clone().unwrap_or_default(),
        };
        self.columns().iter().zip(cells).map(text).collect()
    }

    /// A name for row number `i` of each column that names rows: distinct for distinct numbers.
    pub fn name(&self, column: usize, i: u64) -> Option<String> {
        match &self.columns()[column].kind {
            Kind::Id { pattern } => Some(super::infer::id_text(pattern, i)),
            _ => None,
        }
    }
}

/// Checks what may come from a file that somebody else wrote.
fn check(stored: &Stored) -> Result<(), String> {
    let Stored { columns, constraints, .. } = stored;
    if !columns.iter().any(Column::is_learned) {
        return Err("none of them can be learned: all are constant, missing, or name rows".to_owned());
    }
    let names: HashSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    if names.len() < columns.len() {
        return Err("two of them have one name".to_owned());
    }
    let mut n_tokens = FIRST as usize;
    for column in columns {
        check_column(column).map_err(|problem| format!("{:?} {problem}", column.name))?;
        n_tokens = n_tokens.saturating_add(column.n_tokens());
    }
    if n_tokens > MAX_TOKENS {
        return Err(format!("they need {n_tokens} tokens, and {MAX_TOKENS} is the most"));
    }
    let exists = |i: &usize| columns.get(*i).is_some_and(Column::is_learned);
    let is_sound = |combination: &super::constraint::Combination| {
        combination.columns.iter().all(exists)
            && combination.rows.iter().all(|row| row.len() == combination.columns.len())
    };
    let orders = constraints.orders.iter().all(|(a, b)| exists(a) && exists(b));
    let unique = constraints.unique.iter().flatten().all(|i| *i < columns.len());
    if !orders || !unique || !constraints.combinations.iter().all(is_sound) {
        return Err("a constraint names one that does not exist or is not learned".to_owned());
    }
    Ok(())
}

fn check_column(column: &Column) -> Result<(), String> {
    let mut last = -MAX_CODE - 1;
    for bin in &column.bins {
        if bin.low <= last || bin.high < bin.low || bin.high > MAX_CODE {
            return Err(format!("has bins that do not ascend: {} to {}", bin.low, bin.high));
        }
        last = bin.high;
    }
    match &column.kind {
        Kind::Number(format) if format.decimals > MAX_DECIMALS || !is_grid(format.step, format.offset) => {
            Err("has numbers that cannot be written".to_owned())
        }
        Kind::Date(format)
            if !is_grid(format.step, format.offset) || format.time.as_ref().is_some_and(|time| time.decimals > 6) =>
        {
            Err("has dates that cannot be written".to_owned())
        }
        Kind::Category { values, .. }
            if column.range().is_none_or(|(low, high)| low < 0 || high >= values.len() as i64) =>
        {
            Err("has categories beyond the list".to_owned())
        }
        Kind::Constant { .. } | Kind::Id { .. } | Kind::Empty if column.is_learned() => {
            Err("has bins, but nothing that could be learned".to_owned())
        }
        Kind::Number(_) | Kind::Date(_) if !column.is_learned() => Err("has no bins".to_owned()),
        _ => Ok(()),
    }
}

fn is_grid(step: i64, offset: i64) -> bool {
    step >= 1 && (0..step).contains(&offset)
}

impl Tokenizer for TableCodebook {
    fn name(&self) -> &'static str {
        "table"
    }

    fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// The tokens of a row written as a line of csv.
    fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        self.encode_row(&super::line::cells(text))
    }

    /// A row as a line of csv; columns that are not learned stay empty unless they are constant.
    fn decode(&self, ids: &[TokenId]) -> String {
        super::line::of(&self.texts(&self.decode_cells(ids)))
    }

    fn stream(&self) -> Box<dyn TextStream + '_> {
        Box::new(RowStream { codebook: self, ids: Vec::new() })
    }

    fn token_text(&self, id: TokenId) -> String {
        match self.meaning(id) {
            Meaning::Special => ["<pad>", "<begin>", "<end>", "<unknown>"]
                .get(id as usize)
                .map_or_else(String::new, |name| (*name).to_owned()),
            Meaning::Column(column) => format!("{}:", self.columns()[column].name),
            Meaning::Missing(_) => "missing".to_owned(),
            Meaning::Digit { digit, place, .. } => format!("+{digit}·{BASE}^{place}"),
            Meaning::Bin(column, bin) => {
                let column = &self.columns()[column];
                let Bin { low, high } = column.bins[bin];
                if low == high { column.text(low) } else { format!("{}…{}", column.text(low), column.text(high)) }
            }
        }
    }

    /// Tokens of a table stand for no bytes of a text.
    fn token_content(&self, _id: TokenId) -> Vec<u8> {
        Vec::new()
    }

    /// As [`Self::token_content`].
    fn token_bytes(&self) -> Arc<[u32]> {
        Arc::default()
    }

    fn to_json(&self) -> &str {
        &self.json
    }

    fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    fn special_names(&self) -> Vec<(TokenId, String)> {
        (0..FIRST).map(|id| (id, self.token_text(id))).collect()
    }

    fn save(&self, directory: &Path) -> Result<()> {
        write_atomically(&directory.join(FILE), self.json.as_bytes())
    }
}

/// A row is text only once it is whole.
struct RowStream<'c> {
    codebook: &'c TableCodebook,
    ids: Vec<TokenId>,
}

impl TextStream for RowStream<'_> {
    fn push(&mut self, id: TokenId) -> String {
        self.ids.push(id);
        String::new()
    }

    fn finish(&mut self) -> String {
        if self.ids.is_empty() { String::new() } else { self.codebook.decode(&std::mem::take(&mut self.ids)) }
    }
}
