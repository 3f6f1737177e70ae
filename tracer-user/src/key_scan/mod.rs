//! Keys of TLS connections, found in the memory of the processes that have them.
//!
//! ```text
//! connection without a key -> its process -> its memory, piece by piece -> AES key schedules -> the one that opens it
//! ```
//!
//! What is read: pages of a process that was selected, as far as they are in memory, private, anonymous and writable;
//! never files, and nothing that another process could make wait (userfaultfd). It is read with `/proc/PID/mem`; the
//! process is not stopped. What is kept: of everything that was read, the keys that opened a connection, in pages that
//! are neither swapped nor dumped ([`vault`]), until that connection is over. A key that opens nothing is gone before the
//! next one is looked at.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod mappings;
mod memory;
mod pace;
pub mod rights;
mod scan;
mod scanner;
pub mod vault;

#[cfg(test)]
mod tests;

pub(crate) use memory::ProcessId;
pub use scan::{Found, Wanted};
pub use scanner::{Answer, KeyScanner, Settings};
