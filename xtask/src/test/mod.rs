//! `cargo xtask test`: the gate. Every step in order, up to the first that fails.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::{command, demo, image, kernels, privilege};
use count::Count;
use report::{Skip, shown_time};

pub(crate) mod count;
pub(crate) mod older;
pub(crate) mod report;

/// What `cargo xtask test` takes.
#[derive(Args)]
pub(crate) struct TestOptions {
    /// Only these steps, in the gate's order
    #[arg(long, value_enum, num_args = 1.., value_name = "STEP")]
    only: Vec<Step>,

    /// Only what needs no root, no network and no peers: minutes less, and less is tested
    #[arg(long, conflicts_with_all = ["only", "cluster", "kernels", "full"])]
    fast: bool,

    /// Only the tests in a real Kubernetes cluster, which are not in the gate: installs what they need, makes the
    /// cluster, takes it down
    #[arg(long, conflicts_with = "only")]
    cluster: bool,

    /// Only the tests by kernel, also those that are not in the gate: kernels for another architecture, the incident
    /// in each that can run it, and this machine's kernel (host) with both kinds of hooks. Installs what they need.
    /// With names: only these
    #[arg(long, num_args = 0.., value_name = "KERNEL", value_parser = kernels::names(), conflicts_with_all = ["only", "cluster"])]
    kernels: Option<Vec<String>>,

    /// Bigger live tests (sets H2TRACE_SCALE=full), all tests on other kernels, and new random cases of the properties
    #[arg(long)]
    full: bool,
}

/// What proptest reads its seed from.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

/// How many inputs each fuzz target gets in the gate: the seeds, among them what was found before, and some made of
/// them. That shows what a change broke; to look for what nobody knows yet, `cargo xtask fuzz` runs long. A number and
/// not a time, so that a fast machine tries no more than a slow one.
const FUZZ_INPUTS: &str = "2000";
/// And how long it may take at most.
const FUZZ_SECONDS: &str = "120";

/// What the tests in the cluster need of the set-up.
const CLUSTER_PIECES: &[&str] = &[
    "programs",
    "node-programs",
    "kubernetes",
    "etcd",
    "helm",
    "kubeconform",
    "prometheus",
    "node",
    "grpc-go",
    "envoy-1.40.0",
];

/// What only the tests in the cluster need: the gate does not install it. Kubernetes alone takes 20 minutes to
/// compile, and Prometheus with discovery 5; the gate has Debian's.
const CLUSTER_ONLY: &[&str] = &[
    "node-programs",
    "kubernetes",
    "etcd",
    "kubeconform",
    "prometheus",
];

/// What only `cargo xtask tls-peers` needs.
const TLS_PEERS_ONLY: &[&str] = &["tonic-tls", "netty-tcnative"];

/// A step, in the order they run. All are in the gate but the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Install what is missing (cargo xtask setup)
    Setup,
    /// Formatting
    Fmt,
    /// The rules that no compiler checks (cargo xtask tidy)
    Tidy,
    /// Clippy, warnings are errors
    Clippy,
    /// Documentation, warnings are errors
    Doc,
    /// The static release binary, as the image has it, which the tests after it drive
    Release,
    /// The plain manifests are what the chart gives (cargo xtask manifests --check)
    Manifests,
    /// Unit tests, decoder tests on captures, command line tests
    Unit,
    /// A short run of every fuzz target from its seeds (cargo xtask fuzz)
    Fuzz,
    /// The checked-in kernel object is what its source says (cargo xtask build-ebpf --check)
    Ebpf,
    /// Real programs, real sockets, the real kernel
    Live,
    /// Other kernels than this machine's, under QEMU
    Kernels,
    /// Sizes of the kernel object and the binary
    Sizes,
    /// h2trace's image in a real Kubernetes cluster of one node: not in the gate
    Cluster,
}

impl Step {
    const ALL: [Step; 14] = [
        Step::Setup,
        Step::Fmt,
        Step::Tidy,
        Step::Clippy,
        Step::Doc,
        Step::Release,
        Step::Manifests,
        Step::Unit,
        Step::Fuzz,
        Step::Ebpf,
        Step::Live,
        Step::Kernels,
        Step::Sizes,
        Step::Cluster,
    ];

    /// The steps of `--fast`. `unit` then tests a debug binary.
    const FAST: [Step; 3] = [Step::Fmt, Step::Tidy, Step::Unit];

    /// The value of `--only`.
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Runs the gate. Exit status 1 when a step fails, 2 when the gate cannot run.
pub(crate) fn run(options: &TestOptions, root: &Path) -> anyhow::Result<ExitCode> {
    let steps = options.steps();
    if (steps.contains(&Step::Live)
        || steps.contains(&Step::Cluster)
        || kernels::is_this_one_tested(&options.kernels()))
        && let Some(refusal) =
            privilege::refuse("test", "runs live tests, which load kernel programs")
    {
        eprintln!("what needs no privileges:");
        eprintln!("    cargo xtask test --fast");
        eprintln!(
            "    cargo xtask test --only fmt tidy clippy doc unit fuzz release sizes kernels"
        );
        return Ok(refusal);
    }

    let mut gate = Gate {
        root,
        full: options.full,
        fast: options.fast,
        kernels: options.kernels(),
        skipped: report::fresh_file(root)?,
        total: Count::default(),
    };
    let (mut times, mut skips, mut failed) = (Vec::new(), Vec::new(), None);
    for step in steps {
        println!("\n==> {}", step.name());
        let began = Instant::now();
        let outcome = gate.run(step);
        times.push((step.name(), began.elapsed()));
        let took = shown_time(began.elapsed());
        match outcome {
            Ok(parts) => {
                println!("<== {}: {took}", step.name());
                skips.extend(parts);
            }
            Err(error) => {
                println!("<== {}: FAILED after {took}: {error:#}", step.name());
                println!("    repeat it with: {}", options.repeats(step));
                failed = Some(step);
                break;
            }
        }
    }
    skips.extend(report::read(&gate.skipped));
    println!("\n{}", report::times(&times));
    println!("{}", report::skipped(&skips));
    let missed = report::not_allowed_on_ci(&skips);
    let misses = is_ci() && !options.fast && !missed.is_empty();
    if misses {
        println!(
            "FAILED: on CI nothing else is skipped: {}",
            missed.join(", ")
        );
    }
    let is_bad = failed.is_some() || misses;
    println!("{}", gate.total.closing_line(is_bad));
    Ok(if is_bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

impl TestOptions {
    /// Which kernels are meant.
    fn kernels(&self) -> kernels::Which {
        match &self.kernels {
            None => kernels::Which::OfThisMachine,
            Some(names) if names.is_empty() => kernels::Which::All,
            Some(names) => kernels::Which::Named(names.clone()),
        }
    }

    /// The steps that are asked for, in their order.
    fn steps(&self) -> Vec<Step> {
        let wanted = |step: Step| match self {
            TestOptions { fast: true, .. } => Step::FAST.contains(&step),
            TestOptions { cluster: true, .. } => step == Step::Cluster,
            // They boot the static binary.
            TestOptions {
                kernels: Some(_), ..
            } => step == Step::Release || step == Step::Kernels,
            TestOptions { only, .. } if only.is_empty() => step != Step::Cluster,
            TestOptions { only, .. } => only.contains(&step),
        };
        Step::ALL.into_iter().filter(|step| wanted(*step)).collect()
    }

    /// The command that runs a step again.
    fn repeats(&self, step: Step) -> String {
        if self.fast {
            return "cargo xtask test --fast".to_owned();
        }
        if let Some(names) = &self.kernels {
            let words = [&["cargo xtask test --kernels".to_owned()], &names[..]].concat();
            return words.join(" ");
        }
        format!("cargo xtask test --only {}", step.name())
    }
}

struct Gate<'a> {
    root: &'a Path,
    full: bool,
    fast: bool,
    /// Which other kernels.
    kernels: kernels::Which,
    /// Where tests that skip write why.
    skipped: PathBuf,
    total: Count,
}

impl Gate<'_> {
    /// Runs a step; gives what it could not run here and need not.
    fn run(&mut self, step: Step) -> anyhow::Result<Vec<Skip>> {
        match step {
            Step::Setup => {
                let others = kernels::pieces_beyond_the_gate()?;
                let mut task = [&["setup", "--without"], CLUSTER_ONLY, TLS_PEERS_ONLY].concat();
                task.extend(others.iter().map(String::as_str));
                self.own_task(&task)?;
            }
            Step::Fmt => self.cargo(&["fmt", "--all", "--check"], &[])?,
            Step::Tidy => self.own_task(&["tidy"])?,
            Step::Clippy => {
                self.cargo(
                    &[
                        "clippy",
                        "--locked",
                        "--workspace",
                        "--all-targets",
                        "--",
                        "-D",
                        "warnings",
                    ],
                    &[],
                )?;
                let without = "clippy --locked -p tracer-user --no-default-features -- -D warnings";
                self.cargo(&without.split(' ').collect::<Vec<_>>(), &[])?;
            }
            Step::Doc => {
                let flags = [("RUSTDOCFLAGS", "-D warnings")];
                self.cargo(&["doc", "--locked", "--workspace", "--no-deps"], &flags)?;
                self.own_task(&["docs", "--check"])?;
            }
            Step::Unit => self.unit()?,
            // From the same seeds, and as much on any machine. The inputs are not quite the same each time: the
            // coverage that steers them depends on the keys of hash maps, which are random.
            Step::Fuzz => {
                let task = ["fuzz", "--fresh", "--seed", "1"];
                let bounds = ["--inputs", FUZZ_INPUTS, "--seconds", FUZZ_SECONDS];
                self.own_task(&[&task[..], &bounds].concat())?;
            }
            Step::Ebpf => return self.ebpf(),
            Step::Manifests => self.own_task(&["manifests", "--check"])?,
            // Guests of another architecture have one of their own.
            Step::Release if !kernels::need_own_binary(&self.kernels)? => {}
            Step::Release => self.own_task(&["image", "--binary-only"])?,
            Step::Live => self.live()?,
            Step::Kernels => return self.kernels(),
            Step::Cluster => self.cluster()?,
            Step::Sizes => self.sizes()?,
        }
        Ok(Vec::new())
    }

    fn cargo(&self, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut cargo = command::cargo(self.root);
        cargo.args(arguments).envs(environment.iter().copied());
        echo(&cargo);
        command::run(&mut cargo)
    }

    /// Another task of this program.
    fn own_task(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut task = Command::new(std::env::current_exe().context("cannot find this program")?);
        task.args(arguments).current_dir(self.root);
        let shown = format!("cargo xtask {}", arguments.join(" "));
        println!("    {shown}");
        let status = task
            .status()
            .with_context(|| format!("cannot run {shown}"))?;
        if !status.success() {
            bail!("{shown} failed ({status})");
        }
        Ok(())
    }

    fn unit(&mut self) -> anyhow::Result<()> {
        const TEST: [&str; 3] = ["test", "--locked", "--no-fail-fast"];
        let mut units = command::cargo(self.root);
        units
            .args(TEST)
            .args(["--workspace", "--exclude", "tracer-tests"]);
        let mut black_box = command::cargo(self.root);
        black_box
            .args(TEST)
            .args(["--package", "tracer-tests", "--lib"]);
        for name in ["decode", "properties", "hostile", "cost", "cli"] {
            if self.has_tests(name) {
                black_box.args(["--test", name]);
            }
        }
        if self.fast {
            self.cargo(&["build", "--locked", "--package", "tracer-user"], &[])?;
            let binary = demo::target(self.root).join("debug/h2trace");
            black_box
                .env("H2TRACE_BINARY", binary)
                .env("H2TRACE_FAST", "1");
        } else {
            black_box.env("H2TRACE_BINARY", image::static_binary(self.root)?);
        }
        // Repeatable: what new random cases find is looked for with --full, not in a gate that others wait for.
        if !self.full && std::env::var_os(PROPERTY_SEED).is_none() {
            units.env(PROPERTY_SEED, "1");
            black_box.env(PROPERTY_SEED, "1");
        }
        // Both, even when the first fails: the closing line counts them all.
        let first = self.tests(&mut units);
        self.tests(&mut black_box)?;
        first.map(|_| ())
    }

    /// All live tests.
    fn live(&mut self) -> anyhow::Result<()> {
        // A live test that finds something missing is skipped, and passes; those that ran write a line here.
        let ran = demo::target(self.root).join("live-tests-that-ran");
        std::fs::remove_file(&ran).ok();
        let mut first = Ok(());
        for name in "kernel live keys incident mesh proxies conformance tshark rules".split(' ') {
            if !self.has_tests(name) {
                bail!("the live tests in tests/{name} are missing");
            }
            let mut live = command::cargo(self.root);
            live.args([
                "test",
                "--locked",
                "--no-fail-fast",
                "--package",
                "tracer-tests",
            ]);
            live.args(["--test", name, "--", "--test-threads=1"]);
            live.env("H2TRACE_BINARY", image::static_binary(self.root)?)
                .env("H2TRACE_LIVE_COUNT", &ran);
            if self.full {
                live.env("H2TRACE_SCALE", "full");
            }
            let outcome = self.tests(&mut live).map(|_| ());
            first = first.and(outcome);
        }
        let again = self.tests(&mut older::kernel_tests(self.root)).map(|_| ());
        first.and(again)?;
        let n_ran = std::fs::read_to_string(&ran)
            .unwrap_or_default()
            .lines()
            .count();
        println!("    {n_ran} tests drove real peers");
        if n_ran == 0 {
            bail!("no live test ran: all were skipped");
        }
        Ok(())
    }

    /// Guests with other kernels, which need no privileges here; and this machine's kernel, where it is asked for.
    fn kernels(&mut self) -> anyhow::Result<Vec<Skip>> {
        let pieces = kernels::pieces(&self.kernels)?;
        let pieces = pieces.iter().map(String::as_str);
        self.own_task(
            &["setup", "--only"]
                .into_iter()
                .chain(pieces)
                .collect::<Vec<_>>(),
        )?;
        let report = kernels::run(self.root, &self.kernels, self.full)?;
        self.total += report.count;
        if report.count.failed > 0 {
            bail!("{} failed", report.count.failed);
        }
        let absent = report.absent.iter().map(|name| Skip {
            what: format!("kernel {name}"),
            why: format!("it is not installed: cargo xtask setup --only kernel-{name}"),
        });
        Ok(absent.chain(report.skips).collect())
    }

    /// A real cluster, with the image as users build it.
    fn cluster(&mut self) -> anyhow::Result<()> {
        if !self.has_tests("cluster") {
            bail!("the tests in tests/cluster are missing");
        }
        self.own_task(&[&["setup", "--only"], CLUSTER_PIECES].concat())?;
        self.own_task(&["image"])?;
        let ran = demo::target(self.root).join("cluster-tests-that-ran");
        std::fs::remove_file(&ran).ok();
        let mut tests = command::cargo(self.root);
        tests.args(["test", "--locked", "--no-fail-fast"]);
        tests.args(["--package", "tracer-tests"]);
        tests.args(["--test", "kubernetes", "--test", "cluster"]);
        tests
            .env("H2TRACE_BINARY", image::static_binary(self.root)?)
            .env("H2TRACE_LIVE_COUNT", &ran);
        if self.full {
            tests.env("H2TRACE_SCALE", "full");
        }
        self.tests(&mut tests)?;
        if !ran.exists() {
            bail!("no test ran in the cluster: all were skipped");
        }
        Ok(())
    }

    fn has_tests(&self, name: &str) -> bool {
        self.root.join("tests").join(name).join("main.rs").is_file()
    }

    /// Runs tests, shows what they print, and adds their counts to the total.
    fn tests(&mut self, tests: &mut Command) -> anyhow::Result<Count> {
        tests.env(report::SKIPPED_FILE, &self.skipped);
        echo(tests);
        let (count, status) = count::run(tests, &mut std::io::stdout())?;
        self.total += count;
        if !status.success() || count.failed > 0 {
            bail!("{} failed ({status})", command::shown(tests));
        }
        Ok(count)
    }

    fn ebpf(&self) -> anyhow::Result<Vec<Skip>> {
        if !has_program("bpf-linker") && !is_ci() {
            return Ok(vec![Skip {
                what: Step::Ebpf.name(),
                why: "bpf-linker is missing: cargo xtask setup --only bpf-toolchain".to_owned(),
            }]);
        }
        self.own_task(&["build-ebpf", "--check"])?;
        Ok(Vec::new())
    }

    fn sizes(&self) -> anyhow::Result<()> {
        println!(
            "    h2trace           {}",
            size(&image::static_binary(self.root)?)?
        );
        let mut objects: Vec<_> = std::fs::read_dir(self.root.join("tracer-ebpf"))
            .context("cannot read tracer-ebpf")?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "o"))
            .collect();
        objects.sort();
        if objects.is_empty() {
            bail!("the kernel object is missing in tracer-ebpf; run \"cargo xtask build-ebpf\"");
        }
        for object in objects {
            let name = object
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            println!("    {name:<16}  {}", size(&object)?);
        }
        Ok(())
    }
}

/// On CI what cannot run is a failure.
fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

fn echo(command: &Command) {
    println!("    {}", command::shown(command));
}

/// A program can be started by its name, or stands among cargo's.
fn has_program(name: &str) -> bool {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(
            [cargo_home, home]
                .into_iter()
                .flatten()
                .map(|folder| folder.join("bin")),
        )
        .any(|folder| folder.join(name).is_file())
}

pub(crate) fn size(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("cannot find {}", path.display()))?
        .len();
    Ok(format!("{bytes} bytes ({} KiB)", bytes / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_run_in_the_order_that_help_shows() {
        assert_eq!(Step::ALL.as_slice(), Step::value_variants());
    }

    fn steps(words: &[&str]) -> Vec<Step> {
        options(words).steps()
    }

    fn options(words: &[&str]) -> TestOptions {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: TestOptions,
        }
        let words = ["test"].iter().chain(words);
        <Line as clap::Parser>::parse_from(words).options
    }

    #[test]
    fn the_cluster_is_not_in_the_gate() {
        let all = steps(&[]);
        assert_eq!(all.len(), Step::ALL.len() - 1);
        assert!(!all.contains(&Step::Cluster));
        assert_eq!(steps(&["--cluster"]), [Step::Cluster]);
        assert_eq!(steps(&["--only", "cluster"]), [Step::Cluster]);
    }

    #[test]
    fn other_runs_have_their_steps() {
        assert_eq!(steps(&["--fast"]), Step::FAST);
        for kernels in [&["--kernels"][..], &["--kernels", "6.1", "6.1-arm64"]] {
            assert_eq!(steps(kernels), [Step::Release, Step::Kernels]);
        }
        assert_eq!(steps(&["--only", "tidy", "fmt"]), [Step::Fmt, Step::Tidy]);
    }

    #[test]
    fn a_step_is_repeated_as_it_was_asked_for() {
        let repeats = |words: &[&str]| options(words).repeats(Step::Kernels);
        assert_eq!(repeats(&[]), "cargo xtask test --only kernels");
        let named = repeats(&["--kernels", "6.1", "host"]);
        assert_eq!(named, "cargo xtask test --kernels 6.1 host");
        assert_eq!(repeats(&["--kernels"]), "cargo xtask test --kernels");
    }

    #[test]
    fn what_the_gate_leaves_out_the_cluster_installs() {
        for piece in CLUSTER_ONLY {
            assert!(crate::setup::has_piece(piece), "{piece}");
            assert!(CLUSTER_PIECES.contains(piece), "{piece}");
        }
    }
}
