//! `cargo xtask image`: the static binary, and an image of it, without a registry.
//!
//! The image is the last stage of the Dockerfile that users build from; only its first stage, which compiles, is
//! replaced by the program that this task has built.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{command, demo, test};

/// What `cargo xtask image` takes.
#[derive(Args)]
pub(crate) struct ImageOptions {
    /// Its name, up to the colon
    #[arg(long, default_value = NAME)]
    name: String,

    /// Only the static binary
    #[arg(long)]
    binary_only: bool,
}

/// The image's name, up to the colon.
pub(crate) const NAME: &str = "localhost/h2trace";

/// Compiler flags for a program that needs no loader and no libraries.
pub(crate) const STATIC: &str = "-C target-feature=+crt-static";

const DOCKERFILE: &str = "tracer-user/deploy/Dockerfile";

/// The stage of the Dockerfile that compiles, and where it leaves the program.
const BUILD_STAGE: &str = "build";
const IN_BUILD_STAGE: &str = "out/h2trace";

/// The file's capabilities, as the Dockerfile has them.
const CAPABILITIES: &str = "cap_bpf,cap_perfmon=p";

/// Builds both, and says where they are and how large.
pub(crate) fn run(options: &ImageOptions, root: &Path) -> anyhow::Result<ExitCode> {
    let binary = binary(root)?;
    println!("{}  {}", binary.display(), test::size(&binary)?);
    if options.binary_only {
        return Ok(ExitCode::SUCCESS);
    }
    let archive = archive(root, &binary, &options.name)?;
    println!("{}  {}", archive.display(), test::size(&archive)?);
    println!(
        "bring it to a node with: ctr --namespace k8s.io images import {}",
        archive.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Where the static binary is built to.
pub(crate) fn static_binary(root: &Path) -> anyhow::Result<PathBuf> {
    Ok(demo::target(root).join(host()?).join("release/h2trace"))
}

/// Builds the static binary.
pub(crate) fn binary(root: &Path) -> anyhow::Result<PathBuf> {
    let triple = host()?;
    let mut cargo = command::cargo(root);
    // With the target named, procedural macros, which cannot be static, are built without these flags.
    cargo
        .args(["build", "--release", "--locked", "--package", "tracer-user"])
        .args(["--target", &triple])
        .env("RUSTFLAGS", STATIC);
    println!("{}", command::shown(&cargo));
    command::run(&mut cargo)?;
    let binary = static_binary(root)?;
    assert_static(&binary)?;
    Ok(binary)
}

/// Fails when a program would not start in an empty root.
pub(crate) fn assert_static(binary: &Path) -> anyhow::Result<()> {
    let bytes =
        std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    match has_interpreter(&bytes) {
        Some(false) => Ok(()),
        Some(true) => bail!(
            "{} is linked dynamically: it would not start in an empty image",
            binary.display()
        ),
        None => bail!("{} is no 64-bit ELF file", binary.display()),
    }
}

/// The target that this machine's compiler builds for.
pub(crate) fn host() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("cannot run rustc -vV")?;
    String::from_utf8_lossy(&said.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc -vV names no host")
}

/// An ELF file asks for a dynamic loader: it has a program header of type PT_INTERP (elf(5)). None when it is no
/// 64-bit ELF file in this machine's byte order.
fn has_interpreter(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, size: usize| -> Option<usize> {
        let mut bytes = [0; 8];
        let (low, high) = if cfg!(target_endian = "little") {
            (0, size)
        } else {
            (8 - size, 8)
        };
        bytes
            .get_mut(low..high)?
            .copy_from_slice(elf.get(at..at + size)?);
        usize::try_from(u64::from_ne_bytes(bytes)).ok()
    };
    if elf.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let (headers, each, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut found = false;
    for index in 0..count {
        let kind = number(headers.checked_add(index.checked_mul(each)?)?, 4)?;
        found |= u32::try_from(kind).ok()? == PT_INTERP;
    }
    Some(found)
}

/// Makes the image, and writes it as an archive.
pub(crate) fn archive(root: &Path, binary: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = demo::target(root).join("image");
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

    let version = env!("CARGO_PKG_VERSION");
    let tagged = format!("{name}:{version}");
    let mut build = buildah(&storage);
    build
        .args(["build", "--quiet", "--layers=false", "--timestamp", "0"])
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
    fn dynamic_programs_are_told_from_others() {
        // This test's own program asks for a loader, like every program of this workspace but the image's.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(has_interpreter(&own), Some(true));
        assert_eq!(has_interpreter(b"#!/bin/sh\nexit 0\n"), None);
        // No program headers at all.
        let mut empty = vec![0; 64];
        empty[..5].copy_from_slice(b"\x7fELF\x02");
        assert_eq!(has_interpreter(&empty), Some(false));
    }

    #[test]
    fn dockerfile_has_the_stages_that_are_built_here() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = std::fs::read_to_string(root.join(DOCKERFILE)).unwrap();
        for line in [
            format!("AS {BUILD_STAGE}\n"),
            format!("COPY --from={BUILD_STAGE} /{IN_BUILD_STAGE} "),
            format!("setcap {CAPABILITIES} /{IN_BUILD_STAGE}\n"),
            "FROM scratch AS image\n".to_owned(),
            format!("ARG VERSION={}\n", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(text.contains(&line), "no {line:?} in {DOCKERFILE}");
        }
    }
}
