//! Very many requests at once.

use super::*;
use crate::hop::doubt::LOOKED;

/// A thread reads very many requests, order gives every other one its stream, and those without one end first.
#[test]
fn requests_that_stand_alone_among_very_many_are_not_compared_with_each_of_them() {
    const N: u32 = 3_000;
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
    let before = LOOKED.get();
    for hop in joined(&events, false, &record()) {
        let confidence = hop.join.map(|join| join.confidence);
        assert!(confidence.is_none() || confidence == Some(Confidence::Ambiguous));
    }
    let n = LOOKED.get() - before;
    assert!(n < 10 * N as usize, "{n}");
}
