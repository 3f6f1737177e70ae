//! Lost bytes: what can still be known, and where reading goes on.

use crate::event::Boundary;
use crate::limits::{self, Limit};

use super::data::Data;
use super::head::{Head, frame_type};
use super::reader::{FramePosition, FrameReader, Missing};
use super::search::Search;
use super::{Fault, Step, StreamId};

impl FrameReader {
    /// An unknown stretch went by, of `lost` bytes if known; the next byte stands at `boundary`.
    ///
    /// Inside a frame's payload a loss of known length is no more than a hole. Any other may have held
    /// header blocks: [`Fault::Gap`], every HPACK entry is unseen from here on, and [`Step::Resynced`]
    /// when the boundary is known. `gap(Some(0), boundary)` tells a reader that has lost its place
    /// where it is, and does nothing to one that agrees with it.
    pub fn gap(&mut self, lost: Option<u64>, boundary: Boundary) {
        if let Some(lost) = lost
            && self.bridge(lost, boundary)
        {
            return;
        }
        if let Some(search) = &mut self.search {
            if boundary == Boundary::Unknown && lost == Some(0) {
                return;
            }
            search.gap(lost);
            let skipped = search.skipped();
            if lost != Some(0) {
                self.push_step(Step::Fault(Fault::Gap));
            }
            if boundary != Boundary::Unknown {
                self.resume(boundary, skipped);
            }
            return;
        }
        if lost.is_none() && self.goes_on_in_same_frame(boundary) {
            return;
        }
        match (lost, self.left_of_frame()) {
            // The rest of this frame is a part of what was lost.
            (Some(lost), Some((_, left))) if lost > u64::from(left) => self.hole(left),
            _ => self.abort_frame(),
        }
        self.abandon_block(false);
        self.push_step(Step::Fault(Fault::Gap));
        if boundary == Boundary::Unknown {
            self.lose(lost);
        } else {
            self.unproven();
            self.resume(boundary, lost);
        }
    }

    /// Where nothing that matters was lost, goes on as if it had been seen.
    fn bridge(&mut self, lost: u64, boundary: Boundary) -> bool {
        match (self.position, boundary) {
            (FramePosition::Lost, _) => return false,
            (FramePosition::Preface { .. }, _)
            | (FramePosition::Head { .. }, Boundary::Unknown) => {
                return lost == 0;
            }
            (FramePosition::Head { have, .. }, Boundary::At { after, .. }) => {
                return lost == 0 && have == 0 && after == 0;
            }
            (FramePosition::Head { have, bytes }, Boundary::InHeader { len, bytes: told }) => {
                let len = usize::from(len);
                // The part of the header that was lost is told.
                let same = (have as u64).checked_add(lost) == Some(len as u64)
                    && bytes.get(..have) == told.get(..have);
                if same && len < Head::LEN {
                    self.position = FramePosition::Head {
                        have: len,
                        bytes: told,
                    };
                }
                return same && len < Head::LEN;
            }
            (
                FramePosition::Data(_) | FramePosition::Payload { .. } | FramePosition::Skip { .. },
                _,
            ) => {}
        }
        let Some((head, left)) = self.left_of_frame() else {
            return false;
        };
        match boundary {
            Boundary::InHeader { len, bytes } => {
                // The rest of this frame and a part of the next header, which is told.
                let fits = u64::from(left) + u64::from(len) == lost && usize::from(len) < Head::LEN;
                if fits {
                    self.hole(left);
                    self.position = FramePosition::Head {
                        have: usize::from(len),
                        bytes,
                    };
                }
                return fits;
            }
            Boundary::At {
                after,
                frame_type,
                stream_id,
                ..
            } => {
                let same_frame =
                    after == 0 || (frame_type == head.frame_type && stream_id == head.stream_id.0);
                if !same_frame || lost + u64::from(after) != u64::from(left) {
                    return false;
                }
            }
            Boundary::Unknown => {}
        }
        let Ok(hole) = u32::try_from(lost) else {
            return false;
        };
        if hole > left {
            return false;
        }
        self.hole(hole);
        true
    }

    /// After a loss of unknown length: the boundary says that the frame that was going by still is.
    fn goes_on_in_same_frame(&mut self, boundary: Boundary) -> bool {
        let Boundary::At {
            after,
            frame_type,
            flags,
            stream_id,
        } = boundary
        else {
            return false;
        };
        let Some((head, left)) = self.left_of_frame() else {
            return false;
        };
        let same = frame_type == head.frame_type
            && flags == head.flags
            && stream_id == head.stream_id.0
            && (1..=left).contains(&after);
        if same {
            // It may be another frame of the same kind all the same, so the loss is told.
            self.push_step(Step::Fault(Fault::Gap));
            self.unproven();
            self.push_step(Step::Resynced { skipped: None });
            self.hole(left - after);
        }
        same
    }

    /// The frame whose payload is going by and how much of it has not come yet.
    fn left_of_frame(&self) -> Option<(Head, u32)> {
        match self.position {
            FramePosition::Data(Data { head, left, .. })
            | FramePosition::Payload { head, left, .. }
            | FramePosition::Skip { head, left, .. } => Some((head, left)),
            FramePosition::Preface { .. } | FramePosition::Head { .. } | FramePosition::Lost => {
                None
            }
        }
    }

    /// The end of the current frame is not seen. Of a header block the frame header was, so that the
    /// stream's state stays exact.
    fn abort_frame(&mut self) {
        if let FramePosition::Payload { head, missing, .. } = self.position {
            self.position = FramePosition::BOUNDARY;
            let buffer = std::mem::take(&mut self.buffer);
            let beginning = missing == Some(Missing::Beginning);
            let missing = if beginning {
                Missing::Beginning
            } else {
                Missing::Gap
            };
            self.end_frame(&head, &buffer, missing);
        }
    }

    /// A control frame was not captured whole. `is_told`: what is wanted of it was.
    pub(super) fn cut_frame(&mut self, head: &Head, is_told: bool, missing: Missing) {
        self.push_step(Step::Fault(match missing {
            Missing::Limit => Fault::Limit(Limit::FramePayload),
            Missing::Hole | Missing::Gap | Missing::Beginning => Fault::HoleInFrame,
        }));
        let ends_streams = [frame_type::RST_STREAM, frame_type::GOAWAY];
        if !is_told && ends_streams.contains(&head.frame_type) {
            // What it ended is not known.
            self.push_step(Step::Fault(Fault::Gap));
            self.push_step(Step::Resynced { skipped: Some(0) });
        }
    }

    /// The bytes are no frames. The open block is told of before the loss, so that its stream is in doubt too.
    pub(super) fn implausible(&mut self) {
        self.abandon_block(false);
        self.push_step(Step::Fault(Fault::Implausible));
        self.lose(Some(0));
    }

    /// The place is lost; `skipped` bytes went by since.
    pub(super) fn lose(&mut self, skipped: Option<u64>) {
        self.abandon_block(false);
        self.buffer = Vec::new();
        let mut search = Box::new(Search::new(skipped, self.max_frame_size));
        search.set_now(self.now);
        self.search = Some(search);
        self.position = FramePosition::Lost;
        self.unproven();
    }

    /// Frames may have gone by unseen, or the place is a guess.
    pub(super) fn unproven(&mut self) {
        self.hpack.forget();
        self.limit_set_by = None;
        self.may_be_in_block = true;
        self.first = false;
        self.proven = false;
        self.default_holds = false;
        self.frames_to_prove = limits::PLAUSIBLE_FRAMES;
        self.plausible_frames = 0;
    }

    /// The place is known again; `skipped` bytes went by.
    pub(super) fn found(&mut self, skipped: Option<u64>) {
        self.search = None;
        self.position = FramePosition::BOUNDARY;
        self.push_step(Step::Resynced { skipped });
    }

    /// Goes on reading at a known boundary.
    fn resume(&mut self, boundary: Boundary, skipped: Option<u64>) {
        self.buffer.clear();
        self.found(skipped);
        match boundary {
            Boundary::InHeader { len, bytes } => {
                self.push(bytes.get(..usize::from(len)).unwrap_or(&bytes));
            }
            Boundary::At {
                after,
                frame_type,
                flags,
                stream_id,
            } if after > 0 => {
                let stream_id = StreamId(stream_id & 0x7fff_ffff);
                // The frame's true length is not known: `after` is what is left of it.
                let head = Head {
                    len: after,
                    frame_type,
                    flags,
                    stream_id,
                };
                if frame_type == frame_type::DATA && stream_id.0 != 0 {
                    let data = Data::rest(head);
                    self.push_step(Step::DataBegin(data.data_head()));
                    self.go_on(data);
                } else if head.carries_field_block() {
                    let missing = Some(Missing::Beginning);
                    self.position = FramePosition::Payload {
                        head,
                        left: after,
                        missing,
                    };
                } else {
                    self.skip(head, after, true);
                }
            }
            Boundary::At { .. } | Boundary::Unknown => {}
        }
    }
}
