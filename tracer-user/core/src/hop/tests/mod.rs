//! Properties of the join, on openings and ends made by hand.

mod late;
mod many;
mod order;

use proptest::prelude::*;

use super::{By, Confidence, Hop, Hops, ProxyKey, Side};
use crate::connection::ConnectionId;
use crate::event::Timestamp;
use crate::field::digest::FieldsDigest;
use crate::frame::StreamId;
use crate::limits::{self, Limit};
use crate::stream::record::Opening;
use crate::stream::record::StreamRecord;
use crate::stream::script::{C, S, Script, block};

const PROXY: ProxyKey = ProxyKey::Process(10);

/// A stream of the proxy: the side, the number of its request, and the thread. Each thread has its own
/// connections, as in a proxy with event loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HopEvent {
    Downstream(u32, u32),
    Upstream(u32, u32),
    Ended(Side, u32, u32),
    /// A request that another thread reads from the connection of this one.
    Taken(u32, u32, u32),
}

fn connection(side: Side, tid: u32) -> u64 {
    2 * u64::from(tid) + side.index() as u64
}

fn opening(side: Side, n: u32, tid: u32, at: u64, fields: &[(&str, &str)]) -> Opening {
    Opening {
        connection: ConnectionId(connection(side, tid)),
        stream_id: StreamId(2 * n + 1),
        at: Timestamp(at),
        tid,
        pid: 10,
        digest: FieldsDigest::of(&block(fields)).into(),
    }
}

/// A stream that went well; the test gives it its place and its times.
fn record() -> StreamRecord {
    let mut script = Script::on(1, Some(S), true);
    script.headers(C, 1, block(&[(":path", "/a")]), true);
    script.headers(S, 1, block(&[(":status", "200")]), true);
    script.one()
}

/// A process with a connection on either side.
fn proxy() -> Hops<()> {
    let mut hops = Hops::default();
    hops.connected(PROXY, Side::Downstream);
    hops.connected(PROXY, Side::Upstream);
    hops
}

/// The trace is over: so many requests were decided, and each is ambiguous.
#[track_caller]
fn ends_with_ambiguous(mut hops: Hops<()>, n: usize) {
    hops.finish(Timestamp(u64::MAX));
    let decided: Vec<_> = std::iter::from_fn(|| hops.poll()).collect();
    assert_eq!(decided.len(), n);
    for hop in decided {
        let confidence = hop.join.map(|join| join.confidence);
        assert_eq!(confidence, Some(Confidence::Ambiguous));
    }
}

/// What the join makes of these events. `planted`: the request's number in a field that the hops share.
fn joined(events: &[HopEvent], planted: bool, like: &StreamRecord) -> Vec<Hop<()>> {
    let mut hops = proxy();
    let mut opened = std::collections::BTreeMap::new();
    let mut at = 0;
    for event in events {
        at += 1_000;
        match *event {
            HopEvent::Downstream(n, tid) | HopEvent::Upstream(n, tid) => {
                let side = match event {
                    HopEvent::Downstream(..) => Side::Downstream,
                    _ => Side::Upstream,
                };
                let value = n.to_string();
                let mut fields = vec![(":method", "GET"), (":path", "/a")];
                if planted {
                    fields.push(("x-call-id", value.as_str()));
                }
                opened.insert((side.index(), n), at);
                hops.requested(PROXY, side, &opening(side, n, tid, at, &fields));
            }
            HopEvent::Taken(n, of, tid) => {
                let mut opening = opening(Side::Downstream, n, tid, at, &[(":path", "/b")]);
                opening.connection = ConnectionId(connection(Side::Downstream, of));
                hops.requested(PROXY, Side::Downstream, &opening);
            }
            HopEvent::Ended(side, n, tid) => {
                let began = Timestamp(opened[&(side.index(), n)]);
                let mut record = like.clone();
                record.connection = ConnectionId(connection(side, tid));
                record.stream_id = StreamId(2 * n + 1);
                (record.first_at, record.last_at) = (began, Timestamp(at));
                record.request.headers_at = Some(began);
                record.response.headers_at = Some(Timestamp(at));
                record.response.end_stream_at = Some(Timestamp(at));
                hops.ended(PROXY, side, Timestamp(at), record.into(), ());
            }
        }
    }
    hops.advance(Timestamp(at + limits::HOP_WAIT_NS + limits::HOP_SETTLE_NS));
    hops.finish(Timestamp(u64::MAX));
    std::iter::from_fn(|| hops.poll().map(|hop| *hop)).collect()
}

/// Requests in bursts: each burst is read, then written on in the same order, then answered in any order.
fn bursts() -> impl Strategy<Value = Vec<HopEvent>> {
    let burst = (1_u32..12, any::<u64>(), 11_u32..14);
    prop::collection::vec(burst, 1..12).prop_map(|bursts| {
        let mut events = Vec::new();
        let mut first = 0;
        for (n, order, tid) in bursts {
            let numbers: Vec<u32> = (first..first + n).collect();
            first += n;
            events.extend(numbers.iter().map(|n| HopEvent::Downstream(*n, tid)));
            events.extend(numbers.iter().map(|n| HopEvent::Upstream(*n, tid)));
            let mut answered = numbers;
            let by = |n: &u32| u64::from(*n).wrapping_mul(order | 1) >> 32;
            answered.sort_by_key(by);
            for n in answered {
                events.push(HopEvent::Ended(Side::Upstream, n, tid));
                events.push(HopEvent::Ended(Side::Downstream, n, tid));
            }
        }
        events
    })
}

fn is_right(hop: &Hop<()>) -> bool {
    hop.upstream
        .iter()
        .all(|attempt| attempt.stream_id == hop.downstream.record.stream_id)
}

proptest! {
    #[test]
    fn joins_are_right_with_ids_and_without(events in bursts()) {
        let like = record();
        let n = events.iter().filter(|event| matches!(event, HopEvent::Downstream(..))).count();
        for planted in [true, false] {
            let hops = joined(&events, planted, &like);
            prop_assert_eq!(hops.len(), n);
            for hop in &hops {
                prop_assert_eq!(hop.upstream.len(), 1);
                prop_assert!(is_right(hop), "{:?}", hop.join);
                let confidence = hop.join.map(|join| join.confidence);
                prop_assert!(confidence <= Some(Confidence::ThreadOrder), "{:?}", hop.join);
            }
        }
    }

    /// Whatever the order of reading, writing and ending: with ids every join is right, and without them a
    /// wrong one is never called certain by anything better than the order.
    #[test]
    fn ids_decide_in_any_order(threads in prop::collection::vec((11_u32..14, 11_u32..14), 1..20), order in any::<u64>()) {
        let like = record();
        let by = |n: usize| (n as u64 + 1).wrapping_mul(order | 1) >> 32;
        let mut sent: Vec<usize> = (0..threads.len()).collect();
        sent.sort_by_key(|n| by(*n));
        let number = |n: usize| u32::try_from(n).unwrap();
        let mut events: Vec<HopEvent> = threads.iter().enumerate().map(|(n, (tid, _))| HopEvent::Downstream(number(n), *tid)).collect();
        events.extend(sent.iter().map(|n| HopEvent::Upstream(number(*n), threads[*n].1)));
        for (n, (read, written)) in threads.iter().enumerate() {
            events.push(HopEvent::Ended(Side::Upstream, number(n), *written));
            events.push(HopEvent::Ended(Side::Downstream, number(n), *read));
        }
        for hop in joined(&events, true, &like) {
            prop_assert_eq!(hop.upstream.len(), 1);
            prop_assert!(is_right(&hop));
        }
        for hop in joined(&events, false, &like) {
            if !is_right(&hop) {
                let confidence = hop.join.map(|join| join.confidence);
                prop_assert!(confidence >= Some(Confidence::ThreadOrder), "{:?}", hop.join);
            }
        }
    }

    /// What other processes do changes nothing.
    #[test]
    fn other_processes_change_nothing(events in bursts(), every in 1_usize..5) {
        let like = record();
        let alone = joined(&events, false, &like);
        let mut hops: Hops<()> = Hops::default();
        for proxy in [PROXY, ProxyKey::Process(11)] {
            hops.connected(proxy, Side::Downstream);
            hops.connected(proxy, Side::Upstream);
        }
        let mut at = 0;
        let mut n_joined = 0;
        for (n, event) in events.iter().enumerate() {
            at += 1_000;
            let tell = |hops: &mut Hops<()>, proxy, far: u64| match *event {
                HopEvent::Downstream(n, tid) | HopEvent::Upstream(n, tid) => {
                    let side = if matches!(event, HopEvent::Downstream(..)) { Side::Downstream } else { Side::Upstream };
                    let mut opening = opening(side, n, tid, at, &[(":method", "GET"), (":path", "/a")]);
                    opening.connection.0 += far;
                    hops.requested(proxy, side, &opening);
                }
                HopEvent::Ended(side, n, tid) => {
                    let mut record = like.clone();
                    record.connection = ConnectionId(connection(side, tid) + far);
                    record.stream_id = StreamId(2 * n + 1);
                    record.last_at = Timestamp(at);
                    record.response.headers_at = Some(Timestamp(at));
                    record.response.end_stream_at = Some(Timestamp(at));
                    hops.ended(proxy, side, Timestamp(at), record.into(), ());
                }
                HopEvent::Taken(..) => {}
            };
            tell(&mut hops, PROXY, 0);
            if n % every == 0 && !matches!(event, HopEvent::Ended(..)) {
                tell(&mut hops, ProxyKey::Process(11), 100);
            }
            while let Some(hop) = hops.poll() {
                n_joined += 1;
                prop_assert!(is_right(&hop));
            }
        }
        hops.advance(Timestamp(at + limits::HOP_SETTLE_NS));
        while let Some(hop) = hops.poll() {
            n_joined += 1;
            prop_assert!(is_right(&hop));
        }
        prop_assert_eq!(n_joined, alone.len());
    }
}

#[test]
fn what_waits_is_bounded_and_what_is_let_go_is_counted() {
    let mut hops = proxy();
    let n = u32::try_from(limits::HOP_WAITING).unwrap() + 10;
    for n in 0..n {
        let fields = [(":path", "/a")];
        hops.requested(
            PROXY,
            Side::Downstream,
            &opening(Side::Downstream, n, n % 7, 5, &fields),
        );
    }
    assert!(
        hops.take_limit_hits()
            .iter()
            .any(|hit| hit == (Limit::HopWaiting, 1))
    );
    assert!(
        hops.proxies
            .values()
            .map(super::proxy_state::ProxyState::len)
            .sum::<usize>()
            <= 10
    );
}

#[test]
fn a_process_of_one_role_costs_nothing() {
    let mut hops: Hops<()> = Hops::default();
    hops.connected(PROXY, Side::Upstream);
    hops.requested(
        PROXY,
        Side::Upstream,
        &opening(Side::Upstream, 1, 11, 5, &[]),
    );
    assert_eq!(hops.proxies[&PROXY].len(), 0);
    hops.disconnected(PROXY, Side::Upstream);
    assert!(hops.proxies.is_empty());
}

/// Requests read by one thread, written on by it in this order, and answered in this one.
fn burst_of(sent: &[u32], answered: &[u32]) -> Vec<HopEvent> {
    let read = (0..u32::try_from(sent.len()).unwrap()).map(|n| HopEvent::Downstream(n, 11));
    let written = sent.iter().map(|n| HopEvent::Upstream(*n, 11));
    let ended = answered.iter().flat_map(|n| {
        let ended = |side| HopEvent::Ended(side, *n, 11);
        [ended(Side::Upstream), ended(Side::Downstream)]
    });
    read.chain(written).chain(ended).collect()
}

#[test]
fn the_task_that_was_made_last_may_run_first_and_no_join_is_called_certain_then() {
    // As a Go proxy does it: the last first, then the others in order; the answers come before any is passed on.
    let order = [4, 0, 1, 2, 3];
    let (mut events, ends): (Vec<_>, Vec<_>) = burst_of(&order, &order)
        .into_iter()
        .partition(|event| !matches!(event, HopEvent::Ended(Side::Downstream, ..)));
    events.extend(ends);
    for hop in joined(&events, false, &record()) {
        let confidence = hop.join.map(|join| join.confidence);
        assert_eq!(confidence, Some(Confidence::Ambiguous));
    }
}

#[test]
fn an_answer_that_is_passed_on_before_the_next_one_comes_tells_the_request() {
    let order = [4, 0, 1, 2, 3];
    let hops = joined(&burst_of(&order, &order), false, &record());
    assert_eq!(hops.len(), order.len());
    for hop in hops {
        assert!(is_right(&hop), "{:?}", hop.join);
        assert_eq!(hop.join.map(|join| join.by), Some(By::Response));
    }
}

#[test]
fn a_request_that_was_held_back_makes_those_beside_it_ambiguous_also_when_they_ended_first() {
    // The first waited for a connection; the others had been answered before it was asked for.
    let events = burst_of(&[1, 2, 3, 0], &[1, 2, 3, 0]);
    for hop in joined(&events, false, &record()) {
        let confidence = hop.join.map(|join| join.confidence);
        let ambiguous = confidence == Some(Confidence::Ambiguous);
        assert!(is_right(&hop) || ambiguous, "{:?}", hop.join);
        assert_ne!(confidence, Some(Confidence::ThreadOrder));
    }
}

#[test]
fn where_threads_take_turns_on_a_connection_order_says_nothing() {
    let like = record();
    let mut hops = proxy();
    let fields = [(":method", "GET"), (":path", "/a")];
    for (n, tid) in [(0, 11), (1, 12)] {
        let mut opening = opening(Side::Downstream, n, tid, 5, &fields);
        opening.connection = ConnectionId(1);
        hops.requested(PROXY, Side::Downstream, &opening);
    }
    // The second one's thread writes the first.
    for (n, tid) in [(0, 12), (1, 11)] {
        hops.requested(
            PROXY,
            Side::Upstream,
            &opening(Side::Upstream, n, tid, 10, &fields),
        );
    }
    for (side, n, tid) in [
        (Side::Upstream, 0, 12),
        (Side::Upstream, 1, 11),
        (Side::Downstream, 0, 0),
        (Side::Downstream, 1, 0),
    ] {
        let mut record = like.clone();
        let connection = if side == Side::Upstream {
            connection(side, tid)
        } else {
            1
        };
        (record.connection, record.stream_id) = (ConnectionId(connection), StreamId(2 * n + 1));
        (record.first_at, record.last_at) = (Timestamp(5), Timestamp(20));
        record.request.headers_at = Some(Timestamp(10));
        hops.ended(PROXY, side, Timestamp(20), record.into(), ());
    }
    ends_with_ambiguous(hops, 2);
}

#[test]
fn which_of_several_new_connections_is_up_first_says_nothing_of_order() {
    let like = record();
    let mut hops = proxy();
    let fields = [(":method", "GET"), (":path", "/a")];
    for n in 0..3 {
        hops.requested(
            PROXY,
            Side::Downstream,
            &opening(Side::Downstream, n, 11, 5, &fields),
        );
    }
    let new = |n: u32| ConnectionId(100 + u64::from(n));
    for n in [1, 2, 0] {
        let mut opening = opening(Side::Upstream, 0, 11, 10, &fields);
        opening.connection = new(n);
        hops.requested(PROXY, Side::Upstream, &opening);
    }
    let mut end = |side, connection, stream| {
        let mut record = like.clone();
        (record.connection, record.stream_id) = (connection, StreamId(stream));
        (record.first_at, record.last_at) = (Timestamp(5), Timestamp(20));
        record.request.headers_at = Some(Timestamp(10));
        hops.ended(PROXY, side, Timestamp(20), record.into(), ());
    };
    for n in 0..3 {
        end(Side::Upstream, new(n), 1);
    }
    for n in 0..3 {
        end(
            Side::Downstream,
            ConnectionId(connection(Side::Downstream, 11)),
            2 * n + 1,
        );
    }
    ends_with_ambiguous(hops, 3);
}

#[test]
fn what_order_decided_is_doubted_when_a_thread_takes_over_soon_after() {
    let order = [2, 0, 1];
    let mut events: Vec<HopEvent> = (0..3).map(|n| HopEvent::Downstream(n, 11)).collect();
    events.extend(order.map(|n| HopEvent::Upstream(n, 11)));
    // All answers come, then all are passed on: nothing contradicts the order.
    for side in [Side::Upstream, Side::Downstream] {
        events.extend(order.map(|n| HopEvent::Ended(side, n, 11)));
    }
    let like = record();
    assert!(
        joined(&events, false, &like)
            .iter()
            .any(|hop| !is_right(hop))
    );
    events.extend([HopEvent::Taken(3, 11, 12)]);
    for hop in joined(&events, false, &like) {
        let confidence = hop.join.map(|join| join.confidence);
        assert_eq!(confidence, Some(Confidence::Ambiguous));
    }
}

#[test]
fn a_stream_that_order_gave_to_one_request_is_not_certain_with_another_one() {
    let mut events: Vec<HopEvent> = (0..3).map(|n| HopEvent::Downstream(n, 11)).collect();
    // Order gives the first stream to the first request. Then work moves from thread to thread.
    events.extend([HopEvent::Upstream(1, 11), HopEvent::Taken(3, 11, 12)]);
    events.extend([0, 2].map(|n| HopEvent::Upstream(n, 11)));
    // All responses are alike, and the one that came first is taken for that of the request that is over first.
    events.extend([1, 0, 2].map(|n| HopEvent::Ended(Side::Upstream, n, 11)));
    events.extend([2, 1, 0].map(|n| HopEvent::Ended(Side::Downstream, n, 11)));
    let hops = joined(&events, false, &record());
    assert!(hops.iter().any(|hop| !is_right(hop)));
    for hop in hops {
        let confidence = hop.join.map(|join| join.confidence);
        assert_eq!(confidence, Some(Confidence::Ambiguous));
    }
}

#[test]
fn what_order_decided_does_not_wait_longer_than_for_those_that_were_read_with_it() {
    let like = record();
    let n = limits::HOP_STEADY;
    let numbers: Vec<u32> = (0..4).collect();
    let mut hops = proxy();
    let fields = [(":method", "GET"), (":path", "/a")];
    let mut told = Vec::new();
    for first in (0..n).step_by(4) {
        let at = u64::from(first) * 1_000;
        for side in [Side::Downstream, Side::Upstream] {
            for n in &numbers {
                hops.requested(PROXY, side, &opening(side, first + n, 11, at, &fields));
            }
        }
        for n in &numbers {
            for side in [Side::Upstream, Side::Downstream] {
                let mut record = like.clone();
                record.connection = ConnectionId(connection(side, 11));
                record.stream_id = StreamId(2 * (first + n) + 1);
                (record.first_at, record.last_at) = (Timestamp(at), Timestamp(at + 1));
                hops.ended(PROXY, side, Timestamp(at + 1), record.into(), ());
            }
            let so_far = std::iter::from_fn(|| hops.poll()).count();
            told.push((first + n, so_far));
        }
    }
    // In the beginning nothing is told at once, later the last of four that were read together lets all go.
    assert!(told.iter().take(400).all(|(_, n)| *n == 0));
    let late = &told[usize::try_from(n).unwrap() - 4..];
    assert_eq!(
        late.iter().map(|(_, n)| *n).collect::<Vec<_>>(),
        [0, 0, 0, 4]
    );
}

#[test]
fn answers_that_are_passed_back_in_another_order_than_they_came_make_the_requests_ambiguous() {
    let like = record();
    let mut hops = proxy();
    let fields = [(":method", "GET"), (":path", "/a")];
    for side in [Side::Downstream, Side::Upstream] {
        for n in 0..4 {
            hops.requested(PROXY, side, &opening(side, n, 11, 5, &fields));
        }
    }
    // All answers came in one call and left in one: only their order in it tells. The last request had been
    // passed on first, so that the first upstream stream is its own.
    for side in [Side::Upstream, Side::Downstream] {
        for nth in 0..4 {
            let n = match side {
                Side::Upstream => nth,
                Side::Downstream => 3 - nth,
            };
            let mut record = like.clone();
            record.connection = ConnectionId(connection(side, 11));
            record.stream_id = StreamId(2 * n + 1);
            (record.first_at, record.last_at) = (Timestamp(5), Timestamp(20));
            record.request.headers_at = Some(Timestamp(5));
            (record.response.headers_at, record.response.end_stream_at) = match side {
                Side::Upstream => (Some(Timestamp(10)), Some(Timestamp(10))),
                Side::Downstream => (Some(Timestamp(20)), Some(Timestamp(20))),
            };
            record.response.headers_nth = 10 + nth;
            hops.ended(PROXY, side, Timestamp(20), record.into(), ());
        }
    }
    ends_with_ambiguous(hops, 4);
}

#[test]
fn a_request_waits_for_one_that_was_read_with_it_and_takes_longer() {
    let like = record();
    let mut hops = proxy();
    let fields = [(":method", "GET"), (":path", "/a")];
    for side in [Side::Downstream, Side::Upstream] {
        for n in 0..2 {
            hops.requested(PROXY, side, &opening(side, n, 11, 5, &fields));
        }
    }
    let mut end = |n: u32, at: u64| {
        for (side, at) in [(Side::Upstream, at), (Side::Downstream, at + 5)] {
            let mut record = like.clone();
            record.connection = ConnectionId(connection(side, 11));
            record.stream_id = StreamId(2 * n + 1);
            (record.first_at, record.last_at) = (Timestamp(5), Timestamp(at));
            record.response.headers_at = Some(Timestamp(at));
            hops.ended(PROXY, side, Timestamp(at), record.into(), ());
        }
        hops.advance(Timestamp(at + 2 * limits::HOP_SETTLE_NS));
        std::iter::from_fn(|| hops.poll().map(|hop| *hop)).collect::<Vec<_>>()
    };
    assert_eq!(end(0, 10).len(), 0, "told before the other one had ended");
    assert_eq!(end(1, 3 * limits::HOP_SETTLE_NS).len(), 2);
}
