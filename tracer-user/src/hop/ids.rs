//! What two requests' ids and paths say of each other.

use super::{By, Confidence, Join};
use crate::stream::digest::FieldsDigest;

/// The ids that a request carries.
pub(super) fn ids(digest: &FieldsDigest) -> impl Iterator<Item = u64> {
    digest.request_id.into_iter().chain(digest.trace_id)
}

/// Both carry the same id.
pub(super) fn same_id(down: &FieldsDigest, up: &FieldsDigest) -> Option<Join> {
    let same = |a: Option<u64>, b: Option<u64>| a.is_some() && a == b;
    let by = if same(down.request_id, up.request_id) {
        By::RequestId
    } else if same(down.trace_id, up.trace_id) {
        By::Trace
    } else {
        return None;
    };
    let confidence = Confidence::Id;
    Some(Join { by, confidence })
}

/// Both carry a trace id, and another one.
pub(super) fn other_id(down: &FieldsDigest, up: &FieldsDigest) -> bool {
    matches!((down.trace_id, up.trace_id), (Some(a), Some(b)) if a != b)
}

/// Both paths are known, and they differ.
pub(super) fn other_path(down: &FieldsDigest, up: &FieldsDigest) -> bool {
    matches!((down.path, up.path), (Some(a), Some(b)) if a != b)
}
