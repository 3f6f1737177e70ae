//! Ring-buffer records to [`Event`]s. Never panics, whatever the bytes are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tracer_ebpf::event::{
    self as wire, BOUNDARY_UNKNOWN, OFFSET_UNKNOWN, RECORD_MAX, SEGMENT_HOLE, cause, class,
    confidence, family, kind, opened,
};

use super::{
    Address, Boundary, Bytes, Direction, End, EndCause, Event, Open, Opened, OpenedRecord,
    OtherProtocol, ProtocolConfidence, Segment, SocketKey, Task, Timestamp, TlsRecords,
    Unrecognised, Unseen, What,
};

/// Why a record could not be decoded. That is a defect of h2trace, or a ring shared with another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends before its body does, or its length says something else than it has.
    #[error("record of {0} bytes has the wrong length")]
    Length(usize),
    /// A kind that this version does not know.
    #[error("record of unknown kind {0}")]
    Kind(u8),
    /// A field has a value that this version does not know.
    #[error("record with unknown {0}")]
    Value(&'static str),
    /// The segments do not cover what the record says.
    #[error("record whose segments do not add up")]
    Segments,
}

/// Length of what all records begin with.
const RECORD_HEAD: usize = size_of::<wire::Header>();
/// Length of what follows it in a record of bytes, before the segments.
const BYTES_HEAD: usize = size_of::<wire::Bytes>();

/// Little-endian fields of a record, one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Length(self.0.len()))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.take::<1>().map(|[b]| b)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_le_bytes)
    }
}

/// Decodes one record.
///
/// # Errors
/// The bytes are not a record of this version.
pub fn decode(record: &[u8]) -> Result<Event<'_>, DecodeError> {
    // One look at the length for all fields of the head.
    let (head, body) = record
        .split_first_chunk::<RECORD_HEAD>()
        .ok_or(DecodeError::Length(record.len()))?;
    let (mut head, mut body) = (Reader(head), Reader(body));
    let r = &mut head;
    let (record_kind, towards) = (r.u8()?, r.u8()?);
    r.u16()?;
    // The ring rounds sizes up to 8 bytes in memory only: the length it reports is exact.
    if r.u32()? as usize != record.len() || record.len() > RECORD_MAX {
        return Err(DecodeError::Length(record.len()));
    }
    let at = Timestamp(r.u64()?);
    let socket = SocketKey {
        sk: r.u64()?,
        born_ns: r.u64()?,
    };
    let task = Task {
        pid: r.u32()?,
        tid: r.u32()?,
        cgroup: r.u64()?,
    };
    let towards = match towards {
        wire::direction::TX => Direction::Tx,
        wire::direction::RX => Direction::Rx,
        _ => return Err(DecodeError::Value("direction")),
    };
    let what = match record_kind {
        kind::BYTES => match certainty(body.0) {
            Some(confidence::TLS) => What::TlsBytes(bytes(&body, towards)?, records(body.0)?),
            Some(confidence::OPENED) => {
                let record = opened_record(body.0)?;
                What::OpenedBytes(bytes(&body, towards)?, record)
            }
            _ => What::Bytes(bytes(&body, towards)?),
        },
        kind::OPEN => What::Open(Box::new(open(&mut body)?)),
        kind::END => What::End(end(&mut body, towards)?),
        kind::UNRECOGNISED => What::Unrecognised(unrecognised(&mut body, towards)?),
        other => return Err(DecodeError::Kind(other)),
    };
    Ok(Event {
        at,
        socket,
        task,
        what,
    })
}

fn open(r: &mut Reader<'_>) -> Result<Open, DecodeError> {
    let family_number = r.u16()?;
    let opened = match r.u8()? {
        opened::UNSEEN => Opened::Unseen,
        opened::ACTIVE => Opened::Active,
        opened::PASSIVE => Opened::Passive,
        _ => return Err(DecodeError::Value("opening")),
    };
    let from_start = r.u8()? == 1;
    let (local_port, peer_port) = (r.u16()?, r.u16()?);
    let (local_addr, peer_addr) = (r.take::<16>()?, r.take::<16>()?);
    let netns = r.u32()?;
    let path_len = r.u32()? as usize;
    let (inode, unix_peer_sk) = (r.u64()?, r.u64()?);
    let comm = r.take::<16>()?;
    let path = r.take::<108>()?;
    r.take::<4>()?;
    let (local, peer) = match family_number {
        family::UNIX => {
            let address = unix_address(
                path.get(..path_len)
                    .ok_or(DecodeError::Value("path length"))?,
            );
            (address.clone(), address)
        }
        family::INET => (
            Address::Inet(SocketAddr::new(ipv4(local_addr), local_port)),
            Address::Inet(SocketAddr::new(ipv4(peer_addr), peer_port)),
        ),
        family::INET6 => (
            Address::Inet(SocketAddr::new(ipv6(local_addr), local_port)),
            Address::Inet(SocketAddr::new(ipv6(peer_addr), peer_port)),
        ),
        _ => return Err(DecodeError::Value("address family")),
    };
    let comm_len = comm.iter().position(|&b| b == 0).unwrap_or(comm.len());
    let comm = String::from_utf8_lossy(comm.get(..comm_len).unwrap_or_default()).into_owned();
    Ok(Open {
        opened,
        from_start,
        local,
        peer,
        netns,
        inode,
        unix_peer_sk,
        comm,
        peer_process: None,
    })
}

fn ipv4(bytes: [u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = bytes;
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// IPv4-mapped addresses are shown as the IPv4 addresses they are.
fn ipv6(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// A path ends at its NUL; an abstract name begins with one, and all of it counts.
fn unix_address(path: &[u8]) -> Address {
    Address::Unix(match path.split_first() {
        Some((0, name)) => format!("@{}", String::from_utf8_lossy(name)),
        _ => {
            let len = path.iter().position(|&b| b == 0).unwrap_or(path.len());
            String::from_utf8_lossy(path.get(..len).unwrap_or_default()).into_owned()
        }
    })
}

/// What the body of bytes says that they are.
#[inline(always)]
fn certainty(body: &[u8]) -> Option<u8> {
    body.get(std::mem::offset_of!(wire::Bytes, confidence))
        .copied()
}

/// What had gone by before of TLS.
fn records(body: &[u8]) -> Result<TlsRecords, DecodeError> {
    let word = |at: usize| {
        let word = body.get(at..).and_then(<[u8]>::first_chunk);
        let word = word.ok_or(DecodeError::Length(body.len()))?;
        Ok(u32::from_le_bytes(*word))
    };
    Ok(TlsRecords {
        count: word(std::mem::offset_of!(wire::Bytes, records))?,
        opened: word(std::mem::offset_of!(wire::Bytes, in_frame_stream))?,
    })
}

fn opened_record(body: &[u8]) -> Result<OpenedRecord, DecodeError> {
    match body.get(std::mem::offset_of!(wire::Bytes, unsure)) {
        Some(0) => Ok(OpenedRecord::Sure),
        Some(1) => Ok(OpenedRecord::Unsure),
        Some(_) => Err(DecodeError::Value("certainty of a record")),
        None => Err(DecodeError::Length(body.len())),
    }
}

#[inline(always)]
fn bytes<'a>(body: &Reader<'a>, direction: Direction) -> Result<Bytes<'a>, DecodeError> {
    let (head, encoded) = body
        .0
        .split_first_chunk::<BYTES_HEAD>()
        .ok_or(DecodeError::Length(body.0.len()))?;
    let r = &mut Reader(head);
    let (offset, total, to_boundary) = (r.u64()?, r.u32()?, r.u32()?);
    let (partial_len, partial) = (r.u8()?, r.take::<9>()?);
    let confidence = match r.u8()? {
        confidence::TENTATIVE | confidence::TLS | confidence::OPENED => {
            ProtocolConfidence::Tentative
        }
        confidence::PLAUSIBLE => ProtocolConfidence::Plausible,
        confidence::PREFACE => ProtocolConfidence::Preface,
        _ => return Err(DecodeError::Value("confidence")),
    };
    let unseen = unseen(r.u8()?)?;
    r.take::<4>()?;
    let (stream_id, frame_type, flags) = (r.u32()?, r.u8()?, r.u8()?);
    r.take::<2>()?;
    let boundary = match (to_boundary, partial_len) {
        (BOUNDARY_UNKNOWN, _) => Boundary::Unknown,
        (after, 0) => Boundary::At {
            after,
            frame_type,
            flags,
            stream_id,
        },
        (0, len @ 1..=8) => Boundary::InHeader {
            len,
            bytes: partial,
        },
        _ => return Err(DecodeError::Value("boundary")),
    };
    if covered(encoded) != Some(u64::from(total)) {
        return Err(DecodeError::Segments);
    }
    Ok(Bytes {
        direction,
        offset,
        total,
        boundary,
        confidence,
        unseen,
        encoded,
    })
}

fn unseen(value: u8) -> Result<Option<Unseen>, DecodeError> {
    Ok(Some(match value {
        wire::unseen::NONE => return Ok(None),
        wire::unseen::IO_URING => Unseen::IoUring,
        wire::unseen::SPLICE => Unseen::Splice,
        wire::unseen::COMPAT => Unseen::Compat,
        wire::unseen::THROWN_AWAY => Unseen::ThrownAway,
        wire::unseen::OTHER => Unseen::Other,
        _ => return Err(DecodeError::Value("reason for unseen bytes")),
    }))
}

/// How many stream bytes the segments cover; None when the last one is cut off.
fn covered(encoded: &[u8]) -> Option<u64> {
    let mut total = 0;
    let mut rest = encoded;
    while let Some((word, after)) = rest.split_first_chunk::<4>() {
        let word = u32::from_le_bytes(*word);
        let len = word & !SEGMENT_HOLE;
        rest = if word & SEGMENT_HOLE != 0 {
            after
        } else {
            after.get(len as usize..)?
        };
        total += u64::from(len);
    }
    rest.is_empty().then_some(total)
}

fn end(r: &mut Reader<'_>, direction: Direction) -> Result<End, DecodeError> {
    let cause = match r.u8()? {
        cause::LOCAL_CLOSE => EndCause::LocalClose,
        cause::PEER_FIN => EndCause::PeerFin,
        cause::PEER_RESET => EndCause::PeerReset,
        cause::LOCAL_RESET => EndCause::LocalReset,
        cause::CLOSED => EndCause::Closed,
        cause::EOF => EndCause::Eof,
        cause::BROKEN => EndCause::Broken,
        cause::DESYNC => EndCause::Desync(direction),
        _ => return Err(DecodeError::Value("cause")),
    };
    r.take::<7>()?;
    let known = |offset: u64| (offset != OFFSET_UNKNOWN).then_some(offset);
    Ok(End {
        cause,
        tx_offset: known(r.u64()?),
        rx_offset: known(r.u64()?),
    })
}

fn unrecognised<'a>(
    r: &mut Reader<'a>,
    direction: Direction,
) -> Result<Unrecognised<'a>, DecodeError> {
    let protocol = match r.u8()? {
        class::TLS => OtherProtocol::Tls,
        class::HTTP1 => OtherProtocol::Http1,
        class::OTHER => OtherProtocol::Other,
        _ => return Err(DecodeError::Value("protocol")),
    };
    r.take::<3>()?;
    let len = r.u32()? as usize;
    let first = std::mem::take(&mut r.0);
    if first.len() != len {
        return Err(DecodeError::Length(first.len()));
    }
    Ok(Unrecognised {
        direction,
        protocol,
        first,
    })
}

impl Segment<'_> {
    /// Stream bytes that it stands for.
    #[must_use]
    pub fn len(&self) -> u32 {
        match self {
            // No record is longer than RECORD_MAX, so this never saturates.
            Segment::Bytes(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            Segment::Hole(len) => *len,
        }
    }

    /// True when it stands for no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record: header, then `body`.
    fn record(kind: u8, direction: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, direction, 0, 0];
        bytes.extend_from_slice(&u32::try_from(48 + body.len()).unwrap().to_le_bytes());
        for word in [7u64, 0xffff_8880_0000_1000, 5] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&42u32.to_le_bytes());
        bytes.extend_from_slice(&43u32.to_le_bytes());
        bytes.extend_from_slice(&99u64.to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn bytes_body(total: u32, to_boundary: u32, partial_len: u8, segments: &[u8]) -> Vec<u8> {
        let mut body = 1_000u64.to_le_bytes().to_vec();
        body.extend_from_slice(&total.to_le_bytes());
        body.extend_from_slice(&to_boundary.to_le_bytes());
        body.push(partial_len);
        body.extend_from_slice(&[0, 0, 9, 0, 0, 0, 0, 0, 0]);
        body.push(confidence::PREFACE);
        body.extend_from_slice(&[0; 5]);
        body.extend_from_slice(&3u32.to_le_bytes());
        body.extend_from_slice(&[0, 1, 0, 0]);
        body.extend_from_slice(segments);
        body
    }

    fn segments() -> Vec<u8> {
        let mut encoded = 3u32.to_le_bytes().to_vec();
        encoded.extend_from_slice(b"abc");
        encoded.extend_from_slice(&(500 | SEGMENT_HOLE).to_le_bytes());
        encoded
    }

    fn samples() -> Vec<Vec<u8>> {
        let mut open = vec![2, 0, opened::ACTIVE, 1];
        open.resize(192, 0);
        let mut end = vec![cause::EOF];
        end.resize(8, 0);
        end.extend_from_slice(&[0xff; 8]);
        end.extend_from_slice(&9u64.to_le_bytes());
        vec![
            record(kind::OPEN, 0, &open),
            record(kind::BYTES, 1, &bytes_body(503, 600, 0, &segments())),
            record(kind::END, 1, &end),
            record(
                kind::UNRECOGNISED,
                0,
                &[class::HTTP1, 0, 0, 0, 2, 0, 0, 0, b'G', b'E'],
            ),
        ]
    }

    #[test]
    fn reasons_for_unseen_bytes_are_decoded_and_others_refused() {
        let decoded = |reason: u8| {
            let mut sample = samples().swap_remove(1);
            sample[48 + 8 + 4 + 4 + 1 + 9 + 1] = reason;
            match decode(&sample)?.what {
                What::Bytes(bytes) => Ok(bytes.unseen),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(decoded(wire::unseen::NONE), Ok(None));
        assert_eq!(decoded(wire::unseen::IO_URING), Ok(Some(Unseen::IoUring)));
        assert_eq!(decoded(wire::unseen::OTHER), Ok(Some(Unseen::Other)));
        let unknown = DecodeError::Value("reason for unseen bytes");
        assert_eq!(decoded(wire::unseen::OTHER + 1), Err(unknown));
    }

    #[test]
    fn every_kind_of_record_is_decoded() {
        let samples = samples();
        let event = decode(&samples[0]).unwrap();
        assert_eq!(
            (event.at, event.task.pid, event.task.tid),
            (Timestamp(7), 42, 43)
        );
        let What::Open(open) = event.what else {
            panic!()
        };
        assert_eq!((open.opened, open.from_start), (Opened::Active, true));
        let What::Bytes(bytes) = decode(&samples[1]).unwrap().what else {
            panic!()
        };
        assert_eq!(
            (bytes.direction, bytes.offset, bytes.total),
            (Direction::Rx, 1_000, 503)
        );
        assert_eq!(
            bytes.boundary,
            Boundary::At {
                after: 600,
                frame_type: 0,
                flags: 1,
                stream_id: 3
            }
        );
        let got: Vec<_> = bytes.segments().collect();
        assert_eq!(got, [Segment::Bytes(b"abc"), Segment::Hole(500)]);
        let What::End(end) = decode(&samples[2]).unwrap().what else {
            panic!()
        };
        assert_eq!(
            (end.cause, end.tx_offset, end.rx_offset),
            (EndCause::Eof, None, Some(9))
        );
        let What::Unrecognised(other) = decode(&samples[3]).unwrap().what else {
            panic!()
        };
        assert_eq!(
            (other.protocol, other.first),
            (OtherProtocol::Http1, &b"GE"[..])
        );
    }

    #[test]
    fn a_half_read_header_is_told_with_its_bytes() {
        let body = bytes_body(503, 0, 4, &segments());
        let bytes = record(kind::BYTES, 0, &body);
        let What::Bytes(bytes) = decode(&bytes).unwrap().what else {
            panic!()
        };
        assert_eq!(
            bytes.boundary,
            Boundary::InHeader {
                len: 4,
                bytes: [0, 0, 9, 0, 0, 0, 0, 0, 0]
            }
        );
    }

    #[test]
    fn segments_that_do_not_add_up_are_refused() {
        for (total, cut) in [(502, 0), (504, 0), (503, 1), (3, 4)] {
            let mut encoded = segments();
            encoded.truncate(encoded.len() - cut);
            let bytes = record(kind::BYTES, 0, &bytes_body(total, 0, 0, &encoded));
            // A cut that leaves whole segments covers less, and may say so.
            let fits = total == 3 && cut == 4;
            assert_eq!(decode(&bytes).is_ok(), fits, "{total} {cut}");
        }
    }

    #[test]
    fn unix_names_are_shown_as_users_write_them() {
        assert_eq!(
            unix_address(b"/run/x.sock\0junk"),
            Address::Unix("/run/x.sock".into())
        );
        assert_eq!(unix_address(b"\0name"), Address::Unix("@name".into()));
        assert_eq!(unix_address(b""), Address::Unix(String::new()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            read(&bytes);
        }

        #[test]
        fn no_changed_record_makes_the_decoder_panic(
            which in 0usize..4,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
            mend in any::<bool>(),
        ) {
            let mut bytes = samples()[which].clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            if mend && bytes.len() >= 8 {
                let len = u32::try_from(bytes.len()).unwrap();
                bytes[4..8].copy_from_slice(&len.to_le_bytes());
            }
            read(&bytes);
        }
    }

    /// Decodes, and when that works, what the record promises holds.
    fn read(bytes: &[u8]) {
        if let Ok(Event {
            what: What::Bytes(bytes),
            ..
        }) = decode(bytes)
        {
            let total: u64 = bytes
                .segments()
                .map(|segment| match segment {
                    Segment::Bytes(bytes) => bytes.len() as u64,
                    Segment::Hole(len) => u64::from(len),
                })
                .sum();
            assert_eq!(total, u64::from(bytes.total));
        }
    }
}
