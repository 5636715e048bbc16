use super::*;
use crate::rng::Key;
use serde_json::Value;

/// Two random blocks of each format, and the numbers that the Python package `gguf` 0.19 decodes them to.
#[test]
fn blocks_are_what_the_reference_says() {
    let blocks: Value = serde_json::from_str(include_str!("blocks.json")).unwrap();
    for (_, format, name, n, n_bytes) in TABLE {
        let entry = &blocks[name];
        let bytes: Vec<u8> = serde_json::from_value(entry["bytes"].clone()).unwrap();
        let expected: Vec<f32> = serde_json::from_value(entry["numbers"].clone()).unwrap();
        assert_eq!((bytes.len(), expected.len()), (2 * n_bytes, 2 * n), "{name}");
        let mut found = vec![0.0; 2 * n];
        format.decode(&bytes, &mut found);
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let is_close = (found - expected).abs() <= 1e-6 * expected.abs().max(1e-3);
            assert!(is_close, "{name}, element {i}: {found}, expected {expected}");
        }
    }
}

/// Root of the mean squared error over that of the numbers, which are normal with outliers.
fn error_of(format: Format) -> f64 {
    let n = 64 * MAX_BLOCK;
    let normal = |i: usize| Key::new(5).normal(i as u64) * if i.is_multiple_of(97) { 4.0 } else { 1.0 };
    let values: Vec<f32> = (0..n).map(normal).collect();
    let mut bytes = vec![0; format.bytes_of(n)];
    format.encode(&values, &mut bytes);
    let mut found = vec![0.0; n];
    format.decode(&bytes, &mut found);
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = values.iter().zip(&found).map(|(a, b)| square(a - b)).sum();
    (error / values.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}

/// The limits are a few per cent above what is reached.
#[test]
fn what_is_encoded_comes_back_within_the_format_s_error() {
    let limits = [
        (Format::F32, 0.0),
        (Format::F16, 2.2e-4),
        (Format::Bf16, 1.75e-3),
        (Format::Q8_0, 6.5e-3),
        (Format::Q6K, 2.1e-2),
        (Format::Q5_0, 5.3e-2),
        (Format::Q5_1, 4.6e-2),
        (Format::Q4_0, 0.107),
        (Format::Q4_1, 0.087),
        (Format::Q4K, 0.084),
    ];
    assert_eq!(limits.len(), Format::all().filter(|format| format.can_encode()).count());
    let measured = limits.map(|(format, limit)| (format.name(), error_of(format), limit));
    let beyond: Vec<_> = measured.iter().filter(|(_, error, limit)| error > limit || *error < 0.9 * limit).collect();
    assert!(beyond.is_empty(), "format, error, limit: {beyond:?}");
}

#[test]
fn zeros_and_constants_are_exact() {
    for format in Format::all().filter(|format| format.can_encode()) {
        for value in [0.0, -2.0] {
            let values = [value; MAX_BLOCK];
            let mut bytes = vec![0; format.bytes_of(MAX_BLOCK)];
            format.encode(&values, &mut bytes);
            let mut found = [1.0; MAX_BLOCK];
            format.decode(&bytes, &mut found);
            let error = found.iter().map(|x| (x - value).abs()).max_by(f32::total_cmp).unwrap_or(0.0);
            assert!(error <= 0.01 * value.abs(), "{}: {value} came back with an error of {error}", format.name());
        }
    }
}

/// Scales are halves, and codes stand for numbers.
#[test]
fn numbers_beyond_a_format_are_not_held() {
    for format in Format::all().filter(|format| format.can_encode()) {
        let (is_coded, is_wide) = (format.coding().is_some(), matches!(format, Format::F32 | Format::Bf16));
        for (value, expected) in
            [(1.0, true), (1e10, is_wide), (1e20, is_wide), (f32::NAN, !is_coded), (f32::INFINITY, !is_coded)]
        {
            let mut values = [0.5; 2 * MAX_BLOCK];
            values[MAX_BLOCK + 7] = value;
            let mut bytes = vec![0; format.bytes_of(values.len())];
            format.encode(&values, &mut bytes);
            assert_eq!(format.holds(&values, &bytes), expected, "{}: {value}", format.name());
        }
    }
}

/// Blocks that were decoded are encoded to the same numbers.
#[test]
fn encoding_again_loses_nothing_in_the_small_formats() {
    for format in [Format::Q8_0, Format::Q4_0, Format::Q5_0] {
        let values: Vec<f32> = (0..4 * MAX_BLOCK as u64).map(|i| Key::new(9).normal(i)).collect();
        let mut once = vec![0; format.bytes_of(values.len())];
        format.encode(&values, &mut once);
        let mut decoded = vec![0.0; values.len()];
        format.decode(&once, &mut decoded);
        let mut again = once.clone();
        format.encode(&decoded, &mut again);
        let mut twice = vec![0.0; values.len()];
        format.decode(&again, &mut twice);
        let n_other = decoded.iter().zip(&twice).filter(|(a, b)| (*a - *b).abs() > 1e-3 * a.abs()).count();
        assert_eq!(n_other, 0, "{}", format.name());
    }
}
