//! The field lists of the stories: what independent encoders are given at set-up, and what our decoder must read
//! out of their octets. The same on every machine: the encoders and the tests both take them from here.

mod strings;
mod tables;
mod traffic;

use std::fmt::Write as _;

/// The header blocks of one direction of a connection, in order.
pub(crate) struct List {
    /// Its name: a file's.
    pub(crate) name: String,
    /// Its blocks.
    pub(crate) blocks: Vec<Block>,
}

/// One header block.
#[derive(Clone)]
pub(crate) struct Block {
    /// Each SETTINGS_HEADER_TABLE_SIZE that the receiver announces before it.
    pub(crate) tables: Vec<u32>,
    /// Its fields.
    pub(crate) fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Name.
    pub(crate) name: Vec<u8>,
    /// Value.
    pub(crate) value: Vec<u8>,
    /// The encoder is told that it is sensitive.
    pub(crate) secret: bool,
}

/// What an entry counts beside its name and value (RFC 7541 section 4.1).
pub(crate) const ENTRY_OVERHEAD: usize = 32;

/// The table before any SETTINGS (RFC 9113 section 6.5.2).
pub(crate) const DEFAULT_TABLE: u32 = 4_096;

/// The sizes of the dynamic table that an ordinary list is encoded with.
const TABLES: &[u32] = &[DEFAULT_TABLE, 0, 256, 65_536];

/// The form in which encoders read a list: a line for each size, each field and the end of each block; octets in
/// hex. An empty value leaves the line's last word out.
pub(crate) fn text(list: &List) -> String {
    let mut text = String::new();
    for block in &list.blocks {
        for size in &block.tables {
            writeln!(text, "table {size}").unwrap();
        }
        for field in &block.fields {
            let sort = if field.secret { "secret" } else { "field" };
            let line = format!("{sort} {} {}", hex(&field.name), hex(&field.value));
            writeln!(text, "{}", line.trim_end()).unwrap();
        }
        text.push_str("end\n");
    }
    text
}

/// Octets in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All lists.
pub(crate) fn lists() -> Vec<List> {
    let mut lists = Vec::new();
    let mut add = |name: &str, tables: &[u32], blocks: Vec<Block>| {
        for &size in tables {
            let mut blocks = blocks.clone();
            if size != DEFAULT_TABLE {
                blocks[0].tables.push(size);
            }
            let name = format!("{name}-{size}");
            lists.push(List { name, blocks });
        }
    };
    add("grpc-requests", TABLES, traffic::grpc_requests());
    add("grpc-responses", TABLES, traffic::grpc_responses());
    add("browser-requests", TABLES, traffic::browser_requests());
    add("browser-responses", TABLES, traffic::browser_responses());
    add("secrets", TABLES, traffic::secrets());
    add("requests-distinct", TABLES, traffic::requests_distinct());
    add("octets", TABLES, strings::octets());
    add("empty", TABLES, strings::empty());
    add("distinct", TABLES, tables::distinct());
    add("random", TABLES, tables::random());
    // Large, and a small table is as good as none.
    add("long", &[DEFAULT_TABLE, 65_536], strings::long());
    // These have sizes of their own.
    add("sizes", &[DEFAULT_TABLE], tables::sizes());
    add("requests-sizes", &[DEFAULT_TABLE], tables::requests_sizes());
    add("brim", &[DEFAULT_TABLE], tables::brim());
    add("deep", &[65_536], tables::deep());
    lists
}

/// Numbers that look random and are the same each time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn text(&mut self, alphabet: &[u8], len: usize) -> String {
        (0..len)
            .map(|_| char::from(alphabet[self.below(alphabet.len())]))
            .collect()
    }
}

const HEX: &[u8] = b"0123456789abcdef";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn field(name: &str, value: impl AsRef<[u8]>) -> Field {
    Field {
        name: name.into(),
        value: value.as_ref().to_vec(),
        secret: false,
    }
}

fn secret(name: &str, value: impl AsRef<[u8]>) -> Field {
    Field {
        secret: true,
        ..field(name, value)
    }
}

fn block(fields: Vec<Field>) -> Block {
    Block {
        tables: Vec::new(),
        fields,
    }
}

/// The fields that a request begins with.
fn request(method: &str, authority: &str, path: &str) -> Vec<Field> {
    vec![
        field(":method", method),
        field(":scheme", "http"),
        field(":authority", authority),
        field(":path", path),
    ]
}
