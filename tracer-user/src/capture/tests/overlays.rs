//! Overlay networks, Wi-Fi, and what is encrypted below TCP.

use super::*;

/// VXLAN (4789) or Geneve (6081).
fn in_overlay(port: u16, number: u8, packet: &[u8]) -> Vec<u8> {
    let head: [u8; 8] = match port {
        6081 => [0, 0, 0x65, 0x58, 0, 0, number, 0],
        _ => [8, 0, 0, 0, 0, 0, number, 0],
    };
    let ethernet = [&[0; 12][..], &[8, 0]].concat();
    outer_ipv4(17, &udp(port, &[&head, &ethernet[..], packet].concat()))
}

fn each(frames: &[Frame], change: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Frame> {
    let changed = frames.iter().map(|frame| Frame {
        bytes: change(&frame.bytes),
        ..frame.clone()
    });
    changed.collect()
}

/// One packet of the first, one of the second, and so on.
fn in_turn(first: Vec<Frame>, second: Vec<Frame>) -> Vec<Frame> {
    let pairs = first.into_iter().zip(second);
    pairs.flat_map(|(a, b)| [a, b]).collect()
}

#[test]
fn equal_addresses_in_two_overlays_are_two_connections() {
    let frames = call().frames;
    for port in [4789, 6081] {
        let [one, other] = [7, 9].map(|number| {
            // Even what no two connections have in common: the numbers that TCP begins with.
            each(&frames, |packet| in_overlay(port, number, packet))
        });
        let replayed = replay(&pcap(101, &in_turn(one, other)));
        assert_eq!(replayed.outcomes(), [Outcome::Ok; 2], "{port}");
        assert_eq!(replayed.counts.connections, 2);
        assert_eq!(replayed.counts.retransmitted, 0);
    }
}

#[test]
fn what_goes_through_two_overlays_is_one_connection() {
    let frames = call().frames;
    let in_7 = each(&frames, |packet| in_overlay(4789, 7, packet));
    // Inside and outside, and one number for each direction.
    let outside = in_turn(frames.clone(), in_7.clone());
    assert_whole_call(&replay(&pcap(101, &outside)), "outside too");
    let mut by_direction = in_7.clone();
    for (frame, plain) in by_direction.iter_mut().zip(&frames) {
        if plain.bytes[15] == 2 {
            frame.bytes = in_overlay(4789, 9, &plain.bytes);
        }
    }
    assert_whole_call(&replay(&pcap(101, &by_direction)), "by direction");
    // A router takes it from one to the other.
    let routed = each(&frames, |packet| {
        let mut packet = packet.to_vec();
        packet[8] -= 1;
        in_overlay(4789, 9, &packet)
    });
    let routed = replay(&pcap(101, &in_turn(in_7, routed)));
    assert_eq!(routed.outcomes(), [Outcome::Ok]);
    assert_eq!(routed.told(), FRAMES_OF_A_CALL);
}

#[test]
fn frames_of_wifi_in_clear_are_decoded() {
    let frames = call().frames;
    let llc = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    let head =
        |kind: u8, flags: u8, more: usize| [&[kind, flags][..], &vec![0; 22 + more], &llc].concat();
    let mut padded = head(0x88, 1, 2);
    padded.splice(26..26, [0, 0]);
    let radiotap = |fields: &[u8], frame: &[u8]| {
        let len = u8::try_from(4 + fields.len()).unwrap();
        [&[0, 0, len, 0], fields, frame].concat()
    };
    for (name, link, before) in [
        ("to a point", 105, head(0x08, 1, 0)),
        ("QoS", 105, head(0x88, 2, 2)),
        ("QoS and HT control", 105, head(0x88, 0x81, 6)),
        ("between points", 105, head(0x88, 3, 8)),
        ("radiotap", 127, radiotap(&[0, 0, 0, 0], &head(0x88, 1, 2))),
        (
            "radiotap with a time, flags and another word, and padding",
            127,
            radiotap(
                &[
                    &[3, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0][..],
                    &[9; 8],
                    &[0x20],
                ]
                .concat(),
                &padded,
            ),
        ),
        (
            "PPI",
            192,
            [&[0, 0, 8, 0, 105, 0, 0, 0][..], &head(0x08, 1, 0)].concat(),
        ),
        (
            "AVS",
            163,
            [
                &[0x80, 0x21, 0x10, 1, 0, 0, 0, 12, 0, 0, 0, 0][..],
                &head(0x08, 2, 0),
            ]
            .concat(),
        ),
    ] {
        assert_whole_call(&replay(&pcap(link, &behind(&frames, &before))), name);
    }
}

#[test]
fn what_is_encrypted_below_tcp_is_counted() {
    let frames = call().frames;
    let esp = [0, 0, 0, 1, 0, 0, 0, 1];
    let wifi = [&[0x88, 0x41][..], &[0; 24]].concat();
    let macsec = [&[0; 12][..], &[0x88, 0xe5, 0x0c, 0]].concat();
    for (name, link, frames) in [
        (
            "ESP",
            101,
            each(&frames, |packet| outer_ipv4(50, &[&esp, packet].concat())),
        ),
        (
            "ESP in UDP",
            101,
            each(&frames, |packet| {
                outer_ipv4(17, &udp(4500, &[&esp, packet].concat()))
            }),
        ),
        ("Wi-Fi", 105, behind(&frames, &wifi)),
        ("MACsec", 1, behind(&frames, &macsec)),
    ] {
        let replayed = replay(&pcap(link, &frames));
        assert_eq!(replayed.counts.encrypted, frames.len() as u64, "{name}");
        assert!(replayed.counts.encrypted_bytes > 1_000, "{name}");
        assert_eq!(replayed.counts.connections, 0);
    }
    // The exchange of keys is none.
    let keys = outer_ipv4(17, &udp(4500, &[0; 40]));
    let frames = each(&frames[..1], |_| keys.clone());
    assert_eq!(replay(&pcap(101, &frames)).counts.encrypted, 0);
}
