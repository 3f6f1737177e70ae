//! `cargo xtask soak`: a long healthy run of real peers under the tracer. Every call succeeds, so every stream
//! must be seen at both ends, complete, without a loss, and without a finding that says more than "expected".
//!
//! Arguments: how many calls, and after how many minutes the run is given up.

mod mix;
mod tally;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mix::Servers;
use tally::{Ends, SoakTracer, Tally};
use tempfile::TempDir;
use tracer_tests::eventually;

/// Clients at a time.
const AT_ONCE: usize = 2;
/// How often progress is said.
const SAY: Duration = Duration::from_secs(10);
/// How long the tracer may take to tell of streams that have ended: between two jobs, and at the end.
const TELL: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(60);

/// What the clients have done.
#[derive(Default)]
struct Done {
    ends: Ends,
    by_job: std::collections::BTreeMap<String, u64>,
}

fn main() -> ExitCode {
    let numbers: Option<Vec<u64>> = std::env::args().skip(1).map(|n| n.parse().ok()).collect();
    let Some([calls, minutes]) = numbers.as_deref() else {
        eprintln!("usage: soak CALLS MINUTES");
        return ExitCode::from(2);
    };
    if let Some(reason) = mix::missing() {
        eprintln!("error: {reason}");
        return ExitCode::from(2);
    }
    let begun = Instant::now();
    let folder = TempDir::new().expect("cannot make a folder");
    let jobs = mix::round();
    // The tracer is there first: every connection is seen from its beginning.
    let tracer = SoakTracer::start(folder.path());
    let servers = Servers::start(&jobs);
    let done = Mutex::new(Done::default());
    let (n_made, next) = (AtomicU64::new(0), AtomicU64::new(0));
    let over = AtomicBool::new(false);
    let failed = Mutex::new(Vec::new());
    let given_up = AtomicBool::new(false);
    let goes_on = || {
        n_made.load(Ordering::Relaxed) < *calls
            && begun.elapsed() < Duration::from_secs(minutes * 60)
            && !given_up.load(Ordering::Relaxed)
    };

    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    while goes_on() {
                        let n = usize::try_from(next.fetch_add(1, Ordering::Relaxed));
                        let Some(job) = jobs.iter().cycle().nth(n.unwrap_or(0) % jobs.len()) else {
                            return;
                        };
                        let ends = match servers.run(job) {
                            Ok(ends) => ends,
                            Err(why) => {
                                failed.lock().expect("no worker panics with it").push(why);
                                given_up.store(true, Ordering::Relaxed);
                                return;
                            }
                        };
                        n_made.fetch_add(job.n_calls(), Ordering::Relaxed);
                        let told = {
                            let mut done = done.lock().expect("no worker panics with it");
                            done.ends.extend(&ends);
                            *done.by_job.entry(job.name()).or_default() += job.n_calls();
                            done.ends.total()
                        };
                        // A tracer that prints each stream needs more time for it than the peers do: what it
                        // has to print must not pile up. If it lost something, this ends all the same.
                        eventually(TELL, || tracer.n_streams() >= told);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut said = Instant::now();
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(200));
                if said.elapsed() >= SAY {
                    said = Instant::now();
                    progress(begun, n_made.load(Ordering::Relaxed), &tracer.so_far());
                }
            }
        });
        let ended: Vec<_> = workers
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        over.store(true, Ordering::Relaxed);
        for worker in ended {
            worker.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });

    let done = done.into_inner().expect("no worker panics with it");
    eventually(SETTLE, || tracer.n_streams() >= done.ends.total());
    let mut wrong = failed.into_inner().expect("no worker panics with it");
    if wrong.is_empty() {
        wrong = servers.stop(&done.ends);
    }
    let tally = tracer.finish();
    let n_made = n_made.into_inner();
    if n_made < *calls {
        wrong.push(format!("{n_made} calls of {calls} in {minutes} minutes"));
    }
    report(begun, n_made, &done, &tally, wrong)
}

fn progress(begun: Instant, n_made: u64, tally: &Tally) {
    let seconds = begun.elapsed().as_secs();
    println!(
        "{seconds:>5} s  {n_made:>8} calls  {:>8} streams  {} bad findings  {} losses",
        tally.n_streams,
        tally.n_bad,
        tally.losses.values().sum::<u64>()
    );
}

fn report(
    begun: Instant,
    n_made: u64,
    done: &Done,
    tally: &Tally,
    mut wrong: Vec<String>,
) -> ExitCode {
    println!("\ncalls");
    for (job, n) in &done.by_job {
        println!("  {n:>8}  {job}");
    }
    let seconds = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "shown with no decimals")]
    let rate = n_made as f64 / seconds;
    println!("  {n_made:>8}  in {seconds:.0} s, {rate:.0} a second");
    println!("streams\n  {:>8}  at all ends", tally.n_streams);
    for (outcome, n) in &tally.not_ok {
        println!("  {n:>8}  {outcome}");
    }
    println!("findings");
    for ((kind, verdict), n) in &tally.findings {
        println!("  {n:>8}  {kind} ({verdict})");
    }
    println!("losses");
    for (cause, n) in &tally.losses {
        println!("  {n:>8}  {cause}");
    }
    wrong.extend(done.ends.compare(tally));
    if tally.n_bad > 0 {
        wrong.push(format!("{} findings in healthy traffic", tally.n_bad));
    }
    if !tally.losses.is_empty() {
        wrong.push("losses".to_owned());
    }
    let dropped = tally.summary.as_ref().map(|s| s["output_dropped"].clone());
    if dropped.as_ref().is_some_and(|n| n != 0) {
        wrong.push(format!(
            "{dropped:?} lines that h2trace could not print in time"
        ));
    }
    let Some(summary) = &tally.summary else {
        println!("FAILED: h2trace printed no summary");
        return ExitCode::FAILURE;
    };
    println!("kernel\n  {}", summary["kernel"]);
    if wrong.is_empty() {
        println!("healthy: every call was seen at every end, and nothing was flagged or lost");
        return ExitCode::SUCCESS;
    }
    for line in &tally.kept {
        println!("{line}");
    }
    for what in &wrong {
        println!("FAILED: {what}");
    }
    ExitCode::FAILURE
}
