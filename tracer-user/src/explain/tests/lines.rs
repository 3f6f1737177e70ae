//! Lines of logs as programs write them, with known messages in them.

use h2trace_core::anomaly::kind::Kind as K;

/// A line as it stands in a log, and the finding that matters most for it.
pub(super) const LINES: &[(&str, K)] = &[
    (
        "Error: 13 INTERNAL: Received RST_STREAM with code 0 (Call ended without gRPC status)",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "{\"level\":\"error\",\"msg\":\"13 INTERNAL: Received RST_STREAM with code 2 (Internal server error)\",\"pid\":17}",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "13 INTERNAL: Received RST_STREAM with code 2 triggered by internal client error: Session closed",
        K::ConnectionLostStreams,
    ),
    (
        "13 INTERNAL: Received RST_STREAM with code 2 triggered by internal client error: Session closed with error code 2",
        K::NearResetLimit,
    ),
    (
        "Error: 13 INTERNAL: Received RST_STREAM with code 1",
        K::ResetBeforeResponse,
    ),
    (
        "Error: 13 INTERNAL: Received RST_STREAM with code 3",
        K::WindowOverrun,
    ),
    (
        "Error: 13 INTERNAL: Received RST_STREAM with code 5",
        K::ResetStreamClosed,
    ),
    (
        "Error: 13 INTERNAL: Received RST_STREAM with code 6",
        K::HeaderListTooLarge,
    ),
    (
        "Error: 14 UNAVAILABLE: Stream refused by server",
        K::StreamRefused,
    ),
    ("Error: 1 CANCELLED: Call cancelled", K::DeadlineReset),
    (
        "Error: 14 UNAVAILABLE: Connection dropped",
        K::ConnectionLostStreams,
    ),
    (
        "Error: 8 RESOURCE_EXHAUSTED: Bandwidth exhausted or memory limit exceeded",
        K::StreamThrottled,
    ),
    (
        "Error: 14 UNAVAILABLE: Received HTTP status code 503",
        K::NonGrpcResponse,
    ),
    (
        "ConnectError: [internal] Stream closed with error code NGHTTP2_INTERNAL_ERROR",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "Error [ERR_HTTP2_STREAM_ERROR]: Stream closed with error code NGHTTP2_REFUSED_STREAM",
        K::StreamRefused,
    ),
    (
        "ConnectError: [invalid_argument] protocol error: promised 11117 bytes in enveloped message, got 9920 bytes",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "ConnectError: [invalid_argument] protocol error: incomplete envelope",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "ConnectError: [invalid_argument] protocol error: missing output message for unary method",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "ConnectError: [internal] protocol error: missing status",
        K::MissingTrailers,
    ),
    (
        "ConnectError: [internal] http/2 stream closed with error code INTERNAL_ERROR (0x2)",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "ConnectError: [resource_exhausted] http/2 stream closed with error code ENHANCE_YOUR_CALM (0xb)",
        K::StreamThrottled,
    ),
    (
        "ConnectError: [internal] http/2 stream closed with error code PROTOCOL_ERROR (0x1)",
        K::ResetBeforeResponse,
    ),
    (
        "2026/11/03 10:12:01 call: rpc error: code = Internal desc = stream terminated by RST_STREAM with error code: NO_ERROR",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "rpc error: code = Internal desc = stream terminated by RST_STREAM with error code: INTERNAL_ERROR",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "rpc error: code = Unavailable desc = stream terminated by RST_STREAM with error code: REFUSED_STREAM",
        K::StreamRefused,
    ),
    (
        "rpc error: code = ResourceExhausted desc = stream terminated by RST_STREAM with error code: ENHANCE_YOUR_CALM",
        K::StreamThrottled,
    ),
    (
        "rpc error: code = ResourceExhausted desc = stream terminated by RST_STREAM with error code: FLOW_CONTROL_ERROR",
        K::WindowOverrun,
    ),
    (
        "rpc error: code = Internal desc = stream terminated by RST_STREAM with error code: HTTP_1_1_REQUIRED",
        K::ResetBeforeResponse,
    ),
    (
        "rpc error: code = Internal desc = unexpected EOF",
        K::TruncatedResponse,
    ),
    (
        "rpc error: code = Internal desc = server closed the stream without sending trailers",
        K::MissingTrailers,
    ),
    (
        "rpc error: code = Unavailable desc = error reading from server: EOF",
        K::ConnectionLostStreams,
    ),
    (
        "rpc error: code = Unavailable desc = closing transport due to: connection error: desc = \"error reading from server: EOF\", received prior goaway: code: NO_ERROR, debug data: \"graceful_stop\"",
        K::GoAwayLostStreams,
    ),
    (
        "rpc error: code = Unavailable desc = transport is closing",
        K::ConnectionLostStreams,
    ),
    (
        "rpc error: code = Unavailable desc = the stream is rejected because server is draining the connection",
        K::StreamUnprocessed,
    ),
    (
        "received goaway with stream id: 19, which exceeds stream id of previous goaway: 17",
        K::GoAwayRaised,
    ),
    (
        "connection error: desc = \"error reading server preface: http2: frame too large\"",
        K::NotHttp2,
    ),
    (
        "rpc error: code = Internal desc = transport: malformed grpc-status: strconv.ParseInt: parsing \"OK\": invalid syntax",
        K::MalformedGrpcStatus,
    ),
    (
        "rpc error: code = Unavailable desc = unexpected HTTP status code received from server: 503 (Service Unavailable); transport: received unexpected content-type \"text/html\"",
        K::NonGrpcResponse,
    ),
    (
        "rpc error: code = Internal desc = transport: received the unexpected content-type \"text/html\"",
        K::NonGrpcResponse,
    ),
    (
        "http2: unexpected ALPN protocol \"\"; want \"h2\"",
        K::NotHttp2,
    ),
    (
        "rpc error: code = Internal desc = peer header list size exceeded limit",
        K::HeaderListTooLarge,
    ),
    (
        "rpc error: code = Internal desc = header list size to send violates the maximum size (8192 bytes) set by server",
        K::HeaderListTooLarge,
    ),
    (
        "rpc error: code = Internal desc = cardinality violation: received no request message from non-client-streaming RPC",
        K::TruncatedRequest,
    ),
    (
        "rpc error: code = Internal desc = cardinality violation: received no response message from non-server-streaming RPC",
        K::WrongMessageCount,
    ),
    (
        "[transport] Client received GoAway with error code ENHANCE_YOUR_CALM and debug data equal to ASCII \"too_many_pings\".",
        K::TooManyPings,
    ),
    (
        "E1103 chttp2_transport.cc:1117] Received a GOAWAY with error code ENHANCE_YOUR_CALM and debug data equal to \"too_many_pings\". Current keepalive time (before throttling): 10000ms",
        K::TooManyPings,
    ),
    (
        "connection error: desc = \"keepalive ping failed to receive ACK within timeout\"",
        K::PingTimeout,
    ),
    (
        "received prior goaway: code: NO_ERROR, debug data: \"max_age\"",
        K::GracefulGoAway,
    ),
    (
        "Get \"https://example.test/\": http2: server sent GOAWAY and closed the connection; LastStreamID=1999, ErrCode=NO_ERROR, debug=\"\"",
        K::GoAwayLostStreams,
    ),
    (
        "io.grpc.StatusRuntimeException: UNAVAILABLE: RST_STREAM closed stream. HTTP/2 error code: NO_ERROR",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "io.grpc.StatusRuntimeException: UNAVAILABLE: RST_STREAM closed stream. HTTP/2 error code: REFUSED_STREAM",
        K::StreamRefused,
    ),
    (
        "io.grpc.StatusRuntimeException: INTERNAL: Rst Stream",
        K::ResetBeforeResponse,
    ),
    (
        "io.grpc.StatusRuntimeException: INTERNAL: Received unexpected EOS on empty DATA frame from server",
        K::MissingTrailers,
    ),
    (
        "io.grpc.StatusRuntimeException: INTERNAL: Received unexpected EOS on non-empty DATA frame from server",
        K::MissingTrailers,
    ),
    (
        "io.grpc.StatusRuntimeException: UNKNOWN: missing GRPC status in response",
        K::MissingGrpcStatus,
    ),
    (
        "io.grpc.StatusRuntimeException: INTERNAL: Encountered end-of-stream mid-frame",
        K::TruncatedResponse,
    ),
    (
        "io.grpc.StatusRuntimeException: INTERNAL: Half-closed without a request",
        K::TruncatedRequest,
    ),
    (
        "io.grpc.StatusRuntimeException: UNAVAILABLE: HTTP status code 503\ninvalid content-type: text/html",
        K::NonGrpcResponse,
    ),
    (
        "io.grpc.StatusRuntimeException: UNAVAILABLE: Abrupt GOAWAY closed sent stream. HTTP/2 error code: NO_ERROR",
        K::AbruptGoAway,
    ),
    (
        "io.grpc.StatusRuntimeException: UNAVAILABLE: Abrupt GOAWAY closed unsent stream. HTTP/2 error code: NO_ERROR",
        K::AbruptGoAway,
    ),
    (
        "io.grpc.StatusRuntimeException: UNAVAILABLE: io exception",
        K::ConnectionLostStreams,
    ),
    (
        "io.grpc.StatusRuntimeException: UNAVAILABLE: Network closed for unknown reason",
        K::ConnectionLostStreams,
    ),
    (
        "Http2Exception$HeaderListSizeException: Header size exceeded max allowed size (8192)",
        K::HeaderListTooLarge,
    ),
    (
        "GOAWAY ENHANCE_YOUR_CALM, debug data: too_many_rststreams",
        K::NearResetLimit,
    ),
    (
        "grpc._channel._InactiveRpcError: status = StatusCode.UNKNOWN details = \"Stream removed\"",
        K::NonGrpcResponse,
    ),
    (
        "details = \"Received RST_STREAM with error code 2\"",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "http2: 0x55d stream 7 stalled by transport [fc:pending=11122:flowed=0:peer_initwin=65535:t_win=0:s_win=54413]",
        K::ConnectionWindowStall,
    ),
    (
        "http2: 0x55d stream 7 stalled by stream [fc:pending=11122:t_win=12000:s_win=0]",
        K::StreamWindowStall,
    ),
    (
        "connection error detected: detected excessive load generating behavior (b\"too_many_internal_resets\")",
        K::MadeYouReset,
    ),
    (
        "GoAway(b\"too_many_continuations\", ENHANCE_YOUR_CALM, Library)",
        K::ContinuationFlood,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 200 UR upstream_reset_after_response_started{remote_reset} - \"-\" 16 9925 31 4",
        K::ResponseCutByReset,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 503 UC upstream_reset_before_response_started{connection_termination} - \"-\" 16 95 3",
        K::ConnectionLostStreams,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 503 UF,URX upstream_reset_before_response_started{connection_failure} - \"-\" 0 91",
        K::SynthesizedAnswer,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 503 UR upstream_reset_before_response_started{remote_refused_stream_reset}",
        K::StreamRefused,
    ),
    (
        "\"POST /a.B/Watch HTTP/2\" 504 UT upstream_response_timeout - \"-\" 0 24 15000",
        K::KilledWhileIdle,
    ),
    (
        "\"POST /a.B/Watch HTTP/2\" 200 SI stream_idle_timeout - \"-\" 0 24 300003",
        K::KilledWhileIdle,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 0 DR http2.remote_reset - \"-\" 16 0 12",
        K::ClientCancel,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 0 DPE codec_error:The_user_callback_function_failed - \"-\" 16 0",
        K::NearResetLimit,
    ),
    (
        "\"- - HTTP/2\" 400 DPE codec_error:Violation_in_HTTP_messaging_rule",
        K::FramingViolation,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 503 UR - 16 95",
        K::ResetBeforeResponse,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 503 LR - 16 95",
        K::ResponseCutByReset,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 503 UC - 16 95",
        K::ConnectionLostStreams,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 503 UF - 16 95",
        K::SynthesizedAnswer,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 502 UPE - 16 95",
        K::FramingViolation,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 400 DPE - 16 95",
        K::FramingViolation,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 0 DC - 16 95",
        K::ConnectionLostStreams,
    ),
    ("\"POST /a.B/C HTTP/2\" 0 DR - 16 95", K::ClientCancel),
    ("\"POST /a.B/C HTTP/2\" 504 UT - 16 95", K::KilledWhileIdle),
    ("\"POST /a.B/C HTTP/2\" 504 SI - 16 95", K::KilledWhileIdle),
    (
        "\"POST /a.B/C HTTP/2\" 504 UMSDR - 16 95",
        K::KilledWhileIdle,
    ),
    ("\"POST /a.B/C HTTP/2\" 504 DT - 16 95", K::KilledWhileIdle),
    (
        "\"POST /a.B/C HTTP/2\" 503 UO - 16 95",
        K::SynthesizedAnswer,
    ),
    (
        "\"POST /a.B/C HTTP/2\" 503 URX - 16 95",
        K::RetryHiddenFailure,
    ),
    ("\"POST /a.B/C HTTP/2\" 404 NR - 16 0", K::SynthesizedAnswer),
    ("\"POST /a.B/C HTTP/2\" 503 NC - 16 0", K::SynthesizedAnswer),
    ("\"POST /a.B/C HTTP/2\" 503 UH - 16 0", K::SynthesizedAnswer),
    (
        "closing connection 17, details: http2_keepalive_timeout",
        K::PingTimeout,
    ),
    (
        "envoy_cluster_http2_header_overflow{envoy_cluster_name=\"a\"} 4",
        K::HeaderListTooLarge,
    ),
    (
        "cluster.a.upstream_rq_rx_reset_no_error: 438",
        K::EarlyResponseUpstream,
    ),
    (
        "envoy_cluster_upstream_rq_rx_reset{envoy_cluster_name=\"a\"} 581",
        K::ResetBeforeResponse,
    ),
    (
        "cluster.a.upstream_rq_tx_reset: 215",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "http.ingress.downstream_rq_response_before_rq_complete: 347",
        K::EarlyResponseUpstream,
    ),
    ("http2.tx_reset: 132", K::ProxyTruncatedCompleteResponse),
    ("envoy_http2_rx_reset 12", K::ClientCancel),
    ("cluster.a.http2.stream_refused_errors: 3", K::StreamRefused),
    (
        "envoy_cluster_http2_pending_send_bytes{envoy_cluster_name=\"a\"} 65535",
        K::ConnectionWindowStall,
    ),
    ("cluster.a.http2.tx_flush_timeout: 2", K::StreamWindowStall),
    (
        "cluster.a.upstream_flow_control_paused_reading_total: 9",
        K::StreamWindowStall,
    ),
    (
        "cluster.a.upstream_rq_retry_success: 55",
        K::RetryHiddenFailure,
    ),
    (
        "cluster.a.upstream_cx_destroy_remote_with_active_rq: 4",
        K::ConnectionLostStreams,
    ),
    ("http2.outbound_control_flood: 1", K::ControlFlood),
    ("http2.inbound_empty_frames_flood: 1", K::ControlFlood),
    ("http2.inbound_priority_frames_flood: 1", K::ControlFlood),
    (
        "http2.inbound_window_update_frames_flood: 1",
        K::ControlFlood,
    ),
    (
        "http.ingress.downstream_rq_too_many_premature_resets: 2",
        K::NearResetLimit,
    ),
    (
        "upstream_reset_before_response_started{remote_reset}",
        K::ResetBeforeResponse,
    ),
    (
        "2026/11/03 10:12:01 [error] 17#17: *5 upstream prematurely closed stream while reading response header from upstream",
        K::ContentLengthMismatch,
    ),
    (
        "[error] 17#17: *5 upstream sent trailer without end stream flag while reading upstream",
        K::MalformedFields,
    ),
    (
        "[error] 17#17: *5 upstream sent response body larger than indicated content length: 101:100",
        K::ContentLengthMismatch,
    ),
    (
        "[error] 17#17: *5 upstream violated stream flow control",
        K::WindowOverrun,
    ),
    (
        "h2 glitch: ES on DATA before content-length",
        K::ContentLengthMismatch,
    ),
    (
        "h2 glitch: received early RST_STREAM, attack suspected",
        K::RapidReset,
    ),
    ("frame_windowupdate_zero_inc_stream 12", K::BadWindowUpdate),
    ("over_max_streams_race 3", K::ConcurrencyExceeded),
    ("too_many_early_resets 1", K::NearResetLimit),
    (
        "status: Internal, message: \"h2 protocol error: http2 error\", source: stream error received: not a result of an error",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "status: Internal, message: \"h2 protocol error: error reading a body from connection\", source: stream error received: unexpected internal error encountered",
        K::ProxyTruncatedCompleteResponse,
    ),
    (
        "hyper::Error(Http2, Error { kind: Reset(StreamId(3), REFUSED_STREAM, Remote) }): stream error received: refused stream before processing any application logic",
        K::StreamRefused,
    ),
    (
        "http2 error: stream error received: stream no longer needed",
        K::ClientCancel,
    ),
    (
        "connection error received: not a result of an error",
        K::StreamUnprocessed,
    ),
    (
        "connection error received: unable to maintain the header compression context",
        K::HpackFailure,
    ),
    (
        "http2 error: connection error detected: frame with invalid size",
        K::NotHttp2,
    ),
    (
        "status: Unknown, message: \"error reading a body from connection: end of file before message length reached\"",
        K::ResponseCutByReset,
    ),
    (
        "status = StatusCode.UNAVAILABLE details = \"Socket closed\"",
        K::ConnectionLostStreams,
    ),
    (
        "status = StatusCode.UNAVAILABLE details = \"keepalive timeout\"",
        K::PingTimeout,
    ),
    (
        "14 UNAVAILABLE: upstream connect error or disconnect/reset before headers. reset reason: connection termination",
        K::ConnectionLostStreams,
    ),
    (
        "14 UNAVAILABLE: upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: 111",
        K::SynthesizedAnswer,
    ),
    ("14 UNAVAILABLE: no healthy upstream", K::SynthesizedAnswer),
    (
        "4 DEADLINE_EXCEEDED: upstream request timeout",
        K::KilledWhileIdle,
    ),
    (
        "14 UNAVAILABLE: upstream connect error or disconnect/reset before headers. reset reason: remote reset",
        K::ResetBeforeResponse,
    ),
    ("WARN linkerd: Synthesizing gRPC trailers", K::StatusChanged),
    ("grpc: details = \"Missing :te header\"", K::MalformedFields),
];
