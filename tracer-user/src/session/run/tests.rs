use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::atomic::AtomicU64;

use h2trace_core::anomaly::kind::Verdict;

use super::*;
use crate::export::clock::WallClock;
use crate::export::json::Json;
use crate::export::sample;
use crate::session::front::Front;
use crate::session::output::Printer;
use crate::session::show::Show;

/// Hands out one batch a drain; then nothing, for ever.
struct Recorded {
    batches: VecDeque<Vec<Output>>,
    at_end: Vec<Output>,
    lost: u64,
    is_urgent: bool,
    /// Drains of a thread that gets what nobody else wants.
    n_idle: Arc<AtomicU64>,
}

impl Source for Recorded {
    fn drain(&mut self, sink: &mut dyn Sink) -> anyhow::Result<u64> {
        // SAFETY: a question about the calling thread.
        let is_idle = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_IDLE;
        self.n_idle.fetch_add(u64::from(is_idle), Ordering::Relaxed);
        let batch = self.batches.pop_front().unwrap_or_default();
        batch.iter().for_each(|output| sink.accept(output));
        Ok(u64::try_from(batch.len())?)
    }

    fn finish(&mut self, sink: &mut dyn Sink) {
        self.at_end.iter().for_each(|output| sink.accept(output));
    }

    fn is_urgent(&self) -> bool {
        self.is_urgent
    }

    fn missed_runs(&self) -> u64 {
        self.lost / 2
    }

    fn live(&self) -> (usize, usize) {
        (1, 2)
    }

    fn counters(&self) -> anyhow::Result<[u64; COUNTERS as usize]> {
        let mut counters = [0; COUNTERS as usize];
        counters[Counter::RingFull as usize] = self.lost;
        Ok(counters)
    }

    fn attached(&self) -> Vec<String> {
        vec!["sock_send".to_owned()]
    }

    fn programs(&self) -> Vec<ProgramRuns> {
        Vec::new()
    }
}

fn paper(writer: std::io::PipeWriter) -> Paper {
    let json = Json::new(WallClock::new(), Verdict::Benign);
    Paper::to(Printer::new(writer).unwrap(), Front::Json(json))
}

fn everything() -> Wanted {
    let all = [Show::Connections, Show::Streams, Show::Hops, Show::Findings];
    Wanted::new(all.to_vec())
}

fn recorded(batches: usize, at_end: Vec<Output>) -> Box<Recorded> {
    Box::new(Recorded {
        batches: (0..batches).map(|_| sample::outputs()).collect(),
        at_end,
        lost: 7,
        is_urgent: false,
        n_idle: Arc::default(),
    })
}

struct Ran {
    ended: Ended,
    lines: Vec<serde_json::Value>,
    scrape: String,
}

/// Drains with both threads.
fn ended(drain: &Drain) -> Ended {
    std::thread::scope(|scope| {
        let idle = scope.spawn(|| drain.run(Share::Idle).unwrap());
        let ended = drain.run(Share::Ordinary).unwrap();
        ended.or(idle.join().unwrap()).unwrap()
    })
}

fn ran(
    source: Box<dyn Source>,
    duration: Option<Duration>,
    limit: Option<u64>,
    is_stopped: bool,
) -> Ran {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let exporter = Exporter::new().unwrap();
    let scrape = exporter.scrape();
    let plan = Plan {
        paper: paper(writer),
        exporter: Some(exporter),
        heartbeat: Arc::new(Heartbeat::new()),
        scope: Scope::default(),
        pods: None,
        heartbeat_every: Duration::from_secs(3_600),
        wanted: everything(),
        report_every: Duration::from_millis(5),
        shedding: Shedding::ByRule(None),
        duration,
        limit,
    };
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    let drain = Drain::new(source, plan);
    if is_stopped {
        drain.stop();
    }
    let ended = ended(&drain);
    let lines = read
        .join()
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let scrape = String::from_utf8(scrape.encode(Duration::ZERO).unwrap()).unwrap();
    Ran {
        ended,
        lines,
        scrape,
    }
}

fn n_of(ran: &Ran, line_type: &str) -> usize {
    ran.lines
        .iter()
        .filter(|line| line["type"] == line_type)
        .count()
}

#[test]
fn an_idle_loop_rests_and_a_busy_one_takes_batches() {
    let after = |nap, drains: &[u64]| {
        drains
            .iter()
            .fold(Duration::from_millis(nap), |nap, n| next_nap(nap, *n))
    };
    assert_eq!(after(2, &[0; 20]), REST);
    // The first records after a rest: no nap in which a burst could fill the ring.
    assert_eq!(after(200, &[1]), *NAP.end());
    assert_eq!(after(8, &[10_000; 5]), *NAP.start());
    assert_eq!(after(4, &[300; 5]), Duration::from_millis(4));
    assert_eq!(after(2, &[5; 5]), *NAP.end());
}

#[test]
fn time_ends_the_run_and_what_is_open_is_handed_out() {
    let open: Vec<Output> = sample::outputs()
        .into_iter()
        .filter(|output| matches!(output, Output::Stream { .. }))
        .collect();
    let ran = ran(
        recorded(2, open),
        Some(Duration::from_millis(30)),
        None,
        false,
    );
    assert_eq!(ran.ended.stopped_by, StoppedBy::Time);
    assert_eq!(ran.ended.tally.worst(), Some(Verdict::Anomaly));
    assert_eq!(n_of(&ran, "stream"), 4 * 3);
    let summary = ran.lines.last().unwrap();
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["stopped_by"], "time");
    assert_eq!(summary["streams"]["ended"], 12);
    assert_eq!(summary["kernel"]["events_lost"], 7 + 3);
    let mut losses = ran.lines.iter().filter(|line| line["source"] == "kernel");
    for (cause, n) in [("ring_full", 7), ("missed_runs", 3)] {
        let loss = losses.next().unwrap();
        assert_eq!((&loss["cause"], &loss["count"]), (&cause.into(), &n.into()));
        let counted = format!("h2trace_self_events_lost_total{{cause=\"{cause}\"}} {n}");
        assert!(ran.scrape.lines().any(|line| line == counted), "{counted}");
    }
    for series in [
        "h2trace_live_streams 2",
        "h2trace_self_program_attached{program=\"sock_send\"} 1",
    ] {
        assert!(ran.scrape.lines().any(|line| line == series), "{series}");
    }
}

#[test]
fn what_is_urgent_is_not_left_to_who_gives_way() {
    let mut source = recorded(2, Vec::new());
    source.is_urgent = true;
    let n_idle = Arc::clone(&source.n_idle);
    ran(source, Some(Duration::from_millis(30)), None, false);
    assert_eq!(n_idle.load(Ordering::Relaxed), 0);
}

#[test]
fn limit_gives_exactly_that_many_streams() {
    let ran = ran(recorded(100, sample::outputs()), None, Some(6), false);
    assert_eq!(ran.ended.stopped_by, StoppedBy::Limit);
    assert_eq!(n_of(&ran, "stream"), 6);
    assert_eq!(ran.lines.last().unwrap()["streams"]["ended"], 6);
}

#[test]
fn stop_ends_the_run_and_still_prints_the_summary() {
    let ran = ran(recorded(1, Vec::new()), None, None, true);
    assert_eq!(ran.ended.stopped_by, StoppedBy::Signal);
    assert_eq!(n_of(&ran, "stream"), 4);
    assert_eq!(ran.lines.last().unwrap()["stopped_by"], "signal");
}

#[test]
fn reader_that_has_gone_ends_the_run() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let plan = Plan {
        paper: paper(writer),
        exporter: None,
        heartbeat: Arc::new(Heartbeat::new()),
        scope: Scope::default(),
        pods: None,
        heartbeat_every: Duration::from_secs(3_600),
        wanted: everything(),
        report_every: Duration::from_millis(5),
        shedding: Shedding::ByRule(None),
        duration: Some(Duration::from_secs(60)),
        limit: None,
    };
    let ended = ended(&Drain::new(recorded(1_000, Vec::new()), plan));
    assert_eq!(ended.stopped_by, StoppedBy::OutputClosed);
}
