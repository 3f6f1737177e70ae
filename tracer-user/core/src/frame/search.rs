//! Finding frames where the place in the stream is not known: a chain of plausible frame headers, each
//! standing where the one before says the next one is.

use std::collections::VecDeque;

use crate::event::Timestamp;
use crate::limits;

use super::head::{Head, flag, frame_type};
use super::reader::FrameReader;
use super::{DataPiece, StreamId};

/// Chains followed at once.
const CANDIDATES: usize = 64;
/// Runs and holes remembered for the replay.
const PIECES: usize = 1_024;
/// What a chain must weigh beside its length.
const ENOUGH_EVIDENCE: u32 = 2;
/// Bytes remembered for the replay.
const REMEMBERED: usize = limits::FRAME_PAYLOAD;

#[derive(Debug)]
struct Candidate {
    /// Where its first frame header starts.
    start: u64,
    /// Where its next one must start.
    next: u64,
    n_frames: u32,
    /// See [`evidence`].
    evidence: u32,
    /// The header block that the next frame must continue.
    open: Option<StreamId>,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    Hole(u32),
}

/// Bytes or a hole of one call.
#[derive(Debug)]
struct Piece {
    content: Content,
    at: Timestamp,
}

impl Piece {
    fn len(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Hole(len) => u64::from(*len),
        }
    }
}

/// A chain was found.
#[derive(Debug)]
pub(super) struct FrameChain {
    /// Bytes passed over before the replay.
    pub(super) skipped: Option<u64>,
    /// What to read again, from a frame header on, and when it went by.
    pub(super) replay: Vec<(DataPiece, Timestamp)>,
}

/// The search in one direction.
#[derive(Debug)]
pub(super) struct Search {
    /// Bytes passed over before offset 0 of this search.
    skipped: Option<u64>,
    max_frame_size: Option<u32>,
    /// Offset of the next byte.
    at: u64,
    /// The last bytes, newest lowest, and how many of them follow each other without a hole.
    window: u128,
    run: u64,
    candidates: Vec<Candidate>,
    /// The smallest `next` of the candidates.
    next_due: u64,
    history: VecDeque<Piece>,
    history_start: u64,
    history_bytes: usize,
    /// When what comes next went by.
    now: Timestamp,
    /// Frames are known to come: a frame header where bytes begin is one, and elsewhere two in a row are.
    expecting: bool,
    /// Where the bytes began that are looked at.
    run_start: u64,
}

impl FrameReader {
    /// The connection is known to speak HTTP/2: the first whole frame is believed, not only some in a row.
    pub fn expect_frames(&mut self) {
        if let Some(search) = &mut self.search {
            search.expecting = true;
        }
    }
}

impl Search {
    /// Bytes of memory that it takes, about.
    pub(super) fn memory(&self) -> usize {
        let pieces = self.history.capacity() * size_of::<Piece>();
        let candidates = self.candidates.capacity() * size_of::<Candidate>();
        size_of::<Search>() + pieces + candidates + self.history_bytes
    }

    pub(super) fn new(skipped: Option<u64>, max_frame_size: Option<u32>) -> Search {
        Search {
            skipped,
            max_frame_size,
            at: 0,
            window: 0,
            run: 0,
            candidates: Vec::new(),
            next_due: u64::MAX,
            history: VecDeque::new(),
            history_start: 0,
            history_bytes: 0,
            now: Timestamp(0),
            expecting: false,
            run_start: 0,
        }
    }

    /// What comes next went by at this time.
    pub(super) fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// What came may turn out to be frames.
    pub(super) fn is_promising(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// All that came since the search began is whole frames: how many. None if it is not, or something was missed.
    pub(super) fn whole_frames(&self) -> Option<u32> {
        let exact = |candidate: &&Candidate| {
            candidate.start == 0 && candidate.next == self.at && candidate.open.is_none()
        };
        self.candidates
            .iter()
            .find(exact)
            .filter(|_| self.history_start == 0)
            .map(|candidate| candidate.n_frames)
    }

    /// Takes all that came since the search began for frames.
    pub(super) fn take_whole(&mut self) -> FrameChain {
        FrameChain {
            skipped: self.skipped,
            replay: self.replay(),
        }
    }

    /// Bytes passed over so far, if known.
    pub(super) fn skipped(&self) -> Option<u64> {
        self.skipped.map(|before| before.saturating_add(self.at))
    }

    /// Bytes kept for the replay.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.history_bytes
    }

    /// `lost` bytes went by unseen.
    pub(super) fn gap(&mut self, lost: Option<u64>) {
        let skipped = self
            .skipped()
            .zip(lost)
            .map(|(before, lost)| before.saturating_add(lost));
        let (now, expecting) = (self.now, self.expecting);
        *self = Search::new(skipped, self.max_frame_size);
        (self.now, self.expecting) = (now, expecting);
    }

    /// Bytes of unknown content, counted.
    pub(super) fn hole(&mut self, len: u32) {
        self.at += u64::from(len);
        self.run = 0;
        let at = self.at;
        self.candidates.retain(|candidate| candidate.next >= at);
        self.due();
        self.history.push_back(Piece {
            content: Content::Hole(len),
            at: self.now,
        });
        self.trim();
    }

    /// Looks at some bytes. When a chain is found: how many of them it took.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<(usize, FrameChain)> {
        self.run_start = self.at;
        for (n, &byte) in (1..).zip(bytes) {
            self.window = self.window << 8 | u128::from(byte);
            self.at += 1;
            self.run += 1;
            if self.run < Head::LEN as u64 || !may_be_head(self.window) {
                continue;
            }
            let [.., b0, b1, b2, b3, b4, b5, b6, b7, b8] = self.window.to_be_bytes();
            let head = Head::parse(&[b0, b1, b2, b3, b4, b5, b6, b7, b8]);
            let start = self.at - Head::LEN as u64;
            if head.is_plausible(self.max_frame_size)
                && is_likely(&head)
                && let Some(chain_start) = self.plausible_head(start, &head)
            {
                self.remember(bytes.get(..n).unwrap_or(bytes));
                return Some((n, self.take_found(chain_start)));
            }
        }
        // Chains whose next frame header was seen and was none end here.
        let (at, due) = (self.at, self.next_due);
        if at >= due.saturating_add(Head::LEN as u64) {
            self.candidates
                .retain(|candidate| candidate.next + Head::LEN as u64 > at);
            self.due();
        }
        self.remember(bytes);
        self.trim();
        None
    }

    /// A plausible frame header at `start`: the start of the chain that it completes, if any.
    fn plausible_head(&mut self, start: u64, head: &Head) -> Option<u64> {
        let next = start + Head::LEN as u64 + u64::from(head.len);
        let continuation = head.frame_type == frame_type::CONTINUATION;
        let open =
            (head.carries_field_block() && !head.has(flag::END_HEADERS)).then_some(head.stream_id);
        let mut in_chain = false;
        if self.next_due <= start {
            for candidate in self.candidates.iter_mut().filter(|c| c.next == start) {
                let fits = match candidate.open {
                    Some(stream_id) => continuation && stream_id == head.stream_id,
                    None => !continuation,
                };
                if !fits {
                    continue;
                }
                in_chain = true;
                candidate.next = next;
                candidate.n_frames += 1;
                candidate.evidence += evidence(head);
                candidate.open = open;
                let enough = candidate.n_frames >= limits::PLAUSIBLE_FRAMES
                    && candidate.evidence >= ENOUGH_EVIDENCE;
                if enough || self.expecting {
                    return Some(candidate.start);
                }
            }
            self.candidates.retain(|candidate| candidate.next > start);
        }
        if !in_chain && !continuation {
            if self.expecting && start == self.run_start {
                return Some(start);
            }
            let evidence = evidence(head);
            let candidate = Candidate {
                start,
                next,
                n_frames: 1,
                evidence,
                open,
            };
            if self.candidates.len() < CANDIDATES {
                self.candidates.push(candidate);
            } else if let Some(farthest) = self.candidates.iter_mut().max_by_key(|c| c.next)
                && farthest.next > next
            {
                *farthest = candidate;
            }
        }
        self.due();
        None
    }

    fn due(&mut self) {
        self.next_due = self
            .candidates
            .iter()
            .map(|c| c.next)
            .min()
            .unwrap_or(u64::MAX);
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.history_bytes += bytes.len();
        match self.history.back_mut() {
            Some(Piece {
                content: Content::Bytes(last),
                at,
            }) if *at == self.now => last.extend_from_slice(bytes),
            _ => self.history.push_back(Piece {
                content: Content::Bytes(bytes.to_vec()),
                at: self.now,
            }),
        }
    }

    /// Forgets what no chain needs, and the oldest beyond the bounds.
    fn trim(&mut self) {
        let wanted = self.candidates.iter().map(|c| c.start).min();
        // A header may have begun in the last bytes.
        self.forget_before(wanted.unwrap_or(u64::MAX).min(self.at.saturating_sub(8)));
        while self.history.len() > PIECES {
            let first = self.history.front().map_or(0, Piece::len);
            self.forget_before(self.history_start + first.max(1));
        }
        if self.history_bytes > 2 * REMEMBERED {
            let mut excess = self.history_bytes - REMEMBERED;
            let mut before = self.history_start;
            for piece in &self.history {
                let bytes = match &piece.content {
                    Content::Bytes(bytes) => bytes.len(),
                    Content::Hole(_) => 0,
                };
                if bytes >= excess {
                    before += excess as u64;
                    break;
                }
                excess -= bytes;
                before += piece.len();
            }
            self.forget_before(before);
        }
    }

    fn forget_before(&mut self, offset: u64) {
        while self.history_start < offset {
            let excess = offset - self.history_start;
            match self.history.front_mut().map(|piece| &mut piece.content) {
                None => {
                    self.history_start = offset;
                    return;
                }
                Some(Content::Bytes(bytes)) if bytes.len() as u64 > excess => {
                    bytes.drain(..excess as usize);
                    self.history_bytes -= excess as usize;
                    self.history_start = offset;
                    return;
                }
                Some(Content::Hole(len)) if u64::from(*len) > excess => {
                    *len -= excess as u32;
                    self.history_start = offset;
                    return;
                }
                Some(_) => {
                    if let Some(piece) = self.history.pop_front() {
                        self.history_start += piece.len();
                        if let Content::Bytes(bytes) = piece.content {
                            self.history_bytes -= bytes.len();
                        }
                    }
                }
            }
        }
    }

    /// What to replay of the chain that begins at `start`, or, when that is forgotten, of its last header.
    fn take_found(&mut self, start: u64) -> FrameChain {
        let last_head = self.at - Head::LEN as u64;
        let start = if start >= self.history_start {
            start
        } else {
            last_head
        };
        self.forget_before(start);
        FrameChain {
            skipped: self.skipped.map(|before| before.saturating_add(start)),
            replay: self.replay(),
        }
    }

    fn replay(&mut self) -> Vec<(DataPiece, Timestamp)> {
        let pieces = self.history.drain(..);
        pieces
            .map(|piece| {
                let content = match piece.content {
                    Content::Bytes(bytes) => DataPiece::copy_of(&bytes),
                    Content::Hole(len) => DataPiece::Hole(len),
                };
                (content, piece.at)
            })
            .collect()
    }
}

/// A cheap look at the last nine bytes: a length below 2^23, a type up to PRIORITY_UPDATE, the reserved bit unset.
#[inline]
fn may_be_head(window: u128) -> bool {
    let (length, frame_type) = ((window >> 64) as u8, (window >> 40) as u8);
    length < 0x80 && frame_type <= frame_type::PRIORITY_UPDATE && window as u32 >> 31 == 0
}

/// Stricter than the RFC: zeros and small integers in a payload look much like short frames, and waiting
/// for a better chain costs less than believing a wrong one.
fn is_likely(head: &Head) -> bool {
    // Pushed streams alone have even ids; frames without content only end something.
    let client_stream = head.stream_id.0 == 0 || head.stream_id.0 % 2 == 1;
    let empty = head.len == 0
        && matches!(head.frame_type, frame_type::DATA | frame_type::HEADERS)
        && !head.has(flag::END_STREAM);
    client_stream && !empty
}

/// How much a header says for a chain: types with a fixed length or stream do more than others.
fn evidence(head: &Head) -> u32 {
    match head.frame_type {
        frame_type::PRIORITY
        | frame_type::RST_STREAM
        | frame_type::SETTINGS
        | frame_type::PING
        | frame_type::GOAWAY
        | frame_type::WINDOW_UPDATE => 2,
        frame_type::DATA if head.len < 256 => 0,
        _ => 1,
    }
}
