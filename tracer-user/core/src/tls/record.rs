//! Records from the bytes of one direction (RFC 8446 section 5.1), and what is left of them when bytes are lost.

use tracer_ebpf::tls::RecordHead;

/// Type, version and length before each record.
pub(super) const HEADER: usize = RecordHead::LEN;
/// What a record may carry at most: 2^14 bytes, and what TLS 1.2 allows a cipher to add.
const LONGEST: usize = RecordHead::LONGEST_EVER as usize;
/// The shortest that a key protects: its header and its tag.
const SHORTEST: u64 = 21;

/// What a record carries.
pub(super) mod content {
    pub(in crate::tls) use tracer_ebpf::tls::content::{
        ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE,
    };

    /// All of them.
    pub(in crate::tls) const ALL: std::ops::RangeInclusive<u8> =
        CHANGE_CIPHER_SPEC..=APPLICATION_DATA;
}

/// A record that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) header: [u8; HEADER],
    /// When its last byte went by.
    pub(super) at: u64,
    /// It stands where the one before it ends. Otherwise it only looks like one, until a key opens it.
    pub(super) certain: bool,
}

impl Record {
    pub(super) const fn kind(&self) -> u8 {
        let [kind, ..] = self.header;
        kind
    }

    /// Bytes behind its header.
    pub(super) const fn len(&self) -> usize {
        len(self.header)
    }
}

pub(super) const fn len([_, _, _, high, low]: [u8; HEADER]) -> usize {
    u16::from_be_bytes([high, low]) as usize
}

/// A header that may stand anywhere; behind lost bytes only one of protected records is looked for, which have all the
/// same version.
pub(super) fn is_header(header: [u8; HEADER], certain: bool) -> bool {
    let [kind, major, minor, ..] = header;
    let version = major == 3 && (certain || minor == 3);
    content::ALL.contains(&kind) && version && len(header) <= LONGEST
}

/// What was lost since the last record that was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Bytes, with the headers of records.
    pub(super) bytes: u64,
    /// Records that were seen in part, or did not open.
    records: u64,
    /// Those of `bytes` of which it is not known how many records they are.
    loose: u64,
}

impl Lost {
    pub(super) const fn any(&self) -> bool {
        self.bytes > 0
    }

    /// A record whose content has that length.
    pub(super) const fn of_record(len: usize) -> Lost {
        Lost {
            bytes: (HEADER + len) as u64,
            records: 1,
            loose: 0,
        }
    }

    /// Both.
    pub(super) const fn and(self, other: Lost) -> Lost {
        Lost {
            bytes: self.bytes.saturating_add(other.bytes),
            records: self.records.saturating_add(other.records),
            loose: self.loose.saturating_add(other.loose),
        }
    }

    /// How many records it was, if that is certain.
    pub(super) const fn exactly(&self) -> Option<u64> {
        if self.loose == 0 {
            Some(self.records)
        } else {
            None
        }
    }

    /// How many records it was, at least and at most.
    pub(super) const fn range(&self) -> (u64, u64) {
        let least = self.loose / (HEADER + LONGEST) as u64;
        let most = self.loose / SHORTEST;
        (
            self.records.saturating_add(least),
            self.records.saturating_add(most),
        )
    }
}

/// Divides the bytes of one direction into records.
#[derive(Debug)]
pub(super) struct Records {
    buffer: Vec<u8>,
    /// So many bytes of it are done with.
    done: usize,
    /// Bytes still to come of a record of which others were lost.
    skip: u64,
    /// It is known where the next record begins.
    synchronised: bool,
    lost: Lost,
    now: u64,
}

impl Default for Records {
    fn default() -> Records {
        Records {
            buffer: Vec::new(),
            done: 0,
            skip: 0,
            synchronised: true,
            lost: Lost::default(),
            now: 0,
        }
    }
}

impl Records {
    pub(super) fn lost(&self) -> Lost {
        self.lost
    }

    /// What was lost is accounted for elsewhere.
    #[cfg(feature = "tls")]
    pub(super) fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    /// More was lost.
    #[cfg(feature = "tls")]
    pub(super) const fn lose(&mut self, lost: Lost) {
        self.lost = self.lost.and(lost);
    }

    /// Nothing is lost, and what is here of the next record is its beginning.
    #[cfg(feature = "tls")]
    pub(super) fn are_whole(&self) -> bool {
        self.synchronised && self.skip == 0 && !self.lost.any()
    }

    /// Behind `left` bytes that nobody opens a record begins.
    #[cfg(feature = "tls")]
    pub(super) fn begin_at(&mut self, left: u64) {
        *self = Records {
            skip: left,
            ..Records::default()
        };
    }

    /// A record of this kind has begun, and is not whole.
    pub(super) fn are_at(&self, kind: u8) -> bool {
        let header = self.header().filter(|_| self.synchronised);
        header.is_some_and(|[first, ..]| first == kind)
    }

    pub(super) fn push(&mut self, at: u64, bytes: &[u8]) {
        self.now = at;
        let skipped = usize::try_from(self.skip).map_or(bytes.len(), |n| n.min(bytes.len()));
        self.skip -= skipped as u64;
        self.buffer.drain(..self.done.min(self.buffer.len()));
        self.done = 0;
        let rest = bytes.get(skipped..).unwrap_or_default();
        self.buffer.extend_from_slice(rest);
    }

    /// `n` bytes were not captured. Everything before them has been taken.
    pub(super) fn hole(&mut self, n: u64) {
        let skipped = self.skip.min(n);
        self.skip -= skipped;
        let n = n - skipped;
        if n == 0 {
            return;
        }
        let have = self.rest().len() as u64;
        let header = self.header().filter(|_| self.synchronised);
        self.buffer.clear();
        self.done = 0;
        let Some(header) = header else {
            self.pass_over(have.saturating_add(n));
            return;
        };
        let total = (HEADER + len(header)) as u64;
        let left = total.saturating_sub(have);
        self.lost.records += 1;
        self.lost.bytes = self.lost.bytes.saturating_add(total);
        if n <= left {
            self.skip = left - n;
        } else {
            self.pass_over(n - left);
        }
    }

    /// The next record, its content in `fragment`. One that is not certain stays until [`Records::opened`] or
    /// [`Records::refused`] says what it was.
    pub(super) fn next(&mut self, fragment: &mut Vec<u8>) -> Option<Record> {
        loop {
            let header = self.header()?;
            if !is_header(header, self.synchronised) {
                self.done += 1;
                self.pass_over(1);
                continue;
            }
            let end = HEADER + len(header);
            let content = self.rest().get(HEADER..end)?;
            fragment.clear();
            fragment.extend_from_slice(content);
            if self.synchronised {
                self.done += end;
            }
            return Some(Record {
                header,
                at: self.now,
                certain: self.synchronised,
            });
        }
    }

    /// A key opened the record, or it was in clear: what was lost before it is accounted for.
    pub(super) fn opened(&mut self, record: &Record) {
        if !record.certain {
            self.done += HEADER + record.len();
            self.synchronised = true;
        }
        self.lost = Lost::default();
    }

    /// No key opened it.
    pub(super) fn refused(&mut self, record: &Record) {
        if record.certain {
            self.lost.records += 1;
            let bytes = (HEADER + record.len()) as u64;
            self.lost.bytes = self.lost.bytes.saturating_add(bytes);
        } else {
            self.done += 1;
            self.pass_over(1);
        }
    }

    /// Whether behind a record that is not certain another one begins. None: that is still to come.
    pub(super) fn is_chained(&self, record: &Record) -> Option<bool> {
        let behind = self.rest().get(HEADER + record.len()..)?;
        Some(is_header(*behind.first_chunk()?, false))
    }

    /// How much has been taken of what was pushed last.
    pub(super) const fn taken(&self) -> usize {
        self.done
    }

    /// What comes first may be the rest of a record.
    pub(super) const fn begins_inside(&mut self) {
        self.synchronised = false;
    }

    fn pass_over(&mut self, n: u64) {
        self.synchronised = false;
        self.lost.bytes = self.lost.bytes.saturating_add(n);
        self.lost.loose = self.lost.loose.saturating_add(n);
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.done..).unwrap_or_default()
    }

    fn header(&self) -> Option<[u8; HEADER]> {
        self.rest().first_chunk().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(len: u8) -> Vec<u8> {
        let header = [content::APPLICATION_DATA, 3, 3, 0, len];
        [&header[..], &vec![len; usize::from(len)]].concat()
    }

    fn lens(records: &mut Records) -> Vec<(usize, bool)> {
        let (mut found, mut fragment) = (Vec::new(), Vec::new());
        while let Some(record) = records.next(&mut fragment) {
            assert_eq!(fragment, vec![record.len() as u8; record.len()]);
            found.push((record.len(), record.certain));
            records.opened(&record);
        }
        found
    }

    #[test]
    fn records_are_divided_as_their_headers_say() {
        let bytes = [record(30), record(40), record(0)].concat();
        for len in 1..=bytes.len() {
            let (mut records, mut found) = (Records::default(), Vec::new());
            for part in bytes.chunks(len) {
                records.push(1, part);
                found.extend(lens(&mut records));
            }
            assert_eq!(found, [(30, true), (40, true), (0, true)], "{len}");
        }
    }

    #[test]
    fn a_hole_inside_a_record_costs_that_record() {
        let mut records = Records::default();
        let bytes = [record(30), record(40)].concat();
        records.push(1, &bytes[..10]);
        assert_eq!(lens(&mut records), []);
        records.hole(5);
        records.push(1, &bytes[15..]);
        assert_eq!(records.lost().range(), (1, 1));
        assert_eq!(lens(&mut records), [(40, true)]);
        assert!(!records.lost().any());
    }

    #[test]
    fn behind_a_longer_hole_a_header_is_searched() {
        let mut records = Records::default();
        let bytes = [record(30), record(40), record(50), record(60)].concat();
        records.push(1, &bytes[..10]);
        assert_eq!(lens(&mut records), []);
        // The rest of the first, and the second up to its middle.
        records.hole(50);
        records.push(1, &bytes[60..]);
        assert_eq!(lens(&mut records)[0], (50, false));
        assert_eq!(lens(&mut records), []);
    }
}
