//! TLS: what is copied, what is only counted, and what costs nothing at all.

use h2trace::kernel::{Options, Tls};
use h2trace_core::event::{Direction, OtherProtocol};
use tracer_ebpf::counter::Counter;
use tracer_ebpf::tls::content::{ALERT, APPLICATION_DATA, HANDSHAKE};
use tracer_tests::require;

use super::{
    capture::{Capture, Stream, Tracing, own},
    io::{pair, pass, tcp_pair},
    wire::{PREFACE, settings},
};

fn record(kind: u8, fragment: &[u8]) -> Vec<u8> {
    let len = u16::try_from(fragment.len()).expect("a record's length");
    let [high, low] = len.to_be_bytes();
    [&[kind, 3, 3, high, low][..], fragment].concat()
}

/// A ClientHello that offers this protocol.
fn hello(protocol: &str) -> Vec<u8> {
    let len = u8::try_from(protocol.len()).expect("a short name");
    let list = [&[len][..], protocol.as_bytes()].concat();
    let extension = [&[0, 16, 0, len + 3, 0, len + 1][..], &list].concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0, 0, 2, 0x13, 1, 1, 0, 0, len + 7],
        &extension,
    ]
    .concat();
    let size = u8::try_from(body.len()).expect("a short hello");
    record(HANDSHAKE, &[&[1, 0, 0, size][..], &body].concat())
}

/// What a server says.
fn answer() -> Vec<u8> {
    record(HANDSHAKE, &[2; 90])
}

fn with(tls: Tls) -> Capture {
    Capture::with(&Options { tls, ..own() })
}

/// The bytes of a record, of which so many were copied.
fn copied(bytes: &[u8], n: usize) -> Vec<Option<u8>> {
    let place = |(at, byte): (usize, &u8)| (at < n).then_some(*byte);
    bytes.iter().enumerate().map(place).collect()
}

fn assert_whole(stream: &Stream, want: &[Option<u8>]) {
    assert_eq!(stream.bytes, want);
    assert_eq!(stream.gaps, []);
}

#[test]
fn application_data_is_counted_unless_all_is_wanted() {
    require!(Tracing);
    for (tls, data_copied) in [(Tls::Facts, 5), (Tls::Full, 5_005)] {
        let mut capture = with(tls);
        for kind in ["ipv4", "ipv6", "unix"] {
            let (client, server) = pair(kind);
            let (hello, answer) = (hello("h2"), answer());
            let data = record(APPLICATION_DATA, &[9; 5_000]);
            let alert = record(ALERT, &[1, 0]);
            pass(&client, &server, &hello);
            pass(&server, &client, &answer);
            pass(&client, &server, &[&data[..], &alert].concat());
            // A header of its own, as some libraries read it.
            pass(&server, &client, &data[..5]);
            pass(&server, &client, &data[5..]);
            let data = copied(&data, data_copied);
            let says = [&copied(&hello, 999)[..], &data, &copied(&alert, 7)].concat();
            let answers = [&copied(&answer, 999)[..], &data].concat();
            if kind == "unix" {
                // Nothing shows that its beginning was seen.
                continue;
            }
            for (end, [tx, rx]) in [(&client, [&says, &answers]), (&server, [&answers, &says])] {
                let seen = capture.of(end);
                assert!(seen.is_tls && seen.confidence.is_none(), "{kind}");
                assert_eq!(seen.unrecognised, [], "{kind}");
                assert_whole(seen.stream(Direction::Tx), tx);
                assert_whole(seen.stream(Direction::Rx), rx);
            }
        }
        assert_eq!(capture.count(Counter::SocketsOther), 0);
        assert_eq!(capture.count(Counter::BytesSeen), 0);
        capture.assert_no_loss(&[]);
    }
}

#[test]
fn other_protocols_cost_no_record_behind_their_hellos() {
    require!(Tracing);
    for tls in [Tls::Facts, Tls::Full] {
        let mut capture = with(tls);
        let (client, server) = pair("ipv4");
        pass(&client, &server, &hello("http/1.1"));
        pass(&server, &client, &answer());
        for end in [&client, &server] {
            let seen = capture.of(end);
            assert_eq!(seen.unrecognised.len(), 1);
            assert_eq!(seen.unrecognised[0].1, OtherProtocol::Tls);
        }
        let before = capture.count(Counter::Records);
        for _ in 0..100 {
            pass(&client, &server, &record(APPLICATION_DATA, &[9; 100]));
            pass(&server, &client, &record(APPLICATION_DATA, &[9; 3_000]));
        }
        assert_eq!(capture.count(Counter::Records), before);
        assert_eq!(capture.count(Counter::SocketsOther), 2);
        assert!(capture.count(Counter::CallsSkipped) >= 400);
        capture.assert_no_loss(&[]);
    }
}

#[test]
fn a_connection_that_is_older_than_the_tracer_is_followed_from_the_next_record_on() {
    require!(Tracing);
    let guard = Capture::lock();
    let (client, server) = tcp_pair("127.0.0.1:0");
    let (client, server) = (client.into(), server.into());
    pass(&client, &server, &hello("h2"));
    pass(&server, &client, &answer());
    let data = record(APPLICATION_DATA, &[9; 700]);
    let mut capture = Capture::under(guard, &own());
    // In the middle of a record first.
    pass(&client, &server, &data[300..]);
    for _ in 0..4 {
        pass(&client, &server, &data);
        pass(&server, &client, &data);
    }
    let counted = copied(&data, 5).repeat(4);
    for (end, direction) in [(&client, Direction::Rx), (&server, Direction::Tx)] {
        let seen = capture.of(end);
        assert!(seen.is_tls);
        assert_whole(seen.stream(direction), &counted);
        let other = seen.stream(direction.opposite());
        assert_eq!(other.bytes[other.bytes.len() - counted.len()..], counted);
    }
    capture.assert_no_loss(&[]);
}

#[test]
fn what_only_looks_like_records_soon_rests() {
    require!(Tracing);
    let guard = Capture::lock();
    let (client, server) = tcp_pair("127.0.0.1:0");
    let (client, server) = (client.into(), server.into());
    pass(&client, &server, b"older than the tracer");
    let mut capture = Capture::under(guard, &own());
    let before = std::time::Instant::now();
    // The next call begins in the middle of what the header says, and with another one.
    for _ in 0..4_000 {
        pass(&client, &server, b"\x17\x03\x03\x00\x20application data");
    }
    let looks = 2 * before.elapsed().as_millis() as u64;
    capture.drain();
    let records = capture.count(Counter::Records);
    assert!(
        records < 100 + 4 * looks,
        "{records} records, {looks} looks"
    );
    assert_eq!(capture.count(Counter::Desync), 0);
    capture.assert_no_loss(&[]);
}

#[test]
fn http2_is_none_of_it() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server) = pair("ipv4");
    pass(&server, &client, &settings());
    pass(&client, &server, &hello("h2"));
    let seen = capture.of(&client);
    assert_eq!(
        seen.unrecognised,
        [(Direction::Tx, OtherProtocol::Tls, Vec::new())]
    );
    assert!(!seen.is_tls);
    let (client, server) = pair("ipv4");
    pass(&client, &server, &[&PREFACE[..], &settings()].concat());
    pass(&server, &client, &record(ALERT, &[2, 0x46]));
    let seen = capture.of(&client);
    assert_eq!(
        seen.unrecognised,
        [(Direction::Rx, OtherProtocol::Tls, Vec::new())]
    );
}
