//! What a connection speaks, and its bytes as events once that is known.

use h2trace_core::event::{
    Boundary, Bytes, Direction, Event, OtherProtocol, ProtocolConfidence, Timestamp, What,
};
use h2trace_core::frame::PREFACE;
use h2trace_core::limits;

use super::verdict::{Verdict, is_greeted, told, verdict};
use super::{Connection, Out};
use crate::capture::flow::Run;
use crate::capture::recognise::{
    First, asks_for_h2c, begins_as_frame, find, first, header_section,
};

/// Added to the offsets of a direction whose beginning was not seen although the connection's was:
/// nothing may take its first byte here for its very first one.
const NOT_THE_BEGINNING: u64 = 1 << 40;

const RIGHT_HERE: Boundary = Boundary::At {
    after: 0,
    frame_type: 0,
    flags: 0,
    stream_id: 0,
};

/// A run of bytes in order, and how many after them were not captured.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) at: Timestamp,
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
    pub(super) cut: u32,
}

impl<'a> From<&'a Run> for Piece<'a> {
    fn from(run: &'a Run) -> Piece<'a> {
        Piece {
            at: run.at,
            offset: run.offset,
            bytes: &run.bytes,
            cut: run.cut,
        }
    }
}

/// What the connection speaks, as far as is known.
pub(super) enum Speech {
    /// Too little seen. What came waits here in the order it came.
    Undecided {
        held: Vec<(Direction, Run)>,
        len: usize,
    },
    /// HTTP/1.1 with a request for h2c; the server's answer is being collected.
    Requested { answer: Vec<u8> },
    /// HTTP/2, or frames are searched for.
    Followed {
        confidence: ProtocolConfidence,
        /// After an upgrade: the client's bytes before its preface, which still belong to HTTP/1.1.
        before_preface: Option<Vec<u8>>,
        /// The server's first bytes after an upgrade are at a frame boundary.
        after_upgrade: bool,
    },
    /// HTTP/2 that the server does not speak: nothing more is told but the end.
    Refused,
    /// Not HTTP/2: nothing more is told.
    Other,
}

impl Speech {
    /// Nothing was seen.
    pub(super) const fn undecided() -> Speech {
        Speech::Undecided {
            held: Vec::new(),
            len: 0,
        }
    }
}

impl Connection {
    pub(super) fn speak(&mut self, direction: Direction, piece: Piece<'_>, out: &mut Out<'_>) {
        let Piece {
            at,
            offset,
            bytes,
            cut,
        } = piece;
        // Of live ones there may be as many as an attacker wants.
        let most = if self.caller.is_some() {
            limits::CAPTURE_UNDECIDED / 8
        } else {
            limits::CAPTURE_UNDECIDED
        };
        match &mut self.speech {
            Speech::Other | Speech::Refused => {}
            Speech::Followed { .. } => self.follow(direction, piece, out),
            Speech::Undecided { held, len } => {
                *len += bytes.len();
                let run = Run {
                    at,
                    offset,
                    bytes: bytes.to_vec(),
                    cut,
                };
                held.push((direction, run));
                let full = *len > most || held.len() > limits::CAPTURE_UNDECIDED_RUNS;
                self.decide(full, out);
            }
            Speech::Requested { answer } => {
                if direction == Direction::Tx {
                    // The body of the request.
                    return;
                }
                answer.extend_from_slice(bytes);
                let len = answer.len();
                let Some(head) = header_section(answer) else {
                    let http1 = answer.iter().zip(b"HTTP/1.1").all(|(a, b)| a == b);
                    if !http1 || cut > 0 || len > limits::CAPTURE_UNDECIDED {
                        self.answered(at, None, out);
                    }
                    return;
                };
                self.answered(at, Some(head), out);
                let after = bytes.len().saturating_sub(len - head);
                let rest = bytes.get(after..).unwrap_or_default();
                if !rest.is_empty() || cut > 0 {
                    let rest = Piece {
                        offset: offset + after as u64,
                        bytes: rest,
                        ..piece
                    };
                    self.speak(direction, rest, out);
                }
            }
        }
    }

    /// The server has answered a request for h2c: `head` bytes of header section.
    fn answered(&mut self, at: Timestamp, head: Option<usize>, out: &mut Out<'_>) {
        let Speech::Requested { answer } = &mut self.speech else {
            return;
        };
        let answer = std::mem::take(answer);
        let head = head.and_then(|head| answer.get(..head)).unwrap_or(&answer);
        self.speech = if head.starts_with(b"HTTP/1.1 101") {
            Speech::Followed {
                confidence: ProtocolConfidence::Tentative,
                before_preface: Some(Vec::new()),
                after_upgrade: true,
            }
        } else {
            Speech::Other
        };
        self.unrecognised(Direction::Rx, OtherProtocol::Http1, head, at, out);
    }

    /// Decides what the connection speaks, when enough of it is here. `full`: it must be decided now.
    pub(super) fn decide(&mut self, full: bool, out: &mut Out<'_>) {
        let Speech::Undecided { held, .. } = &self.speech else {
            return;
        };
        let verdict = if self.told && !self.from_syn {
            told(held, full)
        } else {
            verdict(held, self.from_syn, full)
        };
        if matches!(verdict, Verdict::Wait) {
            return;
        }
        let speech = std::mem::replace(&mut self.speech, Speech::Other);
        let Speech::Undecided { mut held, .. } = speech else {
            return;
        };
        let at = held.last().map_or(self.last_at, |(_, run)| run.at);
        match verdict {
            Verdict::Wait => {}
            Verdict::Other(direction, protocol) => {
                self.open(out);
                self.tell_greeting(direction, &held, out);
                self.unrecognised(direction, protocol, &[], at, out);
            }
            Verdict::Tls { first, skip } if self.tls.is_none() => {
                return self.begin_tls(first, skip, held, out);
            }
            Verdict::Tls { first, .. } => {
                self.open(out);
                self.unrecognised(first, OtherProtocol::Tls, &[], at, out);
            }
            Verdict::Http1 { first } => {
                self.open(out);
                if asks_for_h2c(&first) {
                    self.speech = Speech::Requested { answer: Vec::new() };
                } else {
                    self.tell_greeting(Direction::Tx, &held, out);
                }
                self.unrecognised(Direction::Tx, OtherProtocol::Http1, &first, at, out);
            }
            Verdict::Turned => {
                self.turn(&mut held);
                let len = held.iter().map(|(_, run)| run.bytes.len()).sum();
                self.speech = Speech::Undecided { held, len };
                return self.decide(full, out);
            }
            Verdict::Frames {
                preface,
                skip,
                answer,
                upgraded,
            } => {
                let mut confidence = ProtocolConfidence::Tentative;
                if let Some(direction) = preface {
                    confidence = ProtocolConfidence::Preface;
                    if direction == Direction::Rx {
                        self.turn(&mut held);
                    }
                    self.check_server = !self.from_syn && !upgraded;
                }
                self.speech = Speech::Followed {
                    confidence,
                    before_preface: None,
                    after_upgrade: upgraded,
                };
                self.answer = answer as u64;
                self.open(out);
                let mut left = [skip, answer];
                for (direction, run) in &mut held {
                    if let Some(left) = left.get_mut(direction.index()) {
                        let n = (*left).min(run.bytes.len());
                        run.bytes.drain(..n);
                        run.offset += n as u64;
                        *left -= n;
                    }
                }
            }
        }
        for (direction, run) in held {
            if !run.bytes.is_empty() || run.cut > 0 {
                self.speak(direction, Piece::from(&run), out);
            }
        }
    }

    /// Without SYN the client's end was a guess, and it was wrong.
    pub(super) fn turn(&mut self, held: &mut [(Direction, Run)]) {
        self.client = 1 - self.client;
        for (direction, _) in held {
            *direction = direction.opposite();
        }
    }

    /// The client does not speak HTTP/2, and the server's SETTINGS came all the same.
    fn tell_greeting(&self, other: Direction, held: &[(Direction, Run)], out: &mut Out<'_>) {
        if other != Direction::Tx || !self.from_syn || !is_greeted(held) {
            return;
        }
        let how = (Boundary::Unknown, ProtocolConfidence::Tentative);
        for (_, run) in held.iter().filter(|(of, _)| *of == Direction::Rx) {
            self.tell_bytes(Direction::Rx, Piece::from(run), how, out);
        }
    }

    /// Nothing more will come: what is undecided is decided, what was never proven is told.
    pub(super) fn decide_at_the_end(&mut self, out: &mut Out<'_>) {
        self.decide(true, out);
        self.finish_tls(out);
        if let Speech::Requested { .. } = self.speech {
            let at = self.last_at;
            self.answered(at, None, out);
        }
        if let Speech::Followed {
            confidence: ProtocolConfidence::Tentative,
            ..
        } = self.speech
        {
            // Ignored if what was found is believed by now. Of the server: nothing shows that the client does not speak
            // HTTP/2, of which something may be missing.
            let at = self.last_at;
            self.unrecognised(Direction::Rx, OtherProtocol::Other, &[], at, out);
        }
    }

    /// The server's first bytes are no HTTP/2, though the client sent the preface: nothing of this
    /// connection is worth following.
    fn answered_otherwise(&mut self, at: Timestamp, bytes: &[u8], out: &mut Out<'_>) -> bool {
        let Speech::Followed {
            confidence: ProtocolConfidence::Preface,
            before_preface: None,
            after_upgrade: false,
        } = self.speech
        else {
            return false;
        };
        let First::Other(protocol) = first(bytes) else {
            return false;
        };
        // A frame that may not come first is a frame, and told as that.
        if protocol == OtherProtocol::Other && begins_as_frame(bytes) {
            return false;
        }
        self.speech = Speech::Refused;
        self.unrecognised(Direction::Rx, protocol, &[], at, out);
        true
    }

    /// Bytes of a connection that is followed.
    fn follow(&mut self, direction: Direction, piece: Piece<'_>, out: &mut Out<'_>) {
        let begins = direction == Direction::Rx && piece.offset == self.answer && self.from_syn;
        if begins && self.answered_otherwise(piece.at, piece.bytes, out) {
            return;
        }
        if direction == Direction::Rx && self.check_server {
            self.check_server = false;
            if first(piece.bytes) != First::Settings {
                let [_, server] = &mut self.shift;
                *server = NOT_THE_BEGINNING;
            }
        }
        let Speech::Followed {
            confidence,
            before_preface,
            after_upgrade,
        } = &mut self.speech
        else {
            return;
        };
        let mut boundary = Boundary::Unknown;
        if direction == Direction::Rx && *after_upgrade {
            *after_upgrade = false;
            boundary = RIGHT_HERE;
        }
        if let (Direction::Tx, Some(before)) = (direction, before_preface.as_mut()) {
            let Some(rest) = from_preface(before, piece.bytes) else {
                return;
            };
            *before_preface = None;
            *confidence = ProtocolConfidence::Preface;
            let end = piece.offset + piece.bytes.len() as u64;
            let rest = Piece {
                offset: end.saturating_sub(rest.len() as u64),
                bytes: &rest,
                ..piece
            };
            return self.follow(direction, rest, out);
        }
        let confidence = *confidence;
        self.tell_bytes(direction, piece, (boundary, confidence), out);
    }

    /// The event of a run of bytes.
    fn tell_bytes(
        &self,
        direction: Direction,
        piece: Piece<'_>,
        (boundary, confidence): (Boundary, ProtocolConfidence),
        out: &mut Out<'_>,
    ) {
        out.encoded.clear();
        let captured = u32::try_from(piece.bytes.len()).unwrap_or(u32::MAX);
        if captured > 0 {
            out.encoded.extend_from_slice(&captured.to_le_bytes());
            out.encoded.extend_from_slice(piece.bytes);
        }
        if piece.cut > 0 {
            let hole = piece.cut | tracer_ebpf::event::SEGMENT_HOLE;
            out.encoded.extend_from_slice(&hole.to_le_bytes());
        }
        let what = What::Bytes(Bytes {
            direction: self.told_direction(direction),
            offset: self.told_offset(direction, piece.offset),
            total: captured.saturating_add(piece.cut),
            boundary,
            confidence,
            unseen: None,
            encoded: out.encoded,
        });
        let event = Event {
            at: piece.at,
            socket: self.key,
            task: self.task(),
            what,
        };
        (out.take)(&event);
    }
}

/// The bytes from the client's preface on, once it is whole; `before` keeps what it may have begun in.
fn from_preface(before: &mut Vec<u8>, bytes: &[u8]) -> Option<Vec<u8>> {
    before.extend_from_slice(bytes);
    let Some(at) = find(before, PREFACE) else {
        // Enough to find a preface that has begun.
        let kept = before.len().saturating_sub(PREFACE.len() - 1);
        before.drain(..kept);
        return None;
    };
    Some(before.split_off(at))
}
