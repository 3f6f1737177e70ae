//! What went by without a record.

use super::*;
use crate::limits::{HALF_CLOSED_QUIET_NS, STREAM_DOUBT_NS, UNIX_QUIET_NS};

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

#[test]
fn a_socket_that_the_kernel_programs_forgot_is_the_same_connection_and_a_loss() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    driver.key.born_ns = 2;
    driver.offsets = [0, 0];
    driver.open(Opened::Active, false);
    driver.send(
        Direction::Rx,
        &[response_headers(1), message(1, 3, false), trailers(1, "0")].concat(),
    );
    driver.send(Direction::Tx, &[request(3), message(3, 3, true)].concat());
    driver.send(
        Direction::Rx,
        &[response_headers(3), message(3, 3, false), trailers(3, "0")].concat(),
    );
    driver.pass(STREAM_LINGER_NS * 2);
    assert_eq!(driver.losses(), ["socket_evicted", "gap", "gap"]);
    assert_eq!(driver.protocols(), [Protocol::Http2]);
    assert_eq!(driver.streams().len(), 2);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
}

#[test]
fn a_connection_that_is_let_go_for_a_while_is_told_and_goes_on() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    let at = Timestamp(driver.at);
    assert!(driver.pipeline.look_away(KEY, at, &mut driver.out));
    // Its answer goes by meanwhile, and then its socket is met anew.
    driver.pass(STREAM_LINGER_NS * 2);
    driver.key.born_ns = 2;
    driver.offsets = [0, 0];
    driver.open(Opened::Active, false);
    driver.send(Direction::Tx, &[request(3), message(3, 3, true)].concat());
    driver.send(
        Direction::Rx,
        &[response_headers(3), message(3, 3, false), trailers(3, "0")].concat(),
    );
    driver.pass(STREAM_LINGER_NS * 2);
    assert_eq!(driver.losses(), ["limit_share", "gap", "gap"]);
    assert_eq!(driver.protocols(), [Protocol::Http2]);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
    // The end of the first one may have gone by meanwhile.
    assert_eq!(driver.streams().len(), 1);
    driver.pass(STREAM_DOUBT_NS);
    assert_eq!(driver.streams().len(), 2);
    let unknown = SocketKey { sk: 99, born_ns: 1 };
    assert!(!driver.pipeline.look_away(unknown, at, &mut driver.out));
}

#[test]
fn what_was_on_its_way_when_a_connection_was_let_go_is_not_followed() {
    // Records of before wait for very long; or calls go by between the moment for which it is told and the one from which
    // the kernel programs heed it.
    for waited in [1_000_000_000, 0] {
        is_not_followed(waited);
    }
}

fn is_not_followed(waited: u64) {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    let at = Timestamp(driver.at + waited);
    assert!(driver.pipeline.look_away(KEY, at, &mut driver.out));
    for id in [3, 5, 7] {
        driver.send(Direction::Tx, &[request(id), message(id, 3, true)].concat());
        let answer = [
            response_headers(id),
            message(id, 3, false),
            trailers(id, "0"),
        ];
        driver.send(Direction::Rx, &answer.concat());
    }
    driver.send(Direction::Tx, &[request(9), message(9, 3, true)].concat());
    let [tx_offset, rx_offset] = driver.offsets.map(Some);
    driver.event(What::End(End {
        cause: EndCause::LocalClose,
        tx_offset,
        rx_offset,
    }));
    driver.pass(STREAM_DOUBT_NS * 2);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
    assert_eq!(driver.losses(), ["limit_share", "gap", "gap"]);
}

#[test]
fn an_end_that_tells_no_offsets_accuses_nobody_while_records_are_lost() {
    for lost in [false, true] {
        let mut driver = Driver::new();
        hello(&mut driver);
        driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
        // The other end of an AF_UNIX connection reads end of file: the socket itself has no sign of its own.
        driver.key.sk = 2;
        driver.offsets = [0, 0];
        driver.event(What::Open(Box::new(Open {
            unix_peer_sk: KEY.sk,
            ..Open::unseen()
        })));
        if lost {
            let now = Timestamp(driver.at);
            driver.pipeline.records_were_lost(now);
        }
        driver.end(EndCause::Eof);
        driver.pass(CONNECTION_LINGER_NS * 2);
        let found = ["connection_lost_streams"];
        assert_eq!(driver.loud_findings(), found[usize::from(lost)..]);
    }
}

#[test]
fn an_end_whose_last_sign_was_lost_accuses_nobody() {
    for (told, found) in [(false, 0), (true, 1)] {
        let mut driver = Driver::new();
        hello(&mut driver);
        driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
        let [tx_offset, rx_offset] = driver.offsets.map(Some);
        let end = |cause| End {
            cause,
            tx_offset,
            rx_offset,
        };
        driver.event(What::End(end(EndCause::LocalClose)));
        // What came behind it, and with it that nothing more will come.
        let now = Timestamp(driver.at);
        driver.pipeline.records_were_lost(now);
        if told {
            driver.event(What::End(end(EndCause::Closed)));
        }
        driver.pass(HALF_CLOSED_QUIET_NS * 2);
        assert_eq!(driver.loud_findings().len(), found);
    }
}

#[test]
fn a_socket_that_is_met_anew_without_a_word_ends_the_one_that_was_let_go() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    let at = Timestamp(driver.at);
    assert!(driver.pipeline.look_away(KEY, at, &mut driver.out));
    // The record that tells of it was lost.
    driver.key.born_ns = 2;
    driver.offsets = [0, 0];
    driver.send(Direction::Tx, &[request(3), message(3, 3, true)].concat());
    driver.send(
        Direction::Rx,
        &[response_headers(3), message(3, 3, false), trailers(3, "0")].concat(),
    );
    driver.pass(CONNECTION_LINGER_NS * 2);
    assert_eq!(driver.pipeline.live().connections, 1);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
    assert_eq!(driver.streams().len(), 2);
}

/// A client opens a connection and says its first words.
fn begin(driver: &mut Driver) {
    driver.event(What::Open(Box::new(Open {
        opened: Opened::Active,
        from_start: true,
        local: Address::Unknown,
        peer: Address::Unknown,
        netns: 1,
        inode: 2,
        unix_peer_sk: 0,
        comm: "worker".to_owned(),
        peer_process: None,
    })));
    driver.send(Direction::Tx, &[PREFACE, &settings()].concat());
}

#[test]
fn a_socket_at_the_address_of_another_ends_that_one() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.key.born_ns = 2;
    driver.offsets = [0, 0];
    begin(&mut driver);
    assert_eq!(driver.pipeline.live().connections, 2);
    driver.pass(CONNECTION_LINGER_NS * 2);
    assert_eq!(driver.pipeline.live().connections, 1);
    assert_eq!(driver.losses(), Vec::<&str>::new());
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
}

/// Process 7 is gone.
struct WithoutSeven;

impl crate::pipeline::NameSource for WithoutSeven {
    fn process(&mut self, _: u32) -> Option<String> {
        None
    }

    fn lives(&mut self, pid: u32) -> bool {
        pid != 7
    }
}

#[test]
fn the_end_of_a_unix_connection_goes_with_its_process() {
    let mut driver = Driver::new();
    driver.pipeline = Pipeline::new(PipelineSettings {
        names: Box::new(WithoutSeven),
        ..PipelineSettings::default()
    });
    hello(&mut driver);
    // One that another process was given, and one over TCP.
    driver.key.sk = 2;
    (driver.pid, driver.offsets) = (8, [0, 0]);
    hello(&mut driver);
    driver.pid = 7;
    driver.key.sk = 3;
    driver.offsets = [0, 0];
    begin(&mut driver);
    assert_eq!(driver.pipeline.live().connections, 3);
    driver.pass(UNIX_QUIET_NS / 2);
    driver.pass(CONNECTION_LINGER_NS * 2);
    assert_eq!(driver.pipeline.live().connections, 3);
    // It may have said more, that waits to be read.
    for _ in 0..2 {
        driver.at += UNIX_QUIET_NS;
        let now = Timestamp(driver.at);
        driver.pipeline.advance_amid(now, &mut driver.out);
    }
    assert_eq!(driver.pipeline.live().connections, 3);
    for _ in 0..2 {
        driver.pass(UNIX_QUIET_NS);
    }
    assert_eq!(driver.pipeline.live().connections, 2);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
}

/// Most of what is older than the tracer speaks something else.
#[test]
fn nothing_is_kept_of_connections_that_were_never_recognised() {
    let mut driver = Driver::new();
    for n in 0..100 {
        driver.key.sk = n + 1;
        driver.offsets = [0, 0];
        driver.open(Opened::Unseen, false);
        driver.send(Direction::Rx, &[0, 0, 4]);
        driver.end(EndCause::Closed);
    }
    driver.pass(2 * CONNECTION_LINGER_NS);
    assert_eq!(driver.pipeline.live().connections, 0);
    assert_eq!(driver.pipeline.analysis.n_blind(), 0);
}
