//! Where the kernel programs, the pipeline and the exporters are joined for a live run.

use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::args::CommonArgs;
use super::scope::Scope;
use super::session::{self, Ended, Plan, Source, Stop};
use crate::export::http::{self, Heartbeat};
use crate::export::prometheus::Scrape;

/// Exit status after a second signal, as shells number it for SIGINT.
const INTERRUPTED: i32 = 130;

/// What the tracer is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is traced.
    pub scope: Scope,
    /// Header fields whose values are shown beside the usual ones.
    pub headers: Vec<String>,
    /// Size of the ring in bytes.
    pub ring_bytes: u32,
    /// Show the kernel programs' debug messages.
    pub kernel_log: bool,
}

impl Settings {
    /// From the arguments.
    ///
    /// # Errors
    /// A header name is none.
    pub fn new(args: &CommonArgs, scope: &Scope) -> anyhow::Result<Self> {
        Ok(Self {
            scope: scope.clone(),
            headers: args.header.clone(),
            ring_bytes: args.ring_mib * 1024 * 1024,
            kernel_log: args.kernel_log,
        })
    }
}

/// Loads and attaches the kernel programs. When it returns, the first byte is seen.
///
/// # Errors
/// The kernel refuses; with the remedy.
pub fn start(_settings: &Settings) -> anyhow::Result<Box<dyn Source>> {
    anyhow::bail!("the kernel programs are not built in yet")
}

/// The web server of a run.
pub struct Web {
    /// Its port.
    pub listener: std::net::TcpListener,
    /// What it shows.
    pub scrape: Scrape,
    /// What it says of the run's health.
    pub heartbeat: Arc<Heartbeat>,
}

/// Runs until a signal comes or the run ends by itself. SIGINT, SIGTERM and SIGHUP end it in order; a
/// second one at once.
///
/// # Errors
/// The records cannot be read any more, or the web server fails.
pub fn until_done(source: Box<dyn Source>, plan: Plan, web: Option<Web>) -> anyhow::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let stop = Arc::new(Stop::default());
        let of_thread = Arc::clone(&stop);
        let (sender, mut done) = tokio::sync::oneshot::channel();
        let drain = thread::Builder::new()
            .name("h2trace-drain".to_owned())
            .spawn(move || {
                // The other side waits for this, and only for this.
                drop(sender.send(session::run(source, plan, &of_thread)));
            })?;
        let mut server =
            web.map(|web| tokio::spawn(http::serve(web.listener, web.scrape, web.heartbeat)));
        let mut asked = false;
        loop {
            tokio::select! {
                ended = &mut done => {
                    return ended.context("the drain loop ended without a word")?;
                }
                () = signals.next() => {
                    if asked {
                        std::process::exit(INTERRUPTED);
                    }
                    asked = true;
                    stop.ask(drain.thread());
                }
                Some(served) = async { Some(server.as_mut()?.await) }, if server.is_some() => {
                    let Err(error) = served.context("the web server ended")?;
                    return Err(error.context("the web server ended"));
                }
            }
        }
    })
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hang_up: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for any of them.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
