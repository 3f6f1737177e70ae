//! `replay` held against tshark: the same tcpdump of real peers through both, figure by figure.
//!
//! `cargo xtask compare-tshark` runs it in full size. Only ports of programs started here are recorded, on loopback.

mod figures;
mod peers;
mod tls;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use figures::{Figures, Kind};
use tracer_tests::capture::Tcpdump;
use tracer_tests::require;
use tracer_tests::skip::{Privileges, Program, note_that_it_runs, say};

/// A recording of one peer: which ports spoke HTTP/2 in it.
struct Recording {
    file: PathBuf,
    ports: Vec<u16>,
    /// It began as HTTP/1.1 on these: tshark finds HTTP/2 there by itself, and only so.
    upgraded: bool,
    /// Connections that asked for h2c a server that does not know Upgrade.
    in_vain: u64,
    /// It is TLS.
    tls: Option<TlsSeen>,
}

/// What is known of a recording of TLS.
struct TlsSeen {
    keys: PathBuf,
    connections: u64,
}

impl Recording {
    /// Of connections that speak HTTP/2 from their first byte.
    fn of(recorder: Tcpdump, file: PathBuf, ports: Vec<u16>) -> Recording {
        recorder.finish();
        Recording {
            file,
            ports,
            upgraded: false,
            in_vain: 0,
            tls: None,
        }
    }

    fn keys(&self) -> Option<&Path> {
        self.tls.as_ref().map(|tls| tls.keys.as_path())
    }
}

/// Why a figure may differ; None: it must not.
fn explained(
    recording: &Recording,
    kind: Kind,
    name: &str,
    ours: u64,
    theirs: u64,
) -> Option<&'static str> {
    match (kind, name) {
        // Told that HTTP/2 is spoken on the port, tshark shows what the server says at once. To replay the connection is
        // HTTP/1.1, as its client has it.
        (Kind::Frames, "SETTINGS") if theirs.checked_sub(ours) == Some(recording.in_vain) => {
            Some("SETTINGS of a server to a client that speaks HTTP/1.1: no HTTP/2 connection")
        }
        _ => None,
    }
}

#[test]
fn replay_and_tshark_count_the_same() {
    require!(Privileges, Program("tcpdump"), Program("tshark"));
    note_that_it_runs();
    let folder = tempfile::TempDir::new().expect("cannot make a folder for the captures");
    let mut table = String::new();
    write!(table, "{:<28}", "").expect("a String takes everything");
    for kind in Kind::ALL {
        write!(table, " {:<20}", kind.name()).expect("a String takes everything");
    }
    let (mut details, mut wrong, mut rows) = (String::new(), 0, 0);
    for (name, record) in peers::ALL.iter().chain(tls::ALL) {
        let recording = match record(folder.path()) {
            Ok(recording) => recording,
            Err(why) => {
                say(&format!("{name}: {why}"));
                write!(table, "\n{name:<28} skipped: {why}").expect("a String takes everything");
                continue;
            }
        };
        rows += 1;
        let ours = Figures::of_replay(&recording.file, recording.keys());
        let theirs = Figures::of_tshark(&recording);
        if let Some(tls) = &recording.tls {
            tls::check_connections(name, &recording.file, tls);
        }
        assert!(
            ours.total(Kind::Streams) > 0,
            "{name}: nothing was recorded"
        );
        write!(table, "\n{name:<28}").expect("a String takes everything");
        for kind in Kind::ALL {
            let (mut differs, mut known) = (0, 0);
            for (what, ours, theirs) in ours.differences(&theirs, kind) {
                let why = explained(&recording, kind, &what, ours, theirs);
                differs += 1;
                known += u32::from(why.is_some());
                wrong += u32::from(why.is_none());
                writeln!(
                    details,
                    "{name}, {} {what}: replay {ours}, tshark {theirs}: {}",
                    kind.name(),
                    why.unwrap_or("NOT EXPLAINED")
                )
                .expect("a String takes everything");
            }
            let total = ours.total(kind);
            let cell = match (differs, known) {
                (0, _) => format!("{total} equal"),
                (differs, known) if differs == known => format!("{total} explained"),
                _ => format!("{total} DIFFERENT"),
            };
            write!(table, " {cell:<20}").expect("a String takes everything");
        }
        // Row by row, should a later peer not come up.
        println!("{}", table.lines().last().unwrap_or_default());
    }
    println!("{table}\n\n{details}");
    assert!(rows > 0, "no peer is installed");
    assert_eq!(
        wrong, 0,
        "figures differ and nothing explains it:\n{details}"
    );
}
