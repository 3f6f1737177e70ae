//! TLS conversations as their two ends make them, and what a session makes of them.

use crate::endpoint::Endpoint;
use crate::tls::keys::{Keys, Randoms};
use crate::tls::record::content;
use crate::tls::session::Epoch;
use crate::tls::{Context, KeyLog, KeyLogReader, Plain, Scratch, Session, Suite, TlsInfo, Version};

const CLIENT_RANDOM: [u8; 32] = [0xc1; 32];
const SERVER_RANDOM: [u8; 32] = [0x5e; 32];

/// The secrets that a key log may have, one byte repeated each.
pub(super) const LABELS: [(&str, u8); 5] = [
    ("CLIENT_EARLY_TRAFFIC_SECRET", 1),
    ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 2),
    ("SERVER_HANDSHAKE_TRAFFIC_SECRET", 3),
    ("CLIENT_TRAFFIC_SECRET_0", 4),
    ("SERVER_TRAFFIC_SECRET_0", 5),
];

/// A key log without those secrets.
pub(super) fn key_log_without(suite: u16, version: Version, left_out: &[&str]) -> KeyLog {
    let (mut log, mut reader) = (KeyLog::default(), KeyLogReader::default());
    let random = "c1".repeat(32);
    let len = match suite {
        0x1302 => 48,
        _ => 32,
    };
    let mut line = |label: &str, byte: u8, len: usize| {
        if !left_out.contains(&label) {
            let line = format!("{label} {random} {}\n", format!("{byte:02x}").repeat(len));
            reader.push(line.as_bytes(), &mut log);
        }
    };
    if version == Version::TLS1_3 {
        for (label, byte) in LABELS {
            line(label, byte, len);
        }
    } else {
        line("CLIENT_RANDOM", 9, 48);
    }
    log
}

/// A message with its header.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, a, b, c][..], body].concat()
}

fn vector(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&len, bytes].concat()
}

fn extension(number: u16, content: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &vector(content)].concat()
}

/// ALPN with one name.
fn alpn(name: &[u8]) -> Vec<u8> {
    let len = u8::try_from(name.len()).unwrap();
    extension(16, &vector(&[&[len], name].concat()))
}

/// A record in clear.
pub(super) fn clear(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &vector(content)].concat()
}

/// One end of a conversation.
struct End {
    keys: Option<Keys>,
    number: u64,
}

/// A conversation under way.
pub(super) struct Talk {
    pub(super) suite: u16,
    pub(super) version: Version,
    log: KeyLog,
    ends: [End; 2],
    /// What was sent, record by record.
    pub(super) sent: Vec<(Endpoint, Vec<u8>)>,
    /// Zeros behind the content of TLS 1.3's records.
    pub(super) padding: usize,
}

impl Talk {
    pub(super) fn new(version: Version, suite: u16) -> Talk {
        let end = || End {
            keys: None,
            number: 0,
        };
        Talk {
            suite,
            version,
            log: key_log_without(suite, version, &[]),
            ends: [end(), end()],
            sent: Vec::new(),
            padding: 0,
        }
    }

    /// A whole handshake.
    pub(super) fn begun(version: Version, suite: u16) -> Talk {
        let mut talk = Talk::new(version, suite);
        talk.client_hello(false);
        talk.server_hello();
        if version == Version::TLS1_3 {
            talk.change_cipher_spec(Endpoint::Server);
            talk.server_flight(false);
            talk.change_cipher_spec(Endpoint::Client);
            talk.finished(Endpoint::Client);
        } else {
            talk.send(
                Endpoint::Server,
                clear(content::HANDSHAKE, &message(11, &[7; 900])),
            );
            talk.send(
                Endpoint::Client,
                clear(content::HANDSHAKE, &message(16, &[7; 32])),
            );
            for side in [Endpoint::Client, Endpoint::Server] {
                talk.change_cipher_spec(side);
                talk.enter(side, Epoch::Application);
                talk.handshake(side, &message(20, &[7; 12]));
            }
        }
        talk
    }

    pub(super) fn send(&mut self, side: Endpoint, record: Vec<u8>) {
        self.sent.push((side, record));
    }

    pub(super) fn client_hello(&mut self, early: bool) {
        let name = b"shop.example";
        let host = [&[0][..], &vector(name)].concat();
        let mut extensions = [extension(0, &vector(&host)), alpn(b"h2")].concat();
        if early {
            extensions.extend(extension(42, &[]));
        }
        let body = [
            &[3, 3][..],
            &CLIENT_RANDOM,
            &[0],
            &vector(&[0x13, 1]),
            &[1, 0],
            &vector(&extensions),
        ];
        let hello = message(1, &body.concat());
        self.send(Endpoint::Client, clear(content::HANDSHAKE, &hello));
    }

    fn hello(&mut self, random: &[u8; 32]) {
        let extensions = if self.version == Version::TLS1_3 {
            extension(43, &[3, 4])
        } else {
            alpn(b"h2")
        };
        let body = [
            &[3, 3][..],
            random,
            &[0],
            &self.suite.to_be_bytes(),
            &[0],
            &vector(&extensions),
        ];
        let hello = message(2, &body.concat());
        self.send(Endpoint::Server, clear(content::HANDSHAKE, &hello));
    }

    pub(super) fn server_hello(&mut self) {
        self.hello(&SERVER_RANDOM);
    }

    pub(super) fn retry(&mut self) {
        use ring::digest;
        let random = digest::digest(&digest::SHA256, b"HelloRetryRequest");
        self.hello(random.as_ref().try_into().unwrap());
    }

    pub(super) fn change_cipher_spec(&mut self, side: Endpoint) {
        self.send(side, clear(content::CHANGE_CIPHER_SPEC, &[1]));
    }

    pub(super) fn enter(&mut self, side: Endpoint, epoch: Epoch) {
        let suite = Suite(self.suite).protection().unwrap();
        let secrets = self.log.secrets(&CLIENT_RANDOM).unwrap();
        let randoms = Randoms {
            client: CLIENT_RANDOM,
            server: SERVER_RANDOM,
        };
        let keys = if self.version == Version::TLS1_3 {
            Keys::tls13(suite, secrets, side, epoch)
        } else {
            Keys::tls12(suite, secrets, side, &randoms)
        };
        self.ends[side.index()] = End { keys, number: 0 };
    }

    /// The key that a side seals with now.
    pub(super) fn key(&self, side: Endpoint) -> Vec<u8> {
        let keys = self.ends[side.index()].keys.as_ref();
        keys.unwrap().traffic_key()
    }

    /// Seals and sends.
    fn seal(&mut self, side: Endpoint, kind: u8, said: &[u8]) {
        let tls13 = self.version == Version::TLS1_3;
        let end = &mut self.ends[side.index()];
        let keys = end.keys.as_ref().unwrap();
        let record = if tls13 {
            let inner = [said, &[kind], &vec![0; self.padding]].concat();
            keys.seal(end.number, content::APPLICATION_DATA, &inner)
        } else {
            // As OpenSSL and rustls do it.
            let explicit = match side {
                Endpoint::Client => Keys::BEGINNING + end.number,
                Endpoint::Server => Keys::BEGINNING ^ end.number,
            };
            keys.seal_as((end.number, explicit), kind, said)
        };
        end.number += 1;
        self.send(side, record);
    }

    pub(super) fn handshake(&mut self, side: Endpoint, messages: &[u8]) {
        self.seal(side, content::HANDSHAKE, messages);
    }

    /// From EncryptedExtensions to Finished, in records that cut its messages.
    pub(super) fn server_flight(&mut self, takes_early: bool) {
        let mut extensions = alpn(b"h2");
        if takes_early {
            extensions.extend(extension(42, &[]));
        }
        let flight = [
            message(8, &vector(&extensions)),
            message(11, &[7; 900]),
            message(15, &[7; 70]),
            message(20, &[7; 32]),
        ]
        .concat();
        self.enter(Endpoint::Server, Epoch::Handshake);
        for part in flight.chunks(400) {
            self.handshake(Endpoint::Server, part);
        }
        self.enter(Endpoint::Server, Epoch::Application);
    }

    pub(super) fn finished(&mut self, side: Endpoint) {
        self.enter(side, Epoch::Handshake);
        self.handshake(side, &message(20, &[7; 32]));
        self.enter(side, Epoch::Application);
    }

    pub(super) fn say(&mut self, side: Endpoint, text: &[u8]) {
        self.seal(side, content::APPLICATION_DATA, text);
    }

    pub(super) fn key_update(&mut self, side: Endpoint) {
        self.handshake(side, &message(24, &[0]));
        let end = &mut self.ends[side.index()];
        end.keys = end.keys.as_ref().and_then(Keys::next);
        end.number = 0;
    }
}

/// What a session made of a conversation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// By side: offset and text of each stretch without a hole.
    pub(super) client: Vec<(u64, Vec<u8>)>,
    pub(super) server: Vec<(u64, Vec<u8>)>,
    pub(super) info: TlsInfo,
    pub(super) ends: (u64, u64),
}

impl Heard {
    pub(super) fn take(&mut self, plain: Plain<'_>) {
        let said = match plain.sender {
            Endpoint::Client => &mut self.client,
            Endpoint::Server => &mut self.server,
        };
        match said.last_mut() {
            Some((offset, text)) if *offset + text.len() as u64 == plain.offset => {
                text.extend_from_slice(plain.bytes);
            }
            _ => said.push((plain.offset, plain.bytes.to_vec())),
        }
    }

    /// A side's text as a whole, when none is missing.
    pub(super) fn text(&self, side: Endpoint) -> &[u8] {
        let said = match side {
            Endpoint::Client => &self.client,
            Endpoint::Server => &self.server,
        };
        match said.as_slice() {
            [] => b"",
            [(0, text)] => text,
            more => panic!("not whole: {more:?}"),
        }
    }
}

/// Bytes of one side, or (None) so many that were not captured.
pub(super) type Piece<'a> = (Endpoint, Option<&'a [u8]>, usize);

/// What a session hears of pieces.
pub(super) fn heard<'a>(log: &KeyLog, pieces: impl IntoIterator<Item = Piece<'a>>) -> Heard {
    let (mut session, mut scratch) = (Session::default(), Scratch::default());
    let mut heard = Heard::default();
    let mut offsets = [0; 2];
    {
        let mut context = Context {
            keys: log,
            scratch: &mut scratch,
            out: &mut |plain| heard.take(plain),
        };
        for (n, (side, bytes, len)) in pieces.into_iter().enumerate() {
            let offset = &mut offsets[side.index()];
            if let Some(bytes) = bytes {
                session.take(side, n as u64, (*offset, bytes, 0), &mut context);
            }
            *offset += len as u64;
        }
        session.finish(&mut context);
    }
    heard.info = session.info();
    heard.ends = (session.end(Endpoint::Client), session.end(Endpoint::Server));
    heard
}

/// What a session hears of whole records.
pub(super) fn heard_whole(log: &KeyLog, sent: &[(Endpoint, Vec<u8>)]) -> Heard {
    let piece = |(side, record): &'_ (Endpoint, Vec<u8>)| (*side, record.clone());
    let sent: Vec<_> = sent.iter().map(piece).collect();
    heard(
        log,
        sent.iter()
            .map(|(side, record)| (*side, Some(record.as_slice()), record.len())),
    )
}
