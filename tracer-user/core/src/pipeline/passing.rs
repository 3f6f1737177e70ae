//! Time passes: what waited for it happens.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::output::Sink;
use super::{Live, Pipeline, gather};
use crate::event::{SocketKey, Timestamp};
use crate::limits;

impl Pipeline {
    /// Time passes: hands out what has finished since. Call it with a time that was taken *before* the
    /// last events were read, so that nothing older is still to come.
    pub fn advance(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        self.advance_amid(now, sink);
        if now >= self.sweep_at {
            self.sweep_at = Timestamp(now.0.saturating_add(limits::UNIX_QUIET_NS));
            self.sweep(now);
        }
    }

    /// As [`Pipeline::advance`], where later events wait to be read: a process that has ended may have said more in them.
    pub fn advance_amid(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        while let Some(Reverse((at, key))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            let Some(conn) = self.table.peek_mut(&key) else {
                continue;
            };
            // A later wake-up that stands in the heap as well does no harm.
            conn.scheduled = None;
            let before = conn.live();
            let over = conn.advance(now, &mut self.analysis, sink);
            let after = if over { Live::default() } else { conn.live() };
            let next = conn.next_due();
            gather(conn, &mut self.tunnelled);
            conn.account(&mut self.budget, key);
            self.count(before, after);
            if over {
                self.remove(&key);
            } else if let Some(next) = next {
                // Later than `now`, or this loop would not end. (A file may say that it is the end of time.)
                let next = next.max(Timestamp(now.0.saturating_add(1)));
                if next > now {
                    self.schedule(key, next);
                }
            }
        }
        self.analysis.advance(now, sink);
    }

    /// Ends of AF_UNIX connections go with their processes: nobody reads an end of file there.
    fn sweep(&mut self, now: Timestamp) {
        let mut lives: HashMap<u32, bool, RandomState> = HashMap::default();
        let names = &mut self.settings.names;
        let gone: Vec<SocketKey> = self
            .table
            .iter()
            .filter_map(|(key, conn)| Some((key, conn.quiet_unix(now)?)))
            .filter(|(_, pid)| !*lives.entry(*pid).or_insert_with(|| names.lives(*pid)))
            .map(|(key, _)| key)
            .collect();
        for key in gone {
            if let Some(conn) = self.table.peek_mut(&key) {
                conn.gone(now);
                self.reschedule(key);
            }
        }
    }
}
