//! `cargo xtask test`: the gate. Every step in order, up to the first that fails.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::{command, demo, image, kernels, privilege};
use count::Count;

pub(crate) mod count;

/// What `cargo xtask test` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these steps, in the gate's order
    #[arg(long, value_enum, num_args = 1.., value_name = "STEP")]
    only: Vec<Step>,

    /// Only the tests in a real Kubernetes cluster: installs what they need, makes the cluster, takes it down
    #[arg(long, conflicts_with = "only")]
    cluster: bool,

    /// Only the tests on other kernels, under QEMU: installs what they need, builds, boots
    #[arg(long, conflicts_with_all = ["only", "cluster"])]
    kernels: bool,

    /// Bigger live tests (sets H2TRACE_SCALE=full), all tests on other kernels, and new random cases of the properties
    #[arg(long)]
    full: bool,
}

/// What proptest reads its seed from.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

/// How many inputs each fuzz target gets in the gate: about 10 seconds of the slowest one. A number and not a time, so
/// that a fast machine tries no more than a slow one.
const FUZZ_INPUTS: &str = "8000";
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

/// A step of the gate, in the order they run.
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
    /// h2trace's image in a real Kubernetes cluster of one node
    Cluster,
    /// Sizes of the kernel object and the binary
    Sizes,
}

impl Step {
    const ALL: [Step; 13] = [
        Step::Setup,
        Step::Fmt,
        Step::Tidy,
        Step::Clippy,
        Step::Doc,
        Step::Release,
        Step::Unit,
        Step::Fuzz,
        Step::Ebpf,
        Step::Live,
        Step::Kernels,
        Step::Cluster,
        Step::Sizes,
    ];

    /// The value of `--only`.
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// How a step went.
enum Outcome {
    Done,
    /// It could not run here, and need not; why.
    Skipped(String),
}

/// Runs the gate. Exit status 1 when a step fails, 2 when the gate cannot run.
pub(crate) fn run(options: &Options, root: &Path) -> anyhow::Result<ExitCode> {
    let wanted = |step: Step| match (options.cluster, options.kernels) {
        (true, _) => step == Step::Cluster,
        // They boot the static binary.
        (_, true) => step == Step::Release || step == Step::Kernels,
        _ => options.only.is_empty() || options.only.contains(&step),
    };
    if (wanted(Step::Live) || wanted(Step::Cluster))
        && let Some(refusal) =
            privilege::refuse("test", "runs live tests, which load kernel programs")
    {
        eprintln!("what needs no privileges:");
        eprintln!(
            "    cargo xtask test --only fmt tidy clippy doc unit fuzz release sizes kernels"
        );
        return Ok(refusal);
    }

    let mut gate = Gate {
        root,
        full: options.full,
        total: Count::default(),
    };
    let start = Instant::now();
    for step in Step::ALL.into_iter().filter(|step| wanted(*step)) {
        println!("\n==> {}", step.name());
        let began = Instant::now();
        let outcome = gate.run(step);
        let took = shown_time(began.elapsed());
        match outcome {
            Ok(Outcome::Done) => println!("<== {}: {took}", step.name()),
            Ok(Outcome::Skipped(why)) => println!("<== {}: skipped, {why}", step.name()),
            Err(error) => {
                println!("<== {}: FAILED after {took}: {error:#}", step.name());
                println!(
                    "    repeat it with: cargo xtask test --only {}",
                    step.name()
                );
                println!("\n{}", gate.total.closing_line(true));
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    println!("\nall steps: {}", shown_time(start.elapsed()));
    println!("{}", gate.total.closing_line(false));
    Ok(ExitCode::SUCCESS)
}

fn shown_time(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 60 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

struct Gate<'a> {
    root: &'a Path,
    full: bool,
    total: Count,
}

impl Gate<'_> {
    fn run(&mut self, step: Step) -> anyhow::Result<Outcome> {
        match step {
            Step::Setup => self.own_task(&["setup"])?,
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
            Step::Release => self.own_task(&["image", "--binary-only"])?,
            Step::Live => self.live()?,
            Step::Kernels => return self.kernels(),
            Step::Cluster => self.cluster()?,
            Step::Sizes => self.sizes()?,
        }
        Ok(Outcome::Done)
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
        let mut units = command::cargo(self.root);
        units.args([
            "test",
            "--locked",
            "--no-fail-fast",
            "--workspace",
            "--exclude",
            "tracer-tests",
        ]);
        let mut black_box = command::cargo(self.root);
        black_box.args([
            "test",
            "--locked",
            "--no-fail-fast",
            "--package",
            "tracer-tests",
            "--lib",
        ]);
        for name in ["decode", "properties", "hostile", "cli"] {
            if self.has_tests(name) {
                black_box.args(["--test", name]);
            }
        }
        black_box.env("H2TRACE_BINARY", image::static_binary(self.root)?);
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

    /// Live tests of the kernel programs, of real peers, of the reference incident, and of other proxies.
    fn live(&mut self) -> anyhow::Result<()> {
        // A live test that finds something missing is skipped, and passes; those that ran write a line here.
        let ran = demo::target(self.root).join("live-tests-that-ran");
        std::fs::remove_file(&ran).ok();
        let mut first = Ok(());
        for name in ["kernel", "live", "incident", "proxies", "tshark", "rules"] {
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
        first?;
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

    /// Guests with other kernels. They need no privileges here.
    fn kernels(&mut self) -> anyhow::Result<Outcome> {
        let pieces = kernels::pieces();
        let pieces = pieces.iter().map(String::as_str);
        self.own_task(
            &["setup", "--only"]
                .into_iter()
                .chain(pieces)
                .collect::<Vec<_>>(),
        )?;
        let report = kernels::run(self.root, self.full)?;
        self.total += report.count;
        if report.count.failed > 0 {
            bail!("{} failed on other kernels", report.count.failed);
        }
        let absent = report.absent.join(" and ");
        match (report.absent.is_empty(), is_ci()) {
            (true, _) => Ok(Outcome::Done),
            (false, true) => bail!("kernel {absent} is not installed"),
            (false, false) if report.booted > 0 => Ok(Outcome::Done),
            (false, false) => Ok(Outcome::Skipped(format!(
                "no kernel is installed: {absent}"
            ))),
        }
    }

    /// A real cluster, with the image as users build it.
    fn cluster(&mut self) -> anyhow::Result<()> {
        if !self.has_tests("cluster") {
            bail!("the tests in tests/cluster are missing");
        }
        self.own_task(&[&["setup", "--only"], CLUSTER_PIECES].concat())?;
        self.own_task(&["manifests", "--check"])?;
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
        echo(tests);
        let (count, status) = count::run(tests, &mut std::io::stdout())?;
        self.total += count;
        if !status.success() || count.failed > 0 {
            bail!("{} failed ({status})", command::shown(tests));
        }
        Ok(count)
    }

    fn ebpf(&self) -> anyhow::Result<Outcome> {
        if !has_program("bpf-linker") && !is_ci() {
            let why = "bpf-linker is missing (\"cargo xtask setup\" installs it where it can)";
            return Ok(Outcome::Skipped(why.to_owned()));
        }
        self.own_task(&["build-ebpf", "--check"])?;
        Ok(Outcome::Done)
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
    let cargo_home = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
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

fn size(path: &Path) -> anyhow::Result<String> {
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

    #[test]
    fn times_are_short_to_read() {
        assert_eq!(shown_time(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(shown_time(Duration::from_secs(125)), "2 min 5 s");
    }
}
