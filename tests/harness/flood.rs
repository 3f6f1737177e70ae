//! A hostile process: what it sends on sockets of its own, both ends of them in the same thread.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracer_ebpf::http2::{PREFACE, frame_type};

/// END_STREAM and END_HEADERS.
const WHOLE: u8 = 5;
/// END_HEADERS.
const OPEN: u8 = 4;

/// A GET that enters nothing into the table.
pub const REQUEST: &[u8] = &[0x82, 0x86, 0x84];

/// A frame (RFC 9113 section 4.1).
#[must_use]
pub fn frame(frame_type: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([frame_type, flags]);
    bytes.extend(stream_id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A connection of which this process has both ends.
pub struct Wire {
    client: UnixStream,
    server: UnixStream,
}

impl Wire {
    /// Up to the SETTINGS of both.
    ///
    /// # Errors
    /// There are no sockets left.
    pub fn begin() -> io::Result<Wire> {
        let (client, server) = UnixStream::pair()?;
        let mut wire = Wire { client, server };
        let settings = frame(frame_type::SETTINGS, 0, 0, &[]);
        wire.send(&[&PREFACE[..], &settings].concat())?;
        wire.answer(&settings)?;
        Ok(wire)
    }

    /// The client sends, and the server reads it.
    ///
    /// # Errors
    /// As sockets have them.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        pass(&mut self.client, &mut self.server, bytes)
    }

    /// The server sends from a file, so that a tracer sees nothing of it there; the client reads it.
    ///
    /// # Errors
    /// As files and sockets have them.
    pub fn answer_unseen(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        let mut offset = 0;
        // SAFETY: both descriptors are open, and `offset` outlives the call.
        let sent = unsafe {
            libc::sendfile(
                self.server.as_raw_fd(),
                file.as_raw_fd(),
                &raw mut offset,
                bytes.len(),
            )
        };
        if usize::try_from(sent).ok() != Some(bytes.len()) {
            return Err(io::Error::last_os_error());
        }
        self.client.read_exact(&mut vec![0; bytes.len()])
    }

    /// The server sends, and the client reads it.
    ///
    /// # Errors
    /// As sockets have them.
    pub fn answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        pass(&mut self.server, &mut self.client, bytes)
    }
}

fn pass(from: &mut UnixStream, to: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    let mut read = vec![0; 16 * 1024];
    // No more than a socket takes while nobody reads.
    for part in bytes.chunks(read.len()) {
        from.write_all(part)?;
        if let Some(room) = read.get_mut(..part.len()) {
            to.read_exact(room)?;
        }
    }
    Ok(())
}

/// `n` requests that stay open, from the `first` on.
#[must_use]
pub fn open_streams(first: u32, n: u32) -> Vec<u8> {
    let ids = first..first + n;
    ids.flat_map(|n| frame(frame_type::HEADERS, OPEN, 2 * n + 1, REQUEST))
        .collect()
}

/// A table of 65,536 bytes full of entries of 33: what the server lets the client have, and what fills it.
#[must_use]
pub fn full_table() -> (Vec<u8>, Vec<u8>) {
    let settings = frame(frame_type::SETTINGS, 0, 0, &[0, 1, 0, 1, 0, 0]);
    // A size update to 65,536 (RFC 7541 section 6.3).
    let mut block = vec![0x3f, 0xe1, 0xff, 0x03];
    block.extend(REQUEST);
    for letter in (b'a'..=b'z').cycle().take(2_000) {
        block.extend([0x40, 1, letter, 0]);
    }
    let request = frame(frame_type::HEADERS, WHOLE, 1, &block);
    (settings, request)
}

/// A header block that does not end, of about `bytes`.
#[must_use]
pub fn endless_block(bytes: usize) -> Vec<u8> {
    let mut frames = frame(frame_type::HEADERS, 0, 1, REQUEST);
    while frames.len() < bytes {
        frames.extend(frame(frame_type::CONTINUATION, 0, 1, &[0x84; 14_000]));
    }
    frames
}

/// A hundred frames of a flood, the how manieth of this connection.
pub type Batch = fn(u32) -> Vec<u8>;

/// Floods by their names.
pub const FLOODS: [(&str, Batch); 9] = [
    ("streams and resets", |n| {
        let ids = 100 * n..100 * (n + 1);
        ids.flat_map(|id| {
            let mut frames = frame(frame_type::HEADERS, WHOLE, 2 * id + 1, REQUEST);
            frames.extend(frame(frame_type::RST_STREAM, 0, 2 * id + 1, &[0, 0, 0, 8]));
            frames
        })
        .collect()
    }),
    ("streams without an end", |n| open_streams(100 * n, 100)),
    ("CONTINUATION", |n| {
        let mut frames = match n {
            0 => frame(frame_type::HEADERS, 0, 1, REQUEST),
            _ => Vec::new(),
        };
        frames.extend(frame(frame_type::CONTINUATION, 0, 1, &[0x84; 20]).repeat(100));
        frames
    }),
    ("PING", |_| {
        frame(frame_type::PING, 0, 0, &[0; 8]).repeat(100)
    }),
    ("SETTINGS", |_| {
        frame(frame_type::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(100)
    }),
    ("WINDOW_UPDATE", |_| {
        frame(frame_type::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(100)
    }),
    ("empty DATA", |n| {
        let mut frames = match n {
            0 => frame(frame_type::HEADERS, OPEN, 1, REQUEST),
            _ => Vec::new(),
        };
        frames.extend(frame(frame_type::DATA, 0, 1, &[]).repeat(100));
        frames
    }),
    ("GOAWAY", |_| {
        frame(frame_type::GOAWAY, 0, 0, &[0; 8]).repeat(100)
    }),
    ("PRIORITY", |_| {
        frame(frame_type::PRIORITY, 0, 1, &[0, 0, 0, 3, 1]).repeat(100)
    }),
];

/// Floods of all sorts, one after the other, until it is dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<u64>>>,
}

/// How long one sort lasts.
const EACH: Duration = Duration::from_millis(100);

impl Flood {
    /// Begins, with a pause after each hundred frames.
    #[must_use]
    pub fn begin(pause: Duration) -> Flood {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut frames = 0;
            for (_, batch) in FLOODS.iter().cycle() {
                let mut wire = Wire::begin()?;
                let began = Instant::now();
                for n in 0.. {
                    if asked.load(Ordering::Relaxed) {
                        return Ok(frames);
                    }
                    if began.elapsed() >= EACH {
                        break;
                    }
                    wire.send(&batch(n))?;
                    frames += 100;
                    std::thread::sleep(pause);
                }
            }
            Ok(frames)
        });
        Flood {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it: how many frames were sent.
    ///
    /// # Panics
    /// When it could not go on.
    pub fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it ends once");
        let sent = thread.join().expect("it does not panic");
        sent.expect("sockets of its own")
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
