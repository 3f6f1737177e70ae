//! Who is there beside some connections: they alone would gain if those were let go.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::Pipeline;
use crate::event::SocketKey;

impl Pipeline {
    /// Whether a connection of HTTP/2 is followed that is none of `taken`, nor the other end of one of them.
    ///
    /// The other end is not known where addresses were translated in between.
    #[must_use]
    pub fn speaks_http2_beside(&self, taken: &[SocketKey]) -> bool {
        let (mut ids, mut sks): (HashSet<u64, RandomState>, HashSet<u64, RandomState>) =
            Default::default();
        for key in taken {
            sks.insert(key.sk);
            let Some(conn) = self.table.peek(key) else {
                continue;
            };
            ids.insert(conn.id().0);
            ids.extend(self.analysis.other_end(conn.id()).map(|id| id.0));
            sks.extend(conn.unix_peer());
        }
        // One pass over them, which the first one ends that is found. What goes by in a tunnel gains with what is around it.
        self.table.iter().any(|(key, conn)| {
            let is_other = conn.unix_peer().is_some_and(|peer| sks.contains(&peer));
            conn.live().connections > 0
                && !key.is_of_tunnel()
                && !is_other
                && !sks.contains(&key.sk)
                && !ids.contains(&conn.id().0)
        })
    }
}
