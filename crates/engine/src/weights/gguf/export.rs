//! A model as a GGUF file, for llama.cpp and others.

use super::architecture;
use super::dialect::Dialect;
use super::header::Value;
use super::pairs;
use super::tokenizer::{self, TokenizerFiles};
use super::write::{self, Planned};
use super::{ends, sampling_metadata};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::Transformer;
use crate::params::layout;
use crate::weights::config_json::SpecialIds;
use crate::weights::express::{Expression, express_as};
use crate::weights::generation::PublishedGeneration;
use crate::weights::names::Sources;
use crate::weights::origin::Origin;
use crate::weights::pooling;
use crate::weights::written::{Data, Written, format_of_matrices, split};
use genera_tensor::quant::Format;
use std::path::Path;

/// What goes into a file beside the weights.
#[derive(Clone, Debug)]
pub struct GgufFacts {
    /// Name of the model.
    pub name: String,
    /// Ids with a meaning.
    pub special: SpecialIds,
    /// How it is to answer, as far as that is known.
    pub generation: PublishedGeneration,
    /// Its licence, its authors and its base.
    pub origin: Origin,
    /// Its tokenizer; none makes a file of weights alone.
    pub tokenizer: Option<TokenizerFiles>,
}

/// Writes a model with its matrices in `format`. Where a row is not whole blocks of it the nearest format of at least as
/// many bits takes its place, and vectors stay f32. With fewer than 8 bits the table of tokens and the head get 8, but with
/// q6_k 6 as all else: what they lose, every token loses. Without a format it is that in which all matrices are stored, of 16
/// bits, or else f32. What adapters add is added to the weights. Returns what the user should know of what could not be
/// written.
///
/// # Errors
/// [`Error::Config`] when llama.cpp has no such architecture or tokenizer, or a number is too large for the format; when a file
/// cannot be read or written.
///
/// # Cost
/// Memory: as [`export_hf`](crate::weights::export_hf).
pub fn export_gguf(
    model: &Transformer,
    path: &Path,
    format: Option<Format>,
    facts: &GgufFacts,
) -> Result<Option<String>> {
    if let Some(format) = format.filter(|format| !format.can_encode()) {
        return Err(Error::Config(format!("{} is read, not written", format.name())));
    }
    let format = format.unwrap_or_else(|| format_of_matrices(model.params()));
    let config = model.config();
    let Expression { family, json, model: theirs, .. } = express_as(config, model.published_as())
        .map_err(|reason| Error::Config(format!("it cannot be a GGUF file: {reason}")))?;
    let dialect = architecture::dialect(family.model_type, config)?;
    let mut metadata = vec![
        ("general.architecture".to_owned(), Value::Text(dialect.name.to_owned())),
        (tokenizer::NAME.to_owned(), Value::Text(facts.name.clone())),
        ("general.file_type".to_owned(), Value::Integer(file_type(format))),
        ("general.quantization_version".to_owned(), Value::Integer(2)),
    ];
    metadata.extend(facts.origin.metadata().filter(|(key, _)| key != tokenizer::NAME));
    metadata.extend(architecture::metadata(dialect, &json, config));
    let (pooling, note) = model.pooling().map_or((None, None), pooling::to_gguf);
    let key = format!("{}.{}", dialect.name, architecture::POOLING);
    metadata.extend(pooling.map(|number| (key, Value::Integer(number.into()))));
    metadata.extend(sampling_metadata(&facts.generation));
    let SpecialIds { begin, padding, end, .. } = &facts.special;
    let ids = [("bos", *begin), ("eos", end.first().copied()), ("padding", *padding)];
    let ids = ids.into_iter().filter_map(|(key, id)| Some((format!("tokenizer.ggml.{key}_token_id"), id?)));
    let ids = ids.chain(ends::keys(&facts.special));
    // Some published files name ids that the vocabulary lacks.
    let ids = ids.filter(|&(_, id)| (id as usize) < config.vocab_size);
    metadata.extend(ids.map(|(key, id)| (key, Value::Integer(id.into()))));
    if let Some(files) = &facts.tokenizer {
        let known: Vec<String> = metadata.iter().map(|(key, _)| key.clone()).collect();
        let more = tokenizer::metadata(files, config.vocab_size)
            .map_err(|reason| Error::Config(format!("its tokenizer cannot be in a GGUF file: {reason}")))?;
        metadata.extend(more.into_iter().filter(|(key, _)| !known.contains(key)));
    }
    write::write(path, &metadata, &tensors(model, &theirs, dialect, format))?;
    Ok(note)
}

/// The tensors by their names in such files, matrices in the format that is wanted.
fn tensors<'m>(model: &'m Transformer, theirs: &ModelConfig, dialect: &Dialect, wanted: Format) -> Vec<Planned<'m>> {
    let (d_head, table) = (theirs.last_stack().attention.d_head, dialect.names());
    let mut tensors: Vec<Planned<'m>> = Vec::new();
    for spec in layout(theirs) {
        let data = Data::of(model.params(), &spec.name).unwrap_or_else(|| Data::zeros(&spec));
        let sources = Sources::of(table.rows, theirs, &spec)
            .unwrap_or_else(|| panic!("{} has no name for '{}' in a GGUF file", dialect.name, spec.name));
        for Written { name, mut shape, data } in split(sources, data, &spec) {
            let numbers = if dialect.has_pairs && pairs::is_turned(&name) {
                let n_rows = shape[0];
                data.then(move |data| pairs::reordered(&data, data.len() / n_rows, d_head, true))
            } else {
                data
            };
            let format = format_of(&name, &shape, wanted);
            let Some(whole) = table.cuts.iter().find_map(|cut| cut.whole_of(&name)) else {
                tensors.push(Planned { format, name, shape, parts: vec![numbers] });
                continue;
            };
            // One tensor for all experts, which follow each other here too.
            match tensors.iter_mut().find(|tensor| tensor.name == whole) {
                Some(tensor) => {
                    tensor.shape[0] += 1;
                    tensor.parts.push(numbers);
                }
                None => {
                    shape.insert(0, 1);
                    tensors.push(Planned { format, name: whole, shape, parts: vec![numbers] });
                }
            }
        }
    }
    for (name, factors) in architecture::rope_factors(dialect, theirs) {
        let (name, shape) = (name.to_owned(), vec![factors.len()]);
        tensors.push(Planned { name, shape, format: Format::F32, parts: vec![Data::Numbers(factors.into())] });
    }
    tensors
}

/// Small matrices that llama.cpp expects in f32.
const ALWAYS_F32: [&str; 2] = ["position_embd.weight", ".ffn_gate_inp.weight"];

/// The format of a tensor, when matrices are wanted in `wanted`.
fn format_of(name: &str, shape: &[usize], wanted: Format) -> Format {
    let [_, .., width] = *shape else { return Format::F32 };
    if ALWAYS_F32.iter().any(|end| name.ends_with(end)) {
        return Format::F32;
    }
    let is_coded = wanted.coding().is_some();
    let is_table = name == "token_embd.weight" || name == "output.weight";
    let wanted = match wanted {
        Format::Q6K if is_table => Format::Q6K,
        _ if is_coded && is_table => Format::Q8_0,
        _ => wanted,
    };
    let fallbacks: &[Format] = match wanted {
        Format::Q4K => &[Format::Q4K, Format::Q5_0],
        Format::Q6K => &[Format::Q6K, Format::Q8_0],
        _ => &[wanted],
    };
    fallbacks.iter().copied().find(|format| width.is_multiple_of(format.block_len())).unwrap_or(Format::F16)
}

/// llama.cpp's number for files that are mostly in a format.
fn file_type(format: Format) -> i128 {
    match format {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::Q4_0 => 2,
        Format::Q4_1 => 3,
        Format::Q8_0 => 7,
        Format::Q5_0 => 8,
        Format::Q5_1 => 9,
        Format::Q2K => 10,
        Format::Q3K => 12,
        Format::Q4K => 15,
        Format::Q5K => 17,
        Format::Q6K => 18,
        Format::Bf16 => 32,
    }
}

#[cfg(test)]
mod tests;
