//! Very many requests at once: what is looked at for each of them must not grow with how many there are.

use super::*;
use crate::connection::Endpoint;
use crate::event::SocketKey;
use crate::hop::LegEnd;
use crate::hop::steps::looked;

/// How many there are.
const N: u32 = 3_000;

/// A thread reads very many requests, order gives every other one its stream, and those without one end first.
#[test]
fn requests_that_stand_alone_among_very_many_are_not_compared_with_each_of_them() {
    let read = (0..N).map(|n| HopEvent::Downstream(n, 11));
    let written = (0..N).step_by(2).map(|n| HopEvent::Upstream(n, 11));
    let ended = |side, from| {
        (from..N)
            .step_by(2)
            .map(move |n| HopEvent::Ended(side, n, 11))
    };
    let (alone, up, down) = (
        ended(Side::Downstream, 1),
        ended(Side::Upstream, 0),
        ended(Side::Downstream, 0),
    );
    let events: Vec<_> = read
        .chain(written)
        .chain(alone)
        .chain(up)
        .chain(down)
        .collect();
    let before = looked();
    for hop in joined(&events, false, &record()) {
        let confidence = hop.join.map(|join| join.confidence);
        assert!(confidence.is_none() || confidence == Some(Confidence::Ambiguous));
    }
    let n = looked() - before;
    assert!(n < 10 * N as usize, "{n}");
}

fn begin(hops: &mut Hops<()>, side: Side, n: u32, tid: u32, at: u64, fields: &[(&str, &str)]) {
    hops.requested(PROXY, side, &opening(side, n, tid, at, fields));
}

fn end(hops: &mut Hops<()>, side: Side, n: u32, (from, to): (u64, u64)) {
    let mut record = record();
    record.connection = ConnectionId(connection(side, 11));
    record.stream_id = StreamId(2 * n + 1);
    (record.first_at, record.last_at) = (Timestamp(from), Timestamp(to));
    record.request.headers_at = Some(Timestamp(from));
    record.response.headers_at = Some(Timestamp(to));
    record.response.end_stream_at = Some(Timestamp(to));
    hops.ended(PROXY, side, Timestamp(to), record.into(), ());
}

/// What was looked at while this was done, for each of [`N`] requests.
fn each(act: impl FnOnce()) -> usize {
    let before = looked();
    act();
    (looked() - before) / N as usize
}

const ALIKE: &[(&str, &str)] = &[(":method", "GET"), (":path", "/a")];

/// Order says nothing: something is lost all the time. All requests are open when the first one ends.
#[test]
fn requests_that_are_alike_and_uncertain_are_not_compared_with_each_other() {
    let mut hops = proxy();
    hops.gap_began(PROXY, Side::Upstream, ConnectionId(999), Timestamp(1));
    let n = each(|| {
        for n in 0..N {
            begin(&mut hops, Side::Downstream, n, 11, 1_000, ALIKE);
        }
        for n in 0..N {
            begin(&mut hops, Side::Upstream, n, 11, 2_000, ALIKE);
        }
        for n in 0..N {
            end(&mut hops, Side::Upstream, n, (2_000, 3_000));
            end(&mut hops, Side::Downstream, n, (1_000, 3_000));
        }
        hops.advance(Timestamp(3_000 + limits::HOP_SETTLE_NS));
    });
    assert!(n < 16, "{n}");
    ends_with_ambiguous(hops, N as usize);
}

/// What the process opened may have gone by unseen: none of those that wait is known to have no stream.
#[test]
fn requests_of_which_the_stream_may_be_lost_are_not_looked_through_for_each_stream() {
    let mut hops = proxy();
    for n in 0..N {
        begin(&mut hops, Side::Downstream, n, 11, 1_000, ALIKE);
    }
    let up = ConnectionId(connection(Side::Upstream, 11));
    let n = each(|| {
        hops.gap_began(PROXY, Side::Upstream, up, Timestamp(1_500));
        hops.gap_ended(PROXY, Side::Upstream, up, Timestamp(2_000));
        for n in N..2 * N {
            begin(&mut hops, Side::Downstream, n, 11, 3_000, ALIKE);
            begin(&mut hops, Side::Upstream, n, 11, 3_001, ALIKE);
        }
    });
    assert!(n < 50, "{n}");
}

/// Each gap makes those that wait stale, and others have come since.
#[test]
fn a_gap_does_not_look_through_what_waits_since() {
    let mut hops = proxy();
    for n in 0..N {
        begin(&mut hops, Side::Downstream, n, 11, 10_000, ALIKE);
    }
    let up = ConnectionId(connection(Side::Upstream, 11));
    let n = each(|| {
        for n in 0..u64::from(N) {
            hops.gap_began(PROXY, Side::Upstream, up, Timestamp(n));
            hops.gap_ended(PROXY, Side::Upstream, up, Timestamp(n));
        }
    });
    assert!(n < 600, "{n}");
}

/// Threads tell in another order than things happened: by a little, and by much.
#[test]
fn requests_that_are_told_late_do_not_look_through_all_others() {
    for late in [2, 1_000_000] {
        let mut hops = proxy();
        let n = each(|| {
            for n in 0..N {
                let at = 2_000_000 + 10 * u64::from(n);
                let value = n.to_string();
                let fields = [(":path", "/a"), ("x-call-id", &value)];
                begin(&mut hops, Side::Upstream, n, 12, at, &fields);
                begin(&mut hops, Side::Downstream, n, 11, at - late, &fields);
            }
        });
        assert!(n < 300, "{n}");
    }
}

/// Their header tables are older than the trace.
#[test]
fn streams_whose_path_is_unseen_do_not_look_through_all_requests() {
    let mut hops = proxy();
    for n in 0..N {
        begin(&mut hops, Side::Downstream, n, 11, 1_000, ALIKE);
    }
    let n = each(|| {
        for n in 0..N {
            // None of those that were read is old enough.
            begin(&mut hops, Side::Upstream, n, 12, 500, &[(":method", "GET")]);
        }
    });
    assert!(n < 600, "{n}");
}

/// Requests without a path are alone, and streams are opened all the time.
#[test]
fn a_request_without_a_path_does_not_look_through_all_streams() {
    let mut hops = proxy();
    for n in 0..N {
        begin(&mut hops, Side::Upstream, n, 12, 1_000, ALIKE);
    }
    let n = each(|| {
        for n in 0..N {
            let at = 2_000 + u64::from(n);
            begin(
                &mut hops,
                Side::Downstream,
                n,
                11,
                at,
                &[(":method", "GET")],
            );
            end(&mut hops, Side::Downstream, n, (at, at));
        }
    });
    assert!(n < 300, "{n}");
}

/// On very many connections of the process something is lost.
#[test]
fn what_is_lost_on_very_many_connections_is_not_looked_through_for_each_request() {
    let mut hops = proxy();
    for n in 0..u64::from(N) {
        let of = ConnectionId(1_000 + n);
        hops.undecided(PROXY, Some(Side::Downstream), of, Timestamp(n));
        hops.gap_began(PROXY, Side::Downstream, of, Timestamp(u64::MAX - n));
    }
    let n = each(|| {
        for n in 0..N {
            let at = 100_000 + u64::from(n);
            begin(&mut hops, Side::Downstream, n, 11, at, ALIKE);
            begin(&mut hops, Side::Upstream, n, 11, at, ALIKE);
            end(&mut hops, Side::Upstream, n, (at, at));
            end(&mut hops, Side::Downstream, n, (at, at));
        }
    });
    assert!(n < 6_000, "{n}");
}

/// As in a process that makes a thread for each request.
#[test]
fn threads_that_are_gone_are_forgotten_and_not_looked_through() {
    let mut hops = proxy();
    let mut most = 0;
    let n = each(|| {
        for n in 0..N {
            let (at, tid) = (1_000 + u64::from(n), 1_000 + n);
            begin(&mut hops, Side::Downstream, n, tid, at, ALIKE);
            begin(&mut hops, Side::Upstream, n, tid + N, at, ALIKE);
            end_of(&mut hops, Side::Upstream, n, tid + N, at);
            end_of(&mut hops, Side::Downstream, n, tid, at);
            most = most.max(hops.proxies[&PROXY].threads.len());
        }
    });
    assert!(most <= 1_024, "{most}");
    assert!(n < 1_100, "{n}");
}

fn end_of(hops: &mut Hops<()>, side: Side, n: u32, tid: u32, at: u64) {
    let mut record = record();
    record.connection = ConnectionId(connection(side, tid));
    record.stream_id = StreamId(2 * n + 1);
    (record.first_at, record.last_at) = (Timestamp(at), Timestamp(at));
    record.request.headers_at = Some(Timestamp(at));
    hops.ended(PROXY, side, Timestamp(at), record.into(), ());
}

/// Each of very many connections that stay closed goes from one proxy to another.
#[test]
fn connections_that_stay_closed_do_not_look_through_all_requests_each() {
    let mut hops = proxy();
    for n in 0..N {
        begin(&mut hops, Side::Downstream, n, 11, 1_000, ALIKE);
    }
    let n = each(|| {
        for n in 0..N {
            let port = u16::try_from(n).unwrap();
            let at = |port| std::net::SocketAddr::from(([10, 0, 0, 1], port));
            let end = LegEnd {
                role: Endpoint::Client,
                places: [Some(PROXY), Some(ProxyKey::Process(11))],
                name: None,
                addresses: Some((at(port), at(15_006), 0)),
                at: Timestamp(2_000),
            };
            let socket = SocketKey {
                sk: n.into(),
                born_ns: 1,
            };
            hops.leg_opened(socket, end);
        }
    });
    assert!(n < 16, "{n}");
}

/// Which of them it makes uncertain is not looked for: all are.
#[test]
fn a_request_that_is_told_very_late_leaves_the_one_that_is_alike_uncertain_among_very_many() {
    const MANY: u32 = 400;
    let mut hops = proxy();
    let mut tell = |side, n: u32, at, like: u32| {
        let value = like.to_string();
        let fields = [(":path", "/a"), ("x-call-id", value.as_str())];
        begin(&mut hops, side, n, 11, at, &fields);
    };
    for n in 0..MANY {
        tell(Side::Downstream, n, 1_000 + u64::from(n), n);
        tell(Side::Upstream, n, 2_000 + u64::from(n), n);
    }
    tell(Side::Downstream, MANY, 1_500, 5);
    for n in 0..MANY {
        let from = u64::from(n);
        end(&mut hops, Side::Upstream, n, (2_000 + from, 3_000));
        end(&mut hops, Side::Downstream, n, (1_000 + from, 3_000));
    }
    ends_with_ambiguous(hops, MANY as usize);
}
