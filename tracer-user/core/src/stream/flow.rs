//! Flow-control windows of both directions (RFC 9113 sections 5.2 and 6.9).

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::stream::condition::{CROSSING_GRACE_NS, FlowBreach};
use crate::stream::pair::Pair;
use crate::stream::settings::Acks;

/// Windows before any SETTINGS or WINDOW_UPDATE (RFC 9113 section 6.9.2).
const INITIAL_WINDOW: i64 = 65_535;

/// What no window may exceed (RFC 9113 section 6.9.1).
const LARGEST_WINDOW: i64 = 0x7fff_ffff;

/// A window that is overdrawn or too large, as far as was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breach {
    /// Which of the two.
    pub(super) what: FlowBreach,
    pub(super) since: Timestamp,
    /// The stream of the DATA or WINDOW_UPDATE that did it.
    pub(super) stream_id: StreamId,
    told: bool,
}

/// When the sender whose window it is, and its peer, last sent a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpokeAt {
    own: Timestamp,
    peer: Timestamp,
}

/// What a sender may still send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// May be negative (RFC 9113 section 6.9.2). None: its history was not seen.
    left: Option<i64>,
    changed_at: Timestamp,
    breach: Option<Breach>,
}

impl Window {
    /// A window of that size.
    pub(super) const fn new(left: Option<i64>) -> Self {
        Window {
            left,
            changed_at: Timestamp(0),
            breach: None,
        }
    }

    /// How much is left.
    pub(super) const fn left(&self) -> Option<i64> {
        self.left
    }

    /// Its history is not known any more.
    pub(super) const fn forget(&mut self) {
        *self = Window::new(None);
    }

    /// DATA took this much. `judged`: beyond the window is against the rules.
    pub(super) fn spend(&mut self, id: StreamId, flow_len: u32, judged: bool, at: Timestamp) {
        let Some(left) = self.left.as_mut().filter(|_| flow_len > 0) else {
            return;
        };
        *left = left.saturating_sub(i64::from(flow_len));
        let left = *left;
        self.changed_at = at;
        match self.breach.as_mut().map(|breach| &mut breach.what) {
            Some(FlowBreach::TooLarge) if left <= LARGEST_WINDOW => self.breach = None,
            Some(FlowBreach::Overrun { by }) => *by = left.unsigned_abs().max(*by),
            None if judged && left < 0 => {
                let by = left.unsigned_abs();
                self.breach = Some(Breach::new(FlowBreach::Overrun { by }, id, at));
            }
            _ => {}
        }
    }

    /// This would make it larger than any may be.
    pub(super) fn overflows(&self, delta: i64) -> bool {
        let left = self.left.map(|left| left.saturating_add(delta));
        left.is_some_and(|left| left > LARGEST_WINDOW)
    }

    /// WINDOW_UPDATE or SETTINGS changed it.
    pub(super) fn add(&mut self, id: StreamId, delta: i64, at: Timestamp) {
        let Some(left) = self.left.as_mut() else {
            return;
        };
        *left = left.saturating_add(delta);
        let left = *left;
        self.changed_at = at;
        let overrun = |breach: &Breach| matches!(breach.what, FlowBreach::Overrun { .. });
        if left >= 0 && self.breach.as_ref().is_some_and(overrun) {
            self.breach = None;
        }
        if left > LARGEST_WINDOW && self.breach.is_none() {
            self.breach = Some(Breach::new(FlowBreach::TooLarge, id, at));
        }
    }

    /// Nothing may be sent; since when it has been so without any change.
    pub(super) fn used_up_since(&self) -> Option<Timestamp> {
        self.left
            .is_some_and(|left| left <= 0)
            .then_some(self.changed_at)
    }

    /// The same when nothing more can come that explains it: a later WINDOW_UPDATE of its peer that was sent before, or
    /// DATA of its own.
    pub(super) fn take_final_breach(&mut self, spoke_at: SpokeAt) -> Option<Breach> {
        let breach = self.breach()?;
        let too_large = breach.what == FlowBreach::TooLarge;
        let last = if too_large {
            spoke_at.own
        } else {
            spoke_at.peer
        };
        if last <= breach.since {
            return None;
        }
        self.take_answered_breach(too_large)
    }

    /// When that is certain which stands against the rules and was not told yet.
    #[inline]
    pub(super) const fn breach_due(&self) -> Option<Timestamp> {
        match &self.breach {
            Some(breach) if !breach.told => Some(breach.due()),
            Some(_) | None => None,
        }
    }

    /// What stands against the rules and was not told yet.
    #[inline]
    pub(super) fn breach(&self) -> Option<Breach> {
        self.breach.filter(|breach| !breach.told)
    }

    /// The same once no crossing frame can explain it any more, and it counts as told.
    pub(super) fn take_breach(&mut self, now: Timestamp) -> Option<Breach> {
        let breach = self.breach().filter(|breach| now >= breach.due())?;
        self.take_answered_breach(breach.what == FlowBreach::TooLarge)
    }

    /// The same when the end that suffers it has said FLOW_CONTROL_ERROR.
    pub(super) fn take_answered_breach(&mut self, too_large: bool) -> Option<Breach> {
        let breach = self
            .breach
            .as_mut()
            .filter(|breach| !breach.told && (breach.what == FlowBreach::TooLarge) == too_large)?;
        breach.told = true;
        Some(*breach)
    }
}

impl Breach {
    const fn new(what: FlowBreach, stream_id: StreamId, since: Timestamp) -> Self {
        Breach {
            what,
            since,
            stream_id,
            told: false,
        }
    }

    /// When no crossing frame can explain it any more.
    pub(super) const fn due(&self) -> Timestamp {
        Timestamp(self.since.0.saturating_add(CROSSING_GRACE_NS))
    }
}

/// What one endpoint may send.
#[derive(Clone, Copy, Debug)]
struct Send {
    connection: Window,
    /// On a new stream; None when the peer's SETTINGS were not seen.
    initial: Option<i64>,
    /// This lack of window was told.
    stall_told: bool,
    /// And a stream that ended by it.
    end_told: bool,
}

/// The connection's windows, and the initial one of its streams.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    send: Pair<Send>,
    acks: Pair<Acks>,
    /// When each endpoint last sent a frame.
    spoke_at: Pair<Timestamp>,
    /// No frame went by unseen.
    whole: bool,
}

impl Flow {
    /// `from_start`: the connection was seen from its first byte.
    pub(super) fn new(from_start: bool) -> Self {
        let initial = from_start.then_some(INITIAL_WINDOW);
        let send = Send {
            connection: Window::new(initial),
            initial,
            stall_told: false,
            end_told: false,
        };
        Flow {
            send: Pair {
                client: send,
                server: send,
            },
            acks: Pair::default(),
            spoke_at: Pair::default(),
            whole: from_start,
        }
    }

    /// What `sender` may still send on the connection.
    pub(super) fn connection(&self, sender: Endpoint) -> Option<i64> {
        self.send.of(sender).connection.left()
    }

    /// The connection's window of what `sender` sends.
    pub(super) fn window(&self, sender: Endpoint) -> &Window {
        &self.send.of(sender).connection
    }

    /// See [`Flow::window`].
    pub(super) fn window_mut(&mut self, sender: Endpoint) -> &mut Window {
        &mut self.send.of_mut(sender).connection
    }

    /// What `sender` may send on a new stream.
    pub(super) fn initial(&self, sender: Endpoint) -> Option<i64> {
        self.send.of(sender).initial
    }

    /// `sender` sent a frame.
    pub(super) fn on_frame(&mut self, sender: Endpoint, at: Timestamp) {
        *self.spoke_at.of_mut(sender) = at;
    }

    /// When `sender` last sent a frame. What was missed of it before would have been noticed.
    pub(super) const fn spoke_at(&self, sender: Endpoint) -> Timestamp {
        *self.spoke_at.of(sender)
    }

    /// The same of both, as seen from `sender`.
    pub(super) const fn spoke_at_by(&self, sender: Endpoint) -> SpokeAt {
        SpokeAt {
            own: self.spoke_at(sender),
            peer: self.spoke_at(sender.peer()),
        }
    }

    /// Every frame of the connection was seen.
    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    /// SETTINGS of `sender`, and what of them was acknowledged.
    pub(super) const fn acks(&self, sender: Endpoint) -> &Acks {
        self.acks.of(sender)
    }

    /// See [`Flow::acks`].
    pub(super) const fn acks_mut(&mut self, sender: Endpoint) -> &mut Acks {
        self.acks.of_mut(sender)
    }

    /// DATA of `sender` beyond the window of a stream is against the rules: it has acknowledged each
    /// SETTINGS that made the window smaller.
    pub(super) fn judges(&self, sender: Endpoint) -> bool {
        self.whole && !self.acks.of(sender.peer()).lowering_pending()
    }

    /// `sender` sent a DATA frame of `flow_len` bytes, padding included.
    pub(super) fn on_data(&mut self, sender: Endpoint, id: StreamId, flow_len: u32, at: Timestamp) {
        let judged = self.whole;
        self.window_mut(sender).spend(id, flow_len, judged, at);
    }

    /// `sender` sent a WINDOW_UPDATE of the connection.
    pub(super) fn on_window_update(&mut self, sender: Endpoint, increment: u32, at: Timestamp) {
        let send = self.send.of_mut(sender.peer());
        send.connection.add(StreamId(0), i64::from(increment), at);
        if send.connection.left().is_some_and(|left| left > 0) {
            send.stall_told = false;
            send.end_told = false;
        }
    }

    /// True once for each time that `sender`'s connection window is used up.
    pub(super) fn tell_stall(&mut self, sender: Endpoint) -> bool {
        !std::mem::replace(&mut self.send.of_mut(sender).stall_told, true)
    }

    /// The same for a stream that ended by it.
    pub(super) fn tell_stalled_end(&mut self, sender: Endpoint) -> bool {
        !std::mem::replace(&mut self.send.of_mut(sender).end_told, true)
    }

    /// This lack of connection window was told.
    pub(super) fn stall_told(&self, sender: Endpoint) -> bool {
        self.send.of(sender).stall_told
    }

    /// `sender` announced SETTINGS_INITIAL_WINDOW_SIZE. Returns what is to be added to the window of each
    /// stream that the peer of `sender` sends on (RFC 9113 section 6.9.2; it may become negative), or
    /// None if the former size is not known.
    pub(super) fn on_initial_window_size(&mut self, sender: Endpoint, size: u32) -> Option<i64> {
        let send = self.send.of_mut(sender.peer());
        let before = send.initial.replace(i64::from(size));
        let delta = before.map(|before| i64::from(size) - before);
        if delta.is_some_and(|delta| delta < 0) {
            self.acks.of_mut(sender).lowers();
        }
        delta
    }

    /// Frames of `sender` may have gone by unseen: DATA that used its own windows, and SETTINGS and
    /// WINDOW_UPDATE that changed its peer's.
    pub(super) fn on_loss(&mut self, sender: Endpoint) {
        self.window_mut(sender).forget();
        self.on_hidden_update(sender);
    }

    /// SETTINGS or WINDOW_UPDATE of `sender` may have gone by unseen.
    pub(super) fn on_hidden_update(&mut self, sender: Endpoint) {
        self.whole = false;
        let send = self.send.of_mut(sender.peer());
        send.connection.forget();
        send.initial = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(7);

    #[test]
    fn windows_follow_data_settings_and_updates() {
        let mut flow = Flow::new(true);
        flow.on_data(Endpoint::Server, StreamId(1), 65_535, AT);
        assert_eq!(flow.connection(Endpoint::Server), Some(0));
        assert_eq!(flow.connection(Endpoint::Client), Some(65_535));
        flow.on_window_update(Endpoint::Client, 100, AT);
        assert_eq!(flow.connection(Endpoint::Server), Some(100));
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
        flow.on_window_update(Endpoint::Client, 100, AT);
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
