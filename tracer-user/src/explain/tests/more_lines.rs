//! More lines of logs, of other libraries than the large ones.

use h2trace_core::anomaly::kind::Kind as K;

/// A line as it stands in a log, and the finding that matters most for it.
pub(super) const LINES: &[(&str, K)] = &[
    (
        "[error] ** (Mint.HTTPError) server closed request with error code :internal_error",
        K::ResetBeforeResponse,
    ),
    (
        "%Mint.HTTPError{module: Mint.HTTP2, reason: {:server_closed_request, :refused_stream}}",
        K::StreamRefused,
    ),
    (
        "%Mint.HTTPError{module: Mint.HTTP2, reason: :unprocessed}",
        K::StreamUnprocessed,
    ),
    (
        "%Mint.HTTPError{module: Mint.HTTP2, reason: :too_many_concurrent_requests}",
        K::ConcurrencySaturated,
    ),
    (
        "** (Mint.HTTPError) the given header list (of size 17000) goes over the max header list size of 16384 supported by the server",
        K::HeaderListTooLarge,
    ),
    (
        "the connection is closed for writing, which means that you cannot issue any more requests on the connection but you can expect responses",
        K::GracefulGoAway,
    ),
    (
        "** (Mint.TransportError) bad ALPN protocol \"http/1.0\", supported protocols are \"http/1.1\" and \"h2\"",
        K::TlsHandshakeFailed,
    ),
    (
        "{error,{stream_error,{stream_error,internal_error,'Stream reset by server.'}}}",
        K::ResetBeforeResponse,
    ),
    (
        "{down,{shutdown,{goaway,no_error,'The connection is going away.'}}}",
        K::GracefulGoAway,
    ),
    (
        "Ranch listener http had connection process started with cowboy_clear:start_link/4 exit with reason: {connection_error,protocol_error,'The connection preface was invalid. (RFC7540 3.5)'}",
        K::NotHttp2,
    ),
    (
        "{connection_error,flow_control_error,'DATA frame overflowed the stream flow control window. (RFC7540 6.9, RFC7540 6.9.1)'}",
        K::WindowOverrun,
    ),
    (
        "{stream_error,protocol_error,'The connection header is not allowed. (RFC7540 8.1.2.2)'}",
        K::MalformedFields,
    ),
    (
        "{stream_error,protocol_error,'The total size of DATA frames is different than the content-length. (RFC7540 8.1.2.6)'}",
        K::ContentLengthMismatch,
    ),
    (
        "{connection_error,frame_size_error,'PING frames MUST be 8 bytes wide. (RFC7540 6.7)'}",
        K::FramingViolation,
    ),
    (
        "{connection_error,protocol_error,'The SETTINGS ack was not received within the configured time. (RFC7540 6.5.3)'}",
        K::SettingsTimeout,
    ),
    (
        "{stream_error,refused_stream,'Maximum number of concurrent streams has been reached. (RFC7540 5.1.2)'}",
        K::ConcurrencyExceeded,
    ),
    (
        "{connection_error,compression_error,'Error while trying to decode HPACK-encoded header block. (RFC7540 4.3)'}",
        K::HpackFailure,
    ),
    (
        "org.apache.hc.core5.http2.H2ConnectionException: Frame size exceeds maximum",
        K::FramingViolation,
    ),
    (
        "org.apache.hc.core5.http2.H2ConnectionException: SETTINGS frame expected as first peer frame",
        K::NotHttp2,
    ),
    (
        "org.apache.hc.core5.http2.H2StreamTimeoutException: Timeout due to inactivity (30 SECONDS)",
        K::KilledWhileIdle,
    ),
    (
        "org.apache.hc.core5.http2.H2ConnectionException: Connection terminated by the peer (ENHANCE_YOUR_CALM)",
        K::ErrorGoAway,
    ),
    (
        "org.apache.hc.core5.http2.hpack.HeaderListConstraintException: Maximum header list size exceeded",
        K::HeaderListTooLarge,
    ),
    (
        "org.apache.hc.core5.http.ProtocolException: Invalid content-length (does not equal the sum of data payload)",
        K::ContentLengthMismatch,
    ),
    (
        "ProtocolNegotiationException: ALPN: missing application protocol",
        K::TlsHandshakeFailed,
    ),
    (
        "ERROR [io.undertow] UT005032: Listener not making progress on framed channel, closing channel to prevent infinite loop",
        K::ResponseCutByReset,
    ),
    (
        "UT005102: Flushing waiting in a frame more than 5000 miliseconds. The framed channel will be forcibly closed.",
        K::StreamWindowStall,
    ),
    (
        "java.io.IOException: UT000184: Stream limit exceeded",
        K::ConcurrencyExceeded,
    ),
    (
        "org.apache.pekko.http.scaladsl.model.http2.PeerClosedStreamException: Stream with ID [1] was closed by peer with code CANCEL(0x08)",
        K::ResetBeforeResponse,
    ),
    (
        "java.lang.RuntimeException: The HTTP/2 connection was shut down while the request was still ongoing",
        K::ConnectionLostStreams,
    ),
    (
        "Peer trying to open stream that would exceed `maxConcurrentStreams`, refusing stream",
        K::ConcurrencyExceeded,
    ),
    (
        "HTTP2 connection failed with error [Illegal HTTP/2 frame size: [3]. MUST BE == 4!]. Sending FRAME_SIZE_ERROR and closing connection.",
        K::FramingViolation,
    ),
    (
        "Malformed request: Pseudo-header ':path' must not occur more than once",
        K::MalformedFields,
    ),
    (
        "org.eclipse.jetty.http2.hpack.HpackException$SessionException: Header size 8300 > 8192",
        K::HeaderListTooLarge,
    ),
    (
        "org.eclipse.jetty.http2.hpack.HpackException$StreamException: Uppercase header name X-Foo",
        K::MalformedFields,
    ),
    (
        "o.a.coyote.http2.Http2Parser Connection [3], Stream [5], HTTP header [connection] is not permitted in an HTTP/2 request",
        K::MalformedFields,
    ),
    (
        "o.a.coyote.http2.ConnectionException: Connection [7f], Stream [1], The padding length [255] was too big for the payload [10]",
        K::FramingViolation,
    ),
    (
        "ConnectionException: Connection [0], Attempted to set a header table size of [65536] but the limit is 16k",
        K::HpackFailure,
    ),
    (
        "StreamException: Connection [0], Stream [3], The content length header value [10] does not agree with the size of the data received [5]",
        K::ContentLengthMismatch,
    ),
    (
        "Http2UpgradeHandler.upgradeDispatch Connection [1], Stream [3], Reset received due to [8]",
        K::ResetBeforeResponse,
    ),
    (
        "Connection [0], Stream [1], Unable to write to stream once it has been closed",
        K::FrameAfterEndStream,
    ),
    (
        "Connection [5], Stream [9], This stream is in state [CLOSED_RST_RX] and is not writable",
        K::FrameAfterEndStream,
    ),
    (
        "ConnectionErrorIsReceived ProtocolError 1 \"Connection was reset\"",
        K::ErrorGoAway,
    ),
    (
        "StreamErrorIsReceived ProtocolError 1",
        K::ResetBeforeResponse,
    ),
    (
        "ConnectionErrorIsSent EnhanceYourCalm 21 \"too many rst_stream\"",
        K::RapidReset,
    ),
    (
        "ConnectionErrorIsSent FlowControlError 3 \"exceeds stream flow-control limit\"",
        K::WindowOverrun,
    ),
    ("haproxy: glitch: invalid preface received", K::NotHttp2),
    (
        "haproxy h2c: glitch limit reached on CONTINUATION frame",
        K::ControlFlood,
    ),
    (
        "h2: stream window <=0, flow-controlled : h2c=0x7f",
        K::StreamWindowStall,
    ),
    (
        "[lib/http2/connection.c] invalid stream id in RST_STREAM frame",
        K::FramingViolation,
    ),
    (
        "h2o: trailing HEADERS frame MUST have END_STREAM flag set",
        K::MalformedFields,
    ),
    (
        "TypeError: fetch failed { cause: HeadersTimeoutError: Headers Timeout Error }",
        K::ResponseOverdue,
    ),
    (
        "SocketError: HTTP/2: stream closed before the response was complete",
        K::ResponseCutByReset,
    ),
    (
        "InformationalError: HTTP/2: \"stream error\" received - code 8",
        K::ResetBeforeResponse,
    ),
    (
        "HeadersTimeoutError: HTTP/2: server did not accept a new stream within 300000",
        K::ConcurrencySaturated,
    ),
    (
        "TypeError [ERR_HTTP2_INVALID_CONNECTION_HEADERS]: HTTP/1 Connection specific headers are forbidden: \"transfer-encoding\"",
        K::MalformedFields,
    ),
    (
        "13 INTERNAL: Received a second request message for server streaming method",
        K::WrongMessageCount,
    ),
    (
        "h2.exceptions.ProtocolError: Request header block has multiple Host headers.",
        K::MalformedFields,
    ),
    (
        "h2.exceptions.ProtocolError: Invalid HTTP/2 preamble.",
        K::NotHttp2,
    ),
    (
        "h2.exceptions.InvalidSettingsValueError: Setting 5 has invalid value 100",
        K::FramingViolation,
    ),
    (
        "h2.exceptions.ProtocolError: Conflicting content-length headers: 3 and 5",
        K::MalformedFields,
    ),
    (
        "grpclib.protocol: Received GOAWAY frame, closing connection; error_code: 11",
        K::ErrorGoAway,
    ),
    (
        "PHP Fatal error: Uncaught Frame size limit exceeded in Http2Parser.php",
        K::FramingViolation,
    ),
    (
        "Http2StreamException: Repeat pseudo header",
        K::MalformedFields,
    ),
    (
        "Protocol::HTTP2::ProtocolError: First frame must be Protocol::HTTP2::SettingsFrame, but got Protocol::HTTP2::PingFrame",
        K::NotHttp2,
    ),
    (
        "Protocol::HTTP2::GoawayError: GOAWAY: request not processed.",
        K::StreamUnprocessed,
    ),
    (
        "rpc error: code = Unavailable desc = the connection is draining",
        K::GracefulGoAway,
    ),
    (
        "rpc error: code = Canceled desc = latest balancer error: connection closed before server preface received",
        K::NotHttp2,
    ),
    (
        "rpc error: code = Unimplemented desc = malformed method name: \"/Call\"",
        K::MalformedFields,
    ),
    (
        "[transport] [server-transport 0xc000] loopyWriter exited with error: transport closed by client",
        K::ConnectionLostStreams,
    ),
    (
        "transport: received goaway with stream id: 9, which exceeds stream id of previous goaway: 7",
        K::GoAwayRaised,
    ),
    (
        "transport: received an illegal stream id: 4. headers frame: [FrameHeader HEADERS]",
        K::FramingViolation,
    ),
    (
        "http2: server: sender tried to send more than declared Content-Length of 10 bytes",
        K::ContentLengthMismatch,
    ),
    (
        "http2: client connection force closed via ClientConn.Close",
        K::ConnectionLostStreams,
    ),
    ("http2: invalid trailer \"Grpc-Status\"", K::MalformedFields),
    (
        "io.netty.handler.codec.http2.Http2Exception: Maximum number 200 of RST frames frames reached within 30 seconds",
        K::RapidReset,
    ),
    (
        "io.grpc.StatusRuntimeException: CANCELLED: Failed to read message.",
        K::ClientCancel,
    ),
    (
        "io.grpc.StatusRuntimeException: INTERNAL: Received DATA frame prior to headers",
        K::UnexpectedFrame,
    ),
    (
        "gRPC Error (code: 14, codeName: UNAVAILABLE, message: Did not receive anything)",
        K::ResetBeforeResponse,
    ),
    (
        "RPCError unavailable: \"The server accepted the TCP connection but closed the connection before completing the HTTP/2 connection preface.\"",
        K::NotHttp2,
    ),
    (
        "unavailable (14): The RPC has already completed",
        K::ConnectionLostStreams,
    ),
    (
        "NIOHTTP2Errors.ExcessiveRSTFrames(file: \"NIOHTTP2/HTTP2ConnectionStateMachine.swift\", line: 1)",
        K::NearResetLimit,
    ),
    (
        "NIOHTTP2Errors.FlowControlViolation(file: \"x\", line: 9)",
        K::WindowOverrun,
    ),
    (
        "NIOHTTP2Errors.DuplicateHostHeader(file: \"x\", line: 9)",
        K::MalformedFields,
    ),
    (
        "NIOHTTP2Errors.CreatedStreamAfterGoaway(file: \"x\", line: 9)",
        K::StreamUnprocessed,
    ),
    (
        "[info] 31#31: *5 client sent \"Connection\" header while reading client request headers",
        K::MalformedFields,
    ),
    (
        "[info] 31#31: *5 client sent SETTINGS frame with incorrect MAX_FRAME_SIZE value 100 while processing HTTP/2 connection",
        K::FramingViolation,
    ),
    (
        "[info] 31#31: *5 client sent invalid table size update: 99999 while processing HTTP/2 connection",
        K::HpackFailure,
    ),
    (
        "linkerd_app_core: error=timed out waiting for response headers: 5s",
        K::ResponseOverdue,
    ),
    (
        "linkerd_proxy_http: upgraded connection failed with HTTP/2 reset: stream no longer needed",
        K::ResetBeforeResponse,
    ),
    (
        "DEBUG h2::codec::framed_read: failed HPACK decoding; err=InvalidTableIndex",
        K::HpackFailure,
    ),
    (
        "DEBUG h2::proto: stream error PROTOCOL_ERROR -- recv_data: content-length overflow; stream=StreamId(1); len=10;",
        K::ContentLengthMismatch,
    ),
    (
        "DEBUG h2::proto: connection error PROTOCOL_ERROR -- cannot open stream StreamId(2) - not client initiated",
        K::FramingViolation,
    ),
    (
        "com.linecorp.armeria.common.stream.ClosedStreamException: received a RST_STREAM frame: CANCEL",
        K::ResetBeforeResponse,
    ),
    (
        "google.api_core.exceptions.ServiceUnavailable: 503 502:Bad Gateway",
        K::ResetBeforeResponse,
    ),
    (
        "grpc._channel._InactiveRpcError: details = \"Exception deserializing response!\"",
        K::MalformedFields,
    ),
];
