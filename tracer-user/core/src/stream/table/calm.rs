//! Streams that need not be told again that frames of an end were lost: nothing happened on them since the last time. A
//! peer may make a direction lose its place as often as it likes, over thousands of streams.

use crate::connection::Endpoint;
use crate::frame::StreamId;
use crate::stream::live::Stream;
use crate::stream::pair::Pair;

/// So many others are remembered however few the streams are.
const KEPT: usize = 64;

/// The others, of one end.
#[derive(Debug, Default)]
struct Stirred {
    /// Some stand here twice, or are not followed any more.
    ids: Vec<StreamId>,
    /// All that are not here are calm.
    are_known: bool,
}

/// The others, of both ends.
#[derive(Debug, Default)]
pub(super) struct Calm {
    stirred: Pair<Stirred>,
}

impl Calm {
    /// Something may happen on a stream, of so many.
    #[inline]
    pub(super) fn stir(&mut self, stream: &mut Stream, n_streams: usize) {
        if stream.is_calm.client || stream.is_calm.server {
            self.stir_calm(stream, n_streams);
        }
    }

    #[cold]
    fn stir_calm(&mut self, stream: &mut Stream, n_streams: usize) {
        for sender in [Endpoint::Client, Endpoint::Server] {
            if std::mem::take(stream.is_calm.of_mut(sender)) {
                self.add(sender, stream.id, n_streams);
            }
        }
    }

    /// A stream is new.
    pub(super) fn begin(&mut self, id: StreamId, n_streams: usize) {
        for sender in [Endpoint::Client, Endpoint::Server] {
            self.add(sender, id, n_streams);
        }
    }

    fn add(&mut self, sender: Endpoint, id: StreamId, n_streams: usize) {
        let stirred = self.stirred.of_mut(sender);
        if !stirred.are_known {
            return;
        }
        if stirred.ids.len() >= n_streams.max(KEPT) {
            // To look at all of them is no dearer.
            *stirred = Stirred::default();
            return;
        }
        stirred.ids.push(id);
    }

    /// Those that are not calm; None: all of them may be. They are from now on.
    pub(super) fn take(&mut self, sender: Endpoint) -> Option<Vec<StreamId>> {
        let now = Stirred {
            ids: Vec::new(),
            are_known: true,
        };
        let stirred = std::mem::replace(self.stirred.of_mut(sender), now);
        let mut ids = stirred.are_known.then_some(stirred.ids)?;
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }

    /// Bytes of memory that it takes.
    pub(super) const fn memory(&self) -> usize {
        let Pair { client, server } = &self.stirred;
        (client.ids.len() + server.ids.len()) * size_of::<StreamId>()
    }
}
