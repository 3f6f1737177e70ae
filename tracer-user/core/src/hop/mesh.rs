//! What a request's way through two proxies says, with an opaque leg between them: which of the two dropped what is
//! missing, as far as the bytes decide that.
//!
//! What the leg carried is known for all responses together. Of one it is the rest: what went by while it did, less what
//! the others were, whose lengths are known on the two legs in clear.

use super::ledger::Carried;
use super::{Confidence, Hop, ProxyKey};
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::FrameKind;
use crate::hop::facts::cut_at;
use crate::stream::record::{Moment, StreamRecord};

/// The way of a request beyond the proxy at the client's end of an opaque leg, which is [`Hop::proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// The proxy at the server's end of the leg.
    pub server_side: ProxyKey,
    /// DATA of this response that the leg carried. None: not known.
    pub carried: Option<Carried>,
    /// So many responses went by on the leg at the same time, this one among them.
    pub together: usize,
    /// What is missing of all of them. None: not known.
    pub all: Option<AllMissing>,
}

/// What is missing of the responses that went by on a leg at the same time, in bytes of DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllMissing {
    /// So much came to the proxy at the server's end and did not leave the one at the client's.
    pub bytes: u64,
    /// So much of it did not go by on the leg: the proxy at the server's end dropped it.
    pub server_side: Carried,
}

/// What the leg says of a response that was cut.
pub(super) struct Balance {
    pub(super) carried: Option<Carried>,
    pub(super) together: usize,
    pub(super) all: Option<AllMissing>,
}

/// Which of the two proxies dropped what is missing of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DroppedBy {
    /// The proxy at the client's end of the opaque leg.
    Client,
    /// The one at its server's end.
    Server,
    /// Each of them something.
    Both,
    /// One of them or both: what was seen does not decide it.
    Either,
}

impl DroppedBy {
    /// As JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            DroppedBy::Client => "client_side",
            DroppedBy::Server => "server_side",
            DroppedBy::Both => "both",
            DroppedBy::Either => "either",
        }
    }
}

impl<T> Hop<T> {
    /// Bytes of DATA that were certainly dropped at the client's end of the opaque leg, and at its server's; None where
    /// there is no such leg, or nothing is known of it.
    #[must_use]
    pub fn dropped(&self) -> Option<[u64; 2]> {
        let carried = self.mesh?.carried?;
        let came = self.received_bytes()?;
        let passed = self.downstream.record.response.data_bytes;
        Some([
            carried.least.saturating_sub(passed),
            came.saturating_sub(carried.most),
        ])
    }

    /// Which of two proxies dropped what is missing; None where there is one, or nothing is missing.
    #[must_use]
    pub fn dropped_by(&self) -> Option<DroppedBy> {
        self.mesh?;
        let is_missing = self.missing_bytes().is_none_or(|missing| missing > 0);
        let is_dropped = self.dropped().map(|dropped| dropped.map(|n| n > 0));
        (is_missing || self.trailers_dropped()).then_some(match is_dropped {
            Some([true, true]) => DroppedBy::Both,
            Some([true, false]) => DroppedBy::Client,
            Some([false, true]) => DroppedBy::Server,
            Some([false, false]) | None => DroppedBy::Either,
        })
    }
}

/// A response on its way over an opaque leg.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transit {
    /// The stream to the client.
    pub(super) key: u64,
    /// The ends of the leg, as far as they are known.
    pub(super) places: [Option<ProxyKey>; 2],
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// When the server had done with it.
    is_over_at: Timestamp,
    /// None: it is not known how much of it the leg carried.
    sizes: Option<Sizes>,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// DATA that left the proxy at the client's end: so much went by on the leg.
    passed: u64,
    /// DATA that came to the proxy at the server's end: no more went by.
    came: u64,
    /// What went by besides: frame headers, header fields, windows.
    around: Carried,
}

impl Transit {
    /// Of a request that was found on both sides.
    pub(super) fn of(
        key: u64,
        places: [ProxyKey; 2],
        down: &StreamRecord,
        up: &StreamRecord,
    ) -> Transit {
        let is_known = down.response.data_known && up.response.data_known;
        let asked_at = up.request.headers_at.unwrap_or(up.first_at);
        let (passed, came) = (down.response.data_bytes, up.response.data_bytes);
        let sizes = Sizes {
            passed,
            came: came.max(passed),
            around: around(down, up),
        };
        Transit {
            key,
            places: places.map(Some),
            from: up.response.headers_at.unwrap_or(asked_at),
            to: over_at(down),
            is_over_at: up.resets.last().map_or(up.last_at, |reset| reset.at),
            sizes: is_known.then_some(sizes),
        }
    }

    /// Of one of which one side was seen.
    pub(super) fn unknown(
        key: u64,
        places: [Option<ProxyKey>; 2],
        record: &StreamRecord,
    ) -> Transit {
        Transit {
            key,
            places,
            from: record.request.headers_at.unwrap_or(record.first_at),
            to: over_at(record).max(record.first_at),
            is_over_at: record.last_at,
            sizes: None,
        }
    }

    fn overlaps(&self, (from, to): (Timestamp, Timestamp)) -> bool {
        self.from <= to && from <= self.to
    }

    fn may_be_between(&self, places: [ProxyKey; 2]) -> bool {
        let mut ends = self.places.iter().zip(places);
        ends.all(|(end, place)| end.is_none_or(|end| end == place))
    }
}

/// When nothing more of a response was passed on.
fn over_at(record: &StreamRecord) -> Timestamp {
    let cut = (!record.resets.is_empty()).then(|| cut_at(record));
    let last = cut.unwrap_or(record.last_at);
    record
        .response
        .end_stream_at
        .map_or(last, |end| end.min(last))
}

/// Frame headers, header fields and windows of a response: at least, and at most.
///
/// Proxies of a mesh write the same fields on the leg as towards the client, in frames divided alike. One is allowed for
/// that is divided once more, and for fields that are not in a table yet.
fn around(down: &StreamRecord, up: &StreamRecord) -> Carried {
    const FRAME: u64 = 9;
    const FIELDS: u64 = 4;
    /// WINDOW_UPDATE, and how much of a request calls for one.
    const WINDOW: (u64, u64) = (13, 4_096);
    let (came, passed) = (&up.response, &down.response);
    let is_whole = passed.data_bytes == came.data_bytes && down.trailers == up.trailers;
    let frames = came.data_frames.max(passed.data_frames.saturating_add(1));
    let frames = frames.saturating_add(came.data_bytes / 16_384);
    // Of a response that was cut the trailers were not written towards the client.
    let fields = blocks(up).max(blocks(down)) + if is_whole { FIELDS } else { 2 * FIELDS };
    let windows = WINDOW.0 * (up.request.data_bytes / WINDOW.1);
    let least = if is_whole {
        2 * (FRAME + 1) + FRAME * u64::from(came.data_bytes > 0)
    } else {
        0
    };
    Carried {
        least,
        most: FRAME.saturating_mul(frames + 2) + fields + windows,
    }
}

/// Bytes of the header blocks that the server's end sent.
fn blocks(record: &StreamRecord) -> u64 {
    let moments = record.story.moments();
    let is_block =
        |moment: &&Moment| moment.sender == Endpoint::Server && moment.frame == FrameKind::Headers;
    let seen: u64 = moments
        .iter()
        .filter(is_block)
        .map(|moment| moment.bytes)
        .sum();
    // Without a story only their lists are known, which are longer.
    if seen > 0 {
        seen
    } else {
        2 * record.response.header_list
    }
}

/// What a leg says within some time.
pub(super) trait Leg {
    /// What it carried to the client.
    fn carried(&self, from: Timestamp, to: Timestamp) -> Option<Carried>;
    /// It began within this time: a handshake's end and tickets were among what it carried.
    fn began_within(&self, from: Timestamp, to: Timestamp) -> bool;
    /// A request that has not ended may have got something of its response by then.
    fn may_have_others(&self, until: Timestamp) -> bool;
}

/// So much later than it was cut a response's last bytes may be told.
const LATE: u64 = 5_000_000;

/// So long after a response was complete, or its stream reset, a proxy has dropped what it drops for that, and the proxy
/// before it has answered. One that gives up later does so by itself.
const AT_ONCE: u64 = 250_000_000;

/// What is not a response's, in each second: SETTINGS, PING, a date that is new.
const OF_CONNECTION: u64 = 128;

/// The end of a handshake, and tickets. Where it was over when the first response came, they had gone by: the server's
/// SETTINGS come behind them.
const OF_HANDSHAKE: u64 = 6_144;

/// What was carried of a response that was cut, and with how many it went by.
pub(super) fn balance(
    key: u64,
    places: [ProxyKey; 2],
    transits: &[Transit],
    leg: &impl Leg,
) -> Balance {
    let nothing = |together| Balance {
        carried: None,
        together,
        all: None,
    };
    let here: Vec<&Transit> = transits
        .iter()
        .filter(|it| it.may_be_between(places))
        .collect();
    let Some(own) = here.iter().find(|transit| transit.key == key) else {
        return nothing(1);
    };
    let Some(sizes) = own.sizes else {
        return nothing(1);
    };
    let within = together(own, &here);
    let n = here
        .iter()
        .filter(|transit| transit.overlaps(within))
        .count();
    let least = at_least(own, &here, within, leg);
    let most = at_most(own, &here, within, leg);
    let (Some(least), Some(most)) = (least, most) else {
        return nothing(n);
    };
    let least = least.clamp(sizes.passed, sizes.came);
    let most = most.clamp(sizes.passed, sizes.came);
    // They contradict each other: something went by that is not understood.
    let carried = (least <= most).then_some(Carried { least, most });
    Balance {
        carried,
        together: n,
        all: all_missing(&here, within, leg),
    }
}

/// What is missing of all that went by in this time.
fn all_missing(
    here: &[&Transit],
    (from, to): (Timestamp, Timestamp),
    leg: &impl Leg,
) -> Option<AllMissing> {
    let (mut came, mut passed, mut around) = (0_u64, 0_u64, Carried::default());
    for transit in here.iter().filter(|transit| transit.overlaps((from, to))) {
        let sizes = transit.sizes?;
        came = came.saturating_add(sizes.came);
        passed = passed.saturating_add(sizes.passed);
        around = around.and(sizes.around);
    }
    let carried = leg.carried(from, to)?;
    let late = leg.carried(from, Timestamp(to.0.saturating_add(LATE)))?;
    let besides = around.most.saturating_add(of_connection((from, to), leg));
    let bytes = came - passed.min(came);
    let server_side = Carried {
        least: (came + around.least).saturating_sub(late.most).min(bytes),
        most: (came + besides).saturating_sub(carried.least).min(bytes),
    };
    let is_understood = server_side.least <= server_side.most && !leg.may_have_others(to);
    is_understood.then_some(AllMissing { bytes, server_side })
}

/// What is no response's, at most.
fn of_connection((from, to): (Timestamp, Timestamp), leg: &impl Leg) -> u64 {
    let seconds = to.since(from) / 1_000_000_000 + 1;
    let of_handshake = if leg.began_within(from, to) {
        OF_HANDSHAKE
    } else {
        0
    };
    OF_CONNECTION.saturating_mul(seconds) + of_handshake
}

/// From when to when responses went by without a pause, this one among them.
fn together(own: &Transit, here: &[&Transit]) -> (Timestamp, Timestamp) {
    let mut sorted: Vec<(Timestamp, Timestamp)> = here.iter().map(|it| (it.from, it.to)).collect();
    sorted.sort_unstable();
    let mut group: Option<(Timestamp, Timestamp)> = None;
    for (from, to) in sorted {
        group = match group {
            Some((first, last)) if from <= last => Some((first, last.max(to))),
            Some((first, last)) if own.overlaps((first, last)) => return (first, last),
            Some(_) | None => Some((from, to)),
        };
    }
    group.unwrap_or((own.from, own.to))
}

/// What of these is not DATA of `own`. `of`: how much DATA one was, and what went by besides. None: it is not known of one.
fn others<'a>(
    own: &Transit,
    transits: impl Iterator<Item = &'a &'a Transit>,
    of: impl Fn(Sizes) -> (u64, u64),
) -> Option<u64> {
    let mut others = 0_u64;
    for transit in transits {
        let (data, around) = of(transit.sizes?);
        let data = if transit.key == own.key { 0 } else { data };
        others = others.saturating_add(data).saturating_add(around);
    }
    Some(others)
}

/// The leg carried so much of it at least: all that it carried, less the most that others may have been.
fn at_least(
    own: &Transit,
    here: &[&Transit],
    (from, to): (Timestamp, Timestamp),
    leg: &impl Leg,
) -> Option<u64> {
    if leg.may_have_others(to) {
        return None;
    }
    let here = here.iter().filter(|transit| transit.overlaps((from, to)));
    let others = others(own, here, |sizes| (sizes.came, sizes.around.most))?
        .saturating_add(of_connection((from, to), leg));
    Some(leg.carried(from, to)?.least.saturating_sub(others))
}

/// The leg carried so much of it at most: all that it carried while this one was on its way, or all of them together, less
/// what others were at least.
fn at_most(
    own: &Transit,
    here: &[&Transit],
    together: (Timestamp, Timestamp),
    leg: &impl Leg,
) -> Option<u64> {
    let sizes = own.sizes?;
    if own.to.since(own.is_over_at) > AT_ONCE {
        // The proxy at the client's end gave up by itself: what the other one did not send then is its doing.
        return Some(sizes.came);
    }
    let within = |(from, to): (Timestamp, Timestamp)| {
        let to = Timestamp(to.0.saturating_add(LATE));
        let is_within = |it: &&&Transit| from <= it.from && it.to <= to && it.sizes.is_some();
        let here = here.iter().filter(is_within);
        let others = others(own, here, |sizes| (sizes.passed, sizes.around.least))?;
        Some(leg.carried(from, to)?.most.saturating_sub(others))
    };
    Some(within((own.from, own.to))?.min(within(together)?))
}

/// Where several streams may be the one that belongs to a request, what was carried of it is known if they all say the
/// same.
pub(super) fn is_certain<T>(hop: &Hop<T>) -> bool {
    let is_ambiguous = hop
        .join
        .is_some_and(|join| join.confidence == Confidence::Ambiguous);
    !is_ambiguous || hop.received_bytes().is_some()
}
