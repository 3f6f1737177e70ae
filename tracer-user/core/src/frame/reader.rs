//! Incremental reader of one direction: bytes and holes in, [`Step`]s out.

use tracer_ebpf::http2::PREFACE;

use crate::event::Timestamp;
use crate::limits;

use super::data::{Data, DataPart, split};
use super::field_block::FieldBlock;
use super::head::{Broken, DEFAULT_MAX_FRAME_SIZE, Head, flag, frame_type};
use super::hpack::Decoder;
use super::search::{FrameChain, Search};
use super::{DataPiece, Fault, Frame, Step, StreamId, control};

/// Buffer space that is kept from frame to frame.
const BUFFER_KEPT: usize = 4_096;
/// Steps whose space is kept when all were taken.
const STEPS_KEPT: usize = 64;

/// Where in the connection a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first byte of the client's connection preface.
    Preface,
    /// At a frame header.
    Boundary {
        /// It is the first of this direction: every header block will be seen, and the first frame must
        /// be SETTINGS. Otherwise earlier header blocks are unseen.
        first: bool,
    },
    /// Anywhere: frames are searched for.
    Unknown,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum FramePosition {
    /// In the connection preface.
    Preface { matched: usize },
    /// In a frame header of which `have` bytes are known.
    Head { have: usize, bytes: [u8; Head::LEN] },
    /// In the payload of DATA.
    Data(Data),
    /// In a payload that is wanted whole; `FrameReader::buffer` is its captured beginning.
    Payload {
        head: Head,
        left: u32,
        missing: Option<Missing>,
    },
    /// In a payload that is not wanted; at its end the frame is told as unknown, or not at all.
    Skip { head: Head, left: u32, told: bool },
    /// Not known.
    Lost,
}

impl FramePosition {
    pub(super) const BOUNDARY: FramePosition = FramePosition::Head {
        have: 0,
        bytes: [0; Head::LEN],
    };
}

/// Why a payload was not captured whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Hole,
    /// `limits::FRAME_PAYLOAD`.
    Limit,
    /// What follows was lost.
    Gap,
    /// Its beginning was lost.
    Beginning,
}

/// Reads the frames of one direction of one connection.
///
/// Input comes by [`push`](FrameReader::push), [`hole`](FrameReader::hole) and
/// [`gap`](FrameReader::gap); afterwards [`steps`](FrameReader::steps) gives what came of it. Nothing
/// the peers send can make the reader fail or grow without bound.
#[derive(Debug)]
pub struct FrameReader {
    pub(super) position: FramePosition,
    pub(super) steps: Vec<Step>,
    /// When what the steps tell went by, where that was before now: so many steps from the first on, each time.
    pub(super) late: Vec<(usize, Timestamp)>,
    /// When what is fed went by.
    pub(super) now: Timestamp,
    pub(super) hpack: Decoder,
    /// The header block that the next frame must continue.
    pub(super) block: Option<FieldBlock>,
    /// A header block that was not seen to begin may still go on here.
    pub(super) may_be_in_block: bool,
    /// Captured beginning of the current payload.
    pub(super) buffer: Vec<u8>,
    pub(super) search: Option<Box<Search>>,
    /// The last frame header read.
    pub(super) current: Head,
    /// The next frame is the direction's first.
    pub(super) first: bool,
    /// The place is certain: seen from the start, or followed by enough plausible frames. Only then what
    /// looks like a violation is one, and not a reader in the wrong place.
    pub(super) proven: bool,
    /// Plausible frames in a row that make the place certain.
    pub(super) frames_to_prove: u32,
    /// Bytes of a search are being read again.
    replaying: bool,
    pub(super) plausible_frames: u32,
    pub(super) max_frame_size: Option<u32>,
    /// Which SETTINGS the limit of the table is of, until they are acknowledged; and how many were.
    pub(super) limit_set_by: Option<u32>,
    n_acks: u32,
    /// What the receiver announced was all seen: nothing yet, and the default holds.
    pub(super) default_holds: bool,
}

impl FrameReader {
    /// A reader that begins at `start`.
    #[must_use]
    pub fn new(start: Start) -> FrameReader {
        let from_start = matches!(start, Start::Preface | Start::Boundary { first: true });
        let (position, search) = match start {
            Start::Preface => (FramePosition::Preface { matched: 0 }, None),
            Start::Boundary { .. } => (FramePosition::BOUNDARY, None),
            Start::Unknown => (
                FramePosition::Lost,
                Some(Box::new(Search::new(Some(0), None))),
            ),
        };
        FrameReader {
            position,
            steps: Vec::new(),
            late: Vec::new(),
            now: Timestamp(0),
            hpack: Decoder::new(from_start),
            block: None,
            may_be_in_block: !from_start,
            buffer: Vec::new(),
            search,
            current: Head::default(),
            first: from_start,
            proven: from_start,
            frames_to_prove: limits::PLAUSIBLE_FRAMES,
            replaying: false,
            plausible_frames: 0,
            max_frame_size: None,
            limit_set_by: None,
            n_acks: 0,
            default_holds: false,
        }
    }

    /// Tells when what is fed next went by.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
        if let Some(search) = &mut self.search {
            search.set_now(now);
        }
    }

    /// When the steps went by that are taken next: so many from the first on, each time. Those that are left out
    /// went by now; what is found where the place was not known went by before.
    pub fn take_late(&mut self) -> Vec<(usize, Timestamp)> {
        std::mem::take(&mut self.late)
    }

    /// The place is not known, and what was fed may turn out to be frames, which are then told late.
    #[must_use]
    pub fn may_find_late(&self) -> bool {
        self.search
            .as_ref()
            .is_some_and(|search| search.is_promising())
    }

    /// The place is not known, and all that was fed since is whole frames: how many.
    #[must_use]
    pub fn whole_frames(&self) -> Option<u32> {
        self.search.as_ref()?.whole_frames()
    }

    /// Takes them for frames, because the connection is known to speak HTTP/2.
    pub fn believe_whole_frames(&mut self) {
        if self.whole_frames().is_some()
            && let Some(chain) = self.search.as_mut().map(|search| search.take_whole())
        {
            self.replay(chain);
        }
    }

    /// Feeds bytes that follow the last ones fed.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.consume(rest);
        }
    }

    /// Feeds `len` bytes that follow the last ones fed and whose content is not known.
    ///
    /// Inside DATA this is normal. Inside another frame's payload the frame is given up
    /// ([`Fault::HoleInFrame`]) unless what is wanted of it was captured. Over a frame header the place is
    /// lost ([`Fault::Gap`]).
    pub fn hole(&mut self, len: u32) {
        let mut rest = len;
        while rest > 0 {
            rest = self.consume_hole(rest);
        }
    }

    /// Tells the SETTINGS_HEADER_TABLE_SIZE that the receiver of this direction announced. A lower one
    /// binds the sender from its next size update, or from its acknowledgement of these SETTINGS, the `nth`.
    pub fn set_hpack_limit(&mut self, bytes: u32, nth: u32) {
        self.hpack.set_limit(bytes);
        self.limit_set_by = Some(nth);
    }

    /// Tells the SETTINGS_MAX_FRAME_SIZE that the receiver of this direction announced (or the default
    /// [`DEFAULT_MAX_FRAME_SIZE`](super::head::DEFAULT_MAX_FRAME_SIZE)); longer frames are violations from then on. A lower value than one
    /// told before is not enforced: nothing here tells when the sender learns of it.
    pub fn set_max_frame_size(&mut self, bytes: u32) {
        self.max_frame_size = Some(bytes.max(self.max_frame_size.unwrap_or(0)));
    }

    /// Tells that the receiver of this direction has announced nothing yet, so that frames longer than
    /// [`DEFAULT_MAX_FRAME_SIZE`](super::head::DEFAULT_MAX_FRAME_SIZE) are violations.
    pub fn hold_default_limits(&mut self) {
        self.default_holds = true;
    }

    /// The longest frame that the receiver allows, as far as is known.
    pub(super) fn longest_allowed(&self) -> Option<u32> {
        let default = self.default_holds.then_some(DEFAULT_MAX_FRAME_SIZE);
        self.max_frame_size.or(default)
    }

    /// SETTINGS of this direction may have gone by, and no header block.
    pub(crate) fn may_have_begun(&mut self) {
        self.first = false;
    }

    /// Takes the steps, oldest first. `memory` is what the next ones are put into; it must be empty.
    pub fn swap_steps(&mut self, memory: &mut Vec<Step>) {
        if memory.capacity() > STEPS_KEPT {
            memory.shrink_to(STEPS_KEPT);
        }
        std::mem::swap(&mut self.steps, memory);
    }

    /// Takes the steps, oldest first.
    pub fn steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// Whether the reader knows where in the frames it stands. If not, `gap(Some(0), boundary)` with a
    /// known boundary helps ([`gap`](FrameReader::gap)), or enough plausible frames in a row. Right after a
    /// gap or a late attach the place is doubted at the first frame that would be a violation, so this is
    /// to be asked before each run of bytes.
    #[must_use]
    pub fn is_synchronised(&self) -> bool {
        !matches!(self.position, FramePosition::Lost)
    }

    /// Frame headers that broke no rule, in a row, since the start or the last time the place was lost.
    #[must_use]
    pub fn plausible_frames(&self) -> u32 {
        self.plausible_frames
    }

    pub(super) fn push_step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Reports a broken rule. False when the place is not certain enough for that: then it is lost now.
    pub(super) fn broken(&mut self, broken: Broken, stream_id: StreamId) -> bool {
        if self.proven {
            self.push_step(Step::Violation(broken.on(stream_id, self.current)));
            return true;
        }
        self.implausible();
        false
    }

    /// Takes some bytes off `bytes`, which is not empty.
    pub(super) fn consume<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self.position {
            FramePosition::Head { have: 0, .. } => match bytes.split_first_chunk::<{ Head::LEN }>()
            {
                Some((head, rest)) => {
                    self.begin_frame(head);
                    rest
                }
                None => self.consume_head(0, [0; Head::LEN], bytes),
            },
            FramePosition::Head { have, bytes: known } => self.consume_head(have, known, bytes),
            FramePosition::Data(data) => self.consume_data(data, bytes),
            FramePosition::Payload {
                head,
                left,
                missing,
            } => {
                let (part, rest) = split(bytes, left);
                let whole = part.len() as u64 == u64::from(left) && self.buffer.is_empty();
                if whole && missing.is_none() && part.len() <= limits::FRAME_PAYLOAD {
                    self.position = FramePosition::BOUNDARY;
                    self.end_frame(&head, part, Missing::Hole);
                    return rest;
                }
                let missing = missing.or_else(|| self.buffer_payload(part));
                let left = left - part.len() as u32;
                self.position = FramePosition::Payload {
                    head,
                    left,
                    missing,
                };
                match left {
                    0 => self.end_buffered_frame(),
                    _ => self.tell_early(head, left),
                }
                rest
            }
            FramePosition::Skip { head, left, told } => {
                let (part, rest) = split(bytes, left);
                self.skip(head, left - part.len() as u32, told);
                rest
            }
            FramePosition::Preface { matched } => self.consume_preface(matched, bytes),
            FramePosition::Lost => self.consume_lost(bytes),
        }
    }

    /// Takes something off `hole` bytes, which are not 0; says how many are left.
    fn consume_hole(&mut self, hole: u32) -> u32 {
        match self.position {
            FramePosition::Data(mut data) => {
                let n = match data.next() {
                    DataPart::PadLength => {
                        data.pad_length_unseen();
                        self.push_step(Step::Fault(Fault::HoleInFrame));
                        0
                    }
                    DataPart::Data(n) | DataPart::Either(n) => {
                        let n = n.min(hole);
                        let stream_id = data.head.stream_id;
                        self.push_step(Step::DataBody {
                            stream_id,
                            piece: DataPiece::Hole(n),
                        });
                        n
                    }
                    DataPart::Padding(n) => n.min(hole),
                };
                data.advance(n);
                self.go_on(data);
                hole - n
            }
            FramePosition::Payload {
                head,
                left,
                missing,
            } => {
                let n = left.min(hole);
                let missing = missing.or(Some(Missing::Hole));
                self.position = FramePosition::Payload {
                    head,
                    left: left - n,
                    missing,
                };
                if left == n {
                    self.end_buffered_frame();
                }
                hole - n
            }
            FramePosition::Skip { head, left, told } => {
                let n = left.min(hole);
                self.skip(head, left - n, told);
                hole - n
            }
            FramePosition::Head { .. } | FramePosition::Preface { .. } => {
                self.abandon_block(false);
                self.push_step(Step::Fault(Fault::Gap));
                self.lose(Some(u64::from(hole)));
                0
            }
            FramePosition::Lost => {
                if let Some(search) = &mut self.search {
                    search.hole(hole);
                }
                0
            }
        }
    }

    fn consume_head<'a>(
        &mut self,
        have: usize,
        mut known: [u8; Head::LEN],
        bytes: &'a [u8],
    ) -> &'a [u8] {
        let mut n = 0;
        for (slot, &byte) in known.iter_mut().skip(have).zip(bytes) {
            *slot = byte;
            n += 1;
        }
        if have + n == Head::LEN {
            self.begin_frame(&known);
        } else {
            self.position = FramePosition::Head {
                have: have + n,
                bytes: known,
            };
        }
        bytes.get(n..).unwrap_or_default()
    }

    fn consume_preface<'a>(&mut self, matched: usize, bytes: &'a [u8]) -> &'a [u8] {
        let expected = PREFACE.get(matched..).unwrap_or_default();
        let n = expected.len().min(bytes.len());
        if expected.get(..n) != bytes.get(..n) {
            self.implausible();
            self.push(PREFACE.get(..matched).unwrap_or_default());
            return bytes;
        }
        self.position = FramePosition::Preface {
            matched: matched + n,
        };
        if matched + n == PREFACE.len() {
            self.push_step(Step::Preface);
            self.position = FramePosition::BOUNDARY;
        }
        bytes.get(n..).unwrap_or_default()
    }

    fn consume_data<'a>(&mut self, mut data: Data, bytes: &'a [u8]) -> &'a [u8] {
        let stream_id = data.head.stream_id;
        let rest = match data.next() {
            DataPart::PadLength => {
                let (part, rest) = split(bytes, 1);
                let broken = part.first().and_then(|&pad| data.pad_length(pad));
                if let Some(broken) = broken
                    && !self.broken(broken, stream_id)
                {
                    return rest;
                }
                rest
            }
            DataPart::Data(n) => {
                let (part, rest) = split(bytes, n);
                let piece = DataPiece::copy_of(part);
                self.push_step(Step::DataBody { stream_id, piece });
                data.advance(part.len() as u32);
                rest
            }
            DataPart::Either(n) => {
                let (part, rest) = split(bytes, n);
                let piece = DataPiece::Hole(part.len() as u32);
                self.push_step(Step::DataBody { stream_id, piece });
                data.advance(part.len() as u32);
                rest
            }
            DataPart::Padding(n) => {
                let (part, rest) = split(bytes, n);
                data.advance(part.len() as u32);
                rest
            }
        };
        self.go_on(data);
        rest
    }

    fn consume_lost<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(search) = &mut self.search else {
            // Cannot be: Lost and a search come together.
            self.search = Some(Box::new(Search::new(None, self.max_frame_size)));
            return bytes;
        };
        if self.replaying {
            // These bytes were searched already.
            search.gap(Some(bytes.len() as u64));
            return &[];
        }
        let Some((n, found)) = search.push(bytes) else {
            return &[];
        };
        self.replay(found);
        bytes.get(n..).unwrap_or_default()
    }

    /// Reads again what was searched.
    fn replay(&mut self, found: FrameChain) {
        self.found(found.skipped);
        // The frames that were found count once more when they are read; what follows must agree too.
        self.frames_to_prove = 2 * limits::PLAUSIBLE_FRAMES;
        self.replaying = true;
        for (piece, at) in found.replay {
            match piece {
                DataPiece::Bytes(bytes) => self.push(&bytes),
                DataPiece::Hole(len) => self.hole(len),
            }
            if at != self.now {
                self.late.push((self.steps.len(), at));
            }
        }
        self.replaying = false;
    }

    /// DATA goes on, or is whole.
    pub(super) fn go_on(&mut self, data: Data) {
        if data.left == 0 {
            self.position = FramePosition::BOUNDARY;
            self.push_step(Step::DataEnd(data.data_head()));
        } else {
            self.position = FramePosition::Data(data);
        }
    }

    pub(super) fn skip(&mut self, head: Head, left: u32, told: bool) {
        if left > 0 {
            self.position = FramePosition::Skip { head, left, told };
            return;
        }
        self.position = FramePosition::BOUNDARY;
        if !told {
            let Head {
                len,
                frame_type,
                flags,
                stream_id,
            } = head;
            let frame = Frame::Unknown {
                frame_type,
                stream_id,
                len,
            };
            self.push_step(Step::Frame { len, flags, frame });
        }
    }

    fn buffer_payload(&mut self, part: &[u8]) -> Option<Missing> {
        let room = limits::FRAME_PAYLOAD.saturating_sub(self.buffer.len());
        let kept = part.get(..room).unwrap_or(part);
        self.buffer.extend_from_slice(kept);
        (kept.len() < part.len()).then_some(Missing::Limit)
    }

    fn end_buffered_frame(&mut self) {
        let FramePosition::Payload { head, missing, .. } = self.position else {
            return;
        };
        self.position = FramePosition::BOUNDARY;
        let mut buffer = std::mem::take(&mut self.buffer);
        let missing = match missing {
            // The kernel programs copy no more of a frame either.
            Some(Missing::Hole) if buffer.len() >= limits::FRAME_PAYLOAD => Missing::Limit,
            missing => missing.unwrap_or(Missing::Hole),
        };
        self.end_frame(&head, &buffer, missing);
        buffer.clear();
        buffer.shrink_to(BUFFER_KEPT);
        self.buffer = buffer;
    }

    /// A frame other than DATA has gone by; `captured` is the beginning of its payload.
    pub(super) fn end_frame(&mut self, head: &Head, captured: &[u8], missing: Missing) {
        if head.frame_type == frame_type::SETTINGS && head.has(flag::ACK) {
            self.n_acks = self.n_acks.saturating_add(1);
            if self.limit_set_by.is_some_and(|nth| self.n_acks >= nth) {
                self.limit_set_by = None;
                self.hpack.acknowledged();
            }
        }
        if head.carries_field_block() {
            return self.field_block_frame(head, captured, missing);
        }
        let parsed = control::parse(head, captured);
        if let Some(broken) = parsed.broken
            && !self.broken(broken, head.stream_id)
        {
            return;
        }
        if parsed.cut {
            self.cut_frame(head, parsed.frame.is_some(), missing);
        }
        if let Some(frame) = parsed.frame {
            self.push_step(Step::Frame {
                len: head.len,
                flags: head.flags,
                frame,
            });
        }
    }
}
