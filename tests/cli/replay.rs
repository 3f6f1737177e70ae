//! `h2trace replay`: no privileges, JSON lines, and what it says of bad files.

use std::io::Write as _;

use h2trace_core::frame::PREFACE;
use serde_json::Value;

use super::binary::{CliOutput, h2trace, output_of, unprivileged};

/// A TCP segment of 10.0.0.1:40000 (or to it) in raw IP, as a record of a pcap file.
fn packet(file: &mut Vec<u8>, from_client: bool, sequence: u32, flags: u8, payload: &[u8]) {
    let n = file.len() as u32;
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (from, to) = if from_client {
        (client, server)
    } else {
        (server, client)
    };
    let (source, destination) = if from_client {
        (40_000_u16, 50_051_u16)
    } else {
        (50_051, 40_000)
    };
    let len = 40 + payload.len();
    for word in [1_767_225_600, n, len as u32, len as u32] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&[0x45, 0]);
    file.extend_from_slice(&(len as u16).to_be_bytes());
    file.extend_from_slice(&[0, 1, 0x40, 0, 64, 6, 0, 0]);
    file.extend_from_slice(&from);
    file.extend_from_slice(&to);
    file.extend_from_slice(&source.to_be_bytes());
    file.extend_from_slice(&destination.to_be_bytes());
    file.extend_from_slice(&sequence.to_be_bytes());
    file.extend_from_slice(&[0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    file.extend_from_slice(payload);
}

/// A GET with a credential, whose answer is reset in the middle, and a PING that is too short.
fn capture() -> Vec<u8> {
    let mut client = [PREFACE, &b"\0\0\0\x04\0\0\0\0\0"[..]].concat();
    let block = b"\x82\x86\x84\x00\x0dauthorization\x03abc";
    client.extend_from_slice(&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1]);
    client.extend_from_slice(block);
    let mut server = b"\0\0\0\x04\0\0\0\0\0".to_vec();
    server.extend_from_slice(b"\0\0\x01\x01\x04\0\0\0\x01\x88");
    server.extend_from_slice(b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x02");
    server.extend_from_slice(b"\0\0\x01\x06\0\0\0\0\0x");
    connection(&client, &server)
}

/// A whole connection, on which the ends say this.
fn connection(client: &[u8], server: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 101] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    packet(&mut file, true, 99, 0x02, b"");
    packet(&mut file, false, 499, 0x12, b"");
    packet(&mut file, true, 100, 0x18, client);
    packet(&mut file, false, 500, 0x18, server);
    packet(&mut file, true, 100 + client.len() as u32, 0x11, b"");
    packet(&mut file, false, 500 + server.len() as u32, 0x11, b"");
    file
}

fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn lines(said: &CliOutput) -> Vec<Value> {
    said.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn frames(said: &CliOutput) -> Vec<Value> {
    lines(said)
        .into_iter()
        .filter(|line| line["type"] == "frame")
        .collect()
}

#[test]
fn frames_come_as_json_lines_without_privileges() {
    let file = written(&capture());
    let path = file.path().to_str().unwrap();
    let all = [
        "replay",
        path,
        "--show",
        "connections,frames,streams,findings",
        "-o",
        "json",
    ];
    let said = output_of(unprivileged(&all));
    assert_eq!(said.status, Some(0), "{}", said.stderr);
    let frames = frames(&said);
    let told: Vec<_> = frames
        .iter()
        .map(|frame| {
            (
                frame["from"].as_str().unwrap(),
                frame["frame"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("client", "SETTINGS"),
            ("client", "HEADERS"),
            ("server", "SETTINGS"),
            ("server", "HEADERS"),
            ("server", "RST_STREAM"),
            ("server", "PING"),
        ]
    );
    assert_eq!(frames[1]["fields"][3]["name"], "authorization");
    assert_eq!(frames[1]["fields"][3]["value"], Value::Null);
    assert_eq!(frames[1]["fields"][3]["redacted"], true);
    assert_eq!(
        (&frames[1]["conn"], &frames[1]["stream_id"]),
        (&1.into(), &1.into())
    );
    assert_eq!(frames[1]["flags"], 5);
    assert!(
        frames[1]["time"]
            .as_str()
            .unwrap()
            .starts_with("2026-01-01T00:00:00.")
    );
    assert_eq!(frames[4]["code"], "INTERNAL_ERROR");
    assert_eq!(frames[5]["error"], "FRAME_SIZE_ERROR");
    let lines = lines(&said);
    let stream = lines.iter().find(|line| line["type"] == "stream").unwrap();
    assert_eq!(
        (&stream["pid"], &stream["comm"]),
        (&Value::Null, &Value::Null)
    );
    assert!(lines.iter().any(|line| line["type"] == "finding"));
    assert_eq!(lines.last().unwrap()["stopped_by"], "end_of_file");
}

#[test]
fn every_line_is_as_the_schema_says() {
    let schema: Value = serde_json::from_str(&h2trace(&["generate", "schema"]).stdout).unwrap();
    let frame = &schema["$defs"]["frame"];
    let file = written(&capture());
    let path = file.path().to_str().unwrap();
    let said = h2trace(&[
        "replay",
        path,
        "--show",
        "frames",
        "--headers",
        "all",
        "-o",
        "json",
    ]);
    let frames = frames(&said);
    assert_eq!(frames[1]["fields"][3]["value"], "abc");
    for line in &frames {
        for key in line.as_object().unwrap().keys() {
            assert!(frame["properties"][key].is_object(), "{key}");
        }
        for key in frame["required"].as_array().unwrap() {
            assert!(line.get(key.as_str().unwrap()).is_some(), "{key}");
        }
    }
}

#[test]
fn standard_input_is_read() {
    let mut command = super::binary::command(&["replay", "-", "--show", "streams", "-o", "json"]);
    command.stdin(std::fs::File::open(written(&capture()).path()).unwrap());
    let said = output_of(command);
    assert!(
        said.stdout.contains("\"type\":\"stream\""),
        "{}",
        said.stderr
    );
}

#[test]
fn a_truncated_file_is_decoded_as_far_as_it_goes() {
    let whole = capture();
    let file = written(&whole[..whole.len() - 3]);
    let said = h2trace(&[
        "replay",
        file.path().to_str().unwrap(),
        "--show",
        "frames",
        "-o",
        "json",
    ]);
    assert_eq!(said.status, Some(2));
    assert_eq!(frames(&said).len(), 6);
    assert!(
        said.stderr.contains("truncated: it ends inside packet 6"),
        "{}",
        said.stderr
    );
}

#[test]
fn what_is_no_capture_is_refused() {
    let file = written(b"GET / HTTP/1.1\r\n");
    let path = file.path().to_str().unwrap();
    h2trace(&["replay", path]).assert_refused(&[path, "not a capture", "pcapng"]);
    h2trace(&["replay", "/nowhere.pcap"]).assert_refused(&["/nowhere.pcap", "No such file"]);
    h2trace(&["replay", path, "--header", "cookie"]).assert_refused(&["cookie", "credential"]);
}

#[test]
fn either_end_begins_with_settings_or_is_told_of() {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    const ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
    const WINDOW_UPDATE: &[u8] = b"\0\0\x04\x08\0\0\0\0\0\0\0\x01\0";
    const REQUEST: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x01\x01a";
    const RESPONSE: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x01\x88";
    let good: [&[&[u8]]; 2] = [
        &[PREFACE, SETTINGS, ACK, REQUEST],
        &[SETTINGS, ACK, RESPONSE],
    ];
    let tell = |client: &[&[u8]], server: &[&[u8]]| {
        let file = written(&connection(&client.concat(), &server.concat()));
        let path = file.path().to_str().unwrap();
        let said = output_of(unprivileged(&["replay", path, "-o", "json"]));
        let findings = lines(&said)
            .into_iter()
            .filter(|line| line["type"] == "finding");
        let mut sentences = findings.map(|line| line["summary"].as_str().unwrap().to_owned());
        (sentences.next().unwrap_or_default(), sentences.count())
    };
    assert_eq!(tell(good[0], good[1]), (String::new(), 0));
    for (first, name) in [(ACK, "SETTINGS"), (WINDOW_UPDATE, "WINDOW_UPDATE")] {
        let rule = format!("{name} as its first frame, which must be SETTINGS without ACK");
        let (told, more) = tell(&[PREFACE, first, SETTINGS, REQUEST], good[1]);
        assert!(
            told.starts_with(&format!("the client sent {rule}")),
            "{told}"
        );
        assert_eq!(more, 0);
        let (told, more) = tell(good[0], &[first, SETTINGS, RESPONSE]);
        assert!(
            told.starts_with(&format!("the server sent {rule}")),
            "{told}"
        );
        assert_eq!(more, 0);
    }
}

#[test]
fn every_line_has_the_time_of_the_file() {
    let file = written(&capture());
    let path = file.path().to_str().unwrap();
    let said = output_of(unprivileged(&["replay", path, "-o", "json"]));
    let lines = lines(&said);
    for kind in ["connection", "finding", "diagnosis", "summary"] {
        assert!(lines.iter().any(|line| line["type"] == kind), "{kind}");
    }
    for line in lines {
        let time = line["time"].as_str().unwrap();
        assert!(time.starts_with("2026-01-01T00:00:00."), "{line}");
    }
}

#[test]
fn a_stream_has_all_fields_only_when_they_are_asked_for() {
    let file = written(&capture());
    let path = file.path().to_str().unwrap();
    let authorization = |more: &[&str]| {
        let arguments = [&["replay", path, "-o", "json"], more].concat();
        let said = output_of(unprivileged(&arguments));
        let lines = lines(&said);
        let stream = lines.iter().find(|line| line["type"] == "stream").unwrap();
        (stream["headers"]["authorization"].clone(), said.stdout)
    };
    assert_eq!(authorization(&["--headers", "all"]).0, "abc");
    let (value, said) = authorization(&[]);
    assert!(value.is_null() && !said.contains("abc"), "{said}");
}

/// A handshake record with one hello, which has no extensions.
fn hello(kind: u8, suite: &[u8]) -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &[0], suite].concat();
    let len = u8::try_from(body.len()).unwrap();
    [&[22, 3, 3, 0, len + 4, kind, 0, 0, len][..], &body].concat()
}

#[test]
fn tls_says_what_it_is_and_why_it_is_not_opened() {
    let client = hello(1, &[0, 2, 0xc0, 0x13, 1, 0]);
    let server = hello(2, &[0xc0, 0x13, 0]);
    let file = written(&connection(&client, &server));
    let path = file.path().to_str().unwrap();
    let said = lines(&h2trace(&["replay", path, "-o", "json"])).remove(0);
    assert_eq!(said["protocol"], "tls");
    let tls = serde_json::json!({
        "version": "1.2", "suite": "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "alpn": null, "alpn_offered": [],
        "sni": null, "key": "none", "why": "cbc",
    });
    assert_eq!(said["tls"], tls);
    let text = h2trace(&["replay", path]).stdout;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let want = "TLS 1.2 (TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA): encrypted, not decoded (CBC suites are not decoded)";
    assert!(text.contains(want), "{text}");
    assert!(text.contains("--keylog opens most suites"), "{text}");
}

#[test]
fn bad_lines_of_a_key_log_are_named_and_not_shown() {
    let file = written(&capture());
    let path = file.path().to_str().unwrap();
    let secret = "5ec2e7".repeat(16);
    let (random, short) = ("a1".repeat(32), "a1".repeat(31));
    let log = written(
        format!(
            "# by hand\nCLIENT_RANDOM {short} {secret}\n\nCLIENT_RANDOM {random} {secret}\n{secret}\n"
        )
        .as_bytes(),
    );
    let log_path = log.path().to_str().unwrap();
    let said = h2trace(&["replay", path, "--keylog", log_path, "-o", "json"]);
    assert_eq!(said.status, Some(0), "{}", said.stderr);
    let want = format!("{log_path}: 2 lines are none of a key log: 2, 5");
    assert!(said.stderr.contains(&want), "{}", said.stderr);
    assert!(
        said.stdout.contains("\"type\":\"stream\""),
        "{}",
        said.stdout
    );
    for said in [said.stdout, said.stderr] {
        assert!(!said.contains("5ec2e7"), "{said}");
    }
    h2trace(&["replay", path, "--keylog", "/nowhere.keys"])
        .assert_refused(&["/nowhere.keys", "No such file"]);
}
