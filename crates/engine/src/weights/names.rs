//! Published weight names as data: each family of models has a table of [`Row`]s.
//!
//! A row pairs a parameter of ours with the one or several tensors that hold its numbers in a published file. `{}` stands
//! for the layer, a second one for the expert. A row names either a whole parameter (`embedding.position`), or a module,
//! whose `.weight` and `.bias` then follow under the same names. The fused first matrix of a gated feed-forward layer, gate
//! on top of up, is called `gate_up` in the tables, so that one family can have both kinds.

use crate::config::{ModelConfig, Stack};
use crate::params::ParamSpec;
use std::borrow::Cow;

/// Fixed tables of sines and cosines, which some files hold beside the weights.
pub(super) const SINES: &str = "*.embed_positions.weight";
/// Ends of names as TensorFlow had them, in files from before 2020, and as they have been since.
const OLDER_ENDS: [(&str, &str); 2] = [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")];

/// One line of a table of names.
#[derive(Debug)]
pub(super) struct Row {
    ours: &'static str,
    /// Their tensors, whose rows on top of each other make ours.
    theirs: &'static [&'static str],
    lie: Lie,
    /// Whole names under which some files hold the same numbers instead, or once more.
    also: &'static [&'static str],
    /// Whether a file without it means zeros.
    or_zeros: bool,
    /// Whether a file without it means the embedding.
    or_embedding: bool,
}

/// How numbers lie in a published tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// As here: (out, in).
    Plain,
    /// (in, out).
    Transposed,
    /// A vector of n as [1, n].
    OneRow,
    /// Queries, keys and values head by head, (H, 3, K); here all queries come first.
    PerHead {
        /// K, known once the configuration is.
        d_head: usize,
    },
    /// Less 1: the weight of a norm that multiplies by 1 + w.
    LessOne,
    /// Behind so many rows that mean nothing here.
    After(usize),
}

impl Row {
    /// One tensor, as here.
    pub(super) const fn plain(ours: &'static str, theirs: &'static [&'static str; 1]) -> Self {
        Self::new(ours, theirs, Lie::Plain)
    }

    const fn new(ours: &'static str, theirs: &'static [&'static str], lie: Lie) -> Self {
        Self { ours, theirs, lie, also: &[], or_zeros: false, or_embedding: false }
    }

    /// Several tensors on top of each other.
    pub(super) const fn stacked(ours: &'static str, theirs: &'static [&'static str]) -> Self {
        Self::new(ours, theirs, Lie::Plain)
    }

    /// One tensor whose matrices are (in, out).
    pub(super) const fn transposed(ours: &'static str, theirs: &'static [&'static str; 1]) -> Self {
        Self::new(ours, theirs, Lie::Transposed)
    }

    /// A vector that is kept as the only row of a matrix.
    pub(super) const fn one_row(ours: &'static str, theirs: &'static [&'static str; 1]) -> Self {
        Self::new(ours, theirs, Lie::OneRow)
    }

    /// One tensor of queries, keys and values, head by head.
    pub(super) const fn per_head(ours: &'static str, theirs: &'static [&'static str; 1]) -> Self {
        Self::new(ours, theirs, Lie::PerHead { d_head: 0 })
    }

    /// The weight of a norm that multiplies by 1 + w.
    pub(super) const fn less_one(ours: &'static str, theirs: &'static [&'static str; 1]) -> Self {
        Self::new(ours, theirs, Lie::LessOne)
    }

    /// A table whose first `n` rows mean nothing here.
    pub(super) const fn after(n: usize, ours: &'static str, theirs: &'static [&'static str; 1]) -> Self {
        Self::new(ours, theirs, Lie::After(n))
    }

    /// The same row with other names for the same numbers.
    pub(super) const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    /// The same row, which means zeros where a file has no such tensor.
    pub(super) const fn or_zeros(self) -> Self {
        Self { or_zeros: true, ..self }
    }

    /// The same row, of a head that is the embedding where a file has no such tensor.
    pub(super) const fn or_embedding(self) -> Self {
        Self { or_embedding: true, ..self }
    }
}

/// What the tensors of a kind of files are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    /// The kind of model, for messages.
    pub(super) model_type: &'static str,
    /// What names begin with, or do not, depending on what wrote the file; of several that fit, the first.
    pub(super) prefixes: &'static [&'static str],
    /// Tables of names.
    pub(super) rows: &'static [&'static [Row]],
    /// Tensors that mean nothing here, without a prefix; one `*` stands for any text.
    pub(super) ignored: &'static [&'static str],
    /// Tensors that hold several of those in the tables.
    pub(super) cuts: &'static [Cut],
}

/// A tensor whose rows, cut into equal parts, are those of other names: all experts in one, or but another name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Its name without the prefix; `*` stands for the layer.
    pub(super) whole: &'static str,
    /// The names of its parts; where they have a `{}`, which stands for the expert, once for each expert.
    pub(super) parts: &'static [&'static str],
}

impl Cut {
    /// Whether there are such parts for each expert.
    pub(super) fn is_of_experts(&self) -> bool {
        self.parts.iter().any(|part| part.contains("{}"))
    }

    /// The name of the whole that this is a part of.
    pub(super) fn whole_of(&self, name: &str) -> Option<String> {
        let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        self.parts.iter().find_map(|part| {
            let (start, rest) = part.split_once('*')?;
            let (middle, end) = rest.split_once("{}")?;
            let numbers = name.strip_prefix(start)?.strip_suffix(end)?;
            let (layer, expert) = numbers.split_once(middle)?;
            is_number(&expert)
                .then_some(())
                .and(Some(layer).filter(is_number))
                .map(|layer| self.whole.replacen('*', layer, 1))
        })
    }
}

impl Names {
    /// A tensor's name without the prefix that it may have, and with the end that it has today.
    pub(super) fn bare<'n>(&self, name: &'n str) -> Cow<'n, str> {
        let name = self.prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        let renamed = OLDER_ENDS.iter().find_map(|(old, new)| Some(format!("{}{new}", name.strip_suffix(old)?)));
        renamed.map_or(Cow::Borrowed(name), Cow::Owned)
    }

    /// The names under which a file may have a tensor of the tables: its own first.
    pub(super) fn forms(&self, name: &str) -> Vec<String> {
        let bare = self.bare(name).into_owned();
        let older = OLDER_ENDS.iter().find_map(|(old, new)| Some(format!("{}{old}", bare.strip_suffix(new)?)));
        let mut forms = vec![name.to_owned()];
        for bare in [Some(bare), older].into_iter().flatten() {
            forms.extend(self.prefixes.iter().map(|prefix| format!("{prefix}{bare}")));
            forms.push(bare);
        }
        forms
    }

    /// How a tensor is to be cut, if at all.
    pub(super) fn cut(&self, name: &str) -> Option<&'static Cut> {
        self.cuts.iter().find(|cut| fits(cut.whole, &self.bare(name)))
    }

    /// The names of the parts that a tensor is to be cut into, in a model of so many experts.
    pub(super) fn parts(&self, name: &str, n_experts: usize) -> Option<Vec<String>> {
        let (cut, name) = (self.cut(name)?, self.bare(name));
        let (start, end) = cut.whole.split_once('*')?;
        let layer = &name[start.len()..name.len() - end.len()];
        let of_expert = |expert: usize| {
            cut.parts.iter().map(move |part| part.replacen('*', layer, 1).replacen("{}", &expert.to_string(), 1))
        };
        Some((0..if cut.is_of_experts() { n_experts } else { 1 }).flat_map(of_expert).collect())
    }

    /// Whether a tensor means nothing here.
    pub(super) fn ignores(&self, name: &str) -> bool {
        let bare = self.bare(name);
        self.ignored.iter().any(|pattern| fits(pattern, &bare))
    }

    /// Whether a tensor is a fixed table of sines and cosines.
    pub(super) fn is_sines(&self, name: &str) -> bool {
        self.ignored.contains(&SINES) && fits(SINES, name)
    }
}

/// The tensors of a file that make one parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sources {
    /// Top to bottom.
    pub(super) tensors: Vec<Source>,
    pub(super) lie: Lie,
    /// Other names of the first tensor.
    pub(super) also: Vec<String>,
    /// Whether a file without them means zeros.
    pub(super) or_zeros: bool,
    /// Whether a file without them means the embedding.
    pub(super) or_embedding: bool,
}

/// One tensor of a file, and the part of ours that it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    pub(super) name: String,
    /// Sizes in the file.
    pub(super) shape: Vec<usize>,
}

impl Sources {
    /// A parameter under its own name, as files for this program only have it.
    pub(super) fn own(spec: &ParamSpec) -> Self {
        let tensor = Source { name: spec.name.clone(), shape: spec.shape.sizes().to_vec() };
        Self { tensors: vec![tensor], lie: Lie::Plain, also: Vec::new(), or_zeros: false, or_embedding: false }
    }

    /// Looks a parameter up in the tables of a family; `None` when it has nothing like it.
    pub(super) fn of(tables: &[&[Row]], config: &ModelConfig, spec: &ParamSpec) -> Option<Self> {
        let (key, numbers) = table_key(config, &spec.name);
        let (row, suffix) = find(tables, &key)?;
        let numbered = |theirs: &str| numbers.iter().fold(theirs.to_owned(), |name, n| name.replacen("{}", n, 1));
        let name = |theirs: &str| format!("{}{suffix}", numbered(theirs));
        let lie = match row.lie {
            Lie::Transposed if spec.shape.sizes().len() != 2 => Lie::Plain,
            Lie::PerHead { .. } => Lie::PerHead { d_head: stack_of(config, &spec.name).attention.d_head },
            lie => lie,
        };
        let n_rows = part_rows(config, spec, row.theirs.len());
        let source = |(theirs, n)| Source { name: name(theirs), shape: shape_in_file(spec, n, lie) };
        let tensors = row.theirs.iter().copied().zip(n_rows).map(source).collect();
        let also = row.also.iter().map(|&name| name.to_owned()).collect();
        Some(Self { tensors, lie, also, or_zeros: row.or_zeros, or_embedding: row.or_embedding })
    }
}

/// The key of a parameter in the tables, and its numbers: `decoder.3.feed_forward.up.weight` is
/// `decoder.{}.feed_forward.up.weight`, or `…gate_up.weight` when gated, and 3.
fn table_key<'n>(config: &ModelConfig, name: &'n str) -> (String, Vec<&'n str>) {
    let is_number = |part: &&str| part.parse::<usize>().is_ok();
    let is_gated = stack_of(config, name).feed_forward.is_gated() && name.contains(".feed_forward.");
    let key: Vec<&str> = name
        .split('.')
        .map(|part| match part {
            _ if is_number(&part) => "{}",
            "up" if is_gated => "gate_up",
            _ => part,
        })
        .collect();
    (key.join("."), name.split('.').filter(is_number).collect())
}

/// The row of a key, and what is to be added to their names.
fn find<'r>(tables: &[&'r [Row]], key: &str) -> Option<(&'r Row, &'static str)> {
    let with = |suffix: &'static str| {
        let module = key.strip_suffix(suffix)?;
        tables.iter().copied().flatten().find(|row| row.ours == module).map(|row| (row, suffix))
    };
    with("").or_else(|| with(".weight")).or_else(|| with(".bias"))
}

/// How many of a parameter's rows each of `n_parts` tensors holds.
fn part_rows(config: &ModelConfig, spec: &ParamSpec, n_parts: usize) -> Vec<usize> {
    let n_rows = spec.shape.sizes()[0];
    if n_parts == 3 {
        let attention = &stack_of(config, &spec.name).attention;
        let (q, kv) = (attention.n_heads * attention.d_head, attention.n_kv_heads * attention.d_head);
        return vec![q, kv, kv];
    }
    vec![n_rows / n_parts; n_parts]
}

fn shape_in_file(spec: &ParamSpec, n_rows: usize, lie: Lie) -> Vec<usize> {
    let mut shape = spec.shape.sizes().to_vec();
    shape[0] = n_rows;
    match lie {
        Lie::Plain | Lie::PerHead { .. } | Lie::LessOne => {}
        Lie::After(n) => shape[0] += n,
        Lie::Transposed => shape.reverse(),
        Lie::OneRow => shape.insert(0, 1),
    }
    shape
}

/// The stack that a parameter belongs to; any for those outside.
fn stack_of<'c>(config: &'c ModelConfig, name: &str) -> &'c Stack {
    let is_its = |(stack, _): &(&str, _)| name.split('.').next() == Some(stack);
    config.stacks().into_iter().find(is_its).map_or(config.last_stack(), |(_, stack)| stack)
}

/// Whether a name fits a pattern, in which one `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end),
        None => pattern == name,
    }
}
