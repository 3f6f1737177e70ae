//! `cargo xtask build-ebpf`: the kernel programs, built for BPF, and their object, which is checked in so
//! that whoever only builds h2trace needs stable Rust and nothing else.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, bail};

use crate::command;

mod stack;

/// What `build-ebpf` can be told.
#[derive(clap::Args)]
pub(crate) struct BuildEbpfOptions {
    /// Write nothing: fail when the checked-in object differs from what its source gives
    #[arg(long)]
    check: bool,
}

const TARGET: &str = "bpfel-unknown-none";
const OBJECT: &str = "tracer-ebpf/h2trace.bpf.o";
/// What the checked-in object was built with: another compiler gives another disassembly.
const BUILT_WITH: &str = "tracer-ebpf/h2trace.bpf.built-with";
const DEBIAN: &str =
    "apt-get install rustc-web libstd-rust-web-dev-bpf llvm-22-dev llvm-22 zlib1g-dev libzstd-dev";
const LINKER: &str = "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22";

/// Builds, and writes or compares.
pub(crate) fn run(options: &BuildEbpfOptions, root: &Path) -> anyhow::Result<ExitCode> {
    let linker = program(&["bpf-linker"])
        .with_context(|| format!("bpf-linker is missing; install it with: {LINKER}"))?;
    let objdump = llvm("objdump")?;
    let strip = llvm("strip")?;
    let toolchain = toolchain()?;
    let built_with = format!("{}\n{}\n", toolchain.version, version(&linker)?);
    let target = root.join("target/bpf");
    println!("building the kernel programs with {}", toolchain.version);
    let built = build(root, &toolchain, &linker, &target)?;
    let stripped = target.join("h2trace.bpf.o");
    command::run(
        Command::new(strip)
            .arg("-g")
            .arg("-o")
            .arg(&stripped)
            .arg(&built),
    )?;
    stack::check(&objdump, &stripped)?;
    let object = root.join(OBJECT);
    if !options.check {
        std::fs::copy(&stripped, &object).with_context(|| format!("cannot write {OBJECT}"))?;
        std::fs::write(root.join(BUILT_WITH), built_with)
            .with_context(|| format!("cannot write {BUILT_WITH}"))?;
        println!("wrote {OBJECT}");
        return Ok(ExitCode::SUCCESS);
    }
    let (is, should) = (
        disassembly(&objdump, &object)?,
        disassembly(&objdump, &stripped)?,
    );
    if is == should {
        println!("{OBJECT} is what its source gives");
        return Ok(ExitCode::SUCCESS);
    }
    let line = is.lines().zip(should.lines()).position(|(a, b)| a != b);
    let recorded = std::fs::read_to_string(root.join(BUILT_WITH)).unwrap_or_default();
    let why = if recorded == built_with {
        "its source was changed and the object was not rebuilt".to_owned()
    } else {
        format!(
            "it was built with {}, and this is {}",
            recorded.trim().replace('\n', " and "),
            built_with.trim().replace('\n', " and ")
        )
    };
    bail!(
        "{OBJECT} differs from its source (first at line {} of the disassembly): {why}; run \"cargo xtask build-ebpf\" and commit it",
        line.map_or_else(|| "the end".to_owned(), |n| (n + 1).to_string())
    )
}

/// The bytes of stack that each program of the checked-in object takes at most, by its name.
///
/// # Errors
/// `llvm-objdump` is not there, or its text cannot be read.
pub(crate) fn stacks(root: &Path) -> anyhow::Result<BTreeMap<String, u32>> {
    stack::by_program(&llvm("objdump")?, &root.join(OBJECT))
}

/// A Rust compiler that can build for BPF.
struct Toolchain {
    rustc: PathBuf,
    /// `rustc --version`, and how `core` comes for BPF.
    version: String,
    /// `core` must be built too.
    build_std: bool,
}

/// Debian's compiler with `core` for BPF, or a nightly of rustup with `rust-src`.
fn toolchain() -> anyhow::Result<Toolchain> {
    let debian = Path::new("/usr/bin/rustc");
    let libraries = command::output(Command::new(debian).args([
        "--print",
        "target-libdir",
        "--target",
        TARGET,
    ]));
    if let Ok(folder) = &libraries {
        let has_core = std::fs::read_dir(folder.trim()).is_ok_and(|mut files| {
            files.any(|f| f.is_ok_and(|f| f.file_name().to_string_lossy().starts_with("libcore")))
        });
        if has_core {
            return Ok(Toolchain {
                rustc: debian.to_owned(),
                version: version(debian)?,
                build_std: false,
            });
        }
    }
    let nightly =
        command::output(Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]));
    let Ok(rustc) = nightly else {
        bail!(
            "no Rust compiler that builds for BPF; install one with: {DEBIAN} (Debian), or: rustup toolchain install nightly --component rust-src"
        );
    };
    let rustc = PathBuf::from(rustc.trim());
    let sysroot = command::output(Command::new(&rustc).args(["--print", "sysroot"]))?;
    if !Path::new(sysroot.trim())
        .join("lib/rustlib/src/rust/library/core")
        .is_dir()
    {
        bail!(
            "rust-src is missing; install it with: rustup component add rust-src --toolchain nightly"
        );
    }
    Ok(Toolchain {
        version: version(&rustc)?,
        rustc,
        build_std: true,
    })
}

fn build(
    root: &Path,
    toolchain: &Toolchain,
    linker: &Path,
    target: &Path,
) -> anyhow::Result<PathBuf> {
    let mut flags = vec![
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
        // Atomic exchange is in version 3 of the instruction set.
        "-Ctarget-cpu=v3".to_owned(),
    ];
    // Line information names source files: the object must not carry this machine's paths.
    flags.push(format!("--remap-path-prefix={}/=", root.display()));
    for sources in registry_sources() {
        flags.push(format!(
            "--remap-path-prefix={}=registry",
            sources.display()
        ));
    }
    let mut cargo = command::cargo(root);
    // A stable compiler is told to accept what only BPF needs; in this nested build alone.
    cargo
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "tracer-ebpf",
            "--bin",
            "tracer-ebpf",
        ])
        .args(["--target", TARGET, "--target-dir"])
        .arg(target);
    if toolchain.build_std {
        cargo.args(["-Z", "build-std=core"]);
    }
    command::run(&mut cargo)?;
    Ok(target.join(TARGET).join("release/tracer-ebpf"))
}

/// The instructions, without what differs between two builds of the same source: the file's name, and
/// the crate's hash in symbols.
fn disassembly(objdump: &Path, object: &Path) -> anyhow::Result<String> {
    let text = command::output(
        Command::new(objdump)
            .args(["-d", "--no-show-raw-insn"])
            .arg(object),
    )?;
    Ok(text
        .lines()
        .skip(3)
        .map(without_hashes)
        .collect::<Vec<_>>()
        .join("\n"))
}

/// Mangled names (v0) carry the crate's hash as `Cs`, base-62 digits, `_`.
fn without_hashes(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("Cs") {
        kept.push_str(before);
        kept.push_str("Cs");
        let digits = after
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(after.len());
        rest = if after[digits..].starts_with('_') {
            &after[digits..]
        } else {
            after
        };
    }
    kept + rest
}

/// A program of LLVM: by its plain name, with a version, or in Debian's folder.
fn llvm(tool: &str) -> anyhow::Result<PathBuf> {
    let name = format!("llvm-{tool}");
    let mut names = vec![name.clone(), format!("/usr/lib/llvm-22/bin/{name}")];
    names.extend((15..=24).rev().map(|v| format!("{name}-{v}")));
    program(&names.iter().map(String::as_str).collect::<Vec<_>>())
        .with_context(|| format!("{name} is missing; install it with: apt-get install llvm-22"))
}

/// The first of these that is in PATH, in `~/.cargo/bin`, or at its own path.
fn program(names: &[&str]) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    folders.extend(std::env::home_dir().map(|home| home.join(".cargo/bin")));
    names.iter().find_map(|name| {
        if name.starts_with('/') {
            return Path::new(name).is_file().then(|| PathBuf::from(name));
        }
        folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    })
}

fn version(program: &Path) -> anyhow::Result<String> {
    Ok(command::output(Command::new(program).arg("--version"))?
        .trim()
        .to_owned())
}

/// The folders in which cargo keeps the sources of crates.
fn registry_sources() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| {
            let home = std::env::var_os("HOME")?;
            Some(PathBuf::from(home).join(".cargo"))
        });
    let entries = home.and_then(|home| std::fs::read_dir(home.join("registry/src")).ok());
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crate_hashes_are_not_compared() {
        assert_eq!(
            without_hashes("0 <_RNvNtCslxxflHhzLkR_11tracer_ebpf10frame_walk4step>:"),
            "0 <_RNvNtCs_11tracer_ebpf10frame_walk4step>:"
        );
        assert_eq!(without_hashes("call CsX r1 = 0"), "call CsX r1 = 0");
    }
}
