//! Connections that somebody else goes on to open, and gives back.

use proptest::prelude::*;

use super::talk::{Heard, Talk, key_log_without};
use crate::endpoint::Endpoint;
use crate::tls::{Context, GivenBack, Scratch, Session, Version};

const SERVER: Endpoint = Endpoint::Server;

const AES: [(Version, u16); 4] = [
    (Version::TLS1_3, 0x1301),
    (Version::TLS1_3, 0x1302),
    (Version::TLS1_2, 0xc02f),
    (Version::TLS1_2, 0xc030),
];

/// A session, and what it has heard.
struct Listener {
    session: Session,
    scratch: Scratch,
    heard: Heard,
    offsets: [u64; 2],
}

impl Listener {
    fn take(&mut self, talk: &Talk, (side, bytes): (Endpoint, &[u8])) {
        let log = key_log_without(talk.suite, talk.version, &[]);
        let heard = &mut self.heard;
        let mut context = Context {
            keys: &log,
            scratch: &mut self.scratch,
            out: &mut |plain| heard.take(plain),
        };
        let offset = &mut self.offsets[side.index()];
        self.session
            .take(side, 1, (*offset, bytes, 0), &mut context);
        *offset += bytes.len() as u64;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_goes_on_where_it_is_given_back(
        which in 0_usize..AES.len(),
        (before, elsewhere, behind) in (1_usize..5, 0_usize..9, 1_usize..5),
        cut in 0_usize..6,
        updates in any::<bool>(),
        lost in any::<bool>(),
    ) {
        let (version, suite) = AES[which];
        let mut talk = Talk::begun(version, suite);
        let n_begun = talk.sent.len();
        for nth in 0..before + elsewhere {
            talk.say(SERVER, format!("text {nth}, ").as_bytes());
        }
        if updates && version == Version::TLS1_3 {
            talk.key_update(SERVER);
        }
        for nth in 0..behind {
            talk.say(SERVER, format!("later {nth}, ").as_bytes());
        }
        let mut listener = Listener {
            session: Session::default(),
            scratch: Scratch::default(),
            heard: Heard::default(),
            offsets: [0; 2],
        };
        let (first, rest) = talk.sent.split_at(n_begun + before);
        for (side, record) in &first[..n_begun] {
            prop_assert!(listener.session.hand_over(SERVER).is_none());
            listener.take(&talk, (*side, record));
        }
        for (_, record) in &first[n_begun..] {
            listener.take(&talk, (SERVER, record));
        }
        let handover = listener.session.hand_over(SERVER).expect("it is opened");
        prop_assert_eq!(handover.is_tls12, version == Version::TLS1_2);
        prop_assert_eq!(handover.left, u64::MAX);
        if !(updates && version == Version::TLS1_3) {
            prop_assert_eq!(handover.key, talk.key(SERVER));
        }
        // The handshake's last one has a number, too, of TLS 1.2.
        let number = before as u64 + u64::from(version == Version::TLS1_2);
        prop_assert_eq!(handover.number, number);
        let plain = listener.session.end(SERVER);
        let (passed, rest) = rest.split_at(elsewhere);
        let mut text = String::new();
        for (nth, (_, record)) in passed.iter().enumerate() {
            let said = format!("text {}, ", before + nth);
            if !lost {
                let at = plain + text.len() as u64;
                listener.session.opened_elsewhere(SERVER, at, said.as_bytes());
            }
            text.push_str(&said);
            listener.offsets[SERVER.index()] += record.len() as u64;
        }
        // In the middle of a record's header, perhaps.
        let (head, tail) = rest[0].1.split_at(cut);
        let given = GivenBack {
            offset: listener.offsets[SERVER.index()] + cut as u64,
            header: head,
            left: 0,
            number: number + elsewhere as u64,
            skipped: elsewhere as u64,
            plain: Some(plain + text.len() as u64),
        };
        listener.session.take_back(SERVER, &given);
        listener.take(&talk, (SERVER, head));
        listener.take(&talk, (SERVER, tail));
        for (_, record) in &rest[1..] {
            listener.take(&talk, (SERVER, record));
        }
        let later: String = (0..behind).map(|nth| format!("later {nth}, ")).collect();
        let (at, said) = listener.heard.server.last().unwrap();
        if elsewhere > 0 {
            prop_assert_eq!((*at, said.as_slice()), (given.plain.unwrap(), later.as_bytes()));
        }
        prop_assert!(said.ends_with(later.as_bytes()));
        prop_assert_eq!(listener.session.end(SERVER), given.plain.unwrap() + later.len() as u64);
        prop_assert!(listener.session.hand_over(SERVER).is_some());
    }
}

/// Of a record that nobody opened nothing is known, and what follows is opened.
#[test]
fn a_record_that_is_lost_is_missing() {
    let mut talk = Talk::begun(Version::TLS1_3, 0x1301);
    let n_begun = talk.sent.len();
    for text in ["one", "lost", "two"] {
        talk.say(SERVER, text.as_bytes());
    }
    let mut listener = Listener {
        session: Session::default(),
        scratch: Scratch::default(),
        heard: Heard::default(),
        offsets: [0; 2],
    };
    for (side, record) in &talk.sent[..=n_begun] {
        listener.take(&talk, (*side, record));
    }
    let (_, lost) = &talk.sent[n_begun + 1];
    let at = &mut listener.offsets[SERVER.index()];
    *at += lost.len() as u64 - 16;
    let given = GivenBack {
        offset: *at,
        header: &[],
        left: 16,
        number: 2,
        skipped: 1,
        plain: None,
    };
    listener.session.take_back(SERVER, &given);
    listener.take(&talk, (SERVER, &lost[lost.len() - 16..]));
    let (_, next) = &talk.sent[n_begun + 2];
    listener.take(&talk, (SERVER, next));
    // An offset before the expected one: its place is not known.
    assert_eq!(
        listener.heard.server,
        [(0, b"one".to_vec()), (2, b"two".to_vec())]
    );
}
