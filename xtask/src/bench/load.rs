//! The load: h2load calls the grpc-go peer's `UnaryCall`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::command;

/// Connections of the usual load, and streams in flight on each.
pub(super) const CONNECTIONS: u32 = 4;
pub(super) const STREAMS: u32 = 10;

/// A server, the grpc-go peer most often. Dropping it ends it.
pub(super) struct LoadServer {
    child: Child,
    address: String,
    scheme: &'static str,
}

impl LoadServer {
    /// Starts the peer on a free port of loopback, in clear text.
    pub(super) fn start(root: &Path) -> anyhow::Result<LoadServer> {
        LoadServer::start_with(root, None)
    }

    /// Over TLS with that key and its certificate.
    pub(super) fn start_with(
        root: &Path,
        identity: Option<&[PathBuf; 2]>,
    ) -> anyhow::Result<LoadServer> {
        let mut peer = Command::new(grpc_go(root)?);
        peer.args(["server", "--listen", "127.0.0.1:0"]);
        let Some([key, certificate]) = identity else {
            return LoadServer::of(&mut peer, "http");
        };
        peer.arg("--tls-key").arg(key);
        peer.arg("--tls-cert").arg(certificate);
        LoadServer::of(&mut peer, "https")
    }

    /// Another program that says "ready ADDRESS".
    pub(super) fn of(program: &mut Command, scheme: &'static str) -> anyhow::Result<LoadServer> {
        let mut child = program
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", command::shown(program)))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut server = LoadServer {
            child,
            address: String::new(),
            scheme,
        };
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .context("cannot read from the server")?;
        server.address = match line.trim().strip_prefix("ready ") {
            Some(address) => address.to_owned(),
            None => bail!(
                "the server said {:?} instead of \"ready ADDRESS\"",
                line.trim()
            ),
        };
        Ok(server)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for LoadServer {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The grpc-go peer, where `cargo xtask setup` puts it.
fn grpc_go(root: &Path) -> anyhow::Result<PathBuf> {
    let peers = std::env::var_os("H2TRACE_PEERS_DIR")
        .map_or_else(|| root.join("target/peers"), PathBuf::from);
    let peer = peers.join("grpc-go/grpc-go-1.85.0");
    if !peer.is_file() {
        bail!(
            "{} is missing; run \"cargo xtask setup --only grpc-go\"",
            peer.display()
        );
    }
    Ok(peer)
}

/// What one run has to do.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) calls: u32,
    /// Payload bytes of each response.
    pub(super) response: u32,
    pub(super) connections: u32,
    /// Streams in flight on each connection.
    pub(super) streams: u32,
    /// Calls a second of each connection; without it as many as go.
    pub(super) rate: Option<u32>,
}

/// What one run measured.
pub(super) struct Run {
    /// Calls a second over the whole run.
    pub(super) calls_per_second: f64,
    /// Half of the calls were at least as fast, in microseconds.
    pub(super) p50_us: f64,
    /// 99 of 100 calls were.
    pub(super) p99_us: f64,
    /// 999 of 1,000 calls were.
    pub(super) p999_us: f64,
}

impl Load {
    /// Runs h2load; every call has to succeed.
    pub(super) fn run(self, server: &LoadServer, folder: &Path) -> anyhow::Result<Run> {
        let body = body(folder, self.response)?;
        let log = folder.join("h2load.log");
        // h2load appends; the file is from the run before, or not there at all.
        std::fs::remove_file(&log).ok();
        let mut h2load = Command::new("h2load");
        for (option, value) in [
            ("-c", self.connections),
            ("-m", self.streams),
            ("-t", 1),
            ("-n", self.calls),
        ] {
            h2load.args([option, &value.to_string()]);
        }
        if let Some(rate) = self.rate {
            h2load.args(["--rps", &rate.to_string()]);
        }
        h2load.arg(format!("--log-file={}", log.display()));
        grpc(&mut h2load, server, &body);
        let output = h2load
            .output()
            .context("cannot run h2load (\"cargo xtask setup\" installs it, or apt-get install nghttp2-client)")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let calls_per_second = finished(&text, self.calls).with_context(|| {
            format!(
                "{} did not finish its calls:\n{text}",
                command::shown(&h2load)
            )
        })?;
        let log = std::fs::read_to_string(&log)
            .with_context(|| format!("cannot read {}", log.display()))?;
        let times = times(&log);
        let of = |share| percentile(&times, share).context("h2load wrote no times");
        Ok(Run {
            calls_per_second,
            p50_us: of(500)?,
            p99_us: of(990)?,
            p999_us: of(999)?,
        })
    }
}

/// Writes the request's body into a file.
pub(super) fn body(folder: &Path, response: u32) -> anyhow::Result<PathBuf> {
    let body = folder.join("request.bin");
    std::fs::write(&body, request(response))
        .with_context(|| format!("cannot write {}", body.display()))?;
    Ok(body)
}

/// Makes h2load's requests unary calls.
pub(super) fn grpc(h2load: &mut Command, server: &LoadServer, body: &Path) {
    h2load.args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
    h2load.arg("-d").arg(body).arg(format!(
        "{}://{}/grpc.testing.TestService/UnaryCall",
        server.scheme, server.address
    ));
}

/// A gRPC message `SimpleRequest { response_size }` with its prefix.
fn request(response: u32) -> Vec<u8> {
    // Field 2, wire type 0.
    let mut message = vec![0x10];
    let mut rest = response;
    while rest >= 0x80 {
        message.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    message.push((rest & 0x7f) as u8);
    let mut out = vec![0];
    out.extend(
        u32::try_from(message.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    out.extend(message);
    out
}

/// Calls a second, when all `calls` succeeded.
fn finished(text: &str, calls: u32) -> Option<f64> {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let all = format!(" {calls} succeeded,");
    line("requests:").filter(|counts| counts.contains(&all))?;
    let (_, rate) = line("finished in ")?.split_once(", ")?;
    rate.split_once(" req/s")?.0.trim().parse().ok()
}

/// The third column (microseconds) of h2load's log, in order.
fn times(log: &str) -> Vec<u32> {
    let mut times: Vec<u32> = log
        .lines()
        .filter_map(|line| line.split('\t').nth(2)?.trim().parse().ok())
        .collect();
    times.sort_unstable();
    times
}

/// The time that so many of 1,000 did not exceed.
fn percentile(times: &[u32], of_1000: usize) -> Option<f64> {
    let rank = (times.len() * of_1000).div_ceil(1_000);
    times.get(rank.checked_sub(1)?).copied().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_asks_for_the_size() {
        assert_eq!(request(100), [0, 0, 0, 0, 2, 0x10, 100]);
        assert_eq!(request(250_000), [0, 0, 0, 0, 4, 0x10, 0x90, 0xa1, 0x0f]);
    }

    #[test]
    fn a_run_with_a_failed_call_is_no_measurement() {
        let text = |succeeded| {
            format!(
                "finished in 1.14s, 17543.86 req/s, 1.21MB/s\n\
                 requests: 20000 total, 20000 started, 20000 done, {succeeded} succeeded, 0 failed, 0 errored, 0 timeout\n"
            )
        };
        assert!(
            finished(&text(20_000), 20_000).is_some_and(|rate| (rate - 17_543.86).abs() < 1e-6)
        );
        assert_eq!(finished(&text(19_999), 20_000), None);
    }

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let log: String = (1..=200)
            .map(|time| format!("1700000000\t200\t{time}\n"))
            .collect();
        let times = times(&log);
        for (of_1000, want) in [(500, 100.0), (990, 198.0), (999, 200.0)] {
            assert_eq!(percentile(&times, of_1000), Some(want));
        }
        assert_eq!(percentile(&[], 990), None);
    }
}
