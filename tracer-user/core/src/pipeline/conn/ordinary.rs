//! Records as nearly all are: of a connection that is known, of whose frames nothing is hidden.

use super::Conn;
use super::protocol::Spoken;
use crate::connection::Endpoint;
use crate::event::{Bytes, Direction, Segment};
use crate::frame::head::Head;
use crate::frame::{FrameReader, Ordinary};
use crate::pipeline::Sink;
use crate::stream::table::Context;

impl Conn {
    /// Who sends in this direction, where the frames of both ends are read in their places and go on at once, and this
    /// direction stands between two of them: an ordinary frame is then a matter of the streams alone.
    #[inline]
    fn ordinary_sender(&self, direction: Direction) -> Option<Endpoint> {
        let [tx, rx] = &self.lanes;
        let (this, other) = match direction {
            Direction::Tx => (tx, rx),
            Direction::Rx => (rx, tx),
        };
        let (this, other) = (this.reader.as_ref(), other.reader.as_ref());
        let is_known = matches!(self.spoken, Spoken::Http2 { .. })
            && self.waiting.is_empty()
            && !self.frames.is_on()
            && self.tunnels.is_none()
            && self.lost_place == [false; 2]
            && this.is_some_and(FrameReader::is_between_frames)
            && other.is_none_or(FrameReader::is_synchronised);
        self.role.sender(direction).filter(|_| is_known)
    }

    /// Takes a record that follows the last one and begins between two frames. False: it is none of these, and nothing
    /// was taken.
    pub(super) fn ordinary_bytes(
        &mut self,
        bytes: &Bytes<'_>,
        context: Context,
        sink: &mut dyn Sink,
    ) -> bool {
        let direction = bytes.direction;
        let Some(sender) = self.ordinary_sender(direction) else {
            return false;
        };
        let is_hidden = bytes.unseen.is_some() || !self.unseen_untold.is_empty();
        if is_hidden || self.streams.has_thrown_away() {
            return false;
        }
        let lane = self.lane(direction);
        let Some(reader) = &mut lane.reader else {
            return false;
        };
        if !lane.order.follow(bytes.offset, u64::from(bytes.total)) {
            return false;
        }
        reader.set_now(context.at);
        let mut sender = Some(sender);
        let mut was_ordinary = true;
        let mut segments = bytes.segments();
        let mut next = segments.next();
        while let Some(segment) = next {
            next = segments.next();
            let mut piece = match segment {
                Segment::Bytes(piece) => piece,
                Segment::Hole(_) => {
                    sender = self.feed(direction, segment, context, sink);
                    was_ordinary = false;
                    continue;
                }
            };
            while !piece.is_empty() {
                let behind = match next {
                    Some(Segment::Hole(len)) => len,
                    Some(Segment::Bytes(_)) | None => 0,
                };
                let [tx, rx] = &mut self.lanes;
                let lane = match direction {
                    Direction::Tx => tx,
                    Direction::Rx => rx,
                };
                let ordinary = sender
                    .zip(lane.reader.as_mut())
                    .and_then(|(sender, reader)| {
                        let reading = self.streams.block_reading();
                        let (frame, rest) = reader.take_ordinary(piece, behind, reading)?;
                        Some((sender, frame, rest))
                    });
                let Some((by, frame, rest)) = ordinary else {
                    let (first, rest) = first_frame(piece);
                    piece = rest;
                    sender = self.feed(direction, Segment::Bytes(first), context, sink);
                    was_ordinary = false;
                    continue;
                };
                piece = rest;
                match frame {
                    Ordinary::Data { head, bytes, hole } => {
                        if hole > 0 {
                            let left = Some(Segment::Hole(behind - hole));
                            next = left.filter(|_| behind > hole).or_else(|| segments.next());
                        }
                        if by == Endpoint::Client {
                            self.requests.frame(context.at);
                        }
                        self.streams.data(by, head, (bytes, hole), context);
                    }
                    Ordinary::Headers {
                        stream_id,
                        end_stream,
                        block,
                    } => {
                        match by {
                            Endpoint::Client => self.requests.headers(stream_id, context.at),
                            Endpoint::Server => {
                                let from_start = self.info.beginning_seen;
                                self.requests.answered(stream_id, context.at, from_start);
                            }
                        }
                        let streams = &mut self.streams;
                        streams.headers_frame(by, stream_id, end_stream, &block, context);
                        if by == Endpoint::Client {
                            self.ask_for_tunnel(stream_id, &block, context, sink);
                            sender = sender.filter(|_| self.tunnels.is_none());
                        }
                    }
                    Ordinary::Steps => {
                        self.steps(direction, context, sink);
                        sender = self.ordinary_sender(direction);
                        was_ordinary = false;
                    }
                }
            }
        }
        if !was_ordinary {
            self.settle_bytes(direction, context, sink);
        }
        self.is_accounted = was_ordinary;
        true
    }

    /// Takes bytes by the steps that a reader makes of them. Gives who sends, if what follows may be ordinary again.
    pub(super) fn feed(
        &mut self,
        direction: Direction,
        segment: Segment<'_>,
        context: Context,
        sink: &mut dyn Sink,
    ) -> Option<Endpoint> {
        if let Some(reader) = self.lane(direction).reader.as_mut() {
            match segment {
                Segment::Bytes(piece) => reader.push(piece),
                Segment::Hole(len) => reader.hole(len),
            }
        }
        self.steps(direction, context, sink);
        self.ordinary_sender(direction)
    }
}

/// What may be a frame at the beginning of these bytes, and the rest.
fn first_frame(bytes: &[u8]) -> (&[u8], &[u8]) {
    let len = bytes
        .first_chunk()
        .map(|head| Head::LEN + Head::parse(head).len as usize);
    len.and_then(|len| bytes.split_at_checked(len))
        .unwrap_or((bytes, &[]))
}
