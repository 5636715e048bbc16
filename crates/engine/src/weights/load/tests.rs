use super::{Purpose, load_hf};
use crate::config::{Head, ModelConfig};
use crate::error::Error;
use crate::model::{Mode, Pooling, Rows, Taken, Transformer, initial_params};
use crate::weights::config_json::parse;
use crate::weights::safetensors::{NamedView, Reader, write};
use crate::weights::{
    CardFacts, GgufFacts, LoraSettings, Origin, PublishedGeneration, SpecialIds, attach_new, export_gguf, export_hf,
    unfinished, unfinished_files,
};
use genera_tensor::quant::Format;
use genera_tensor::{DType, Device, Gradients, Key, Tape, Tensor, View};
use genera_tokens::{Batch, Source};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::path::Path;
use tempfile::TempDir;

fn small(model_type: &str) -> ModelConfig {
    let json = json!({
        "model_type": model_type, "vocab_size": 12, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 8,
        "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 8, "d_model": 16, "head_dim": 8, "d_kv": 8, "d_ff": 32,
        "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_layers": 1, "num_heads": 2,
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
    export_hf(&model, directory, &SpecialIds::default(), &PublishedGeneration::default(), &CardFacts::default(), None)
        .unwrap();
}

/// All that an export may leave when it is ended is known.
#[test]
fn the_files_of_an_export_are_known() {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let config = small("llama");
    let mut model = Transformer::new(config.clone(), initial_params(&config, 1, DType::F32, &device), &device);
    model.set_pooling(Some(Pooling::default()));
    let facts = (PublishedGeneration::default(), CardFacts::default());
    export_hf(&model, directory.path(), &SpecialIds::default(), &facts.0, &facts.1, None).unwrap();
    let files = |directory: &Path| {
        let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    let written = [files(directory.path()), files(&directory.path().join("1_Pooling"))].concat();
    let mut expected: Vec<_> = written.iter().map(|path| unfinished(path)).collect();
    let mut known = unfinished_files(directory.path());
    expected.sort();
    known.sort();
    assert_eq!(known, expected);
}

/// An export says what it cannot hold.
#[test]
fn ways_of_pooling_that_are_not_written_are_named() {
    let (device, directory) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let config = small("llama");
    let mut model = Transformer::new(config.clone(), initial_params(&config, 1, DType::F32, &device), &device);
    for (taken, expected) in [(Taken::Largest, None), (Taken::Unknown("the modules A, B".to_owned()), Some("A, B"))] {
        model.set_pooling(Some(Pooling { taken, ..Pooling::default() }));
        let special = SpecialIds::default();
        let facts = (PublishedGeneration::default(), CardFacts::default());
        let note = export_hf(&model, directory.path(), &special, &facts.0, &facts.1, None).unwrap().note;
        assert_eq!(note.is_some(), expected.is_some(), "{note:?}");
        assert!(note.iter().zip(expected).all(|(note, expected)| note.contains(expected)), "{note:?}");
    }
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

/// Logits, or hidden states where there is no head.
fn logits(model: &Transformer) -> Vec<f32> {
    let (tape, rows) = (Tape::inference(model.device()), Rows::dense(5, &[3, 1, 4, 1, 5]));
    let memory = model.config().is_encoder_decoder().then(|| model.encode(&tape, &rows, Mode::default()));
    let hidden = model.decode(&tape, &rows, memory, Mode::default());
    if model.config().head == Head::None { hidden.tensor().to_vec() } else { model.logits(&hidden).to_vec() }
}

/// Name, shape and numbers of each tensor.
type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// A model in a directory whose files are changed.
fn changed(
    model_type: &str,
    config: impl FnOnce(&mut Map<String, Value>),
    weights: impl FnOnce(&mut Tensors),
) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    exported(model_type, directory.path(), &Device::cpu(1));
    let path = directory.path().join("config.json");
    let mut map = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config(&mut map);
    std::fs::write(path, json!(map).to_string()).unwrap();
    let path = directory.path().join("model.safetensors");
    let reader = Reader::open(&path).unwrap();
    let entries = reader.entries().iter();
    let mut tensors: Tensors =
        entries.map(|entry| (entry.name.clone(), entry.shape.clone(), reader.read_any(&entry.name).unwrap())).collect();
    weights(&mut tensors);
    let views = tensors.iter().map(|(name, shape, numbers)| NamedView {
        name: name.clone(),
        shape: shape.clone(),
        data: View::F32(numbers),
    });
    write(&mut File::create(&path).unwrap(), &BTreeMap::new(), &views.collect::<Vec<_>>()).unwrap();
    directory
}

fn outcome(directory: &TempDir) -> Result<Vec<f32>, String> {
    let loaded = load_hf(directory.path(), &Device::cpu(1), Purpose::Use(DType::F32));
    loaded.map(|model| logits(&model)).map_err(|error| error.to_string())
}

fn renamed(tensors: &mut Tensors, from: &str, to: &str) {
    tensors.iter_mut().for_each(|(name, ..)| *name = name.replace(from, to));
}

/// The place of a tensor.
fn at(tensors: &Tensors, name: &str) -> usize {
    tensors.iter().position(|(known, ..)| known == name).unwrap()
}

fn copied(tensors: &mut Tensors, from: &str, to: &str) {
    let (_, shape, numbers) = tensors[at(tensors, from)].clone();
    tensors.push((to.to_owned(), shape, numbers));
}

fn nested(map: &mut Map<String, Value>) {
    let text = std::mem::take(map);
    map.extend([("model_type".to_owned(), json!("gemma3")), ("text_config".to_owned(), json!(text))]);
}

fn beside_vision(tensors: &mut Tensors, prefix: &str) {
    renamed(tensors, "model.", prefix);
    tensors.push(("vision_tower.head.probe".to_owned(), vec![1, 1, 2], vec![0.0; 2]));
    tensors.push(("multi_modal_projector.mm_soft_emb_norm.weight".to_owned(), vec![2], vec![0.0; 2]));
}

/// Files of older versions of the library, of other classes and of other programs mean the same.
#[test]
fn weights_are_found_under_all_their_names() {
    let plain = |model_type: &str| outcome(&changed(model_type, |_| {}, |_| {})).unwrap();
    let as_roberta = |map: &mut Map<String, Value>| {
        map.extend(
            [("model_type", json!("xlm-roberta")), ("max_position_embeddings", json!(10)), ("pad_token_id", json!(1))]
                .map(|(key, value)| (key.to_owned(), value)),
        );
    };
    let cases: [(&str, TempDir); 9] = [
        (
            "bert",
            changed(
                "bert",
                |_| {},
                |tensors| {
                    renamed(tensors, "LayerNorm.weight", "LayerNorm.gamma");
                    renamed(tensors, "LayerNorm.bias", "LayerNorm.beta");
                    tensors.iter_mut().for_each(|(name, ..)| *name = format!("bert.{name}"));
                    tensors.push(("cls.predictions.bias".to_owned(), vec![1], vec![0.0]));
                    tensors.push(("qa_outputs.bias".to_owned(), vec![1], vec![0.0]));
                },
            ),
        ),
        (
            "bert",
            changed("bert", as_roberta, |tensors| {
                let at = at(tensors, "embeddings.position_embeddings.weight");
                let (name, _, numbers) = &tensors[at];
                tensors[at] = (name.clone(), vec![10, 16], [vec![7.0; 32], numbers.clone()].concat());
                tensors.iter_mut().for_each(|(name, ..)| *name = format!("roberta.{name}"));
                tensors.push(("lm_head.bias".to_owned(), vec![1], vec![0.0]));
            }),
        ),
        ("gemma3_text", changed("gemma3_text", nested, |tensors| beside_vision(tensors, "language_model.model."))),
        ("gemma3_text", changed("gemma3_text", nested, |tensors| beside_vision(tensors, "model.language_model."))),
        ("marian", changed("marian", |_| {}, |tensors| copied(tensors, "model.shared.weight", "lm_head.weight"))),
        ("marian", changed("marian", |_| {}, |tensors| renamed(tensors, "model.shared.weight", "lm_head.weight"))),
        (
            "bart",
            changed(
                "bart",
                |_| {},
                |tensors| {
                    tensors.push(("model.encoder.version".to_owned(), vec![1], vec![3.0]));
                },
            ),
        ),
        ("gpt_neox", changed("gpt_neox", |_| {}, |tensors| renamed(tensors, "embed_out.weight", "lm_head.weight"))),
        ("llama", changed("llama", |_| {}, |_| {})),
    ];
    let (from, to) = ("model.safetensors", "model-00001-of-00001.safetensors");
    std::fs::rename(cases[8].1.path().join(from), cases[8].1.path().join(to)).unwrap();
    for (i, (model_type, directory)) in cases.iter().enumerate() {
        assert_eq!(outcome(directory), Ok(plain(model_type)), "case {i}, {model_type}");
    }
}

/// A head that is the embedding may be in the files once more, under any of its names, and one that is not counts.
#[test]
fn heads_of_tied_models_are_compared_under_all_their_names() {
    let tied = |map: &mut Map<String, Value>| drop(map.insert("tie_word_embeddings".to_owned(), json!(true)));
    let with = |names: &[&str], change: f32| {
        let files = changed("gpt_neox", tied, |tensors| {
            tensors.remove(at(tensors, "embed_out.weight"));
            for name in names {
                copied(tensors, "gpt_neox.embed_in.weight", name);
            }
            tensors.last_mut().unwrap().2[0] += change;
        });
        outcome(&files)
    };
    let expected = with(&[], 0.0);
    assert!(expected.is_ok(), "{expected:?}");
    for names in [&["embed_out.weight"][..], &["lm_head.weight"], &["embed_out.weight", "lm_head.weight"]] {
        assert_eq!(with(names, 0.0), expected, "{names:?}");
    }
    assert!(with(&["lm_head.weight"], 1.0).is_ok_and(|logits| Ok(logits) != expected));
    let error = with(&["embed_out.weight", "lm_head.weight"], 1.0).unwrap_err();
    assert!(error.contains("'lm_head.weight' differs from 'embed_out.weight'"), "{error}");
}

/// What files may leave out.
#[test]
fn a_missing_tensor_may_mean_zeros_or_the_embedding() {
    let bias = |tensors: &Tensors| at(tensors, "final_logits_bias");
    let zeros = changed(
        "marian",
        |_| {},
        |tensors| {
            let at = bias(tensors);
            tensors[at].2.fill(0.0);
        },
    );
    let none = changed("marian", |_| {}, |tensors| drop(tensors.remove(bias(tensors))));
    assert_eq!(outcome(&none), outcome(&zeros));
    assert!(outcome(&zeros).is_ok());
    let older = |map: &mut Map<String, Value>| {
        map.remove("scale_decoder_outputs");
        map.insert("tie_word_embeddings".to_owned(), json!(false));
    };
    let unscaled = |map: &mut Map<String, Value>| drop(map.insert("scale_decoder_outputs".to_owned(), json!(false)));
    let [older, unscaled] =
        [changed("t5", older, |_| {}), changed("t5", unscaled, |_| {})].map(|files| outcome(&files).unwrap());
    assert_eq!(older, unscaled);
    assert_ne!(older, outcome(&changed("t5", |_| {}, |_| {})).unwrap());
}

#[test]
fn tensors_that_contradict_the_configuration_are_named() {
    let table = |n: usize, sign: f32| {
        let number = |i: usize| sign * crate::model::sinusoid(i / 16, i % 16, 16);
        ("model.decoder.embed_positions.weight".to_owned(), vec![n, 16], (0..n * 16).map(number).collect())
    };
    let sines = |n, sign| changed("marian", |_| {}, |tensors| tensors.push(table(n, sign)));
    assert!(outcome(&sines(8, 1.0)).is_ok());
    for (n, sign) in [(8, -1.0), (9, 1.0)] {
        let error = outcome(&sines(n, sign)).unwrap_err();
        let expected = format!("'model.decoder.embed_positions.weight' of shape [{n}, 16] does not hold the sines");
        assert!(error.contains(&expected), "{error}");
    }
    for (model_type, embedding) in [("bart", "model.shared.weight"), ("t5", "shared.weight")] {
        let other = changed(
            model_type,
            |_| {},
            |tensors| {
                copied(tensors, embedding, "lm_head.weight");
                tensors.last_mut().unwrap().2[3] += 1.0;
            },
        );
        let error = outcome(&other).unwrap_err();
        assert!(error.contains("'lm_head.weight' differs from"), "{error}");
    }
}

/// Before anything is made for each of 4096 · 4096 experts.
#[test]
fn more_layers_than_tensors_are_refused_at_once() {
    let huge = |map: &mut Map<String, Value>| {
        map.extend([("num_hidden_layers".to_owned(), json!(4096)), ("num_local_experts".to_owned(), json!(4096))]);
    };
    let start = std::time::Instant::now();
    let error = outcome(&changed("mixtral", huge, |_| {})).unwrap_err();
    assert!(error.contains("take at least 33562624"), "{error}");
    assert!(start.elapsed().as_secs() < 1);
}

#[test]
fn an_index_is_read_within_bounds() {
    let directory = tempfile::tempdir().unwrap();
    exported("llama", directory.path(), &Device::cpu(1));
    let expected = outcome(&directory).unwrap();
    let names: Vec<String> = {
        let reader = Reader::open(&directory.path().join("model.safetensors")).unwrap();
        reader.entries().iter().map(|entry| entry.name.clone()).collect()
    };
    let part = "model-00001-of-00002.safetensors";
    std::fs::rename(directory.path().join("model.safetensors"), directory.path().join(part)).unwrap();
    let map: Map<String, Value> = names.into_iter().map(|name| (name, json!(part))).collect();
    let check = |index: &str| {
        std::fs::write(directory.path().join("model.safetensors.index.json"), index).unwrap();
        outcome(&directory)
    };
    let sound = json!({ "metadata": { "total_size": [0, {}] }, "weight_map": map }).to_string();
    assert_eq!(check(&sound), Ok(expected));
    let of_pairs = |n: usize, file: &dyn Fn(usize) -> usize| {
        let mut index = "{\"weight_map\":{".to_owned();
        (0..n).for_each(|i| write!(index, "\"{i}\":\"{}\",", file(i)).unwrap());
        index.truncate(index.len() - 1);
        index + "}}"
    };
    for (index, part) in [
        (r#"{"weight_map":{"a":"../b"}}"#, "'../b' is not the name of a file beside the index"),
        (r#"{"weight_map":{"a":1}}"#, "expected a string"),
        (r#"{"weight_map":{}}"#, "has no 'weight_map'"),
        (&of_pairs((1 << 18) + 1, &|_| 0), "more than 262144 tensors"),
        (&of_pairs(4097, &|i| i), "more than 4096 files"),
    ] {
        let error = check(index).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
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
            let (stored, widened) = (loaded(Purpose::UseAsStored(Some(DType::F32))), loaded(Purpose::Use(DType::F32)));
            assert_eq!(logits(&stored), logits(&widened), "{name} {format:?}");
            let [narrow, wide] = [&stored, &widened].map(|model| model.params().product_bytes());
            assert!(narrow > 0 && narrow * 10 <= wide * 6, "{name} {format:?}: {narrow} of {wide} bytes");
        }
    }
}

/// The loss, and the gradients of adapters that do something already.
fn adapted(mut model: Transformer) -> (f64, Vec<Vec<f32>>) {
    attach_new(&mut model, &LoraSettings { rank: 2, alpha: 3.0, targets: None, seed: 5 }).unwrap();
    let device = model.device().clone();
    let ids: Vec<_> = model.params().adapters().map(|(_, adapter)| adapter.b).collect();
    for id in ids {
        let shape = model.params().specs()[id.0].shape;
        let values: Vec<f32> = (0..shape.n_elements() as u64).map(|at| 0.1 * Key::new(7).normal(at)).collect();
        model.params_mut().set(id, &Tensor::from_f32(&device, shape, &values));
    }
    let (ids, tape) = (vec![3, 1, 4, 1, 5], Tape::new(&device));
    let mut batch = Batch::dense(1, 5, ids.clone(), ids.clone());
    batch.source = model.config().is_encoder_decoder().then(|| Source { len: 5, tokens: ids, lens: vec![5] });
    let loss = model.loss(&tape, &batch, 0.0, 1.0, Mode::default());
    let mut gradients = Gradients::new(model.params().len());
    tape.backward(&loss.total, &mut gradients);
    let of_adapters = (model.params().own_specs().len()..model.params().len()).map(genera_tensor::ParamId);
    let loss = f64::from(loss.total.tensor().to_vec()[0]);
    (loss, of_adapters.map(|id| gradients.get(id).map_or_else(Vec::new, Tensor::to_vec)).collect())
}

/// Where products are in bf16, the same to the last bit; where they are in f32, sums are in another order.
#[test]
fn beside_adapters_nothing_is_kept_twice_and_training_stays_the_same() {
    let device = Device::cpu(2);
    for name in ["llama", "gpt2", "gpt_neox", "t5"] {
        for format in [Format::F32, Format::F16, Format::Bf16] {
            let directory = tempfile::tempdir().unwrap();
            exported(name, directory.path(), &device);
            narrow(&directory.path().join("model.safetensors"), format);
            let loaded = |purpose| load_hf(directory.path(), &device, purpose).unwrap();
            let both = |dtype| [Purpose::BesideAdapters(dtype), Purpose::Training(dtype)].map(loaded);
            let [frozen, whole] = both(DType::Bf16);
            let [n_frozen, n_whole] = [&frozen, &whole].map(|model| model.params().own_bytes());
            assert!(n_frozen * 10 < n_whole * 8, "{name} {format:?}: {n_frozen} of {n_whole} bytes");
            let told = loaded(Purpose::UseAsStored(None)).params().bytes_beside_adapters(DType::Bf16);
            assert!(told.abs_diff(n_frozen) * 20 < n_frozen, "{name} {format:?}: {n_frozen}, told {told}");
            for id in (0..whole.params().len()).map(genera_tensor::ParamId).filter(|_| format == Format::Bf16) {
                assert_eq!(frozen.params().numbers(id).to_vec(), whole.params().numbers(id).to_vec(), "{name}");
            }
            assert_eq!(adapted(frozen), adapted(whole), "{name} {format:?}");
            let [frozen, whole] = both(DType::F32);
            let [n_frozen, n_whole] = [&frozen, &whole].map(|model| model.params().own_bytes());
            assert!(if format == Format::F32 { n_frozen == n_whole } else { n_frozen < n_whole }, "{name} {format:?}");
            let [(found, found_gradients), (loss, gradients)] = [frozen, whole].map(adapted);
            assert!((found - loss).abs() < 1e-5 * loss, "{name} {format:?}: {found}, not {loss}");
            let (found, gradients) = (found_gradients.concat(), gradients.concat());
            assert!(found.iter().zip(&gradients).all(|(a, b)| (a - b).abs() < 1e-5), "{name} {format:?}");
        }
    }
}

/// Unless another type is asked for.
#[test]
fn a_model_in_bf16_computes_in_it() {
    let (device, directory) = (Device::cpu(2), tempfile::tempdir().unwrap());
    exported("llama", directory.path(), &device);
    let n_bytes = load_hf(directory.path(), &device, Purpose::Use(DType::Bf16)).unwrap().params().product_bytes();
    narrow(&directory.path().join("model.safetensors"), Format::Bf16);
    let loaded = |purpose| load_hf(directory.path(), &device, purpose).unwrap();
    for purpose in [Purpose::UseAsStored(None), Purpose::UseInPlace(None), Purpose::Use(DType::Bf16)] {
        let stored = loaded(purpose);
        assert_eq!(stored.compute_dtype(), DType::Bf16);
        assert_eq!(logits(&stored), logits(&loaded(Purpose::Training(DType::Bf16))), "{purpose:?}");
        assert_eq!(stored.params().product_bytes(), n_bytes, "{purpose:?}");
    }
    narrow(&directory.path().join("model.safetensors"), Format::F16);
    assert_eq!(loaded(Purpose::UseAsStored(None)).compute_dtype(), DType::F32);
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
    let (stored, widened) = (loaded(Purpose::UseAsStored(Some(DType::F32))), loaded(Purpose::Use(DType::F32)));
    assert_eq!(logits(&stored), logits(&widened));
    assert!(stored.params().product_bytes() < widened.params().product_bytes());
}

/// Writes a model in both layouts, where both have words for it.
fn written(model: &Transformer, to: &Path, dtype: Option<Format>) -> crate::Result<[Vec<u8>; 2]> {
    let (special, generation) = (SpecialIds::default(), PublishedGeneration::default());
    export_hf(model, to, &special, &generation, &CardFacts::default(), dtype)?;
    let facts = GgufFacts { name: "test".to_owned(), special, generation, origin: Origin::default(), tokenizer: None };
    let path = to.join("model.gguf");
    match export_gguf(model, &path, dtype, &facts) {
        Err(Error::Config(why)) if why.contains("GGUF") => {}
        other => drop(other?),
    }
    let bytes = |name: &str| std::fs::read(to.join(name)).unwrap_or_default();
    Ok([bytes("model.safetensors"), bytes("model.gguf")])
}

/// Tensor by tensor or all at once, with and without adapters: the same bytes.
#[test]
fn what_stays_in_its_file_is_written_as_what_was_read() {
    let device = Device::cpu(1);
    for model_type in ["llama", "gpt2", "gpt_neox", "phi3", "gemma3_text", "mixtral", "opt", "bert", "t5", "marian"] {
        for format in [Format::F16, Format::Bf16] {
            let [from, here, there] = [(); 3].map(|()| tempfile::tempdir().unwrap());
            exported(model_type, from.path(), &device);
            narrow(&from.path().join("model.safetensors"), format);
            for n_adapted in 0..3 {
                let loaded = |purpose| {
                    let mut model = load_hf(from.path(), &device, purpose).unwrap();
                    let settings = LoraSettings { rank: 2, alpha: 3.0, targets: None, seed: 5 };
                    for _ in 0..n_adapted {
                        // Those of a base that was adapted itself.
                        model.params_mut().settle();
                        attach_new(&mut model, &settings).unwrap();
                        for i in model.params().own_specs().len()..model.params().len() {
                            let shape = model.params().specs()[i].shape;
                            let values: Vec<f32> =
                                (0..shape.n_elements() as u64).map(|at| Key::new(7).normal(at)).collect();
                            let values = Tensor::from_f32(&device, shape, &values);
                            model.params_mut().set(genera_tensor::ParamId(i), &values);
                        }
                    }
                    model
                };
                let mut read = loaded(Purpose::Training(DType::F32));
                read.params_mut().merge();
                let in_file = loaded(Purpose::Export);
                assert!(in_file.params().own_specs().iter().all(|spec| {
                    let id = in_file.params().id(&spec.name);
                    !in_file.params().has_numbers(id)
                }));
                in_file.params().device();
                let context = format!("{model_type}, {}, adapted: {n_adapted} times", format.name());
                let expected = written(&read, here.path(), Some(Format::F32)).unwrap();
                assert!(written(&in_file, there.path(), Some(Format::F32)).unwrap() == expected, "{context}");
                let has_words = ["llama", "gpt_neox", "phi3", "mixtral"].contains(&model_type);
                assert!(!has_words || !expected[1].is_empty(), "{context}");
                // Without a wish, as they are stored.
                written(&in_file, there.path(), None).unwrap();
                let again = Reader::open(&there.path().join("model.safetensors")).unwrap();
                assert!(again.entries().iter().all(|entry| entry.stored.format() == Some(format)), "{context}");
                let config = std::fs::read_to_string(there.path().join("config.json")).unwrap();
                let name = match format {
                    Format::F16 => "float16",
                    _ => "bfloat16",
                };
                assert!(config.contains(&format!("\"dtype\": \"{name}\"")), "{context}: {config}");
                // What is said of lengths is what was said before: of a model of one's own the context, of others nothing.
                let generation =
                    |dir: &TempDir| std::fs::read_to_string(dir.path().join("generation_config.json")).unwrap();
                assert!(
                    generation(&from).contains("max_length") && !generation(&there).contains("max_length"),
                    "{context}"
                );
            }
        }
    }
}

/// Nobody takes half a model for a whole one.
#[test]
fn a_file_that_is_cut_short_before_it_is_written_elsewhere_is_an_error() {
    let (device, from, to) = (Device::cpu(1), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    exported("llama", from.path(), &device);
    let model = load_hf(from.path(), &device, Purpose::Export).unwrap();
    let path = from.path().join("model.safetensors");
    File::options().write(true).open(&path).unwrap().set_len(1 << 12).unwrap();
    let message = written(&model, to.path(), None).unwrap_err().to_string();
    assert!(message.contains("cannot read") && message.contains(from.path().to_str().unwrap()), "{message}");
    assert!(!to.path().join("model.safetensors").exists() && !to.path().join("model.safetensors.part").exists());
}

/// A scale of blocks is stored as f16, and what is no number has no code.
#[test]
fn numbers_that_blocks_cannot_hold_are_named() {
    let (device, to) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let facts = || GgufFacts {
        name: "test".to_owned(),
        special: SpecialIds::default(),
        generation: PublishedGeneration::default(),
        origin: Origin::default(),
        tokenizer: None,
    };
    for (value, is_held) in [(1e6, true), (1e9, false), (f32::NAN, false), (f32::NEG_INFINITY, false)] {
        let from = changed(
            "llama",
            |_| {},
            |tensors| {
                let matrix = tensors.iter_mut().find(|tensor| tensor.0.ends_with("mlp.down_proj.weight")).unwrap();
                matrix.2[3] = value;
            },
        );
        let model = load_hf(from.path(), &device, Purpose::Export).unwrap();
        let written = export_gguf(&model, &to.path().join("x.gguf"), Some(Format::Q8_0), &facts()).map(drop);
        let used = load_hf(from.path(), &device, Purpose::UseQuantised(Format::Q8_0)).map(drop);
        for (result, name) in [(written, "'blk.0.ffn_down.weight'"), (used, "'decoder.0.feed_forward.down.weight'")] {
            assert_eq!(result.is_ok(), is_held, "{value} {result:?}");
            let message = result.err().map(|error| error.to_string());
            assert!(message.iter().all(|text| text.contains(name) && text.contains("q8_0 cannot hold")), "{message:?}");
        }
    }
}

/// Infinities would make every answer NaN.
#[test]
fn numbers_that_f16_cannot_hold_are_named() {
    let (device, to) = (Device::cpu(1), tempfile::tempdir().unwrap());
    let from = changed("llama", |_| {}, |tensors| tensors[0].2[3] = 1e5);
    let model = load_hf(from.path(), &device, Purpose::Export).unwrap();
    let message = written(&model, to.path(), Some(Format::F16)).unwrap_err().to_string();
    assert!(message.contains("has numbers that f16 cannot hold") && message.contains("take bf16"), "{message}");
    written(&model, to.path(), Some(Format::Bf16)).unwrap();
    let blocks = written(&model, to.path(), Some(Format::Q8_0)).unwrap_err().to_string();
    assert!(blocks.contains("go into a GGUF file"), "{blocks}");
}
