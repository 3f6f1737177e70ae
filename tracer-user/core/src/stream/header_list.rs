//! How large the last header list of each endpoint was: whoever gives up the connection over it does so
//! next.

use crate::connection::Endpoint;
use crate::frame::{HeaderBlock, StreamId};
use crate::stream::pair::Pair;
use crate::stream::record::HeaderList;
use crate::stream::settings::PeerSettings;

/// The last header list of each sender: its stream and its size.
#[derive(Debug, Default)]
pub(super) struct HeaderLists(Pair<Option<(StreamId, u64)>>);

impl HeaderLists {
    /// A block of `sender` went by.
    pub(super) fn on_block(&mut self, sender: Endpoint, id: StreamId, block: &HeaderBlock) {
        *self.0.of_mut(sender) = Some((id, block.list_size));
    }

    /// The last list that `receiver` got, if it is larger than what `receiver` announced.
    pub(super) fn too_large_for(
        &self,
        receiver: Endpoint,
        announced: &PeerSettings,
    ) -> Option<HeaderList> {
        let (stream_id, size) = (*self.0.of(receiver.peer()))?;
        let limit = announced.max_header_list_size?;
        (size > u64::from(limit)).then_some(HeaderList {
            stream_id,
            size,
            limit,
        })
    }
}
