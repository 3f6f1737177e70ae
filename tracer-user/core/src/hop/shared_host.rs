//! A host whose connections have both ends on it, in a file that knows no processes: loopback.
//!
//! There every stream is one that the host is asked for and one that it opens, and whether the two ends of a
//! request are a proxy's or those of a client with several servers cannot be seen. Order and time say nothing
//! then. Streams are joined if all their fields are the same, no third stream ever had these, neither
//! contradicts the other, and so do several requests: a client that says the same to two servers says it
//! again.

use std::collections::VecDeque;

use super::fast::Map;
use super::index::IndexMatch;
use super::proxy_state::ProxyState;
use super::{Attempt, By, Ended, Hop, Join, ended};
use crate::field::digest::FieldsDigest;
use crate::limits;
use crate::stream::record::Opening;

/// Requests of which each must have been joined by fields of its own before any of them is told.
const PROVEN_BY: usize = 3;

/// What is known of such a host.
#[derive(Debug)]
pub(super) struct SharedHost<T> {
    /// How many streams have these fields.
    seen: Map<u64, u8>,
    /// Requests that wait for the proof, with their fields.
    held: VecDeque<(u64, Hop<T>)>,
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
    /// For which request was this stream opened, if `found` says which has its fields?
    pub(super) fn find(
        &self,
        found: IndexMatch,
        state: &ProxyState<T>,
        up: &Opening,
    ) -> Option<(u64, Join)> {
        let IndexMatch::One(key) = found else {
            return None;
        };
        let is_second = self.seen.get(&up.digest.whole?) == Some(&1);
        let is_other = key >> 31 != up.connection.0;
        let fits = is_second && is_other && state.fits(key, up);
        fits.then(|| (key, state.same_fields(key, up)))
    }

    /// A request was joined: what may be told now.
    pub(super) fn joined(&mut self, whole: u64, hop: Hop<T>) -> VecDeque<(u64, Hop<T>)> {
        if !self.proven && shows_itself(&hop) {
            return VecDeque::from([(whole, hop)]);
        }
        let seen = &self.seen;
        // One at each of two hops.
        let is_one = |whole: &u64| seen.get(whole) == Some(&2);
        self.held.push_back((whole, hop));
        self.held.retain(|(whole, _)| is_one(whole));
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

/// The host received a request. `opened`: it sent the request itself, so it is such a host. False when the fields
/// cannot be kept.
pub(super) fn on_downstream_request<T>(
    of: &mut Option<SharedHost<T>>,
    opened: bool,
    digest: &FieldsDigest,
) -> bool {
    if opened {
        of.get_or_insert_default();
    }
    let (Some(shared), Some(whole)) = (of, digest.whole) else {
        return true;
    };
    if shared.seen.len() >= limits::HOP_SHARED && !shared.seen.contains_key(&whole) {
        return false;
    }
    let n = shared.seen.entry(whole).or_default();
    *n = n.saturating_add(1);
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::connection::ConnectionId;
    use crate::event::Timestamp;
    use crate::field::digest::FieldsDigest;
    use crate::frame::StreamId;
    use crate::hop::{Hop, Hops, ProxyKey, Side};
    use crate::stream::record::Opening;
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
        let mut script = Script::on(1, Some(C), true);
        script.headers(C, 1, block(&[(":path", "/a")]), true);
        script.headers(S, 1, block(&[(":status", "200")]), true);
        let like = script.one();
        let mut hops = Hops::default();
        let sides = [Side::Upstream, Side::Downstream];
        for side in [sides, sides].concat() {
            hops.connected(LOOPBACK, side);
        }
        for (n, id) in (0_u32..).zip(calls) {
            let began = u64::from(n) * 1_000;
            for connection in [1, 2] {
                for side in sides {
                    let fields = [(":path", "/a"), (name, *id)];
                    let opening = Opening {
                        connection: ConnectionId(connection),
                        stream_id: StreamId(2 * n + 1),
                        at: Timestamp(began + connection),
                        tid: 0,
                        pid: 0,
                        digest: FieldsDigest::of(&block(&fields)).into(),
                    };
                    hops.requested(LOOPBACK, side, &opening);
                }
            }
            for (connection, message) in [2, 1].into_iter().zip(messages) {
                let at = Timestamp(began + 10 - connection);
                let mut record = like.clone();
                record.response.messages.known = true;
                record.response.messages.sizes.extend(message);
                record.connection = ConnectionId(connection);
                record.stream_id = StreamId(2 * n + 1);
                (record.first_at, record.last_at) = (Timestamp(began + connection), at);
                record.response.headers_at = Some(at);
                record.response.end_stream_at = Some(at);
                for side in sides {
                    hops.ended(LOOPBACK, side, at, Arc::new(record.clone()), ());
                }
            }
        }
        hops.finish(Timestamp(u64::MAX));
        std::iter::from_fn(|| hops.poll().map(|hop| *hop)).collect()
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
