//! Records for the exporters' tests: the reference incident as the client's hop shows it.

use std::sync::Arc;
use std::time::Duration;

use h2trace_core::anomaly::Rules;
use h2trace_core::anomaly::kind::{Finding, Kind, Verdict};
use h2trace_core::attribution::{Owner, Workload, WorkloadHandle};
use h2trace_core::connection::{ConnectionEnd, ConnectionId, Endpoint};
use h2trace_core::event::{Address, Opened, OtherProtocol, Timestamp, Unseen, UnseenBytes};
use h2trace_core::field::user_agent::UserAgent;
use h2trace_core::frame::{ErrorCode, FrameKind, StreamId};
use h2trace_core::hop::{
    Attempt, By, Carried, Confidence, Hop, HopStream, Join, Lone, Mesh, OtherSide, ProxyKey,
};
use h2trace_core::limits::Limit;
use h2trace_core::pipeline::{
    ConnectionInfo, FirstBytes, HopEnd, Loss, LossCause, Output, Protocol, Undecided,
};
use h2trace_core::stream::condition::FlowNotes;
use h2trace_core::stream::go_away::GoAwayReason;
use h2trace_core::stream::record::{
    EndStreamOn, GoAway, Half, Messages, Moment, OpenMessage, Outcome, RequestPhase, Reset,
    ResponsePhase, Seen, StreamEnd, StreamRecord, Tier, Windows,
};
use h2trace_core::tls::{Suite, TlsInfo, Version, Why};

const START: u64 = 1_000_000_000;

/// `us` microseconds after the sample's beginning.
pub(crate) fn at(us: u64) -> Timestamp {
    Timestamp(START + us * 1_000)
}

pub(crate) fn connection() -> ConnectionInfo {
    ConnectionInfo {
        id: ConnectionId(3),
        role: Some(Endpoint::Client),
        pid: 4_242,
        comm: "node".into(),
        cgroup: 17,
        netns: 4_026_531_840,
        local: Address::Inet("127.0.0.1:40000".parse().unwrap()),
        peer: Address::Inet("127.0.0.1:8080".parse().unwrap()),
        peer_process: None,
        workload: WorkloadHandle::to_host(),
        peer_workload: WorkloadHandle::to_host(),
        opened: Opened::Active,
        beginning_seen: true,
        upgraded: false,
        protocol: Protocol::Http2,
        tls: None,
        tunnel: None,
        first_at: at(0),
    }
}

/// What a connection speaks of which too little was seen.
pub(crate) fn undecided() -> Protocol {
    Protocol::Undecided(Undecided {
        bytes: 1_234,
        first: FirstBytes::Text,
    })
}

pub(crate) fn tls() -> ConnectionInfo {
    ConnectionInfo {
        id: ConnectionId(4),
        role: None,
        peer_process: None,
        workload: WorkloadHandle::to_host(),
        peer_workload: WorkloadHandle::to_host(),
        opened: Opened::Unseen,
        beginning_seen: false,
        protocol: Protocol::Other(OtherProtocol::Tls),
        tls: Some(Arc::new(TlsInfo {
            version: Some(Version::TLS1_3),
            suite: Some(Suite(0x1301)),
            alpn_offered: vec!["h2".into()],
            sni: Some("shop.example".into()),
            why: Some(Why::NoKey),
            ..TlsInfo::default()
        })),
        local: Address::Unix(String::new()),
        peer: Address::Unix("/run/x.sock".into()),
        ..connection()
    }
}

/// A unary call that went well.
pub(crate) fn complete(stream_id: u32) -> StreamRecord {
    let messages = |size| Messages {
        complete: 1,
        open: None,
        sizes: [size].into_iter().collect(),
        known: true,
    };
    StreamRecord {
        connection: ConnectionId(3),
        role: Some(Endpoint::Client),
        stream_id: StreamId(stream_id),
        pid: 4_242,
        first_at: at(100),
        last_at: at(5_000),
        beginning_seen: true,
        whole: true,
        pushed: false,
        request: Half {
            headers_at: Some(at(100)),
            data_bytes: 16,
            data_known: true,
            data_frames: 1,
            first_data_at: Some(at(110)),
            last_data_at: Some(at(110)),
            end_stream_at: Some(at(200)),
            end_stream_on: Some(EndStreamOn::Data),
            messages: messages(11),
            windows_at_end: Windows {
                stream: Some(65_519),
                connection: Some(1_048_560),
            },
            content_length: None,
            header_list: 180,
            header_list_limit: None,
            headers_nth: 0,
            tid: 4_243,
        },
        response: Half {
            headers_at: Some(at(2_600)),
            data_bytes: 11_011,
            data_known: true,
            data_frames: 1,
            first_data_at: Some(at(2_700)),
            last_data_at: Some(at(2_700)),
            end_stream_at: Some(at(5_000)),
            end_stream_on: Some(EndStreamOn::Trailers),
            messages: messages(11_006),
            windows_at_end: Windows {
                stream: Some(54_524),
                connection: Some(54_524),
            },
            content_length: None,
            header_list: 180,
            header_list_limit: None,
            headers_nth: 0,
            tid: 4_243,
        },
        request_phase: Some(RequestPhase::Q2),
        response_phase: Some(ResponsePhase::R3),
        trailers: Seen::Value(()),
        trailers_only: false,
        grpc: Seen::Value(()),
        grpc_web: false,
        path: Some("/grpc.testing.TestService/UnaryCall".into()),
        http_status: Seen::Value(200),
        response_content_type: Some("application/grpc".into()),
        response_has_no_type: false,
        user_agent: UserAgent::GrpcNodeJs,
        response_coding: 0,
        grpc_status: Seen::Value(0),
        grpc_status_malformed: false,
        malformed: None,
        timeout: Some(Duration::from_millis(1_500)),
        shown: [("x-call-id", "call-7")].into_iter().collect(),
        resets: Vec::new(),
        flow: FlowNotes::default(),
        end: StreamEnd::Complete,
        outcome: Outcome::Ok,
        tier: Tier::T1,
        conduct: h2trace_core::stream::violation::Conduct::default(),
        story: [].into_iter().collect(),
    }
}

/// A call whose response was cut by the proxy's reset: message promised 11006, got 10475.
pub(crate) fn cut(stream_id: u32) -> (StreamRecord, Vec<Finding>) {
    let used_up = Windows {
        stream: Some(55_055),
        connection: Some(0),
    };
    let whole = complete(stream_id);
    let reset = Reset {
        sender: Endpoint::Server,
        code: ErrorCode::NO_ERROR,
        at: at(5_000),
        request_phase: Some(RequestPhase::Q1),
        response_phase: Some(ResponsePhase::Rm),
        response_windows: used_up,
        response_blocked_since: None,
    };
    let record = StreamRecord {
        request: Half {
            end_stream_at: None,
            end_stream_on: None,
            ..whole.request.clone()
        },
        response: Half {
            data_bytes: 10_480,
            end_stream_at: None,
            end_stream_on: None,
            messages: Messages {
                complete: 0,
                open: Some(OpenMessage {
                    promised: Some(11_006),
                    got: 10_475,
                }),
                sizes: [11_006].into_iter().collect(),
                known: true,
            },
            windows_at_end: used_up,
            ..whole.response.clone()
        },
        request_phase: Some(RequestPhase::Q1),
        response_phase: Some(ResponsePhase::Rm),
        trailers: Seen::Absent,
        grpc_status: Seen::Absent,
        resets: vec![reset],
        end: StreamEnd::Reset,
        outcome: Outcome::Reset,
        ..whole
    };
    let moment = |us, sender, frame, bytes, windows, note: &str| Moment {
        at: at(us),
        sender,
        frame,
        n_frames: 1,
        bytes,
        end_stream: false,
        windows,
        note: note.into(),
    };
    let none = Windows::default();
    let story = vec![
        moment(
            100,
            Endpoint::Client,
            FrameKind::Headers,
            40,
            none,
            "/grpc.testing.TestService/UnaryCall",
        ),
        moment(
            110,
            Endpoint::Client,
            FrameKind::Data,
            16,
            Windows {
                stream: Some(65_519),
                connection: Some(9),
            },
            "message 11 bytes",
        ),
        moment(2_600, Endpoint::Server, FrameKind::Headers, 30, none, "200"),
        moment(
            2_700,
            Endpoint::Server,
            FrameKind::Data,
            10_480,
            used_up,
            "message 10475 of 11006 bytes",
        ),
        moment(
            5_000,
            Endpoint::Server,
            FrameKind::RstStream,
            4,
            used_up,
            "NO_ERROR",
        ),
    ];
    let finding = Finding {
        kind: Kind::ResponseCutByReset,
        verdict: Verdict::Anomaly,
        tier: Tier::T1,
        connection: ConnectionId(3),
        role: Some(Endpoint::Client),
        stream_id: StreamId(stream_id),
        at: at(5_000),
        sender: Some(Endpoint::Server),
        code: Some(ErrorCode::NO_ERROR),
        request_phase: Some(RequestPhase::Q1),
        response_phase: Some(ResponsePhase::Rm),
        windows: used_up,
        summary: "the server reset the stream with NO_ERROR inside a message: 10475 of 11006 bytes came, \
                  no trailers; the client's connection window was used up"
            .into(),
        story: story.into_iter().collect(),
    };
    let truncated = Finding {
        kind: Kind::TruncatedResponse,
        summary: "cut".into(),
        ..finding.clone()
    };
    let benign = Finding {
        kind: Kind::RedundantReset,
        verdict: Verdict::Benign,
        sender: None,
        ..truncated.clone()
    };
    (record, vec![finding, truncated, benign])
}

/// A stream of which little is known.
pub(crate) fn unseen(stream_id: u32) -> StreamRecord {
    StreamRecord {
        beginning_seen: false,
        whole: false,
        role: None,
        request: Half::default(),
        response: Half {
            data_bytes: 7,
            ..Half::default()
        },
        request_phase: None,
        response_phase: None,
        trailers: Seen::Unknown,
        grpc: Seen::Unknown,
        path: None,
        http_status: Seen::Unknown,
        response_content_type: None,
        response_has_no_type: false,
        grpc_status: Seen::Unknown,
        timeout: None,
        shown: [].into_iter().collect(),
        end: StreamEnd::Unseen,
        outcome: Outcome::Unknown,
        tier: Tier::T0,
        ..complete(stream_id)
    }
}

/// A pod whose names are known.
pub(crate) fn workload(pod: &str, container: &str) -> WorkloadHandle {
    let handle = WorkloadHandle::to_pod("2c48913c-b29f-11e7-9350-020968147796", "5d3ae4a1");
    handle.name(Arc::new(Workload {
        namespace: "shop".into(),
        pod: pod.into(),
        container: container.into(),
        node: "n1".into(),
        owner: Owner {
            kind: "Deployment".into(),
            name: "gateway".into(),
        },
        ..Workload::default()
    }));
    handle
}

/// The call of [`cut`] at the proxy that cut it: whole on the server's hop. The proxy is in a pod, and the server
/// too, which only its address tells.
pub(crate) fn hop(stream_id: u32) -> Output {
    let proxy = |id, role| ConnectionInfo {
        id: ConnectionId(id),
        role: Some(role),
        pid: 77,
        comm: "envoy".into(),
        workload: workload("gateway-5c", "envoy"),
        peer_workload: if role == Endpoint::Client {
            workload("cart-7d9f", "")
        } else {
            WorkloadHandle::to_host()
        },
        ..connection()
    };
    let side = |id, role, record: StreamRecord| HopStream {
        tag: HopEnd {
            info: Arc::new(proxy(id, role)),
            findings: Vec::new(),
            peer: (role == Endpoint::Server).then(|| Arc::new(connection())),
        },
        record: Arc::new(StreamRecord {
            connection: ConnectionId(id),
            role: Some(role),
            pid: 77,
            ..record
        }),
    };
    let (record, findings) = cut(stream_id);
    let mut downstream = side(
        5,
        Endpoint::Server,
        StreamRecord {
            story: findings[0].story.clone(),
            ..record
        },
    );
    downstream.tag.findings = vec![findings[0].kind];
    let join = Join {
        by: By::Fields,
        confidence: Confidence::UniqueField,
    };
    let attempt = |stream_id, stream| Attempt {
        connection: ConnectionId(6),
        stream_id: StreamId(stream_id),
        began_at: at(120),
        join,
        stream,
    };
    let mut whole = complete(33);
    whole.story = findings[0].story.moments().into_iter().take(2).collect();
    let request = Hop {
        proxy: ProxyKey::Process(77),
        downstream,
        upstream: vec![
            attempt(33, Some(side(6, Endpoint::Client, whole))),
            attempt(35, None),
        ],
        join: Some(join),
        others: Vec::new(),
        others_known: true,
        other_side: None,
        mesh: None,
        passes_on: true,
        at: at(5_000),
    };
    let findings = Rules::new().judge_hop(&request);
    Output::Hop {
        request: Box::new(request),
        findings,
    }
}

/// The same where another proxy (pid 78, on the host) is behind it, with an opaque leg between them that carried so much
/// of the response.
pub(crate) fn mesh(stream_id: u32, carried: Option<Carried>) -> Output {
    let Output::Hop { mut request, .. } = hop(stream_id) else {
        unreachable!("a hop is one");
    };
    request.upstream.truncate(1);
    if let Some(stream) = &mut request.upstream[0].stream {
        let info = Arc::make_mut(&mut stream.tag.info);
        (info.pid, info.workload) = (78, WorkloadHandle::to_host());
        Arc::make_mut(&mut stream.record).pid = 78;
    }
    request.mesh = Some(Mesh {
        server_side: ProxyKey::Process(78),
        carried,
        together: 1,
        all: None,
    });
    let findings = Rules::new().judge_hop(&request);
    Output::Hop { request, findings }
}

/// A stream of a proxy that is asked over HTTP/1.x.
fn lone() -> Output {
    let Output::Hop { request, .. } = hop(17) else {
        unreachable!("a hop is one");
    };
    Output::Lone(Box::new(Lone {
        proxy: request.proxy,
        upstream: request.upstream[0]
            .stream
            .clone()
            .expect("one that has ended"),
        other_side: Some(OtherSide::Http1),
        at: at(8_200),
    }))
}

/// Every kind of output.
pub(crate) fn outputs() -> Vec<Output> {
    let info = Arc::new(connection());
    let (cut_record, cut_findings) = cut(17);
    let of_connection = Finding {
        kind: Kind::ConnectionLostStreams,
        stream_id: StreamId(0),
        code: None,
        sender: None,
        request_phase: None,
        response_phase: None,
        windows: Windows::default(),
        story: [].into_iter().collect(),
        ..cut(0).1.remove(0)
    };
    let lost_streams = StreamRecord {
        end: StreamEnd::Connection(ConnectionEnd::PeerReset),
        outcome: Outcome::ConnectionLost,
        ..complete(19)
    };
    vec![
        Output::Connection(Arc::clone(&info)),
        Output::Connection(Arc::new(tls())),
        Output::StreamOpened {
            info: Arc::clone(&info),
        },
        Output::Stream {
            info: Arc::clone(&info),
            record: Arc::new(complete(15)),
            findings: Vec::new(),
        },
        Output::StreamOpened {
            info: Arc::clone(&info),
        },
        Output::Stream {
            info: Arc::clone(&info),
            record: Arc::new(cut_record),
            findings: cut_findings,
        },
        Output::StreamOpened {
            info: Arc::clone(&info),
        },
        Output::Stream {
            info: Arc::clone(&info),
            record: Arc::new(lost_streams),
            findings: Vec::new(),
        },
        Output::StreamOpened {
            info: Arc::clone(&info),
        },
        Output::Stream {
            info: Arc::clone(&info),
            record: Arc::new(unseen(21)),
            findings: Vec::new(),
        },
        Output::GoAway {
            info: Arc::clone(&info),
            go_away: GoAway {
                sender: Endpoint::Server,
                last_stream_id: StreamId(17),
                code: ErrorCode::ENHANCE_YOUR_CALM,
                reason: Some(GoAwayReason::TooManyPings),
                at: at(6_000),
                header_list: None,
            },
        },
        Output::Finding {
            info: Arc::clone(&info),
            finding: of_connection,
        },
        Output::ConnectionEnded {
            info: Arc::clone(&info),
            why: ConnectionEnd::PeerReset,
            at: at(7_000),
            open_streams: 2,
            unseen: {
                let mut unseen = UnseenBytes::default();
                unseen.add(Unseen::Splice, 70_000);
                unseen
            },
        },
        Output::BytesUnseen {
            info: Arc::clone(&info),
            at: at(7_500),
            reason: Unseen::IoUring,
        },
        Output::Loss(Loss {
            connection: Some(info),
            at: at(8_000),
            cause: LossCause::Desync,
            bytes: Some(512),
        }),
        Output::Loss(Loss {
            connection: None,
            at: at(8_100),
            cause: LossCause::Limit(Limit::Streams),
            bytes: None,
        }),
        hop(17),
        lone(),
    ]
}
