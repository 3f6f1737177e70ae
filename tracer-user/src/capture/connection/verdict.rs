//! What the first bytes of both directions say together.

use h2trace_core::event::{Direction, OtherProtocol};
use h2trace_core::frame::PREFACE;
use h2trace_core::tls::Session;

use crate::capture::flow::Run;
use crate::capture::recognise::{
    First, ProxyHeader, Switch, asks_for_h2c, asks_for_tunnel, find, first, header_section,
    proxy_header, switch,
};

/// What the first bytes of a connection say.
pub(super) enum Verdict {
    Wait,
    /// HTTP/2, or frames must be searched for.
    Frames {
        /// Who sent the preface, if it was seen.
        preface: Option<Direction>,
        /// Bytes before the client's preface that belong to the PROXY protocol, or to HTTP/1.x.
        skip: usize,
        /// Bytes before the server's first frame that belong to HTTP/1.x.
        answer: usize,
        /// An upgrade whose request was not seen: the first stream is not known.
        upgraded: bool,
    },
    /// Who was taken for the server is the client.
    Turned,
    /// An HTTP/1.x request.
    Http1 {
        /// Its header section, or what is here of it.
        first: Vec<u8>,
    },
    Tls {
        /// Whose first bytes say so.
        first: Direction,
        /// Bytes before the client's that belong to the PROXY protocol.
        skip: usize,
    },
    Other(Direction, OtherProtocol),
}

impl Verdict {
    /// HTTP/2 from the first byte on, or behind `skip` bytes of the client.
    const fn of(preface: Option<Direction>, skip: usize) -> Verdict {
        Verdict::Frames {
            preface,
            skip,
            answer: 0,
            upgraded: false,
        }
    }
}

pub(super) fn verdict(held: &[(Direction, Run)], from_syn: bool, full: bool) -> Verdict {
    let search = Verdict::of(None, 0);
    let client = head(held, Direction::Tx);
    let server = head(held, Direction::Rx);
    let (Some(client), Some(server)) = (client, server) else {
        // The first bytes of a direction are missing.
        return search;
    };
    if client.is_empty() && server.is_empty() {
        return Verdict::Wait;
    }
    let skip = match proxy_header(&client) {
        ProxyHeader::Whole(skip) => skip,
        ProxyHeader::Partial if !full => return Verdict::Wait,
        ProxyHeader::Partial | ProxyHeader::Absent => 0,
    };
    let client_bytes = client.get(skip..).unwrap_or_default();
    let (of_client, of_server) = (first(client_bytes), first(&server));
    let begins = from_syn && of_client == First::Preface;
    if !begins && let Some(verdict) = tunnel(&client, &server, from_syn, full) {
        return verdict;
    }
    if of_client == First::Preface {
        return Verdict::of(Some(Direction::Tx), skip);
    }
    // A server that takes it for HTTP/2 shows that with its first bytes.
    let may_tell = from_syn || asks_for_tunnel(&client);
    let waits = may_tell && server.is_empty() && !full;
    if of_client == First::Http1Request {
        let end = header_section(&client);
        let first = client
            .get(..end.unwrap_or(client.len()))
            .unwrap_or_default();
        let is_known = end.is_some() && (!waits || asks_for_h2c(first));
        if !is_known && !full && server.is_empty() {
            return Verdict::Wait;
        }
        let first = first.to_vec();
        return Verdict::Http1 { first };
    }
    if !from_syn {
        return late(&client, &server, full);
    }
    match (of_client, of_server) {
        (First::Other(_), _) if waits => Verdict::Wait,
        (First::Other(OtherProtocol::Tls), of_server) if of_server != First::Settings => {
            Verdict::Tls {
                first: Direction::Tx,
                skip,
            }
        }
        (First::Other(protocol), _) => Verdict::Other(Direction::Tx, protocol),
        (First::Settings, _) => search,
        // The server may be first: it says SETTINGS before it has read the preface.
        (_, First::Other(protocol)) => Verdict::Other(Direction::Rx, protocol),
        (_, First::Settings) if full => search,
        _ if full => Verdict::Other(Direction::Tx, OtherProtocol::Other),
        _ => Verdict::Wait,
    }
}

/// Neither end's beginning was seen, and the connection is known to speak HTTP/2: only a preface says more, or
/// that it does so in TLS.
pub(super) fn told(held: &[(Direction, Run)], full: bool) -> Verdict {
    let client = head(held, Direction::Tx).unwrap_or_default();
    let begins = PREFACE.starts_with(&client) || client.starts_with(PREFACE);
    match client.len() {
        1.. if Session::is_client(&client) => Verdict::Tls {
            first: Direction::Tx,
            skip: 0,
        },
        1.. if begins && client.len() < PREFACE.len() && !full => Verdict::Wait,
        1.. if client.starts_with(PREFACE) => Verdict::of(Some(Direction::Tx), 0),
        _ => Verdict::of(None, 0),
    }
}

/// Neither end's beginning was seen, and who is the client is a guess.
fn late(client: &[u8], server: &[u8], full: bool) -> Verdict {
    for (direction, bytes) in [(Direction::Tx, client), (Direction::Rx, server)] {
        match first(bytes) {
            First::Preface => {
                return Verdict::of(Some(direction), 0);
            }
            First::Http1Request
                if direction == Direction::Rx
                    && (asks_for_h2c(bytes) || asks_for_tunnel(bytes)) =>
            {
                return Verdict::Turned;
            }
            First::Http1Request => return Verdict::Other(direction, OtherProtocol::Http1),
            First::Other(OtherProtocol::Tls) => {
                return Verdict::Tls {
                    first: direction,
                    skip: 0,
                };
            }
            First::Other(OtherProtocol::Http1) => {
                return Verdict::Other(direction, OtherProtocol::Http1);
            }
            First::TooFew if !full && !bytes.is_empty() && bytes.len() < PREFACE.len() => {
                return Verdict::Wait;
            }
            First::TooFew | First::Settings | First::Other(_) => {}
        }
    }
    // The end of a request whose answer is still to come tells whether frames follow.
    let ends_head = |bytes: &[u8]| bytes.ends_with(b"\r\n\r\n");
    let answered = !client.is_empty() && !server.is_empty();
    if !full && !answered && (ends_head(client) || ends_head(server)) {
        return Verdict::Wait;
    }
    Verdict::of(None, 0)
}

/// HTTP/1.x came first, and perhaps HTTP/2 behind it: through a tunnel (CONNECT), or after an upgrade of which the
/// capture lacks the request. None when there is nothing of it.
fn tunnel(client: &[u8], server: &[u8], from_syn: bool, full: bool) -> Option<Verdict> {
    if first(client) == First::Http1Request && asks_for_h2c(client) {
        // Followed from the request on.
        return None;
    }
    let sides = [
        (Direction::Tx, client, server),
        (Direction::Rx, server, client),
    ];
    // Who is the client is only known from the handshake.
    let sides = sides.iter().take(if from_syn { 1 } else { 2 });
    for (direction, asks, answers) in sides.copied() {
        let (len, to_upgrade) = match switch(answers) {
            Switch::Absent => continue,
            Switch::Partial if full => continue,
            Switch::Partial => return Some(Verdict::Wait),
            Switch::Whole { len, to_upgrade } => (len, to_upgrade),
        };
        let behind = first(answers.get(len..).unwrap_or_default());
        if !matches!(behind, First::TooFew | First::Settings) {
            continue;
        }
        if let Some(skip) = find(asks, PREFACE) {
            return Some(Verdict::Frames {
                preface: Some(direction),
                skip,
                answer: len,
                upgraded: to_upgrade,
            });
        }
        let request = header_section(asks).filter(|_| first(asks) == First::Http1Request);
        let spoken = request.and_then(|end| asks.get(end..));
        let may_come = spoken.is_none_or(|spoken| PREFACE.starts_with(spoken));
        if !full && may_come {
            return Some(Verdict::Wait);
        }
    }
    None
}

/// The server's first frame is SETTINGS.
pub(super) fn is_greeted(held: &[(Direction, Run)]) -> bool {
    head(held, Direction::Rx).is_some_and(|server| first(&server) == First::Settings)
}

/// The bytes of a direction from its first one to the first hole; None when it begins with a hole.
fn head(held: &[(Direction, Run)], direction: Direction) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let runs = held.iter().filter(|(of, _)| *of == direction);
    for (_, run) in runs {
        if run.offset != bytes.len() as u64 {
            return (!bytes.is_empty()).then_some(bytes);
        }
        bytes.extend_from_slice(&run.bytes);
        if run.cut > 0 {
            break;
        }
    }
    Some(bytes)
}
