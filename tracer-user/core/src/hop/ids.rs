//! What two requests' ids and paths say of each other.

use super::{By, Confidence, Join};
use crate::field::digest::FieldsDigest;

/// The ids that a request carries, as hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestIds {
    /// `x-request-id`.
    pub(super) request: Option<u64>,
    /// The trace id in `traceparent`.
    pub(super) trace: Option<u64>,
}

impl RequestIds {
    pub(super) const fn of(digest: &FieldsDigest) -> RequestIds {
        RequestIds {
            request: digest.request_id,
            trace: digest.trace_id,
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u64> {
        self.request.into_iter().chain(self.trace)
    }

    /// Both carry the same id.
    pub(super) fn same(self, other: RequestIds) -> Option<Join> {
        let same = |a: Option<u64>, b: Option<u64>| a.is_some() && a == b;
        let by = if same(self.request, other.request) {
            By::RequestId
        } else if same(self.trace, other.trace) {
            By::Trace
        } else {
            return None;
        };
        let confidence = Confidence::Id;
        Some(Join { by, confidence })
    }

    /// Both carry a trace id, and another one.
    pub(super) fn contradict(self, other: RequestIds) -> bool {
        matches!((self.trace, other.trace), (Some(a), Some(b)) if a != b)
    }
}

/// Both paths are known, and they differ.
pub(super) fn other_path(down: Option<u64>, up: Option<u64>) -> bool {
    matches!((down, up), (Some(a), Some(b)) if a != b)
}
