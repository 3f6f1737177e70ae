//! Both ends of one connection, which may say different things.

use super::*;

/// Processes 7 and 8, a client and its server.
pub(super) struct Ends {
    pub(super) driver: Driver,
    offsets: [[u64; 2]; 2],
}

impl Ends {
    pub(super) fn new() -> Ends {
        let mut ends = Ends {
            driver: Driver::new(),
            offsets: [[0; 2]; 2],
        };
        let address = |port| Address::Inet(([10, 0, 0, 1], port).into());
        for (nth, opened, local, peer) in [
            (0, Opened::Active, 40_000, 8080),
            (1, Opened::Passive, 8080, 40_000),
        ] {
            ends.at(nth, |driver| {
                driver.event(What::Open(Box::new(Open {
                    opened,
                    from_start: true,
                    local: address(local),
                    peer: address(peer),
                    netns: 1,
                    inode: 1 + nth as u64,
                    unix_peer_sk: 0,
                    comm: "worker".to_owned(),
                    peer_process: None,
                })));
            });
        }
        ends.pass(Endpoint::Client, &[PREFACE, &settings()].concat());
        ends.pass(Endpoint::Server, &settings());
        ends
    }

    /// What follows happens at the client's end (0) or at the server's (1).
    fn at(&mut self, nth: usize, act: impl FnOnce(&mut Driver)) {
        self.driver.key = SocketKey {
            sk: 1 + nth as u64,
            born_ns: 1,
        };
        self.driver.pid = 7 + nth as u32;
        self.driver.offsets = self.offsets[nth];
        act(&mut self.driver);
        self.offsets[nth] = self.driver.offsets;
    }

    /// One end sends, the other one receives.
    fn pass(&mut self, sender: Endpoint, bytes: &[u8]) {
        self.said(sender, bytes, bytes);
    }

    /// One end sends, the other one says that it received something else.
    fn said(&mut self, sender: Endpoint, sent: &[u8], received: &[u8]) {
        let (from, to) = match sender {
            Endpoint::Client => (0, 1),
            Endpoint::Server => (1, 0),
        };
        self.at(from, |driver| driver.send(Direction::Tx, sent));
        self.at(to, |driver| driver.send(Direction::Rx, received));
    }

    /// Nobody answers what was broken any more.
    fn much_later(&mut self) -> Vec<&'static str> {
        for _ in 0..10 {
            self.driver.pass(1_000_000_000);
        }
        self.over()
    }

    fn over(&mut self) -> Vec<&'static str> {
        for _ in 0..6 {
            self.driver.pass(STREAM_LINGER_NS);
        }
        assert_eq!(self.driver.streams().len(), 2, "each end tells it once");
        self.driver.loud_findings()
    }
}

fn answer() -> Vec<u8> {
    [response_headers(1), message(1, 3, false), trailers(1, "0")].concat()
}

fn cut() -> Vec<u8> {
    let reset = frame(frame_type::RST_STREAM, 0, 1, &2_u32.to_be_bytes());
    [response_headers(1), reset].concat()
}

fn asked() -> Ends {
    let mut ends = Ends::new();
    let call = [request(1), message(1, 3, true)].concat();
    ends.pass(Endpoint::Client, &call);
    ends
}

#[test]
fn a_reset_that_both_ends_saw_is_found_at_both() {
    let mut ends = asked();
    ends.pass(Endpoint::Server, &cut());
    assert_eq!(ends.over().len(), 2);
}

#[test]
fn a_reset_that_the_server_did_not_send_blames_nobody() {
    // Whichever end's stream is over first.
    for server_first in [true, false] {
        let mut ends = asked();
        if server_first {
            ends.said(Endpoint::Server, &answer(), &cut());
        } else {
            ends.at(0, |driver| driver.send(Direction::Rx, &cut()));
            ends.driver.pass(STREAM_LINGER_NS);
            ends.at(1, |driver| driver.send(Direction::Tx, &answer()));
        }
        assert_eq!(ends.over(), Vec::<&str>::new(), "{server_first}");
    }
}

#[test]
fn what_the_other_end_says_is_not_waited_for_for_ever() {
    let mut ends = asked();
    ends.at(0, |driver| driver.send(Direction::Rx, &cut()));
    for _ in 0..6 {
        ends.driver.pass(STREAM_LINGER_NS);
    }
    assert_eq!(ends.driver.streams().len(), 1);
    assert_eq!(ends.driver.loud_findings().len(), 1);
}

#[test]
fn a_stream_that_waits_is_told_of_before_its_connection_ends() {
    let mut ends = asked();
    ends.at(0, |driver| {
        driver.send(Direction::Rx, &cut());
        driver.end(EndCause::LocalClose);
        driver.end(EndCause::Closed);
        driver.pass(CONNECTION_LINGER_NS * 2);
    });
    let outputs = &ends.driver.out.0;
    let of = |wanted: fn(&Output) -> bool| outputs.iter().position(wanted).unwrap();
    let stream = of(|output| matches!(output, Output::Stream { .. }));
    let ended = of(|output| matches!(output, Output::ConnectionEnded { .. }));
    assert!(stream < ended);
}

/// DATA on stream 0.
fn forbidden() -> Vec<u8> {
    frame(frame_type::DATA, 0, 0, b"abc")
}

#[test]
fn a_broken_rule_that_both_ends_saw_is_found_at_both() {
    for receiver_first in [false, true] {
        let mut ends = asked();
        if receiver_first {
            ends.at(0, |driver| driver.send(Direction::Rx, &forbidden()));
            ends.at(1, |driver| driver.send(Direction::Tx, &forbidden()));
        } else {
            ends.pass(Endpoint::Server, &forbidden());
        }
        ends.pass(Endpoint::Server, &answer());
        assert_eq!(
            ends.much_later(),
            ["framing_violation"; 2],
            "{receiver_first}"
        );
    }
}

#[test]
fn a_broken_rule_that_the_sender_does_not_show_blames_nobody() {
    let mut ends = asked();
    ends.said(
        Endpoint::Server,
        &answer(),
        &[forbidden(), answer()].concat(),
    );
    assert_eq!(ends.much_later(), Vec::<&str>::new());
}

#[test]
fn a_sender_that_was_not_seen_whole_proves_nothing() {
    let mut ends = asked();
    // A record of the sender's end was lost, and it may have held what the other one shows.
    ends.offsets[1][Direction::Tx as usize] += forbidden().len() as u64;
    ends.at(0, |driver| driver.send(Direction::Rx, &forbidden()));
    ends.pass(Endpoint::Server, &answer());
    assert_eq!(ends.much_later(), ["framing_violation"]);
}
