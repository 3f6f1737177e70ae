//! TLS in captures: with a key log, a connection is told as its twin in clear text is.

use std::sync::{Arc, Mutex};

use h2trace_core::tls::{KeySource, TlsInfo, Version, Why};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, Connection, KeyLog, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};

use h2trace_core::event::What;

use super::*;
use crate::capture::build::block;
use crate::certificate;

/// The lines of a key log.
#[derive(Debug, Default)]
struct Log(Mutex<String>);

impl KeyLog for Log {
    fn log(&self, label: &str, random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let line = format!("{label} {} {}\n", hex(random), hex(secret));
        self.0.lock().unwrap().push_str(&line);
    }
}

/// A client and a server, and what they sent each other.
pub(super) struct Pair {
    ends: [Connection; 2],
    pub(super) sent: Vec<(usize, Vec<u8>)>,
    log: Arc<Log>,
}

impl Pair {
    /// Connected, with one suite or any.
    pub(super) fn new(suite: Option<SupportedCipherSuite>) -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let roots = certificate::made_in(folder.path());
        let mut provider = CryptoProvider::clone(&certificate::provider());
        if let Some(suite) = suite {
            provider.cipher_suites = vec![suite];
        }
        let provider = Arc::new(provider);
        let log = Arc::new(Log::default());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let client = client.with_safe_default_protocol_versions().unwrap();
        let mut client = client.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        client.key_log = Arc::clone(&log) as Arc<dyn KeyLog>;
        let path = |name| folder.path().join(name);
        let chain = CertificateDer::from_pem_file(path(certificate::CERTIFICATE)).unwrap();
        let key = PrivateKeyDer::from_pem_file(path(certificate::KEY)).unwrap();
        let server = ServerConfig::builder_with_provider(provider);
        let server = server.with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth();
        let mut server = server.with_single_cert(vec![chain], key).unwrap();
        server.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::new(client), name).unwrap();
        let server = ServerConnection::new(Arc::new(server)).unwrap();
        let mut pair = Pair {
            ends: [client.into(), server.into()],
            sent: Vec::new(),
            log,
        };
        while pair.ends.iter().any(|end| end.is_handshaking()) {
            pair.flow(CLIENT);
            pair.flow(SERVER);
        }
        pair.flow(SERVER);
        pair
    }

    /// What an end has to send goes to the other one.
    fn flow(&mut self, side: usize) {
        let mut bytes = Vec::new();
        while self.ends[side].wants_write() {
            self.ends[side].write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        let peer = &mut self.ends[1 - side];
        while !rest.is_empty() {
            peer.read_tls(&mut rest).unwrap();
            let state = peer.process_new_packets().unwrap();
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            std::io::Read::read_exact(&mut peer.reader(), &mut plain).unwrap();
        }
        if !bytes.is_empty() {
            self.sent.push((side, bytes));
        }
    }

    pub(super) fn say(&mut self, side: usize, text: &[u8]) {
        std::io::Write::write_all(&mut self.ends[side].writer(), text).unwrap();
        self.flow(side);
    }

    pub(super) fn keys(&self) -> String {
        self.log.0.lock().unwrap().clone()
    }

    /// The call of the other tests.
    pub(super) fn call(suite: Option<SupportedCipherSuite>) -> Pair {
        let mut pair = Pair::new(suite);
        pair.say(CLIENT, &client_bytes());
        pair.say(SERVER, &server_bytes());
        pair
    }

    /// As a capture has it, in segments of that length.
    pub(super) fn captured(&self, len: usize) -> Talk {
        let mut talk = Talk::new();
        talk.handshake();
        for (side, bytes) in &self.sent {
            for part in bytes.chunks(len) {
                talk.send(*side, part);
            }
        }
        talk.fin(CLIENT);
        talk.fin(SERVER);
        talk.ack(CLIENT);
        talk
    }
}

impl ReplayedFile {
    /// What is told of the last connection's TLS.
    fn tls(&self) -> TlsInfo {
        let infos = self.out.iter().rev().find_map(|output| match output {
            Output::Connection(info) | Output::ConnectionEnded { info, .. } => Some(info),
            _ => None,
        });
        infos.unwrap().tls.as_deref().unwrap().clone()
    }
}

/// Those that a certificate with an elliptic curve serves.
fn suites() -> Vec<SupportedCipherSuite> {
    let mut suites = certificate::provider().cipher_suites.clone();
    suites.retain(|suite| !format!("{:?}", suite.suite()).contains("_RSA_"));
    suites
}

#[test]
fn every_suite_is_told_as_clear_text_is() {
    assert_eq!(suites().len(), 6, "three of each version");
    for suite in suites() {
        let pair = Pair::call(Some(suite));
        for len in [1, 7, 100, 1_400, 100_000] {
            let replayed = replay_opened(&pair.captured(len).pcap(), &pair.keys());
            assert_whole_call(&replayed, &format!("{suite:?}, {len}"));
            let told = replayed.tls();
            assert_eq!(told.suite.unwrap().0, u16::from(suite.suite()));
            assert_eq!(told.sni.as_deref(), Some("localhost"));
            assert_eq!(told.alpn.as_deref(), Some("h2"));
            assert_eq!((told.key, told.why), (KeySource::KeyLog, None));
        }
    }
}

#[test]
fn without_a_key_the_handshake_is_told() {
    for suite in suites() {
        let pair = Pair::call(Some(suite));
        let replayed = replay(&pair.captured(1_400).pcap());
        let tls = Protocol::Other(OtherProtocol::Tls);
        assert_eq!(replayed.protocols(), [tls]);
        assert_eq!(replayed.told(), Vec::<String>::new());
        let told = replayed.tls();
        assert_eq!(told.why, Some(Why::NoKey));
        assert_eq!(told.alpn_offered, ["h2", "http/1.1"]);
        let (version, alpn) = match suite {
            SupportedCipherSuite::Tls12(_) => (Version::TLS1_2, Some("h2")),
            SupportedCipherSuite::Tls13(_) => (Version::TLS1_3, None),
        };
        assert_eq!((told.version, told.alpn.as_deref()), (Some(version), alpn));
    }
}

/// What went by on a connection that stays closed, and its name.
fn closed(talk: &Talk) -> ([u64; 2], bool, Option<[u8; 32]>) {
    let mut reassembly = Reassembly::new(None);
    let (mut sums, mut is_lost, mut name) = ([0; 2], false, None);
    let file = talk.pcap();
    let mut capture = Capture::open(&file[..]).unwrap();
    while let Some(packet) = capture.packet_and_keys(reassembly.keys()).unwrap() {
        reassembly.packet(&packet, &mut |event| match &event.what {
            What::Opaque(direction, opaque) => {
                assert_eq!(opaque.least, opaque.most);
                sums[direction.index()] += opaque.most;
                is_lost |= opaque.is_lost;
            }
            What::Tls(tls) => name = tls.client_random,
            _ => {}
        });
    }
    (sums, is_lost, name)
}

#[test]
fn of_what_stays_closed_it_is_told_how_much_goes_by() {
    for suite in suites() {
        for len in [1, 7, 1_400, 100_000] {
            let mut pair = Pair::new(Some(suite));
            // The handshake's end goes as application data does.
            let before = closed(&pair.captured(1_400));
            pair.say(CLIENT, &[7; 300]);
            pair.say(SERVER, &[7; 40_000]);
            pair.say(CLIENT, &[7; 5]);
            let (sums, is_lost, name) = closed(&pair.captured(len));
            let said = [0, 1].map(|side| sums[side] - before.0[side]);
            assert_eq!(said, [305, 40_000], "{suite:?}, {len}");
            assert!(!is_lost && name.is_some(), "{suite:?}, {len}");
        }
    }
}

#[test]
fn where_the_headers_of_records_are_missing_nothing_more_is_counted() {
    let mut pair = Pair::new(None);
    pair.say(SERVER, &[7; 100]);
    let mut talk = Talk::new();
    talk.handshake();
    for (side, bytes) in &pair.sent {
        talk.send(*side, bytes);
    }
    talk.lose(SERVER, 10);
    talk.ack(CLIENT);
    talk.pass(200 * MS);
    pair.sent.clear();
    pair.say(SERVER, &[7; 100]);
    talk.send(SERVER, &pair.sent[0].1);
    talk.pass(200 * MS);
    talk.send(SERVER, b"more");
    assert!(closed(&talk).1);
}

#[test]
fn keys_that_change_are_followed() {
    let mut pair = Pair::new(Some(suites()[0]));
    for part in client_bytes().chunks(9) {
        pair.ends[CLIENT].refresh_traffic_keys().unwrap();
        pair.say(CLIENT, part);
    }
    for part in server_bytes().chunks(50) {
        pair.ends[SERVER].refresh_traffic_keys().unwrap();
        pair.say(SERVER, part);
    }
    let replayed = replay_opened(&pair.captured(1_400).pcap(), &pair.keys());
    assert_whole_call(&replayed, "key updates");
}

#[test]
fn a_frame_has_the_time_of_its_record_s_last_packet() {
    let pair = Pair::call(Some(suites()[0]));
    let talk = pair.captured(20);
    let last = |side: usize| {
        let port = [40_000_u16, 50_051][side].to_be_bytes();
        let of_side = |frame: &&Frame| frame.bytes[24..26] == port && frame.bytes.len() > 56;
        talk.frames.iter().rfind(of_side).unwrap().at_ns
    };
    let replayed = replay_opened(&talk.pcap(), &pair.keys());
    for frame in replayed.frames() {
        let side = match frame.sender {
            Endpoint::Client => CLIENT,
            Endpoint::Server => SERVER,
        };
        assert_eq!(frame.at, Timestamp(last(side)), "{}", frame.name());
    }
}

#[test]
fn a_capture_may_bring_its_own_secrets() {
    let pair = Pair::call(None);
    let secrets = |kind: u32, text: &str| {
        let len = u32::try_from(text.len()).unwrap();
        let body = [&kind.to_le_bytes()[..], &len.to_le_bytes(), text.as_bytes()];
        block(10, &body.concat(), false)
    };
    let keys = pair.keys();
    let file = |secrets: &[u8]| {
        let mut file = section(false);
        file.extend(interface(101, Some(9), 0));
        file.extend_from_slice(secrets);
        for packet in pair.captured(1_400).frames {
            file.extend(enhanced_packet(0, packet.at_ns, &packet.bytes));
        }
        file
    };
    assert_whole_call(&replay(&file(&secrets(0x544c_534b, &keys))), "TLSK");
    // In several blocks, others among them, and one longer than a packet may be.
    let (first, second) = keys.split_at(keys.find('\n').unwrap() + 1);
    let long = format!("{}{second}", "# nothing\n".repeat(200_000));
    let several = [
        secrets(0x5747_4b4c, "WireGuard's"),
        secrets(0x544c_534b, first),
        secrets(0x544c_534b, &long),
    ];
    assert_whole_call(&replay(&file(&several.concat())), "several");
    // One that contradicts itself.
    let mut wrong = secrets(0x544c_534b, &keys);
    wrong[12] = 0xff;
    wrong[13] = 0xff;
    let refused = replay(&file(&wrong)).error.unwrap().to_string();
    assert!(refused.contains("secrets are longer"), "{refused}");
}

#[test]
fn a_proxy_header_may_stand_before_the_hello() {
    let mut pair = Pair::call(None);
    let header = b"PROXY TCP4 192.0.2.1 10.0.0.2 56324 443\r\n";
    pair.sent[0].1.splice(0..0, header.iter().copied());
    for len in [10, 1_400] {
        let replayed = replay_opened(&pair.captured(len).pcap(), &pair.keys());
        assert_whole_call(&replayed, "PROXY");
    }
}

#[test]
fn a_hello_without_a_syn_is_a_beginning() {
    let pair = Pair::call(None);
    let mut talk = pair.captured(1_400);
    talk.frames.drain(..3);
    assert_whole_call(&replay_opened(&talk.pcap(), &pair.keys()), "no SYN");
    // Who is the client must not be guessed by the port.
    let mut turned = Talk::between("10.0.0.1:100", "10.0.0.2:50051");
    for (side, bytes) in &pair.sent {
        turned.send(*side, bytes);
    }
    turned.fin(CLIENT);
    turned.fin(SERVER);
    turned.ack(CLIENT);
    assert_whole_call(&replay_opened(&turned.pcap(), &pair.keys()), "turned");
    let known = replayed(&talk.pcap(), &pair.keys(), &[50_051]);
    assert_whole_call(&known, "known to speak HTTP/2");
}

#[test]
fn what_is_in_tls_may_be_something_else() {
    let mut pair = Pair::new(None);
    pair.say(CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    pair.say(SERVER, b"HTTP/1.1 200 OK\r\n\r\n");
    let replayed = replay_opened(&pair.captured(1_400).pcap(), &pair.keys());
    let http1 = Protocol::Other(OtherProtocol::Http1);
    assert_eq!(replayed.protocols(), [http1]);
    assert_eq!(replayed.tls().key, KeySource::KeyLog);
    // Nothing at all.
    let pair = Pair::new(None);
    let replayed = replay_opened(&pair.captured(1_400).pcap(), &pair.keys());
    let tls = Protocol::Other(OtherProtocol::Tls);
    assert_eq!(replayed.protocols(), [tls]);
    assert_eq!(replayed.tls().key, KeySource::KeyLog);
}

#[test]
fn lost_segments_cost_what_was_in_them() {
    let mut pair = Pair::new(None);
    pair.say(CLIENT, &client_bytes());
    pair.say(SERVER, &[settings(), response(1)].concat());
    let begun = pair.sent.len();
    for _ in 0..10 {
        pair.say(SERVER, &message(1, 900, false));
    }
    pair.say(SERVER, &trailers(1));
    let keys = pair.keys();
    for lost in begun..begun + 10 {
        let mut talk = Talk::new();
        talk.handshake();
        for (n, (side, bytes)) in pair.sent.iter().enumerate() {
            if n == lost {
                // From the middle of one record to the middle of the next would be lost with this and a part of that.
                talk.send(*side, &bytes[..20]);
                talk.lose(*side, bytes.len() - 20);
                talk.ack(1 - side);
                talk.pass(200 * MS);
            } else {
                talk.send(*side, bytes);
            }
        }
        talk.fin(CLIENT);
        talk.fin(SERVER);
        talk.ack(CLIENT);
        let replayed = replay_opened(&talk.pcap(), &keys);
        assert_eq!(replayed.protocols(), [Protocol::Http2], "{lost}");
        let told = replayed.told();
        assert_eq!(told.last().unwrap(), "s HEADERS", "{lost}: {told:?}");
        assert!(told.len() >= 13, "{lost}: {told:?}");
        assert_eq!(replayed.tls().why, Some(Why::LostBytes), "{lost}");
        assert_eq!(replayed.loud(), Vec::<&str>::new(), "{lost}");
    }
}
