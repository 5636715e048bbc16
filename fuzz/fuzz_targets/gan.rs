//! The files of a GAN: its weights, and how columns become its vectors.
#![no_main]

use genera_data::prepare::Fit;
use genera_data::{Document, Origin};
use genera_engine::gan::load_generator;
use genera_modality::table::{Features, TableCodebook, TableFit, TableSettings};
use genera_tensor::Device;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// A table of a number with gaps and a category.
static TABLE: LazyLock<TableCodebook> = LazyLock::new(|| {
    let columns = ["a", "b"].map(str::to_owned).to_vec();
    let mut fitting = TableFit::new(TableSettings { columns, ..TableSettings::default() }).begin();
    for i in 0..60_u64 {
        let number = if i % 5 == 0 { String::new() } else { (i * i).to_string() };
        let row = vec![number, ["x", "y", "z"][i as usize % 3].to_owned()];
        fitting.add(&Document::row(Origin::new("fuzz", i), row)).expect("a row of two columns");
    }
    let codebook = fitting.finish().expect("two columns can be learned");
    TableCodebook::from_json(codebook.to_json().as_bytes()).expect("what is written is read")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(features) = Features::from_json(bytes, &TABLE) {
        let width = features.parts(&TABLE).len();
        let row = features.decode(&TABLE, &vec![0.5; 4 * width]);
        TABLE.texts(&row);
    }
    let path = std::env::temp_dir().join(format!("genera-fuzz-gan-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("the file is written");
    let _ = load_generator(&path, &Device::cpu(1));
});
