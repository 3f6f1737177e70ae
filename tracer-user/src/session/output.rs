//! Standard output on a thread of its own, so that a slow reader does not hold up the drain loop; and standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use h2trace_core::anomaly::kind::{Finding, Verdict};
use h2trace_core::limits;
use h2trace_core::pipeline::Output;

use crate::confine::{self, Needs};
use crate::export::text::{COLUMNS, Paint};
use crate::plain::plain;

/// Prints a line on stderr. A closed stderr is no reason to stop.
pub(crate) fn say(line: &str) {
    drop(writeln!(io::stderr().lock(), "h2trace: {}", plain(line)));
}

/// How standard output is to be painted, and how many columns it has.
#[must_use]
pub fn terminal() -> (Paint, usize) {
    if !io::stdout().is_terminal() {
        return (Paint::new(false), COLUMNS);
    }
    // The convention of no-color.org: any value turns colour off.
    let paint = Paint::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    (paint, terminal_columns())
}

/// Columns of the terminal that standard output is.
fn terminal_columns() -> usize {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one `struct winsize`, which `size` has room for.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if done == 0 {
        usize::from(size.ws_col)
    } else {
        COLUMNS
    }
}

/// What lines are worth when there is no room for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Of what went well.
    Common,
    /// Findings, losses, the diagnosis, the summary.
    NotToBeMissed,
}

impl Weight {
    /// Of an output's lines.
    #[must_use]
    pub fn of(output: &Output) -> Self {
        let bad = |findings: &[Finding]| {
            findings
                .iter()
                .any(|finding| finding.verdict >= Verdict::Suspicious)
        };
        let not_to_be_missed = match output {
            Output::Stream { findings, .. } | Output::Hop { findings, .. } => bad(findings),
            Output::Finding { finding, .. } => bad(std::slice::from_ref(finding)),
            Output::Loss(_) => true,
            _ => false,
        };
        if not_to_be_missed {
            Self::NotToBeMissed
        } else {
            Self::Common
        }
    }
}

/// Takes lines, and writes them as fast as their reader takes them.
#[derive(Debug)]
pub struct Printer {
    sender: Option<Sender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<PrinterState>,
    dropped_lines: u64,
}

#[derive(Debug, Default)]
struct PrinterState {
    /// Bytes handed over and not written yet.
    waiting: AtomicUsize,
    /// The reader has gone.
    closed: AtomicBool,
}

impl Printer {
    /// Prints to standard output.
    ///
    /// # Errors
    /// There cannot be one thread more.
    pub fn stdout() -> io::Result<Self> {
        Self::new(io::stdout())
    }

    /// Prints to `target`.
    ///
    /// # Errors
    /// There cannot be one thread more.
    pub fn new(mut target: impl io::Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = channel::<Vec<u8>>();
        let shared = Arc::new(PrinterState::default());
        let of_thread = Arc::clone(&shared);
        let work = move || {
            for lines in receiver {
                let written = target.write_all(&lines).and_then(|()| target.flush());
                of_thread.waiting.fetch_sub(lines.len(), Ordering::Relaxed);
                if let Err(error) = written {
                    of_thread.closed.store(true, Ordering::Relaxed);
                    if error.kind() != io::ErrorKind::BrokenPipe {
                        tracing::error!(%error, "cannot write to standard output");
                    }
                    break;
                }
            }
        };
        let thread = confine::spawn("h2trace-output", Needs::NOTHING, work)?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
            shared,
            dropped_lines: 0,
        })
    }

    /// Hands lines over. Beyond [`limits::OUTPUT_BACKLOG`] waiting bytes they are thrown away and counted; those not
    /// to be missed beyond half as much again.
    pub fn print(&mut self, mut lines: Vec<u8>, weight: Weight) {
        if lines.is_empty() || self.closed() {
            return;
        }
        let room = match weight {
            Weight::Common => limits::OUTPUT_BACKLOG,
            Weight::NotToBeMissed => limits::OUTPUT_BACKLOG + limits::OUTPUT_BACKLOG / 2,
        };
        if self.shared.waiting.load(Ordering::Relaxed) + lines.len() > room {
            let n_lines = lines.iter().filter(|byte| **byte == b'\n').count();
            self.dropped_lines += u64::try_from(n_lines).unwrap_or(u64::MAX);
            return;
        }
        self.shared
            .waiting
            .fetch_add(lines.len(), Ordering::Relaxed);
        // What it grew by beyond that would wait with it.
        lines.shrink_to_fit();
        // Fails only when the thread has ended, which `closed` tells.
        if let Some(sender) = &self.sender {
            drop(sender.send(lines));
        }
    }

    /// The reader is slower than the lines come: some may have to go.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) >= limits::OUTPUT_BACKLOG / 2
    }

    /// True when the reader has gone.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Lines thrown away so far.
    #[must_use]
    pub fn dropped_lines(&self) -> u64 {
        self.dropped_lines
    }

    /// Waits until everything is written.
    pub fn finish(mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn lines_come_out_in_order_and_whole() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut printer = Printer::new(writer).unwrap();
        for n in 0..1_000 {
            printer.print(format!("line {n}\n").into_bytes(), Weight::Common);
        }
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(printer.dropped_lines(), 0);
        printer.finish();
        let want: String = (0..1_000).map(|n| format!("line {n}\n")).collect();
        assert_eq!(read.join().unwrap(), want);
    }

    #[test]
    fn slow_reader_costs_lines_and_never_blocks() {
        let (reader, writer) = io::pipe().unwrap();
        let mut printer = Printer::new(writer).unwrap();
        // Nobody reads: the pipe fills, then the backlog, then lines are thrown away.
        let lines = b"0123456\n".repeat(128 * 1024);
        let n_handed_over = 2 * limits::OUTPUT_BACKLOG / lines.len();
        for _ in 0..n_handed_over {
            printer.print(lines.clone(), Weight::Common);
        }
        let n_lines = u64::try_from(n_handed_over * 128 * 1024).unwrap();
        let dropped = printer.dropped_lines();
        assert!(dropped > 0 && dropped < n_lines && printer.is_behind());
        // What is not to be missed has room of its own, which is bounded too.
        for _ in 0..limits::OUTPUT_BACKLOG / 2 / lines.len() {
            printer.print(lines.clone(), Weight::NotToBeMissed);
        }
        assert_eq!(printer.dropped_lines(), dropped);
        for _ in 0..2 {
            printer.print(lines.clone(), Weight::NotToBeMissed);
        }
        assert!(printer.dropped_lines() > dropped);
        drop(reader);
        printer.finish();
    }

    #[test]
    fn reader_that_has_gone_is_noticed() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut printer = Printer::new(writer).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !printer.closed() && std::time::Instant::now() < deadline {
            printer.print(b"line\n".to_vec(), Weight::Common);
        }
        assert!(printer.closed());
        printer.finish();
    }
}
