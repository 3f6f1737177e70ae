//! A cluster for people: `cargo xtask cluster`. It stays until its stdin ends or Ctrl-C comes.

use std::process::ExitCode;

use tracer_tests::cluster::{Cluster, ClusterParts};
use tracer_tests::skip::{Need, Privileges};

fn main() -> ExitCode {
    if let Some(why) = Privileges.missing().or_else(|| ClusterParts.missing()) {
        eprintln!("error: {why}");
        return ExitCode::from(2);
    }
    let cluster = Cluster::start(&|step| println!("{step}"));
    let enter = cluster.write_enter();
    println!(
        "\nthe cluster is ready; its pods' cgroup is {}",
        cluster.pods_cgroup()
    );
    println!("    {} kubectl get pods -A", enter.display());
    println!(
        "    {} sh        a shell inside, with KUBECONFIG set",
        enter.display()
    );
    println!(
        "    {} ctr -n k8s.io images import ARCHIVE",
        enter.display()
    );
    println!("logs: {}/*.log", cluster.sandbox.folder().display());
    println!("Ctrl-C ends it.");
    wait_for_the_end();
    println!("clearing away");
    drop(cluster);
    ExitCode::SUCCESS
}

/// Until SIGINT or SIGTERM.
fn wait_for_the_end() {
    // SAFETY: the set is initialised by sigemptyset before it is used; these calls touch it and nothing else.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGINT);
        libc::sigaddset(&raw mut signals, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
        let mut signal = 0;
        libc::sigwait(&raw const signals, &raw mut signal);
    }
}
