//! The memory of another process, as far as it is there.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::mappings;

/// A page in `/proc/PID/pagemap` (Documentation/admin-guide/mm/pagemap.rst): it is in memory, it is one of a file or
/// shared.
const PRESENT: u64 = 1 << 63;
const SHARED: u64 = 1 << 61;

/// Pages that are asked for at once.
const PAGES: usize = 512;

/// A process, by its number and the time at which it began: numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProcessId {
    /// Its number.
    pub(crate) pid: u32,
    start: u64,
}

impl ProcessId {
    /// The process that has this number now. None: there is none.
    pub(crate) fn of(pid: u32) -> Option<ProcessId> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let start = start(&stat)?;
        Some(ProcessId { pid, start })
    }

    /// It has not ended.
    pub(crate) fn lives(self) -> bool {
        ProcessId::of(self.pid) == Some(self)
    }
}

/// The 22nd field of `/proc/PID/stat`; the second one, the name, may hold spaces and parentheses.
fn start(stat: &str) -> Option<u64> {
    let behind_name = stat.rsplit_once(')')?.1;
    behind_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// What became of a look at memory.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// The process ended, or it became another program.
    #[error("process {0} has ended")]
    Gone(u32),
    /// It may not be read.
    #[error("the memory of process {pid} cannot be read: {error}")]
    Refused {
        /// Its number.
        pid: u32,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Says whether a read is held up. One goes on at a time.
pub(super) struct Beat {
    begun: Instant,
    /// Milliseconds after `begun` at which the read began that goes on; 0: none does.
    since: AtomicU64,
    process: Mutex<Option<ProcessId>>,
}

impl Default for Beat {
    fn default() -> Beat {
        Beat {
            begun: Instant::now(),
            since: AtomicU64::new(0),
            process: Mutex::new(None),
        }
    }
}

impl Beat {
    fn now(&self) -> u64 {
        let passed = self.begun.elapsed().as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX).max(1)
    }

    /// A read has gone on for longer than that.
    pub(super) fn is_held_up(&self, limit: Duration) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        let passed = self.now().saturating_sub(since);
        since != 0 && u128::from(passed) > limit.as_millis()
    }

    /// The process that is read now, or was the last.
    pub(super) fn process(&self) -> Option<ProcessId> {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn around<T>(&self, read: impl FnOnce() -> T) -> T {
        self.since.store(self.now(), Ordering::Relaxed);
        let done = read();
        self.since.store(0, Ordering::Relaxed);
        done
    }
}

/// A file whose reads are timed.
struct Timed<'a> {
    file: File,
    beat: &'a Beat,
}

impl Read for Timed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.beat.around(|| self.file.read(bytes))
    }
}

/// The memory of one process. It is the memory that the process had when this was made: after an execve(2) nothing is
/// read any more.
pub(super) struct Memory {
    process: ProcessId,
    mem: File,
    pagemap: File,
    page: u64,
    beat: Arc<Beat>,
}

impl Memory {
    pub(super) fn open(process: ProcessId, beat: &Arc<Beat>) -> Result<Memory, Unread> {
        let pid = process.pid;
        *beat.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        let refused = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Unread::Gone(pid),
            _ if error.raw_os_error() == Some(libc::ESRCH) => Unread::Gone(pid),
            _ => Unread::Refused { pid, error },
        };
        // A process in the middle of an execve(2) holds up who opens its memory, too.
        let open = |name: &str| {
            let file = beat.around(|| File::open(format!("/proc/{pid}/{name}")));
            file.map_err(refused)
        };
        let (mem, pagemap) = (open("mem")?, open("pagemap")?);
        // SAFETY: sysconf takes a number alone.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = u64::try_from(page).unwrap_or(4_096).max(4_096);
        // Both are of the process that was meant, and not of one that has its number now.
        if !process.lives() {
            return Err(Unread::Gone(pid));
        }
        Ok(Memory {
            process,
            mem,
            pagemap,
            page,
            beat: Arc::clone(beat),
        })
    }

    /// Its mappings that may hold keys, by address.
    pub(super) fn mappings(&self) -> Result<Vec<Range<u64>>, Unread> {
        let pid = self.process.pid;
        let beat = self.beat.as_ref();
        let open = beat.around(|| File::open(format!("/proc/{pid}/smaps")));
        let read = open.and_then(|file| {
            let smaps = Timed { file, beat };
            mappings::read(BufReader::with_capacity(65_536, smaps))
        });
        // A process that ends has none left.
        match read {
            Ok(mappings) if !mappings.is_empty() && self.process.lives() => Ok(mappings),
            Ok(_) => Err(Unread::Gone(pid)),
            Err(error) => Err(Unread::Refused { pid, error }),
        }
    }

    /// The runs of pages within `range` that are in memory. Calls `each` with them in turn, until that says no.
    pub(super) fn present(&self, range: &Range<u64>, mut each: impl FnMut(Range<u64>) -> bool) {
        let mut entries = [0_u8; 8 * PAGES];
        let mut at = range.start - range.start % self.page;
        while at < range.end {
            let left = (range.end - at).div_ceil(self.page);
            let n = usize::try_from(left).unwrap_or(PAGES).min(PAGES);
            let entries = entries.get_mut(..8 * n).unwrap_or_default();
            let read = || self.pagemap.read_exact_at(entries, at / self.page * 8);
            if self.beat.around(read).is_err() {
                return;
            }
            let (entries, _) = entries.as_chunks::<8>();
            let is_there =
                |entry: &[u8; 8]| u64::from_ne_bytes(*entry) & (PRESENT | SHARED) == PRESENT;
            for run in entries.chunk_by(|one, two| is_there(one) == is_there(two)) {
                let next = at + run.len() as u64 * self.page;
                if run.first().is_some_and(is_there) && !each(at..next.min(range.end)) {
                    return;
                }
                at = next;
            }
        }
    }

    /// Reads what is at `at`; fewer bytes when the rest is not there any more.
    pub(super) fn read(&self, at: u64, bytes: &mut [u8]) -> usize {
        self.beat.around(|| {
            #[cfg(test)]
            super::tests::hold_up(self.process);
            self.mem.read_at(bytes, at).unwrap_or(0)
        })
    }

    /// Whether the process goes on as the program that it was.
    pub(super) fn is_there(&self) -> bool {
        self.process.lives()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_of_a_process_is_behind_its_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9876 1 2";
        assert_eq!(start(stat), Some(9_876));
        assert_eq!(start("42 (cut"), None);
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.lives());
        assert!(!ProcessId { start: 0, ..own }.lives());
    }

    #[test]
    fn own_memory_is_read_where_it_is_present() {
        const LEN: usize = 64;
        let process = ProcessId::of(std::process::id()).unwrap();
        let memory = Memory::open(process, &Arc::default()).unwrap();
        let page = usize::try_from(memory.page).unwrap();
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), LEN * page, access, kind, -1, 0) };
        // No page is to bring its neighbours with it.
        // SAFETY: the mapping was just made.
        unsafe { libc::madvise(at, LEN * page, libc::MADV_NOHUGEPAGE) };
        let start = at as u64;
        for nth in [5, 6, 63] {
            // SAFETY: the byte lies in the mapping, which nobody else knows.
            unsafe { at.cast::<u8>().add(nth * page + 8).write(77) };
        }
        let nth = |n: u64| start + n * memory.page;
        let mut byte = [0];
        assert_eq!(memory.read(nth(6) + 8, &mut byte), 1);
        assert_eq!(byte, [77]);
        let mut present = Vec::new();
        memory.present(&(start..nth(64)), |run| {
            present.push(run);
            true
        });
        assert_eq!(present, [nth(5)..nth(7), nth(63)..nth(64)]);
        assert!(
            memory
                .mappings()
                .unwrap()
                .iter()
                .any(|range| range.contains(&start))
        );
        // SAFETY: nothing uses it any more.
        unsafe { libc::munmap(at, LEN * page) };
    }

    #[test]
    fn a_process_that_has_ended_is_gone() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        let memory = Memory::open(process, &Arc::default()).unwrap();
        let mappings = memory.mappings().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!memory.is_there());
        assert!(matches!(
            memory.mappings(),
            Err(Unread::Gone(_) | Unread::Refused { .. })
        ));
        assert!(matches!(
            Memory::open(process, &Arc::default()),
            Err(Unread::Gone(_))
        ));
        assert_eq!(memory.read(mappings[0].start, &mut [0; 16]), 0);
    }
}
