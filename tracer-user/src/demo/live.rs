//! The tracer over the three processes: where the demo joins the stages.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use h2trace_core::pipeline::{Output, Pipeline, PipelineSettings, Sink};
use tracer_ebpf::counter::Counter;

use super::Part;
use super::seen::SeenStreams;
use crate::export::clock::monotonic_now;
use crate::export::prometheus::Exporter;
use crate::kernel::{Filter, Options, Tracer};
use crate::workload::process;

/// Ends of connections at which every call is seen: the client's, the proxy's two and the server's.
const ENDS: usize = 4;

/// How long the tracer may take, after the last call, to hear of its end.
const LATE: Duration = Duration::from_secs(3);

/// How long nothing is read when nothing is there.
const PAUSE: Duration = Duration::from_millis(2);

pub(super) struct DemoTracer {
    tracer: Tracer,
    pipeline: Pipeline,
    sink: DemoSinks,
}

/// What the demo and what Prometheus sees.
struct DemoSinks {
    seen: SeenStreams,
    exporter: Exporter,
}

impl Sink for DemoSinks {
    fn accept(&mut self, output: &Output) {
        self.seen.accept(output);
        self.exporter.accept(output);
    }
}

impl DemoTracer {
    /// Loads and attaches the tracer. It follows only `pids`; in a pid namespace of its own, where the kernel
    /// knows the processes by other numbers, only the demo's names.
    pub(super) fn start(pids: &[u32]) -> anyhow::Result<DemoTracer> {
        let filter = if process::in_initial_pid_namespace() {
            Filter {
                pids: pids.to_vec(),
                ..Filter::default()
            }
        } else {
            let names =
                [Part::Client, Part::Proxy, Part::Server].map(|part| part.comm().to_owned());
            Filter {
                comms: names.to_vec(),
                ..Filter::default()
            }
        };
        let tracer = Tracer::start(&Options {
            filter,
            ..Options::default()
        })?;
        let pipeline = Pipeline::new(PipelineSettings::default());
        let sink = DemoSinks {
            seen: SeenStreams::default(),
            exporter: Exporter::new()?,
        };
        Ok(DemoTracer {
            tracer,
            pipeline,
            sink,
        })
    }

    /// Follows the traffic while `work` runs on a thread of its own, and until the last of `n_calls` has
    /// been seen at all four ends.
    pub(super) fn watch<T: Send>(
        mut self,
        n_calls: usize,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<(T, SeenStreams, String)> {
        let done = std::thread::scope(|scope| {
            let worker = scope.spawn(work);
            while !worker.is_finished() {
                self.read();
                std::thread::sleep(PAUSE);
            }
            worker.join()
        });
        let Ok(done) = done else {
            anyhow::bail!("the demo's thread panicked")
        };
        let done = done?;
        let deadline = Instant::now() + LATE;
        while self.sink.seen.n_streams() < ENDS * n_calls && Instant::now() < deadline {
            self.read();
            std::thread::sleep(PAUSE);
        }
        self.pipeline.finish(monotonic_now(), &mut self.sink);
        let counted = self.tracer.counters()?;
        let lost = Counter::ALL
            .iter()
            .zip(counted)
            .filter(|(counter, _)| counter.name().1)
            .map(|(_, n)| n)
            .sum();
        self.sink.seen.add_losses(lost);
        let metrics = self.sink.exporter.scrape().encode(Duration::ZERO)?;
        let metrics = String::from_utf8(metrics).context("the metrics are not UTF-8")?;
        Ok((done, self.sink.seen, metrics))
    }

    fn read(&mut self) {
        let before = monotonic_now();
        let (pipeline, sink) = (&mut self.pipeline, &mut self.sink);
        self.tracer
            .drain(&mut |event| pipeline.handle(&event, sink));
        self.pipeline.advance(before, &mut self.sink);
    }
}
