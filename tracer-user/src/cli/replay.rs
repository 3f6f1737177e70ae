//! `h2trace replay`: a capture file through the same pipeline. No kernel, no privileges.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use h2trace_core::event::Timestamp;
use h2trace_core::pipeline::{Frames, NoNames, Output, Pipeline, Settings, Sink};
use h2trace_core::stream::table::Shown;

use super::args::{Format, Headers, ReplayArgs, Show};
use super::output;
use super::show::Wanted;
use crate::export::clock::WallClock;
use crate::export::diagnosis::Diagnosis;
use crate::export::json::Json;
use crate::export::tally::{Kernel, StoppedBy, Summary, Tally};
use crate::export::text::{Text, count};
use crate::kernel::capture::{Capture, CaptureError, Counts, Reassembly};

/// Bytes of printed lines that are gathered before they are written.
const WRITE_AT_ONCE: usize = 64 * 1024;
/// Packets between two looks at what has finished.
const ADVANCE_EVERY: u64 = 64;

/// Runs it.
///
/// # Errors
/// The file cannot be opened, is no capture, or is truncated or corrupt; what could be decoded of it is
/// printed first.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let shown = Arc::new(Shown::with(&args.header.header)?);
    let name = args.file.display().to_string();
    let reader = open(&args.file)?;
    let capture = Capture::open(reader).with_context(|| format!("cannot replay {name}"))?;
    let frames = match args.headers {
        _ if !args.show.contains(&Show::Frames) => Frames::Untold,
        Headers::Allowed => Frames::Redacted,
        Headers::All => Frames::Whole,
    };
    let settings = Settings {
        shown,
        names: Box::new(NoNames),
    };
    let mut pipeline = Pipeline::new(settings).telling(frames);
    let mut out = Printed {
        front: front(args),
        wanted: Wanted::new(args.show.clone()),
        tally: Tally::default(),
        diagnosis: Diagnosis::default(),
        written: Ok(()),
    };
    let mut reassembly = Reassembly::new(args.port);
    let read = replay(capture, &mut reassembly, &mut pipeline, &mut out);
    let duration = match read.first_at {
        Some(first) => Duration::from_nanos(read.last_at.since(first)),
        None => Duration::ZERO,
    };
    out.summary(duration, args.port.is_some());
    out.flush();
    out.written?;
    warn(reassembly.counts());
    if let Some(error) = read.error {
        return Err(anyhow::Error::new(error).context(format!("cannot replay all of {name}")));
    }
    Ok(args.report.exit_code(out.tally.worst()))
}

fn open(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Box::new(file))
}

fn front(args: &ReplayArgs) -> Front {
    // Packets carry wall times: nothing is added to them.
    let clock = WallClock::with_boot(0);
    let shown_from = args.report.findings.shown_from();
    let hops = args.show.contains(&Show::Hops);
    match args.report.output {
        Format::Json => Front::Json(Json::new(clock, shown_from).with_hops(hops)),
        Format::Text => {
            let (paint, columns) = output::terminal();
            let text = Text::new(clock, paint, columns, shown_from).with_hops(hops);
            Front::Text(text.with_headers(&args.header.header))
        }
    }
}

/// How far a file was read.
struct Progress {
    first_at: Option<Timestamp>,
    last_at: Timestamp,
    error: Option<CaptureError>,
}

/// Puts a whole capture through the pipeline.
fn replay(
    mut capture: Capture<'_>,
    reassembly: &mut Reassembly,
    pipeline: &mut Pipeline,
    out: &mut Printed,
) -> Progress {
    let mut read = Progress {
        first_at: None,
        last_at: Timestamp(0),
        error: None,
    };
    while out.written.is_ok() {
        let packet = match capture.packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(error) => {
                read.error = Some(error);
                break;
            }
        };
        read.first_at.get_or_insert(packet.at);
        read.last_at = read.last_at.max(packet.at);
        reassembly.packet(&packet, &mut |event| pipeline.handle(event, out));
        if packet.number % ADVANCE_EVERY == 0 {
            pipeline.advance(reassembly.settled(), out);
        }
    }
    reassembly.finish(&mut |event| pipeline.handle(event, out));
    pipeline.finish(read.last_at, out);
    read
}

/// Says what of the file could not be used.
fn warn(counts: &Counts) {
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
    if !parts.is_empty() {
        super::say(&format!(
            "of {} packets: {}",
            counts.packets,
            parts.join(", ")
        ));
    }
}

enum Front {
    Text(Text),
    Json(Json),
}

/// Prints what is wanted, in order, and waits for a slow reader.
struct Printed {
    front: Front,
    wanted: Wanted,
    tally: Tally,
    diagnosis: Diagnosis,
    written: io::Result<()>,
}

impl Printed {
    fn waiting(&self) -> usize {
        match &self.front {
            Front::Text(text) => text.len(),
            Front::Json(json) => json.len(),
        }
    }

    fn summary(&mut self, duration: Duration, filtered: bool) {
        let kernel = Kernel::default();
        let summary = Summary {
            tally: &self.tally,
            kernel: &kernel,
            duration,
            stopped_by: StoppedBy::EndOfFile,
            output_dropped: 0,
            filtered,
            pods: None,
        };
        match &mut self.front {
            Front::Text(text) => {
                text.summary(&summary);
                text.diagnosis(&self.diagnosis.report());
            }
            Front::Json(json) => {
                json.diagnosis(&self.diagnosis.report(), true);
                json.summary(&summary);
            }
        }
    }

    fn flush(&mut self) {
        let lines = match &mut self.front {
            Front::Text(text) => text.take(),
            Front::Json(json) => json.take(),
        };
        if self.written.is_ok() {
            let mut stdout = io::stdout().lock();
            self.written = stdout.write_all(&lines).and_then(|()| stdout.flush());
        }
    }
}

impl Sink for Printed {
    fn accept(&mut self, output: &Output) {
        self.tally.accept(output);
        self.diagnosis.accept(output);
        let front = &mut self.front;
        self.wanted.pass(output, &mut |output| match front {
            Front::Text(text) => text.accept(output),
            Front::Json(json) => json.accept(output),
        });
        if self.waiting() >= WRITE_AT_ONCE {
            self.flush();
        }
    }
}
