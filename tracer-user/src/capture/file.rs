//! A capture file as a stream of packets: which format it is, and what can be wrong with it.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use h2trace_core::event::Timestamp;
use h2trace_core::limits;
use h2trace_core::tls::KeyLog;

use super::Endian;
use super::link::LinkType;
use super::pcap::Pcap;
use super::pcapng::Pcapng;
use super::process::PacketOptions;

/// RFC 1952 section 2.3.1.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// How much is read from the file at once.
const READ_AT_ONCE: usize = 256 * 1024;

/// Why a capture cannot be read (further). What came before it stays good.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The first bytes are none that a capture begins with.
    #[error("not a capture: the file begins with {0}; give a pcap or pcapng file, gzip or not")]
    NotACapture(String),
    /// It has to be unpacked first.
    #[error("the file is compressed with {how}, which is not read: {tool} FILE | h2trace replay -")]
    Compressed {
        how: &'static str,
        /// What unpacks it.
        tool: &'static str,
    },
    /// A capture, and of another kind.
    #[error(
        "the file is a capture of {0}, which is not read: editcap -F pcapng FILE OUT, and replay OUT"
    )]
    OtherFormat(&'static str),
    /// The file has no bytes.
    #[error("not a capture: the file is empty")]
    Empty,
    /// The file ends before its own lengths say.
    #[error("the capture is truncated: it ends inside packet {packet}")]
    Truncated {
        /// The packet's number, counted from 1.
        packet: u64,
    },
    /// The file contradicts itself.
    #[error("the capture is corrupt at packet {packet}: {what}")]
    Corrupt {
        /// The number of the packet that could not be read, counted from 1.
        packet: u64,
        what: String,
    },
    /// The operating system or gzip says no.
    #[error("cannot read packet {packet} of the capture")]
    Read {
        /// The packet's number, counted from 1.
        packet: u64,
        source: io::Error,
    },
    /// Packets of a link layer that is not decoded.
    #[error(
        "link type {0} is not supported; Ethernet (1), Linux cooked (113, 276), loopback (0, 108), raw IP \
         (101, 228, 229), PPP (9, 50, 51, 166), Cisco HDLC (104), MPLS (219), OpenBSD's pflog and enc (117, 109), \
         IEEE 802.11 (105, 127, 163, 192), \
         Apple's pktap (149, 258) and netfilter's log (239) are"
    )]
    LinkType(u16),
}

#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its number in the file, counted from 1 as Wireshark does.
    pub number: u64,
    /// When it was captured.
    pub at: Timestamp,
    /// What its first bytes are; None: a link layer that is not decoded.
    pub link: Option<LinkType>,
    /// Its length on the wire; more than `data` when it was cut.
    pub wire_len: u32,
    pub data: &'a [u8],
    /// What the file says beside them.
    pub options: PacketOptions<'a>,
}

/// What a format's reader found next.
pub(super) struct PacketLocation {
    pub(super) at: Timestamp,
    pub(super) link: Option<LinkType>,
    pub(super) wire_len: u32,
    /// Where in the buffer the packet's bytes are.
    pub(super) from: usize,
    pub(super) len: usize,
    /// Where in the buffer its options are, and their byte order.
    pub(super) options: Option<(usize, Endian)>,
}

enum FileFormat {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// Reads packets from a file of any length in bounded memory.
pub struct Capture<'r> {
    input: Input<'r>,
    format: FileFormat,
}

impl<'r> Capture<'r> {
    /// Reads the beginning of `reader` to learn which format it is.
    ///
    /// # Errors
    /// When it is no capture, or of a link layer that is not decoded.
    pub fn open(reader: impl Read + 'r) -> Result<Capture<'r>, CaptureError> {
        let mut reader: Box<dyn BufRead + 'r> =
            Box::new(BufReader::with_capacity(READ_AT_ONCE, reader));
        let mut start = beginning(&mut reader)?;
        reader = Box::new(Cursor::new(start.clone()).chain(reader));
        if start.starts_with(&GZIP_MAGIC) {
            reader = Box::new(BufReader::with_capacity(
                READ_AT_ONCE,
                MultiGzDecoder::new(reader),
            ));
            start = beginning(&mut reader)?;
            reader = Box::new(Cursor::new(start.clone()).chain(reader));
        }
        if start.is_empty() {
            return Err(CaptureError::Empty);
        }
        let mut input = Input {
            reader,
            buffer: Vec::new(),
            packet: 1,
        };
        let format = if start == pcapng_magic() {
            FileFormat::Pcapng(Pcapng::new())
        } else if let Some(pcap) = Pcap::open(&start, &mut input)? {
            FileFormat::Pcap(pcap)
        } else {
            if let Some(known) = known_otherwise(&start) {
                return Err(known);
            }
            let hex: Vec<String> = start.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(CaptureError::NotACapture(hex.join(" ")));
        };
        Ok(Capture { input, format })
    }

    /// The next packet; None at the end of the file.
    ///
    /// # Errors
    /// When the file is truncated or corrupt, with the number of the packet that could not be read.
    pub fn packet(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        self.packet_and_keys(&mut KeyLog::default())
    }

    /// The next packet; the TLS secrets that the file has before it are added to `keys`.
    ///
    /// # Errors
    /// As [`Capture::packet`].
    pub fn packet_and_keys(
        &mut self,
        keys: &mut KeyLog,
    ) -> Result<Option<Packet<'_>>, CaptureError> {
        let found = match &mut self.format {
            FileFormat::Pcap(pcap) => pcap.next(&mut self.input)?,
            FileFormat::Pcapng(pcapng) => pcapng.next(&mut self.input, keys)?,
        };
        let Some(found) = found else { return Ok(None) };
        let number = self.input.packet;
        self.input.packet += 1;
        let data = self
            .input
            .buffer
            .get(found.from..found.from.saturating_add(found.len))
            .unwrap_or_default();
        Ok(Some(Packet {
            number,
            at: found.at,
            link: found.link,
            // A packet cannot be shorter than what was captured of it, whatever the file says.
            wire_len: found
                .wire_len
                .max(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            data,
            options: match found.options {
                Some((at, endian)) => PacketOptions {
                    endian,
                    bytes: self.input.buffer.get(at..).unwrap_or_default(),
                },
                None => PacketOptions::NONE,
            },
        }))
    }
}

impl Capture<'_> {
    /// Lines of the file's secrets so far that are none of a key log.
    #[must_use]
    pub fn bad_secrets(&self) -> u64 {
        match &self.format {
            FileFormat::Pcap(_) => 0,
            FileFormat::Pcapng(pcapng) => pcapng.bad_secrets(),
        }
    }
}

/// What can be made a capture that is read.
fn known_otherwise(start: &[u8]) -> Option<CaptureError> {
    let compressed = |how, tool| CaptureError::Compressed { how, tool };
    Some(match start {
        [0x28, 0xb5, 0x2f, 0xfd] => compressed("zstd", "zstd -dc"),
        [0x04, 0x22, 0x4d, 0x18] | [0x02, 0x21, 0x4c, 0x18] => compressed("lz4", "lz4 -dc"),
        [0xfd, b'7', b'z', b'X'] => compressed("xz", "xz -dc"),
        [b'B', b'Z', b'h', _] => compressed("bzip2", "bzip2 -dc"),
        [b'P', b'K', 3, 4] => compressed("zip", "unzip -p"),
        b"snoo" => CaptureError::OtherFormat("Solaris's snoop"),
        b"GMBU" | b"RTSS" => CaptureError::OtherFormat("Microsoft's Network Monitor"),
        _ => return None,
    })
}

fn pcapng_magic() -> [u8; 4] {
    super::pcapng::SECTION_HEADER.to_be_bytes()
}

/// The first four bytes, or fewer when there are no more.
fn beginning(reader: &mut dyn Read) -> Result<Vec<u8>, CaptureError> {
    let mut start = Vec::new();
    reader
        .take(4)
        .read_to_end(&mut start)
        .map_err(|source| CaptureError::Read { packet: 1, source })?;
    Ok(start)
}

/// The file's bytes, and the number of the packet that is being read.
pub(super) struct Input<'r> {
    reader: Box<dyn BufRead + 'r>,
    pub(super) buffer: Vec<u8>,
    packet: u64,
}

impl Input<'_> {
    /// True when not one byte is left.
    pub(super) fn at_end(&mut self) -> Result<bool, CaptureError> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.is_empty()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(error)),
            }
        }
    }

    /// The next `N` bytes.
    pub(super) fn exactly<const N: usize>(&mut self) -> Result<[u8; N], CaptureError> {
        let mut bytes = [0; N];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Puts the next `len` bytes into `buffer`.
    pub(super) fn fill(&mut self, len: u32) -> Result<(), CaptureError> {
        if len > limits::CAPTURE_PACKET {
            let most = limits::CAPTURE_PACKET;
            return Err(self.corrupt(format!("it claims {len} bytes, more than {most}")));
        }
        self.buffer.resize(len as usize, 0);
        match self.reader.read_exact(&mut self.buffer) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Passes over the next `len` bytes.
    pub(super) fn skip(&mut self, len: u32) -> Result<(), CaptureError> {
        let skipped = io::copy(
            &mut (&mut self.reader).take(u64::from(len)),
            &mut io::sink(),
        );
        match skipped {
            Ok(n) if n == u64::from(len) => Ok(()),
            Ok(_) => Err(CaptureError::Truncated {
                packet: self.packet,
            }),
            Err(error) => Err(self.error(error)),
        }
    }

    pub(super) fn corrupt(&self, what: impl Into<String>) -> CaptureError {
        CaptureError::Corrupt {
            packet: self.packet,
            what: what.into(),
        }
    }

    fn error(&self, source: io::Error) -> CaptureError {
        let packet = self.packet;
        if source.kind() == io::ErrorKind::UnexpectedEof {
            CaptureError::Truncated { packet }
        } else {
            CaptureError::Read { packet, source }
        }
    }
}
