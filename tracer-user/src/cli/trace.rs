//! `h2trace trace`: some processes, now.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;

use super::args::{Format, TraceArgs};
use super::ready::{Ports, ReadyFile};
use crate::confine::{self, Needs};
use crate::export::clock::WallClock;
use crate::export::http::Heartbeat;
use crate::export::json::Json;
use crate::export::text::Text;
use crate::kernel;
use crate::session::chosen;
use crate::session::front::Front;
use crate::session::held;
use crate::session::live;
use crate::session::memory::Purpose;
use crate::session::output::{self, Printer, say};
use crate::session::paper::Paper;
use crate::session::run::{Plan, Shedding};
use crate::session::scope::Scope;
use crate::session::served;
use crate::session::show::{Show, Wanted};
use crate::workload::select::Membership;

/// A quiet trace shows that it is alive this often.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// Runs it.
///
/// # Errors
/// What is named does not exist, privileges are missing, or the kernel refuses.
pub fn run(args: &TraceArgs) -> anyhow::Result<ExitCode> {
    let scope = scope(args)?;
    let told = told_by_holder(args)?;
    let settings = args.common.settings(&scope, Purpose::Trace)?;
    let ready = ReadyFile::prepare(args.common.ready_file.as_deref())?;
    kernel::check_privileges()?;
    confine::keep_memory_private();
    let settings = settings.with_pods(args.common.kubernetes.start()?);
    let chosen = chosen(&scope, &settings, told.as_deref())?;
    let source = live::start(&settings, chosen, &scope.selected, None)?;
    say(&format!("tracing {} (ctrl-c ends it)", scope.in_words()));
    let plan = plan(args, scope, &settings, Printer::stdout()?);
    let ended = served::until_done(source, plan, Vec::new(), || {
        ready.write(Ports::default())?;
        args.common.confine(&settings, Needs::NOTHING);
        Ok(())
    })?;
    Ok(args.report.exit_code(ended.tally.worst()))
}

/// What whoever holds the run knows of the node's pods, if it is held.
pub(super) fn told_by_holder(args: &TraceArgs) -> anyhow::Result<Option<String>> {
    args.held_by_stdin.then(held::by_stdin).transpose()
}

/// The pods that were chosen, once they are known.
pub(super) fn chosen(
    scope: &Scope,
    settings: &live::TraceSettings,
    told: Option<&str>,
) -> anyhow::Result<Option<Membership>> {
    if let (Some(told), Some(source)) = (told, &settings.pods)
        && !told.trim().is_empty()
    {
        source.told(told)?;
    }
    chosen::now(scope, settings.pods.as_ref())
}

/// What is to be traced: never everything by accident.
pub(super) fn scope(args: &TraceArgs) -> anyhow::Result<Scope> {
    let scope = args.filter.scope()?;
    if scope.is_all() && !args.all {
        bail!(
            "say what to trace: --pid, --comm, --cgroup, --netns, --port, or --pod, --namespace, --selector (or --all for \
             the whole host)"
        );
    }
    Ok(scope)
}

/// A run that prints.
pub(super) fn plan(
    args: &TraceArgs,
    scope: Scope,
    settings: &live::TraceSettings,
    printer: Printer,
) -> Plan {
    Plan {
        paper: Paper::to(printer, front(args)),
        exporter: None,
        heartbeat: Arc::new(Heartbeat::new()),
        scope,
        pods: settings.pods.clone(),
        heartbeat_every: HEARTBEAT_EVERY,
        wanted: Wanted::new(shown(args)),
        report_every: args.report_every,
        shedding: Shedding::ByRule(args.common.max_cpu),
        duration: args.duration,
        limit: args.limit,
    }
}

/// What is printed. Programs get the requests at proxies too: for people the findings about them are enough.
fn shown(args: &TraceArgs) -> Vec<Show> {
    match (args.show.is_empty(), args.report.output) {
        (false, _) => args.show.iter().copied().map(Show::from).collect(),
        (true, Format::Json) => vec![Show::Connections, Show::Streams, Show::Hops, Show::Findings],
        (true, Format::Text) => vec![Show::Connections, Show::Streams, Show::Findings],
    }
}

fn front(args: &TraceArgs) -> Front {
    let shown_from = args.report.findings.shown_from();
    let hops = shown(args).contains(&Show::Hops);
    match args.report.output {
        Format::Json => Front::Json(Json::new(WallClock::new(), shown_from).with_hops(hops)),
        Format::Text => {
            let (paint, columns) = output::terminal();
            Front::Text(
                Text::new(WallClock::new(), paint, columns, shown_from)
                    .with_headers(&args.common.header.header)
                    .with_hops(hops),
            )
        }
    }
}
