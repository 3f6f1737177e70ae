//! The limits.

use super::Unit;

limits! {
    /// Connections followed at once. Beyond it the longest idle one is evicted.
    [Connections, Count, "connections", hides_traffic]
    pub const CONNECTIONS: usize = 65_536;

    /// Streams followed at once on one connection. Beyond it the oldest is evicted and reported with end `evicted`
    /// and verdict unknown.
    [StreamsPerConnection, Count, "streams_per_connection", hides_traffic]
    pub const STREAMS_PER_CONNECTION: usize = 4_096;

    /// Streams followed at once on all connections.
    [Streams, Count, "streams", hides_traffic]
    pub const STREAMS: usize = 1_048_576;

    /// How long a finished stream is kept, in event time, before it is judged: frames may cross its end, such as a
    /// second RST_STREAM or the other direction's call that finishes a moment later.
    [StreamLinger, Nanoseconds]
    pub const STREAM_LINGER_NS: u64 = 100_000_000;

    /// How many streams of one connection that ended in good order are kept for that time. With more, the oldest are
    /// judged earlier: the streams that are kept then stay in the processor's cache. Nothing is hidden by that but what
    /// comes after both END_STREAM and many other streams.
    [LingeringStreams, Count]
    pub const LINGERING_STREAMS: usize = 64;

    /// How long a stream is kept, in event time, when a gap touched it and no frame of it came since: its end may
    /// lie in the gap.
    [StreamDoubt, Nanoseconds]
    pub const STREAM_DOUBT_NS: u64 = 60_000_000_000;

    /// Ids of ended streams remembered per connection, so that a late frame does not reopen an old stream. (Where
    /// nothing was missed, the highest id is enough.)
    [EndedIds, Count]
    pub const ENDED_IDS: usize = 512;

    /// RST_STREAM frames of one stream that are kept.
    [Resets, Count]
    pub const RESETS: usize = 4;

    /// PINGs of one endpoint of a connection that wait for their ACK. Further ones are only counted.
    [Pings, Count]
    pub const PINGS: usize = 8;

    /// SETTINGS of one endpoint of a connection that wait for their ACK.
    [SettingsWaiting, Count]
    pub const SETTINGS_WAITING: usize = 8;

    /// Resets of a connection that are remembered, to tell whether their receiver has processed them.
    [ResetsRemembered, Count]
    pub const RESETS_REMEMBERED: usize = 32;

    /// Ranges of stream ids that a connection skipped and that are remembered.
    [SkippedIds, Count]
    pub const SKIPPED_IDS: usize = 32;

    /// Violations of RFC 9113 that are reported for one connection.
    [BrokenRules, Count, "broken_rules"]
    pub const BROKEN_RULES: usize = 32;

    /// Connections with a GOAWAY that the rules remember.
    [GoAwayConnections, Count, "go_away_connections"]
    pub const GO_AWAY_CONNECTIONS: usize = 65_536;

    /// Connections with an end that does not speak HTTP/2 that the rules remember.
    [ForeignConnections, Count, "foreign_connections"]
    pub const FOREIGN_CONNECTIONS: usize = 65_536;

    /// Methods whose shape (one message or several) the rules remember.
    [MethodShapes, Count, "method_shapes"]
    pub const METHOD_SHAPES: usize = 4_096;

    /// Methods of one process that a rule remembers. Beyond it the oldest is forgotten.
    [MethodsOfProcess, Count]
    pub const METHODS_OF_PROCESS: usize = 1_024;

    /// Methods whose resets the rules remember, by the end that sent them.
    [KilledMethods, Count, "idle_methods"]
    pub const KILLED_METHODS: usize = 1_024;

    /// How long a connection is kept after its end was seen, for records that cross it.
    [ConnectionLinger, Nanoseconds]
    pub const CONNECTION_LINGER_NS: u64 = 200_000_000;

    /// Memory that is kept for all connections together, as far as it is accounted to them: what the other limits leave of
    /// `--memory-limit`. Beyond it the connection with the most gives up its streams and header tables and is followed on like an old
    /// one; where none has much, the longest idle ones are evicted.
    [Memory, Bytes, "memory", hides_traffic]
    pub const MEMORY: usize = 512 << 20;

    /// How long a connection is let go that takes more than its share while records are lost: 4 and then 16 times as long
    /// when its process does so again. Then it is followed on like one that is older than the tracer.
    [LetGo, Nanoseconds, "share", hides_traffic]
    pub const LET_GO_NS: u64 = 1_000_000_000;

    /// How long the end of a Unix connection is quiet before it is looked whether its process lives, and how often that
    /// is done. An end without a process has ended: nothing else tells of it.
    [UnixQuiet, Nanoseconds]
    pub const UNIX_QUIET_NS: u64 = 3_000_000_000;

    /// How long a stream waits, in event time, for what the other end of its connection says of it, where both are
    /// followed and something may be found about it.
    [Witness, Nanoseconds]
    pub const WITNESS_NS: u64 = 300_000_000;

    /// Streams that wait so. Beyond it the oldest is told of at once.
    [WitnessesWaiting, Count]
    pub const WITNESSES_WAITING: usize = 1_024;

    /// Ended streams of which it is remembered what their end said, until the other one says it too.
    [WitnessedStreams, Count]
    pub const WITNESSED_STREAMS: usize = 8_192;

    /// CONNECT streams of one connection whose content is followed at once, and four times as many of all: that of further
    /// ones is only counted. And connections of HTTP/1.1 that asked for a tunnel in which HTTP/2 may follow.
    [Tunnels, Count, "tunnels", hides_traffic]
    pub const TUNNELS: usize = 1_024;

    /// How many tunnels within each other are followed.
    [TunnelDepth, Count, "tunnels", hides_traffic]
    pub const TUNNEL_DEPTH: usize = 2;

    /// Memory of what the client of one connection sends into tunnels before the server agrees. What is beyond is a gap.
    [TunnelEarly, Bytes]
    pub const TUNNEL_EARLY: usize = 65_536;

    /// Payload bytes of one frame other than DATA, kept until the frame is complete.
    [FramePayload, Bytes, "frame_payload", hides_traffic]
    pub const FRAME_PAYLOAD: usize = 65_536;

    /// One header block (HEADERS and its CONTINUATIONs) in encoded form, in bytes.
    [HeaderBlock, Bytes, "header_block", hides_traffic]
    pub const HEADER_BLOCK: usize = 262_144;

    /// CONTINUATION frames of one header block.
    [Continuations, Count, "continuations", hides_traffic]
    pub const CONTINUATIONS: usize = 1_024;

    /// One decoded header list, in bytes as RFC 9113 section 6.5.2 counts them (name + value + 32).
    [HeaderList, Bytes, "header_list", hides_traffic]
    pub const HEADER_LIST: usize = 1_048_576;

    /// HPACK dynamic table of one direction, in bytes, whatever the peers agreed on.
    [HpackTable, Bytes, "hpack_table", hides_traffic]
    pub const HPACK_TABLE: usize = 65_536;

    /// Plausible frames in a row that are required before a connection without a preface is taken for HTTP/2.
    [PlausibleFrames, Count]
    pub const PLAUSIBLE_FRAMES: u32 = 3;

    /// Moments that the story of one stream keeps: the first half and the last half of them.
    [StoryMoments, Count, "story"]
    pub const STORY_MOMENTS: usize = 48;

    /// Bytes of one shown header value. Longer values are cut.
    [ShownValue, Bytes]
    pub const SHOWN_VALUE: usize = 256;

    /// Connection ends (process and container of a pod) that have series in the metrics. Beyond it the end that has
    /// had no connection for longest gives way, else the idlest one of the pod with the most, which is counted on under
    /// `other`; if none has more, the new one is (`h2trace_self_label_overflow_total{label="end"}`).
    [Ends, Count, "ends"]
    pub const ENDS: usize = 1_000;

    /// Series of connection ends in all, which keeps a page of metrics small whatever the traffic is. What would be
    /// a further one is counted under `other` (`h2trace_self_label_overflow_total{label="series"}`).
    [Series, Count]
    pub const SERIES: usize = 100_000;

    /// gRPC methods of one connection end and role, half of them at most unproven by an answer. Further ones, and those
    /// that are UNIMPLEMENTED, are counted under `other` (`h2trace_self_label_overflow_total{label="grpc_method"}`).
    [EndMethods, Count]
    pub const END_METHODS: usize = 128;

    /// Kinds of RST_STREAM (sender, code, phases, verdict) of one connection end and role. Further ones are counted
    /// under the code `other` (`h2trace_self_label_overflow_total{label="reset"}`).
    [EndResets, Count]
    pub const END_RESETS: usize = 64;

    /// How long the series of a connection end stay after its last connection.
    [SeriesTtl, Nanoseconds]
    pub const SERIES_TTL_NS: u64 = 15 * 60 * 1_000_000_000;

    /// How long the series of a pod are held back until its names are known. Then they are reported as `unknown`.
    [NamesWait, Nanoseconds]
    pub const NAMES_WAIT_NS: u64 = 10_000_000_000;

    /// Bytes of GOAWAY debug data that are kept to recognise known reasons. Only known reasons are shown.
    [GoawayDebug, Bytes]
    pub const GOAWAY_DEBUG: usize = 64;

    /// Header blocks of one direction that are kept decoded, because the same bytes may come again.
    [RecentBlocks, Count]
    pub const RECENT_BLOCKS: usize = 4;

    /// The longest encoded header block that is kept so.
    [RecentBlock, Bytes]
    pub const RECENT_BLOCK: usize = 256;

    /// Header fields of one direction that came as literals and are kept decoded for the same reason.
    [RecentLiterals, Count]
    pub const RECENT_LITERALS: usize = 32;

    /// The longest encoded literal that is kept so.
    [RecentLiteral, Bytes]
    pub const RECENT_LITERAL: usize = 128;

    /// Header fields of one request whose hashes are kept to recognise the request on the other side of a proxy.
    [HopFields, Count]
    pub const HOP_FIELDS: usize = 16;

    /// Streams of all proxies that wait for the other side of their request. Beyond it the process with the most of
    /// them releases all of its own, which then stand alone.
    [HopWaiting, Count, "hop_waiting"]
    pub const HOP_WAITING: usize = 262_144;

    /// Connections of one process for which the thread that last worked on them is kept, and those of which it is not
    /// known what they speak. Beyond it they are learned anew.
    [HopConnections, Count, "hop_connections"]
    pub const HOP_CONNECTIONS: usize = 16_384;

    /// Stream openings until the order of work is trusted again in a process where it proved wrong.
    [HopDistrust, Count]
    pub const HOP_DISTRUST: u32 = 1_024;

    /// The same where not all that went by was seen, so that it may only have seemed wrong.
    [HopDistrustUnseen, Count]
    pub const HOP_DISTRUST_UNSEEN: u32 = 128;

    /// Stream openings, each on its connection's own thread, until a process counts as one whose work does not move
    /// between threads.
    [HopSteady, Count]
    pub const HOP_STEADY: u32 = 1_024;

    /// Processes (in a file: hosts) that may be proxies. Further ones are not considered.
    [HopPlaces, Count, "hop_places"]
    pub const HOP_PLACES: usize = 4_096;

    /// How long to wait, in event time, for the upstream side after the client's side has ended. An upstream stream
    /// that is still open then was left open.
    [HopWait, Nanoseconds]
    pub const HOP_WAIT_NS: u64 = 10_000_000_000;

    /// How long, in event time, the stream to the server must be over, with nothing sent to a waiting client,
    /// before the proxy is blamed. Proxies that retry do so sooner.
    [HopHeld, Nanoseconds]
    pub const HOP_HELD_NS: u64 = 5_000_000_000;

    /// How long, in event time, a request that cannot be told apart from others, or only by order, is kept after
    /// both sides have ended, so that others that end with it are considered. (Where work is known not to move
    /// between threads: at most until all requests that one thread read together have ended.)
    [HopSettle, Nanoseconds]
    pub const HOP_SETTLE_NS: u64 = 200_000_000;

    /// Longest wait, in event time, of a request joined by thread order for others of its batch, once both sides ended.
    [HopCompany, Nanoseconds]
    pub const HOP_COMPANY_NS: u64 = 1_000_000_000;

    /// Attempts (upstream streams) of one request that are kept.
    [HopAttempts, Count, "hop_attempts"]
    pub const HOP_ATTEMPTS: usize = 16;

    /// Requests of one thread that are considered to find the one that an upstream stream was opened for.
    [HopCandidates, Count, "hop_candidates"]
    pub const HOP_CANDIDATES: usize = 256;

    /// Different requests on a host whose connections have both ends on it, in a file that knows no processes.
    /// Further ones are not joined.
    [HopShared, Count, "hop_candidates"]
    pub const HOP_SHARED: usize = 1 << 20;

    /// Upstream streams of a process that find their request by surer evidence before what is kept for weaker
    /// evidence (an index of single fields, recently ended streams) is discarded.
    [HopKeptFor, Count]
    pub const HOP_KEPT_FOR: u32 = 4_096;

    /// Threads of one process whose order of work is kept. Beyond it those that have nothing to do are forgotten.
    [HopThreads, Count]
    pub const HOP_THREADS: usize = 1_024;

    /// Upstream streams that are alike and may be one request's. Beyond it the others count as not known.
    [HopAlike, Count]
    pub const HOP_ALIKE: usize = 64;

    /// Upstream streams of one process kept beyond their end where several requests cannot be told apart.
    [HopRecent, Count]
    pub const HOP_RECENT: usize = 256;

    /// Paths of one process that it is known to forward.
    [HopPaths, Count, "hop_paths"]
    pub const HOP_PATHS: usize = 512;

    /// TLS connections that stay closed of which it is kept how many bytes they carried. For a further one the idlest
    /// goes; requests that go by on it are not joined across it.
    [HopLegs, Count, "hop_legs"]
    pub const HOP_LEGS: usize = 1_024;

    /// Moments of one direction of such a connection for which its bytes are kept. Beyond it older ones become coarser:
    /// fewer responses are told apart by them.
    [HopLegEntries, Count]
    pub const HOP_LEG_ENTRIES: usize = 512;

    /// Responses that went by on such connections of which it is kept when, to tell how much of each the connection carried.
    [HopTransits, Count]
    pub const HOP_TRANSITS: usize = 4_096;

    /// How long these bytes are kept, in event time.
    [HopLegKept, Nanoseconds]
    pub const HOP_LEG_KEPT_NS: u64 = 30_000_000_000;

    /// Proxies that the diagnosis of a run distinguishes. Its counter, and those of the four below, are the diagnosis' own.
    [DiagnosisProxies, Count, "proxies"]
    pub const DIAGNOSIS_PROXIES: usize = 64;

    /// Connection ends whose streams the diagnosis counts, to tell what a server answered without the proxy.
    [DiagnosisConnections, Count, "connections"]
    pub const DIAGNOSIS_CONNECTIONS: usize = 16_384;

    /// Broken streams that wait to be explained by what was found at a proxy.
    [DiagnosisWaiting, Count, "waiting"]
    pub const DIAGNOSIS_WAITING: usize = 16_384;

    /// Kinds of failure on one hop that the diagnosis distinguishes, by server.
    [DiagnosisCases, Count, "cases"]
    pub const DIAGNOSIS_CASES: usize = 256;

    /// Values of each kind (user agents, reset codes, servers) that the diagnosis keeps per proxy.
    [DiagnosisValues, Count, "values"]
    pub const DIAGNOSIS_VALUES: usize = 32;

    /// gRPC messages of one direction of one stream whose sizes are kept. Further ones are only counted.
    [MessageSizes, Count]
    pub const MESSAGE_SIZES: usize = 16;

    /// First bytes of what stands in place of a gRPC message that are kept where bytes of bodies may be.
    [StrayBytes, Bytes]
    pub const STRAY_BYTES: usize = 16;

    /// Steps of one connection kept until its role is proven and it is taken for HTTP/2.
    [UndecidedSteps, Count, "undecided_steps", hides_traffic]
    pub const UNDECIDED_STEPS: usize = 1_024;

    /// Memory of these steps of one connection.
    [UndecidedBytes, Bytes, "undecided_bytes", hides_traffic]
    pub const UNDECIDED_BYTES: usize = 256 * 1_024;

    /// Memory of these steps of all connections. Beyond it the connection whose step it was gives up its own.
    [UndecidedBytesAll, Bytes, "undecided_bytes_all", hides_traffic]
    pub const UNDECIDED_BYTES_ALL: usize = 32 * 1_024 * 1_024;

    /// A connection that has begun to close (one FIN) and shows no bytes for this long has ended.
    [HalfClosedQuiet, Nanoseconds]
    pub const HALF_CLOSED_QUIET_NS: u64 = 1_000_000_000;

    /// Connections that are served at once on a port. For a further one the idlest of the address with the most goes.
    [HttpConnections, Count, "http_connections"]
    pub const HTTP_CONNECTIONS: usize = 128;

    /// Pages of metrics that scrapers have not read yet. For a further one the readers of the oldest are cut.
    [Pages, Count, "pages"]
    pub const PAGES: usize = 4;

    /// Bytes of these pages together. The readers of the oldest are cut for a further one here too.
    [PagesBytes, Bytes, "pages"]
    pub const PAGES_BYTES: usize = 64 << 20;

    /// Bytes of series of connection ends on one page. Beyond it the ends with the most are left out
    /// (`h2trace_self_label_overflow_total{label="page"}`).
    [PageBytes, Bytes]
    pub const PAGE_BYTES: usize = 32 << 20;

    /// Bearer tokens of scrapers of which it is remembered what the API server said. Beyond it the oldest is forgotten
    /// and asked about again.
    [TokensReviewed, Count]
    pub const TOKENS_REVIEWED: usize = 1_024;

    /// Bytes of one answer of the API server about a bearer token. A larger one is an error.
    [ReviewBytes, Bytes]
    pub const REVIEW_BYTES: usize = 1 << 20;

    /// Bytes of output lines that wait for a slow reader; findings, losses and the diagnosis may be half as much more.
    /// Further lines are dropped and counted in `h2trace_self_output_dropped_total`.
    [OutputBacklog, Bytes]
    pub const OUTPUT_BACKLOG: usize = 16 * 1024 * 1024;

    /// Largest packet of a capture file, in bytes. tcpdump writes at most 262,144; Linux's BIG TCP 524,288.
    [CapturePacket, Bytes]
    pub const CAPTURE_PACKET: u32 = 1 << 20;

    /// Interfaces of one section of a pcapng file.
    [CaptureInterfaces, Count]
    pub const CAPTURE_INTERFACES: usize = 4_096;

    /// TCP connections of a capture followed at once. Beyond it the longest idle one is dropped.
    [CaptureConnections, Count]
    pub const CAPTURE_CONNECTIONS: usize = 65_536;

    /// Bytes of one captured connection that wait for missing ones before them. Beyond it the missing ones count as lost.
    [CaptureWaiting, Bytes]
    pub const CAPTURE_WAITING: usize = 8 << 20;

    /// The same for all connections of a capture together, in bytes.
    [CaptureWaitingAll, Bytes]
    pub const CAPTURE_WAITING_ALL: usize = 128 << 20;

    /// How long bytes that the receiver has acknowledged may be missing from a capture before they count as lost:
    /// packets of one connection are captured out of order by no more than this.
    [CaptureReorder, Nanoseconds]
    pub const CAPTURE_REORDER_NS: u64 = 100_000_000;

    /// How long bytes that have not been acknowledged may be missing: TCP may still retransmit them.
    [CaptureHole, Nanoseconds]
    pub const CAPTURE_HOLE_NS: u64 = 10_000_000_000;

    /// Bytes of a captured connection kept until its protocol is known.
    [CaptureUndecided, Bytes]
    pub const CAPTURE_UNDECIDED: usize = 16_384;

    /// Runs of bytes of a captured connection kept until its protocol is known.
    [CaptureUndecidedRuns, Count]
    pub const CAPTURE_UNDECIDED_RUNS: usize = 64;

    /// Bytes of a name in a TLS handshake that are kept.
    [TlsName, Bytes]
    pub const TLS_NAME: usize = 256;

    /// Application protocols that a TLS client offers of which the names are kept.
    [TlsProtocols, Count]
    pub const TLS_PROTOCOLS: usize = 16;

    /// Longest message of a TLS handshake that is read, in bytes.
    [TlsMessage, Bytes]
    pub const TLS_MESSAGE: usize = 32_768;

    /// Bytes of a TLS client that wait for the server's hello, or for what it says to early data. Those beyond are lost.
    [TlsHeld, Bytes]
    pub const TLS_HELD: usize = 131_072;

    /// The same in pieces, one a TCP segment.
    [TlsHeldPieces, Count]
    pub const TLS_HELD_PIECES: usize = 1_024;

    /// Bytes of one direction of a TLS connection that are deciphered in vain behind lost ones, before it is given up.
    [TlsSearch, Bytes]
    pub const TLS_SEARCH: u64 = 32 << 20;

    /// First records of one direction of a TLS connection that its secrets may fail to open, before it is given up.
    [TlsRefused, Count]
    pub const TLS_REFUSED: u32 = 256;

    /// Records of one direction of a TLS connection one after another that a key found in memory may fail to open, before
    /// the key is taken for an old one and looked for again.
    [TlsRefusedRun, Count]
    pub const TLS_REFUSED_RUN: u32 = 8;

    /// Bytes of records of one TLS connection that wait for its keys, or half of what all leave. Then the newest few stay.
    [TlsWaiting, Bytes]
    pub const TLS_WAITING: usize = 1_048_576;

    /// Sequence numbers that one search of memory tries for TLS 1.2 connections older than the tracer whose records say
    /// a nonce that is not counted from zero. They are divided among the connections.
    [TlsSequences, Count]
    pub const TLS_SEQUENCES: u64 = 4_194_304;

    /// TLS connections whose keys are looked for in memory, or may have to be again. Those beyond it stay closed.
    [TlsSearched, Count]
    pub const TLS_SEARCHED: usize = 1_024;

    /// AES key schedules in 64 KiB of a process's memory that are tried. The others are passed over.
    [TlsSchedules, Count]
    pub const TLS_SCHEDULES: usize = 256;

    /// Keys that wait to be looked for in memory. A connection asks again later.
    [TlsWishes, Count]
    pub const TLS_WISHES: usize = 4_096;

    /// Keys found in memory that are kept at once. Connections beyond it stay closed.
    [TlsKeysFound, Count]
    pub const TLS_KEYS_FOUND: usize = 8_192;

    /// Processes of which it is remembered where keys were found. Beyond it all are forgotten.
    [TlsProcesses, Count]
    pub const TLS_PROCESSES: usize = 1_024;

    /// TLS connections of which key logs may bring secrets. Those of further ones are not read, and that is told.
    [TlsConnections, Count]
    pub const TLS_CONNECTIONS: usize = 262_144;

    /// TLS connections that the kernel programs open at once. Further ones are opened by h2trace, all their bytes copied.
    [TlsOpened, Count]
    pub const TLS_OPENED: u32 = 1_023;

    /// Bytes of a live TLS connection that wait until a key log has its secrets. What comes beyond them is a gap.
    [TlsKeyless, Bytes]
    pub const TLS_KEYLESS: usize = 524_288;

    /// The same in pieces, a few a call.
    [TlsKeylessPieces, Count]
    pub const TLS_KEYLESS_PIECES: usize = 4_096;

    /// Bytes of all live TLS connections that wait for a key log, and of all that wait for a search.
    [TlsKeylessAll, Bytes]
    pub const TLS_KEYLESS_ALL: usize = 33_554_432;

    /// How long they wait for it, in event time; then the connection stays encrypted.
    [TlsKeyWait, Nanoseconds]
    pub const TLS_KEY_WAIT_NS: u64 = 3_000_000_000;

    /// How long the secrets of a key log are kept without a live connection that has them, in event time.
    [TlsSecretsUnused, Nanoseconds]
    pub const TLS_SECRETS_UNUSED_NS: u64 = 5_000_000_000;

    /// Longest line of a key log, in bytes.
    [TlsLine, Bytes]
    pub const TLS_LINE: usize = 1_024;

    /// How long a packet of a recording waits for findings, in event time: longer than streams and connections linger.
    [RecordHold, Nanoseconds]
    pub const RECORD_HOLD_NS: u64 = 400_000_000;

    /// Bytes of a recording that wait for findings. Beyond it packets are written earlier, and a finding about them
    /// gets a packet of its own. Counter `limit_waiting` of the recording.
    [RecordWaiting, Bytes]
    pub const RECORD_WAITING: usize = 64 << 20;

    /// Bytes of a recording that wait for a slow file or pipe. Beyond it packets are dropped, counted and reported.
    [RecordBacklog, Bytes]
    pub const RECORD_BACKLOG: usize = 256 << 20;

    /// Words that one `explain` accepts. More are refused: one line of a log is enough.
    [ExplainWords, Count]
    pub const EXPLAIN_WORDS: usize = 500;

    /// Pods of a node that are known at once (the kubelet's default limit is 110; clouds go to 250, some
    /// installations to 500). Further ones get no name.
    [Pods, Count, "pods"]
    pub const PODS: usize = 2_048;

    /// Containers of one pod that are known, including init and ephemeral ones and those before a restart.
    [PodContainers, Count, "pod_containers"]
    pub const POD_CONTAINERS: usize = 256;

    /// Deleted pods that are still found, so that the connections they opened last are named.
    [PodsGone, Count]
    pub const PODS_GONE: usize = 1_024;

    /// How long such a pod is found.
    [PodsLinger, Nanoseconds]
    pub const PODS_LINGER_NS: u64 = 60_000_000_000;

    /// Containers and addresses that wait for their names. Further ones get none.
    [WorkloadsWaiting, Count, "workloads_waiting"]
    pub const WORKLOADS_WAITING: usize = 4_096;

    /// Bytes of one answer of the API server to a list of pods. A larger answer is an error of the watch.
    [ApiListBytes, Bytes]
    pub const API_LIST_BYTES: usize = 32 << 20;

    /// Containers whose connections share one name. Beyond it all are forgotten and learned anew.
    [ContainersKnown, Count, "containers"]
    pub const CONTAINERS_KNOWN: usize = 8_192;

    /// v2 cgroups that have been identified. Beyond it all are forgotten and learned anew, which affects no connection.
    [CgroupsKnown, Count]
    pub const CGROUPS_KNOWN: usize = 16_384;

    /// Addresses of peers that were looked up within the last second. Further ones are looked up each time.
    [PeersKnown, Count]
    pub const PEERS_KNOWN: usize = 4_096;

    /// Cgroups of selected (or excluded) pods in one run: the size of the kernel programs' maps for them.
    [SelectedCgroups, Count, "selected_cgroups"]
    pub const SELECTED_CGROUPS: usize = 4_096;

    /// Directories of the cgroup hierarchy that are searched for pods.
    [CgroupsSearched, Count, "selected_cgroups"]
    pub const CGROUPS_SEARCHED: usize = 65_536;

    /// First line of standard input of a run under `--held-by-stdin`, in bytes: the pods of a node. A longer one is refused.
    [HeldLine, Bytes]
    pub const HELD_LINE: usize = 32 << 20;

    /// Bytes of one answer of the container runtime, which itself sends at most 16 MiB. A larger answer is an error.
    [CriAnswerBytes, Bytes]
    pub const CRI_ANSWER_BYTES: usize = 16 << 20;

    /// Processes that were in no pod within the last second, where cgroup v1 is in use too. Beyond it all are
    /// forgotten and looked up again.
    [HostsKnown, Count]
    pub const HOSTS_KNOWN: usize = 4_096;

    /// Recently opened connection ends that wait for the other end of their connection, which may be on this node
    /// too. Further ones are named by address only.
    [EndsKnown, Count]
    pub const ENDS_KNOWN: usize = 4_096;
}
