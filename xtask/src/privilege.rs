//! What this process may do: said before anything else is done.

use std::process::ExitCode;

/// CAP_PERFMON, CAP_BPF and CAP_SYS_ADMIN (include/uapi/linux/capability.h).
const PERFMON: u32 = 38;
const BPF: u32 = 39;
const SYS_ADMIN: u32 = 21;

/// Says what is missing to load kernel programs, and the command to use; None when nothing is.
pub(crate) fn refuse(task: &str, why: &str) -> Option<ExitCode> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if may_trace(&status) {
        return None;
    }
    eprintln!("error: cargo xtask {task} {why} (CAP_BPF and CAP_PERFMON, or root); run");
    eprintln!("    sudo -E env \"PATH=$PATH\" cargo xtask {task}");
    Some(ExitCode::from(2))
}

/// The effective capabilities of `/proc/self/status` allow tracing programs.
fn may_trace(status: &str) -> bool {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
        .unwrap_or(0);
    let has = |bit: u32| effective >> bit & 1 == 1;
    has(SYS_ADMIN) || has(BPF) && has(PERFMON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracing_needs_bpf_and_perfmon_or_sys_admin() {
        for (capabilities, want) in [
            (0u64, false),
            (1 << BPF, false),
            (1 << PERFMON, false),
            (1 << BPF | 1 << PERFMON, true),
            (1 << SYS_ADMIN, true),
        ] {
            let status =
                format!("Name:\tx\nCapPrm:\tffffffffffffffff\nCapEff:\t{capabilities:016x}\n");
            assert_eq!(may_trace(&status), want, "{status}");
        }
    }
}
