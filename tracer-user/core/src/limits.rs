//! Every bound of the program, named. Each has a counter that rises when it bites
//! (`h2trace_self_limit_hits_total{limit}`), named beside it.

/// Connections followed at once. Beyond it the longest idle one is evicted. Counter `connections`.
pub const CONNECTIONS: usize = 65_536;

/// Streams followed at once on one connection. Beyond it the oldest is evicted, and reported as
/// outcome `evicted`, verdict unknown. Counter `streams_per_connection`.
pub const STREAMS_PER_CONNECTION: usize = 4_096;

/// Streams followed at once on all connections. Counter `streams`.
pub const STREAMS: usize = 1_048_576;

/// How long a finished stream is kept for frames that cross its end (a second RST_STREAM, the other
/// direction's call that finished a moment later), in event time, before it is judged.
pub const STREAM_LINGER_NS: u64 = 100_000_000;

/// How long a stream that a gap touched, and of which no frame came since, is kept: its end may have
/// gone by in the gap. In event time.
pub const STREAM_DOUBT_NS: u64 = 60_000_000_000;

/// Ids of streams that ended, kept for each connection so that a late frame does not make a new stream
/// of an old one. (Where nothing was missed the highest id says it, and this is not needed.)
pub const ENDED_IDS: usize = 512;

/// RST_STREAM frames of one stream that are kept.
pub const RESETS: usize = 4;

/// PINGs of one endpoint of a connection that wait for their ACK. Those beyond it are only counted.
pub const PINGS: usize = 8;

/// SETTINGS of one endpoint of a connection that wait for their ACK.
pub const SETTINGS_WAITING: usize = 8;

/// Resets of a connection that are remembered, to tell whether their receiver has processed them.
pub const RESETS_REMEMBERED: usize = 32;

/// Ranges of stream ids that a connection skipped and that are remembered.
pub const SKIPPED_IDS: usize = 32;

/// Rules of RFC 9113 whose breach is told of one connection. Counter `broken_rules`.
pub const BROKEN_RULES: usize = 32;

/// Connections with a GOAWAY that the rules remember. Counter `go_away_connections`.
pub const GO_AWAY_CONNECTIONS: usize = 65_536;

/// Connections on which one end does not speak HTTP/2 that the rules remember. Counter
/// `foreign_connections`.
pub const FOREIGN_CONNECTIONS: usize = 65_536;

/// Methods whose shape (one message or several) the rules remember. Counter `method_shapes`.
pub const METHOD_SHAPES: usize = 4_096;

/// Methods whose resets the rules remember, by the end that sent them. Counter `idle_methods`.
pub const KILLED_METHODS: usize = 1_024;

/// How long a connection whose end was seen is kept for records that cross it.
pub const CONNECTION_LINGER_NS: u64 = 200_000_000;

/// Payload of one frame that is not DATA, kept until the frame is whole. Counter `frame_payload`.
pub const FRAME_PAYLOAD: usize = 65_536;

/// One header block (HEADERS and its CONTINUATIONs) in encoded form. Counter `header_block`.
pub const HEADER_BLOCK: usize = 262_144;

/// CONTINUATION frames of one header block. Counter `continuations`.
pub const CONTINUATIONS: usize = 1_024;

/// One decoded header list, as RFC 9113 section 6.5.2 counts it (name + value + 32). Counter `header_list`.
pub const HEADER_LIST: usize = 1_048_576;

/// HPACK dynamic table of one direction, whatever the peers agreed. Counter `hpack_table`.
pub const HPACK_TABLE: usize = 65_536;

/// Frames in a row that must be plausible before a connection without a preface is believed to be HTTP/2.
pub const PLAUSIBLE_FRAMES: u32 = 3;

/// Moments that the story of one stream keeps: the first half and the last half of them. Counter `story`.
pub const STORY_MOMENTS: usize = 48;

/// Bytes of one shown header value. Longer ones are cut.
pub const SHOWN_VALUE: usize = 256;

/// Connection ends (process and container of a pod) that have series in the metrics. Beyond it the one that
/// has been without a connection for longest makes room (counter `ends`); where all have connections, the new
/// one is counted under `other` (`h2trace_self_label_overflow_total{label="end"}`).
pub const ENDS: usize = 1_000;

/// Series of connection ends in all: what keeps a page of metrics small whatever the traffic is. Beyond it
/// what would be a new one is counted under `other` (`h2trace_self_label_overflow_total{label="series"}`).
pub const SERIES: usize = 100_000;

/// gRPC methods of one connection end and role. Those beyond it are counted under `other`
/// (`h2trace_self_label_overflow_total{label="grpc_method"}`).
pub const END_METHODS: usize = 128;

/// Sorts of RST_STREAM (sender, code, phases, verdict) of one connection end and role. Those beyond it are
/// counted under the code `other` (`h2trace_self_label_overflow_total{label="reset"}`).
pub const END_RESETS: usize = 64;

/// How long the series of a connection end stay when it has no connection any more.
pub const SERIES_TTL_NS: u64 = 15 * 60 * 1_000_000_000;

/// How long the series of a pod are held back until its names are known. Then they are shown as `unknown`.
pub const NAMES_WAIT_NS: u64 = 10_000_000_000;

/// GOAWAY debug data that is kept to recognise known reasons. Never shown beyond the known ones.
pub const GOAWAY_DEBUG: usize = 64;

/// Header fields of one request whose hashes are kept to recognise it on the other hop of a proxy.
pub const HOP_FIELDS: usize = 16;

/// Streams of all proxies that wait for the other hop of their request. Beyond it the process with the most
/// of them lets go of all of its own, which then stand alone. Counter `hop_waiting`.
pub const HOP_WAITING: usize = 262_144;

/// Connections of one process of which the thread is kept that last worked on them. Beyond it they are
/// learnt anew. Counter `hop_connections`.
pub const HOP_CONNECTIONS: usize = 16_384;

/// How many openings of streams go by until the order of work is trusted again in a process where it was
/// found to be broken.
pub const HOP_DISTRUST: u32 = 1_024;

/// How many openings of streams go by, each on its connection's own thread, until a process is taken for one
/// whose work does not move from thread to thread.
pub const HOP_STEADY: u32 = 1_024;

/// Processes (in a file: hosts) that may be proxies. Beyond it further ones are not looked at.
/// Counter `hop_places`.
pub const HOP_PLACES: usize = 4_096;

/// How long after the end of the client's hop the upstream one is waited for, in event time. An upstream
/// stream that is still open then was left open.
pub const HOP_WAIT_NS: u64 = 10_000_000_000;

/// How long the stream to the server must be over, and nothing sent to a client that waits, for the proxy to be
/// blamed, in event time. Proxies that try again do so sooner.
pub const HOP_HELD_NS: u64 = 5_000_000_000;

/// How long a request that cannot be told apart from others, or only by order, is kept after both its sides
/// have ended, in event time: those that end with it are looked at too. (No longer than until all have ended
/// that one thread read together, where work is known not to move from thread to thread.)
pub const HOP_SETTLE_NS: u64 = 200_000_000;

/// How long a request that order was decisive for is kept at most after both its sides have ended, in event time,
/// while others that the thread read with it have not.
pub const HOP_COMPANY_NS: u64 = 1_000_000_000;

/// Upstream streams of one request that are kept. Counter `hop_attempts`.
pub const HOP_ATTEMPTS: usize = 16;

/// Requests of one thread looked at to find the one that an upstream stream was opened for. Counter
/// `hop_candidates`.
pub const HOP_CANDIDATES: usize = 256;

/// Different requests on a host whose connections have both ends on it, in a file that knows no processes:
/// those beyond are not joined. Counter `hop_candidates`.
pub const HOP_SHARED: usize = 1 << 20;

/// How many upstream streams of a process find their request by surer means until what is kept for others
/// (an index of single fields, streams that ended lately) is put away.
pub const HOP_KEPT_FOR: u32 = 4_096;

/// Upstream streams of one process kept beyond their end, where several requests cannot be told apart.
pub const HOP_RECENT: usize = 256;

/// Paths of one process that it is known to pass on. Counter `hop_paths`.
pub const HOP_PATHS: usize = 512;

/// Proxies that the diagnosis of a run tells apart. Counter `proxies` of the diagnosis, as below.
pub const DIAGNOSIS_PROXIES: usize = 64;

/// Connection ends whose streams the diagnosis counts, to tell what a server answered without the proxy.
/// Counter `connections`.
pub const DIAGNOSIS_CONNECTIONS: usize = 16_384;

/// Broken streams that wait to be explained by what was found at a proxy. Counter `waiting`.
pub const DIAGNOSIS_WAITING: usize = 16_384;

/// Kinds of failure of one hop that the diagnosis tells apart, by server. Counter `cases`.
pub const DIAGNOSIS_CASES: usize = 256;

/// Values of each sort (user agents, reset codes, servers) that the diagnosis keeps of a proxy. Counter
/// `values`.
pub const DIAGNOSIS_VALUES: usize = 32;

/// gRPC messages of one direction of one stream whose sizes are kept (the others are only counted).
pub const MESSAGE_SIZES: usize = 16;

/// Steps of one connection kept until its role is proven and it is believed to be HTTP/2.
/// Counter `undecided_steps`.
pub const UNDECIDED_STEPS: usize = 1_024;

/// A connection whose end has begun (one FIN) and that shows no bytes for this long has ended.
pub const HALF_CLOSED_QUIET_NS: u64 = 1_000_000_000;

/// Connections of scrapers that are served at once. Others wait in the kernel's backlog.
pub const HTTP_CONNECTIONS: usize = 128;

/// Pages of metrics that scrapers have asked for and not read yet. Further ones are refused with status 503.
/// Counter `pages`.
pub const PAGES: usize = 4;

/// Bytes of output lines that wait for a slow reader. Further lines are thrown away and counted in
/// `h2trace_self_output_dropped_total`.
pub const OUTPUT_BACKLOG: usize = 32 * 1024 * 1024;

/// Largest packet of a capture file. tcpdump writes 262,144 bytes at most; Linux's BIG TCP 524,288.
pub const CAPTURE_PACKET: u32 = 1 << 20;

/// Interfaces of one section of a pcapng file.
pub const CAPTURE_INTERFACES: usize = 4_096;

/// TCP connections of a capture followed at once. Beyond it the longest idle one is let go.
pub const CAPTURE_CONNECTIONS: usize = 65_536;

/// Bytes of one captured connection that wait for missing ones before them. Beyond it the missing ones
/// count as lost.
pub const CAPTURE_WAITING: usize = 8 << 20;

/// The same of all connections of a capture together.
pub const CAPTURE_WAITING_ALL: usize = 128 << 20;

/// How long bytes that the receiver has acknowledged may be missing from a capture before they count as
/// lost: packets of one connection are captured out of order by no more than that.
pub const CAPTURE_REORDER_NS: u64 = 100_000_000;

/// How long bytes that nobody has acknowledged may be missing: TCP may still send them again.
pub const CAPTURE_HOLE_NS: u64 = 10_000_000_000;

/// Bytes of a captured connection kept until it is known what it speaks.
pub const CAPTURE_UNDECIDED: usize = 16_384;

/// Runs of bytes of a captured connection kept until it is known what it speaks.
pub const CAPTURE_UNDECIDED_RUNS: usize = 64;

/// How long a packet of a recording waits for findings about it, in event time: longer than a stream and a
/// connection linger.
pub const RECORD_HOLD_NS: u64 = 400_000_000;

/// Bytes of a recording that wait for findings. Beyond it packets are written earlier, and a finding about
/// them stands on a packet of its own. Counter `limit_waiting` of the recording.
pub const RECORD_WAITING: usize = 64 << 20;

/// Bytes of a recording that wait for a slow file or pipe. What comes beyond it is thrown away, counted, and
/// said at the end.
pub const RECORD_BACKLOG: usize = 256 << 20;

/// Words that one `explain` looks at. More are refused: what matters of a log is one line.
pub const EXPLAIN_WORDS: usize = 500;

/// Pods of a node that are known at once (the kubelet's own bound is 110, clouds go to 250, some people to 500).
/// Further ones keep no name. Counter `pods`.
pub const PODS: usize = 2_048;

/// Containers of one pod that are known, init and ephemeral ones and those before a restart included. Counter
/// `pod_containers`.
pub const POD_CONTAINERS: usize = 256;

/// Pods that have gone and are still found, so that connections that they opened last are named.
pub const PODS_GONE: usize = 1_024;

/// How long such a pod is found.
pub const PODS_LINGER_NS: u64 = 60_000_000_000;

/// Containers and addresses that wait for their names. Those beyond it keep none. Counter `workloads_waiting`.
pub const WORKLOADS_WAITING: usize = 4_096;

/// Bytes of one answer of the API server to a list of pods. A larger one is an error of the watch.
pub const API_LIST_BYTES: usize = 64 << 20;

/// Containers whose connections share one name. Beyond it all are forgotten, and learnt anew. Counter `containers`.
pub const CONTAINERS_KNOWN: usize = 8_192;

/// v2 cgroups of which it is known what they are. Beyond it all are forgotten, and learnt anew; connections lose
/// nothing by it.
pub const CGROUPS_KNOWN: usize = 16_384;

/// Addresses of peers that were looked up within the last second. Those beyond it are looked up each time.
pub const PEERS_KNOWN: usize = 4_096;

/// Cgroups that a run is told of as selected (or excluded) pods: the size of the kernel programs' maps for them.
/// Counter `selected_cgroups`.
pub const SELECTED_CGROUPS: usize = 4_096;

/// Directories of the cgroup hierarchy that are searched for pods. Counter `selected_cgroups`.
pub const CGROUPS_SEARCHED: usize = 65_536;

/// The first line of standard input of a run that is held by it (`--held-by-stdin`): the pods of a node. A longer one
/// is refused.
pub const HELD_LINE: usize = 32 << 20;

/// Bytes of one answer of the container runtime, which itself sends no more than 16 MiB. A larger one is an error.
pub const CRI_ANSWER_BYTES: usize = 16 << 20;

/// Processes that were in no pod within the last second, where v1 has cgroups too. Beyond it all are forgotten, and
/// looked up again.
pub const HOSTS_KNOWN: usize = 4_096;

/// Connection ends opened lately that wait for the other end of their connection, which may be of this node too. Those
/// beyond it are named by their address alone.
pub const ENDS_KNOWN: usize = 4_096;
