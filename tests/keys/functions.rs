//! The functions that real programs call with the secrets of a handshake.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use h2trace::key_probe::{Site, find_site};
use tracer_ebpf::secret::NO_REGISTER;
use tracer_tests::peer::{Peer, installed};
use tracer_tests::require;
use tracer_tests::skip::Program;
use tracer_tests::tls_server::ENVOY;

/// Longest time for one file, in a build without optimisation on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

fn found(path: &Path) -> Option<Site> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let begun = Instant::now();
    let site = find_site(&file);
    let time = begun.elapsed();
    println!("{}: {site:x?} {time:?}", path.display());
    assert!(time < LONGEST, "{}: {time:?}", path.display());
    site
}

/// A file with such a name in or below a folder.
fn below(folder: &Path, is_it: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.path();
        // Links may lead round in circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(path);
        } else if is_it(&entry.file_name().to_string_lossy()) {
            return Some(path);
        }
    }
    folders.iter().find_map(|folder| below(folder, is_it))
}

#[test]
fn functions_are_found_in_real_programs() {
    require!(ENVOY, Peer::GrpcGo1_85, Program("node"), Program("nghttpd"));
    let folders =
        ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(|name| Path::new("/usr/lib").join(name));
    let libssl = folders.map(|folder| folder.join("libssl.so.3"));
    let libssl = libssl.into_iter().find(|path| path.exists());
    let grpcio = below(&installed("grpcio"), &|name| {
        name.starts_with("cygrpc") && name.ends_with(".so")
    });
    let node = Program("node").path();
    let in_c = [Some(ENVOY.binary()), grpcio, node, libssl];
    for path in in_c.into_iter().flatten() {
        let site = found(&path).unwrap_or_else(|| panic!("none in {}", path.display()));
        assert_eq!(site.layout.random, NO_REGISTER, "{}", path.display());
    }
    let go = Peer::GrpcGo1_85.file();
    let site = found(&go).unwrap_or_else(|| panic!("none in {}", go.display()));
    assert_ne!(site.layout.random, NO_REGISTER, "Go says the random");
    for name in ["sleep", "openssl", "nghttpd"] {
        let path = Program(name).path().expect("a program of every system");
        assert_eq!(found(&path), None, "{name} has its TLS in a library");
    }
}
