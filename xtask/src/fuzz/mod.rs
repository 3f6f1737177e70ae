//! `cargo xtask fuzz`: coverage-guided fuzzing with stable Rust alone.
//!
//! The coverage comes from LLVM's own pass, which rustc takes as a stable flag; libFuzzer comes with the
//! crate `libfuzzer-sys`. The targets and their seeds are in `tests/fuzz`; what is found is kept in
//! `target/fuzz/found`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{command, demo};
use report::FuzzReport;

mod report;

/// The targets, by what they read.
const TARGETS: [&str; 5] = [
    "frame_reader",
    "hpack",
    "stream_ops",
    "capture_file",
    "kernel_event",
];

/// Those of them that need the program; the others need its core alone.
const OF_PROGRAM: [&str; 2] = ["capture_file", "kernel_event"];

/// What makes rustc count edges for libFuzzer (as `cargo-fuzz` has it, but for the sanitizers, which need
/// nightly).
const RUSTFLAGS: &str = "--cfg fuzzing \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Clink-dead-code \
    -Ccodegen-units=1";

/// Longest input, in bytes.
const INPUT_MAX: u32 = 16 * 1024;

/// Seconds that one input may take.
const INPUT_SECONDS: u32 = 20;

/// What `cargo xtask fuzz` takes.
#[derive(Args)]
pub(crate) struct FuzzOptions {
    /// Only these targets
    #[arg(long, num_args = 1.., value_parser = TARGETS, value_name = "TARGET")]
    target: Vec<String>,

    /// How long each target runs
    #[arg(long, default_value_t = 30, value_name = "N")]
    seconds: u32,

    /// So many inputs for each target at most, however fast the machine is
    #[arg(long, value_name = "N")]
    inputs: Option<u32>,

    /// Begin with the seeds alone, without what earlier runs found
    #[arg(long)]
    fresh: bool,

    /// Begin with the same random number: the inputs are alike, though not the same, because the coverage that steers
    /// them is not the same in each run
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,

    /// Let replay read so many hostile capture files instead, with all its options in turn; --seed is the number of the
    /// first one
    #[arg(long, value_name = "N", conflicts_with_all = ["target", "fresh", "minimize", "inputs"])]
    files: Option<u64>,

    /// Keep only the inputs of earlier runs that are needed for their coverage, and do not fuzz
    #[arg(long, conflicts_with = "fresh")]
    minimize: bool,

    /// Write the seeds in tests/fuzz/corpus anew, and do not fuzz
    #[arg(long, conflicts_with_all = ["target", "fresh", "minimize"])]
    write_corpus: bool,
}

/// Builds and runs the targets. Exit status 1 when one of them failed.
pub(crate) fn run(options: &FuzzOptions, root: &Path) -> anyhow::Result<ExitCode> {
    if let Some(n_files) = options.files {
        command::run(
            command::cargo(root)
                .args(["test", "--release", "--locked", "--package", "tracer-tests"])
                .args(["--test", "hostile", "files", "--", "--nocapture"])
                .env("H2TRACE_HOSTILE_FILES", n_files.to_string())
                .env(
                    "H2TRACE_HOSTILE_FIRST",
                    options.seed.unwrap_or(0).to_string(),
                ),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let fuzz = Fuzz {
        root,
        target: demo::target(root).join("fuzz"),
        host: host(root)?,
    };
    if options.write_corpus {
        fuzz.write_corpus()?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted: Vec<&str> = TARGETS
        .into_iter()
        .filter(|name| options.target.is_empty() || options.target.iter().any(|t| t == name))
        .collect();
    fuzz.build(&wanted)?;
    if options.minimize {
        for name in &wanted {
            fuzz.minimize(name)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", FuzzReport::HEADING);
    let mut failed = Vec::new();
    for name in &wanted {
        let report = fuzz.run(name, options)?;
        println!("{}", report.line(name));
        if !report.is_well() {
            failed.push((*name, report));
        }
    }
    for (name, report) in &failed {
        println!("\n{name} failed:\n{}", report.last_words);
        for crash in &report.crashes {
            println!(
                "repeat it with: {} {}",
                fuzz.binary(name).display(),
                crash.display()
            );
        }
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Fuzz<'a> {
    root: &'a Path,
    target: PathBuf,
    host: String,
}

impl Fuzz<'_> {
    fn cargo(&self, verb: &str) -> Command {
        let mut cargo = command::cargo(self.root);
        cargo
            .args([verb, "--locked", "--manifest-path", "tests/fuzz/Cargo.toml"])
            .arg("--target-dir")
            .arg(&self.target);
        cargo
    }

    fn build(&self, wanted: &[&str]) -> anyhow::Result<()> {
        let mut cargo = self.cargo("build");
        // With a target named, build scripts and macros are built without the flags.
        cargo.args(["--release", "--target", &self.host]);
        for name in wanted {
            cargo.args(["--bin", name]);
        }
        if !wanted.iter().any(|name| OF_PROGRAM.contains(name)) {
            cargo.arg("--no-default-features");
        }
        command::run(
            cargo
                .env("RUSTFLAGS", RUSTFLAGS)
                .env_remove("CARGO_ENCODED_RUSTFLAGS"),
        )
    }

    fn binary(&self, name: &str) -> PathBuf {
        self.target.join(&self.host).join("release").join(name)
    }

    fn seeds(&self, name: &str) -> PathBuf {
        self.root.join("tests/fuzz/corpus").join(name)
    }

    /// A folder below `target/fuzz`, made when it is not there.
    fn folder(&self, what: &str, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.target.join(what).join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    fn run(&self, name: &str, options: &FuzzOptions) -> anyhow::Result<FuzzReport> {
        let found = self.folder(if options.fresh { "fresh" } else { "found" }, name)?;
        if options.fresh {
            empty(&found)?;
        }
        let crashes = self.folder("crashes", name)?;
        let before = files(&crashes)?;
        let log = self.target.join(format!("{name}.log"));
        let written =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut fuzzer = Command::new(self.binary(name));
        fuzzer
            .arg(format!("-max_total_time={}", options.seconds.max(1)))
            .arg(format!("-max_len={INPUT_MAX}"))
            .arg(format!("-timeout={INPUT_SECONDS}"))
            .arg(format!("-artifact_prefix={}/", crashes.display()))
            .args(["-print_final_stats=1", "-rss_limit_mb=1024"])
            .args(options.seed.map(|seed| format!("-seed={seed}")))
            .args(options.inputs.map(|inputs| format!("-runs={inputs}")))
            .arg(&found)
            .arg(self.seeds(name))
            .stdout(Stdio::null())
            .stderr(written);
        let status = fuzzer
            .status()
            .with_context(|| format!("cannot run {}", command::shown(&fuzzer)))?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let mut report = FuzzReport::read(&said, status.success());
        report.crashes = files(&crashes)?;
        report.crashes.retain(|crash| !before.contains(crash));
        Ok(report)
    }

    fn minimize(&self, name: &str) -> anyhow::Result<()> {
        let found = self.folder("found", name)?;
        let kept = self.folder("minimized", name)?;
        empty(&kept)?;
        let before = files(&found)?.len();
        let mut fuzzer = Command::new(self.binary(name));
        // The seeds come first: only what they do not cover is kept of the others.
        for seed in files(&self.seeds(name))? {
            let target = kept.join(seed.file_name().unwrap_or_default());
            fs::copy(&seed, &target).with_context(|| format!("cannot copy {}", seed.display()))?;
        }
        fuzzer
            .args(["-merge=1", &format!("-max_len={INPUT_MAX}")])
            .arg(&kept)
            .arg(&found)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command::run(&mut fuzzer)?;
        for seed in files(&self.seeds(name))? {
            fs::remove_file(kept.join(seed.file_name().unwrap_or_default())).ok();
        }
        fs::remove_dir_all(&found)?;
        fs::rename(&kept, &found)?;
        let after = files(&found)?.len();
        println!("{name}: {before} inputs, {after} of them needed beside the seeds");
        Ok(())
    }

    fn write_corpus(&self) -> anyhow::Result<()> {
        let corpus = self.root.join("tests/fuzz/corpus");
        for name in TARGETS {
            let seeds = corpus.join(name);
            fs::create_dir_all(&seeds)?;
            for seed in files(&seeds)? {
                // Regressions are not generated: they stay.
                let is_regression = seed
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("found-"));
                if !is_regression {
                    fs::remove_file(seed)?;
                }
            }
        }
        let mut cargo = self.cargo("run");
        command::run(cargo.args(["--bin", "seeds", "--"]).arg(&corpus))?;
        for name in TARGETS {
            println!("{name}: {} seeds", files(&self.seeds(name))?.len());
        }
        Ok(())
    }
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

fn empty(folder: &Path) -> anyhow::Result<()> {
    for file in files(folder)? {
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(())
}

/// The platform that rustc builds for by itself.
fn host(root: &Path) -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .current_dir(root)
        .output()
        .context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("rustc -vV names no host"),
    }
}
