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
//! * a look into the kernel's own log for warnings.
//!
//! Each kernel of the table [`KERNELS`] has to show all of it, with the hooks on socket calls that it has. A guest that
//! hangs is ended after the limits of its steps. Everything that a guest prints is in `target/kernels/NAME.log`.
//!
//! The running kernel is tested by the step `live`.

mod console;
mod guest;
mod initramfs;
mod judge;
mod programs;
mod steps;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::test::count::Count;
use crate::{demo, image, setup};
use guest::Guest;
use judge::Verdict;

/// A kernel of the table.
pub(crate) struct Kernel {
    /// The first two numbers of its release. What the setup calls it is `kernel-` and this.
    pub(crate) series: &'static str,
    /// The hooks on socket calls that h2trace has to choose there, as doctor says them.
    hooks: &'static str,
}

/// The kernels, and the hooks that each has.
pub(crate) const KERNELS: [Kernel; 2] = [
    Kernel {
        series: "6.12",
        hooks: "socket tracepoints",
    },
    Kernel {
        series: "6.1",
        hooks: "system call exit",
    },
];

impl Kernel {
    /// The setup's piece with this kernel.
    fn piece(&self) -> String {
        format!("kernel-{}", self.series)
    }
}

/// What the setup has to install for this step.
pub(crate) fn pieces() -> Vec<String> {
    std::iter::once("qemu".to_owned())
        .chain(KERNELS.iter().map(Kernel::piece))
        .collect()
}

/// How the step went.
#[derive(Default)]
pub(crate) struct KernelsReport {
    /// Checks in guests, and tests of the core.
    pub(crate) count: Count,
    /// Kernels that are not installed.
    pub(crate) absent: Vec<&'static str>,
    /// Kernels that were booted.
    pub(crate) booted: usize,
}

/// Boots every kernel that is installed, one after the other, and prints what each of them showed. `all`: every kernel
/// test that can run in a guest, not the core alone.
///
/// # Errors
/// When the guests' programs cannot be built, or QEMU cannot be run. A guest that does not show what it should is no
/// error: it is in the counts.
pub(crate) fn run(root: &Path, all: bool) -> anyhow::Result<KernelsReport> {
    let mut report = KernelsReport::default();
    let mut installed = Vec::new();
    for kernel in &KERNELS {
        match setup::folder_of(root, &kernel.piece())? {
            Some(folder) => installed.push((kernel, folder)),
            None => report.absent.push(kernel.series),
        }
    }
    let mut closing = Vec::new();
    if !installed.is_empty() {
        let binary = image::static_binary(root)?;
        if !binary.is_file() {
            bail!(
                "{} is not there; build it with: cargo xtask image --binary-only",
                binary.display()
            );
        }
        let tests = programs::kernel_tests(root)?;
        let folder = demo::target(root).join("kernels");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (kernel, unpacked) in installed {
            let verdict = boot(kernel, &unpacked, &binary, &tests, &folder, all)?;
            report.count += verdict.count();
            report.booted += 1;
            closing.extend(verdict.closing());
        }
    }
    println!();
    for line in closing {
        println!("    {line}");
    }
    for series in &report.absent {
        println!(
            "    {series}: skipped: it is not installed (cargo xtask setup --only kernel-{series})"
        );
    }
    Ok(report)
}

/// Boots one kernel, and prints what it showed.
fn boot(
    kernel: &Kernel,
    unpacked: &Path,
    binary: &Path,
    tests: &Path,
    folder: &Path,
    all: bool,
) -> anyhow::Result<Verdict> {
    let steps = steps::of(all);
    let archive: PathBuf = folder.join(format!("{}.cpio", kernel.series));
    let programs = initramfs::Programs {
        busybox: &unpacked.join("busybox"),
        h2trace: binary,
        kernel_tests: tests,
    };
    initramfs::write(&archive, &programs, &steps)?;
    let guest = Guest {
        kernel: &unpacked.join("vmlinuz"),
        archive: &archive,
        log: &folder.join(format!("{}.log", kernel.series)),
        steps: steps.iter().map(|step| step.limit).sum(),
    };
    println!("    {}", guest.shown());
    let ran = guest.run()?;
    fs::remove_file(&archive).ok();
    let verdict = judge::judge(kernel, all, &ran);
    verdict.print(&ran, guest.log);
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_has_a_piece_of_the_setup() {
        for piece in pieces() {
            assert!(setup::has_piece(&piece), "{piece}");
        }
    }
}
