//! What is told late, because a connection was recognised late.

use super::*;
use crate::hop::Over;

/// Ends these streams, whose request was answered well.
fn end_all(hops: &mut Hops<()>, of: &[(Side, u32, u64)]) {
    for (side, n, began) in of {
        let mut record = record();
        record.connection = ConnectionId(connection(*side, 11));
        record.stream_id = StreamId(2 * n + 1);
        (record.first_at, record.last_at) = (Timestamp(*began), Timestamp(100));
        record.request.headers_at = Some(Timestamp(*began));
        hops.ended(PROXY, *side, Timestamp(100), record.into(), ());
    }
}

#[test]
fn a_stream_that_is_told_late_shows_that_order_was_wrong_and_is_no_reason_for_a_claim() {
    let mut hops = proxy();
    let fields = [(":path", "/a")];
    // The stream of the first request is told after that of the second, to which order gave the first.
    for (side, n, at) in [
        (Side::Downstream, 0, 5),
        (Side::Downstream, 1, 20),
        (Side::Upstream, 1, 30),
        (Side::Upstream, 0, 10),
    ] {
        hops.requested(PROXY, side, &opening(side, n, 11, at, &fields));
    }
    let ended = [
        (Side::Upstream, 0, 10),
        (Side::Upstream, 1, 30),
        (Side::Downstream, 0, 5),
        (Side::Downstream, 1, 20),
    ];
    end_all(&mut hops, &ended);
    // Nothing is said of the second.
    ends_with_ambiguous(hops, 1);
}

#[test]
fn a_request_that_is_told_after_its_stream_is_joined_to_it() {
    let mut hops = proxy();
    let fields = [(":path", "/a"), ("x-call-id", "1")];
    for (side, at) in [(Side::Upstream, 10), (Side::Downstream, 5)] {
        hops.requested(PROXY, side, &opening(side, 0, 11, at, &fields));
    }
    end_all(
        &mut hops,
        &[(Side::Upstream, 0, 10), (Side::Downstream, 0, 5)],
    );
    hops.finish(Timestamp(u64::MAX));
    let hop = hops.poll().expect("it is joined");
    assert_eq!(hop.join.map(|join| join.by), Some(By::Fields));
    assert!(is_right(&hop));
}

#[test]
fn of_a_request_that_is_told_late_it_is_not_said_that_it_has_no_stream() {
    let mut hops = proxy();
    let fields = [(":path", "/a"), ("x-call-id", "1")];
    // Requests of this path are passed on.
    for side in [Side::Downstream, Side::Upstream] {
        hops.requested(PROXY, side, &opening(side, 0, 11, 1, &fields));
    }
    end_all(
        &mut hops,
        &[(Side::Upstream, 0, 1), (Side::Downstream, 0, 1)],
    );
    assert!(hops.poll().is_some());
    // One of two streams was this one's; both are gone when it is told.
    for n in [1, 2] {
        let at = 110 + u64::from(n);
        hops.requested(
            PROXY,
            Side::Upstream,
            &opening(Side::Upstream, n, 11, at, &fields),
        );
        end_all(&mut hops, &[(Side::Upstream, n, at)]);
    }
    hops.requested(
        PROXY,
        Side::Downstream,
        &opening(Side::Downstream, 3, 11, 105, &fields),
    );
    end_all(&mut hops, &[(Side::Downstream, 3, 105)]);
    hops.finish(Timestamp(u64::MAX));
    assert!(hops.poll().is_none());
}

#[test]
fn a_stream_that_was_told_before_any_connection_of_clients_was_known_is_no_reason_for_a_claim() {
    let mut hops = Hops::default();
    let begin = |hops: &mut Hops<()>, side, n, at, id| {
        let fields = [(":path", "/a"), ("x-call-id", id)];
        hops.requested(PROXY, side, &opening(side, n, 11, at, &fields));
    };
    hops.connected(PROXY, Side::Upstream);
    begin(&mut hops, Side::Upstream, 0, 10, "0");
    end_all(&mut hops, &[(Side::Upstream, 0, 10)]);
    hops.connected(PROXY, Side::Downstream);
    begin(&mut hops, Side::Downstream, 0, 5, "0");
    // Requests of this path are passed on.
    begin(&mut hops, Side::Downstream, 1, 20, "1");
    begin(&mut hops, Side::Upstream, 1, 30, "1");
    end_all(
        &mut hops,
        &[(Side::Upstream, 1, 30), (Side::Downstream, 1, 20)],
    );
    assert!(hops.poll().is_some_and(|hop| is_right(&hop)));
    end_all(&mut hops, &[(Side::Downstream, 0, 5)]);
    hops.finish(Timestamp(u64::MAX));
    assert!(hops.poll().is_none());
}

#[test]
fn requests_that_begin_behind_a_gap_are_told_apart_by_their_order() {
    let mut hops = proxy();
    let fields = [(":path", "/a")];
    let begin = |hops: &mut Hops<()>, side, n, at| {
        hops.requested(PROXY, side, &opening(side, n, 11, at, &fields));
    };
    let up = ConnectionId(connection(Side::Upstream, 11));
    begin(&mut hops, Side::Downstream, 0, 5);
    // The stream of the first one is lost.
    hops.gap_began(PROXY, Side::Upstream, up, Timestamp(6));
    hops.gap_ended(PROXY, Side::Upstream, up, Timestamp(8));
    // There is always one that waits.
    begin(&mut hops, Side::Downstream, 1, 10);
    begin(&mut hops, Side::Upstream, 1, 11);
    let over = Over {
        at: Timestamp(15),
        cancelled: false,
    };
    let first = ConnectionId(connection(Side::Downstream, 11));
    hops.finished(PROXY, (first, StreamId(1)), over);
    for n in 2..6 {
        let at = 10 * u64::from(n);
        begin(&mut hops, Side::Downstream, n, at);
        begin(&mut hops, Side::Upstream, n, at + 1);
    }
    let sides = [Side::Upstream, Side::Downstream];
    for n in 1..6 {
        end_all(&mut hops, &sides.map(|side| (side, n, 10 * u64::from(n))));
    }
    hops.finish(Timestamp(u64::MAX));
    let decided: Vec<_> = std::iter::from_fn(|| hops.poll()).collect();
    assert_eq!(decided.len(), 5);
    for hop in decided {
        let is_certain = hop
            .join
            .is_some_and(|join| join.confidence < Confidence::Ambiguous);
        let is_behind = hop.downstream.record.stream_id > StreamId(3);
        assert_eq!(is_certain, is_behind, "{:?}", hop.join);
        assert!(is_right(&hop) || !is_certain);
    }
}

#[test]
fn of_streams_that_began_in_one_moment_the_id_tells_which_is_told_late() {
    let mut hops = proxy();
    let fields = [(":path", "/a")];
    let mut begun = Vec::new();
    for n in 0..3 {
        begun.push((Side::Downstream, n, 5));
    }
    // As from records that were opened in another order.
    for n in [2, 0, 1] {
        begun.push((Side::Upstream, n, 10));
    }
    for (side, n, at) in &begun {
        hops.requested(PROXY, *side, &opening(*side, *n, 11, *at, &fields));
    }
    end_all(&mut hops, &begun[3..]);
    end_all(&mut hops, &begun[..3]);
    ends_with_ambiguous(hops, 3);
}

#[test]
fn a_stream_that_order_gave_away_is_not_certain_when_its_request_is_told_late() {
    let mut hops = proxy();
    let fields = [(":path", "/a")];
    for (side, n, at) in [
        (Side::Downstream, 1, 8),
        (Side::Upstream, 0, 10),
        (Side::Downstream, 0, 5),
    ] {
        hops.requested(PROXY, side, &opening(side, n, 11, at, &fields));
    }
    end_all(
        &mut hops,
        &[(Side::Upstream, 0, 10), (Side::Downstream, 1, 8)],
    );
    ends_with_ambiguous(hops, 1);
}

#[test]
fn a_response_that_may_be_lost_leaves_the_other_one_uncertain() {
    let mut hops = proxy();
    let fields = [(":path", "/a")];
    // Other threads write what two have read.
    for (side, n, tid, at) in [
        (Side::Downstream, 0, 11, 5),
        (Side::Downstream, 1, 12, 6),
        (Side::Upstream, 0, 13, 10),
        (Side::Upstream, 1, 14, 11),
    ] {
        let mut opening = opening(side, n, tid, at, &fields);
        opening.connection = ConnectionId(connection(side, 11));
        hops.requested(PROXY, side, &opening);
    }
    // The response to the first request was lost, so that its stream does not end.
    end_all(
        &mut hops,
        &[
            (Side::Upstream, 1, 11),
            (Side::Downstream, 0, 5),
            (Side::Downstream, 1, 6),
        ],
    );
    ends_with_ambiguous(hops, 2);
}
