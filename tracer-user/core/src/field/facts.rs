//! What a header block says, read once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use smallvec::SmallVec;

use super::digest::{self, FieldsDigest};
use super::encoding::Encoding;
use super::media::{self, Media};
use super::user_agent::UserAgent;
use super::{Entry, Field, GrpcStatus, HeaderBlock, Known, Marks, Name, Seen, Shown, timeout};

/// Methods that decide what content a message may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// The response has no content, whatever its content-length.
    Head,
    /// Neither side has content: DATA is a tunnel.
    Connect,
    /// That of gRPC.
    Post,
    /// Any other.
    Other,
}

impl Method {
    fn of(method: &[u8]) -> Method {
        match method {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            b"POST" => Method::Post,
            _ => Method::Other,
        }
    }
}

/// What a field says by itself.
#[derive(Clone, Copy)]
pub(super) enum Says {
    /// Nothing that this program asks for.
    Nothing,
    Path,
    Method(Seen<Method>),
    Status(Seen<u16>),
    ContentType(Seen<Media>),
    ContentLength(Seen<u64>),
    ContentEncoding {
        is_coded: bool,
        hash: u64,
    },
    GrpcEncoding {
        seen: Seen<Encoding>,
        hash: u64,
    },
    GrpcAcceptEncoding(Encoding),
    GrpcTimeout(Option<Duration>),
    GrpcStatus(Seen<GrpcStatus>),
    UserAgent(Option<UserAgent>),
}

impl Says {
    pub(super) fn of(known: Known, value: Option<&[u8]>) -> Says {
        let seen = value.map_or(Seen::Unknown, Seen::Value);
        let hash = || value.map_or(0, |value| digest::of_coding(known, value));
        match known {
            Known::Path => Says::Path,
            Known::Method => Says::Method(seen.map(Method::of)),
            Known::Status => Says::Status(seen.and_then(status)),
            Known::ContentType => Says::ContentType(seen.map(Media::of)),
            Known::ContentLength => Says::ContentLength(seen.and_then(length)),
            Known::ContentEncoding => Says::ContentEncoding {
                is_coded: value.is_some_and(|coding| coding != b"identity"),
                hash: hash(),
            },
            Known::GrpcEncoding => Says::GrpcEncoding {
                seen: seen.map(Encoding::of),
                hash: hash(),
            },
            Known::GrpcAcceptEncoding => {
                Says::GrpcAcceptEncoding(value.map_or(Encoding::OTHER, Encoding::all_of))
            }
            Known::GrpcTimeout => Says::GrpcTimeout(value.and_then(timeout::parse)),
            Known::GrpcStatus => Says::GrpcStatus(seen.map(GrpcStatus::of)),
            Known::UserAgent => Says::UserAgent(value.map(UserAgent::of)),
            _ => Says::Nothing,
        }
    }
}

/// Fields whose values are kept without memory of their own: no request of gRPC has more by default.
const KEPT: usize = 10;

/// How far a block was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// See [`Facts::names`].
    names: u64,
    /// Some field was no pseudo-header field.
    regular: bool,
}

/// What a header block says, as far as it was seen and may be kept: no value of a field that may not be shown.
pub(crate) struct Facts {
    /// `:path`, without its query.
    pub(crate) path: Option<Arc<str>>,
    /// `:method`.
    pub(crate) method: Seen<Method>,
    /// `:status`.
    pub(crate) status: Seen<u16>,
    /// `content-type`.
    pub(crate) media: Seen<Media>,
    /// Its media type alone, without parameters.
    pub(crate) content_type: Option<Arc<str>>,
    /// `content-length`.
    pub(crate) length: Seen<u64>,
    /// The encodings of the content, as one hash.
    pub(crate) coding: u64,
    /// The content has a coding: what goes by is no sequence of messages, whatever its type.
    pub(crate) is_coded: bool,
    /// `grpc-encoding`.
    pub(crate) grpc_encoding: Seen<Encoding>,
    /// `grpc-accept-encoding`, if it is there; all of them together.
    pub(crate) accepted: Option<Encoding>,
    /// `grpc-timeout`.
    pub(crate) timeout: Option<Duration>,
    /// `grpc-status`.
    pub(crate) grpc_status: Seen<GrpcStatus>,
    /// The family of `user-agent`.
    pub(crate) user_agent: Option<UserAgent>,
    /// The known names that stand in the block, as a set of their bits.
    pub(crate) names: u64,
    /// A field breaks a rule, or may break one where it stands, or the fields are in no good order.
    pub(crate) is_odd: bool,
    /// What the block begins with, if other blocks do too: the first of the fields whose values may be shown.
    stem: Option<Arc<Facts>>,
    /// The others; nothing of an entry that may not be shown.
    shown: SmallVec<[Arc<Entry>; KEPT]>,
    digest: Option<Arc<FieldsDigest>>,
    /// The same where it is asked for for the first time in this memory.
    late_digest: OnceLock<Arc<FieldsDigest>>,
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Facts {
    pub(super) fn of(block: &HeaderBlock, shown: &Shown) -> Facts {
        let mut facts = Facts::none(block.complete);
        facts.fill(block, shown);
        facts
    }

    /// Those of another block, in this memory.
    pub(super) fn renew(&mut self, block: &HeaderBlock, shown: &Shown) {
        let mut kept = std::mem::take(&mut self.shown);
        kept.clear();
        let digest = self.digest.take().or_else(|| self.late_digest.take());
        *self = Facts {
            shown: kept,
            ..Facts::none(block.complete)
        };
        self.digest = digest.map(|mut digest| match Arc::get_mut(&mut digest) {
            Some(known) => {
                *known = FieldsDigest::of(block);
                digest
            }
            None => Arc::new(FieldsDigest::of(block)),
        });
        self.fill(block, shown);
    }

    /// Takes the entries that nobody else needs any more.
    pub(crate) fn spare_entries(&mut self, spare: &mut Vec<Arc<Entry>>, room: usize) {
        self.stem = None;
        for mut entry in self.shown.drain(..) {
            // To look before asking is cheap: most are somebody else's too.
            let is_own = Arc::strong_count(&entry) == 1;
            if is_own && spare.len() < room && Arc::get_mut(&mut entry).is_some() {
                spare.push(entry);
            }
        }
    }

    fn fill(&mut self, block: &HeaderBlock, shown: &Shown) {
        let (mut reading, mut n_read) = (Reading::default(), 0);
        if let Some(stem) = block.whole_stem() {
            let (facts, read) = stem.facts(shown);
            self.begin(facts);
            (reading, n_read) = (*read, stem.fields().len());
        }
        let rest = block.fields.get(n_read..).unwrap_or_default();
        self.add(rest, &mut reading, shown);
    }

    /// Begins with what other facts say. Nothing was read before.
    fn begin(&mut self, facts: &Arc<Facts>) {
        self.path.clone_from(&facts.path);
        self.content_type.clone_from(&facts.content_type);
        self.stem = (!facts.shown.is_empty()).then(|| Arc::clone(facts));
        self.method = facts.method;
        self.status = facts.status;
        self.media = facts.media;
        self.length = facts.length;
        self.coding = facts.coding;
        self.is_coded = facts.is_coded;
        self.grpc_encoding = facts.grpc_encoding;
        self.accepted = facts.accepted;
        self.timeout = facts.timeout;
        self.grpc_status = facts.grpc_status;
        self.user_agent = facts.user_agent;
        self.is_odd = facts.is_odd;
    }

    /// Reads further fields.
    pub(super) fn add(&mut self, fields: &[Field], reading: &mut Reading, shown: &Shown) {
        let facts = self;
        let Reading { names, regular } = reading;
        for field in fields {
            let entry = &field.entry;
            let (marks, known) = (entry.marks, entry.of_name.known);
            let bit = known.bit_if_known();
            let again = *names & bit != 0;
            *names |= bit;
            if marks.has(Marks::PSEUDO) {
                facts.is_odd |= *regular | again;
            } else {
                *regular |= marks.has(Marks::NAMED);
            }
            facts.is_odd |= marks.has(Marks::ODD);
            if shown.allows_field(field) {
                facts.keep(entry);
            }
            // Of several fields of one name the first counts.
            match known {
                Known::ContentLength => {
                    facts.is_odd |= again;
                    facts.read(field, again);
                }
                Known::GrpcStatus => {
                    facts.is_odd |= again;
                    if !again {
                        facts.read(field, false);
                    }
                }
                Known::GrpcAcceptEncoding => facts.read(field, again),
                _ if !again => facts.read(field, false),
                _ => {}
            }
        }
        facts.names = *names;
    }

    /// Keeps what may be shown.
    fn keep(&mut self, entry: &Arc<Entry>) {
        if entry.marks.has(Marks::PLAIN) {
            self.shown.push(Arc::clone(entry));
        } else if let Some(text) = entry.as_text() {
            let kept = Entry::kept(entry.name.clone(), text);
            self.shown.push(Arc::new(kept));
        }
    }

    /// Nothing was read yet: `complete` says that what does not come is not there.
    pub(super) fn none(complete: bool) -> Facts {
        Facts {
            path: None,
            method: absent(complete),
            status: absent(complete),
            media: absent(complete),
            content_type: None,
            length: absent(complete),
            coding: 0,
            is_coded: false,
            grpc_encoding: absent(complete),
            accepted: None,
            timeout: None,
            grpc_status: absent(complete),
            user_agent: None,
            names: 0,
            is_odd: false,
            stem: None,
            shown: SmallVec::new(),
            digest: None,
            late_digest: OnceLock::new(),
        }
    }

    /// What a field says. `again`: one of this name came before.
    fn read(&mut self, field: &Field, again: bool) {
        match &field.entry().says {
            Says::Nothing => {}
            Says::Path => self.path = text(field),
            Says::Method(method) => self.method = *method,
            Says::Status(status) => self.status = *status,
            Says::ContentType(media) => {
                self.media = *media;
                self.content_type = essence(field);
            }
            Says::ContentLength(length) => {
                self.length = if again && *length != self.length {
                    Seen::Unknown
                } else {
                    *length
                };
            }
            Says::ContentEncoding { is_coded, hash } => {
                self.is_coded = *is_coded;
                self.coding = self.coding.wrapping_add(*hash);
            }
            Says::GrpcEncoding { seen, hash } => {
                self.grpc_encoding = *seen;
                self.coding = self.coding.wrapping_add(*hash);
            }
            Says::GrpcAcceptEncoding(encodings) => {
                self.accepted = Some(self.accepted.unwrap_or_default().and(*encodings));
            }
            Says::GrpcTimeout(timeout) => self.timeout = *timeout,
            Says::GrpcStatus(status) => self.grpc_status = *status,
            Says::UserAgent(agent) => self.user_agent = *agent,
        }
    }

    /// What tells this request from another one. `block` is what these facts are of.
    pub(crate) fn digest(&self, block: &HeaderBlock) -> &Arc<FieldsDigest> {
        match &self.digest {
            Some(digest) => digest,
            None => {
                let digest = || Arc::new(FieldsDigest::of(block));
                self.late_digest.get_or_init(digest)
            }
        }
    }

    /// These facts, to be kept with a stream, if they have something to show.
    pub(crate) fn to_show(self: &Arc<Facts>) -> Option<Arc<Facts>> {
        let is_empty = self.stem.is_none() && self.shown.is_empty();
        (!is_empty).then(|| Arc::clone(self))
    }

    /// The fields whose values may be shown, as text.
    pub(super) fn shown(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        let first = self.stem.iter().flat_map(|stem| &stem.shown);
        first.chain(&self.shown).filter_map(|entry| {
            let name = std::str::from_utf8(entry.name.get()?).ok()?;
            Some((name, entry.as_text()?))
        })
    }
}

fn text(field: &Field) -> Option<Arc<str>> {
    field.entry().text().cloned()
}

/// The media type of a `content-type`, as it may be kept.
fn essence(field: &Field) -> Option<Arc<str>> {
    let value = field.value()?;
    let essence = media::essence(value);
    if essence.len() == value.len() {
        return text(field);
    }
    Some(super::shown::text(Known::ContentType, essence))
}

const fn absent<T>(complete: bool) -> Seen<T> {
    if complete {
        Seen::Absent
    } else {
        Seen::Unknown
    }
}

fn status(digits: &[u8]) -> Seen<u16> {
    match digits.len() {
        3 => number(digits),
        _ => Seen::Unknown,
    }
}

fn length(digits: &[u8]) -> Seen<u64> {
    if digits.iter().all(u8::is_ascii_digit) {
        number(digits)
    } else {
        Seen::Unknown
    }
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Seen<T> {
    let number = std::str::from_utf8(digits).ok();
    let number = number.and_then(|digits| digits.parse().ok());
    number.map_or(Seen::Unknown, Seen::Value)
}

/// The values of a stream's fields that may be shown, those of its request, its response and its trailers
/// together. A name that stands in several: the request's value, or else the first.
#[derive(Clone, Default)]
pub struct ShownFields {
    pub(crate) request: Option<Arc<Facts>>,
    pub(crate) response: Option<Arc<Facts>>,
    pub(crate) trailers: Option<Arc<Facts>>,
}

impl ShownFields {
    /// The value of the field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let request = self.request.iter().flat_map(|facts| facts.shown().rev());
        let others = [&self.response, &self.trailers].into_iter().flatten();
        request
            .chain(others.flat_map(|facts| facts.shown()))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// All of them, by name.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<&str, &str> {
        let mut fields = BTreeMap::new();
        let request = self.request.iter().flat_map(|facts| facts.shown().rev());
        let others = [&self.response, &self.trailers].into_iter().flatten();
        for (name, value) in request.chain(others.flat_map(|facts| facts.shown())) {
            fields.entry(name).or_insert(value);
        }
        fields
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for ShownFields {
    /// The fields of a request, with their values as they are.
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(fields: I) -> ShownFields {
        let named = |(name, value): (&str, &str)| {
            Arc::new(Entry::kept(Name::Owned(name.as_bytes().into()), value))
        };
        let facts = Facts {
            shown: fields.into_iter().map(named).collect(),
            ..Facts::none(true)
        };
        ShownFields {
            request: Some(Arc::new(facts)),
            ..ShownFields::default()
        }
    }
}

impl fmt::Debug for ShownFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_name()).finish()
    }
}
