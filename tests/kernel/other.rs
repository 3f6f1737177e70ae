//! What is not HTTP/2, what becomes it, and what nobody asked for.

use std::{
    os::fd::AsRawFd,
    process::{Command, Stdio},
};

use h2trace::kernel::{Filter, Hooks, Options, Tls, Tracer};
use h2trace_core::event::{Direction, OtherProtocol, ProtocolConfidence};
use tracer_ebpf::counter::Counter;
use tracer_ebpf::http2::frame_type;
use tracer_tests::require;

use super::{
    capture::{Capture, Tracing, assert_is, own},
    io::{begun, exchange, pair, pass, receive, send, tcp_pair},
    wire::{PREFACE, call, frame, headers, settings},
};

#[test]
fn other_protocols_are_named_once_and_never_copied() {
    require!(Tracing);
    let mut capture = Capture::with(&Options {
        tls: Tls::Off,
        ..own()
    });
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03secret secret secret";
    for (first, protocol) in [
        (&hello[..], OtherProtocol::Tls),
        (&b"\x00\x00\x00\x17postgres"[..], OtherProtocol::Other),
        (&b"SSH-2.0-OpenSSH_9\r\n"[..], OtherProtocol::Other),
        (&b"PRI * HTTP/1.0 not the preface"[..], OtherProtocol::Other),
    ] {
        let (client, server) = pair("ipv4");
        for _ in 0..5 {
            pass(&client, &server, first);
            pass(&server, &client, first);
        }
        for (end, direction) in [(&client, Direction::Tx), (&server, Direction::Rx)] {
            let seen = capture.of(end);
            assert_eq!(seen.unrecognised, [(direction, protocol, Vec::new())]);
            assert!(seen.streams.iter().all(|s| s.bytes.is_empty()));
        }
    }
    assert_eq!(capture.count(Counter::SocketsOther), 8);
    // And those of other processes of this machine, if there are any.
    assert!(capture.count(Counter::CallsSkipped) >= 4 * 18);
    capture.assert_no_loss(&[]);
}

#[test]
fn http1_stays_http1() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server) = pair("ipv4");
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
    let response = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 600\r\n\r\n".to_vec(),
        vec![b'x'; 600],
    ]
    .concat();
    for _ in 0..20 {
        pass(&client, &server, &request);
        pass(&server, &client, &response);
    }
    let seen = capture.of(&client);
    assert_eq!(
        seen.unrecognised,
        [
            (Direction::Tx, OtherProtocol::Http1, request.clone()),
            (
                Direction::Rx,
                OtherProtocol::Http1,
                response[..512].to_vec()
            ),
        ]
    );
    assert!(seen.streams.iter().all(|s| s.bytes.is_empty()));
    assert!(capture.count(Counter::CallsSkipped) > 30);
    capture.assert_no_loss(&[]);
}

#[test]
fn any_method_in_any_pieces_is_http1() {
    require!(Tracing);
    let mut capture = Capture::start();
    for (pieces, copied) in [
        (&[&b"PROPFIND /dav HTTP/1.1\r\n\r\n"[..]][..], 0),
        (&[b"VERSION-CONTROL / HTTP/1.1\r\n\r\n"], 0),
        (&[b"GET", b" / HTTP/1.1\r\n\r\n"], 1),
        (&[b"G", b"E", b"T", b" /", b" HTTP/1.", b"1\r\n"], 5),
        (&[b"P", b"OST / HTTP/1.1\r\n\r\n"], 1),
        (&[b"PRI", b" * HTTP/1.1\r\n\r\n"], 1),
    ] {
        let (client, server) = pair("ipv4");
        for piece in pieces {
            pass(&client, &server, piece);
        }
        for (end, direction) in [(&client, Direction::Tx), (&server, Direction::Rx)] {
            let told = (direction, OtherProtocol::Http1, pieces[copied].to_vec());
            assert_eq!(capture.of(end).unrecognised, [told], "{pieces:?}");
        }
    }
    // A request line over several buffers is one, too.
    let (client, server) = pair("ipv4");
    exchange(
        &client,
        &server,
        ("writev_many", "readv"),
        b"PROPFIND /dav HTTP/1.1\r\n\r\n",
    );
    for end in [&client, &server] {
        assert_eq!(capture.of(end).unrecognised[0].1, OtherProtocol::Http1);
    }
    // Too short to tell, and then something else.
    let (client, server) = pair("ipv4");
    pass(&client, &server, b"GET");
    assert!(capture.of(&client).unrecognised.is_empty());
    pass(&client, &server, b" / SIP/2.0\r\n");
    assert_eq!(capture.of(&client).unrecognised[0].1, OtherProtocol::Other);
    capture.assert_no_loss(&[]);
}

#[test]
fn an_upgrade_to_h2c_is_followed() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server) = pair("ipv4");
    let request =
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n\r\n";
    let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    pass(&client, &server, request);
    let response = [head.to_vec(), settings(), headers(1, true)].concat();
    pass(&server, &client, &response);
    let preface = [
        PREFACE.to_vec(),
        settings(),
        frame(frame_type::SETTINGS, 1, 0, &[]),
        call(3, 70),
    ]
    .concat();
    pass(&client, &server, &preface);
    let seen = capture.of(&server);
    assert_eq!(seen.confidence, Some(ProtocolConfidence::Preface));
    assert_eq!(
        seen.unrecognised[0],
        (Direction::Rx, OtherProtocol::Http1, request.to_vec())
    );
    assert_eq!(seen.unrecognised[1].0, Direction::Tx);
    let sent = seen.stream(Direction::Tx);
    assert_eq!(sent.gaps, []);
    assert!(sent.bytes[..head.len()].iter().all(Option::is_none));
    let frames: Vec<u8> = sent.bytes[head.len()..]
        .iter()
        .map(|b| b.expect("copied"))
        .collect();
    assert!(frames == response[head.len()..]);
    let received = seen.stream(Direction::Rx);
    assert_eq!(received.gaps, [(0, request.len() as u64)]);
    assert_eq!(received.bytes.len(), request.len() + preface.len());
    assert_eq!(received.bytes[request.len()], Some(b'P'));
    assert!(seen.ends.is_empty());
    capture.assert_no_loss(&[]);
}

#[test]
fn a_connection_behind_a_proxy_header_is_seen_from_its_first_byte() {
    require!(Tracing);
    let mut capture = Capture::start();
    let v1 = b"PROXY TCP4 10.0.0.7 10.0.0.8 40000 8080\r\n".to_vec();
    let signature = b"\r\n\r\n\0\r\nQUIT\n\x21\x11";
    let v2 = [&signature[..], &[0, 12], &[7; 12]].concat();
    let long = [&signature[..], &[1, 0], &[7; 256]].concat();
    let begins = [PREFACE.to_vec(), settings(), call(1, 20)].concat();
    for header in [v1, v2, long] {
        for kind in ["ipv4", "unix"] {
            for apart in [false, true] {
                let (client, server) = pair(kind);
                if apart {
                    // The receiver has the header in two pieces.
                    send(client.as_raw_fd(), "write", &header);
                    receive(server.as_raw_fd(), "read", 14);
                    receive(server.as_raw_fd(), "read", header.len() - 14);
                    pass(&client, &server, &begins);
                } else {
                    pass(&client, &server, &[header.clone(), begins.clone()].concat());
                }
                for (end, direction) in [(&client, Direction::Tx), (&server, Direction::Rx)] {
                    let seen = capture.of(end);
                    assert!(seen.open.from_start, "{kind}");
                    assert_eq!(seen.confidence, Some(ProtocolConfidence::Preface));
                    assert_is(seen.stream(direction), &begins, true);
                    assert_eq!(seen.unrecognised, []);
                }
            }
        }
    }
    capture.assert_no_loss(&[]);
}

#[test]
fn a_peeked_byte_is_not_a_received_one() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server, opening) = begun("ipv4");
    let bytes = call(1, 30);
    send(client.as_raw_fd(), "write", &bytes);
    let mut buffer = [0u8; 20];
    for _ in 0..3 {
        // SAFETY: the buffer outlives the call.
        let got = unsafe {
            libc::recv(
                server.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                20,
                libc::MSG_PEEK,
            )
        };
        assert_eq!(got, 20);
    }
    // Nothing waits at the other end: EAGAIN is nothing.
    // SAFETY: as above.
    let got = unsafe {
        libc::recv(
            client.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            20,
            libc::MSG_DONTWAIT,
        )
    };
    assert_eq!(got, -1);
    assert!(receive(server.as_raw_fd(), "read", bytes.len()) == bytes);
    assert_is(
        capture.of(&server).stream(Direction::Rx),
        &[opening, bytes].concat(),
        true,
    );
    assert!(capture.of(&client).ends.is_empty());
    assert_eq!(capture.count(Counter::Peeks), 3);
    capture.assert_no_loss(&[]);
}

/// Other processes of this machine may use sockets meanwhile: those are looked at, and not wanted.
#[track_caller]
fn assert_nothing_was_wanted(capture: &Capture) {
    for counter in Counter::ALL {
        if !matches!(counter, Counter::SocketsUnwanted | Counter::CallsSkipped) {
            assert_eq!(capture.count(counter), 0, "{}", counter.name().0);
        }
    }
}

#[test]
fn datagrams_and_pipes_are_nobodys_business() {
    require!(Tracing);
    let capture = Capture::start();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    udp.send_to(PREFACE, udp.local_addr().expect("address"))
        .expect("send");
    udp.recv(&mut [0; 100]).expect("receive");
    let (a, b) = std::os::unix::net::UnixDatagram::pair().expect("pair");
    a.send(PREFACE).expect("send");
    b.recv(&mut [0; 100]).expect("receive");
    assert_nothing_was_wanted(&capture);
}

#[test]
fn the_own_process_is_excluded_on_demand() {
    require!(Tracing);
    let mut capture = Capture::with(&Options {
        exclude_self: true,
        ..own()
    });
    let (client, server, _) = begun("ipv4");
    assert!(!capture.knows(&client) && !capture.knows(&server));
    assert_nothing_was_wanted(&capture);
}

/// A process that is neither this one nor above it.
struct Stranger(std::process::Child);

impl Stranger {
    fn start() -> Stranger {
        Stranger(Command::new("sleep").arg("600").spawn().expect("sleep"))
    }

    fn filter(&self) -> Filter {
        Filter {
            pids: vec![self.0.id()],
            ..Filter::default()
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

/// Filters that this process does not pass, and ones that it does.
#[test]
fn unwanted_sockets_are_never_copied() {
    require!(Tracing);
    let this = || Filter {
        pids: vec![std::process::id()],
        ..Filter::default()
    };
    let stranger = Stranger::start();
    let netns = std::os::unix::fs::MetadataExt::ino(
        &std::fs::metadata("/proc/self/ns/net").expect("netns"),
    ) as u32;
    let comm = std::fs::read_to_string("/proc/thread-self/comm")
        .expect("comm")
        .trim()
        .to_owned();
    for (filter, wanted) in [
        (stranger.filter(), false),
        (
            Filter {
                comms: vec!["nobody".into()],
                ..this()
            },
            false,
        ),
        (
            Filter {
                netns: vec![1],
                ..this()
            },
            false,
        ),
        (
            Filter {
                netns: vec![netns],
                ..this()
            },
            true,
        ),
        (
            Filter {
                ports: vec![1],
                ..this()
            },
            false,
        ),
        (
            Filter {
                cgroups: vec![u64::MAX],
                ..this()
            },
            false,
        ),
        (
            Filter {
                comms: vec![comm],
                ..this()
            },
            true,
        ),
    ] {
        println!("{filter:?}");
        let by_process = filter == stranger.filter();
        let mut capture = Capture::with(&Options {
            filter,
            exclude_self: false,
            ..Options::default()
        });
        let (client, server) = tcp_pair("127.0.0.1:0");
        let opening = [PREFACE.to_vec(), settings()].concat();
        // All on this thread: a new one has the same name, but need not.
        for _ in 0..3 {
            send(client.as_raw_fd(), "write", &opening);
            receive(server.as_raw_fd(), "read", opening.len());
        }
        assert_eq!(capture.knows(&client), wanted);
        assert_eq!(capture.count(Counter::BytesCopied) > 0, wanted);
        if !wanted {
            assert_eq!(capture.count(Counter::Calls), 0);
            // At the exit of system calls a process that is not wanted is passed over before its sockets are looked at.
            if !(by_process && capture.tracer.hooks() == Hooks::SyscallExit) {
                assert!(capture.count(Counter::SocketsUnwanted) >= 2);
                assert!(capture.count(Counter::CallsSkipped) >= 4);
            }
        }
    }
}

/// Both ends of a TCP connection, and a capture of its port alone.
fn under_a_port_filter() -> (Capture, std::net::TcpStream, std::net::TcpStream) {
    let guard = Capture::lock();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    let filter = Filter {
        ports: vec![port],
        pids: vec![std::process::id()],
        ..Filter::default()
    };
    let capture = Capture::under(guard, &Options { filter, ..own() });
    let client = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    (capture, client, server)
}

#[test]
fn a_port_filter_takes_both_ends() {
    require!(Tracing);
    let (mut capture, client, server) = under_a_port_filter();
    send(
        client.as_raw_fd(),
        "write",
        &[PREFACE.to_vec(), settings()].concat(),
    );
    receive(server.as_raw_fd(), "read", 33);
    assert!(capture.knows(&client) && capture.knows(&server));
}

#[test]
fn sockets_that_are_not_wanted_push_out_none_that_are() {
    require!(Tracing);
    const SELF: &str = "other::sockets_that_are_not_wanted_push_out_none_that_are";
    const HOLDER: &str = "H2TRACE_TEST_HOLDER";
    if std::env::var_os(HOLDER).is_some() {
        let held: Vec<_> = (0..8_000)
            .map(|_| {
                let (a, b) = pair("unix");
                pass(&a, &b, b"x");
                (a, b)
            })
            .collect();
        println!("held");
        let mut line = String::new();
        let _end = std::io::stdin().read_line(&mut line);
        drop(held);
        return;
    }
    let (mut capture, client, server) = under_a_port_filter();
    let (client, server) = (client.into(), server.into());
    let before = [PREFACE.to_vec(), settings(), call(1, 20)].concat();
    pass(&client, &server, &before);
    // More sockets than the kernel programs know, held by processes that the filter does not want.
    let mut holders: Vec<_> = (0..5)
        .map(|_| {
            Command::new(std::env::current_exe().expect("test"))
                .args(["--exact", SELF, "--nocapture"])
                .env(HOLDER, "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("test")
        })
        .collect();
    for holder in &mut holders {
        let lines = std::io::BufReader::new(holder.stdout.as_mut().expect("stdout"));
        let mut lines = std::io::BufRead::lines(lines).map_while(Result::ok);
        assert!(
            lines.any(|line| line.ends_with("held")),
            "cannot hold sockets"
        );
    }
    let after = call(3, 20);
    pass(&client, &server, &after);
    for (end, direction) in [(&client, Direction::Tx), (&server, Direction::Rx)] {
        let stream = capture.of(end).stream(direction);
        assert_is(stream, &[before.clone(), after.clone()].concat(), true);
    }
    assert!(capture.count(Counter::SocketsUnwanted) >= 80_000);
    capture.assert_no_loss(&[]);
    for mut holder in holders {
        drop(holder.stdin.take());
        assert!(holder.wait().expect("holder").success());
    }
}

#[test]
fn a_changed_filter_judges_known_sockets_anew() {
    require!(Tracing);
    let stranger = Stranger::start();
    let elsewhere = stranger.filter();
    let mut capture = Capture::with(&Options {
        filter: elsewhere.clone(),
        ..own()
    });
    let (client, server, _) = begun("ipv4");
    assert!(!capture.knows(&client));
    capture.tracer.set_filter(&own().filter).expect("filter");
    let calls = [call(1, 20), call(3, 20)].concat();
    pass(&client, &server, &calls);
    assert_is(capture.of(&client).stream(Direction::Tx), &calls, false);
    assert!(!capture.of(&client).open.from_start);
    capture.tracer.set_filter(&elsewhere).expect("filter");
    pass(&client, &server, &calls);
    assert_eq!(
        capture.of(&client).stream(Direction::Tx).bytes.len(),
        calls.len()
    );
    let ports = Filter {
        ports: vec![1],
        ..Filter::default()
    };
    assert!(capture.tracer.set_filter(&ports).is_err());
}

#[test]
fn children_of_a_process_are_traced() {
    require!(Tracing);
    let mut capture = Capture::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    let mut child = Command::new("bash")
        .args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET / HTTP/1.1\\r\\n\\r\\n' >&3; read -u 3")])
        .stdin(Stdio::null())
        .spawn()
        .expect("bash");
    let (server, _) = listener.accept().expect("accept");
    receive(server.as_raw_fd(), "read", 18);
    let pid = child.id();
    capture.until("the child's socket", |seen| {
        seen.iter().any(|s| s.open.comm == "bash")
    });
    drop(server);
    child.wait().expect("child");
    assert_ne!(pid, std::process::id());
}

#[test]
fn nothing_stays_loaded_when_the_tracer_is_killed() {
    require!(Tracing);
    const CHILD: &str = "H2TRACE_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let tracer = Tracer::start(&own()).unwrap_or_else(|error| panic!("{error}"));
        for stats in tracer.program_stats().expect("stats") {
            println!("program {}", stats.id);
        }
        println!("ready");
        loop {
            std::thread::park();
        }
    }
    let _guard = Capture::lock();
    let mut child = Command::new(std::env::current_exe().expect("test"))
        .args([
            "--exact",
            "other::nothing_stays_loaded_when_the_tracer_is_killed",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("test");
    let mut ids = Vec::new();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(
        child.stdout.take().expect("stdout"),
    ));
    for line in lines.map_while(Result::ok) {
        if let Some(id) = line.split("program ").nth(1) {
            ids.push(id.trim().parse::<u32>().expect("id"));
        }
        if line.ends_with("ready") {
            break;
        }
    }
    let with_any_hooks = h2trace::kernel::PROBES.iter().filter(|p| p.hooks.is_none());
    assert!(ids.len() > with_any_hooks.count(), "and those of the hooks");
    assert!(ids.iter().all(|&id| h2trace::kernel::is_loaded(id)));
    child.kill().expect("kill");
    child.wait().expect("wait");
    // The kernel frees programs some moments after their last reference is gone.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while ids.iter().any(|&id| h2trace::kernel::is_loaded(id)) {
        assert!(std::time::Instant::now() < deadline, "programs stay loaded");
        std::thread::yield_now();
    }
}
