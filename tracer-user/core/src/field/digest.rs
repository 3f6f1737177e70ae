//! What tells one request from another, without keeping what it says: keyed hashes of its fields.
//!
//! The key is made anew by each run and the hashes never leave memory, so that no value can be told from
//! them, and nobody who chooses field values can make two of them collide on purpose.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use smallvec::SmallVec;

use crate::field::{Field, HeaderBlock, Known, Marks};
use crate::limits;

/// Two random words, the same for one run.
static KEY: LazyLock<[u64; 2]> = LazyLock::new(|| {
    let random = RandomState::new();
    [random.hash_one(0_u8), random.hash_one(1_u8)]
});

/// Others, for long values: one for each lane.
static LANES: LazyLock<[u64; N_LANES]> = LazyLock::new(|| {
    let random = RandomState::new();
    std::array::from_fn(|lane| random.hash_one(lane))
});

/// How many multiplications of a long value do not wait for each other.
const N_LANES: usize = 4;

/// Bytes that all lanes take at a time, 16 each. Below it a value is not long.
const WIDE: usize = 16 * N_LANES;

/// Fields that intermediaries add, take away or change, so that they differ between the hops of one request:
/// those that begin with this byte. A name that ends with `-` stands for all that begin so.
const fn hop_specific(first: u8) -> &'static [&'static str] {
    match first {
        b':' => &[":authority", ":scheme"],
        b'a' => &["accept-encoding"],
        b'b' => &["b3"],
        b'c' => &["cdn-loop", "connection", "content-length"],
        b'e' => &["expected-"],
        b'f' => &["forwarded"],
        b'g' => &["grpc-previous-rpc-attempts", "grpc-timeout"],
        b'h' => &["host"],
        b'l' => &["l5d-"],
        b't' => &["te", "traceparent", "tracestate"],
        b'u' => &["uber-trace-id"],
        b'v' => &["via"],
        b'x' => &[
            "x-amzn-trace-id",
            "x-b3-",
            "x-cloud-trace-context",
            "x-datadog-",
            "x-envoy-",
            "x-forwarded-",
            "x-ot-span-context",
            "x-real-ip",
            "x-request-id",
        ],
        _ => &[],
    }
}

/// What of a request's fields tells it apart, as hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldsDigest {
    /// All fields but those that intermediaries change, whatever their order; None when one could not be seen.
    pub whole: Option<u64>,
    /// `:path`, its query included.
    pub path: Option<u64>,
    /// `x-request-id`, name and value.
    pub request_id: Option<u64>,
    /// The trace id in `traceparent` (its parent id is another one on each hop).
    pub trace_id: Option<u64>,
    /// `:method` is CONNECT: a tunnel, no request that is passed on.
    pub connect: bool,
    fields: SmallVec<[u64; 8]>,
}

impl FieldsDigest {
    /// The digest of a request's header block.
    #[must_use]
    pub fn of(block: &HeaderBlock) -> FieldsDigest {
        let (mut digest, mut whole, mut n_read) = (FieldsDigest::default(), 0, 0);
        if let Some(stem) = block.whole_stem() {
            let (of_stem, sum) = stem.digest();
            digest.clone_from(of_stem);
            (whole, n_read) = (*sum, stem.fields().len());
        }
        let rest = block.fields.get(n_read..).unwrap_or_default();
        let complete = digest.add(rest, &mut whole) && block.complete;
        digest.whole = complete.then_some(whole);
        digest
    }

    /// Adds fields. True when all of them were seen.
    pub(super) fn add(&mut self, fields: &[Field], whole: &mut u64) -> bool {
        let (digest, mut complete) = (self, true);
        for field in fields {
            let (entry, known) = (field.entry(), field.known());
            if !entry.is_whole() {
                complete = false;
                continue;
            }
            let mut of_this = Some(entry.hash);
            match known {
                Known::Path => digest.path = of_this,
                Known::Method => digest.connect = field.value() == Some(b"CONNECT"),
                Known::XRequestId => {
                    of_this = field
                        .value()
                        .map_or(of_this, |value| Some(request_id(value)));
                    digest.request_id = of_this;
                }
                // version "-" trace-id "-" parent-id "-" flags
                Known::Traceparent => {
                    let value = field.value().unwrap_or_default();
                    digest.trace_id = value.get(3..35).map(|id| hash(id, 1));
                    of_this = digest.trace_id;
                }
                _ => {}
            }
            if !entry.is_pseudo() {
                digest.keep(of_this);
            }
            if !entry.marks.has(Marks::HOP_SPECIFIC) {
                *whole = whole.wrapping_add(entry.hash);
            }
        }
        complete
    }

    /// Hashes of single fields, pseudo-header fields not among them: the first [`limits::HOP_FIELDS`].
    #[must_use]
    pub fn fields(&self) -> &[u64] {
        &self.fields
    }

    fn keep(&mut self, hash: Option<u64>) {
        if let Some(hash) = hash
            && self.fields.len() < limits::HOP_FIELDS
        {
            self.fields.push(hash);
        }
    }
}

/// The bits of a field's hash that are of its name alone.
const NAME: u64 = 0xffff << 48;

/// The hash of a field's name.
pub(super) fn of_name(name: &[u8]) -> u64 {
    absorbed(name, 0, *KEY)
}

/// The hash of a field, from that of its name.
pub(super) fn of_field(of_name: u64, value: &[u8]) -> u64 {
    let key = *KEY;
    let of_both = finished(absorbed(value, of_name, key), key);
    (of_name & NAME) | (of_both & !NAME)
}

/// These hashes are of two fields of one name (or, once in 65,536 times, of two names that look alike).
#[must_use]
pub const fn same_name(a: u64, b: u64) -> bool {
    (a ^ b) & NAME == 0
}

/// The hash of `x-request-id`. In one that is a UUID, Envoy says by the digit of its version whether the request is
/// traced, and changes it where that is decided anew ("x-request-id" in its documentation): it does not count.
fn request_id(value: &[u8]) -> u64 {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    const VERSION: usize = 14;
    let mut id = [0; 36];
    let name = of_name(b"x-request-id");
    if value.len() != id.len() {
        return of_field(name, value);
    }
    id.copy_from_slice(value);
    let is_digit = |(at, byte): (usize, &u8)| {
        if DASHES.contains(&at) {
            *byte == b'-'
        } else {
            byte.is_ascii_hexdigit()
        }
    };
    if id.iter().enumerate().all(is_digit)
        && let Some(version) = id.get_mut(VERSION)
    {
        *version = b'-';
    }
    of_field(name, &id)
}

/// The hash of a `:path`, as [`FieldsDigest`] has it.
#[must_use]
pub fn path(value: &str) -> u64 {
    of_field(of_name(b":path"), value.as_bytes())
}

/// The hash of an encoding of a response's content: two hops whose values differ can't be compared by bytes. `identity`
/// is none.
pub(super) fn of_coding(known: Known, value: &[u8]) -> u64 {
    match known.name() {
        Some(name) if value != b"identity" => hash(value, hash(name, 2)),
        _ => 0,
    }
}

pub(super) fn is_hop_specific(name: &[u8]) -> bool {
    let Some(first) = name.first() else {
        return false;
    };
    hop_specific(*first).iter().any(|specific| {
        let specific = specific.as_bytes();
        match specific.last() {
            Some(b'-') => name.starts_with(specific),
            _ => name == specific,
        }
    })
}

/// A keyed hash of these bytes, after what was hashed to `seed`.
fn hash(bytes: &[u8], seed: u64) -> u64 {
    let key = *KEY;
    finished(absorbed(bytes, seed, key), key)
}

fn finished(state: u64, key: [u64; 2]) -> u64 {
    folded(state, key[0] | 1)
}

/// A folded multiplication for every 8 bytes, and one for the last ones. Of long values lanes take what they can: they are
/// the larger part of what it costs to read a large header list.
#[inline]
fn absorbed(bytes: &[u8], seed: u64, [key, other]: [u64; 2]) -> u64 {
    let mut state = seed ^ key ^ (bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut left = bytes;
    if bytes.len() >= WIDE {
        (state, left) = in_lanes(bytes, state, other);
    }
    let (words, rest) = left.as_chunks::<8>();
    for word in words {
        state = folded(state ^ u64::from_le_bytes(*word), other);
    }
    // The last bytes, some of them twice: the length says how many.
    let last = match (bytes.last_chunk::<8>(), rest) {
        (_, []) => return state,
        (Some(last), _) => u64::from_le_bytes(*last),
        (None, rest) => match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
            (Some(first), Some(last)) => {
                u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
            }
            _ => rest.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        },
    };
    folded(state ^ last, other)
}

/// The same for a long value, 16 bytes a multiplication; gives back the bytes that are left.
#[inline(never)]
fn in_lanes(bytes: &[u8], state: u64, other: u64) -> (u64, &[u8]) {
    let (keys, mut lanes) = (*LANES, [state; N_LANES]);
    let (blocks, rest) = bytes.as_chunks::<WIDE>();
    for block in blocks {
        let (words, _) = block.as_chunks::<16>();
        for ((lane, key), word) in lanes.iter_mut().zip(keys).zip(words) {
            let word = u128::from_le_bytes(*word);
            *lane = multiplied(*lane ^ low(word), key ^ high(word));
        }
    }
    let all = lanes
        .iter()
        .fold(state, |all, lane| folded(all ^ lane, other));
    (all, rest)
}

fn folded(a: u64, b: u64) -> u64 {
    multiplied(a, b | 1)
}

/// Both halves of the product.
fn multiplied(a: u64, b: u64) -> u64 {
    #[cfg(test)]
    tests::MULTIPLIED.with(|n| n.set(n.get() + 1));
    let product = u128::from(a).wrapping_mul(u128::from(b));
    low(product) ^ high(product)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the other half is taken too"
)]
const fn low(word: u128) -> u64 {
    word as u64
}

const fn high(word: u128) -> u64 {
    low(word >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Shown;
    use crate::stream::script::{block, unseen_block};

    thread_local! {
        /// Multiplications so far.
        pub(super) static MULTIPLIED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    fn digest(fields: &[(&str, &str)]) -> FieldsDigest {
        FieldsDigest::of(&block(fields))
    }

    #[test]
    fn what_intermediaries_change_is_not_in_the_whole() {
        let plain = [(":path", "/a"), ("x-call-id", "7"), ("user-agent", "me")];
        let passed = [
            (":authority", "other"),
            ("user-agent", "me"),
            (":path", "/a"),
            ("x-call-id", "7"),
            ("x-request-id", "6b5"),
            ("x-envoy-expected-rq-timeout-ms", "15000"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(digest(&plain).whole, digest(&passed).whole);
        assert!(digest(&plain).whole.is_some());
        let other = [(":path", "/a"), ("x-call-id", "8"), ("user-agent", "me")];
        assert_ne!(digest(&plain).whole, digest(&other).whole);
        let renamed = [(":path", "/a"), ("x-call-ie", "7"), ("user-agent", "me")];
        assert_ne!(digest(&plain).whole, digest(&renamed).whole);
    }

    #[test]
    fn every_byte_counts() {
        // Also in each lane, and behind them.
        let text = "0123456789abcdef01234".repeat(10);
        let mut seen = std::collections::BTreeSet::new();
        for at in 0..text.len() {
            let mut changed = text.clone();
            // A bit of it alone.
            let bit = char::from(changed.as_bytes()[at] ^ 1).to_string();
            changed.replace_range(at..=at, &bit);
            assert!(seen.insert(digest(&[("a", &changed)]).whole), "{at}");
        }
        for len in 0..text.len() {
            assert!(seen.insert(digest(&[("a", &text[..len])]).whole), "{len}");
        }
    }

    #[test]
    fn the_place_of_every_part_counts() {
        let parts = ["abcdefgh", "ijklmnop", "qrstuvwx", "yz012345"].repeat(8);
        let mut seen = std::collections::BTreeSet::new();
        for one in 0..parts.len() {
            for other in 0..one {
                let mut swapped = parts.clone();
                swapped.swap(one, other);
                // Those that are equal change nothing.
                let is_new = seen.insert(digest(&[("a", &swapped.concat())]).whole);
                assert!(is_new || parts[one] == parts[other], "{one} {other}");
            }
        }
    }

    #[test]
    fn a_long_value_takes_a_multiplication_for_16_bytes() {
        let value = vec![b'y'; 16_000];
        let before = MULTIPLIED.get();
        of_field(1, &value);
        let n = MULTIPLIED.get() - before;
        assert!(n <= 16_000 / 16 + 16, "{n}");
    }

    #[test]
    fn hashes_tell_whether_two_fields_have_one_name() {
        let fields = [("from", "a"), ("from", "b"), ("x-call-id", "a"), ("", "a")];
        let digest = digest(&fields);
        let [a, b, other, empty] = digest.fields() else {
            panic!("{} fields", digest.fields().len());
        };
        assert!(same_name(*a, *b) && a != b);
        assert!(!same_name(*a, *other) && !same_name(*other, *empty));
    }

    #[test]
    fn the_trace_is_the_same_on_each_hop() {
        let at = |parent: &str| {
            let value = format!("00-0af7651916cd43dd8448eb211c80319c-{parent}-01");
            digest(&[("traceparent", &value)])
        };
        let (one, two) = (at("b7ad6b7169203331"), at("00f067aa0ba902b7"));
        assert!(one.trace_id.is_some());
        assert_eq!(one, two);
        assert_eq!(digest(&[("traceparent", "00-short")]).trace_id, None);
    }

    #[test]
    fn what_envoy_changes_of_a_request_id_does_not_count() {
        let of = |id: &str| digest(&[("x-request-id", id)]);
        let plain = of("5a3b2c1d-0e9f-4a8b-9c7d-6e5f4a3b2c1d");
        let traced = of("5a3b2c1d-0e9f-9a8b-9c7d-6e5f4a3b2c1d");
        assert!(plain.request_id.is_some());
        assert_eq!(plain, traced);
        for other in [
            "5a3b2c1d-0e9f-4a8b-9c7d-6e5f4a3b2c1e",
            "5a3b2c1d-0e9f-4b8b-9c7d-6e5f4a3b2c1d",
        ] {
            assert_ne!(plain.request_id, of(other).request_id, "{other}");
        }
        // No UUID: all of it counts.
        let (a, b) = (
            "abcdefghijklmnopqrstuvwxyzabcdefghij",
            "abcdefghijklmnXpqrstuvwxyzabcdefghij",
        );
        assert_ne!(of(a).request_id, of(b).request_id);
        assert_ne!(of("1").request_id, of("2").request_id);
    }

    #[test]
    fn unseen_fields_leave_the_whole_unknown() {
        assert_eq!(FieldsDigest::of(&unseen_block(3)).whole, None);
        let mut half = unseen_block(1);
        half.fields.extend(block(&[("from", "me")]).fields);
        let half = FieldsDigest::of(&half);
        assert_eq!(half.whole, None);
        assert_eq!(half.fields(), digest(&[("from", "me")]).fields());
    }

    #[test]
    fn the_number_of_kept_fields_is_bounded() {
        let many: Vec<(String, String)> = (0..1_000)
            .map(|n| (format!("x-{n}"), String::new()))
            .collect();
        let many: Vec<(&str, &str)> = many
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(digest(&many).fields().len(), limits::HOP_FIELDS);
    }

    #[test]
    fn codings_differ_and_identity_is_none() {
        let of = |fields: &[(&str, &str)]| block(fields).facts(&Shown::default()).coding;
        assert_eq!(of(&[("grpc-encoding", "identity")]), of(&[]));
        assert_ne!(of(&[("grpc-encoding", "gzip")]), of(&[]));
        assert_ne!(
            of(&[("grpc-encoding", "gzip")]),
            of(&[("content-encoding", "gzip")])
        );
    }
}
