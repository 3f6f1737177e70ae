//! What rules, joins and the diagnosis remember of connections and streams that have ended has a share of the memory
//! limit: the worst that their bounds allow stays within it.

use h2trace::session::memory::REMEMBERED;
use h2trace_core::event::{End, EndCause};
use tracer_tests::heap::live;
use tracer_tests::scaled;

use super::*;

/// More than any of the bounds on methods and streams, and in full size than those on connections and processes.
const CONNECTIONS: [u64; 2] = [5_000, 70_000];

/// A gRPC request whose path and agent are as long as is kept, and are nobody else's.
fn request(n: u64) -> Vec<u8> {
    let name = |length: usize| format!("/{n:0>length$}/Method").into_bytes();
    let mut block = vec![0x83, 0x86];
    for (field, value) in [
        (":path", name(240)),
        ("content-type", b"application/grpc".to_vec()),
        ("user-agent", name(240)),
        ("x-request-id", name(100)),
    ] {
        let mut field = literal(field, &value);
        // Nothing is entered into the table.
        field[0] = 0;
        block.extend(field);
    }
    block
}

/// A call that fails, the answer to it, and everything that is remembered of how.
fn call(attack: &mut Attack, client: &mut HostileClient, id: u32, n: u64) {
    client.send(attack, &frame(frame_type::HEADERS, 4, id, &request(n)));
    client.send(attack, &frame(frame_type::DATA, 1, id, &[0, 0, 0, 0, 0]));
    let headers = [&[0x88], &literal("content-type", b"application/grpc")[..]].concat();
    client.answer(attack, &frame(frame_type::HEADERS, 4, id, &headers));
    let end = match n % 3 {
        0 => frame(frame_type::RST_STREAM, 0, id, &[0, 0, 0, 2]),
        1 => frame(frame_type::DATA, 1, id, &[0, 0, 0, 0, 0]),
        _ => frame(frame_type::HEADERS, 5, id, &literal("grpc-status", b"4")),
    };
    client.answer(attack, &end);
}

#[test]
fn what_has_ended_is_remembered_within_its_share() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let before = live();
    let mut attack = Attack::within(budget());
    attack.said.diagnosis = Some(Diagnosis::default());
    let (mut most, mut at) = (0, 0);
    let [fewer, all] = CONNECTIONS;
    let connections = scaled(fewer, all);
    for socket in 0..connections {
        // Half of the calls are those of one process with very many methods.
        attack.pid = if socket % 2 == 0 {
            7
        } else {
            socket as u32 + 10
        };
        let mut client = attack.connect(socket);
        call(&mut attack, &mut client, 1, 2 * socket);
        call(&mut attack, &mut client, 3, 2 * socket + 1);
        let enough = [0, 0, 0, 3, 0, 0, 0, 11];
        client.answer(&mut attack, &frame(frame_type::GOAWAY, 0, 0, &enough));
        let end = What::End(End {
            cause: EndCause::Closed,
            tx_offset: None,
            rx_offset: None,
        });
        attack.event(socket, end);
        if socket % 1_000 == 0 {
            // Long enough for all that waits for a while.
            attack.at += 20_000_000_000;
            let at_ns = Timestamp(attack.at);
            attack.pipeline.advance(at_ns, &mut attack.said);
            if live().saturating_sub(before) > most {
                (most, at) = (live().saturating_sub(before), socket);
            }
        }
    }
    println!(
        "{} KiB at most, after {at} connections; {} of {} streams told",
        most / 1024,
        attack.said.streams,
        2 * connections
    );
    assert!(attack.said.streams >= connections);
    assert!(most < REMEMBERED, "{most} of {REMEMBERED}");
}
