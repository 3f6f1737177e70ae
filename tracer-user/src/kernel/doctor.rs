//! What this kernel and these privileges allow, and the remedy for what is missing.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use caps::Capability;
use serde::Serialize;

use super::{
    attach::{self, PROBES},
    btf::{Btf, FIELDS, VMLINUX},
    hooks::Hooks,
    load::StartError,
    rights::{self, NEEDED},
    rings,
};
use crate::confine;
use crate::workload::cgroup::{self, CgroupError};
use crate::workload::process;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    /// It is as h2trace wants it.
    pub ok: bool,
    /// Nothing works without it. Otherwise less is seen.
    pub needed: bool,
    pub found: String,
    /// What to do when it is not `ok`; empty otherwise.
    pub remedy: String,
}

/// All that was found out.
#[derive(Clone, Debug, Serialize)]
pub struct DoctorReport {
    /// `uname -r`.
    pub kernel: String,
    /// The hooks on socket calls that tracing would use. Their name in JSON is `rung`: `A` are the socket
    /// tracepoints, `B` is the system call exit, `None` is none.
    #[serde(rename = "rung", serialize_with = "rung")]
    pub hooks: Option<Hooks>,
    /// Tracing would start.
    pub works: bool,
    /// Everything looked at, in a fixed order.
    pub checks: Vec<Check>,
}

fn rung<S: serde::Serializer>(hooks: &Option<Hooks>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(hooks.map_or("None", Hooks::rung))
}

/// `uname -r`.
#[must_use]
pub fn release() -> String {
    read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned())
}

/// The active word of `/sys/kernel/security/lockdown`; None when the kernel has no lockdown, or
/// securityfs is not mounted.
#[must_use]
pub fn lockdown() -> Option<String> {
    let text = read("/sys/kernel/security/lockdown")?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// Looks at everything. Needs no privileges; with those that tracing needs, every program is loaded into the kernel and
/// unloaded, because only the verifier knows whether it takes them.
#[must_use]
pub fn examine() -> DoctorReport {
    let btf = Btf::of_kernel();
    let mut checks = Vec::new();
    checks.push(Check {
        name: "BTF".to_owned(),
        ok: btf.is_ok(),
        needed: true,
        found: btf
            .as_ref()
            .map_or_else(ToString::to_string, |_| VMLINUX.to_owned()),
        remedy: remedy(
            btf.is_ok(),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        ),
    });
    lockdown_check(&mut checks);
    capabilities(&mut checks);
    bpf(&mut checks);
    let mut hooks = None;
    if let Ok(btf) = &btf {
        let chosen = Hooks::choose(None, btf);
        hooks = chosen.as_ref().ok().copied();
        checks.push(of_hooks(&chosen));
        for probe in PROBES
            .iter()
            .filter(|probe| hooks.is_none_or(|hooks| probe.is_with(hooks)))
        {
            let ok = btf.has_tracepoint(probe.tracepoint);
            checks.push(Check {
                name: format!("tracepoint {}", probe.tracepoint),
                ok,
                needed: probe.needed,
                found: present(ok),
                remedy: remedy(ok, "use a kernel that has it"),
            });
        }
        for field in FIELDS {
            let offset = btf.offset_of(field.container, field.path);
            checks.push(Check {
                name: format!("struct {}.{}", field.container, field.path),
                ok: offset.is_some(),
                needed: field.needed,
                found: offset.map_or_else(
                    || "missing".to_owned(),
                    |o| format!("offset {}", o + field.add),
                ),
                remedy: remedy(
                    offset.is_some(),
                    "report this kernel to h2trace: its structs are not known yet",
                ),
            });
        }
        if let Some(hooks) = hooks
            && checks.iter().all(|check| check.ok || !check.needed)
        {
            programs(&mut checks, btf, hooks);
        }
    }
    of_the_host(&mut checks);
    io_uring(&mut checks, hooks);
    confinement(&mut checks);
    surroundings(&mut checks);
    let works = checks.iter().all(|check| check.ok || !check.needed);
    DoctorReport {
        kernel: release(),
        hooks,
        works,
        checks,
    }
}

fn present(ok: bool) -> String {
    if ok { "present" } else { "missing" }.to_owned()
}

fn remedy(ok: bool, text: &str) -> String {
    if ok { String::new() } else { text.to_owned() }
}

/// Where socket calls are seen, and what is not seen there.
fn of_hooks(chosen: &Result<Hooks, StartError>) -> Check {
    let ok = matches!(chosen, Ok(Hooks::SocketTracepoints));
    Check {
        name: "hooks on socket calls".to_owned(),
        ok,
        needed: chosen.is_err(),
        found: match chosen {
            Ok(hooks) => hooks.as_str().to_owned(),
            Err(StartError::NoTracepoint { .. }) => "none".to_owned(),
            Err(error) => error.to_string(),
        },
        remedy: match chosen {
            Ok(Hooks::SocketTracepoints) => String::new(),
            Ok(Hooks::SyscallExit) => {
                "bytes that io_uring and 32-bit calls move are not seen; to see that they pass, use a kernel with the \
                 tracepoints sock_send_length and sock_recv_length"
            }
            .to_owned(),
            Err(StartError::UnknownHooks(_)) => "unset it".to_owned(),
            Err(_) => "use a kernel with the tracepoints sock_send_length and sock_recv_length, or sys_exit".to_owned(),
        },
    }
}

fn lockdown_check(checks: &mut Vec<Check>) {
    let lockdown = lockdown();
    let ok = lockdown.as_deref() != Some("confidentiality");
    checks.push(Check {
        name: "kernel lockdown".to_owned(),
        ok,
        needed: true,
        found: lockdown
            .unwrap_or_else(|| "none, or /sys/kernel/security is not mounted".to_owned()),
        remedy: remedy(ok, "boot with lockdown=integrity, or without lockdown"),
    });
}

fn capabilities(checks: &mut Vec<Check>) {
    let all = rights::has(Capability::CAP_SYS_ADMIN);
    for (capability, what) in NEEDED {
        let held = rights::has(capability);
        let ok = held || all;
        let found = match (held, all) {
            (true, _) => "held",
            (false, true) => "implied by CAP_SYS_ADMIN",
            (false, false) => "missing",
        };
        checks.push(Check {
            name: format!("{capability} ({what})"),
            ok,
            needed: true,
            found: found.to_owned(),
            remedy: remedy(
                ok,
                &format!(
                    "run with sudo, or grant {capability}; {}",
                    rights::remedy_in_kubernetes(&[capability])
                ),
            ),
        });
    }
    // Another user's process, or one with more capabilities than h2trace has, keeps its links in /proc to itself.
    let held = rights::has(Capability::CAP_SYS_PTRACE);
    checks.push(Check {
        name: "CAP_SYS_PTRACE (--netns pid:PROCESS of other processes)".to_owned(),
        ok: held,
        needed: false,
        found: if held { "held" } else { "missing" }.to_owned(),
        remedy: remedy(
            held,
            "only for --netns pid:PROCESS: run with sudo, or give the inode number from lsns -t net",
        ),
    });
}

/// The system call itself: with all capabilities it may still be forbidden.
fn bpf(checks: &mut Vec<Check>) {
    let tried = rights::try_bpf();
    let is_refused = tried.is_err() && rights::missing().is_empty();
    checks.push(Check {
        name: "bpf(2)".to_owned(),
        ok: tried.is_ok(),
        needed: true,
        found: match &tried {
            Ok(()) => "permitted".to_owned(),
            Err(_) if is_refused => rights::refusal().found().to_owned(),
            Err(error) => format!("refused: {error}"),
        },
        remedy: if is_refused {
            rights::refusal().remedy().to_owned()
        } else {
            remedy(tried.is_ok(), "grant the capabilities that are missing")
        },
    });
}

/// Every program, as the verifier judges it.
fn programs(checks: &mut Vec<Check>, btf: &Btf, hooks: Hooks) {
    let remedy_of = |error: &StartError| match error {
        StartError::Verifier { .. } => {
            "report this kernel to h2trace, with what h2trace trace says on it".to_owned()
        }
        _ => "see what is said beside it".to_owned(),
    };
    let tried = match attach::try_programs(btf, hooks) {
        Ok(tried) => tried,
        Err(error) => {
            checks.push(Check {
                name: "kernel programs".to_owned(),
                ok: false,
                needed: true,
                found: error.to_string(),
                remedy: remedy_of(&error),
            });
            return;
        }
    };
    for (name, tried) in tried {
        let needed = PROBES.iter().any(|p| p.tracepoint == name && p.needed);
        checks.push(Check {
            name: format!("program {name}"),
            ok: tried.is_ok(),
            needed,
            found: match &tried {
                Ok(Some(n)) => format!("loaded, {n} instructions verified"),
                Ok(None) => "loaded".to_owned(),
                Err(StartError::Verifier { error, log, .. }) => {
                    // The last line is a count of instructions on some kernels, the reason on others.
                    let lines = log.rsplit(" | ");
                    let mut reasons = lines.filter(|line| !line.starts_with("processed "));
                    let reason = reasons.next().unwrap_or_default();
                    format!("refused by the verifier: {error}: {reason}")
                }
                Err(error) => error.to_string(),
            },
            remedy: tried.as_ref().err().map(remedy_of).unwrap_or_default(),
        });
    }
}

/// What h2trace has to see of the host when it runs in a container.
fn of_the_host(checks: &mut Vec<Check>) {
    let ok = process::in_initial_pid_namespace();
    checks.push(Check {
        name: "process ids of the host (names of processes, --pid)".to_owned(),
        ok,
        needed: false,
        found: if ok {
            "seen"
        } else {
            "a pid namespace of its own"
        }
        .to_owned(),
        remedy: remedy(
            ok,
            "run on the host; in Kubernetes set hostPID: true; without it a process is called by the name of the \
             thread that opened its connection",
        ),
    });
    let root = cgroup::mount_point();
    let in_v1 = match cgroup::hierarchy_of_pods() {
        Err(error @ CgroupError::PodsInV1 { .. }) => Some(error.to_string()),
        _ => None,
    };
    let ok = in_v1.is_none() && root.as_deref().is_some_and(is_root_cgroup);
    checks.push(Check {
        name: "cgroups of the host (names of pods, --cgroup)".to_owned(),
        ok,
        needed: false,
        found: match &root {
            _ if in_v1.is_some() => in_v1.unwrap_or_default(),
            Some(root) if ok => root.display().to_string(),
            Some(root) => format!("{} is only a part of them", root.display()),
            None => "no v2 hierarchy is mounted".to_owned(),
        },
        remedy: remedy(
            ok,
            "run on the host, with a v2 hierarchy (mount -t cgroup2 none /sys/fs/cgroup/unified); in Kubernetes \
             mount the node's /sys/fs/cgroup there, by a hostPath volume with readOnly: true",
        ),
    });
}

/// How many processes a check names.
const NAMED_MAX: usize = 5;

/// Whose bytes pass unseen because io_uring moves them.
fn io_uring(checks: &mut Vec<Check>, hooks: Option<Hooks>) {
    let sysctl = read("/proc/sys/kernel/io_uring_disabled");
    let users = rings::users(Path::new("/proc"));
    let ok = users.is_empty();
    let mut found = match users.get(..NAMED_MAX) {
        Some(some) if users.len() > NAMED_MAX => {
            format!("{} and {} more", some.join(", "), users.len() - NAMED_MAX)
        }
        _ if ok => "used by no process that can be looked at".to_owned(),
        _ => users.join(", "),
    };
    if let Some(may) = rings::disabled(sysctl.as_deref()) {
        found = format!("{found}; {may}");
    }
    let unseen = match hooks {
        Some(Hooks::SyscallExit) => "pass unseen",
        _ => "are counted and not read",
    };
    checks.push(Check {
        name: "io_uring (what it moves is not decoded)".to_owned(),
        ok,
        needed: false,
        found,
        remedy: remedy(
            ok,
            &format!(
                "bytes that these processes move by io_uring {unseen}: to have their connections decoded, turn io_uring \
                 off in them, or for all with sysctl kernel.io_uring_disabled=2"
            ),
        ),
    });
}

/// The directory is the root of the v2 hierarchy and not of a part of it: `cgroup_id` of the root is 1
/// (`kernfs_create_root`, `fs/kernfs/dir.c`).
fn is_root_cgroup(directory: &Path) -> bool {
    std::fs::metadata(directory).is_ok_and(|about| about.ino() == 1)
}

/// What a run gives up once it traces, tried on a thread.
fn confinement(checks: &mut Vec<Check>) {
    let tried = confine::try_out();
    for (by, what) in [
        ("capabilities", "none is left"),
        ("no_new_privs", "no program that is started has more"),
        ("seccomp", "filters this program's own system calls"),
        ("landlock", "no file is opened for writing or executed"),
    ] {
        let ok = tried.by_name().contains(&(by, true));
        checks.push(Check {
            name: format!("{by} given up once it traces ({what})"),
            ok,
            needed: false,
            found: if ok { "yes" } else { "no" }.to_owned(),
            remedy: remedy(
                ok,
                match by {
                    "landlock" => {
                        "use a kernel with CONFIG_SECURITY_LANDLOCK, and landlock in its lsm= list"
                    }
                    _ => "use a kernel with CONFIG_SECCOMP_FILTER",
                },
            ),
        });
    }
}

/// Things that are good to know, and needed by nothing.
fn surroundings(checks: &mut Vec<Check>) {
    let limit = read("/proc/self/limits").and_then(|text| {
        let line = text
            .lines()
            .find(|line| line.starts_with("Max locked memory"))?
            .to_owned();
        line.split_whitespace().nth(3).map(ToOwned::to_owned)
    });
    checks.push(Check {
        name: "locked memory".to_owned(),
        // Since 5.11 maps are charged to the control group, not to this limit.
        ok: true,
        needed: false,
        found: limit.unwrap_or_else(|| "unknown".to_owned()),
        remedy: String::new(),
    });
    let stats = read("/proc/sys/kernel/bpf_stats_enabled").unwrap_or_else(|| "0".to_owned());
    checks.push(Check {
        name: "kernel.bpf_stats_enabled (run time of the programs)".to_owned(),
        ok: true,
        needed: false,
        found: stats,
        remedy: String::new(),
    });
    let jit = read("/proc/sys/net/core/bpf_jit_enable").unwrap_or_else(|| "1".to_owned());
    let ok = jit != "0";
    checks.push(Check {
        name: "BPF just-in-time compiler".to_owned(),
        ok,
        needed: false,
        found: if ok { "on" } else { "off" }.to_owned(),
        remedy: remedy(ok, "sysctl net.core.bpf_jit_enable=1"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_has_a_remedy_and_what_is_there_has_none() {
        let report = examine();
        assert!(!report.kernel.is_empty());
        for check in &report.checks {
            assert_eq!(check.ok, check.remedy.is_empty(), "{check:?}");
        }
        assert_eq!(
            report.works,
            report.checks.iter().all(|c| c.ok || !c.needed)
        );
    }

    #[test]
    fn the_report_is_json() {
        let json = serde_json::to_value(examine()).unwrap();
        assert!(json["checks"].as_array().unwrap().len() > 10);
        assert!(json["rung"] == "A" || json["rung"] == "B" || json["rung"] == "None");
    }
}
