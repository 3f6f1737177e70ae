//! TLS handshakes that failed.

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::on_connection;
use crate::connection::{ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::tls::{Failure, TlsInfo, Version};

/// What the handshake of a connection came to, if it failed.
pub(crate) fn handshake(
    connection: (ConnectionId, Option<Endpoint>),
    at: Timestamp,
    tls: &TlsInfo,
) -> Option<Finding> {
    let (verdict, sender, how) = match tls.failure? {
        Failure::Alert { sender, alert } => {
            let meaning = alert.meaning();
            let meaning = meaning.map(|meaning| format!(" ({meaning})"));
            let how = format!(
                "the {sender} ended the TLS handshake with {}{}",
                alert.as_str(),
                meaning.unwrap_or_default()
            );
            (Verdict::Anomaly, Some(sender), how)
        }
        Failure::Foreign => {
            let how = "the client began TLS, and the server answered in something else".to_owned();
            (Verdict::Anomaly, Some(Endpoint::Server), how)
        }
        Failure::Unanswered => {
            let how = "the client began TLS, and the connection ended without an answer".to_owned();
            (Verdict::Suspicious, None, how)
        }
    };
    let said = (Kind::TlsHandshakeFailed, verdict, how + &facts(tls));
    let mut found = on_connection(connection, at, said);
    found.sender = sender;
    Some(found)
}

/// What both had said so far.
fn facts(tls: &TlsInfo) -> String {
    let asked = tls
        .sni
        .as_ref()
        .map(|sni| format!("the client asked for {sni:?}"));
    let offered = (!tls.alpn_offered.is_empty())
        .then(|| format!("the client offered {}", tls.alpn_offered.join(" and ")));
    let chose = tls.version.and_then(Version::as_str).map(|version| {
        let suite = tls.suite.map(|suite| format!(" with {suite}"));
        format!(
            "the server chose TLS {version}{}",
            suite.unwrap_or_default()
        )
    });
    let facts: Vec<String> = [asked, offered, chose].into_iter().flatten().collect();
    if facts.is_empty() {
        String::new()
    } else {
        format!("; {}", facts.join(", "))
    }
}
