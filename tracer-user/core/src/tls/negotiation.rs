//! What handshake messages change in a session.

use super::handshake::{Message, message};
use super::hello::{ClientHello, EncryptedExtensions, ServerHello};
use super::info::{Version, Why};
use super::session::{EarlyData, Epoch, Session};
use crate::endpoint::Endpoint;

impl Session {
    pub(super) fn handshake(&mut self, sender: Endpoint, bytes: &[u8]) {
        let mut messages = Vec::new();
        self.half(sender).messages.push(bytes, &mut messages);
        for message in messages {
            self.message(sender, &message);
        }
    }

    fn message(&mut self, sender: Endpoint, said: &Message) {
        let epoch = self.half(sender).epoch;
        let is_tls13 = self.info.version == Some(Version::TLS1_3);
        match (sender, said.kind) {
            (Endpoint::Client, message::CLIENT_HELLO) => match ClientHello::read(&said.body) {
                Some(hello) => self.client_hello(hello),
                None => self.fail(Why::HandshakeUnseen),
            },
            (Endpoint::Server, message::SERVER_HELLO) => match ServerHello::read(&said.body) {
                Some(hello) => self.server_hello(hello),
                None => self.fail(Why::HandshakeUnseen),
            },
            (Endpoint::Server, message::ENCRYPTED_EXTENSIONS) if epoch == Epoch::Handshake => {
                let Some(extensions) = EncryptedExtensions::read(&said.body) else {
                    return;
                };
                self.info.alpn = extensions.alpn;
                if self.early == EarlyData::Offered {
                    self.early = if extensions.early_data {
                        EarlyData::Taken
                    } else {
                        EarlyData::Untold
                    };
                }
                if self.early != EarlyData::Taken && self.client.epoch == Epoch::Early {
                    self.client.enter(Epoch::Handshake);
                }
            }
            (Endpoint::Client, message::END_OF_EARLY_DATA) if epoch == Epoch::Early => {
                self.client.enter(Epoch::Handshake);
            }
            (_, message::FINISHED) if is_tls13 && epoch == Epoch::Handshake => {
                self.half(sender).enter(Epoch::Application);
            }
            (_, message::KEY_UPDATE) if is_tls13 && epoch == Epoch::Application => {
                self.half(sender).update();
            }
            _ => {}
        }
    }

    fn client_hello(&mut self, hello: ClientHello) {
        self.client_random = Some(hello.random);
        self.info.client_random.get_or_insert(hello.random);
        self.info.sni = hello.sni;
        self.info.alpn_offered = hello.alpn;
        if hello.early_data && self.info.version.is_none() {
            self.early = EarlyData::Offered;
            self.client.epoch = Epoch::Early;
        } else if self.early == EarlyData::Offered {
            // Its second hello, after a HelloRetryRequest.
            self.early = EarlyData::Untold;
            self.client.enter(Epoch::Handshake);
        }
    }

    fn server_hello(&mut self, hello: ServerHello) {
        if self.client_random.is_none() && self.scan.is_none() {
            return self.fail(Why::HandshakeUnseen);
        }
        if hello.is_retry() {
            // Early data is refused by that (RFC 8446 section 4.2.10).
            if self.early == EarlyData::Offered {
                self.early = EarlyData::Untold;
                self.client.enter(Epoch::Handshake);
            }
            return;
        }
        self.info.version = Some(hello.version);
        self.info.suite = Some(hello.suite);
        self.info.alpn = hello.alpn;
        self.server_random = hello.random;
        match hello.version {
            Version::TLS1_3 => {}
            Version::TLS1_2 => {
                self.early = EarlyData::Absent;
                self.client.epoch = Epoch::Application;
                self.server.epoch = Epoch::Application;
            }
            _ => return self.fail(Why::UnknownVersion),
        }
        match hello.suite.protection() {
            Ok(suite) => self.suite = Some(suite),
            Err(why) => self.fail(why),
        }
    }
}
