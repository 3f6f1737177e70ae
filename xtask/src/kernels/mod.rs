//! h2trace on kernels other than this machine's: `cargo xtask test --kernels`, and the step `kernels` of the gate.
//!
//! `cargo xtask setup --only qemu kernel-6.12 kernel-6.1` fetches Debian's kernels and unpacks them; nothing of them is
//! installed. Each is booted by QEMU without hardware virtualisation, so that the step runs in a container and takes
//! the same path on every machine. The guest has no disk: its root is an archive (initramfs) of a static busybox, the
//! static h2trace of `cargo xtask image --binary-only`, the tests in `tests/kernel` linked statically, and an init
//! script that runs one after the other
//!
//! * `h2trace doctor`,
//! * `h2trace demo`,
//! * the core of the kernel tests ([`steps::CORE`] says which, and why),
//! * on another architecture than this machine's the unit tests of the core and of the walk over frames,
//! * a look into the kernel's own log for warnings.
//!
//! Each kernel of the table [`KERNELS`] has to show all of it, with the hooks on socket calls that it has. A guest that
//! hangs is ended after the limits of its steps. Everything that a guest prints is in `target/kernels/NAME.log`.
//!
//! The running kernel is tested by the step `live`, and by `--kernels` in the same terms as the others ([`host`]).

mod console;
mod guest;
mod host;
mod incident;
mod initramfs;
mod judge;
mod programs;
mod steps;
mod table;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::architecture::Architecture;
use crate::test::count::Count;
use crate::test::report::Skip;
use crate::{build_ebpf, demo, image, setup};
use guest::Guest;
use host::{HOSTS, Host};
use initramfs::Entry;
use programs::Program;
use steps::{Extent, INCIDENT_TESTS, KERNEL_TESTS};
use verdict::{Stacks, Verdict};

pub(crate) use table::tables;

/// The hooks on socket calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hooks {
    SocketTracepoints,
    SystemCallExit,
}

impl Hooks {
    /// As doctor and the documentation say them.
    const fn name(self) -> &'static str {
        match self {
            Hooks::SocketTracepoints => "socket tracepoints",
            Hooks::SystemCallExit => "system call exit",
        }
    }
}

/// A kernel of the table.
pub(crate) struct Kernel {
    /// What it is called here. What the setup calls it is `kernel-` and this.
    pub(crate) name: &'static str,
    /// The first two numbers of its release.
    series: &'static str,
    /// What its release ends in.
    flavour: &'static str,
    /// The size of its pages.
    pages_kib: u32,
    pub(crate) architecture: Architecture,
    /// Those that h2trace has to choose there.
    hooks: Hooks,
}

/// The kernels, and the hooks that each has.
pub(crate) const KERNELS: [Kernel; 5] = [
    Kernel {
        name: "6.12",
        series: "6.12",
        flavour: "cloud-amd64",
        pages_kib: PAGES_KIB,
        architecture: Architecture::Amd64,
        hooks: Hooks::SocketTracepoints,
    },
    Kernel {
        name: "6.1",
        series: "6.1",
        flavour: "cloud-amd64",
        pages_kib: PAGES_KIB,
        architecture: Architecture::Amd64,
        hooks: Hooks::SystemCallExit,
    },
    Kernel {
        name: "6.12-arm64",
        series: "6.12",
        flavour: "cloud-arm64",
        pages_kib: PAGES_KIB,
        architecture: Architecture::Arm64,
        hooks: Hooks::SocketTracepoints,
    },
    Kernel {
        name: "6.1-arm64",
        series: "6.1",
        flavour: "cloud-arm64",
        pages_kib: PAGES_KIB,
        architecture: Architecture::Arm64,
        hooks: Hooks::SystemCallExit,
    },
    Kernel {
        name: "6.12-arm64-16k",
        series: "6.12",
        flavour: "arm64-16k",
        pages_kib: 16,
        architecture: Architecture::Arm64,
        hooks: Hooks::SocketTracepoints,
    },
];

/// The size of pages of nearly all kernels.
const PAGES_KIB: u32 = 4;

impl Kernel {
    /// The setup's piece with this kernel.
    fn piece(&self) -> String {
        format!("kernel-{}", self.name)
    }
}

/// Which of the kernels.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those of this machine's architecture, whose programs are built anyway.
    OfThisMachine,
    /// All, and this machine's own.
    All,
    /// These, by their names.
    Named(Vec<String>),
}

/// The names of all kernels, this machine's own among them.
pub(crate) fn names() -> Vec<&'static str> {
    let hosts = HOSTS.iter().map(|host| host.name);
    KERNELS
        .iter()
        .map(|kernel| kernel.name)
        .chain(hosts)
        .collect()
}

/// The ways to run this machine's kernel that are meant.
fn chosen_hosts(which: &Which) -> Vec<&'static Host> {
    HOSTS
        .iter()
        .filter(|host| match which {
            Which::OfThisMachine => false,
            Which::All => true,
            Which::Named(names) => names.iter().any(|name| name == host.name),
        })
        .collect()
}

/// This machine's kernel is tested, which takes privileges. Guests need none.
pub(crate) fn is_this_one_tested(which: &Which) -> bool {
    !chosen_hosts(which).is_empty()
}

/// The kernels that are meant.
fn chosen(which: &Which, own: Architecture) -> Vec<&'static Kernel> {
    KERNELS
        .iter()
        .filter(|kernel| match which {
            Which::OfThisMachine => kernel.architecture == own,
            Which::All => true,
            Which::Named(names) => names.iter().any(|name| name == kernel.name),
        })
        .collect()
}

/// What programs for arm64 are built with on another machine.
const ARM64_PIECES: [&str; 2] = ["arm64-toolchain", "arm64-std"];

/// What the setup has to install for them.
///
/// # Errors
/// This machine's architecture is not known.
pub(crate) fn pieces(which: &Which) -> anyhow::Result<Vec<String>> {
    let own = Architecture::of_this_machine()?;
    Ok(pieces_of(which, own))
}

/// This machine's static binary is booted, or tested on this kernel.
///
/// # Errors
/// As [`pieces`].
pub(crate) fn need_own_binary(which: &Which) -> anyhow::Result<bool> {
    let own = Architecture::of_this_machine()?;
    let mut kernels = chosen(which, own).into_iter();
    Ok(is_this_one_tested(which) || kernels.any(|kernel| kernel.architecture == own))
}

/// What the setup need not install for the gate, as it is for kernels of another architecture.
///
/// # Errors
/// As [`pieces`].
pub(crate) fn pieces_beyond_the_gate() -> anyhow::Result<Vec<String>> {
    let own = Architecture::of_this_machine()?;
    Ok(pieces_beyond(own))
}

fn pieces_beyond(own: Architecture) -> Vec<String> {
    let gate = pieces_of(&Which::OfThisMachine, own);
    let guests = KERNELS.iter().map(|kernel| kernel.name.to_owned());
    let mut others = pieces_of(&Which::Named(guests.collect()), own);
    others.retain(|piece| !gate.contains(piece) && !incident::PIECES.contains(&piece.as_str()));
    others
}

fn pieces_of(which: &Which, own: Architecture) -> Vec<String> {
    let mut pieces = Vec::new();
    for kernel in chosen(which, own) {
        pieces.push(guest::piece(kernel.architecture).to_owned());
        if kernel.architecture != own && kernel.architecture == Architecture::Arm64 {
            pieces.extend(ARM64_PIECES.map(str::to_owned));
        }
        pieces.push(kernel.piece());
    }
    let has_host = is_this_one_tested(which);
    if has_host {
        pieces.push(host::PIECE.to_owned());
    }
    let boots_own = pieces.iter().any(|piece| piece == guest::piece(own));
    if has_host || (*which != Which::OfThisMachine && boots_own) {
        pieces.extend(incident::PIECES.map(str::to_owned));
    }
    pieces.sort();
    pieces.dedup();
    pieces
}

/// How the step went.
#[derive(Default)]
pub(crate) struct KernelsReport {
    /// Checks in guests, and tests of the core.
    pub(crate) count: Count,
    /// Kernels that are not installed.
    pub(crate) absent: Vec<&'static str>,
    /// Tests that skipped themselves on this machine's kernel.
    pub(crate) skips: Vec<Skip>,
}

/// Boots every kernel that is meant and installed, one after the other, and runs this machine's own where it is meant;
/// prints what each of them showed. `all`: every kernel test that can run in a guest, not the core alone.
///
/// # Errors
/// When the guests' programs cannot be built, or QEMU cannot be run. A guest that does not show what it should is no
/// error: it is in the counts.
pub(crate) fn run(root: &Path, which: &Which, all: bool) -> anyhow::Result<KernelsReport> {
    let mut report = KernelsReport::default();
    let own = Architecture::of_this_machine()?;
    let mut installed = Vec::new();
    for kernel in chosen(which, own) {
        match setup::folder_of(root, &kernel.piece())? {
            Some(folder) => installed.push((kernel, folder)),
            None => report.absent.push(kernel.name),
        }
    }
    let folder = demo::target(root).join("kernels");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut verdicts = Vec::new();
    for architecture in Architecture::ALL {
        let mut kernels = installed
            .iter()
            .filter(|(kernel, _)| kernel.architecture == architecture)
            .peekable();
        if kernels.peek().is_none() {
            continue;
        }
        // The gate has built this machine's in the step before.
        let binary = if architecture == own {
            image::static_binary(root)?
        } else {
            image::binary(root, architecture)?
        };
        if !binary.is_file() {
            bail!(
                "{} is not there; build it with: cargo xtask image --binary-only",
                binary.display()
            );
        }
        let mut entries = vec![Entry::new("bin/h2trace", binary)];
        let mut wanted = vec![(KERNEL_TESTS, Program::Tests("kernel"))];
        let mut incident = Err(NOT_IN_THE_GATE.to_owned());
        if *which != Which::OfThisMachine {
            incident = if architecture != own {
                Err("its peers are installed for this machine alone".to_owned())
            } else {
                incident::files(root)?.map_err(|piece| {
                    format!("cargo xtask setup --only {piece} installs what it needs")
                })
            };
        }
        let incident = incident.map(|files| {
            wanted.push((INCIDENT_TESTS, Program::Tests("incident")));
            entries.extend(files);
        });
        let units = architecture != own;
        if units {
            wanted.extend(steps::UNITS.map(|(name, package)| (name, Program::Units(package))));
        }
        let (names, programs): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
        let built = programs::build(root, architecture, &programs)?;
        entries.extend(
            names
                .iter()
                .zip(built)
                .map(|(name, program)| Entry::new(format!("bin/{name}"), program)),
        );
        let extent = Extent {
            all,
            incident: incident.as_ref().copied().map_err(String::as_str),
            units,
        };
        for (kernel, unpacked) in kernels {
            let verdict = boot(kernel, unpacked, &entries, extent, &folder)?;
            verdicts.push(verdict);
        }
    }
    for host in chosen_hosts(which) {
        let shown = host.run(root, all, &folder)?;
        verdicts.push(shown.verdict);
        report.skips.extend(shown.skips);
    }
    println!();
    let stacks = build_ebpf::stacks(root).unwrap_or_else(|error| {
        println!("    the stack of the programs is not told: {error:#}");
        Stacks::default()
    });
    for verdict in verdicts {
        report.count += verdict.count();
        for line in verdict.closing(&stacks) {
            println!("    {line}");
        }
    }
    for name in &report.absent {
        println!(
            "    {name}: skipped: it is not installed (cargo xtask setup --only kernel-{name})"
        );
    }
    Ok(report)
}

/// Why the gate does without the incident in guests: it takes minutes, and the step `live` has it.
const NOT_IN_THE_GATE: &str = "cargo xtask test --kernels runs it";

/// Boots one kernel, and prints what it showed.
fn boot(
    kernel: &Kernel,
    unpacked: &Path,
    entries: &[Entry],
    extent: Extent<'_>,
    folder: &Path,
) -> anyhow::Result<Verdict> {
    let steps = steps::of(kernel, extent);
    let archive: PathBuf = folder.join(format!("{}.cpio", kernel.name));
    let busybox = Entry::new("bin/busybox", unpacked.join("busybox"));
    initramfs::write(&archive, std::iter::once(&busybox).chain(entries), &steps)?;
    let guest = Guest {
        architecture: kernel.architecture,
        kernel: &unpacked.join("vmlinuz"),
        archive: &archive,
        log: &folder.join(format!("{}.log", kernel.name)),
        steps: steps.iter().map(|step| step.limit).sum(),
    };
    println!("    {}", guest.shown());
    let mut ran = guest.run()?;
    if ran.console.has_died_early() {
        // Now and then an emulated processor runs into code that the kernel changes as it boots (an int3 that nobody takes).
        println!("    the kernel died before anything of ours ran; once more");
        ran = guest.run()?;
    }
    fs::remove_file(&archive).ok();
    let verdict = judge::judge(kernel, extent, &ran);
    verdict.print(&ran.console, guest.log);
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_has_a_piece_of_the_setup() {
        for own in Architecture::ALL {
            for piece in pieces_of(&Which::All, own) {
                assert!(setup::has_piece(&piece), "{piece}");
            }
        }
    }

    #[test]
    fn this_machines_kernel_runs_when_it_is_meant() {
        let named = |name: &str| Which::Named(vec![name.to_owned()]);
        for (which, n) in [
            (Which::OfThisMachine, 0),
            (Which::All, HOSTS.len()),
            (named("host-older-hooks"), 1),
            (named("6.1-arm64"), 0),
        ] {
            assert_eq!(chosen_hosts(&which).len(), n);
            assert_eq!(is_this_one_tested(&which), n > 0);
        }
        let own = Architecture::Amd64;
        assert!(chosen(&named("host"), own).is_empty());
        let pieces = pieces_of(&named("host"), own);
        assert!(pieces.contains(&host::PIECE.to_owned()), "{pieces:?}");
        assert!(
            pieces.contains(&incident::PIECES[0].to_owned()),
            "{pieces:?}"
        );
        assert_eq!(names().len(), KERNELS.len() + HOSTS.len());
    }

    #[test]
    fn gate_boots_kernels_of_its_own_architecture() {
        let gate = pieces_of(&Which::OfThisMachine, Architecture::Amd64);
        assert_eq!(gate, ["kernel-6.1", "kernel-6.12", "qemu"]);
        assert_eq!(
            pieces_beyond(Architecture::Amd64),
            [
                "arm64-std",
                "arm64-toolchain",
                "kernel-6.1-arm64",
                "kernel-6.12-arm64",
                "kernel-6.12-arm64-16k",
                "qemu-arm64"
            ]
        );
    }
}
