//! What the fuzz targets do with their input. Each asserts more than that nothing panics.

#[cfg(feature = "program")]
pub mod capture_file;
#[cfg(feature = "program")]
pub mod checker;
pub mod frame_reader;
pub mod hpack;
#[cfg(feature = "program")]
pub mod kernel_event;
pub mod sound;
pub mod stream_ops;

use tracer_tests::heap::{self, Heap};

#[global_allocator]
static HEAP: Heap = Heap;

/// Runs `act` on an input of `len` bytes and checks how much memory that took at most: `base` bytes, and
/// `factor` bytes for each of the input.
pub fn bounded<T>(len: usize, base: usize, factor: usize, act: impl FnOnce() -> T) -> T {
    let (result, peak) = heap::peak_of(act);
    let most = base + factor * len;
    assert!(
        peak <= most,
        "{peak} bytes of memory for {len} bytes of input"
    );
    result
}

/// A number that depends on all of the input.
pub fn seed(data: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in data {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}
