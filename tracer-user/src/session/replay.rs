//! A run over a capture file: through the same pipeline, as fast as its reader takes what is printed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use h2trace_core::event::Timestamp;
use h2trace_core::field::Shown;
use h2trace_core::pipeline::{Frames, NoNames, Output, Pipeline, PipelineSettings, Sink};
use h2trace_core::tls::KeyLog;

use super::front::Front;
use super::show::Wanted;
use crate::capture::{
    Capture, CaptureCounts, CaptureError, Downstream as _, Feed, Reassembly, TlsSockets,
};
use crate::diagnosis::Diagnosis;
use crate::export::tally::{Kernel, Shed, StoppedBy, Summary, Tally};
use crate::unit::count;

/// Bytes of printed lines that are gathered before they are written.
const WRITE_AT_ONCE: usize = 64 * 1024;

/// So long without a packet, and it is looked what has lasted too long.
const SILENCE_NS: u64 = 100_000_000;

/// Packets between two looks at what has finished.
const ADVANCE_EVERY: u64 = 64;

/// What a run does.
pub struct ReplayPlan {
    /// How outputs are printed.
    pub front: Front,
    pub wanted: Wanted,
    /// Header fields whose values may be kept.
    pub shown: Arc<Shown>,
    /// What is told of single frames.
    pub frames: Frames,
    /// Only TCP connections with this port at either end.
    pub port: Option<u16>,
    /// Ports that are known to speak HTTP/2.
    pub http2_ports: Vec<u16>,
    /// Secrets that open TLS, beside those in the file.
    pub keys: KeyLog,
}

/// A run that is over.
pub struct Replayed {
    pub tally: Tally,
    /// Why the file was not read to its end.
    pub error: Option<CaptureError>,
    /// What of it could not be used, in words.
    pub unused: Vec<String>,
}

/// Puts a whole capture through a pipeline, and prints what comes out to `to`.
///
/// # Errors
/// It takes nothing any more.
pub fn run(capture: Capture<'_>, plan: ReplayPlan, to: &mut dyn io::Write) -> io::Result<Replayed> {
    let settings = PipelineSettings {
        shown: plan.shown,
        names: Box::new(NoNames),
        http2_ports: plan.http2_ports.clone(),
        ..PipelineSettings::default()
    };
    let mut pipeline = Pipeline::new(settings)
        .telling(plan.frames)
        .following_tunnels();
    let mut out = Printed {
        front: plan.front,
        wanted: plan.wanted,
        tally: Tally::default(),
        diagnosis: Diagnosis::default(),
        to,
        written: Ok(()),
    };
    let mut reassembly = Reassembly::new(plan.port).with_http2_on(plan.http2_ports);
    *reassembly.keys() = plan.keys;
    let read = replay(capture, &mut reassembly, &mut pipeline, &mut out);
    let duration = match read.first_at {
        Some(first) => Duration::from_nanos(read.last_at.since(first)),
        None => Duration::ZERO,
    };
    out.summary(read.last_at, duration, plan.port.is_some());
    out.flush();
    out.written?;
    let mut unused = Vec::from_iter(unused(reassembly.counts()));
    if read.bad_secrets > 0 {
        let lines = count(read.bad_secrets, "line", "lines");
        unused.push(format!(
            "{lines} of the capture's TLS secrets cannot be read"
        ));
    }
    let beyond = reassembly.keys().n_beyond();
    if beyond > 0 {
        let lines = count(beyond, "TLS secret was", "TLS secrets were");
        unused.push(format!("{lines} not kept: too many connections have some"));
    }
    Ok(Replayed {
        tally: out.tally,
        error: read.error,
        unused,
    })
}

/// How far a file was read.
struct Progress {
    first_at: Option<Timestamp>,
    last_at: Timestamp,
    error: Option<CaptureError>,
    /// Lines of the file's TLS secrets that are none of a key log.
    bad_secrets: u64,
}

/// Puts a whole capture through the pipeline.
fn replay(
    mut capture: Capture<'_>,
    reassembly: &mut Reassembly,
    pipeline: &mut Pipeline,
    out: &mut Printed<'_>,
) -> Progress {
    let mut read = Progress {
        first_at: None,
        last_at: Timestamp(0),
        error: None,
        bad_secrets: 0,
    };
    let mut tunnels = TlsSockets::new(None);
    while out.written.is_ok() {
        let packet = match capture.packet_and_keys(reassembly.keys()) {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(error) => {
                read.error = Some(error);
                break;
            }
        };
        read.first_at.get_or_insert(packet.at);
        // What stood for long in a silence is told as if somebody had looked meanwhile.
        let is_silent = packet.at.since(read.last_at) >= SILENCE_NS && read.last_at.0 > 0;
        if is_silent && reassembly.settled() == read.last_at {
            pipeline.advance(Timestamp(packet.at.0 - 1), out);
        }
        read.last_at = read.last_at.max(packet.at);
        let mut feed = Feed {
            pipeline,
            sink: out,
        };
        reassembly.packet(&packet, &mut |event| feed.event(event));
        tunnels.tunnels_with(reassembly.keys(), &mut feed);
        if packet.number % ADVANCE_EVERY == 0 {
            pipeline.advance(reassembly.settled(), out);
            let mut feed = Feed {
                pipeline,
                sink: out,
            };
            tunnels.tunnels_with(reassembly.keys(), &mut feed);
        }
    }
    read.bad_secrets = capture.bad_secrets();
    let mut feed = Feed {
        pipeline,
        sink: out,
    };
    reassembly.finish(&mut |event| feed.event(event));
    tunnels.tunnels_with(reassembly.keys(), &mut feed);
    tunnels.finish_with(reassembly.keys(), &mut feed);
    pipeline.finish(read.last_at, out);
    read
}

/// What of the packets could not be used.
fn unused(counts: &CaptureCounts) -> Option<String> {
    let mut parts = Vec::new();
    let mut part = |n: u64, one: &str, many: &str| {
        if n > 0 {
            parts.push(count(n, one, many));
        }
    };
    part(
        counts.lost_bytes,
        "payload byte is missing",
        "payload bytes are missing",
    );
    part(
        counts.cut_bytes,
        "payload byte was cut by the snapshot length",
        "payload bytes were cut by the snapshot length",
    );
    let encrypted = count(counts.encrypted_bytes, "byte", "bytes");
    part(
        counts.encrypted,
        &format!("packet is encrypted by IPsec, MACsec or Wi-Fi ({encrypted})"),
        &format!("packets are encrypted by IPsec, MACsec or Wi-Fi ({encrypted})"),
    );
    part(
        counts.fragments,
        "IP fragment was not put together",
        "IP fragments were not put together",
    );
    part(
        counts.foreign_link,
        "packet is of a link type that is not decoded",
        "packets are of a link type that is not decoded",
    );
    part(
        counts.implausible,
        "segment has an impossible sequence number",
        "segments have an impossible sequence number",
    );
    part(
        counts.limit_connections,
        "connection was let go for others",
        "connections were let go for others",
    );
    (!parts.is_empty()).then(|| format!("of {} packets: {}", counts.packets, parts.join(", ")))
}

/// Prints what is wanted, in order, and waits for a slow reader.
struct Printed<'a> {
    front: Front,
    wanted: Wanted,
    tally: Tally,
    diagnosis: Diagnosis,
    to: &'a mut dyn io::Write,
    written: io::Result<()>,
}

impl Printed<'_> {
    fn summary(&mut self, at: Timestamp, duration: Duration, filtered: bool) {
        let kernel = Kernel::default();
        let summary = Summary {
            tally: &self.tally,
            kernel: &kernel,
            at,
            duration,
            stopped_by: StoppedBy::EndOfFile,
            output_dropped: 0,
            shed: Shed::default(),
            filtered,
            pods: None,
        };
        self.front.summary(&summary, &self.diagnosis);
    }

    fn flush(&mut self) {
        let lines = self.front.take();
        if self.written.is_ok() {
            self.written = self.to.write_all(&lines).and_then(|()| self.to.flush());
        }
    }
}

impl Sink for Printed<'_> {
    fn accept(&mut self, output: &Output) {
        self.tally.accept(output);
        self.diagnosis.accept(output);
        let front = &mut self.front;
        self.wanted.pass(output, &mut |output| front.accept(output));
        if self.front.len() >= WRITE_AT_ONCE {
            self.flush();
        }
    }
}
