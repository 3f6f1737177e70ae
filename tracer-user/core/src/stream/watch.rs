//! What is watched of a connection beside its streams: who keeps to the rules, what was acknowledged, and
//! how often what comes.

use crate::connection::Endpoint;
use crate::frame::Settings;
use crate::frame::settings::setting;
use crate::stream::control::Control;
use crate::stream::pair::Pair;
use crate::stream::rate::Rates;
use crate::stream::violation::Ledger;

/// Whether the server may push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Push {
    /// For all that was seen.
    #[default]
    Allowed,
    /// The client forbids it, and the server may not know yet.
    Forbidden,
    /// The server knows that the client forbids it.
    Agreed,
}

/// What is watched of one connection.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// Every frame of the endpoint was seen, from the connection's first byte.
    certain: Pair<bool>,
    /// Frames of the endpoint are being read: what does not come was not sent.
    in_sight: Pair<bool>,
    push: Push,
    pub(super) control: Control,
    pub(super) rates: Rates,
    pub(super) ledger: Ledger,
}

impl Watch {
    /// `from_start`: the connection was seen from its first byte.
    pub(super) fn new(from_start: bool) -> Self {
        let both = Pair {
            client: from_start,
            server: from_start,
        };
        Watch {
            certain: both,
            in_sight: both,
            push: Push::default(),
            control: Control::new(from_start),
            rates: Rates::default(),
            ledger: Ledger::default(),
        }
    }

    /// Frames of `sender` may have gone by unseen.
    pub(super) fn on_loss(&mut self, sender: Endpoint) {
        *self.certain.of_mut(sender) = false;
        *self.in_sight.of_mut(sender) = false;
        self.push = Push::Allowed;
        self.control.on_loss(sender);
        self.rates.clear();
    }

    /// A frame of `sender` was read.
    pub(super) fn on_frame(&mut self, sender: Endpoint) {
        *self.in_sight.of_mut(sender) = true;
        self.ledger.on_frame(sender);
    }

    /// The client announced SETTINGS.
    pub(super) fn on_client_settings(&mut self, settings: &Settings) {
        for (_, value) in settings
            .iter()
            .filter(|(id, _)| *id == setting::ENABLE_PUSH)
        {
            self.push = match (*value, self.push) {
                (0, Push::Allowed) => Push::Forbidden,
                (0, known) => known,
                _ => Push::Allowed,
            };
        }
    }

    /// The server acknowledged SETTINGS.
    pub(super) fn on_server_settings_ack(&mut self) {
        if self.push == Push::Forbidden {
            self.push = Push::Agreed;
        }
    }

    /// The server knows that the client wants no pushes.
    pub(super) fn push_is_forbidden(&self) -> bool {
        self.push == Push::Agreed
    }

    /// Every frame of `sender` was seen.
    pub(super) fn is_certain(&self, sender: Endpoint) -> bool {
        *self.certain.of(sender)
    }

    /// Frames of both ends are being read, so that their numbers may be compared.
    pub(super) fn sees_both(&self) -> bool {
        self.in_sight.client && self.in_sight.server
    }
}
