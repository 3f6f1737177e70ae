//! Which connection ends belong together, and which addresses stand for them in the file.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};

use h2trace_core::event::{Address, Open, Opened, SocketKey};

use super::conversation::{Conversation, SideAddresses, Tuple, tuple};

/// Addresses that are made up are of 127/8, far from those that are used: servers stand at 127.255.0.1, by port;
/// clients at 127.254.x.y.
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 255, 0, 1);
/// The first port of a made-up server.
const FIRST_PORT: u16 = 20_000;
/// The first port of a made-up client: readers who did not see the beginning take the lower one for the server's.
const FIRST_CLIENT_PORT: u16 = 30_000;
/// Clients' ports of one made-up address.
const PORTS: u64 = 30_000;
/// Paths of AF_UNIX sockets whose port is remembered; the port of one beyond may stand for another one too.
const PATHS_MAX: usize = 4_096;

/// Finds the other end of a connection, and addresses that nobody else has.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    by_tuple: HashMap<Tuple, u64>,
    /// AF_UNIX: by the address of the written end's `struct sock`.
    by_unix: HashMap<u64, u64>,
    /// And by that of its peer's.
    by_unix_peer: HashMap<u64, u64>,
    in_use: HashSet<[SocketAddr; 2]>,
    ports: HashMap<String, u16>,
    next_made_up: u64,
}

impl Pairing {
    /// The conversation whose other end this is.
    pub(super) fn twin(&self, key: &SocketKey, open: &Open) -> Option<u64> {
        if open.unix_peer_sk != 0 {
            let of_peer = self.by_unix.get(&open.unix_peer_sk).copied();
            return of_peer.filter(|number| {
                // A peer that was connected elsewhere since is another one.
                self.by_unix_peer
                    .get(&key.sk)
                    .is_none_or(|known| known == number)
            });
        }
        let (local, peer, netns) = tuple(&open.local, &open.peer, open.netns)?;
        self.by_tuple.get(&(peer, local, netns)).copied()
    }

    /// The conversation of an AF_UNIX end that is not the one written.
    pub(super) fn of_unix(&self, key: &SocketKey) -> Option<u64> {
        self.by_unix_peer.get(&key.sk).copied()
    }

    /// Addresses for a connection, and what must be said of them.
    pub(super) fn place(&mut self, open: &Open) -> (SideAddresses, Option<String>) {
        let (path, unknown) = match (&open.local, &open.peer) {
            (Address::Inet(local), Address::Inet(peer)) => return self.real(*local, *peer),
            (Address::Unix(path), _) => (path.clone(), false),
            _ => (String::new(), true),
        };
        let port = match self.ports.get(&path) {
            Some(port) => *port,
            None => {
                let index = self.ports.len();
                let port = FIRST_PORT + u16::try_from(index % PATHS_MAX).unwrap_or(0);
                if index < PATHS_MAX {
                    self.ports.insert(path.clone(), port);
                }
                port
            }
        };
        let number = self.next_made_up;
        self.next_made_up += 1;
        let client_port = FIRST_CLIENT_PORT + u16::try_from(number % PORTS).unwrap_or(0);
        let [.., high, low] = (number / PORTS).to_be_bytes();
        let client = SocketAddr::new(Ipv4Addr::new(127, 254, high, low).into(), client_port);
        let server = SocketAddr::new(SERVER.into(), port);
        let words = if unknown {
            "h2trace: the addresses are made up: those of this connection were lost".to_owned()
        } else {
            let name = Address::Unix(path);
            format!("h2trace: the addresses are made up: an AF_UNIX connection, {name}")
        };
        (SideAddresses::MadeUp([client, server]), Some(words))
    }

    /// Real addresses, unless a connection of another network namespace has the same.
    fn real(&self, local: SocketAddr, peer: SocketAddr) -> (SideAddresses, Option<String>) {
        let mut shown = local;
        for _ in 0..=u16::MAX {
            if !self.in_use.contains(&pair(shown, peer)) {
                break;
            }
            shown.set_port(shown.port().wrapping_add(1).max(1));
        }
        let words = (shown != local).then(|| {
            format!(
                "h2trace: port {} is made up for {}: a connection of another network namespace has \
                 the same addresses",
                shown.port(),
                local.port()
            )
        });
        (SideAddresses::Real([shown, peer]), words)
    }

    /// A new conversation can be found from now on.
    pub(super) fn add(&mut self, conversation: &mut Conversation, key: &SocketKey, open: &Open) {
        let [a, b] = conversation.ends();
        self.in_use.insert(pair(a, b));
        let number = conversation.number;
        if open.unix_peer_sk != 0 {
            conversation.unix = Some((key.sk, open.unix_peer_sk));
            self.by_unix.insert(key.sk, number);
            self.by_unix_peer.insert(open.unix_peer_sk, number);
        } else if let Some(tuple) = tuple(&open.local, &open.peer, open.netns) {
            conversation.tuple = Some(tuple);
            self.by_tuple.insert(tuple, number);
        }
    }

    /// The conversation is written from its other end from now on.
    pub(super) fn turn(&mut self, before: &Conversation, after: &mut Conversation) {
        if let Some((local, peer, netns)) = before.tuple {
            self.by_tuple.remove(&(local, peer, netns));
            after.tuple = Some((peer, local, netns));
            self.by_tuple.insert((peer, local, netns), after.number);
        }
        if let Some((own, peer)) = before.unix {
            self.by_unix.remove(&own);
            self.by_unix_peer.remove(&peer);
            after.unix = Some((peer, own));
            self.by_unix.insert(peer, after.number);
            self.by_unix_peer.insert(own, after.number);
        }
    }

    /// Nothing more comes of a conversation.
    pub(super) fn remove(&mut self, conversation: &Conversation) {
        let [a, b] = conversation.ends();
        self.in_use.remove(&pair(a, b));
        let number = conversation.number;
        if let Some(tuple) = &conversation.tuple
            && self.by_tuple.get(tuple) == Some(&number)
        {
            self.by_tuple.remove(tuple);
        }
        if let Some((own, peer)) = conversation.unix {
            for (map, sk) in [(&mut self.by_unix, own), (&mut self.by_unix_peer, peer)] {
                if map.get(&sk) == Some(&number) {
                    map.remove(&sk);
                }
            }
        }
    }
}

fn pair(a: SocketAddr, b: SocketAddr) -> [SocketAddr; 2] {
    if a <= b { [a, b] } else { [b, a] }
}

/// The end of `open` is the client's and the one that is known is not, or it alone was seen from the start; and
/// nothing of the conversation is in the file yet.
pub(super) fn is_better(known: &Conversation, open: &Open) -> bool {
    let is_client = open.opened == Opened::Active && known.opened == Opened::Passive;
    open.from_start && (is_client || !known.from_start) && !known.written && !known.over
}

/// The place as the other end has it.
pub(super) fn turned(place: SideAddresses) -> SideAddresses {
    match place {
        SideAddresses::Real([owner, peer]) => SideAddresses::Real([peer, owner]),
        made_up @ SideAddresses::MadeUp(_) => made_up,
    }
}
