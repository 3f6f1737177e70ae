//! How much application data went by in records that stay closed: their headers are in clear.

use super::info::{TlsInfo, Version};
use super::record::{HEADER, content, is_header, len};

/// Application data that went by and was not opened, in bytes. Zeros that pad records (RFC 8446 section 5.4) cannot be
/// told from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opaque {
    /// It was at least so much.
    pub least: u64,
    /// It was at most so much, of what was seen.
    pub most: u64,
    /// It is not known any more where records begin: what came since is not counted.
    pub is_lost: bool,
}

impl Opaque {
    /// Nothing went by, and nothing was lost.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.most == 0 && !self.is_lost
    }
}

/// What a record of application data has besides, in bytes: at least, and at most.
fn overhead(info: &TlsInfo) -> (u64, u64) {
    if info.version == Some(Version::TLS1_3) {
        // The tag, and what the record carries.
        return (17, 17);
    }
    let suite = info.suite.filter(|_| info.version == Some(Version::TLS1_2));
    suite.map_or((0, 80), super::suite::Suite::overhead_tls12)
}

/// Follows the records of one direction by their headers alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walker {
    header: [u8; HEADER],
    n_header: usize,
    /// Bytes still to come of the record whose header is whole.
    rest: u64,
    is_lost: bool,
    sum: Opaque,
}

impl Walker {
    /// Bytes went by, and `missing` behind them that were not captured.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut missing: u64, info: &TlsInfo) {
        while !self.is_lost && (!bytes.is_empty() || missing > 0) {
            if self.n_header == HEADER {
                let (seen, unseen) = (bytes.len() as u64, missing);
                let of_seen = self.rest.min(seen);
                let of_unseen = (self.rest - of_seen).min(unseen);
                bytes = usize::try_from(of_seen)
                    .ok()
                    .and_then(|n| bytes.get(n..))
                    .unwrap_or_default();
                missing -= of_unseen;
                self.rest -= of_seen + of_unseen;
                if self.rest == 0 {
                    self.is_whole(info);
                }
                continue;
            }
            let Some((first, others)) = bytes.split_first() else {
                // A header was not captured.
                self.is_lost = true;
                break;
            };
            if let Some(byte) = self.header.get_mut(self.n_header) {
                *byte = *first;
            }
            (self.n_header, bytes) = (self.n_header + 1, others);
            if self.n_header == HEADER {
                self.is_lost = !is_header(self.header, true);
                self.rest = len(self.header) as u64;
                if self.rest == 0 {
                    self.is_whole(info);
                }
            }
        }
    }

    fn is_whole(&mut self, info: &TlsInfo) {
        self.n_header = 0;
        let [kind, ..] = self.header;
        if kind == content::APPLICATION_DATA {
            let (least, most) = overhead(info);
            let sealed = len(self.header) as u64;
            self.sum.least = self.sum.least.saturating_add(sealed.saturating_sub(most));
            self.sum.most = self.sum.most.saturating_add(sealed.saturating_sub(least));
        }
    }

    /// What went by since this was asked last.
    pub(super) fn take(&mut self) -> Opaque {
        Opaque {
            is_lost: self.is_lost,
            ..std::mem::take(&mut self.sum)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::suite::Suite;
    use super::*;

    fn record(kind: u8, len: u16) -> Vec<u8> {
        let [high, low] = len.to_be_bytes();
        let mut record = vec![kind, 3, 3, high, low];
        record.resize(HEADER + usize::from(len), 0xaa);
        record
    }

    fn of(version: Version, suite: u16) -> TlsInfo {
        TlsInfo {
            version: Some(version),
            suite: Some(Suite(suite)),
            ..TlsInfo::default()
        }
    }

    fn talk() -> Vec<u8> {
        let alert = record(content::ALERT, 2);
        let data = record(content::APPLICATION_DATA, 117);
        let more = record(content::APPLICATION_DATA, 1_017);
        [alert, data, record(content::HANDSHAKE, 40), more].concat()
    }

    #[test]
    fn application_data_is_counted_however_it_is_divided() {
        let info = of(Version::TLS1_3, 0x1301);
        let bytes = talk();
        for len in 1..=bytes.len() {
            let mut walker = Walker::default();
            for part in bytes.chunks(len) {
                walker.pass(part, 0, &info);
            }
            let sum = walker.take();
            assert_eq!((sum.least, sum.most, sum.is_lost), (1_100, 1_100, false));
            assert!(walker.take().is_empty());
        }
    }

    #[test]
    fn what_a_suite_adds_is_not_data() {
        for (version, suite, want) in [
            (Version::TLS1_2, 0xc02f, (1_086, 1_086)),
            (Version::TLS1_2, 0xcca8, (1_102, 1_102)),
            (Version::TLS1_2, 0xc0ae, (1_102, 1_102)),
            (Version::TLS1_2, 0xc013, (974, 1_076)),
            (Version::TLS1_2, 0x4a4a, (974, 1_134)),
            (Version(0x0301), 0xc013, (974, 1_134)),
        ] {
            let mut walker = Walker::default();
            walker.pass(&talk(), 0, &of(version, suite));
            let sum = walker.take();
            assert_eq!((sum.least, sum.most), want, "{suite:x}");
        }
    }

    #[test]
    fn a_hole_within_a_record_costs_nothing_and_one_over_a_header_the_place() {
        let info = of(Version::TLS1_3, 0x1301);
        let bytes = talk();
        let mut walker = Walker::default();
        // Behind the header of the first record of data.
        walker.pass(&bytes[..12], 117, &info);
        assert_eq!(walker.take().most, 100);
        walker.pass(&bytes[129..], 0, &info);
        assert_eq!(walker.take().most, 1_000);
        let mut walker = Walker::default();
        walker.pass(&bytes[..12], 118, &info);
        walker.pass(&bytes[130..], 0, &info);
        let sum = walker.take();
        assert_eq!((sum.most, sum.is_lost), (100, true));
        let mut walker = Walker::default();
        walker.pass(b"GET / HTTP/1.1\r\n", 0, &info);
        assert!(walker.take().is_lost);
    }
}
