//! `h2trace replay`: a capture file through the same pipeline. No kernel, no privileges.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use h2trace_core::field::Shown;
use h2trace_core::pipeline::Frames;
use h2trace_core::tls::KeyLog;

use super::args::{Format, Headers, ReplayArgs};
use crate::capture::Capture;
#[cfg(feature = "tls")]
use crate::confine;
use crate::export::clock::WallClock;
use crate::export::json::Json;
use crate::export::text::Text;
#[cfg(feature = "tls")]
use crate::key_scan::vault::Vault;
use crate::session::front::Front;
#[cfg(feature = "tls")]
use crate::session::key_file::KeyFile;
use crate::session::output;
use crate::session::replay::{self, ReplayPlan, Replayed};
use crate::session::show::{Show, Wanted};

/// Runs it.
///
/// # Errors
/// The file cannot be opened, is no capture, or is truncated or corrupt; what could be decoded of it is
/// printed first.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    // What is wrong with the options is told before the file is looked for.
    shown(args)?;
    let replayed = read(args, open(&args.file)?, &mut io::stdout())?;
    for words in &replayed.unused {
        output::say(words);
    }
    if let Some(error) = replayed.error {
        let name = args.file.display();
        return Err(anyhow::Error::new(error).context(format!("cannot replay all of {name}")));
    }
    Ok(args.report.exit_code(replayed.tally.worst()))
}

/// The fields whose values are shown.
fn shown(args: &ReplayArgs) -> anyhow::Result<Shown> {
    let named = Shown::with(&args.header.header)?;
    Ok(match args.headers {
        Headers::Allowed => named,
        Headers::All => Shown::everything(),
    })
}

/// Reads a capture from `file` in place of the one that `args` name, and prints to `to`.
///
/// # Errors
/// It is no capture, or `to` takes nothing any more.
pub fn read(args: &ReplayArgs, file: impl Read, to: &mut dyn Write) -> anyhow::Result<Replayed> {
    let shown = Arc::new(shown(args)?);
    let capture =
        Capture::open(file).with_context(|| format!("cannot replay {}", args.file.display()))?;
    let frames = match args.headers {
        _ if !args.show.contains(&Show::Frames) => Frames::Untold,
        Headers::Allowed => Frames::Redacted,
        Headers::All => Frames::Whole,
    };
    let plan = ReplayPlan {
        front: front(args),
        wanted: Wanted::new(args.show.clone()),
        shown,
        frames,
        port: args.port,
        http2_ports: args.http2.http2.clone(),
        keys: keys(args)?,
    };
    Ok(replay::run(capture, plan, to)?)
}

/// The secrets of the key log that is named.
#[cfg(feature = "tls")]
fn keys(args: &ReplayArgs) -> anyhow::Result<KeyLog> {
    let mut keys = KeyLog::with_place(Arc::new(Vault::for_all()));
    if let Some(path) = &args.keylog {
        // From here on there are secrets in it.
        confine::keep_memory_private();
        let mut file = KeyFile::open(path)?;
        file.read_on(&mut keys)?;
        file.finish(&mut keys);
    }
    Ok(keys)
}

/// Without cryptography there is no key log to name.
#[cfg(not(feature = "tls"))]
fn keys(_args: &ReplayArgs) -> anyhow::Result<KeyLog> {
    Ok(KeyLog::default())
}

fn open(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Box::new(file))
}

fn front(args: &ReplayArgs) -> Front {
    // Packets carry wall times: nothing is added to them.
    let clock = WallClock::with_boot(0);
    let shown_from = args.report.findings.shown_from();
    let hops = args.show.contains(&Show::Hops);
    match args.report.output {
        Format::Json => Front::Json(Json::new(clock, shown_from).with_hops(hops)),
        Format::Text => {
            let (paint, columns) = output::terminal();
            let text = Text::new(clock, paint, columns, shown_from).with_hops(hops);
            Front::Text(text.with_headers(&args.header.header))
        }
    }
}
