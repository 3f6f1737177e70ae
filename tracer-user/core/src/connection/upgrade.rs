//! `Upgrade: h2c` (RFC 7540 section 3.2; obsolete in RFC 9113, still sent by curl and nghttp).

/// An HTTP/1.1 request that asked for h2c. It becomes stream 1 when the server agrees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRequest {
    /// The request target.
    pub path: String,
    /// Its header fields, names in lower case. Only stage 4's allow-list decides what is shown.
    pub fields: Vec<(String, String)>,
}

/// Reads the beginning of an HTTP/1.1 request; `None` when it does not ask for h2c or is cut before
/// the end of its header section.
#[must_use]
pub fn read_request(first: &[u8]) -> Option<UpgradeRequest> {
    let head = header_section(first)?;
    let mut lines = head.split("\r\n");
    let mut request_line = lines.next()?.split(' ');
    let _method = request_line.next()?;
    let path = request_line.next()?.to_owned();
    if request_line.next()? != "HTTP/1.1" {
        return None;
    }
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let asks = fields.iter().any(|(name, value)| {
        name == "upgrade"
            && value
                .split(',')
                .any(|token| token.trim().eq_ignore_ascii_case("h2c"))
    });
    asks.then_some(UpgradeRequest { path, fields })
}

/// True when a response's beginning says "101 Switching Protocols".
#[must_use]
pub fn agrees(first: &[u8]) -> bool {
    first.starts_with(b"HTTP/1.1 101")
}

fn header_section(bytes: &[u8]) -> Option<&str> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    std::str::from_utf8(bytes.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_h2c_gives_its_path_and_fields() {
        let bytes = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n";
        let request = read_request(bytes).expect("asks for h2c");
        assert_eq!(request.path, "/x");
        assert!(
            request
                .fields
                .contains(&("host".to_owned(), "a".to_owned()))
        );
    }

    #[test]
    fn other_requests_do_not_ask() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n",
            b"GET / HTTP/1.0\r\nUpgrade: h2c\r\n\r\n",
            b"\xff\xfe\r\n\r\n",
            b"",
        ] {
            assert_eq!(read_request(bytes), None);
        }
    }
}
