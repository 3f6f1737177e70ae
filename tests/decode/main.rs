//! Decoding against what others wrote: header blocks of other encoders, frames of another library, an independent
//! decoder, and the examples of the RFCs.

mod differential;
mod fields;
mod frames;
mod representations;
mod stories;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tracer_tests::skip::Need;

/// What is tested.
use h2trace_core::{frame as reader, limits};

/// What others made at set-up, for `require!`. Only `cargo xtask test --fast`, which needs no set-up, goes without it
/// and says so; otherwise [`made`] fails.
struct Made;

impl Need for Made {
    fn missing(&self) -> Option<String> {
        let absent = std::env::var_os("H2TRACE_FAST").is_some()
            && !tracer_tests::peer::installed("stories").is_dir();
        absent.then(|| {
            "the stories of other encoders are not made: cargo xtask setup --only stories"
                .to_owned()
        })
    }
}

/// What others made at set-up.
///
/// # Panics
/// When it is not there: no test passes without it.
fn made() -> PathBuf {
    let folder = tracer_tests::peer::installed("stories");
    assert!(
        folder.is_dir(),
        "{} is not there; `cargo xtask setup --only stories` makes it",
        folder.display()
    );
    folder
}

/// A file of JSON that stands beside these tests, or was made at set-up.
fn json(path: &Path) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("decode")
        .join(path);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Octets from hex, spaces between them or not.
fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter(|c| *c != ' ')
        .map(|c| c.to_digit(16).unwrap() as u8)
        .collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "half an octet at the end");
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

/// A frame's octets.
fn frame(frame_type: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([frame_type, flags]);
    bytes.extend(stream_id.to_be_bytes());
    bytes.extend(payload);
    bytes
}
