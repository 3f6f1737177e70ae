//! Whose the two ends of a recorded connection are: the comment that `h2trace record` writes on the first
//! packet that it can, for each end that it traced, and that is read back here.
//!
//! ```text
//! h2trace: the client's end, 127.0.0.1:40000, is process 4242 (node), cgroup 17, network namespace 4026531840
//! ```
//!
//! The address is the one in the file. Without a network namespace it is unknown. Anybody can write such a
//! comment: it is believed where it is exactly of this form, and names things only.

use std::net::SocketAddr;

use h2trace_core::event::{Opened, Process};

use super::Endian;

/// Bytes of a process's name at most, in a comment that is believed. The kernel's are of 15.
const NAME_MAX: usize = 64;
/// `opt_endofopt` and `opt_comment` of pcapng.
const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;

/// What a comment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndNote {
    /// Whether it is the client's, which opened the connection, or the server's.
    pub opened: Opened,
    /// Its address in the file.
    pub address: SocketAddr,
    pub process: Process,
}

impl EndNote {
    #[must_use]
    pub fn words(&self) -> String {
        let process = &self.process;
        let mut words = format!(
            "h2trace: the {} end, {}, is process {} ({}), cgroup {}",
            whose(self.opened),
            self.address,
            process.pid,
            process.comm,
            process.cgroup
        );
        if process.netns != 0 {
            words.push_str(&format!(", network namespace {}", process.netns));
        }
        words
    }

    /// What the comment says, if it is one of these.
    #[must_use]
    pub fn read(comment: &[u8]) -> Option<EndNote> {
        let rest = comment.strip_prefix(b"h2trace: the ")?;
        let (opened, rest) = std::str::from_utf8(rest).ok()?.split_once(" end, ")?;
        let opened = match opened {
            "client's" => Opened::Active,
            "server's" => Opened::Passive,
            "observed" => Opened::Unseen,
            _ => return None,
        };
        let (address, rest) = rest.split_once(", is process ")?;
        let (pid, rest) = rest.split_once(" (")?;
        // A name may have any characters.
        let (comm, rest) = rest.rsplit_once("), cgroup ")?;
        let (cgroup, netns) = match rest.split_once(", network namespace ") {
            Some((cgroup, netns)) => (cgroup, number(netns)?),
            None => (rest, 0),
        };
        let pid = u32::try_from(number(pid)?).ok().filter(|pid| *pid > 0)?;
        let is_name = comm.len() <= NAME_MAX && !comm.chars().any(char::is_control);
        is_name.then_some(EndNote {
            opened,
            address: address.parse().ok()?,
            process: Process {
                pid,
                comm: comm.to_owned(),
                cgroup: number(cgroup)?,
                netns: u32::try_from(netns).ok()?,
            },
        })
    }
}

/// `client's`, `server's` or `observed`.
#[must_use]
pub const fn whose(opened: Opened) -> &'static str {
    match opened {
        Opened::Active => "client's",
        Opened::Passive => "server's",
        Opened::Unseen => "observed",
    }
}

/// Digits and nothing else: no sign.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// The options of a packet's block.
#[derive(Clone, Copy, Debug)]
pub struct PacketOptions<'a> {
    pub(super) endian: Endian,
    pub(super) bytes: &'a [u8],
}

impl PacketOptions<'_> {
    pub const NONE: PacketOptions<'static> = PacketOptions {
        endian: Endian::Little,
        bytes: &[],
    };

    /// What the comments among them say of the connection's ends.
    pub(super) fn notes(self) -> impl Iterator<Item = EndNote> {
        let mut at = 0;
        std::iter::from_fn(move || {
            loop {
                let code = self.endian.u16(self.bytes, at)?;
                let len = usize::from(self.endian.u16(self.bytes, at + 2)?);
                let value = self.bytes.get(at + 4..at + 4 + len)?;
                at += 4 + len.next_multiple_of(4);
                match code {
                    END_OF_OPTIONS => return None,
                    COMMENT => {
                        if let Some(note) = EndNote::read(value) {
                            return Some(note);
                        }
                    }
                    _ => {}
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(comm: &str, netns: u32) -> EndNote {
        EndNote {
            opened: Opened::Passive,
            address: "[::1]:8080".parse().unwrap(),
            process: Process {
                pid: 4_711,
                comm: comm.to_owned(),
                cgroup: 17,
                netns,
            },
        }
    }

    fn notes(bytes: &[u8]) -> Vec<EndNote> {
        let endian = Endian::Little;
        PacketOptions { endian, bytes }.notes().collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for comm in ["envoy", "", "a (b), cgroup 7", "x), cgroup 9 (", "ä, is"] {
            for netns in [0, u32::MAX] {
                for opened in [Opened::Active, Opened::Passive, Opened::Unseen] {
                    let note = EndNote {
                        opened,
                        ..note(comm, netns)
                    };
                    let words = note.words();
                    assert_eq!(EndNote::read(words.as_bytes()), Some(note), "{words}");
                }
            }
        }
    }

    #[test]
    fn nothing_else_is_believed() {
        let good = note("envoy", 5).words();
        for (from, to) in [
            ("h2trace", "H2trace"),
            ("server's", "proxy's"),
            ("[::1]:8080", "[::1]"),
            ("4711", "0"),
            ("4711", "+4711"),
            ("4711", "-1"),
            ("4711", "4294967296"),
            ("cgroup 17", "cgroup 17x"),
            ("cgroup 17", "cgroup 99999999999999999999"),
            ("namespace 5", "namespace 4294967296"),
            ("namespace 5", "namespace 5, and more"),
            ("envoy", "en\u{1b}voy"),
            ("envoy", &"e".repeat(NAME_MAX + 1)),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert_eq!(EndNote::read(bad.as_bytes()), None, "{bad}");
        }
        for end in 0..good.len() - ", network namespace 5".len() - 2 {
            assert_eq!(EndNote::read(&good.as_bytes()[..end]), None);
        }
        assert_eq!(EndNote::read(b"h2trace: the \xff end, "), None);
    }

    #[test]
    fn options_that_are_cut_or_lie_end_there() {
        let words = note("envoy", 5).words();
        let mut bytes = vec![7, 0, 3, 0, 1, 2, 3, 0];
        for words in ["other words", &words] {
            bytes.extend(1_u16.to_le_bytes());
            bytes.extend((words.len() as u16).to_le_bytes());
            bytes.extend(words.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        assert_eq!(notes(&bytes), [note("envoy", 5)]);
        for cut in 0..bytes.len() - 4 {
            assert_eq!(notes(&bytes[..cut]), []);
        }
        bytes.splice(0..0, [0, 0, 0, 0]);
        assert_eq!(notes(&bytes), []);
    }
}
