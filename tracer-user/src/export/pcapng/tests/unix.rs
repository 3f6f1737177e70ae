//! AF_UNIX connections, whose addresses are made up, and which are looked up by their `struct sock`.

use std::net::SocketAddr;
use std::sync::Arc;

use h2trace_core::connection::Endpoint;
use h2trace_core::event::{Address, Direction, EndCause, Open, Opened, Timestamp};
use h2trace_core::pipeline::{Output, Sink as _};

use super::{MS, Play, SETTINGS, has, hello, info_of, read};

fn unix(peer: u64) -> Open {
    Open {
        opened: Opened::Unseen,
        from_start: true,
        local: Address::Unix("/run/x.sock".to_owned()),
        peer: Address::Unix("/run/x.sock".to_owned()),
        netns: 1,
        inode: 1,
        unix_peer_sk: peer,
        comm: "peer".to_owned(),
        peer_process: None,
    }
}

/// A server's end, of which the first bytes are known and not whether they are.
fn server_speaks() -> Play {
    let mut play = Play::new();
    let open = Open {
        from_start: false,
        ..unix(2)
    };
    play.open(1, open);
    play.bytes(1, Direction::Tx, 0, SETTINGS);
    play
}

#[test]
fn unix_connection_gets_addresses_and_says_so() {
    let mut play = Play::new();
    play.open(1, unix(2));
    play.bytes(1, Direction::Rx, 0, &hello());
    play.bytes(1, Direction::Tx, 0, SETTINGS);
    // The other end: not written a second time. That it reads the end says that this one is closed.
    play.open(2, unix(1));
    play.bytes(2, Direction::Rx, 0, SETTINGS);
    play.end(2, EndCause::Eof);
    let info = info_of(&mut play, 1);
    play.recorder.accept(&Output::Connection(info));
    let file = play.file();
    let seen = read(&file);
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (&seen[0].sent[..], &seen[0].received[..]),
        (&hello()[..], SETTINGS)
    );
    let server: SocketAddr = "127.255.0.1:20000".parse().unwrap();
    assert_eq!(seen[0].ends.as_ref().unwrap().1, Address::Inet(server));
    assert!(has(&file, "an AF_UNIX connection, unix:/run/x.sock"));
}

/// The server's end speaks first, and nobody knows whether that is the beginning; the client's preface is.
#[test]
fn end_that_was_seen_from_the_start_is_written_in_the_other_s_stead() {
    let mut play = server_speaks();
    play.open(2, unix(1));
    play.bytes(2, Direction::Tx, 0, &hello());
    play.bytes(1, Direction::Rx, 0, &hello());
    play.bytes(2, Direction::Rx, 0, SETTINGS);
    // It is the other end now that tells when this one is closed.
    play.end(1, EndCause::Eof);
    let seen = read(&play.file());
    assert_eq!(seen.len(), 1);
    assert!(seen[0].from_start);
    assert_eq!(
        (&seen[0].sent[..], &seen[0].received[..]),
        (&hello()[..], SETTINGS)
    );
    assert_eq!(play.recorder.counts().payload_bytes, 33 + 9);
    assert_eq!(seen[0].causes.last(), Some(&EndCause::Closed));
}

/// Without addresses and from the middle, the server's SETTINGS (RFC 9113 section 3.4) look like anybody's.
#[test]
fn unix_connection_from_the_middle_is_shown_from_the_client_s_end_too() {
    for late in [false, true] {
        let mut play = server_speaks();
        play.bytes(1, Direction::Rx, 0, &hello());
        if late {
            play.recorder.advance(Timestamp(play.at + 1_000 * MS));
        }
        let sample = info_of(&mut play, 1);
        let mut info = (*sample).clone();
        info.role = Some(Endpoint::Server);
        play.recorder.accept(&Output::Connection(Arc::new(info)));
        play.bytes(1, Direction::Tx, 9, SETTINGS);
        let seen = read(&play.file());
        assert_eq!(seen.len(), 1);
        let (sent, received) = (hello(), SETTINGS.repeat(2));
        let said = (&seen[0].sent[..], &seen[0].received[..]);
        if late {
            // What stands in the file stays as it is.
            assert_eq!(said, (&received[..], &sent[..]));
            continue;
        }
        assert_eq!(said, (&sent[..], &received[..]));
        let server: SocketAddr = "127.255.0.1:20000".parse().unwrap();
        assert_eq!(seen[0].ends.as_ref().unwrap().1, Address::Inet(server));
    }
}
