//! What this process may do to the kernel: capabilities, seccomp, user namespace, and the remedies, on a host and in
//! Kubernetes.

use std::io;

use caps::{CapSet, Capability};

use super::doctor;

/// The capabilities without which nothing can be traced, and what each is for.
pub const NEEDED: [(Capability, &str); 2] = [
    (
        Capability::CAP_BPF,
        "loads the kernel programs and makes their maps",
    ),
    (Capability::CAP_PERFMON, "lets them read kernel memory"),
];

/// `uid_map` of the initial user namespace (`user_namespaces(7)`).
const ALL_USERS: [&str; 3] = ["0", "0", "4294967295"];

/// The effective set of this thread has it; CAP_SYS_ADMIN stands for each of [`NEEDED`].
#[must_use]
pub fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Those of [`NEEDED`] that are missing.
#[must_use]
pub fn missing() -> Vec<Capability> {
    if has(Capability::CAP_SYS_ADMIN) {
        return Vec::new();
    }
    NEEDED
        .into_iter()
        .map(|(capability, _)| capability)
        .filter(|capability| !has(*capability))
        .collect()
}

/// Makes effective what is permitted. The image's program has its capabilities from its file, where they are only
/// permitted. To be called before there are other threads: each has its own.
pub fn make_effective() {
    for (capability, _) in NEEDED {
        if !has(capability) {
            // What is not permitted is missing, which is said when it is needed.
            drop(caps::raise(None, CapSet::Effective, capability));
        }
    }
}

/// A capability as Kubernetes names it: without its CAP_.
#[must_use]
pub fn in_kubernetes(capability: Capability) -> String {
    let name = capability.to_string();
    name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
}

/// What to do in Kubernetes about missing capabilities.
#[must_use]
pub fn remedy_in_kubernetes(missing: &[Capability]) -> String {
    let bounds = |capability| caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(true);
    let names: Vec<String> = missing.iter().copied().map(in_kubernetes).collect();
    to_do(
        &names.join(" and "),
        missing.iter().all(|capability| bounds(*capability)),
        !bounds(Capability::CAP_SYS_MODULE),
    )
}

/// The container was given them, in so far as this is a container, whose bounding set is never full.
fn to_do(names: &str, is_given: bool, is_container: bool) -> String {
    if is_given && is_container {
        format!(
            "in Kubernetes set securityContext.runAsUser: 0: the container has {names}, and its user has not, \
             because the image's file has lost its capabilities"
        )
    } else {
        format!("in Kubernetes add {names} to securityContext.capabilities.add")
    }
}

/// Why the kernel refuses bpf(2) to who has the capabilities, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Lockdown forbids reading kernel memory.
    Lockdown,
    /// The capabilities are worth nothing: they are of another user namespace.
    UserNamespace,
    /// A seccomp filter.
    Seccomp,
    /// SELinux confines this process as a container.
    SeLinux,
    /// None of these: another security module.
    SecurityModule,
}

impl Refusal {
    #[must_use]
    pub const fn found(self) -> &'static str {
        match self {
            Refusal::Lockdown => {
                "the kernel's lockdown is \"confidentiality\", which forbids tracing"
            }
            Refusal::UserNamespace => {
                "this is a user namespace of its own, in which capabilities do not count for bpf(2)"
            }
            Refusal::Seccomp => "a seccomp profile forbids bpf(2)",
            Refusal::SeLinux => "SELinux forbids bpf(2) to containers",
            Refusal::SecurityModule => "a security module forbids bpf(2)",
        }
    }

    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Refusal::Lockdown => "boot with lockdown=integrity, or without lockdown",
            Refusal::UserNamespace => "run on the host; in Kubernetes leave out hostUsers: false",
            Refusal::Seccomp => {
                "allow it; in Kubernetes set securityContext.seccompProfile: {type: RuntimeDefault} where the \
                 container runtime's default profile knows CAP_BPF, otherwise {type: Unconfined}"
            }
            Refusal::SeLinux => {
                "run on the host; in Kubernetes set securityContext.seLinuxOptions: {type: spc_t}"
            }
            Refusal::SecurityModule => "look for the denial in the kernel's log (dmesg)",
        }
    }
}

/// Why bpf(2) is refused, when the capabilities are there.
#[must_use]
pub fn refusal() -> Refusal {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if doctor::lockdown().as_deref() == Some("confidentiality") {
        Refusal::Lockdown
    } else if !is_initial(&read("/proc/self/uid_map")) {
        Refusal::UserNamespace
    } else if is_filtered(&read("/proc/self/status")) {
        Refusal::Seccomp
    } else if read("/proc/self/attr/current").contains(":container_") {
        Refusal::SeLinux
    } else {
        Refusal::SecurityModule
    }
}

/// This `uid_map` is the one of the initial user namespace. One that cannot be read is taken for it.
fn is_initial(uid_map: &str) -> bool {
    uid_map.is_empty() || uid_map.split_whitespace().eq(ALL_USERS)
}

/// A seccomp filter is at work, by `/proc/PID/status` (mode 2 of seccomp(2)).
fn is_filtered(status: &str) -> bool {
    status
        .lines()
        .filter_map(|line| line.strip_prefix("Seccomp:"))
        .any(|mode| mode.trim() == "2")
}

/// Tries bpf(2): makes the smallest map there is, and closes it.
///
/// # Errors
/// What the kernel said.
pub fn try_bpf() -> io::Result<()> {
    /// `enum bpf_cmd` and `enum bpf_map_type` of `linux/bpf.h`.
    const BPF_MAP_CREATE: libc::c_long = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    // The beginning of `union bpf_attr` for this command: type, key size, value size, entries, flags.
    let attributes: [u32; 5] = [BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0];
    // SAFETY: the kernel reads `size` bytes of `attributes`, which outlive the call, and writes nothing to them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    match i32::try_from(fd) {
        Ok(fd) if fd >= 0 => {
            // SAFETY: the descriptor is ours, just made, and nothing else has it.
            unsafe { libc::close(fd) };
            Ok(())
        }
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named_as_kubernetes_does() {
        assert_eq!(in_kubernetes(Capability::CAP_PERFMON), "PERFMON");
    }

    #[test]
    fn capability_that_was_given_and_not_left_has_another_remedy() {
        let given = "in Kubernetes add BPF to securityContext.capabilities.add";
        for (is_given, is_container) in [(false, true), (false, false), (true, false)] {
            assert_eq!(to_do("BPF", is_given, is_container), given);
        }
        assert!(to_do("BPF", true, true).contains("runAsUser: 0"));
    }

    #[test]
    fn initial_user_namespace_maps_all_users() {
        for (map, initial) in [
            ("         0          0 4294967295\n", true),
            ("", true),
            ("         0     100000      65536\n", false),
            ("0 0 1\n1 1 4294967294\n", false),
        ] {
            assert_eq!(is_initial(map), initial, "{map:?}");
        }
    }

    #[test]
    fn seccomp_filter_is_read_from_the_status() {
        for (status, filtered) in [
            ("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n", true),
            ("Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t0\n", false),
            ("", false),
        ] {
            assert_eq!(is_filtered(status), filtered, "{status:?}");
        }
    }
}
