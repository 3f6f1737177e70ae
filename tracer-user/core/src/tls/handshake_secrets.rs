//! Secrets of a handshake that do not say which connection they are of.
//!
//! The first record that they seal tells: a key that comes of them opens it, and no other does.

use super::info::Version;
use super::keys::{KeyLog, Keys, Label, Randoms, Secrets};
use super::session::{Context, Epoch, Session};
use crate::endpoint::Endpoint;

/// The secrets of one handshake, as far as they have come. Wiped when they are dropped.
#[derive(Default)]
pub struct HandshakeSecrets(Secrets);

impl HandshakeSecrets {
    /// Takes one. False: it has such a secret, so this one is of another handshake.
    #[must_use]
    pub fn take(&mut self, label: Label, secret: &[u8]) -> bool {
        self.0.take(label, secret)
    }

    /// What is sealed first can be opened.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.0.opens_handshake()
    }
}

impl KeyLog {
    /// For the secrets of a handshake, whose keys are kept where the others are.
    #[must_use]
    pub fn handshake(&self) -> HandshakeSecrets {
        HandshakeSecrets(self.nothing())
    }

    /// Takes what was found to be of the connection with this random.
    pub fn adopt(&mut self, random: [u8; 32], secrets: HandshakeSecrets) {
        self.give(random, secrets.0);
    }
}

impl Session {
    /// Secrets of its handshake would open it, now or later.
    #[must_use]
    pub fn may_be_told(&self) -> bool {
        self.scan.is_some() && !self.is_late() && !self.is_open()
    }

    /// Its secrets are wanted, and enough of it is there to try some.
    #[must_use]
    pub fn is_ready_for_secrets(&self) -> bool {
        self.client_random.is_some() && self.suite.is_some() && self.first_sealed().next().is_some()
    }

    /// Whether these are its secrets: they open what was sealed first.
    #[must_use]
    pub fn is_of(&self, secrets: &HandshakeSecrets, plain: &mut Vec<u8>) -> bool {
        let (Some(client), Some(suite)) = (self.client_random, self.suite) else {
            return false;
        };
        let randoms = Randoms {
            client,
            server: self.server_random,
        };
        let is_tls13 = self.info.version == Some(Version::TLS1_3);
        self.first_sealed().any(|(sender, record)| {
            let keys = if is_tls13 {
                Keys::tls13(suite, &secrets.0, sender, Epoch::Handshake)
            } else {
                Keys::tls12(suite, &secrets.0, sender, &randoms)
            };
            keys.is_some_and(|keys| {
                let first = std::iter::once(0);
                let opened = keys.open(first, record.header, &record.fragment, plain);
                opened.is_some()
            })
        })
    }

    /// The server's first, which is never sealed with other keys.
    fn first_sealed(&self) -> impl Iterator<Item = (Endpoint, &super::waiting::Sealed)> {
        let scan = self.scan.as_ref().filter(|_| !self.is_late());
        [Endpoint::Server, Endpoint::Client]
            .into_iter()
            .filter_map(move |sender| Some((sender, scan?.waiting.numbered(sender)?)))
    }

    /// The secrets of the connection are there by now: what waits is opened with them, as if they had been there before.
    pub fn told(&mut self, context: &mut Context<'_>) {
        let random = self.client_random.as_ref();
        let is_told = random.is_some_and(|random| context.keys.opens(random));
        if !is_told || self.suite.is_none() || self.is_open() || self.is_late() {
            return;
        }
        let Some(mut scan) = self.scan.take() else {
            return;
        };
        const BOTH: [Endpoint; 2] = [Endpoint::Client, Endpoint::Server];
        let lost = BOTH.map(|sender| {
            let half = self.half(sender);
            half.forget_found();
            half.records.take_lost()
        });
        for (sender, sealed) in scan.waiting.take([true; 2]) {
            self.half(sender).records.lose(sealed.lost);
            let record = sealed.record();
            if self.half(sender).over.is_none() {
                self.protected(sender, record, &sealed.fragment, context);
            }
        }
        for (sender, lost) in BOTH.into_iter().zip(lost) {
            self.half(sender).records.lose(lost);
        }
    }
}
