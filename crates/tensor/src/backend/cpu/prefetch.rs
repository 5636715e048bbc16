//! Asking for memory before it is used.

const CACHE_LINE_BYTES: usize = 64;

/// Asks for the cache line at `address`, which need not exist.
#[inline(always)]
pub(super) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, so any address will do.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// As [`prefetch`], into the second-level cache.
#[inline(always)]
pub(super) fn prefetch_second_level<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, so any address will do.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Calls `prefetch` for the cache lines of some rows of `width_bytes`, `stride_bytes` apart.
#[inline(always)]
pub(super) fn rows(
    start: *const u8,
    [n_rows, width_bytes]: [usize; 2],
    stride_bytes: usize,
    prefetch: impl Fn(*const u8),
) {
    for row in 0..n_rows {
        let row = start.wrapping_add(row * stride_bytes);
        (0..width_bytes).step_by(CACHE_LINE_BYTES).for_each(|byte| prefetch(row.wrapping_add(byte)));
    }
}
