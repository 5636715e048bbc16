//! Sizes of a tensor's axes, outermost first, contiguous in memory.

use std::fmt;

/// Most axes a tensor may have.
pub const MAX_AXES: usize = 5;

/// Sizes of a tensor's axes, outermost first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    sizes: [usize; MAX_AXES],
    n_axes: usize,
}

impl Shape {
    /// The shape with these sizes.
    ///
    /// # Panics
    /// When there are more than [`MAX_AXES`].
    pub fn new(sizes: &[usize]) -> Self {
        assert!(sizes.len() <= MAX_AXES, "a tensor has at most {MAX_AXES} axes, not {}: {sizes:?}", sizes.len());
        let mut padded = [1; MAX_AXES];
        padded[..sizes.len()].copy_from_slice(sizes);
        Self { sizes: padded, n_axes: sizes.len() }
    }

    /// The sizes.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes[..self.n_axes]
    }

    /// Number of elements.
    pub fn n_elements(&self) -> usize {
        self.sizes().iter().product()
    }

    /// Size of the innermost axis; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.sizes().last().copied().unwrap_or(1)
    }

    /// Product of all sizes but the innermost: the number of rows when seen as a matrix.
    pub fn n_rows(&self) -> usize {
        self.sizes().split_last().map_or(1, |(_, outer)| outer.iter().product())
    }
}

/// A shape with the names of its axes, as messages show it: `[M 2, K 3]`.
///
/// The names stand side by side, separated by spaces. When the first ends in `..` it is that of all outer axes together:
/// `M.. K` shows as `[M 2·4, K 3]`.
pub(crate) fn named(names: &str, shape: Shape) -> String {
    let Some(axes) = axes(names, &shape) else { return format!("{shape} (not [{}])", names.replace(' ', ", ")) };
    let axis = |(name, sizes): (&str, &[usize])| {
        let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
        format!("{name} {}", if sizes.is_empty() { "1".to_owned() } else { sizes.join("·") })
    };
    format!("[{}]", axes.map(axis).collect::<Vec<String>>().join(", "))
}

/// Each name with the sizes it stands for; `None` when the shape has another number of axes.
fn axes<'a>(names: &'a str, shape: &'a Shape) -> Option<impl Iterator<Item = (&'a str, &'a [usize])>> {
    let n_inner = names.split(' ').count() - 1;
    let n_outer = shape.sizes().len().checked_sub(n_inner)?;
    let takes_all = names.split(' ').next().is_some_and(|first| first.ends_with(".."));
    let mut rest = shape.sizes();
    let axis = move |(i, name): (usize, &'a str)| {
        let (sizes, inner) = rest.split_at(if i == 0 { n_outer } else { 1 });
        rest = inner;
        (name.trim_end_matches(".."), sizes)
    };
    (takes_all || n_outer == 1).then(|| names.split(' ').enumerate().map(axis))
}

/// The sizes of named axes, in the order in which the names first appear in `parts`: the check of an operation's shapes.
///
/// Each part is the words before a tensor in a message that begins with "cannot", the names of its axes as in [`named`], and
/// its shape. A name stands for one size everywhere.
///
/// # Panics
/// When a tensor has another number of axes, or a name two sizes.
#[track_caller]
pub(crate) fn sizes<const N: usize>(parts: &[(&str, &str, Shape)]) -> [usize; N] {
    let mut found = [("", 0); N];
    let mut n_found = 0;
    for (words, names, shape) in parts {
        let Some(axes) = axes(names, shape) else {
            let tensor = words.rsplit(' ').next().unwrap_or(words);
            refuse(parts, &format!("{tensor} has {} axes", shape.sizes().len()))
        };
        for (name, sizes) in axes {
            let size = sizes.iter().product();
            match found[..n_found].iter().find(|(known, _)| *known == name) {
                Some((_, known)) if *known != size => refuse(parts, &format!("{name} differs")),
                Some(_) => {}
                None => {
                    found[n_found] = (name, size);
                    n_found += 1;
                }
            }
        }
    }
    assert_eq!(n_found, N, "as many sizes are asked for as there are names");
    found.map(|(_, size)| size)
}

#[track_caller]
fn refuse(parts: &[(&str, &str, Shape)], why: &str) -> ! {
    let shown: Vec<String> =
        parts.iter().map(|(words, names, shape)| format!("{words} {}", named(names, *shape))).collect();
    panic!("cannot {}: {why}", shown.join(" "))
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        Self::new(&sizes)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.sizes())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.sizes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{self, Linear};
    use crate::{DType, Device, Tape, Tensor, Var};

    #[test]
    fn sizes_come_in_the_order_of_their_names() {
        let parts = [("multiply x", "M.. K", Shape::from([2, 4, 3])), ("by weight", "N K", Shape::from([5, 3]))];
        assert_eq!(sizes(&parts), [8, 3, 5]);
        assert_eq!(sizes(&[("take", "M.. K", Shape::from([3]))]), [1, 3]);
        assert_eq!(named("M.. K", Shape::from([3])), "[M 1, K 3]");
    }

    /// What an operation says of shapes that do not fit.
    #[test]
    fn messages_name_the_axes() {
        let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(&Device::reference(), Shape::new(shape), DType::F32));
        let plain = Linear::plain(DType::F32);
        type Operation<'a> = &'a dyn Fn(&Tape<'_>, &Var, &Var) -> Var;
        let cases: [(Operation<'_>, &[usize], &[usize], &str); 7] = [
            (&op::matmul, &[2, 3], &[4, 5], "cannot multiply a [M 2, K 3] by b [K 4, N 5]: K differs"),
            (
                &op::matmul,
                &[2, 3, 1],
                &[4, 5],
                "cannot multiply a [2, 3, 1] (not [M, K]) by b [K 4, N 5]: a has 3 axes",
            ),
            (
                &|tape, x, w| op::linear(tape, x, &w.into(), plain.clone()),
                &[2, 4, 3],
                &[5, 4],
                "cannot multiply x [M 2·4, K 3] by weight [N 5, K 4]: K differs",
            ),
            (
                &|tape, x, w| op::linear(tape, x, &w.into(), Linear { bias: Some(w.clone()), ..plain.clone() }),
                &[2, 4],
                &[5, 4],
                "cannot multiply x [M 2, K 4] by weight [N 5, K 4] and add bias [5, 4] (not [N]): bias has 2 axes",
            ),
            (&op::add, &[2, 3], &[7], "cannot add a [elements 2·3] and b [elements 7]: elements differs"),
            (
                &|tape, a, b| op::concat(tape, &[a, b]),
                &[2, 3],
                &[4, 5],
                "cannot join [M 2, N1 3] and [M 4, N2 5]: M differs",
            ),
            (
                &|tape, a, _| op::gated(tape, crate::Activation::Silu, a),
                &[2, 3],
                &[],
                "cannot gate x [M 2, 2·F 3]: the width 2·F must be even",
            ),
        ];
        for (operation, a, b, expected) in cases {
            let run = || operation(&Tape::inference(&Device::reference()), &zeros(a), &zeros(b));
            let message =
                *std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err().downcast::<String>().unwrap();
            assert_eq!(message, expected);
        }
    }
}
