//! What the three processes have in common: how they start, stop and tell their results.
//!
//! A process prints one [`Ready`] line, works, and prints one line with its report before it ends.
//! The server and the proxy end when their standard input does, so none of them outlives the demo; the
//! client begins with its first line of input.

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{DemoArgs, Part, client, proxy, server};

/// Bytes of the one message of a response, its 5-byte prefix not counted. With windows of 65,535 bytes
/// five such responses fit and the sixth is cut after 9,920 bytes of its message.
pub(super) const RESPONSE_MESSAGE: usize = 11_117;

/// Bytes of a request's message.
pub(super) const REQUEST_MESSAGE: usize = 11;

/// Length of the prefix of a message: a compression flag and the length (gRPC "Length-Prefixed-Message").
pub(super) const PREFIX: usize = 5;

/// What the proxy and the server let the other end send, so that only the client's windows bite.
pub(super) const WIDE_WINDOW: u32 = 16 << 20;

/// Streams that were reset and whose late frames are ignored for a while. A frame on a stream that was reset
/// and forgotten would be answered with STREAM_CLOSED, and many of them with the end of the connection.
pub(super) const RESET_STREAMS: usize = 4_096;

/// The header that names a call on both hops. The client sends it and the proxy passes it on.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// A process is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// Where it listens, unless it is the client.
    pub(super) listen: Option<SocketAddr>,
}

/// What the server says of itself in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServerReport {
    /// Requests that it read.
    pub(super) requests: u32,
    /// Requests that it answered in full with status 0, as far as it knows.
    pub(super) answered: u32,
    /// Those of them whose request had not ended by then: it resets them with NO_ERROR.
    pub(super) early: u32,
}

/// What the proxy says of itself in the end: its access log, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProxyTotals {
    /// Requests that it forwarded.
    pub(super) requests: u32,
    /// Requests whose upstream response was 200 with grpc-status 0.
    pub(super) upstream_ok: u32,
}

/// One call as the client's application knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Call {
    /// Its `x-request-id`.
    pub(super) request_id: String,
    /// The error that the application got; None when the call succeeded.
    pub(super) error: Option<String>,
}

/// What the client says in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClientReport {
    /// Its calls, in the order of their ids.
    pub(super) calls: Vec<Call>,
}

impl ClientReport {
    pub(super) fn failed(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.error.is_some())
    }
}

/// Runs one of the three processes until it is done.
pub(super) fn run(part: Part, args: &DemoArgs) -> anyhow::Result<ExitCode> {
    set_name(part);
    // One thread, so that the name, the order of the writes and the yielding in the proxy hold.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    match part {
        Part::Server => runtime.block_on(server::run()),
        Part::Proxy => runtime.block_on(proxy::run(connect_to(args)?, args.healthy)),
        Part::Client => {
            runtime.block_on(client::run(connect_to(args)?, args.calls, args.in_flight))
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn connect_to(args: &DemoArgs) -> anyhow::Result<SocketAddr> {
    args.connect
        .context("--connect is missing: run \"h2trace demo\" without --part")
}

/// Names the process, and lets the kernel end it with the demo, even when that is killed.
fn set_name(part: Part) {
    let mut name = [0u8; 16];
    for (to, from) in name.iter_mut().zip(part.comm().bytes()) {
        *to = from;
    }
    // SAFETY: PR_SET_NAME reads at most 16 bytes, and `name` has 16 with a NUL at the end; PR_SET_PDEATHSIG
    // takes a number. Both only concern this process, and a failure changes nothing but its name.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Prints one line for the demo.
pub(super) fn say(line: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(line)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .context("the demo is gone")
}

/// Resolves at the next line of standard input, or at its end: true for a line.
pub(super) fn next_input() -> oneshot::Receiver<bool> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let got = std::io::stdin()
            .lock()
            .read_line(&mut line)
            .is_ok_and(|n| n > 0);
        // Nobody listens any more when the process is ending anyway.
        tell.send(got).ok();
    });
    told
}

/// A gRPC message of `len` bytes with its prefix.
pub(super) fn message(len: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + len);
    out.put_u8(0);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    out.put_bytes(b'.', len);
    out.freeze()
}

/// Follows the first message of a body: how much it promises and how much of it came.
#[derive(Debug, Default)]
pub(super) struct FirstMessage {
    prefix: BytesMut,
    got: usize,
}

impl FirstMessage {
    /// Takes the next bytes of the body.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().take(PREFIX - self.prefix.len()) {
            self.prefix.put_u8(*byte);
        }
        self.got += bytes.len();
    }

    /// The message's length, once its prefix is there.
    pub(super) fn promised(&self) -> Option<usize> {
        match self.prefix.as_ref() {
            [_, a, b, c, d] => usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok(),
            _ => None,
        }
    }

    /// The message is whole.
    pub(super) fn is_complete(&self) -> bool {
        self.promised()
            .is_some_and(|promised| self.got >= PREFIX + promised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_complete_with_its_last_byte_and_not_before() {
        let whole = message(300);
        for split in 0..=whole.len() {
            let mut first = FirstMessage::default();
            first.take(&whole[..split]);
            assert_eq!(
                first.is_complete(),
                split == whole.len(),
                "after {split} bytes"
            );
            first.take(&whole[split..]);
            assert!(first.is_complete());
            assert_eq!(first.promised(), Some(300));
        }
    }

    #[test]
    fn five_responses_fit_into_the_default_window_and_the_sixth_does_not() {
        let response = message(RESPONSE_MESSAGE).len();
        assert_eq!(65_535 / response, 5);
        assert_eq!(65_535 % response - PREFIX, 9_920);
    }
}
