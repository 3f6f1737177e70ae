//! The thread that searches: which process is next, and how often.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use h2trace_core::limits;
use h2trace_core::tls::Why;

use super::mappings;
use super::memory::{Beat, Memory, ProcessId, Unread};
use super::pace::Pace;
use super::scan::{self, BUFFER, Found, Summary, Wanted};
use super::vault::{Pages, Vault};
use crate::confine::{self, Needs};
use crate::workload::process;

/// Time from a wish to the search, in which others come that are answered by the same one.
const GATHER: Duration = Duration::from_millis(20);

/// Least time between two searches of a process.
const BETWEEN: Duration = Duration::from_secs(1);

/// Threads that wait to take over from one that is held up. They are started at once, since rights are given up later.
const SPARE: usize = 2;

/// Places of earlier finds that are remembered of a process.
const FINDS: usize = 1_024;

/// How keys are looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Share of one processor that the search may take.
    pub share: f64,
    /// Longest time of one search of a process.
    pub deadline: Duration,
    /// A read that takes longer is held up.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            share: 0.01,
            deadline: Duration::from_secs(60),
            patience: Duration::from_secs(5),
        }
    }
}

/// What becomes of a wish, or was done for it.
pub enum Answer {
    /// The key was found.
    Found(Found),
    /// It was not.
    Missed {
        /// Who wanted it.
        id: u64,
        /// Whose records it seals.
        sender: h2trace_core::connection::Endpoint,
        /// Why.
        why: Why,
    },
    /// The memory of a process was searched.
    Searched {
        /// The process.
        pid: u32,
        /// Bytes that were read.
        bytes: u64,
        /// The first time.
        is_first: bool,
    },
}

/// Looks for keys in a thread of its own.
pub struct KeyScanner {
    settings: Settings,
    vault: Vault,
    line: Line,
    spare: Vec<SyncSender<Scanner>>,
    /// Processes that held up who read them, which are not read any more.
    refused: Vec<ProcessId>,
}

/// To the thread that looks, and back.
struct Line {
    to: SyncSender<(ProcessId, Wanted)>,
    from: Receiver<Answer>,
    answers: Sender<Answer>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    beat: Arc<Beat>,
}

impl KeyScanner {
    /// Starts the threads, which have nothing but what they need. To be called before rights are given up.
    ///
    /// # Errors
    /// There is no memory, or no thread.
    pub fn start(settings: Settings) -> io::Result<KeyScanner> {
        let vault = Vault::new(limits::TLS_KEYS_FOUND, 0);
        let (line, scanner) = Scanner::new(settings, &vault)?;
        let mut spare = Vec::new();
        for _ in 0..=SPARE {
            let (seat, next) = sync_channel::<Scanner>(1);
            let needs = Needs {
                others_memory: true,
                ..Needs::NOTHING
            };
            let work = move || {
                if let Ok(scanner) = next.recv() {
                    scanner.run();
                }
            };
            // It ends when the wishes do. Nobody waits for it: it may be held up by the process that it reads.
            drop(confine::spawn("h2trace-keys", needs, work)?);
            spare.push(seat);
        }
        let mut started = KeyScanner {
            settings,
            vault,
            line,
            spare,
            refused: Vec::new(),
        };
        started.hand_over(scanner);
        Ok(started)
    }

    fn hand_over(&mut self, scanner: Scanner) -> bool {
        let seat = self.spare.pop();
        seat.is_some_and(|seat| seat.try_send(scanner).is_ok())
    }

    /// Looks for a key in the memory of a process. False: too many wait already, or the process is gone.
    #[must_use]
    pub fn ask(&self, pid: u32, wanted: Wanted) -> bool {
        let Some(process) = ProcessId::of(pid) else {
            return false;
        };
        if self.refused.contains(&process) {
            let Wanted { id, sender, .. } = wanted;
            let why = Why::MemoryUnreadable;
            let answer = Answer::Missed { id, sender, why };
            return self.line.answers.send(answer).is_ok();
        }
        self.line.to.try_send((process, wanted)).is_ok()
    }

    /// What became of wishes since the last call. Each has one answer in the end, unless the search is stuck.
    pub fn answers(&self) -> impl Iterator<Item = Answer> {
        self.line.from.try_iter()
    }

    /// A process holds up the one who reads it: nothing will come any more, unless it is [`renewed`](Self::renew).
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.line.shared.beat.is_held_up(self.settings.patience)
    }

    /// Another thread goes on, without the process that held up the one before, whose number this says. What was asked
    /// for has to be asked for again. None: no thread is left.
    pub fn renew(&mut self) -> Option<u32> {
        let process = self.line.shared.beat.process()?;
        let (line, scanner) = Scanner::new(self.settings, &self.vault).ok()?;
        if !self.hand_over(scanner) {
            return None;
        }
        // Should its read end after all, the thread ends.
        let old = std::mem::replace(&mut self.line, line);
        old.shared.is_over.store(true, Ordering::Relaxed);
        self.refused.push(process);
        Some(process.pid)
    }
}

impl Drop for KeyScanner {
    fn drop(&mut self) {
        self.line.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// What is remembered of a process.
struct Remembered {
    searched: Instant,
    finds: Vec<u64>,
    mappings: Vec<Range<u64>>,
}

struct Scanner {
    settings: Settings,
    wishes: Receiver<(ProcessId, Wanted)>,
    answers: Sender<Answer>,
    shared: Arc<Shared>,
    vault: Vault,
    buffer: Pages,
    known: HashMap<ProcessId, Remembered>,
    /// When each process may be searched, and for what.
    waiting: HashMap<ProcessId, (Instant, Vec<Wanted>)>,
}

impl Scanner {
    fn new(settings: Settings, vault: &Vault) -> io::Result<(Line, Scanner)> {
        let (to, wishes) = sync_channel(limits::TLS_WISHES);
        let (answers, from) = channel();
        let shared = Arc::<Shared>::default();
        let scanner = Scanner {
            settings,
            wishes,
            answers: answers.clone(),
            shared: Arc::clone(&shared),
            vault: vault.clone(),
            buffer: Pages::new(BUFFER)?,
            known: HashMap::new(),
            waiting: HashMap::new(),
        };
        let line = Line {
            to,
            from,
            answers,
            shared,
        };
        Ok((line, scanner))
    }

    fn run(mut self) {
        let mut pace = Pace::new(self.settings.share.clamp(0.001, 1.0));
        while !self.shared.is_over.load(Ordering::Relaxed) {
            let next = self.waiting.iter().min_by_key(|(_, (due, _))| *due);
            let next = next.map(|(process, (due, _))| (*process, *due));
            let patience = next.map_or(BETWEEN, |(_, due)| due - Instant::now().min(due));
            match self.wishes.recv_timeout(patience) {
                Ok((process, wanted)) => self.wait_for(process, wanted),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let Some((process, _)) = next.filter(|(_, due)| *due <= Instant::now()) else {
                        continue;
                    };
                    if let Some((_, wanted)) = self.waiting.remove(&process) {
                        self.search(process, wanted, &mut pace);
                    }
                }
            }
        }
    }

    fn wait_for(&mut self, process: ProcessId, wanted: Wanted) {
        let known = self.known.get(&process);
        let entry = self.waiting.entry(process).or_insert_with(|| {
            let due = Instant::now() + GATHER;
            let due = known.map_or(due, |known| due.max(known.searched + BETWEEN));
            (due, Vec::new())
        });
        entry.1.push(wanted);
    }

    fn search(&mut self, process: ProcessId, mut wanted: Vec<Wanted>, pace: &mut Pace) {
        let why = match self.try_search(process, &mut wanted, pace) {
            Ok(()) => Why::KeyNotFound,
            Err(error) => {
                tracing::warn!("keys are not found: {error}");
                match error {
                    Unread::Gone(_) => Why::EndedBeforeKey,
                    Unread::Refused { .. } => Why::MemoryUnreadable,
                }
            }
        };
        for Wanted { id, sender, .. } in wanted {
            self.answer(Answer::Missed { id, sender, why });
        }
    }

    fn answer(&self, answer: Answer) {
        // Nobody is there only at the end.
        self.answers.send(answer).ok();
    }

    fn try_search(
        &mut self,
        process: ProcessId,
        wanted: &mut Vec<Wanted>,
        pace: &mut Pace,
    ) -> Result<(), Unread> {
        let memory = Memory::open(process, &self.shared.beat)?;
        let mut mappings = memory.mappings()?;
        let before = self.known.remove(&process);
        let is_first = before.is_none();
        if is_first {
            let name = process::comm(process.pid).unwrap_or_default();
            // Whoever runs the process may ask who read it: the line is there at the level that is the default.
            tracing::warn!(
                "the memory of {} (pid {}) is read, for the keys of its TLS connections",
                crate::plain::plain(&name),
                process.pid
            );
        }
        let (mut finds, old) =
            before.map_or_else(Default::default, |known| (known.finds, known.mappings));
        let by_address = mappings.clone();
        mappings::sort(&mut mappings, &finds, &old);
        let n_wanted = wanted.len();
        let begun = Instant::now();
        let summary = {
            let (shared, deadline) = (Arc::clone(&self.shared), self.settings.deadline);
            let mut goes_on = || {
                pace.keep();
                begun.elapsed() < deadline && !shared.is_over.load(Ordering::Relaxed)
            };
            let answers = &self.answers;
            let mut found = |found| {
                answers.send(Answer::Found(found)).ok();
            };
            let space = (&mut self.buffer, &self.vault);
            scan::scan(&memory, &mappings, wanted, space, &mut goes_on, &mut found)
        };
        self.answer(Answer::Searched {
            pid: process.pid,
            bytes: summary.bytes,
            is_first,
        });
        told(process, &summary, (n_wanted, wanted.len()), begun.elapsed());
        finds.extend(summary.finds);
        finds.drain(..finds.len().saturating_sub(FINDS));
        if !memory.is_there() {
            return Err(Unread::Gone(process.pid));
        }
        self.remember(
            process,
            Remembered {
                searched: Instant::now(),
                finds,
                mappings: by_address,
            },
        );
        Ok(())
    }

    fn remember(&mut self, process: ProcessId, known: Remembered) {
        if self.known.len() >= limits::TLS_PROCESSES {
            self.known.retain(|process, _| process.lives());
        }
        if self.known.len() >= limits::TLS_PROCESSES {
            self.known.clear();
        }
        self.known.insert(process, known);
    }
}

/// A line for who looks into what was done: no address, no key.
fn told(process: ProcessId, summary: &Summary, (wanted, left): (usize, usize), time: Duration) {
    tracing::debug!(
        pid = process.pid,
        bytes = summary.bytes,
        schedules = summary.schedules,
        pieces_cut = summary.pieces_cut,
        wanted,
        found = wanted - left,
        is_cut = summary.is_cut,
        ?time,
        "memory was searched for keys"
    );
}
