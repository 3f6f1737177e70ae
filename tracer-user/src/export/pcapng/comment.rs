//! What stands in the comments of a recording.

use std::net::SocketAddr;

use h2trace_core::anomaly::kind::Finding;
use h2trace_core::connection::Endpoint;
use h2trace_core::event::{Opened, Process};
use h2trace_core::pipeline::ConnectionInfo;

use super::RecordingCounts;
use crate::capture::{EndNote, whose};
use crate::plain::plain;
use crate::unit::count;

/// Who wrote the file.
pub(super) const APPLICATION: &str = concat!("h2trace ", env!("CARGO_PKG_VERSION"));

/// What a reader must know of the whole file.
pub(super) const SECTION: &str = concat!(
    "Recorded by h2trace ",
    env!("CARGO_PKG_VERSION"),
    " from socket calls. The bytes, their order and their times are those of the calls; TCP and IP around them \
     are made up. A connection of which both ends were traced stands here once. It holds the payload of the \
     traced processes, bodies and credentials."
);

const fn side(info: &ConnectionInfo) -> Opened {
    match info.role {
        Some(Endpoint::Client) => Opened::Active,
        Some(Endpoint::Server) => Opened::Passive,
        None => Opened::Unseen,
    }
}

/// Whose connection end it is, which has this address in the file.
pub(super) fn connection(info: &ConnectionInfo, address: SocketAddr) -> String {
    let note = EndNote {
        opened: side(info),
        address,
        process: Process {
            pid: info.pid,
            comm: plain(&info.comm).into_owned(),
            cgroup: info.cgroup,
            netns: info.netns,
        },
    };
    note.words()
}

pub(super) fn finding(info: &ConnectionInfo, finding: &Finding) -> String {
    let about = match finding.stream_id.0 {
        0 => String::new(),
        id => format!(", stream {id}"),
    };
    format!(
        "h2trace: {} {}{about}, at the {} end (process {}, {}): {}",
        finding.verdict.as_str(),
        finding.kind.as_str(),
        whose(side(info)),
        info.pid,
        plain(&info.comm),
        plain(&finding.summary)
    )
}

/// What the file lacks, at its end.
pub(super) fn end(counts: &RecordingCounts, lost: u64) -> String {
    if counts.missing_bytes == 0 && counts.beyond_size == 0 && lost == 0 {
        return "h2trace: nothing is missing".to_owned();
    }
    format!(
        "h2trace: missing are {} in {}, {} beyond the file's limit, {} of the kernel",
        count(counts.missing_bytes, "byte", "bytes"),
        count(counts.holes, "place", "places"),
        count(counts.beyond_size, "packet", "packets"),
        count(lost, "record", "records"),
    )
}

#[cfg(test)]
mod tests {
    use h2trace_core::pipeline::ConnectionInfo;

    use super::*;
    use crate::export::sample;
    use crate::plain::tests::{HOSTILE, harm};

    #[test]
    fn comments_are_lines_of_our_own_and_are_read_back() {
        let info = ConnectionInfo {
            comm: HOSTILE.into(),
            ..sample::connection()
        };
        let mut found = sample::cut(17).1.remove(0);
        found.summary = HOSTILE.into();
        let words = connection(&info, "127.0.0.1:1".parse().unwrap());
        for comment in [&words, &finding(&info, &found)] {
            assert_eq!(
                (harm(comment), comment.contains('\n')),
                (String::new(), false)
            );
        }
        let short = ConnectionInfo {
            comm: "a\u{1b}[2J\u{202e}".into(),
            ..info
        };
        let words = connection(&short, "127.0.0.1:1".parse().unwrap());
        assert_eq!(
            EndNote::read(words.as_bytes()).unwrap().process.comm,
            "a?[2J?"
        );
    }
}
