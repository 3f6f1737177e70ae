//! `h2trace trace`: some processes, now.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;

use super::args::{Format, TraceArgs};
use super::live;
use super::output::Printer;
use super::ready::ReadyFile;
use super::scope::Scope;
use super::session::{Ended, Front, Plan};
use crate::export::clock::WallClock;
use crate::export::http::Heartbeat;
use crate::export::json::Json;
use crate::export::text::{COLUMNS, Paint, Text};
use crate::kernel;

/// A quiet trace shows that it is alive this often.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// Runs it.
///
/// # Errors
/// What is named does not exist, privileges are missing, or the kernel refuses.
pub fn run(args: &TraceArgs) -> anyhow::Result<ExitCode> {
    let scope = scope(args)?;
    let settings = live::Settings::new(&args.common, &scope)?;
    let ready = ReadyFile::prepare(args.common.ready_file.as_deref())?;
    kernel::check_privileges()?;
    let source = live::start(&settings, None)?;
    super::say(&format!("tracing {} (ctrl-c ends it)", scope.in_words()));
    ready.write(None)?;
    let ended = live::until_done(source, plan(args, scope, Printer::stdout()), None)?;
    Ok(exit_code(args, &ended))
}

/// What is to be traced: never everything by accident.
pub(super) fn scope(args: &TraceArgs) -> anyhow::Result<Scope> {
    let scope = Scope::new(&args.filter)?;
    if scope.is_all() && !args.all {
        bail!(
            "say what to trace: --pid, --comm, --cgroup, --netns or --port (or --all for the whole host)"
        );
    }
    Ok(scope)
}

/// A run that prints.
pub(super) fn plan(args: &TraceArgs, scope: Scope, printer: Printer) -> Plan {
    Plan {
        front: front(args),
        printer: Some(printer),
        exporter: None,
        heartbeat: Arc::new(Heartbeat::new()),
        scope,
        heartbeat_every: HEARTBEAT_EVERY,
        duration: args.duration,
        limit: args.limit,
    }
}

/// 1 when there was a finding as bad as `--fail-on` says.
pub(super) fn exit_code(args: &TraceArgs, ended: &Ended) -> ExitCode {
    let failed = args
        .fail_on
        .is_some_and(|fail_on| ended.tally.worst() >= Some(fail_on.verdict()));
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn front(args: &TraceArgs) -> Front {
    let shown_from = args.findings.shown_from();
    match args.output {
        Format::Json => Front::Json(Json::new(WallClock::new(), shown_from)),
        Format::Text => {
            let terminal = std::io::stdout().is_terminal();
            // The convention of no-color.org: any value turns colour off.
            let paint =
                Paint::new(terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()));
            let columns = if terminal {
                terminal_columns()
            } else {
                COLUMNS
            };
            Front::Text(
                Text::new(WallClock::new(), paint, columns, shown_from)
                    .with_headers(&args.common.header),
            )
        }
    }
}

/// Columns of the terminal that standard output is.
pub(super) fn terminal_columns() -> usize {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one `struct winsize`, which `size` has room for.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if done == 0 {
        usize::from(size.ws_col)
    } else {
        COLUMNS
    }
}
