//! One direction of a connection end: where its bytes stand, and its frame reader.

use crate::connection::order::{Continuity, Order};
use crate::event::{Boundary, Bytes, Segment, Timestamp};
use crate::frame::{FrameReader, Start};

/// One direction: where its bytes stand, and its reader once the first ones came.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) order: Order,
    pub(super) reader: Option<FrameReader>,
    /// It is known to speak HTTP/2: the first whole frame is believed.
    pub(super) expects: bool,
    /// When the bytes began in which frames are searched for.
    pub(super) searched_since: Option<Timestamp>,
    /// Some of them were passed over, since there was no frame, and that was told.
    pub(super) passed_over: bool,
    /// What the receiver of this direction announced, kept until the reader exists.
    pub(super) hpack_limit: Option<u32>,
    /// How many SETTINGS it sent.
    pub(super) n_settings: u32,
    pub(super) max_frame_size: Option<u32>,
    /// Where this direction stood when the connection's end was told.
    pub(super) told_end: Option<u64>,
}

impl Lane {
    /// Bytes before the told end that went by without a record, each told once.
    pub(super) fn missing_at_end(&mut self) -> Option<u64> {
        let missing = self.order.missing_until(self.told_end.take()?);
        (missing > 0).then_some(missing)
    }

    /// Tells the reader what the receiver announced.
    pub(super) fn tell_settings(&mut self) {
        if let Some(reader) = self.reader.as_mut() {
            if let Some(bytes) = self.hpack_limit.take() {
                reader.set_hpack_limit(bytes, self.n_settings);
            }
            if let Some(bytes) = self.max_frame_size.take() {
                reader.set_max_frame_size(bytes);
            }
        }
    }

    /// Offsets are counted anew, and what went by before is not known.
    pub(super) fn begin_anew(&mut self) {
        self.order = Order::default();
        self.told_end = None;
        self.reader
            .get_or_insert_with(|| FrameReader::new(Start::Unknown))
            .gap(None, Boundary::Unknown);
    }

    /// What is known of this direction is given up: frames are searched for.
    pub(super) fn begin_late(&mut self) {
        if let Some(reader) = &mut self.reader {
            *reader = FrameReader::new(Start::Unknown);
            reader.gap(None, Boundary::Unknown);
        }
    }

    /// This direction is seen from its first byte. What an upgrade's HTTP2-Settings said is not known.
    fn begin(&mut self, start: Start, upgraded: bool) {
        let mut reader = FrameReader::new(start);
        if !upgraded {
            reader.hold_default_limits();
        }
        self.reader = Some(reader);
    }

    /// Tells the reader where these bytes stand. `from_start`: the connection is seen from its first byte;
    /// `upgraded`: it began as HTTP/1.1.
    pub(super) fn place(&mut self, bytes: &Bytes<'_>, from_start: bool, upgraded: bool) {
        let continuity = self
            .order
            .take(bytes.offset, u64::from(bytes.total), from_start);
        let preface = bytes.segments().next().is_some_and(|first| {
            // 'P' begins no frame that may come first: a SETTINGS frame of that length is illegal.
            matches!(first, Segment::Bytes([b'P', ..]))
        });
        match (&mut self.reader, continuity) {
            (None, _) if preface => self.begin(Start::Preface, upgraded),
            (None, Continuity::First { at_start: true }) => {
                self.begin(Start::Boundary { first: true }, upgraded);
            }
            (None, _) => {
                // An upgraded server's frames begin after its 101: HPACK history is whole.
                let mut reader = match bytes.boundary {
                    Boundary::Unknown => FrameReader::new(Start::Unknown),
                    Boundary::At { after: 0, .. } => {
                        FrameReader::new(Start::Boundary { first: upgraded })
                    }
                    // In the middle of a frame: nothing was lost, the beginning was just not seen.
                    Boundary::At { .. } | Boundary::InHeader { .. } => {
                        let mut reader = FrameReader::new(Start::Unknown);
                        reader.gap(Some(0), bytes.boundary);
                        reader
                    }
                };
                let lost = match continuity {
                    Continuity::Gap(lost) => lost,
                    // The direction's beginning is what was lost.
                    Continuity::First { .. } if from_start && !upgraded => bytes.offset,
                    _ => 0,
                };
                if lost > 0 {
                    reader.gap(Some(lost), bytes.boundary);
                }
                if self.expects {
                    reader.expect_frames();
                }
                self.reader = Some(reader);
            }
            (Some(reader), Continuity::Gap(lost)) => reader.gap(Some(lost), bytes.boundary),
            (Some(reader), Continuity::Behind) => reader.gap(None, bytes.boundary),
            (Some(reader), Continuity::Follows | Continuity::First { .. }) => {
                if !reader.is_synchronised() && bytes.boundary != Boundary::Unknown {
                    reader.gap(Some(0), bytes.boundary);
                }
            }
        }
        self.tell_settings();
    }
}
