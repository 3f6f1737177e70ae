//! The incident in all its shapes.

use std::process::ExitCode;
use std::time::Instant;

use tracer_tests::envoy::Version;
use tracer_tests::peer::Peer;
use tracer_tests::tracer::Tracer;

use crate::group::{Compared, Group, Job, Parts, missing};

#[derive(Default)]
struct Sum {
    calls: usize,
    failed: usize,
    silent: usize,
    flagged: usize,
    wrong: usize,
    missed: usize,
    undecided: usize,
    joined: usize,
    losses: usize,
}

impl Sum {
    fn add(&mut self, compared: &Compared) {
        self.calls += compared.calls;
        self.failed += compared.failed.len();
        self.silent += compared.silent.len();
        self.flagged += compared.flagged.len();
        self.wrong += compared.wrong();
        self.missed += compared.missed();
        self.undecided += compared.undecided;
        self.joined += compared.joined;
    }

    fn row(&self, name: &str) {
        println!(
            "{name:<44} {:>6} {:>6} {:>6} {:>7} {:>5} {:>6} {:>6} {:>6}",
            self.calls,
            self.joined,
            self.failed,
            self.silent,
            self.flagged,
            self.wrong,
            self.missed,
            self.undecided
        );
    }
}

/// `calls` of every shape, then the controls. Exit status 1 when one call is judged otherwise than it went.
pub(crate) fn run(calls: u32, envoys: &[Version]) -> ExitCode {
    let begun = Instant::now();
    let jobs: Vec<Job> = [Peer::GrpcJs1_12, Peer::ConnectNode]
        .into_iter()
        .flat_map(|client| [11_000, 250_000].map(|bytes| (client, bytes)))
        .flat_map(|(client, bytes)| [10, 50, 100].map(|at_once| (client, bytes, at_once)))
        .map(|(client, response_bytes, at_once)| Job {
            client,
            response_bytes,
            at_once,
            calls,
        })
        .collect();
    let mut groups = Vec::new();
    for envoy in envoys.iter().copied() {
        for half_close in [false, true] {
            for workers in [1, 2] {
                let parts = Parts {
                    envoy: Some(envoy),
                    server: Peer::GrpcGo1_70,
                    workers,
                    half_close,
                };
                groups.push((parts, jobs.clone()));
            }
        }
    }
    if let Some(reason) = groups.iter().find_map(|(parts, jobs)| missing(parts, jobs)) {
        eprintln!("error: {reason}");
        return ExitCode::from(2);
    }
    println!(
        "{:<44} {:>6} {:>6} {:>6} {:>7} {:>5} {:>6} {:>6} {:>6}",
        "", "calls", "joined", "failed", "silent", "found", "wrong", "missed", "unsure"
    );
    let mut all = Sum::default();
    let mut by_client = [Sum::default(), Sum::default()];
    for (parts, jobs) in &groups {
        for (job, compared) in jobs.iter().zip(judged(*parts, jobs, &mut all.losses)) {
            let mut sum = Sum::default();
            sum.add(&compared);
            sum.row(&name(parts, job));
            quarrels(&compared);
            all.add(&compared);
            by_client[usize::from(job.client == Peer::ConnectNode)].add(&compared);
        }
    }
    let mut controls = Sum::default();
    for (parts, jobs) in controlled(calls, envoys) {
        for (job, compared) in jobs.iter().zip(judged(parts, &jobs, &mut controls.losses)) {
            let mut sum = Sum::default();
            sum.add(&compared);
            sum.row(&format!("control: {}", name(&parts, job)));
            quarrels(&compared);
            controls.add(&compared);
        }
    }
    println!();
    by_client[0].row("all of grpc-js 1.12.6");
    by_client[1].row("all of connect-node 1.4.0");
    all.row("all");
    controls.row("controls");
    let right = all.flagged - all.wrong;
    println!(
        "\nprecision {right} of {}, recall {right} of {} (failed and silent) in {} calls; controls: {} of {} \
         flagged; losses {}; {} s",
        all.flagged,
        right + all.missed,
        all.calls,
        controls.flagged,
        controls.calls,
        all.losses + controls.losses,
        begun.elapsed().as_secs()
    );
    println!(
        "joined: found on both sides of the proxy; silent: the client took a response without trailers for a \
         success"
    );
    let wrong = all.wrong + all.missed + all.undecided + controls.flagged + controls.failed;
    let lost = all.losses + controls.losses;
    match (wrong + lost, all.failed) {
        (0, 1..) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn quarrels(compared: &Compared) {
    for quarrel in &compared.quarrels {
        println!("    {quarrel}");
    }
}

/// Where nothing may break: a client that ends its request in time, a server that waits for it, no proxy.
fn controlled(calls: u32, envoys: &[Version]) -> Vec<(Parts, Vec<Job>)> {
    let job = |client, response_bytes| Job {
        client,
        response_bytes,
        at_once: 50,
        calls,
    };
    let both = |client| vec![job(client, 11_000), job(client, 250_000)];
    let mut groups = Vec::new();
    let direct = Parts {
        envoy: None,
        server: Peer::GrpcGo1_70,
        workers: 1,
        half_close: false,
    };
    let late: Vec<Job> = [both(Peer::GrpcJs1_12), both(Peer::ConnectNode)].concat();
    groups.push((direct, late.clone()));
    for envoy in envoys.iter().copied() {
        let through = Parts {
            envoy: Some(envoy),
            ..direct
        };
        groups.push((through, both(Peer::GrpcJs1_14)));
        let waits = Parts {
            server: Peer::GrpcGo1_85,
            ..through
        };
        groups.push((waits, late.clone()));
    }
    groups
}

fn judged(parts: Parts, jobs: &[Job], losses: &mut usize) -> Vec<Compared> {
    let mut group = Group::start(parts, jobs);
    let tracer = Tracer::start(&group.pids());
    let calls = group.run();
    let trace = group.finish(tracer, &calls);
    *losses += trace.losses.len();
    let clients = group.clients.iter().zip(&calls);
    clients
        .map(|(client, calls)| Compared::new(&trace, client.pid(), calls))
        .collect()
}

fn name(parts: &Parts, job: &Job) -> String {
    let proxy = parts.envoy.map_or("no proxy".to_owned(), |version| {
        let half_close = if parts.half_close { " half" } else { "" };
        format!("{}{half_close} {}w", version.0, parts.workers)
    });
    let server = match parts.server {
        Peer::GrpcGo1_70 => "",
        server => server.name(),
    };
    format!(
        "{proxy} {} {}K x{} {server}",
        job.client.name(),
        job.response_bytes / 1_000,
        job.at_once
    )
}
