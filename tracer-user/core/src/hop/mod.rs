//! Stage 5: the two sides of a proxy become one request.
//!
//! A stream that a process serves, and a stream that the same process opens for it, are one request. How
//! they are found to be the same is the *join*, and each join says how sure it is ([`Confidence`]): ids and
//! field values that pass unchanged, the thread and the order in which it read and wrote, or time alone.
//!
//! A request is looked for when the upstream stream opens, and judged when both sides have ended. A
//! process that has streams of one role only is no proxy and costs nothing.

mod across;
mod alone;
mod away;
mod crowd;
mod deadline;
mod doubt;
mod downstream;
pub(crate) mod facts;
pub(crate) mod fast;
mod find;
mod gap;
mod ids;
mod index;
mod ledger;
mod leg;
mod mesh;
mod opening;
mod order;
mod period;
mod proxy_state;
mod recent;
mod response;
mod shared_host;
mod steps;
mod table;
#[cfg(test)]
mod tests;
mod threads;
mod undecided;
mod unseen;

use std::net::IpAddr;
use std::sync::Arc;

use crate::connection::{ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::stream::record::StreamRecord;
pub use deadline::{DeadlineUse, Part};
pub use facts::{EndStreamLag, Ended, MissingBytes, early_response, ended, reset_by};
pub use ledger::Carried;
pub use leg::LegEnd;
pub use mesh::{AllMissing, DroppedBy, Mesh};
pub use table::Hops;

/// What may be a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyKey {
    /// A process, by its id.
    Process(u32),
    /// In a file, which knows no processes: a host, by its address and network namespace (0 unknown).
    Host(IpAddr, u32),
}

/// One of the two sides of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Towards the client: here the proxy is the server.
    Downstream,
    /// Towards the server: here the proxy is the client.
    Upstream,
}

impl Side {
    /// The side at which the proxy has this role.
    #[must_use]
    pub const fn of_role(role: Endpoint) -> Side {
        match role {
            Endpoint::Server => Side::Downstream,
            Endpoint::Client => Side::Upstream,
        }
    }

    const fn index(self) -> usize {
        match self {
            Side::Downstream => 0,
            Side::Upstream => 1,
        }
    }
}

/// What two streams were found to be one request by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// `x-request-id` is the same on both hops.
    RequestId,
    /// The trace id of `traceparent` is the same on both hops.
    Trace,
    /// An earlier upstream stream of the request had the same `x-request-id`.
    EarlierAttempt,
    /// All fields but those that proxies change are the same, and no other request has them.
    Fields,
    /// The value of one field is the same on both hops, and no other request has it.
    Field,
    /// The same thread read the requests and wrote them on, in the same order.
    Order,
    /// The upstream stream began within the life of the other one, and of no other that was waiting.
    Time,
    /// Of those that it may be, its response alone is what the client got, and came before that was over.
    Response,
}

impl By {
    /// Label value and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            By::RequestId => "request_id",
            By::Trace => "traceparent",
            By::EarlierAttempt => "earlier_attempt",
            By::Fields => "fields",
            By::Field => "field",
            By::Order => "order",
            By::Time => "time",
            By::Response => "response",
        }
    }
}

/// How sure a join is; the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// By an id that is made for it.
    Id,
    /// By a value that no other request in flight has.
    UniqueField,
    /// By the order of reading and writing on one thread.
    ThreadOrder,
    /// By time alone, and there was one candidate.
    Time,
    /// Several requests could not be told apart: verdicts hold whichever it is, or are unknown.
    Ambiguous,
}

impl Confidence {
    /// Label value and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Confidence::Id => "id",
            Confidence::UniqueField => "unique_field",
            Confidence::ThreadOrder => "thread_order",
            Confidence::Time => "time",
            Confidence::Ambiguous => "ambiguous",
        }
    }
}

/// What a process speaks on its other side that cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OtherSide {
    Tls,
    Http1,
}

/// Why one side of a request stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// The proxy speaks on its other side what cannot be followed.
    OtherSide(OtherSide),
    /// No upstream stream was found for a request.
    NoUpstream,
    /// No request was found for an upstream stream.
    NoDownstream,
}

impl Alone {
    /// As JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Alone::OtherSide(OtherSide::Tls) => "tls_other_side",
            Alone::OtherSide(OtherSide::Http1) => "http1_other_side",
            Alone::NoUpstream => "no_upstream_stream",
            Alone::NoDownstream => "no_downstream_stream",
        }
    }
}

impl OtherSide {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            OtherSide::Tls => "TLS",
            OtherSide::Http1 => "HTTP/1.x",
        }
    }
}

/// When nothing more was to be expected of a request's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    pub at: Timestamp,
    /// The client gave up before the response was complete: the proxy may not have heard of it when it passed the
    /// request on.
    pub cancelled: bool,
}

/// By what, and how surely, an upstream stream was found to belong to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Join {
    pub by: By,
    pub confidence: Confidence,
}

/// One side of a request that has ended. `T` is what the caller wants to know of its connection.
#[derive(Clone, Debug)]
pub struct HopStream<T> {
    /// The connection, as the caller knows it.
    pub tag: T,
    pub record: Arc<StreamRecord>,
}

/// An upstream stream of a request.
#[derive(Clone, Debug)]
pub struct Attempt<T> {
    /// The connection end it was observed on.
    pub connection: ConnectionId,
    pub stream_id: StreamId,
    /// When its HEADERS went by.
    pub began_at: Timestamp,
    /// How it was found.
    pub join: Join,
    /// It; None when it had not ended [`limits::HOP_WAIT_NS`](crate::limits::HOP_WAIT_NS) after the other side.
    pub stream: Option<HopStream<T>>,
}

/// A stream that a proxy opened, and the request that it was opened for was not seen.
#[derive(Clone, Debug)]
pub struct Lone<T> {
    pub proxy: ProxyKey,
    /// The stream, towards the server.
    pub upstream: HopStream<T>,
    /// The process is spoken to in a way that is not followed: the request may have come so.
    pub other_side: Option<OtherSide>,
    /// When it was decided.
    pub at: Timestamp,
}

impl<T> Lone<T> {
    /// Why it stands alone.
    #[must_use]
    pub fn why(&self) -> Alone {
        self.other_side
            .map_or(Alone::NoDownstream, Alone::OtherSide)
    }
}

/// A request at a proxy: both sides, as far as they were seen.
#[derive(Clone, Debug)]
pub struct Hop<T> {
    pub proxy: ProxyKey,
    /// The side towards the client.
    pub downstream: HopStream<T>,
    /// The streams that the proxy opened for it, in the order it opened them. Empty: it stands alone.
    pub upstream: Vec<Attempt<T>>,
    /// The least sure of the joins; None when it stands alone.
    pub join: Option<Join>,
    /// Other upstream streams that it may have been, when the join is ambiguous.
    pub others: Vec<Arc<StreamRecord>>,
    /// False when not all of those are known.
    pub others_known: bool,
    /// It stands alone, and the process has connections towards servers that are not followed: it may have gone
    /// on there.
    pub other_side: Option<OtherSide>,
    /// It went on over an opaque leg, and the streams are those of the proxy at its other end.
    pub mesh: Option<Mesh>,
    /// Requests of this path are known to be passed on here.
    pub passes_on: bool,
    /// When it was decided.
    pub at: Timestamp,
}
