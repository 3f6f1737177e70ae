//! What is known of one downstream request.

use super::opening::DownstreamOpening;
use crate::event::Timestamp;

use super::{Attempt, By, Confidence, HopStream, Over, period};

/// How far a downstream request is. Nothing leads back.
#[derive(Debug)]
pub(super) enum Progress<T> {
    /// The client's stream is open.
    Open,
    /// The client's stream has ended; streams that were opened for it may be open.
    Ended(HopStream<T>),
    /// All are over, and it waits for the requests that were read with it.
    Settling(HopStream<T>),
}

impl<T> Progress<T> {
    /// The client's stream, once it has ended.
    pub(super) const fn ended(&self) -> Option<&HopStream<T>> {
        match self {
            Progress::Open => None,
            Progress::Ended(stream) | Progress::Settling(stream) => Some(stream),
        }
    }

    /// The same, to keep.
    pub(super) fn into_ended(self) -> Option<HopStream<T>> {
        match self {
            Progress::Open => None,
            Progress::Ended(stream) | Progress::Settling(stream) => Some(stream),
        }
    }

    /// All are over. True when that is new.
    pub(super) fn settle(&mut self) -> bool {
        match std::mem::replace(self, Progress::Open) {
            Progress::Ended(stream) => {
                *self = Progress::Settling(stream);
                true
            }
            other => {
                *self = other;
                false
            }
        }
    }
}

/// What speaks against the upstream stream that order gave a request; the worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    #[default]
    None,
    /// The order of its period was found to be broken.
    OrderBroken,
    /// And it may have no upstream stream at all: one beside it has none.
    MayBeAlone,
}

impl Doubt {
    /// There is a doubt of this kind too.
    pub(super) fn raise(&mut self, doubt: Doubt) {
        *self = (*self).max(doubt);
    }

    pub(super) const fn exists(self) -> bool {
        !matches!(self, Doubt::None)
    }
}

/// A downstream request: a stream that the process serves.
#[derive(Debug)]
pub(super) struct DownstreamRequest<T> {
    pub(super) opening: DownstreamOpening,
    /// Of its thread: the one that it was read in.
    pub(super) period: u64,
    /// When that began.
    pub(super) period_from: Timestamp,
    pub(super) progress: Progress<T>,
    /// When it was over, before the linger of its stream.
    pub(super) over: Option<Over>,
    /// The indexes know of it.
    pub(super) is_indexed: bool,
    /// It is told after streams that began later: its own may have been among them.
    pub(super) is_late: bool,
    /// Its fields changed on the way: a stream of it has others.
    pub(super) is_changed: bool,
    /// Its response was compared with those of the streams that may be its own.
    pub(super) is_matched: bool,
    /// It has the stream that was given to another one: order did not give it that.
    pub(super) is_swapped: bool,
    /// The streams that were opened for it; those that have ended with their records.
    pub(super) attempts: Vec<Attempt<T>>,
    /// How many of them have not ended.
    pub(super) n_open: u32,
    pub(super) doubt: Doubt,
    /// Order decided which upstream stream is its own, and there were others.
    pub(super) in_company: bool,
}

impl<T> DownstreamRequest<T> {
    /// Order decided on the first of its upstream streams, and it has no other yet.
    pub(super) fn ordered_now(&self) -> bool {
        self.attempts.len() == 1 && self.is_ordered()
    }

    pub(super) fn is_ordered(&self) -> bool {
        let first = self.attempts.first();
        first.is_some_and(|first| first.join.by == By::Order)
    }

    /// It has no upstream stream, and one may come.
    pub(super) fn may_be_passed_on(&self) -> bool {
        self.attempts.is_empty() && self.over.is_none()
    }

    /// It was not over before this moment.
    pub(super) fn lasts_until(&self, at: Timestamp) -> bool {
        self.over.is_none_or(|over| at <= over.at)
    }

    /// What it was passed on by is not certain: by nothing, or by weaker evidence than what it says.
    pub(super) fn may_be_others(&self) -> bool {
        let sure = |attempt: &Attempt<T>| attempt.join.confidence <= Confidence::UniqueField;
        !self.attempts.iter().any(sure)
    }

    pub(super) const fn period_id(&self) -> u64 {
        period::id(self.opening.tid, self.period)
    }

    /// It is not certain which of several upstream streams is its own.
    pub(super) fn is_ambiguous(&self) -> bool {
        let unsure = |attempt: &Attempt<T>| {
            if self.doubt.exists() {
                attempt.join.confidence >= Confidence::ThreadOrder
            } else {
                attempt.join.confidence == Confidence::Ambiguous
            }
        };
        self.attempts.iter().any(unsure)
    }
}
