//! What is known of a connection that stayed undecided.

use h2trace_core::pipeline::Protocol;
use serde::Serialize;

/// What went by.
#[derive(Serialize)]
pub(super) struct UndecidedFields {
    bytes: u64,
    first: &'static str,
}

impl UndecidedFields {
    pub(super) fn of(protocol: Protocol) -> Option<Self> {
        let Protocol::Undecided(undecided) = protocol else {
            return None;
        };
        Some(Self {
            bytes: undecided.bytes,
            first: undecided.first.as_str(),
        })
    }
}
