//! Tunnels: what is handed back of CONNECT streams, and HTTP/2 behind a CONNECT of HTTP/1.1.

use super::*;
use crate::limits;
use crate::pipeline::{Passed, Tunnelled};

/// A driver whose pipeline hands back what goes by in tunnels.
fn following() -> Driver {
    let mut driver = Driver::new();
    driver.pipeline = Pipeline::new(PipelineSettings::default()).following_tunnels();
    hello(&mut driver);
    driver
}

fn connect(stream_id: u32) -> Vec<u8> {
    let mut block = literal(":method", "CONNECT");
    block.extend(literal(":authority", "10.0.0.7:80"));
    frame(frame_type::HEADERS, END_HEADERS, stream_id, &block)
}

fn agreed(stream_id: u32) -> Vec<u8> {
    frame(frame_type::HEADERS, END_HEADERS, stream_id, &[0x88])
}

fn data(stream_id: u32, bytes: &[u8]) -> Vec<u8> {
    frame(frame_type::DATA, 0, stream_id, bytes)
}

impl Driver {
    /// What was handed back since the last time, in words.
    fn tunnelled(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(Tunnelled { socket, what, .. }) = self.pipeline.next_tunnelled() {
            assert!(socket.is_of_tunnel());
            told.push(match what {
                Passed::Opened(open, tunnel) => {
                    let (to, stream) = (tunnel.to.as_deref(), tunnel.stream_id);
                    format!("{:?} {stream} to {to:?}", open.opened)
                }
                Passed::Bytes {
                    direction,
                    offset,
                    bytes,
                    cut,
                } => format!("{direction:?} {offset}: {} and {cut}", bytes.len()),
                Passed::Ended(cause) => format!("{cause:?}"),
            });
        }
        told
    }
}

#[test]
fn content_of_connect_streams_is_handed_back_once_the_server_agrees() {
    let mut driver = following();
    let early = [connect(1), data(1, b"early")].concat();
    driver.send(Direction::Tx, &early);
    assert_eq!(driver.tunnelled(), Vec::<String>::new());
    driver.send(Direction::Rx, &agreed(1));
    let opened = "Active 1 to Some(\"10.0.0.7:80\")";
    assert_eq!(driver.tunnelled(), [opened, "Tx 0: 5 and 0"]);
    driver.send(Direction::Rx, &data(1, b"and back"));
    driver.send(Direction::Tx, &data(1, b"more"));
    let hole = [
        4 + 9,
        0,
        0,
        0,
        0,
        0,
        20,
        0,
        0,
        0,
        0,
        0,
        1,
        b'h',
        b'e',
        b'a',
        b'd',
        16,
        0,
        0,
        0x80,
    ];
    driver.send_encoded(Direction::Tx, &hole, 29);
    assert_eq!(
        driver.tunnelled(),
        [
            "Rx 0: 8 and 0",
            "Tx 5: 4 and 0",
            "Tx 9: 4 and 0",
            "Tx 13: 0 and 16"
        ]
    );
    let end = frame(frame_type::DATA, END_STREAM, 1, b"end");
    driver.send(Direction::Rx, &end);
    driver.send(Direction::Tx, &end);
    assert_eq!(
        driver.tunnelled(),
        [
            "Rx 8: 3 and 0",
            "PeerFin",
            "Tx 29: 3 and 0",
            "LocalClose",
            "Closed"
        ]
    );
}

#[test]
fn tunnels_end_with_their_connection() {
    let mut driver = following();
    for stream in [1, 3] {
        driver.send(Direction::Tx, &connect(stream));
        driver.send(Direction::Rx, &agreed(stream));
    }
    driver.send(Direction::Rx, &reset(1, 8));
    driver.end(EndCause::PeerReset);
    driver.pass(CONNECTION_LINGER_NS * 10);
    let told = driver.tunnelled();
    assert_eq!(told[2..], ["PeerReset", "Closed", "PeerReset", "Closed"]);
}

#[test]
fn other_streams_are_no_tunnels() {
    let mut driver = following();
    let mut extended = literal(":method", "CONNECT");
    extended.extend(literal(":protocol", "websocket"));
    for block in [extended, vec![0x83, 0x86]] {
        driver.send(
            Direction::Tx,
            &frame(frame_type::HEADERS, END_HEADERS, 1, &block),
        );
        driver.send(Direction::Rx, &agreed(1));
        driver.send(Direction::Rx, &data(1, b"content"));
    }
    driver.send(Direction::Tx, &connect(5));
    let refused = frame(
        frame_type::HEADERS,
        END_HEADERS,
        5,
        &literal(":status", "503"),
    );
    driver.send(Direction::Rx, &[refused, data(5, b"why")].concat());
    assert_eq!(driver.tunnelled(), Vec::<String>::new());
}

#[test]
fn what_tunnels_keep_is_bounded_and_beyond_it_is_told() {
    let mut driver = following();
    driver.send(Direction::Tx, &connect(1));
    let before = driver.pipeline.memory();
    for _ in 0..100 {
        driver.send(Direction::Tx, &data(1, &[7; 10_000]));
    }
    let grown = driver.pipeline.memory() - before;
    assert!(grown < 3 * limits::TUNNEL_EARLY, "{grown}");
    driver.send(Direction::Rx, &agreed(1));
    driver.send(Direction::Tx, &data(1, b"x"));
    let told = driver.tunnelled();
    assert!(told.len() < 10, "{told:?}");
    assert_eq!(told.last().unwrap(), "Tx 1000000: 1 and 0");
    for n in 0..limits::TUNNELS as u32 + 10 {
        driver.send(Direction::Tx, &connect(3 + 2 * n));
    }
    assert_eq!(driver.losses(), ["limit_tunnels"]);
}

#[test]
fn http2_behind_a_connect_of_http1_is_followed() {
    // The server may greet before the preface, and then nobody looked.
    for (opened, is_greeted) in [
        (Opened::Active, true),
        (Opened::Passive, true),
        (Opened::Passive, false),
    ] {
        let mut driver = Driver::new();
        driver.open(opened, true);
        let (client, server) = match opened {
            Opened::Active => (Direction::Tx, Direction::Rx),
            _ => (Direction::Rx, Direction::Tx),
        };
        let http1 = |direction, first| {
            What::Unrecognised(Unrecognised {
                direction,
                protocol: OtherProtocol::Http1,
                first,
            })
        };
        driver.event(http1(
            client,
            b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        ));
        driver.event(http1(server, b"HTTP/1.1 200 OK\r\n\r\n"));
        driver.offsets = [70, 70];
        let asks = [request(1), message(1, 3, true)].concat();
        driver.send(client, &[PREFACE, &settings(), &asks].concat());
        let answers = [response_headers(1), message(1, 5, false), trailers(1, "0")].concat();
        let greeting = frame(frame_type::SETTINGS, u8::from(!is_greeted), 0, &[]);
        driver.send(server, &[greeting, answers].concat());
        driver.pass(STREAM_LINGER_NS * 2);
        let http1 = Protocol::Other(OtherProtocol::Http1);
        assert_eq!(driver.protocols(), [http1, Protocol::Http2]);
        let streams = driver.streams();
        assert_eq!(streams.len(), 1);
        assert_eq!(
            (streams[0].outcome, streams[0].tier),
            (Outcome::Ok, Tier::T1)
        );
        assert!(streams[0].whole && streams[0].beginning_seen);
        assert_eq!(driver.losses(), Vec::<&str>::new());
        assert_eq!(driver.loud_findings(), Vec::<&str>::new());
        let locals = driver.out.0.iter().filter_map(|output| match output {
            Output::Connection(info) => Some(info.local.to_string()),
            _ => None,
        });
        assert_eq!(locals.collect::<Vec<_>>(), ["unix:local"; 2]);
    }
}

#[test]
fn a_tunnel_is_let_go_with_the_connection_around_it() {
    let mut driver = following();
    driver.send(Direction::Tx, &connect(1));
    driver.send(Direction::Rx, &agreed(1));
    driver.tunnelled();
    let at = Timestamp(driver.at);
    assert!(driver.pipeline.look_away(KEY, at, &mut driver.out));
    assert_eq!(driver.tunnelled(), ["Desync(Tx)", "Desync(Rx)"]);
    // What ended in it may have gone by meanwhile.
    driver.end(EndCause::LocalClose);
    driver.end(EndCause::Closed);
    driver.pass(CONNECTION_LINGER_NS * 2);
    assert_eq!(driver.tunnelled(), ["LocalClose", "Closed"]);
}
