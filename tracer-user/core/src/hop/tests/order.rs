//! What speaks against the order of a thread's work, and what does not.

use super::*;
use crate::hop::Join;

#[test]
fn a_stream_that_time_gave_to_the_wrong_request_says_nothing_of_the_order() {
    let ended = |n, written, read| {
        let ended = |side, tid| HopEvent::Ended(side, n, tid);
        [
            ended(Side::Upstream, written),
            ended(Side::Downstream, read),
        ]
    };
    // Another thread writes what one read, the last first.
    let mut events = vec![HopEvent::Downstream(0, 11), HopEvent::Downstream(1, 11)];
    events.extend([HopEvent::Upstream(1, 12), HopEvent::Upstream(0, 12)]);
    events.extend(ended(0, 12, 11).into_iter().chain(ended(1, 12, 11)));
    events.extend([HopEvent::Downstream(2, 13), HopEvent::Downstream(3, 13)]);
    events.extend([HopEvent::Upstream(2, 13), HopEvent::Upstream(3, 13)]);
    events.extend(ended(2, 13, 13).into_iter().chain(ended(3, 13, 13)));
    let hops = joined(&events, false, &record());
    assert_eq!(hops.len(), 4);
    let by_order = Join {
        by: By::Order,
        confidence: Confidence::ThreadOrder,
    };
    for hop in hops {
        let is_certain = hop
            .join
            .is_some_and(|join| join.confidence < Confidence::Ambiguous);
        assert!(is_right(&hop) || !is_certain, "{:?}", hop.join);
        if hop.downstream.record.stream_id >= StreamId(5) {
            assert_eq!(hop.join, Some(by_order));
        }
    }
}
