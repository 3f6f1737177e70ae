//! Ends that do not speak HTTP/2, or whose header compression has come apart.

use std::collections::HashSet;

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::{header_list, on_connection};
use crate::connection::{ConnectionId, Endpoint};
use crate::event::{OtherProtocol, Timestamp};
use crate::frame::ErrorCode;
use crate::limits;
use crate::stream::record::GoAway;

/// Connections on which the server does not speak HTTP/2: whatever else happens on them follows from that.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    connections: HashSet<ConnectionId>,
    /// How often all of them had to be forgotten.
    pub(super) n_forgotten: u32,
}

impl Foreign {
    /// `sender` spoke another protocol.
    pub(super) fn found(
        &mut self,
        (connection, role): (ConnectionId, Option<Endpoint>),
        at: Timestamp,
        sender: Endpoint,
        spoke: OtherProtocol,
    ) -> Option<Finding> {
        // Of a client that does not, nothing else is followed.
        let is_followed = sender == Endpoint::Server;
        if is_followed && self.connections.len() >= limits::FOREIGN_CONNECTIONS {
            self.connections.clear();
            self.n_forgotten = self.n_forgotten.saturating_add(1);
        }
        if is_followed && !self.connections.insert(connection) {
            return None;
        }
        let words = match spoke {
            OtherProtocol::Http1 => "HTTP/1.x",
            OtherProtocol::Tls => "TLS",
            OtherProtocol::Other => "another protocol",
        };
        let peer = sender.peer();
        let summary = match sender {
            Endpoint::Server if spoke == OtherProtocol::Other => format!(
                "the {peer} sent the HTTP/2 connection preface, and what the {sender} answered does not begin as \
                 HTTP/2 does, with SETTINGS: it speaks another protocol"
            ),
            Endpoint::Server => format!(
                "the {peer} sent the HTTP/2 connection preface, and the {sender} answered in {words}"
            ),
            Endpoint::Client => format!(
                "the {peer} spoke HTTP/2 (SETTINGS came first), and the {sender} spoke {words} in place \
                 of the connection preface"
            ),
        };
        let said = (Kind::NotHttp2, Verdict::Anomaly, summary);
        let mut found = on_connection((connection, role), at, said);
        found.sender = Some(sender);
        Some(found)
    }

    /// Takes away whatever else was found on such connections.
    pub(super) fn silence(&self, findings: &mut Vec<Finding>) {
        if !self.connections.is_empty() {
            findings.retain(|finding| {
                finding.kind == Kind::NotHttp2 || !self.connections.contains(&finding.connection)
            });
        }
    }

    /// The connection is gone.
    pub(super) fn ended(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
    }
}

/// The cause of an error GOAWAY, where its code and what went before it show one.
pub(super) fn cause(go_away: &GoAway) -> Option<(Kind, Verdict, String)> {
    let (kind, summary) = if let Some(summary) = header_list::go_away(go_away) {
        (Kind::HeaderListTooLarge, summary)
    } else if go_away.code == ErrorCode::COMPRESSION_ERROR {
        let summary = format!(
            "the {} could not decode a header block that the {} encoded: GOAWAY COMPRESSION_ERROR, \
             last stream id {}",
            go_away.sender,
            go_away.sender.peer(),
            go_away.last_stream_id
        );
        (Kind::HpackFailure, summary)
    } else {
        return None;
    };
    Some((kind, Verdict::Anomaly, summary))
}
