//! Flow-control windows of both directions (RFC 9113 sections 5.2 and 6.9).

use crate::connection::Endpoint;
use crate::kernel::event::Timestamp;
use crate::stream::pair::Pair;

/// Windows before any SETTINGS or WINDOW_UPDATE (RFC 9113 section 6.9.2).
const INITIAL_WINDOW: i64 = 65_535;

/// What one endpoint may send.
#[derive(Clone, Copy, Debug)]
struct Send {
    /// On the connection; None when its history was not seen.
    connection: Option<i64>,
    /// On a new stream; None when the peer's SETTINGS were not seen.
    initial: Option<i64>,
    /// Since when the connection's window has been used up.
    used_up_since: Option<Timestamp>,
}

/// The connection's windows, and the initial one of its streams.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    send: Pair<Send>,
}

impl Flow {
    /// `from_start`: the connection was seen from its first byte.
    pub(super) fn new(from_start: bool) -> Self {
        let send = match from_start {
            true => Send {
                connection: Some(INITIAL_WINDOW),
                initial: Some(INITIAL_WINDOW),
                used_up_since: None,
            },
            false => Send {
                connection: None,
                initial: None,
                used_up_since: None,
            },
        };
        Flow {
            send: Pair {
                client: send,
                server: send,
            },
        }
    }

    /// What `sender` may still send on the connection.
    pub(super) fn connection(&self, sender: Endpoint) -> Option<i64> {
        self.send.of(sender).connection
    }

    /// What `sender` may send on a new stream.
    pub(super) fn initial(&self, sender: Endpoint) -> Option<i64> {
        self.send.of(sender).initial
    }

    /// Since when `sender` may send nothing on the connection; None while it may.
    pub(super) fn used_up_since(&self, sender: Endpoint) -> Option<Timestamp> {
        self.send.of(sender).used_up_since
    }

    /// `sender` sent a DATA frame of `flow_len` bytes, padding included.
    pub(super) fn on_data(&mut self, sender: Endpoint, flow_len: u32, at: Timestamp) {
        let send = self.send.of_mut(sender);
        send.connection = send
            .connection
            .map(|w| w.saturating_sub(i64::from(flow_len)));
        if flow_len > 0 && send.connection.is_some_and(|w| w <= 0) {
            send.used_up_since.get_or_insert(at);
        }
    }

    /// `sender` sent a WINDOW_UPDATE of the connection.
    pub(super) fn on_window_update(&mut self, sender: Endpoint, increment: u32) {
        let send = self.send.of_mut(sender.peer());
        send.connection = send
            .connection
            .map(|w| w.saturating_add(i64::from(increment)));
        if send.connection.is_none_or(|w| w > 0) {
            send.used_up_since = None;
        }
    }

    /// `sender` announced SETTINGS_INITIAL_WINDOW_SIZE. Returns what is to be added to the window of each
    /// stream that the peer of `sender` sends on (RFC 9113 section 6.9.2; it may become negative), or
    /// None if the former size is not known.
    pub(super) fn on_initial_window_size(&mut self, sender: Endpoint, size: u32) -> Option<i64> {
        let send = self.send.of_mut(sender.peer());
        let before = send.initial.replace(i64::from(size));
        before.map(|before| i64::from(size) - before)
    }

    /// Frames of `sender` may have gone by unseen: DATA that used its own windows, and SETTINGS and
    /// WINDOW_UPDATE that changed its peer's.
    pub(super) fn on_loss(&mut self, sender: Endpoint) {
        let send = self.send.of_mut(sender);
        (send.connection, send.used_up_since) = (None, None);
        self.on_hidden_update(sender);
    }

    /// SETTINGS or WINDOW_UPDATE of `sender` may have gone by unseen.
    pub(super) fn on_hidden_update(&mut self, sender: Endpoint) {
        *self.send.of_mut(sender.peer()) = Send {
            connection: None,
            initial: None,
            used_up_since: None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_data_settings_and_updates() {
        let mut flow = Flow::new(true);
        assert_eq!(flow.used_up_since(Endpoint::Server), None);
        flow.on_data(Endpoint::Server, 65_535, Timestamp(5));
        assert_eq!(flow.connection(Endpoint::Server), Some(0));
        assert_eq!(flow.used_up_since(Endpoint::Server), Some(Timestamp(5)));
        assert_eq!(flow.connection(Endpoint::Client), Some(65_535));
        flow.on_window_update(Endpoint::Client, 100);
        assert_eq!(flow.connection(Endpoint::Server), Some(100));
        assert_eq!(flow.used_up_since(Endpoint::Server), None);
        assert_eq!(
            flow.on_initial_window_size(Endpoint::Client, 10),
            Some(10 - 65_535)
        );
        assert_eq!(flow.initial(Endpoint::Server), Some(10));
        assert_eq!(flow.initial(Endpoint::Client), Some(65_535));
    }

    #[test]
    fn a_late_attach_knows_no_window_until_settings_come() {
        let mut flow = Flow::new(false);
        assert_eq!(flow.connection(Endpoint::Server), None);
        assert_eq!(flow.on_initial_window_size(Endpoint::Client, 10), None);
        assert_eq!(flow.initial(Endpoint::Server), Some(10));
        flow.on_window_update(Endpoint::Client, 100);
        assert_eq!(flow.connection(Endpoint::Server), None);
    }

    #[test]
    fn a_loss_makes_windows_unknown_for_good() {
        let mut flow = Flow::new(true);
        flow.on_loss(Endpoint::Client);
        assert_eq!(flow.connection(Endpoint::Client), None);
        assert_eq!(flow.connection(Endpoint::Server), None);
        // The client's SETTINGS may have been lost, the server's not.
        assert_eq!(flow.initial(Endpoint::Server), None);
        assert_eq!(flow.initial(Endpoint::Client), Some(65_535));
    }
}
