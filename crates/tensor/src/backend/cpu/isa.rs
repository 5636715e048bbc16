//! Which vector instructions the kernels use: found once at run time, so that one program serves every processor.

use std::fmt;
use std::sync::OnceLock;

/// A set of vector instructions, from the plainest to the widest. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What the compiler may assume of every processor of the architecture (SSE2, NEON).
    Portable,
    /// 256-bit vectors with fused multiply-add and conversions from f16: x86 since about 2013.
    Avx2,
    /// 512-bit vectors (the F, BW, DQ and VL parts).
    Avx512,
    /// Besides, products of pairs of bf16 summed in f32.
    Avx512Bf16,
}

impl Isa {
    /// Every set, plainest first.
    pub const ALL: [Isa; 4] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];

    /// The name used in messages and in the environment variable `GENERA_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
        }
    }

    /// Whether this processor has these instructions.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        // Every processor with AVX2 has the other two.
        let avx2 =
            || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        let avx512 = || {
            avx2()
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
        };
        match self {
            Isa::Portable => true,
            Isa::Avx2 => avx2(),
            Isa::Avx512 => avx512(),
            Isa::Avx512Bf16 => avx512() && is_x86_feature_detected!("avx512bf16"),
        }
    }

    /// Whether this processor has these instructions.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Isa::Portable
    }

    /// The sets that this processor has, plainest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The widest set of this processor, or the one that the environment variable `GENERA_ISA` names.
    ///
    /// # Panics
    /// When `GENERA_ISA` names no set, or one that this processor lacks ([`Isa::asked`] says so without a panic).
    pub fn detect() -> Isa {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| match Self::asked() {
            Ok(asked) => asked.or(Self::available().last()).expect("every processor has the portable set"),
            Err(error) => panic!("{error}"),
        })
    }

    /// The set that the environment variable `GENERA_ISA` names; `None` where it is empty or not set.
    ///
    /// # Errors
    /// When it names no set, or one that this processor lacks.
    pub fn asked() -> Result<Option<Isa>, UnknownIsa> {
        let name = std::env::var_os("GENERA_ISA").filter(|name| !name.is_empty());
        name.map(|name| Self::from_name(&name.to_string_lossy())).transpose()
    }

    fn from_name(name: &str) -> Result<Isa, UnknownIsa> {
        Self::available().find(|isa| isa.name() == name).ok_or_else(|| UnknownIsa(name.to_owned()))
    }
}

/// A name, from `GENERA_ISA`, of no set of instructions that this processor has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIsa(String);

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Isa::available().map(Isa::name).collect();
        let Self(name) = self;
        write!(f, "GENERA_ISA is `{name}`; this processor offers {}: choose one of them or unset it", names.join(", "))
    }
}

impl std::error::Error for UnknownIsa {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_set_implies_the_plainer_ones() {
        let available: Vec<_> = Isa::available().collect();
        assert_eq!(available, Isa::ALL[..available.len()]);
        assert!(Isa::detect().is_available());
    }

    #[test]
    fn names_are_read_back() {
        for isa in Isa::available() {
            assert_eq!(Isa::from_name(isa.name()), Ok(isa));
        }
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let message = Isa::from_name("avx1024").unwrap_err().to_string();
        assert!(message.contains("avx1024") && message.contains("choose one of them"), "{message}");
    }
}
