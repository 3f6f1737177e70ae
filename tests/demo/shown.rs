//! One run, with what everybody says of it.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tracer_tests::call::Call;
use tracer_tests::process::Process;
use tracer_tests::tracer::{Tracer, binary};

use crate::group::{Compared, Group, Job, Parts, missing, start_client};

/// How long the tracer may take to load its programs on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Calls that go to the server past the proxy.
const DIRECT: u32 = 200;
/// Lines of one sort that are shown.
const SHOWN: usize = 5;

/// Exit status 1 when h2trace and the client disagree about one call.
pub(crate) fn run(parts: Parts, job: Job) -> ExitCode {
    if let Some(reason) = missing(&parts, &[job]) {
        eprintln!("error: {reason}");
        return ExitCode::from(2);
    }
    let proxy = parts.envoy.map_or("no proxy".to_owned(), |version| {
        format!("Envoy {}", version.0)
    });
    println!(
        "{} -> {proxy} -> {}: {} calls, {} at a time, {} bytes of response each",
        job.client.name(),
        parts.server.name(),
        job.calls,
        job.at_once,
        job.response_bytes
    );
    let mut group = Group::start(parts, &[job]);
    let direct = Job {
        calls: DIRECT,
        ..job
    };
    let mut direct = parts
        .envoy
        .is_some()
        .then(|| start_client(direct, &group.server.address));
    let by_call = Tracer::start(&group.pids());
    let begun = Instant::now();
    let for_people = ForPeople::start(&group.pids());
    let all = group.run();
    let directly = direct.as_mut().map(|client| {
        client.go();
        client.wait_until_done(START)
    });
    let trace = group.finish(by_call, &all);
    let (command, diagnosis) = for_people.finish();
    let seconds = begun.elapsed().as_secs_f64();
    drop(direct);
    let calls = &all[0];

    heading("What they say of themselves");
    said_by_client("client", calls);
    if let Some(directly) = &directly {
        said_by_client("client, past the proxy", directly);
    }
    if let Some(envoy) = &group.envoy {
        println!("  proxy's access log");
        let log = envoy.access_log(calls.len());
        let without_id = log
            .iter()
            .filter_map(|line| Some(line.split_once(' ')?.1.to_owned()));
        counted(without_id);
    }
    println!("  server: {} calls handled", group.server.stop());

    heading(&format!(
        "What h2trace says, {seconds:.0} s after its start"
    ));
    println!("$ {command}");
    println!("[...]");
    for line in &diagnosis {
        println!("{line}");
    }

    heading("Call by call");
    let compared = Compared::new(&trace, group.clients[0].pid(), calls);
    println!(
        "  {} of {} calls failed, says the client",
        compared.failed.len(),
        calls.len()
    );
    if !compared.silent.is_empty() {
        println!(
            "  {} more came without trailers, and the client took them for a success",
            compared.silent.len()
        );
    }
    println!(
        "  {} were cut by the proxy, says h2trace",
        compared.flagged.len()
    );
    println!(
        "  {} flagged and well, {} broken and not flagged, {} undecided, {} losses",
        compared.wrong(),
        compared.missed(),
        compared.undecided,
        trace.losses.len()
    );
    if compared.wrong() + compared.missed() + compared.undecided > 0 {
        println!("  h2trace and the client DISAGREE");
        for quarrel in &compared.quarrels {
            println!("    {quarrel}");
        }
        return ExitCode::FAILURE;
    }
    println!("  the same calls");
    ExitCode::SUCCESS
}

/// `h2trace trace` as a person would run it.
struct ForPeople {
    process: Process,
    command: String,
    _folder: TempDir,
}

impl ForPeople {
    fn start(pids: &[u32]) -> ForPeople {
        let folder = TempDir::new().expect("cannot make a folder for the ready file");
        let ready = folder.path().join("ready");
        let mut command = Command::new(binary());
        let mut shown = "sudo h2trace trace".to_owned();
        command.arg("trace");
        for pid in pids {
            command.args(["--pid", &pid.to_string()]);
            shown.push_str(&format!(" --pid {pid}"));
        }
        // It ends by itself if it is forgotten.
        command.args(["--for", "600s", "--ready-file"]).arg(&ready);
        let mut process = Process::start("h2trace", &mut command);
        process.until_ready(&ready, START);
        ForPeople {
            process,
            command: shown,
            _folder: folder,
        }
    }

    /// What it prints at its end, from the summary on.
    fn finish(mut self) -> (String, Vec<String>) {
        let status = self.process.end(libc::SIGINT);
        assert!(
            status.success(),
            "h2trace ended with {status}{}",
            self.process.complaint()
        );
        let lines = self.process.lines();
        let end = lines
            .iter()
            .rposition(|line| line.starts_with("traced for "));
        (self.command, lines[end.unwrap_or(0)..].to_vec())
    }
}

fn heading(text: &str) {
    println!("\n{text}\n{}", "-".repeat(text.chars().count()));
}

fn said_by_client(who: &str, calls: &[Call]) {
    let failed: Vec<&Call> = calls.iter().filter(|call| call.code != 0).collect();
    println!("  {who}: {} of {} calls failed", failed.len(), calls.len());
    counted(
        failed
            .iter()
            .map(|call| format!("\"{} {}\"", call.code, call.message)),
    );
}

/// Lines, and how often each came.
fn counted(lines: impl Iterator<Item = String>) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines {
        *counts.entry(line).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    for (line, n) in counts.iter().take(SHOWN) {
        println!("    {n:>6} x {line}");
    }
    let more: usize = counts.iter().skip(SHOWN).map(|(_, n)| n).sum();
    if more > 0 {
        println!("    {more:>6} x other texts");
    }
}
