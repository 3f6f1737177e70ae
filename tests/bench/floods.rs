//! `cargo xtask bench floods`: what each kind of flood costs the tracer.
//!
//! This process floods connections of its own, of which the tracer sees both ends. Counted is the processor time of all
//! its threads. It gets a large ring, and never more at once than fits into it: what is lost would cost nothing.
//!
//! With `H2TRACE_BEFORE` another binary goes through the same, for comparison.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tracer_ebpf::http2::frame_type;
use tracer_tests::flood::{Batch, FLOODS, REQUEST, Wire, frame, open_streams};
use tracer_tests::measure::{until_idle, used_by};
use tracer_tests::process::Process;
use tracer_tests::tracer::binary;

/// Frames of a flood, about.
const FRAMES: u64 = 100_000;
/// The ring, in MiB, and bytes that are sent until the tracer has read them.
const RING_MIB: &str = "64";
const AT_ONCE: usize = 16 << 20;
/// Streams that are open where a flood grows dearer with them.
const OPEN: u32 = 4_000;

/// A kind of flood.
struct FloodKind {
    name: &'static str,
    begin: fn(&mut Wire),
    batch: Batch,
    /// Where each frame is dear, fewer will do.
    frames: u64,
}

const fn kind(name: &'static str, begin: fn(&mut Wire), batch: Batch, frames: u64) -> FloodKind {
    FloodKind {
        name,
        begin,
        batch,
        frames,
    }
}

fn nothing(_: &mut Wire) {}

/// Many streams are open.
fn open(wire: &mut Wire) {
    wire.send(&open_streams(0, OPEN)).unwrap();
}

/// Many streams are open, and the place in what the server sends is lost.
fn open_and_lost(wire: &mut Wire) {
    open(wire);
    let ping = frame(frame_type::PING, 0, 0, &[0; 8]);
    wire.answer_unseen(&ping).unwrap();
}

/// A field that enters nothing into the table.
fn literal(name: u8, length: usize) -> Vec<u8> {
    // A length of the 7-bit prefix form (RFC 7541 section 5.1), for 255 to 16,510.
    let rest = length - 127;
    let mut field = vec![
        0,
        1,
        name,
        127,
        (rest % 128) as u8 | 128,
        (rest / 128) as u8,
    ];
    field.extend(vec![b'y'; length]);
    field
}

/// Header lists of 256 KB, each of a HEADERS frame and 15 CONTINUATIONs.
fn header_lists(nth: u32) -> Vec<u8> {
    let ids = 6 * nth..6 * (nth + 1);
    ids.flat_map(|id| {
        let id = 2 * id + 1;
        let first = [REQUEST, &literal(b'x', 16_000)].concat();
        let mut frames = frame(frame_type::HEADERS, 1, id, &first);
        for n in 1..16 {
            let flags = if n == 15 { 4 } else { 0 };
            let field = literal(b'x', if n == 15 { 255 } else { 16_000 });
            frames.extend(frame(frame_type::CONTINUATION, flags, id, &field));
        }
        frames
    })
    .collect()
}

/// Header blocks of a request and 1,000 CONTINUATIONs without anything.
fn long_blocks(nth: u32) -> Vec<u8> {
    let id = 2 * nth + 1;
    let mut frames = frame(frame_type::HEADERS, 1, id, REQUEST);
    frames.extend(frame(frame_type::CONTINUATION, 0, id, &[]).repeat(999));
    frames.extend(frame(frame_type::CONTINUATION, 4, id, &[]));
    frames
}

/// CONTINUATIONs without a block.
fn strays(_: u32) -> Vec<u8> {
    frame(frame_type::CONTINUATION, 4, 1, REQUEST).repeat(100)
}

/// 4 KB entered into the table once, then named 16,000 times by each frame.
fn bombs(nth: u32) -> Vec<u8> {
    let ids = 100 * nth..100 * (nth + 1);
    ids.flat_map(|id| {
        let mut block = REQUEST.to_vec();
        if id == 0 {
            block.extend(literal(b'b', 4_000));
            // With incremental indexing.
            block[REQUEST.len()] = 0x40;
        } else {
            block.extend([0xbe; 16_000]);
        }
        frame(frame_type::HEADERS, 5, 2 * id + 1, &block)
    })
    .collect()
}

/// SETTINGS that change the windows of all streams, by one setting each.
fn settings(nth: u32) -> Vec<u8> {
    let of = |n: u32| [0, 4, 0, 0, 0xff, (n % 2) as u8];
    (100 * nth..100 * (nth + 1))
        .flat_map(|n| frame(frame_type::SETTINGS, 0, 0, &of(n)))
        .collect()
}

/// SETTINGS of 16 KB that change the windows of all streams 2,700 times each.
fn long_settings(_: u32) -> Vec<u8> {
    let both = [0, 4, 0, 0, 0xff, 0xff, 0, 4, 0, 0, 0xff, 0];
    frame(frame_type::SETTINGS, 0, 0, &both.repeat(1_350)).repeat(100)
}

/// Requests that are all alike, behind those that are open.
fn alike(nth: u32) -> Vec<u8> {
    let ids = OPEN + 100 * nth..OPEN + 100 * (nth + 1);
    ids.flat_map(|id| frame(frame_type::HEADERS, 5, 2 * id + 1, REQUEST))
        .collect()
}

fn kinds() -> Vec<FloodKind> {
    let plain = FLOODS.into_iter();
    let mut kinds: Vec<FloodKind> = plain
        .map(|(name, batch)| kind(name, nothing, batch, FRAMES))
        .collect();
    kinds.extend([
        kind("header lists of 256 KB", nothing, header_lists, 2_000),
        kind(
            "CONTINUATION, blocks that end",
            nothing,
            long_blocks,
            FRAMES,
        ),
        kind("CONTINUATION, no block", nothing, strays, FRAMES),
        kind("HPACK bombs", nothing, bombs, 1_000),
        kind("requests that are alike", nothing, alike, FRAMES / 2),
        kind(
            "HEADERS, a direction lost",
            open_and_lost,
            alike,
            FRAMES / 2,
        ),
        kind("SETTINGS, 4,000 streams", open, settings, FRAMES / 2),
        kind("SETTINGS of 16 KB, 4,000 streams", open, long_settings, 500),
    ]);
    kinds
}

/// How many frames these are.
fn n_frames(mut bytes: &[u8]) -> u64 {
    let mut n = 0;
    while let [a, b, c, ..] = *bytes {
        n += 1;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        bytes = bytes.get(9 + length..).unwrap_or_default();
    }
    n
}

/// `h2trace serve` over this process.
struct Served {
    process: Process,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start(binary: &Path) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--kubernetes", "off"]);
        command.args(["--ring-mib", RING_MIB]);
        command.args(["--pid", &std::process::id().to_string()]);
        command.arg("--ready-file").arg(&ready);
        let mut process = Process::start("h2trace serve", &mut command);
        process.until_ready(&ready, Duration::from_secs(60));
        Served {
            process,
            _folder: folder,
        }
    }

    /// Processor time for 100,000 frames, in seconds.
    fn cost(&self, kind: &FloodKind) -> f64 {
        let pid = self.process.pid();
        let mut wire = Wire::begin().unwrap();
        (kind.begin)(&mut wire);
        until_idle(pid);
        let (before, mut frames, mut waiting) = (used_by(pid), 0, 0);
        for nth in 0.. {
            let batch = (kind.batch)(nth);
            // Each byte may be copied at both ends.
            waiting += 2 * batch.len();
            if waiting > AT_ONCE {
                until_idle(pid);
                waiting = 2 * batch.len();
            }
            wire.send(&batch).unwrap();
            frames += n_frames(&batch);
            if frames >= kind.frames {
                break;
            }
        }
        until_idle(pid);
        let used = used_by(pid).saturating_sub(before).as_secs_f64();
        used * 100_000.0 / frames as f64
    }
}

fn main() {
    let before = std::env::var_os("H2TRACE_BEFORE").map(PathBuf::from);
    let kinds = kinds();
    let costs = |binary: &Path| -> Vec<f64> {
        let mut served = Served::start(binary);
        let costs = kinds.iter().map(|kind| served.cost(kind)).collect();
        served.process.end(libc::SIGTERM);
        costs
    };
    let old = before.map(|binary| costs(&binary)).unwrap_or_default();
    let new = costs(&binary());
    println!("| seconds of processor for 100,000 frames, both ends seen | before | now |");
    println!("| --- | --- | --- |");
    for (n, (kind, new)) in kinds.iter().zip(new).enumerate() {
        let old = old.get(n).map_or("".to_owned(), |old| format!("{old:.3}"));
        println!("| {} | {old} | {new:.3} |", kind.name);
    }
}
