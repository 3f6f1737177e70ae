//! The recording of a run: a pcapng file, and what is said of it at the end.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use h2trace_core::connection::ConnectionId;
use h2trace_core::event::{Event, SocketKey, Timestamp};
use h2trace_core::pipeline::{Output, Sink};
use tracer_ebpf::counter::{COUNTERS, Counter};

use super::live::Tap;
use crate::confine::{self, Needs};
use crate::export::pcapng::{Recorder, RecordingCounts, Taken};
use crate::export::tally::StoppedBy;
use crate::unit::count;

/// Ready bytes are handed to the writer when there are so many of them, or when time passes.
const HAND_OVER: usize = 1 << 20;

/// Opens the file so that nobody else can ever read it. A file that stands there is replaced, not written into:
/// somebody may have it open. A pipe or a device has to be the caller's own.
///
/// # Errors
/// It cannot be made, what stands there cannot be removed, or others could read it.
pub fn open(path: &Path) -> io::Result<File> {
    if path == Path::new("-") {
        return Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    }
    match std::fs::symlink_metadata(path) {
        // What a link names may be anybody's, and /dev/stdout is no file to be replaced.
        Ok(there) if there.is_symlink() => {
            return Err(io::Error::other("it is a link: give the file itself"));
        }
        Ok(there) if there.is_file() => std::fs::remove_file(path)?,
        Ok(there) => {
            private(&there)?;
            let file = OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY)
                .open(path)?;
            // It may be another one by now.
            private(&file.metadata()?)?;
            return Ok(file);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // O_EXCL follows no link either.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// What goes in there is read by the caller alone, or by nobody.
fn private(there: &Metadata) -> io::Result<()> {
    let is_null = there.file_type().is_char_device() && there.rdev() == libc::makedev(1, 3);
    // SAFETY: geteuid takes nothing and cannot fail.
    let caller = unsafe { libc::geteuid() };
    if is_null || (there.uid() == caller && there.mode() & 0o044 == 0) {
        return Ok(());
    }
    let why = format!(
        "it belongs to user {} and has mode {:03o}, so others could read the payload: make a file or a pipe that you \
         alone can read (mkfifo --mode=600)",
        there.uid(),
        there.mode() & 0o777
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// How a recording went.
#[derive(Debug, Default)]
pub struct RecordingReport {
    counts: RecordingCounts,
    /// Packets that a slow file or pipe did not take.
    unwritten: u64,
    /// What the kernel programs lost, by cause.
    kernel: Vec<(&'static str, u64)>,
    full: bool,
    server_ports: Vec<u16>,
    /// Why not all of it could be written.
    pub error: Option<io::Error>,
}

impl RecordingReport {
    /// In words, for the recording `name` of at most `max_size` bytes.
    #[must_use]
    pub fn lines(&self, name: &str, max_size: u64) -> Vec<String> {
        let counts = &self.counts;
        let mut lines = vec![format!(
            "wrote {} of {} to {name}: {} of payload, {} as {}",
            count(counts.packets - self.unwritten, "packet", "packets"),
            count(counts.connections, "connection", "connections"),
            count(counts.payload_bytes, "byte", "bytes"),
            count(counts.findings, "finding", "findings"),
            if counts.findings == 1 {
                "comment"
            } else {
                "comments"
            },
        )];
        let mut lost = Vec::new();
        if counts.missing_bytes > 0 {
            lost.push(format!(
                "{} in {} could not be copied",
                count(counts.missing_bytes, "byte", "bytes"),
                count(counts.holes, "place", "places")
            ));
        }
        for (cause, n) in &self.kernel {
            lost.push(format!("{cause} {n} in the kernel (--ring-mib)"));
        }
        if self.unwritten > 0 {
            lost.push(format!(
                "{} came faster than the file took them",
                count(self.unwritten, "packet", "packets")
            ));
        }
        if counts.limit_connections > 0 {
            lost.push(format!(
                "{} let go for others",
                count(
                    counts.limit_connections,
                    "connection was",
                    "connections were"
                )
            ));
        }
        lines.push(if lost.is_empty() {
            "lost: nothing".to_owned()
        } else {
            format!("lost: {}", lost.join(", "))
        });
        if self.full {
            lines.push(format!(
                "stopped: the file has reached its limit of {} ({} had no room; --max-size)",
                count(max_size, "byte", "bytes"),
                count(counts.beyond_size, "packet", "packets")
            ));
        }
        if !self.server_ports.is_empty() && name != "-" {
            let ports = self.server_ports.iter();
            let decode_as: String = ports
                .map(|port| format!(" -d tcp.port=={port},http2"))
                .collect();
            lines.push(format!(
                "see: h2trace replay {name}, or wireshark{decode_as} {name}"
            ));
        }
        lines
    }
}

/// The report of a [`Recording`], there once its run is over.
#[derive(Clone, Debug, Default)]
pub struct ReportLater(Arc<Mutex<RecordingReport>>);

impl ReportLater {
    #[must_use]
    pub fn take(&self) -> RecordingReport {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, report: RecordingReport) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

/// A recorder, and the file behind it.
pub struct Recording {
    recorder: Recorder,
    writer: Writer,
    report: ReportLater,
    unwritten: u64,
}

impl Recording {
    /// Writes what `recorder` makes to `file`, from a thread of its own; at most `room` bytes wait for it.
    ///
    /// # Errors
    /// There cannot be one thread more.
    pub fn new(recorder: Recorder, file: File, room: usize) -> io::Result<(Self, ReportLater)> {
        let report = ReportLater::default();
        let recording = Self {
            recorder,
            writer: Writer::new(file, room)?,
            report: report.clone(),
            unwritten: 0,
        };
        Ok((recording, report))
    }

    fn hand_over(&mut self) {
        let taken = self.recorder.take();
        let packets = taken.packets;
        if !self.writer.write(taken) {
            self.unwritten += packets;
        }
    }
}

impl Sink for Recording {
    fn accept(&mut self, output: &Output) {
        self.recorder.accept(output);
    }
}

impl Tap for Recording {
    fn event(&mut self, event: &Event<'_>) {
        self.recorder.event(event);
        // While the kernel outruns the drain loop, time does not pass.
        if self.recorder.ready() > HAND_OVER {
            self.hand_over();
        }
    }

    fn wants_id(&mut self, key: &SocketKey) -> bool {
        self.recorder.wants_id(key)
    }

    fn name(&mut self, key: &SocketKey, id: ConnectionId) {
        self.recorder.name(key, id);
    }

    fn advance(&mut self, now: Timestamp) {
        self.recorder.advance(now);
        self.hand_over();
    }

    fn finish(&mut self, now: Timestamp, counters: &[u64; COUNTERS as usize]) {
        let kernel: Vec<_> = Counter::ALL
            .iter()
            .zip(counters)
            .filter_map(|(counter, n)| {
                let (cause, is_loss) = counter.name();
                (is_loss && *n > 0).then_some((cause, *n))
            })
            .collect();
        let lost = kernel.iter().map(|(_, n)| n).sum();
        self.recorder.finish(now, lost);
        self.hand_over();
        let error = self.writer.finish();
        self.report.set(RecordingReport {
            counts: self.recorder.counts(),
            unwritten: self.unwritten,
            kernel,
            full: self.recorder.is_full(),
            server_ports: self.recorder.server_ports().collect(),
            error,
        });
    }

    fn over(&self) -> Option<StoppedBy> {
        if self.recorder.is_full() {
            return Some(StoppedBy::FileFull);
        }
        self.writer.failed().then_some(StoppedBy::OutputClosed)
    }
}

/// Writes on a thread of its own: a slow disk or pipe must not hold up the drain loop.
struct Writer {
    sender: Option<Sender<Vec<u8>>>,
    thread: Option<JoinHandle<Option<io::Error>>>,
    /// Bytes handed over and not written yet.
    waiting: Arc<AtomicUsize>,
    /// How many may wait.
    room: usize,
}

impl Writer {
    /// With room for so many bytes that wait ([`limits::RECORD_BACKLOG`], or less where memory is short).
    fn new(mut target: impl Write + Send + 'static, room: usize) -> io::Result<Self> {
        let (sender, receiver) = channel::<Vec<u8>>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let of_thread = Arc::clone(&waiting);
        let work = move || {
            for blocks in receiver {
                let written = target.write_all(&blocks).and_then(|()| target.flush());
                of_thread.fetch_sub(blocks.len(), Ordering::Relaxed);
                if let Err(error) = written {
                    return Some(error);
                }
            }
            None
        };
        let thread = confine::spawn("h2trace-file", Needs::NOTHING, work)?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
            waiting,
            room,
        })
    }

    /// Hands blocks over; false when too many wait already: then they are gone.
    fn write(&mut self, taken: Taken) -> bool {
        let len = taken.bytes.len();
        if len == 0 {
            return true;
        }
        if self.waiting.load(Ordering::Relaxed) + len > self.room {
            return false;
        }
        self.waiting.fetch_add(len, Ordering::Relaxed);
        // Fails only when the thread has ended, which `failed` tells.
        self.sender
            .as_ref()
            .is_some_and(|sender| sender.send(taken.bytes).is_ok())
    }

    fn failed(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Waits until everything is written; why it could not be.
    fn finish(&mut self) -> Option<io::Error> {
        drop(self.sender.take());
        self.thread.take()?.join().ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use h2trace_core::limits;

    use super::*;

    #[test]
    fn file_is_for_its_owner_alone_whatever_stood_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.pcapng");
        std::fs::write(&path, "stale").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        // Somebody has it open already.
        let before = File::open(&path).unwrap();
        open(&path).unwrap().write_all(b"secret").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(io::read_to_string(before).unwrap(), "stale");

        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &link).unwrap();
        assert!(open(&link).unwrap_err().to_string().contains("link"));
        assert!(link.is_symlink() && !directory.path().join("elsewhere").exists());
    }

    #[test]
    fn pipe_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the path ends with a zero byte and lives until the call returns.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let permit = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        // Somebody who reads, so that opening does not wait for him.
        let reader = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        for readable in [0o640, 0o604, 0o666] {
            permit(readable);
            let error = open(&path).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::PermissionDenied,
                "{readable:o}"
            );
        }
        permit(0o622);
        open(&path).unwrap();
        drop(reader);
        open(Path::new("/dev/null")).unwrap();
    }

    #[test]
    fn slow_file_costs_whole_batches_and_never_blocks() {
        let (reader, pipe) = io::pipe().unwrap();
        let mut writer = Writer::new(pipe, limits::RECORD_BACKLOG).unwrap();
        let batch = || Taken {
            bytes: vec![0; 1 << 20],
            packets: 1,
        };
        let n = limits::RECORD_BACKLOG >> 20;
        let taken = (0..n + 8).filter(|_| writer.write(batch())).count();
        assert!((n - 1..=n).contains(&taken), "{taken}");
        drop(reader);
        let error = writer.finish().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn report_says_what_was_written_and_lost() {
        let mut report = RecordingReport {
            counts: RecordingCounts {
                connections: 1,
                packets: 12,
                payload_bytes: 3_456,
                findings: 1,
                ..RecordingCounts::default()
            },
            ..RecordingReport::default()
        };
        assert_eq!(
            report.lines("out.pcapng", 0),
            [
                "wrote 12 packets of 1 connection to out.pcapng: 3456 bytes of payload, 1 finding as comment",
                "lost: nothing",
            ]
        );
        report.server_ports = vec![8080];
        let lines = report.lines("out.pcapng", 0);
        assert_eq!(
            lines[2],
            "see: h2trace replay out.pcapng, or wireshark -d tcp.port==8080,http2 out.pcapng"
        );
        report.server_ports.clear();
        report.counts.missing_bytes = 9;
        report.counts.holes = 1;
        report.kernel = vec![("ring_full", 2)];
        (report.full, report.counts.beyond_size) = (true, 3);
        let lines = report.lines("out.pcapng", 4_096);
        assert_eq!(
            lines[1..],
            [
                "lost: 9 bytes in 1 place could not be copied, ring_full 2 in the kernel (--ring-mib)",
                "stopped: the file has reached its limit of 4096 bytes (3 packets had no room; --max-size)",
            ]
        );
    }
}
