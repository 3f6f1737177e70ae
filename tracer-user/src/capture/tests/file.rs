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
    ] {
        assert_whole_call(&replay(&pcap(link, &behind(&frames, &before))), name);
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
        replay(&pcap(105, &[])).error,
        Some(CaptureError::LinkType(105))
    ));
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
