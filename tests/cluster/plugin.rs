//! `kubectl h2trace` that is interrupted or killed: its trace ends with it, and nothing of it is left.

use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use serde_json::{Value, json};
use tracer_tests::process::Process;
use tracer_tests::{eventually, scaled};

use crate::filter::{nothing_is_left, plugin_command};
use crate::pairs::{Pairs, TRAFFIC};
use crate::setting::{SOON, Setting};

/// How a person, a machine or the network ends it.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// Ctrl-C: the terminal sends SIGINT to all of its processes.
    Interrupt,
    /// SIGTERM to the plugin alone.
    Terminate,
    /// SIGKILL to the plugin alone: kubectl lives on.
    Kill,
    /// SIGKILL to all of its processes at once, as when the machine goes.
    KillAll,
}

const STOPS: [Stop; 4] = [Stop::Interrupt, Stop::Terminate, Stop::Kill, Stop::KillAll];

pub(crate) fn ended_from_outside(setting: &mut Setting) {
    setting.tracer_with(&json!({}));
    let pairs = Pairs::start(setting, TRAFFIC);
    // Each takes ten seconds or so: all eight with --full.
    for end in scaled(&[Stop::Interrupt, Stop::KillAll][..], &STOPS) {
        ends_with_it(setting, &pairs, *end, &[]);
    }
    for end in scaled(&[Stop::Kill][..], &STOPS) {
        ends_with_it(setting, &pairs, *end, &["--no-daemon-set"]);
    }
}

fn ends_with_it(setting: &Setting, pairs: &Pairs, end: Stop, more: &[&str]) {
    println!("    {end:?} {more:?}");
    let mut command = plugin_command(setting, &pairs.server);
    // A shell leaves SIGINT ignored to what it starts in the background, these tests perhaps, and no sh can catch
    // what was ignored when it began. A terminal's programs begin without that.
    let take_signals = || {
        // SAFETY: signal(2) is async-signal-safe, and the default action needs no handler.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        Ok(())
    };
    // SAFETY: the closure only calls signal(2).
    unsafe { command.pre_exec(take_signals) };
    let mut plugin = Process::start("kubectl h2trace", command.args(more).process_group(0));
    plugin.wait_for_line(0, SOON, |line| {
        line.contains("\"type\":\"stream\"").then_some(())
    });
    let group = plugin.pid().cast_signed();
    let (to, signal) = match end {
        Stop::Interrupt => (-group, libc::SIGINT),
        Stop::Terminate => (group, libc::SIGTERM),
        Stop::Kill => (group, libc::SIGKILL),
        Stop::KillAll => (-group, libc::SIGKILL),
    };
    // SAFETY: kill(2) has no memory effects; the group was made for our child, which is not waited for yet.
    unsafe { libc::kill(to, signal) };
    let status = plugin.wait(Duration::from_secs(30));
    if matches!(end, Stop::Interrupt | Stop::Terminate) {
        assert!(
            status.success(),
            "{end:?} {more:?}: {status}{}",
            plugin.complaint()
        );
        let summary = plugin.lines().iter().any(|line| {
            serde_json::from_str::<Value>(line).is_ok_and(|line| line["type"] == "summary")
        });
        assert!(summary, "{end:?} {more:?}: no summary at the end");
    } else {
        // Kubernetes removes the Job some time after it has ended.
        eventually(SOON, || {
            let jobs = setting.json(&["get", "jobs", "--all-namespaces"]);
            jobs["items"].as_array().is_some_and(Vec::is_empty)
        });
    }
    nothing_is_left(setting);
}
