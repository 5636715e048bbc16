//! What `genera generate` takes for tables.

use super::acceptance::RowSource;
use super::gan::GanMaker;
use super::maker::Maker;
use super::{completion, gan};
use crate::failure::{Failure, Outcome, While};
use crate::model::SpeakingModel;
use crate::run::directory::RunDirectory;
use crate::run::preparing::prepared_of;
use crate::show::number;
use crate::show::status_line::StatusLine;
use genera_engine::generate::Sampling;
use genera_engine::recipe::Recipe;
use genera_modality::table::{self, Conditions, TableCodebook, csv_line};
use serde_json::Value;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Options for rows of a table.
#[derive(Debug, clap::Args)]
pub struct RowOptions {
    /// Only rows of a table that meet these conditions, such as "income = >50K, age >= 30, country = Mexico | Canada";
    /// =, !=, <, <=, >, >= and ranges such as 20..30 are known, a value with a comma stands in double quotes.
    #[arg(long = "where", value_name = "CONDITIONS")]
    conditions: Vec<String>,
    /// Fill the gaps in the rows of this csv or Parquet file instead of making new rows.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["conditions", "n", "no_copies"])]
    complete: Option<PathBuf>,
    /// Refuse rows that are exact copies of training rows.
    #[arg(long)]
    no_copies: bool,
}

impl RowOptions {
    /// Refuses them for a model that makes no rows.
    ///
    /// # Errors
    /// When any is given.
    pub fn refuse(&self, model: &Path) -> Outcome<()> {
        if self.conditions.is_empty() && self.complete.is_none() && !self.no_copies {
            return Ok(());
        }
        Err(Failure::new(format!(
            "--where, --complete and --no-copies are for models of tables, and {} is none; leave them out",
            model.display()
        )))
    }

    /// Makes rows with a GAN, and writes them as csv, or each as a JSON object.
    ///
    /// # Errors
    /// As [`RowOptions::write`], and when gaps are to be filled in, which takes a Transformer.
    pub fn write_of_gan(
        &self,
        model: &gan::GanModel,
        path: &Path,
        (n, seed): (Option<u32>, u64),
        output: Option<&Path>,
        json: bool,
    ) -> Outcome {
        if self.complete.is_some() {
            return Err(Failure::new(
                "a GAN makes whole rows and cannot fill gaps; train a Transformer on the table (family = \"transformer\") for \
                 --complete",
            ));
        }
        let table = model.table()?;
        let conditions = Conditions::parse(table, &self.conditions.join(", "))?;
        let mut maker = GanMaker::new(model, conditions, seed)?;
        if self.no_copies {
            maker.acceptance().refuse_copies_of(&training_rows(path)?.train)?;
        }
        make(&mut maker, n.unwrap_or(10) as usize, &mut RowWriter::new(table, output, json)?)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Makes rows or fills them in, and writes them as csv, or each as a JSON object.
    ///
    /// # Errors
    /// When a condition is not legal, the model cannot make such rows, or the output cannot be written.
    pub fn write(
        &self,
        model: &SpeakingModel<'_>,
        path: &Path,
        n: Option<u32>,
        sampling: Sampling,
        output: Option<&Path>,
        json: bool,
    ) -> Outcome {
        let table = table::of(model.codebook)?;
        let conditions = Conditions::parse(table, &self.conditions.join(", "))?;
        if !self.conditions.is_empty() && !table.any_order() {
            eprintln!(
                "genera: this model learned the columns in one order only (table.any_order = false), so conditions on later \
                 columns do not act on earlier ones"
            );
        }
        if let (Some(input), Some(output)) = (&self.complete, output)
            && input.canonicalize().ok().zip(output.canonicalize().ok()).is_some_and(|(a, b)| a == b)
        {
            return Err(Failure::new("--complete and --output are one file; name another output"));
        }
        let mut maker = Maker::new(model.clone(), conditions, sampling.clone())?;
        if self.no_copies {
            maker.acceptance().refuse_copies_of(&training_rows(path)?.train)?;
        }
        let mut rows = RowWriter::new(table, output, json)?;
        match &self.complete {
            Some(file) => {
                let filled = completion::fill(model, file, sampling, &mut |row| rows.write(row))?;
                rows.finish()?;
                eprintln!("genera: {} rows, {} cells filled in", filled.n_rows, filled.n_cells);
                if let Some((n, first)) = &filled.unknown {
                    eprintln!(
                        "genera: {n} cells hold what their columns never held, first {first}; they stay, and the model went by \
                         the nearest value that it knows, or by none"
                    );
                }
                if filled.n_left > 0 {
                    eprintln!("genera: {} rows stay as they are: nothing legal goes with their cells", filled.n_left);
                }
            }
            None => make(&mut maker, n.unwrap_or(10) as usize, &mut rows)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes `n` rows.
///
/// # Errors
/// As [`RowSource::next`].
pub fn make(source: &mut dyn RowSource, n: usize, rows: &mut RowWriter<'_>) -> Outcome<()> {
    let (start, mut status, mut n_made) = (Instant::now(), StatusLine::new(), 0);
    while n_made < n {
        for row in source.next(n - n_made)? {
            rows.write(&row)?;
            n_made += 1;
        }
        status.show(|| {
            let left = start.elapsed().mul_f64(n as f64 / n_made as f64 - 1.0);
            format!("{n_made} of {n} rows, {} left", number::duration(left))
        });
    }
    rows.finish()
}

/// The prepared data that a run was trained on.
fn training_rows(path: &Path) -> Outcome<genera_data::Prepared> {
    let run = RunDirectory::open(path).map_err(|failure| {
        failure.and("--no-copies needs the training rows, which only a run directory has; name one with --model")
    })?;
    let recipe = Recipe::load(&run.recipe())?;
    if crate::plan::privacy::is_on(&recipe) {
        return Err(Failure::new(
            "this model was trained with privacy, and --no-copies would show which rows it was trained on; leave it out",
        ));
    }
    prepared_of(&run, &recipe)
}

/// Writes rows. A file is opened with the first of them: what lies there stays while anything else can be wrong.
pub struct RowWriter<'t> {
    table: &'t TableCodebook,
    path: Option<PathBuf>,
    out: Option<Box<dyn Write>>,
    json: bool,
}

/// Ends of names that say that a file holds something else than is written.
const OTHER_FORMATS: [&str; 5] = ["parquet", "tsv", "xlsx", "xls", "html"];

impl<'t> RowWriter<'t> {
    /// To a file, or to standard output; csv begins with the names of the columns.
    ///
    /// # Errors
    /// When the name of the file asks for another format.
    pub fn new(table: &'t TableCodebook, output: Option<&Path>, json: bool) -> Outcome<Self> {
        let extension = output.and_then(Path::extension).and_then(|extension| extension.to_str());
        if let Some(other) = extension.filter(|extension| OTHER_FORMATS.contains(&&*extension.to_ascii_lowercase())) {
            return Err(Failure::new(format!(
                "--output: rows are written as csv, or with --json as a JSON object on each line, and .{other} says something \
                 else; name it .csv or .jsonl"
            )));
        }
        Ok(Self { table, path: output.map(Path::to_owned), out: None, json })
    }

    fn out(&mut self) -> Outcome<&mut dyn Write> {
        if self.out.is_none() {
            let mut out: Box<dyn Write> = match &self.path {
                Some(path) => {
                    Box::new(BufWriter::new(File::create(path).during(format!("cannot write {}", path.display()))?))
                }
                None => Box::new(BufWriter::new(std::io::stdout())),
            };
            if !self.json {
                let names: Vec<String> = self.table.columns().iter().map(|column| column.name.clone()).collect();
                writeln!(out, "{}", csv_line(&names)).during("cannot write the rows")?;
            }
            self.out = Some(out);
        }
        Ok(self.out.as_deref_mut().expect("it was opened"))
    }

    fn write(&mut self, row: &[String]) -> Outcome<()> {
        let line = if self.json {
            let cells =
                self.table.columns().iter().zip(row).map(|(column, text)| (column.name.clone(), column.json(text)));
            Value::Object(cells.collect()).to_string()
        } else {
            csv_line(row)
        };
        writeln!(self.out()?, "{line}").during("cannot write the rows")
    }

    fn finish(&mut self) -> Outcome<()> {
        self.out()?.flush().during("cannot finish the rows")
    }
}
