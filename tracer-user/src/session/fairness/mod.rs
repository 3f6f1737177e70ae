//! Who takes more than his share while records are lost.
//!
//! All that is traced shares one ring, and one thread that reads it. As long as both suffice nobody is measured closely.
//! When records are lost for a while, the processes with the most of the thread's time and of the ring give up their
//! largest connections, until what all take together is half: those with less than the others keep theirs. A connection
//! that was let go comes back after a while, and for longer each time that it is one of the largest again. Where there is a
//! budget of the processor, new connections of its process have a small share together until then: otherwise a flood that
//! opens ever new ones would be let go only when it is over.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use h2trace_core::event::{Event, SocketKey, Timestamp, What};
use h2trace_core::limits::LET_GO_NS;

use super::run::Keep;
use crate::export::clock::thread_now;

/// How long use is summed before it is looked at.
const WINDOW_NS: u64 = 50_000_000;

/// Windows in a row in which records must be lost, or more of them with others in between: one may be a burst, or a pause of
/// the reader.
const WINDOWS: u32 = 2;

/// How long it is waited for so many: where they don't come, there is no load any more.
const ASKED_FOR_NS: u64 = 1_000_000_000;

/// What may be left of all use when the largest have gone.
const KEPT: f64 = 0.5;

/// Events that are measured before anybody is judged by them; and where it is known that somebody has to go.
const MEASURED: u32 = 64;
const MEASURED_WHERE_ASKED: u32 = 16;

/// One event of so many is measured, and stands for all of them. A prime: where the ends of a connection take turns, each of
/// them is measured.
const EVERY: u32 = 31;

/// One of so many bytes in the ring is always measured, and stands for itself.
const LARGE: usize = 4_096;

/// What new connections of a process that was let go may take in a window, of the thread's time and of the ring, while records
/// are lost.
const NEW_NS: u64 = WINDOW_NS / 10;
const NEW_BYTES: u64 = 1 << 20;

/// How often the time for which a connection is let go becomes four times as long.
const LENGTHENED: u32 = 2;

/// How long a process that had to give up connections is remembered.
const REMEMBERED_NS: u64 = 60_000_000_000;

/// Sockets measured in one window, those let go at once, and processes remembered, at most.
const MOST: usize = 4_096;

/// What a socket took, of the processor and of the ring.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    pid: u32,
    ns: u64,
    bytes: u64,
}

impl Use {
    fn add(&mut self, ns: u64, bytes: u64) {
        self.ns = self.ns.saturating_add(ns);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// How often a process had to give up connections, when it was last, and until when.
#[derive(Clone, Copy, Debug)]
struct Conduct {
    times: u32,
    at: Timestamp,
    until: Timestamp,
    /// What connections took in this window that are newer than that.
    new: Use,
}

/// An event that is measured.
pub(super) struct Measured {
    /// In the time of this thread: it may be interrupted for long meanwhile.
    began: Duration,
    at: Timestamp,
    socket: SocketKey,
    pid: u32,
    bytes: usize,
    stands_for: u32,
}

/// Watches who takes how much.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    used: HashMap<SocketKey, Use>,
    /// Events since the last one that was measured.
    n_unmeasured: u32,
    /// Events measured of what is in `used`.
    n_measured: u32,
    window_began: Timestamp,
    n_lost: u64,
    /// Two for each window in which records were lost, and one less for each other.
    losing: u32,
    /// When that was found last.
    lost_at: Timestamp,
    away: HashMap<SocketKey, Timestamp>,
    /// Those of them that nobody has been told of yet.
    cut: Vec<SocketKey>,
    /// Some were in this window.
    has_cut: bool,
    /// Somebody had to go for the sake of the budget: where records are lost alone, to cut new connections lets those go
    /// that are beside them.
    has_budget: bool,
    conduct: HashMap<u32, Conduct>,
    asked_who_is_there: Timestamp,
    /// Who has the most has to go; since when.
    asked: Option<(Keep, Timestamp)>,
}

impl Fairness {
    /// Its socket was let go: what comes of it was still on its way, and nobody looks at it.
    #[inline]
    pub(super) fn is_passed_over(&self, event: &Event<'_>) -> bool {
        !self.away.is_empty()
            && matches!(
                event.what,
                What::Bytes(_) | What::TlsBytes(..) | What::OpenedBytes(..)
            )
            && self.away.contains_key(&event.socket)
    }

    /// An event is taken; [`Fairness::end`] wants what this returns.
    #[inline]
    pub(super) fn begin(&mut self, event: &Event<'_>) -> Option<Measured> {
        let bytes = match &event.what {
            What::Bytes(bytes) | What::TlsBytes(bytes, _) | What::OpenedBytes(bytes, _) => {
                bytes.encoded.len()
            }
            _ => 0,
        };
        let stands_for = if bytes >= LARGE {
            1
        } else {
            self.n_unmeasured += 1;
            if self.n_unmeasured < EVERY {
                return None;
            }
            self.n_unmeasured = 0;
            EVERY
        };
        Some(Measured {
            began: thread_now(),
            at: event.at,
            socket: event.socket,
            pid: event.task.pid,
            bytes: bytes + size_of::<tracer_ebpf::event::Header>(),
            stands_for,
        })
    }

    /// It was taken.
    #[inline]
    pub(super) fn end(&mut self, measured: Option<Measured>) {
        if let Some(measured) = measured {
            self.count(&measured, thread_now().saturating_sub(measured.began));
        }
    }

    fn count(&mut self, measured: &Measured, took: Duration) {
        self.n_measured = self.n_measured.saturating_add(1);
        if self.used.len() >= MOST && !self.used.contains_key(&measured.socket) {
            return;
        }
        let used = self.used.entry(measured.socket).or_default();
        let times = u64::from(measured.stands_for);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let (ns, bytes) = (ns.saturating_mul(times), measured.bytes as u64 * times);
        // Whoever makes the calls; an end comes from no task.
        if measured.pid != 0 {
            used.pid = measured.pid;
        }
        used.add(ns, bytes);
        if self.has_budget {
            self.count_new(measured, ns, bytes);
        }
    }

    /// Whoever was let go does not go on over new connections: together they have a small share, and beyond it each goes at
    /// once.
    fn count_new(&mut self, measured: &Measured, ns: u64, bytes: u64) {
        let (socket, at) = (measured.socket, measured.at);
        let Some(conduct) = self.conduct.get_mut(&measured.pid) else {
            return;
        };
        if at > conduct.until || socket.born_ns < conduct.at.0 {
            return;
        }
        conduct.new.add(ns, bytes);
        let is_more = conduct.new.ns > NEW_NS || conduct.new.bytes > NEW_BYTES;
        if is_more && at.since(self.lost_at) < LET_GO_NS && self.away.len() < MOST {
            let until = Timestamp(at.0.saturating_add(LET_GO_NS));
            self.away.insert(socket, until);
            self.cut.push(socket);
            self.has_cut = true;
        }
    }

    /// Those that have to go since they are new, and others of their process had to.
    pub(super) fn take_cut(&mut self) -> Vec<SocketKey> {
        std::mem::take(&mut self.cut)
    }

    /// Is it time to look at what was taken?
    #[inline]
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now.since(self.window_began) >= WINDOW_NS
    }

    /// Looks at what was taken since the last time; `n_lost` records did not fit into the ring so far. `gains` says whether
    /// anybody would gain by it who is neither one of these sockets nor the other end of one. Returns who has to go, the
    /// largest first.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        n_lost: u64,
        gains: impl FnOnce(&[SocketKey]) -> bool,
    ) -> Vec<SocketKey> {
        self.window_began = now;
        let has_cut = std::mem::take(&mut self.has_cut);
        for conduct in self.conduct.values_mut() {
            conduct.new = Use::default();
        }
        let lost = n_lost > self.n_lost;
        self.n_lost = n_lost;
        if lost {
            self.lost_at = now;
            self.losing = (self.losing + 2).min(2 * WINDOWS);
        } else {
            self.losing = self.losing.saturating_sub(1);
            if self.losing == 0 && self.asked.is_none() {
                self.forget();
            }
        }
        self.asked.take_if(|(_, at)| now.since(*at) > ASKED_FOR_NS);
        let is_enough = self.n_measured >= MEASURED_WHERE_ASKED;
        let asked = self.asked.take_if(|_| is_enough).map(|(keep, _)| keep);
        if asked.is_none() && (!lost || self.n_measured < MEASURED) {
            return Vec::new();
        }
        self.lost_at = now;
        let shares = self.shares();
        let Excess {
            mut gone,
            mut large,
        } = excess(&shares, asked.map_or(KEPT, |asked| asked.part));
        if has_cut || self.losing < 2 * WINDOWS && asked.is_none() {
            // Whoever did it before gets no second chance. And what the others have is not much only because those who
            // flood are cut already: what is lost is lost to them.
            gone.retain(|socket| self.is_known(socket.pid, now));
        }
        self.forget();
        let Some(least) = gone.iter().map(|socket| socket.part).reduce(f64::min) else {
            return Vec::new();
        };
        // Where all have about as much, nobody would gain; nor would who has been let go. (Who has little may not have been
        // measured at all.)
        large.retain(|socket| socket.part * 2.0 >= least);
        let mut taken: Vec<SocketKey> = large.iter().map(|socket| socket.socket).collect();
        taken.extend(self.away.keys());
        if asked.is_none() && !gains(&taken) {
            return Vec::new();
        }
        self.losing = 0;
        let mut pids: Vec<u32> = gone.iter().map(|socket| socket.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        for pid in pids {
            self.remember(pid, now);
        }
        gone.truncate(MOST.saturating_sub(self.away.len()));
        for Share { socket, pid, .. } in &gone {
            let once = until(now, 1);
            let until = self.conduct.get(pid).map_or(once, |conduct| conduct.until);
            self.away.insert(*socket, until);
        }
        gone.into_iter().map(|share| share.socket).collect()
    }

    /// Connections have to go as soon as it is known which.
    pub(super) fn ask(&mut self, keep: Keep, now: Timestamp) {
        if self.asked.is_none() {
            self.forget();
        }
        self.asked = Some((keep, now));
        self.has_budget = true;
    }

    /// Connections that are let go now.
    pub(super) fn n_away(&self) -> usize {
        self.away.len()
    }

    /// Begins to measure anew.
    fn forget(&mut self) {
        self.used.clear();
        self.n_measured = 0;
    }

    /// Those that may come back.
    pub(super) fn returning(&mut self, now: Timestamp) -> Vec<SocketKey> {
        let over = self.away.extract_if(|_, until| *until <= now);
        over.map(|(socket, _)| socket).collect()
    }

    /// Those that have gone meanwhile do not come back. Asked seldom: `is_there` asks the kernel.
    pub(super) fn forget_gone(&mut self, now: Timestamp, is_there: impl Fn(&SocketKey) -> bool) {
        if now.since(self.asked_who_is_there) >= LET_GO_NS {
            self.asked_who_is_there = now;
            self.away.retain(|socket, _| is_there(socket));
        }
    }

    /// It could not be let go.
    pub(super) fn keep(&mut self, socket: &SocketKey) {
        self.away.remove(socket);
    }

    fn is_known(&self, pid: u32, now: Timestamp) -> bool {
        let conduct = self.conduct.get(&pid);
        conduct.is_some_and(|conduct| now.since(conduct.at) < REMEMBERED_NS)
    }

    fn remember(&mut self, pid: u32, now: Timestamp) {
        if self.conduct.len() >= MOST {
            self.conduct
                .retain(|_, conduct| now.since(conduct.at) < REMEMBERED_NS);
        }
        if self.conduct.len() >= MOST && !self.conduct.contains_key(&pid) {
            return;
        }
        let times = match self.conduct.get(&pid) {
            Some(conduct) if now.since(conduct.at) < REMEMBERED_NS => conduct.times + 1,
            _ => 1,
        };
        let conduct = Conduct {
            times,
            at: now,
            until: until(now, times),
            new: Use::default(),
        };
        self.conduct.insert(pid, conduct);
    }

    /// What part of all use each socket's is. The largest first.
    fn shares(&self) -> Vec<Share> {
        let (mut ns, mut bytes) = (1, 1);
        for used in self.used.values() {
            ns += used.ns;
            bytes += used.bytes;
        }
        let half = |of: u64, all: u64| of as f64 / all as f64 / 2.0;
        let mut shares: Vec<Share> = self
            .used
            .iter()
            .map(|(socket, used)| Share {
                socket: *socket,
                pid: used.pid,
                part: half(used.ns, ns) + half(used.bytes, bytes),
            })
            .collect();
        shares.sort_unstable_by(|a, b| b.part.total_cmp(&a.part).then(a.socket.cmp(&b.socket)));
        shares
    }
}

/// Until when the connections of a process are let go that had to give some up so many times.
fn until(now: Timestamp, times: u32) -> Timestamp {
    let time = LET_GO_NS << (2 * times.saturating_sub(1).min(LENGTHENED));
    Timestamp(now.0.saturating_add(time))
}

/// What part of all use is a socket's: half of it by time and half by bytes.
#[derive(Clone, Copy, Debug)]
struct Share {
    socket: SocketKey,
    pid: u32,
    part: f64,
}

/// What processes have that take more than the others leave them.
struct Excess {
    /// Their largest sockets, as many as bring each of them down to that.
    gone: Vec<Share>,
    /// All of their sockets.
    large: Vec<Share>,
}

/// `shares`: the largest first.
/// `kept`: what may be left.
fn excess(shares: &[Share], kept: f64) -> Excess {
    let mut processes: HashMap<u32, f64> = HashMap::default();
    for share in shares {
        *processes.entry(share.pid).or_default() += share.part;
    }
    let mut sizes: Vec<f64> = processes.values().copied().collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let most = level(&sizes, kept);
    let takes_more = |share: &&Share| processes.get(&share.pid).is_some_and(|size| *size > most);
    let large: Vec<Share> = shares.iter().filter(takes_more).copied().collect();
    let mut gone = Vec::new();
    for share in &large {
        if let Some(size) = processes.get_mut(&share.pid)
            && *size > most
        {
            *size -= share.part;
            gone.push(*share);
        }
    }
    Excess { gone, large }
}

/// The most that each may have so that all together have `kept`; of `sizes`, the smallest first.
fn level(sizes: &[f64], kept: f64) -> f64 {
    let mut left = kept;
    for (n, size) in sizes.iter().enumerate() {
        let each = left / (sizes.len() - n) as f64;
        if *size > each {
            return each;
        }
        left -= size;
    }
    f64::INFINITY
}
