//! One search of one process.

use std::ops::Range;

use h2trace_core::connection::Endpoint;
use h2trace_core::limits;
use h2trace_core::tls::{
    FoundKey, KeyPlace as _, LONGEST_SCHEDULE, Opener, Sample, Trial, Tries, schedules, wipe_stack,
};

use zeroize::Zeroize as _;

use super::memory::Memory;
use super::vault::{Pages, Vault};

/// Bytes that are read at once. Each read holds the process's map of its memory.
const PIECE: usize = 65_536;

/// Bytes of the end of a piece that are searched again with the next one.
const TAIL: usize = LONGEST_SCHEDULE - 4;

/// Bytes that a search needs.
pub(super) const BUFFER: usize = TAIL + PIECE;

/// So many keys of AES a process has beside those of its connections, more or less.
const OTHER_KEYS: u64 = 32;

/// The key of one direction of a connection is looked for.
pub struct Wanted {
    /// Who wants it.
    pub id: u64,
    /// Whose records it seals.
    pub sender: Endpoint,
    /// Such records.
    pub sample: Sample,
}

/// It was found.
pub struct Found {
    /// Who wanted it.
    pub id: u64,
    /// Whose records it seals.
    pub sender: Endpoint,
    /// The key.
    pub key: FoundKey,
}

/// What a search came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Bytes that were searched.
    pub(super) bytes: u64,
    /// AES key schedules that were seen, copies too.
    pub(super) schedules: u64,
    /// Pieces with more of them than are tried.
    pub(super) pieces_cut: u64,
    /// Where keys were found.
    pub(super) finds: Vec<u64>,
    /// It was ended before all had been looked at.
    pub(super) is_cut: bool,
}

/// Searches these mappings for what is wanted. What is found is taken out of `wanted`; `goes_on` is asked before each
/// piece.
pub(super) fn scan(
    memory: &Memory,
    mappings: &[Range<u64>],
    wanted: &mut Vec<Wanted>,
    (buffer, vault): (&mut Pages, &Vault),
    goes_on: &mut dyn FnMut() -> bool,
    found: &mut dyn FnMut(Found),
) -> Summary {
    let buffer = buffer.bytes();
    let summary = search(memory, mappings, wanted, (buffer, vault), goes_on, found);
    // Nothing that was read stays.
    buffer.zeroize();
    wipe_stack();
    summary
}

/// Not inlined: what it leaves on the stack is to be overwritten by who calls it.
#[inline(never)]
fn search(
    memory: &Memory,
    mappings: &[Range<u64>],
    wanted: &mut Vec<Wanted>,
    (buffer, vault): (&mut [u8], &Vault),
    goes_on: &mut dyn FnMut() -> bool,
    found: &mut dyn FnMut(Found),
) -> Summary {
    let n_wanted = wanted.len().max(1) as u64;
    let mut search = Search {
        wanted,
        vault,
        found,
        tries: Tries {
            each: (limits::TLS_SEQUENCES / (n_wanted + OTHER_KEYS) / n_wanted).max(1),
            left: limits::TLS_SEQUENCES,
        },
        summary: Summary::default(),
    };
    let mut tail = Tail::default();
    for mapping in mappings {
        memory.present(mapping, |run| {
            let mut at = run.start;
            while at < run.end {
                if search.wanted.is_empty() || !goes_on() {
                    search.summary.is_cut = true;
                    return false;
                }
                let len = usize::try_from(run.end - at).unwrap_or(PIECE).min(PIECE);
                at += search.piece(memory, (at, len), buffer, &mut tail) as u64;
            }
            true
        });
        if search.summary.is_cut {
            break;
        }
    }
    search.summary
}

/// What of the last piece stands at the beginning of the buffer.
#[derive(Default)]
struct Tail {
    len: usize,
    end: u64,
}

struct Search<'a> {
    wanted: &'a mut Vec<Wanted>,
    vault: &'a Vault,
    found: &'a mut dyn FnMut(Found),
    tries: Tries,
    summary: Summary,
}

impl Search<'_> {
    /// Reads and searches a piece; says how much of it is done with.
    fn piece(
        &mut self,
        memory: &Memory,
        (at, len): (u64, usize),
        buffer: &mut [u8],
        tail: &mut Tail,
    ) -> usize {
        let before = if tail.end == at { tail.len } else { 0 };
        let space = buffer.get_mut(before..before + len).unwrap_or_default();
        let n = memory.read(at, space);
        let end = before + n;
        self.bytes(at - before as u64, buffer.get(..end).unwrap_or_default());
        self.summary.bytes += n as u64;
        let kept = end.min(TAIL);
        buffer.copy_within(end - kept..end, 0);
        *tail = Tail {
            len: kept,
            end: at + n as u64,
        };
        // The rest is not there any more.
        if n == 0 { len } else { n }
    }

    fn bytes(&mut self, start: u64, bytes: &[u8]) {
        let Search {
            wanted,
            vault,
            found,
            tries,
            summary,
        } = self;
        let searched = schedules(bytes, limits::TLS_SCHEDULES, &mut |at, key| {
            let Some(trial) = Trial::new(key) else {
                return;
            };
            wanted.retain(|wanted| {
                let Some(proof) = trial.fits(&wanted.sample, tries) else {
                    return true;
                };
                let Some(key) = vault.keep(&mut || Opener::found(key)) else {
                    tracing::warn!("there is no place for one key more");
                    return true;
                };
                summary.finds.push(start + at as u64);
                found(Found {
                    id: wanted.id,
                    sender: wanted.sender,
                    key: FoundKey::new(key, proof),
                });
                false
            });
        });
        summary.schedules += searched.found as u64;
        summary.pieces_cut += u64::from(searched.stopped_at.is_some());
    }
}
