//! What do the first bytes of a direction look like?

use h2trace_core::event::OtherProtocol;
use h2trace_core::frame::PREFACE;
use tracer_ebpf::http2::{DEFAULT_MAX_FRAME_SIZE, Head, Opening, Protocol, rule};
use tracer_ebpf::proxy_header;

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Too few to tell.
    TooFew,
    /// The client's connection preface.
    Preface,
    /// The header of a SETTINGS frame without ACK, as a server begins.
    Settings,
    /// An HTTP/1.x request.
    Http1Request,
    /// None of these.
    Other(OtherProtocol),
}

/// Looks at the first bytes of a direction.
pub(super) fn first(bytes: &[u8]) -> First {
    if bytes.starts_with(PREFACE) {
        return First::Preface;
    }
    if PREFACE.starts_with(bytes) {
        return First::TooFew;
    }
    match bytes.first_chunk() {
        Some(head) if Head::parse(*head).begins_connection() => return First::Settings,
        None if bytes.starts_with(&[0]) => return First::TooFew,
        _ => {}
    }
    First::Other(match Opening::of(bytes).protocol() {
        Some(Protocol::Http1Request) => return First::Http1Request,
        Some(Protocol::Http1Response) => OtherProtocol::Http1,
        Some(Protocol::Tls) => OtherProtocol::Tls,
        None if bytes.len() <= Opening::LINE_MAX => return First::TooFew,
        Some(Protocol::Other) | None => OtherProtocol::Other,
    })
}

/// They may be a frame: of a known type, or of no more bytes than a frame may have.
pub(super) fn begins_as_frame(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|head| {
        let head = Head::parse(*head);
        rule(head.frame_type).is_known() || head.len <= DEFAULT_MAX_FRAME_SIZE
    })
}

/// What stands of the PROXY protocol before everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyHeader {
    /// Nothing.
    Absent,
    /// The beginning of a header, or what may become one.
    Partial,
    /// A header of this length.
    Whole(usize),
}

/// The PROXY protocol header at the beginning.
pub(super) fn proxy_header(bytes: &[u8]) -> ProxyHeader {
    // Its first letter is the preface's too.
    if PREFACE.starts_with(bytes) {
        return ProxyHeader::Absent;
    }
    let mut header = proxy_header::ProxyHeader::NEW;
    for (n, byte) in bytes.iter().enumerate() {
        header = header.next(*byte);
        if header.is_whole() {
            return ProxyHeader::Whole(n + 1);
        }
        if header.is_decided() {
            return ProxyHeader::Absent;
        }
    }
    ProxyHeader::Partial
}

/// Where the header section of an HTTP/1.x message ends.
pub(super) fn header_section(bytes: &[u8]) -> Option<usize> {
    find(bytes, b"\r\n\r\n").map(|end| end + 4)
}

/// An answer of HTTP/1.x behind which another protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// It is none.
    Absent,
    /// The beginning of one, or of another answer.
    Partial,
    /// Its header section has this length. `to_upgrade`: 101, so the request is the first stream; else 2xx to CONNECT.
    Whole { len: usize, to_upgrade: bool },
}

/// The answer at the beginning. That to CONNECT has no content (RFC 9110 section 9.3.6).
pub(super) fn switch(bytes: &[u8]) -> Switch {
    const BEGINS: &[u8] = b"HTTP/1.";
    if !bytes.starts_with(BEGINS) {
        return if BEGINS.starts_with(bytes) && !bytes.is_empty() {
            Switch::Partial
        } else {
            Switch::Absent
        };
    }
    let (to_upgrade, to_connect) = match bytes.get(8..12) {
        None => return Switch::Partial,
        Some(status) => (status == b" 101", status.starts_with(b" 2")),
    };
    let Some(len) = header_section(bytes).filter(|_| to_upgrade || to_connect) else {
        return if to_upgrade || to_connect {
            Switch::Partial
        } else {
            Switch::Absent
        };
    };
    let head = bytes.get(..len).unwrap_or_default();
    let has_content = ["content-length", "transfer-encoding"]
        .iter()
        .any(|name| has_field(head, name));
    if to_connect && has_content {
        return Switch::Absent;
    }
    Switch::Whole { len, to_upgrade }
}

/// A header section has a field of this name, which is in lower case.
fn has_field(head: &[u8], name: &str) -> bool {
    let head = head.to_ascii_lowercase();
    let wanted = format!("\r\n{name}:");
    find(&head, wanted.as_bytes()).is_some()
}

/// A request to tunnel what comes behind it.
pub(super) fn asks_for_tunnel(request: &[u8]) -> bool {
    request.starts_with(b"CONNECT ")
}

/// Where `wanted` begins.
pub(super) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

/// Whether a request may ask for h2c (RFC 7540 section 3.2). Stage 2 reads it exactly.
pub(super) fn asks_for_h2c(request: &[u8]) -> bool {
    has_field(request, "upgrade") && find(&request.to_ascii_lowercase(), b"h2c").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_are_told_apart() {
        for (bytes, want) in [
            (&b""[..], First::TooFew),
            (b"PRI * HT", First::TooFew),
            (PREFACE, First::Preface),
            (b"\0\0\x12\x04\0\0\0\0\0", First::Settings),
            (b"\0\0\x12\x04", First::TooFew),
            (
                b"\0\0\0\x04\x01\0\0\0\0",
                First::Other(OtherProtocol::Other),
            ),
            (b"\x16\x03\x01\x02", First::Other(OtherProtocol::Tls)),
            (b"\x16", First::TooFew),
            (b"GE", First::TooFew),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", First::Http1Request),
            (b"GET /a/very/long/pa", First::TooFew),
            (b"PROPFIND /dav HTTP/1.1\r\n", First::Http1Request),
            (b"VERSION-CONTROL / HTTP/1.1\r\n", First::Http1Request),
            (b"POST / SIP/2.0\r\n", First::Other(OtherProtocol::Other)),
            (b"HTTP/1.1 200 OK\r\n", First::Other(OtherProtocol::Http1)),
            (
                b"SSH-2.0-OpenSSH_9.2\r\n",
                First::Other(OtherProtocol::Other),
            ),
            (b"\xff\xfe", First::Other(OtherProtocol::Other)),
        ] {
            assert_eq!(first(bytes), want, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn answers_behind_which_another_protocol_is_spoken_are_told_apart() {
        for (bytes, want) in [
            (&b""[..], Switch::Absent),
            (b"HTT", Switch::Partial),
            (b"HTTP/1.1 2", Switch::Partial),
            (b"HTTP/1.1 200 Connection established\r\n", Switch::Partial),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", Switch::Absent),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
                Switch::Absent,
            ),
            (
                b"HTTP/1.0 200 Connection established\r\n\r\n\0",
                Switch::Whole {
                    len: 39,
                    to_upgrade: false,
                },
            ),
            (
                b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
                Switch::Whole {
                    len: 36,
                    to_upgrade: true,
                },
            ),
            (b"\0\0\x12\x04\0\0\0\0\0", Switch::Absent),
        ] {
            assert_eq!(switch(bytes), want, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_proxy_header_is_measured() {
        assert_eq!(
            proxy_header(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nPRI"),
            ProxyHeader::Whole(32)
        );
        assert_eq!(proxy_header(b"PROX"), ProxyHeader::Partial);
        let v2 = [
            &b"\r\n\r\n\0\r\nQUIT\n"[..],
            &[0x21, 0x11, 0, 12],
            &[0; 12],
            b"PRI",
        ]
        .concat();
        assert_eq!(proxy_header(&v2), ProxyHeader::Whole(28));
        assert_eq!(proxy_header(&v2[..20]), ProxyHeader::Partial);
        assert_eq!(proxy_header(PREFACE), ProxyHeader::Absent);
        assert_eq!(proxy_header(b"P"), ProxyHeader::Absent);
        assert_eq!(proxy_header(b""), ProxyHeader::Absent);
    }
}
