//! TLS of live sockets: what it says in clear, and what a key log opens, as in a capture.
//!
//! The kernel programs tell the bytes of each end in order, application data perhaps as a hole. Behind a key log's back
//! ciphertext waits until the log has the connection's secrets: a program writes them when it has derived them, which may
//! be after its peer has used them.

use std::collections::{HashSet, VecDeque};

use h2trace_core::connection::table::Table;
use h2trace_core::event::{
    Bytes, Direction, EndCause, Event, Opened, OtherProtocol, ProtocolConfidence, Segment,
    SocketKey, Task, Timestamp, What,
};
use h2trace_core::limits;
use h2trace_core::pipeline::Tunnelled;
use h2trace_core::tls::{ClientRandom, KeyLog, Scratch, Session};

use super::connection::{Connection, Out};
use super::flow::Run;
#[cfg(feature = "tls")]
use super::handover::{ByWay, Handed};
#[cfg(feature = "tls")]
use super::probed::Probed;
use super::reassembly::CaptureCounts;
#[cfg(feature = "tls")]
use super::search::{Outcome, Search};
use super::tunnels::Tunnel;
#[cfg(feature = "tls")]
use crate::kernel::OpenedTls;
#[cfg(feature = "tls")]
use crate::key_probe::KeyProbe;
#[cfg(feature = "tls")]
use crate::key_scan::KeyScanner;

/// How often it is looked which secrets are used.
const LOOK_EVERY_NS: u64 = 1_000_000_000;

/// Who takes the events.
pub trait Downstream {
    /// How a socket was opened, and whether its beginning was seen, as far as it is known.
    fn opening(&mut self, socket: &SocketKey) -> Option<(Opened, bool)>;

    fn event(&mut self, event: &Event<'_>);

    /// What went by in a tunnel by the events so far, oldest first.
    fn next_tunnelled(&mut self) -> Option<Tunnelled>;

    /// A connection has streams, and none of them was a tunnel so far.
    fn is_without_tunnels(&mut self, socket: &SocketKey) -> bool;
}

/// What waits for a connection's secrets.
pub(super) enum Item {
    Bytes(Direction, Run),
    End(EndCause, Timestamp),
}

/// What was read of other processes' memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryRead {
    /// How many processes it was.
    pub processes: u64,
    /// Bytes, each time that they were read.
    pub bytes: u64,
    /// How many processes had their handshakes probed.
    pub probed: u64,
}

pub(super) struct TlsSocket {
    pub(super) connection: Connection,
    /// The process that used it last.
    pub(super) pid: u32,
    /// Its handshake's secrets may come: nobody looks for keys as long.
    #[cfg(feature = "tls")]
    pub(super) awaits_secrets: bool,
    /// It is the content of a stream.
    pub(super) tunnel: Option<Tunnel>,
    /// The kernel programs open it, or try to.
    #[cfg(feature = "tls")]
    pub(super) handed: Option<Handed>,
    /// By direction: added to the records that were taken here, this is what the kernel programs count.
    #[cfg(feature = "tls")]
    pub(super) ahead: ByWay<Option<u32>>,
    /// Offset of the first byte that was told of each direction.
    pub(super) base: [Option<u64>; 2],
    hello: Hello,
    waiting: VecDeque<(Task, Item)>,
    n_waiting: usize,
    /// Since when something waits; None: nothing does any more.
    pub(super) since: Option<Timestamp>,
}

impl TlsSocket {
    /// A socket that was opened like this; true: both directions are seen from their first byte.
    pub(super) fn new(key: SocketKey, opening: (Opened, bool), at: Timestamp) -> TlsSocket {
        TlsSocket {
            connection: Connection::of_socket(key, opening, at),
            pid: 0,
            #[cfg(feature = "tls")]
            awaits_secrets: false,
            tunnel: None,
            #[cfg(feature = "tls")]
            handed: None,
            #[cfg(feature = "tls")]
            ahead: ByWay::default(),
            base: [opening.1.then_some(0); 2],
            hello: Hello::default(),
            waiting: VecDeque::new(),
            n_waiting: 0,
            since: None,
        }
    }
}

/// The first bytes of both directions, until they show the client's random.
#[derive(Default)]
struct Hello {
    first: [Vec<u8>; 2],
    random: Option<ClientRandom>,
}

impl Hello {
    fn read(&mut self, direction: Direction, bytes: &[u8]) {
        let Some(first) = self.first.get_mut(direction.index()) else {
            return;
        };
        if self.random.is_none() && first.len() < Session::HELLO_LOOKED_AT {
            let more = Session::HELLO_LOOKED_AT - first.len();
            first.extend(bytes.iter().take(more));
            self.random = Session::client_random(first);
        }
    }

    /// Both directions have begun, and neither with a ClientHello.
    fn is_absent(&self) -> bool {
        let is_known = |first: &Vec<u8>| first.len() == Session::HELLO_LOOKED_AT;
        self.random.is_none() && self.first.iter().all(is_known)
    }
}

/// TLS connections of sockets, and what goes by in tunnels.
pub struct TlsSockets {
    pub(super) sockets: Table<TlsSocket>,
    /// How many of them are in tunnels.
    n_tunnels: usize,
    /// Those that wait for secrets.
    waiting: Vec<SocketKey>,
    /// Bytes of all of them.
    n_waiting: usize,
    /// None: there is nothing that may have some.
    pub(super) keys: Option<KeyLog>,
    /// A key log may bring more: connections wait for it.
    has_log: bool,
    none: KeyLog,
    /// When it was looked which of them are used.
    looked_at: Timestamp,
    scratch: Scratch,
    encoded: Vec<u8>,
    counts: CaptureCounts,
    /// Keys are looked for in memory.
    #[cfg(feature = "tls")]
    search: Option<Search>,
    /// Handshakes are probed for secrets.
    #[cfg(feature = "tls")]
    pub(super) probed: Option<Probed>,
    /// Where connections are handed over.
    #[cfg(feature = "tls")]
    pub(super) kernel: Option<OpenedTls>,
}

impl TlsSockets {
    /// Opened by what `keys` will have.
    #[must_use]
    pub fn new(keys: Option<KeyLog>) -> TlsSockets {
        TlsSockets {
            sockets: Table::new(limits::CONNECTIONS),
            n_tunnels: 0,
            waiting: Vec::new(),
            n_waiting: 0,
            has_log: keys.is_some(),
            keys,
            none: KeyLog::default(),
            looked_at: Timestamp(0),
            scratch: Scratch::default(),
            encoded: Vec::new(),
            counts: CaptureCounts::default(),
            #[cfg(feature = "tls")]
            search: None,
            #[cfg(feature = "tls")]
            probed: None,
            #[cfg(feature = "tls")]
            kernel: None,
        }
    }

    /// Opened by keys that `scanner` finds.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn searched_by(self, scanner: Option<KeyScanner>) -> TlsSockets {
        TlsSockets {
            search: scanner.map(Search::new),
            ..self
        }
    }

    /// Opened by secrets that `probe` brings, which are kept as those of `keys` are.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn probed_by(mut self, probe: KeyProbe, keys: impl FnOnce() -> KeyLog) -> TlsSockets {
        self.keys.get_or_insert_with(keys);
        self.probed = Some(Probed::new(probe));
        self
    }

    /// What was read of other processes' memory so far.
    #[must_use]
    pub fn memory_read(&self) -> MemoryRead {
        #[cfg(feature = "tls")]
        if let Some(search) = &self.search {
            let probed = self.probed.as_ref().map_or(0, Probed::n_processes);
            return MemoryRead {
                probed,
                ..search.read
            };
        }
        MemoryRead::default()
    }

    /// The secrets, if some may come.
    pub fn keys(&mut self) -> Option<&mut KeyLog> {
        self.keys.as_mut()
    }

    /// Something waits for a key log's secrets.
    #[must_use]
    pub fn awaits_secrets(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Something may have become of what waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.search.is_some() {
            return true;
        }
        self.awaits_secrets()
    }

    /// Who drains the ring is not to be late: bytes wait for keys that are looked for, or will.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(search) = &self.search {
            return search.is_urgent();
        }
        false
    }

    /// Secrets go when no connection that is there has them. To be called as time passes.
    pub fn drop_secrets(&mut self, now: Timestamp) {
        let Some(keys) = self.keys.as_mut().filter(|keys| !keys.is_empty()) else {
            return;
        };
        if now.since(self.looked_at) < LOOK_EVERY_NS {
            return;
        }
        self.looked_at = now;
        let sockets = self.sockets.iter();
        let used: HashSet<ClientRandom> = sockets
            .filter_map(|(_, socket)| socket.hello.random.or(socket.connection.client_random()))
            .collect();
        keys.drop_unused(now.0, |random| used.contains(random));
    }

    /// The event is of TLS, so that [`TlsSockets::take`] makes of it what is told.
    #[inline]
    #[must_use]
    pub fn wants(&mut self, event: &Event<'_>) -> bool {
        let may_be = match &event.what {
            What::TlsBytes(..) | What::OpenedBytes(..) => return true,
            What::Open(_) | What::Tls(_) | What::Opaque(..) => false,
            What::Bytes(bytes) => bytes.confidence == ProtocolConfidence::Tentative,
            What::Unrecognised(_) | What::End(_) => true,
        };
        may_be && !self.sockets.is_empty() && self.sockets.peek_mut(&event.socket).is_some()
    }

    /// Takes an event of TLS, oldest first.
    pub fn take(&mut self, event: &Event<'_>, to: &mut dyn Downstream) {
        match &event.what {
            #[cfg(feature = "tls")]
            What::TlsBytes(bytes, records) => {
                self.before_records(&event.socket, (bytes, *records), event, to);
                self.bytes(event, bytes, to);
                self.after_records(&event.socket, bytes.direction, to);
            }
            #[cfg(feature = "tls")]
            What::OpenedBytes(bytes, record) => self.opened(event, (bytes, *record), to),
            #[cfg(not(feature = "tls"))]
            What::TlsBytes(bytes, _) => self.bytes(event, bytes, to),
            What::Bytes(bytes) => self.bytes(event, bytes, to),
            What::Unrecognised(said) if said.protocol == OtherProtocol::Tls => {
                self.release(&event.socket, to);
                self.conclude(&event.socket, to);
            }
            What::Unrecognised(_) => {
                self.release(&event.socket, to);
                self.with(&event.socket, to, Connection::answered_in_clear);
                self.forget(&event.socket);
            }
            What::End(end) => {
                #[cfg(feature = "tls")]
                if self
                    .probed
                    .as_ref()
                    .is_some_and(|probed| probed.waits(&event.socket))
                {
                    // What opens it came before its end.
                    self.probe(event.at, true, to);
                }
                #[cfg(feature = "tls")]
                match end.cause {
                    EndCause::Closed => self.before_end(&event.socket),
                    EndCause::Desync(_) => self.keep(&event.socket),
                    _ => {}
                }
                let place = (event.socket, event.task);
                self.item(place, Item::End(end.cause, event.at), to);
            }
            #[cfg(not(feature = "tls"))]
            What::OpenedBytes(..) => {}
            What::Open(_) | What::Tls(_) | What::Opaque(..) => to.event(event),
        }
    }

    /// What waits goes on, where there are secrets now, or where it has waited for long enough.
    pub fn settle(&mut self, now: Timestamp, to: &mut dyn Downstream) {
        #[cfg(feature = "tls")]
        self.probe(now, false, to);
        #[cfg(feature = "tls")]
        self.search(now, to);
        for key in std::mem::take(&mut self.waiting) {
            let keys = self.keys.as_ref();
            let Some(socket) = self.sockets.peek_mut(&key) else {
                continue;
            };
            let Some(since) = socket.since else { continue };
            let opens = |random: &ClientRandom| keys.is_some_and(|keys| keys.opens(random));
            let is_over = now.since(since) >= limits::TLS_KEY_WAIT_NS;
            if is_over || socket.hello.random.as_ref().is_some_and(opens) {
                self.release(&key, to);
            } else {
                self.waiting.push(key);
            }
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, to: &mut dyn Downstream) {
        let mut keys: Vec<SocketKey> = self.sockets.iter().map(|(key, _)| key).collect();
        // The same input, the same output.
        keys.sort_unstable_by_key(|key| (key.born_ns, key.sk));
        for key in keys {
            self.begin_tunnel(key, Timestamp(key.born_ns), to);
            self.release(&key, to);
            self.conclude(&key, to);
        }
        self.waiting.clear();
    }

    /// Keys that were found are given to their connections, and those that are wanted are asked for.
    #[cfg(feature = "tls")]
    fn search(&mut self, now: Timestamp, to: &mut dyn Downstream) {
        let Some(mut search) = self.search.take_if(|search| search.is_due(now)) else {
            return;
        };
        for (key, sender, outcome) in search.outcomes(now) {
            self.with(&key, to, |connection, out| match outcome {
                Outcome::Key(key) => connection.give_key(sender, key, now, out),
                Outcome::GivenUp(why) => connection.give_no_key(sender, why, now, out),
            });
        }
        let (sockets, probed) = (&mut self.sockets, &self.probed);
        let is_covered = |pid| probed.as_ref().is_some_and(|probed| probed.covers(pid));
        search.ask(now, |key, sender| {
            let socket = sockets.peek_mut(key)?;
            let sample = socket.connection.wanted(sender)?;
            let waits = sample.is_some() && socket.awaits_secrets && is_covered(socket.pid);
            let sample = sample.filter(|_| !waits);
            Some(sample.map(|sample| (socket.pid, sample)))
        });
        self.search = Some(search);
    }

    fn bytes(&mut self, event: &Event<'_>, bytes: &Bytes<'_>, to: &mut dyn Downstream) {
        if self.sockets.touch(&event.socket, event.at).is_none() {
            let opening = to.opening(&event.socket);
            let opening = opening.unwrap_or((Opened::Unseen, false));
            let socket = TlsSocket::new(event.socket, opening, event.at);
            self.insert(event.socket, event.at, socket);
            self.await_secrets(event.socket, event.at);
        }
        let Some(socket) = self.sockets.peek_mut(&event.socket) else {
            return;
        };
        if socket.connection.is_other() {
            return;
        }
        let base = socket.base.get_mut(bytes.direction.index());
        let base = base.map_or(0, |base| *base.get_or_insert(bytes.offset));
        let mut offset = bytes.offset.saturating_sub(base);
        let place = (event.socket, event.task);
        let mut run: Option<Run> = None;
        for segment in bytes.segments() {
            match (segment, &mut run) {
                (Segment::Hole(n), Some(run)) => {
                    run.cut = run.cut.saturating_add(n);
                    offset = offset.saturating_add(u64::from(n));
                }
                (segment, _) => {
                    let (copied, cut) = match segment {
                        Segment::Bytes(copied) => (copied, 0),
                        Segment::Hole(n) => (&[][..], n),
                    };
                    let next = Run {
                        at: event.at,
                        offset,
                        bytes: copied.to_vec(),
                        cut,
                    };
                    offset = offset.saturating_add(copied.len() as u64 + u64::from(cut));
                    if let Some(run) = run.replace(next) {
                        self.item(place, Item::Bytes(bytes.direction, run), to);
                    }
                }
            }
        }
        if let Some(run) = run {
            self.item(place, Item::Bytes(bytes.direction, run), to);
        }
    }

    /// What was followed for longest without a word goes for it.
    pub(super) fn insert(&mut self, key: SocketKey, at: Timestamp, socket: TlsSocket) {
        self.n_tunnels += usize::from(socket.tunnel.is_some());
        if let Some((key, mut gone)) = self.sockets.insert(key, at, socket) {
            self.count_gone(&key, &mut gone);
            self.waiting.retain(|waiting| *waiting != key);
        }
    }

    /// One that is followed, and used now.
    pub(super) fn followed(&mut self, key: &SocketKey, at: Timestamp) -> Option<&mut TlsSocket> {
        self.sockets.touch(key, at)
    }

    /// It is TLS: its secrets may come, or its keys be found.
    pub(super) fn await_secrets(&mut self, key: SocketKey, at: Timestamp) {
        let Some(socket) = self.sockets.peek_mut(&key) else {
            return;
        };
        #[cfg(feature = "tls")]
        if let Some(search) = &mut self.search
            && search.begin(key)
        {
            let probed = self.probed.as_mut();
            socket.awaits_secrets = probed.is_some_and(|probed| probed.await_secrets(key));
            socket.connection.await_keys(socket.awaits_secrets);
        }
        if self.has_log {
            socket.since = Some(at);
            self.waiting.push(key);
        }
    }

    /// There are so many tunnels that of a further one the content is only counted.
    pub(super) const fn is_full_of_tunnels(&self) -> bool {
        self.n_tunnels >= 4 * limits::TUNNELS
    }

    /// Secrets of which no more come while something waits.
    pub(super) fn lent(&mut self) -> &mut KeyLog {
        &mut self.none
    }

    /// Takes what may have to wait.
    pub(super) fn item(
        &mut self,
        (key, task): (SocketKey, Task),
        mut item: Item,
        to: &mut dyn Downstream,
    ) {
        let Some(socket) = self.sockets.peek_mut(&key) else {
            return;
        };
        socket.pid = task.pid;
        if let Item::Bytes(direction, run) = &item {
            socket.hello.read(*direction, &run.bytes);
        }
        let random = socket.hello.random.as_ref();
        let keys = self.keys.as_ref();
        let opens = random.is_some_and(|random| keys.is_some_and(|keys| keys.opens(random)));
        if socket.since.is_none() || opens || socket.hello.is_absent() {
            self.release(&key, to);
            return self.pass(&key, task, item, to);
        }
        if let Item::Bytes(_, run) = &mut item {
            let n = run.bytes.len();
            let is_full = socket.n_waiting + n > limits::TLS_KEYLESS
                || self.n_waiting + n > limits::TLS_KEYLESS_ALL
                || socket.waiting.len() >= limits::TLS_KEYLESS_PIECES;
            if is_full {
                run.cut = run.cut.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
                run.bytes = Vec::new();
            } else {
                socket.n_waiting += n;
                self.n_waiting += n;
            }
        }
        // Of what is not kept the place is, in the offset of what comes next.
        let is_empty = matches!(&item, Item::Bytes(_, run) if run.bytes.is_empty());
        if !is_empty || socket.waiting.len() < limits::TLS_KEYLESS_PIECES {
            socket.waiting.push_back((task, item));
        }
    }

    /// What waits of a connection waits no longer.
    fn release(&mut self, key: &SocketKey, to: &mut dyn Downstream) {
        let Some(socket) = self.sockets.peek_mut(key) else {
            return;
        };
        socket.since = None;
        self.n_waiting = self.n_waiting.saturating_sub(socket.n_waiting);
        socket.n_waiting = 0;
        for (task, item) in std::mem::take(&mut socket.waiting) {
            self.pass(key, task, item, to);
        }
    }

    fn pass(&mut self, key: &SocketKey, task: Task, item: Item, to: &mut dyn Downstream) {
        match item {
            Item::Bytes(direction, run) => self.with(key, to, |connection, out| {
                connection.passed(direction, &run, task, out);
            }),
            Item::End(cause, at) => {
                self.with(key, to, |connection, out| {
                    connection.ended((cause, at, task), out);
                });
                if cause == EndCause::Closed {
                    self.forget(key);
                }
            }
        }
    }

    /// Nothing more is told of a connection.
    fn conclude(&mut self, key: &SocketKey, to: &mut dyn Downstream) {
        self.with(key, to, Connection::conclude);
        self.forget(key);
    }

    pub(super) fn with(
        &mut self,
        key: &SocketKey,
        to: &mut dyn Downstream,
        act: impl FnOnce(&mut Connection, &mut Out<'_>),
    ) {
        if let Some(socket) = self.sockets.peek_mut(key) {
            let mut out = Out {
                take: &mut |event| to.event(event),
                counts: &mut self.counts,
                encoded: &mut self.encoded,
                keys: self.keys.as_ref().unwrap_or(&self.none),
                scratch: &mut self.scratch,
            };
            act(&mut socket.connection, &mut out);
        }
    }

    fn forget(&mut self, key: &SocketKey) {
        if let Some(mut socket) = self.sockets.remove(key) {
            self.n_waiting = self.n_waiting.saturating_sub(socket.n_waiting);
            self.count_gone(key, &mut socket);
        }
    }

    fn count_gone(&mut self, key: &SocketKey, socket: &mut TlsSocket) {
        #[cfg(feature = "tls")]
        self.end_handover(key, socket);
        #[cfg(not(feature = "tls"))]
        let _ = key;
        let n = usize::from(socket.tunnel.is_some());
        self.n_tunnels = self.n_tunnels.saturating_sub(n);
    }
}
