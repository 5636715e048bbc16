//! Checks an operation against its formula in f64, and its gradients against finite differences of that formula.

use crate::device::Device;
use crate::dtype::DType;
use crate::rng::Key;
use crate::shape::Shape;
use crate::tape::{Gradients, ParamId, Tape, Var};
use crate::tensor::Tensor;

/// What was measured for one case.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The case.
    pub name: String,
    /// Largest error of the result, relative to its largest element.
    pub forward_error: f64,
    /// Largest error of a gradient, relative to the largest element of that gradient.
    pub gradient_error: f64,
}

/// Runs cases on a device with one storage type and collects what was measured.
pub struct Checker {
    device: Device,
    dtype: DType,
    measured: Vec<Measured>,
}

/// Step of the central differences; their error is of the order of its square.
const STEP: f64 = 1e-4;

impl Checker {
    /// A checker for `device`; inputs are rounded to `dtype` before use.
    pub fn new(device: &Device, dtype: DType) -> Self {
        Self { device: device.clone(), dtype, measured: Vec::new() }
    }

    /// The device that is checked.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The storage type of the inputs.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// What was measured so far.
    pub fn measured(&self) -> &[Measured] {
        &self.measured
    }

    /// Largest relative error that counts as right for a storage type.
    pub fn tolerance(dtype: DType) -> f64 {
        match dtype {
            DType::F32 => 2e-5,
            // Results and gradients are each rounded to 8 bits of significand, some twice on the way.
            DType::Bf16 => 2.5e-2,
        }
    }

    /// Checks one case: `operation` on inputs of the given shapes against `formula`, which gets the same inputs.
    ///
    /// Inputs are normal deviates, in the checker's storage type (the first `n` and all matrices) or in f32 where the
    /// shape is marked so.
    pub fn case(
        &mut self,
        name: &str,
        inputs: &[Input],
        operation: impl for<'t> Fn(&Tape<'t>, &[Var]) -> Var,
        formula: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    ) {
        let key = Key::new(name.bytes().fold(17_u64, |hash: u64, byte| hash.wrapping_mul(31) ^ u64::from(byte)));
        let tensors: Vec<Tensor> =
            inputs.iter().enumerate().map(|(i, input)| self.make(key.fold(i as u64), input)).collect();
        let tape = Tape::new(&self.device);
        let vars: Vec<Var> = tensors.iter().enumerate().map(|(i, x)| tape.parameter(ParamId(i), x)).collect();
        let result = operation(&tape, &vars);
        drop(vars);
        let values: Vec<Vec<f64>> = tensors.iter().map(to_f64).collect();
        let expected = formula(&values);
        let forward_error = relative_error(&to_f64(result.tensor()), &expected);

        let cotangent = Tensor::from_f32(&self.device, result.tensor().shape(), &normals(key.fold(99), expected.len()));
        let cotangent = cotangent.cast(result.tensor().dtype());
        let weights = to_f64(&cotangent);
        let mut gradients = Gradients::new(inputs.len());
        tape.backward_from(&result, cotangent, &mut gradients);
        let objective = |x: &[Vec<f64>]| formula(x).iter().zip(&weights).map(|(y, w)| y * w).sum::<f64>();
        let mut gradient_error = 0.0_f64;
        for (i, input) in inputs.iter().enumerate() {
            if !input.wants_gradient {
                continue;
            }
            let found = gradients.get(ParamId(i)).map_or_else(|| vec![0.0; values[i].len()], to_f64);
            gradient_error = gradient_error.max(relative_error(&found, &differences(&objective, &values, i)));
        }
        self.measured.push(Measured { name: name.to_owned(), forward_error, gradient_error });
    }

    fn make(&self, key: Key, input: &Input) -> Tensor {
        let values: Vec<f32> =
            normals(key, input.shape.n_elements()).iter().map(|x| x * input.spread + input.centre).collect();
        let tensor = Tensor::from_f32(&self.device, input.shape, &values);
        if input.is_f32 { tensor } else { tensor.cast(self.dtype) }
    }
}

/// The form of an input of a case.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    shape: Shape,
    is_f32: bool,
    wants_gradient: bool,
    spread: f32,
    centre: f32,
}

impl Input {
    /// Normal deviates in the checker's storage type.
    pub fn new(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), is_f32: false, wants_gradient: true, spread: 1.0, centre: 0.0 }
    }

    /// Normal deviates that stay in f32: biases, norm weights, the residual stream.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Self { is_f32: true, ..Self::new(shape) }
    }

    /// Moves the deviates to mean `centre` and standard deviation `spread`.
    #[must_use]
    pub fn around(self, centre: f32, spread: f32) -> Self {
        Self { centre, spread, ..self }
    }
}

fn normals(key: Key, n: usize) -> Vec<f32> {
    (0..n as u64).map(|i| key.normal(i)).collect()
}

fn to_f64(tensor: &Tensor) -> Vec<f64> {
    tensor.to_vec().into_iter().map(f64::from).collect()
}

/// Largest difference over the largest expected magnitude; infinite when something is not a number.
pub fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "the result has {} elements, the formula {}", found.len(), expected.len());
    if found.iter().chain(expected).any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let scale = expected.iter().fold(1e-3_f64, |scale, x| scale.max(x.abs()));
    found.iter().zip(expected).fold(0.0_f64, |error, (x, y)| error.max((x - y).abs())) / scale
}

fn differences(objective: &impl Fn(&[Vec<f64>]) -> f64, inputs: &[Vec<f64>], which: usize) -> Vec<f64> {
    let mut moved = inputs.to_vec();
    let mut at = |j: usize, x: f64| {
        moved[which][j] = x;
        let value = objective(&moved);
        moved[which][j] = inputs[which][j];
        value
    };
    let difference = |(j, &x): (usize, &f64)| (at(j, x + STEP) - at(j, x - STEP)) / (2.0 * STEP);
    inputs[which].iter().enumerate().map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_on_every_device() {
        for device in [Device::reference(), Device::cpu(1), Device::cpu(2)] {
            for dtype in [DType::F32, DType::Bf16] {
                for (name, check) in crate::op::ALL {
                    let mut checker = Checker::new(&device, dtype);
                    check(&mut checker);
                    assert!(!checker.measured().is_empty(), "{name} has no case");
                    for case in checker.measured() {
                        let worst = case.forward_error.max(case.gradient_error);
                        assert!(worst <= Checker::tolerance(dtype), "{name} on {device:?} in {dtype}: {case:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_wrong_gradient_is_found() {
        let mut checker = Checker::new(&Device::reference(), DType::F32);
        let double = |tape: &Tape<'_>, x: &[Var]| crate::op::scale(tape, &x[0], 2.0);
        checker.case("twice against thrice", &[Input::new([5])], double, |x| x[0].iter().map(|x| 3.0 * x).collect());
        assert!(checker.measured()[0].gradient_error > 0.3);
    }
}
