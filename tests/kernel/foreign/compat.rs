//! 32-bit system calls: they number calls and arguments otherwise.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here is one system call whose buffers outlive it"
)]

use std::{
    arch::asm,
    os::fd::{AsRawFd, RawFd},
    sync::OnceLock,
};

use h2trace_core::event::Direction;
use tracer_tests::{
    require,
    skip::{Calls32, IoUring},
};

use super::{
    super::{
        capture::Tracing,
        io::{receive, send},
    },
    Connection, Foreign, PIECE, between, inside,
    ring::{Receive, Ring},
    task_work::Vector,
    waiting::at_once_until,
};

const PAGE: usize = 4_096;

/// A page below 4 GiB.
fn low_page() -> *mut u8 {
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    assert_ne!(page, libc::MAP_FAILED, "mmap below 2 GiB");
    page.cast()
}

/// `int 0x80` from 64-bit code. `rest` is what the other registers, which such a call does not look at, have
/// in them: those of a 64-bit call's first two arguments.
fn int80(number: u32, arguments: [u32; 3], rest: [u64; 2]) -> i32 {
    let result: i32;
    let [b, c, d] = arguments;
    unsafe {
        asm!(
            "xchg rbx, {b}",
            "int 0x80",
            "xchg rbx, {b}",
            b = inout(reg) u64::from(b) => _,
            inlateout("eax") number => result,
            in("rcx") u64::from(c),
            in("rdx") u64::from(d),
            in("rsi") rest[1],
            in("rdi") rest[0],
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    result
}

/// Where the code for [`int80_in_32_bit_mode`] is: it goes to the 32-bit code segment, makes the call, and
/// comes back.
fn trampoline() -> usize {
    static AT: OnceLock<usize> = OnceLock::new();
    *AT.get_or_init(|| {
        let page = low_page();
        let at = |offset: u32| (page as u32 + offset).to_le_bytes();
        let enter = [
            // mov [page + 0x800], rsp
            &[0x48, 0x89, 0x24, 0x25][..],
            &at(0x800),
            // mov esp, page + 0x1000
            &[0xbc],
            &at(0x1000),
            // push 0x23 (the 32-bit code segment); push page + 0x100; retfq
            &[0x6a, 0x23, 0x68],
            &at(0x100),
            &[0x48, 0xcb],
        ]
        .concat();
        // int 0x80; ljmp 0x33:page + 0x200
        let within = [&[0xcd, 0x80, 0xea][..], &at(0x200), &[0x33, 0x00]].concat();
        // mov rsp, [page + 0x800]; ret
        let leave = [&[0x48, 0x8b, 0x24, 0x25][..], &at(0x800), &[0xc3]].concat();
        for (offset, code) in [(0, enter), (0x100, within), (0x200, leave)] {
            unsafe { page.add(offset).copy_from(code.as_ptr(), code.len()) };
        }
        page as usize
    })
}

/// The same from 32-bit code: the registers show the 32-bit code segment.
fn int80_in_32_bit_mode(number: u32, arguments: [u32; 3], rest: [u64; 2]) -> i32 {
    let result: i32;
    let [b, c, d] = arguments;
    unsafe {
        asm!(
            "xchg rbx, {b}",
            "call {at}",
            "xchg rbx, {b}",
            b = inout(reg) u64::from(b) => _,
            at = in(reg) trampoline(),
            inlateout("eax") number => result,
            in("rcx") u64::from(c),
            in("rdx") u64::from(d),
            in("rsi") rest[1],
            in("rdi") rest[0],
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    result
}

type Enter = fn(u32, [u32; 3], [u64; 2]) -> i32;
const ENTRIES: [(&str, Enter); 2] = [
    ("64-bit code", int80),
    ("32-bit code", int80_in_32_bit_mode),
];

/// Numbers of 32-bit calls (arch/x86/entry/syscalls/syscall_32.tbl).
mod number {
    pub(super) const READ: u32 = 3;
    pub(super) const WRITE: u32 = 4;
    pub(super) const LSEEK: u32 = 19;
    pub(super) const GETPID: u32 = 20;
    pub(super) const SOCKETCALL: u32 = 102;
    pub(super) const READV: u32 = 145;
    pub(super) const WRITEV: u32 = 146;
    pub(super) const SENDMSG: u32 = 370;
    pub(super) const RECVMSG: u32 = 372;
}

/// `socketcall` numbers (include/uapi/linux/net.h).
const SYS_SEND: u32 = 9;
const SYS_RECV: u32 = 10;

/// What a 32-bit call needs, in one low page: a buffer, its vector and message header.
struct Low {
    page: *mut u8,
}

impl Low {
    const BUFFER: usize = 0;
    const VECTOR: usize = 1_024;
    const HEADER: usize = 1_040;
    const ARGUMENTS: usize = 1_100;

    fn new() -> Low {
        Low { page: low_page() }
    }

    fn at(&self, offset: usize) -> u32 {
        self.page as u32 + offset as u32
    }

    fn words(&self, offset: usize, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            unsafe { self.page.add(offset + 4 * i).cast::<u32>().write(*word) };
        }
    }

    fn buffer(&mut self) -> &mut [u8] {
        unsafe { std::slice::from_raw_parts_mut(self.page.add(Low::BUFFER), PIECE) }
    }

    /// The number's arguments for this descriptor and the whole buffer.
    fn arguments(&self, number: u32, fd: RawFd) -> [u32; 3] {
        let (fd, len, buffer) = (fd as u32, PIECE as u32, self.at(Low::BUFFER));
        self.words(Low::VECTOR, &[buffer, len]);
        self.words(Low::HEADER, &[0, 0, self.at(Low::VECTOR), 1, 0, 0, 0]);
        self.words(Low::ARGUMENTS, &[fd, buffer, len, 0]);
        match number {
            number::READ | number::WRITE => [fd, buffer, len],
            number::READV | number::WRITEV => [fd, self.at(Low::VECTOR), 1],
            number::SENDMSG | number::RECVMSG => [fd, self.at(Low::HEADER), 0],
            _ => [0, self.at(Low::ARGUMENTS), 0],
        }
    }

    fn call(&self, enter: Enter, number: u32, receives: bool, fd: RawFd, rest: [u64; 2]) {
        let mut arguments = self.arguments(number, fd);
        if number == number::SOCKETCALL {
            arguments[0] = if receives { SYS_RECV } else { SYS_SEND };
        }
        let done = enter(number, arguments, rest);
        assert_eq!(done, PIECE as i32, "32-bit call {number}");
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        unsafe { libc::munmap(self.page.cast(), PAGE) };
    }
}

#[test]
fn receives_of_32_bit_calls_are_right_or_counted() {
    require!(Tracing, Calls32);
    let memory = Foreign::Frames.memory(PIECE);
    for (name, enter) in ENTRIES {
        for number in [
            number::READ,
            number::READV,
            number::SOCKETCALL,
            number::RECVMSG,
        ] {
            println!("{name} {number}");
            let mut low = Low::new();
            let mut way = |connection: &Connection, pieces: &[Vec<u8>]| {
                for piece in pieces {
                    send(connection.client.as_raw_fd(), "write", piece);
                    let server = connection.server.as_raw_fd();
                    let rest = [server as u64, memory.as_ptr() as u64];
                    low.call(enter, number, true, server, rest);
                    assert_eq!(low.buffer(), piece);
                }
            };
            inside("ipv4", Direction::Rx, 30, &mut way);
            inside("unix", Direction::Rx, 30, &mut way);
            between("ipv4", Direction::Rx, 10, &mut way);
        }
    }
}

#[test]
fn sends_of_32_bit_calls_are_right_or_counted() {
    require!(Tracing, Calls32);
    let memory = Foreign::Frames.memory(PIECE);
    for (name, enter) in ENTRIES {
        for number in [
            number::WRITE,
            number::WRITEV,
            number::SOCKETCALL,
            number::SENDMSG,
        ] {
            println!("{name} {number}");
            let mut low = Low::new();
            let mut way = |connection: &Connection, pieces: &[Vec<u8>]| {
                for piece in pieces {
                    low.buffer().copy_from_slice(piece);
                    let client = connection.client.as_raw_fd();
                    let rest = [client as u64, memory.as_ptr() as u64];
                    low.call(enter, number, false, client, rest);
                    let server = connection.server.as_raw_fd();
                    assert!(receive(server, "read", piece.len()) == *piece);
                }
            };
            inside("ipv4", Direction::Tx, 30, &mut way);
            between("ipv4", Direction::Tx, 10, &mut way);
        }
    }
}

/// 19 and 20 are readv and writev of 64-bit calls, and lseek and getpid of 32-bit ones, which look at no
/// register of those in which a 64-bit call has its descriptor and its vector.
#[test]
fn a_receive_that_completes_behind_a_32_bit_call_takes_nothing_of_it() {
    require!(Tracing, Calls32, IoUring);
    let memory = Foreign::Frames.memory(PIECE);
    let vector = Vector::of(&memory);
    for (name, enter) in ENTRIES {
        for number in [number::LSEEK, number::GETPID] {
            println!("{name} {number}");
            let mut way = |connection: &Connection, pieces: &[Vec<u8>]| {
                let (client, server) =
                    (connection.client.as_raw_fd(), connection.server.as_raw_fd());
                let vector = vector.address() as u64;
                let mut ring = Ring::cooperative();
                for (i, piece) in pieces.iter().enumerate() {
                    ring.receive(Receive::Recv, server, i);
                    std::thread::scope(|scope| {
                        scope.spawn(|| send(client, "write", piece));
                        at_once_until("the piece is received", || {
                            // The third argument is one vector, or no seek of no file.
                            enter(number, [u32::MAX, 0, 1], [server as u64, vector]);
                            ring.is_done()
                        });
                    });
                    assert_eq!(ring.received(), *piece);
                }
            };
            inside("ipv4", Direction::Rx, 100, &mut way);
            between("ipv4", Direction::Rx, 30, &mut way);
        }
    }
}
