//! Capture files in place of a kernel: pcap and pcapng (gzip too) become the same events.
//!
//! ```text
//! file -> packet -> link -> ip -> tcp -> flow -> connection -> Event
//! ```
//!
//! A capture is not the truth of what the ends saw: packets are missing, doubled, cut and out of order,
//! and connections have no beginning. What was not captured becomes a jump of the offset or a hole, never
//! a guess. Each TCP connection is told as one observed end, the client's: it sends (`Tx`) what goes to the
//! server. Times are packet times, in nanoseconds since 1970.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod connection;
mod copies;
mod file;
mod flow;
#[cfg(feature = "tls")]
mod handover;
mod ip;
mod link;
mod networks;
mod pcap;
mod pcapng;
#[cfg(feature = "tls")]
mod probed;
mod process;
mod reassembly;
mod recognise;
#[cfg(feature = "tls")]
mod search;
mod sockets;
mod tcp;
mod tunnels;
mod wifi;

#[cfg(test)]
mod build;
#[cfg(test)]
mod tests;

pub use file::{Capture, CaptureError, Packet};
pub use link::LinkType;
pub use process::{EndNote, PacketOptions, whose};
pub use reassembly::{CaptureCounts, Reassembly};
pub use sockets::{Downstream, MemoryRead, TlsSockets};
pub use tunnels::Feed;

/// Byte order of a file's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endian {
    Big,
    Little,
}

impl Endian {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Endian::Big => u16::from_be_bytes(bytes),
            Endian::Little => u16::from_le_bytes(bytes),
        })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Endian::Big => u32::from_be_bytes(bytes),
            Endian::Little => u32::from_le_bytes(bytes),
        })
    }

    fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Endian::Big => u64::from_be_bytes(bytes),
            Endian::Little => u64::from_le_bytes(bytes),
        })
    }
}

/// Reads a number in network byte order.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Endian::Big.u16(bytes, at)
}
