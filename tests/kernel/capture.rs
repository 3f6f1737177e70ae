//! Runs the kernel programs over this process' own sockets and puts their records together.

use std::{
    collections::HashSet,
    ops::{Deref, DerefMut},
    os::fd::{AsRawFd, BorrowedFd},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use h2trace::kernel::{DRAIN_MAX, Filter, Options, Tracer};
use h2trace_core::event::{
    Boundary, Direction, EndCause, Event, Open, OtherProtocol, ProtocolConfidence, Segment,
    SocketKey, Unseen, What,
};
use tracer_ebpf::counter::Counter;
use tracer_tests::skip::Need;

/// One test at a time: each traces the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Programs that a test has done with, for the next that wants the same: loading them takes longer than most tests.
static AT_REST: Mutex<Option<Programs>> = Mutex::new(None);

/// Loaded kernel programs, and what they told of before the test.
pub(crate) struct Programs {
    tracer: Tracer,
    /// Sockets of earlier tests, which may still end.
    of_others: HashSet<SocketKey>,
    /// What the counters said when the test began.
    counted: [u64; Counter::ALL.len()],
}

impl Programs {
    fn load(options: &Options) -> Programs {
        AT_REST
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        Programs {
            tracer: Tracer::start(options).unwrap_or_else(|error| panic!("{error}")),
            of_others: HashSet::new(),
            counted: [0; Counter::ALL.len()],
        }
    }

    /// Those of an earlier test, which trace this process and copy all payload.
    fn of_full_payload() -> Programs {
        let at_rest = AT_REST
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut programs) = at_rest else {
            return Programs::load(&Options {
                full_payload: true,
                ..own()
            });
        };
        let of_others = &mut programs.of_others;
        drain_all(&mut programs.tracer, |event| {
            of_others.insert(event.socket);
        });
        programs.counted = programs.tracer.counters().expect("counters");
        programs
    }
}

/// Programs that are kept for the next test when they are dropped.
pub(crate) struct Held {
    programs: Option<Programs>,
    is_kept: bool,
}

impl Deref for Held {
    type Target = Tracer;

    fn deref(&self) -> &Tracer {
        &self.programs.as_ref().expect("until it is dropped").tracer
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Tracer {
        &mut self.programs.as_mut().expect("until it is dropped").tracer
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_kept && !std::thread::panicking() {
            *AT_REST.lock().unwrap_or_else(PoisonError::into_inner) = self.programs.take();
        }
    }
}

/// One direction of a socket.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Each byte from offset 0 on; None for a hole.
    pub(crate) bytes: Vec<Option<u8>>,
    /// (offset, length) of what no record covers.
    pub(crate) gaps: Vec<(u64, u64)>,
    /// (offset, boundary) at the start of each record.
    pub(crate) starts: Vec<(u64, Boundary)>,
}

/// Everything told of one socket.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) key: SocketKey,
    pub(crate) open: Open,
    /// Sent and received.
    pub(crate) streams: [Stream; 2],
    pub(crate) ends: Vec<EndCause>,
    /// What it spoke otherwise.
    pub(crate) unrecognised: Vec<(Direction, OtherProtocol, Vec<u8>)>,
    /// Of records with bytes whose buffer was known.
    pub(crate) confidence: Option<ProtocolConfidence>,
    /// Some of these were TLS.
    pub(crate) is_tls: bool,
    /// Why the buffers of the others were not known.
    pub(crate) unseen: Vec<Unseen>,
}

impl Seen {
    pub(crate) fn stream(&self, direction: Direction) -> &Stream {
        &self.streams[direction.index()]
    }
}

/// Running kernel programs.
pub(crate) struct Capture {
    pub(crate) tracer: Held,
    /// What was seen, oldest socket first.
    pub(crate) seen: Vec<Seen>,
    _guard: MutexGuard<'static, ()>,
}

/// What loading the kernel programs takes.
pub(crate) struct Tracing;

impl Need for Tracing {
    fn missing(&self) -> Option<String> {
        let error = h2trace::kernel::check_privileges().err()?;
        Some(error.to_string())
    }
}

/// Options that trace this process.
pub(crate) fn own() -> Options {
    Options {
        filter: Filter {
            pids: vec![std::process::id()],
            ..Filter::default()
        },
        exclude_self: false,
        ..Options::default()
    }
}

impl Capture {
    /// Traces this process.
    pub(crate) fn start() -> Capture {
        Capture::with(&own())
    }

    /// Traces with these options.
    pub(crate) fn with(options: &Options) -> Capture {
        Capture::under(Capture::lock(), options)
    }

    /// Traces this process and copies all payload, by programs that an earlier test may have loaded.
    pub(crate) fn of_full_payload() -> Capture {
        let guard = Capture::lock();
        Capture::by(guard, Programs::of_full_payload(), true)
    }

    /// Waits until nobody else's test runs, and until this one's sockets were made.
    pub(crate) fn lock() -> MutexGuard<'static, ()> {
        ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Capture::with`], for a test that already holds the lock.
    pub(crate) fn under(guard: MutexGuard<'static, ()>, options: &Options) -> Capture {
        Capture::by(guard, Programs::load(options), false)
    }

    fn by(guard: MutexGuard<'static, ()>, programs: Programs, is_kept: bool) -> Capture {
        Capture {
            tracer: Held {
                programs: Some(programs),
                is_kept,
            },
            seen: Vec::new(),
            _guard: guard,
        }
    }

    fn counters(&self) -> [u64; Counter::ALL.len()] {
        let mut counters = self.tracer.counters().expect("counters");
        let programs = self.tracer.programs.as_ref().expect("until it is dropped");
        for (counter, before) in counters.iter_mut().zip(programs.counted) {
            *counter -= before;
        }
        counters
    }

    /// Takes in all records that were written so far. A socket call's records are in the ring when the
    /// call returns, so nothing has to be waited for.
    pub(crate) fn drain(&mut self) {
        let seen = &mut self.seen;
        let programs = self.tracer.programs.as_mut().expect("until it is dropped");
        let of_others = &programs.of_others;
        drain_all(&mut programs.tracer, |event| {
            if !of_others.contains(&event.socket) {
                take(seen, event);
            }
        });
    }

    /// The latest socket with the inode of `fd`.
    pub(crate) fn of(&mut self, fd: &impl AsRawFd) -> &Seen {
        self.drain();
        let inode = inode(fd);
        self.seen
            .iter()
            .rev()
            .find(|seen| seen.open.inode == inode)
            .unwrap_or_else(|| panic!("no socket with inode {inode} among {:?}", self.seen.len()))
    }

    /// Was anything told of `fd`?
    pub(crate) fn knows(&mut self, fd: &impl AsRawFd) -> bool {
        self.drain();
        let inode = inode(fd);
        self.seen.iter().any(|seen| seen.open.inode == inode)
    }

    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.counters()[counter as usize]
    }

    /// No counter of a loss is above zero, those named apart.
    pub(crate) fn assert_no_loss(&self, but: &[Counter]) {
        let counters = self.counters();
        for counter in Counter::ALL {
            if counter.name().1 && !but.contains(&counter) {
                assert_eq!(counters[counter as usize], 0, "{}", counter.name().0);
            }
        }
    }

    /// Drains until `done`, at most five seconds.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&[Seen]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            self.drain();
            if done(&self.seen) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {:?}", self.seen);
            std::thread::yield_now();
        }
    }
}

/// All records that were written so far.
fn drain_all(tracer: &mut Tracer, mut of_each: impl FnMut(&Event<'_>)) {
    loop {
        let drained = tracer.drain(&mut |event| of_each(&event));
        assert_eq!(drained.bad, 0);
        if drained.records < DRAIN_MAX {
            break;
        }
    }
}

/// The inode of a socket.
pub(crate) fn inode(fd: &impl AsRawFd) -> u64 {
    // SAFETY: the descriptor lives as long as the borrow.
    let file = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
    let file = std::fs::File::from(file.try_clone_to_owned().expect("dup"));
    std::os::unix::fs::MetadataExt::ino(&file.metadata().expect("fstat"))
}

fn take(seen: &mut Vec<Seen>, event: &Event<'_>) {
    if let What::Open(open) = &event.what {
        if let Some(known) = seen.iter().find(|s| s.key == event.socket) {
            // Two tasks at the first calls of both directions may both tell it.
            assert_eq!(known.open.inode, open.inode);
            assert_eq!(known.open.from_start, open.from_start);
            return;
        }
        seen.push(Seen {
            key: event.socket,
            open: (**open).clone(),
            streams: Default::default(),
            ends: Vec::new(),
            unrecognised: Vec::new(),
            confidence: None,
            is_tls: false,
            unseen: Vec::new(),
        });
        return;
    }
    let socket = seen
        .iter_mut()
        .find(|s| s.key == event.socket)
        .unwrap_or_else(|| panic!("OPEN comes first: {event:?}"));
    match &event.what {
        What::Open(_) | What::Tls(_) | What::Opaque(..) => {}
        What::End(end) => socket.ends.push(end.cause),
        What::Unrecognised(u) => {
            socket
                .unrecognised
                .push((u.direction, u.protocol, u.first.to_vec()));
        }
        What::OpenedBytes(..) => unreachable!("no keys are handed over"),
        What::Bytes(bytes) | What::TlsBytes(bytes, _) => {
            let is_tls = matches!(event.what, What::TlsBytes(..));
            match bytes.unseen {
                Some(reason) => socket.unseen.push(reason),
                None if is_tls => socket.is_tls = true,
                None => socket.confidence = socket.confidence.max(Some(bytes.confidence)),
            }
            let stream = &mut socket.streams[bytes.direction.index()];
            let at = stream.bytes.len() as u64;
            assert!(
                bytes.offset >= at,
                "offsets never go back: {} after {at}",
                bytes.offset
            );
            if bytes.offset > at {
                stream.gaps.push((at, bytes.offset - at));
                stream.bytes.resize(bytes.offset as usize, None);
            }
            stream.starts.push((bytes.offset, bytes.boundary));
            for segment in bytes.segments() {
                match segment {
                    Segment::Bytes(copied) => stream.bytes.extend(copied.iter().map(|&b| Some(b))),
                    Segment::Hole(len) => {
                        stream.bytes.resize(stream.bytes.len() + len as usize, None);
                    }
                }
            }
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(programs) = &mut self.tracer.programs {
            programs
                .of_others
                .extend(self.seen.iter().map(|seen| seen.key));
        }
    }
}

/// Asserts that `stream` is `sent`: every byte covered, what was copied equal, and everything copied that
/// must be.
pub(crate) fn assert_is(stream: &Stream, sent: &[u8], preface: bool) {
    assert_eq!(stream.gaps, [], "no gap");
    assert_eq!(stream.bytes.len(), sent.len(), "every byte is covered");
    let must = super::wire::must_copy(sent, preface);
    for (i, ((got, &want), &must)) in stream.bytes.iter().zip(sent).zip(&must).enumerate() {
        match got {
            Some(got) => assert_eq!(*got, want, "byte {i}"),
            None => assert!(!must, "byte {i} was not copied"),
        }
    }
}

/// How many bytes were copied.
pub(crate) fn copied(stream: &Stream) -> usize {
    stream.bytes.iter().filter(|b| b.is_some()).count()
}
