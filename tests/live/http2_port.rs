//! A port that is told to speak HTTP/2: an old connection is decoded from its first whole frame on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use tracer_ebpf::http2::{PREFACE, frame_type};
use tracer_tests::skip::Privileges;
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, require};

use crate::SETTLE;

/// A frame header and its payload.
fn frame(frame_type: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("a short payload");
    let mut frame = vec![0, 0, len, frame_type, 0, 0, 0, 0, stream];
    frame.extend(payload);
    frame
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).expect("cannot write");
    let mut got = vec![0; bytes.len()];
    to.read_exact(&mut got).expect("cannot read");
}

#[test]
fn an_old_connection_is_decoded_from_one_frame_where_its_port_is_told() {
    require!(Privileges);
    for is_told in [false, true] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("cannot listen");
        let address = listener.local_addr().expect("no address");
        let mut client = TcpStream::connect(address).expect("cannot connect");
        let (mut server, _) = listener.accept().expect("cannot accept");
        let settings = frame(frame_type::SETTINGS, 0, &[]);
        pass(
            &mut client,
            &mut server,
            &[&PREFACE[..], &settings].concat(),
        );
        pass(&mut server, &mut client, &settings);
        // This process is both ends.
        let pids = [std::process::id()];
        let tracer = if is_told {
            Tracer::told_of_http2(&pids, address.port())
        } else {
            Tracer::start(&pids)
        };
        // All that goes by: the server resets a stream with CANCEL.
        let reset = frame(frame_type::RST_STREAM, 1, &[0, 0, 0, 8]);
        pass(&mut server, &mut client, &reset);
        drop((client, server));
        let seen = |trace: &Trace| trace.streams.len() + undecided(trace);
        eventually(SETTLE, || seen(&Trace::read(&tracer.process.lines())) >= 2);
        let trace = tracer.finish();
        let resets = trace.streams.iter().filter(|stream| {
            let resets = stream.resets();
            resets
                .iter()
                .any(|reset| reset.sender == "server" && reset.name == "CANCEL")
        });
        // Each end of the connection is one that is told of.
        let told = (resets.count(), undecided(&trace));
        assert_eq!(told, if is_told { (2, 0) } else { (0, 2) });
    }
}

/// Connections of which it is told that it stayed unknown what they speak.
fn undecided(trace: &Trace) -> usize {
    let lines = trace.connections.iter();
    let ended = lines.filter(|line| line["event"] == "ended");
    ended.filter(|line| line["undecided"].is_object()).count()
}
