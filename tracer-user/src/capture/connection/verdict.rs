//! What the first bytes of both directions say together.

use h2trace_core::event::{Direction, OtherProtocol};
use h2trace_core::frame::PREFACE;

use crate::capture::flow::Run;
use crate::capture::recognise::{
    First, ProxyHeader, asks_for_h2c, first, header_section, proxy_header,
};

/// What the first bytes of a connection say.
pub(super) enum Verdict {
    Wait,
    /// HTTP/2, or frames must be searched for.
    Frames {
        /// Who sent the preface, if it was seen.
        preface: Option<Direction>,
        /// Bytes before the client's preface that belong to the PROXY protocol.
        skip: usize,
    },
    /// An HTTP/1.x request.
    Http1 {
        /// Its header section, or what is here of it.
        first: Vec<u8>,
    },
    Other(Direction, OtherProtocol),
}

pub(super) fn verdict(held: &[(Direction, Run)], from_syn: bool, full: bool) -> Verdict {
    let search = Verdict::Frames {
        preface: None,
        skip: 0,
    };
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
    if of_client == First::Preface {
        return Verdict::Frames {
            preface: Some(Direction::Tx),
            skip,
        };
    }
    // A server that takes it for HTTP/2 shows that with its first bytes.
    let waits = from_syn && server.is_empty() && !full;
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
        (First::Other(protocol), _) => Verdict::Other(Direction::Tx, protocol),
        (First::Settings, _) => search,
        // The server may be first: it says SETTINGS before it has read the preface.
        (_, First::Other(protocol)) => Verdict::Other(Direction::Rx, protocol),
        (_, First::Settings) if full => search,
        _ if full => Verdict::Other(Direction::Tx, OtherProtocol::Other),
        _ => Verdict::Wait,
    }
}

/// Neither end's beginning was seen, and who is the client is a guess.
fn late(client: &[u8], server: &[u8], full: bool) -> Verdict {
    for (direction, bytes) in [(Direction::Tx, client), (Direction::Rx, server)] {
        match first(bytes) {
            First::Preface => {
                return Verdict::Frames {
                    preface: Some(direction),
                    skip: 0,
                };
            }
            First::Http1Request => return Verdict::Other(direction, OtherProtocol::Http1),
            First::Other(protocol @ (OtherProtocol::Tls | OtherProtocol::Http1)) => {
                return Verdict::Other(direction, protocol);
            }
            First::TooFew if !full && !bytes.is_empty() && bytes.len() < PREFACE.len() => {
                return Verdict::Wait;
            }
            First::TooFew | First::Settings | First::Other(_) => {}
        }
    }
    Verdict::Frames {
        preface: None,
        skip: 0,
    }
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
