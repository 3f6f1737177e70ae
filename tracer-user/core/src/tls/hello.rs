//! The messages that say what a connection is: ClientHello, ServerHello and EncryptedExtensions (RFC 8446 section 4).

use super::info::Version;
use super::suite::Suite;
use crate::limits;

/// Names the client's part of a connection in key logs.
pub type Random = [u8; 32];

/// A ServerHello with this random is a HelloRetryRequest (RFC 8446 section 4.1.3).
const RETRY: Random = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Numbers of extensions (IANA, "TLS ExtensionType Values").
mod extension {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const ALPN: u16 = 16;
    pub(super) const EARLY_DATA: u16 = 42;
    pub(super) const SUPPORTED_VERSIONS: u16 = 43;
}

/// The only kind of name that a client may ask for.
const HOST_NAME: u8 = 0;

/// Reads the fields of a message one after another.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A vector whose length has one byte.
    fn short(&mut self) -> Option<Fields<'a>> {
        let len = self.u8()?;
        self.take(usize::from(len)).map(Fields)
    }

    /// A vector whose length has two bytes.
    fn long(&mut self) -> Option<Fields<'a>> {
        let len = self.u16()?;
        self.take(usize::from(len)).map(Fields)
    }

    fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Number and content of each extension; none at all is allowed before TLS 1.3.
    fn extensions(&mut self) -> Option<Vec<(u16, Fields<'a>)>> {
        let mut extensions = Vec::new();
        if self.is_empty() {
            return Some(extensions);
        }
        let mut list = self.long()?;
        while !list.is_empty() {
            let number = list.u16()?;
            extensions.push((number, list.long()?));
        }
        Some(extensions)
    }
}

/// Somebody else's name, cut to a bound.
fn name(bytes: &[u8]) -> String {
    let bytes = bytes.get(..limits::TLS_NAME).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

/// The protocols of an ALPN extension (RFC 7301 section 3.1).
fn protocols(mut extension: Fields<'_>) -> Vec<String> {
    let mut names = Vec::new();
    let mut list = extension.long().unwrap_or(Fields(&[]));
    while let Some(protocol) = list.short() {
        if names.len() == limits::TLS_PROTOCOLS {
            break;
        }
        names.push(name(protocol.0));
    }
    names
}

/// The host of a server_name extension.
fn host(mut extension: Fields<'_>) -> Option<String> {
    let mut list = extension.long()?;
    while let Some(kind) = list.u8() {
        let host = list.long()?;
        if kind == HOST_NAME {
            return Some(name(host.0));
        }
    }
    None
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientHello {
    pub(super) random: Random,
    pub(super) sni: Option<String>,
    pub(super) alpn: Vec<String>,
    /// It sends application data before the server has answered.
    pub(super) early_data: bool,
}

impl ClientHello {
    pub(super) fn read(body: &[u8]) -> Option<ClientHello> {
        let mut fields = Fields(body);
        fields.u16()?;
        let mut hello = ClientHello {
            random: fields.array()?,
            sni: None,
            alpn: Vec::new(),
            early_data: false,
        };
        let (_session, _suites, _compression) = (fields.short()?, fields.long()?, fields.short()?);
        for (number, content) in fields.extensions()? {
            match number {
                extension::SERVER_NAME => hello.sni = host(content),
                extension::ALPN => hello.alpn = protocols(content),
                extension::EARLY_DATA => hello.early_data = true,
                _ => {}
            }
        }
        Some(hello)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerHello {
    pub(super) random: Random,
    pub(super) version: Version,
    pub(super) suite: Suite,
    /// Up to TLS 1.2; then it is encrypted.
    pub(super) alpn: Option<String>,
}

impl ServerHello {
    pub(super) fn read(body: &[u8]) -> Option<ServerHello> {
        let mut fields = Fields(body);
        let version = Version(fields.u16()?);
        let random = fields.array()?;
        fields.short()?;
        let suite = Suite(fields.u16()?);
        fields.u8()?;
        let mut hello = ServerHello {
            random,
            version,
            suite,
            alpn: None,
        };
        for (number, mut content) in fields.extensions()? {
            match number {
                extension::SUPPORTED_VERSIONS => hello.version = Version(content.u16()?),
                extension::ALPN => hello.alpn = protocols(content).pop(),
                _ => {}
            }
        }
        Some(hello)
    }

    /// The client is to say hello again.
    pub(super) fn is_retry(&self) -> bool {
        self.random == RETRY
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct EncryptedExtensions {
    pub(super) alpn: Option<String>,
    /// What the client sent early is taken.
    pub(super) early_data: bool,
}

impl EncryptedExtensions {
    pub(super) fn read(body: &[u8]) -> Option<EncryptedExtensions> {
        let mut said = EncryptedExtensions {
            alpn: None,
            early_data: false,
        };
        for (number, content) in Fields(body).extensions()? {
            match number {
                extension::ALPN => said.alpn = protocols(content).pop(),
                extension::EARLY_DATA => said.early_data = true,
                _ => {}
            }
        }
        Some(said)
    }
}
