//! Bytes whose buffer is not known.

use super::*;
use crate::event::UnseenBytes;
use crate::pipeline::{FirstBytes, Undecided};

/// What was told of them: the reasons, and what an end said.
fn told(driver: &Driver) -> (Vec<Unseen>, Vec<(Protocol, UnseenBytes)>) {
    let reasons = driver.out.0.iter().filter_map(|output| match output {
        Output::BytesUnseen { reason, .. } => Some(*reason),
        _ => None,
    });
    let ends = driver.out.0.iter().filter_map(|output| match output {
        Output::ConnectionEnded { info, unseen, .. } => Some((info.protocol, *unseen)),
        _ => None,
    });
    (reasons.collect(), ends.collect())
}

fn close(driver: &mut Driver) {
    driver.end(EndCause::LocalClose);
    driver.end(EndCause::Closed);
    driver.pass(CONNECTION_LINGER_NS * 2);
}

/// A connection of which nothing is known yet.
fn undecided(driver: &mut Driver) {
    driver.open(Opened::Active, true);
    driver.boundary = Boundary::Unknown;
    driver.confidence = ProtocolConfidence::Tentative;
}

#[test]
fn each_reason_is_told_once_and_all_bytes_at_the_end() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &request(1));
    // The frame's header is seen, what follows of it is not.
    let data = message(1, 300, true);
    driver.send(Direction::Tx, &data[..9]);
    driver.send_unseen(Direction::Tx, 100, Unseen::Splice);
    driver.send_unseen(Direction::Tx, 100, Unseen::Splice);
    driver.send_unseen(Direction::Tx, data.len() - 209, Unseen::IoUring);
    assert_eq!(told(&driver).0, [Unseen::Splice, Unseen::IoUring]);
    close(&mut driver);
    let (reasons, ends) = told(&driver);
    assert_eq!(reasons.len(), 2);
    let mut sum = UnseenBytes::default();
    sum.add(Unseen::Splice, 200);
    sum.add(Unseen::IoUring, data.len() as u64 - 209);
    assert_eq!(ends, [(Protocol::Http2, sum)]);
}

#[test]
fn bytes_that_passed_before_it_was_known_what_is_spoken_have_their_own_time() {
    let mut driver = Driver::new();
    undecided(&mut driver);
    driver.send_unseen(Direction::Rx, 100, Unseen::Splice);
    let passed = Timestamp(driver.at);
    driver.pass(1_000_000_000);
    assert_eq!(told(&driver).0, []);
    driver.send(Direction::Tx, &[PREFACE, &settings()].concat());
    let at = driver.out.0.iter().find_map(|output| match output {
        Output::BytesUnseen { at, .. } => Some(*at),
        _ => None,
    });
    assert_eq!(at, Some(passed));
}

#[test]
fn bytes_of_a_connection_that_is_known_only_when_the_trace_ends_are_told_then() {
    let mut driver = Driver::new();
    driver.open(Opened::Active, true);
    // No preface, so frames are searched for in this direction; there may be more of them before these.
    driver.send(
        Direction::Tx,
        &[&b"PRI * HTTP/2.0\t\n"[..], &settings()].concat(),
    );
    driver.unseen = Some(Unseen::Splice);
    driver.send(Direction::Rx, &settings());
    driver.unseen = None;
    driver
        .pipeline
        .finish(Timestamp(driver.at), &mut driver.out);
    assert_eq!(driver.protocols(), [Protocol::Http2]);
    assert_eq!(told(&driver).0, [Unseen::Splice]);
}

#[test]
fn connection_of_which_nothing_was_seen_is_told_when_it_ends() {
    let mut driver = Driver::new();
    undecided(&mut driver);
    driver.send_unseen(Direction::Tx, 100, Unseen::IoUring);
    driver.send_unseen(Direction::Rx, 100, Unseen::IoUring);
    assert_eq!(driver.protocols(), []);
    close(&mut driver);
    let unseen = Protocol::Unseen(Unseen::IoUring);
    assert_eq!(driver.protocols(), [unseen]);
    assert_eq!(told(&driver).1.len(), 1);
}

#[test]
fn connection_of_which_nothing_was_seen_is_told_when_the_trace_ends() {
    let mut driver = Driver::new();
    undecided(&mut driver);
    driver.send_unseen(Direction::Tx, 100, Unseen::Compat);
    driver
        .pipeline
        .finish(Timestamp(driver.at), &mut driver.out);
    assert_eq!(driver.protocols(), [Protocol::Unseen(Unseen::Compat)]);
}

#[test]
fn connection_without_any_bytes_is_not_told() {
    let mut driver = Driver::new();
    driver.open(Opened::Active, true);
    close(&mut driver);
    assert_eq!(driver.protocols(), []);
}

#[test]
fn old_connection_that_proves_nothing_is_told_when_it_ends() {
    for ends in [true, false] {
        let mut driver = Driver::new();
        driver.open(Opened::Unseen, false);
        driver.boundary = Boundary::Unknown;
        driver.confidence = ProtocolConfidence::Tentative;
        driver.send(Direction::Tx, b"*1\r\n$4\r\nPING\r\n");
        driver.send(Direction::Rx, b"+PONG\r\n");
        assert_eq!(driver.protocols(), []);
        if ends {
            close(&mut driver);
        } else {
            let at = Timestamp(driver.at);
            driver.pipeline.finish(at, &mut driver.out);
        }
        let undecided = Undecided {
            bytes: 21,
            first: FirstBytes::Text,
        };
        assert_eq!(driver.protocols(), [Protocol::Undecided(undecided)]);
    }
}
