//! A run that a program far away holds on to by its standard input: `kubectl h2trace`. However that program ends,
//! and whatever becomes of the network between, the standard input ends here, and the run with it: Kubernetes leaves
//! what was started by `kubectl exec` running when its client has gone.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use h2trace_core::limits;

use crate::confine::{self, Needs};

/// Whoever made the run comes this soon to hold it, or never.
const COMES_WITHIN: Duration = Duration::from_secs(60);

/// A run that is asked to end has this long for its last words: nobody may be there to read them.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Waits for the first line of standard input, and ends this process in order when standard input ends. Returns
/// the line: what the holder knows of the node's pods, or nothing.
///
/// # Errors
/// Nobody came, the line is longer than [`limits::HELD_LINE`], or standard input has ended already.
pub fn by_stdin() -> anyhow::Result<String> {
    let (sender, first) = sync_channel(1);
    confine::spawn("h2trace-held", Needs::NOTHING, move || {
        follow(io::stdin().lock(), &sender);
        if !catches_signals() {
            // Nothing is traced yet.
            std::process::exit(super::INTERRUPTED);
        }
        // As the first signal of a person does; the second one is not needed.
        // SAFETY: kill(2) has no preconditions; the process is this one.
        unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
        thread::sleep(LAST_WORDS);
        std::process::exit(i32::from(super::ERROR));
    })
    .context("cannot start the thread that watches standard input")?;
    match first.recv_timeout(COMES_WITHIN) {
        Ok(line) => line,
        Err(RecvTimeoutError::Timeout) => bail!(
            "nothing came on standard input within {} s (--held-by-stdin is for programs that hold it open: \
             kubectl h2trace)",
            COMES_WITHIN.as_secs()
        ),
        Err(RecvTimeoutError::Disconnected) => bail!("standard input cannot be watched"),
    }
}

/// A signal ends the run in order, and not this process at once.
fn catches_signals() -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed, and `action` has room for what is there.
    let done =
        unsafe { libc::sigaction(libc::SIGTERM, std::ptr::null(), action.as_mut_ptr()) == 0 };
    // SAFETY: zero is a value of every field, and the call has filled it.
    done && unsafe { action.assume_init() }.sa_sigaction != libc::SIG_DFL
}

/// Hands on the first line, and reads on to the end. Returns only when there was a first line.
fn follow(mut input: impl BufRead, first: &SyncSender<anyhow::Result<String>>) {
    let line = first_line(&mut input);
    let is_held = line.is_ok();
    // The receiver waits, or has given up and ends the process itself.
    drop(first.send(line));
    if !is_held {
        loop {
            thread::park();
        }
    }
    drop(io::copy(&mut input, &mut io::sink()));
}

fn first_line(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = Vec::new();
    let bound = u64::try_from(limits::HELD_LINE).unwrap_or(u64::MAX);
    input
        .take(bound)
        .read_until(b'\n', &mut line)
        .context("cannot read standard input")?;
    if line.pop() != Some(b'\n') {
        if line.len() + 1 >= limits::HELD_LINE {
            bail!(
                "the first line of standard input is longer than {} bytes",
                limits::HELD_LINE
            );
        }
        bail!("standard input ended before the trace began");
    }
    String::from_utf8(line).context("the first line of standard input is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_is_handed_on_and_the_rest_is_read() {
        let mut input: &[u8] = b"{}\nmore\nof it";
        assert_eq!(first_line(&mut input).unwrap(), "{}");
        assert_eq!(input, b"more\nof it");
        let (sender, first) = sync_channel(1);
        follow(&b"\nmore"[..], &sender);
        assert_eq!(first.recv().unwrap().unwrap(), "");
    }

    #[test]
    fn input_without_a_whole_first_line_is_refused() {
        for (given, said) in [("", "ended before"), ("{}", "ended before")] {
            let error = first_line(&mut given.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        let long = vec![b'x'; limits::HELD_LINE + 1];
        let error = first_line(&mut long.as_slice()).unwrap_err();
        assert!(error.to_string().contains("longer"), "{error}");
        assert!(first_line(&mut &b"\xff\n"[..]).is_err());
    }
}
