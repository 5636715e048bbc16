//! What a person says about a table beyond its file.

use super::column::Column;
use genera_data::{Error, Result};

/// How the columns of a table are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSettings {
    /// The names of the columns, in the order in which documents have them.
    pub columns: Vec<String>,
    /// What columns hold, where that is not to be found out, each as in `age = integer`.
    pub types: Vec<String>,
    /// What holds in each row, each as in `start <= end`.
    pub constraints: Vec<String>,
    /// Columns whose values only stand together as they do in the data, each as in `city + country`.
    pub combinations: Vec<String>,
    /// Columns that together never repeat, each as in `id` or `name + birth`.
    pub unique: Vec<String>,
    /// What columns may hold, said beforehand: each as in `age = 17..90` or `sex = Male | Female`.
    pub domains: Vec<String>,
    /// Whether nothing about a column may be found out from the rows.
    pub is_private: bool,
    /// Bins of a number at most.
    pub n_bins: usize,
    /// Categories with fewer rows are merged, and as many of the least and greatest numbers become one.
    pub protect_rare: usize,
    /// Whether any columns may be given, so that each order of given and wanted ones is learned.
    pub any_order: bool,
}

impl Default for TableSettings {
    fn default() -> Self {
        Self {
            columns: Vec::new(),
            types: Vec::new(),
            constraints: Vec::new(),
            combinations: Vec::new(),
            unique: Vec::new(),
            domains: Vec::new(),
            is_private: false,
            n_bins: 128,
            protect_rare: 0,
            any_order: true,
        }
    }
}

/// What a person may say that a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Number,
    Integer,
    Category,
    Boolean,
    Date,
    Id,
}

const TYPES: [(&str, Type); 6] = [
    ("number", Type::Number),
    ("integer", Type::Integer),
    ("category", Type::Category),
    ("boolean", Type::Boolean),
    ("date", Type::Date),
    ("id", Type::Id),
];

impl TableSettings {
    /// What each column is said to hold.
    ///
    /// # Errors
    /// When a column or type is unknown; the known ones are listed.
    pub(super) fn types_by_column(&self) -> Result<Vec<Option<Type>>> {
        let mut types = vec![None; self.columns.len()];
        for text in &self.types {
            let wrong = || settings(format!("table.types: {text:?} is not of the form \"column = type\""));
            let (name, wanted) = text.rsplit_once('=').ok_or_else(wrong)?;
            let known = TYPES.iter().find(|(name, _)| *name == wanted.trim().to_ascii_lowercase());
            let (_, wanted) = known.ok_or_else(|| {
                let names = TYPES.map(|(name, _)| name).join(", ");
                settings(format!("table.types: unknown type '{}' in {text:?}; known are {names}", wanted.trim()))
            })?;
            types[find(&self.columns, name, "table.types")?] = Some(*wanted);
        }
        Ok(types)
    }

    /// Makes sure that nothing about the columns comes from the rows.
    ///
    /// # Errors
    /// When a column is not declared, or combinations are to be taken from the rows.
    pub(super) fn check_private(&self, declared: &[Option<Column>]) -> Result<()> {
        let open = self.columns.iter().zip(declared).filter(|(_, column)| column.is_none());
        let open: Vec<&str> = open.map(|(name, _)| name.as_str()).collect();
        if !open.is_empty() {
            return Err(settings(format!(
                "with privacy, what a column may hold must not be found out from the rows, and nothing is said of {}. Say it \
                 in the recipe, from what is known without them: table.domains = [\"age = 0..120\", \"sex = Male | Female | \
                 missing\"], or leave columns out with table.skip",
                open.join(", ")
            )));
        }
        if !self.combinations.is_empty() {
            return Err(settings(
                "table.combinations takes from the rows which values stand together, and so shows single rows; with privacy \
                 leave it out",
            ));
        }
        Ok(())
    }

    /// The columns of each group such as `city + country`.
    ///
    /// # Errors
    /// When a column is unknown.
    pub(super) fn groups(&self, groups: &[String], key: &str) -> Result<Vec<Vec<usize>>> {
        let group = |text: &String| {
            // A name may have a plus of its own.
            if let Ok(whole) = find(&self.columns, text, key) {
                return Ok(vec![whole]);
            }
            text.split(" + ").map(|name| find(&self.columns, name, key)).collect()
        };
        groups.iter().map(group).collect()
    }
}

/// The place of the column of this name.
///
/// # Errors
/// When there is none; the known ones are listed.
pub(super) fn find(columns: &[String], name: &str, place: &str) -> Result<usize> {
    let name = name.trim();
    columns.iter().position(|column| column.trim() == name).ok_or_else(|| {
        settings(format!("{place}: there is no column {name:?}; the columns are {}", columns.join(", ")))
    })
}

pub(super) fn settings(problem: impl Into<String>) -> Error {
    Error::Settings { problem: problem.into() }
}
