//! Which token may come next in a row: so every row has legal types, categories, ranges, and meets its constraints.

use super::codebook::{END, Meaning, TableCodebook};
use super::column::{BASE, Bin};
use super::condition::Conditions;
use super::domain::{Cell, Domain};
use super::of;
use crate::Codebook;
use genera_data::Result;
use genera_engine::generate::{Constraint, TokenMask};
use genera_tokens::TokenId;

/// A row under way.
///
/// Columns of which something is asked come first, in the order of the table, then the others, as in training
/// ([`super::RowOrder`]).
#[derive(Clone)]
pub struct RowGrammar {
    codebook: Codebook,
    /// The columns to come, the next one last.
    to_come: Vec<usize>,
    domains: Vec<Domain>,
    cells: Vec<Option<Cell>>,
    open: Option<Open>,
}

/// A value under way.
#[derive(Clone)]
struct Open {
    column: usize,
    domain: Domain,
    bin: Option<Bin>,
    digits: Vec<u64>,
}

impl RowGrammar {
    /// A row that meets the conditions.
    ///
    /// # Errors
    /// When the codebook is not a table's.
    pub fn new(codebook: &Codebook, conditions: &Conditions) -> Result<Self> {
        let table = of(codebook)?;
        let asked = |&i: &usize| conditions.asks_for(i);
        let learned: Vec<usize> = (0..table.columns().len()).filter(|&i| table.columns()[i].is_learned()).collect();
        let (first, rest): (Vec<usize>, Vec<usize>) =
            if table.any_order() { learned.iter().partition(|i| asked(i)) } else { (Vec::new(), learned) };
        let to_come = first.into_iter().chain(rest).rev().collect();
        let cells = vec![None; table.columns().len()];
        Ok(Self { domains: conditions.domains().to_vec(), codebook: codebook.clone(), to_come, cells, open: None })
    }

    /// A row with the columns in the same order, but bound by no condition.
    ///
    /// # Errors
    /// As [`RowGrammar::new`].
    pub fn unbound(codebook: &Codebook, conditions: &Conditions) -> Result<Self> {
        let domains = Conditions::none(of(codebook)?).domains().to_vec();
        Ok(Self { domains, ..Self::new(codebook, conditions)? })
    }

    fn table(&self) -> &TableCodebook {
        of(&self.codebook).expect("a grammar is made of a table's codebook")
    }

    /// What the next value may be, given those before it.
    fn domain(&mut self, column: usize) -> Domain {
        let mut domains = std::mem::take(&mut self.domains);
        let (columns, constraints) = (self.table().columns(), self.table().constraints());
        constraints.propagate(columns, &mut domains, &self.cells);
        let domain = domains[column].clone();
        let together = constraints.together(column, &self.cells, &domains);
        self.domains = domains;
        match together {
            Some(together) => domain.both(&together),
            None => domain,
        }
    }

    fn close(&mut self, column: usize, cell: Cell) {
        self.cells[column] = Some(cell);
        self.domains[column] = Domain::exactly(cell);
        self.open = None;
    }

    /// The tokens that may come.
    fn allowed(&self) -> Vec<TokenId> {
        let table = self.table();
        let Some(Open { column, domain, bin, digits }) = &self.open else {
            return vec![self.to_come.last().map_or(END, |&column| table.column_token(column))];
        };
        let Some(bin) = bin else {
            let bins = table.columns()[*column].bins.iter().enumerate().filter(|(_, bin)| domain.meets(**bin));
            let bins = bins.map(|(i, _)| table.bin_token(*column, i));
            return bins.chain(domain.missing.then(|| table.missing_token(*column))).collect();
        };
        let place = bin.n_digits() as usize - digits.len() - 1;
        let fits = |digit: &u64| {
            let narrowed = bin.narrowed(&[digits, [*digit].as_slice()].concat());
            narrowed.is_some_and(|narrowed| domain.meets(narrowed))
        };
        (0..BASE).filter(fits).map(|digit| table.digit_token(*column, place, digit)).collect()
    }

    /// Ends the value when its digits are all there.
    fn close_if_whole(&mut self) {
        let Some(Open { column, bin: Some(bin), digits, .. }) = &self.open else { return };
        // The first of them may tell the code already; the others are written all the same.
        if digits.len() < bin.n_digits() as usize {
            return;
        }
        let (column, narrowed) = (*column, bin.narrowed(digits));
        if let Some(Bin { low, .. }) = narrowed {
            self.close(column, Cell::Code(low));
        }
    }
}

impl Constraint for RowGrammar {
    fn restrict(&mut self, mask: &mut TokenMask) {
        let mut allowed = TokenMask::none(mask.len());
        self.allowed().into_iter().filter(|&id| (id as usize) < mask.len()).for_each(|id| allowed.allow(id));
        mask.intersect(&allowed);
    }

    fn advance(&mut self, token: TokenId) {
        match self.table().meaning(token) {
            Meaning::Column(column) => {
                self.to_come.retain(|&other| other != column);
                let domain = self.domain(column);
                self.open = Some(Open { column, domain, bin: None, digits: Vec::new() });
            }
            Meaning::Missing(column) => self.close(column, Cell::Missing),
            Meaning::Bin(column, bin) => {
                let bin = self.table().columns()[column].bins[bin];
                if let Some(open) = &mut self.open {
                    open.bin = Some(bin);
                }
                self.close_if_whole();
            }
            Meaning::Digit { digit, .. } => {
                if let Some(open) = &mut self.open {
                    open.digits.push(digit);
                }
                self.close_if_whole();
            }
            Meaning::Special => {}
        }
    }
}
