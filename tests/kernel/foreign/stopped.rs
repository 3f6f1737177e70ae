//! Calls that a debugger stops, begins anew, and changes.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here is one system call whose buffers outlive it"
)]

use std::os::fd::{AsRawFd, RawFd};

use h2trace_core::event::Direction;
use tracer_tests::require;

use super::{
    super::{capture::Tracing, io::send},
    Connection, Foreign, PIECE, letters,
    waiting::{Thread, until},
};

const PIECES: usize = 30;
/// With PTRACE_O_TRACESYSGOOD a stop at a system call shows as this.
const AT_CALL: libc::c_int = libc::SIGTRAP | 0x80;

/// What the child does after it let itself be traced: it reads pieces from a descriptor.
fn child(fd: RawFd, buffers: &mut [Vec<u8>], expected: &[Vec<u8>]) -> ! {
    unsafe {
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
        libc::raise(libc::SIGSTOP);
        for (i, buffer) in buffers.iter_mut().enumerate() {
            let got = libc::syscall(libc::SYS_read, fd, buffer.as_mut_ptr(), PIECE);
            if got != PIECE as i64 || expected.get(i).is_some_and(|piece| piece != buffer) {
                libc::_exit(2);
            }
        }
        libc::_exit(0)
    }
}

struct Tracee(libc::pid_t);

impl Tracee {
    fn start(fd: RawFd, buffers: &mut [Vec<u8>], expected: &[Vec<u8>]) -> Tracee {
        match unsafe { libc::fork() } {
            0 => child(fd, buffers, expected),
            pid => {
                assert!(pid > 0, "{}", std::io::Error::last_os_error());
                let tracee = Tracee(pid);
                assert_eq!(tracee.stopped(), Some(libc::SIGSTOP));
                let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
                tracee.ptrace(libc::PTRACE_SETOPTIONS, options as usize);
                tracee
            }
        }
    }

    fn ptrace(&self, request: libc::c_uint, data: usize) {
        let done = unsafe { libc::ptrace(request, self.0, 0usize, data) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// The signal of its next stop; None when it has ended, and rightly.
    fn stopped(&self) -> Option<libc::c_int> {
        let mut status = 0;
        let waited = unsafe { libc::waitpid(self.0, &mut status, 0) };
        assert_eq!(waited, self.0, "{}", std::io::Error::last_os_error());
        if libc::WIFSTOPPED(status) {
            return Some(libc::WSTOPSIG(status));
        }
        assert!(libc::WIFEXITED(status), "{status:#x}");
        assert_eq!(libc::WEXITSTATUS(status), 0, "the child received otherwise");
        None
    }

    fn go(&self) {
        self.ptrace(libc::PTRACE_SYSCALL, 0);
    }

    fn next(&self) -> Option<libc::c_int> {
        self.go();
        self.stopped()
    }

    fn registers(&self) -> libc::user_regs_struct {
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        self.ptrace(libc::PTRACE_GETREGS, (&raw mut registers) as usize);
        registers
    }

    fn set_registers(&self, registers: &libc::user_regs_struct) {
        self.ptrace(libc::PTRACE_SETREGS, &raw const *registers as usize);
    }
}

fn pieces() -> Vec<Vec<u8>> {
    (0..PIECES).map(|i| letters(i * PIECE, PIECE)).collect()
}

fn foreign() -> Vec<Vec<u8>> {
    vec![Foreign::Frames.memory(PIECE); PIECES]
}

/// The call is stopped at its beginning, in its middle and at its end.
#[test]
fn a_call_that_a_debugger_stops_and_begins_anew_is_whole() {
    require!(Tracing);
    let mut connection = Connection::within_a_frame("ipv4", Direction::Rx, PIECES * PIECE);
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    let pieces = pieces();
    let tracee = Tracee::start(server, &mut foreign(), &pieces);
    let mut thread = Thread::of(tracee.0 as u32, tracee.0);
    // What raise(3) does behind the stop.
    while tracee.next() == Some(AT_CALL) && tracee.registers().orig_rax as i64 != libc::SYS_read {}
    for (i, piece) in pieces.iter().enumerate() {
        tracee.go();
        until("the child waits", || thread.is_in(libc::SYS_read, server));
        if i % 2 == 0 {
            unsafe { libc::kill(tracee.0, libc::SIGSTOP) };
            // Its end, the signal, which is not passed on, and its new beginning.
            assert_eq!(tracee.stopped(), Some(AT_CALL));
            assert_eq!(tracee.next(), Some(libc::SIGSTOP));
            assert_eq!(tracee.next(), Some(AT_CALL));
            tracee.go();
            until("the child waits", || thread.is_in(libc::SYS_read, server));
        }
        send(client, "write", piece);
        assert_eq!(tracee.stopped(), Some(AT_CALL));
        assert_eq!(tracee.registers().rax, PIECE as u64);
        assert_eq!(tracee.next(), Some(AT_CALL), "the next one begins");
    }
    assert_eq!(tracee.next(), None);
    for piece in &pieces {
        connection.note_piece(piece);
    }
    connection.assert_whole();
}

/// The child reads from one descriptor into one buffer; its debugger makes of it a read of the socket into
/// another one, and puts the registers back afterwards.
#[test]
fn a_call_that_a_debugger_changes_is_what_it_was_changed_to() {
    require!(Tracing);
    let mut connection = Connection::within_a_frame("ipv4", Direction::Rx, PIECES * PIECE);
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    let null = std::fs::File::open("/dev/zero").expect("/dev/zero");
    let pieces = pieces();
    // The memory is there in the child too, at the same place.
    let real = [0u8; PIECE];
    let tracee = Tracee::start(null.as_raw_fd(), &mut foreign(), &[]);
    let mut saved = None;
    let mut reads = 0;
    while let Some(signal) = tracee.next() {
        assert_eq!(signal, AT_CALL);
        let registers = tracee.registers();
        if let Some((fd, buffer)) = saved.take() {
            let mut back = registers;
            (back.rdi, back.rsi) = (fd, buffer);
            assert_eq!(back.rax, PIECE as u64);
            tracee.set_registers(&back);
        } else if registers.orig_rax as i64 == libc::SYS_read {
            send(client, "write", &pieces[reads]);
            reads += 1;
            saved = Some((registers.rdi, registers.rsi));
            let mut changed = registers;
            (changed.rdi, changed.rsi) = (server as u64, real.as_ptr() as u64);
            tracee.set_registers(&changed);
        }
    }
    assert_eq!(reads, PIECES);
    for piece in &pieces {
        connection.note_piece(piece);
    }
    connection.assert_whole();
}
