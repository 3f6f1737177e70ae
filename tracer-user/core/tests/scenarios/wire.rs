//! Frames as a line of a scenario says them, as bytes.

use h2trace_core::frame::ErrorCode;
use h2trace_core::frame::head::{flag, frame_type};

use crate::parse::number;

/// SETTINGS_MAX_FRAME_SIZE that nobody changed: what is longer goes in several frames.
const MAX_FRAME: usize = 16_384;
/// An index of HPACK's dynamic table: where the table was not seen, nobody knows what stands there.
const UNSEEN: u8 = 0xbe;

/// Bytes of one direction, some of which were only counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// In wire form.
    pub(crate) encoded: Vec<u8>,
    pub(crate) total: u32,
}

impl Run {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).unwrap();
        self.encoded.extend(len.to_le_bytes());
        self.encoded.extend(bytes);
        self.total += len;
    }

    fn hole(&mut self, len: u32) {
        self.encoded.extend((len | 1 << 31).to_le_bytes());
        self.total += len;
    }

    pub(crate) fn append(&mut self, other: &Run) {
        self.encoded.extend(&other.encoded);
        self.total += other.total;
    }

    fn head(&mut self, len: usize, frame_type: u8, flags: u8, id: u32) {
        let len = u32::try_from(len).unwrap().to_be_bytes();
        let mut head = vec![len[1], len[2], len[3], frame_type, flags];
        head.extend(id.to_be_bytes());
        self.bytes(&head);
    }

    pub(crate) fn frame(&mut self, frame_type: u8, flags: u8, id: u32, payload: &[u8]) {
        self.head(payload.len(), frame_type, flags, id);
        self.bytes(payload);
    }
}

/// Bytes of which only the number is known.
pub(crate) fn only_counted(len: u32) -> Run {
    let mut run = Run::default();
    run.hole(len);
    run
}

/// What a line says behind its commas: `, END_STREAM`.
fn flags<'a>(mut text: &'a str, known: &[&str]) -> (&'a str, Vec<&'a str>) {
    let mut found = Vec::new();
    while let Some((before, last)) = text.rsplit_once(", ") {
        if !known.iter().any(|known| last.starts_with(known)) {
            break;
        }
        found.push(last);
        text = before;
    }
    (text, found)
}

fn after<'a>(flags: &[&'a str], name: &str) -> Option<&'a str> {
    flags.iter().find_map(|flag| flag.strip_prefix(name))
}

/// The frames of one line: `HEADERS grpc response`, `RST_STREAM NO_ERROR`; and what stands for several: `request`,
/// `open request of a call`, `response`, `response of 5000`.
pub(crate) fn frames(id: u32, text: &str) -> Vec<Run> {
    let (what, of) = text.split_once(" of ").unwrap_or((text, ""));
    let or = |usual| if of.is_empty() { usual } else { of };
    let lines = match what {
        "request" | "open request" => {
            let end = if what == "request" {
                ", END_STREAM"
            } else {
                ""
            };
            let fields = or("grpc request");
            vec![format!("HEADERS {fields}"), format!("DATA message 11{end}")]
        }
        "response" => vec![
            "HEADERS grpc response".to_owned(),
            format!("DATA message {}", or("100")),
            "HEADERS trailers 0, END_STREAM".to_owned(),
        ],
        _ => vec![text.to_owned()],
    };
    lines.iter().map(|line| frame(id, line)).collect()
}

fn frame(id: u32, text: &str) -> Run {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut run = Run::default();
    if text.starts_with('"') {
        run.bytes(&content(text).copied);
        return run;
    }
    if let Some(len) = rest
        .strip_prefix("of ")
        .and_then(|rest| rest.strip_suffix(" bytes"))
    {
        let payload = vec![0; usize::try_from(number(len)).unwrap()];
        run.frame(type_of(name), 0, id, &payload);
        return run;
    }
    match name {
        "HEADERS" | "PUSH_PROMISE" => headers(&mut run, id, name, rest),
        "DATA" => data(&mut run, id, rest),
        "RST_STREAM" => run.frame(frame_type::RST_STREAM, 0, id, &code(rest).0.to_be_bytes()),
        "WINDOW_UPDATE" => run.frame(frame_type::WINDOW_UPDATE, 0, id, &word(rest).to_be_bytes()),
        "PING" => run.frame(frame_type::PING, ack(rest), id, &[0; 8]),
        "SETTINGS" if rest == "ACK" => run.frame(frame_type::SETTINGS, flag::ACK, id, &[]),
        "SETTINGS" => run.frame(frame_type::SETTINGS, 0, id, &settings(rest)),
        "GOAWAY" => run.frame(frame_type::GOAWAY, 0, id, &go_away(rest)),
        "PRIORITY" => {
            let on = rest.strip_prefix("on ").unwrap_or_else(|| panic!("{text}"));
            let exclusive = u32::from(on.ends_with(" alone")) << 31;
            let on = word(on.trim_end_matches(" alone"));
            let payload = [&(on | exclusive).to_be_bytes()[..], &[15]].concat();
            run.frame(frame_type::PRIORITY, 0, id, &payload);
        }
        "PRIORITY_UPDATE" => run.frame(
            frame_type::PRIORITY_UPDATE,
            0,
            id,
            &word(rest).to_be_bytes(),
        ),
        _ => panic!("no such frame: {text}"),
    }
    run
}

/// The type of a frame by its name, or `0xbe` as it is.
fn type_of(name: &str) -> u8 {
    match name {
        "PRIORITY" => frame_type::PRIORITY,
        "PING" => frame_type::PING,
        _ => {
            let number = name
                .strip_prefix("0x")
                .map(|hex| u8::from_str_radix(hex, 16));
            number
                .unwrap_or_else(|| panic!("no such frame: {name}"))
                .unwrap()
        }
    }
}

fn word(text: &str) -> u32 {
    u32::try_from(number(text)).unwrap()
}

fn ack(text: &str) -> u8 {
    u8::from(text == "ACK") * flag::ACK
}

/// An error code by its name, or `0x77`.
pub(crate) fn code(name: &str) -> ErrorCode {
    if let Some(hex) = name.strip_prefix("0x") {
        return ErrorCode(u32::from_str_radix(hex, 16).unwrap());
    }
    let known = (0..16)
        .map(ErrorCode)
        .find(|code| code.known_name() == Some(name));
    known.unwrap_or_else(|| panic!("no such error code: {name}"))
}

fn settings(text: &str) -> Vec<u8> {
    let mut payload = Vec::new();
    for setting in text.split_whitespace() {
        let (name, value) = setting.split_once('=').unwrap_or_else(|| panic!("{text}"));
        let id: u16 = match name {
            "HEADER_TABLE_SIZE" => 0x1,
            "ENABLE_PUSH" => 0x2,
            "MAX_CONCURRENT_STREAMS" => 0x3,
            "INITIAL_WINDOW_SIZE" => 0x4,
            "MAX_FRAME_SIZE" => 0x5,
            "MAX_HEADER_LIST_SIZE" => 0x6,
            "ENABLE_CONNECT_PROTOCOL" => 0x8,
            _ => panic!("no such setting: {name}"),
        };
        payload.extend(id.to_be_bytes());
        payload.extend(word(value).to_be_bytes());
    }
    payload
}

/// `last 5 NO_ERROR`, and debug data behind it.
fn go_away(text: &str) -> Vec<u8> {
    let mut words = text.splitn(4, ' ');
    assert_eq!(words.next(), Some("last"), "{text}");
    let mut payload = word(words.next().unwrap()).to_be_bytes().to_vec();
    payload.extend(code(words.next().unwrap()).0.to_be_bytes());
    payload.extend(words.next().unwrap_or_default().bytes());
    payload
}

fn headers(run: &mut Run, id: u32, name: &str, text: &str) {
    let known = ["END_STREAM", "without END_HEADERS", "in ", "not captured"];
    let (text, told) = flags(text, &known);
    let (promised, text) = match name {
        "PUSH_PROMISE" => {
            let (promised, text) = text.split_once(' ').unwrap_or_else(|| panic!("{text}"));
            (Some(word(promised)), text)
        }
        _ => (None, text),
    };
    let mut block = promised.map_or_else(Vec::new, |id| id.to_be_bytes().to_vec());
    block.extend(field_block(text));
    let n_frames = after(&told, "in ").map_or(1, |n| {
        usize::try_from(number(n.trim_end_matches(" frames"))).unwrap()
    });
    let part = block.len().div_ceil(n_frames).clamp(1, MAX_FRAME);
    let mut parts: Vec<&[u8]> = block.chunks(part).collect();
    parts.resize(parts.len().max(n_frames), &[]);
    let ends = !told.contains(&"without END_HEADERS");
    for (nth, payload) in parts.iter().enumerate() {
        let is_last = nth + 1 == parts.len();
        let mut flags = u8::from(is_last && ends) * flag::END_HEADERS;
        let frame_type = match (nth, promised) {
            (0, Some(_)) => frame_type::PUSH_PROMISE,
            (0, None) => {
                flags |= u8::from(told.contains(&"END_STREAM")) * flag::END_STREAM;
                frame_type::HEADERS
            }
            _ => frame_type::CONTINUATION,
        };
        if told.contains(&"not captured") {
            run.head(payload.len(), frame_type, flags, id);
            run.hole(u32::try_from(payload.len()).unwrap());
        } else {
            run.frame(frame_type, flags, id, payload);
        }
    }
}

/// Fields in HPACK, none of them indexed.
fn field_block(text: &str) -> Vec<u8> {
    let mut fields: Vec<Option<(String, String)>> = Vec::new();
    for item in text.split("; ").filter(|item| !item.is_empty()) {
        if let Some(without) = item.strip_prefix("- ") {
            fields.retain(|field| field.as_ref().is_none_or(|(name, _)| name != without));
        } else if item == "?" {
            fields.push(None);
        } else if let Some(list) = named_list(item) {
            fields.extend(list.into_iter().map(Some));
        } else {
            let colon = item.rfind(": ").or(item.strip_suffix(':').map(str::len));
            let colon = colon.unwrap_or_else(|| panic!("no field: {item}"));
            let (name, value) = (&item[..colon], item[colon + 1..].trim_start());
            let value = match value.strip_suffix(" bytes") {
                Some(len) => "x".repeat(usize::try_from(number(len)).unwrap()),
                None => String::from_utf8(unescape(value)).unwrap(),
            };
            fields.push(Some((name.to_owned(), value)));
        }
    }
    let mut block = Vec::new();
    for field in fields {
        let Some((name, value)) = field else {
            block.push(UNSEEN);
            continue;
        };
        block.push(0);
        for text in [name, value] {
            string_len(&mut block, text.len());
            block.extend(text.bytes());
        }
    }
    block
}

/// An integer of RFC 7541 section 5.1 with a prefix of 7 bits.
fn string_len(block: &mut Vec<u8>, len: usize) {
    if len < 127 {
        block.push(u8::try_from(len).unwrap());
        return;
    }
    block.push(127);
    let mut rest = len - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// Lists of fields that have a name in the scenarios.
fn named_list(name: &str) -> Option<Vec<(String, String)>> {
    let request = |authority| {
        vec![
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/test.Test/Call"),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
    };
    let response = [(":status", "200"), ("content-type", "application/grpc")];
    let user_agent = [("user-agent", "grpc-node-js/1.12.6")];
    // What Envoy adds, with an `x-request-id` of its own.
    let added = |id| {
        [
            ("x-forwarded-proto", "http"),
            ("x-envoy-expected-rq-timeout-ms", "15000"),
            ("x-request-id", id),
        ]
    };
    let words: Vec<&str> = name.split(' ').collect();
    let list = match words[..] {
        ["grpc", "request"] => request("test"),
        ["grpc", "response"] => response.to_vec(),
        ["trailers", status] => vec![("grpc-status", status), ("grpc-message", "")],
        ["trailers-only", status] => [&response[..], &[("grpc-status", status)]].concat(),
        ["page", "of", method] => vec![
            (":method", method),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "test"),
        ],
        ["a", "call"] => [&request("proxy")[..], &user_agent].concat(),
        ["a", "call", id] => [&request("proxy")[..], &user_agent, &[("x-call-id", id)]].concat(),
        ["passed", "on", own_id] => [&request("proxy")[..], &user_agent, &added(own_id)].concat(),
        ["passed", "on", id, own_id] => {
            let call_id = [("x-call-id", id)];
            [&request("proxy")[..], &user_agent, &call_id, &added(own_id)].concat()
        }
        _ => return None,
    };
    let owned = list.into_iter();
    Some(
        owned
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

/// Content of DATA: copied, or only counted.
struct Content {
    copied: Vec<u8>,
    counted: usize,
}

/// `message 100`, `first 60 of message 100`, `60 bytes`, `"<html>"`, `nothing`. Of a message only the prefix is
/// copied, as the kernel programs do.
fn content(text: &str) -> Content {
    if text == "nothing" {
        return Content {
            copied: Vec::new(),
            counted: 0,
        };
    }
    if let Some(quoted) = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    {
        return Content {
            copied: unescape(quoted),
            counted: 0,
        };
    }
    if let Some(len) = text.strip_suffix(" bytes") {
        return Content {
            copied: Vec::new(),
            counted: usize::try_from(number(len)).unwrap(),
        };
    }
    let (first, message) = match text
        .strip_prefix("first ")
        .and_then(|text| text.split_once(" of "))
    {
        Some((first, message)) => (Some(usize::try_from(number(first)).unwrap()), message),
        None => (None, text),
    };
    let said = message
        .strip_prefix("message ")
        .unwrap_or_else(|| panic!("no content: {text}"));
    let (len, flag) = said.split_once(" with flag ").unwrap_or((said, "0"));
    let mut copied = vec![u8::try_from(number(flag)).unwrap()];
    copied.extend(word(len).to_be_bytes());
    let whole = 5 + usize::try_from(number(len)).unwrap();
    let first = first.unwrap_or(whole);
    copied.truncate(first);
    Content {
        counted: first - copied.len(),
        copied,
    }
}

/// `\x16` is a byte.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).unwrap());
        bytes.extend(rest.bytes());
    }
    bytes
}

fn data(run: &mut Run, id: u32, text: &str) {
    let (text, told) = flags(text, &["END_STREAM", "padding ", "held up"]);
    let Content {
        mut copied,
        mut counted,
    } = content(text);
    let end_stream = u8::from(told.contains(&"END_STREAM")) * flag::END_STREAM;
    let padding = after(&told, "padding ").map(|n| usize::try_from(number(n)).unwrap());
    loop {
        let mut payload: Vec<u8> = copied.drain(..copied.len().min(MAX_FRAME)).collect();
        let hole = counted.min(MAX_FRAME - payload.len());
        counted -= hole;
        let is_last = copied.is_empty() && counted == 0;
        let mut flags = u8::from(is_last) * end_stream;
        let mut len = payload.len() + hole;
        if let Some(padding) = padding {
            assert!(
                is_last && padding > 0,
                "padding is for short frames: {text}"
            );
            flags |= flag::PADDED;
            len += padding;
            payload.insert(0, u8::try_from(padding - 1).unwrap());
        }
        run.head(len, frame_type::DATA, flags, id);
        run.bytes(&payload);
        // Of a frame that TCP holds up, the end is still to come.
        if !(is_last && told.contains(&"held up")) {
            run.hole(u32::try_from(hole).unwrap());
            run.bytes(&vec![0; padding.map_or(0, |padding| padding - 1)]);
        }
        if is_last {
            return;
        }
    }
}
