//! What is counted in a capture, by `replay` and by tshark.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use tracer_tests::capture::tshark;
use tracer_tests::tracer::replay;

use crate::Recording;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Frames by type.
    Frames,
    /// Payload bytes of DATA frames.
    DataBytes,
    /// RST_STREAM frames by code.
    Resets,
    /// GOAWAY frames by code.
    GoAways,
    /// Streams that HEADERS opened.
    Streams,
    /// Header blocks with a grpc-status, by its value. (Not streams: trailers that cross a client's RST_STREAM give
    /// the stream no status any more, and tshark has no notion of that.)
    GrpcStatuses,
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] = [
        Kind::Frames,
        Kind::DataBytes,
        Kind::Resets,
        Kind::GoAways,
        Kind::Streams,
        Kind::GrpcStatuses,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Frames => "frames",
            Kind::DataBytes => "DATA bytes",
            Kind::Resets => "resets",
            Kind::GoAways => "GOAWAYs",
            Kind::Streams => "streams",
            Kind::GrpcStatuses => "gRPC statuses",
        }
    }
}

const TYPES: [&str; 10] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];

const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// The figures of a capture, each kind by name.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    counts: BTreeMap<(Kind, String), u64>,
}

impl Figures {
    fn add(&mut self, kind: Kind, name: &str, n: u64) {
        if n > 0 {
            *self.counts.entry((kind, name.to_owned())).or_default() += n;
        }
    }

    /// The sum of a kind.
    pub(crate) fn total(&self, kind: Kind) -> u64 {
        let of_kind = self.counts.iter().filter(|((k, _), _)| *k == kind);
        of_kind.map(|(_, n)| n).sum()
    }

    /// Names, own and other counts, where they differ.
    pub(crate) fn differences(&self, other: &Figures, kind: Kind) -> Vec<(String, u64, u64)> {
        let keys: BTreeSet<_> = self.counts.keys().chain(other.counts.keys()).collect();
        let of = |figures: &Figures, key| figures.counts.get(key).copied().unwrap_or(0);
        keys.into_iter()
            .filter(|key| key.0 == kind && of(self, key) != of(other, key))
            .map(|key| (key.1.clone(), of(self, key), of(other, key)))
            .collect()
    }

    /// As `replay` tells them.
    pub(crate) fn of_replay(file: &Path, keys: Option<&Path>) -> Figures {
        let mut figures = Figures::default();
        let mut streams = BTreeSet::new();
        let keys = keys.map(|keys| keys.display().to_string());
        let mut arguments = vec!["--show", "frames"];
        if let Some(keys) = &keys {
            arguments.extend(["--keylog", keys]);
        }
        for line in replay(file, &arguments) {
            let line: Value = serde_json::from_str(&line).expect("a line of replay is JSON");
            if line["type"] != "frame" {
                continue;
            }
            let name = line["frame"].as_str().unwrap_or_default();
            let name = if TYPES.contains(&name) {
                name
            } else {
                "others"
            };
            figures.add(Kind::Frames, name, 1);
            let continuations = line["continuations"].as_u64().unwrap_or(0);
            figures.add(Kind::Frames, "CONTINUATION", continuations);
            for field in line["fields"].as_array().into_iter().flatten() {
                if field["name"] == "grpc-status" {
                    let status = field["value"].as_str().unwrap_or("unseen");
                    figures.add(Kind::GrpcStatuses, status, 1);
                }
            }
            let code = line["code"].as_str().unwrap_or_default();
            match name {
                "DATA" => figures.add(Kind::DataBytes, "", line["length"].as_u64().unwrap_or(0)),
                "RST_STREAM" => figures.add(Kind::Resets, code, 1),
                "GOAWAY" => figures.add(Kind::GoAways, code, 1),
                "HEADERS" => {
                    streams.insert((line["conn"].as_u64(), line["stream_id"].as_u64()));
                }
                _ => {}
            }
        }
        figures.add(Kind::Streams, "", streams.len() as u64);
        figures
    }

    /// As tshark does. A connection that is upgraded must be found by its HTTP/1.1: told that HTTP/2 is spoken on the
    /// port, tshark takes the request for frames.
    pub(crate) fn of_tshark(recording: &Recording) -> Figures {
        const BETWEEN: char = '\u{1f}';
        // Within TLS it is found by what the two ends agreed on.
        let told = !recording.upgraded && recording.tls.is_none();
        let ports = if told {
            recording.ports.as_slice()
        } else {
            &[]
        };
        let opens = recording
            .keys()
            .map(|keys| format!("tls.keylog_file:{}", keys.display()));
        let is_tls: Vec<String> = recording
            .ports
            .iter()
            .map(|port| format!("tcp.port=={port},tls"))
            .collect();
        let aggregator = format!("aggregator={BETWEEN}");
        let mut arguments = vec!["-Y", "http2", "-T", "fields", "-E", &aggregator];
        if let Some(opens) = &opens {
            arguments.extend(["-o", opens]);
            arguments.extend(is_tls.iter().flat_map(|port| ["-d", port]));
        }
        for field in [
            "tcp.stream",
            "http2.type",
            "http2.length",
            "http2.streamid",
            "http2.rst_stream.error",
            "http2.goaway.error",
            "http2.header.name",
            "http2.header.value",
        ] {
            arguments.extend(["-e", field]);
        }
        let mut figures = Figures::default();
        let mut streams = BTreeSet::new();
        for line in tshark(&recording.file, ports, &arguments) {
            let fields: Vec<Vec<&str>> = line
                .split('\t')
                .map(|field| {
                    field
                        .split(BETWEEN)
                        .filter(|part| !part.is_empty())
                        .collect()
                })
                .collect();
            let [connection, types, lengths, ids, resets, go_aways, _, _] = fields.as_slice()
            else {
                panic!("tshark printed another number of fields: {line}");
            };
            assert_eq!(types.len(), ids.len(), "frames without a stream id: {line}");
            for ((number, length), id) in types.iter().zip(lengths).zip(ids) {
                let name = number
                    .parse()
                    .ok()
                    .and_then(|n: usize| TYPES.get(n).copied());
                let name = name.unwrap_or("others");
                figures.add(Kind::Frames, name, 1);
                if name == "DATA" {
                    let length = length.parse().expect("a length is a number");
                    figures.add(Kind::DataBytes, "", length);
                }
                if name == "HEADERS" {
                    let connection = connection.first().copied().unwrap_or_default();
                    streams.insert((connection.to_owned(), (*id).to_owned()));
                }
            }
            for (kind, codes) in [(Kind::Resets, resets), (Kind::GoAways, go_aways)] {
                for code in codes {
                    let code = code.parse().ok().and_then(|n: usize| CODES.get(n).copied());
                    figures.add(kind, code.unwrap_or("others"), 1);
                }
            }
            for status in statuses(&line, BETWEEN) {
                figures.add(Kind::GrpcStatuses, &status, 1);
            }
        }
        figures.add(Kind::Streams, "", streams.len() as u64);
        figures
    }
}

/// Values of grpc-status in a line: names and values line up, empty ones included.
fn statuses(line: &str, between: char) -> Vec<String> {
    let mut fields = line.split('\t').skip(6);
    let names = fields.next().unwrap_or_default().split(between);
    let values: Vec<_> = fields.next().unwrap_or_default().split(between).collect();
    names
        .enumerate()
        .filter(|(_, name)| *name == "grpc-status")
        .map(|(at, _)| values.get(at).copied().unwrap_or("?").to_owned())
        .collect()
}
