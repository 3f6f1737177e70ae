//! Very many requests at once. What is told late, or was not fully seen, leaves others uncertain; among very many it is not
//! asked which, or each such request would cost a look at all of them.

use std::collections::VecDeque;

use super::downstream::{Doubt, DownstreamRequest};
use super::opening::DownstreamOpening;
use super::proxy_state::ProxyState;
use super::steps::look;
use super::{Attempt, By, Confidence};
use crate::event::Timestamp;
use crate::limits;

/// The streams of a process that were told of last.
#[derive(Debug, Default)]
pub(super) struct Latest {
    streams: VecDeque<(Timestamp, u64)>,
    /// When the latest of those before them began.
    before: Option<Timestamp>,
}

impl Latest {
    pub(super) fn add(&mut self, key: u64, at: Timestamp) {
        if self.streams.len() >= limits::HOP_CANDIDATES {
            let gone = self.streams.pop_front().map(|(at, _)| at);
            self.before = self.before.max(gone);
        }
        self.streams.push_back((at, key));
    }

    /// All that began since this moment; None when they are not known any more.
    fn since(&self, from: Timestamp) -> Option<impl Iterator<Item = u64>> {
        let is_known = self.before.is_none_or(|before| before < from);
        let streams = is_known.then_some(&self.streams)?.iter();
        Some(
            streams
                .filter(move |(at, _)| *at >= from)
                .map(|(_, key)| *key),
        )
    }
}

/// Until when all requests began that are uncertain.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Because one of them was told very late: those that have a stream.
    by_late: Option<Timestamp>,
    /// Because of a stream whose path was not seen: those of which only the order tells.
    by_unseen: Option<Timestamp>,
}

impl<T> ProxyState<T> {
    pub(super) fn is_crowd(&self) -> bool {
        self.downs.len() > limits::HOP_CANDIDATES
    }

    /// All requests that are there are uncertain, but for those that an id tells.
    pub(super) fn doubt_all_of_late(&mut self) {
        self.crowd.by_late = Some(self.begun_at);
    }

    /// All requests that are there are uncertain whose stream order gave them, or time.
    pub(super) fn doubt_all_of_unseen(&mut self) {
        self.crowd.by_unseen = Some(self.begun_at);
    }

    /// A request is told late, among very many: does something to those of them that have a stream which began in its life.
    /// False: they are not known any more.
    pub(super) fn those_with_streams_since(
        &mut self,
        opening: &DownstreamOpening,
        mut act: impl FnMut(&mut DownstreamRequest<T>),
    ) -> bool {
        let Some(keys) = self.latest.since(opening.at) else {
            return false;
        };
        for key in keys {
            look(1);
            let of = self.ups.get(&key).and_then(|up| up.of);
            if let Some(down) = of.and_then(|of| self.downs.get_mut(&of)) {
                act(down);
            }
        }
        true
    }

    /// What was told late leaves the streams of this request uncertain.
    pub(super) fn is_of_doubted_crowd(&self, down: &DownstreamRequest<T>) -> bool {
        self.is_doubted_by_late(down) || self.is_doubted_by_unseen(down)
    }

    fn is_doubted_by_late(&self, down: &DownstreamRequest<T>) -> bool {
        is_before(down, self.crowd.by_late) && down.attempts.iter().any(is_not_by_id)
    }

    fn is_doubted_by_unseen(&self, down: &DownstreamRequest<T>) -> bool {
        is_before(down, self.crowd.by_unseen) && down.may_be_others()
    }

    /// Says so of a request that is taken out.
    pub(super) fn doubt_as_of_crowd(&self, down: &mut DownstreamRequest<T>) {
        let is_by_late = self.is_doubted_by_late(down);
        if !is_by_late && !self.is_doubted_by_unseen(down) {
            return;
        }
        down.doubt.raise(Doubt::OrderBroken);
        if !is_by_late {
            return;
        }
        for attempt in &mut down.attempts {
            if [By::Fields, By::Field].contains(&attempt.join.by) && is_not_by_id(attempt) {
                attempt.join.confidence = Confidence::Ambiguous;
            }
        }
    }
}

fn is_before<T>(down: &DownstreamRequest<T>, until: Option<Timestamp>) -> bool {
    until.is_some_and(|at| down.opening.at <= at)
}

fn is_not_by_id<T>(attempt: &Attempt<T>) -> bool {
    attempt.join.confidence != Confidence::Id
}
