//! Which of several streams a request was passed on by, told by their responses: of those that came before the
//! client's was over, the one that is as long.

use std::sync::Arc;

use super::doubt::contradict;
use super::downstream::{Doubt, DownstreamRequest};
use super::facts::transcoded;
use super::ids::other_path;
use super::opening::DownstreamOpening;
use super::proxy_state::{ProxyState, UpstreamRequest, key_of};
use super::recent::RecentStream;
use super::steps::look;
use super::{Attempt, By, Confidence, Ended, Join, ended};
use crate::event::Timestamp;
use crate::field::digest;
use crate::limits;
use crate::stream::record::{Seen, StreamRecord};

/// A stream that may have been opened for a request, and has ended.
struct Candidate {
    key: u64,
    record: Arc<StreamRecord>,
    /// The request that it was joined to.
    of: Option<u64>,
}

/// A request for which no stream was found, kept for those beside it.
#[derive(Debug)]
pub(super) struct AloneRequest {
    from: Timestamp,
    to: Timestamp,
    path: Option<u64>,
}

/// All of them.
#[derive(Default)]
struct Candidates {
    ended: Vec<Candidate>,
    /// Some have not ended.
    some_open: bool,
    /// There may be others that are not kept.
    some_unknown: bool,
}

impl<T> ProxyState<T> {
    /// Other upstream streams that may have been opened for this request; false when some may be unknown.
    pub(super) fn others(
        &mut self,
        down: &DownstreamRequest<T>,
        end: Timestamp,
        own: &[Attempt<T>],
    ) -> (Vec<Arc<StreamRecord>>, bool) {
        self.recent.keep();
        let candidates = self.candidates(&down.opening, end, own, down.is_changed);
        let known = !candidates.some_open && !candidates.some_unknown;
        let records = candidates.ended.into_iter().map(|found| found.record);
        (records.collect(), known)
    }

    /// Streams that began in the life of this request, with its path or one that was not seen: no more than one above the
    /// bound. None: there are too many to look for them.
    fn begun_within(&self, down: &DownstreamOpening, end: Timestamp) -> Option<Vec<u64>> {
        let end = end.max(down.at);
        let of = |path: Option<u64>| {
            let within = (path, down.at, 0)..=(path, end, u64::MAX);
            self.by_path.range(within).map(|(_, _, key)| *key)
        };
        if down.path.is_some() {
            let all = of(down.path).chain(of(None));
            return Some(all.take(limits::HOP_CANDIDATES + 1).collect());
        }
        if self.ups.len() > limits::HOP_CANDIDATES {
            return None;
        }
        look(self.ups.len());
        let within = |up: &UpstreamRequest| (down.at..=end).contains(&up.at);
        let all = self.ups.iter().filter(|(_, up)| within(up));
        Some(all.map(|(key, _)| *key).collect())
    }

    /// What this stream is to the request that has it, if there is one: None when it is certainly that one's.
    fn claim(&self, key: u64, up: &UpstreamRequest) -> Option<Option<&Attempt<T>>> {
        look(1);
        let of = up.of.and_then(|of| self.downs.get(&of));
        let mut attempts = of.into_iter().flat_map(|of| &of.attempts);
        let attempt = attempts.find(|attempt| key_of(attempt) == key);
        let is_certain = attempt.zip(of).is_some_and(|(attempt, of)| {
            attempt.join.confidence <= Confidence::UniqueField && !self.is_of_doubted_crowd(of)
        });
        (!is_certain).then_some(attempt)
    }

    /// Streams other than its `own` that may have been opened for this request. `is_changed`: with other fields too. Among
    /// very many none of them is looked at: it is not known which there are.
    fn candidates(
        &self,
        down: &DownstreamOpening,
        end: Timestamp,
        own: &[Attempt<T>],
        is_changed: bool,
    ) -> Candidates {
        let is_own = |key: u64| own.iter().any(|own| key_of(own) == key);
        let end = end.max(down.at);
        let mut found = Candidates {
            some_unknown: self.recent.forgot_since(down.at),
            ..Candidates::default()
        };
        let is_alike = |whole: Option<u64>| {
            is_changed || whole.is_none() || whole == down.whole || down.whole.is_none()
        };
        let keys = self.begun_within(down, end);
        let Some(keys) = keys.filter(|keys| keys.len() <= limits::HOP_CANDIDATES) else {
            found.some_unknown = true;
            return found;
        };
        for key in keys {
            let up = self.ups.get(&key).filter(|up| is_alike(up.whole));
            let Some(up) = up.filter(|_| !is_own(key)) else {
                continue;
            };
            if found.ended.len() >= limits::HOP_ALIKE {
                found.some_unknown = true;
                break;
            }
            let Some(attempt) = self.claim(key, up) else {
                continue;
            };
            match attempt.and_then(|attempt| attempt.stream.as_ref()) {
                Some(stream) => found.ended.push(Candidate {
                    key,
                    record: Arc::clone(&stream.record),
                    of: up.of,
                }),
                None => found.some_open = true,
            }
        }
        for recent in self.ended_within(down, end) {
            if is_alike(recent.whole) && !is_own(recent.key) {
                found.ended.push(Candidate {
                    key: recent.key,
                    record: Arc::clone(&recent.record),
                    of: None,
                });
            }
        }
        found
    }

    /// Streams that are nobody's any more and began in the life of this request.
    fn ended_within(
        &self,
        down: &DownstreamOpening,
        end: Timestamp,
    ) -> impl Iterator<Item = &RecentStream> {
        let (within, path) = (down.at..=end.max(down.at), down.path);
        let recent = self.recent.iter();
        recent.filter(move |of| within.contains(&of.began_at) && !other_path(path, of.path))
    }

    /// A request is over, and several streams may be its own. It gets the one whose response is what the client got, and
    /// of several the one that came first: what comes first is passed on first. The request that had that one gets
    /// this one's.
    ///
    /// Those that were over before it are looked at first: what they got is not left for this one.
    pub(super) fn match_response(&mut self, down_key: u64) {
        let Some(until) = self.downs.get(&down_key).and_then(|down| is_to_match(down)) else {
            return;
        };
        let mut before = Vec::new();
        if self.downs.len() <= limits::HOP_CANDIDATES {
            let over = |key: u64, down: &DownstreamRequest<T>| {
                let at = is_to_match(down).filter(|at| *at <= until)?;
                (key != down_key).then_some((at, key))
            };
            look(self.downs.len());
            before.extend(self.downs.iter().filter_map(|(key, down)| over(*key, down)));
            before.sort_unstable();
        }
        for key in before.into_iter().map(|(_, key)| key).chain([down_key]) {
            self.match_one(key);
        }
    }

    fn match_one(&mut self, down_key: u64) {
        if let Some(down) = self.downs.get_mut(&down_key) {
            down.is_matched = true;
        }
        let Some(down) = self.downs.get(&down_key) else {
            return;
        };
        let (Some(stream), [own]) = (down.progress.ended(), down.attempts.as_slice()) else {
            return;
        };
        let Some(own_record) = own.stream.as_ref() else {
            return;
        };
        let client = Arc::clone(&stream.record);
        let own_key = key_of(own);
        let mut found = self.candidates(
            &down.opening,
            client.last_at,
            &down.attempts,
            down.is_changed,
        );
        found.ended.push(Candidate {
            key: own_key,
            record: Arc::clone(&own_record.record),
            of: Some(down_key),
        });
        let all: Vec<(Agreement, &Candidate)> = found
            .ended
            .iter()
            .map(|found| (Agreement::of(&client, &found.record), found))
            .collect();
        let is_unseen = |of: &Candidate| {
            let unseen = |(how, found): &(Agreement, &Candidate)| {
                *how == Agreement::Unseen && found.key == of.key
            };
            all.iter().any(unseen)
        };
        if found.ended.last().is_some_and(is_unseen) {
            // Nothing speaks against its own.
            return;
        }
        let some_unseen = all.iter().any(|(how, _)| *how == Agreement::Unseen);
        let agree = all.iter().filter(|(how, _)| *how == Agreement::Yes);
        let agree: Vec<&Candidate> = agree.map(|(_, found)| *found).collect();
        // Of one that is open the response may have been lost.
        let only = agree.len() == 1
            && !some_unseen
            && !found.some_open
            && !found.some_unknown
            && !agree
                .iter()
                .any(|found| self.may_be_of_one_without(down_key, &found.record));
        let Some(best) = agree
            .into_iter()
            .filter(|best| best.key == own_key || self.can_swap(down_key, own_key, best))
            .min_by_key(|best| (best.record.response.end_stream_at, best.key != own_key))
        else {
            return;
        };
        if let Some(of) = best.of.filter(|of| *of != down_key) {
            self.swap(down_key, of);
        }
        if only
            && let Some(down) = self.downs.get_mut(&down_key)
            && let Some(attempt) = down.attempts.first_mut()
        {
            let was_ordered = usize::from(attempt.join.by == By::Order);
            self.n_ordered = self.n_ordered.saturating_sub(was_ordered);
            attempt.join = Join {
                by: By::Response,
                confidence: Confidence::UniqueField,
            };
        }
    }

    /// Another request in flight when this stream began has no stream, though it got the same response: a proxy may
    /// have answered it from what it kept, or this one.
    fn may_be_of_one_without(&self, down_key: u64, up: &StreamRecord) -> bool {
        let began_at = up.request.headers_at.unwrap_or(up.first_at);
        let path = up.path.as_deref().map(digest::path);
        let is_such = |key: u64, down: &DownstreamRequest<T>| {
            key != down_key
                && down.attempts.is_empty()
                && down.opening.at <= began_at
                && down.lasts_until(began_at)
                && !other_path(down.opening.path, path)
        };
        self.downs.len() > limits::HOP_CANDIDATES
            || self.downs.iter().any(|(key, down)| is_such(*key, down))
            || self.alone.iter().any(|alone| {
                alone.from <= began_at && began_at <= alone.to && !other_path(alone.path, path)
            })
    }

    /// No stream was found for this request, and one that was opened in its life may be its own.
    pub(super) fn may_have_stream(&self, down: &DownstreamRequest<T>, end: Timestamp) -> bool {
        if down.is_late || self.unseen.may_have_opened(down.opening.at, end) {
            return true;
        }
        let is_free = |key: &u64| {
            let up = self.ups.get(key);
            up.is_some_and(|up| self.claim(*key, up).is_some())
        };
        let begun = self.begun_within(&down.opening, end);
        begun.is_none_or(|begun| begun.iter().any(is_free))
            || self.ended_within(&down.opening, end).next().is_some()
    }

    /// A request was over, and no stream was found for it.
    pub(super) fn was_alone(&mut self, down: &DownstreamOpening, to: Timestamp) {
        if self.alone.len() >= limits::HOP_RECENT {
            self.alone.pop_front();
        }
        let (from, path) = (down.at, down.path);
        self.alone.push_back(AloneRequest { from, to, path });
    }

    /// The stream of `best` is one that the request `down_key` may take from another one, and give its own for it.
    fn can_swap(&self, down_key: u64, own_key: u64, best: &Candidate) -> bool {
        let other = best.of.filter(|of| *of != down_key);
        let Some(other) = other.and_then(|of| self.downs.get(&of)) else {
            return false;
        };
        let Some(own) = self.ups.get(&own_key) else {
            return false;
        };
        let fits = other.opening.at <= own.at && other.lasts_until(own.at);
        fits && other.is_ambiguous()
            && other.attempts.len() == 1
            && !other_path(other.opening.path, own.path)
    }

    /// Two requests change their streams, of which neither is certain: what speaks against a join by order is known of
    /// the request, and is not to be left behind with it. What speaks against the streams that they have then is nothing
    /// against the order.
    fn swap(&mut self, one: u64, other: u64) {
        let Some(mut down) = self.downs.remove(&one) else {
            return;
        };
        if let Some(beside) = self.downs.get_mut(&other) {
            std::mem::swap(&mut down.attempts, &mut beside.attempts);
            (down.is_swapped, beside.is_swapped) = (true, true);
            for down in [&mut *down, &mut *beside] {
                down.doubt.raise(self.periods.ordered(down.period_id()));
            }
            for (of, attempts) in [(one, &mut down.attempts), (other, &mut beside.attempts)] {
                for attempt in attempts {
                    attempt.join.confidence = Confidence::Ambiguous;
                    if let Some(up) = self.ups.get_mut(&key_of(attempt)) {
                        up.of = Some(of);
                    }
                }
            }
        }
        self.downs.insert(one, down);
    }
}

/// When this request was over, if its response is still to tell which stream is its own.
fn is_to_match<T>(down: &DownstreamRequest<T>) -> Option<Timestamp> {
    let has_ended = matches!(down.attempts.as_slice(), [own] if own.stream.is_some());
    let is_open =
        !down.is_matched && has_ended && down.is_ambiguous() && down.doubt < Doubt::MayBeAlone;
    let stream = down.progress.ended().filter(|_| is_open)?;
    Some(stream.record.last_at)
}

/// The client got a whole response: is it this one?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreement {
    No,
    /// Its end was not seen, and nothing that was speaks against it.
    Unseen,
    /// It is whole, and the same as far as was seen.
    Yes,
}

impl Agreement {
    fn of(down: &StreamRecord, up: &StreamRecord) -> Agreement {
        if agrees(down, up) {
            return Agreement::Yes;
        }
        let (passed, came) = (&down.response, &up.response);
        let is_more = passed.data_known
            && !transcoded(down, up)
            && came.headers_at.is_some()
            && came.data_bytes > passed.data_bytes;
        let may_be = ended(down) == Ended::Complete && ended(up) == Ended::Unknown && !up.whole;
        if may_be && !is_more && !contradict(down, up) {
            Agreement::Unseen
        } else {
            Agreement::No
        }
    }
}

/// The client got a whole response, and this one is the same as far as was seen.
fn agrees(down: &StreamRecord, up: &StreamRecord) -> bool {
    let same_length = transcoded(down, up)
        || !down.response.data_known
        || !up.response.data_known
        || down.response.data_bytes == up.response.data_bytes;
    let other_value =
        |down: Option<u32>, up: Option<u32>| matches!((down, up), (Some(a), Some(b)) if a != b);
    let same_trailers =
        down.trailers == up.trailers || [down.trailers, up.trailers].contains(&Seen::Unknown);
    ended(down) == Ended::Complete
        && ended(up) == Ended::Complete
        && same_length
        && same_trailers
        && !other_value(down.grpc_status.value(), up.grpc_status.value())
        && !other_value(
            down.http_status.value().map(u32::from),
            up.http_status.value().map(u32::from),
        )
        && !contradict(down, up)
}
