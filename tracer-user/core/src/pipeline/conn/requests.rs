//! Whether all requests of a connection are told: from when on the client's frames are known, and the gaps in them since.

use super::Conn;
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::pipeline::analysis::Analysis;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// From when on the client's frames are known: requests that went by before were not seen.
    from: Option<Timestamp>,
    /// Until when they are.
    until: Timestamp,
    /// The highest stream that the client was seen to open.
    highest: u32,
    /// The last gap, until it is known whether streams were opened in it.
    gap: Option<Gap>,
    /// When the last streams may have been opened that were lost, and the streams before and behind them.
    lost: Option<(Timestamp, [u32; 2])>,
}

/// A gap in what the client said, on a connection of which all was known before.
#[derive(Debug)]
struct Gap {
    since: Timestamp,
    /// The highest stream before it; None when some were opened in it.
    highest: Option<u32>,
    /// When the client's frames were found again.
    until: Option<Timestamp>,
    /// The first stream that was opened behind it.
    next: Option<u32>,
    told: GapTold,
}

/// How much of a gap was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GapTold {
    Nothing,
    Beginning,
    End,
}

/// What is to be told of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum GapNews {
    /// Since then requests may be lost.
    Began { since: Timestamp },
    /// None is since then.
    Ended { until: Timestamp },
    /// None was lost in it.
    WasEmpty { since: Timestamp },
}

impl Gap {
    /// Streams are opened in the order of their ids (RFC 9113 section 5.1.1): none was in between.
    fn is_empty(&self) -> bool {
        let next = self.next.zip(self.highest);
        next.is_some_and(|(next, before)| next <= before.saturating_add(2))
    }
}

impl Requests {
    pub(super) const fn known_from(&self) -> Option<Timestamp> {
        self.from
    }

    /// A frame of the client's is known.
    #[inline]
    pub(super) fn frame(&mut self, at: Timestamp) {
        self.from.get_or_insert(at);
        self.until = at;
        if let Some(gap) = &mut self.gap {
            gap.until.get_or_insert(at);
        }
    }

    /// The client's HEADERS are.
    #[inline]
    pub(super) fn headers(&mut self, id: StreamId, at: Timestamp) {
        self.frame(at);
        if id.0 > self.highest && id.0 % 2 == 1 {
            self.highest = id.0;
            if let Some(gap) = &mut self.gap {
                gap.next.get_or_insert(id.0);
            }
        }
    }

    /// The client opened stream 1 by an upgrade.
    pub(super) const fn upgraded(&mut self) {
        self.highest = 1;
    }

    /// From here on the client's frames are not known.
    pub(super) fn lose(&mut self) {
        if self.from.take().is_some() {
            self.begin_gap();
        }
    }

    /// The server answers a stream. If the client was not seen to open it, its request is lost. What comes next from the
    /// client shows a gap, unless the request is told after its answer.
    #[inline]
    pub(super) fn answered(&mut self, id: StreamId, at: Timestamp, from_start: bool) {
        let all_seen = from_start || self.highest > 0;
        let is_new = id.0 > self.highest && id.0 % 2 == 1;
        if is_new && all_seen && self.from.is_some() && self.gap.is_none() {
            self.begin_gap();
        } else if self.lost.is_some() {
            self.lost_until(id, at);
        }
    }

    /// A request that was lost in a gap that is over waited for its answer since then.
    #[cold]
    fn lost_until(&mut self, id: StreamId, at: Timestamp) {
        if let Some((since, [before, behind])) = self.lost
            && (before..behind).contains(&id.0)
            && id.0 > before
            && self.gap.is_none()
        {
            self.gap = Some(Gap {
                since,
                highest: None,
                until: Some(at),
                next: Some(behind),
                told: GapTold::Nothing,
            });
        }
    }

    /// The connection is over: no more can be lost.
    pub(super) fn over(&mut self, at: Timestamp) {
        if let Some(gap) = &mut self.gap {
            gap.until.get_or_insert(at);
        }
    }

    #[cold]
    fn begin_gap(&mut self) {
        let before = self.gap.take().filter(|gap| !gap.is_empty());
        let (since, highest) = match before {
            // One of them, as far as is known.
            Some(gap) => (gap.since, gap.highest.filter(|_| gap.next.is_none())),
            None => (self.until, Some(self.highest)),
        };
        self.gap = Some(Gap {
            since,
            highest,
            until: None,
            next: None,
            told: GapTold::Nothing,
        });
    }

    #[inline]
    fn news(&mut self) -> Option<GapNews> {
        let gap = self.gap.as_mut()?;
        let since = gap.since;
        if gap.is_empty() {
            let was_told = gap.told != GapTold::Nothing;
            self.gap = None;
            return was_told.then_some(GapNews::WasEmpty { since });
        }
        match (gap.told, gap.until) {
            (GapTold::Nothing, _) => {
                gap.told = GapTold::Beginning;
                Some(GapNews::Began { since })
            }
            (GapTold::Beginning, Some(until)) => {
                gap.told = GapTold::End;
                Some(GapNews::Ended { until })
            }
            (GapTold::End, _) => {
                let behind = gap.next?;
                if let Some(before) = gap.highest {
                    self.lost = Some((since, [before, behind]));
                }
                self.gap = None;
                None
            }
            _ => None,
        }
    }
}

impl Conn {
    /// What is known of gaps in what the client said.
    #[inline]
    pub(super) fn tell_gaps(&mut self, analysis: &mut Analysis) {
        while let Some(news) = self.requests.news() {
            analysis.gap(&self.info, self.role.get(), news);
        }
    }

    /// Nothing more is known of what this endpoint says.
    pub(super) fn lose_requests(&mut self, sender: Option<Endpoint>) {
        if sender == Some(Endpoint::Client) {
            self.requests.lose();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Timestamp {
        Timestamp(n)
    }

    fn known() -> Requests {
        let mut requests = Requests::default();
        requests.headers(StreamId(1), at(10));
        requests
    }

    fn told(requests: &mut Requests) -> Vec<GapNews> {
        std::iter::from_fn(|| requests.news()).collect()
    }

    #[test]
    fn a_gap_lasts_from_the_last_frame_before_it_to_the_first_behind_it() {
        let mut requests = known();
        requests.frame(at(15));
        requests.lose();
        assert_eq!(told(&mut requests), [GapNews::Began { since: at(15) }]);
        requests.frame(at(20));
        assert_eq!(told(&mut requests), [GapNews::Ended { until: at(20) }]);
        // One request is missing.
        requests.headers(StreamId(5), at(30));
        assert_eq!(told(&mut requests), []);
        assert!(requests.gap.is_none());
    }

    #[test]
    fn where_the_next_stream_is_the_next_one_no_request_was_lost() {
        let mut requests = known();
        requests.lose();
        requests.headers(StreamId(3), at(20));
        assert_eq!(told(&mut requests), []);
        requests.lose();
        assert_eq!(told(&mut requests).len(), 1);
        requests.frame(at(30));
        assert_eq!(told(&mut requests).len(), 1);
        // Trailers of one that was open.
        requests.headers(StreamId(3), at(31));
        assert_eq!(told(&mut requests), []);
        requests.headers(StreamId(5), at(32));
        assert_eq!(told(&mut requests), [GapNews::WasEmpty { since: at(20) }]);
    }

    #[test]
    fn of_two_gaps_in_a_row_the_first_is_not_forgotten() {
        let mut requests = known();
        requests.lose();
        requests.headers(StreamId(9), at(20));
        requests.lose();
        requests.headers(StreamId(11), at(30));
        let (since, until) = (at(10), at(30));
        let both = [GapNews::Began { since }, GapNews::Ended { until }];
        assert_eq!(told(&mut requests), both);
    }

    #[test]
    fn an_answer_to_what_was_not_asked_shows_a_lost_request_unless_that_is_told_late() {
        for late in [false, true] {
            let mut requests = known();
            requests.answered(StreamId(1), at(11), true);
            assert_eq!(told(&mut requests), []);
            requests.answered(StreamId(3), at(15), true);
            let since = at(10);
            assert_eq!(told(&mut requests), [GapNews::Began { since }]);
            let news = if late {
                requests.headers(StreamId(3), at(20));
                GapNews::WasEmpty { since }
            } else {
                requests.headers(StreamId(5), at(20));
                GapNews::Ended { until: at(20) }
            };
            assert_eq!(told(&mut requests), [news]);
        }
        // The request may be older than the trace.
        let mut old = Requests::default();
        old.frame(at(10));
        old.answered(StreamId(3), at(11), false);
        assert_eq!(told(&mut old), []);
    }

    #[test]
    fn a_request_that_was_lost_waits_until_it_is_answered() {
        let mut requests = known();
        requests.lose();
        requests.headers(StreamId(5), at(20));
        assert_eq!(told(&mut requests).len(), 2);
        requests.answered(StreamId(5), at(25), true);
        requests.answered(StreamId(1), at(25), true);
        assert_eq!(told(&mut requests), []);
        requests.answered(StreamId(3), at(30), true);
        let (since, until) = (at(10), at(30));
        let again = [GapNews::Began { since }, GapNews::Ended { until }];
        assert_eq!(told(&mut requests), again);
    }
}
