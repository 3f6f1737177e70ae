//! The limit of concurrent streams, and what is opened without any limit.

use super::{is, judge, judge_with};
use crate::anomaly::Rules;
use crate::anomaly::kind::{Kind, Verdict};
use crate::frame::{ErrorCode, Frame};
use crate::limits::{self, Limit};
use crate::stream::record::{Outcome, RequestPhase, ResponsePhase, StreamEnd, StreamEvent, Tier};
use crate::stream::script::*;

use RequestPhase::Q2;
use ResponsePhase::R0;
use Verdict::{Anomaly, Benign, Suspicious};

/// A connection whose server allows so many streams, and whose client knows it.
fn capped(role: crate::connection::Endpoint, cap: u32) -> Script {
    let mut script = Script::at(Some(role), true);
    script
        .settings(S, &[(0x3, cap)])
        .frame(C, Frame::SettingsAck);
    script
}

/// Opens streams up to `cap`; then, `n` times, ends the oldest and opens another one `gap_ms` later.
fn churn(script: &mut Script, cap: u32, n: u32, every_ms: u64, gap_ms: u64) {
    script.wide_windows();
    for nth in 0..cap {
        script.request(2 * nth + 1);
    }
    for nth in 0..n {
        script.wait_ms(every_ms).response(2 * nth + 1);
        script.wait_ms(gap_ms).request(2 * (cap + nth) + 1);
    }
}

#[test]
fn scenario_42_as_many_streams_as_allowed_for_long_are_saturation() {
    for role in [C, S] {
        let mut script = capped(role, 100);
        churn(&mut script, 100, 350, 100, 1);
        let mut rules = Rules::new();
        let judged = judge_with(&mut script, &mut rules);
        let full = judged.finding();
        assert_eq!(
            (
                full.kind,
                full.verdict,
                full.sender,
                full.stream_id.0,
                full.tier
            ),
            (Kind::ConcurrencySaturated, Suspicious, Some(C), 0, Tier::T0)
        );
        assert!(
            full.summary
                .starts_with("100 streams, as many as the server allows"),
            "{}",
            full.summary
        );
        assert!(full.summary.contains("open for 30"), "{}", full.summary);
        assert_eq!(judged.streams.len(), 350);
    }
}

#[test]
fn many_streams_are_no_saturation_unless_calls_wait() {
    // As many as allowed, for long, and none ends.
    let mut script = capped(C, 100);
    churn(&mut script, 100, 0, 0, 0);
    script
        .wait_ms(60_000)
        .ping(C, false)
        .wait_ms(60_000)
        .ping(C, false);
    assert!(judge(&mut script).findings.is_empty());
    // The next one comes when it comes.
    let mut script = capped(C, 100);
    churn(&mut script, 100, 350, 100, 100);
    assert!(judge(&mut script).findings.is_empty());
    // For a short time.
    let mut script = capped(C, 100);
    churn(&mut script, 100, 250, 100, 1);
    assert!(judge(&mut script).findings.is_empty());
    // One fewer.
    let mut script = capped(C, 101);
    churn(&mut script, 100, 350, 100, 1);
    assert!(judge(&mut script).findings.is_empty());
    // Without a limit; and where it was not seen.
    for mut script in [Script::new(), Script::late()] {
        churn(&mut script, 100, 350, 100, 1);
        assert!(judge(&mut script).findings.is_empty());
    }
    let mut script = Script::late();
    script
        .settings(S, &[(0x3, 100)])
        .frame(C, Frame::SettingsAck);
    churn(&mut script, 100, 350, 100, 1);
    assert!(judge(&mut script).findings.is_empty());
}

#[test]
fn each_time_of_saturation_is_told() {
    let mut script = capped(C, 2);
    churn(&mut script, 2, 700, 50, 1);
    script
        .response(2 * 700 + 1)
        .response(2 * 701 + 1)
        .wait_ms(1_000);
    for nth in 702..704 {
        script.request(2 * nth + 1);
    }
    for nth in 702..1400 {
        script.wait_ms(50).response(2 * nth + 1);
        script.wait_ms(1).request(2 * (nth + 2) + 1);
    }
    let judged = judge(&mut script);
    assert_eq!(judged.n(Kind::ConcurrencySaturated, Suspicious), 2);
    assert_eq!(judged.findings.len(), 2);
}

#[test]
fn scenario_20_streams_beyond_an_unknown_limit_are_a_race() {
    let mut script = Script::at(Some(S), true);
    script.settings(S, &[(0x3, 2)]);
    script.request(1).request(3).request(5);
    script
        .rst(S, 5, ErrorCode::REFUSED_STREAM)
        .frame(C, Frame::SettingsAck)
        .response(1)
        .request(7)
        .response(7)
        .response(3);
    let judged = judge(&mut script);
    let race = judged.finding();
    is(
        race,
        Kind::ConcurrencyExceeded,
        Benign,
        C,
        (Q2, R0),
        Tier::T1,
    );
    assert_eq!(race.code, Some(ErrorCode::REFUSED_STREAM));
    let ok = judged.streams.iter().filter(|s| s.outcome == Outcome::Ok);
    assert_eq!(ok.count(), 3);
}

#[test]
fn streams_beyond_a_known_limit_are_an_anomaly() {
    // The server says so.
    let mut script = capped(S, 2);
    script.request(1).request(3).request(5);
    script.rst(S, 5, ErrorCode::PROTOCOL_ERROR);
    let judged = judge(&mut script);
    let over = judged.finding();
    is(
        over,
        Kind::ConcurrencyExceeded,
        Anomaly,
        C,
        (Q2, R0),
        Tier::T1,
    );
    assert!(
        over.summary
            .contains("opened 3 streams where the server allows 2"),
        "{}",
        over.summary
    );
    // It says nothing, and they stay.
    let mut script = capped(S, 2);
    script.request(1).request(3).request(5).request(7);
    script.wait_ms(2_000);
    let judged = judge(&mut script);
    let over = judged.finding();
    assert_eq!(
        (over.kind, over.verdict, over.sender, over.stream_id.0),
        (Kind::ConcurrencyExceeded, Anomaly, Some(C), 0)
    );
}

/// At the server's end the call that sent the end of a response may return after the next request was read.
#[test]
fn an_end_recorded_after_the_next_request_is_a_race() {
    let mut script = capped(S, 2);
    script.request(1).request(3);
    for nth in 2..500 {
        script
            .wait_ms(20)
            .request(2 * nth + 1)
            .response(2 * nth - 3);
    }
    let judged = judge(&mut script);
    assert!(judged.findings.is_empty(), "{:#?}", judged.findings);
    // Nor is a refusal for another reason an answer to that.
    let mut script = capped(S, 2);
    script.request(1).request(3).request(5).response(1);
    script.rst(S, 5, ErrorCode::REFUSED_STREAM);
    is(
        judge(&mut script).finding(),
        Kind::StreamRefused,
        Suspicious,
        S,
        (Q2, R0),
        Tier::T1,
    );
}

/// A server that answers early and does not reset, and a client that does not end its request then: both
/// take the stream for closed.
#[test]
fn answered_streams_do_not_count_against_the_limit() {
    let mut script = capped(S, 2);
    for n in 0..20 {
        script.open_request(2 * n + 1).response(2 * n + 1);
        script.wait_ms(3_000);
    }
    assert!(judge(&mut script).findings.is_empty());
    // When their requests end after all, the count is right again.
    for n in 0..20 {
        script.data(C, 2 * n + 1, &[], true);
    }
    script.request(101).request(103).wait_ms(3_000);
    assert!(judge(&mut script).findings.is_empty());
    script.request(105).wait_ms(3_000);
    let judged = judge(&mut script);
    assert_eq!(judged.finding().kind, Kind::ConcurrencyExceeded);
    assert!(
        judged.finding().summary.contains("opened 3 streams"),
        "{}",
        judged.finding().summary
    );
}

#[test]
fn a_limit_that_was_lowered_holds_for_new_streams() {
    let mut script = capped(S, 10);
    for n in 0..10 {
        script.request(2 * n + 1);
    }
    script.settings(S, &[(0x3, 2)]).frame(C, Frame::SettingsAck);
    script.wait_ms(60_000).ping(C, false);
    for n in 0..10 {
        script.wait_ms(2_000).response(2 * n + 1);
    }
    judge(&mut script).nothing(Outcome::Ok);
}

#[test]
fn scenario_43_refused_streams_are_counted_and_safe_to_retry() {
    let mut script = Script::new();
    for n in 0..50 {
        script
            .request(2 * n + 1)
            .rst(S, 2 * n + 1, ErrorCode::REFUSED_STREAM);
    }
    let judged = judge(&mut script);
    assert_eq!(judged.n(Kind::StreamRefused, Suspicious), 50);
    assert_eq!(judged.findings.len(), 50);
    for finding in &judged.findings {
        is(
            finding,
            Kind::StreamRefused,
            Suspicious,
            S,
            (Q2, R0),
            Tier::T1,
        );
        assert!(
            finding.summary.contains("not processed, safe to retry"),
            "{}",
            finding.summary
        );
    }
    assert!(
        judged
            .streams
            .iter()
            .all(|stream| stream.outcome == Outcome::Refused)
    );
    assert!(Kind::StreamRefused.doc().contains("safe to retry"));
}

/// The state is bounded, and what had to be let go is unknown: neither well nor an anomaly.
#[test]
fn scenario_60_a_million_open_streams() {
    // Without optimisation a tenth: the bound is passed 25 times over.
    const STREAMS: u32 = if cfg!(debug_assertions) {
        100_000
    } else {
        1_000_000
    };
    let mut script = Script::at(Some(S), true);
    let mut rules = Rules::new();
    let (mut evicted, mut hits) = (0, 0);
    let request = block(&[(":method", "POST"), (":path", "/a")]);
    for n in 0..STREAMS {
        script.now -= MS / 10 - 100;
        script.headers(C, 2 * n + 1, request.clone(), n % 2 == 0);
        for event in script.events() {
            assert!(rules.judge(&event).is_empty());
            match event {
                StreamEvent::Ended(record) => {
                    assert_eq!(
                        (record.end, record.outcome),
                        (StreamEnd::Evicted, Outcome::Unknown)
                    );
                    evicted += 1;
                }
                StreamEvent::Limit(limit) => {
                    assert_eq!(limit, Limit::StreamsPerConnection);
                    hits += 1;
                }
                _ => {}
            }
        }
        assert!(script.table.live() <= limits::STREAMS_PER_CONNECTION);
    }
    assert_eq!(script.table.live(), limits::STREAMS_PER_CONNECTION);
    assert_eq!(evicted, STREAMS as usize - limits::STREAMS_PER_CONNECTION);
    assert_eq!(hits, evicted);
}
