//! The pieces that are Go modules: built from sources that the module files (or a version) pin, each checked
//! against the checksum database.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::command::{output, step};
use super::recipe::Build;

/// The version that is installed.
pub(super) const HELM: &str = "3.22.0";
/// The version that is installed.
pub(super) const KUBECONFORM: &str = "0.8.0";

/// The module's version of what calls itself 3.9.1.
const PROMETHEUS_MODULE: &str = "0.309.1";

/// grpc-go 1.85.0, Helm and Prometheus, and what they use, ask for this Go.
const GO_TOOLCHAIN: &str = "1.26.8";

/// Without symbols: these programs are large.
const STRIPPED: &str = "-s -w";

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

/// Ours, on h2spec's cases and x/net, and gRPC's own programs as they are.
pub(super) fn conformance(build: &Build<'_>) -> Result<()> {
    let module = Module::new(build, "conformance")?;
    module.build("conformance", ".", &[])?;
    for (program, package) in [
        ("interop-client", "client"),
        ("interop-server", "server"),
        ("interop-negative", "http2"),
    ] {
        let package = format!("google.golang.org/grpc/interop/{package}");
        module.build(program, &package, &["-ldflags", STRIPPED])?;
    }
    Ok(())
}

/// The five programs of a node and its control plane, and the schemas of their API. Minutes: the largest Go
/// programs there are.
pub(super) fn kubernetes(build: &Build<'_>) -> Result<()> {
    let version = build.version;
    let minor = version.split('.').nth(1).unwrap_or_default();
    // What the programs say of themselves; clients look at it.
    let stamp = "-X k8s.io/component-base/version";
    let flags = format!(
        "{STRIPPED} {stamp}.gitVersion=v{version} {stamp}.gitMajor=1 {stamp}.gitMinor={minor}"
    );
    let module = Module::new(build, "kubernetes")?;
    for program in [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kubectl",
    ] {
        let package = format!("k8s.io/kubernetes/cmd/{program}");
        module.build(program, &package, &["-ldflags", &flags])?;
    }
    let schemas = module
        .folder_of("k8s.io/kubernetes")?
        .join("api/openapi-spec/swagger.json");
    fs::copy(&schemas, build.folder.join("swagger.json"))
        .with_context(|| format!("cannot copy {}", schemas.display()))?;
    Ok(())
}

pub(super) fn etcd(build: &Build<'_>) -> Result<()> {
    let module = Module::new(build, "etcd")?;
    module.build("etcd", "go.etcd.io/etcd/server/v3", &["-ldflags", STRIPPED])
}

/// Built in a copy of its sources, which has another list of plug-ins.
pub(super) fn prometheus(build: &Build<'_>) -> Result<()> {
    let go = go(build)?;
    let module = format!("github.com/prometheus/prometheus@v{PROMETHEUS_MODULE}");
    step(
        Command::new(&go)
            .args(["mod", "download", &module])
            .current_dir("/"),
        build.log,
    )?;
    let cache = output(Command::new(&go).args(["env", "GOMODCACHE"])).context("cannot run go")?;
    let source = build.folder.join("source");
    step(
        Command::new("cp")
            .args(["-r", "--no-preserve=mode"])
            .arg(Path::new(cache.trim()).join(&module))
            .arg(&source),
        build.log,
    )?;
    fs::copy(
        build.places.sources().join("prometheus/plugins.go"),
        source.join("plugins/plugins.go"),
    )?;
    let stamp = "-X github.com/prometheus/common/version";
    let flags = format!("{STRIPPED} {stamp}.Version={}", build.version);
    let module = Module { build, go, source };
    for program in ["prometheus", "promtool"] {
        let package = format!("./cmd/{program}");
        module.build(program, &package, &["-ldflags", &flags])?;
    }
    fs::remove_dir_all(&module.source)?;
    Ok(())
}

pub(super) fn helm(build: &Build<'_>) -> Result<()> {
    install(build, "helm.sh/helm/v3/cmd/helm")
}

pub(super) fn kubeconform(build: &Build<'_>) -> Result<()> {
    install(build, "github.com/yannh/kubeconform/cmd/kubeconform")
}

/// A program whose module says itself what it is built with.
fn install(build: &Build<'_>, package: &str) -> Result<()> {
    let mut command = Command::new(go(build)?);
    command
        .args(["install", "-trimpath", "-ldflags", STRIPPED])
        .arg(format!("{package}@v{}", build.version))
        .env("GOBIN", build.folder)
        .env("CGO_ENABLED", "0")
        .current_dir("/");
    step(&mut command, build.log)
}

/// A module of ours that names programs of others, and pins all that they are made of.
struct Module<'a> {
    build: &'a Build<'a>,
    go: PathBuf,
    source: PathBuf,
}

impl<'a> Module<'a> {
    fn new(build: &'a Build<'a>, name: &str) -> Result<Self> {
        Ok(Module {
            build,
            go: go(build)?,
            source: build.places.sources().join(name),
        })
    }

    /// Builds one program, static.
    fn build(&self, program: &str, package: &str, flags: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.go);
        command
            .args(["build", "-trimpath", "-buildvcs=false"])
            .args(flags)
            .arg("-o")
            .arg(self.build.folder.join(program))
            .arg(package)
            .env("CGO_ENABLED", "0")
            .current_dir(&self.source);
        step(&mut command, self.build.log)
    }

    /// Where the sources of a module are.
    fn folder_of(&self, module: &str) -> Result<PathBuf> {
        let mut list = Command::new(&self.go);
        list.args(["list", "-m", "-f", "{{.Dir}}", module])
            .current_dir(&self.source);
        match output(&mut list) {
            Some(folder) if !folder.trim().is_empty() => Ok(PathBuf::from(folder.trim())),
            _ => bail!("cannot find the sources of {module}"),
        }
    }
}

/// A Go that is new enough: the system's (which fetches a newer toolchain of itself from 1.21 on),
/// or for an older one the toolchain's module, which any Go can download.
pub(super) fn go(build: &Build<'_>) -> Result<PathBuf> {
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
