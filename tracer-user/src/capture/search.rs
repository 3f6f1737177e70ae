//! Keys of live TLS connections, looked for in the memory of the processes that own the sockets.

use std::collections::HashMap;

use h2trace_core::connection::Endpoint;
use h2trace_core::event::{SocketKey, Timestamp};
use h2trace_core::limits;
use h2trace_core::tls::{FoundKey, Sample, Why};

use super::sockets::MemoryRead;
use crate::key_scan::{Answer, KeyScanner, Wanted};

pub(super) const BOTH: [Endpoint; 2] = [Endpoint::Client, Endpoint::Server];

/// How often it is looked what is wanted.
const EVERY_NS: u64 = 10_000_000;

/// Searches in vain before a direction is given up. The time between two of them doubles, from this on.
const MISSES: u32 = 5;
const AGAIN_NS: u64 = 1_000_000_000;

/// Time from the first records of a key to the search: by then those of the handshake are behind. (Of a connection that is
/// older than the trace they are.)
const SETTLED_NS: u64 = 50_000_000;

/// Time from the beginning in which connections that are older than the trace show themselves.
const BEGINNING_NS: u64 = 2_000_000_000;

/// One direction.
#[derive(Clone, Copy, Default)]
struct Wish {
    /// Something was wanted.
    is_seen: bool,
    is_asked: bool,
    misses: u32,
    not_before: Timestamp,
}

struct Searched {
    socket: SocketKey,
    wishes: [Wish; 2],
}

/// What an answer means for a connection.
pub(super) enum Outcome {
    Key(FoundKey),
    GivenUp(Why),
}

/// The searches of all connections.
pub(super) struct Search {
    scanner: KeyScanner,
    connections: HashMap<u64, Searched>,
    next: u64,
    swept: Timestamp,
    /// When the first look was.
    began: Option<Timestamp>,
    /// Something waits for a key that may be found at once.
    is_urgent: bool,
    is_stuck: bool,
    /// What was read of memory so far.
    pub(super) read: MemoryRead,
}

impl Search {
    pub(super) fn new(scanner: KeyScanner) -> Search {
        Search {
            scanner,
            connections: HashMap::new(),
            next: 0,
            swept: Timestamp(0),
            began: None,
            is_urgent: false,
            is_stuck: false,
            read: MemoryRead::default(),
        }
    }

    /// The keys of a connection will be looked for. False: there are too many already.
    pub(super) fn begin(&mut self, socket: SocketKey) -> bool {
        if self.is_stuck || self.connections.len() >= limits::TLS_SEARCHED {
            return false;
        }
        let wishes = [Wish::default(); 2];
        self.connections
            .insert(self.next, Searched { socket, wishes });
        self.next += 1;
        true
    }

    /// It is time to look what is wanted.
    pub(super) fn is_due(&mut self, now: Timestamp) -> bool {
        let is_due = now.since(self.swept) >= EVERY_NS;
        if is_due {
            self.swept = now;
            self.began.get_or_insert(now);
        }
        is_due
    }

    /// Who drains the ring is not to be late: bytes wait for keys, for which there is so much space, or will.
    pub(super) fn is_urgent(&self) -> bool {
        let is_new = |began: Timestamp| self.swept.since(began) < BEGINNING_NS;
        self.is_urgent || self.began.is_none_or(is_new)
    }

    /// Asks for what connections want. `wanted` says what that is, or (None) that the connection is gone.
    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        mut wanted: impl FnMut(&SocketKey, Endpoint) -> Option<Option<(u32, Sample)>>,
    ) {
        let scanner = &self.scanner;
        let mut is_urgent = false;
        self.connections.retain(|id, searched| {
            for sender in BOTH {
                let Some(wish) = searched.wishes.get_mut(sender.index()) else {
                    continue;
                };
                if wish.is_asked || now < wish.not_before {
                    is_urgent |= wish.misses == 0;
                    continue;
                }
                match wanted(&searched.socket, sender) {
                    None => return false,
                    Some(None) => {}
                    Some(Some((_, sample))) if !wish.is_seen && !sample.is_late() => {
                        is_urgent = true;
                        wish.is_seen = true;
                        wish.not_before = Timestamp(now.0.saturating_add(SETTLED_NS));
                    }
                    Some(Some((pid, sample))) => {
                        is_urgent |= wish.misses == 0;
                        let id = *id;
                        wish.is_seen = true;
                        wish.is_asked = scanner.ask(pid, Wanted { id, sender, sample });
                    }
                }
            }
            true
        });
        self.is_urgent = is_urgent;
    }

    /// What came of it since the last time.
    pub(super) fn outcomes(&mut self, now: Timestamp) -> Vec<(SocketKey, Endpoint, Outcome)> {
        let mut outcomes = Vec::new();
        for answer in self.scanner.answers() {
            let (id, sender, key) = match answer {
                Answer::Found(found) => (found.id, found.sender, Ok(found.key)),
                Answer::Missed { id, sender, why } => (id, sender, Err(why)),
                Answer::Searched {
                    bytes, is_first, ..
                } => {
                    self.read.processes += u64::from(is_first);
                    self.read.bytes += bytes;
                    continue;
                }
            };
            let Some(searched) = self.connections.get_mut(&id) else {
                continue;
            };
            let Some(wish) = searched.wishes.get_mut(sender.index()) else {
                continue;
            };
            wish.is_asked = false;
            let outcome = match key {
                Ok(key) => {
                    *wish = Wish::default();
                    Outcome::Key(key)
                }
                Err(Why::KeyNotFound) if wish.misses < MISSES => {
                    wish.not_before = Timestamp(now.0.saturating_add(AGAIN_NS << wish.misses));
                    wish.misses += 1;
                    continue;
                }
                Err(why) => Outcome::GivenUp(why),
            };
            outcomes.push((searched.socket, sender, outcome));
        }
        if self.scanner.is_stuck() && !self.is_stuck {
            self.recover(&mut outcomes);
        }
        outcomes
    }

    /// A process holds up who reads it: another thread goes on without that process, or none is left.
    fn recover(&mut self, outcomes: &mut Vec<(SocketKey, Endpoint, Outcome)>) {
        if let Some(pid) = self.scanner.renew() {
            tracing::warn!(
                "process {pid} holds up who reads its memory: its keys are not looked for any more"
            );
            for searched in self.connections.values_mut() {
                for wish in &mut searched.wishes {
                    wish.is_asked = false;
                }
            }
            return;
        }
        self.is_stuck = true;
        tracing::error!(
            "a process holds up who reads its memory, as others did before: no more keys are looked for (start h2trace \
             anew, without that process)"
        );
        for (_, searched) in self.connections.drain() {
            for sender in BOTH {
                let outcome = Outcome::GivenUp(Why::MemoryUnreadable);
                outcomes.push((searched.socket, sender, outcome));
            }
        }
    }
}
