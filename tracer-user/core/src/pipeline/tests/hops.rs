//! Proxies: several processes, each judged on its own.

use super::*;
use crate::anomaly::kind::{Kind, Verdict};
use crate::hop::{Alone, Confidence, OtherSide};
use crate::limits::HOP_SETTLE_NS;
use crate::pipeline::HopEnd;

const MESSAGE: usize = 1_000;

/// Processes and the ends of their connections, as one trace sees them.
struct Hosts {
    driver: Driver,
    offsets: std::collections::BTreeMap<u64, [u64; 2]>,
}

impl Hosts {
    fn new() -> Hosts {
        Hosts {
            driver: Driver::new(),
            offsets: std::collections::BTreeMap::new(),
        }
    }

    /// What follows happens at this end: a socket of a process.
    fn at(&mut self, pid: u32, socket: u64) -> &mut Driver {
        let before = self.driver.key.sk;
        self.offsets.insert(before, self.driver.offsets);
        self.driver.key = SocketKey {
            sk: socket,
            born_ns: 1,
        };
        self.driver.offsets = self.offsets.get(&socket).copied().unwrap_or_default();
        self.driver.pid = pid;
        &mut self.driver
    }

    /// A connection end that speaks HTTP/2.
    fn http2(&mut self, pid: u32, socket: u64, opened: Opened) {
        let driver = self.at(pid, socket);
        driver.open(opened, true);
        let (client, server) = match opened {
            Opened::Passive => (Direction::Rx, Direction::Tx),
            _ => (Direction::Tx, Direction::Rx),
        };
        driver.send(client, &[PREFACE, &settings()].concat());
        driver.send(server, &settings());
    }

    /// The requests at proxies: the process, how many upstream streams, and what was found.
    fn hops(&self) -> Vec<(u32, usize, Vec<Kind>)> {
        let outputs = self.driver.out.0.iter();
        outputs
            .filter_map(|output| match output {
                Output::Hop { request, findings } => {
                    let HopEnd { info, .. } = &request.downstream.tag;
                    let kinds = findings.iter().map(|f| f.kind).collect();
                    Some((info.pid, request.upstream.len(), kinds))
                }
                _ => None,
            })
            .collect()
    }
}

fn whole() -> Vec<u8> {
    [
        response_headers(1),
        message(1, MESSAGE, false),
        trailers(1, "0"),
    ]
    .concat()
}

fn cut() -> Vec<u8> {
    let mut part = message(1, MESSAGE, false);
    part.truncate(9 + 5 + 300);
    part[..3].copy_from_slice(&305_u32.to_be_bytes()[1..]);
    [response_headers(1), part, reset(1, 2)].concat()
}

/// A client, proxy 10, proxy 11, a server; `broken` cuts the response.
fn chain(broken: u32) -> Vec<(u32, usize, Vec<Kind>)> {
    let mut hosts = Hosts::new();
    let ends = [(10, 100), (10, 101), (11, 110), (11, 111)];
    for (nth, (pid, socket)) in ends.into_iter().enumerate() {
        let opened = match nth % 2 {
            0 => Opened::Passive,
            _ => Opened::Active,
        };
        hosts.http2(pid, socket, opened);
    }
    for (nth, (pid, socket)) in ends.into_iter().enumerate() {
        let direction = if nth % 2 == 0 {
            Direction::Rx
        } else {
            Direction::Tx
        };
        let bytes = [request(1), message(1, 3, true)].concat();
        hosts.at(pid, socket).send(direction, &bytes);
    }
    let mut response = whole();
    for (nth, (pid, socket)) in ends.into_iter().enumerate().rev() {
        let direction = if nth % 2 == 0 {
            Direction::Tx
        } else {
            Direction::Rx
        };
        if pid == broken && direction == Direction::Tx {
            response = cut();
        }
        hosts.at(pid, socket).send(direction, &response);
    }
    hosts.driver.pass(STREAM_LINGER_NS * 2);
    hosts.driver.pass(HOP_SETTLE_NS * 2);
    let mut hops = hosts.hops();
    hops.sort();
    hops
}

#[test]
fn of_a_proxy_behind_a_proxy_the_one_that_broke_the_response_is_named() {
    let p1 = vec![Kind::ProxyTruncatedCompleteResponse];
    assert_eq!(chain(10), [(10, 1, p1.clone()), (11, 1, vec![])]);
    assert_eq!(chain(11), [(10, 1, vec![]), (11, 1, p1)]);
    assert_eq!(chain(0), [(10, 1, vec![]), (11, 1, vec![])]);
}

#[test]
fn a_request_that_may_have_gone_on_over_http_1_stands_alone_and_is_no_answer_of_the_proxy() {
    // Without HTTP/2 towards servers, and with it for the same path.
    for other in [false, true] {
        let mut hosts = Hosts::new();
        hosts.http2(10, 100, Opened::Passive);
        if other {
            hosts.http2(10, 101, Opened::Active);
            hosts
                .at(10, 100)
                .send(Direction::Rx, &[request(1), message(1, 3, true)].concat());
            hosts
                .at(10, 101)
                .send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
            hosts.at(10, 101).send(Direction::Rx, &whole());
            hosts.at(10, 100).send(Direction::Tx, &whole());
            hosts.driver.pass(STREAM_LINGER_NS * 2);
            hosts.driver.pass(HOP_SETTLE_NS * 2);
            hosts.driver.out.0.clear();
        }
        let driver = hosts.at(10, 102);
        driver.open(Opened::Active, true);
        driver.event(What::Unrecognised(Unrecognised {
            direction: Direction::Tx,
            protocol: OtherProtocol::Http1,
            first: b"POST /a.B/C HTTP/1.1\r\nhost: a\r\n\r\n",
        }));
        for id in [3, 5] {
            let driver = hosts.at(10, 100);
            driver.send(Direction::Rx, &[request(id), message(id, 3, true)].concat());
            let answer = [
                response_headers(id),
                message(id, 5, false),
                trailers(id, "0"),
            ];
            driver.send(Direction::Tx, &answer.concat());
        }
        hosts.driver.pass(STREAM_LINGER_NS * 2);
        hosts.driver.pass(HOP_SETTLE_NS * 2);
        // Where the process is a proxy each is told; else each path once.
        let n = if other { 2 } else { 1 };
        assert_eq!(hosts.hops(), vec![(10, 0, vec![]); n]);
        for output in &hosts.driver.out.0 {
            if let Output::Hop { request, .. } = output {
                assert_eq!(
                    request.why_alone(),
                    Some(Alone::OtherSide(OtherSide::Http1))
                );
            }
        }
    }
}

#[test]
fn who_the_client_was_is_known_when_a_request_is_decided_after_the_client_has_gone() {
    let mut hosts = Hosts::new();
    let end = |port: u16| Address::Inet(std::net::SocketAddr::from(([10, 0, 0, 1], port)));
    // The client's end, the proxy's end of the same connection, and the proxy's towards the server.
    for (pid, socket, opened, ports) in [
        (9, 90, Opened::Active, (40_000, 80)),
        (10, 100, Opened::Passive, (80, 40_000)),
        (10, 101, Opened::Active, (40_001, 81)),
    ] {
        let driver = hosts.at(pid, socket);
        driver.event(What::Open(Box::new(Open {
            opened,
            from_start: true,
            local: end(ports.0),
            peer: end(ports.1),
            netns: 1,
            inode: 1,
            unix_peer_sk: 0,
            comm: "worker".to_owned(),
            peer_process: None,
        })));
        let (client, server) = match opened {
            Opened::Passive => (Direction::Rx, Direction::Tx),
            _ => (Direction::Tx, Direction::Rx),
        };
        driver.send(client, &[PREFACE, &settings()].concat());
        driver.send(server, &settings());
    }
    let asked = [request(1), message(1, 3, true)].concat();
    hosts.at(9, 90).send(Direction::Tx, &asked);
    hosts.at(10, 100).send(Direction::Rx, &asked);
    hosts.at(10, 101).send(Direction::Tx, &asked);
    // The client gives up and goes; the proxy's stream to the server stays open.
    hosts.at(9, 90).send(Direction::Tx, &reset(1, 8));
    hosts.at(10, 100).send(Direction::Rx, &reset(1, 8));
    hosts.at(9, 90).end(EndCause::LocalClose);
    hosts.at(9, 90).end(EndCause::Closed);
    hosts.driver.pass(STREAM_LINGER_NS * 2);
    hosts.driver.pass(crate::limits::HOP_WAIT_NS * 2);
    let peers: Vec<_> = hosts
        .driver
        .out
        .0
        .iter()
        .filter_map(|output| match output {
            Output::Hop { request, .. } => Some(request.downstream.tag.peer.as_ref()),
            _ => None,
        })
        .collect();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].map(|peer| peer.pid), Some(9));
}

#[test]
fn a_request_that_came_over_what_is_not_followed_leaves_its_other_side_alone_and_says_why() {
    let first: [(OtherProtocol, &[u8], OtherSide); 2] = [
        (
            OtherProtocol::Http1,
            b"POST /a.B/C HTTP/1.1\r\n",
            OtherSide::Http1,
        ),
        (OtherProtocol::Tls, &[22, 3, 1, 2, 0], OtherSide::Tls),
    ];
    for (protocol, bytes, why) in first {
        // Without HTTP/2 from clients, and with it.
        for other in [false, true] {
            let mut hosts = Hosts::new();
            if other {
                hosts.http2(10, 102, Opened::Passive);
            }
            let driver = hosts.at(10, 100);
            // HTTP/1.x shows who asks, also where the beginning was not seen.
            let opened = match protocol {
                OtherProtocol::Http1 => Opened::Unseen,
                _ => Opened::Passive,
            };
            driver.open(opened, opened == Opened::Passive);
            driver.event(What::Unrecognised(Unrecognised {
                direction: Direction::Rx,
                protocol,
                first: bytes,
            }));
            hosts.http2(10, 101, Opened::Active);
            // Two that go well, and one that does not: of the path once, and what went wrong.
            for (id, status) in [(1, "0"), (3, "0"), (5, "14")] {
                let driver = hosts.at(10, 101);
                driver.send(Direction::Tx, &[request(id), message(id, 3, true)].concat());
                let answer = [
                    response_headers(id),
                    message(id, 5, false),
                    trailers(id, status),
                ];
                driver.send(Direction::Rx, &answer.concat());
            }
            hosts.driver.pass(STREAM_LINGER_NS * 2);
            let lone: Vec<_> = hosts
                .driver
                .out
                .0
                .iter()
                .filter_map(|output| match output {
                    Output::Lone(lone) => Some((lone.upstream.record.stream_id.0, lone.why())),
                    _ => None,
                })
                .collect();
            let why = Alone::OtherSide(why);
            assert_eq!(lone, [(1, why), (5, why)]);
            assert_eq!(hosts.hops(), []);
        }
    }
}

/// A request that was passed on, and its answer: over ends that are known.
fn passes(hosts: &mut Hosts, id: u32) {
    let asked = [request(id), message(id, 3, true)].concat();
    hosts.at(10, 100).send(Direction::Rx, &asked);
    hosts.at(10, 101).send(Direction::Tx, &asked);
    let answer = [
        response_headers(id),
        message(id, 5, false),
        trailers(id, "0"),
    ];
    hosts.at(10, 101).send(Direction::Rx, &answer.concat());
    hosts.at(10, 100).send(Direction::Tx, &answer.concat());
}

/// Less than what waits for its place is held for.
fn steps(hosts: &mut Hosts, n: u32) {
    for _ in 0..n {
        hosts.driver.pass(10_000_000);
    }
}

/// What is said of a request that the proxy answers while it has another connection, older than the trace: this happened
/// there before, and this passes meanwhile.
fn answered_beside_old(
    before: &[(Direction, Vec<u8>)],
    passes_by: &[(Direction, Vec<u8>)],
) -> Hosts {
    let mut hosts = Hosts::new();
    hosts.http2(10, 100, Opened::Passive);
    hosts.http2(10, 101, Opened::Active);
    passes(&mut hosts, 1);
    let old = hosts.at(10, 102);
    old.confidence = ProtocolConfidence::Tentative;
    old.open(Opened::Unseen, false);
    for (direction, bytes) in before {
        hosts.at(10, 102).send(*direction, bytes);
    }
    steps(&mut hosts, 120);
    hosts.driver.out.0.clear();
    let asked = [request(3), message(3, 3, true)].concat();
    hosts.driver.confidence = ProtocolConfidence::Preface;
    hosts.at(10, 100).send(Direction::Rx, &asked);
    hosts.driver.confidence = ProtocolConfidence::Tentative;
    for (direction, bytes) in passes_by {
        hosts.at(10, 102).send(*direction, bytes);
    }
    let answer = [response_headers(3), message(3, 5, false), trailers(3, "0")];
    hosts.driver.confidence = ProtocolConfidence::Preface;
    hosts.at(10, 100).send(Direction::Tx, &answer.concat());
    hosts
}

#[test]
fn a_request_may_have_gone_on_over_an_old_connection_that_is_not_recognised() {
    // A request whose answer is not seen: too little to tell what is spoken.
    let open = [request(9), message(9, 3, true)].concat();
    for ends in [false, true] {
        let mut hosts = answered_beside_old(&[], &[(Direction::Tx, open.clone())]);
        if ends {
            hosts.at(10, 102).end(EndCause::LocalClose);
            hosts.at(10, 102).end(EndCause::Closed);
        }
        steps(&mut hosts, 80);
        assert_eq!(hosts.hops(), [], "the connection ends: {ends}");
    }
}

#[test]
fn a_request_that_waits_for_what_may_be_found_before_it_has_not_been_told_yet() {
    // The beginning of what may be a frame of an answer: what comes the other way is held back.
    let mut rest = message(1, 9_000, false);
    rest.truncate(20);
    let asked = |id| [request(id), message(id, 3, true)].concat();
    let before = [
        (Direction::Rx, rest),
        (Direction::Tx, [asked(9), asked(11), asked(13)].concat()),
    ];
    let mut hosts = answered_beside_old(&before, &[(Direction::Tx, asked(15))]);
    steps(&mut hosts, 80);
    assert_eq!(hosts.hops(), []);
}

#[test]
fn an_old_connection_that_carried_nothing_meanwhile_leaves_the_claim() {
    let mut hosts = answered_beside_old(&[], &[]);
    steps(&mut hosts, 80);
    assert_eq!(hosts.hops(), [(10, 0, vec![Kind::SynthesizedAnswer])]);
}

/// One request as a client sends it, and as the proxy does.
fn asked(id: u32) -> Vec<u8> {
    [request(id), message(id, 3, true)].concat()
}

fn answer(id: u32) -> Vec<u8> {
    [
        response_headers(id),
        message(id, MESSAGE, false),
        trailers(id, "0"),
    ]
    .concat()
}

/// A proxy over which a request went well before.
fn known_proxy() -> Hosts {
    let mut hosts = Hosts::new();
    hosts.http2(10, 100, Opened::Passive);
    hosts.http2(10, 101, Opened::Active);
    passes(&mut hosts, 1);
    steps(&mut hosts, 100);
    hosts.driver.out.0.clear();
    hosts
}

/// The anomalies of requests.
fn claimed(hosts: &Hosts) -> Vec<Kind> {
    let outputs = hosts.driver.out.0.iter();
    let findings = outputs.filter_map(|output| match output {
        Output::Hop { findings, .. } => Some(findings),
        _ => None,
    });
    let anomalies = findings.flatten().filter(|f| f.verdict == Verdict::Anomaly);
    anomalies.map(|finding| finding.kind).collect()
}

/// How sure the joins of all requests are.
fn confidences(hosts: &Hosts) -> Vec<Confidence> {
    let outputs = hosts.driver.out.0.iter();
    let joins = outputs.filter_map(|output| match output {
        Output::Hop { request, .. } => request.join,
        _ => None,
    });
    joins.map(|join| join.confidence).collect()
}

/// The server breaks the response to stream 3, the proxy passes that on, and it passes the response to stream 5 on.
fn breaks_one(hosts: &mut Hosts) {
    hosts.at(10, 101).send(Direction::Rx, &answer(5));
    hosts.at(10, 100).send(Direction::Tx, &answer(5));
    hosts.at(10, 101).send(Direction::Rx, &reset(3, 2));
    let cut = [response_headers(3), reset(3, 2)].concat();
    hosts.at(10, 100).send(Direction::Tx, &cut);
    steps(hosts, 400);
}

#[test]
fn requests_that_were_lost_on_both_sides_leave_no_stream_certain() {
    let mut hosts = known_proxy();
    hosts.at(10, 100).send(Direction::Rx, &asked(3));
    steps(&mut hosts, 1);
    // The stream of this request is lost, and the request whose stream comes next.
    hosts.at(10, 101).lose(Direction::Tx, asked(3).len() as u64);
    hosts.at(10, 100).lose(Direction::Rx, asked(5).len() as u64);
    hosts.at(10, 101).send(Direction::Tx, &asked(5));
    steps(&mut hosts, 20);
    breaks_one(&mut hosts);
    assert_eq!(confidences(&hosts), [Confidence::Ambiguous]);
    assert_eq!(claimed(&hosts), []);
}

#[test]
fn a_stream_that_is_answered_and_was_not_seen_to_be_opened_leaves_none_certain() {
    let mut hosts = known_proxy();
    hosts.http2(10, 102, Opened::Active);
    hosts.at(10, 100).send(Direction::Rx, &asked(3));
    // Its stream is lost, on a connection on which nothing else goes by to show it.
    hosts.at(10, 101).lose(Direction::Tx, asked(3).len() as u64);
    hosts.at(10, 100).lose(Direction::Rx, asked(5).len() as u64);
    hosts.at(10, 102).send(Direction::Tx, &asked(1));
    steps(&mut hosts, 20);
    hosts.at(10, 102).send(Direction::Rx, &answer(1));
    hosts.at(10, 100).send(Direction::Tx, &answer(5));
    let cut = [response_headers(3), reset(3, 2)].concat();
    for (socket, direction) in [(101, Direction::Rx), (100, Direction::Tx)] {
        hosts.at(10, socket).send(direction, &cut);
    }
    steps(&mut hosts, 400);
    assert_eq!(confidences(&hosts), [Confidence::Ambiguous]);
    assert_eq!(claimed(&hosts), []);
}

#[test]
fn a_request_that_was_lost_leaves_none_certain_that_is_alike() {
    // The first stream is that of the request that was lost; the proxy answers the other one by itself.
    let mut hosts = known_proxy();
    hosts.at(10, 100).lose(Direction::Rx, asked(3).len() as u64);
    hosts.at(10, 100).send(Direction::Rx, &asked(5));
    hosts.at(10, 101).send(Direction::Tx, &asked(3));
    steps(&mut hosts, 20);
    hosts.at(10, 101).send(Direction::Rx, &answer(3));
    hosts.at(10, 100).send(Direction::Tx, &answer(3));
    hosts.at(10, 100).send(Direction::Tx, &reset(5, 2));
    steps(&mut hosts, 400);
    assert_eq!(claimed(&hosts), []);
}

#[test]
fn a_gap_in_which_no_request_was_lost_leaves_joins_certain() {
    let mut hosts = known_proxy();
    let update = frame(frame_type::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]);
    hosts.at(10, 100).send(Direction::Rx, &asked(3));
    for (socket, direction) in [(101, Direction::Tx), (100, Direction::Rx)] {
        hosts.at(10, socket).lose(direction, update.len() as u64);
    }
    hosts.at(10, 101).send(Direction::Tx, &asked(3));
    hosts.at(10, 100).send(Direction::Rx, &asked(5));
    hosts.at(10, 101).send(Direction::Tx, &asked(5));
    for id in [3, 5] {
        hosts.at(10, 101).send(Direction::Rx, &answer(id));
        hosts.at(10, 100).send(Direction::Tx, &answer(id));
    }
    steps(&mut hosts, 400);
    let confidences = confidences(&hosts);
    assert_eq!(confidences.len(), 2);
    assert!(
        confidences.iter().all(|it| *it < Confidence::Ambiguous),
        "{confidences:?}"
    );
}

#[test]
fn requests_that_begin_when_a_gap_is_over_are_certain_again() {
    let mut hosts = known_proxy();
    hosts.at(10, 101).lose(Direction::Tx, asked(3).len() as u64);
    steps(&mut hosts, 20);
    let ping = frame(frame_type::PING, 0, 0, b"12345678");
    hosts.at(10, 101).send(Direction::Tx, &ping);
    steps(&mut hosts, 20);
    passes(&mut hosts, 5);
    steps(&mut hosts, 400);
    let confidences = confidences(&hosts);
    assert!(
        matches!(confidences[..], [it] if it < Confidence::Ambiguous),
        "{confidences:?}"
    );
}

#[test]
fn a_proxy_that_throws_away_unread_what_comes_and_closes_has_given_up() {
    for (reads_on, by_peer) in [(false, false), (true, false), (false, true)] {
        let mut hosts = known_proxy();
        hosts.at(10, 100).send(Direction::Rx, &asked(3));
        hosts.at(10, 101).send(Direction::Tx, &asked(3));
        // What both got of it is the same, and how the server went on nobody has read.
        let mut data = message(3, MESSAGE, false);
        data.truncate(9 + 5 + 800);
        data[..3].copy_from_slice(&805_u32.to_be_bytes()[1..]);
        let part = [response_headers(3), data].concat();
        hosts.at(10, 101).send(Direction::Rx, &part);
        hosts.at(10, 100).send(Direction::Tx, &part);
        let driver = hosts.at(10, 101);
        driver.send_unseen(Direction::Rx, 500, Unseen::ThrownAway);
        if reads_on {
            driver.send(Direction::Rx, &frame(frame_type::PING, 0, 0, b"12345678"));
        }
        driver.end(if by_peer {
            EndCause::PeerFin
        } else {
            EndCause::LocalClose
        });
        driver.end(EndCause::Closed);
        let end = frame(frame_type::DATA, 1, 3, &[]);
        hosts.at(10, 100).send(Direction::Tx, &end);
        steps(&mut hosts, 1_200);
        let kinds: Vec<_> = hosts.hops().into_iter().flat_map(|hop| hop.2).collect();
        let gave_up = !reads_on && !by_peer;
        let expected = if gave_up {
            vec![Kind::ProxyGaveUp]
        } else {
            Vec::new()
        };
        assert_eq!(
            kinds, expected,
            "reads on {reads_on}, by the peer {by_peer}"
        );
    }
}
