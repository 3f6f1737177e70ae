//! Writes the seed corpus: `cargo xtask fuzz --write-corpus`. Every seed is run first.

use std::fs;
use std::path::{Path, PathBuf};

use tracer_fuzz::{capture_file, frame_reader, hpack, kernel_event, stream_ops};
use tracer_tests::conversation::pcap::{self, Captured};
use tracer_tests::conversation::records::{self, Observed};
use tracer_tests::conversation::{Conversation, Plan, Side};

/// Larger seeds slow every mutation down.
const LARGEST: usize = 16 * 1024;

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("usage: seeds FOLDER"));
    frame_readers(&folder);
    hpacks(&folder);
    operations(&folder);
    captures(&folder);
    events(&folder);
}

fn write(folder: &Path, target: &str, name: &str, input: &[u8], run: fn(&[u8])) {
    if input.len() > LARGEST {
        return;
    }
    run(input);
    let folder = folder.join(target);
    fs::create_dir_all(&folder).expect("cannot make the corpus' folder");
    fs::write(folder.join(name), input).expect("cannot write a seed");
}

fn plans() -> impl Iterator<Item = (String, Conversation)> {
    (1..=8_u64).map(|seed| {
        let plan = Plan {
            calls: 1 + seed as u32 / 2,
            broken: seed % 2 == 0,
            response: 0..if seed > 6 { 3_000 } else { 120 },
            ..Plan::small(seed)
        };
        (format!("talk-{seed}"), Conversation::of(&plan))
    })
}

fn frame_readers(folder: &Path) {
    let seed =
        |name: &str, input: &[u8]| write(folder, "frame_reader", name, input, frame_reader::run);
    for (name, talk) in plans() {
        let client = talk.bytes(Side::Client);
        let server = talk.bytes(Side::Server);
        seed(
            &format!("{name}-client"),
            &frame_reader::encode(0, &[], &client),
        );
        seed(
            &format!("{name}-server"),
            &frame_reader::encode(1, &[], &server),
        );
        let lossy = [(0, 60, 40), (1, 120, 30), (3, 200, 9)];
        seed(
            &format!("{name}-lossy"),
            &frame_reader::encode(1, &lossy, &server),
        );
        let late = &server[server.len() / 3..];
        seed(
            &format!("{name}-late"),
            &frame_reader::encode(3, &[(5, 100, 4)], late),
        );
    }
}

/// The header blocks of one side.
fn blocks(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    let mut rest = bytes;
    while let Some(([l2, l1, l0, kind, flags, ..], payload)) = rest.split_first_chunk::<9>() {
        let len = u32::from_be_bytes([0, *l2, *l1, *l0]) as usize;
        let (payload, after) = payload.split_at(len.min(payload.len()));
        if *kind == 1 && flags & 4 != 0 {
            blocks.push(payload.to_vec());
        }
        rest = after;
    }
    blocks
}

fn hpacks(folder: &Path) {
    let seed = |name: &str, input: &[u8]| write(folder, "hpack", name, input, hpack::run);
    for (name, talk) in plans() {
        for (side, bytes) in [
            ("client", &talk.bytes(Side::Client)[24..]),
            ("server", &talk.bytes(Side::Server)),
        ] {
            let input = hpack::encode((name.len() % 3) as u8, &blocks(bytes));
            seed(&format!("{name}-{side}"), &input);
        }
    }
    // Huffman, size updates and never-indexed fields, which the encoder of the conversations does not write
    // (RFC 7541 appendix C.4 to C.6).
    let examples: [&[&[u8]]; 3] = [
        &[
            b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
            b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        ],
        &[b"\x20\x3f\xe1\x1f\x82\x10\x08password\x06secret"],
        &[
            b"\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b",
            b"\x48\x83\x64\x0e\xff\xc1\xc0\xbf",
        ],
    ];
    for (n, example) in examples.iter().enumerate() {
        let blocks: Vec<Vec<u8>> = example.iter().map(|block| block.to_vec()).collect();
        seed(&format!("rfc-{n}"), &hpack::encode(1, &blocks));
    }
    let mut limits = vec![0, 255, 64, 255, 1];
    limits.extend(hpack::encode(0, &[b"\x20\x3f\xe1\x1f\x82".to_vec()]).split_off(1));
    seed("limits", &limits);
}

fn operations(folder: &Path) {
    let seed = |name: &str, input: &[u8]| write(folder, "stream_ops", name, input, stream_ops::run);
    use stream_ops::Operation::{self, *};
    const REQUEST: u32 = 0b1000_0000_1000_1111;
    const RESPONSE: u32 = 0b1001_0000;
    const OK: u32 = 1 << 10;
    const CLIENT: bool = false;
    const SERVER: bool = true;
    let headers = |by, id, end, fields| Headers {
        by,
        id,
        end,
        fields,
    };
    // The message of `data` says that it has so many bytes.
    let data = |by, id, end, promised, len| Data {
        by,
        id,
        end,
        prefix: Some(promised),
        len,
    };
    let reset = |by, id, code| Reset { by, id, code };
    let go_away = |by, last, code, calm| GoAway {
        by,
        last,
        code,
        calm,
    };
    let ping = |by, ack, data| Ping { by, ack, data };
    let window_update = |by, id, increment| WindowUpdate { by, id, increment };
    let settings = |by, parameter, value| Settings {
        by,
        parameter,
        value,
    };
    let ask = |id| {
        vec![
            headers(CLIENT, id, false, REQUEST),
            data(CLIENT, id, true, 11, 11),
        ]
    };
    let answer = |id| {
        vec![
            headers(SERVER, id, false, RESPONSE),
            data(SERVER, id, false, 100, 100),
            headers(SERVER, id, true, OK),
        ]
    };
    let hello = || {
        vec![
            settings(CLIENT, 2, 0),
            settings(SERVER, 3, 2),
            SettingsAck { by: false },
            SettingsAck { by: true },
        ]
    };
    let pass = || vec![Advance { ms: 300 }];
    let stories: Vec<(&str, Vec<Vec<Operation>>)> = vec![
        ("unary", vec![hello(), ask(1), answer(1), pass()]),
        (
            "two",
            vec![
                hello(),
                ask(1),
                ask(3),
                answer(3),
                answer(1),
                pass(),
                ask(5),
                answer(5),
            ],
        ),
        (
            "cut",
            vec![
                hello(),
                ask(1),
                vec![
                    headers(SERVER, 1, false, RESPONSE),
                    data(SERVER, 1, false, 500, 100),
                    reset(SERVER, 1, 0),
                ],
                pass(),
            ],
        ),
        ("cancelled", vec![ask(1), vec![reset(CLIENT, 1, 8)], pass()]),
        (
            "refused",
            vec![ask(1), vec![headers(SERVER, 1, true, RESPONSE | 1 << 11)]],
        ),
        (
            "no-status",
            vec![
                ask(1),
                vec![
                    headers(SERVER, 1, false, RESPONSE),
                    data(SERVER, 1, true, 3, 3),
                ],
            ],
        ),
        (
            "draining",
            vec![
                ask(1),
                vec![go_away(SERVER, 255, 0, false)],
                ask(3),
                answer(1),
                vec![
                    go_away(SERVER, 1, 0, false),
                    EndBegun { why: 1 },
                    Ended { why: 1 },
                ],
            ],
        ),
        (
            "calm",
            vec![
                ask(1),
                vec![
                    ping(CLIENT, false, 1),
                    ping(CLIENT, false, 2),
                    go_away(SERVER, 1, 11, true),
                    Ended { why: 1 },
                ],
            ],
        ),
        (
            "windows",
            vec![
                hello(),
                ask(1),
                vec![
                    headers(SERVER, 1, false, RESPONSE),
                    data(SERVER, 1, false, 65_000, 65_000),
                    Advance { ms: 20_000 },
                    window_update(CLIENT, 0, 65_535),
                    window_update(CLIENT, 1, 65_535),
                    settings(CLIENT, 4, 10),
                ],
                pass(),
            ],
        ),
        (
            "lossy",
            vec![
                ask(1),
                vec![Fault { by: true, which: 0 }],
                answer(1),
                vec![Lost { by: false }, Advance { ms: 65_000 }],
                ask(3),
                vec![
                    Relieve,
                    HalfData {
                        by: false,
                        id: 5,
                        len: 9,
                    },
                ],
            ],
        ),
        (
            "pushed",
            vec![
                ask(1),
                vec![
                    PushPromise {
                        by: true,
                        id: 1,
                        promised: 2,
                    },
                    headers(SERVER, 2, true, RESPONSE),
                    Violation { id: 1 },
                    reset(CLIENT, 2, 5),
                ],
            ],
        ),
        (
            "overdue",
            vec![
                hello(),
                ask(1),
                vec![Advance { ms: 65_535 }, Advance { ms: 65_535 }],
                answer(1),
            ],
        ),
    ];
    for (name, story) in stories {
        for first in [4, 5, 6, 1] {
            let mut input = vec![first];
            for operation in story.concat() {
                operation.encode(&mut input);
            }
            seed(&format!("{name}-{first}"), &input);
        }
    }
}

fn captures(folder: &Path) {
    let seed =
        |name: &str, input: &[u8]| write(folder, "capture_file", name, input, capture_file::run);
    for (name, talk) in plans() {
        let file = pcap::file(&talk, &Captured::whole());
        seed(&format!("{name}-pcap"), &[&[0][..], &file].concat());
        let late = Captured {
            handshake: false,
            segment: 200,
            ..Captured::whole()
        };
        let mut n = 0;
        let mut file = pcap::header();
        file.extend(pcap::packets(&talk, &late, |_, _, _| {
            n += 1;
            n > 3 && n % 7 != 0
        }));
        seed(&format!("{name}-lossy"), &[&[0][..], &file].concat());
        if name.ends_with('3') {
            seed(&format!("{name}-gzip"), &[&[1][..], &file].concat());
            seed(
                &format!("{name}-pcapng"),
                &[&[0][..], &pcapng(&talk)].concat(),
            );
        }
    }
}

/// The same packets in a pcapng file.
fn pcapng(talk: &Conversation) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let total = 12 + body.len().next_multiple_of(4) as u32;
        let mut block = [kind.to_le_bytes(), total.to_le_bytes()].concat();
        block.extend(body);
        block.resize(total as usize - 4, 0);
        block.extend(total.to_le_bytes());
        block
    };
    let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0]);
    section.extend([0xff; 8]);
    let mut file = block(0x0a0d_0d0a, &section);
    // Link type 101 (raw IP), nanoseconds.
    file.extend(block(
        1,
        &[101, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 9, 0, 0, 0],
    ));
    let pcap = pcap::file(talk, &Captured::whole());
    let mut rest = &pcap[24..];
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let at = u64::from(word(0)) * 1_000_000_000 + u64::from(word(4));
        let (packet, after) = after.split_at(word(8) as usize);
        let mut body = vec![0; 4];
        for word in [(at >> 32) as u32, at as u32, word(8), word(12)] {
            body.extend(word.to_le_bytes());
        }
        body.extend(packet);
        file.extend(block(6, &body));
        rest = after;
    }
    file
}

fn events(folder: &Path) {
    let seed =
        |name: &str, input: &[u8]| write(folder, "kernel_event", name, input, kernel_event::run);
    use kernel_event::control::{MEND, PASS};
    for (name, talk) in plans() {
        for (end, side) in [(Side::Client, "client"), (Side::Server, "server")] {
            let observed = Observed::from_start(end);
            let mut whole = Vec::new();
            let mut lossy = Vec::new();
            for (n, record) in records::of(&talk, &observed).iter().enumerate() {
                kernel_event::encode(&mut whole, MEND, &record.bytes);
                if n % 5 != 3 {
                    kernel_event::encode(&mut lossy, MEND | PASS, &record.bytes);
                }
            }
            seed(&format!("{name}-{side}"), &whole);
            seed(&format!("{name}-{side}-lossy"), &lossy);
        }
        let late = Observed {
            unseen: [200, 150],
            ..Observed::from_start(Side::Client)
        };
        let mut input = Vec::new();
        for record in records::of(&talk, &late) {
            kernel_event::encode(&mut input, MEND, &record.bytes);
        }
        seed(&format!("{name}-late"), &input);
    }
}
