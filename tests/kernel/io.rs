//! Every way to send and to receive.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here is one system call whose buffers outlive it"
)]

use std::{
    io,
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use super::wire::{PREFACE, settings};

/// A connected pair over loopback.
pub(crate) fn tcp_pair(address: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    client.set_nodelay(true).expect("nodelay");
    server.set_nodelay(true).expect("nodelay");
    (client, server)
}

/// A connected pair whose client has sent its preface and SETTINGS: the pair, and those bytes.
pub(crate) fn begun(kind: &str) -> (OwnedFd, OwnedFd, Vec<u8>) {
    let (client, server) = pair(kind);
    let opening = [PREFACE.to_vec(), settings()].concat();
    pass(&client, &server, &opening);
    (client, server, opening)
}

/// Writes bytes at one end, and reads them at the other.
#[track_caller]
pub(crate) fn pass(from: &OwnedFd, to: &OwnedFd, bytes: &[u8]) {
    exchange(from, to, ("write", "read"), bytes);
}

/// A connected pair of stream sockets: `ipv4`, `ipv6` or `unix`.
pub(crate) fn pair(kind: &str) -> (OwnedFd, OwnedFd) {
    let tcp = |(a, b): (TcpStream, TcpStream)| (a.into(), b.into());
    match kind {
        "ipv4" => tcp(tcp_pair("127.0.0.1:0")),
        "ipv6" => tcp(tcp_pair("[::1]:0")),
        _ => {
            let (a, b) = UnixStream::pair().expect("socketpair");
            (a.into(), b.into())
        }
    }
}

fn iovecs(parts: &[&[u8]]) -> Vec<libc::iovec> {
    parts
        .iter()
        .map(|p| libc::iovec {
            iov_base: p.as_ptr().cast_mut().cast(),
            iov_len: p.len(),
        })
        .collect()
}

fn header(iov: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = iov.as_mut_ptr();
    header.msg_iovlen = iov.len();
    header
}

fn check(result: isize) -> usize {
    usize::try_from(result).unwrap_or_else(|_| panic!("{}", io::Error::last_os_error()))
}

/// Pieces of `bytes`, of at most `n`, with an empty one now and then.
fn pieces(bytes: &[u8], n: usize) -> Vec<&[u8]> {
    let mut pieces: Vec<&[u8]> = Vec::new();
    for (i, piece) in bytes.chunks(n).enumerate() {
        if i % 7 == 3 {
            pieces.push(&[]);
        }
        pieces.push(piece);
    }
    pieces
}

pub(crate) const SENDS: [&str; 8] = [
    "write",
    "write_1",
    "writev",
    "writev_many",
    "send",
    "sendmsg",
    "sendmmsg",
    "pwritev2",
];

/// Sends all of `bytes` in one of the [`SENDS`] ways.
pub(crate) fn send(fd: RawFd, how: &str, bytes: &[u8]) {
    let mut sent = 0;
    while sent < bytes.len() {
        let rest = &bytes[sent..];
        sent += match how {
            "write" => check(unsafe { libc::write(fd, rest.as_ptr().cast(), rest.len()) }),
            "write_1" => check(unsafe { libc::write(fd, rest.as_ptr().cast(), 1) }),
            "send" => check(unsafe {
                libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL)
            }),
            "writev" => {
                let iov = iovecs(&pieces(&rest[..rest.len().min(90_000)], 1_000));
                check(unsafe { libc::writev(fd, iov.as_ptr(), iov.len() as i32) })
            }
            "writev_many" => {
                let iov = iovecs(&pieces(&rest[..rest.len().min(2_400)], 3));
                check(unsafe { libc::writev(fd, iov.as_ptr(), iov.len() as i32) })
            }
            "pwritev2" => {
                let iov = iovecs(&pieces(&rest[..rest.len().min(9_000)], 1_000));
                check(unsafe { libc::pwritev2(fd, iov.as_ptr(), iov.len() as i32, -1, 0) })
            }
            "sendmsg" => {
                let mut iov = iovecs(&pieces(&rest[..rest.len().min(9_000)], 100));
                let header = header(&mut iov);
                check(unsafe { libc::sendmsg(fd, &header, libc::MSG_NOSIGNAL) })
            }
            "sendmmsg" => {
                let mut iov: Vec<Vec<libc::iovec>> = rest
                    .chunks(700)
                    .take(5)
                    .map(|c| iovecs(&pieces(c, 50)))
                    .collect();
                let mut vector: Vec<libc::mmsghdr> = iov
                    .iter_mut()
                    .map(|iov| libc::mmsghdr {
                        msg_hdr: header(iov),
                        msg_len: 0,
                    })
                    .collect();
                let n = check(unsafe {
                    libc::sendmmsg(
                        fd,
                        vector.as_mut_ptr(),
                        vector.len() as u32,
                        libc::MSG_NOSIGNAL,
                    ) as isize
                });
                vector[..n].iter().map(|m| m.msg_len as usize).sum()
            }
            other => panic!("no such way to send: {other}"),
        };
    }
}

pub(crate) const RECEIVES: [&str; 7] = [
    "read", "read_1", "readv", "recv", "recvmsg", "recvmmsg", "preadv2",
];

/// Receives `n` bytes in one of the [`RECEIVES`] ways.
pub(crate) fn receive(fd: RawFd, how: &str, n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffers = vec![vec![0u8; 1_021]; 40];
    let mut large = vec![0u8; 70_000];
    while bytes.len() < n {
        let want = n - bytes.len();
        match how {
            "read" | "read_1" | "recv" => {
                let len = if how == "read_1" {
                    1
                } else {
                    want.min(large.len())
                };
                let got = check(if how == "recv" {
                    unsafe { libc::recv(fd, large.as_mut_ptr().cast(), len, 0) }
                } else {
                    unsafe { libc::read(fd, large.as_mut_ptr().cast(), len) }
                });
                assert_ne!(got, 0, "end of file");
                bytes.extend(&large[..got]);
            }
            "readv" | "preadv2" | "recvmsg" => {
                let mut iov: Vec<libc::iovec> = buffers
                    .iter_mut()
                    .map(|b| libc::iovec {
                        iov_base: b.as_mut_ptr().cast(),
                        iov_len: b.len(),
                    })
                    .collect();
                let mut got = check(match how {
                    "readv" => unsafe { libc::readv(fd, iov.as_ptr(), iov.len() as i32) },
                    "preadv2" => unsafe {
                        libc::preadv2(fd, iov.as_ptr(), iov.len() as i32, -1, 0)
                    },
                    _ => {
                        let mut header = header(&mut iov);
                        unsafe { libc::recvmsg(fd, &mut header, 0) }
                    }
                });
                assert_ne!(got, 0, "end of file");
                for buffer in &buffers {
                    let part = got.min(buffer.len());
                    bytes.extend(&buffer[..part]);
                    got -= part;
                }
            }
            "recvmmsg" => {
                let mut iov: Vec<[libc::iovec; 1]> = buffers
                    .iter_mut()
                    .map(|b| {
                        [libc::iovec {
                            iov_base: b.as_mut_ptr().cast(),
                            iov_len: b.len(),
                        }]
                    })
                    .collect();
                let mut vector: Vec<libc::mmsghdr> = iov
                    .iter_mut()
                    .map(|iov| libc::mmsghdr {
                        msg_hdr: header(iov),
                        msg_len: 0,
                    })
                    .collect();
                let got = check(unsafe {
                    libc::recvmmsg(
                        fd,
                        vector.as_mut_ptr(),
                        vector.len() as u32,
                        libc::MSG_WAITFORONE,
                        std::ptr::null_mut(),
                    ) as isize
                });
                let lens: Vec<usize> = vector[..got].iter().map(|m| m.msg_len as usize).collect();
                for (buffer, len) in buffers.iter().zip(lens) {
                    bytes.extend(&buffer[..len]);
                }
            }
            other => panic!("no such way to receive: {other}"),
        }
    }
    bytes
}

/// Sends `bytes` over one end and receives them at the other, in the given ways.
pub(crate) fn exchange(from: &OwnedFd, to: &OwnedFd, how: (&str, &str), bytes: &[u8]) {
    let (sender, receiver) = (from.as_raw_fd(), to.as_raw_fd());
    std::thread::scope(|scope| {
        scope.spawn(|| send(sender, how.0, bytes));
        let got = receive(receiver, how.1, bytes.len());
        assert!(got == bytes, "the bytes arrived");
    });
}
