//! What lanes are read from and written to: f32 and bf16 alike.

use super::Lanes;
use half::bf16;

/// A stored number.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// As f32.
    fn to_f32(self) -> f32;

    /// Rounded to nearest even.
    fn from_f32(value: f32) -> Self;

    /// See [`Lanes::load`].
    fn load<V: Lanes>(v: V, data: &[Self]) -> V;

    /// See [`Lanes::load_partial`].
    fn load_partial<V: Lanes>(v: V, data: &[Self], fill: f32) -> V;

    /// See [`Lanes::store`].
    fn store<V: Lanes>(x: V, out: &mut [Self]);

    /// See [`Lanes::store_partial`].
    fn store_partial<V: Lanes>(x: V, out: &mut [Self]);
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn load<V: Lanes>(v: V, data: &[Self]) -> V {
        v.load(data)
    }

    #[inline(always)]
    fn load_partial<V: Lanes>(v: V, data: &[Self], fill: f32) -> V {
        v.load_partial(data, fill)
    }

    #[inline(always)]
    fn store<V: Lanes>(x: V, out: &mut [Self]) {
        x.store(out)
    }

    #[inline(always)]
    fn store_partial<V: Lanes>(x: V, out: &mut [Self]) {
        x.store_partial(out)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        // Written out, because the method of `half` asks on every call which instructions there are.
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        bf16::from_bits(round_to_bf16(value.to_bits()))
    }

    #[inline(always)]
    fn load<V: Lanes>(v: V, data: &[Self]) -> V {
        v.load_bf16(data)
    }

    #[inline(always)]
    fn load_partial<V: Lanes>(v: V, data: &[Self], fill: f32) -> V {
        v.load_partial_bf16(data, fill)
    }

    #[inline(always)]
    fn store<V: Lanes>(x: V, out: &mut [Self]) {
        x.store_bf16(out)
    }

    #[inline(always)]
    fn store_partial<V: Lanes>(x: V, out: &mut [Self]) {
        x.store_partial_bf16(out)
    }
}

/// The upper half of the bits of an f32, rounded to nearest even; not-a-numbers stay so.
#[inline(always)]
pub(super) fn round_to_bf16(bits: u32) -> u16 {
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    ((if is_nan { bits | 0x0040_0000 } else { rounded }) >> 16) as u16
}

/// Compiles the same code for either storage type of each of the views named, those read before the semicolon and those
/// written after it: inside, the names are slices.
///
/// ```text
/// typed!(x; out => for at in v.spans(x.len()) { v.read(x, at).write(out, at) })
/// ```
macro_rules! typed {
    ($($read:ident),*; $($write:ident),* => $body:expr) => {
        $crate::backend::cpu::lanes::typed!(@ [$($read)*] [$($write)*] $body)
    };
    (@ [] [] $body:expr) => { $body };
    (@ [$view:ident $($read:ident)*] [$($write:ident)*] $body:expr) => {
        match $view {
            $crate::dtype::View::F32($view) => $crate::backend::cpu::lanes::typed!(@ [$($read)*] [$($write)*] $body),
            $crate::dtype::View::Bf16($view) => $crate::backend::cpu::lanes::typed!(@ [$($read)*] [$($write)*] $body),
        }
    };
    (@ [] [$view:ident $($write:ident)*] $body:expr) => {
        match $view {
            $crate::dtype::ViewMut::F32($view) => $crate::backend::cpu::lanes::typed!(@ [] [$($write)*] $body),
            $crate::dtype::ViewMut::Bf16($view) => $crate::backend::cpu::lanes::typed!(@ [] [$($write)*] $body),
        }
    };
}
pub(crate) use typed;
