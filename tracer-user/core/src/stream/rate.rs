//! How often frames come that cost their receiver more than their sender (RFC 9113 section 10.5).
//!
//! Counts are kept over the window that runs and the one before it, so a burst that fits in one window
//! is counted whole wherever the windows lie. Nothing grows: some counters for each connection.

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::stream::pair::Pair;

/// Length of one window, in event time.
const WINDOW_NS: u64 = 5_000_000_000;

/// A stream that the client resets earlier than this was opened to be reset. Envoy's
/// `overload.premature_reset_min_stream_lifetime_seconds` is 1 s as well.
pub(super) const SHORT_LIFE_NS: u64 = 1_000_000_000;

/// Streams with a short life that the client must have reset in at most two windows, and they must be
/// more than half of what it opened: Envoy closes a connection when more than half of its streams were
/// reset early, once 500 were seen (`overload.premature_reset_total_stream_count`).
const RAPID_RESETS: u32 = 500;

/// Resets that nghttp2 (and with it Node and Envoy's old codec) takes at once before it closes the
/// connection, and how many more each second (`nghttp2_option_set_stream_reset_rate_limit`).
const RESET_BURST: u64 = 1_000;
/// See [`RESET_BURST`].
const RESETS_PER_SECOND: u64 = 33;
/// The share of that at which it is told: before the server closes.
const NEAR_RESETS: u64 = RESET_BURST * 8 / 10;

/// Resets of the server in at most two windows that the client provoked by breaking rules. One broken
/// client breaks a rule once for each call; netty allows 200 in 30 s.
const PROVOKED_RESETS: u32 = 20;

/// Control frames of one kind in at most two windows. Envoy closes at 1,000 that wait to be answered
/// (`max_outbound_control_frames`).
const CONTROL_FRAMES: u32 = 1_000;

/// PINGs that measure bandwidth (grpc-go, grpc-java) are one for each DATA frame received at most.
const PINGS_PER_DATA: u32 = 2;

/// PRIORITY frames for each stream opened (Envoy's `max_inbound_priority_frames_per_stream`).
const PRIORITY_PER_STREAM: u32 = 100;

/// WINDOW_UPDATE frames for each DATA frame (Envoy's
/// `max_inbound_window_update_frames_per_data_frame_sent`).
const UPDATES_PER_DATA: u32 = 10;

/// A WINDOW_UPDATE of fewer bytes is tiny: less than anybody's read.
pub(super) const TINY_INCREMENT: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Data,
    Headers,
    Ping,
    Settings,
    EmptyData,
    EmptyHeaders,
    Priority,
    TinyUpdate,
    /// A client's reset of a stream with a short life.
    ShortReset,
    /// A server's reset that the client provoked.
    ProvokedReset,
}

const N_COUNTED: usize = 10;
type Counts = [u32; N_COUNTED];

/// What came too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloodKind {
    /// Streams that the client opened and soon reset.
    RapidReset,
    /// The client's resets, near what common servers take.
    NearResetLimit,
    /// Resets of the server that the client provoked. The sender is the client.
    MadeYouReset,
    /// Frames of one header block.
    Continuation,
    /// PING without ACK.
    Ping,
    /// SETTINGS without ACK.
    Settings,
    /// DATA without payload and END_STREAM.
    EmptyData,
    /// HEADERS without a field.
    EmptyHeaders,
    Priority,
    /// WINDOW_UPDATE of a few bytes.
    WindowUpdate,
}

/// Too many frames of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    pub kind: FloodKind,
    pub sender: Endpoint,
    /// The stream, if it is one's; else 0.
    pub stream_id: StreamId,
    /// When it was found.
    pub at: Timestamp,
    pub n: u32,
    /// Within how long, in nanoseconds.
    pub within_ns: u64,
    /// DATA frames of the other end in the same time.
    pub n_data_of_peer: u32,
    /// HEADERS frames of the client in the same time.
    pub n_headers_of_client: u32,
}

/// The counters of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// When the window that runs began; None before the first frame.
    began: Option<Timestamp>,
    now: Pair<Counts>,
    before: Pair<Counts>,
    /// Kinds that were told and have not calmed down since, a bit for each and each sender.
    told: Pair<u16>,
    /// Resets of the client in nghttp2's bucket, in thousandths, and when it was last looked at.
    bucket: u64,
    bucket_at: Timestamp,
    near_told: bool,
}

impl Rates {
    /// Counts a frame of `sender`. What there is too much of now, told once until it calms down.
    pub(super) fn count(
        &mut self,
        sender: Endpoint,
        what: Counted,
        at: Timestamp,
    ) -> Option<Flood> {
        self.roll(at);
        if let Some(count) = self.now.of_mut(sender).get_mut(what as usize) {
            *count = count.saturating_add(1);
        }
        let kind = flood_kind(what)?;
        let bit = 1_u16 << (what as u16);
        if *self.told.of(sender) & bit != 0 || !self.is_flood(sender, what) {
            return None;
        }
        *self.told.of_mut(sender) |= bit;
        Some(self.flood(kind, sender, self.sum(sender, what), at))
    }

    /// The client reset a stream, of whatever age. Told when common servers are about to close.
    pub(super) fn count_reset(&mut self, at: Timestamp) -> Option<Flood> {
        self.roll(at);
        let leaked = at.since(self.bucket_at).saturating_mul(RESETS_PER_SECOND) / 1_000_000;
        self.bucket = self.bucket.saturating_sub(leaked).saturating_add(1_000);
        self.bucket_at = at;
        let used = self.bucket / 1_000;
        if used < NEAR_RESETS / 2 {
            self.near_told = false;
        }
        let rapid = *self.told.of(Endpoint::Client) & (1 << (Counted::ShortReset as u16)) != 0;
        if used < NEAR_RESETS || self.near_told || rapid {
            return None;
        }
        self.near_told = true;
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        Some(self.flood(FloodKind::NearResetLimit, Endpoint::Client, used, at))
    }

    /// The client provokes resets again and again, and that is told.
    pub(super) fn provokes(&self) -> bool {
        self.told.client & (1 << (Counted::ProvokedReset as u16)) != 0
    }

    /// Frames may have gone by unseen: counts that are compared with each other no longer can be.
    pub(super) fn clear(&mut self) {
        self.began = None;
        self.now = Pair::default();
        self.before = Pair::default();
    }

    fn is_flood(&self, sender: Endpoint, what: Counted) -> bool {
        let n = self.sum(sender, what);
        let data = self.sum(sender.peer(), Counted::Data);
        let headers = self.sum(Endpoint::Client, Counted::Headers);
        match what {
            Counted::Data | Counted::Headers => false,
            Counted::Ping => n >= CONTROL_FRAMES && n > data.saturating_mul(PINGS_PER_DATA),
            Counted::Settings | Counted::EmptyHeaders => n >= CONTROL_FRAMES,
            // Its own DATA are all DATA frames that it sent: most of them must be empty.
            Counted::EmptyData => n >= CONTROL_FRAMES && n > self.sum(sender, Counted::Data) / 2,
            Counted::Priority => {
                n >= CONTROL_FRAMES
                    && n > headers
                        .saturating_add(1)
                        .saturating_mul(PRIORITY_PER_STREAM)
            }
            Counted::TinyUpdate => n >= CONTROL_FRAMES && n > data.saturating_mul(UPDATES_PER_DATA),
            Counted::ShortReset => n >= RAPID_RESETS && n > headers / 2,
            Counted::ProvokedReset => n >= PROVOKED_RESETS,
        }
    }

    fn flood(&self, kind: FloodKind, sender: Endpoint, n: u32, at: Timestamp) -> Flood {
        let began = self.began.unwrap_or(at);
        let earlier = if self.before.of(sender).iter().any(|n| *n > 0) {
            WINDOW_NS
        } else {
            0
        };
        Flood {
            kind,
            sender,
            stream_id: StreamId(0),
            at,
            n,
            within_ns: at.since(began).saturating_add(earlier),
            n_data_of_peer: self.sum(sender.peer(), Counted::Data),
            n_headers_of_client: self.sum(Endpoint::Client, Counted::Headers),
        }
    }

    fn sum(&self, sender: Endpoint, what: Counted) -> u32 {
        let of = |counts: &Counts| counts.get(what as usize).copied().unwrap_or_default();
        of(self.now.of(sender)).saturating_add(of(self.before.of(sender)))
    }

    /// Begins a new window when the last one is over.
    #[inline]
    fn roll(&mut self, at: Timestamp) {
        if self.began.is_none_or(|began| at.since(began) >= WINDOW_NS) {
            self.begin_window(at);
        }
    }

    #[cold]
    fn begin_window(&mut self, at: Timestamp) {
        let Some(began) = self.began else {
            self.began = Some(at);
            return;
        };
        let past = at.since(began);
        for sender in [Endpoint::Client, Endpoint::Server] {
            // A flood has calmed down when a whole window shows next to nothing of it.
            for (n, count) in self.now.of(sender).iter().enumerate() {
                if past >= 2 * WINDOW_NS || *count < PROVOKED_RESETS / 2 {
                    *self.told.of_mut(sender) &= !(1_u16 << n);
                }
            }
        }
        self.before = if past < 2 * WINDOW_NS {
            self.now
        } else {
            Pair::default()
        };
        self.now = Pair::default();
        self.began = Some(Timestamp(
            began.0.saturating_add(past / WINDOW_NS * WINDOW_NS),
        ));
    }
}

/// What a kind of frame is called when there is too much of it.
const fn flood_kind(what: Counted) -> Option<FloodKind> {
    Some(match what {
        Counted::Data | Counted::Headers => return None,
        Counted::Ping => FloodKind::Ping,
        Counted::Settings => FloodKind::Settings,
        Counted::EmptyData => FloodKind::EmptyData,
        Counted::EmptyHeaders => FloodKind::EmptyHeaders,
        Counted::Priority => FloodKind::Priority,
        Counted::TinyUpdate => FloodKind::WindowUpdate,
        Counted::ShortReset => FloodKind::RapidReset,
        Counted::ProvokedReset => FloodKind::MadeYouReset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Endpoint::{Client, Server};

    const MS: u64 = 1_000_000;

    fn floods(
        n: u32,
        step_ns: u64,
        what: Counted,
        mut other: impl FnMut(&mut Rates, Timestamp),
    ) -> u32 {
        let mut rates = Rates::default();
        let mut told = 0;
        for i in 0..u64::from(n) {
            let at = Timestamp(7 + i * step_ns);
            other(&mut rates, at);
            told += u32::from(rates.count(Client, what, at).is_some());
        }
        told
    }

    #[test]
    fn a_flood_is_told_once_and_again_after_it_calmed_down() {
        for what in [
            Counted::Ping,
            Counted::Settings,
            Counted::EmptyData,
            Counted::EmptyHeaders,
            Counted::Priority,
            Counted::TinyUpdate,
        ] {
            assert_eq!(floods(100_000, MS, what, |_, _| ()), 1, "{what:?}");
            // 90 a second.
            assert_eq!(floods(10_000, 11 * MS, what, |_, _| ()), 0, "{what:?}");
        }
        let mut rates = Rates::default();
        let mut told = 0;
        for episode in 0..3_u64 {
            for i in 0..2_000 {
                let at = Timestamp(episode * 60_000 * MS + i * MS);
                told += u32::from(rates.count(Server, Counted::Ping, at).is_some());
            }
        }
        assert_eq!(told, 3);
    }

    #[test]
    fn a_burst_is_counted_whole_wherever_the_windows_lie() {
        for offset in 0..20_u64 {
            let mut rates = Rates::default();
            rates.count(Client, Counted::Headers, Timestamp(0));
            let mut told = 0;
            for i in 0..600_u64 {
                let at = Timestamp(offset * 500 * MS + i * 8 * MS);
                rates.count(Client, Counted::Headers, at);
                told += u32::from(rates.count(Client, Counted::ShortReset, at).is_some());
            }
            assert_eq!(told, 1, "{offset}");
        }
    }

    #[test]
    fn pings_and_updates_that_answer_data_are_healthy() {
        let one_data = |rates: &mut Rates, at| {
            rates.count(Server, Counted::Data, at);
        };
        for what in [Counted::Ping, Counted::TinyUpdate] {
            assert_eq!(floods(200_000, 10_000, what, one_data), 0, "{what:?}");
        }
        // Cancels of less than half of the streams.
        let three_requests = |rates: &mut Rates, at| {
            for _ in 0..3 {
                rates.count(Client, Counted::Headers, at);
            }
        };
        assert_eq!(floods(50_000, MS, Counted::ShortReset, three_requests), 0);
    }

    #[test]
    fn a_gap_begins_the_counts_anew() {
        let mut rates = Rates::default();
        for i in 0..3_000_u64 {
            if i % 900 == 0 {
                rates.clear();
            }
            assert_eq!(rates.count(Client, Counted::Ping, Timestamp(i)), None);
        }
    }

    #[test]
    fn resets_fill_a_bucket_that_leaks() {
        let mut rates = Rates::default();
        let mut told = Vec::new();
        for i in 0..1_000_u64 {
            told.extend(
                rates
                    .count_reset(Timestamp(i * MS))
                    .map(|flood| (i, flood.n)),
            );
        }
        // 33 of them leaked each second.
        assert_eq!(told, [(827, 800)]);
        // At the rate that the bucket takes for good, nothing is told.
        let mut rates = Rates::default();
        for i in 0..20_000_u64 {
            assert_eq!(rates.count_reset(Timestamp(i * 31 * MS)), None);
        }
    }

    #[test]
    fn a_clock_that_jumps_does_no_harm() {
        let mut rates = Rates::default();
        for at in [5, u64::MAX, 0, u64::MAX / 2, 1, 6_000_000_000, 3] {
            rates.count(Client, Counted::Ping, Timestamp(at));
            rates.count_reset(Timestamp(at));
        }
    }
}
