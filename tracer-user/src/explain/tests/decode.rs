//! Bytes, codes and statuses in the spellings of many programs.

use super::find;
use h2trace_core::anomaly::kind::Kind as K;

/// What the first decoded part of a line is, with its first finding.
fn decoded(line: &str) -> Option<(String, String, K)> {
    let first = find(line).decoded.into_iter().next()?;
    Some((first.part, first.is, first.kinds[0]))
}

#[test]
fn sizes_that_are_text_are_read_as_text() {
    for (line, part, is, kind) in [
        (
            "upstream sent too large http2 frame: 4740180 while reading response header",
            "4740180",
            "the text \"HTT\", as in \"HTTP/1.1\"",
            K::NotHttp2,
        ),
        (
            "grpc: received message larger than max (1414811695 vs. 4194304)",
            "1414811695",
            "the text \"TTP/\", as in \"HTTP/1.1\"",
            K::NonGrpcResponse,
        ),
        (
            "Error, decoded message length too large: found 1752460652 bytes",
            "1752460652",
            "the text \"html\", as in \"<html\"",
            K::NonGrpcResponse,
        ),
        (
            "promised 1836019488 bytes in enveloped message, got 3 bytes",
            "1836019488",
            "the text \"moo \"",
            K::NonGrpcResponse,
        ),
        (
            "grpc: received message larger than max (2332033024 vs. 4194304)",
            "2332033024",
            "no length of a message: it is more than a gigabyte",
            K::NonGrpcResponse,
        ),
        (
            "Frame length: 1377026 exceeds maximum: 16384",
            "1377026",
            "a TLS alert",
            K::NotHttp2,
        ),
        (
            "received message with invalid compression flag: 60 (valid flags are 0 and 1)",
            "60",
            "the character '<'",
            K::NonGrpcResponse,
        ),
        (
            "Bad GRPC frame type 0x3c",
            "0x3c",
            "the character '<'",
            K::NonGrpcResponse,
        ),
        (
            "Expected SETTINGS frame as the first frame, got frame type 80",
            "80",
            "the character 'P', as in \"HTTP/1.1\"",
            K::NotHttp2,
        ),
    ] {
        let want = Some((part.to_owned(), is.to_owned(), kind));
        assert_eq!(decoded(line), want, "{line}");
        assert_eq!(find(line).kinds.first(), Some(&kind), "{line}");
    }
}

#[test]
fn numbers_that_are_no_text_stay_numbers() {
    for line in [
        "Frame length: 393509 exceeds maximum: 16384",
        "gRPC message exceeds maximum size 4194304: 4564414",
        "request 4740180 done in 80 ms",
        "upstream sent response body larger than indicated content length: 101:100",
        "trace 0af7651916cd43dd8448eb211c80319c of frame 80",
        "2026/11/03 10:12:01 upstream sent frame for closed stream 1",
    ] {
        assert_eq!(decoded(line), None, "{line}");
    }
}

#[test]
fn dumps_of_bytes_are_recognised() {
    for (line, is, kind) in [
        (
            "First received frame was not SETTINGS. Hex dump for first 5 bytes: 0000040800",
            "a frame of HTTP/2: WINDOW_UPDATE, 4 bytes long",
            K::FramingViolation,
        ),
        (
            "First received frame was not SETTINGS. Hex dump for first 5 bytes: 0000000401",
            "a frame of HTTP/2: SETTINGS with ACK, 0 bytes long",
            K::FramingViolation,
        ),
        (
            "Hex dump for received bytes: 474554202f20485454502f312e310d0a",
            "an HTTP/1 request: \"GET / HTTP/1.1\"",
            K::NotHttp2,
        ),
        (
            "bad record: 15 03 01 00 02 02 78",
            "a TLS alert: no_application_protocol",
            K::NotHttp2,
        ),
        (
            "malformed HTTP response \"\\x00\\x00\\x06\\x04\\x00\\x00\\x00\\x00\\x00\"",
            "a frame of HTTP/2: SETTINGS, 6 bytes long",
            K::NotHttp2,
        ),
        (
            "bogus greeting \"\\x16\\x03\\x01\\x02\"",
            "a TLS handshake",
            K::NotHttp2,
        ),
    ] {
        let (_, found, first) = decoded(line).unwrap();
        assert_eq!((found.as_str(), first), (is, kind), "{line}");
        assert_eq!(find(line).kinds.first(), Some(&kind), "{line}");
    }
    // A dump that stops anywhere is no reason to stop.
    let dump = "Hex dump for received bytes: 1503030002025048545450";
    for end in 0..=dump.len() {
        find(&dump[..end]);
    }
    for text in ["\"\\x", "\"\\x0", "\\u00", "\\u00zz", "\"\\x1é\\x"] {
        find(text);
    }
}

#[test]
fn codes_are_read_in_any_spelling() {
    for (line, code, kind) in [
        ("NGHTTP2_ENHANCE_YOUR_CALM", 0xb, K::StreamThrottled),
        ("the peer says ErrCodeRefusedStream", 7, K::StreamRefused),
        ("RST_STREAM code 0x8", 8, K::ClientCancel),
        ("HTTP/2 GOAWAY, errCode: 11", 0xb, K::ErrorGoAway),
        ("{goaway, 3, compression_error, <<>>}", 9, K::HpackFailure),
        (
            "stream was ended: enhance your calm",
            0xb,
            K::StreamThrottled,
        ),
        (
            "h2 stream reset with error code 6",
            6,
            K::HeaderListTooLarge,
        ),
        ("SETTINGS_TIMEOUT seen", 4, K::SettingsTimeout),
    ] {
        let (_, is, first) = decoded(line).unwrap();
        assert!(is.ends_with(&format!("(0x{code:x})")), "{line}: {is}");
        assert_eq!(first, kind, "{line}");
        assert_eq!(find(line).kinds.first(), Some(&kind), "{line}");
    }
    for line in [
        "Error: 13 INTERNAL: something of the application",
        "ConnectError: nothing",
        "please cancel my order",
        "exit code 2",
        "rpc error: code = 7 desc = denied",
    ] {
        let of_http2 = find(line)
            .decoded
            .iter()
            .any(|decoded| decoded.is.contains("HTTP/2"));
        assert!(!of_http2, "{line}");
    }
}

#[test]
fn statuses_are_read_in_any_spelling() {
    for (line, kind) in [
        ("StatusCode.DEADLINE_EXCEEDED", K::DeadlineReset),
        ("code = DeadlineExceeded", K::DeadlineReset),
        ("the deadline was exceeded", K::DeadlineReset),
        ("grpc-status: 4", K::DeadlineReset),
        ("14 UNAVAILABLE: boom", K::ConnectionLostStreams),
        ("rpc error: code = Canceled desc = boom", K::ClientCancel),
    ] {
        assert_eq!(find(line).kinds.first(), Some(&kind), "{line}");
    }
    for line in ["unavailable", "the reason is unknown", "internal server"] {
        assert!(find(line).decoded.is_empty(), "{line}");
    }
}

/// A place where programs put the code: the code decides, the text only says where.
#[test]
fn a_code_in_a_known_text_leads_to_its_own_finding() {
    for (line, kind) in [
        (
            "stream error: stream ID 5; REFUSED_STREAM; received from peer",
            K::StreamRefused,
        ),
        (
            "curl: (92) HTTP/2 stream 5 was not closed cleanly: COMPRESSION_ERROR (err 9)",
            K::HpackFailure,
        ),
        (
            "upstream rejected request with error 7 while reading response header from upstream",
            K::StreamRefused,
        ),
        (
            "upstream rejected request with error 2 while reading response header from upstream",
            K::ResetBeforeResponse,
        ),
        (
            "io.vertx.core.http.StreamResetException: Stream reset: 3",
            K::WindowOverrun,
        ),
    ] {
        assert_eq!(find(line).kinds.first(), Some(&kind), "{line}");
    }
}
