//! Formats, link layers, IP; files that are not as they should be.

use std::io::Write as _;

use super::*;

#[test]
fn every_link_type_is_decoded() {
    let frames = call().frames;
    let ethernet = [0; 12];
    let sll2_v4 = [&[8, 0][..], &[0; 18]].concat();
    for (name, link, before) in [
        ("raw", 101, vec![]),
        ("ipv4", 228, vec![]),
        ("null", 0, vec![2, 0, 0, 0]),
        ("loop", 108, vec![0, 0, 0, 2]),
        ("ethernet", 1, [&ethernet[..], &[8, 0]].concat()),
        ("vlan", 1, [&ethernet[..], &[0x81, 0, 0, 5, 8, 0]].concat()),
        (
            "qinq",
            1,
            [&ethernet[..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0]].concat(),
        ),
        ("sll", 113, [&[0; 14][..], &[8, 0]].concat()),
        (
            "sll, vlan",
            113,
            [&[0; 14][..], &[0x81, 0, 0, 5, 8, 0]].concat(),
        ),
        ("sll2", 276, sll2_v4),
        (
            "mpls",
            1,
            [&ethernet[..], &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64]].concat(),
        ),
        (
            "mpls, pseudowire",
            1,
            [
                &ethernet[..],
                &[0x88, 0x47, 0, 1, 1, 64, 0, 0, 0, 0],
                &ethernet,
                &[8, 0],
            ]
            .concat(),
        ),
        (
            "pppoe",
            1,
            [&ethernet[..], &[0x88, 0x64, 0x11, 0, 0, 7, 5, 0, 0, 0x21]].concat(),
        ),
        ("ppp", 9, vec![0, 0x21]),
        ("ppp, hdlc address", 50, vec![0xff, 3, 0, 0x21]),
        ("ppp, short protocol", 9, vec![0x21]),
        ("pppoe by itself", 51, vec![0x11, 0, 0, 7, 5, 0, 0, 0x21]),
        ("cisco hdlc", 104, vec![0x0f, 0, 8, 0]),
        ("mpls by itself", 219, vec![0, 2, 1, 64]),
        ("ppp of pppd", 166, vec![1, 3, 0, 0x21]),
        ("enc", 109, vec![0; 12]),
        ("pflog", 117, [&[61][..], &[0; 63]].concat()),
        (
            "pktap of raw ip",
            149,
            [&[16, 0, 0, 0, 1, 0, 0, 0, 101, 0, 0, 0][..], &[0; 4]].concat(),
        ),
        (
            "pktap of ethernet",
            258,
            [
                &[12, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0][..],
                &[0; 12],
                &[8, 0],
            ]
            .concat(),
        ),
        (
            "llc and snap",
            1,
            [&ethernet[..], &[1, 0, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat(),
        ),
    ] {
        assert_whole_call(&replay(&pcap(link, &behind(&frames, &before))), name);
    }
}

#[test]
fn what_netfilter_logs_is_decoded_in_either_byte_order() {
    let log = |bytes: fn(u16) -> [u8; 2]| {
        let mut frames = call().frames;
        for frame in &mut frames {
            let mut message = vec![2, 0, 0, 5];
            // A prefix of five bytes and its padding, then the packet.
            for part in [bytes(9), bytes(10)] {
                message.extend_from_slice(&part);
            }
            message.extend_from_slice(b"h2tr\0\0\0\0");
            for part in [bytes(4 + frame.bytes.len() as u16), bytes(9)] {
                message.extend_from_slice(&part);
            }
            message.extend_from_slice(&frame.bytes);
            frame.bytes = message;
        }
        replay(&pcap(239, &frames))
    };
    assert_whole_call(&log(u16::to_le_bytes), "little-endian");
    assert_whole_call(&log(u16::to_be_bytes), "big-endian");
}

#[test]
fn packets_in_tunnels_are_decoded() {
    type Tunnel = fn(&[u8]) -> Vec<u8>;
    let tunnels: [(&str, Tunnel); 18] = [
        ("ipip", |packet| outer_ipv4(4, packet)),
        ("gre", |packet| {
            outer_ipv4(47, &[&[0, 0, 8, 0], packet].concat())
        }),
        ("gre with all options", |packet| {
            let head = [&[0xb0, 0, 8, 0][..], &[7; 12]].concat();
            outer_ipv4(47, &[&head, packet].concat())
        }),
        ("gre, bridged", |packet| {
            let head = [&[0, 0, 0x65, 0x58][..], &[0; 12], &[8, 0]].concat();
            outer_ipv4(47, &[&head, packet].concat())
        }),
        ("mpls in ip", |packet| {
            outer_ipv4(137, &[&[0, 2, 1, 64], packet].concat())
        }),
        ("vxlan", |packet| {
            let head = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &[0; 12], &[8, 0]].concat();
            outer_ipv4(17, &udp(4789, &[&head, packet].concat()))
        }),
        ("vxlan of linux", |packet| {
            let head = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &[0; 12], &[8, 0]].concat();
            outer_ipv4(17, &udp(8472, &[&head, packet].concat()))
        }),
        ("geneve with an option", |packet| {
            let head = [
                &[1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 0][..],
                &[0; 12],
                &[8, 0],
            ];
            outer_ipv4(17, &udp(6081, &[&head.concat(), packet].concat()))
        }),
        ("erspan, version I", |packet| {
            let head = [&[0, 0, 0x88, 0xbe][..], &[0; 12], &[8, 0]].concat();
            outer_ipv4(47, &[&head, packet].concat())
        }),
        ("erspan, version II", |packet| {
            let head = [&[0x10, 0, 0x88, 0xbe][..], &[1; 12], &[0; 12], &[8, 0]];
            outer_ipv4(47, &[&head.concat(), packet].concat())
        }),
        ("erspan, version III with more", |packet| {
            let head = [&[0x10, 0, 0x22, 0xeb][..], &[1; 24], &[0; 12], &[8, 0]];
            outer_ipv4(47, &[&head.concat(), packet].concat())
        }),
        ("pptp", |packet| {
            let head = [0x30, 0x81, 0x88, 0x0b, 0, 9, 0, 1];
            let head = [&head[..], &[0; 8], &[0xff, 3, 0, 0x21]].concat();
            outer_ipv4(47, &[&head, packet].concat())
        }),
        ("vxlan with a next protocol", |packet| {
            outer_ipv4(
                17,
                &udp(4790, &[&[0x0c, 0, 0, 1, 0, 0, 7, 0], packet].concat()),
            )
        }),
        ("mpls in udp", |packet| {
            outer_ipv4(17, &udp(6635, &[&[0, 2, 1, 64], packet].concat()))
        }),
        ("gtp", |packet| {
            let head = [0x30, 255, 0, 9, 0, 0, 0, 1];
            outer_ipv4(17, &udp(2152, &[&head, packet].concat()))
        }),
        ("gtp with an extension", |packet| {
            let head = [0x34, 255, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0];
            outer_ipv4(17, &udp(2152, &[&head, packet].concat()))
        }),
        ("signed by ipsec", |packet| {
            let head = [&[4, 4, 0, 0][..], &[7; 20]].concat();
            outer_ipv4(51, &[&head, packet].concat())
        }),
        ("a tunnel in a tunnel", |packet| {
            outer_ipv4(47, &[&[0, 0, 8, 0], &outer_ipv4(4, packet)[..]].concat())
        }),
    ];
    for (name, tunnel) in tunnels {
        let mut frames = call().frames;
        for frame in &mut frames {
            frame.bytes = tunnel(&frame.bytes);
        }
        assert_whole_call(&replay(&pcap(101, &frames)), name);
    }
    // IPv6 in IPv4.
    let mut talk = Talk::between("[fd00::1]:40000", "[fd00::2]:50051");
    add_call(&mut talk);
    for frame in &mut talk.frames {
        frame.bytes = outer_ipv4(41, &frame.bytes);
    }
    assert_whole_call(&replay(&talk.pcap()), "6in4");
}

#[test]
fn what_only_looks_like_a_tunnel_is_none() {
    for (name, packet) in [
        ("udp to another port", outer_ipv4(17, &udp(4790, &[8; 60]))),
        (
            "vxlan without its flag",
            outer_ipv4(17, &udp(4789, &[0; 60])),
        ),
        (
            "gtp that is no packet of a user",
            outer_ipv4(17, &udp(2152, &[&[0x30, 1][..], &[0x45; 60]].concat())),
        ),
        (
            "gtp whose extension has no length",
            outer_ipv4(
                17,
                &udp(2152, &[&[0x34, 255][..], &[1; 10], &[0; 60]].concat()),
            ),
        ),
        (
            "gre with routing",
            outer_ipv4(47, &[&[0x40, 0, 8, 0][..], &[0; 60]].concat()),
        ),
        ("a tunnel cut short", outer_ipv4(4, &[0x45, 0])),
    ] {
        let mut talk = Talk::new();
        talk.send(CLIENT, b"x");
        talk.frames[0].bytes = packet;
        let replayed = replay(&talk.pcap());
        assert_eq!(replayed.counts.segments, 0, "{name}");
        assert!(replayed.error.is_none(), "{name}");
    }
}

#[test]
fn ipv6_with_extension_headers_is_decoded() {
    let mut talk = Talk::between("[fd00::1]:40000", "[fd00::2]:50051");
    add_call(&mut talk);
    assert_whole_call(&replay(&talk.pcap()), "raw");
    let ethernet = behind(&talk.frames, &[&[0; 12][..], &[0x86, 0xdd]].concat());
    assert_whole_call(&replay(&pcap(1, &ethernet)), "ethernet");
}

#[test]
fn padding_behind_the_ip_packet_is_no_payload() {
    let mut frames = behind(&call().frames, &[&[0; 12][..], &[8, 0]].concat());
    for frame in &mut frames {
        frame
            .bytes
            .extend_from_slice(b"trailing frame check sequence");
    }
    assert_whole_call(&replay(&pcap(1, &frames)), "padding");
}

#[test]
fn times_are_those_of_the_packets_in_every_format() {
    let frames = call().frames;
    let nanoseconds = |file: &[u8]| {
        let replayed = replay(file);
        assert_whole_call(&replayed, "times");
        replayed.streams()[0].first_at.0
    };
    let want = START_NS + 4_000;
    assert_eq!(nanoseconds(&pcap(101, &frames)), want);
    assert_eq!(nanoseconds(&pcap_of_nanoseconds(101, &frames)), want);
    assert_eq!(nanoseconds(&pcap_modified(101, &frames)), want);
    // pcapng: two interfaces, of another link type, resolution and offset, packet by packet in turn.
    let offset = 1_767_225_600;
    let mut file = section(false);
    file.extend(interface(101, Some(9), 0));
    file.extend(interface(1, Some(0x80 | 20), offset));
    let ethernet = behind(&frames, &[&[0; 12][..], &[8, 0]].concat());
    for (n, (raw, framed)) in frames.iter().zip(&ethernet).enumerate() {
        file.extend(if n % 2 == 1 {
            enhanced_packet(0, raw.at_ns, &raw.bytes)
        } else {
            let ns = u128::from(framed.at_ns - START_NS);
            let units = (ns * (1 << 20)).div_ceil(1_000_000_000);
            enhanced_packet(1, u64::try_from(units).unwrap(), &framed.bytes)
        });
    }
    assert!(nanoseconds(&file).abs_diff(want) <= 1_000);
}

#[test]
fn pcapng_skips_blocks_it_does_not_know_and_begins_again_with_a_section() {
    let frames = call().frames;
    let mut file = Vec::new();
    for (n, packet) in frames.iter().enumerate() {
        file.extend(section(false));
        file.extend(super::super::build::block(0x0bad, b"unknown", false));
        file.extend(interface(147, None, 0));
        file.extend(interface(101, None, 0));
        file.extend(enhanced_packet(1, packet.at_ns / 1_000, &packet.bytes));
        file.extend(super::super::build::block(5, &[0; 12], false));
        // A packet of a link layer that is not decoded, and a section in the other byte order.
        file.extend(enhanced_packet(0, packet.at_ns / 1_000, b"what"));
        if n % 2 == 0 {
            file.extend(section(true));
            file.extend(super::super::build::block(0x0bad, b"unknown", true));
        }
    }
    let replayed = replay(&file);
    assert_whole_call(&replayed, "pcapng");
    assert_eq!(replayed.counts.foreign_link, frames.len() as u64);
}

#[test]
fn gzip_is_unpacked() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&call().pcap()).unwrap();
    let whole = gzip.finish().unwrap();
    assert_whole_call(&replay(&whole), "gzip");
    let replayed = replay(&whole[..whole.len() / 2]);
    assert!(matches!(
        replayed.error,
        Some(CaptureError::Truncated { .. } | CaptureError::Read { .. })
    ));
}

#[test]
fn fragments_are_counted() {
    let mut talk = call();
    let mut fragment = talk.frames[4].clone();
    // The same packet as a later fragment, before the real one.
    fragment.bytes[6] = 0;
    fragment.bytes[7] = 10;
    talk.frames.insert(4, fragment);
    let replayed = replay(&talk.pcap());
    assert_whole_call(&replayed, "fragment");
    assert_eq!(replayed.counts.fragments, 1);
}

#[test]
fn a_truncated_file_names_the_packet_after_what_came_before() {
    let talk = call();
    let file = talk.pcap();
    let last = talk.frames.len() as u64;
    let replayed = replay(&file[..file.len() - 1]);
    assert_eq!(replayed.told(), FRAMES_OF_A_CALL);
    let error = replayed.error.unwrap();
    assert_eq!(
        error.to_string(),
        format!("the capture is truncated: it ends inside packet {last}")
    );
    // Cut within a record's header, and within the file's.
    assert!(matches!(
        replay(&file[..30]).error,
        Some(CaptureError::Truncated { packet: 1 })
    ));
    assert!(matches!(
        replay(&file[..10]).error,
        Some(CaptureError::Truncated { packet: 1 })
    ));
    assert!(matches!(replay(b"").error, Some(CaptureError::Empty)));
    assert!(matches!(
        replay(b"GET /").error,
        Some(CaptureError::NotACapture(_))
    ));
    assert!(matches!(
        replay(&pcap(220, &[])).error,
        Some(CaptureError::LinkType(220))
    ));
    for (start, how) in [
        (&b"\x28\xb5\x2f\xfd\x04"[..], "zstd -dc FILE | h2trace"),
        (b"\x04\x22\x4d\x18\x64", "lz4 -dc FILE | h2trace"),
        (b"\xfd7zXZ\0", "xz -dc FILE | h2trace"),
        (b"BZh91AY", "bzip2 -dc FILE | h2trace"),
        (b"PK\x03\x04\x14", "unzip -p FILE | h2trace"),
        (b"snoop\0\0\0", "editcap"),
    ] {
        let error = replay(start).error.unwrap().to_string();
        assert!(error.contains(how), "{error}");
    }
}

#[test]
fn a_corrupt_length_is_refused_before_it_costs_memory() {
    let mut file = call().pcap();
    file[24 + 8..24 + 12].fill(0xff);
    let error = replay(&file).error.unwrap();
    assert!(
        matches!(error, CaptureError::Corrupt { packet: 1, .. }),
        "{error}"
    );
    let mut file = section(false);
    file.extend(interface(101, None, 0));
    let mut packet = enhanced_packet(0, 0, b"x");
    packet[20..24].fill(0x7f);
    file.extend(packet);
    let error = replay(&file).error.unwrap();
    assert!(
        error.to_string().contains("longer than its block"),
        "{error}"
    );
}
