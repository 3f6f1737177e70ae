//! `h2trace record`: a trace that keeps the payload, as a pcapng file.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::args::RecordArgs;
use super::ready::{Ports, ReadyFile};
use super::trace;
use crate::confine::{self, Needs};
use crate::export::clock::WallClock;
use crate::export::pcapng::{Recorder, RecordingSettings};
use crate::kernel;
use crate::session::live;
use crate::session::memory::Purpose;
use crate::session::output::{Printer, say};
use crate::session::recording::{self, Recording};
use crate::session::run::{Plan, Shedding};
use crate::session::served;

/// Runs it.
///
/// # Errors
/// What it means was not confirmed, the file cannot be written, and all that `trace` refuses.
pub fn run(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    if !args.include_payload {
        bail!(
            "record writes all that the traced processes send and receive into the file, bodies and credentials \
             too (if that is meant, say --include-payload; trace keeps none of it)"
        );
    }
    if args.trace.common.max_cpu.is_some() {
        bail!("record leaves nothing out, whatever it takes (leave --max-cpu out, or use trace)");
    }
    let scope = trace::scope(&args.trace)?;
    let told = trace::told_by_holder(&args.trace)?;
    let settings = args.trace.common.settings(&scope, Purpose::Record)?;
    let settings = settings.with_payload();
    let ready = ReadyFile::prepare(args.trace.common.ready_file.as_deref())?;
    kernel::check_privileges()?;
    confine::keep_memory_private();
    let settings = settings.with_pods(args.trace.common.kubernetes.start()?);
    let chosen = trace::chosen(&scope, &settings, told.as_deref())?;
    let name = args.write.display().to_string();
    let to_stdout = args.write == Path::new("-");
    let file = recording::open(&args.write).with_context(|| {
        format!("cannot write {name} (choose another with --write FILE, or - for standard output)")
    })?;
    let recorder = Recorder::new(RecordingSettings {
        clock: WallClock::new(),
        shown_from: args.trace.report.findings.shown_from(),
        max_bytes: args.max_size,
        max_waiting: settings.memory.recorded,
    });
    let (tap, report) = Recording::new(recorder, file, settings.memory.written)?;
    let source = live::start(&settings, chosen, &scope.selected, Some(Box::new(tap)))?;
    say(&format!(
        "recording {} with its payload to {} (ctrl-c ends it)",
        scope.in_words(),
        if to_stdout { "standard output" } else { &name }
    ));
    // What is printed must not get into the recording.
    let printer = if to_stdout {
        Printer::new(io::stderr())?
    } else {
        Printer::stdout()?
    };
    let plan = Plan {
        shedding: Shedding::Never,
        ..trace::plan(&args.trace, scope, &settings, printer)
    };
    let ended = served::until_done(source, plan, Vec::new(), || {
        ready.write(Ports::default())?;
        args.trace.common.confine(&settings, Needs::NOTHING);
        Ok(())
    })?;
    let report = report.take();
    for line in report.lines(&name, args.max_size) {
        say(&line);
    }
    match report.error {
        // As with what is printed: a reader that has gone is no error.
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context(format!("cannot write all of {name}")))
        }
        _ => Ok(args.trace.report.exit_code(ended.tally.worst())),
    }
}
