//! What is asked for as JSON: how a molecule begins, and its properties.

use super::codebook::MoleculeCodebook;
use super::grammar::MoleculeGrammar;
use crate::input::{kind_of, only, wrong};
use crate::{Codebook, Input};
use genera_chemistry::Property;
use genera_data::Result;
use genera_engine::generate::Constraint;
use serde_json::{Map, Value, json};

/// The JSON Schema: a fragment, and a number for each property that the model learned to be asked for.
pub(super) fn schema(molecules: &MoleculeCodebook) -> Value {
    let mut fields = Map::new();
    let about = "SMILES that every molecule begins with; nothing for any molecule.";
    fields.insert("prompt".to_owned(), json!({ "type": "string", "title": "Fragment", "description": about }));
    for (property, _) in molecules.properties() {
        let about = format!("{}; nothing for any.", property.about());
        fields.insert(
            property.name().to_owned(),
            json!({ "type": "number", "title": property.name(), "description": about }),
        );
    }
    json!({ "type": "object", "properties": fields, "required": [], "additionalProperties": false })
}

/// Reads what [`schema`] describes.
///
/// # Errors
/// When there are other fields, a field is of another type, or no molecule begins so.
pub(super) fn read(codebook: &Codebook, asked: &Map<String, Value>) -> Result<Input> {
    let molecules = super::of(codebook)?;
    let known: Vec<&str> =
        std::iter::once("prompt").chain(molecules.properties().map(|(known, _)| known.name())).collect();
    only(asked, &known)?;
    let mut wanted = Vec::new();
    for (name, value) in asked.iter().filter(|(name, _)| *name != "prompt") {
        let property = Property::by_name(name).ok_or_else(|| wrong(format!("there is no property {name:?}")))?;
        let number = value.as_f64().ok_or_else(|| wrong(format!("{name} is {}; expected a number", kind_of(value))))?;
        wanted.push((property, number));
    }
    let line = match asked.get("prompt") {
        None => "",
        Some(Value::String(text)) => text.trim(),
        Some(other) => return Err(wrong(format!("prompt is {}; expected SMILES as a text", kind_of(other)))),
    };
    let prompt = molecules.encode_beginning(line, &wanted)?;
    let grammar = MoleculeGrammar::new(codebook, &prompt)?;
    let guidance = molecules.guidance(&prompt, line, super::GUIDANCE)?;
    let constraint = move || Box::new(grammar.clone()) as Box<dyn Constraint>;
    Ok(Input { given: prompt.clone(), prompt, guidance, constraint: Some(Box::new(constraint)) })
}

/// A molecule with its properties; `None` for what is none.
pub(super) fn value(smiles: &str) -> Option<Value> {
    let molecule = genera_chemistry::Molecule::parse(smiles)?;
    let mut value = json!({ "smiles": smiles });
    for property in Property::known() {
        let number = property.of(&molecule);
        value[property.name()] = if property == Property::Rings {
            json!(number as u64)
        } else {
            // Beyond that no property is known.
            json!((number * 1e4).round() / 1e4)
        };
    }
    Some(value)
}
