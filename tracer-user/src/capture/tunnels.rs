//! Tunnels: the content of a CONNECT stream as a connection of its own. It is recognised as the connections of a capture
//! are, and TLS in it is opened as that of sockets is.

use h2trace_core::event::{
    Boundary, Bytes, Direction, End, EndCause, Event, Open, Opened, ProtocolConfidence, SocketKey,
    Task, Timestamp, What,
};
use h2trace_core::frame::PREFACE;
use h2trace_core::limits;
use h2trace_core::pipeline::{Passed, Pipeline, Sink, Tunnelled};
use h2trace_core::tls::KeyLog;

use super::flow::Run;
use super::sockets::{Downstream, Item, TlsSocket, TlsSockets};

/// Hands events to a pipeline.
pub struct Feed<'a> {
    pub pipeline: &'a mut Pipeline,
    pub sink: &'a mut dyn Sink,
}

impl Downstream for Feed<'_> {
    fn opening(&mut self, socket: &SocketKey) -> Option<(Opened, bool)> {
        self.pipeline.opening_of(socket)
    }

    fn event(&mut self, event: &Event<'_>) {
        self.pipeline.handle(event, self.sink);
    }

    fn next_tunnelled(&mut self) -> Option<Tunnelled> {
        self.pipeline.next_tunnelled()
    }

    fn is_without_tunnels(&mut self, socket: &SocketKey) -> bool {
        self.pipeline.is_without_tunnels(socket)
    }
}

/// How records of a TLS handshake begin.
const HANDSHAKE: u8 = 22;

/// The connection within a tunnel.
pub(super) enum Tunnel {
    /// Nothing is told of it until so much went by one way that its bytes are known to be copied.
    Begins {
        open: Box<Open>,
        held: Vec<(Task, Direction, Run)>,
        /// There are too many already.
        is_beyond: bool,
    },
    /// Its first bytes were not copied, or there are too many: what goes by is only counted.
    Uncopied,
    /// It goes on like a socket.
    Copied,
}

impl TlsSockets {
    /// Takes what went by in tunnels: to be called behind each event that was handed on.
    #[inline]
    pub fn tunnels(&mut self, to: &mut dyn Downstream) {
        while let Some(next) = to.next_tunnelled() {
            self.tunnelled(next, to);
        }
    }

    fn tunnelled(&mut self, next: Tunnelled, to: &mut dyn Downstream) {
        let (key, at, task) = (next.socket, next.at, next.task);
        match next.what {
            Passed::Opened(open, _) => {
                let mut socket = TlsSocket::new(key, (open.opened, true), at);
                socket.tunnel = Some(Tunnel::Begins {
                    open,
                    held: Vec::new(),
                    is_beyond: self.is_full_of_tunnels(),
                });
                self.insert(key, at, socket);
            }
            Passed::Bytes {
                direction,
                offset,
                bytes,
                cut,
            } => {
                let run = Run {
                    at,
                    offset,
                    bytes,
                    cut,
                };
                self.pass_in_tunnel(key, (task, direction, run), to);
            }
            Passed::Ended(cause @ EndCause::Desync(_)) => {
                // TLS finds its place by itself.
                let socket = self.followed(&key, at);
                if socket.is_some_and(|socket| !socket.connection.is_tls()) {
                    tell_end(key, (at, task), cause, to);
                }
            }
            Passed::Ended(cause) => {
                self.begin_tunnel(key, at, to);
                let is_copied = self
                    .followed(&key, at)
                    .is_some_and(|socket| matches!(socket.tunnel, Some(Tunnel::Copied)));
                if !is_copied {
                    tell_end(key, (at, task), cause, to);
                }
                self.item((key, task), Item::End(cause, at), to);
            }
        }
    }

    /// The same, with the secrets that a capture has: none are waited for.
    pub fn tunnels_with(&mut self, keys: &mut KeyLog, to: &mut dyn Downstream) {
        std::mem::swap(self.lent(), keys);
        self.tunnels(to);
        std::mem::swap(self.lent(), keys);
    }

    /// Nothing more comes, neither on sockets nor in tunnels.
    pub fn finish_with(&mut self, keys: &mut KeyLog, to: &mut dyn Downstream) {
        std::mem::swap(self.lent(), keys);
        self.finish_all(to);
        std::mem::swap(self.lent(), keys);
    }

    /// The same, with the secrets that are waited for.
    pub fn finish_all(&mut self, to: &mut dyn Downstream) {
        // What one of them still says may be another one's.
        for _ in 0..=limits::TUNNEL_DEPTH {
            self.finish(to);
            self.tunnels(to);
        }
    }

    fn pass_in_tunnel(
        &mut self,
        key: SocketKey,
        (task, direction, run): (Task, Direction, Run),
        to: &mut dyn Downstream,
    ) {
        let tunnel = self.followed(&key, run.at).map(|socket| &mut socket.tunnel);
        match tunnel {
            Some(Some(Tunnel::Begins { held, .. })) => {
                let end = run.offset.saturating_add(run.bytes.len() as u64);
                let is_known = run.cut > 0 || end >= PREFACE.len() as u64;
                let at = run.at;
                held.push((task, direction, run));
                if is_known {
                    self.begin_tunnel(key, at, to);
                }
            }
            Some(Some(Tunnel::Uncopied)) => tell_hole(key, (task, direction, &run), to),
            Some(Some(Tunnel::Copied) | None) => {
                self.item((key, task), Item::Bytes(direction, run), to);
            }
            None => {}
        }
    }

    /// The connection within is told of, with what waits. Where nothing went by there is none.
    pub(super) fn begin_tunnel(&mut self, key: SocketKey, at: Timestamp, to: &mut dyn Downstream) {
        let Some(socket) = self.followed(&key, at) else {
            return;
        };
        let (mut open, held, is_beyond) = match socket.tunnel.take() {
            Some(Tunnel::Begins {
                open,
                held,
                is_beyond,
            }) if !held.is_empty() => (open, held, is_beyond),
            other => {
                socket.tunnel = other;
                return;
            }
        };
        let is_copied = !is_beyond && held.iter().all(|(.., run)| run.cut == 0);
        socket.tunnel = Some(if is_copied {
            Tunnel::Copied
        } else {
            Tunnel::Uncopied
        });
        let client = match open.opened {
            Opened::Passive => Direction::Rx,
            Opened::Active | Opened::Unseen => Direction::Tx,
        };
        let says_hello = |(_, direction, run): &(Task, Direction, Run)| {
            *direction == client && run.offset == 0 && run.bytes.first() == Some(&HANDSHAKE)
        };
        if let Some((task, _, first)) = held.first() {
            open.from_start = is_copied;
            to.event(&event(key, first.at, *task, What::Open(open)));
            if is_copied && held.iter().any(says_hello) {
                self.await_secrets(key, first.at);
            }
        }
        for (task, direction, run) in held {
            if is_copied {
                self.item((key, task), Item::Bytes(direction, run), to);
            } else {
                tell_hole(key, (task, direction, &run), to);
            }
        }
    }
}

fn event(socket: SocketKey, at: Timestamp, task: Task, what: What<'_>) -> Event<'_> {
    Event {
        at,
        socket,
        task,
        what,
    }
}

fn tell_end(
    key: SocketKey,
    (at, task): (Timestamp, Task),
    cause: EndCause,
    to: &mut dyn Downstream,
) {
    let end = End {
        cause,
        tx_offset: None,
        rx_offset: None,
    };
    to.event(&event(key, at, task, What::End(end)));
}

/// So many bytes went by, of which nothing is told.
fn tell_hole(
    key: SocketKey,
    (task, direction, run): (Task, Direction, &Run),
    to: &mut dyn Downstream,
) {
    let copied = u32::try_from(run.bytes.len()).unwrap_or(u32::MAX);
    let total = copied.saturating_add(run.cut);
    let hole = (total | tracer_ebpf::event::SEGMENT_HOLE).to_le_bytes();
    let bytes = Bytes {
        direction,
        offset: run.offset,
        total,
        boundary: Boundary::Unknown,
        confidence: ProtocolConfidence::Tentative,
        unseen: None,
        encoded: &hole,
    };
    to.event(&event(key, run.at, task, What::Bytes(bytes)));
}
