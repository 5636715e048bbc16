use super::{Purpose, load_hf};
use crate::config::ModelConfig;
use crate::model::{Mode, Rows, Transformer, initial_params};
use crate::weights::config_json::parse;
use crate::weights::safetensors::{NamedView, Reader, write};
use crate::weights::{CardFacts, SpecialIds, export_hf};
use genera_tensor::quant::Format;
use genera_tensor::{DType, Device, Key, Tape, Tensor, View};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

fn small(model_type: &str) -> ModelConfig {
    let json = json!({
        "model_type": model_type, "vocab_size": 12, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 8,
        "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 8,
    });
    parse(Path::new("config.json"), json.as_object().unwrap()).unwrap().model
}

/// A model in a directory whose tensors are f32.
fn exported(model_type: &str, directory: &Path, device: &Device) {
    let config = small(model_type);
    let params = initial_params(&config, 1, DType::F32, device);
    let mut model = Transformer::new(config, params, device);
    let ids: Vec<_> = (0..model.params().len()).map(genera_tensor::ParamId).collect();
    for id in ids {
        let shape = model.params().specs()[id.0].shape;
        let values: Vec<f32> = (0..shape.n_elements() as u64).map(|i| 0.3 * Key::new(id.0 as u64).normal(i)).collect();
        model.params_mut().set(id, &Tensor::from_f32(device, shape, &values));
    }
    export_hf(&model, directory, &SpecialIds::default(), &CardFacts::default()).unwrap();
}

/// Makes the tensors of a file with matrices in it numbers of 16 bits.
fn narrow(path: &Path, format: Format) {
    let reader = Reader::open(path).unwrap();
    let tensors: Vec<_> = reader.entries().iter().map(|entry| (entry.name.clone(), entry.shape.clone())).collect();
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, shape) in tensors {
        let numbers = reader.read_any(&name).unwrap();
        let start = data.len();
        data.resize(start + format.bytes_of(numbers.len()), 0);
        format.encode(&numbers, &mut data[start..]);
        let dtype = format.name().to_uppercase();
        header.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, data.len()] }));
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    std::fs::write(path, bytes).unwrap();
}

fn logits(model: &Transformer) -> Vec<f32> {
    let tape = Tape::inference(model.device());
    let hidden = model.decode(&tape, &Rows::dense(5, &[3, 1, 4, 1, 5]), None, Mode::default());
    model.logits(&hidden).to_vec()
}

/// Rows as they are, transposed, and head by head.
#[test]
fn numbers_of_16_bits_are_kept_so_and_multiplied_in_f32() {
    let device = Device::cpu(2);
    for name in ["llama", "gpt2", "gpt_neox"] {
        for format in [Format::F16, Format::Bf16] {
            let directory = tempfile::tempdir().unwrap();
            exported(name, directory.path(), &device);
            narrow(&directory.path().join("model.safetensors"), format);
            let loaded = |purpose| load_hf(directory.path(), &device, purpose).unwrap();
            let (stored, widened) = (loaded(Purpose::UseAsStored(DType::F32)), loaded(Purpose::Use(DType::F32)));
            assert_eq!(logits(&stored), logits(&widened), "{name} {format:?}");
            let [narrow, wide] = [&stored, &widened].map(|model| model.params().product_bytes());
            assert!(narrow > 0 && narrow * 10 <= wide * 6, "{name} {format:?}: {narrow} of {wide} bytes");
        }
    }
}

/// A file may mix its types; the rows of a fused matrix then have none in common.
#[test]
fn parts_of_different_types_are_widened() {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    exported("llama", directory.path(), &device);
    let path = directory.path().join("model.safetensors");
    narrow(&path, Format::Bf16);
    let reader = Reader::open(&path).unwrap();
    let tensors: Vec<_> = reader.entries().iter().map(|entry| (entry.name.clone(), entry.shape.clone())).collect();
    let numbers: Vec<_> = tensors.iter().map(|(name, _)| reader.read_any(name).unwrap()).collect();
    let halves: Vec<Vec<half::bf16>> =
        numbers.iter().map(|numbers| numbers.iter().map(|x| half::bf16::from_f32(*x)).collect()).collect();
    let views = tensors.iter().zip(&numbers).zip(&halves).map(|(((name, shape), numbers), halves)| NamedView {
        name: name.clone(),
        shape: shape.clone(),
        data: if name.contains("k_proj") { View::F32(numbers) } else { View::Bf16(halves) },
    });
    let views: Vec<_> = views.collect();
    write(&mut File::create(&path).unwrap(), &BTreeMap::new(), &views).unwrap();
    let loaded = |purpose| load_hf(directory.path(), &device, purpose).unwrap();
    let (stored, widened) = (loaded(Purpose::UseAsStored(DType::F32)), loaded(Purpose::Use(DType::F32)));
    assert_eq!(logits(&stored), logits(&widened));
    assert!(stored.params().product_bytes() < widened.params().product_bytes());
}
