//! What is kept of a request's opening while its other side is looked for: little, since very many are.

use std::sync::Arc;

use super::ids::RequestIds;
use super::proxy_state::stream_of;
use super::shared_host::Identities;
use crate::event::Timestamp;
use crate::field::digest::FieldsDigest;
use crate::stream::record::Opening;

/// The opening of a stream that a process serves.
#[derive(Debug)]
pub(super) struct DownstreamOpening {
    pub(super) at: Timestamp,
    /// All fields but those that intermediaries change.
    pub(super) whole: Option<u64>,
    /// `:path`, its query included.
    pub(super) path: Option<u64>,
    /// The ids that it carries.
    pub(super) ids: RequestIds,
    /// None once nobody needs the request any more.
    digest: Option<Arc<FieldsDigest>>,
    /// The thread that read it; 0 unknown.
    pub(super) tid: u32,
    /// A tunnel, no request that is passed on.
    pub(super) connect: bool,
}

impl DownstreamOpening {
    pub(super) fn of(opening: &Opening) -> DownstreamOpening {
        let digest = &opening.digest;
        DownstreamOpening {
            at: opening.at,
            whole: digest.whole,
            path: digest.path,
            ids: RequestIds::of(digest),
            digest: Some(Arc::clone(digest)),
            tid: opening.tid,
            connect: digest.connect,
        }
    }

    /// As it was told; None when that is not kept any more.
    pub(super) fn again(&self, key: u64) -> Option<Opening> {
        let (connection, stream_id) = stream_of(key);
        Some(Opening {
            connection,
            stream_id,
            at: self.at,
            tid: self.tid,
            pid: 0,
            digest: Arc::clone(self.digest.as_ref()?),
        })
    }

    /// What it is known by where order and time say nothing.
    pub(super) fn known_by(&self) -> Identities {
        Identities::of(self.whole, self.ids, self.path)
    }

    /// Hashes of its single fields.
    pub(super) fn fields(&self) -> &[u64] {
        self.digest.as_deref().map_or(&[], FieldsDigest::fields)
    }

    /// Nobody asks for its fields any more.
    pub(super) fn forget_fields(&mut self) {
        self.digest = None;
    }
}
