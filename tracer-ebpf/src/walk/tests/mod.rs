//! The walker over ordinary memory: the code of the kernel programs, without a kernel.

use std::{boxed::Box, cell::RefCell, collections::BTreeMap, vec, vec::Vec};

use h2trace_core::{
    event::{Boundary, Direction, Segment, What, decode},
    frame::{DataPiece, FrameReader, Start, Step as Read},
};

use super::{
    Machine, call, frames, recognise,
    state::{Message, MessageKey, Scratch, Socket, mode, verdict},
};
use crate::{
    counter::{COUNTERS, Counter},
    event::{class, confidence, direction},
    http2::{Head, flag, frame_type},
    opened::{Cursor, Keys, Slot},
};

mod ahead;
mod opened;
mod opening;
mod properties;
mod proxied;
mod rest;
mod tls;

/// Address of the first byte of the user's memory.
const USER: u64 = 0x1_0000;

/// What the machine has beside the walker: the user's memory, the ring, a map, counters.
#[derive(Default)]
struct World {
    memory: Vec<u8>,
    /// How often it was read.
    reads: usize,
    records: Vec<Vec<u8>>,
    messages: BTreeMap<(u32, u32), Message>,
    counters: Vec<u64>,
    told: Vec<u8>,
    tls: u32,
    /// What opens each direction, if anything does.
    ways: Option<Box<Slot>>,
}

#[derive(Clone, Copy)]
struct Host<'a>(&'a RefCell<World>);

fn place(key: &MessageKey) -> (u32, u32) {
    (key.stream, key.direction)
}

impl Machine for Host<'_> {
    unsafe fn read_user(self, target: *mut u8, len: u32, address: u64) -> bool {
        let mut world = self.0.borrow_mut();
        world.reads += 1;
        let from = address.wrapping_sub(USER) as usize;
        let Some(bytes) = from
            .checked_add(len as usize)
            .and_then(|to| world.memory.get(from..to))
        else {
            return false;
        };
        // SAFETY: as the caller promises.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        true
    }

    unsafe fn copy(self, target: *mut u8, len: u32, source: *const u8) -> bool {
        // SAFETY: as the caller promises.
        unsafe { target.copy_from_nonoverlapping(source, len as usize) };
        true
    }

    fn full_payload(self) -> bool {
        false
    }

    fn tls(self) -> u32 {
        self.0.borrow().tls
    }

    fn message(self, key: &MessageKey) -> Option<Message> {
        self.0.borrow().messages.get(&place(key)).copied()
    }

    fn keep_message(self, key: &MessageKey, message: &Message) -> bool {
        self.0.borrow_mut().messages.insert(place(key), *message);
        true
    }

    fn forget_message(self, key: &MessageKey) -> bool {
        self.0.borrow_mut().messages.remove(&place(key)).is_some()
    }

    fn count(self, counter: Counter, n: u64) {
        self.0.borrow_mut().counters[counter as usize] += n;
    }

    fn write(self, record: *const u8, len: u64) {
        // SAFETY: the walker passes bytes of its scratch space.
        let bytes = unsafe { core::slice::from_raw_parts(record, len as usize) };
        self.0.borrow_mut().records.push(bytes.to_vec());
    }

    fn announce(self, _: &mut Scratch, _: &mut Socket) {}

    fn unrecognised(self, _: &mut Scratch, class: u8, _: bool) {
        self.0.borrow_mut().told.push(class);
    }

    fn cut_short(self, _: &mut Scratch) {}

    fn slot(self, _: &Scratch) -> u32 {
        u32::from(self.0.borrow().ways.is_some())
    }

    fn keys(self, s: &Scratch) -> Option<*const Keys> {
        let world = self.0.borrow();
        let slot = world.ways.as_ref()?;
        Some(&raw const slot.ways[s.direction as usize].keys)
    }

    fn place(self, s: &Scratch) -> Option<*mut Cursor> {
        let mut world = self.0.borrow_mut();
        let slot = world.ways.as_mut()?;
        Some(&raw mut slot.ways[s.direction as usize].place)
    }
}

/// A socket whose calls are walked.
struct Walked {
    world: RefCell<World>,
    scratch: Box<Scratch>,
    socket: Socket,
    /// Which way the calls go that are made.
    way: u8,
}

impl Walked {
    /// One that is seen from its first byte.
    fn from_start() -> Walked {
        Walked::in_mode(mode::START)
    }

    /// One that is older than the tracer.
    fn late() -> Walked {
        Walked::in_mode(mode::SEEK)
    }

    fn in_mode(mode: u8) -> Walked {
        // SAFETY: plain data, for which zero is a value.
        let (scratch, mut socket) = unsafe {
            let scratch: Box<Scratch> = Box::new_zeroed().assume_init();
            (scratch, core::mem::zeroed::<Socket>())
        };
        socket.placed = 1;
        socket.from_start = u8::from(mode == mode::START);
        socket.verdict = verdict::UNDECIDED;
        for walk in &mut socket.walks {
            walk.mode = mode;
        }
        let world = World {
            counters: vec![0; COUNTERS as usize],
            ..World::default()
        };
        Walked {
            world: RefCell::new(world),
            scratch,
            socket,
            way: direction::TX,
        }
    }

    /// A call that sent these buffers, or received them.
    fn call(&mut self, buffers: &[&[u8]]) {
        let mut memory = Vec::new();
        let mut at = USER + 16 * buffers.len() as u64;
        for buffer in buffers {
            memory.extend(at.to_le_bytes());
            memory.extend((buffer.len() as u64).to_le_bytes());
            at += buffer.len() as u64;
        }
        memory.extend(buffers.concat());
        let returned = memory.len() - 16 * buffers.len();
        self.world.get_mut().memory = memory;
        let s = &mut self.scratch;
        s.iovec = USER;
        s.iovecs = buffers.len() as u32;
        s.chunk_len = 0;
        self.walk(returned as u32, |m, s, socket| {
            while s.chunk_len == 0 && frames::next_chunk(m, s) {}
            call::located(m, s, socket);
        });
    }

    /// A call whose buffer is not known.
    fn unlocated(&mut self, n: u32) {
        self.scratch.iovecs = 0;
        self.walk(n, |m, s, socket| call::unlocated(m, s, socket));
    }

    /// Bytes that go by without a hook.
    fn unhooked(&mut self, n: u32) {
        let s = &mut *self.scratch;
        s.walk = self.socket.walks[direction::TX as usize];
        if !frames::pass(Host(&self.world), s, n) {
            frames::lose(&mut s.walk);
        }
        s.walk.offset += u64::from(n);
        self.socket.walks[direction::TX as usize] = s.walk;
    }

    /// As the kernel programs do around a call.
    fn walk(&mut self, returned: u32, how: impl FnOnce(Host<'_>, &mut Scratch, &mut Socket)) {
        let way = usize::from(self.way);
        let (s, socket) = (&mut *self.scratch, &mut self.socket);
        s.direction = self.way.into();
        s.returned = returned;
        s.remaining = returned;
        s.confidence = socket.confidence;
        s.walk = socket.walks[way];
        (s.desync, s.class, s.certain, s.begun) = (0, 0, 0, 0);
        how(Host(&self.world), s, socket);
        if s.desync != 0 {
            frames::lose(&mut s.walk);
        }
        socket.walks[way] = s.walk;
        socket.confidence = s.confidence.max(socket.confidence);
        if socket.confidence >= confidence::PLAUSIBLE {
            socket.verdict = verdict::HTTP2;
        }
        if s.class != 0 && recognise::judge(s, socket) {
            self.world.borrow_mut().told.push(s.class);
        }
    }

    /// Each byte from offset 0 on that a record tells of: copied, or counted. None: no record does.
    fn told(&self) -> Vec<Option<Option<u8>>> {
        let mut told = Vec::new();
        self.each(|offset, _, segments| {
            told.resize(told.len().max(offset), None);
            assert_eq!(told.len(), offset, "a byte is told twice");
            for segment in segments {
                match segment {
                    Segment::Bytes(bytes) => {
                        told.extend(bytes.iter().map(|byte| Some(Some(*byte))));
                    }
                    Segment::Hole(len) => told.resize(told.len() + *len as usize, Some(None)),
                }
            }
        });
        told
    }

    /// Where the records that know it say that a frame begins.
    fn boundaries(&self) -> Vec<usize> {
        let mut all = Vec::new();
        self.each(|offset, boundary, _| match boundary {
            Boundary::Unknown => {}
            Boundary::At { after, .. } => all.push(offset + after as usize),
            Boundary::InHeader { len, .. } => all.push(offset - usize::from(len)),
        });
        all
    }

    fn each(&self, mut take: impl FnMut(usize, Boundary, &[Segment<'_>])) {
        for record in &self.world.borrow().records {
            let event = decode::decode(record).expect("a record");
            if let What::Bytes(bytes) | What::TlsBytes(bytes, _) = event.what
                && bytes.direction == Direction::Tx
            {
                let segments: Vec<_> = bytes.segments().collect();
                take(bytes.offset as usize, bytes.boundary, &segments);
            }
        }
    }

    /// What user space reads of the records.
    fn read(&self, start: Start) -> Vec<Read> {
        let mut reader = FrameReader::new(start);
        self.each(|_, _, segments| {
            for segment in segments {
                match segment {
                    Segment::Bytes(bytes) => reader.push(bytes),
                    Segment::Hole(len) => reader.hole(*len),
                }
            }
        });
        counted(reader)
    }
}

/// The steps of a reader, with DATA counted: adjacent pieces are one.
fn counted(mut reader: FrameReader) -> Vec<Read> {
    let mut steps: Vec<Read> = Vec::new();
    for step in reader.steps() {
        let Read::DataBody { stream_id, piece } = step else {
            steps.push(step);
            continue;
        };
        let len = match piece {
            DataPiece::Bytes(bytes) => bytes.len() as u32,
            DataPiece::Hole(len) => len,
        };
        if let Some(Read::DataBody {
            piece: DataPiece::Hole(before),
            ..
        }) = steps.last_mut()
        {
            *before += len;
        } else {
            let piece = DataPiece::Hole(len);
            steps.push(Read::DataBody { stream_id, piece });
        }
    }
    steps
}

fn frame(frame_type: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = Head::new(payload.len() as u32, frame_type, flags, stream);
    [&head.to_bytes()[..], payload].concat()
}

fn settings() -> Vec<u8> {
    frame(frame_type::SETTINGS, 0, 0, &[])
}

/// Of a socket that may never turn out to be HTTP/2 the reason is told once, of one that is HTTP/2 with all bytes.
#[test]
fn bytes_without_a_buffer_are_told_where_the_place_is_not_known() {
    let mut walked = Walked::from_start();
    for _ in 0..3 {
        walked.unlocated(100);
    }
    assert_eq!(walked.told(), vec![Some(None); 100]);
    assert_eq!(walked.socket.walks[0].offset, 300);
    let mut walked = Walked::late();
    walked.socket.verdict = verdict::HTTP2;
    for _ in 0..3 {
        walked.unlocated(100);
    }
    assert_eq!(walked.told(), vec![Some(None); 300]);
    assert_eq!(walked.socket.walks[0].offset, 300);
}
