//! Bytes that pass while the task's saved registers are those of another system call, or of none: io_uring
//! completes a receive at the end of whatever call comes next, a descriptor's number may be given to another
//! file while a call waits, a 32-bit call numbers its arguments otherwise. The memory that such registers
//! name is foreign: no byte of it may be told as the connection's, and what cannot be told is counted.

mod calls;
#[cfg(target_arch = "x86_64")]
mod compat;
mod descriptors;
mod moved;
mod multiple;
mod processes;
mod ring;
mod ring_ways;
#[cfg(target_arch = "x86_64")]
mod stopped;
mod task_work;
mod waiting;

use std::{
    ops::Range,
    os::fd::{AsRawFd, OwnedFd},
};

use h2trace::kernel::Hooks;
use h2trace_core::event::{Direction, EndCause};
use tracer_ebpf::counter::Counter;
use tracer_ebpf::http2::frame_type;

use super::{
    capture::{Capture, Stream, inode},
    io::{pair, pass},
    wire::{PREFACE, call, frame, settings},
};

/// Bytes that one odd call passes: four PING frames.
pub(super) const PIECE: usize = 4 * 17;

/// Pieces between two looks at the ring.
const BATCH: usize = 250;

/// What stands in memory that is not the connection's. Only there is an `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// Text.
    Log,
    /// Frames, from the first byte on.
    Frames,
    /// The connection preface, and frames.
    Opening,
}

impl Foreign {
    /// `len` bytes of it.
    pub(super) fn memory(self, len: usize) -> Vec<u8> {
        let (mut memory, unit) = match self {
            Foreign::Log => (Vec::new(), b"@ THIS IS A LOG LINE\n".to_vec()),
            Foreign::Frames => (Vec::new(), frame(frame_type::PING, 0, 0, b"@FOREIGN")),
            Foreign::Opening => (
                [PREFACE.to_vec(), settings()].concat(),
                frame(frame_type::PING, 0, 0, b"@FOREIGN"),
            ),
        };
        while memory.len() < len {
            memory.extend(&unit);
        }
        memory.truncate(len);
        memory
    }
}

/// `n` letters of a sequence without a period, from number `from` on: what is told in the wrong place
/// shows.
pub(super) fn letters(from: usize, n: usize) -> Vec<u8> {
    let letter = |i: usize| {
        let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        b'a' + (mixed >> 40) as u8 % 26
    };
    (from..from + n).map(letter).collect()
}

/// A connection, of which one direction passes in an odd way at one end.
pub(super) struct Connection {
    pub(super) capture: Capture,
    /// The end that sends.
    pub(super) client: OwnedFd,
    /// The end that receives.
    pub(super) server: OwnedFd,
    /// `Tx`: the client sends oddly. `Rx`: the server receives oddly.
    odd: Direction,
    sent: Vec<u8>,
    pieces: Vec<Range<usize>>,
}

/// What was told of the pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    pub(super) pieces: usize,
    /// With every byte.
    pub(super) whole: usize,
    /// Bytes that were not copied.
    pub(super) unseen: usize,
}

impl Connection {
    /// Before its first byte.
    pub(super) fn fresh(kind: &str, odd: Direction) -> Connection {
        let capture = Capture::of_full_payload();
        let (client, server) = pair(kind);
        Connection {
            capture,
            client,
            server,
            odd,
            sent: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// With the preface gone by.
    pub(super) fn open(kind: &str, odd: Direction) -> Connection {
        let mut connection = Connection::fresh(kind, odd);
        connection.plainly(&[PREFACE.to_vec(), settings()].concat());
        connection
    }

    /// In the middle of a frame that has `len` bytes to come.
    pub(super) fn within_a_frame(kind: &str, odd: Direction, len: usize) -> Connection {
        let mut connection = Connection::open(kind, odd);
        let mut header = u32::try_from(len).expect("a length").to_be_bytes()[1..].to_vec();
        header.extend([0xee, 0, 0, 0, 0, 0]);
        connection.plainly(&header);
        connection
    }

    /// Passes bytes in ordinary calls.
    pub(super) fn plainly(&mut self, bytes: &[u8]) {
        pass(&self.client, &self.server, bytes);
        self.note(bytes);
    }

    /// Bytes that were passed in ordinary calls.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        self.sent.extend(bytes);
    }

    /// Bytes that were passed in an odd way.
    pub(super) fn note_piece(&mut self, bytes: &[u8]) {
        let start = self.sent.len();
        self.sent.extend(bytes);
        self.pieces.push(start..self.sent.len());
    }

    /// How many bytes went by.
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// Passes pieces in the odd way.
    fn oddly(&mut self, pieces: &[Vec<u8>], way: &mut Way<'_>) {
        for batch in pieces.chunks(BATCH) {
            way(self, batch);
            for piece in batch {
                self.note_piece(piece);
            }
            self.capture.drain();
        }
    }

    /// The direction that passed oddly.
    pub(super) fn stream(&mut self) -> &Stream {
        let end = match self.odd {
            Direction::Tx => &self.client,
            Direction::Rx => &self.server,
        };
        self.capture.of(end).stream(self.odd)
    }

    /// Asserts that what was told is true, at both ends, and that every piece that was not told whole is
    /// counted.
    pub(super) fn assert_truth(&mut self) -> Judged {
        self.assert_truth_but_for(0)
    }

    /// The same where so many pieces may be told in the place of others.
    pub(super) fn assert_truth_but_for(&mut self, n_misplaced: usize) -> Judged {
        let (sent, pieces) = (self.sent.clone(), self.pieces.clone());
        let stream = self.stream();
        assert!(
            stream.bytes.len() <= sent.len(),
            "more was told than was sent: {} of {}",
            stream.bytes.len(),
            sent.len()
        );
        let told = |i: usize| stream.bytes.get(i).copied().flatten();
        let wrong = |i: &usize| told(*i).is_some_and(|byte| byte != sent[*i]);
        let foreign = pieces
            .iter()
            .filter(|piece| piece.start < piece.end && Range::clone(piece).any(|i| wrong(&i)))
            .count();
        println!("{foreign} of {} pieces with foreign bytes", pieces.len());
        let first = (0..sent.len()).find(wrong).map(|at| {
            let end = sent.len().min(at + 40);
            let bytes: Vec<u8> = (at..end).map(|i| told(i).unwrap_or(b'.')).collect();
            format!("{at}: {}", bytes.escape_ascii())
        });
        assert!(
            foreign <= n_misplaced,
            "{foreign} of {} pieces were told with bytes that never were on this connection: {first:?}",
            pieces.len()
        );
        let covered = |piece: &Range<usize>| piece.clone().filter(|i| told(*i).is_some()).count();
        let judged = Judged {
            pieces: pieces.len(),
            whole: pieces.iter().filter(|p| covered(p) == p.len()).count(),
            unseen: pieces.iter().map(|p| p.len() - covered(p)).sum(),
        };
        println!("{judged:?}");
        let (end, direction) = match self.odd {
            Direction::Tx => (&self.server, Direction::Rx),
            Direction::Rx => (&self.client, Direction::Tx),
        };
        let plain = self.capture.of(end).stream(direction);
        assert!(
            plain.bytes.iter().flatten().eq(&sent),
            "the ordinary end is told whole"
        );
        judged
    }

    /// Asserts that nothing is missing.
    pub(super) fn assert_whole(&mut self) {
        let judged = self.assert_truth();
        assert_eq!((judged.whole, judged.unseen), (judged.pieces, 0));
        self.capture.assert_no_loss(&[]);
    }

    /// Asserts that the bytes that were not told are counted.
    pub(super) fn assert_told(&mut self, judged: Judged) {
        let told = unseen(&self.capture);
        if self.capture.tracer.hooks() == Hooks::SyscallExit && told == 0 {
            // They passed no hook; that TCP's sequence numbers moved on is counted, once a call.
            let counted = self.capture.count(Counter::Unhooked) + self.capture.count(Counter::Busy);
            assert!(
                judged.unseen == 0 || counted > 0,
                "what was not seen is counted"
            );
            return;
        }
        assert_eq!(told, judged.unseen as u64, "what was not seen is counted");
    }
}

/// Passes pieces one by one, sent from the client to the server.
pub(super) type Way<'a> = dyn FnMut(&Connection, &[Vec<u8>]) + 'a;

/// Bytes that passed without a known buffer, for any reason.
pub(super) fn unseen(capture: &Capture) -> u64 {
    Counter::ALL
        .into_iter()
        .filter(|counter| counter.name().0.starts_with("unseen_"))
        .map(|counter| capture.count(counter))
        .sum()
}

/// Pieces in the middle of one long frame: each that is not seen is a hole, and the place is kept.
pub(super) fn inside(kind: &str, odd: Direction, n: usize, way: &mut Way<'_>) -> Judged {
    let mut connection = Connection::within_a_frame(kind, odd, n * PIECE);
    let pieces: Vec<_> = (0..n).map(|i| letters(i * PIECE, PIECE)).collect();
    connection.oddly(&pieces, way);
    let tail = [call(1, 20), call(3, 20)].concat();
    connection.plainly(&tail);
    let judged = connection.assert_truth();
    let stream = connection.stream();
    let end: Vec<u8> = stream.bytes[stream.bytes.len().saturating_sub(tail.len())..]
        .iter()
        .map(|byte| byte.expect("the frames behind are copied"))
        .collect();
    assert_eq!(end, tail, "the place is kept");
    connection.assert_told(judged);
    judged
}

/// Pieces that are whole frames: the place is lost with the first that is not seen, and found again.
pub(super) fn between(kind: &str, odd: Direction, n: usize, way: &mut Way<'_>) -> Judged {
    let mut connection = Connection::open(kind, odd);
    let pieces: Vec<_> = (0..4 * n)
        .map(|i| frame(frame_type::PING, 0, 0, &letters(i * 8, 8)))
        .collect::<Vec<_>>()
        .chunks(4)
        .map(<[_]>::concat)
        .collect();
    connection.oddly(&pieces, way);
    settle(&mut connection);
    let judged = connection.assert_truth();
    connection.assert_told(judged);
    judged
}

/// Frames in ordinary calls until the place is known again.
fn settle(connection: &mut Connection) {
    for i in 0..6 {
        connection.plainly(&call(2 * i + 1, 20));
    }
    let last = call(13, 20);
    connection.plainly(&last);
    let stream = connection.stream();
    let end: Vec<u8> = stream.bytes[stream.bytes.len().saturating_sub(last.len())..]
        .iter()
        .map(|byte| byte.unwrap_or(b'.'))
        .collect();
    assert!(
        end == last,
        "the place is found again: {}",
        end.escape_ascii()
    );
}

/// The first bytes of connections that speak something else, while a preface stands in foreign memory: no
/// HTTP/2 connection is made up.
pub(super) fn another_protocol(kind: &str, odd: Direction, way: &mut Way<'_>) {
    let mut connection = Connection::fresh(kind, odd);
    connection.oddly(&[letters(0, PIECE), letters(PIECE, PIECE)], way);
    for at in 2..6 {
        connection.plainly(&letters(at * PIECE, PIECE));
    }
    connection.capture.drain();
    // The call that waits may be one of another connection, over which the marker itself is sent in the end.
    let own = [inode(&connection.client), inode(&connection.server)];
    let ends = connection.capture.seen.iter();
    for seen in ends.filter(|seen| own.contains(&seen.open.inode)) {
        assert_eq!(
            seen.confidence, None,
            "no connection that speaks HTTP/2: {seen:?}"
        );
        assert!(
            seen.unseen.len() <= 1,
            "of what is not known to be HTTP/2 the reason is told once: {:?}",
            seen.unseen
        );
        for (_, _, first) in &seen.unrecognised {
            assert!(!first.contains(&b'@'), "{}", first.escape_ascii());
        }
    }
}

/// The first bytes of an HTTP/2 connection, while text stands in foreign memory: it is not given up.
pub(super) fn first_bytes(kind: &str, odd: Direction, way: &mut Way<'_>) {
    let mut connection = Connection::fresh(kind, odd);
    let opening = [
        PREFACE.to_vec(),
        settings(),
        frame(frame_type::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
    ]
    .concat();
    connection.oddly(&[opening], way);
    settle(&mut connection);
    connection.assert_truth();
    let end = match odd {
        Direction::Tx => connection.client.as_raw_fd(),
        Direction::Rx => connection.server.as_raw_fd(),
    };
    let seen = connection.capture.of(&end);
    assert!(seen.unrecognised.is_empty(), "{:?}", seen.unrecognised);
    assert!(!seen.ends.contains(&EndCause::Closed));
}
