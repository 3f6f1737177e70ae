//! What is missing is named, with the remedy on a host and in Kubernetes: one capability, bpf(2) itself, the user
//! namespace, the host's process ids and cgroups. Each is taken away for real, which takes root.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use tracer_tests::require;
use tracer_tests::skip::{self, Need};

use super::binary::{CliOutput, command, output_of, path};

/// A trace of nothing, that ends at once: nobody uses port 1.
const TRACE: [&str; 7] = [
    "trace",
    "--port",
    "1",
    "--for",
    "100ms",
    "--kubernetes",
    "off",
];

/// Taking rights away takes root; says so otherwise.
struct Root;

impl Need for Root {
    fn missing(&self) -> Option<String> {
        // SAFETY: geteuid(2) has no preconditions.
        (unsafe { libc::geteuid() } != 0)
            .then(|| "taking rights away takes root: run the tests with sudo".to_owned())
    }
}

/// h2trace behind another program that takes something away.
fn behind(program: &str, arguments: &[&str], h2trace: &[&str]) -> CliOutput {
    let mut outer = Command::new(program);
    outer.args(arguments).arg(path()).args(h2trace);
    output_of(outer)
}

/// With these capabilities and no others.
fn with(capabilities: &str, h2trace: &[&str]) -> CliOutput {
    let bounding = format!("--bounding-set=-all,{capabilities}");
    behind("setpriv", &[&bounding, "--no-new-privs"], h2trace)
}

/// What doctor says of one thing, with its remedy if there is one.
#[track_caller]
fn doctor_on(said: &CliOutput, name: &str) -> String {
    let mut lines = said.stdout.lines().skip_while(|line| !line.contains(name));
    let found = lines.next();
    let found = found.unwrap_or_else(|| panic!("nothing on {name} in\n{}", said.stdout));
    match lines.next() {
        Some(remedy) if remedy.contains("->") => format!("{found}\n{remedy}"),
        _ => found.to_owned(),
    }
}

#[test]
fn one_missing_capability_is_named_alone() {
    require!(Root);
    for (held, missing, to_add, other) in [
        ("+perfmon", "CAP_BPF missing", "add BPF to", "CAP_PERFMON"),
        ("+bpf", "CAP_PERFMON missing", "add PERFMON to", "CAP_BPF"),
    ] {
        let said = with(held, &TRACE);
        let remedy = format!("{to_add} securityContext.capabilities.add");
        said.assert_refused(&[missing, "run \"sudo ", &remedy]);
        assert!(!said.stderr.contains(other), "{}", said.stderr);
        let doctor = with(held, &["doctor"]);
        assert_eq!(doctor.status, Some(2));
        let name = missing.split(' ').next().unwrap_or_default();
        let line = doctor_on(&doctor, name);
        assert!(line.contains("MISSING") && line.contains(&remedy), "{line}");
    }
}

#[test]
fn two_capabilities_are_enough() {
    require!(Root);
    let said = with("+bpf,+perfmon", &TRACE);
    assert_eq!(said.status, Some(0), "{}", said.stderr);
    let doctor = with("+bpf,+perfmon", &["doctor"]);
    assert_eq!(doctor.status, Some(0), "{}", doctor.stdout);
    let line = doctor_on(&doctor, "CAP_SYS_PTRACE");
    assert!(line.contains("less") && line.contains("--netns"), "{line}");
}

#[test]
fn capabilities_that_are_not_left_to_the_user_have_their_own_remedy() {
    require!(Root);
    // As a container of another user is started, when its file has no capabilities.
    let given = [
        "--bounding-set=-all,+bpf,+perfmon",
        "--reuid=65532",
        "--regid=65532",
        "--clear-groups",
        "--no-new-privs",
    ];
    let folder = tempfile::tempdir().unwrap();
    // Where that user may go, and the tests' own folder is perhaps not.
    let copy = folder.path().join("h2trace");
    std::fs::copy(path(), &copy).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let mut outer = Command::new("setpriv");
    outer.args(given).arg(&copy).args(TRACE);
    output_of(outer).assert_refused(&[
        "CAP_BPF and CAP_PERFMON missing",
        "securityContext.runAsUser: 0",
        "lost its capabilities",
    ]);
}

#[test]
fn capabilities_of_a_file_are_made_effective() {
    require!(Root);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("h2trace");
    std::fs::copy(path(), &copy).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let set = Command::new("setcap")
        .arg("cap_bpf,cap_perfmon=p")
        .arg(&copy)
        .output();
    if !set.is_ok_and(|set| set.status.success()) {
        skip::say("setcap is missing, or the temporary folder keeps no file capabilities");
        return;
    }
    let mut outer = Command::new("setpriv");
    outer.args(["--reuid=65532", "--regid=65532", "--clear-groups"]);
    outer.arg(&copy).args(TRACE);
    let said = output_of(outer);
    assert_eq!(said.status, Some(0), "{}", said.stderr);
}

/// Makes bpf(2) fail with EPERM in this process and its children, as a container runtime's default profile does
/// that does not know CAP_BPF.
fn forbid_bpf() -> std::io::Result<()> {
    /// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K` (linux/bpf_common.h).
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let errno = u32::try_from(libc::EPERM).unwrap_or_default();
    let number = u32::try_from(libc::SYS_bpf).unwrap_or_default();
    // `struct seccomp_data` begins with the number of the system call.
    let mut program = [
        op(LOAD, 0, 0, 0),
        op(JUMP_IF_EQUAL, 0, 1, number),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: 4,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: `filter` and the program that it points to outlive the calls.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const filter,
            ) == 0
    };
    if done {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

#[test]
fn seccomp_that_forbids_bpf_is_named() {
    require!(Root);
    let refused = |arguments: &[&str]| {
        let mut h2trace = command(arguments);
        // SAFETY: the closure makes system calls alone, and allocates nothing.
        unsafe { h2trace.pre_exec(forbid_bpf) };
        output_of(h2trace)
    };
    let remedy = "securityContext.seccompProfile";
    refused(&TRACE).assert_refused(&["a seccomp profile forbids bpf(2)", remedy]);
    let doctor = refused(&["doctor"]);
    assert_eq!(doctor.status, Some(2), "{}", doctor.stdout);
    let line = doctor_on(&doctor, "bpf(2)");
    assert!(line.contains("MISSING") && line.contains(remedy), "{line}");
}

#[test]
fn user_namespace_is_named() {
    require!(Root);
    let unshare = ["--user", "--map-root-user"];
    let said = behind("unshare", &unshare, &TRACE);
    if said.stderr.contains("unshare:") {
        skip::say(&format!("no user namespaces here: {}", said.stderr.trim()));
        return;
    }
    said.assert_refused(&["user namespace", "hostUsers"]);
}

#[test]
fn pid_namespace_of_its_own_is_named() {
    require!(Root);
    let unshare = ["--pid", "--fork", "--mount-proc"];
    let doctor = behind("unshare", &unshare, &["doctor"]);
    let line = doctor_on(&doctor, "process ids of the host");
    assert!(
        line.contains("less") && line.contains("hostPID: true"),
        "{line}"
    );
    behind("unshare", &unshare, &["trace", "--pid", "1"]).assert_refused(&["hostPID: true"]);
}

#[test]
fn cgroups_that_are_not_the_hosts_are_named() {
    require!(Root);
    // Every v2 hierarchy is unmounted, in a mount namespace of its own.
    let script = "awk '$3 == \"cgroup2\" { print $2 }' /proc/mounts | xargs -r umount --lazy && exec \"$0\" doctor";
    let mut hidden = Command::new("unshare");
    hidden.args(["--mount", "sh", "-c", script]).arg(path());
    let doctor = output_of(hidden);
    let line = doctor_on(&doctor, "cgroups of the host");
    assert!(
        line.contains("less") && line.contains("no v2 hierarchy") && line.contains("hostPath"),
        "{line}"
    );
}

/// A node whose kubelet uses v1 alone, in a mount namespace of its own: one named hierarchy, with the cgroup of pods.
const V1_NODE: &str = "\
    awk '$3 == \"cgroup2\" { print $2 }' /proc/mounts | xargs -r umount --lazy
    mount -t tmpfs none /sys/fs/cgroup
    mkdir /sys/fs/cgroup/memory
    mount -t cgroup -o none,name=h2trace-test none /sys/fs/cgroup/memory || exit 77
    mkdir -p /sys/fs/cgroup/memory/kubepods
    \"$0\" \"$@\"
    status=$?
    rmdir /sys/fs/cgroup/memory/kubepods
    umount /sys/fs/cgroup/memory
    exit $status";

/// v1 hierarchies, which a kernel may lack.
struct CgroupV1;

impl Need for CgroupV1 {
    fn missing(&self) -> Option<String> {
        let kinds = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let has = kinds.lines().any(|line| line.ends_with("\tcgroup"));
        (!has).then(|| "this kernel has no cgroup v1 (CONFIG_CGROUPS with v1)".to_owned())
    }
}

fn on_a_v1_node(h2trace: &[&str]) -> CliOutput {
    behind_script(V1_NODE, h2trace)
}

/// h2trace (`$0`, with its arguments) in a script with mounts of its own.
fn behind_script(script: &str, h2trace: &[&str]) -> CliOutput {
    behind("unshare", &["--mount", "sh", "-c", script], h2trace)
}

#[test]
fn node_with_cgroup_v1_alone_says_so_where_pods_or_cgroups_are_selected() {
    require!(Root, CgroupV1);
    let v1 = ["cgroup v1", "--pid", "--netns pid:PROCESS"];
    for select in [
        ["--pod", "shop/cart-1"],
        ["--selector", "app=cart"],
        ["--namespace", "shop"],
    ] {
        let trace = [&["trace"][..], &select, &["--for", "100ms"]].concat();
        on_a_v1_node(&trace).assert_refused(&v1);
    }
    let cgroup = "/sys/fs/cgroup/memory/kubepods";
    on_a_v1_node(&["trace", "--cgroup", cgroup, "--for", "100ms"])
        .assert_refused(&["a cgroup of v1", "--pid"]);
    let doctor = on_a_v1_node(&["doctor"]);
    let line = doctor_on(&doctor, "cgroups of the host");
    assert!(
        line.contains("less") && line.contains("cgroup v1"),
        "{line}"
    );
    // What such a node has still selects.
    let own = std::process::id().to_string();
    let trace = [
        "trace",
        "--pid",
        &own,
        "--for",
        "100ms",
        "--kubernetes",
        "off",
    ];
    let said = on_a_v1_node(&trace);
    assert!(!said.stderr.contains("cgroup v1"), "{}", said.stderr);
}

#[test]
fn pod_without_a_service_account_is_said_to_have_no_names() {
    let mut doctor = command(&["doctor"]);
    // As every container is started by a kubelet; the token is not there.
    doctor
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", "1");
    let said = output_of(doctor);
    let line = doctor_on(&said, "names of pods  ");
    assert!(
        line.contains("less") && line.contains("no service account's token"),
        "{line}"
    );
    assert!(
        !output_of(command(&["doctor"]))
            .stdout
            .contains("names of pods  "),
        "nobody is asked outside of a pod"
    );
}

#[test]
fn held_run_needs_its_holder() {
    for what in [&["trace"][..], &["record", "--include-payload", "-w", "-"]] {
        let arguments = [what, &["--held-by-stdin", "--port", "1"]].concat();
        // The tests' programs have an empty standard input.
        super::binary::h2trace(&arguments)
            .assert_refused(&["standard input ended before the trace began"]);
    }
}
