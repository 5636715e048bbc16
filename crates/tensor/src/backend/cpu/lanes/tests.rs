//! Each operation and function of the lanes, on every instruction set of this processor.

use super::{BLOCK, Element, Lanes, MAX_LANES, Program, activate, exp, slope, uniforms};
use crate::backend::cpu::Isa;
use crate::backend::{Activation, reference};
use crate::rng::Key;
use half::bf16;

#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    Value(Activation),
    Slope(Activation),
}

/// Applies a function to every element.
struct Apply<'a> {
    function: Function,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Program for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        for at in v.spans(self.x.len()) {
            let x = v.read(self.x, at);
            let y = match self.function {
                Function::Exp => exp(x),
                Function::Value(kind) => activate(kind, x),
                Function::Slope(kind) => slope(kind, x),
            };
            y.write(self.out, at);
        }
    }
}

fn apply(isa: Isa, function: Function, x: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    isa.run(Apply { function, x, out: &mut out });
    out
}

/// Evenly spaced numbers.
fn grid(from: f32, to: f32, n: usize) -> Vec<f32> {
    (0..n).map(|i| from + (to - from) * (i as f32 / (n - 1) as f32)).collect()
}

/// The largest relative error, where results below `floor` count as if they were that large.
fn worst(x: &[f32], y: &[f32], floor: f64, truth: impl Fn(f64) -> f64) -> (f64, f32) {
    let error = |x: f32, y: f32| {
        let truth = truth(f64::from(x));
        (f64::from(y) - truth).abs() / truth.abs().max(floor)
    };
    x.iter().zip(y).map(|(&x, &y)| (error(x, y), x)).fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
}

#[test]
fn exp_is_within_its_error() {
    let x = grid(-87.3, 88.72, 200_003);
    for isa in Isa::available() {
        let (error, at) = worst(&x, &apply(isa, Function::Exp, &x), 0.0, f64::exp);
        assert!(error < 3e-7, "{}: error {error:.2e} at {at}", isa.name());
        let edges = [0.0, -0.0, f32::NEG_INFINITY, -104.0, -1e30, f32::INFINITY, 88.8, 1e30];
        let expect = [1.0, 1.0, 0.0, 0.0, 0.0, f32::INFINITY, f32::INFINITY, f32::INFINITY];
        assert_eq!(apply(isa, Function::Exp, &edges), expect, "{}", isa.name());
        assert!(apply(isa, Function::Exp, &[f32::NAN; 17]).iter().all(|y| y.is_nan()), "{}", isa.name());
        let small = apply(isa, Function::Exp, &[-95.0])[0];
        assert!((small - 5.521e-42).abs() < 2e-45, "{}: a subnormal result is {small:e}", isa.name());
    }
}

const KINDS: [Activation; 4] = [Activation::Relu, Activation::GeluErf, Activation::GeluTanh, Activation::Silu];

#[test]
fn activations_equal_the_reference() {
    let mut x = grid(-16.0, 16.0, 40_001);
    x.extend([0.0, -0.0, 1e-40, -1e-40, 50.0, -50.0, 1e4, -1e4, 1e20, -1e20, 3e38, -3e38]);
    x.extend([f32::INFINITY, f32::NEG_INFINITY]);
    for isa in Isa::available() {
        for kind in KINDS {
            // Deep in its tail the exponent, rounded to f32, reaches −88.
            let relative = if kind == Activation::GeluTanh { 2e-5 } else { 1e-6 };
            let value = apply(isa, Function::Value(kind), &x);
            let gradient = apply(isa, Function::Slope(kind), &x);
            for (i, &x) in x.iter().enumerate() {
                let expect = reference::activate(kind, x);
                let close = value[i] == expect || (value[i] - expect).abs() <= relative * expect.abs() + 1e-36;
                assert!(close, "{} {kind:?}({x}) = {:e}, expected {expect:e}", isa.name(), value[i]);
                // The slope passes through zero between two terms of size one.
                let expect = reference::slope(kind, x);
                let close =
                    (gradient[i] - expect).abs() <= relative * expect.abs() + if x < -2.0 { 1e-36 } else { 2e-7 };
                assert!(close, "{} {kind:?}'({x}) = {:e}, expected {expect:e}", isa.name(), gradient[i]);
            }
            assert!(apply(isa, Function::Value(kind), &[f32::NAN])[0].is_nan(), "{} {kind:?}", isa.name());
        }
    }
}

/// Copies from one element type to another, span by span.
struct Copy<'a, A, B>(&'a [A], &'a mut [B]);

impl<A: Element, B: Element> Program for Copy<'_, A, B> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        for at in v.spans(self.0.len()) {
            v.read(self.0, at).write(self.1, at);
        }
    }
}

#[test]
fn rounding_to_bf16_is_exact() {
    let random = (0..100_000).map(|i| Key::new(3).bits(i)[0]);
    let ties = (0..0x1_0000).map(|upper| upper << 16 | 0x8000);
    let nans = [0x7f80_0000, 0x7f80_0001, 0xff80_0001, 0x7fc0_1234, 0x7f7f_ffff, 1, 0x8000_0001, 0x007f_ffff];
    let x: Vec<f32> = random.chain(ties).chain(nans).map(f32::from_bits).collect();
    let expect: Vec<u16> = x.iter().map(|&x| bf16::from_f32(x).to_bits()).collect();
    for isa in Isa::available() {
        let mut rounded = vec![bf16::ZERO; x.len()];
        isa.run(Copy(&x, &mut rounded));
        let bits: Vec<u16> = rounded.iter().map(|y| y.to_bits()).collect();
        assert!(bits == expect, "{}", isa.name());
        let mut widened = vec![0.0_f32; x.len()];
        isa.run(Copy(&rounded, &mut widened));
        assert!(widened.iter().zip(&bits).all(|(x, &bits)| x.to_bits() == u32::from(bits) << 16), "{}", isa.name());
        assert!(x.iter().zip(&bits).all(|(&x, &bits)| <bf16 as Element>::from_f32(x).to_bits() == bits));
    }
}

#[test]
fn short_spans_touch_nothing_else() {
    let x: Vec<f32> = (1..=40).map(|i| i as f32).collect();
    let x_bf16: Vec<bf16> = x.iter().map(|&x| bf16::from_f32(x)).collect();
    for isa in Isa::available() {
        for len in 0..40 {
            let expect: Vec<f32> = (0..40).map(|i| if i < len { x[i] } else { -1.0 }).collect();
            let mut out = vec![-1.0; 40];
            isa.run(Copy(&x_bf16[..len], &mut out[..len]));
            assert_eq!(out, expect, "{}", isa.name());
            let mut out = [bf16::NEG_ONE; 40];
            isa.run(Copy(&x[..len], &mut out[..len]));
            assert_eq!(out.iter().map(|y| y.to_f32()).collect::<Vec<_>>(), expect, "{}", isa.name());
        }
    }
}

/// Every other operation once, on the lanes of `x` and `y`; what comes out, lane by lane.
struct Operations<'a> {
    x: &'a [f32],
    y: &'a [f32],
}

const N_OPERATIONS: usize = 13;

impl Program for Operations<'_> {
    type Output = Vec<[f32; N_OPERATIONS]>;

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) -> Self::Output {
        let mut out = Vec::new();
        for at in v.spans(self.x.len()) {
            let (x, y) = (v.read_or(self.x, at, -3.0), v.read_or(self.y, at, -3.0));
            let (square, rest) = x.square();
            let power = y.max(y.splat(-250.0)).min(y.splat(250.0));
            let results = [
                x + y,
                x - y,
                x * y,
                x / y,
                x.mul_add(y, x),
                x.max(y),
                x.min(y),
                x.abs(),
                x.abs().sqrt(),
                x.if_less(y, x.splat(1.0), y),
                x.scale_by_power_of_two(power),
                square,
                rest,
            ];
            let mut lanes = [[0.0; MAX_LANES]; N_OPERATIONS];
            (0..N_OPERATIONS).for_each(|i| results[i].store(&mut lanes[i]));
            out.extend((0..at.len).map(|lane| lanes.map(|result| result[lane])));
        }
        out
    }
}

#[test]
fn operations_equal_those_of_numbers() {
    let values = [0.0, -0.0, 1.0, -1.5, 3.0, 97.0, -140.0, 1e-30, 250.0, -250.0, 1.000_000_1, f32::INFINITY, f32::NAN];
    let pairs = || values.iter().flat_map(|&x| values.iter().map(move |&y| (x, y)));
    let (x, y): (Vec<f32>, Vec<f32>) = pairs().unzip();
    for isa in Isa::available() {
        let results = isa.run(Operations { x: &x, y: &y });
        for ((x, y), found) in pairs().zip(results) {
            let power = if y.is_nan() { -250.0 } else { y.clamp(-250.0, 250.0) };
            let scaled = |x: f32| (f64::from(x) * f64::from(power).exp2()) as f32;
            let expect = [
                x + y,
                x - y,
                x * y,
                x / y,
                found[4],
                if x > y { x } else { y },
                if x < y { x } else { y },
                x.abs(),
                x.abs().sqrt(),
                if x < y { 1.0 } else { y },
                if power == power.round() { scaled(x) } else { found[10] },
                x * x,
                if x.is_finite() { (f64::from(x) * f64::from(x) - f64::from(x * x)) as f32 } else { found[12] },
            ];
            for (i, (found, expect)) in found.into_iter().zip(expect).enumerate() {
                let same = found == expect || found.is_nan() && expect.is_nan();
                assert!(same, "{} operation {i} of {x:e} and {y:e}: {found:e}, expected {expect:e}", isa.name());
            }
            let product = f64::from(x) * f64::from(y) + f64::from(x);
            let close = (f64::from(found[4]) - product).abs() <= 1.2e-7 * (product.abs() + f64::from(x).abs());
            assert!(close || !product.is_finite(), "{} {x:e} · {y:e} + {x:e} = {:e}", isa.name(), found[4]);
        }
    }
}

/// Sum and largest of the lanes of one vector.
struct Across<'a>(&'a [f32]);

impl Program for Across<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) -> (f32, f32) {
        let mut sum = 0.0;
        let mut max = f32::NEG_INFINITY;
        for at in v.spans(self.0.len()) {
            sum += v.read(self.0, at).sum();
            max = max.max(v.read_or(self.0, at, f32::NEG_INFINITY).max_lane());
        }
        (sum, max)
    }
}

#[test]
fn lanes_are_summed_and_compared() {
    let x: Vec<f32> = (0..16).map(|i| ((i * 7) % 16) as f32 - 20.0).collect();
    for isa in Isa::available() {
        for len in 1..=16 {
            let expect = (x[..len].iter().sum(), x[..len].iter().copied().fold(f32::NEG_INFINITY, f32::max));
            assert_eq!(isa.run(Across(&x[..len])), expect, "{} {len}", isa.name());
        }
    }
}

/// A block of random numbers.
struct Uniforms(Key, u64);

impl Program for Uniforms {
    type Output = [f32; BLOCK];

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) -> [f32; BLOCK] {
        let mut out = [0.0; BLOCK];
        uniforms(v, self.0, self.1, &mut out);
        out
    }
}

#[test]
fn random_numbers_are_those_of_the_key() {
    let key = Key::new(11).fold(5);
    for isa in Isa::available() {
        for first in [0, 4, 1 << 20, (1 << 34) - 8, u64::MAX / 2 - 3] {
            let block = isa.run(Uniforms(key, first));
            let expect: Vec<f32> = (0..BLOCK as u64).map(|i| key.uniform(first + i)).collect();
            assert_eq!(block[..], expect, "{} from {first}", isa.name());
        }
    }
}
