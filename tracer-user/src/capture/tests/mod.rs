//! Captures built byte by byte, through the whole path: file, TCP, pipeline.

mod file;
mod overlays;
mod properties;
mod speech;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod tunnels;

use std::sync::Arc;

use h2trace_core::connection::{ConnectionEnd, Endpoint};
use h2trace_core::event::{OtherProtocol, Timestamp};
use h2trace_core::frame::PREFACE;
use h2trace_core::frame::head::flag::{END_HEADERS, END_STREAM};
use h2trace_core::frame::head::frame_type;
use h2trace_core::pipeline::{
    FrameSeen, Frames, Output, Pipeline, PipelineSettings, Protocol, Sink,
};
use h2trace_core::stream::record::{Outcome, StreamRecord};
use h2trace_core::tls::KeyLogReader;

use super::build::{
    CLIENT, Frame, MS, SERVER, START_NS, Talk, enhanced_packet, interface, outer_ipv4, pcap,
    pcap_modified, pcap_of_nanoseconds, section, udp,
};
use super::{Capture, CaptureCounts, CaptureError, Downstream as _, Feed, Reassembly, TlsSockets};

#[derive(Default)]
struct Collected(Vec<Output>);

impl Sink for Collected {
    fn accept(&mut self, output: &Output) {
        self.0.push(output.clone());
    }
}

struct ReplayedFile {
    out: Vec<Output>,
    counts: CaptureCounts,
    error: Option<CaptureError>,
}

fn replay(file: &[u8]) -> ReplayedFile {
    replayed(file, "", &[])
}

/// With ports that are known to speak HTTP/2.
fn replay_with(file: &[u8], http2_ports: &[u16]) -> ReplayedFile {
    replayed(file, "", http2_ports)
}

/// With a key log.
fn replay_opened(file: &[u8], keys: &str) -> ReplayedFile {
    replayed(file, keys, &[])
}

fn replayed(file: &[u8], keys: &str, http2_ports: &[u16]) -> ReplayedFile {
    let mut out = Collected::default();
    let mut reassembly = Reassembly::new(None).with_http2_on(http2_ports.to_vec());
    KeyLogReader::default().push(keys.as_bytes(), reassembly.keys());
    let settings = PipelineSettings {
        http2_ports: http2_ports.to_vec(),
        ..PipelineSettings::default()
    };
    let mut pipeline = Pipeline::new(settings)
        .telling(Frames::Redacted)
        .following_tunnels();
    let mut tunnels = TlsSockets::new(None);
    let mut feed = Feed {
        pipeline: &mut pipeline,
        sink: &mut out,
    };
    let mut last_at = Timestamp(0);
    let mut error = None;
    match Capture::open(file) {
        Err(refused) => error = Some(refused),
        Ok(mut capture) => loop {
            match capture.packet_and_keys(reassembly.keys()) {
                Ok(Some(packet)) => {
                    last_at = last_at.max(packet.at);
                    reassembly.packet(&packet, &mut |event| feed.event(event));
                    tunnels.tunnels_with(reassembly.keys(), &mut feed);
                    feed.pipeline.advance(reassembly.settled(), feed.sink);
                    tunnels.tunnels_with(reassembly.keys(), &mut feed);
                }
                Ok(None) => break,
                Err(corrupt) => {
                    error = Some(corrupt);
                    break;
                }
            }
        },
    }
    reassembly.finish(&mut |event| feed.event(event));
    tunnels.tunnels_with(reassembly.keys(), &mut feed);
    tunnels.finish_with(reassembly.keys(), &mut feed);
    feed.pipeline.finish(last_at, feed.sink);
    ReplayedFile {
        out: out.0,
        counts: *reassembly.counts(),
        error,
    }
}

impl ReplayedFile {
    fn frames(&self) -> Vec<&FrameSeen> {
        let frames = self.out.iter().filter_map(|output| match output {
            Output::Frame { frame, .. } => Some(&**frame),
            _ => None,
        });
        frames.collect()
    }

    /// Sender's first letter and frame name, in order.
    fn told(&self) -> Vec<String> {
        let told = |frame: &&FrameSeen| {
            let sender = match frame.sender {
                Endpoint::Client => 'c',
                Endpoint::Server => 's',
            };
            format!("{sender} {}", frame.name())
        };
        self.frames().iter().map(told).collect()
    }

    fn streams(&self) -> Vec<&StreamRecord> {
        let streams = self.out.iter().filter_map(|output| match output {
            Output::Stream { record, .. } => Some(&**record),
            _ => None,
        });
        streams.collect()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.streams().iter().map(|record| record.outcome).collect()
    }

    fn protocols(&self) -> Vec<Protocol> {
        let protocols = self.out.iter().filter_map(|output| match output {
            Output::Connection(info) => Some(info.protocol),
            _ => None,
        });
        protocols.collect()
    }

    fn ends(&self) -> Vec<ConnectionEnd> {
        let ends = self.out.iter().filter_map(|output| match output {
            Output::ConnectionEnded { why, .. } => Some(*why),
            _ => None,
        });
        ends.collect()
    }

    /// Findings that accuse somebody.
    fn loud(&self) -> Vec<&'static str> {
        use h2trace_core::anomaly::kind::Verdict;
        let mut loud = Vec::new();
        for output in &self.out {
            let findings = match output {
                Output::Stream { findings, .. } => findings.as_slice(),
                Output::Finding { finding, .. } => std::slice::from_ref(finding),
                _ => &[],
            };
            let bad = findings
                .iter()
                .filter(|finding| finding.verdict >= Verdict::Suspicious);
            loud.extend(bad.map(|finding| finding.kind.as_str()));
        }
        loud
    }
}

fn frame(frame_type: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[frame_type, flags]);
    bytes.extend_from_slice(&stream_id.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn settings() -> Vec<u8> {
    frame(frame_type::SETTINGS, 0, 0, &[])
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0x00, name.len() as u8];
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(value.len() as u8);
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

/// `:method: POST`, `:scheme: http`, `:path: /s/m`, `:authority: a`, and the content type of gRPC.
fn request(stream_id: u32, end: bool) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    block.extend(literal(":path", "/s/m"));
    block.extend(literal(":authority", "a"));
    block.extend(literal("content-type", "application/grpc"));
    block.extend(literal("te", "trailers"));
    block.extend(literal("authorization", "Bearer hidden"));
    frame(
        frame_type::HEADERS,
        END_HEADERS | (u8::from(end) * END_STREAM),
        stream_id,
        &block,
    )
}

fn message(stream_id: u32, len: usize, end: bool) -> Vec<u8> {
    let mut payload = vec![0];
    payload.extend_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
    payload.resize(5 + len, 7);
    frame(
        frame_type::DATA,
        u8::from(end) * END_STREAM,
        stream_id,
        &payload,
    )
}

fn response(stream_id: u32) -> Vec<u8> {
    let mut block = vec![0x88];
    block.extend(literal("content-type", "application/grpc"));
    frame(frame_type::HEADERS, END_HEADERS, stream_id, &block)
}

fn trailers(stream_id: u32) -> Vec<u8> {
    frame(
        frame_type::HEADERS,
        END_HEADERS | END_STREAM,
        stream_id,
        &literal("grpc-status", "0"),
    )
}

/// What the client says of one call, preface and SETTINGS before it.
fn client_bytes() -> Vec<u8> {
    [
        PREFACE.to_vec(),
        settings(),
        request(1, false),
        message(1, 3, true),
    ]
    .concat()
}

/// What the server answers.
fn server_bytes() -> Vec<u8> {
    [settings(), response(1), message(1, 900, false), trailers(1)].concat()
}

const FRAMES_OF_A_CALL: [&str; 7] = [
    "c SETTINGS",
    "c HEADERS",
    "c DATA",
    "s SETTINGS",
    "s HEADERS",
    "s DATA",
    "s HEADERS",
];

/// One call from handshake to both FINs.
fn call() -> Talk {
    let mut talk = Talk::new();
    add_call(&mut talk);
    talk
}

fn add_call(talk: &mut Talk) {
    talk.handshake();
    talk.send(CLIENT, &client_bytes());
    talk.send(SERVER, &server_bytes());
    talk.fin(CLIENT);
    talk.fin(SERVER);
    talk.ack(CLIENT);
}

fn assert_whole_call(replayed: &ReplayedFile, name: &str) {
    assert!(replayed.error.is_none(), "{name}: {:?}", replayed.error);
    assert_eq!(replayed.told(), FRAMES_OF_A_CALL, "{name}");
    assert_eq!(replayed.outcomes(), [Outcome::Ok], "{name}");
    assert_eq!(replayed.ends(), [ConnectionEnd::LocalClose], "{name}");
    assert_eq!(replayed.loud(), Vec::<&str>::new(), "{name}");
    assert_eq!(replayed.counts.lost_bytes, 0, "{name}");
    let record = replayed.streams()[0];
    assert_eq!(record.response.data_bytes, 905, "{name}");
    assert!(record.whole && record.beginning_seen, "{name}");
    assert_eq!(record.pid, 0, "{name}");
}

/// Puts `before` in front of every packet.
fn behind(frames: &[Frame], before: &[u8]) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    for frame in &mut frames {
        frame.bytes.splice(0..0, before.iter().copied());
    }
    frames
}

/// A call whose bytes go in many segments, and what then happens to the segments.
fn segmented(len: usize, change: impl FnOnce(&mut Vec<Frame>)) -> ReplayedFile {
    let mut talk = Talk::new();
    talk.handshake();
    let n_before = talk.frames.len();
    for part in client_bytes().chunks(len) {
        talk.send(CLIENT, part);
    }
    for part in server_bytes().chunks(len) {
        talk.send(SERVER, part);
    }
    let mut data = talk.frames.split_off(n_before);
    change(&mut data);
    // Times as if the packets had come in this order.
    for (n, frame) in data.iter_mut().enumerate() {
        frame.at_ns = START_NS + 10_000 + n as u64 * 1_000;
    }
    talk.frames.extend(data);
    talk.pass(MS);
    talk.fin(CLIENT);
    talk.fin(SERVER);
    replay(&talk.pcap())
}
