//! Static table (RFC 7541 appendix A).

use std::sync::{Arc, LazyLock};

use crate::field::Entry;

/// Entries by index, the first of which is 1.
const ENTRIES: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Number of entries; dynamic indices start after it.
pub(super) const LEN: u32 = ENTRIES.len() as u32;

/// The entries, each read once.
static READ: LazyLock<Vec<Arc<Entry>>> = LazyLock::new(|| {
    let read = |(name, value): &(&'static str, &'static str)| {
        Arc::new(Entry::of_static(name.as_bytes(), value.as_bytes()))
    };
    ENTRIES.iter().map(read).collect()
});

/// The entry of an index from 1 to [`LEN`].
#[inline]
pub(super) fn entry(index: u32) -> Option<&'static Arc<Entry>> {
    READ.get((index as usize).wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;

    #[test]
    fn indices_start_at_one_and_end_at_61() {
        let text = |index| {
            let field = Field::of(Arc::clone(entry(index)?));
            let part = |part: Option<&[u8]>| String::from_utf8(part?.to_vec()).ok();
            Some((part(field.name())?, part(field.value())?))
        };
        let is = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(text(0), None);
        assert_eq!(text(1), is(":authority", ""));
        assert_eq!(text(16), is("accept-encoding", "gzip, deflate"));
        assert_eq!(text(61), is("www-authenticate", ""));
        assert_eq!(text(62), None);
        assert_eq!(text(u32::MAX), None);
    }
}
