//! Where the kernel programs, the pipeline and the exporters are joined for a live run.

#[cfg(feature = "tls")]
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use h2trace_core::connection::ConnectionId;
use h2trace_core::event::{Event, Opened, SocketKey, Timestamp};
use h2trace_core::field::Shown;
use h2trace_core::limits::Limit;
use h2trace_core::pipeline::{self, Depth, Loss, LossCause, Output, Pipeline, Sink, Tunnelled};
#[cfg(feature = "tls")]
use h2trace_core::tls::KeyLog;
use tracer_ebpf::counter::COUNTERS;

use super::fairness::Fairness;
use super::horizon::Horizon;
#[cfg(feature = "tls")]
use super::key_file::KeyFile;
use super::memory::Shares;
use super::run::{Keep, Source};
use super::{Keeper, Selected};
use crate::capture::{Downstream, MemoryRead, TlsSockets};
use crate::export::clock::monotonic_now;
use crate::export::prometheus::ProgramRuns;
use crate::export::tally::StoppedBy;
#[cfg(feature = "tls")]
use crate::kernel::Tls;
use crate::kernel::{DRAIN_MAX, Options, RingView, Tracer};
#[cfg(feature = "tls")]
use crate::key_probe::KeyProbe;
#[cfg(feature = "tls")]
use crate::key_scan::vault::Vault;
#[cfg(feature = "tls")]
use crate::key_scan::{self, KeyScanner};
use crate::workload::attribution::Attribution;
use crate::workload::select::{CgroupKind, Membership};
use crate::workload::{kubernetes, process};

/// `scan` makes keys of TLS come from memory alone, as where no handshake can be probed: for tests.
#[cfg(feature = "tls")]
const KEYS_VARIABLE: &str = "H2TRACE_TLS_KEYS";

/// What the tracer is started with.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// What the kernel programs are told.
    pub options: Options,
    /// Header fields whose values may be kept.
    pub shown: Arc<Shown>,
    /// Who names pods, if there are any.
    pub pods: Option<kubernetes::PodSource>,
    /// Bytes of memory, and what they are for.
    pub memory: Shares,
    /// Ports that are known to speak HTTP/2.
    pub http2_ports: Vec<u16>,
    /// The key log that opens TLS.
    #[cfg(feature = "tls")]
    pub keylog: Option<PathBuf>,
    /// How keys of TLS are looked for in memory, if they are.
    #[cfg(feature = "tls")]
    pub key_scan: Option<key_scan::Settings>,
}

impl TraceSettings {
    /// For a run that only counts: nothing of a stream is kept that no metric shows.
    #[must_use]
    pub fn counting_only(mut self) -> Self {
        self.shown = Arc::new(Shown::nothing());
        self
    }

    /// For a recording: every byte is copied.
    #[must_use]
    pub fn with_payload(mut self) -> Self {
        self.options.full_payload = true;
        self
    }

    /// Pods are named by `pods`.
    #[must_use]
    pub fn with_pods(mut self, pods: Option<kubernetes::PodSource>) -> Self {
        self.pods = pods;
        self
    }
}

/// Listens beside the pipeline: to the kernel side's events, and to what the pipeline says.
pub trait Tap: Sink + Send {
    /// An event, before the pipeline takes it.
    fn event(&mut self, event: &Event<'_>);

    /// The pipeline's number of a socket would be of use.
    fn wants_id(&mut self, key: &SocketKey) -> bool;

    /// The pipeline's number of a socket.
    fn name(&mut self, key: &SocketKey, id: ConnectionId);

    /// Time passes: nothing older than `now` is still to come.
    fn advance(&mut self, now: Timestamp);

    /// The run is over; the kernel programs counted this.
    fn finish(&mut self, now: Timestamp, counters: &[u64; COUNTERS as usize]);

    /// The run has to end, and why.
    fn over(&self) -> Option<StoppedBy>;
}

/// Hands every output to both.
struct TappedSink<'a> {
    tap: Option<&'a mut (dyn Tap + 'static)>,
    sink: &'a mut dyn Sink,
}

impl Sink for TappedSink<'_> {
    fn accept(&mut self, output: &Output) {
        if let Some(tap) = self.tap.as_deref_mut() {
            tap.accept(output);
        }
        self.sink.accept(output);
    }
}

/// Hands events to the pipeline, and to who listens beside it.
struct Hands<'a> {
    pipeline: &'a mut Pipeline,
    tap: Option<&'a mut (dyn Tap + 'static)>,
    sink: &'a mut dyn Sink,
}

impl Downstream for Hands<'_> {
    fn opening(&mut self, socket: &SocketKey) -> Option<(Opened, bool)> {
        self.pipeline.opening_of(socket)
    }

    #[inline]
    fn next_tunnelled(&mut self) -> Option<Tunnelled> {
        self.pipeline.next_tunnelled()
    }

    fn is_without_tunnels(&mut self, socket: &SocketKey) -> bool {
        self.pipeline.is_without_tunnels(socket)
    }

    #[inline]
    fn event(&mut self, event: &Event<'_>) {
        let Some(tap) = self.tap.as_deref_mut() else {
            return self.pipeline.handle(event, self.sink);
        };
        // What goes by in a tunnel went by as DATA before.
        let is_tapped = !event.socket.is_of_tunnel();
        if is_tapped {
            tap.event(event);
        }
        let mut both = TappedSink {
            tap: Some(&mut *tap),
            sink: self.sink,
        };
        self.pipeline.handle(event, &mut both);
        if is_tapped
            && tap.wants_id(&event.socket)
            && let Some(id) = self.pipeline.id_of(&event.socket)
        {
            tap.name(&event.socket, id);
        }
    }
}

/// The kernel programs at work, and the pipeline behind them.
struct Live {
    tracer: Tracer,
    fairness: Fairness,
    horizon: Horizon,
    tls: TlsSockets,
    /// The key log that opens TLS.
    #[cfg(feature = "tls")]
    key_file: Option<KeyFile>,
    pipeline: Pipeline,
    tap: Option<Box<dyn Tap>>,
    /// How often a connection was let go because there was not the time for it.
    n_shed: u64,
    /// Records that did not fit into the ring.
    n_lost: u64,
    /// Keeps the members of a filter by pods up to date for as long as this lives.
    _keeper: Option<Keeper>,
}

/// Loads and attaches the kernel programs. When it returns, the next byte is seen, also of those `chosen` pods that
/// are there.
///
/// # Errors
/// The kernel refuses; with the remedy.
pub fn start(
    settings: &TraceSettings,
    chosen: Option<Membership>,
    selected: &Selected,
    tap: Option<Box<dyn Tap>>,
) -> anyhow::Result<Box<dyn Source>> {
    let mut options = settings.options.clone();
    let chosen = chosen.map(|mut chosen| {
        chosen.refresh();
        let members = Some(chosen.members().iter().copied().collect());
        match chosen.kind() {
            CgroupKind::Pod => options.filter.pods = members,
            CgroupKind::Excluded => options.filter.excluded = members,
        }
        chosen
    });
    #[cfg(feature = "tls")]
    let (key_file, keys) = match &settings.keylog {
        Some(path) => {
            let place = Arc::new(Vault::for_all());
            let (mut file, mut keys) = (KeyFile::open(path)?, KeyLog::with_place(place));
            file.read_on(&mut keys)?;
            options.tls = Tls::Full;
            (Some(file), Some(keys))
        }
        None => (None, None),
    };
    #[cfg(feature = "tls")]
    let scanner = settings.key_scan.map(look_for_keys).transpose()?;
    #[cfg(feature = "tls")]
    if scanner.is_some() {
        options.tls = Tls::Full;
        options.secrets = std::env::var_os(KEYS_VARIABLE).is_none_or(|value| value != "scan");
    }
    #[cfg(not(feature = "tls"))]
    let keys = None;
    #[cfg(feature = "tls")]
    options.let_kernel_open_tls();
    let mut tracer = Tracer::start(&options)?;
    if !process::sees_host_processes() {
        tracing::warn!(
            "the host's processes are not seen: each is called by the name of the thread that opened its connection \
             (run h2trace on the host; in Kubernetes set hostPID: true)"
        );
    }
    let keeper = match (chosen, tracer.take_live_cgroups()) {
        (Some(chosen), Some(maps)) => Some(
            Keeper::start(chosen, maps, selected.clone())
                .context("cannot start the thread that follows pods")?,
        ),
        _ => None,
    };
    let pipeline = Pipeline::new(pipeline::PipelineSettings {
        shown: Arc::clone(&settings.shown),
        names: Box::new(Attribution::new(settings.pods.clone())),
        memory: settings.memory.connections,
        http2_ports: settings.http2_ports.clone(),
    })
    .following_tunnels();
    let tls = TlsSockets::new(keys);
    #[cfg(feature = "tls")]
    let tls = match tracer.take_secrets() {
        Some((program, reader)) => {
            let probe = KeyProbe::start(program, reader);
            let probe = probe.context("cannot start the thread that probes handshakes")?;
            tls.probed_by(probe, || KeyLog::with_place(Arc::new(Vault::for_all())))
        }
        None => tls,
    };
    #[cfg(feature = "tls")]
    let tls = tls
        .searched_by(scanner)
        .handing_over_to(tracer.take_opened());
    Ok(Box::new(Live {
        tracer,
        fairness: Fairness::default(),
        horizon: Horizon::default(),
        tls,
        #[cfg(feature = "tls")]
        key_file,
        pipeline,
        tap,
        n_shed: 0,
        n_lost: 0,
        _keeper: keeper,
    }))
}

/// Starts who reads memory; says what is in its way.
#[cfg(feature = "tls")]
fn look_for_keys(settings: key_scan::Settings) -> anyhow::Result<KeyScanner> {
    key_scan::rights::make_effective();
    for missing in key_scan::rights::missing() {
        tracing::warn!(
            "keys of TLS may not be found: {} ({})",
            missing.found,
            missing.remedy
        );
    }
    KeyScanner::start(settings).context("cannot start the thread that looks for keys of TLS")
}

impl Live {
    /// What of TLS waits for secrets, and has them now.
    fn open_what_waits(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        self.tls.drop_secrets(now);
        if !self.tls.is_waiting() {
            return;
        }
        #[cfg(feature = "tls")]
        if self.tls.awaits_secrets()
            && let (Some(file), Some(keys)) = (&mut self.key_file, self.tls.keys())
        {
            file.follow(keys);
        }
        let mut hands = Hands {
            pipeline: &mut self.pipeline,
            tap: self.tap.as_deref_mut(),
            sink,
        };
        self.tls.settle(now, &mut hands);
        self.tls.tunnels(&mut hands);
    }

    /// Connections that take more than their share while records are lost are let go for a while, and told.
    fn share_out(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        for socket in self.fairness.returning(now) {
            self.tracer.take_up(&socket);
        }
        self.fairness
            .forget_gone(now, |socket| self.tracer.is_let_go(socket));
        let Some(n_lost) = self.note_losses() else {
            return;
        };
        let gains = |taken: &[SocketKey]| self.pipeline.speaks_http2_beside(taken);
        let gone = self.fairness.look(now, n_lost, gains);
        self.let_go(gone, now, sink);
    }

    /// How many records did not fit into the ring so far, where that can be read. Before anything is told of ends.
    fn note_losses(&mut self) -> Option<u64> {
        let n_lost = self.tracer.n_lost()?;
        if std::mem::replace(&mut self.n_lost, n_lost) < n_lost {
            self.pipeline.records_were_lost(monotonic_now());
        }
        Some(n_lost)
    }

    /// These sockets are let go, and it is told.
    fn let_go(&mut self, gone: Vec<SocketKey>, now: Timestamp, sink: &mut dyn Sink) {
        for socket in gone {
            if !self.tracer.let_go(&socket) {
                self.fairness.keep(&socket);
                continue;
            }
            self.n_shed += 1;
            let tap = self.tap.as_deref_mut();
            let mut both = TappedSink {
                tap,
                sink: &mut *sink,
            };
            if !self.pipeline.look_away(socket, now, &mut both) {
                both.accept(&Output::Loss(Loss {
                    connection: None,
                    at: now,
                    cause: LossCause::Limit(Limit::LetGo),
                    bytes: None,
                }));
            }
        }
    }
}

impl Source for Live {
    fn drain(&mut self, sink: &mut dyn Sink) -> anyhow::Result<u64> {
        // What the ring holds was written before now, so nothing older is still to come once it is empty.
        let now = monotonic_now();
        let mut last = None;
        let (fairness, tls, mut hands) = (
            &mut self.fairness,
            &mut self.tls,
            Hands {
                pipeline: &mut self.pipeline,
                tap: self.tap.as_deref_mut(),
                sink: &mut *sink,
            },
        );
        let drained = self.tracer.drain(&mut |event| {
            last = Some(event.at);
            if fairness.is_passed_over(&event) {
                return;
            }
            let measured = fairness.begin(&event);
            if tls.wants(&event) {
                tls.take(&event, &mut hands);
            } else {
                hands.event(&event);
            }
            tls.tunnels(&mut hands);
            fairness.end(measured);
        });
        let cut = self.fairness.take_cut();
        self.let_go(cut, now, sink);
        if self.fairness.is_due(now) {
            self.share_out(now, sink);
        }
        self.open_what_waits(now, sink);
        let is_more = drained.records + drained.bad >= DRAIN_MAX;
        let until = self.horizon.after(now, last, is_more);
        let tap = self.tap.as_deref_mut();
        let mut both = TappedSink { tap, sink };
        if is_more {
            self.pipeline.advance_amid(until, &mut both);
        } else {
            self.pipeline.advance(until, &mut both);
        }
        self.tls.tunnels(&mut Hands {
            pipeline: &mut self.pipeline,
            tap: self.tap.as_deref_mut(),
            sink,
        });
        if let Some(tap) = &mut self.tap {
            tap.advance(until);
        }
        for _ in 0..drained.bad {
            sink.accept(&Output::Loss(Loss {
                connection: None,
                at: now,
                cause: LossCause::BadRecord,
                bytes: None,
            }));
        }
        Ok(drained.records + drained.bad)
    }

    fn follow(&mut self, depth: Depth) {
        self.pipeline.set_depth(depth, monotonic_now());
    }

    fn let_go(&mut self, keep: Keep) {
        self.fairness.ask(keep, monotonic_now());
    }

    fn away(&self) -> (usize, u64) {
        (self.fairness.n_away(), self.n_shed)
    }

    fn ring(&self) -> Option<RingView> {
        self.tracer.ring_view()
    }

    fn is_urgent(&self) -> bool {
        self.tls.is_urgent()
    }

    fn finish(&mut self, sink: &mut dyn Sink) {
        let now = monotonic_now();
        self.note_losses();
        self.open_what_waits(now, sink);
        let mut hands = Hands {
            pipeline: &mut self.pipeline,
            tap: self.tap.as_deref_mut(),
            sink,
        };
        self.tls.finish_all(&mut hands);
        let tap = self.tap.as_deref_mut();
        self.pipeline.finish(now, &mut TappedSink { tap, sink });
        let counters = self.tracer.counters().unwrap_or_default();
        if let Some(tap) = &mut self.tap {
            tap.finish(now, &counters);
        }
    }

    fn over(&self) -> Option<StoppedBy> {
        self.tap.as_deref().and_then(Tap::over)
    }

    fn live(&self) -> (usize, usize) {
        let live = self.pipeline.live();
        (live.connections, live.streams)
    }

    fn counters(&self) -> anyhow::Result<[u64; COUNTERS as usize]> {
        self.tracer
            .counters()
            .context("cannot read the kernel programs' counters")
    }

    fn missed_runs(&self) -> u64 {
        self.tracer.missed_runs().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot read how many runs of kernel programs were missed");
            0
        })
    }

    fn memory_read(&self) -> MemoryRead {
        self.tls.memory_read()
    }

    fn attached(&self) -> Vec<String> {
        self.tracer
            .attached()
            .iter()
            .map(|program| (*program).to_owned())
            .collect()
    }

    fn programs(&self) -> Vec<ProgramRuns> {
        let programs = match self.tracer.program_stats() {
            Ok(programs) => programs,
            Err(error) => {
                tracing::debug!(%error, "cannot read the kernel programs' statistics");
                return Vec::new();
            }
        };
        programs
            .into_iter()
            .map(|program| ProgramRuns {
                name: program.program.to_owned(),
                runs: program.runs,
                run_ns: u64::try_from(program.run_time.as_nanos()).unwrap_or(u64::MAX),
            })
            .collect()
    }
}
