//! The built binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a run said.
pub(crate) struct CliOutput {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CliOutput {
    fn new(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }

    /// A refusal: status 2, nothing on stdout, one line on stderr that holds all of `parts`.
    #[track_caller]
    pub(crate) fn assert_refused(&self, parts: &[&str]) {
        assert_eq!(self.status, Some(2), "{}", self.stderr);
        assert_eq!(self.stdout, "");
        assert!(
            self.stderr.starts_with("h2trace: ") && self.stderr.ends_with('\n'),
            "{:?}",
            self.stderr
        );
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no {part:?} in {:?}",
                self.stderr
            );
        }
    }
}

/// The binary: `H2TRACE_BINARY`, or the newer one of those that cargo built.
pub(crate) fn path() -> PathBuf {
    if let Some(path) = std::env::var_os("H2TRACE_BINARY") {
        return PathBuf::from(path);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |dir| root.join(dir));
    let built = ["release", "debug"].map(|profile| target.join(profile).join("h2trace"));
    built
        .into_iter()
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| path)
        .expect("no h2trace binary (build it: cargo build -p tracer-user; or set H2TRACE_BINARY)")
}

/// `h2trace` with these arguments, and none of the tester's own H2TRACE_ variables.
pub(crate) fn command(arguments: &[&str]) -> Command {
    clean(Command::new(path()), arguments)
}

/// The same without any capability, whoever runs the test.
pub(crate) fn unprivileged(arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--ambient-caps=-all",
        "--no-new-privs",
    ]);
    command.arg(path());
    clean(command, arguments)
}

fn clean(mut command: Command, arguments: &[&str]) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("H2TRACE_") {
            command.env_remove(name);
        }
    }
    // A machine that runs pods is asked for their names, and says so when it does not tell.
    command.env("H2TRACE_KUBERNETES", "off");
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end.
#[track_caller]
pub(crate) fn output_of(mut command: Command) -> CliOutput {
    CliOutput::new(command.output().expect("h2trace starts"))
}

/// Runs `h2trace` with these arguments to its end.
#[track_caller]
pub(crate) fn h2trace(arguments: &[&str]) -> CliOutput {
    output_of(command(arguments))
}
