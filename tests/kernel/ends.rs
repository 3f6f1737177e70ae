//! How connections end.

use std::{
    net::{Shutdown, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
};

use h2trace_core::event::{Direction, EndCause};
use tracer_tests::require;

use super::{
    capture::{Capture, Seen, Tracing, assert_is},
    io::{pair, pass, receive},
    wire::{PREFACE, call, settings},
};

fn opening() -> Vec<u8> {
    [PREFACE.to_vec(), settings(), call(1, 100)].concat()
}

/// A connection that has spoken, and the keys of both ends.
fn connection(
    capture: &mut Capture,
    kind: &str,
) -> (OwnedFd, OwnedFd, [h2trace_core::event::SocketKey; 2]) {
    let (client, server) = pair(kind);
    pass(&client, &server, &opening());
    pass(&server, &client, &settings());
    let keys = [capture.of(&client).key, capture.of(&server).key];
    (client, server, keys)
}

fn ends<'a>(seen: &'a [Seen], key: &h2trace_core::event::SocketKey) -> &'a [EndCause] {
    &seen.iter().find(|s| s.key == *key).expect("seen").ends
}

#[test]
fn a_close_in_order_tells_who_closed_first() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server, [ours, theirs]) = connection(&mut capture, "ipv4");
    let server = TcpStream::from(server);
    // Asking for nothing is no end.
    let mut buffer = [0; 10];
    // SAFETY: the buffer outlives the call.
    let got = unsafe {
        libc::recv(
            server.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            0,
            libc::MSG_DONTWAIT,
        )
    };
    assert!(got <= 0);
    assert!(capture.of(&server).ends.is_empty());
    TcpStream::from(client.try_clone().expect("dup"))
        .shutdown(Shutdown::Write)
        .expect("shutdown");
    // The read waits for the FIN.
    assert_eq!(
        std::io::Read::read(&mut &server, &mut buffer).expect("end of file"),
        0
    );
    drop(server);
    drop(client);
    capture.until("both are closed", |seen| {
        [ours, theirs]
            .iter()
            .all(|key| ends(seen, key).last() == Some(&EndCause::Closed))
    });
    assert_eq!(ends(&capture.seen, &ours)[0], EndCause::LocalClose);
    assert_eq!(
        ends(&capture.seen, &theirs)[..3],
        [EndCause::PeerFin, EndCause::Eof, EndCause::LocalClose]
    );
    capture.assert_no_loss(&[]);
}

#[test]
fn a_reset_is_told_at_both_ends() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server, [ours, theirs]) = connection(&mut capture, "ipv4");
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option's value outlives the call.
    let result = unsafe {
        libc::setsockopt(
            client.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as u32,
        )
    };
    assert_eq!(result, 0);
    drop(client);
    capture.until("the reset arrived", |seen| {
        ends(seen, &theirs).contains(&EndCause::PeerReset)
    });
    assert!(ends(&capture.seen, &ours).contains(&EndCause::LocalReset));
    assert_eq!(ends(&capture.seen, &ours).last(), Some(&EndCause::Closed));
    let mut buffer = [0; 10];
    let error = std::io::Read::read(
        &mut &TcpStream::from(server.try_clone().expect("dup")),
        &mut buffer,
    );
    assert_eq!(
        error.expect_err("reset").kind(),
        std::io::ErrorKind::ConnectionReset
    );
    capture.until("the failed read", |seen| {
        ends(seen, &theirs).contains(&EndCause::Broken)
    });
    assert!(!ends(&capture.seen, &theirs).contains(&EndCause::Closed));
    drop(server);
    capture.until("closed", |seen| {
        ends(seen, &theirs).last() == Some(&EndCause::Closed)
    });
}

#[test]
fn bytes_read_after_a_reset_are_still_seen() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server, [_, theirs]) = connection(&mut capture, "ipv4");
    let last = call(3, 50);
    super::io::send(client.as_raw_fd(), "write", &last);
    // The server sends after the client has closed: the answer is a reset.
    drop(client);
    super::io::send(server.as_raw_fd(), "write", &settings());
    capture.until("the reset arrived", |seen| {
        ends(seen, &theirs).contains(&EndCause::PeerReset)
    });
    assert!(receive(server.as_raw_fd(), "read", last.len()) == last);
    assert_is(
        capture.of(&server).stream(Direction::Rx),
        &[opening(), last].concat(),
        true,
    );
    assert_eq!(capture.of(&server).key, theirs);
}

#[test]
fn the_end_of_a_unix_socket_is_told_by_a_receive() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server, [_, theirs]) = connection(&mut capture, "unix");
    drop(client);
    let mut buffer = [0u8; 8];
    for _ in 0..3 {
        // SAFETY: the buffer outlives the call.
        let got = unsafe { libc::read(server.as_raw_fd(), buffer.as_mut_ptr().cast(), 8) };
        assert_eq!(got, 0);
    }
    capture.drain();
    assert_eq!(ends(&capture.seen, &theirs), [EndCause::Eof]);
    // SAFETY: the buffer outlives the call.
    let sent = unsafe {
        libc::send(
            server.as_raw_fd(),
            buffer.as_ptr().cast(),
            8,
            libc::MSG_NOSIGNAL,
        )
    };
    assert_eq!(sent, -1);
    capture.drain();
    assert_eq!(
        ends(&capture.seen, &theirs),
        [EndCause::Eof, EndCause::Broken]
    );
}

#[test]
fn a_reused_address_is_another_socket() {
    require!(Tracing);
    let mut capture = Capture::start();
    for kind in ["unix", "ipv4"] {
        for _ in 0..30 {
            let (client, server, _) = connection(&mut capture, kind);
            assert_is(capture.of(&server).stream(Direction::Rx), &opening(), true);
            assert_is(capture.of(&client).stream(Direction::Tx), &opening(), true);
        }
    }
    capture.assert_no_loss(&[]);
}
