//! What the connections speak.

use super::*;

#[test]
fn a_connection_without_its_beginning_is_found_on_any_port() {
    let mut talk = Talk::between("10.0.0.1:80", "10.0.0.2:443");
    for stream_id in [101, 103, 105, 107] {
        talk.send(
            CLIENT,
            &[request(stream_id, false), message(stream_id, 3, true)].concat(),
        );
        let answer = [
            response(stream_id),
            message(stream_id, 30, false),
            trailers(stream_id),
        ];
        talk.send(SERVER, &answer.concat());
        talk.pass(MS);
    }
    talk.fin(CLIENT);
    talk.fin(SERVER);
    let replayed = replay(&talk.pcap());
    assert_eq!(replayed.protocols(), [Protocol::Http2]);
    assert_eq!(replayed.loud(), Vec::<&str>::new());
    let last = *replayed.streams().last().unwrap();
    assert_eq!((last.stream_id.0, last.outcome), (107, Outcome::Ok));
    assert_eq!(last.path.as_deref(), Some("/s/m"));
}

#[test]
fn a_preface_without_handshake_names_the_client() {
    // The ports say the opposite.
    let mut talk = Talk::between("10.0.0.1:80", "10.0.0.2:50051");
    talk.send(CLIENT, &client_bytes());
    talk.send(SERVER, &server_bytes());
    talk.fin(CLIENT);
    talk.fin(SERVER);
    let replayed = replay(&talk.pcap());
    assert_whole_call(&replayed, "no handshake");
    let info = replayed.out.iter().find_map(|output| match output {
        Output::Connection(info) => Some(Arc::clone(info)),
        _ => None,
    });
    let info = info.unwrap();
    assert_eq!(info.local.to_string(), "10.0.0.1:80");
    assert_eq!(info.role, Some(Endpoint::Client));
}

#[test]
fn other_protocols_are_named() {
    for (client, server, want) in [
        (
            &b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..],
            &b""[..],
            OtherProtocol::Tls,
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            OtherProtocol::Http1,
        ),
        (b"", b"SSH-2.0-OpenSSH_9.2\r\n", OtherProtocol::Other),
        (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n", OtherProtocol::Other),
    ] {
        for from_syn in [true, false] {
            let mut talk = Talk::new();
            if from_syn {
                talk.handshake();
            }
            if !client.is_empty() {
                talk.send(CLIENT, client);
            }
            if !server.is_empty() {
                talk.send(SERVER, server);
            }
            talk.fin(CLIENT);
            talk.fin(SERVER);
            let replayed = replay(&talk.pcap());
            // Without its beginning, nothing shows what it is.
            let is_right = |protocol: &Protocol| match protocol {
                Protocol::Undecided(_) => !from_syn && want == OtherProtocol::Other,
                protocol => *protocol == Protocol::Other(want),
            };
            let protocols = replayed.protocols();
            assert!(protocols.iter().all(is_right), "{protocols:?} {from_syn}");
            assert_eq!(protocols.len(), 1);
            assert_eq!(replayed.told(), Vec::<String>::new());
        }
    }
}

#[test]
fn an_upgrade_from_http1_is_followed() {
    let mut talk = Talk::new();
    talk.handshake();
    let ask = b"POST /up HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody";
    talk.send(CLIENT, &ask[..50]);
    talk.send(CLIENT, &ask[50..]);
    let agree = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    talk.send(SERVER, &agree[..10]);
    talk.send(SERVER, &[&agree[10..], &settings()].concat());
    talk.send(CLIENT, &PREFACE[..11]);
    talk.send(CLIENT, &[&PREFACE[11..], &settings()].concat());
    let answer = [
        frame(frame_type::HEADERS, END_HEADERS, 1, &[0x88]),
        frame(frame_type::DATA, END_STREAM, 1, b"hi"),
    ];
    talk.send(SERVER, &answer.concat());
    talk.fin(CLIENT);
    talk.fin(SERVER);
    let replayed = replay(&talk.pcap());
    assert_eq!(replayed.protocols(), [Protocol::Http2]);
    let streams = replayed.streams();
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].path.as_deref(), Some("/up"));
    assert_eq!(streams[0].outcome, Outcome::Ok);
    assert_eq!(replayed.loud(), Vec::<&str>::new());
}

#[test]
fn a_proxy_header_before_the_preface_is_passed_over() {
    let mut talk = Talk::new();
    talk.handshake();
    talk.send(CLIENT, b"PROXY TCP4 192.0.2.1 10.0.0.2 5");
    talk.send(CLIENT, &[&b"6324 443\r\n"[..], &client_bytes()].concat());
    talk.send(SERVER, &server_bytes());
    talk.fin(CLIENT);
    talk.fin(SERVER);
    assert_whole_call(&replay(&talk.pcap()), "PROXY");
}

#[test]
fn values_that_may_not_be_shown_are_redacted() {
    let replayed = replay(&call().pcap());
    let frames = replayed.frames();
    let fields = frames[1].fields.as_ref().unwrap();
    let of = |name: &str| {
        fields
            .iter()
            .find(|field| field.name.as_deref() == Some(name))
            .unwrap()
    };
    assert_eq!(of(":path").value.as_deref(), Some("/s/m"));
    assert!(!of(":path").redacted);
    assert_eq!(of("authorization").value, None);
    assert!(of("authorization").redacted && !of("authorization").unseen);
}

#[test]
fn a_bad_frame_tells_the_error_that_the_rfc_demands() {
    let mut talk = Talk::new();
    talk.handshake();
    talk.send(
        CLIENT,
        &[client_bytes(), frame(frame_type::PING, 0, 0, b"short")].concat(),
    );
    talk.send(
        SERVER,
        &[server_bytes(), frame(frame_type::DATA, 8, 1, &[4, 1])].concat(),
    );
    let replayed = replay(&talk.pcap());
    let errors: Vec<(&str, &str)> = replayed
        .frames()
        .iter()
        .filter_map(|seen| Some((seen.name(), seen.violation.as_ref()?.code.name())))
        .collect();
    assert_eq!(
        errors,
        [("PING", "FRAME_SIZE_ERROR"), ("DATA", "PROTOCOL_ERROR")]
    );
}

#[test]
fn a_server_that_answers_the_preface_in_another_protocol_is_found_once() {
    for server in [
        &b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nno"[..],
        b"\x15\x03\x01\0\x02\x02\x0a",
    ] {
        let mut talk = Talk::new();
        talk.handshake();
        talk.send(CLIENT, &client_bytes());
        talk.send(SERVER, server);
        talk.send(SERVER, server);
        // What nghttp2 says to that.
        talk.send(
            CLIENT,
            &frame(frame_type::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]),
        );
        talk.fin(SERVER);
        talk.fin(CLIENT);
        let replayed = replay(&talk.pcap());
        assert_eq!(replayed.protocols(), [Protocol::Http2]);
        assert_eq!(replayed.loud(), ["not_http2"]);
        assert_eq!(replayed.ends(), [ConnectionEnd::PeerFin]);
        assert_eq!(replayed.streams().len(), 1);
    }
}

#[test]
fn a_client_that_speaks_another_protocol_to_an_http2_server_is_found() {
    let refusal = frame(frame_type::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]);
    for client in [
        &b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"INVALID CONNECTION PREFACE\r\n\r\n",
    ] {
        // Servers say SETTINGS before they read, or when they have.
        for server_first in [true, false] {
            let mut talk = Talk::new();
            talk.handshake();
            if server_first {
                talk.send(SERVER, &settings());
            }
            talk.send(CLIENT, client);
            if !server_first {
                talk.send(SERVER, &settings());
            }
            talk.send(SERVER, &refusal);
            talk.fin(SERVER);
            talk.fin(CLIENT);
            let replayed = replay(&talk.pcap());
            assert_eq!(replayed.loud(), ["not_http2"], "{client:?} {server_first}");
            assert!(!replayed.protocols().contains(&Protocol::Http2));
        }
    }
}

#[test]
fn a_client_of_whose_beginning_something_is_missing_is_no_other_protocol() {
    let bytes = client_bytes();
    // The first bytes of the preface, those behind its beginning, and all.
    for (kept, lost) in [(0, 21), (21, 21), (3, 40), (0, bytes.len())] {
        let mut talk = Talk::new();
        talk.handshake();
        talk.send(CLIENT, &bytes[..kept]);
        talk.lose(CLIENT, lost);
        talk.send(CLIENT, &bytes[kept + lost..]);
        talk.send(SERVER, &server_bytes());
        talk.ack(SERVER);
        talk.fin(CLIENT);
        talk.fin(SERVER);
        let replayed = replay(&talk.pcap());
        assert_eq!(replayed.loud(), Vec::<&str>::new(), "{kept} {lost}");
    }
}

/// The server's answer to CONNECT or an upgrade, then a whole call, from the handshake on or late.
fn behind_http1(asks: &[u8], agrees: &[u8], from_syn: bool, ports: [u16; 2]) -> ReplayedFile {
    let [client, server] = ports;
    let mut talk = Talk::between(&format!("10.0.0.1:{client}"), &format!("10.0.0.2:{server}"));
    if from_syn {
        talk.handshake();
    }
    if !asks.is_empty() {
        talk.send(CLIENT, asks);
    }
    talk.send(SERVER, agrees);
    talk.send(CLIENT, &client_bytes());
    talk.send(SERVER, &server_bytes());
    talk.fin(CLIENT);
    talk.fin(SERVER);
    replay(&talk.pcap())
}

#[test]
fn a_tunnel_is_followed_behind_connect_also_when_the_request_is_missing() {
    let connect = &b"CONNECT a:50051 HTTP/1.1\r\nHost: a:50051\r\n\r\n"[..];
    let agrees = b"HTTP/1.1 200 Connection established\r\n\r\n";
    for ports in [[40_000, 3_128], [80, 50_051]] {
        for (asks, from_syn) in [
            (connect, true),
            (connect, false),
            // Its end alone, and nothing of it.
            (&connect[30..], false),
            (b"", false),
        ] {
            let replayed = behind_http1(asks, agrees, from_syn, ports);
            assert_whole_call(&replayed, &format!("{ports:?} {from_syn} {}", asks.len()));
        }
    }
}

#[test]
fn an_upgrade_whose_request_is_missing_is_followed() {
    let agrees = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    for ports in [[40_000, 80], [80, 50_051]] {
        for asks in [
            &b""[..],
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        ] {
            let replayed = behind_http1(asks, agrees, false, ports);
            assert_eq!(replayed.protocols(), [Protocol::Http2], "{ports:?}");
            assert_eq!(replayed.outcomes(), [Outcome::Ok], "{ports:?}");
            assert_eq!(replayed.loud(), Vec::<&str>::new(), "{ports:?}");
        }
        // The request is there, and the handshake is not.
        let asks = b"GET /up HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n";
        let replayed = behind_http1(asks, agrees, false, ports);
        assert_eq!(replayed.protocols(), [Protocol::Http2], "{ports:?}");
        assert_eq!(replayed.loud(), Vec::<&str>::new(), "{ports:?}");
    }
}

#[test]
fn http1_on_an_old_connection_stays_http1() {
    for agrees in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"[..],
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    ] {
        for asks in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b""] {
            let mut talk = Talk::new();
            if !asks.is_empty() {
                talk.send(CLIENT, asks);
            }
            talk.send(SERVER, agrees);
            talk.send(CLIENT, b"\x81\x05hello");
            talk.send(SERVER, b"\x81\x05hello");
            let replayed = replay(&talk.pcap());
            assert_eq!(
                replayed.protocols(),
                [Protocol::Other(OtherProtocol::Http1)]
            );
        }
    }
}

/// A call on a connection whose beginning is not in the file, and so many milliseconds between its packets.
fn late_call(parts: [(usize, Vec<u8>); 3]) -> ReplayedFile {
    let mut talk = Talk::new();
    for (side, bytes) in parts {
        talk.send(side, &bytes);
        talk.pass(5 * MS);
    }
    replay(&talk.pcap())
}

#[test]
fn one_whole_call_on_an_old_connection_is_decoded_in_its_order_and_time() {
    let whole = [response(7), message(7, 900, false), trailers(7)].concat();
    let parts = [
        (CLIENT, request(7, false)),
        (CLIENT, message(7, 3, true)),
        (SERVER, whole),
    ];
    let told = ["c HEADERS", "c DATA", "s HEADERS", "s DATA", "s HEADERS"];
    let replayed = late_call(parts);
    assert_eq!(replayed.told(), told);
    let record = replayed.streams()[0];
    assert!(record.beginning_seen && record.outcome == Outcome::Ok);
    assert_eq!(record.last_at.since(record.first_at), 10 * MS + 2_000);
    // Too few frames in both directions, each by itself.
    let replayed = late_call([
        (CLIENT, request(7, true)),
        (SERVER, response(7)),
        (SERVER, trailers(7)),
    ]);
    assert_eq!(replayed.told(), ["c HEADERS", "s HEADERS", "s HEADERS"]);
    let record = replayed.streams()[0];
    assert_eq!(record.last_at.since(record.first_at), 10 * MS + 2_000);
    assert!(replayed.loud().is_empty());
}

#[test]
fn a_port_that_is_told_to_speak_http2_is_decoded_from_the_first_whole_frame() {
    let mut first = b"the end of a message, ".repeat(3);
    first.extend_from_slice(b"\x16\x03\x01 and of its DATA");
    for before in [&b""[..], &first, b"HTTP/1.1 is what this page is about"] {
        let mut talk = Talk::between("10.0.0.1:80", "10.0.0.2:50051");
        if !before.is_empty() {
            talk.send(SERVER, before);
            talk.pass(MS);
        }
        talk.send(CLIENT, &request(7, true));
        talk.pass(MS);
        talk.send(SERVER, &response(7));
        let file = talk.pcap();
        let told = replay_with(&file, &[50_051]);
        assert_eq!(told.protocols(), [Protocol::Http2], "{before:?}");
        assert_eq!(told.told(), ["c HEADERS", "s HEADERS"], "{before:?}");
        assert_eq!(told.streams()[0].path.as_deref(), Some("/s/m"));
        assert!(told.loud().is_empty(), "{:?}", told.loud());
        // Nobody knows it otherwise.
        assert!(!replay(&file).protocols().contains(&Protocol::Http2));
    }
}

#[test]
fn a_port_that_is_told_to_speak_http2_and_does_not_gives_no_frames() {
    let mut talk = Talk::new();
    for _ in 0..20 {
        talk.send(CLIENT, &b"*1\r\n$4\r\nPING\r\n".repeat(9));
        talk.send(SERVER, &b"+PONG\r\n".repeat(20));
    }
    let told = replay_with(&talk.pcap(), &[50_051]);
    assert_eq!(told.told(), Vec::<String>::new());
    assert!(told.loud().is_empty(), "{:?}", told.loud());
}

#[test]
fn what_is_not_whole_frames_on_an_old_connection_is_no_call() {
    let mut cut = request(7, false);
    cut.pop();
    let odd = [&request(7, true)[..], b"x"].concat();
    for (client, server) in [
        (cut, response(7)),
        (odd, response(7)),
        (request(7, true), b"\0\0\x05what is this".to_vec()),
        (request(7, true), response(7)),
    ] {
        let replayed = late_call([(CLIENT, client), (SERVER, server), (SERVER, Vec::new())]);
        assert_eq!(replayed.told(), Vec::<String>::new());
        assert!(!replayed.protocols().contains(&Protocol::Http2));
    }
}
