//! TLS in words.

use h2trace_core::tls::{KeySource, TlsInfo, Version, Why};

use crate::plain::plain;

/// The version, and what opened it: behind "HTTP/2".
pub(super) fn within(info: &TlsInfo) -> String {
    let why = match info.why {
        Some(why) => format!(", in part: {}", why.text()),
        None => String::new(),
    };
    format!(" in {}, opened by {}{why}", version(info), info.key.text())
}

/// A connection of which nothing was opened.
pub(super) fn opaque(info: &TlsInfo) -> String {
    let asked = info.sni.as_ref().map(|sni| format!(" to {}", plain(sni)));
    let spoken = match (&info.alpn, info.alpn_offered.as_slice()) {
        (Some(alpn), _) => format!(", speaks {}", plain(alpn)),
        (None, []) => String::new(),
        (None, offered) => format!(", offers {}", plain(&offered.join(" and "))),
    };
    let what = match info.key {
        KeySource::None => "encrypted, not decoded".to_owned(),
        key => format!("opened by {}, no application data", key.text()),
    };
    let why = info.why.map(Why::text);
    format!(
        "{}{}{spoken}: {what}{}",
        version(info),
        asked.unwrap_or_default(),
        why.map(|why| format!(" ({why})")).unwrap_or_default()
    )
}

fn version(info: &TlsInfo) -> String {
    let suite = match info.suite {
        Some(suite) => format!(" ({suite})"),
        None => String::new(),
    };
    match info.version.and_then(Version::as_str) {
        Some(version) if version.starts_with("SSL") => format!("{version}{suite}"),
        Some(version) => format!("TLS {version}{suite}"),
        None => format!("TLS{suite}"),
    }
}
