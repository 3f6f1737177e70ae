//! One traced connection as a TCP conversation: who stands where, and how far each side's bytes went.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use h2trace_core::connection::{ConnectionId, Endpoint};
use h2trace_core::event::{Address, Direction, Opened, SocketKey, Timestamp};
use h2trace_core::pipeline::ConnectionInfo;

use super::segment::{NewSegment, flag};

/// The side that is observed: it sends [`Direction::Tx`].
pub(super) const OWNER: usize = 0;
pub(super) const PEER: usize = 1;

/// The side that sends in `direction`.
pub(super) const fn sender(direction: Direction) -> usize {
    match direction {
        Direction::Tx => OWNER,
        Direction::Rx => PEER,
    }
}

/// Where the two sides stand in the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum SideAddresses {
    /// Their addresses, the owner's first.
    Real([SocketAddr; 2]),
    /// No TCP, or no address known: made up, the client's first.
    MadeUp([SocketAddr; 2]),
}

/// How far one side is.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// Stream offset of the first byte in the file.
    origin: u64,
    /// Stream offset of the next byte; None before the first one.
    next: Option<u64>,
    /// FIN was written.
    ended: bool,
}

/// What the kernel or the peer said of the end, and that waits until everything before it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PendingEnd {
    /// The peer's FIN came; what it stands behind may not have been read yet.
    pub(super) peer_fin: bool,
    /// One side broke it off then.
    pub(super) reset: Option<(usize, Timestamp)>,
}

#[derive(Debug)]
pub(super) struct Conversation {
    /// Its number in the file.
    pub(super) number: u64,
    pub(super) place: SideAddresses,
    pub(super) opened: Opened,
    pub(super) from_start: bool,
    pub(super) opened_at: Timestamp,
    /// What a reader of the file must know of its addresses.
    pub(super) words: Option<String>,
    /// The first packet was made.
    pub(super) begun: bool,
    /// A packet of it stands in the file.
    pub(super) written: bool,
    /// Nothing more comes of it.
    pub(super) over: bool,
    /// No time of a packet lies before that of an earlier one.
    pub(super) last_at: Timestamp,
    pub(super) waiting: PendingEnd,
    /// HTTP/1.1 bytes, told before it is known whether HTTP/2 follows.
    pub(super) before: Vec<(Timestamp, Direction, Vec<u8>)>,
    /// Keys of its packets that wait in the queue.
    pub(super) queued: BTreeSet<(Timestamp, u64)>,
    /// Comments for its next packet.
    pub(super) comments: Vec<String>,
    /// The connection ends of the pipeline that belong to it.
    pub(super) ids: Vec<ConnectionId>,
    /// That of the end whose bytes are written.
    pub(super) owner: Option<ConnectionId>,
    /// Their sockets; the one whose bytes are written is first.
    pub(super) keys: Vec<SocketKey>,
    /// Under which it can be found: its two addresses, the network namespace where it matters.
    pub(super) tuple: Option<Tuple>,
    /// AF_UNIX: the addresses of the written end's `struct sock` and of its peer's.
    pub(super) unix: Option<(u64, u64)>,
    /// The owner's end is the first of the place's addresses.
    owner_first: bool,
    client: usize,
    sides: [Side; 2],
}

/// Local address, peer's address, and for loopback addresses the network namespace.
pub(super) type Tuple = (SocketAddr, SocketAddr, u32);

/// How a connection end is found by its other end: only loopback addresses mean something else in every
/// network namespace.
pub(super) fn tuple(local: &Address, peer: &Address, netns: u32) -> Option<Tuple> {
    match (local, peer) {
        (Address::Inet(local), Address::Inet(peer)) => {
            let netns = if local.ip().is_loopback() { netns } else { 0 };
            Some((*local, *peer, netns))
        }
        _ => None,
    }
}

impl Conversation {
    pub(super) fn new(number: u64, place: SideAddresses, opened_at: Timestamp) -> Conversation {
        Conversation {
            number,
            place,
            opened: Opened::Unseen,
            from_start: false,
            opened_at,
            words: None,
            begun: false,
            written: false,
            over: false,
            last_at: opened_at,
            waiting: PendingEnd::default(),
            before: Vec::new(),
            queued: BTreeSet::new(),
            comments: Vec::new(),
            ids: Vec::new(),
            owner: None,
            keys: Vec::new(),
            tuple: None,
            unix: None,
            owner_first: true,
            client: OWNER,
            sides: [Side::default(); 2],
        }
    }

    /// Its two addresses as they stand in the file.
    pub(super) fn ends(&self) -> [SocketAddr; 2] {
        let (SideAddresses::Real(ends) | SideAddresses::MadeUp(ends)) = self.place;
        ends
    }

    /// The address in the file of an end that was traced.
    pub(super) fn address_of(&self, info: &ConnectionInfo) -> SocketAddr {
        match (self.place, &info.local, info.role) {
            // The owner's port may be made up, the peer's address never is.
            (SideAddresses::Real([owner, peer]), Address::Inet(local), _) => {
                if *local == peer {
                    peer
                } else {
                    owner
                }
            }
            (SideAddresses::Real([client, _]), ..)
            | (SideAddresses::MadeUp([client, _]), _, Some(Endpoint::Client)) => client,
            (SideAddresses::MadeUp([_, server]), _, Some(Endpoint::Server)) => server,
            (SideAddresses::MadeUp(_), _, None) => self.address(OWNER),
        }
    }

    /// The server's port in the file, as the role of one of its ends shows.
    pub(super) fn server_port(&self, info: &ConnectionInfo) -> Option<u16> {
        let server = match (self.place, info.role?, &info.local, &info.peer) {
            (SideAddresses::MadeUp([_, server]), ..) => return Some(server.port()),
            (_, Endpoint::Client, _, server) | (_, Endpoint::Server, server, _) => server,
        };
        match server {
            Address::Inet(server) => Some(server.port()),
            Address::Unix(_) | Address::Unknown => None,
        }
    }

    /// The first bytes are here: who is the client?
    pub(super) fn begin(&mut self, direction: Direction, first: &[u8]) {
        self.begun = true;
        let other = 1 - sender(direction);
        self.client = match self.opened {
            Opened::Passive => PEER,
            Opened::Unseen if first.starts_with(b"PRI") => sender(direction),
            // From the first byte on, frames without a preface and HTTP responses are the server's.
            Opened::Unseen if self.from_start => {
                let is_request = first.first().is_some_and(u8::is_ascii_uppercase)
                    && !first.starts_with(b"HTTP/");
                if is_request { sender(direction) } else { other }
            }
            Opened::Active | Opened::Unseen => OWNER,
        };
        self.place_owner();
        if self.from_start {
            for side in &mut self.sides {
                side.next = Some(0);
            }
        }
    }

    fn place_owner(&mut self) {
        self.owner_first = match self.place {
            SideAddresses::Real(_) => true,
            SideAddresses::MadeUp(_) => self.client == OWNER,
        };
    }

    /// The pipeline knows the role of an end. Where addresses are made up and nobody saw the beginning, the first
    /// bytes may have misled: true if the two sides' places changed, and with them the packets that wait.
    pub(super) fn correct(&mut self, info: &ConnectionInfo) -> bool {
        let Some(role) = info.role else {
            return false;
        };
        let (own, other) = if self.owner == Some(info.id) {
            (OWNER, PEER)
        } else {
            (PEER, OWNER)
        };
        let client = match role {
            Endpoint::Client => own,
            Endpoint::Server => other,
        };
        let made_up = matches!(self.place, SideAddresses::MadeUp(_));
        if !made_up || self.from_start || self.written || self.client == client {
            return false;
        }
        self.client = client;
        self.place_owner();
        true
    }

    fn side(&self, side: usize) -> Side {
        self.sides.get(side).copied().unwrap_or_default()
    }

    fn address(&self, side: usize) -> SocketAddr {
        let [first, second] = self.ends();
        if (side == OWNER) == self.owner_first {
            first
        } else {
            second
        }
    }

    /// The number before that of the side's first byte. Differs from conversation to conversation, so that one
    /// between the same addresses is told apart.
    fn initial(&self, side: usize) -> u32 {
        let number = (self.number & u64::from(u32::MAX)) as u32;
        number
            .wrapping_mul(0x0100_0193)
            .wrapping_add(if side == OWNER { 0 } else { 0x4000_0000 })
    }

    fn sequence(&self, side: usize) -> u32 {
        let state = self.side(side);
        let past = state.next.unwrap_or(state.origin) - state.origin;
        // Sequence numbers wrap (RFC 9293 section 3.4).
        let past = (past & u64::from(u32::MAX)) as u32;
        self.initial(side)
            .wrapping_add(1)
            .wrapping_add(past)
            .wrapping_add(u32::from(state.ended))
    }

    /// The bytes of `side` go on at `offset`: how many are missing before it, and how many of those at
    /// `offset` were here already.
    pub(super) fn go_to(&mut self, side: usize, offset: u64) -> (u64, u64) {
        let Some(state) = self.sides.get_mut(side) else {
            return (0, 0);
        };
        let Some(next) = state.next else {
            state.origin = offset;
            state.next = Some(offset);
            return (0, 0);
        };
        if offset > next {
            state.next = Some(offset);
        }
        (offset.saturating_sub(next), next.saturating_sub(offset))
    }

    fn packet(&self, side: usize, flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
        NewSegment {
            from: self.address(side),
            to: self.address(1 - side),
            sequence,
            acknowledges: self.sequence(1 - side),
            flags,
            payload,
        }
        .packet()
    }

    /// The three packets that open it.
    pub(super) fn handshake(&self) -> [Vec<u8>; 3] {
        let (client, server) = (self.client, 1 - self.client);
        let initial = self.initial(client);
        [
            self.packet(client, flag::SYN, initial, &[]),
            self.packet(server, flag::SYN | flag::ACK, self.initial(server), &[]),
            self.packet(client, flag::ACK, self.sequence(client), &[]),
        ]
    }

    /// Bytes of `side`, at the place where it stands.
    pub(super) fn data(&mut self, side: usize, payload: &[u8]) -> Vec<u8> {
        let packet = self.packet(side, flag::PSH | flag::ACK, self.sequence(side), payload);
        if let Some(next) = self.sides.get_mut(side).and_then(|side| side.next.as_mut()) {
            *next = next.saturating_add(payload.len() as u64);
        }
        packet
    }

    /// A packet without bytes, of the observed side.
    pub(super) fn nothing(&self) -> Vec<u8> {
        self.packet(OWNER, flag::ACK, self.sequence(OWNER), &[])
    }

    /// The FIN of `side`; None when it was written already.
    pub(super) fn fin(&mut self, side: usize) -> Option<Vec<u8>> {
        if self.side(side).ended {
            return None;
        }
        let packet = self.packet(side, flag::FIN | flag::ACK, self.sequence(side), &[]);
        if let Some(side) = self.sides.get_mut(side) {
            side.ended = true;
        }
        Some(packet)
    }

    /// The RST of `side`.
    pub(super) fn reset(&self, side: usize) -> Vec<u8> {
        self.packet(side, flag::RST | flag::ACK, self.sequence(side), &[])
    }

    /// A side has ended.
    pub(super) fn ending(&self) -> bool {
        self.sides.iter().any(|side| side.ended)
    }

    /// Both sides have.
    pub(super) fn ended(&self) -> bool {
        self.sides.iter().all(|side| side.ended)
    }
}
