//! A safetensors file: its header, and the elements of every tensor.
#![no_main]

mod seed;

use genera_engine::weights::safetensors::Reader;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let reader = Reader::new(Path::new("fuzz"), Box::new(Cursor::new(bytes.to_vec())));
    let Some(reader) = seed::read(reader) else { return };
    let _ = reader.metadata().len();
    let tensors: Vec<_> = reader.entries().iter().map(|entry| (entry.name.clone(), entry.shape.clone())).collect();
    for (name, shape) in tensors {
        let any = reader.read_any(&name).is_ok();
        assert_eq!(reader.read(&name, &shape).is_ok(), any);
    }
});
