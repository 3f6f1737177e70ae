//! Peers that break the rules, from their bytes to the findings.

use super::*;
use crate::anomaly::kind::{Kind, Verdict};
use crate::frame::head::frame_type::{CONTINUATION, GOAWAY, PING};
use crate::limits::Limit;
use crate::pipeline::LossCause;
use crate::stream::record::StreamRecord;

/// Everything that was found worse than expected: kind and sender.
fn found(driver: &Driver) -> Vec<(Kind, Option<Endpoint>)> {
    driver
        .out
        .0
        .iter()
        .flat_map(|output| match output {
            Output::Stream { findings, .. } => findings.clone(),
            Output::Finding { finding, .. } => vec![finding.clone()],
            _ => Vec::new(),
        })
        .filter(|finding| finding.verdict > Verdict::Expected)
        .map(|finding| {
            assert_eq!(finding.verdict, Verdict::Anomaly, "{finding:#?}");
            (finding.kind, finding.sender)
        })
        .collect()
}

fn accepting() -> Driver {
    let mut driver = Driver::new();
    driver.open(Opened::Passive, true);
    driver.send(Direction::Rx, &[PREFACE, &settings()].concat());
    driver.send(Direction::Tx, &settings());
    driver
}

fn call(driver: &mut Driver, id: u32) {
    let asked = [request(id), message(id, 11, true)].concat();
    let answer = [
        response_headers(id),
        message(id, 9, false),
        trailers(id, "0"),
    ]
    .concat();
    driver.send(Direction::Rx, &asked);
    driver.send(Direction::Tx, &answer);
}

fn go_away(code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[[0; 4], code.to_be_bytes()].concat())
}

#[test]
fn a_second_request_after_end_stream_is_one_finding() {
    let mut driver = accepting();
    driver.send(
        Direction::Rx,
        &[request(1), message(1, 11, true), request(1)].concat(),
    );
    driver.send(Direction::Tx, &reset(1, 5));
    call(&mut driver, 3);
    driver.pass(STREAM_LINGER_NS + 1);
    assert_eq!(
        found(&driver),
        [(Kind::FrameAfterEndStream, Some(Endpoint::Client))]
    );
    assert_eq!(driver.streams().len(), 2);
}

#[test]
fn a_ping_of_another_length_ends_the_connection_and_is_one_finding() {
    let mut driver = accepting();
    call(&mut driver, 1);
    driver.send(Direction::Rx, &frame(PING, 0, 0, &[0; 7]));
    driver.send(Direction::Tx, &go_away(6));
    driver.end(EndCause::LocalClose);
    driver.end(EndCause::Closed);
    driver.pass(CONNECTION_LINGER_NS + 1);
    assert_eq!(
        found(&driver),
        [(Kind::FramingViolation, Some(Endpoint::Client))]
    );
}

#[test]
fn a_rule_that_nobody_heeds_is_told_when_time_passes() {
    let mut driver = accepting();
    driver.send(Direction::Rx, &frame(PING, 0, 0, &[0; 7]));
    assert_eq!(found(&driver), []);
    driver.pass(1_000_000_000);
    assert_eq!(
        found(&driver),
        [(Kind::FramingViolation, Some(Endpoint::Client))]
    );
}

#[test]
fn a_connection_that_breaks_more_rules_than_are_told_is_still_followed() {
    const PRIORITY: u8 = 2;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;
    const PRIORITY_UPDATE: u8 = 16;
    let mut driver = accepting();
    call(&mut driver, 1);
    let setting = |id: u8, value: u8| [0, id, value, 0, 0, 0];
    let broken = [
        frame(0, 0, 0, &[0]),
        frame(PRIORITY, 0, 0, &[0; 5]),
        frame(PRIORITY, 0, 1, &[0; 4]),
        frame(RST_STREAM, 0, 0, &[0; 4]),
        frame(RST_STREAM, 0, 1, &[0; 3]),
        frame(SETTINGS, 0, 1, &[]),
        frame(SETTINGS, 1, 0, &setting(1, 0)),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, 0, 0, &setting(2, 1)),
        frame(SETTINGS, 0, 0, &setting(4, 0xff)),
        frame(SETTINGS, 0, 0, &setting(5, 0xff)),
        frame(SETTINGS, 0, 0, &setting(9, 1)),
        frame(PING, 0, 1, &[0; 8]),
        frame(PING, 0, 0, &[0; 7]),
        frame(GOAWAY, 0, 1, &[0; 8]),
        frame(GOAWAY, 0, 0, &[0; 7]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        frame(CONTINUATION, 0, 0, &[]),
        frame(CONTINUATION, 0, 1, &[]),
        frame(PRIORITY_UPDATE, 0, 1, &[0; 4]),
        frame(PRIORITY_UPDATE, 0, 0, &[0; 3]),
        frame(PRIORITY_UPDATE, 0, 0, &[0; 4]),
    ];
    for frame in &broken {
        driver.send(Direction::Rx, frame);
        driver.send(Direction::Tx, frame);
    }
    call(&mut driver, 3);
    driver.pass(STREAM_LINGER_NS * 2);
    let losses: Vec<_> = driver
        .out
        .0
        .iter()
        .filter_map(|output| match output {
            Output::Loss(loss) => Some((loss.cause, loss.hides_traffic())),
            _ => None,
        })
        .collect();
    let limit = (LossCause::Limit(Limit::BrokenRules), false);
    assert!(!losses.is_empty() && losses.iter().all(|loss| *loss == limit));
    let outcomes: Vec<_> = driver.streams().iter().map(|s| s.outcome).collect();
    assert_eq!(outcomes, [Outcome::Ok; 2]);
}

#[test]
fn a_header_block_without_end_is_one_finding_while_it_goes_on() {
    let mut driver = accepting();
    let begin = frame(frame_type::HEADERS, 0, 1, &literal(":method", "POST"));
    driver.send(Direction::Rx, &begin);
    for n in 0..40 {
        driver.send(
            Direction::Rx,
            &frame(CONTINUATION, 0, 1, &literal("x", "y")),
        );
        assert_eq!(found(&driver).len(), usize::from(n >= 31), "{n}");
    }
    assert_eq!(
        found(&driver),
        [(Kind::ContinuationFlood, Some(Endpoint::Client))]
    );
    // Nothing is followed of a request that has not come.
    driver.end(EndCause::PeerReset);
    driver.pass(CONNECTION_LINGER_NS + 1);
    assert_eq!(found(&driver).len(), 1);
}

#[test]
fn a_flood_of_pings_is_one_finding() {
    let mut driver = accepting();
    for _ in 0..5_000 {
        driver.send(Direction::Rx, &frame(PING, 0, 0, &[0; 8]));
        driver.send(Direction::Tx, &frame(PING, 1, 0, &[0; 8]));
    }
    call(&mut driver, 1);
    driver.pass(STREAM_LINGER_NS + 1);
    assert_eq!(
        found(&driver),
        [(Kind::ControlFlood, Some(Endpoint::Client))]
    );
}

#[test]
fn nothing_of_a_connection_bleeds_into_the_next_with_its_address() {
    let again = SocketKey { sk: 1, born_ns: 2 };
    // With the first one's end in sight and without (then only the kernel's name tells them apart).
    for (ends, key) in [(true, again), (false, again), (true, KEY)] {
        let mut driver = accepting();
        call(&mut driver, 9);
        let left_open = [
            request(11),
            frame(PING, 0, 0, &[7; 8]),
            frame(frame_type::HEADERS, 0, 13, &literal(":method", "POST")),
            frame(PING, 0, 0, &[0; 3]),
        ];
        driver.send(Direction::Rx, &left_open.concat());
        if ends {
            driver.end(EndCause::PeerReset);
            driver.end(EndCause::Closed);
            driver.pass(CONNECTION_LINGER_NS + 1);
        }
        driver.out.0.clear();
        (driver.key, driver.offsets) = (key, [0, 0]);
        driver.open(Opened::Passive, true);
        driver.send(Direction::Rx, &[PREFACE, &settings()].concat());
        driver.send(Direction::Tx, &settings());
        // What is found of the first one is found when it is over.
        driver.pass(CONNECTION_LINGER_NS + 1);
        let begun = driver.out.0.len();
        for id in [1, 3] {
            call(&mut driver, id);
        }
        driver.out.0.drain(..begun);
        driver.pass(STREAM_LINGER_NS + 1);
        let streams: Vec<&StreamRecord> = driver
            .streams()
            .into_iter()
            .filter(|stream| stream.stream_id.0 < 9)
            .collect();
        assert_eq!(streams.len(), 2, "{ends} {key:?}");
        for stream in streams {
            assert_eq!((stream.outcome, stream.tier), (Outcome::Ok, Tier::T1));
            assert_eq!(stream.conduct, crate::stream::violation::Conduct::default());
        }
        driver.end(EndCause::PeerFin);
        driver.end(EndCause::Closed);
        driver.pass(CONNECTION_LINGER_NS + 1);
        assert_eq!(found(&driver), [], "{ends} {key:?}");
    }
}

#[test]
fn time_at_its_very_end_does_not_hold_up_the_pipeline() {
    // A capture file may say so. A gap leaves a stream that is looked after for a minute.
    let mut driver = accepting();
    driver.at = u64::MAX - 10_000;
    driver.send(Direction::Rx, &[request(1), message(1, 11, false)].concat());
    driver.lose(Direction::Rx, 100);
    driver.boundary = RIGHT_HERE;
    driver.send(Direction::Rx, &frame(PING, 0, 0, &[0; 7]));
    driver.send(Direction::Rx, &frame(PING, 0, 0, &[0; 8]));
    let left = u64::MAX - driver.at;
    driver.pass(left);
    assert_eq!(driver.pipeline.live().streams, 1);
}
