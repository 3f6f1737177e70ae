//! The table of all metrics: registration, `h2trace generate metrics` and the page of metrics come from it.

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by upper bounds.
    Histogram,
}

impl MetricType {
    /// As in the exposition format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
        }
    }
}

/// What a metric is about: which labels stand before its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// h2trace itself: none.
    Tracer,
    /// One end of connections: [`END_LABELS`].
    End,
    /// All pods of one owner on the node: the same, `pod` always empty.
    Owner,
}

/// Labels of a connection end, in the order of the exposition. Those of a pod are empty at a process of the
/// host, which to Prometheus is as if they were not there; written they are all the same, so that those of
/// the scraped target do not take their place.
pub const END_LABELS: [&str; 6] = [
    "comm",
    "namespace",
    "pod",
    "container",
    "owner_kind",
    "owner",
];

impl About {
    /// The labels before the metric's own.
    #[must_use]
    pub const fn labels(self) -> &'static [&'static str] {
        match self {
            About::Tracer => &[],
            About::End | About::Owner => &END_LABELS,
        }
    }

    /// What stands for them in the table of all metrics.
    const fn in_table(self) -> &'static str {
        match self {
            About::Tracer => "",
            About::End => "*end*",
            About::Owner => "*owner*",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub metric_type: MetricType,
    /// What it is about.
    pub about: About,
    /// The names of its own labels.
    pub labels: &'static [&'static str],
    /// One sentence, without a final stop.
    pub help: &'static str,
}

macro_rules! about {
    () => {
        About::Tracer
    };
    ($about:ident) => {
        About::$about
    };
}

macro_rules! metrics {
    ($($constant:ident = $metric_type:ident $(of $about:ident)? $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name,
                metric_type: MetricType::$metric_type,
                about: about!($($about)?),
                labels: &[$($label),*],
                help: $help,
            };
        )+

        /// All of them, in the order of the table.
        pub const METRICS: &[Metric] = &[$($constant,)+];
    };
}

metrics! {
    CONNECTIONS = Counter of End "h2trace_connections_total" ["role"]
        "HTTP/2 connections seen";
    CONNECTIONS_UNDECODED = Counter of End "h2trace_connections_undecoded_total" ["reason"]
        "Connections seen and not decoded: encrypted (tls), HTTP/1 (http1), something else (other), not enough seen to tell (undecided), or their bytes were not seen until they ended (unseen_io_uring, unseen_splice, unseen_compat, unseen_thrown_away, unseen_other)";
    CONNECTIONS_ENDED = Counter of End "h2trace_connections_ended_total" ["role", "cause"]
        "HTTP/2 connections that ended, by cause as seen from the observed end";
    CONNECTIONS_BROKEN = Counter of End "h2trace_connections_ended_with_open_streams_total" ["role", "cause"]
        "HTTP/2 connections that ended while streams were open";
    GO_AWAYS = Counter of End "h2trace_go_aways_total" ["role", "sender", "code"]
        "GOAWAY frames, by sender and error code";
    STREAMS_OPENED = Counter of End "h2trace_streams_opened_total" ["role"]
        "Streams opened";
    STREAMS_ENDED = Counter of End "h2trace_streams_ended_total" ["role", "outcome"]
        "Streams that ended, by outcome";
    STREAM_DURATION = Histogram of Owner "h2trace_stream_duration_seconds" ["role"]
        "Time from a stream's first frame to its last, for streams seen from their beginning to their end";
    STREAM_FIRST_BYTE = Histogram of Owner "h2trace_stream_first_byte_seconds" ["role"]
        "Time from the request's HEADERS to the response's final HEADERS";
    RESETS = Counter of End "h2trace_resets_total"
        ["role", "sender", "code", "request_phase", "response_phase", "verdict"]
        "RST_STREAM frames, by sender, error code, phase of request and response, and verdict";
    MISSING_TRAILERS = Counter of End "h2trace_missing_trailers_total" ["role", "end"]
        "gRPC streams whose response certainly carried no trailers, by how the stream ended";
    TRUNCATED_MESSAGES = Counter of End "h2trace_truncated_messages_total" ["role", "direction", "end"]
        "gRPC streams that ended inside a message, by the message's direction and how the stream ended";
    EARLY_RESPONSES = Counter of End "h2trace_early_responses_total" ["role"]
        "Responses that were complete before their request was: legal, and what a broken proxy may cut short";
    GRPC_STATUS = Counter of End "h2trace_grpc_status_total" ["role", "grpc_service", "grpc_method", "grpc_code"]
        "gRPC streams that ended, by method and status; missing, malformed and unseen are not gRPC statuses";
    DATA_BYTES = Counter of End "h2trace_data_bytes_total" ["role", "direction"]
        "Bytes of DATA without padding, of request and response, counted when their stream ends";
    FINDINGS = Counter of End "h2trace_findings_total" ["role", "kind", "verdict"]
        "Findings, by kind and verdict";
    LATE_END_STREAM = Counter "h2trace_late_end_stream_total" ["user_agent"]
        "Requests that had not ended when their response was complete, observed at the server's end, by the client's library";
    HOP_REQUESTS = Counter of End "h2trace_hop_requests_total" ["join"]
        "Requests at a proxy (the end), by the confidence that both sides belong together: id to ambiguous, or alone";
    HOP_MISSING_BYTES = Counter of End "h2trace_hop_missing_bytes_total" []
        "Bytes of responses that reached a proxy and did not leave it, of those that it broke";
    HOP_RESET_CODES = Counter of End "h2trace_hop_reset_codes_total" ["towards", "code_in", "code_out"]
        "Resets at a proxy, by the side they were sent to, the code the proxy received and the code it sent";
    LIVE_CONNECTIONS = Gauge "h2trace_live_connections" []
        "Connections that are followed now";
    LIVE_STREAMS = Gauge "h2trace_live_streams" []
        "Streams that are open now";
    SELF_EVENTS_LOST = Counter "h2trace_self_events_lost_total" ["cause"]
        "Events that the kernel programs could not see or hand over, by cause; anything but 0 may leave findings unknown";
    SELF_UNDECODED = Counter "h2trace_self_undecoded_total" ["cause"]
        "Places in the traffic that could not be decoded, by cause";
    SELF_UNDECODED_BYTES = Counter "h2trace_self_undecoded_bytes_total" []
        "Bytes that passed undecoded, where their number is known";
    SELF_RESYNC = Counter "h2trace_self_resync_total" []
        "Times the frame boundary in a connection was lost and had to be found again";
    SELF_HPACK_UNSEEN = Counter "h2trace_self_hpack_unseen_total" []
        "Streams with header fields in HPACK table entries that are older than the tracer or were lost (tier T0)";
    SELF_ENDS = Gauge "h2trace_self_ends" []
        "Connection ends (process and container of a pod) that have series now";
    SELF_UNNAMED = Gauge "h2trace_self_connections_without_names" []
        "Connections in pods whose names are not known; reported as unknown after 10 s";
    SELF_LIMIT_HITS = Counter "h2trace_self_limit_hits_total" ["limit"]
        "Times a limit of the tracer was reached, by limit";
    SELF_LABEL_OVERFLOW = Counter "h2trace_self_label_overflow_total" ["label"]
        "Times something was counted under other because a limit was reached: end, grpc_method, reset, series; or left out of a page that is too long: page";
    SHED = Counter "h2trace_shed_total" ["what"]
        "What was left out because there was not the time for it: lines of streams (lines), stories of streams (stories), streams of which it was not asked what they belong to at a proxy (joins), connections that were let go for a while (connections)";
    SHED_LEVEL = Gauge "h2trace_shed_level" []
        "What is left out now: nothing (0), lines of what went well (1), stories and joins (2), connections (3)";
    SELF_OUTPUT_DROPPED = Counter "h2trace_self_output_dropped_total" []
        "Lines of output that were dropped because their reader was too slow";
    SELF_MEMORY_READ_PROCESSES = Counter "h2trace_self_memory_read_processes_total" []
        "Processes whose memory was read for the keys of their TLS connections (--tls)";
    SELF_MEMORY_READ_BYTES = Counter "h2trace_self_memory_read_bytes_total" []
        "Bytes of their memory that were read, each time that they were";
    SELF_PROBED_PROCESSES = Counter "h2trace_self_probed_processes_total" []
        "Processes whose handshakes were probed for the secrets of their TLS connections (--tls)";
    SELF_CALLS = Counter "h2trace_self_calls_total" ["kind"]
        "Socket calls that the kernel programs saw: followed, skipped (filtered out or not HTTP/2), peek";
    SELF_SOCKETS = Counter "h2trace_self_sockets_total" ["kind"]
        "Sockets that are not followed: unwanted (filtered out), other (not HTTP/2)";
    SELF_BYTES_SEEN = Counter "h2trace_self_bytes_seen_total" []
        "Bytes that passed on HTTP/2 sockets";
    SELF_BYTES_UNSEEN = Counter "h2trace_self_bytes_unseen_total" ["reason"]
        "Bytes of followed sockets in buffers that are not known: moved by io_uring (io_uring), by sendfile or splice (splice), by 32-bit calls (compat), thrown away by MSG_TRUNC (thrown_away), or another reason (other)";
    SELF_BYTES_COPIED = Counter "h2trace_self_bytes_copied_total" []
        "Bytes copied to user space for these, record headers included";
    SELF_RECORDS = Counter "h2trace_self_records_total" []
        "Records that the kernel programs wrote";
    SELF_PODS = Gauge "h2trace_self_pods" []
        "Pods of this node that are known; like the next five, absent when no source of pod names is configured";
    SELF_PODS_SOURCE = Gauge "h2trace_self_pods_source" ["source"]
        "1 for the active source of pod names: the API server (api), the container runtime (cri), or only what is known from before (none)";
    SELF_PODS_WAITING = Gauge "h2trace_self_pods_waiting" []
        "Containers whose names are not known yet and that have connections";
    SELF_POD_WATCH_ERRORS = Counter "h2trace_self_pod_watch_errors_total" ["reason"]
        "Failures of the watch of this node's pods, by reason: no_access, unauthorized, forbidden, expired, unreachable, other";
    SELF_UNNAMED_CONNECTIONS = Counter "h2trace_self_unnamed_connections_total" []
        "Connections opened in pods whose names were not known yet";
    SELF_CRI_CALLS = Counter "h2trace_self_cri_calls_total" []
        "Requests to the container runtime for its containers";
    SELF_SELECTED_PODS = Gauge "h2trace_self_selected_pods" []
        "Pods of this node that the pod options (--pod, --namespace, --selector and others) select and that are traced now; 0 without such options";
    SELF_SELECTION_KNOWN = Gauge "h2trace_self_selection_known" []
        "1 once it is known which pods these options select; while it is 0, none of them is traced";
    SELF_PROGRAM_ATTACHED = Gauge "h2trace_self_program_attached" ["program"]
        "1 for every kernel program that is attached";
    SELF_CONFINED = Gauge "h2trace_self_confined" ["by"]
        "1 for what all threads have given up once everything was attached: capabilities, no_new_privs, seccomp (system calls), landlock (files), core_dumps";
    SELF_PROGRAM_RUNS = Counter "h2trace_self_program_runs_total" ["program"]
        "Runs of a kernel program; counted only while the kernel's BPF statistics are on";
    SELF_PROGRAM_SECONDS = Counter "h2trace_self_program_run_seconds_total" ["program"]
        "Time spent in a kernel program; counted only while the kernel's BPF statistics are on";
    SELF_DRAIN_AGE = Gauge "h2trace_self_drain_age_seconds" []
        "Time since the kernel programs' records were last read";
    SELF_BUILD_INFO = Gauge "h2trace_self_build_info" ["version"]
        "1, with the version of h2trace";
    PROCESS_CPU = Counter "process_cpu_seconds_total" []
        "Total user and system CPU time spent in seconds";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" []
        "Number of open file descriptors";
    PROCESS_MAX_FDS = Gauge "process_max_fds" []
        "Maximum number of open file descriptors";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" []
        "Virtual memory size in bytes";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" []
        "Resident memory size in bytes";
    PROCESS_START = Gauge "process_start_time_seconds" []
        "Start time of the process since unix epoch in seconds";
    PROCESS_THREADS = Gauge "process_threads" []
        "Number of OS threads in the process";
}

/// The table of all metrics, in Markdown: a heading and one row a metric.
#[must_use]
pub fn markdown() -> String {
    let mut table =
        String::from("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    for metric in METRICS {
        table.push_str(&row(metric));
        table.push('\n');
    }
    table
}

/// One row of it.
fn row(metric: &Metric) -> String {
    let own = metric.labels.iter().map(|label| format!("`{label}`"));
    let before = Some(metric.about.in_table().to_owned()).filter(|labels| !labels.is_empty());
    let labels = before.into_iter().chain(own).collect::<Vec<_>>().join(" ");
    format!(
        "| `{}` | {} | {labels} | {} |",
        metric.name,
        metric.metric_type.as_str(),
        metric.help
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for metric in METRICS {
            let name = metric.name;
            assert!(
                name.starts_with("h2trace_") || name.starts_with("process_"),
                "{name}"
            );
            assert_eq!(
                metric.metric_type == MetricType::Counter,
                name.ends_with("_total"),
                "{name}"
            );
            assert!(
                !metric.help.ends_with('.') && !metric.help.contains('|'),
                "{name}"
            );
        }
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
