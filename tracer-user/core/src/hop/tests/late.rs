//! What is told late, because a connection was recognised late.

use super::*;

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
