//! `h2trace doctor`: what this kernel and these privileges allow.

use std::process::ExitCode;

use super::args::{DoctorArgs, Format};
use crate::export::text::Paint;
use crate::kernel::Hooks;
#[cfg(feature = "tls")]
use crate::kernel::Uprobes;
use crate::kernel::doctor::{Check, DoctorReport, examine};
#[cfg(feature = "tls")]
use crate::key_scan;
use crate::plain;
use crate::session::{ERROR, output};
use crate::workload::kubernetes;
use crate::workload::kubernetes::state::Trouble;

/// Examines and prints. Exit status 2 when h2trace cannot trace here.
///
/// # Errors
/// The report cannot be printed.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut report = examine();
    #[cfg(feature = "tls")]
    report.checks.extend(memory());
    #[cfg(feature = "tls")]
    report.checks.push(probes());
    report.checks.extend(names_of_pods());
    let printed = match args.output {
        Format::Text => text(&report, output::terminal().0),
        Format::Json => json(&report)?,
    };
    super::print(plain::lines(&printed).as_bytes())?;
    Ok(if report.works {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(ERROR)
    })
}

/// What `--tls` wants.
#[cfg(feature = "tls")]
fn memory() -> Vec<Check> {
    let check = |found: String, remedy: &str| Check {
        name: "reading memory for keys of TLS (--tls)".to_owned(),
        ok: remedy.is_empty(),
        needed: false,
        found,
        remedy: remedy.to_owned(),
    };
    key_scan::rights::make_effective();
    let missing = key_scan::rights::missing();
    if missing.is_empty() {
        return vec![check("allowed".to_owned(), "")];
    }
    let missing = missing.into_iter();
    missing
        .map(|missing| check(missing.found, missing.remedy))
        .collect()
}

/// The same, for handshakes.
#[cfg(feature = "tls")]
fn probes() -> Check {
    let is_admin = crate::kernel::rights::has(caps::Capability::CAP_SYS_ADMIN);
    let (ok, found, remedy) = match crate::kernel::try_secret_program() {
        Ok(Uprobes::Multi) => (true, "allowed, as processes come".to_owned(), ""),
        Ok(Uprobes::Perf) if is_admin => (
            true,
            "allowed, of processes that are there at the start".to_owned(),
            "",
        ),
        Ok(Uprobes::Perf) => (
            false,
            "before Linux 6.6 it takes CAP_SYS_ADMIN".to_owned(),
            "run as root, or on Linux 6.6 or newer; keys are looked for in memory all the same",
        ),
        Err(error) => (
            false,
            format!("the kernel program cannot be loaded: {error:#}"),
            "what is MISSING says why, if something is; keys are looked for in memory all the same",
        ),
    };
    Check {
        name: "probing handshakes for secrets of TLS (--tls)".to_owned(),
        ok,
        needed: false,
        found,
        remedy: remedy.to_owned(),
    }
}

/// In a pod: whether the API server tells the names of pods.
fn names_of_pods() -> Option<Check> {
    let settings = kubernetes::Settings {
        node_name: std::env::var("H2TRACE_NODE_NAME").ok(),
        ..kubernetes::Settings::default()
    };
    Some(as_check(kubernetes::ask_once(&settings)?))
}

fn as_check(asked: Result<(), Trouble>) -> Check {
    let (ok, remedy) = match asked {
        Ok(()) => (true, String::new()),
        Err(trouble) => (false, trouble.to_string()),
    };
    Check {
        name: "names of pods".to_owned(),
        ok,
        // Tracing goes on without them.
        needed: false,
        found: if ok {
            "told by the API server"
        } else {
            "not told by the API server"
        }
        .to_owned(),
        remedy,
    }
}

fn json(report: &DoctorReport) -> anyhow::Result<String> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        v: u32,
        #[serde(rename = "type")]
        line_type: &'static str,
        #[serde(flatten)]
        report: &'a DoctorReport,
    }
    let line = Line {
        v: 1,
        line_type: "doctor",
        report,
    };
    Ok(serde_json::to_string(&line)? + "\n")
}

fn text(report: &DoctorReport, paint: Paint) -> String {
    let mut lines: Vec<String> = vec![paint.bold(&format!(
        "kernel {}, {}",
        report.kernel,
        report.hooks.map_or("no hooks", Hooks::as_str)
    ))];
    // Dozens of struct members that are there say no more than their number does.
    let (members, others): (Vec<&Check>, Vec<&Check>) = report
        .checks
        .iter()
        .partition(|check| check.ok && check.name.starts_with("struct "));
    let width = others
        .iter()
        .map(|check| check.name.chars().count())
        .max()
        .unwrap_or(0);
    if !members.is_empty() {
        let found = format!("{} found in BTF", members.len());
        lines.push(format!(
            "  {}  {:<width$}  {found}",
            paint.good("ok     "),
            "kernel structs' members"
        ));
    }
    for check in others {
        lines.push(format!(
            "  {}  {:<width$}  {}",
            state(check, paint),
            check.name,
            check.found
        ));
        if !check.ok && !check.remedy.is_empty() {
            lines.push(format!("  {:7}  {:<width$}  -> {}", "", "", check.remedy));
        }
    }
    lines.push(if report.works {
        paint.good("h2trace can trace here")
    } else {
        paint.bad("h2trace cannot trace here: what is MISSING above says why")
    });
    lines.push(String::new());
    lines.join("\n")
}

/// Seven columns.
fn state(check: &Check, paint: Paint) -> String {
    match (check.ok, check.needed) {
        (true, _) => paint.good("ok     "),
        (false, true) => paint.bad("MISSING"),
        (false, false) => paint.warning("less   "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_without_names_are_said_with_the_cause() {
        let check = as_check(Err(Trouble {
            reason: kubernetes::state::Reason::Forbidden,
            said: "the API server forbids it".into(),
        }));
        assert!(!check.ok && !check.needed && check.remedy.contains("forbids"));
        assert_eq!(as_check(Ok(())).remedy, "");
    }

    #[test]
    fn what_is_missing_stands_out_with_its_remedy() {
        let check = |name: &str, ok, needed| Check {
            name: name.into(),
            ok,
            needed,
            found: "seen".into(),
            remedy: if ok {
                String::new()
            } else {
                format!("mend {name}")
            },
        };
        let checks = vec![
            check("struct sock.sk_type", true, true),
            check("BTF", true, true),
            check("CAP_BPF", false, true),
            check("splice", false, false),
        ];
        let report = DoctorReport {
            kernel: "6.18.0".into(),
            hooks: Some(Hooks::SocketTracepoints),
            works: false,
            checks,
        };
        let text = text(&report, Paint::new(false));
        for line in [
            "kernel 6.18.0, socket tracepoints",
            "  ok       kernel structs' members  1 found in BTF",
            "  ok       BTF      seen",
            "  MISSING  CAP_BPF  seen",
            "                    -> mend CAP_BPF",
            "  less     splice   seen",
            "h2trace cannot trace here: what is MISSING above says why",
        ] {
            assert!(
                text.lines().any(|of_text| of_text == line),
                "no {line:?} in\n{text}"
            );
        }
        let line: serde_json::Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
        assert_eq!(
            (&line["type"], &line["checks"][2]["remedy"]),
            (&"doctor".into(), &"mend CAP_BPF".into())
        );
    }
}
