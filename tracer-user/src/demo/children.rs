//! Starts the three processes, and hears from them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;

use super::part::{ClientReport, ProxyTotals, Ready, ServerReport};
use super::{DemoArgs, Part};

/// What the three processes said of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ChildReports {
    pub(super) client: ClientReport,
    pub(super) proxy: ProxyTotals,
    pub(super) server: ServerReport,
}

/// One process. Dropping it ends it.
#[derive(Debug)]
struct DemoProcess {
    part: Part,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    listen: Option<SocketAddr>,
}

impl DemoProcess {
    /// Starts one process and waits until it is ready.
    fn start(
        part: Part,
        args: &DemoArgs,
        connect: Option<SocketAddr>,
    ) -> anyhow::Result<DemoProcess> {
        // The running binary, even when its file was replaced or removed in the meantime.
        let mut command = Command::new("/proc/self/exe");
        command.args(["demo", "--part", part.argument()]);
        command.arg(format!("--calls={}", args.calls));
        command.arg(format!("--in-flight={}", args.in_flight));
        if args.healthy {
            command.arg("--healthy");
        }
        if let Some(address) = connect {
            command.arg(format!("--connect={address}"));
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", part.comm()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("no standard output")?;
        let mut process = DemoProcess {
            part,
            child,
            stdin,
            stdout: BufReader::new(stdout),
            listen: None,
        };
        process.listen = process.hear::<Ready>()?.listen;
        Ok(process)
    }

    /// Its next line.
    fn hear<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .with_context(|| format!("cannot read from {}", self.part.comm()))?;
        if line.is_empty() {
            bail!("{} ended too early", self.part.comm());
        }
        serde_json::from_str(&line)
            .with_context(|| format!("{} said {:?}", self.part.comm(), line.trim_end()))
    }

    /// Ends its input, and hears its report.
    fn stop<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        drop(self.stdin.take());
        self.hear()
    }
}

impl Drop for DemoProcess {
    fn drop(&mut self) {
        // It has ended by itself, or it must now; there is nobody left to tell of a failure.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The three processes, ready; no connection is open yet.
#[derive(Debug)]
pub(super) struct Children {
    client: DemoProcess,
    proxy: DemoProcess,
    server: DemoProcess,
}

impl Children {
    /// Starts them.
    ///
    /// # Errors
    /// When one does not start.
    pub(super) fn start(args: &DemoArgs) -> anyhow::Result<Children> {
        let server = DemoProcess::start(Part::Server, args, None)?;
        let proxy = DemoProcess::start(Part::Proxy, args, server.listen)?;
        let client = DemoProcess::start(Part::Client, args, proxy.listen)?;
        Ok(Children {
            client,
            proxy,
            server,
        })
    }

    /// The process id of one of them.
    #[must_use]
    pub(super) fn pid(&self, part: Part) -> u32 {
        match part {
            Part::Server => self.server.child.id(),
            Part::Proxy => self.proxy.child.id(),
            Part::Client => self.client.child.id(),
        }
    }

    /// Lets the client make its calls; returns when it has, and the other two have stopped.
    ///
    /// # Errors
    /// When one of them fails.
    pub(super) fn call(&mut self) -> anyhow::Result<ChildReports> {
        let go = self.client.stdin.as_mut().context("no standard input")?;
        writeln!(go, "go").context("the client is gone")?;
        let client = self.client.hear()?;
        Ok(ChildReports {
            client,
            proxy: self.proxy.stop()?,
            server: self.server.stop()?,
        })
    }
}
