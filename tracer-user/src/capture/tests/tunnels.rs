//! What goes by on CONNECT streams, as captures have it.

use h2trace_core::event::{Address, Open, Opened, SocketKey, Task};
use h2trace_core::event::{Boundary, Bytes, Direction, Event, ProtocolConfidence, What};
use h2trace_core::pipeline::{ConnectionInfo, FirstBytes};

use super::*;

/// What both sides say, in turns.
type Turns = Vec<(usize, Vec<u8>)>;

const TO: &str = "10.0.0.7:50051";

/// `:method: CONNECT` with other fields.
fn connect(stream_id: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = literal(":method", "CONNECT");
    for (name, value) in more {
        block.extend(literal(name, value));
    }
    block.extend(literal(":authority", TO));
    frame(frame_type::HEADERS, END_HEADERS, stream_id, &block)
}

/// An answer without content.
fn answer(stream_id: u32, status: &str) -> Vec<u8> {
    let block = literal(":status", status);
    frame(frame_type::HEADERS, END_HEADERS, stream_id, &block)
}

/// DATA frames of at most `len` bytes.
fn data(stream_id: u32, bytes: &[u8], len: usize) -> Vec<u8> {
    let frames = bytes.chunks(len);
    frames
        .flat_map(|part| frame(frame_type::DATA, 0, stream_id, part))
        .collect()
}

fn end(stream_id: u32) -> Vec<u8> {
    frame(frame_type::DATA, END_STREAM, stream_id, &[])
}

/// One call, as both sides say it.
fn a_call() -> Turns {
    vec![(CLIENT, client_bytes()), (SERVER, server_bytes())]
}

/// The same on a stream, in DATA of at most `len` bytes.
fn tunnelled(content: &Turns, len: usize) -> Turns {
    let mut turns = vec![
        (
            CLIENT,
            [PREFACE.to_vec(), settings(), connect(1, &[])].concat(),
        ),
        (SERVER, [settings(), answer(1, "200")].concat()),
    ];
    let parts = content.iter();
    turns.extend(parts.map(|(side, bytes)| (*side, data(1, bytes, len))));
    turns.extend([(CLIENT, end(1)), (SERVER, end(1))]);
    turns
}

fn captured(turns: &Turns) -> ReplayedFile {
    captured_with(turns, "")
}

fn captured_with(turns: &Turns, keys: &str) -> ReplayedFile {
    let mut talk = Talk::new();
    talk.handshake();
    for (side, bytes) in turns {
        talk.send(*side, bytes);
    }
    talk.fin(CLIENT);
    talk.fin(SERVER);
    talk.ack(CLIENT);
    replay_opened(&talk.pcap(), keys)
}

impl ReplayedFile {
    fn connections(&self) -> Vec<&ConnectionInfo> {
        let seen = self.out.iter().filter_map(|output| match output {
            Output::Connection(info) => Some(&**info),
            _ => None,
        });
        seen.collect()
    }

    fn losses(&self) -> Vec<&'static str> {
        let lost = self.out.iter().filter_map(|output| match output {
            Output::Loss(loss) => Some(loss.cause.as_str()),
            _ => None,
        });
        lost.collect()
    }

    /// The streams of requests that were made within `n` tunnels.
    fn calls_within(&self, n: usize) -> Vec<&StreamRecord> {
        let depth = |info: &ConnectionInfo| {
            let mut tunnel = info.tunnel.clone();
            let mut depth = 0;
            while let Some(around) = tunnel {
                depth += 1;
                let outer = self.connections().into_iter();
                let mut outer = outer.filter(|info| info.id == around.connection);
                tunnel = outer.next().unwrap().tunnel.clone();
            }
            depth
        };
        let streams = self.out.iter().filter_map(|output| match output {
            Output::Stream { info, record, .. } if depth(info) == n => Some(&**record),
            _ => None,
        });
        streams.collect()
    }

    /// One call, whole, within so many tunnels; nothing is accused or lost.
    fn assert_call_within(&self, n: usize, name: &str) {
        let calls = self.calls_within(n);
        assert_eq!(calls.len(), 1, "{name}: {:?}", self.protocols());
        assert_eq!(calls[0].outcome, Outcome::Ok, "{name}");
        assert_eq!(calls[0].path.as_deref(), Some("/s/m"), "{name}");
        assert_eq!(calls[0].response.data_bytes, 905, "{name}");
        assert!(calls[0].whole && calls[0].beginning_seen, "{name}");
        assert_eq!(self.loud(), Vec::<&str>::new(), "{name}");
        assert_eq!(self.losses(), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn content_of_a_connect_stream_is_a_connection_of_its_own() {
    for len in [1, 7, 100, 16_384] {
        let replayed = captured(&tunnelled(&a_call(), len));
        replayed.assert_call_within(1, &len.to_string());
        let [around, within] = replayed.connections()[..] else {
            panic!("{len}: {:?}", replayed.connections());
        };
        assert_eq!(around.tunnel, None);
        let tunnel = within.tunnel.as_deref().unwrap();
        assert_eq!((tunnel.connection, tunnel.stream_id.0), (around.id, 1));
        assert_eq!(tunnel.to.as_deref(), Some(TO));
        assert_eq!((&within.local, within.role), (&around.local, around.role));
        assert!(within.beginning_seen && within.protocol == Protocol::Http2);
        // That of the tunnel, and then that of the connection around it.
        assert_eq!(replayed.ends().len(), 2);
    }
}

#[test]
fn what_is_no_http2_is_recognised_in_a_tunnel_too() {
    let hello = [&[22, 3, 1, 0, 4][..], &[1, 0, 0, 0]].concat();
    for (asks, answers, want) in [
        (
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            &b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..],
            OtherProtocol::Http1,
        ),
        (&hello, b"\x15\x03\x01\0\x02\x02\x28", OtherProtocol::Tls),
        (
            b"SSH-2.0-OpenSSH_9.2 and more\r\n",
            b"SSH-2.0-OpenSSH_9.2 and more\r\n",
            OtherProtocol::Other,
        ),
    ] {
        let content = vec![(CLIENT, asks.to_vec()), (SERVER, answers.to_vec())];
        for len in [3, 100] {
            let replayed = captured(&tunnelled(&content, len));
            let protocols = [Protocol::Http2, Protocol::Other(want)];
            assert_eq!(replayed.protocols(), protocols, "{want:?}, {len}");
            assert!(replayed.connections()[1].tunnel.is_some());
            assert_eq!(replayed.losses(), Vec::<&str>::new());
        }
    }
}

#[test]
fn an_answer_that_does_not_agree_has_content_like_any_other() {
    let hello = [PREFACE.to_vec(), settings()].concat();
    for (asks, status) in [
        (connect(1, &[]), "503"),
        (connect(1, &[(":protocol", "websocket")]), "200"),
        (request(1, false), "200"),
    ] {
        let turns = vec![
            (CLIENT, [hello.clone(), asks].concat()),
            (CLIENT, data(1, &client_bytes(), 100)),
            (SERVER, [settings(), answer(1, status)].concat()),
            (SERVER, data(1, &server_bytes(), 100)),
        ];
        assert_eq!(captured(&turns).protocols(), [Protocol::Http2], "{status}");
    }
}

#[test]
fn client_may_send_before_the_server_agrees() {
    let hello = [PREFACE.to_vec(), settings(), connect(1, &[])].concat();
    let turns = vec![
        (CLIENT, [hello, data(1, &client_bytes(), 20)].concat()),
        (
            SERVER,
            [settings(), answer(1, "103"), answer(1, "200")].concat(),
        ),
        (SERVER, data(1, &server_bytes(), 100)),
        (CLIENT, end(1)),
        (SERVER, end(1)),
    ];
    captured(&turns).assert_call_within(1, "early");
}

#[test]
fn tunnels_in_tunnels_are_followed_to_a_certain_depth() {
    let mut turns = a_call();
    for n in 1..=2 {
        turns = tunnelled(&turns, 500);
        captured(&turns).assert_call_within(n, &n.to_string());
    }
    turns = tunnelled(&turns, 500);
    let replayed = captured(&turns);
    assert_eq!(replayed.protocols(), [Protocol::Http2; 3]);
    assert_eq!(replayed.losses(), ["limit_tunnels"]);
    assert_eq!(replayed.loud(), Vec::<&str>::new());
}

#[test]
fn of_more_tunnels_than_are_followed_it_is_told_how_much_went_by() {
    const N: usize = h2trace_core::limits::TUNNELS;
    let request = b"GET / HTTP/1.1\r\nHost: example\r\n\r\n";
    let mut all = Talk::new();
    for n in 0..5 {
        let mut talk = Talk::between(&format!("10.0.0.1:{}", 40_000 + n), "10.0.0.2:50051");
        talk.handshake();
        talk.send(CLIENT, &[PREFACE.to_vec(), settings()].concat());
        talk.send(SERVER, &settings());
        for stream in (0..N as u32).map(|nth| 2 * nth + 1) {
            talk.send(CLIENT, &connect(stream, &[]));
            talk.send(SERVER, &answer(stream, "200"));
            talk.send(CLIENT, &data(stream, request, 100));
        }
        all.frames.extend(talk.frames);
    }
    let protocols = replay(&all.pcap()).protocols();
    let n = |is: fn(&Protocol) -> bool| protocols.iter().filter(|it| is(it)).count();
    let http1 = n(|it| *it == Protocol::Other(OtherProtocol::Http1));
    let undecided = n(|it| matches!(it, Protocol::Undecided(_)));
    assert_eq!((http1, undecided), (4 * N, N));
}

#[test]
fn a_tunnel_that_is_reset_resets_what_is_in_it() {
    let mut turns = tunnelled(&vec![(CLIENT, client_bytes())], 100);
    turns.truncate(turns.len() - 2);
    let begun = [settings(), response(1)].concat();
    turns.push((SERVER, data(1, &begun, 100)));
    turns.push((SERVER, frame(frame_type::RST_STREAM, 0, 1, &[0, 0, 0, 10])));
    let replayed = captured(&turns);
    assert!(replayed.ends().contains(&ConnectionEnd::PeerReset));
    assert_eq!(replayed.calls_within(1)[0].outcome, Outcome::ConnectionLost);
}

#[test]
fn a_lost_segment_is_a_gap_in_the_tunnel_too() {
    let mut talk = Talk::new();
    talk.handshake();
    let turns = tunnelled(&a_call(), 100);
    for (n, (side, bytes)) in turns.iter().enumerate() {
        if n == 3 {
            // Behind the headers: within the message.
            talk.send(*side, &bytes[..300]);
            talk.lose(*side, 250);
            talk.ack(1 - side);
            talk.pass(200 * MS);
            talk.send(*side, &bytes[550..]);
        } else {
            talk.send(*side, bytes);
        }
    }
    let replayed = replay(&talk.pcap());
    assert_eq!(replayed.protocols(), [Protocol::Http2; 2]);
    let calls = replayed.calls_within(1);
    assert!(calls.iter().all(|call| !call.whole), "{calls:?}");
    assert_eq!(replayed.loud(), Vec::<&str>::new());
}

#[cfg(feature = "tls")]
#[test]
fn tls_around_a_tunnel_and_in_it_is_opened() {
    use super::tls::Pair;
    let within = Pair::call(None);
    let mut around = Pair::new(None);
    for (side, bytes) in tunnelled(&within.sent, 1_000) {
        around.say(side, &bytes);
    }
    let keys = format!("{}{}", within.keys(), around.keys());
    captured_with(&tunnelled(&within.sent, 50), &keys).assert_call_within(1, "within");
    let both = replay_opened(&around.captured(1_400).pcap(), &keys);
    both.assert_call_within(1, "both");
    assert!(both.connections().iter().all(|info| info.tls.is_some()));
    let mut clear = Pair::new(None);
    for (side, bytes) in tunnelled(&a_call(), 1_000) {
        clear.say(side, &bytes);
    }
    let file = clear.captured(1_400).pcap();
    replay_opened(&file, &clear.keys()).assert_call_within(1, "around");
    // With one of the two keys the one within stays closed.
    let closed = replay_opened(&around.captured(1_400).pcap(), &around.keys());
    let tls = Protocol::Other(OtherProtocol::Tls);
    assert_eq!(closed.protocols(), [Protocol::Http2, tls]);
}

/// What the kernel programs tell of DATA: its first bytes, and that more followed.
fn sparse(bytes: &[u8]) -> Vec<u8> {
    let copied = 9 + 5;
    let mut encoded = u32::try_from(copied).unwrap().to_le_bytes().to_vec();
    encoded.extend_from_slice(&bytes[..copied]);
    let hole = u32::try_from(bytes.len() - copied).unwrap();
    encoded.extend((hole | tracer_ebpf::event::SEGMENT_HOLE).to_le_bytes());
    encoded
}

#[test]
fn of_content_that_is_not_copied_it_is_told_how_much_it_is() {
    let mut out = Collected::default();
    let mut pipeline = Pipeline::new(PipelineSettings::default()).following_tunnels();
    let mut tunnels = TlsSockets::new(None);
    let mut feed = Feed {
        pipeline: &mut pipeline,
        sink: &mut out,
    };
    let mut offsets = [0; 2];
    let mut at = 0;
    let mut event = |what: What<'_>| {
        at += 1_000;
        let event = Event {
            at: Timestamp(at),
            socket: SocketKey { sk: 1, born_ns: 1 },
            task: Task::default(),
            what,
        };
        feed.event(&event);
        tunnels.tunnels(&mut feed);
    };
    event(What::Open(Box::new(Open {
        opened: Opened::Active,
        from_start: true,
        local: Address::Inet("10.0.0.1:40000".parse().unwrap()),
        peer: Address::Inet("10.0.0.2:15008".parse().unwrap()),
        netns: 0,
        inode: 0,
        unix_peer_sk: 0,
        comm: "envoy".into(),
        peer_process: None,
    })));
    let mut call = |direction: Direction, bytes: &[u8], is_sparse: bool| {
        let encoded = if is_sparse {
            sparse(bytes)
        } else {
            [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
        };
        let offset: &mut u64 = &mut offsets[direction.index()];
        event(What::Bytes(Bytes {
            direction,
            offset: *offset,
            total: u32::try_from(bytes.len()).unwrap(),
            boundary: Boundary::Unknown,
            confidence: ProtocolConfidence::Preface,
            unseen: None,
            encoded: &encoded,
        }));
        *offset += bytes.len() as u64;
    };
    let turns = tunnelled(&a_call(), 16_384);
    for (n, (side, bytes)) in turns.iter().enumerate() {
        let direction = if *side == CLIENT {
            Direction::Tx
        } else {
            Direction::Rx
        };
        call(direction, bytes, n == 2 || n == 3);
    }
    tunnels.finish_all(&mut feed);
    feed.pipeline.finish(Timestamp(10_000_000_000), feed.sink);
    let told: Vec<_> = out
        .0
        .iter()
        .filter_map(|output| match output {
            Output::Connection(info) => Some((info.protocol, info.tunnel.is_some())),
            _ => None,
        })
        .collect();
    let undecided = h2trace_core::pipeline::Undecided {
        bytes: (client_bytes().len() + server_bytes().len()) as u64,
        first: FirstBytes::Unseen,
    };
    let want = [
        (Protocol::Http2, false),
        (Protocol::Undecided(undecided), true),
    ];
    assert_eq!(told, want);
    assert!(!out.0.iter().any(|output| matches!(output, Output::Loss(_))));
}
