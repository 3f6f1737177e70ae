//! The command line. Exit status: 0 well, 1 when `--fail-on` found something, 2 error.

pub mod args;
pub mod doctor;
pub mod explain;
pub mod generate;
pub mod ready;
pub mod record;
pub mod replay;
pub mod serve;
pub mod trace;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::error::ErrorKind;

use self::args::{Cli, Command};
use crate::plain::Screened;
use crate::session::ERROR;
use crate::session::output::say;

/// Parses the arguments, runs the command, prints the error if there is one.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(arguments: impl IntoIterator<Item: Into<OsString> + Clone>) -> ExitCode {
    let cli = match Cli::read(arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    end_on_panic();
    keep_one_heap();
    crate::kernel::rights::make_effective();
    log_to_stderr(cli.command.kernel_log());
    let done = match &cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Record(args) => record::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Demo(args) => crate::demo::run(args),
        Command::Generate(args) => generate::run(args),
    };
    match done {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// All threads have one heap. The two that drain in turn would each fill one of their own, with the same things.
fn keep_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes numbers alone; no other thread is there yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// A panic of any thread ends the run: one that goes on without a part of it would look as if it were well. Whoever
/// watches over it starts it anew.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic
            .location()
            .map_or_else(String::new, |at| format!(" at {at}"));
        say(&format!(
            "this is a defect of h2trace: thread {} panicked{place}: {} (please report it)",
            thread.name().unwrap_or("without a name"),
            panic.payload_as_str().unwrap_or("no message")
        ));
        std::process::exit(i32::from(ERROR));
    }));
}

/// Prints one line on stderr, whatever the message looks like.
fn fail(message: &str) -> ExitCode {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    say(&line);
    ExitCode::from(ERROR)
}

/// Prints `text` on stdout. That its reader has gone is no error.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to standard output"))
        }
        _ => Ok(()),
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Help and version go to stdout; a wrong argument is one line with the remedy.
fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            drop(error.print());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            drop(error.print());
            ExitCode::from(ERROR)
        }
        _ => fail(&one_line(&error.render().to_string())),
    }
}

/// clap's message without its usage: `error: WHAT` and the lines that belong to it, then its tips.
fn one_line(rendered: &str) -> String {
    let mut paragraphs = rendered.split("\n\n");
    let what = paragraphs.next().unwrap_or(rendered);
    let what = what.strip_prefix("error: ").unwrap_or(what).trim();
    let tip = paragraphs
        .clone()
        .filter_map(|paragraph| paragraph.trim().strip_prefix("tip: "))
        .map(|tip| format!("; {tip}"))
        .collect::<String>();
    let usage = paragraphs
        .find_map(|paragraph| paragraph.trim().strip_prefix("Usage: "))
        .and_then(|usage| {
            // `h2trace trace <--pid ...>`: the command is what stands before the first placeholder.
            let words: Vec<&str> = usage
                .split_whitespace()
                .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
                .collect();
            (!words.is_empty()).then(|| words.join(" "))
        });
    let command = usage.unwrap_or_else(|| "h2trace".to_owned());
    format!("{what}{tip} (see: {command} --help)")
}

/// The program's own messages go to stderr: `H2TRACE_LOG` says which (`warn`, `h2trace=debug`, ...).
fn log_to_stderr(kernel_log: bool) {
    use tracing_subscriber::EnvFilter;
    // The kernel programs' messages come under the name of their crate. The client of the API server would tell each
    // failed attempt of an outage: who names pods says once that it fails, and once that it is over.
    let default = if kernel_log {
        "warn,kube_client=off,tracer_ebpf=trace"
    } else {
        "warn,kube_client=off"
    };
    let filter = EnvFilter::try_from_env("H2TRACE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // Fails only when there is a subscriber already: then that one is used.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(|| Screened(io::stderr()))
            // Colours are for people: a pod's log is read by programs too.
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_become_one_line_with_the_remedy() {
        for (arguments, want) in [
            (
                vec!["h2trace", "trace", "--pids", "1"],
                "unexpected argument '--pids' found; a similar argument exists: '--pid' (see: h2trace trace --help)",
            ),
            (
                vec!["h2trace", "trace", "--pid", "x"],
                "invalid value 'x' for '--pid <PID>': invalid digit found in string (see: h2trace --help)",
            ),
            (
                vec!["h2trace", "trase"],
                "unrecognized subcommand 'trase'; a similar subcommand exists: 'trace' (see: h2trace --help)",
            ),
        ] {
            let error = Cli::read(&arguments).unwrap_err();
            assert_eq!(one_line(&error.render().to_string()), want);
        }
    }

    #[test]
    fn panic_of_any_thread_ends_the_process_and_says_where() {
        const CHILD: &str = "H2TRACE_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            // Whatever the command is.
            assert_eq!(run(["h2trace", "generate", "schema"]), ExitCode::SUCCESS);
            let thread = std::thread::Builder::new().name("h2trace-x".into());
            let thread = thread.spawn(|| panic!("no\u{1b}where")).unwrap();
            drop(thread.join());
            return;
        }
        let name = "cli::tests::panic_of_any_thread_ends_the_process_and_says_where";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert_eq!(child.status.code(), Some(2));
        let said = String::from_utf8(child.stderr).unwrap();
        let want = "h2trace: this is a defect of h2trace: thread h2trace-x panicked at tracer-user/src/cli/mod.rs:";
        let line = said.lines().find(|line| line.starts_with(want));
        assert!(
            line.is_some_and(|line| line.ends_with(": no?where (please report it)")),
            "{said}"
        );
    }

    #[test]
    fn arguments_are_consistent() {
        let command = args::command();
        let env = |name: &str, id: &str| {
            let arguments = &mut command.find_subcommand(name).unwrap().get_arguments();
            arguments.find(|arg| arg.get_id() == id).unwrap().get_env()
        };
        assert_eq!(env("serve", "ready_file").unwrap(), "H2TRACE_READY_FILE");
        assert_eq!(env("trace", "duration").unwrap(), "H2TRACE_FOR");
        for (name, id) in [
            ("demo", "calls"),
            ("trace", "held_by_stdin"),
            ("replay", "file"),
        ] {
            assert_eq!(env(name, id), None, "{name} {id}");
        }
        command.clone().debug_assert();
    }
}
