use h2trace_core::event::Timestamp;
use std::sync::Arc;

use super::*;
use crate::export::sample;
use crate::export::tally::{Kernel, SelectedPods, Shed, StoppedBy, Summary, Tally};

fn text(paint: bool, columns: usize, shown_from: Verdict) -> String {
    let mut text = Text::new(
        WallClock::with_boot(0),
        Paint::new(paint),
        columns,
        shown_from,
    );
    for output in sample::outputs() {
        text.accept(&output);
    }
    text.kernel_loss("ring_full", 3);
    String::from_utf8(text.take()).unwrap()
}

#[test]
fn bytes_that_are_told_at_their_connections_are_no_lost_events() {
    let said = |cause| {
        let mut text = Text::new(
            WallClock::with_boot(0),
            Paint::new(false),
            80,
            Verdict::Benign,
        );
        text.kernel_loss(cause, 507);
        String::from_utf8(text.take()).unwrap()
    };
    assert!(said("ring_full").contains("LOST"));
    let spliced = said("no_buffer");
    assert!(
        !spliced.contains("LOST") && spliced.contains("507 calls"),
        "{spliced}"
    );
}

#[test]
fn no_line_is_wider_than_100_columns() {
    let text = text(false, 80, Verdict::Benign);
    for line in text.lines() {
        assert!(
            line.chars().count() <= COLUMNS,
            "{}: {line}",
            line.chars().count()
        );
    }
}

#[test]
fn streams_are_aligned_under_their_headings() {
    let text = text(false, COLUMNS, Verdict::Anomaly);
    let heading = text.lines().find(|line| line.starts_with("TIME")).unwrap();
    let streams: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("UnaryCall ") && line.contains(']'))
        .collect();
    assert_eq!(streams.len(), 3);
    for line in streams {
        assert_eq!(line.find("client"), heading.find("ROLE"), "{line}");
        assert_eq!(line.len(), heading.len(), "{line}");
        assert!(
            line.contains("node[4242]") && line.contains("4.9 ms"),
            "{line}"
        );
    }
    assert_eq!(text.matches("TIME ").count(), 1);
}

#[test]
fn wider_terminal_shows_the_whole_method() {
    let text = text(false, 130, Verdict::Anomaly);
    assert!(
        text.contains(" node[4242]             client /grpc.testing.TestService/UnaryCall "),
        "{text}"
    );
    let heading = text.lines().find(|line| line.starts_with("TIME")).unwrap();
    assert!(
        text.lines()
            .filter(|line| line.contains("UnaryCall "))
            .any(|line| line.len() == heading.len())
    );
}

#[test]
fn connection_that_stays_undecided_says_how_much_went_by() {
    let mut info = sample::connection();
    (info.beginning_seen, info.protocol) = (false, sample::undecided());
    let mut text = Text::new(
        WallClock::with_boot(0),
        Paint::new(false),
        COLUMNS,
        Verdict::Anomaly,
    );
    text.accept(&Output::Connection(Arc::new(info)));
    let text = String::from_utf8(text.take()).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("1.2 K (the first are text) do not prove"),
        "{text}"
    );
}

#[test]
fn bytes_that_are_not_seen_are_told_with_their_reason() {
    let text = text(false, COLUMNS, Verdict::Anomaly);
    // Long lines are wrapped.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "reset by the peer; 70.0 K not seen: moved by sendfile or splice; 2 streams were open",
        "bytes that are moved by io_uring are not seen",
    ] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn story_shows_both_sides_and_the_used_up_window() {
    let text = text(false, COLUMNS, Verdict::Suspicious);
    let story: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" ms  |"))
        .collect();
    assert_eq!(story.len(), 5, "{text}");
    assert!(
        story[1].contains("+0.010 ms  |-- DATA 16 B: message 11 bytes -")
            && story[1].contains(">|  65519 / 9")
    );
    assert!(
        story[3].contains("- DATA 10.5 K: message 10475 of 11006 bytes --|  55055 / 0"),
        "{}",
        story[3]
    );
    assert!(
        story[4].contains("+4.900 ms  |<-") && story[4].contains(" RST_STREAM: NO_ERROR --|"),
        "{}",
        story[4]
    );
    let bars = |line: &str| {
        line.match_indices('|')
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
    };
    assert!(
        story.iter().all(|line| bars(line) == bars(story[0])),
        "{text}"
    );
}

#[test]
fn story_of_a_stream_is_told_once() {
    let text = text(false, COLUMNS, Verdict::Suspicious);
    assert!(text.contains("ANOMALY: truncated_response"), "{text}");
    assert_eq!(
        text.matches("RST_STREAM: NO_ERROR --|").count(),
        1,
        "{text}"
    );
}

#[test]
fn benign_findings_are_shown_only_when_asked_for() {
    assert!(!text(false, COLUMNS, Verdict::Suspicious).contains("BENIGN"));
    assert!(text(false, COLUMNS, Verdict::Benign).contains("BENIGN: redundant_reset"));
}

#[test]
fn colour_is_there_only_when_on() {
    assert!(!text(false, COLUMNS, Verdict::Benign).contains('\x1b'));
    assert!(text(true, COLUMNS, Verdict::Benign).contains("\x1b[1;31m"));
}

#[test]
fn control_characters_of_others_never_reach_the_terminal() {
    let mut text = Text::new(
        WallClock::with_boot(0),
        Paint::new(false),
        COLUMNS,
        Verdict::Benign,
    )
    .with_headers(&["X".to_owned()]);
    let info = Arc::new(ConnectionInfo {
        comm: "a\x1b[2J".into(),
        ..sample::connection()
    });
    let mut record = sample::complete(1);
    record.path = Some("/a\rb/\x07".into());
    record.shown = [("x", "\x1b]0;title\x07")].into_iter().collect();
    text.accept(&Output::Connection(Arc::clone(&info)));
    text.accept(&Output::Stream {
        info,
        record: record.into(),
        findings: Vec::new(),
    });
    let text = String::from_utf8(text.take()).unwrap();
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
}

fn summary_of(outputs: &[Output], filtered: bool, unwanted: u64) -> String {
    summary_of_pods(outputs, filtered, unwanted, None)
}

fn summary_of_pods(
    outputs: &[Output],
    filtered: bool,
    unwanted: u64,
    pods: Option<SelectedPods>,
) -> String {
    let mut tally = Tally::default();
    for output in outputs {
        tally.accept(output);
    }
    let mut counters = [0; tracer_ebpf::counter::COUNTERS as usize];
    counters[Counter::SocketsUnwanted as usize] = unwanted;
    counters[Counter::BytesSeen as usize] = 250_000;
    counters[Counter::BytesCopied as usize] = 1_000;
    counters[Counter::Busy as usize] = 2;
    let kernel = Kernel::new(&counters);
    let duration = std::time::Duration::from_millis(12_300);
    let of = Summary {
        tally: &tally,
        kernel: &kernel,
        at: Timestamp(0),
        duration,
        stopped_by: StoppedBy::Signal,
        output_dropped: 0,
        shed: Shed::default(),
        filtered,
        pods,
    };
    summary(&of, Paint::new(false)).join("\n") + "\n"
}

#[test]
fn selected_pods_are_counted_and_named_when_they_were_silent() {
    let of = |ever, now| {
        Some(SelectedPods {
            words: "pods with app=cart".into(),
            positive: true,
            ever,
            now,
        })
    };
    let text = summary_of_pods(&[], true, 5, of(3, 1));
    for part in [
        "pods         3 traced, 1 at the end: pods with app=cart",
        "3 selected pods had no connection that carried anything: pods with app=cart",
        "5 sockets were in use that the filter does not want",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = summary_of_pods(&[], true, 0, of(0, 0));
    assert!(
        text.contains("no pod was there to be traced: pods with app=cart"),
        "{text}"
    );
}

#[test]
fn summary_counts_streams_findings_and_losses() {
    let text = summary_of(&sample::outputs(), true, 0);
    for part in [
        "traced for 12.30 s until a signal came",
        "connections  1 http2, 1 tls",
        "4 opened, 4 ended: 1 connection_lost, 1 ok, 1 reset, 1 unknown",
        "1 response_cut_by_reset (anomaly)  more: h2trace explain response_cut_by_reset",
        "1 redundant_reset (benign)",
        "in the kernel: 2 busy",
        "in the decoder: 1 desync, 1 limit_streams",
        "250 K of HTTP/2 went by, 1.0 K of it were copied (0.40 %)",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains("no HTTP/2 stream was seen"));
    assert!(!text.contains("explain redundant_reset"), "benign: {text}");
}

#[test]
fn summary_says_why_nothing_may_have_been_seen() {
    let encrypted = summary_of(&[Output::Connection(Arc::new(sample::tls()))], true, 5);
    assert!(
        encrypted.contains("1 connection speaks TLS: what is encrypted cannot be decoded"),
        "{encrypted}"
    );
    let unwanted = summary_of(&[], true, 5);
    assert!(
        unwanted.contains("5 sockets were in use that the filter does not want"),
        "{unwanted}"
    );
    assert!(summary_of(&[], true, 0).contains("nothing that the filter wants made a socket call"));
    assert!(summary_of(&[], false, 0).contains("no socket of this host"));
}
