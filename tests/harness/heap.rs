//! An allocator that counts, for tests that state how much memory something may take.
//!
//! ```ignore
//! #[global_allocator]
//! static HEAP: Heap = Heap;
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static MADE: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, and a count of the bytes that live.
pub struct Heap;

fn grown(bytes: usize) {
    MADE.fetch_add(1, Relaxed);
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may live at once.
        grown(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Bytes that live now.
#[must_use]
pub fn live() -> usize {
    LIVE.load(Relaxed)
}

/// Allocations so far; to make one larger counts as one.
#[must_use]
pub fn made() -> usize {
    MADE.load(Relaxed)
}

/// What `act` gives, and by how many bytes the heap grew meanwhile at most. Only one thread may allocate.
pub fn peak_of<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = live();
    PEAK.store(before, Relaxed);
    let result = act();
    (result, PEAK.load(Relaxed).saturating_sub(before))
}
