//! Rules that the sender of a frame broke, as its receiver shows it: where the sender's end is followed too, it has to
//! show the same. See [`super::witness`].

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{ConnectionInfo, Sink, say};
use crate::anomaly::kind::{Finding, Verdict};
use crate::event::Timestamp;
use crate::frame::{Rule, StreamId};
use crate::limits;

/// A rule that was broken on a stream, or on the connection (stream 0), at the end with this number.
type Broken = (u64, Rule, StreamId);

/// What was found at the receiver's end, and waits for the sender's.
#[derive(Debug)]
pub(super) struct Accusation {
    info: Arc<ConnectionInfo>,
    findings: Vec<Finding>,
    /// What the sender's end has to show.
    of_sender: Broken,
    until: Timestamp,
}

impl Accusation {
    pub(super) fn new(
        info: &Arc<ConnectionInfo>,
        findings: Vec<Finding>,
        of_sender: Broken,
        at: Timestamp,
    ) -> Accusation {
        Accusation {
            info: Arc::clone(info),
            findings,
            of_sender,
            until: Timestamp(at.0.saturating_add(limits::WITNESS_NS)),
        }
    }

    pub(super) fn say(self, sink: &mut dyn Sink) {
        say(&self.info, self.findings, sink);
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Accusations {
    /// What ends showed of what they sent themselves.
    shown: HashSet<Broken, RandomState>,
    shown_order: VecDeque<Broken>,
    waiting: VecDeque<Accusation>,
    /// Ends of which not every frame was seen: what they do not show may have been sent.
    blind: HashSet<u64, RandomState>,
}

impl Accusations {
    /// Not every frame of this end was seen.
    pub(super) fn blind(&mut self, end: u64) {
        self.blind.insert(end);
    }

    #[cfg(test)]
    pub(super) fn n_blind(&self) -> usize {
        self.blind.len()
    }

    /// The end is gone.
    pub(super) fn forget(&mut self, end: u64) {
        self.blind.remove(&end);
    }

    /// The sender's own end shows it. Gives back what had waited for that.
    pub(super) fn show(&mut self, broken: Broken) -> Option<Accusation> {
        if self.shown.insert(broken) {
            self.shown_order.push_back(broken);
        }
        if self.shown_order.len() > limits::WITNESSED_STREAMS
            && let Some(oldest) = self.shown_order.pop_front()
        {
            self.shown.remove(&oldest);
        }
        let place = self.waiting.iter().position(|it| it.of_sender == broken)?;
        self.waiting.remove(place)
    }

    /// The receiver's end shows it. Gives back what can be told now: this one, or one that has to go for it.
    pub(super) fn accuse(&mut self, accusation: Accusation) -> Option<Accusation> {
        let (sender, ..) = accusation.of_sender;
        if self.shown.contains(&accusation.of_sender) || self.blind.contains(&sender) {
            return Some(accusation);
        }
        self.waiting.push_back(accusation);
        if self.waiting.len() > limits::WITNESSES_WAITING {
            return self.waiting.pop_front();
        }
        None
    }

    /// One that has waited until `now`.
    pub(super) fn overdue(&mut self, now: Timestamp) -> Option<Accusation> {
        if self.waiting.front()?.until > now {
            return None;
        }
        let accusation = self.waiting.pop_front()?;
        Some(self.doubted(accusation))
    }

    /// One of the receiver's end `end`, which is about to go.
    pub(super) fn of(&mut self, end: u64) -> Option<Accusation> {
        let place = self.waiting.iter().position(|it| it.info.id.0 == end)?;
        let accusation = self.waiting.remove(place)?;
        Some(self.doubted(accusation))
    }

    /// Nobody is blamed for what the sender's end does not show, if that saw everything.
    fn doubted(&self, mut accusation: Accusation) -> Accusation {
        let (sender, ..) = accusation.of_sender;
        if !self.blind.contains(&sender) {
            for finding in &mut accusation.findings {
                finding.verdict = Verdict::Unknown;
                finding.sender = None;
                finding
                    .summary
                    .push_str("; its own end, which is followed too, sent nothing like it");
            }
        }
        accusation
    }
}
