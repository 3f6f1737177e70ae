//! Keys of TLS connections in the kernel programs' map, so that these open the connections' records themselves. The map
//! is the kernel's memory, which is not swapped, and is left out of core dumps; keys are written in their place, and
//! overwritten when their connection is over.

use std::os::fd::AsFd as _;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use h2trace_core::event::{Direction, SocketKey};
use h2trace_core::limits;
use h2trace_core::tls::Handover;
use tracer_ebpf::aes::{self, ROUND_KEYS};
use tracer_ebpf::opened::{Cursor, Keys, SLOTS, Slot, Way, phase};
use zeroize::{Zeroize as _, Zeroizing};

use super::load::{Options, Tls, take};
use super::mapping::Mapping;
use super::secrets::data;

/// `kernel` lets the kernel programs open TLS. Otherwise all of it is opened in user space.
const VARIABLE: &str = "H2TRACE_TLS_OPENED_BY";

impl Options {
    /// The kernel programs open what they are given keys of, if that is asked for, and not every byte is wanted anyway.
    pub fn let_kernel_open_tls(&mut self) {
        let is_asked_for = std::env::var_os(VARIABLE).is_some_and(|value| value == "kernel");
        self.opens_tls = self.tls == Tls::Full && !self.full_payload && is_asked_for;
    }
}

/// `BPF_NOEXIST` of `linux/bpf.h`: only where nothing is.
const NOEXIST: u64 = 1;

const _: () = assert!(limits::TLS_OPENED < SLOTS);

/// The places of the map.
pub struct OpenedTls {
    mapping: Mapping,
    owners: HashMap<MapData, [u64; 2], u32>,
    free: Vec<u32>,
    generation: u32,
}

/// One of them, for as long as the connection is followed.
#[derive(Debug)]
pub struct OpenedSlot(u32);

impl OpenedTls {
    const LEN: usize = SLOTS as usize * size_of::<Slot>();

    pub(super) fn new(ebpf: &mut Ebpf) -> anyhow::Result<OpenedTls> {
        let map = ebpf.map("SLOTS").and_then(data);
        let map = map.ok_or_else(|| anyhow::anyhow!("there is no map for keys"))?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let mapping = Mapping::new(map.fd().as_fd(), OpenedTls::LEN, protection)?;
        let at = mapping.at().as_ptr();
        // SAFETY: the mapping was just made, and has so many bytes.
        if unsafe { libc::madvise(at, OpenedTls::LEN, libc::MADV_DONTDUMP) } != 0 {
            tracing::debug!("pages for keys are not kept out of dumps");
        }
        Ok(OpenedTls {
            mapping,
            owners: take(ebpf, "OPENED_TLS")?,
            // The first one is nobody's.
            free: (1..=limits::TLS_OPENED).rev().collect(),
            generation: 0,
        })
    }

    /// A place for a connection; None when there is no more.
    pub fn begin(&mut self, socket: &SocketKey) -> Option<OpenedSlot> {
        let slot = OpenedSlot(self.free.pop()?);
        self.wipe(&slot);
        let owner = [socket.sk, socket.born_ns];
        if self.owners.insert(owner, slot.0, NOEXIST).is_err() {
            self.free.push(slot.0);
            return None;
        }
        Some(slot)
    }

    /// The connection is over: its keys are overwritten.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "whoever gives a place back has it no more"
    )]
    pub fn end(&mut self, socket: &SocketKey, slot: OpenedSlot) {
        // Whatever the map says, nothing is there any more.
        self.owners.remove(&[socket.sk, socket.born_ns]).ok();
        self.wipe(&slot);
        self.free.push(slot.0);
    }

    fn wipe(&mut self, slot: &OpenedSlot) {
        for direction in [Direction::Tx, Direction::Rx] {
            self.take_back(slot, direction);
            let place = self.place_at(slot, direction);
            // SAFETY: within the mapping, and of no connection.
            unsafe { place.write_bytes(0, 1) };
        }
    }

    fn way(&self, slot: &OpenedSlot, direction: Direction) -> *mut Way {
        let nth = (slot.0 % SLOTS) as usize;
        let slots: NonNull<Slot> = self.mapping.at().cast();
        // SAFETY: within the mapping, which has so many places, each with two directions.
        unsafe {
            (&raw mut (*slots.add(nth).as_ptr()).ways)
                .cast::<Way>()
                .add(direction.index())
        }
    }

    fn keys_at(&self, slot: &OpenedSlot, direction: Direction) -> *mut Keys {
        // SAFETY: within the mapping.
        unsafe { &raw mut (*self.way(slot, direction)).keys }
    }

    fn place_at(&self, slot: &OpenedSlot, direction: Direction) -> *mut Cursor {
        // SAFETY: within the mapping.
        unsafe { &raw mut (*self.way(slot, direction)).place }
    }

    /// Hands over what opens a direction. `records` are the records that had gone by before the next one, as the kernel
    /// programs count them.
    pub fn hand_over(
        &mut self,
        slot: &OpenedSlot,
        direction: Direction,
        handover: &Handover<'_>,
        records: u32,
    ) {
        self.take_back(slot, direction);
        self.generation = self.generation.wrapping_add(1).max(1);
        let keys = self.keys_at(slot, direction);
        let until = u32::try_from(handover.left).unwrap_or(u32::MAX);
        // SAFETY: within the mapping; as long as the generation is 0 the kernel programs read nothing else.
        unsafe {
            let round_keys: &mut [u32; ROUND_KEYS] = &mut (*keys).round_keys;
            let Some(rounds) = aes::expand(handover.key, round_keys) else {
                return;
            };
            (*keys).rounds = rounds;
            (*keys).ahead = handover.number.wrapping_sub(u64::from(records));
            (*keys).until = records.saturating_add(until);
            (*keys).is_tls12 = u32::from(handover.is_tls12);
            for (word, bytes) in (*keys).iv.iter_mut().zip(handover.iv.as_chunks::<4>().0) {
                *word = u32::from_be_bytes(*bytes);
            }
            AtomicU32::from_ptr(&raw mut (*keys).generation)
                .store(self.generation, Ordering::Release);
        }
    }

    /// It has been handed over, and is good for the next record.
    #[must_use]
    pub fn has(
        &self,
        slot: &OpenedSlot,
        direction: Direction,
        handover: &Handover<'_>,
        records: u32,
    ) -> bool {
        // SAFETY: within the mapping; the kernel programs write nothing of it but zeros, when the socket is gone.
        let keys = unsafe { &*self.keys_at(slot, direction) };
        let mut next = Zeroizing::new(keys.iv);
        let mut wanted = Zeroizing::new([0; 3]);
        for (word, bytes) in wanted.iter_mut().zip(handover.iv.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        mix(&mut next, keys.ahead.wrapping_add(u64::from(records)));
        mix(&mut wanted, handover.number);
        let is_same_nonce = handover.is_tls12 || *next == *wanted;
        let words = handover.key.as_chunks::<4>().0.iter();
        let is_same_key = words
            .zip(&keys.round_keys)
            .all(|(bytes, word)| u32::from_be_bytes(*bytes) == *word);
        keys.generation != 0 && is_same_key && is_same_nonce && records < keys.until
    }

    /// A direction is not opened any more: its keys are overwritten.
    pub fn take_back(&mut self, slot: &OpenedSlot, direction: Direction) {
        let keys = self.keys_at(slot, direction);
        // SAFETY: within the mapping. What a kernel program that is at work makes of it is told of no record.
        unsafe {
            AtomicU32::from_ptr(&raw mut (*keys).generation).store(0, Ordering::Release);
            (*keys).round_keys.zeroize();
            (*keys).iv.zeroize();
            (*keys).confirmed = 0;
            (*keys).rejected = 0;
        }
    }

    /// How many records had gone by when the trial began that is on, if one is.
    #[must_use]
    pub fn trial(&self, slot: &OpenedSlot, direction: Direction) -> Option<u32> {
        let (place, keys) = (
            self.place_at(slot, direction),
            self.keys_at(slot, direction),
        );
        // SAFETY: within the mapping; single words, each read once.
        let (is_of_keys, phase, trial) = unsafe {
            let is_of_keys = (&raw const (*place).generation).read_volatile()
                == (&raw const (*keys).generation).read_volatile();
            let phase = (&raw const (*place).phase).read_volatile();
            (
                is_of_keys,
                phase,
                (&raw const (*place).trial).read_volatile(),
            )
        };
        (is_of_keys && phase == phase::TRIAL).then_some(trial)
    }

    /// Says what came of a trial.
    pub fn judge(&mut self, slot: &OpenedSlot, direction: Direction, trial: u32, is_right: bool) {
        let keys = self.keys_at(slot, direction);
        // SAFETY: within the mapping.
        let said = unsafe {
            AtomicU32::from_ptr(if is_right {
                &raw mut (*keys).confirmed
            } else {
                &raw mut (*keys).rejected
            })
        };
        said.store(trial.wrapping_add(1), Ordering::Release);
    }

    /// Up to where frames went by, counted from the trial on.
    #[must_use]
    pub fn reached(&self, slot: &OpenedSlot, direction: Direction) -> u64 {
        let place = self.place_at(slot, direction);
        // SAFETY: within the mapping; one word.
        unsafe { (&raw const (*place).frames.offset).read_volatile() }
    }
}

/// Brings the number of a record into its nonce.
const fn mix(nonce: &mut [u32; 3], number: u64) {
    let [_, high, low] = nonce;
    *high ^= (number >> 32) as u32;
    *low ^= number as u32;
}

impl Drop for OpenedTls {
    fn drop(&mut self) {
        for nth in 0..SLOTS {
            self.wipe(&OpenedSlot(nth));
        }
    }
}
