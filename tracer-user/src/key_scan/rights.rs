//! What reading the memory of other processes takes, and what to do about what is missing.

use caps::{CapSet, Capability};

use crate::kernel::rights::has;

/// The capabilities for it, and what each is for.
pub const NEEDED: [(Capability, &str); 2] = [
    (
        Capability::CAP_SYS_PTRACE,
        "lets it read the memory of processes of others",
    ),
    (
        Capability::CAP_DAC_READ_SEARCH,
        "opens their files in /proc, which are their owners' alone",
    ),
];

/// Something is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What was found.
    pub found: String,
    /// What to do.
    pub remedy: &'static str,
}

/// What is known of this process and the kernel.
struct Facts<'a> {
    has_ptrace: bool,
    has_read: bool,
    /// `/proc/sys/kernel/yama/ptrace_scope`.
    yama: &'a str,
    /// `/proc/self/attr/current`.
    label: &'a str,
}

/// Makes effective what is permitted. To be called before there are other threads.
pub fn make_effective() {
    for (capability, _) in NEEDED {
        if !has(capability) {
            // What is not permitted is missing, which is said.
            drop(caps::raise(None, CapSet::Effective, capability));
        }
    }
}

/// What of it is missing here; nothing: processes of others can be read, unless a security module knows them apart.
#[must_use]
pub fn missing() -> Vec<Missing> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    of(&Facts {
        has_ptrace: has(Capability::CAP_SYS_PTRACE),
        has_read: has(Capability::CAP_DAC_READ_SEARCH) || has(Capability::CAP_DAC_OVERRIDE),
        yama: &read("/proc/sys/kernel/yama/ptrace_scope"),
        label: &read("/proc/self/attr/current"),
    })
}

fn of(facts: &Facts<'_>) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut lacks = |found: String, remedy| missing.push(Missing { found, remedy });
    if !facts.has_ptrace {
        lacks(
            "CAP_SYS_PTRACE is missing".to_owned(),
            "run as root; in Kubernetes set the chart's tls.enabled, which adds SYS_PTRACE to securityContext.capabilities.add",
        );
    }
    if !facts.has_read {
        lacks(
            "CAP_DAC_READ_SEARCH is missing".to_owned(),
            "run as root; in Kubernetes set the chart's tls.enabled, which adds DAC_READ_SEARCH to securityContext.capabilities.add",
        );
    }
    if facts.yama.trim() == "3" {
        lacks(
            "Yama forbids reading other processes (kernel.yama.ptrace_scope is 3)".to_owned(),
            "set kernel.yama.ptrace_scope to 2 or less, which takes a restart of the host",
        );
    }
    let label = facts.label.trim().trim_end_matches('\0');
    if label.contains(":container_") {
        lacks(
            format!("SELinux confines h2trace ({label})"),
            "run on the host; in Kubernetes set the chart's seLinuxOptions: {type: spc_t}",
        );
    } else if label.ends_with("(enforce)") {
        lacks(
            format!("AppArmor confines h2trace ({label})"),
            "run on the host; in Kubernetes set the chart's tls.enabled, or securityContext.appArmorProfile: {type: Unconfined}",
        );
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Facts<'static> = Facts {
        has_ptrace: true,
        has_read: true,
        yama: "1\n",
        label: "unconfined\n",
    };

    fn words(facts: &Facts<'_>) -> Vec<String> {
        of(facts).into_iter().map(|missing| missing.found).collect()
    }

    #[test]
    fn each_right_that_is_missing_is_named() {
        assert_eq!(words(&ROOT), [""; 0]);
        let none = Facts {
            has_ptrace: false,
            has_read: false,
            ..ROOT
        };
        assert_eq!(
            words(&none),
            [
                "CAP_SYS_PTRACE is missing",
                "CAP_DAC_READ_SEARCH is missing"
            ]
        );
        for (yama, label, found) in [
            ("3\n", "", "Yama forbids"),
            (
                "",
                "cri-containerd.apparmor.d (enforce)\n",
                "AppArmor confines",
            ),
            (
                "",
                "system_u:system_r:container_t:s0:c1,c2\0",
                "SELinux confines",
            ),
        ] {
            let found_words = words(&Facts {
                yama,
                label,
                ..ROOT
            });
            assert!(
                found_words.len() == 1 && found_words[0].starts_with(found),
                "{found_words:?}"
            );
        }
        assert_eq!(
            words(&Facts {
                label: "unconfined_u:unconfined_r:unconfined_t:s0",
                ..ROOT
            }),
            [""; 0]
        );
    }
}
