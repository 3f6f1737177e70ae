//! What stands for too long, from bytes to findings: nothing comes that could tell it but time.

use super::*;
use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::frame::StreamId;
use crate::stream::condition::{LEFT_OPEN_NS, WINDOW_STALL_NS};

const SECOND: u64 = 1_000_000_000;

impl Driver {
    /// Findings that are not about a stream that ended.
    fn condition_findings(&self) -> Vec<&Finding> {
        let outputs = self.out.0.iter();
        outputs
            .filter_map(|output| match output {
                Output::Finding { finding, .. } => Some(finding),
                _ => None,
            })
            .collect()
    }
}

fn window_update(stream_id: u32, increment: u32) -> Vec<u8> {
    frame(
        frame_type::WINDOW_UPDATE,
        0,
        stream_id,
        &increment.to_be_bytes(),
    )
}

/// The first part of a message of 1 MiB, in frames of at most 16,384 bytes.
fn part_of_a_message(stream_id: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0x10, 0, 0];
    bytes.resize(len, b'x');
    bytes
        .chunks(16_384)
        .flat_map(|chunk| frame(frame_type::DATA, 0, stream_id, chunk))
        .collect()
}

/// A client that gives streams large windows and the connection none.
fn large_streams(driver: &mut Driver) {
    driver.open(Opened::Active, true);
    let settings = frame(frame_type::SETTINGS, 0, 0, &[0, 4, 0, 0x60, 0, 0]);
    driver.send(Direction::Tx, &[PREFACE, &settings].concat());
    driver.send(
        Direction::Rx,
        &[super::settings(), frame(frame_type::SETTINGS, 1, 0, &[])].concat(),
    );
    for id in [1, 3, 5] {
        driver.send(Direction::Tx, &[request(id), message(id, 3, true)].concat());
        driver.send(Direction::Rx, &response_headers(id));
    }
}

#[test]
fn a_stalled_connection_is_found_by_time_alone_and_once() {
    let mut driver = Driver::new();
    large_streams(&mut driver);
    driver.send(Direction::Rx, &part_of_a_message(1, 60_000));
    driver.send(Direction::Rx, &part_of_a_message(3, 5_535));
    driver.pass(WINDOW_STALL_NS - SECOND);
    assert!(driver.condition_findings().is_empty());
    driver.pass(2 * SECOND);
    for _ in 0..100 {
        driver.pass(SECOND);
    }
    let found = driver.condition_findings();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (
            found[0].kind,
            found[0].verdict,
            found[0].sender,
            found[0].stream_id
        ),
        (
            Kind::ConnectionWindowStall,
            Verdict::Suspicious,
            Some(Endpoint::Client),
            StreamId(0)
        )
    );
    assert!(
        found[0]
            .summary
            .contains("2 streams wait in the middle of a message"),
        "{}",
        found[0].summary
    );
    assert_eq!(driver.losses(), Vec::<&str>::new());
    // The end of the connection leaves no wake-up behind that would not end.
    driver.end(EndCause::PeerFin);
    driver.end(EndCause::Closed);
    driver.pass(3_600 * SECOND);
    assert_eq!(driver.pipeline.live().connections, 0);
}

#[test]
fn a_connection_that_gets_window_is_not_stalled() {
    let mut driver = Driver::new();
    large_streams(&mut driver);
    driver.send(Direction::Rx, &part_of_a_message(1, 65_535));
    for _ in 0..20 {
        driver.pass(WINDOW_STALL_NS - SECOND);
        driver.send(Direction::Tx, &window_update(0, 16_000));
        driver.send(
            Direction::Rx,
            &frame(frame_type::DATA, 0, 1, &[b'x'; 16_000]),
        );
    }
    assert!(
        driver.condition_findings().is_empty(),
        "{:#?}",
        driver.condition_findings()
    );
}

#[test]
fn a_stream_left_open_is_found_by_time_alone_and_once() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, false)].concat());
    driver.send(
        Direction::Rx,
        &[response_headers(1), message(1, 5, false), trailers(1, "0")].concat(),
    );
    driver.pass(2 * LEFT_OPEN_NS);
    driver.pass(2 * LEFT_OPEN_NS);
    let found = driver.condition_findings();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (found[0].kind, found[0].stream_id),
        (Kind::StreamLeftOpen, StreamId(1))
    );
    assert!(found[0].summary.ends_with("(/a.B/C)") && !found[0].story.is_empty());
}

#[test]
fn a_window_update_of_zero_is_one_finding_and_no_framing_violation() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(
        Direction::Tx,
        &[request(1), message(1, 3, true), window_update(1, 0)].concat(),
    );
    driver.send(Direction::Rx, &reset(1, 1));
    driver.pass(STREAM_LINGER_NS * 2);
    assert_eq!(driver.loud_findings(), ["bad_window_update"]);
    // Of the connection: at once.
    driver.send(Direction::Tx, &window_update(0, 0));
    assert_eq!(driver.loud_findings(), ["bad_window_update"; 2]);
}

/// A file may say that it is the end of time.
#[test]
fn open_streams_at_the_end_of_time_do_not_hold_it_up() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, false)].concat());
    driver.at = u64::MAX - 2_000;
    driver.pass(2_000);
    driver.pass(0);
    assert_eq!(driver.pipeline.live().streams, 1);
}
