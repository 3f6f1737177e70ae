//! Tasks that are no plain thread of a plain process.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here is one system call whose buffers outlive it"
)]

use std::{
    ffi::c_void,
    os::fd::{AsRawFd, RawFd},
};

use h2trace_core::event::Direction;
use tracer_tests::require;

use super::{
    super::{capture::Tracing, io::send},
    Connection, PIECE, letters,
    waiting::{Thread, until},
};

const PIECES: usize = 30;

/// What the child does, and with what.
struct Task {
    server: RawFd,
    number: RawFd,
    expected: Vec<u8>,
    buffer: [u8; PIECE],
}

impl Task {
    fn new(server: RawFd) -> Task {
        Task {
            server,
            number: server,
            expected: letters(0, PIECES * PIECE),
            buffer: [b'@'; PIECE],
        }
    }

    /// Receives everything; the exit code says whether it was right. Allocates nothing: a child of a process
    /// with threads must not.
    fn receive(&mut self) -> libc::c_int {
        for piece in self.expected.chunks(PIECE) {
            let buffer = self.buffer.as_mut_ptr().cast();
            if unsafe { libc::recv(self.number, buffer, PIECE, 0) } != PIECE as isize {
                return 2;
            }
            if self.buffer[..] != *piece {
                return 3;
            }
        }
        0
    }
}

extern "C" fn thread(task: *mut c_void) -> *mut c_void {
    let task = unsafe { &mut *task.cast::<Task>() };
    unsafe {
        // Until the first thread has ended.
        libc::usleep(100_000);
        libc::_exit(task.receive());
    }
}

extern "C" fn renumbered(task: *mut c_void) -> libc::c_int {
    let task = unsafe { &mut *task.cast::<Task>() };
    if unsafe { libc::dup2(task.server, task.number) } != task.number {
        return 4;
    }
    task.receive()
}

fn status_of(child: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(waited, child, "{}", std::io::Error::last_os_error());
    assert!(libc::WIFEXITED(status), "{status:#x}");
    libc::WEXITSTATUS(status)
}

fn connection() -> Connection {
    Connection::within_a_frame("ipv4", Direction::Rx, PIECES * PIECE)
}

fn send_pieces(connection: &Connection) {
    for piece in letters(0, PIECES * PIECE).chunks(PIECE) {
        send(connection.client.as_raw_fd(), "write", piece);
        until("the piece is received", || {
            super::waiting::unread(connection.server.as_raw_fd()) == 0
        });
    }
}

fn note_pieces(connection: &mut Connection) {
    for piece in letters(0, PIECES * PIECE).chunks(PIECE) {
        connection.note_piece(piece);
    }
}

#[test]
fn a_process_whose_first_thread_has_ended_is_seen() {
    require!(Tracing);
    let mut connection = connection();
    let mut task = Task::new(connection.server.as_raw_fd());
    let child = unsafe { libc::fork() };
    if child == 0 {
        unsafe {
            let mut id: libc::pthread_t = std::mem::zeroed();
            let task = (&raw mut task).cast();
            if libc::pthread_create(&mut id, std::ptr::null(), thread, task) != 0 {
                libc::_exit(5);
            }
            // This thread alone.
            libc::syscall(libc::SYS_exit, 0);
        }
    }
    assert!(child > 0, "{}", std::io::Error::last_os_error());
    until("the first thread has ended", || {
        std::fs::read_to_string(format!("/proc/{child}/stat"))
            .is_ok_and(|stat| stat.contains(") Z "))
    });
    send_pieces(&connection);
    assert_eq!(status_of(child), 0);
    note_pieces(&mut connection);
    connection.assert_whole();
}

/// As vfork(2) makes one: it has this process' memory, and its own table of files.
#[test]
fn a_child_with_this_process_memory_and_its_own_files_is_seen() {
    require!(Tracing);
    let mut connection = connection();
    let server = connection.server.as_raw_fd();
    let null = std::fs::File::open("/dev/null").expect("/dev/null");
    let mut task = Task::new(server);
    // Here it is something else.
    task.number = null.as_raw_fd();
    let mut stack = vec![0u128; 16_384];
    std::thread::scope(|scope| {
        let connection = &connection;
        scope.spawn(move || send_pieces(connection));
        let top = stack.as_mut_ptr_range().end;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let child = unsafe { libc::clone(renumbered, top.cast(), flags, (&raw mut task).cast()) };
        assert!(child > 0, "{}", std::io::Error::last_os_error());
        assert_eq!(status_of(child), 0);
    });
    note_pieces(&mut connection);
    connection.assert_whole();
}

/// A process that shares the table of files and nothing else; here the number changes while it waits.
#[test]
fn a_number_that_another_process_changes_takes_nothing_foreign() {
    require!(Tracing);
    let mut connection = connection();
    let server = connection.server.as_raw_fd();
    let null = std::fs::File::open("/dev/null").expect("/dev/null");
    let other = connection.client.try_clone().expect("dup");
    let mut task = Task::new(server);
    task.number = other.as_raw_fd();
    let mut stack = vec![0u128; 16_384];
    let top = stack.as_mut_ptr_range().end;
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    let child = unsafe { libc::clone(again, top.cast(), flags, (&raw mut task).cast()) };
    assert!(child > 0, "{}", std::io::Error::last_os_error());
    let mut thread = Thread::of(child as u32, child);
    for piece in letters(0, PIECES * PIECE).chunks(PIECE) {
        until("the child waits", || {
            thread.is_in(libc::SYS_recvfrom, other.as_raw_fd())
        });
        let done = unsafe { libc::dup2(null.as_raw_fd(), other.as_raw_fd()) };
        assert_eq!(done, other.as_raw_fd());
        send(connection.client.as_raw_fd(), "write", piece);
        until("the piece is received", || {
            super::waiting::unread(server) == 0
        });
    }
    assert_eq!(status_of(child), 0);
    note_pieces(&mut connection);
    let judged = connection.assert_truth();
    connection.assert_told(judged);
}

/// Gives the number the socket before each receive.
extern "C" fn again(task: *mut c_void) -> libc::c_int {
    let task = unsafe { &mut *task.cast::<Task>() };
    let expected = std::mem::take(&mut task.expected);
    for piece in expected.chunks(PIECE) {
        unsafe {
            if libc::dup2(task.server, task.number) != task.number {
                libc::_exit(4);
            }
            let buffer = task.buffer.as_mut_ptr().cast();
            if libc::recv(task.number, buffer, PIECE, 0) != PIECE as isize {
                libc::_exit(2);
            }
        }
        if task.buffer[..] != *piece {
            unsafe { libc::_exit(3) };
        }
    }
    unsafe { libc::_exit(0) }
}
