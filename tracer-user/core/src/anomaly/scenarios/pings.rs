//! PING and SETTINGS.

use super::judge;
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::ConnectionEnd;
use crate::frame::{ErrorCode, Frame, StreamId};
use crate::stream::record::Tier;
use crate::stream::script::*;

use Verdict::{Anomaly, Suspicious};

#[test]
fn scenario_46_too_many_pings_are_the_clients_with_their_number_and_rate() {
    for (role, why) in [(S, ConnectionEnd::LocalClose), (C, ConnectionEnd::PeerFin)] {
        let mut script = Script::at(Some(role), true);
        for _ in 0..4 {
            script.ping(C, false).ping(S, true).wait_ms(300);
        }
        script.go_away(S, 0, ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings");
        script
            .go_away(S, 0, ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings")
            .close(why);
        let judged = judge(&mut script);
        let finding = judged.finding();
        assert_eq!(
            (finding.kind, finding.verdict, finding.sender),
            (Kind::TooManyPings, Anomaly, Some(C))
        );
        assert_eq!(finding.code, Some(ErrorCode::ENHANCE_YOUR_CALM));
        assert_eq!((finding.stream_id, finding.tier), (StreamId(0), Tier::T0));
        assert!(
            finding.summary.ends_with(
                "the client had sent 4 PINGs in 900ms (one each 300ms, 300ms at the shortest), 4 of them \
                 while no stream was open"
            ),
            "{}",
            finding.summary
        );
    }
    // ENHANCE_YOUR_CALM for another reason is what it was.
    let mut script = Script::new();
    script.ping(C, false).ping(S, true);
    script.go_away(S, 0, ErrorCode::ENHANCE_YOUR_CALM, "too_many_resets");
    assert_eq!(judge(&mut script).trouble(), [(Kind::ErrorGoAway, Anomaly)]);
}

#[test]
fn too_many_pings_that_went_by_before_the_attach_are_not_counted() {
    let mut script = Script::late();
    script.go_away(S, 0, ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings");
    let judged = judge(&mut script);
    assert_eq!(judged.finding().kind, Kind::TooManyPings);
    assert!(
        judged
            .finding()
            .summary
            .ends_with("no PING of the client was seen")
    );
    let mut script = Script::late();
    script.request(1).ping(C, false).wait_ms(10).ping(C, false);
    script.go_away(S, 0, ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings");
    let judged = judge(&mut script);
    assert_eq!(judged.trouble(), [(Kind::TooManyPings, Anomaly)]);
    let told = &judged.findings[0].summary;
    assert!(
        told.contains("had sent at least 2 PINGs")
            && told.contains("0 of them while no stream was open"),
        "{told}"
    );
}

#[test]
fn a_ping_that_nobody_answers_is_found_when_its_sender_closes() {
    for (role, why) in [
        (C, ConnectionEnd::LocalClose),
        (C, ConnectionEnd::LocalReset),
        (S, ConnectionEnd::PeerFin),
        (S, ConnectionEnd::PeerReset),
    ] {
        let mut script = Script::at(Some(role), true);
        script.request(1).response(1).ping(C, false).ping(S, true);
        script
            .wait_ms(10_000)
            .ping(C, false)
            .wait_ms(20_000)
            .close(why);
        let judged = judge(&mut script);
        let finding = judged.finding();
        assert_eq!(
            (finding.kind, finding.verdict, finding.sender),
            (Kind::PingTimeout, Anomaly, Some(S)),
            "{why:?}"
        );
        assert!(
            finding
                .summary
                .contains("the client ended the connection 20.001s after a PING"),
            "{}",
            finding.summary
        );
        assert_eq!((finding.stream_id, finding.tier), (StreamId(0), Tier::T0));
    }
}

#[test]
fn a_ping_whose_answer_did_not_matter_is_none() {
    type Act = fn(&mut Script) -> &mut Script;
    let cases: [(&str, Act, ConnectionEnd); 5] = [
        (
            "closed at once",
            |script| script.wait_ms(900),
            ConnectionEnd::LocalClose,
        ),
        (
            "the other end closed",
            |script| script.wait_ms(20_000),
            ConnectionEnd::PeerFin,
        ),
        (
            "lost from sight",
            |script| script.wait_ms(20_000),
            ConnectionEnd::Unknown,
        ),
        (
            "the other end lives",
            |script| script.wait_ms(1_000).settings(S, &[]).wait_ms(20_000),
            ConnectionEnd::LocalClose,
        ),
        (
            "the ACK may have been lost",
            |script| script.gap(S).wait_ms(20_000),
            ConnectionEnd::LocalClose,
        ),
    ];
    for (name, act, why) in cases {
        let mut script = Script::new();
        script.request(1).response(1).ping(C, false);
        act(&mut script).close(why);
        assert_eq!(judge(&mut script).trouble(), [], "{name}");
    }
}

#[test]
fn a_settings_timeout_says_how_long_the_ack_was_waited_for() {
    let mut script = Script::at(Some(S), true);
    script.settings(S, &[(0x3, 100)]).wait_ms(10_000);
    script
        .go_away(S, 0, ErrorCode::SETTINGS_TIMEOUT, "")
        .close(ConnectionEnd::LocalClose);
    let judged = judge(&mut script);
    let finding = judged.finding();
    assert_eq!(
        (finding.kind, finding.verdict, finding.sender),
        (Kind::SettingsTimeout, Suspicious, Some(C))
    );
    assert_eq!(finding.code, Some(ErrorCode::SETTINGS_TIMEOUT));
    assert!(
        finding
            .summary
            .ends_with("its SETTINGS had waited 10s for the client's ACK"),
        "{}",
        finding.summary
    );
    // SETTINGS that were acknowledged, and those that were not but did not matter.
    let mut script = Script::new();
    script
        .settings(S, &[])
        .frame(C, Frame::SettingsAck)
        .settings(C, &[]);
    script.wait_ms(60_000).close(ConnectionEnd::PeerFin);
    assert_eq!(judge(&mut script).trouble(), []);
}
