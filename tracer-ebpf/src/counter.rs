//! What the kernel programs count, per CPU: indices into the `COUNTERS` map (a per-CPU array of u64).
//!
//! Losses are counted at the place where they happen and exported as
//! `h2trace_self_*`: a tracer without loss counters lies.

/// One counter of the kernel programs.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Socket calls seen on wanted sockets.
    Calls = 0,
    /// Stream bytes that passed on HTTP/2 sockets.
    BytesSeen = 1,
    /// Bytes copied to the ring, record headers included.
    BytesCopied = 2,
    /// Records written to the ring.
    Records = 3,
    /// Loss: records that did not fit into the ring.
    RingFull = 4,
    /// Loss: user memory could not be read (page not present).
    Fault = 5,
    /// Loss: one call had more frames or segments than the loop bound.
    StepLimit = 6,
    /// Loss: one call had more iovecs than the loop bound.
    IovecLimit = 7,
    /// Loss: calls without a known buffer, so that the place among the frames was lost.
    NoBuffer = 8,
    /// Loss: bytes that passed between two calls without a hook (splice from a socket).
    Unhooked = 9,
    /// Loss: two tasks used one direction of one socket at once.
    Busy = 10,
    /// Loss: the frame walker lost its place and must find it anew.
    Desync = 11,
    /// Loss: the socket table was full.
    SocketTableFull = 12,
    /// Sockets looked at and not wanted by the filter.
    SocketsUnwanted = 13,
    /// Sockets that speak something else than HTTP/2.
    SocketsOther = 14,
    /// Receives with MSG_PEEK, rightly not counted as bytes.
    Peeks = 15,
    /// Calls on sockets that are not wanted or not HTTP/2: what an unwanted call costs is one lookup.
    CallsSkipped = 16,
    /// Loss: a needed kernel field is unknown (see `h2trace doctor`).
    NoField = 17,
    /// Bytes of HTTP/2 sockets or sockets still undecided that io_uring moved, whose buffer is not known.
    UnseenIoUring = 18,
    /// Likewise: bytes that sendfile or splice moved.
    UnseenSplice = 19,
    /// Likewise: bytes of 32-bit system calls.
    UnseenCompat = 20,
    /// Likewise: bytes that MSG_TRUNC threw away.
    UnseenThrownAway = 21,
    /// Likewise: bytes of other system calls, or of one whose descriptor shows another file by now.
    UnseenOther = 22,
    /// Loss: secrets of TLS handshakes that had no place, or could not be read.
    SecretsLost = 23,
}

/// Number of counters: the size of the map.
pub const COUNTERS: u32 = 24;

impl Counter {
    /// All of them, in the order of their indices.
    pub const ALL: [Counter; COUNTERS as usize] = [
        Counter::Calls,
        Counter::BytesSeen,
        Counter::BytesCopied,
        Counter::Records,
        Counter::RingFull,
        Counter::Fault,
        Counter::StepLimit,
        Counter::IovecLimit,
        Counter::NoBuffer,
        Counter::Unhooked,
        Counter::Busy,
        Counter::Desync,
        Counter::SocketTableFull,
        Counter::SocketsUnwanted,
        Counter::SocketsOther,
        Counter::Peeks,
        Counter::CallsSkipped,
        Counter::NoField,
        Counter::UnseenIoUring,
        Counter::UnseenSplice,
        Counter::UnseenCompat,
        Counter::UnseenThrownAway,
        Counter::UnseenOther,
        Counter::SecretsLost,
    ];

    /// Name as a label value, and whether it counts something lost.
    #[must_use]
    pub const fn name(self) -> (&'static str, bool) {
        match self {
            Counter::Calls => ("calls", false),
            Counter::BytesSeen => ("bytes_seen", false),
            Counter::BytesCopied => ("bytes_copied", false),
            Counter::Records => ("records", false),
            Counter::RingFull => ("ring_full", true),
            Counter::Fault => ("fault", true),
            Counter::StepLimit => ("step_limit", true),
            Counter::IovecLimit => ("iovec_limit", true),
            Counter::NoBuffer => ("no_buffer", true),
            Counter::Unhooked => ("unhooked", true),
            Counter::Busy => ("busy", true),
            Counter::Desync => ("desync", true),
            Counter::SocketTableFull => ("socket_table_full", true),
            Counter::SocketsUnwanted => ("sockets_unwanted", false),
            Counter::SocketsOther => ("sockets_other", false),
            Counter::Peeks => ("peeks", false),
            Counter::CallsSkipped => ("calls_skipped", false),
            Counter::NoField => ("no_field", true),
            Counter::UnseenIoUring => ("unseen_io_uring", false),
            Counter::UnseenSplice => ("unseen_splice", false),
            Counter::UnseenCompat => ("unseen_compat", false),
            Counter::UnseenThrownAway => ("unseen_thrown_away", false),
            Counter::UnseenOther => ("unseen_other", false),
            Counter::SecretsLost => ("secrets_lost", true),
        }
    }
}
