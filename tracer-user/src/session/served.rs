//! A live run to its end: its threads, the signals that end it, and what is served meanwhile.

use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::run::{Drain, Ended, Plan, Share, Source};
use crate::export::http::Site;

/// A port of a run, and what is served there.
pub struct Web {
    /// The port.
    pub listener: std::net::TcpListener,
    /// What it shows.
    pub site: Site,
}

/// Runs until a signal comes or the run ends by itself. SIGINT, SIGTERM and SIGHUP end it in order; a
/// second one at once. `ready` is called as soon as signals are heeded, and before there are more threads.
///
/// # Errors
/// The records cannot be read any more, or the web server fails.
pub fn until_done(
    source: Box<dyn Source>,
    plan: Plan,
    web: Vec<Web>,
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        ready()?;
        let drain = Arc::new(Drain::new(source, plan));
        let (sender, mut done) = mpsc::unbounded_channel();
        let idle = drain.sees_ring().then_some(("h2trace-idle", Share::Idle));
        for (name, share) in [("h2trace-drain", Share::Ordinary)].into_iter().chain(idle) {
            let (drain, sender) = (Arc::clone(&drain), sender.clone());
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    if let Some(ended) = drain.run(share).transpose() {
                        // The other side waits for this, and only for this.
                        drop(sender.send(ended));
                    }
                })?;
        }
        drop(sender);
        let mut servers = JoinSet::new();
        for web in web {
            servers.spawn(web.site.serve(web.listener));
        }
        let mut asked = false;
        loop {
            tokio::select! {
                ended = done.recv() => {
                    return ended.context("the drain loop ended without a word")?;
                }
                () = signals.next() => {
                    if asked {
                        std::process::exit(super::INTERRUPTED);
                    }
                    asked = true;
                    drain.stop();
                }
                () = tokio::time::sleep_until(drain.next_look().into()) => drain.look(),
                Some(served) = servers.join_next() => {
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
