//! `cargo xtask bench --memory`: what the pipeline keeps of connections, streams and findings, in bytes.
//!
//! Counted is what the heap holds more when there are many, as `trace` keeps it (with the fields that are shown), and as
//! `serve` does (without).

use std::sync::Arc;

use h2trace_core::event::Timestamp;
use h2trace_core::event::decode::decode;
use h2trace_core::field::Shown;
use h2trace_core::limits;
use h2trace_core::pipeline::{NoNames, Output, Pipeline, PipelineSettings, Sink};
use tracer_ebpf::http2::{PREFACE, flag, frame_type};
use tracer_tests::conversation::records::{self, Observed};
use tracer_tests::conversation::{Conversation, Plan, Side, Write};
use tracer_tests::flood::{REQUEST, frame};
use tracer_tests::heap::{self, Heap};

#[global_allocator]
static HEAP: Heap = Heap;

/// Connections at once.
const CONNECTIONS: u64 = 4_000;
/// Open streams of each.
const STREAMS: u32 = 100;
/// Streams that are reset.
const RESETS: u32 = 1_000;
/// RST_STREAM's payload: INTERNAL_ERROR (RFC 9113 section 7).
const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];

/// Keeps streams of which something was found.
#[derive(Default)]
struct Findings(Vec<Output>);

impl Sink for Findings {
    fn accept(&mut self, output: &Output) {
        if let Output::Stream { findings, .. } = output
            && !findings.is_empty()
        {
            self.0.push(output.clone());
        }
    }
}

fn pipeline(shown: Shown) -> Pipeline {
    Pipeline::new(PipelineSettings {
        shown: Arc::new(shown),
        names: Box::new(NoNames),
        memory: limits::MEMORY,
        ..PipelineSettings::default()
    })
}

/// A connection on which so many requests were sent, and answered as `answer` says.
fn requests(n: u32, answer: impl Fn(u32) -> Vec<u8>) -> Conversation {
    let settings = frame(frame_type::SETTINGS, 0, 0, &[]);
    let whole = flag::END_HEADERS | flag::END_STREAM;
    let mut client = [&PREFACE[..], &settings].concat();
    let mut server = settings;
    for id in (0..n).map(|nth| 2 * nth + 1) {
        client.extend(frame(frame_type::HEADERS, whole, id, REQUEST));
        server.extend(answer(id));
    }
    let write = |by, at_ns, bytes| Write { by, at_ns, bytes };
    Conversation {
        writes: vec![
            write(Side::Client, 1_000, client),
            write(Side::Server, 2_000, server),
        ],
        closes: false,
    }
}

/// What the pipeline keeps of that many connections, in bytes each.
fn kept(talk: &Conversation, shown: Shown) -> usize {
    let mut pipeline = pipeline(shown);
    let mut sink = Findings::default();
    let mut before = 0;
    // The first ones bring the tables that all use.
    for socket in 0..CONNECTIONS + CONNECTIONS / 4 {
        if socket == CONNECTIONS / 4 {
            before = heap::live();
        }
        let observed = Observed {
            socket,
            ..Observed::from_start(Side::Server)
        };
        let mut now = Timestamp(0);
        for record in records::of(talk, &observed) {
            let event = decode(&record.bytes).expect("a record that is one");
            now = event.at;
            pipeline.handle(&event, &mut sink);
        }
        pipeline.advance(Timestamp(now.0 + 1_000_000_000), &mut sink);
    }
    (heap::live() - before) / usize::try_from(CONNECTIONS).unwrap_or(1)
}

/// What a reader keeps of a finding, with its stream's story.
fn finding() -> usize {
    let reset = |id| {
        let head = frame(frame_type::HEADERS, flag::END_HEADERS, id, &[0x88]);
        [head, frame(frame_type::RST_STREAM, 0, id, &INTERNAL_ERROR)].concat()
    };
    let talk = requests(RESETS, reset);
    let mut pipeline = pipeline(Shown::default());
    let mut sink = Findings::default();
    for record in records::of(&talk, &Observed::from_start(Side::Server)) {
        let event = decode(&record.bytes).expect("a record that is one");
        pipeline.handle(&event, &mut sink);
    }
    pipeline.finish(Timestamp(120_000_000_000), &mut sink);
    let n = sink.0.len();
    assert!(n >= RESETS as usize, "{n} findings");
    drop(pipeline);
    let before = heap::live();
    drop(sink);
    (before - heap::live()) / n
}

fn main() {
    let idle = Conversation {
        closes: false,
        ..Conversation::of(&Plan::unary(1, 100))
    };
    let open = requests(STREAMS, |_| Vec::new());
    println!("bytes of memory, on the heap");
    println!("{:<44} {:>8} {:>8}", "", "trace", "serve");
    let row = |what: &str, trace: usize, serve: usize| println!("{what:<44} {trace:>8} {serve:>8}");
    let both = |talk: &Conversation| [kept(talk, Shown::default()), kept(talk, Shown::nothing())];
    let none = requests(0, |_| Vec::new());
    let [of_none, serve_none] = both(&none);
    row("a connection that carried nothing yet", of_none, serve_none);
    let [trace, serve] = both(&idle);
    row("a connection, idle after a call", trace, serve);
    let [of_open, serve_open] = both(&open);
    let each = |all: usize, alone: usize| all.saturating_sub(alone) / STREAMS as usize;
    row(
        "a stream that is open",
        each(of_open, of_none),
        each(serve_open, serve_none),
    );
    println!(
        "{:<44} {:>8}",
        "a finding that is kept, with its story",
        finding()
    );
}
