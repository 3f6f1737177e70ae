//! What h2trace makes of the bytes of HTTP/2 connections: frames, streams, the two sides of a proxy, findings.
//!
//! The stages, one folder each, in this order:
//!
//! ```text
//! event -> connection -> field -> frame -> stream -> hop -> anomaly
//! ```
//!
//! A stage may use the stages before it, never one after it. All of them are pure: no I/O, no async, no clock (time
//! comes in with the event), no logging. Only [`pipeline`] joins them. [`attribution`], [`limits`] and [`tls`] are below
//! all: what puts bytes into the pipeline opens TLS before.
//!
//! Bytes of both directions in, findings out:
//!
//! ```
//!
//! use h2trace_core::anomaly::kind::{Finding, Kind, Verdict};
//! use h2trace_core::event::{
//!     Address, Boundary, Bytes, Direction, Event, Open, Opened, ProtocolConfidence, SocketKey, Task, Timestamp, What,
//! };
//! use h2trace_core::frame::PREFACE;
//! use h2trace_core::frame::head::frame_type;
//! use h2trace_core::pipeline::{Output, Pipeline, PipelineSettings, Sink};
//! use h2trace_core::field::Shown;
//!
//! #[derive(Default)]
//! struct Findings(Vec<Finding>);
//!
//! impl Sink for Findings {
//!     fn accept(&mut self, output: &Output) {
//!         match output {
//!             Output::Stream { findings, .. } => self.0.extend(findings.iter().cloned()),
//!             Output::Finding { finding, .. } => self.0.push(finding.clone()),
//!             _ => {}
//!         }
//!     }
//! }
//!
//! fn event(at: u64, what: What<'_>) -> Event<'_> {
//!     Event {
//!         at: Timestamp(at),
//!         socket: SocketKey { sk: 1, born_ns: 1 },
//!         task: Task { pid: 7, tid: 7, cgroup: 0 },
//!         what,
//!     }
//! }
//!
//! /// One call of `send` or `recv`. In wire form the length of a segment stands before its bytes.
//! fn call(at: u64, direction: Direction, bytes: &[u8], pipeline: &mut Pipeline, out: &mut Findings) {
//!     let total = bytes.len() as u32;
//!     let encoded = [&total.to_le_bytes(), bytes].concat();
//!     let bytes = Bytes {
//!         direction,
//!         offset: 0,
//!         total,
//!         boundary: Boundary::Unknown,
//!         confidence: ProtocolConfidence::Preface,
//!         unseen: None,
//!         encoded: &encoded,
//!     };
//!     pipeline.handle(&event(at, What::Bytes(bytes)), out);
//! }
//!
//! fn frame(frame_type: u8, flags: u8, stream_id: u8, payload: &[u8]) -> Vec<u8> {
//!     let head = [0, 0, payload.len() as u8, frame_type, flags, 0, 0, 0, stream_id];
//!     [&head, payload].concat()
//! }
//!
//! let mut pipeline = Pipeline::new(PipelineSettings::default());
//! let mut out = Findings::default();
//! let open = Open {
//!     opened: Opened::Active,
//!     from_start: true,
//!     local: Address::Inet("127.0.0.1:40000".parse()?),
//!     peer: Address::Inet("127.0.0.1:8080".parse()?),
//!     netns: 0,
//!     inode: 0,
//!     unix_peer_sk: 0,
//!     comm: "client".to_owned(),
//!     peer_process: None,
//! };
//! pipeline.handle(&event(1_000, What::Open(Box::new(open))), &mut out);
//!
//! let request = [
//!     PREFACE.to_vec(),
//!     frame(frame_type::SETTINGS, 0, 0, &[]),
//!     frame(frame_type::HEADERS, 5, 1, b"\x82\x86\x84\x01\x04host"), // END_STREAM: GET / of host
//! ];
//! call(2_000, Direction::Tx, &request.concat(), &mut pipeline, &mut out);
//! let response = [
//!     frame(frame_type::SETTINGS, 0, 0, &[]),
//!     frame(frame_type::HEADERS, 4, 1, b"\x88"), // 200
//!     frame(frame_type::DATA, 0, 1, b"half of it"),
//!     frame(frame_type::RST_STREAM, 0, 1, &[0, 0, 0, 2]), // INTERNAL_ERROR
//! ];
//! call(3_000, Direction::Rx, &response.concat(), &mut pipeline, &mut out);
//! pipeline.finish(Timestamp(1_000_000_000), &mut out);
//!
//! let [finding] = &out.0[..] else { panic!("{:?}", out.0) };
//! assert_eq!((finding.kind, finding.verdict), (Kind::ResponseCutByReset, Verdict::Anomaly));
//! println!("{}", finding.summary);
//! # Ok::<(), std::net::AddrParseError>(())
//! ```
#![forbid(unsafe_code)]
// Bytes from the wire never panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable
    )
)]

pub mod attribution;
mod endpoint;
pub mod limits;
pub mod tls;

pub mod event;

pub mod anomaly;
pub mod connection;
pub mod field;
pub mod frame;
pub mod hop;
pub mod stream;

pub mod pipeline;
