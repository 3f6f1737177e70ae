//! Key logs, and keys by the values of the RFCs. Sealing, for the tests of everything above.

use super::*;
use crate::tls::suite::Suite;
use crate::tls::tests::rfc8448;

impl Keys {
    /// Where nonces begin. Its low bits are set, so that to add a number and to mix one in differ.
    pub(in crate::tls) const BEGINNING: u64 = 0x5a5a_0000_0016;

    /// As the memory of its owner has it.
    pub(in crate::tls) fn traffic_key(&self) -> Vec<u8> {
        self.opener().key.clone()
    }

    /// Seals a record as its sender does, with a number that nobody counts with: only what the record says is to be used.
    pub(in crate::tls) fn seal(&self, number: u64, kind: u8, content: &[u8]) -> Vec<u8> {
        self.seal_as((number, number ^ Keys::BEGINNING), kind, content)
    }

    /// The same with what the record says of its nonce.
    pub(in crate::tls) fn seal_as(
        &self,
        (number, explicit): (u64, u64),
        kind: u8,
        content: &[u8],
    ) -> Vec<u8> {
        let len = self.explicit() + content.len() + TAG;
        let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
        let header = [kind, 3, 3, high, low];
        let explicit = explicit.to_be_bytes();
        let explicit = &explicit[..self.explicit()];
        let nonce = self.nonce(number, explicit).unwrap();
        let said = self.said(number, header, content.len()).unwrap();
        let mut sealed = content.to_vec();
        self.opener().seal(nonce, &said, &mut sealed);
        [&header[..], explicit, &sealed].concat()
    }
}

fn read(text: &[u8]) -> (KeyLog, Vec<u64>, u64) {
    let (mut log, mut reader) = (KeyLog::default(), KeyLogReader::default());
    reader.push(text, &mut log);
    reader.finish(&mut log);
    let (lines, n) = reader.bad();
    (log, lines.to_vec(), n)
}

const RANDOM: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

fn log_of(lines: &[(&str, usize)]) -> String {
    let line = |(label, len): &(&str, usize)| format!("{label} {RANDOM} {}\n", "a5".repeat(*len));
    lines.iter().map(line).collect()
}

#[test]
fn keys_are_those_of_rfc_8448() {
    let log = rfc8448::key_log();
    let random = rfc8448::bytes(rfc8448::CLIENT_RANDOM).try_into().unwrap();
    let secrets = log.secrets(&random).unwrap();
    let suite = Suite(0x1301).protection().unwrap();
    for (sender, epoch, key, iv) in [
        (
            Endpoint::Server,
            Epoch::Handshake,
            "3fce516009c21727d0f2e4e86ee403bc",
            "5d313eb2671276ee13000b30",
        ),
        (
            Endpoint::Client,
            Epoch::Handshake,
            "dbfaa693d1762c5b666af5d950258d01",
            "5bd3c71b836e0b76bb73265f",
        ),
        (
            Endpoint::Server,
            Epoch::Application,
            "9f02283b6c9c07efc26bb9f2ac92e356",
            "cf782b88dd83549aadf1e984",
        ),
        (
            Endpoint::Client,
            Epoch::Application,
            "17422dda596ed5d9acd890e3c63f5051",
            "5b78923dee08579033e523d9",
        ),
    ] {
        let keys = Keys::tls13(suite, secrets, sender, epoch).unwrap();
        assert_eq!(keys.traffic_key(), rfc8448::bytes(key));
        assert_eq!(keys.opener().iv()[..], rfc8448::bytes(iv));
    }
    assert!(Keys::tls13(suite, secrets, Endpoint::Client, Epoch::Early).is_none());
}

#[test]
fn a_prf_is_that_of_tls_1_2() {
    // P_SHA256 of the vectors that the IETF's TLS list gave for TLS 1.2.
    let mut out = [0; 100];
    let secret = rfc8448::bytes("9bbe436ba940f017b17652849a71db35");
    let seed = [
        b"test label".to_vec(),
        rfc8448::bytes("a0ba9f936cda311827a6f796ffd5198c"),
    ];
    prf(Hash::Sha256, &secret, &seed.concat(), &mut out);
    let want = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a\
                6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab\
                4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701\
                87347b66";
    assert_eq!(out[..], rfc8448::bytes(want));
}

#[test]
fn a_key_log_may_be_divided_anywhere() {
    let text = log_of(&[
        ("CLIENT_RANDOM", 48),
        ("CLIENT_TRAFFIC_SECRET_0", 32),
        ("EXPORTER_SECRET", 32),
    ]);
    let text = format!("# a comment\r\n\n{text}SERVER_TRAFFIC_SECRET_0 {RANDOM} beef");
    for len in 1..text.len() {
        let (mut log, mut reader) = (KeyLog::default(), KeyLogReader::default());
        for part in text.as_bytes().chunks(len) {
            reader.push(part, &mut log);
        }
        reader.finish(&mut log);
        // The last one is too short.
        assert_eq!(reader.bad(), (&[6][..], 1), "{len}");
        let random: [u8; 32] = rfc8448::bytes(RANDOM).try_into().unwrap();
        let secrets = log.secrets(&random).unwrap();
        assert!(secrets.master.is_some() && secrets.early.is_none());
        assert!(secrets.of(Endpoint::Client, Epoch::Application).is_some());
        assert!(secrets.of(Endpoint::Server, Epoch::Application).is_none());
    }
}

#[test]
fn lines_that_are_none_are_counted() {
    let text = [
        b"what is this\n".to_vec(),
        log_of(&[("CLIENT_RANDOM", 47), ("SERVER_TRAFFIC_SECRET_0", 48)]).into_bytes(),
        b"CLIENT_RANDOM 00 zz\n\xff\xfe\n".to_vec(),
        format!("CLIENT_RANDOM {RANDOM}\nclient {RANDOM} 00\n").into_bytes(),
        vec![b'x'; 5_000],
        b"\n# well\n".to_vec(),
        log_of(&[("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 33)]).into_bytes(),
    ];
    let (log, lines, n) = read(&text.concat());
    assert_eq!((lines.as_slice(), n), (&[1, 2, 4, 5, 6][..], 8));
    assert_eq!(log.secrets.len(), 1);
}

#[test]
fn a_key_log_is_bounded() {
    let mut log = KeyLog::default();
    for n in 2..limits::TLS_CONNECTIONS {
        let mut random = [0; 32];
        random[..8].copy_from_slice(&n.to_be_bytes());
        log.secrets.insert(random, Secrets::default());
    }
    for n in [1, 2, 3, 4, 2] {
        let line = format!(
            "CLIENT_RANDOM {} {}",
            format!("{n:02x}").repeat(32),
            "00".repeat(48)
        );
        assert!(log.line(line.as_bytes()).is_some());
    }
    assert_eq!(log.secrets.len(), limits::TLS_CONNECTIONS);
    assert_eq!(log.n_beyond(), 2);
}
