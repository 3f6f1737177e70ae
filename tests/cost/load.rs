//! Healthy calls as the kernel programs would record them, and the pipeline over them.

use std::sync::Arc;

use h2trace_core::event::Timestamp;
use h2trace_core::event::decode::decode;
use h2trace_core::field::Shown;
use h2trace_core::pipeline::{Depth, NoNames, Pipeline, PipelineSettings};
use tracer_tests::conversation::records::{self, Observed, Record};
use tracer_tests::conversation::{Conversation, Plan, Side, Write};
use tracer_tests::measure::StreamCount;

/// Records that are read from the ring at once.
const RECORDS_AT_ONCE: usize = 16;
/// Bytes of a message.
const MESSAGE: usize = 100;
/// Frames that one call of a busy program reads or writes.
const FRAMES_AT_ONCE: usize = 24;
/// Where the process stands in a record.
const PID: std::ops::Range<usize> = 32..36;

/// The records of so many calls: `unary` ones of 100 bytes at their server's end, the same at `both_ends`, as `serve`
/// meets them between two busy programs, or `mixed`; or such calls at both sides of a `proxy`, as `serve` meets them.
///
/// # Panics
/// When there is no such load.
pub(crate) fn records(load: &str, calls: u32) -> Vec<Record> {
    let mut plan = Plan::unary(calls, MESSAGE);
    let server = Observed::from_start(Side::Server);
    match load {
        "unary" => records::of(&Conversation::of(&plan), &server),
        // Two processes of one host: a client and its server.
        "both_ends" | "serve" => {
            let mut talk = Conversation::of(&plan);
            if load == "serve" {
                talk = together(&talk);
            }
            let client = Observed {
                socket: 2,
                ..Observed::from_start(Side::Client)
            };
            let mut all = records::of(&talk, &server);
            let mut theirs = records::of(&talk, &client);
            for record in &mut theirs {
                record.bytes[PID].copy_from_slice(&17_u32.to_le_bytes());
            }
            all.extend(theirs);
            in_order(&mut all);
            all
        }
        "proxy" => {
            let talk = together(&Conversation::of(&plan));
            let mut all = records::of(&talk, &server);
            let upstream = Observed {
                socket: 2,
                ..Observed::from_start(Side::Client)
            };
            all.extend(elsewhere(records::of(&talk, &upstream)));
            in_order(&mut all);
            all
        }
        // Calls of all kinds: unary and streaming, with messages of many sizes, errors and cancellations.
        "mixed" => {
            plan.plain = false;
            plan.request = 0..2_000;
            plan.response = 0..8_000;
            records::of(&Conversation::of(&plan), &server)
        }
        _ => panic!("no load is called {load}"),
    }
}

/// Puts records of several sockets in the order of their times.
fn in_order(records: &mut [Record]) {
    records
        .sort_by_key(|record| u64::from_le_bytes(record.bytes[8..16].try_into().unwrap_or([0; 8])));
}

/// The same between two other addresses.
fn elsewhere(mut records: Vec<Record>) -> Vec<Record> {
    for record in records.iter_mut().filter(|record| !record.is_bytes) {
        for at in 0..record.bytes.len().saturating_sub(3) {
            if let [10, 0, 0, host @ 1..=2] = &mut record.bytes[at..at + 4] {
                *host += 2;
            }
        }
    }
    records
}

/// The same conversation where each side writes many frames at once.
fn together(talk: &Conversation) -> Conversation {
    let mut writes = Vec::new();
    for some in talk.writes.chunks(FRAMES_AT_ONCE) {
        for by in [Side::Client, Side::Server] {
            let own = some.iter().filter(|write| write.by == by);
            let bytes: Vec<u8> = own.flat_map(|write| write.bytes.clone()).collect();
            if let (Some(last), false) = (some.last(), bytes.is_empty()) {
                let at_ns = last.at_ns;
                writes.push(Write { by, at_ns, bytes });
            }
        }
    }
    Conversation {
        writes,
        closes: talk.closes,
    }
}

/// A pipeline that records go through.
pub(crate) struct Run {
    pipeline: Pipeline,
    /// What it said.
    pub(crate) count: StreamCount,
    n: usize,
}

impl Run {
    /// With nothing seen yet. `depth`: how closely streams are followed.
    pub(crate) fn new(load: &str, depth: Depth) -> Run {
        let shown = if ["serve", "proxy"].contains(&load) {
            Shown::nothing()
        } else {
            Shown::default()
        };
        let mut pipeline = Pipeline::new(PipelineSettings {
            shown: Arc::new(shown),
            names: Box::new(NoNames),
            ..PipelineSettings::default()
        });
        pipeline.set_depth(depth, Timestamp(0));
        Run {
            pipeline,
            count: StreamCount::default(),
            n: 0,
        }
    }

    /// Takes records, decoded from their bytes.
    ///
    /// # Panics
    /// When one cannot be decoded.
    pub(crate) fn take(&mut self, records: &[Record]) {
        for record in records {
            let event = decode(&record.bytes).expect("a record that is one");
            self.pipeline.handle(&event, &mut self.count);
            self.n += 1;
            if self.n.is_multiple_of(RECORDS_AT_ONCE) {
                self.pipeline
                    .advance(Timestamp(event.at.0), &mut self.count);
            }
        }
    }
}
