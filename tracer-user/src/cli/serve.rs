//! `h2trace serve`: for ever, with metrics.

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;

use super::args::ServeArgs;
use super::ready::{Ports, ReadyFile};
use crate::confine::{self, Needs};
use crate::export::http::{self, Guard, Heartbeat, Site};
use crate::export::prometheus::Exporter;
use crate::kernel;
use crate::session::chosen;
use crate::session::live;
use crate::session::memory::Purpose;
use crate::session::output::say;
use crate::session::paper::Paper;
use crate::session::run::{Plan, Shedding};
use crate::session::served;
use crate::session::show::Wanted;
use crate::workload::kubernetes::Reviewer;

/// A server's log needs less of it than a person does.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(60);

/// Runs it.
///
/// # Errors
/// The port is in use, what is named does not exist, privileges are missing, or the kernel refuses.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let scope = args.filter.scope()?;
    let settings = args.common.settings(&scope, Purpose::Serve)?;
    let settings = settings.counting_only();
    let reviewer = args
        .kubernetes_auth
        .then(|| Reviewer::new(&args.common.kubernetes.settings()));
    let reviewer = reviewer.transpose()?;
    let review_needs = reviewer.as_ref().map_or(Needs::NOTHING, Reviewer::needs);
    let guard = Guard::new(args.web_config_file.as_deref(), reviewer)?.map(Arc::new);
    let is_private = |guard: &Guard| guard.has_tls() || args.listen.ip().is_loopback();
    if args.kubernetes_auth && !guard.as_deref().is_some_and(is_private) {
        bail!(
            "--kubernetes-auth needs TLS, or others could read the bearer tokens on their way (give --web-config-file \
             PATH with a tls_server_config, or listen on 127.0.0.1)"
        );
    }
    let listener = http::bind(args.listen, "--listen")?;
    let health = args
        .health_listen
        .map(|at| http::bind(at, "--health-listen"));
    let health = health.transpose()?;
    let listen = listener.local_addr()?;
    let ports = Ports {
        listen: Some(listen),
        health: health.as_ref().map(TcpListener::local_addr).transpose()?,
    };
    let ready = ReadyFile::prepare(args.common.ready_file.as_deref())?;
    kernel::check_privileges()?;
    confine::keep_memory_private();
    let settings = settings.with_pods(args.common.kubernetes.start()?);
    let exporter = Exporter::new()?;
    let scrape = exporter.scrape();
    let heartbeat = Arc::new(Heartbeat::new());
    if let Some(pods) = &settings.pods {
        exporter.show_pods(pods.clone())?;
        heartbeat.show_pods(Arc::clone(&pods.state));
    }
    let chosen = chosen::later(&scope, settings.pods.as_ref())?;
    let source = live::start(&settings, chosen, &scope.selected, None)?;
    if let Some(why) = chosen::unknown(&scope, settings.pods.as_ref()) {
        say(&why);
        heartbeat.set_waiting(Some(why));
    }
    heartbeat.set_attached(true);
    say(&format!(
        "tracing {}; metrics on {}://{listen}/metrics",
        scope.in_words(),
        match &guard {
            Some(guard) if guard.has_tls() => "https",
            _ => "http",
        }
    ));
    let plan = Plan {
        paper: Paper::none(),
        exporter: Some(exporter),
        heartbeat: Arc::clone(&heartbeat),
        scope,
        pods: settings.pods.clone(),
        heartbeat_every: HEARTBEAT_EVERY,
        wanted: Wanted::new(Vec::new()),
        report_every: Duration::MAX,
        shedding: Shedding::ByRule(args.common.max_cpu),
        duration: None,
        limit: None,
    };
    let probes = health.map(|listener| served::Web {
        listener,
        site: Site::probes(scrape.clone(), Arc::clone(&heartbeat)),
    });
    let whole = served::Web {
        listener,
        site: Site::whole(scrape.clone(), heartbeat).guarded(guard),
    };
    let web = probes.into_iter().chain([whole]).collect();
    served::until_done(source, plan, web, || {
        ready.write(ports)?;
        scrape.set_confined(args.common.confine(&settings, review_needs));
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
