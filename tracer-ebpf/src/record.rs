//! Records: built in the scratch space (END: on the stack), written to the ring, nearly always without waking anyone.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_ktime_get_ns, bpf_probe_read_kernel,
        bpf_probe_read_user, bpf_ringbuf_output,
    },
};
use tracer_ebpf::{
    counter::Counter,
    event::{
        End, Header, Open, UNRECOGNISED_COPY_MAX, Unrecognised, direction,
        family::{INET, UNIX},
        kind, passes_mark,
    },
    instruction::bound,
    walk::{
        record::header,
        state::{Scratch, Socket, Walk},
    },
};

use crate::{
    count,
    kernel_struct::{field, field_into, netns},
    maps::{EVENTS, config},
};

const HEADER: u32 = size_of::<Header>() as u32;

/// Writes a record. A wake-up is an interrupt, many times as dear as the record itself: the reader's timer drains, and
/// it is woken only when the ring passes a mark, in case it sleeps for long.
#[inline(always)]
pub(crate) fn write(record: *const u8, len: u64) {
    let waiting = EVENTS.query(BPF_RB_AVAIL_DATA as u64);
    put(record, len, passes_mark(waiting, len, config!(wake_every)));
}

#[inline(always)]
fn put(record: *const u8, len: u64, wakes: bool) {
    let flags = if wakes {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    // SAFETY: every caller passes `len` bytes of initialised memory, bounded for the verifier.
    let result = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            record.cast_mut().cast(),
            len,
            flags as u64,
        )
    };
    if result == 0 {
        count::bump(Counter::Records);
        count::add(Counter::BytesCopied, len);
    } else {
        count::bump(Counter::RingFull);
    }
}

/// Writes an OPEN record.
///
/// field: struct sock.__sk_common: skc_num, skc_dport, skc_rcv_saddr, skc_daddr, skc_v6_rcv_saddr,
/// skc_v6_daddr; struct unix_sock: peer, addr; struct unix_address: len, name.
#[inline(never)]
pub(crate) fn open(s: &mut Scratch, socket: &Socket) {
    let family = socket.family;
    let len = HEADER + size_of::<Open>() as u32;
    let head = header(s, kind::OPEN, len);
    let sk = s.sk;
    let out = s.out.as_mut_ptr();
    // SAFETY: `out` is far larger than both, and any bytes are a valid `Open`; unaligned access is
    // what `repr(C)` fields behind a byte array's address need, and 48 keeps them aligned here.
    unsafe {
        out.cast::<Header>().write_unaligned(head);
        let open = out.add(HEADER as usize);
        let mut word = 0;
        while word < size_of::<Open>() / 8 {
            // Volatile: of other writes the compiler makes a call of `memset`, which takes a stack frame.
            open.cast::<u64>().add(word).write_volatile(0);
            word += 1;
        }
        let open = open.cast::<Open>();
        (&raw mut (*open).family).write_unaligned(family);
        (&raw mut (*open).opened).write(socket.opened);
        (&raw mut (*open).from_start).write(socket.from_start);
        (&raw mut (*open).netns).write_unaligned(netns(sk));
        (&raw mut (*open).inode).write_unaligned(socket.inode);
        let comm = &raw mut (*open).comm;
        bpf_get_current_comm(comm.cast(), size_of_val(&*comm) as u32);
        if family == UNIX {
            unix_names(sk, open);
        } else {
            let local: u16 = field(sk, config!(offsets.sock_num)).unwrap_or(0);
            let peer: u16 = field(sk, config!(offsets.sock_dport)).unwrap_or(0);
            (&raw mut (*open).local_port).write_unaligned(local);
            (&raw mut (*open).peer_port).write_unaligned(u16::from_be(peer));
            // Not by way of the stack, of which a chain of calls has little.
            let (rcv, dest, len) = if family == INET {
                (
                    config!(offsets.sock_rcv_saddr),
                    config!(offsets.sock_daddr),
                    4,
                )
            } else {
                (
                    config!(offsets.sock_v6_rcv_saddr),
                    config!(offsets.sock_v6_daddr),
                    16,
                )
            };
            field_into((&raw mut (*open).local_addr).cast(), len, sk, rcv);
            field_into((&raw mut (*open).peer_addr).cast(), len, sk, dest);
        }
    }
    // Who opens a connection may be gone soon: the reader, which may sleep while nothing happens, asks for its name.
    put(out, len as u64, true);
}

/// The name of the socket itself, or else of its peer: the accepted end carries the listener's.
///
/// # Safety
/// `open` points to a whole `Open`.
#[inline(always)]
unsafe fn unix_names(sk: u64, open: *mut Open) {
    let peer: u64 = field(sk, config!(offsets.unix_peer)).unwrap_or(0);
    // SAFETY: as the caller promises; the helper writes at most the length of `unix_path`.
    unsafe {
        (&raw mut (*open).unix_peer_sk).write_unaligned(peer);
        let mut address: u64 = field(sk, config!(offsets.unix_addr)).unwrap_or(0);
        if address == 0 {
            address = field(peer, config!(offsets.unix_addr)).unwrap_or(0);
        }
        // `len` counts the two bytes of the family too.
        let len: u32 = field(address, config!(offsets.unix_address_len)).unwrap_or(0);
        if address == 0 || len <= 2 || len > 110 {
            return;
        }
        let path_len = bound::<127>((len - 2) as u64);
        if path_len > 108 {
            return;
        }
        let path = address + config!(offsets.unix_address_name) as u64 + 2;
        let target = (&raw mut (*open).unix_path).cast::<u8>();
        if bpf_probe_read_kernel(target.cast(), path_len as u32, path as *const _) == 0 {
            (&raw mut (*open).unix_path_len).write_unaligned(path_len as u32);
        }
    }
}

/// Writes an UNRECOGNISED record; for HTTP/1 with the beginning of the call.
#[inline(never)]
pub(crate) fn unrecognised(s: &mut Scratch, class: u8, copied: bool) {
    let start = HEADER + size_of::<Unrecognised>() as u32;
    let mut len = 0;
    if copied {
        len = UNRECOGNISED_COPY_MAX as u64;
        if (s.remaining as u64) < len {
            len = s.remaining as u64;
        }
        if s.chunk_len < len {
            len = s.chunk_len;
        }
        len = bound::<1_023>(len);
        // SAFETY: `out` is far larger.
        let result = unsafe {
            bpf_probe_read_user(
                s.out.as_mut_ptr().add(start as usize).cast(),
                len as u32,
                s.chunk as *const _,
            )
        };
        if result != 0 {
            count::bump(Counter::Fault);
            len = 0;
        }
    }
    let head = header(s, kind::UNRECOGNISED, start + len as u32);
    let out = s.out.as_mut_ptr();
    // SAFETY: `out` is far larger.
    unsafe {
        out.cast::<Header>().write_unaligned(head);
        out.add(HEADER as usize)
            .cast::<Unrecognised>()
            .write_unaligned(Unrecognised {
                class,
                _pad: [0; 3],
                len: len as u32,
            });
    }
    write(out, bound::<2_047>(start as u64 + len));
}

/// Header and body of an END record.
#[repr(C)]
struct EndRecord {
    header: Header,
    end: End,
}

/// Writes an END record for a socket; `task` is 0 where the current task has nothing to do with it.
///
/// On the stack, because it may interrupt a call that is at work in the scratch space: in a frame of its own.
#[inline(never)]
pub(crate) fn end(sk: u64, socket: &Socket, cause: u8, towards: u8, task: u64) {
    // One word: of seven zeros the compiler makes a call of `memset`, which takes a stack frame.
    let [cause, _pad @ ..] = (cause as u64).to_le_bytes();
    let record = EndRecord {
        header: Header {
            kind: kind::END,
            direction: towards,
            _reserved: 0,
            len: size_of::<EndRecord>() as u32,
            // SAFETY: no arguments.
            at_ns: unsafe { bpf_ktime_get_ns() },
            sk,
            born_ns: socket.born_ns,
            tgid: (task >> 32) as u32,
            tid: task as u32,
            // SAFETY: no arguments.
            cgroup: if task == 0 {
                0
            } else {
                unsafe { bpf_get_current_cgroup_id() }
            },
        },
        end: End {
            cause,
            _pad,
            tx_offset: offset(&socket.walks[direction::TX as usize]),
            rx_offset: offset(&socket.walks[direction::RX as usize]),
        },
    };
    write((&raw const record).cast(), size_of::<EndRecord>() as u64);
}

#[inline(always)]
fn offset(walk: &Walk) -> u64 {
    walk.offset
}
