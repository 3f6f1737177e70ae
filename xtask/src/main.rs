//! h2trace's own tasks: `cargo xtask demo`, `cargo xtask test`, and what they are made of.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod architecture;
mod bench;
mod bill;
mod build_ebpf;
mod cluster;
mod command;
mod compare_tshark;
mod conformance;
mod contents;
mod demo;
mod deny;
mod dist;
mod docs;
mod fuzz;
mod image;
mod incident;
mod kernels;
mod manifests;
mod notices;
mod privilege;
mod setup;
mod soak;
mod test;
mod tidy;
mod tls;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "h2trace's own tasks"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build h2trace and trace a live gRPC call through a broken proxy
    Demo(demo::DemoOptions),
    /// Install the real peers that the tests drive; a second run does nothing
    Setup(setup::SetupOptions),
    /// Run every check and test but the cluster, in order, up to the first that fails
    Test(test::TestOptions),
    /// Build the kernel programs, and write their object beside their source
    BuildEbpf(build_ebpf::BuildEbpfOptions),
    /// Check the rules of the source tree that no compiler checks
    Tidy(tidy::TidyOptions),
    /// Look for inputs that break the decoders
    Fuzz(fuzz::FuzzOptions),
    /// Measure what tracing costs
    Bench(bench::BenchOptions),
    /// Run real peers for long, in good health, and fail when the tracer flags or loses anything
    Soak(soak::SoakOptions),
    /// Run the reference incident in all its shapes, and hold h2trace's verdicts against the clients' words
    IncidentMatrix(incident::Matrix),
    /// Start a real Kubernetes cluster of one node, and keep it until Ctrl-C
    Cluster(cluster::ClusterOptions),
    /// Build the static binary, and the image that Kubernetes runs
    Image(image::ImageOptions),
    /// Check licences, sources and versions of the dependencies
    Deny(deny::DenyOptions),
    /// Make a release in target/dist: archive, Debian package, bill of materials, image, checksums
    Dist(dist::DistOptions),
    /// Write the plain manifests, and the kubectl plugin's, from the Helm chart
    Manifests(manifests::ManifestsOptions),
    /// Write the licences of everything that is in the program, with their texts
    Notices(notices::NoticesOptions),
    /// Write the bill of materials of the program, as CycloneDX
    Bill(bill::BillOptions),
    /// Write the tables in tracer-user/docs from the code
    Docs(docs::DocsOptions),
    /// Hold replay against tshark: frames, resets, GOAWAYs, streams and statuses of real peers
    CompareTshark(compare_tshark::CompareTsharkOptions),
    /// Run h2spec and gRPC's interoperability suite with h2trace beside them, and write what it said into the docs
    Conformance(conformance::ConformanceOptions),
    /// Open a million TLS records of 500 connections that are all alike, and look for one that another one's key opens
    TlsLinks(tls::TlsLinksOptions),
    /// Open TLS of real peers by a key log and by keys from memory, and write what came of it into the docs
    TlsPeers(tls::TlsPeersOptions),
}

fn main() -> ExitCode {
    let root = workspace_root();
    let result = match Cli::parse().task {
        Task::Demo(options) => demo::run(&options, &root),
        Task::Setup(options) => setup::run(&options, &root),
        Task::Test(options) => test::run(&options, &root),
        Task::BuildEbpf(options) => build_ebpf::run(&options, &root),
        Task::Tidy(options) => tidy::run(&options, &root),
        Task::Fuzz(options) => fuzz::run(&options, &root),
        Task::Bench(options) => bench::run(&options, &root),
        Task::Soak(options) => soak::run(&options, &root),
        Task::IncidentMatrix(options) => incident::matrix(&options, &root),
        Task::Cluster(options) => cluster::run(&options, &root),
        Task::Image(options) => image::run(&options, &root),
        Task::Deny(options) => deny::run(&options, &root),
        Task::Dist(options) => dist::run(&options, &root),
        Task::Manifests(options) => manifests::run(&options, &root),
        Task::Notices(options) => notices::run(&options, &root),
        Task::Bill(options) => bill::run(&options, &root),
        Task::Docs(options) => docs::run(&options, &root),
        Task::CompareTshark(options) => compare_tshark::run(&options, &root),
        Task::Conformance(options) => conformance::run(&options, &root),
        Task::TlsLinks(options) => tls::links(&options, &root),
        Task::TlsPeers(options) => tls::peers(&options, &root),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

/// The folder above this package's.
fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}
