//! Header fields, and what they say: a field is read once, when it is decoded or put into the dynamic table, not
//! for every stream that names it.

pub mod digest;
pub mod shown;
pub mod user_agent;

mod block;
mod encoding;
mod facts;
mod grpc_status;
mod known;
pub(crate) mod media;
mod seen;
mod stem;
mod timeout;
mod value_fault;

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

pub use block::HeaderBlock;
pub(crate) use block::{BlockReading, SPARE_ENTRIES};
pub(crate) use encoding::Encoding;
use facts::Says;
pub use facts::ShownFields;
pub(crate) use facts::{Facts, Method};
pub(crate) use grpc_status::GrpcStatus;
pub(crate) use known::Known;
pub use seen::Seen;
pub use shown::Shown;
pub(crate) use stem::Stem;
pub(crate) use value_fault::ValueFault;

/// What a field takes beside its name and its value (RFC 7541 section 4.1, RFC 9113 section 6.5.2), in bytes.
pub(crate) const FIELD_OVERHEAD: usize = 32;

/// A field's name.
#[derive(Clone)]
enum Name {
    /// One that this program knows, or that stands in the static table.
    Static(&'static [u8]),
    Owned(Arc<[u8]>),
    Unseen,
}

impl Name {
    fn get(&self) -> Option<&[u8]> {
        match self {
            Name::Static(name) => Some(name),
            Name::Owned(name) => Some(name),
            Name::Unseen => None,
        }
    }
}

/// What is wrong with the name of a regular field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameFault {
    /// An upper-case letter (RFC 9113 section 8.2.1).
    Uppercase,
    /// Another character that no name may have, or no character at all.
    Character,
    /// It belongs to an HTTP/1.1 connection (RFC 9113 section 8.2.2).
    ConnectionSpecific,
}

impl NameFault {
    fn of(name: &[u8]) -> Option<NameFault> {
        let forbidden = |byte: u8| matches!(byte, 0..=0x20 | b':' | 0x7f..=0xff);
        if !name.is_empty() && !any(name, |byte| byte.is_ascii_uppercase() | forbidden(byte)) {
            return None;
        }
        if name.iter().any(u8::is_ascii_uppercase) {
            return Some(NameFault::Uppercase);
        }
        Some(NameFault::Character)
    }
}

/// Some byte is bad. All are looked at: that is faster for what is as short as fields are, and mostly good.
fn any(bytes: &[u8], bad: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |any, byte| any | bad(*byte))
}

/// A field's value.
enum Value {
    Static(&'static [u8]),
    /// Plain text that may be kept as it is.
    Text(String),
    Bytes(Box<[u8]>),
    Unseen,
}

impl Value {
    fn of(bytes: &[u8]) -> Value {
        Value::within(String::new(), bytes)
    }

    /// The same, in memory that is not needed any more.
    fn within(mut memory: String, bytes: &[u8]) -> Value {
        match shown::plain(bytes) {
            Some(text) => {
                memory.clear();
                memory.push_str(text);
                Value::Text(memory)
            }
            None => Value::Bytes(bytes.into()),
        }
    }

    fn get(&self) -> Option<&[u8]> {
        match self {
            Value::Static(value) => Some(value),
            Value::Text(text) => Some(text.as_bytes()),
            Value::Bytes(bytes) => Some(bytes),
            Value::Unseen => None,
        }
    }
}

/// Name and value of a field, and what can be said of them without knowing where the field stands. All fields that
/// name one entry of a table share it.
pub(crate) struct Entry {
    name: Name,
    value: Value,
    of_name: NameSays,
    /// What is wrong with the value.
    pub(crate) value_fault: Option<ValueFault>,
    says: Says,
    /// What is asked of it for every block.
    marks: Marks,
    /// See [`Entry::size`].
    size: usize,
    /// The hash of name and value; 0 when one of them is unseen.
    hash: u64,
    /// The value as it may be kept, made when it is asked for.
    text: OnceLock<Arc<str>>,
}

/// What is asked of an entry for every block that names it, as a set.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Marks(u8);

impl Marks {
    /// Its name begins as a pseudo-header field's does.
    const PSEUDO: u8 = 1;
    /// It breaks a rule, or may break one where it stands.
    const ODD: u8 = 1 << 1;
    /// Name and value are seen.
    const WHOLE: u8 = 1 << 2;
    /// Its name is seen.
    const NAMED: u8 = 1 << 3;
    /// The entry may be kept as it is: nothing has to be taken from its value.
    const PLAIN: u8 = 1 << 4;
    /// Intermediaries add, take away or change the field.
    const HOP_SPECIFIC: u8 = 1 << 5;

    const fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    /// Those that are not of the name alone.
    fn of_value(entry: &Entry) -> u8 {
        let (known, value) = (entry.of_name.known, entry.value.get());
        let is_pseudo = entry.of_name.marks & Marks::PSEUDO != 0;
        let is_odd = entry.of_name.fault.is_some()
            || entry.value_fault.is_some()
            || (is_pseudo && !known.is_pseudo())
            || match known {
                Known::Host => true,
                Known::Te => value.is_none_or(|value| value != b"trailers"),
                _ => false,
            };
        let is_plain = match (&entry.value, value) {
            (Value::Text(_) | Value::Static(_), Some(value)) => !shown::is_cut(known, value),
            _ => false,
        };
        let is_named = entry.of_name.marks & Marks::NAMED != 0;
        let mut marks = 0;
        for (mark, is) in [
            (Marks::ODD, is_odd),
            (Marks::WHOLE, is_named && value.is_some()),
            (Marks::PLAIN, is_plain),
        ] {
            marks |= if is { mark } else { 0 };
        }
        marks
    }
}

/// What a name says.
#[derive(Clone, Copy)]
struct NameSays {
    known: Known,
    fault: Option<NameFault>,
    /// Those of [`Marks`] that are of the name alone.
    marks: u8,
    /// The hash of the name.
    hash: u64,
}

impl NameSays {
    fn of(name: Option<&[u8]>) -> NameSays {
        let Some(name) = name else {
            return NameSays {
                known: Known::Other,
                fault: None,
                marks: 0,
                hash: 0,
            };
        };
        let known = Known::of(name);
        let mut marks = Marks::NAMED;
        if name.starts_with(b":") {
            marks |= Marks::PSEUDO;
        }
        if digest::is_hop_specific(name) {
            marks |= Marks::HOP_SPECIFIC;
        }
        NameSays {
            known,
            fault: match known {
                Known::Other => NameFault::of(name),
                known => known
                    .is_connection_specific()
                    .then_some(NameFault::ConnectionSpecific),
            },
            marks,
            hash: digest::of_name(name),
        }
    }
}

impl Entry {
    fn new(name: Name, value: Value) -> Entry {
        let says = NameSays::of(name.get());
        let name = match (says.known.name(), name) {
            (Some(known), _) => Name::Static(known),
            (None, name) => name,
        };
        Entry::with(name, says, value)
    }

    /// A field of a name of which it is known what it says.
    fn with(name: Name, of_name: NameSays, value: Value) -> Entry {
        let mut entry = Entry {
            value_fault: None,
            says: Says::Nothing,
            marks: Marks(0),
            size: 0,
            hash: 0,
            of_name,
            name,
            value,
            text: OnceLock::new(),
        };
        entry.read();
        entry
    }

    /// Reads what name and value say.
    fn read(&mut self) {
        let known = self.of_name.known;
        let value = self.value.get();
        self.hash = match value {
            Some(value) if self.of_name.marks & Marks::NAMED != 0 => {
                digest::of_field(self.of_name.hash, value)
            }
            _ => 0,
        };
        self.value_fault = match &self.value {
            Value::Text(text) => ValueFault::of_text(known, text.as_bytes()),
            _ => value.and_then(|value| ValueFault::of(known, value)),
        };
        self.says = Says::of(known, value);
        let len = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        self.size = len(self.name.get()) + len(value) + FIELD_OVERHEAD;
        self.marks = Marks(self.of_name.marks | Marks::of_value(self));
        self.text = OnceLock::new();
    }

    /// An entry of the static table.
    pub(crate) fn of_static(name: &'static [u8], value: &'static [u8]) -> Entry {
        Entry::new(Name::Static(name), Value::Static(value))
    }

    /// A literal.
    pub(crate) fn literal(name: &[u8], value: &[u8]) -> Entry {
        let says = NameSays::of(Some(name));
        let name = match says.known.name() {
            Some(known) => Name::Static(known),
            None => Name::Owned(name.into()),
        };
        Entry::with(name, says, Value::of(value))
    }

    /// A literal in the memory of an entry that nobody needs any more.
    pub(crate) fn renew(&mut self, name: &[u8], value: &[u8]) {
        if self.name.get() == Some(name) {
            let name = std::mem::replace(&mut self.name, Name::Unseen);
            return self.become_one(name, self.of_name, value);
        }
        *self = Entry::literal(name, value);
    }

    /// The same of a literal whose name is another entry's.
    pub(crate) fn renew_named_by(&mut self, entry: Option<&Entry>, value: &[u8]) {
        match entry {
            Some(entry) => self.become_one(entry.name.clone(), entry.of_name, value),
            None => *self = Entry::named_by(None, value),
        }
    }

    fn become_one(&mut self, name: Name, of_name: NameSays, value: &[u8]) {
        let memory = match std::mem::replace(&mut self.value, Value::Unseen) {
            Value::Text(text) => text,
            _ => String::new(),
        };
        (self.name, self.of_name) = (name, of_name);
        self.value = Value::within(memory, value);
        self.read();
    }

    /// A literal whose name is another entry's. `None`: that entry is unseen.
    pub(crate) fn named_by(entry: Option<&Entry>, value: &[u8]) -> Entry {
        let value = Value::of(value);
        match entry {
            Some(entry) => Entry::with(entry.name.clone(), entry.of_name, value),
            None => Entry::new(Name::Unseen, value),
        }
    }

    /// A field whose value is this text, which may be kept.
    fn kept(name: Name, text: &str) -> Entry {
        let mut entry = Entry::new(name, Value::Text(text.to_owned()));
        entry.marks.0 |= Marks::PLAIN;
        entry
    }

    /// Its name begins as a pseudo-header field's does.
    pub(crate) fn is_pseudo(&self) -> bool {
        self.marks.has(Marks::PSEUDO)
    }

    /// What is wrong with the name, if it is no pseudo-header field's.
    pub(crate) fn name_fault(&self) -> Option<NameFault> {
        self.of_name.fault
    }

    /// Both its parts are seen.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        self.marks.has(Marks::WHOLE)
    }

    /// Its size as RFC 7541 section 4.1 counts it; a lower bound when a part is unseen.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The length of its name, 0 when that is unseen.
    pub(crate) fn name_len(&self) -> usize {
        self.name.get().map_or(0, <[u8]>::len)
    }

    /// The value as it may be kept, without the query of a `:path`.
    pub(crate) fn text(&self) -> Option<&Arc<str>> {
        let known = self.of_name.known;
        let value = self.value.get()?;
        Some(self.text.get_or_init(|| shown::text(known, value)))
    }

    /// The same, to be read.
    fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) if self.marks.has(Marks::PLAIN) => Some(text),
            _ => self.text().map(|text| &**text),
        }
    }
}

/// What stands for a field of which nothing is known.
static UNSEEN: LazyLock<Arc<Entry>> =
    LazyLock::new(|| Arc::new(Entry::new(Name::Unseen, Value::Unseen)));

/// One decoded header field. A part that stands in an entry older than the attach is `None` ("unseen"), and so is
/// a value whose bytes were not captured.
#[derive(Clone)]
pub struct Field {
    entry: Arc<Entry>,
    /// Sent as "never indexed" (RFC 7541 section 6.2.3): sensitive.
    pub never_indexed: bool,
}

impl Field {
    /// A field of this name and value; `None` is unseen.
    #[must_use]
    pub fn new(name: Option<&[u8]>, value: Option<&[u8]>) -> Field {
        let name = name.map_or(Name::Unseen, |name| Name::Owned(name.into()));
        let value = value.map_or(Value::Unseen, Value::of);
        Field::of(Arc::new(Entry::new(name, value)))
    }

    /// A field of which neither part is seen.
    #[must_use]
    pub fn unseen() -> Field {
        Field::of(Arc::clone(&UNSEEN))
    }

    pub(crate) fn of(entry: Arc<Entry>) -> Field {
        Field {
            entry,
            never_indexed: false,
        }
    }

    /// The entry of a field of which neither part is seen.
    pub(crate) fn unseen_entry() -> &'static Arc<Entry> {
        &UNSEEN
    }

    /// A field that names this entry.
    #[inline]
    pub(crate) fn with(entry: &Arc<Entry>, never_indexed: bool) -> Field {
        Field {
            entry: Arc::clone(entry),
            never_indexed,
        }
    }

    /// Becomes another field; gives back the entry that it named.
    #[inline]
    pub(crate) fn become_of(&mut self, entry: &Arc<Entry>, never_indexed: bool) -> Arc<Entry> {
        std::mem::replace(self, Field::with(entry, never_indexed)).entry
    }

    /// It names this very entry.
    #[inline]
    pub(crate) fn is_of(&self, entry: &Arc<Entry>) -> bool {
        Arc::ptr_eq(&self.entry, entry)
    }

    pub(crate) fn shared_entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    pub(crate) fn into_entry(self) -> Arc<Entry> {
        self.entry
    }

    /// Its name, or None if unseen.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.entry.name.get()
    }

    /// Its value, or None if unseen.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.entry.value.get()
    }

    /// Its size as RFC 9113 section 6.5.2 counts it, in bytes; a lower bound when a part is unseen.
    #[must_use]
    pub fn size(&self) -> usize {
        self.entry.size()
    }

    /// Which of the names that this program knows it has.
    pub(crate) fn known(&self) -> Known {
        self.entry.of_name.known
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: Option<&[u8]>| part.map(|part| part.escape_ascii().to_string());
        f.debug_tuple("Entry")
            .field(&part(self.name.get()))
            .field(&part(self.value.get()))
            .finish()
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Field) -> bool {
        self.name() == other.name()
            && self.value() == other.value()
            && self.never_indexed == other.never_indexed
    }
}

impl Eq for Field {}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field")
            .field("entry", &self.entry)
            .field("never_indexed", &self.never_indexed)
            .finish()
    }
}
