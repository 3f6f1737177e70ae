//! Attaches the kernel programs and reads their records.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray, RingBuf},
    programs::RawTracePoint,
};
use aya_log::EbpfLogger;
use tracer_ebpf::{
    config::filter,
    counter::{COUNTERS, Counter},
};

use h2trace_core::event::{Event, SocketKey, decode::decode};

#[cfg(feature = "tls")]
use super::opened::OpenedTls;
#[cfg(feature = "tls")]
use super::secrets::{self, SecretProgram, SecretReader};
use super::{
    btf::Btf,
    doctor,
    hooks::Hooks,
    load::{self, Filter, Options, StartError},
    members::{LiveCgroups, Members},
    missed,
    ring_view::RingView,
    sockets::Sockets,
};

/// One program and the tracepoint of the same name that it stands on.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Both names.
    pub tracepoint: &'static str,
    /// Tracing is impossible without it.
    pub needed: bool,
    /// Only attached when processes are filtered.
    pub for_processes: bool,
    /// Only attached when these are the hooks on socket calls.
    pub hooks: Option<Hooks>,
}

const fn probe(tracepoint: &'static str, needed: bool, for_processes: bool) -> Probe {
    Probe {
        tracepoint,
        needed,
        for_processes,
        hooks: None,
    }
}

const fn of_hooks(tracepoint: &'static str, hooks: Hooks) -> Probe {
    Probe {
        tracepoint,
        needed: true,
        for_processes: false,
        hooks: Some(hooks),
    }
}

impl Probe {
    /// Is it one of those that are attached with these hooks?
    pub(super) fn is_with(&self, hooks: Hooks) -> bool {
        self.hooks.is_none_or(|of| of == hooks)
    }
}

/// Every program, in the order in which they are attached: who opens before who speaks.
pub const PROBES: &[Probe] = &[
    probe("sched_process_fork", false, true),
    probe("sched_process_exit", false, true),
    probe("tcp_destroy_sock", true, false),
    probe("inet_sock_set_state", true, false),
    probe("tcp_receive_reset", false, false),
    probe("tcp_send_reset", false, false),
    of_hooks("sock_recv_length", Hooks::SocketTracepoints),
    of_hooks("sock_send_length", Hooks::SocketTracepoints),
    of_hooks("sys_exit", Hooks::SyscallExit),
];

/// Records that one [`Tracer::drain`] hands on at most: of a flood they take some hundredths of a second.
pub const DRAIN_MAX: u64 = 2_048;

/// What one [`Tracer::drain`] read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records handed on.
    pub records: u64,
    /// Records that could not be decoded.
    pub bad: u64,
}

/// What the kernel measured of one program. All zero unless `kernel.bpf_stats_enabled` is 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStats {
    pub program: &'static str,
    /// The kernel's number of it.
    pub id: u32,
    /// Time spent in it.
    pub run_time: Duration,
    /// How often it ran.
    pub runs: u64,
}

/// The kernel programs at work. They are detached and gone when this is dropped or the process dies:
/// nothing is pinned.
pub struct Tracer {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    ring_bytes: u32,
    counters: PerCpuArray<MapData, u64>,
    members: Members,
    sockets: Sockets,
    bits: u32,
    hooks: Hooks,
    attached: Vec<&'static str>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    #[cfg(feature = "tls")]
    secrets: Option<(SecretProgram, SecretReader)>,
    #[cfg(feature = "tls")]
    opened: Option<OpenedTls>,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer")
            .field("attached", &self.attached)
            .finish_non_exhaustive()
    }
}

impl Tracer {
    /// Loads and attaches everything. When this returns, the next byte is seen.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(options: &Options) -> Result<Tracer, StartError> {
        load::check_privileges()?;
        let btf = Btf::of_kernel()?;
        let hooks = Hooks::choose(options.hooks, &btf)?;
        let probes = || PROBES.iter().filter(|probe| probe.is_with(hooks));
        for probe in probes() {
            if probe.needed && !btf.has_tracepoint(probe.tracepoint) {
                return Err(StartError::NoTracepoint {
                    release: doctor::release(),
                    tracepoint: probe.tracepoint,
                });
            }
        }
        let mut ebpf = load::load(options, &btf, hooks)?;
        let logger = if options.kernel_log {
            EbpfLogger::init(&mut ebpf).ok()
        } else {
            None
        };
        #[cfg(feature = "tls")]
        let secrets = options
            .secrets
            .then(|| secrets::load(&ebpf, &options.filter));
        #[cfg(feature = "tls")]
        let secrets = secrets.and_then(|loaded| {
            let told = loaded.inspect_err(|error| {
                tracing::warn!("handshakes are not probed for secrets of TLS: {error:#}");
            });
            told.ok()
        });
        #[cfg(feature = "tls")]
        let opened = options.opens_tls.then(|| OpenedTls::new(&mut ebpf));
        #[cfg(feature = "tls")]
        let opened = opened.and_then(|opened| {
            let told = opened.inspect_err(|error| {
                tracing::warn!("the kernel programs open no TLS: {error:#}");
            });
            told.ok()
        });
        let mut members = Members::new(&mut ebpf)?;
        let ring = load::take(&mut ebpf, "EVENTS")?;
        let counters = load::take(&mut ebpf, "COUNTERS")?;
        let sockets = Sockets::new(&mut ebpf)?;
        let bits = options.filter.bits();
        let mut attached = Vec::new();
        // Forks are followed before the members are looked up, and members are there before the first byte.
        let (first, then): (Vec<&Probe>, Vec<&Probe>) =
            probes().partition(|probe| probe.for_processes);
        for probe in first {
            if bits & filter::PID != 0 && btf.has_tracepoint(probe.tracepoint) {
                attach(&mut ebpf, probe.tracepoint)?;
                attached.push(probe.tracepoint);
            }
        }
        members.set(&options.filter)?;
        for probe in then {
            if btf.has_tracepoint(probe.tracepoint) {
                attach(&mut ebpf, probe.tracepoint)?;
                attached.push(probe.tracepoint);
            }
        }
        members.open()?;
        Ok(Tracer {
            ebpf,
            ring,
            ring_bytes: load::ring_bytes(options.ring_bytes),
            counters,
            members,
            sockets,
            bits,
            hooks,
            attached,
            logger,
            #[cfg(feature = "tls")]
            secrets,
            #[cfg(feature = "tls")]
            opened,
        })
    }

    /// Hands on the records that wait in the ring, at most [`DRAIN_MAX`] of them: a reader that the kernel
    /// outruns must still see signals and the clock. Never blocks.
    pub fn drain(&mut self, on: &mut dyn FnMut(Event<'_>)) -> Drained {
        let mut drained = Drained::default();
        while drained.records + drained.bad < DRAIN_MAX
            && let Some(record) = self.ring.next()
        {
            match decode(&record) {
                Ok(event) => {
                    drained.records += 1;
                    on(event);
                }
                Err(_) => drained.bad += 1,
            }
        }
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        drained
    }

    /// The ring for other threads. None: the kernel does not let it be mapped once more.
    #[must_use]
    pub fn ring_view(&self) -> Option<RingView> {
        let view = RingView::new(self.ring.as_raw_fd(), self.ring_bytes);
        view.inspect_err(|error| tracing::debug!(%error, "the ring cannot be mapped once more"))
            .ok()
    }

    /// What the kernel programs counted since they were loaded, by `Counter`, summed over CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&self) -> anyhow::Result<[u64; COUNTERS as usize]> {
        let mut sums = [0; COUNTERS as usize];
        for (index, sum) in (0..COUNTERS).zip(&mut sums) {
            *sum = self.counters.get(&index, 0)?.iter().sum();
        }
        Ok(sums)
    }

    /// Records that did not fit into the ring since the programs were loaded; None: the map cannot be read.
    #[must_use]
    pub fn n_lost(&self) -> Option<u64> {
        let of_each = self.counters.get(&(Counter::RingFull as u32), 0).ok()?;
        Some(of_each.iter().sum())
    }

    /// From its next call on, nobody looks at a socket. False: it is not there, or the kernel does not allow it.
    pub fn let_go(&mut self, socket: &SocketKey) -> bool {
        self.sockets.let_go(socket)
    }

    /// The next call of a socket that was let go is looked at again: it is opened anew then.
    pub fn take_up(&mut self, socket: &SocketKey) {
        self.sockets.take_up(socket);
    }

    /// A socket that was let go is still there, and nobody looks at it.
    pub fn is_let_go(&self, socket: &SocketKey) -> bool {
        self.sockets.is_let_go(socket)
    }

    /// Runs of attached programs that the kernel left out because that program ran on the same processor: what they
    /// would have seen is lost.
    ///
    /// # Errors
    /// A program cannot be asked.
    pub fn missed_runs(&self) -> anyhow::Result<u64> {
        let of_each = self.attached.iter().map(|&program| {
            let program = self
                .ebpf
                .program(program)
                .ok_or_else(|| anyhow::anyhow!("no kernel program {program}"))?;
            Ok(missed::runs(program.fd()?.as_fd())?)
        });
        of_each.sum()
    }

    /// What the kernel measured of each attached program.
    ///
    /// # Errors
    /// A program cannot be asked.
    pub fn program_stats(&self) -> anyhow::Result<Vec<ProgramStats>> {
        self.attached
            .iter()
            .map(|&program| {
                let info = self
                    .ebpf
                    .program(program)
                    .ok_or_else(|| anyhow::anyhow!("no kernel program {program}"))?
                    .info()?;
                Ok(ProgramStats {
                    program,
                    id: info.id(),
                    run_time: info.run_time(),
                    runs: info.run_count(),
                })
            })
            .collect()
    }

    /// Makes the filter's members those of `filter`; sockets are judged anew at their next call. What
    /// [`Tracer::take_live_cgroups`] gave away stays as it is.
    ///
    /// # Errors
    /// The kinds that have members are fixed when tracing starts: [`StartError::FilterKinds`] when
    /// `filter` has others. [`StartError::FilterTooLarge`] when it has too many members.
    pub fn set_filter(&mut self, filter: &Filter) -> Result<(), StartError> {
        if filter.bits() & !self.bits != 0 {
            return Err(StartError::FilterKinds);
        }
        self.members.set(filter)
    }

    /// The members of [`Filter::pods`] and [`Filter::excluded`], for whoever keeps them up to date; None when
    /// they were taken already.
    pub fn take_live_cgroups(&mut self) -> Option<LiveCgroups> {
        self.members.take_live()
    }

    /// The places for keys of TLS that the kernel programs open; None when that was not asked for, or taken already.
    #[cfg(feature = "tls")]
    pub fn take_opened(&mut self) -> Option<OpenedTls> {
        self.opened.take()
    }

    /// The program that reads secrets of TLS handshakes, to be attached, and what it will have read; None when it was
    /// not asked for, cannot be loaded, or was taken already.
    #[cfg(feature = "tls")]
    pub fn take_secrets(&mut self) -> Option<(SecretProgram, SecretReader)> {
        self.secrets.take()
    }

    /// The hooks on socket calls that are used.
    #[must_use]
    pub const fn hooks(&self) -> Hooks {
        self.hooks
    }

    /// The tracepoints that programs are attached to.
    #[must_use]
    pub fn attached(&self) -> &[&'static str] {
        &self.attached
    }
}

/// A program that was loaded to see whether it can be, and the instructions that the verifier looked at to prove it
/// (None: this kernel does not say; it does since 5.16).
pub(super) type Tried = (&'static str, Result<Option<u32>, StartError>);

/// Loads every program that these hooks need and this kernel has a tracepoint for, and unloads it: nothing is attached.
///
/// # Errors
/// The maps cannot be made.
pub(super) fn try_programs(btf: &Btf, hooks: Hooks) -> Result<Vec<Tried>, StartError> {
    let mut ebpf = load::load(&Options::default(), btf, hooks)?;
    let here = PROBES
        .iter()
        .filter(|probe| probe.is_with(hooks) && btf.has_tracepoint(probe.tracepoint));
    Ok(here
        .map(|probe| {
            let tried = load_program(&mut ebpf, probe.tracepoint).map(|program| {
                let info = program.info().ok();
                info.and_then(|info| info.verified_instruction_count())
            });
            (probe.tracepoint, tried)
        })
        .collect())
}

/// Is a program of this number in the kernel? For tests, and after a crash.
#[must_use]
pub fn is_loaded(id: u32) -> bool {
    aya::programs::loaded_programs().any(|info| info.is_ok_and(|info| info.id() == id))
}

/// Loads one program into the kernel, where the verifier proves it.
fn load_program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut RawTracePoint, StartError> {
    let program: &mut RawTracePoint = ebpf
        .program_mut(name)
        .ok_or(aya::programs::ProgramError::NotLoaded)
        .and_then(TryInto::try_into)
        .map_err(|error| StartError::Attach {
            program: name,
            error,
        })?;
    program
        .load()
        .map_err(|error| load::program_error(name, error))?;
    Ok(program)
}

/// Loads one program into the kernel and attaches it.
fn attach(ebpf: &mut Ebpf, name: &'static str) -> Result<(), StartError> {
    let program = load_program(ebpf, name)?;
    program.attach(name).map_err(|error| StartError::Attach {
        program: name,
        error,
    })?;
    Ok(())
}
