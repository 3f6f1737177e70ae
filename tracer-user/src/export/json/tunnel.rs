//! The stream whose content a connection is.

use h2trace_core::pipeline::Tunnel;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct TunnelFields<'a> {
    conn: u64,
    stream_id: u32,
    to: Option<&'a str>,
}

impl<'a> TunnelFields<'a> {
    pub(super) fn new(tunnel: &'a Tunnel) -> Self {
        Self {
            conn: tunnel.connection.0,
            stream_id: tunnel.stream_id.0,
            to: tunnel.to.as_deref(),
        }
    }
}
