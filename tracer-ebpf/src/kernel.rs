//! The kernel as the walker's [`Machine`]: helpers, maps, loops.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_for_each_map_elem, bpf_loop, bpf_probe_read_kernel, bpf_probe_read_user,
};
use tracer_ebpf::{
    counter::Counter,
    instruction::hand_over,
    opened::{Cursor, Keys, Owner, Slot},
    walk::{
        self, Machine, Part, Step,
        state::{Message, MessageKey, Scratch, Socket},
    },
};

use crate::{
    call, count,
    maps::{MESSAGES, OPENED_TLS, SCRATCH, SLOTS, TURNS, config},
    record, user_memory,
};

/// The kernel.
#[derive(Clone, Copy)]
pub(crate) struct Kernel;

/// The scratch space of this CPU.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: the slot is this CPU's; its busy flag keeps other programs out.
    SCRATCH.get_ptr_mut(0).map(|s| unsafe { &mut *s })
}

impl Machine for Kernel {
    #[inline(always)]
    unsafe fn read_user(self, target: *mut u8, len: u32, address: u64) -> bool {
        // SAFETY: as the caller promises; the helper fails where the address is none of the user's.
        unsafe { bpf_probe_read_user(target.cast(), len, address as *const _) == 0 }
    }

    /// By a helper, because the verifier would follow each number of turns of a loop on its own.
    #[inline(always)]
    unsafe fn copy(self, target: *mut u8, len: u32, source: *const u8) -> bool {
        // SAFETY: as the caller promises.
        unsafe { bpf_probe_read_kernel(target.cast(), len, source.cast()) == 0 }
    }

    #[inline(always)]
    fn full_payload(self) -> bool {
        config!(full_payload) != 0
    }

    #[inline(always)]
    fn tls(self) -> u32 {
        config!(tls)
    }

    #[inline(always)]
    fn message(self, key: &MessageKey) -> Option<Message> {
        // SAFETY: only this direction's walker, which holds the busy flag, uses the entry; if LRU gives it
        // to another stream in this instant, message boundaries of one stream are lost, which user space
        // notices.
        unsafe { MESSAGES.get(key) }.copied()
    }

    #[inline(always)]
    fn keep_message(self, key: &MessageKey, message: &Message) -> bool {
        MESSAGES.insert(key, message, 0).is_ok()
    }

    #[inline(always)]
    fn forget_message(self, key: &MessageKey) -> bool {
        MESSAGES.remove(key).is_ok()
    }

    #[inline(always)]
    fn count(self, counter: Counter, n: u64) {
        count::add(counter, n);
    }

    #[inline(always)]
    fn write(self, record: *const u8, len: u64) {
        record::write(record, len);
    }

    #[inline(always)]
    fn announce(self, s: &mut Scratch, socket: &mut Socket) {
        call::announce(s, socket);
    }

    #[inline(always)]
    fn unrecognised(self, s: &mut Scratch, class: u8, copied: bool) {
        record::unrecognised(s, class, copied);
    }

    #[inline(always)]
    fn slot(self, s: &Scratch) -> u32 {
        let owner = Owner {
            sk: s.sk,
            born_ns: s.born_ns,
        };
        // SAFETY: a number, read at once.
        unsafe { OPENED_TLS.get(owner) }.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn keys(self, s: &Scratch) -> Option<*const Keys> {
        // SAFETY: within the map's value.
        slot(s).map(|slot| unsafe { (&raw const (*slot).ways[(s.direction & 1) as usize].keys) })
    }

    #[inline(always)]
    fn place(self, s: &Scratch) -> Option<*mut Cursor> {
        // SAFETY: within the map's value.
        slot(s).map(|slot| unsafe { (&raw mut (*slot).ways[(s.direction & 1) as usize].place) })
    }

    #[inline(always)]
    fn cut_short(self, s: &mut Scratch) {
        user_memory::cut_short(s);
    }

    #[inline(always)]
    fn run(self, s: &mut Scratch, part: Part) -> u64 {
        hand_over(s);
        match part {
            Part::Walk => walk_call(),
            Part::Preface { n, matched } => is_preface(n, matched),
            Part::Opening => read_opening(),
            Part::ProxyHeader => read_proxy_header(),
            Part::Head => upgrade_head(),
            Part::Frame => next_frame(),
            Part::Records => tell_records(),
            Part::Opened => walk_opened(),
            Part::Unseal => unseal(),
        }
    }

    #[inline(always)]
    fn repeat(self, s: &mut Scratch, times: u32, step: Step) {
        if config!(has_loop) == 0 {
            // The steps of one loop may take another one.
            let outer = s.turns;
            s.turns = times;
            hand_over(s);
            let callback: Turn = match step {
                Step::Walk => walk_turn,
                Step::Opening => opening_turn,
                Step::ProxyHeader => proxy_header_turn,
                Step::Head => head_turn,
                Step::Frame => frame_turn,
                Step::Opened => opened_turn,
                Step::Block => block_turn,
            };
            let map = (&raw const TURNS).cast_mut().cast();
            // SAFETY: the callback uses the scratch space alone.
            unsafe {
                bpf_for_each_map_elem(map, callback as *mut c_void, core::ptr::null_mut(), 0)
            };
            s.turns = outer;
            return;
        }
        hand_over(s);
        let callback: extern "C" fn(u64, *mut c_void) -> i64 = match step {
            Step::Walk => walk_step,
            Step::Opening => opening_step,
            Step::ProxyHeader => proxy_header_step,
            Step::Head => head_step,
            Step::Frame => frame_step,
            Step::Opened => opened_step,
            Step::Block => block_step,
        };
        // SAFETY: the callback uses the scratch space alone.
        unsafe { bpf_loop(times, callback as *mut c_void, core::ptr::null_mut(), 0) };
    }
}

/// The place of the connection at hand.
#[inline(always)]
fn slot(s: &Scratch) -> Option<*mut Slot> {
    SLOTS.get_ptr_mut(s.slot)
}

#[inline(always)]
fn here(part: Part) -> u64 {
    match scratch() {
        Some(s) => walk::run(Kernel, s, part),
        None => 0,
    }
}

// Not inlined, and not static: so the verifier proves each of them on its own.

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_call() -> u64 {
    here(Part::Walk)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_preface(n: u32, matched: u32) -> u64 {
    here(Part::Preface { n, matched })
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_opening() -> u64 {
    here(Part::Opening)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_proxy_header() -> u64 {
    here(Part::ProxyHeader)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn upgrade_head() -> u64 {
    here(Part::Head)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn next_frame() -> u64 {
    here(Part::Frame)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_records() -> u64 {
    here(Part::Records)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_opened() -> u64 {
    here(Part::Opened)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn unseal() -> u64 {
    here(Part::Unseal)
}

/// A callback of `bpf_loop`: 1 ends the loop.
#[inline(always)]
fn step(step: Step, index: u64) -> i64 {
    match scratch() {
        Some(s) => !walk::take_step(Kernel, s, step, index) as i64,
        None => 1,
    }
}

extern "C" fn walk_step(index: u64, _context: *mut c_void) -> i64 {
    step(Step::Walk, index)
}

extern "C" fn opening_step(index: u64, _context: *mut c_void) -> i64 {
    step(Step::Opening, index)
}

extern "C" fn proxy_header_step(_: u64, _context: *mut c_void) -> i64 {
    step(Step::ProxyHeader, 0)
}

extern "C" fn head_step(index: u64, _context: *mut c_void) -> i64 {
    step(Step::Head, index)
}

extern "C" fn frame_step(index: u64, _context: *mut c_void) -> i64 {
    step(Step::Frame, index)
}

extern "C" fn opened_step(_: u64, _context: *mut c_void) -> i64 {
    step(Step::Opened, 0)
}

extern "C" fn block_step(_: u64, _context: *mut c_void) -> i64 {
    step(Step::Block, 0)
}

/// A callback of `bpf_for_each_map_elem`.
type Turn = extern "C" fn(*mut c_void, *const u32, *mut u64, *mut c_void) -> i64;

/// Element `index` of [`TURNS`], which the kernel takes in their order: 1 ends the loop.
#[inline(always)]
fn turn(step: Step, index: *const u32) -> i64 {
    let Some(s) = scratch() else { return 1 };
    // SAFETY: the kernel passes the element's index.
    let index = unsafe { *index };
    if index >= s.turns {
        return 1;
    }
    !walk::take_step(Kernel, s, step, index as u64) as i64
}

extern "C" fn walk_turn(_: *mut c_void, index: *const u32, _: *mut u64, _: *mut c_void) -> i64 {
    turn(Step::Walk, index)
}

extern "C" fn opening_turn(_: *mut c_void, index: *const u32, _: *mut u64, _: *mut c_void) -> i64 {
    turn(Step::Opening, index)
}

extern "C" fn proxy_header_turn(
    _: *mut c_void,
    index: *const u32,
    _: *mut u64,
    _: *mut c_void,
) -> i64 {
    turn(Step::ProxyHeader, index)
}

extern "C" fn head_turn(_: *mut c_void, index: *const u32, _: *mut u64, _: *mut c_void) -> i64 {
    turn(Step::Head, index)
}

extern "C" fn frame_turn(_: *mut c_void, index: *const u32, _: *mut u64, _: *mut c_void) -> i64 {
    turn(Step::Frame, index)
}

extern "C" fn opened_turn(_: *mut c_void, index: *const u32, _: *mut u64, _: *mut c_void) -> i64 {
    turn(Step::Opened, index)
}

extern "C" fn block_turn(_: *mut c_void, index: *const u32, _: *mut u64, _: *mut c_void) -> i64 {
    turn(Step::Block, index)
}
