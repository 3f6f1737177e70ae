//! A host whose connections have both ends on it, in a file that knows no processes: loopback.
//!
//! There every stream is one that the host is asked for and one that it opens, and whether the two ends of a
//! request are a proxy's or those of a client with several servers cannot be seen. Order and time say nothing
//! then. Streams are joined if all their fields are the same, or an id and the path, no third stream ever had these,
//! neither contradicts the other, and so do several requests: a client that says the same to two servers says it
//! again. The client or the server may be another host's: then the host has one end of its stream.

use std::collections::VecDeque;

use super::fast::Map;
use super::ids::RequestIds;
use super::index::IndexMatch;
use super::opening::DownstreamOpening;
use super::proxy_state::ProxyState;
use super::{Attempt, By, Ended, Hop, Join, ended};
use crate::field::digest::FieldsDigest;
use crate::limits;
use crate::stream::record::Opening;

/// Requests of which each must have been joined by fields of its own before any of them is told.
const PROVEN_BY: usize = 3;

/// What a request is known by, each as a hash: all of its fields, and its id with its path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identities([Option<u64>; 2]);

impl Identities {
    pub(super) fn of(whole: Option<u64>, ids: RequestIds, path: Option<u64>) -> Identities {
        // The same id goes on from service to service, with other paths.
        let of_path = |id: u64| id.rotate_left(1).wrapping_add(path.unwrap_or_default());
        Identities([whole, ids.iter().next().map(of_path)])
    }

    fn of_digest(digest: &FieldsDigest) -> Identities {
        Identities::of(digest.whole, RequestIds::of(digest), digest.path)
    }

    fn iter(self) -> impl Iterator<Item = u64> {
        self.0.into_iter().flatten()
    }
}

/// How many streams have something: of those that the host was asked for, and of those that it opened.
#[derive(Clone, Copy, Debug, Default)]
struct Sightings {
    asked: u8,
    opened: u8,
}

impl Sightings {
    /// One at each of two hops.
    const fn is_pair(self) -> bool {
        matches!((self.asked, self.opened), (2, 0..=2) | (0..=1, 2))
    }

    /// The first of the two was seen, at both of its ends or at one.
    const fn is_half(self) -> bool {
        matches!((self.asked, self.opened), (1, 0..=1))
    }
}

/// What is known of such a host.
#[derive(Debug)]
pub(super) struct SharedHost<T> {
    /// How many streams have these fields, or this id.
    seen: Map<u64, Sightings>,
    /// Requests that wait for the proof, with what they are known by.
    held: VecDeque<(Identities, Hop<T>)>,
    proven: bool,
}

impl<T> Default for SharedHost<T> {
    fn default() -> Self {
        SharedHost {
            seen: Map::default(),
            held: VecDeque::new(),
            proven: false,
        }
    }
}

impl<T> SharedHost<T> {
    /// For which request was this stream opened?
    pub(super) fn find(&self, state: &ProxyState<T>, up: &Opening) -> Option<(u64, Join)> {
        let is_half = |identity: Option<u64>| {
            let seen = identity.and_then(|identity| self.seen.get(&identity));
            seen.is_some_and(|seen| seen.is_half())
        };
        let one = |found| match found {
            IndexMatch::One(key) => Some(key),
            IndexMatch::None | IndexMatch::Several => None,
        };
        let Identities([whole, id]) = Identities::of_digest(&up.digest);
        let by_whole = up.digest.whole.filter(|_| is_half(whole));
        let by_whole = by_whole.and_then(|whole| one(state.by_whole.find(whole)));
        let by_id = || {
            let request_id = RequestIds::of(&up.digest).iter().next();
            let key = one(state.by_id.find(request_id.filter(|_| is_half(id))?))?;
            let path = state.downs.get(&key)?.opening.path;
            (path == up.digest.path).then_some(key)
        };
        let key = by_whole.or_else(by_id)?;
        let fits = key >> 31 != up.connection.0 && state.fits(key, up);
        fits.then(|| (key, state.same_fields(key, up)))
    }

    /// The host opened a stream. False when what it is known by cannot be kept.
    pub(super) fn opened(&mut self, digest: &FieldsDigest) -> bool {
        self.count(Identities::of_digest(digest), |seen| &mut seen.opened)
    }

    fn count(&mut self, known_by: Identities, of: impl Fn(&mut Sightings) -> &mut u8) -> bool {
        let mut is_kept = true;
        for identity in known_by.iter() {
            if self.seen.len() >= limits::HOP_SHARED && !self.seen.contains_key(&identity) {
                is_kept = false;
                continue;
            }
            let n = of(self.seen.entry(identity).or_default());
            *n = n.saturating_add(1);
        }
        is_kept
    }

    /// A request was joined: what may be told now.
    pub(super) fn joined(
        &mut self,
        known_by: Identities,
        hop: Hop<T>,
    ) -> VecDeque<(Identities, Hop<T>)> {
        if !self.proven && shows_itself(&hop) {
            return VecDeque::from([(known_by, hop)]);
        }
        let seen = &self.seen;
        let is_pair = |identity| seen.get(&identity).is_some_and(|seen| seen.is_pair());
        self.held.push_back((known_by, hop));
        self.held
            .retain(|(known_by, _)| known_by.iter().any(is_pair));
        self.proven |= self.held.len() >= PROVEN_BY;
        if self.proven {
            std::mem::take(&mut self.held)
        } else {
            VecDeque::new()
        }
    }
}

/// One request is enough: both streams carry an id that is made for one request, and what the client of the one got is
/// the beginning of what came on the other. A client that asks two servers with one id has no use for both answers, and
/// gives one of them up.
fn shows_itself<T>(hop: &Hop<T>) -> bool {
    let by_id = hop.join.is_some_and(|join| join.by == By::RequestId);
    let down = &*hop.downstream.record;
    let up = hop.serving().and_then(Attempt::record);
    let same_message = up.is_some_and(|up| {
        let (passed, came) = (&down.response.messages, &up.response.messages);
        let first = passed.sizes.first();
        passed.known && came.known && first.is_some() && first == came.sizes.first()
    });
    by_id && same_message && ended(down) != Ended::ByClient
}

/// The host received a request. `opened`: it sent the request itself, so it is such a host; `others` are those that it
/// has received until then. False when what one is known by cannot be kept.
pub(super) fn asked<'a, T>(
    of: &mut Option<SharedHost<T>>,
    opened: bool,
    others: impl Iterator<Item = &'a DownstreamOpening>,
    digest: &FieldsDigest,
) -> bool {
    let known_by = Identities::of_digest(digest);
    let mut are_kept = true;
    if opened && of.is_none() {
        let shared = of.get_or_insert_default();
        for other in others {
            are_kept &= shared.count(other.known_by(), |seen| &mut seen.asked);
        }
        are_kept &= shared.count(known_by, |seen| &mut seen.opened);
    }
    let own = of.as_mut();
    are_kept & own.is_none_or(|shared| shared.count(known_by, |seen| &mut seen.asked))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::connection::ConnectionId;
    use crate::event::Timestamp;
    use crate::field::digest::FieldsDigest;
    use crate::frame::StreamId;
    use crate::hop::{Hop, Hops, ProxyKey, Side};
    use crate::stream::record::{Opening, StreamRecord};
    use crate::stream::script::{C, S, Script, block};

    const LOOPBACK: ProxyKey =
        ProxyKey::Host(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// Each of `calls` is two streams at once, of connection 1 and then of connection 2 within it, whose
    /// `x-call-id` is this.
    fn joined(calls: &[&str]) -> Vec<Hop<()>> {
        joined_by("x-call-id", calls, [None; 2])
    }

    /// The same by another field, and with a message of these lengths at the beginning of the responses of both.
    fn joined_by(name: &str, calls: &[&str], messages: [Option<u32>; 2]) -> Vec<Hop<()>> {
        Talk {
            name,
            messages,
            ..Talk::of(calls)
        }
        .joined()
    }

    /// Both ends of a connection.
    const BOTH: &[Side] = &[Side::Upstream, Side::Downstream];

    struct Talk<'a> {
        name: &'a str,
        calls: &'a [&'a str],
        messages: [Option<u32>; 2],
        /// The ends of the two connections that are the host's.
        ends: [&'a [Side]; 2],
        /// All calls are in flight together.
        together: bool,
    }

    impl<'a> Talk<'a> {
        fn of(calls: &'a [&'a str]) -> Talk<'a> {
            Talk {
                name: "x-call-id",
                calls,
                messages: [None; 2],
                ends: [BOTH; 2],
                together: false,
            }
        }

        fn joined(&self) -> Vec<Hop<()>> {
            let mut script = Script::on(1, Some(C), true);
            script.headers(C, 1, block(&[(":path", "/a")]), true);
            script.headers(S, 1, block(&[(":status", "200")]), true);
            let like = script.one();
            let mut hops = Hops::default();
            for side in self.ends.concat() {
                hops.connected(LOOPBACK, side);
            }
            let all: Vec<(u32, &str)> = (0..).zip(self.calls.iter().copied()).collect();
            let n = if self.together { all.len() } else { 1 };
            for calls in all.chunks(n) {
                for connection in [1, 2] {
                    for (nth, id) in calls {
                        self.open(&mut hops, connection, *nth, id);
                    }
                }
                for connection in [2, 1] {
                    for (nth, _) in calls {
                        self.end(&mut hops, &like, connection, *nth);
                    }
                }
            }
            hops.finish(Timestamp(u64::MAX));
            std::iter::from_fn(|| hops.poll().map(|hop| *hop)).collect()
        }

        fn began(&self, nth: u32) -> u64 {
            u64::from(nth) * if self.together { 10 } else { 1_000 }
        }

        fn open(&self, hops: &mut Hops<()>, connection: u64, nth: u32, id: &str) {
            let lag = if self.together { 400 } else { 1 };
            for side in self.ends[usize::try_from(connection).unwrap() - 1] {
                let fields = [(":path", "/a"), (self.name, id)];
                let opening = Opening {
                    connection: ConnectionId(connection),
                    stream_id: StreamId(2 * nth + 1),
                    at: Timestamp(self.began(nth) + connection * lag),
                    tid: 0,
                    pid: 0,
                    digest: FieldsDigest::of(&block(&fields)).into(),
                };
                hops.requested(LOOPBACK, *side, &opening);
            }
        }

        fn end(&self, hops: &mut Hops<()>, like: &StreamRecord, connection: u64, nth: u32) {
            let (lag, length) = if self.together { (400, 5_000) } else { (1, 10) };
            let [of_first, of_second] = self.messages;
            let message = if connection == 2 { of_first } else { of_second };
            let at = Timestamp(self.began(nth) + length - connection * lag);
            let mut record = like.clone();
            record.response.messages.known = true;
            record.response.messages.sizes.extend(message);
            record.connection = ConnectionId(connection);
            record.stream_id = StreamId(2 * nth + 1);
            record.first_at = Timestamp(self.began(nth) + connection * lag);
            record.last_at = at;
            record.response.headers_at = Some(at);
            record.response.end_stream_at = Some(at);
            for side in self.ends[usize::try_from(connection).unwrap() - 1] {
                hops.ended(LOOPBACK, *side, at, Arc::new(record.clone()), ());
            }
        }
    }

    #[test]
    fn alike_requests_in_flight_together_are_joined_by_their_ids() {
        // All three on the host; the client and the proxy; the proxy and the server.
        let (own, asked) = (&[Side::Upstream][..], &[Side::Downstream][..]);
        for ends in [[BOTH, BOTH], [BOTH, own], [asked, BOTH]] {
            let joined = |name, calls: &[&str], together| {
                let talk = Talk {
                    name,
                    ends,
                    together,
                    ..Talk::of(calls)
                };
                let hops = talk.joined();
                for hop in &hops {
                    assert_eq!(hop.downstream.record.connection, ConnectionId(1));
                    let [up] = &hop.upstream[..] else {
                        panic!("{} attempts", hop.upstream.len());
                    };
                    assert_eq!(up.stream_id, hop.downstream.record.stream_id);
                }
                hops.len()
            };
            for together in [true, false] {
                assert_eq!(joined("x-request-id", &["a", "b", "c", "d"], together), 4);
                assert_eq!(joined("x-request-id", &["a"; 4], together), 0);
            }
        }
    }

    #[test]
    fn requests_with_fields_of_their_own_are_joined_from_the_first_on() {
        let hops = joined(&["a", "b", "c", "d"]);
        assert_eq!(hops.len(), 4);
        for hop in hops {
            assert_eq!(hop.downstream.record.connection, ConnectionId(1));
            let [up] = &hop.upstream[..] else {
                panic!("{} attempts", hop.upstream.len());
            };
            assert_eq!(up.connection, ConnectionId(2));
            assert_eq!(up.stream_id, hop.downstream.record.stream_id);
        }
    }

    #[test]
    fn a_client_of_two_servers_that_says_the_same_to_both_is_no_proxy() {
        assert_eq!(joined(&["a"; 20]).len(), 0);
        // Nor is one that says it again sooner or later.
        assert_eq!(joined(&["a", "b", "a", "b", "a", "b"]).len(), 0);
        // Too little to tell.
        assert_eq!(joined(&["a", "b"]).len(), 0);
    }

    #[test]
    fn one_request_with_an_id_made_for_it_and_one_message_on_both_is_enough() {
        let told = |name, messages| joined_by(name, &["a"], messages).len();
        assert_eq!(told("x-request-id", [Some(9_000), Some(9_000)]), 1);
        assert_eq!(told("x-request-id", [Some(9_000), Some(70)]), 0);
        assert_eq!(told("x-request-id", [None, None]), 0);
        assert_eq!(told("x-call-id", [Some(9_000), Some(9_000)]), 0);
    }
}
