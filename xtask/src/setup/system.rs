//! The system packages of the pieces, each with what it puts in place.

use super::packages::{Package, package};

pub(super) const PROGRAMS: &[Package] = &[
    package("nghttp2-client", "nghttp"),
    package("nghttp2-client", "h2load"),
    package("nghttp2-server", "nghttpd"),
    package("nghttp2-proxy", "nghttpx"),
    package("curl", "curl"),
    package("etcd-server", "etcd"),
    package("etcd-client", "etcdctl"),
    package("containerd", "containerd"),
    package("containerd", "ctr"),
    package("runc", "runc"),
    package("prometheus", "prometheus"),
    package("prometheus", "promtool"),
    package("iproute2", "ip"),
    package("tcpdump", "tcpdump"),
    package("tshark", "tshark"),
    package("valgrind", "valgrind"),
    package("libcap2-bin", "setcap"),
    package("shellcheck", "shellcheck"),
];

pub(super) const PROXIES: &[Package] = &[
    package("nginx", "/usr/sbin/nginx"),
    package("haproxy", "/usr/sbin/haproxy"),
    package("caddy", "caddy"),
    // The program and its modules alone: no service, no site.
    package("apache2-bin", "/usr/sbin/apache2"),
    package("protobuf-compiler", "protoc"),
];

pub(super) const LANGUAGES: &[Package] = &[
    package("nodejs", "node"),
    package("npm", "npm"),
    package("golang-go", "go"),
    package("python3", "python3"),
    package("python3-venv", "python3:ensurepip"),
    package("default-jdk-headless", "javac"),
    package("maven", "mvn"),
];

pub(super) const NODE: &[Package] = &[
    package("containerd", "containerd"),
    package("runc", "runc"),
    package("crun", "crun"),
    package("containernetworking-plugins", "/usr/lib/cni/bridge"),
    package("buildah", "buildah"),
    package("libcap2-bin", "setcap"),
    package("busybox-static", "/usr/share/doc/busybox-static"),
    package("iproute2", "ip"),
    package("openssl", "openssl"),
    package("chromium", "chromium"),
];

pub(super) const BPF: &[Package] = &[
    package("rustc-web", "/usr/share/doc/rustc-web"),
    package("cargo-web", "/usr/share/doc/cargo-web"),
    package(
        "libstd-rust-web-dev-bpf",
        "/usr/share/doc/libstd-rust-web-dev-bpf",
    ),
    package("llvm-22", "/usr/lib/llvm-22/bin/llvm-objdump"),
    package("llvm-22-dev", "/usr/lib/llvm-22/bin/llvm-config"),
    package("zlib1g-dev", "/usr/include/zlib.h"),
    package("libzstd-dev", "/usr/include/zstd.h"),
];
