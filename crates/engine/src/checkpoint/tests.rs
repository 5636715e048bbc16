//! Laws of checkpoints: going on is going on, and no accident loses what was saved.

use super::write::{Create, Target};
use super::*;
use crate::model::initial_params;
use crate::recipe::TrainRecipe;
use crate::train::fixture::{batch, preset, recipe, rich_recipe, trainer, trainer_on, weights};
use crate::weights::{
    CardFacts, GgufFacts, GgufFile, Origin, PublishedGeneration, Purpose, SpecialIds, config_json, export_gguf,
    export_hf, read_config,
};
use serde_json::json;
use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;

fn progress(validation_loss: Option<f64>) -> Progress<'static> {
    Progress { cursor: 7, seed: 3, recipe: "[train]\nsteps = 9\n", validation_loss }
}

fn steps(trainer: &mut Trainer, name: &str, range: std::ops::Range<u64>) {
    for step in range {
        trainer.step(&[batch(preset(name), 3, step), batch(preset(name), 2, 100 + step)]).unwrap();
    }
}

/// Everything that the next step depends on, bit by bit.
fn everything(trainer: &mut Trainer) -> Vec<u32> {
    let mut numbers = weights(trainer.model()).concat();
    let state = trainer.state();
    let tensors = state.optimizer.iter().chain(state.averages.iter().flatten());
    tensors.for_each(|(_, tensor)| numbers.extend(tensor.to_vec()));
    let counters = [state.n_steps as f32, state.n_tokens as f32];
    numbers.into_iter().chain(counters).map(f32::to_bits).collect()
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let adamw = TrainRecipe { dropout: 0.2, ..recipe() };
    for (name, recipe, compute) in
        [("llama", rich_recipe(), DType::F32), ("marian", rich_recipe(), DType::Bf16), ("gpt2", adamw, DType::Bf16)]
    {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(dir.path()).unwrap();
        let device = Device::cpu(2);
        let mut whole = trainer_on(&device, preset(name), &recipe, compute);
        steps(&mut whole, name, 0..6);
        let mut first = trainer_on(&device, preset(name), &recipe, compute);
        steps(&mut first, name, 0..3);
        let saved = checkpoints.save(&first, &progress(None)).unwrap();
        let opened = Checkpoint::open(&saved.dir).unwrap();
        assert_eq!(opened, saved);
        let settings = TrainSettings::new(&recipe).unwrap();
        let mut second = opened.resume(settings, compute, &device).unwrap();
        assert!(everything(&mut second) == everything(&mut first), "{name}: loaded");
        steps(&mut second, name, 3..6);
        assert!(everything(&mut second) == everything(&mut whole), "{name}: continued");
    }
}

#[test]
fn a_loaded_model_has_the_averaged_weights() {
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = trainer(preset("marian"), &rich_recipe());
    steps(&mut trainer, "marian", 0..3);
    let saved = Checkpoints::open(dir.path()).unwrap().save(&trainer, &progress(None)).unwrap();
    let model = saved.model(DType::F32, &Device::cpu(1)).unwrap();
    assert_ne!(weights(&model), weights(trainer.model()));
    assert_eq!(weights(&model), trainer.with_averaged(weights));
}

/// Several families have an architecture in common; files keep the one that the run began with.
#[test]
fn an_opened_checkpoint_is_still_of_its_family() {
    let sizes = json!({
        "vocab_size": 13, "hidden_size": 16, "intermediate_size": 32, "ffn_dim": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 16,
    });
    let (device, dir) = (Device::cpu(1), tempfile::tempdir().unwrap());
    for (n, (model_type, more, in_gguf)) in [
        ("phi3", json!({ "sliding_window": 5 }), Some("phi3")),
        ("phi3", json!({ "sliding_window": null, "partial_rotary_factor": 0.75 }), Some("phi3")),
        ("phi3", json!({ "sliding_window": null }), Some("phi3")),
        ("mistral", json!({ "sliding_window": null }), Some("llama")),
        ("opt", json!({ "activation_function": "gelu_new" }), None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut json = sizes.as_object().unwrap().clone();
        json.insert("model_type".to_owned(), json!(model_type));
        json.extend(more.as_object().unwrap().clone());
        let config = config_json::parse(Path::new("config.json"), &json).unwrap().model;
        let mut model = Transformer::new(config.clone(), initial_params(&config, 1, DType::F32, &device), &device);
        model.set_published_as(Some(model_type));
        let settings = TrainSettings::new(&recipe()).unwrap();
        let trainer = Trainer::new(model, settings);
        let run = dir.path().join(n.to_string());
        let saved = Checkpoints::open(&run).unwrap().save(&trainer, &progress(None)).unwrap();
        let opened = Checkpoint::open(&saved.dir).unwrap();
        let resumed = opened.resume(settings, DType::F32, &device).unwrap();
        assert_eq!(resumed.model().published_as(), Some(model_type), "{json:?}");
        let (model, special) = (opened.model(DType::F32, &device).unwrap(), SpecialIds::default());
        let (generation, card) = (PublishedGeneration::default(), CardFacts::default());
        let exported = export_hf(&model, &run, &special, &generation, &card, None).unwrap();
        assert_eq!(exported.family.unwrap().model_type, model_type, "{json:?}");
        assert_eq!(read_config(&run).unwrap().model, config, "{json:?}");
        let facts =
            GgufFacts { name: "test".to_owned(), special, generation, origin: Origin::default(), tokenizer: None };
        let path = run.join("model.gguf");
        let written = export_gguf(&model, &path, None, &facts).ok();
        let found = written.map(|_| GgufFile::open(&path).unwrap().load(&device, Purpose::Export).unwrap());
        assert_eq!(found.and_then(|found| found.transformer.published_as()), in_gguf, "{json:?}");
    }
}

/// As all were before they said of which family the model is.
#[test]
fn a_manifest_without_a_family_is_read() {
    let (_dir, checkpoints, _) = saved_run(1);
    let text = fs::read_to_string(checkpoints.list().unwrap()[0].1.join("manifest.json")).unwrap();
    assert!(!text.contains("model_type"), "{text}");
    let manifest = Manifest::parse(Path::new("manifest.json"), text.as_bytes()).unwrap();
    assert_eq!(manifest.model_type, None);
}

#[test]
fn another_optimizer_cannot_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let trainer = trainer(preset("llama"), &recipe());
    let saved = Checkpoints::open(dir.path()).unwrap().save(&trainer, &progress(None)).unwrap();
    let settings = TrainSettings::new(&rich_recipe()).unwrap();
    let error = saved.resume(settings, DType::F32, &Device::cpu(1)).unwrap_err().to_string();
    assert!(
        error.contains("optimizer.safetensors: has no tensor 'decoder.0.attention.qkv.weight.momentum'"),
        "{error}"
    );
}

/// Saves steps 1 to `n` of a run.
fn saved_run(n: u64) -> (tempfile::TempDir, Checkpoints, Trainer) {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    let mut trainer = trainer(preset("llama"), &recipe());
    for step in 0..n {
        steps(&mut trainer, "llama", step..step + 1);
        checkpoints.save(&trainer, &progress(None)).unwrap();
    }
    (dir, checkpoints, trainer)
}

#[test]
fn what_was_altered_is_named_and_the_one_before_offered() {
    let (dir, checkpoints, _) = saved_run(2);
    let [(1, good), (2, bad)] = &checkpoints.list().unwrap()[..] else { panic!("two checkpoints") };
    let check = |file: &str, damage: &dyn Fn(&Path), expect: &str| {
        let path = bad.join(file);
        let bytes = fs::read(&path).unwrap();
        damage(&path);
        let (found, rejected) = latest_good(dir.path()).unwrap();
        assert_eq!(&found.unwrap().dir, good);
        let [Rejected { dir, reason }] = &rejected[..] else { panic!("one is rejected: {rejected:?}") };
        let reason = reason.to_string();
        assert!(
            dir == bad && reason.contains(file) && reason.contains(expect),
            "expected '{expect}', found '{reason}'"
        );
        fs::write(&path, bytes).unwrap();
    };
    let shorten = |path: &Path| fs::File::options().write(true).open(path).unwrap().set_len(100).unwrap();
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let lose = |path: &Path| fs::remove_file(path).unwrap();
    for file in ["model.safetensors", "optimizer.safetensors"] {
        check(file, &shorten, "is cut short: 100 bytes");
        check(file, &flip, "is altered: its SHA-256");
        check(file, &lose, "cannot read");
    }
    check("manifest.json", &flip, "is not what was written");
    check("manifest.json", &shorten, "is not what was written");
    check("manifest.json", &lose, "cannot read");
    check("manifest.sha256", &lose, "cannot read");
    let (found, rejected) = latest_good(dir.path()).unwrap();
    assert!(&found.unwrap().dir == bad && rejected.is_empty());
}

#[test]
fn manifests_from_elsewhere_are_refused() {
    let check = |text: &str, expect: &str| {
        let error = Manifest::parse(Path::new("manifest.json"), text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expect), "expected '{expect}', found '{error}'");
    };
    check("", "is not a checkpoint's manifest");
    check("{}", "missing field `format`");
    check(r#"{"format": 2}"#, "has format 2, but this program reads format 1");
    check(r#"{"format": 1, "stesp": 2}"#, "unknown field");
    let (_dir, checkpoints, _) = saved_run(1);
    let text = fs::read_to_string(checkpoints.list().unwrap()[0].1.join("manifest.json")).unwrap();
    check(&text.replace("\"model.safetensors\"", "\"../model.safetensors\""), "not in its directory");
    check(&text.replace("\"n_layers\": 2", "\"n_layers\": 0"), "n_layers is 0");
    check(&text.replace("\"d_model\": 16", "\"d_model\": 1000000000000"), "d_model is 1000000000000");
}

#[test]
fn the_last_and_the_best_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    let mut trainer = trainer(preset("llama"), &recipe());
    for (step, loss) in [Some(3.0), Some(1.0), None, Some(2.0), Some(1.0)].into_iter().enumerate() {
        steps(&mut trainer, "llama", step as u64..step as u64 + 1);
        checkpoints.save(&trainer, &progress(loss)).unwrap();
        checkpoints.prune(2).unwrap();
    }
    let kept: Vec<u64> = checkpoints.list().unwrap().into_iter().map(|(step, _)| step).collect();
    assert_eq!(kept, [2, 4, 5]);
    checkpoints.prune(0).unwrap();
    assert_eq!(checkpoints.list().unwrap().len(), 2);
    assert!(checkpoints.best().unwrap().unwrap().ends_with("step-000002"));
}

/// Saving a step again, as after going back to an earlier checkpoint, replaces what was there.
#[test]
fn a_step_can_be_saved_again() {
    let (dir, checkpoints, trainer) = saved_run(1);
    checkpoints.save(&trainer, &progress(Some(0.5))).unwrap();
    let (found, _) = latest_good(dir.path()).unwrap();
    assert_eq!(found.unwrap().manifest.validation_loss, Some(0.5));
    assert_eq!(entries(&checkpoints.dir).unwrap().len(), 1);
}

#[test]
fn what_a_killed_program_leaves_is_cleared_away() {
    let (dir, checkpoints, _) = saved_run(3);
    let at = |name: &str| checkpoints.dir.join(name);
    fs::create_dir(at(".step-000004.tmp")).unwrap();
    fs::write(at(".step-000004.tmp").join("model.safetensors"), "half").unwrap();
    fs::rename(at("step-000001"), at(".step-000001.gone")).unwrap();
    fs::rename(at("step-000003"), at(".step-000003.old")).unwrap();
    fs::create_dir(at(".step-000002.old")).unwrap();
    fs::write(at(".notes.old"), "not ours").unwrap();
    Checkpoints::open(dir.path()).unwrap();
    let mut names: Vec<_> =
        entries(&checkpoints.dir).unwrap().into_iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, [".notes.old", "step-000002", "step-000003"]);
    assert_eq!(latest_good(dir.path()).unwrap().0.unwrap().manifest.step, 3);
}

/// A disk with room for a number of bytes.
struct SmallDisk {
    file: fs::File,
    room: Rc<Cell<usize>>,
}

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.room.get());
        self.room.set(self.room.get() - n);
        if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { self.file.write(&bytes[..n]) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Target for SmallDisk {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let (dir, checkpoints, mut trainer) = saved_run(2);
    steps(&mut trainer, "llama", 2..3);
    let n_bytes: u64 = fs::read_dir(&checkpoints.list().unwrap()[0].1)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    for room in [0, 1, 100, n_bytes / 3, n_bytes / 2, n_bytes - 2000, n_bytes - 1] {
        let room = Rc::new(Cell::new(room as usize));
        let create: &Create =
            &move |path| Ok(Box::new(SmallDisk { file: fs::File::create_new(path)?, room: room.clone() }));
        let error = write::save(&checkpoints.dir, &trainer, &progress(None), create).unwrap_err().to_string();
        assert!(error.contains("the disk is full") && error.contains("step 3"), "{error}");
        assert!(error.contains("earlier checkpoints are intact"), "{error}");
        assert_eq!(entries(&checkpoints.dir).unwrap().len(), 2, "nothing is left behind");
        assert_eq!(latest_good(dir.path()).unwrap().0.unwrap().manifest.step, 2);
    }
    let first = tempfile::tempdir().unwrap();
    let create: &Create =
        &|path| Ok(Box::new(SmallDisk { file: fs::File::create_new(path)?, room: Rc::new(Cell::new(100)) }));
    let error = write::save(first.path(), &trainer, &progress(None), create).unwrap_err().to_string();
    assert!(error.contains("there is no earlier one") && !error.contains("intact"), "{error}");
    let room = Rc::new(Cell::new(2 * n_bytes as usize));
    let create: &Create =
        &move |path| Ok(Box::new(SmallDisk { file: fs::File::create_new(path)?, room: room.clone() }));
    write::save(&checkpoints.dir, &trainer, &progress(None), create).unwrap();
    assert_eq!(latest_good(dir.path()).unwrap().0.unwrap().manifest.step, 3);
}

#[test]
fn a_run_without_checkpoints_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let (found, rejected) = latest_good(dir.path()).unwrap();
    assert!(found.is_none() && rejected.is_empty());
}

fn damage(checkpoint: &Path) {
    fs::write(checkpoint.join(MODEL), "damaged").unwrap();
}

fn kept(checkpoints: &Checkpoints) -> Vec<u64> {
    checkpoints.list().unwrap().into_iter().map(|(step, _)| step).collect()
}

/// Saves steps 2, 4 and 6, damages 6, goes on from 4 and saves `next`.
fn run_that_went_back(next: u64) -> (tempfile::TempDir, Checkpoints) {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    let mut first = trainer(preset("llama"), &recipe());
    for step in [2, 4, 6] {
        steps(&mut first, "llama", step - 2..step);
        checkpoints.save(&first, &progress(None)).unwrap();
    }
    damage(&checkpoints.list().unwrap()[2].1);
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    let found = latest_good(dir.path()).unwrap().0.unwrap();
    assert_eq!(found.manifest.step, 4);
    let settings = TrainSettings::new(&recipe()).unwrap();
    let mut second = found.resume(settings, DType::F32, &Device::cpu(2)).unwrap();
    steps(&mut second, "llama", 4..next);
    checkpoints.save(&second, &progress(None)).unwrap();
    (dir, checkpoints)
}

#[test]
fn damaged_checkpoints_never_displace_whole_ones() {
    for (next, keep_last, expect) in
        [(5, 1, &[5][..]), (5, 2, &[4, 5]), (7, 1, &[7]), (7, 2, &[4, 6, 7]), (7, 3, &[2, 4, 6, 7])]
    {
        let (dir, checkpoints) = run_that_went_back(next);
        checkpoints.prune(keep_last).unwrap();
        assert_eq!(kept(&checkpoints), expect, "saved {next}, kept {keep_last}");
        let (found, rejected) = latest_good(dir.path()).unwrap();
        assert!(found.unwrap().manifest.step == next && rejected.is_empty());
    }
}

#[test]
fn a_damaged_checkpoint_is_not_the_best() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    let mut trainer = trainer(preset("llama"), &recipe());
    for (step, loss) in [(0, 1.0), (1, 2.0), (2, 3.0)] {
        steps(&mut trainer, "llama", step..step + 1);
        checkpoints.save(&trainer, &progress(Some(loss))).unwrap();
    }
    damage(&checkpoints.list().unwrap()[0].1);
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    assert!(checkpoints.best().unwrap().unwrap().ends_with("step-000002"));
    checkpoints.prune(1).unwrap();
    assert_eq!(kept(&checkpoints), [2, 3]);
}

#[test]
fn weights_that_are_not_finite_are_not_saved() {
    let (dir, checkpoints, trainer) = saved_run(1);
    let mut model = trainer.into_model();
    let id = model.params().id("decoder.1.attention.out.weight");
    model.params_mut().for_update(id).0.view_mut().f32()[3] = f32::NAN;
    let spoiled = Trainer::new(model, TrainSettings::new(&recipe()).unwrap());
    let error = checkpoints.save(&spoiled, &progress(None)).unwrap_err().to_string();
    assert!(error.contains("the parameter decoder.1.attention.out.weight holds NaN"), "{error}");
    assert_eq!(entries(&checkpoints.dir).unwrap().len(), 1, "nothing is left behind");
    assert_eq!(latest_good(dir.path()).unwrap().0.unwrap().manifest.step, 1);
}
