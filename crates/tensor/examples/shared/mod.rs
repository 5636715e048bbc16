//! What the examples that measure have in common.
#![allow(dead_code, reason = "every example uses a part")]

use genera_tensor::{DType, Key, View, ViewMut};
use half::bf16;
use std::time::{Duration, Instant};

/// The shortest time that a call takes, of three calls and of so much time at least: other programs can only make one slower.
///
/// # Units
/// Seconds.
pub fn best(time: Duration, mut call: impl FnMut()) -> f64 {
    let (start, mut best, mut n_calls) = (Instant::now(), f64::INFINITY, 0);
    while n_calls < 3 || start.elapsed() < time {
        let before = Instant::now();
        call();
        best = best.min(before.elapsed().as_secs_f64());
        n_calls += 1;
    }
    best
}

/// Elements of either type, uniform in −1..1.
#[derive(Clone)]
pub enum Elements {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Elements {
    pub fn random(n: usize, dtype: DType) -> Self {
        let values = (0..n as u64).map(|i| 2.0 * Key::new(1).uniform(i) - 1.0);
        match dtype {
            DType::F32 => Elements::F32(values.collect()),
            DType::Bf16 => Elements::Bf16(values.map(bf16::from_f32).collect()),
        }
    }

    pub fn view(&self) -> View<'_> {
        match self {
            Elements::F32(data) => View::F32(data),
            Elements::Bf16(data) => View::Bf16(data),
        }
    }

    pub fn view_mut(&mut self) -> ViewMut<'_> {
        match self {
            Elements::F32(data) => ViewMut::F32(data),
            Elements::Bf16(data) => ViewMut::Bf16(data),
        }
    }
}
