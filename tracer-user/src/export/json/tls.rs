//! What a line of type `connection` says of TLS.

use h2trace_core::tls::{TlsInfo, Version, Why};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct TlsFields<'a> {
    version: Option<&'static str>,
    suite: Option<String>,
    alpn: Option<&'a str>,
    alpn_offered: &'a [String],
    sni: Option<&'a str>,
    key: &'static str,
    why: Option<&'static str>,
}

impl<'a> TlsFields<'a> {
    pub(super) fn new(info: &'a TlsInfo) -> Self {
        Self {
            version: info.version.and_then(Version::as_str),
            suite: info.suite.map(|suite| suite.to_string()),
            alpn: info.alpn.as_deref(),
            alpn_offered: &info.alpn_offered,
            sni: info.sni.as_deref(),
            key: info.key.as_str(),
            why: info.why.map(Why::as_str),
        }
    }
}
