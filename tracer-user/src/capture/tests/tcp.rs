//! Loss, order, copies, beginnings and ends.

use super::*;

#[test]
fn segments_of_any_size_and_wrapped_sequence_numbers_make_no_difference() {
    for len in [1, 2, 7, 9, 100, 1_460] {
        assert_whole_call(&segmented(len, |_| {}), &len.to_string());
    }
}

#[test]
fn reordering_makes_no_difference() {
    for distance in [1, 2, 5] {
        let replayed = segmented(20, |data| {
            for n in (0..data.len() - distance).step_by(distance + 1) {
                data.swap(n, n + distance);
            }
        });
        assert_eq!(replayed.outcomes(), [Outcome::Ok]);
        let mut told = replayed.told();
        // Across a swap of directions the order of the two may differ; within each it may not.
        told.sort_by_key(|name| name.starts_with('s'));
        assert_eq!(told, FRAMES_OF_A_CALL);
        assert!(replayed.counts.out_of_order > 0);
        assert_eq!(replayed.counts.lost_bytes, 0);
    }
}

#[test]
fn retransmissions_and_overlaps_count_once_and_the_first_copy_wins() {
    let replayed = segmented(50, |data| {
        let copies: Vec<Frame> = data.clone();
        for (n, mut copy) in copies.into_iter().enumerate().rev() {
            // The copy says something else; it must not be heard.
            let last = copy.bytes.len() - 1;
            copy.bytes[last] ^= 0xff;
            data.insert((n + 2).min(data.len()), copy);
        }
    });
    assert_whole_call(&replayed, "copies");
    assert!(replayed.counts.retransmitted > 5);

    let mut talk = Talk::new();
    talk.handshake();
    let bytes = client_bytes();
    let first = talk.sequence[CLIENT];
    // [20..60] waits, [0..40] overlaps its beginning with other bytes, [30..] its end.
    talk.raw(CLIENT, first.wrapping_add(20), 0x10, &bytes[20..60]);
    let mut changed = bytes[..40].to_vec();
    changed[20..].fill(0xee);
    talk.raw(CLIENT, first, 0x10, &changed);
    let mut changed = bytes[30..].to_vec();
    changed[..30].fill(0xdd);
    talk.raw(CLIENT, first.wrapping_add(30), 0x10, &changed);
    talk.sequence[CLIENT] = first.wrapping_add(bytes.len() as u32);
    talk.send(SERVER, &server_bytes());
    talk.fin(CLIENT);
    talk.fin(SERVER);
    assert_whole_call(&replay(&talk.pcap()), "overlap");
}

#[test]
fn keep_alives_and_window_probes_are_no_data() {
    let mut talk = Talk::new();
    talk.handshake();
    talk.send(CLIENT, &client_bytes());
    talk.raw(CLIENT, talk.sequence[CLIENT].wrapping_sub(1), 0x10, b"");
    talk.raw(CLIENT, talk.sequence[CLIENT].wrapping_sub(1), 0x10, b"\0");
    talk.ack(SERVER);
    talk.send(SERVER, &server_bytes());
    talk.fin(CLIENT);
    talk.fin(SERVER);
    assert_whole_call(&replay(&talk.pcap()), "keep-alive");
}

#[test]
fn loss_inside_data_is_bridged_and_accuses_nobody() {
    let mut talk = Talk::new();
    talk.handshake();
    talk.send(CLIENT, &client_bytes());
    let bytes = server_bytes();
    // 500 bytes of the message are missing from the capture; the client has them.
    talk.send(SERVER, &bytes[..200]);
    talk.lose(SERVER, 500);
    talk.send(SERVER, &bytes[700..]);
    talk.ack(CLIENT);
    talk.pass(500 * MS);
    talk.fin(CLIENT);
    talk.fin(SERVER);
    let replayed = replay(&talk.pcap());
    assert_eq!(replayed.told(), FRAMES_OF_A_CALL);
    assert_eq!(replayed.outcomes(), [Outcome::Ok]);
    assert_eq!(replayed.streams()[0].response.data_bytes, 905);
    assert_eq!(replayed.loud(), Vec::<&str>::new());
    assert_eq!((replayed.counts.gaps, replayed.counts.lost_bytes), (1, 500));
}

#[test]
fn loss_of_headers_leaves_the_stream_unknown_and_the_next_one_whole() {
    let mut talk = Talk::new();
    talk.handshake();
    talk.send(CLIENT, &client_bytes());
    talk.send(SERVER, &settings());
    // The response's HEADERS and the beginning of its message.
    let answer = [response(1), message(1, 900, false), trailers(1)].concat();
    talk.lose(SERVER, 100);
    talk.send(SERVER, &answer[100..]);
    talk.ack(CLIENT);
    for stream_id in [3, 5, 7, 9] {
        talk.pass(300 * MS);
        talk.send(
            CLIENT,
            &[request(stream_id, false), message(stream_id, 3, true)].concat(),
        );
        let answer = [
            response(stream_id),
            message(stream_id, 30, false),
            trailers(stream_id),
        ];
        talk.send(SERVER, &answer.concat());
    }
    talk.fin(CLIENT);
    talk.fin(SERVER);
    let replayed = replay(&talk.pcap());
    assert_eq!(replayed.loud(), Vec::<&str>::new());
    let of = |id: u32| {
        let streams = replayed.streams();
        let of = streams.iter().find(|record| record.stream_id.0 == id);
        of.map(|record| record.outcome)
    };
    assert_ne!(of(1), Some(Outcome::MissingTrailers));
    assert_eq!(of(9), Some(Outcome::Ok));
    assert_eq!(replayed.counts.lost_bytes, 100);
}

#[test]
fn a_lost_request_tail_is_known_before_its_answer() {
    let mut talk = Talk::new();
    talk.handshake();
    talk.send(
        CLIENT,
        &[PREFACE.to_vec(), settings(), request(1, false)].concat(),
    );
    // The whole DATA of the request, END_STREAM with it, is missing; the answer follows at once.
    talk.lose(CLIENT, message(1, 3, true).len());
    talk.send(SERVER, &server_bytes());
    talk.pass(300 * MS);
    talk.fin(CLIENT);
    talk.fin(SERVER);
    let replayed = replay(&talk.pcap());
    assert_eq!(replayed.loud(), Vec::<&str>::new());
    assert!(!replayed.streams()[0].whole);
}

#[test]
fn what_the_snapshot_length_cut_is_a_hole() {
    let mut talk = call();
    for frame in &mut talk.frames {
        // IP 24, TCP 32, and so much of the payload that the message is cut, and the trailers are gone.
        frame.snaplen = 24 + 32 + 200;
    }
    let replayed = replay(&talk.pcap());
    assert!(replayed.error.is_none());
    assert_eq!(replayed.counts.cut_packets, 1);
    assert_eq!(replayed.counts.cut_bytes, server_bytes().len() as u64 - 200);
    assert_eq!(replayed.counts.lost_bytes, 0);
    assert_eq!(replayed.loud(), Vec::<&str>::new());
    assert_ne!(replayed.outcomes(), [Outcome::Ok]);
    assert_eq!(replayed.told()[..5], FRAMES_OF_A_CALL[..5]);
}

#[test]
fn ports_that_are_used_again_make_a_new_connection() {
    let mut talk = call();
    talk.sequence = [5_000, 9_000];
    talk.pass(MS);
    add_call(&mut talk);
    // One that is not closed, and one that begins although the one before did not end.
    talk.sequence = [50_000, 90_000];
    talk.handshake();
    talk.send(CLIENT, &client_bytes());
    talk.sequence = [500_000, 900_000];
    talk.pass(MS);
    add_call(&mut talk);
    let replayed = replay(&talk.pcap());
    assert_eq!(replayed.protocols(), [Protocol::Http2; 4]);
    let mut outcomes = replayed.outcomes();
    outcomes.sort_unstable();
    assert_eq!(outcomes[..3], [Outcome::Ok; 3]);
    assert_eq!(outcomes.len(), 4);
}

#[test]
fn a_doubled_syn_is_the_same_connection() {
    let mut talk = call();
    let mut frames = Vec::new();
    for packet in &talk.frames {
        // As a capture on all interfaces sees it.
        frames.push(packet.clone());
        frames.push(packet.clone());
    }
    talk.frames = frames;
    assert_whole_call(&replay(&talk.pcap()), "doubled");
}

#[test]
fn resets_say_who_broke_the_connection() {
    for (side, want) in [
        (CLIENT, ConnectionEnd::LocalReset),
        (SERVER, ConnectionEnd::PeerReset),
    ] {
        let mut talk = Talk::new();
        talk.handshake();
        talk.send(CLIENT, &client_bytes());
        talk.send(SERVER, &server_bytes()[..100]);
        talk.reset(side);
        // What was on its way makes no new connection.
        talk.send(1 - side, b"late");
        let replayed = replay(&talk.pcap());
        assert_eq!(replayed.ends(), [want]);
        assert_eq!(replayed.outcomes(), [Outcome::ConnectionLost]);
        assert_eq!(replayed.protocols(), [Protocol::Http2]);
    }
}

#[test]
fn one_port_can_be_picked() {
    let mut talk = call();
    let mut other = Talk::between("10.0.0.1:40001", "10.0.0.2:9000");
    add_call(&mut other);
    talk.frames.extend(other.frames);
    let file = talk.pcap();
    let mut reassembly = Reassembly::new(Some(9_000));
    let mut capture = Capture::open(file.as_slice()).unwrap();
    while let Some(packet) = capture.packet().unwrap() {
        reassembly.packet(&packet, &mut |_| {});
    }
    assert_eq!(reassembly.counts().connections, 1);
}

#[test]
fn what_waits_for_a_lost_segment_is_bounded() {
    let mut talk = Talk::new();
    talk.handshake();
    talk.send(CLIENT, &client_bytes());
    talk.lose(CLIENT, 1);
    // Nobody acknowledges anything, and nothing is ever sent again.
    let chunk = message(1, 60_000, false);
    let sent = 4 * h2trace_core::limits::CAPTURE_WAITING;
    let mut file = talk.pcap();
    let mut reassembly = Reassembly::new(None);
    let mut most = 0;
    let mut n = 0;
    while n < sent {
        let mut one = Talk::new();
        one.sequence = talk.sequence;
        one.send(CLIENT, &chunk);
        file.extend_from_slice(&one.pcap()[24..]);
        talk.sequence = one.sequence;
        n += chunk.len();
    }
    let mut capture = Capture::open(file.as_slice()).unwrap();
    while let Some(packet) = capture.packet().unwrap() {
        reassembly.packet(&packet, &mut |_| {});
        most = most.max(reassembly.waiting_bytes());
    }
    assert!(most > h2trace_core::limits::CAPTURE_WAITING / 2);
    assert!(most <= h2trace_core::limits::CAPTURE_WAITING);
    assert_eq!(reassembly.counts().limit_waiting, 1);
}

#[test]
fn a_stream_that_begins_while_the_other_direction_is_lost_accuses_nobody() {
    // The preface's beginning and the server's second segment are missing: the server's frames cannot be
    // found again, and the client's only at the end.
    let replayed = segmented(10, |data| {
        data.remove(0);
        data.remove(client_bytes().len().div_ceil(10));
    });
    assert_eq!(replayed.loud(), Vec::<&str>::new());
    assert!(!replayed.streams()[0].whole);
}

/// The packets of one conversation as it is captured at several places, a few microseconds apart.
fn beside(copies: &[&Talk]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (nth, copy) in copies.iter().enumerate() {
        for mut frame in copy.frames.iter().cloned() {
            frame.at_ns += 200 * nth as u64;
            frames.push(frame);
        }
    }
    frames.sort_by_key(|frame| frame.at_ns);
    pcap(101, &frames)
}

fn call_between(client: &str, server: &str, stamp: u32) -> Talk {
    let mut talk = Talk::between(client, server);
    talk.stamp = stamp;
    talk.handshake();
    talk.send(CLIENT, &client_bytes());
    talk.pass(MS);
    talk.send(SERVER, &server_bytes());
    talk.pass(MS);
    talk.fin(CLIENT);
    talk.fin(SERVER);
    talk
}

#[test]
fn packets_captured_before_and_after_a_translation_count_once() {
    let of = |client, server| call_between(client, server, 3_000_000_000);
    let service = of("10.0.0.1:40000", "10.96.0.10:80");
    // The pod's address; the node's in front of it too.
    let pod = of("10.0.0.1:40000", "10.244.0.7:8080");
    let node = of("10.0.0.9:61234", "10.244.0.7:8080");
    for copies in [
        &[&service, &pod][..],
        &[&service, &node],
        &[&service, &pod, &node],
        &[&node, &node, &service],
    ] {
        let replayed = replay(&beside(copies));
        assert_whole_call(&replayed, "translated");
        assert_eq!(replayed.counts.connections, 1);
    }
}

#[test]
fn a_translated_connection_without_its_beginning_counts_once() {
    let late = |server: &str| {
        let mut talk = Talk::between("10.0.0.1:40000", server);
        talk.stamp = 3_000_000_000;
        talk.send(CLIENT, &client_bytes());
        talk.pass(MS);
        talk.send(SERVER, &server_bytes());
        talk
    };
    let replayed = replay(&beside(&[&late("10.96.0.10:80"), &late("10.244.0.7:8080")]));
    assert_eq!(replayed.counts.connections, 1);
    assert_eq!(replayed.streams().len(), 1);
}

#[test]
fn two_connections_with_one_sequence_number_are_two() {
    // Made-up captures begin all of theirs alike: another client, or the server of a proxy.
    let one = call_between("10.0.0.1:40000", "10.0.0.2:80", 1);
    for other in [
        call_between("10.0.0.3:40000", "10.0.0.2:80", 1),
        call_between("10.0.0.2:40001", "10.0.0.4:8080", 1),
        call_between("10.0.0.1:40001", "10.0.0.2:80", 1),
    ] {
        let replayed = replay(&beside(&[&one, &other]));
        assert_eq!(replayed.counts.connections, 2);
        assert_eq!(replayed.streams().len(), 2);
    }
}

#[test]
fn ports_that_are_used_again_behind_a_translation_are_another_connection() {
    let of = |server, stamp| call_between("10.0.0.1:40000", server, stamp);
    let first = beside(&[
        &of("10.96.0.10:80", 3_000_000_000),
        &of("10.244.0.7:8080", 3_000_000_000),
    ]);
    // Now straight to the pod.
    let mut again = of("10.244.0.7:8080", 3_100_000_000);
    for frame in &mut again.frames {
        frame.at_ns += 20_000 * MS;
    }
    let mut file = first;
    file.extend_from_slice(&pcap(101, &again.frames)[24..]);
    let replayed = replay(&file);
    assert_eq!(replayed.counts.connections, 2);
    assert_eq!(replayed.streams().len(), 2);
}
