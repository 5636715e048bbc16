//! A view that several threads write to.

use super::prefetch::{self, prefetch};
use crate::dtype::{View, ViewMut};
use half::bf16;

/// The elements of a view, of which each thread writes its own.
#[derive(Clone, Copy)]
pub(super) struct SharedView {
    pub(super) start: Start,
    len: usize,
}

/// The first element.
#[derive(Clone, Copy)]
pub(super) enum Start {
    F32(*mut f32),
    Bf16(*mut bf16),
}

impl Start {
    /// The element `n` further on.
    ///
    /// # Safety
    /// As for `add` of a pointer.
    #[inline(always)]
    pub(super) unsafe fn add(self, n: usize) -> Self {
        // SAFETY: the caller's to vouch for.
        unsafe {
            match self {
                Self::F32(start) => Self::F32(start.add(n)),
                Self::Bf16(start) => Self::Bf16(start.add(n)),
            }
        }
    }
}

// SAFETY: reading and writing is unsafe, and its callers see to it that no two threads use the same elements.
unsafe impl Sync for SharedView {}
// SAFETY: as above.
unsafe impl Send for SharedView {}

impl SharedView {
    pub(super) fn new(view: ViewMut<'_>) -> Self {
        let len = view.len();
        let start = match view {
            ViewMut::F32(data) => Start::F32(data.as_mut_ptr()),
            ViewMut::Bf16(data) => Start::Bf16(data.as_mut_ptr()),
        };
        Self { start, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Elements from `first` on.
    ///
    /// # Safety
    /// The view that this was made of is still borrowed, and nobody else uses these elements.
    #[inline(always)]
    pub(super) unsafe fn slice<'a>(self, first: usize, len: usize) -> ViewMut<'a> {
        assert!(first + len <= self.len, "rows end inside the tensor");
        // SAFETY: inside the view, and the rest is the caller's to vouch for.
        unsafe {
            match self.start {
                Start::F32(start) => ViewMut::F32(std::slice::from_raw_parts_mut(start.add(first), len)),
                Start::Bf16(start) => ViewMut::Bf16(std::slice::from_raw_parts_mut(start.add(first), len)),
            }
        }
    }

    /// Asks for some rows of elements, `stride` elements apart, from `first` on.
    #[inline(always)]
    pub(super) fn prefetch(self, first: usize, shape: [usize; 2], stride: usize) {
        match self.start {
            Start::F32(start) => prefetch_rows(start, first, shape, stride),
            Start::Bf16(start) => prefetch_rows(start, first, shape, stride),
        }
    }
}

/// As [`SharedView::prefetch`], of a view that is only read.
#[inline(always)]
pub(super) fn prefetch_view(view: View<'_>, first: usize, shape: [usize; 2], stride: usize) {
    match view {
        View::F32(data) => prefetch_rows(data.as_ptr(), first, shape, stride),
        View::Bf16(data) => prefetch_rows(data.as_ptr(), first, shape, stride),
    }
}

#[inline(always)]
fn prefetch_rows<T>(start: *const T, first: usize, [n_rows, width]: [usize; 2], stride: usize) {
    let size = size_of::<T>();
    prefetch::rows(start.wrapping_add(first).cast(), [n_rows, width * size], stride * size, prefetch);
}
