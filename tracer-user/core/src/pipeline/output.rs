//! What the pipeline says to the exporters.

use std::sync::Arc;

use super::tunnel::Tunnel;
use crate::anomaly::kind::{Finding, Kind};
use crate::attribution::WorkloadHandle;
use crate::connection::{ConnectionEnd, ConnectionId, Endpoint};
use crate::event::{Address, Opened, OtherProtocol, Process, Timestamp, Unseen, UnseenBytes};
use crate::frame::head::Head;
use crate::frame::{Fault, Frame, Violation};
use crate::hop::{Hop, Lone};
use crate::limits::Limit;
use crate::stream::record::{GoAway, StreamRecord};
use crate::tls::TlsInfo;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/2 in clear text or in TLS that was opened: decoded.
    Http2,
    /// Not decoded.
    Other(OtherProtocol),
    /// Its bytes were not seen, most of them for this reason.
    Unseen(Unseen),
    /// Its beginning was not seen, and nothing of what came proved what it is.
    Undecided(Undecided),
}

/// What went by on a connection of which it never became known what it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Undecided {
    /// In both directions.
    pub bytes: u64,
    /// What the first of them look like.
    pub first: FirstBytes,
}

/// What bytes look like. Never what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FirstBytes {
    /// Not captured.
    Unseen,
    /// The header of an HTTP/2 frame.
    Frame,
    /// Printable.
    Text,
    /// Something else.
    Binary,
}

impl FirstBytes {
    /// In JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FirstBytes::Unseen => "unseen",
            FirstBytes::Frame => "frame",
            FirstBytes::Text => "text",
            FirstBytes::Binary => "binary",
        }
    }
}

/// One end of a connection, as the exporters show it.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Its number.
    pub id: ConnectionId,
    /// The role of the observed end; None as long as it is not known.
    pub role: Option<Endpoint>,
    /// The process that owns the observed end (in the initial pid namespace).
    pub pid: u32,
    /// Its `task->comm`.
    pub comm: String,
    /// Its v2 cgroup id.
    pub cgroup: u64,
    /// Inode of its network namespace; 0 unknown.
    pub netns: u32,
    /// The observed end.
    pub local: Address,
    /// The other end.
    pub peer: Address,
    /// The process at the other end, where a recording names it.
    pub peer_process: Option<Process>,
    /// The pod of the observed end.
    pub workload: WorkloadHandle,
    /// The pod of the other end, as far as its address names one.
    pub peer_workload: WorkloadHandle,
    /// How it came to be.
    pub opened: Opened,
    /// It was seen from its first byte.
    pub beginning_seen: bool,
    /// It began as HTTP/1.1 and was upgraded to h2c.
    pub upgraded: bool,
    /// What it speaks.
    pub protocol: Protocol,
    /// What is known of its TLS; None: it has none, or nothing is known of it.
    pub tls: Option<Arc<TlsInfo>>,
    /// The stream of another connection whose content it is.
    pub tunnel: Option<Arc<Tunnel>>,
    /// When it was first seen.
    pub first_at: Timestamp,
}

impl ConnectionInfo {
    /// The connection as its other end has it.
    #[must_use]
    pub fn turned(&self) -> ConnectionInfo {
        let own = Process {
            pid: self.pid,
            comm: self.comm.clone(),
            cgroup: self.cgroup,
            netns: self.netns,
        };
        let process = self.peer_process.clone().unwrap_or_default();
        ConnectionInfo {
            role: self.role.map(Endpoint::peer),
            pid: process.pid,
            comm: process.comm,
            cgroup: process.cgroup,
            netns: process.netns,
            local: self.peer.clone(),
            peer: self.local.clone(),
            peer_process: (own.pid != 0).then_some(own),
            workload: self.peer_workload.clone(),
            peer_workload: self.workload.clone(),
            opened: match self.opened {
                Opened::Active => Opened::Passive,
                Opened::Passive => Opened::Active,
                Opened::Unseen => Opened::Unseen,
            },
            ..self.clone()
        }
    }
}

/// Why something could not be seen or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossCause {
    /// Bytes that may have held frames were not captured.
    Gap,
    /// A frame header or a frame other than DATA had a hole in it.
    HoleInFrame,
    /// A header block had bytes missing.
    HeaderBlockLost,
    /// The bytes were no plausible frames.
    Implausible,
    /// The kernel's walker lost its place.
    Desync,
    /// The kernel programs forgot the socket for others, and met it again.
    SocketEvicted,
    /// A record of the kernel programs could not be read.
    BadRecord,
    /// A limit was reached.
    Limit(Limit),
}

impl LossCause {
    /// Label value and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            LossCause::Gap => "gap",
            LossCause::HoleInFrame => "hole_in_frame",
            LossCause::HeaderBlockLost => "header_block_lost",
            LossCause::Implausible => "implausible",
            LossCause::Desync => "desync",
            LossCause::SocketEvicted => "socket_evicted",
            LossCause::BadRecord => "bad_record",
            LossCause::Limit(limit) => limit.loss_cause(),
        }
    }
}

impl From<Fault> for LossCause {
    fn from(fault: Fault) -> LossCause {
        match fault {
            Fault::Gap => LossCause::Gap,
            Fault::HoleInFrame => LossCause::HoleInFrame,
            Fault::HeaderBlockLost => LossCause::HeaderBlockLost,
            Fault::Implausible => LossCause::Implausible,
            Fault::Limit(limit) => LossCause::Limit(limit),
        }
    }
}

/// Something of the traffic that could not be seen or decoded.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The connection, when it concerns one.
    pub connection: Option<Arc<ConnectionInfo>>,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub cause: LossCause,
    /// Bytes that went by unseen, when known.
    pub bytes: Option<u64>,
}

/// One field of a header block, as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSeen {
    /// Its name; None when it stands in an entry that was not seen.
    pub name: Option<String>,
    /// Its value; None when it is unseen or redacted. Bytes that are no UTF-8 are replaced.
    pub value: Option<String>,
    /// Name or value stand in an entry of the dynamic table that was not seen.
    pub unseen: bool,
    /// The value was seen and may not be shown.
    pub redacted: bool,
}

/// A frame that went by.
#[derive(Clone, Debug)]
pub struct FrameSeen {
    /// When it was whole (DATA: when it began).
    pub at: Timestamp,
    /// Who sent it.
    pub sender: Endpoint,
    /// Its header. Of a header block: the first frame's, with the lengths of the CONTINUATIONs added.
    pub head: Head,
    /// Frames it stands for: 1, and the CONTINUATIONs of a header block.
    pub n_frames: u32,
    /// What it says; header blocks are empty here (see `fields`). None for DATA and for what is too
    /// broken to say anything.
    pub frame: Option<Frame>,
    /// The fields of a header block.
    pub fields: Option<Vec<FieldSeen>>,
    /// The first rule that it breaks.
    pub violation: Option<Violation>,
}

impl FrameSeen {
    /// The frame's name in its RFC; `UNKNOWN` for a type that has none.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.head.name()
    }
}

impl Loss {
    /// Traffic went by that was not seen. Not so where only memory for convenience ran out.
    #[must_use]
    pub const fn hides_traffic(&self) -> bool {
        match self.cause {
            LossCause::Gap
            | LossCause::HoleInFrame
            | LossCause::HeaderBlockLost
            | LossCause::Implausible
            | LossCause::Desync
            | LossCause::SocketEvicted
            | LossCause::BadRecord => true,
            LossCause::Limit(limit) => limit.hides_traffic(),
        }
    }
}

/// One side of a request at a proxy, beside its stream: where it was seen.
#[derive(Clone, Debug)]
pub struct HopEnd {
    /// The proxy's end of the connection.
    pub info: Arc<ConnectionInfo>,
    /// What was found about the stream alone when it ended: the symptoms of what the proxy did.
    pub findings: Vec<Kind>,
    /// The other end of the connection, when it is followed too.
    pub peer: Option<Arc<ConnectionInfo>>,
}

/// What the pipeline says.
#[derive(Clone, Debug)]
pub enum Output {
    /// A frame went by. Only said when it was asked for ([`super::Pipeline::telling`]).
    Frame {
        /// Its connection.
        info: Arc<ConnectionInfo>,
        /// It.
        frame: Box<FrameSeen>,
    },
    /// A connection's protocol became known.
    Connection(Arc<ConnectionInfo>),
    /// A connection ended. Not said of connections whose protocol never became known.
    ConnectionEnded {
        /// It.
        info: Arc<ConnectionInfo>,
        /// Why.
        why: ConnectionEnd,
        /// When.
        at: Timestamp,
        /// Streams that were open then.
        open_streams: u32,
        /// Its bytes whose buffers were not known.
        unseen: UnseenBytes,
    },
    /// The first bytes of a connection passed whose buffer is not known, for this reason. Within DATA nothing is lost
    /// by that.
    BytesUnseen {
        /// The connection.
        info: Arc<ConnectionInfo>,
        /// When.
        at: Timestamp,
        /// Why.
        reason: Unseen,
    },
    /// A stream was opened.
    StreamOpened {
        /// Its connection.
        info: Arc<ConnectionInfo>,
    },
    /// A stream ended, with what was found about it.
    Stream {
        /// Its connection.
        info: Arc<ConnectionInfo>,
        /// It.
        record: Arc<StreamRecord>,
        /// What was found (all verdicts, benign ones too).
        findings: Vec<Finding>,
    },
    /// A request at a proxy: both its sides are over, and told of.
    Hop {
        /// It.
        request: Box<Hop<HopEnd>>,
        /// What was found about what the proxy made of it (all verdicts, benign ones too).
        findings: Vec<Finding>,
    },
    /// A stream that a proxy opened for a request that was not seen.
    Lone(Box<Lone<HopEnd>>),
    /// A finding about a connection.
    Finding {
        /// The connection.
        info: Arc<ConnectionInfo>,
        /// What was found.
        finding: Finding,
    },
    /// A GOAWAY went by.
    GoAway {
        /// The connection.
        info: Arc<ConnectionInfo>,
        /// It.
        go_away: GoAway,
    },
    /// Something could not be seen or decoded.
    Loss(Loss),
}

/// Takes what the pipeline says.
pub trait Sink {
    /// Takes one output.
    fn accept(&mut self, output: &Output);
}

/// Hands on what was found of a connection.
pub(super) fn say(
    info: &Arc<ConnectionInfo>,
    findings: impl IntoIterator<Item = Finding>,
    sink: &mut dyn Sink,
) {
    for finding in findings {
        let info = Arc::clone(info);
        sink.accept(&Output::Finding { info, finding });
    }
}
