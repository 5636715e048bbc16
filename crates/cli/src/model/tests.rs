//! What is made elsewhere answers as it does there.

use super::*;
use genera_data::SpecialTokens;
use genera_data::tokenize::Bytes;
use genera_engine::model::initial_params;
use std::sync::Arc;

const PADDING: u32 = 256;
const BEGIN: u32 = 257;
const END: u32 = 258;

/// A small model of bytes that knows nothing.
pub(crate) fn untrained(preset: &str, end: Vec<u32>) -> LoadedModel {
    let shape = "n_layers = 1\nn_heads = 2\nd_model = 16\ncontext_len = 32";
    let recipe = Recipe::parse(&format!("[model]\npreset = \"{preset}\"\n{shape}\n")).unwrap();
    let codebook: Codebook = Arc::new(Bytes::new(&SpecialTokens::standard()));
    let (config, device) = (recipe.model.config(codebook.vocab().size).unwrap(), Device::cpu(1));
    let params = initial_params(&config, 7, DType::F32, &device);
    let special = SpecialIds { end, ..SpecialIds::of(&codebook.vocab().special, &config) };
    let modality: &'static dyn Modality = if config.is_encoder_decoder() { &Translation } else { &Text };
    LoadedModel {
        place: PathBuf::from("elsewhere"),
        transformer: Transformer::new(config, params, &device),
        codebook: Some(codebook),
        modality,
        special,
        defaults: GenerateRecipe::default(),
        published: PublishedGeneration::default(),
        recipe: None,
        step: None,
    }
}

/// Qwen2.5 ends at its padding; files name ends that the model does not have.
#[test]
fn a_published_model_may_say_all_and_no_model_is_kept_from_ending() {
    let mut model = untrained("llama", vec![PADDING, 500]);
    let (ends, forbidden) = (model.speaking().unwrap().stop_ids(), model.speaking().unwrap().forbidden());
    assert_eq!((ends, forbidden), (vec![PADDING, END], vec![]));
    model.recipe = Some(Recipe::parse("").unwrap());
    assert_eq!(model.speaking().unwrap().forbidden(), [BEGIN]);
    model.special.end = vec![];
    assert_eq!(model.speaking().unwrap().forbidden(), [PADDING, BEGIN]);
}

#[test]
fn special_tokens_are_read_where_that_is_asked_for() {
    let check = |preset: &str, text: &str, plain: bool, expect: &[u32]| {
        let model = untrained(preset, vec![]);
        let model = model.speaking().unwrap();
        let read = if plain { model.encode(text) } else { model.encode_with_special(text) };
        assert_eq!(read.unwrap(), expect, "{preset}: {text}");
    };
    check("llama", "<s>", true, &[BEGIN, 60, 115, 62]);
    check("llama", "a<pad>b", false, &[BEGIN, 97, PADDING, 98]);
    check("llama", "<s>a", false, &[BEGIN, 97]);
    check("t5", "a<pad>b", false, &[97, PADDING, 98, END]);
    check("t5", "a</s>", false, &[97, END]);
}
