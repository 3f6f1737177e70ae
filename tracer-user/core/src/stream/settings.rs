//! What each endpoint announced in SETTINGS (RFC 9113 section 6.5).

use crate::frame::Settings;

/// SETTINGS as an endpoint announced them; None: not seen (the RFC's default, or a late attach).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerSettings {
    /// SETTINGS_HEADER_TABLE_SIZE, in bytes: bounds the table of the *peer's* encoder.
    pub header_table_size: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE, in bytes.
    pub initial_window_size: Option<u32>,
    /// SETTINGS_MAX_FRAME_SIZE, in bytes.
    pub max_frame_size: Option<u32>,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_concurrent_streams: Option<u32>,
    /// SETTINGS_MAX_HEADER_LIST_SIZE, in bytes as section 6.5.2 counts them: name, value and 32 each.
    pub max_header_list_size: Option<u32>,
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441).
    pub enable_connect_protocol: Option<u32>,
}

impl PeerSettings {
    /// Takes over a SETTINGS frame; returns the values of SETTINGS_INITIAL_WINDOW_SIZE in it, in order.
    pub(super) fn apply(&mut self, settings: &Settings) -> Vec<u32> {
        let mut initial_window_sizes = Vec::new();
        for (identifier, value) in settings {
            let value = *value;
            match *identifier {
                0x1 => self.header_table_size = Some(value),
                0x3 => self.max_concurrent_streams = Some(value),
                0x4 => {
                    self.initial_window_size = Some(value);
                    initial_window_sizes.push(value);
                }
                0x5 => self.max_frame_size = Some(value),
                0x6 => self.max_header_list_size = Some(value),
                0x8 => self.enable_connect_protocol = Some(value),
                _ => {}
            }
        }
        initial_window_sizes
    }
}

/// SETTINGS frames of one endpoint and how many of them its peer has acknowledged. The peer keeps to them
/// from its acknowledgement on (RFC 9113 section 6.5.3); what it sent before may not know them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Acks {
    n_sent: u32,
    n_acknowledged: u32,
    /// Number of the last frame that made windows smaller.
    lowering: u32,
    /// Number of the last frame with SETTINGS_MAX_CONCURRENT_STREAMS.
    capping: u32,
}

impl Acks {
    /// A SETTINGS frame went by.
    pub(super) fn sent(&mut self, settings: &Settings) {
        self.n_sent = self.n_sent.saturating_add(1);
        if settings.iter().any(|(identifier, _)| *identifier == 0x3) {
            self.capping = self.n_sent;
        }
    }

    /// The frame made windows smaller.
    pub(super) const fn lowers(&mut self) {
        self.lowering = self.n_sent;
    }

    /// The peer acknowledged the oldest frame that it had not.
    pub(super) const fn acknowledged(&mut self) {
        self.n_acknowledged = self.n_acknowledged.saturating_add(1);
    }

    /// The peer may not know yet that windows became smaller.
    pub(super) const fn lowering_pending(&self) -> bool {
        self.n_acknowledged < self.lowering
    }

    /// The peer knows SETTINGS_MAX_CONCURRENT_STREAMS.
    pub(super) const fn cap_acknowledged(&self) -> bool {
        self.n_acknowledged >= self.capping
    }
}
