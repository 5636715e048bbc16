//! How a product is cut into tasks.

/// Rows of A that a thread works on at a time: they and a panel of B stay in its second-level cache.
pub(super) const BLOCK_ROWS: usize = 96;
/// Tasks for each thread, so that a slow one does not keep the others waiting.
const TASKS_PER_THREAD: usize = 6;
/// Rows of a transposed A that a task packs for itself: of every place along K that is two cache lines of bf16.
const STRIPE_ROWS: usize = 64;
/// What a thread may pack for itself and use again and again: about a third of its second-level cache.
const LOCAL_BYTES: usize = 320 << 10;
/// Below this number of multiply-adds waking other threads costs more than it brings.
const MIN_SHARED_WORK: usize = 1 << 18;

/// The sizes that the cutting depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) m: usize,
    pub(super) n_panels: usize,
    pub(super) panel_width: usize,
    pub(super) k: usize,
    /// Bytes of a row of A as it is packed.
    pub(super) row_bytes: usize,
    /// Bytes of a panel of B.
    pub(super) panel_bytes: usize,
    /// Whether A must be packed.
    pub(super) packs_a: bool,
    /// Whether it is transposed besides.
    pub(super) transposes_a: bool,
    /// Whether B must be packed.
    pub(super) packs_b: bool,
}

/// Who packs an operand that needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Nobody: it is used as it lies.
    None,
    /// All threads together before the product begins.
    Together,
    /// Each task what it uses.
    Apart,
}

/// A product cut into `m / rows` × `n_panels / panels` tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) rows: usize,
    pub(super) panels: usize,
    pub(super) a: Packing,
    pub(super) b: Packing,
    /// Whether several threads take part.
    pub(super) shared: bool,
}

impl Plan {
    pub(super) fn new(sizes: Sizes, n_threads: usize) -> Self {
        let work = sizes.m * sizes.n_panels * sizes.panel_width * sizes.k;
        let shared = n_threads > 1 && work >= MIN_SHARED_WORK;
        let n_wanted = if shared { TASKS_PER_THREAD * n_threads } else { 1 };
        let by_columns = sizes.packs_b && (sizes.m <= BLOCK_ROWS || Self::columns_pack_less(sizes, n_wanted));
        if by_columns {
            return Self::by_columns(sizes, n_wanted, shared);
        }
        let stripe = Some(sizes).filter(|sizes| sizes.packs_a && sizes.transposes_a);
        match stripe.and_then(|sizes| stripe_rows(sizes.m, if shared { n_threads } else { 1 })) {
            Some(rows) => {
                Self { rows, a: Packing::Apart, panels: sizes.n_panels, ..Self::by_rows(sizes, n_wanted, shared) }
            }
            None => Self::by_rows(sizes, n_wanted, shared),
        }
    }

    /// The longer operand is better packed apart: what is packed together goes through the memory.
    fn columns_pack_less(sizes: Sizes, n_wanted: usize) -> bool {
        sizes.n_panels * sizes.panel_width >= sizes.m && sizes.n_panels * 2 >= n_wanted
    }

    /// Each task takes some panels and all rows.
    fn by_columns(sizes: Sizes, n_wanted: usize, shared: bool) -> Self {
        let panels = (LOCAL_BYTES / sizes.panel_bytes.max(1)).min(sizes.n_panels / n_wanted).max(1);
        let a = if sizes.packs_a { Packing::Together } else { Packing::None };
        Self { rows: sizes.m, panels, a, b: Packing::Apart, shared }
    }

    /// Each task takes some rows and all panels, or some if the rows are few.
    fn by_rows(sizes: Sizes, n_wanted: usize, shared: bool) -> Self {
        let mut rows = BLOCK_ROWS;
        let too_big = |rows: usize| sizes.packs_a && rows * sizes.row_bytes > LOCAL_BYTES;
        while rows > BLOCK_ROWS / 4 && (sizes.m.div_ceil(rows) < n_wanted || too_big(rows)) {
            rows /= 2;
        }
        let n_row_tasks = sizes.m.div_ceil(rows);
        let panels = (sizes.n_panels * n_row_tasks / n_wanted).clamp(1, sizes.n_panels);
        let a = match (sizes.packs_a, sizes.transposes_a) {
            (false, _) => Packing::None,
            (true, false) => Packing::Apart,
            // A few columns of a wide matrix waste most of every cache line read.
            (true, true) => Packing::Together,
        };
        let b = if sizes.packs_b { Packing::Together } else { Packing::None };
        Self { rows, panels, a, b, shared }
    }
}

/// Rows of a transposed A of `m` rows that each thread packs for itself, where there are enough of them to give every thread two
/// tasks: as many as leave the slowest thread the least to do. Where there are not, all threads pack A together.
///
/// So many are packed apart however long K is: beyond the second-level cache it is still faster than together.
pub fn stripe_rows(m: usize, n_threads: usize) -> Option<usize> {
    let of_one_thread = |rows: &usize| m.div_ceil(*rows).div_ceil(n_threads) * rows;
    let is_enough = |rows: &usize| m.div_ceil(*rows) >= 2 * n_threads;
    [STRIPE_ROWS, STRIPE_ROWS / 2].into_iter().filter(is_enough).min_by_key(of_one_thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_leave_no_thread_without_work() {
        assert_eq!(stripe_rows(512, 2), Some(64));
        assert_eq!(stripe_rows(128, 2), Some(32));
        // Of 18 stripes three threads in turn would have 3, so 192 rows; of 36 halves 5, so 160.
        assert_eq!(stripe_rows(1152, 8), Some(32));
        assert_eq!(stripe_rows(128, 8), None);
    }
}
