//! Rows by a GAN.

use super::acceptance::{Acceptance, Row, RowSource, too_few};
use crate::failure::{Failure, Outcome};
use crate::run::directory::RunDirectory;
use genera_data::Tokenizer;
use genera_engine::gan::{RowGenerator, load_generator};
use genera_engine::recipe::{Family, Recipe};
use genera_modality::table::{Conditions, Features, TableCodebook};
use genera_modality::{Codebook, Modality, Table, table};
use genera_tensor::Device;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of the generator, in the directory of a model.
pub const GENERATOR: &str = "gan.safetensors";

/// Rows made at a time.
const GROUP: usize = 1024;

/// Rows that may be refused for each that is wanted.
const MOST_REFUSED: usize = 400;

/// A generator with what its rows mean.
pub struct GanModel {
    codebook: Codebook,
    features: Features,
    generator: RowGenerator,
}

impl GanModel {
    /// Puts together what was trained.
    pub fn new(codebook: Codebook, features: Features, generator: RowGenerator) -> Self {
        Self { codebook, features, generator }
    }

    /// The columns of its rows.
    ///
    /// # Errors
    /// When the codebook is not a table's.
    pub fn table(&self) -> Outcome<&TableCodebook> {
        Ok(table::of(&self.codebook)?)
    }

    /// Writes generator, features and columns into a directory.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn save(&self, directory: &Path) -> Outcome<()> {
        genera_engine::gan::save_generator(&self.generator, &directory.join(GENERATOR))?;
        self.features.save(directory)?;
        Tokenizer::save(&*self.codebook, directory)?;
        Ok(())
    }
}

/// The directory of a GAN behind a path: a run of that family, or the model in it; `None` for other models.
///
/// # Errors
/// When the recipe of a run cannot be read.
pub fn directory(path: &Path) -> Outcome<Option<PathBuf>> {
    if path.join("recipe.toml").is_file() {
        let run = RunDirectory::open(path)?;
        let is_gan = Recipe::load(&run.recipe())?.model.family == Family::Gan;
        return Ok(is_gan.then(|| run.model()));
    }
    Ok(path.join(GENERATOR).is_file().then(|| path.to_owned()))
}

/// Reads a GAN.
///
/// # Errors
/// When it is not there yet, or damaged.
pub fn load(directory: &Path, device: &Device) -> Outcome<GanModel> {
    let file = directory.join(GENERATOR);
    if !file.is_file() {
        return Err(Failure::new(format!("{} does not exist yet; it is written when training stops", file.display())));
    }
    let codebook = Table.load_codebook(directory)?;
    let features = Features::load(directory, table::of(&codebook)?)?;
    let generator = load_generator(&file, device)?;
    if generator.config().parts != features.parts(table::of(&codebook)?) {
        return Err(Failure::new(format!("{} is of another table than the columns beside it", file.display())));
    }
    Ok(GanModel { codebook, features, generator })
}

/// Makes rows with a GAN.
pub struct GanMaker<'m> {
    model: &'m GanModel,
    table: &'m TableCodebook,
    conditions: Conditions,
    acceptance: Acceptance<'m>,
    seed: u64,
    n_asked: u64,
}

impl<'m> GanMaker<'m> {
    /// A maker of rows that meet the conditions.
    ///
    /// # Errors
    /// When the codebook is not a table's.
    pub fn new(model: &'m GanModel, conditions: Conditions, seed: u64) -> Outcome<Self> {
        let table = model.table()?;
        Ok(Self { model, table, conditions, acceptance: Acceptance::new(table), seed, n_asked: 0 })
    }

    /// What decides which rows are taken.
    pub fn acceptance(&mut self) -> &mut Acceptance<'m> {
        &mut self.acceptance
    }

    /// The next rows as they come.
    fn draw(&mut self, n: usize) -> Vec<Row> {
        let GanModel { features, generator, .. } = self.model;
        let (table, first) = (self.table, self.n_asked);
        self.n_asked += n as u64;
        let conditions = features.conditions(table, &self.conditions, n, self.seed, first);
        let width = generator.config().n_features();
        let rows = generator.make(&conditions, n, self.seed, first);
        rows.chunks(width).map(|row| features.decode(table, row)).collect()
    }
}

impl RowSource for GanMaker<'_> {
    fn next(&mut self, n_wanted: usize) -> Outcome<Vec<Vec<String>>> {
        let (mut rows, mut n_tried, n) = (Vec::new(), 0, n_wanted.min(GROUP));
        while rows.len() < n {
            if n_tried > MOST_REFUSED * n + GROUP {
                return Err(too_few(n_tried, rows.len()));
            }
            n_tried += GROUP;
            for row in self.draw(GROUP) {
                // A condition tells the generator what is wanted, and does not bind it.
                let is_legal =
                    self.conditions.are_met(&row) && self.table.constraints().hold(self.table.columns(), &row);
                if is_legal && rows.len() < n {
                    rows.extend(self.acceptance.take(&row));
                }
            }
        }
        Ok(rows)
    }
}

/// The codebook and features of a run that was prepared.
///
/// # Errors
/// When the features are missing or damaged.
pub fn features_of(codebook: &Arc<dyn Tokenizer>, directory: &Path) -> Outcome<Features> {
    Ok(Features::load(directory, table::of(codebook)?)?)
}
