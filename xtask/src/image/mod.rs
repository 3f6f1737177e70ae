//! `cargo xtask image`: the static binary, and an image of it, without a registry.
//!
//! The image is the last stage of the Dockerfile that users build from; only its first stage, which compiles, is
//! replaced by the program that this task has built.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::architecture::Architecture;
use crate::{bill, command, demo, notices, test};

mod look;

/// What `cargo xtask image` takes.
#[derive(Args)]
pub(crate) struct ImageOptions {
    /// Its name, up to the colon
    #[arg(long, default_value = NAME)]
    name: String,

    /// Only the static binary
    #[arg(long)]
    binary_only: bool,

    /// For this architecture [default: this machine's]
    #[arg(long, value_enum)]
    architecture: Option<Architecture>,
}

/// The image's name, up to the colon.
pub(crate) const NAME: &str = "localhost/h2trace";

const DOCKERFILE: &str = "tracer-user/deploy/Dockerfile";

/// The stage of the Dockerfile that compiles, and where it leaves the program.
const BUILD_STAGE: &str = "build";
const IN_BUILD_STAGE: &str = "out/h2trace";

/// Where it leaves the licences of what is in the program.
const NOTICES_IN_BUILD_STAGE: &str = "out/NOTICES";

/// The program's own licences, which it leaves beside them.
const LICENCES: [&str; 3] = ["LICENSE-MIT", "LICENSE-APACHE", "LICENSE-GPL-2.0"];

/// The file's capabilities, as the Dockerfile has them.
const CAPABILITIES: &str = "cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search=p";

/// Builds both, and says where they are and how large.
pub(crate) fn run(options: &ImageOptions, root: &Path) -> anyhow::Result<ExitCode> {
    let architecture = match options.architecture {
        Some(architecture) => architecture,
        None => Architecture::of_this_machine()?,
    };
    let binary = binary(root, architecture)?;
    println!("{}  {}", binary.display(), test::size(&binary)?);
    if options.binary_only {
        return Ok(ExitCode::SUCCESS);
    }
    let archive = archive(root, architecture, &binary, &options.name)?;
    println!("{}  {}", archive.display(), test::size(&archive)?);
    println!(
        "bring it to a node with: ctr --namespace k8s.io images import {}",
        archive.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Where this machine's static binary is built to.
pub(crate) fn static_binary(root: &Path) -> anyhow::Result<PathBuf> {
    Ok(binary_of(root, Architecture::of_this_machine()?))
}

/// Where the static binary for an architecture is built to.
pub(crate) fn binary_of(root: &Path, architecture: Architecture) -> PathBuf {
    architecture.target(root).join("release/h2trace")
}

/// Builds the static binary.
pub(crate) fn binary(root: &Path, architecture: Architecture) -> anyhow::Result<PathBuf> {
    let build = ["build", "--release", "--locked", "--package", "tracer-user"];
    let mut cargo = architecture.cargo(root, &build)?;
    println!("{}", command::shown(&cargo));
    command::run(&mut cargo)?;
    let binary = binary_of(root, architecture);
    assert_static(&binary, architecture)?;
    Ok(binary)
}

/// Fails when a program would not start in an empty root of this architecture.
pub(crate) fn assert_static(binary: &Path, architecture: Architecture) -> anyhow::Result<()> {
    let bytes =
        std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    match elf(&bytes) {
        Some(elf) if elf.machine != architecture.elf_machine() => bail!(
            "{} is no program for {}: its machine is {}",
            binary.display(),
            architecture.name(),
            elf.machine
        ),
        Some(elf) if elf.has_interpreter => bail!(
            "{} is linked dynamically: it would not start in an empty image",
            binary.display()
        ),
        Some(_) => Ok(()),
        None => bail!("{} is no 64-bit ELF file", binary.display()),
    }
}

/// What is asked of an ELF file.
#[derive(Debug, PartialEq)]
struct Elf {
    /// `e_machine`.
    machine: usize,
    /// It asks for a dynamic loader: it has a program header of type PT_INTERP.
    has_interpreter: bool,
}

/// Reads the headers of an ELF file (elf(5)). None when it is no 64-bit one in little-endian order, which both
/// architectures have.
fn elf(file: &[u8]) -> Option<Elf> {
    const PT_INTERP: usize = 3;
    let number = |at: usize, size: usize| -> Option<usize> {
        let mut bytes = [0; 8];
        bytes
            .get_mut(..size)?
            .copy_from_slice(file.get(at..at.checked_add(size)?)?);
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (headers, each, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut has_interpreter = false;
    for index in 0..count {
        let kind = number(headers.checked_add(index.checked_mul(each)?)?, 4)?;
        has_interpreter |= kind == PT_INTERP;
    }
    Some(Elf {
        machine: number(18, 2)?,
        has_interpreter,
    })
}

/// Makes the image, and writes it as an archive.
pub(crate) fn archive(
    root: &Path,
    architecture: Architecture,
    binary: &Path,
    name: &str,
) -> anyhow::Result<PathBuf> {
    // The tests in the cluster, too, know where this machine's is.
    let folder = if architecture == Architecture::of_this_machine()? {
        demo::target(root).join("image")
    } else {
        demo::target(root).join(format!("image-{}", architecture.name()))
    };
    // Everything that buildah keeps is here, and nothing of it elsewhere on this machine.
    let storage = folder.join("storage");
    let context = folder.join("context");
    let archive = folder.join("h2trace.tar");
    for old in [&storage, &context] {
        match std::fs::remove_dir_all(old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", old.display()));
            }
            _ => {}
        }
    }
    std::fs::remove_file(&archive).ok();
    let there = context.join(IN_BUILD_STAGE);
    std::fs::create_dir_all(context.join("out"))?;
    std::fs::copy(binary, &there).with_context(|| format!("cannot write {}", there.display()))?;
    command::run(Command::new("setcap").arg(CAPABILITIES).arg(&there))
        .context("file capabilities are set by setcap (apt-get install libcap2-bin), as root")?;

    std::fs::write(
        context.join(NOTICES_IN_BUILD_STAGE),
        notices::text(root, architecture)?,
    )?;
    std::fs::write(
        context.join("out").join(bill::NAME),
        bill::text(root, architecture)?,
    )?;
    for name in LICENCES {
        let path = root.join(name);
        std::fs::copy(&path, context.join("out").join(name))
            .with_context(|| format!("cannot read {}", path.display()))?;
    }

    let version = env!("CARGO_PKG_VERSION");
    let tagged = format!("{name}:{version}");
    let mut build = buildah(&storage);
    build
        .args(["build", "--quiet", "--layers=false", "--timestamp", "0"])
        .args(["--platform", &format!("linux/{}", architecture.name())])
        .arg("--file")
        .arg(root.join(DOCKERFILE))
        .args(["--target", "image", "--tag", &tagged])
        .args(["--build-arg", &format!("VERSION={version}")])
        .arg("--build-context")
        .arg(format!("{BUILD_STAGE}={}", context.display()))
        .arg(&context);
    run_buildah(&mut build)?;
    let mut push = buildah(&storage);
    push.args(["push", "--quiet", &tagged])
        .arg(format!("docker-archive:{}:{tagged}", archive.display()));
    run_buildah(&mut push)?;
    println!("made {tagged}");
    look::look(&archive, architecture, binary)?;
    // The archive holds it all.
    std::fs::remove_dir_all(&storage).ok();
    std::fs::remove_dir_all(&context).ok();
    Ok(archive)
}

fn buildah(storage: &Path) -> Command {
    let mut buildah = Command::new("buildah");
    buildah
        .arg("--root")
        .arg(storage.join("root"))
        .arg("--runroot")
        .arg(storage.join("run"))
        .args(["--storage-driver", "vfs"]);
    buildah
}

fn run_buildah(command: &mut Command) -> anyhow::Result<()> {
    println!("{}", command::shown(command));
    command::run(command).context("images are made by buildah (apt-get install buildah), as root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_programs_and_other_machines_are_told_from_others() {
        // This test's own program asks for a loader, like every program of this workspace but the image's.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let machine = Architecture::of_this_machine().unwrap().elf_machine();
        let dynamic = Elf {
            machine,
            has_interpreter: true,
        };
        assert_eq!(elf(&own), Some(dynamic));
        assert_eq!(elf(b"#!/bin/sh\nexit 0\n"), None);
        // No program headers at all.
        let mut empty = vec![0; 64];
        empty[..6].copy_from_slice(b"\x7fELF\x02\x01");
        empty[18] = 183;
        let is_static = elf(&empty).unwrap();
        assert!(!is_static.has_interpreter);
        assert_eq!(is_static.machine, Architecture::Arm64.elf_machine());
    }

    #[test]
    fn nothing_that_is_installed_selects_an_architecture() {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tracer-user/deploy");
        for path in [
            "chart/templates/daemonset.yaml",
            "chart/values.yaml",
            "manifests/h2trace.yaml",
        ] {
            let text = std::fs::read_to_string(deploy.join(path)).unwrap();
            assert!(text.contains("nodeSelector"), "{path}");
            assert!(!text.contains("kubernetes.io/arch"), "{path}");
        }
    }

    #[test]
    fn dockerfile_has_the_stages_that_are_built_here() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = std::fs::read_to_string(root.join(DOCKERFILE)).unwrap();
        for line in [
            format!("AS {BUILD_STAGE}\n"),
            format!("COPY --from={BUILD_STAGE} /{IN_BUILD_STAGE} "),
            format!("setcap {CAPABILITIES} /{IN_BUILD_STAGE}\n"),
            format!("xtask -- notices /{NOTICES_IN_BUILD_STAGE}\n"),
            format!("xtask -- bill /out/{}\n", bill::NAME),
            format!("cp {} /out/\n", LICENCES.join(" ")),
            "COPY --from=build /out/NOTICES /out/LICENSE-* /licences/\n".to_owned(),
            format!("COPY --from=build /out/{} /\n", bill::NAME),
            "FROM scratch AS image\n".to_owned(),
            format!("ARG VERSION={}\n", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(text.contains(&line), "no {line:?} in {DOCKERFILE}");
        }
    }
}
