//! What went by without a record.

use super::*;
use crate::limits::HALF_CLOSED_QUIET_NS;

#[test]
fn an_answer_lost_at_the_very_end_is_missed_whatever_sign_of_the_end_is_seen() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    // The response went by without a record, and so did the socket's last one.
    driver.lose(Direction::Rx, 60);
    driver.event(What::End(End {
        cause: EndCause::LocalClose,
        tx_offset: Some(driver.offsets[0]),
        rx_offset: Some(driver.offsets[1]),
    }));
    driver.pass(HALF_CLOSED_QUIET_NS * 2);
    assert_eq!(driver.losses(), ["gap"]);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
    assert_eq!(driver.streams().len(), 1);
}

#[test]
fn a_direction_of_which_nothing_was_seen_accuses_nobody() {
    let mut driver = Driver::new();
    driver.open(Opened::Active, true);
    driver.send(
        Direction::Tx,
        &[PREFACE, &settings(), &request(1), &message(1, 3, true)].concat(),
    );
    driver.lose(Direction::Rx, 200);
    driver.event(What::End(End {
        cause: EndCause::Closed,
        tx_offset: Some(driver.offsets[0]),
        rx_offset: Some(driver.offsets[1]),
    }));
    driver.pass(CONNECTION_LINGER_NS * 2);
    assert_eq!(driver.losses(), ["gap"]);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
}

#[test]
fn after_a_late_attach_bytes_that_were_not_told_may_have_ended_a_stream() {
    let mut driver = Driver::new();
    driver.open(Opened::Unseen, false);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    // The response to it, of which no record came.
    driver.lose(Direction::Rx, 60);
    driver.send(Direction::Rx, &frame(frame_type::PING, 0, 0, b"12345678"));
    driver.end(EndCause::LocalClose);
    driver.end(EndCause::Closed);
    driver.pass(CONNECTION_LINGER_NS * 2);
    assert_eq!(driver.streams().len(), 1);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
    // A late attach is no loss.
    assert_eq!(driver.losses(), Vec::<&str>::new());
}
