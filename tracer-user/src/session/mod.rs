//! What runs a trace: live from the kernel programs, or from a capture file.

pub mod chosen;
mod fairness;
pub mod front;
pub mod held;
mod horizon;
pub mod keeper;
#[cfg(feature = "tls")]
pub mod key_file;
pub mod live;
pub mod memory;
pub mod output;
pub mod paper;
pub mod recording;
pub mod replay;
pub mod run;
pub mod scope;
pub mod served;
pub mod show;

pub use self::keeper::{Keeper, Selected};

/// Exit status of every error.
pub const ERROR: u8 = 2;

/// Exit status of a run that was not let end in order, as shells number it for SIGINT.
const INTERRUPTED: i32 = 130;
