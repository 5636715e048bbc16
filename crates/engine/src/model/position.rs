//! How a token knows where it stands: the fixed tables of each scheme.

use super::transformer::Rows;
use crate::config::{ModelConfig, Position, Rotary, RotaryScaling, long_rope_factor};
use genera_tensor::op::{RotarySpec, RotaryTable, offset_bias};
use genera_tensor::{Device, Tape, Tensor, Var};
use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

/// The fixed tables of a model's position scheme.
#[derive(Debug)]
pub(super) struct Positions {
    rotary: Option<Turnings>,
    sinusoids: Option<Tensor>,
    alibi: Option<Alibi>,
    buckets: Option<Buckets>,
}

/// From which length on what a row's keys are depends on how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Rows longer than this are turned by other angles from their first token on.
    pub len: usize,
    /// Whether each length beyond has angles of its own; else all have the same.
    pub is_gradual: bool,
}

impl Switch {
    /// Whether keys made for a row of `held` tokens are those of a row of `len`.
    pub fn keeps(&self, held: usize, len: usize) -> bool {
        match (held > self.len, len > self.len) {
            (true, true) => !self.is_gradual || held == len,
            (held_long, long) => held_long == long,
        }
    }
}

/// Most positions that tables begin with: they grow when a pass has later ones, so that a model with a context of a hundred
/// thousand tokens starts as soon as any.
const FIRST_TABLE_POSITIONS: usize = 2048;

/// How the heads of all layers are turned.
#[derive(Debug)]
struct Turnings {
    /// Of layers that see everything.
    full: Turning,
    /// Of layers with a window, where it is another.
    local: Option<Turning>,
    interleaved: bool,
    switch: Option<Switch>,
    context_len: usize,
    /// Those that reach farthest so far.
    tables: RwLock<Tables>,
}

/// The angles of the first positions.
#[derive(Clone, Debug)]
struct Tables {
    /// Of full and local layers, [P or 2·P, pairs]: where P is beyond the switch of a list, the places of longer rows follow those
    /// of short ones.
    of_layers: [RotaryTable; 2],
    n_positions: usize,
}

/// How the heads of some layers are turned.
#[derive(Debug)]
struct Turning {
    frequencies: Vec<f64>,
    longer: Longer,
    amplitude: f64,
}

/// The frequencies of rows beyond the switch.
#[derive(Debug)]
enum Longer {
    /// As of all.
    Same,
    /// A list of their own.
    Listed(Vec<f64>),
    /// From the base that belongs to the length.
    ByLength { theta: f64, n_rotated: usize, factor: f64, context_len: usize },
}

/// Where the tokens of a pass find their angles.
#[derive(Clone, Debug)]
pub(super) struct Angles {
    /// [B, T]: places in the tables.
    pub(super) places: Arc<[u32]>,
    /// Of full and local layers, where positions are rotary.
    tables: Option<[RotaryTable; 2]>,
}

#[derive(Debug)]
struct Alibi {
    /// [H, 2·P − 1]
    values: Tensor,
    origin: usize,
}

#[derive(Clone, Copy, Debug)]
struct Buckets {
    n_buckets: usize,
    max_distance: usize,
}

impl Positions {
    pub(super) fn new(config: &ModelConfig, device: &Device) -> Self {
        let mut positions = Self { rotary: None, sinusoids: None, alibi: None, buckets: None };
        match &config.position {
            Position::None | Position::Learned => {}
            Position::Sinusoidal => positions.sinusoids = Some(sinusoids(config.context_len, config.d_model, device)),
            Position::Rotary(rotary) => positions.rotary = Some(Turnings::new(rotary, config.context_len)),
            Position::Alibi => {
                positions.alibi = Some(Alibi::new(config.last_stack().attention.n_heads, config.context_len, device));
            }
            &Position::RelativeBias { n_buckets, max_distance } => {
                positions.buckets = Some(Buckets { n_buckets, max_distance });
            }
        }
        positions
    }

    /// The table of fixed sines and cosines to be added to the embeddings.
    pub(super) fn sinusoids(&self) -> Option<Var> {
        self.sinusoids.clone().map(Var::constant)
    }

    /// How to turn the given heads in a pass with these angles, when positions are rotary.
    pub(super) fn rotary(
        &self,
        angles: &Angles,
        heads: Range<usize>,
        d_head: usize,
        is_local: bool,
    ) -> Option<RotarySpec> {
        let turnings = self.rotary.as_ref()?;
        let table = angles.tables.as_ref()?[usize::from(is_local)].clone();
        Some(RotarySpec { table, d_head, heads, interleaved: turnings.interleaved })
    }

    /// Where each token finds its angles: at its position, but for long documents in models that turn those otherwise.
    ///
    /// # Determinism
    /// The angles of a document are the same bits whichever documents are beside it, and whatever was read before.
    ///
    /// # Cost
    /// No angle is computed but those of positions that no pass had before, and all of a pass with a document for whose length
    /// they are made.
    pub(super) fn angles(&self, rows: &Rows) -> Angles {
        let at_positions = |tables| Angles { places: rows.positions.clone(), tables };
        let Some(turnings) = &self.rotary else { return at_positions(None) };
        let n_positions = rows.positions.iter().max().map_or(0, |&last| last as usize + 1);
        let Some(switch) = turnings.switch.filter(|switch| n_positions > switch.len) else {
            return at_positions(Some(turnings.reaching(n_positions).of_layers));
        };
        let lens = document_lens(rows);
        let is_long = |len: usize| len > switch.len;
        if switch.is_gradual && lens.iter().any(|&len| is_long(len)) {
            let tables = turnings.both(|turning| turning.table_of(&rows.positions, &lens, &is_long));
            return Angles { places: (0..lens.len() as u32).collect(), tables: Some(tables) };
        }
        let Tables { of_layers, n_positions } = turnings.reaching(n_positions);
        let place = |(&position, &len): (&u32, &usize)| {
            if is_long(len) { position + n_positions as u32 } else { position }
        };
        Angles { places: rows.positions.iter().zip(&lens).map(place).collect(), tables: Some(of_layers) }
    }

    /// The length beyond which all of a row is turned by other angles, if there is one.
    pub(super) fn switch(&self) -> Option<Switch> {
        self.rotary.as_ref()?.switch
    }

    /// What is added to the scores of a stack, with the index of offset 0.
    ///
    /// `table`: the stack's relative biases; `n_keys`: positions reach up to it.
    pub(super) fn bias(
        &self,
        tape: &Tape<'_>,
        table: Option<&Var>,
        n_keys: usize,
        is_causal: bool,
    ) -> Option<(Var, usize)> {
        if let Some(alibi) = &self.alibi {
            let longer = (n_keys > alibi.origin + 1).then(|| alibi.reaching(n_keys));
            let Alibi { values, origin } = longer.as_ref().unwrap_or(alibi);
            return Some((Var::constant(values.clone()), *origin));
        }
        let (buckets, table) = (self.buckets?, table?);
        let origin = n_keys - 1;
        let offsets = -(origin as isize)..=origin as isize;
        let ids: Arc<[u32]> = offsets.map(|offset| buckets.bucket(offset, !is_causal)).collect();
        Some((offset_bias(tape, table, &ids), origin))
    }
}

/// Tokens of each token's document, as far as the pass reads it; 0 for padding.
///
/// # Shapes
/// Result: [B, T].
fn document_lens(rows: &Rows) -> Vec<usize> {
    let of_row = |(row, positions): (usize, &[u32])| {
        let n_real = rows.lens.as_ref().map_or(rows.t, |lens| lens[row] as usize).min(rows.t);
        let segment = |i: usize| rows.segments.as_ref().map_or(0, |segments| segments[row * rows.t + i]);
        let mut lens = vec![0; positions.len()];
        let mut start = 0;
        while start < n_real {
            let end = (start + 1..n_real).find(|&i| segment(i) != segment(start)).unwrap_or(n_real);
            lens[start..end].fill(positions[end - 1] as usize + 1);
            start = end;
        }
        lens
    };
    rows.positions.chunks(rows.t.max(1)).enumerate().flat_map(of_row).collect()
}

impl Turnings {
    fn new(rotary: &Rotary, context_len: usize) -> Self {
        let (full, switch) = Turning::of_full(rotary, context_len);
        let local = rotary.local_theta.map(|theta| Turning::plain(frequencies(theta, rotary.n_rotated)));
        let none = Tables { of_layers: [RotaryTable::new(0, &[]), RotaryTable::new(0, &[])], n_positions: 0 };
        let tables = RwLock::new(none);
        let turnings = Self { full, local, interleaved: rotary.interleaved, switch, context_len, tables };
        turnings.reaching(context_len.min(FIRST_TABLE_POSITIONS));
        turnings
    }

    /// What is made of the turning of full layers and of that of local ones, once where they are the same.
    fn both<T: Clone>(&self, make: impl Fn(&Turning) -> T) -> [T; 2] {
        let full = make(&self.full);
        let local = self.local.as_ref().map_or_else(|| full.clone(), make);
        [full, local]
    }

    /// Tables that have the first so many positions at least; longer ones are made on first need, and kept.
    fn reaching(&self, n_positions: usize) -> Tables {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner).clone();
        if tables.n_positions >= n_positions {
            return tables;
        }
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have made them meanwhile.
        if tables.n_positions < n_positions {
            *tables = self.made(n_positions);
        }
        tables.clone()
    }

    /// Tables of a power of two of positions, for they grow with a text that is generated; or of all of the context.
    fn made(&self, n_needed: usize) -> Tables {
        let rounded = n_needed.next_power_of_two();
        let n_positions = if n_needed <= self.context_len { rounded.min(self.context_len) } else { rounded };
        let has_both =
            matches!(self.full.longer, Longer::Listed(_)) && self.switch.is_some_and(|switch| switch.len < n_positions);
        Tables { of_layers: self.both(|turning| turning.table(n_positions, has_both)), n_positions }
    }
}

impl Turning {
    fn plain(frequencies: Vec<f64>) -> Self {
        Self { frequencies, longer: Longer::Same, amplitude: 1.0 }
    }

    /// Of layers that see everything; and from where on rows are turned otherwise.
    fn of_full(rotary: &Rotary, context_len: usize) -> (Self, Option<Switch>) {
        let plain = frequencies(rotary.theta, rotary.n_rotated);
        let mut switch = None;
        let turning = match &rotary.scaling {
            RotaryScaling::None => Self::plain(plain),
            &RotaryScaling::Dynamic { factor } => {
                switch = Some(Switch { len: context_len, is_gradual: true });
                let &Rotary { theta, n_rotated, .. } = rotary;
                Self { longer: Longer::ByLength { theta, n_rotated, factor, context_len }, ..Self::plain(plain) }
            }
            RotaryScaling::Linear { factor } => Self::plain(plain.iter().map(|f| f / factor).collect()),
            RotaryScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_len } => {
                let context = *original_context_len as f64;
                Self::plain(llama3(&plain, *factor, [*low_freq_factor, *high_freq_factor], context))
            }
            RotaryScaling::Yarn { factor, attention_factor, .. } => {
                let amplitude = attention_factor.unwrap_or(if *factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 });
                Self { amplitude, ..Self::plain(yarn(&plain, rotary)) }
            }
            RotaryScaling::LongRope { short, long, original_context_len, attention_factor } => {
                switch = Some(Switch { len: *original_context_len, is_gradual: false });
                let stretched = context_len as f64 / *original_context_len as f64;
                let amplitude = attention_factor.unwrap_or(long_rope_factor(stretched, *original_context_len));
                let divided = |factors: &[f64]| plain.iter().zip(factors).map(|(f, factor)| f / factor).collect();
                Self { longer: Longer::Listed(divided(long)), amplitude, ..Self::plain(divided(short)) }
            }
        };
        (turning, switch)
    }

    /// A table of the first positions of rows, and behind it one of those of longer rows.
    fn table(&self, n_positions: usize, has_both: bool) -> RotaryTable {
        let table = |frequencies: &[f64]| RotaryTable::new(n_positions, frequencies).amplified(self.amplitude);
        let short = table(&self.frequencies);
        match &self.longer {
            _ if !has_both => short,
            Longer::Listed(longer) => short.followed_by(&table(longer)),
            // Where longer rows are turned alike, it is there twice.
            _ => short.followed_by(&short),
        }
    }

    /// The angles of tokens, a place for each.
    ///
    /// # Shapes
    /// positions, lens: [B, T].
    fn table_of(&self, positions: &[u32], lens: &[usize], is_long: &dyn Fn(usize) -> bool) -> RotaryTable {
        let mut angles = Vec::with_capacity(positions.len() * self.frequencies.len());
        let mut first = 0;
        for lens in lens.chunk_by(|a, b| a == b) {
            let frequencies = if is_long(lens[0]) { self.longer(lens[0]) } else { self.frequencies.clone() };
            for &position in &positions[first..first + lens.len()] {
                angles.extend(frequencies.iter().map(|f| f64::from(position) * f));
            }
            first += lens.len();
        }
        RotaryTable::of_angles(angles.into_iter(), self.frequencies.len()).amplified(self.amplitude)
    }

    /// The frequencies of a row of `len` tokens, which is beyond the switch.
    fn longer(&self, len: usize) -> Vec<f64> {
        match &self.longer {
            Longer::Same => self.frequencies.clone(),
            Longer::Listed(frequencies) => frequencies.clone(),
            &Longer::ByLength { theta, n_rotated, factor, context_len } => {
                let stretched = factor * len as f64 / context_len as f64 - (factor - 1.0);
                let n = n_rotated as f64;
                frequencies(theta * stretched.powf(n / (n - 2.0)), n_rotated)
            }
        }
    }
}

/// θ^(−2i/n) for each pair of n features.
fn frequencies(theta: f64, n_rotated: usize) -> Vec<f64> {
    (0..n_rotated.div_ceil(2)).map(|i| theta.powf(-(2.0 * i as f64) / n_rotated as f64)).collect()
}

/// Low frequencies divided by `factor`, high ones kept, those between in proportion to their turns within `context`.
///
/// # Source
/// The published implementation of Llama 3.1 (Grattafiori et al., arXiv 2407.21783).
fn llama3(plain: &[f64], factor: f64, [low, high]: [f64; 2], context: f64) -> Vec<f64> {
    let scaled = |&f: &f64| {
        let turns = context * f / TAU;
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 - kept) * f / factor + kept * f
    };
    plain.iter().map(scaled).collect()
}

/// Frequencies divided by a factor where they make few turns within the original context.
///
/// # Source
/// Peng et al., "YaRN", arXiv 2309.00071, section 3.2; that the ends of the ramp are rounded is of the published
/// implementation.
fn yarn(plain: &[f64], rotary: &Rotary) -> Vec<f64> {
    let &Rotary { theta, n_rotated, ref scaling, .. } = rotary;
    let &RotaryScaling::Yarn { factor, original_context_len, beta_fast, beta_slow, truncate, .. } = scaling else {
        return plain.to_vec();
    };
    // The pair that makes so many turns within the context.
    let pair = |turns: f64| n_rotated as f64 * (original_context_len as f64 / (turns * TAU)).ln() / (2.0 * theta.ln());
    let (mut start, mut end) = (pair(beta_fast), pair(beta_slow));
    if truncate {
        (start, end) = (start.floor(), end.ceil());
    }
    (start, end) = (start.max(0.0), end.min(n_rotated as f64 - 1.0));
    if start == end {
        end += 0.001;
    }
    let scaled = |(i, f): (usize, &f64)| {
        let divided = ((i as f64 - start) / (end - start)).clamp(0.0, 1.0);
        divided * f / factor + (1.0 - divided) * f
    };
    plain.iter().enumerate().map(scaled).collect()
}

impl Buckets {
    /// The bucket of an offset (key position − query position): half of the buckets for exact distances, the rest for
    /// logarithmically wider ones.
    ///
    /// # Source
    /// Raffel et al., arXiv 1910.10683, section 2.1 and the published implementation's definition.
    fn bucket(self, offset: isize, is_bidirectional: bool) -> u32 {
        let mut n_buckets = self.n_buckets;
        let mut base = 0;
        let mut distance = (-offset).max(0) as usize;
        if is_bidirectional {
            n_buckets /= 2;
            base = if offset > 0 { n_buckets } else { 0 };
            distance = offset.unsigned_abs();
        }
        let n_exact = n_buckets / 2;
        if distance < n_exact {
            return (base + distance) as u32;
        }
        // Rounded where the published implementation rounds: a distance on the border of two buckets depends on it.
        let widest = (self.max_distance as f64 / n_exact as f64).ln() as f32;
        let ratio = (distance as f32 / n_exact as f32).ln() / widest;
        let wide = n_exact + (ratio * (n_buckets - n_exact) as f32) as usize;
        (base + wide.min(n_buckets - 1)) as u32
    }
}

/// A number of the fixed table of sines and cosines whose rows have an even `width`.
pub(crate) fn sinusoid(position: usize, column: usize, width: usize) -> f32 {
    let half = width / 2;
    let angle = position as f64 / 10_000_f64.powf((column % half) as f64 / half as f64);
    (if column < half { angle.sin() } else { angle.cos() }) as f32
}

fn sinusoids(n_positions: usize, width: usize, device: &Device) -> Tensor {
    let values: Vec<f32> = (0..n_positions * width).map(|i| sinusoid(i / width, i % width, width)).collect();
    Tensor::from_f32(device, [n_positions, width], &values)
}

impl Alibi {
    fn new(n_heads: usize, n_positions: usize, device: &Device) -> Self {
        let origin = n_positions - 1;
        let n_offsets = 2 * n_positions - 1;
        let value = |i: usize| {
            let (head, offset) = (i / n_offsets, (i % n_offsets).abs_diff(origin));
            (-alibi_slope(head, n_heads) * offset as f64) as f32
        };
        let values: Vec<f32> = (0..n_heads * n_offsets).map(value).collect();
        Self { values: Tensor::from_f32(device, [n_heads, n_offsets], &values), origin }
    }

    /// The same slopes over more positions.
    fn reaching(&self, n_positions: usize) -> Self {
        let [n_heads, _] = self.values.dims();
        Self::new(n_heads, n_positions, self.values.device())
    }
}

/// Slopes 2^(−8i/n) for n a power of two; other numbers of heads take every second slope of the next power as well.
fn alibi_slope(head: usize, n_heads: usize) -> f64 {
    let base = 1 << n_heads.ilog2();
    let exponent = |i: usize, n: usize| 2_f64.powf(-8.0 * (i + 1) as f64 / n as f64);
    if head < base { exponent(head, base) } else { exponent(2 * (head - base), 2 * base) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_tensor::op::rotary;

    /// 8 buckets up to distance 20, both ways and one way, worked out by hand from the definition.
    #[test]
    fn buckets_follow_the_definition() {
        let buckets = Buckets { n_buckets: 8, max_distance: 20 };
        let both = |offset| buckets.bucket(offset, true);
        assert_eq!([-3, -1, 0, 1, 2, 30].map(both), [2, 1, 0, 5, 6, 7]);
        let causal = |offset| buckets.bucket(offset, false);
        assert_eq!([5, 0, -3, -4, -5, -100].map(causal), [0, 0, 3, 4, 4, 7]);
    }

    #[test]
    fn slopes_for_eight_and_twelve_heads() {
        assert_eq!(alibi_slope(0, 8), 0.5);
        assert_eq!(alibi_slope(7, 8), 1.0 / 256.0);
        assert_eq!(alibi_slope(8, 12), 2_f64.powf(-0.5));
    }

    /// Expected: `T5Attention._relative_position_bucket` of version 5 of the library.
    #[test]
    fn buckets_up_to_a_short_distance_are_those_of_the_published_implementation() {
        let of = |n_buckets, max_distance, is_bidirectional, offsets: [isize; 5]| {
            offsets.map(|offset| Buckets { n_buckets, max_distance }.bucket(offset, is_bidirectional))
        };
        assert_eq!(of(8, 9, false, [-3, -5, -6, -8, -20]), [3, 5, 6, 7, 7]);
        assert_eq!(of(32, 18, true, [-7, -12, 12, 17, 40]), [7, 12, 28, 31, 31]);
        assert_eq!(of(32, 20, false, [-15, -16, -17, -19, -20]), [15, 16, 20, 28, 31]);
    }

    fn positions(rotary: &Rotary, context_len: usize) -> Positions {
        let rotary = Some(Turnings::new(rotary, context_len));
        Positions { rotary, sinusoids: None, alibi: None, buckets: None }
    }

    fn n_positions(positions: &Positions) -> usize {
        positions.rotary.as_ref().unwrap().tables.read().unwrap().n_positions
    }

    /// Tables of a long context are made as far as they are needed, once for all passes and threads, and have the angles that tables
    /// of one pass have, bit for bit.
    #[test]
    fn tables_grow_on_first_need() {
        let long_rope = |original_context_len| RotaryScaling::LongRope {
            short: vec![1.0, 1.5],
            long: vec![2.0, 4.0],
            original_context_len,
            attention_factor: Some(1.1),
        };
        for scaling in [RotaryScaling::None, long_rope(1000), long_rope(8500), long_rope(9500)] {
            let rotary = Rotary { scaling, local_theta: Some(9.0), ..Rotary::plain(100.0, 4) };
            let positions = positions(&rotary, 20_000);
            assert_eq!(n_positions(&positions), FIRST_TABLE_POSITIONS);
            let rows = Rows::dense(9000, &[0; 9000]);
            let (turnings, lens) = (positions.rotary.as_ref().unwrap(), document_lens(&rows));
            let is_long = |len: usize| turnings.switch.is_some_and(|switch| len > switch.len);
            let tables = turnings.both(|turning| turning.table_of(&rows.positions, &lens, &is_long));
            let own = Angles { places: (0..9000).collect(), tables: Some(tables) };
            let expected = [false, true].map(|is_local| turned_by(&positions, &own, is_local));
            let check = || [false, true].map(|is_local| turned(&positions, 9000, is_local)) == expected;
            let checks = std::thread::scope(|scope| [0; 3].map(|_| scope.spawn(check)).map(|one| one.join().unwrap()));
            assert_eq!((checks, n_positions(&positions)), ([true; 3], 16_384), "{rotary:?}");
            // What is kept is what later passes use: here, angles twice as large.
            turnings.tables.write().unwrap().of_layers =
                turnings.both(|turning| turning.table(16_384, turnings.switch.is_some()).amplified(2.0));
            let twice = expected.each_ref().map(|values| values.iter().map(|x| 2.0 * x).collect::<Vec<f32>>());
            assert!([false, true].map(|is_local| turned(&positions, 9000, is_local)) == twice, "{rotary:?}");
            turned(&positions, 16_385, false);
            assert_eq!(n_positions(&positions), 20_000, "no further than the context");
            turned(&positions, 20_001, false);
            assert_eq!(n_positions(&positions), 32_768, "unless a row is");
        }
    }

    /// Positions behind the context have the angles that those of a longer one would have, bit for bit.
    #[test]
    fn angles_go_on_beyond_the_context() {
        let long_rope = RotaryScaling::LongRope {
            short: vec![1.0, 1.5],
            long: vec![2.0, 4.0],
            original_context_len: 6,
            attention_factor: Some(1.1),
        };
        for scaling in [RotaryScaling::None, RotaryScaling::Linear { factor: 3.0 }, long_rope] {
            let rotary = Rotary { scaling, local_theta: Some(9.0), ..Rotary::plain(100.0, 4) };
            let [short, long] = [8, 16].map(|context_len| positions(&rotary, context_len));
            for is_local in [false, true] {
                for n in [5, 8, 9, 13] {
                    let turned = [&short, &long].map(|positions| turned(positions, n, is_local));
                    assert_eq!(turned[0], turned[1], "{rotary:?}, {n} tokens, local: {is_local}");
                }
            }
        }
    }

    /// What n tokens of ones become.
    fn turned(positions: &Positions, n: usize, is_local: bool) -> Vec<f32> {
        turned_by(positions, &positions.angles(&Rows::dense(n, &vec![0; n])), is_local)
    }

    fn turned_by(positions: &Positions, angles: &Angles, is_local: bool) -> Vec<f32> {
        let (device, n) = (Device::cpu(1), angles.places.len());
        let spec = positions.rotary(angles, 0..1, 4, is_local).unwrap();
        let ones = Var::constant(Tensor::from_f32(&device, [n, 4], &vec![1.0; 4 * n]));
        rotary(&Tape::inference(&device), ones, &angles.places, &spec).into_tensor().to_vec()
    }

    /// Expected: `_compute_dynamic_ntk_parameters` of version 5 of the library.
    #[test]
    fn dynamic_scaling_follows_the_length() {
        let rotary = Rotary { scaling: RotaryScaling::Dynamic { factor: 4.0 }, ..Rotary::plain(100.0, 8) };
        let (turning, switch) = Turning::of_full(&rotary, 16);
        assert_eq!(switch, Some(Switch { len: 16, is_gradual: true }));
        for (found, expected) in turning.longer(40).iter().zip([1.0, 0.165_310_58, 0.027_327_59, 0.004_517_54]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        let switch = switch.unwrap();
        assert!(switch.keeps(3, 16) && switch.keeps(20, 20));
        assert!(!switch.keeps(16, 17) && !switch.keeps(17, 18) && !switch.keeps(20, 16));
        assert!(Switch { is_gradual: false, ..switch }.keeps(17, 18));
    }

    /// Expected: `1.0 / (base ** (torch.arange(0, dim, 2) / dim))` for 3 of 12 features.
    #[test]
    fn an_odd_number_of_features_takes_one_more_in() {
        let found = frequencies(10_000.0, 3);
        assert_eq!(found.len(), 2);
        assert!((found[0] - 1.0).abs() < 1e-12 && (found[1] - 0.002_154_434_69).abs() < 1e-9, "{found:?}");
    }
}
