//! An adapter from anywhere, given to a small model: its configuration, a zero, and its weights.
#![no_main]

mod seed;

use genera_engine::model::{Transformer, initial_params};
use genera_engine::presets::{self, Sizes};
use genera_engine::weights::load_adapter;
use genera_tensor::{DType, Device};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let border = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (config, weights) = (&bytes[..border], bytes.get(border + 1..).unwrap_or_default());
    // Those of the model that `cargo xtask fuzz` trains an adapter to.
    let sizes = Sizes {
        vocab_size: 5,
        context_len: 4,
        d_model: 16,
        n_layers: 1,
        n_encoder_layers: 1,
        n_heads: 1,
        n_kv_heads: 1,
        d_head: 16,
        d_ff: 32,
    };
    let preset = presets::find("llama").expect("the preset is there");
    let architecture = preset.architecture.config(&sizes).expect("the sizes fit");
    let device = Device::cpu(1);
    let params = initial_params(&architecture, 1, DType::F32, &device);
    let mut model = Transformer::new(architecture, params, &device);
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("adapter_config.json"), config).expect("a temporary file");
    std::fs::write(directory.path().join("adapter_model.safetensors"), weights).expect("a temporary file");
    if seed::read(load_adapter(&mut model, directory.path())).is_some() {
        model.params_mut().merge();
    }
});
