//! A relay between a TLS client and its server, which hands on what passes as ciphertext.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use h2trace_core::connection::Endpoint;

/// Bytes that one side sent on a connection; the connections are counted from 0.
pub(crate) type Passed = (u64, Endpoint, Vec<u8>);

/// Listens on a port of its own for as long as the test lasts.
pub(crate) struct Relay {
    pub(crate) port: u16,
    pub(crate) passed: Receiver<Passed>,
}

impl Relay {
    pub(crate) fn to(server: u16) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (sender, passed) = channel();
        std::thread::spawn(move || {
            for (id, client) in listener.incoming().enumerate() {
                let Ok(client) = client else { return };
                let server = TcpStream::connect(("127.0.0.1", server)).expect("the server listens");
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("a TCP socket");
                }
                let both = (clone(&client), clone(&server));
                pass(id as u64, Endpoint::Client, (client, server), &sender);
                pass(id as u64, Endpoint::Server, (both.1, both.0), &sender);
            }
        });
        Relay { port, passed }
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a second handle of a socket")
}

fn pass(
    id: u64,
    sender: Endpoint,
    (mut from, mut to): (TcpStream, TcpStream),
    passed: &Sender<Passed>,
) {
    let passed = passed.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 16_384];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            // The test may be over.
            passed.send((id, sender, bytes[..n].to_vec())).ok();
            if to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Write).ok();
    });
}
