//! The table of all metrics: registration, `h2trace generate metrics` and the README come from it.

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

    /// What stands for them in the table of the README.
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

        /// All of them, in the order of the README.
        pub const METRICS: &[Metric] = &[$($constant,)+];
    };
}

metrics! {
    CONNECTIONS = Counter of End "h2trace_connections_total" ["role"]
        "HTTP/2 connections seen";
    CONNECTIONS_UNDECODED = Counter of End "h2trace_connections_undecoded_total" ["reason"]
        "Connections seen and not decoded: encrypted (tls), HTTP/1 (http1) or something else (other)";
    CONNECTIONS_ENDED = Counter of End "h2trace_connections_ended_total" ["role", "cause"]
        "HTTP/2 connections that ended, by the cause that the observed end saw";
    CONNECTIONS_BROKEN = Counter of End "h2trace_connections_ended_with_open_streams_total" ["role", "cause"]
        "HTTP/2 connections that ended while streams were open";
    GO_AWAYS = Counter of End "h2trace_go_aways_total" ["role", "sender", "code"]
        "GOAWAY frames, by who sent them and the error code";
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
        "RST_STREAM frames, by who sent them, the error code, how far request and response were, and the verdict";
    MISSING_TRAILERS = Counter of End "h2trace_missing_trailers_total" ["role", "end"]
        "gRPC streams whose response certainly carried no trailers, by how the stream ended";
    TRUNCATED_MESSAGES = Counter of End "h2trace_truncated_messages_total" ["role", "direction", "end"]
        "gRPC streams that ended inside a message, by the message's direction and how the stream ended";
    EARLY_RESPONSES = Counter of End "h2trace_early_responses_total" ["role"]
        "Responses that were complete before their request was: legal, and what a broken proxy may cut short";
    GRPC_STATUS = Counter of End "h2trace_grpc_status_total" ["role", "grpc_service", "grpc_method", "grpc_code"]
        "gRPC streams that ended, by method and status; missing, malformed and unseen are no statuses of gRPC";
    DATA_BYTES = Counter of End "h2trace_data_bytes_total" ["role", "direction"]
        "Bytes of DATA without padding, of request and response, counted when their stream ends";
    FINDINGS = Counter of End "h2trace_findings_total" ["role", "kind", "verdict"]
        "Findings, by kind and verdict";
    LATE_END_STREAM = Counter "h2trace_late_end_stream_total" ["user_agent"]
        "Requests that had not ended when their response was complete, seen where they are answered, by the client's library";
    HOP_REQUESTS = Counter of End "h2trace_hop_requests_total" ["join"]
        "Requests whose two sides were looked for at a proxy (the end), by how surely they were found: id to ambiguous, or alone";
    HOP_MISSING_BYTES = Counter of End "h2trace_hop_missing_bytes_total" []
        "Bytes of responses that came to a proxy whole and did not leave it";
    HOP_RESET_CODES = Counter of End "h2trace_hop_reset_codes_total" ["towards", "code_in", "code_out"]
        "Resets at a proxy, by the side they went to, the code that came in and the code that the proxy sent";
    LIVE_CONNECTIONS = Gauge "h2trace_live_connections" []
        "Connections that are followed now";
    LIVE_STREAMS = Gauge "h2trace_live_streams" []
        "Streams that are open now";
    SELF_EVENTS_LOST = Counter "h2trace_self_events_lost_total" ["cause"]
        "What the kernel programs could not see or hand over, by cause; anything but 0 leaves findings unknown";
    SELF_UNDECODED = Counter "h2trace_self_undecoded_total" ["cause"]
        "Places in the traffic that could not be decoded, by cause";
    SELF_UNDECODED_BYTES = Counter "h2trace_self_undecoded_bytes_total" []
        "Bytes that went by undecoded, where their number is known";
    SELF_RESYNC = Counter "h2trace_self_resync_total" []
        "Times the place among the frames of a connection was lost and had to be found anew";
    SELF_HPACK_UNSEEN = Counter "h2trace_self_hpack_unseen_total" []
        "Streams with header fields that stood in table entries older than the attach or lost (tier T0)";
    SELF_ENDS = Gauge "h2trace_self_ends" []
        "Connection ends (process and container of a pod) that have series now";
    SELF_UNNAMED = Gauge "h2trace_self_connections_without_names" []
        "Connections in pods whose names are not known: shown as unknown once they are that for 10 s";
    SELF_LIMIT_HITS = Counter "h2trace_self_limit_hits_total" ["limit"]
        "Times a bound of the tracer was reached, by the bound";
    SELF_LABEL_OVERFLOW = Counter "h2trace_self_label_overflow_total" ["label"]
        "Times something was counted under other because its bound was reached: end, grpc_method, reset, series";
    SELF_OUTPUT_DROPPED = Counter "h2trace_self_output_dropped_total" []
        "Lines of output that were thrown away because their reader was too slow";
    SELF_CALLS = Counter "h2trace_self_calls_total" ["kind"]
        "Socket calls that the kernel programs looked at: followed, skipped (not wanted or not HTTP/2), peek";
    SELF_SOCKETS = Counter "h2trace_self_sockets_total" ["kind"]
        "Sockets that are not followed: unwanted (by the filter), other (not HTTP/2)";
    SELF_BYTES_SEEN = Counter "h2trace_self_bytes_seen_total" []
        "Bytes that passed on HTTP/2 sockets";
    SELF_BYTES_COPIED = Counter "h2trace_self_bytes_copied_total" []
        "Bytes that were copied to user space for it, record headers included";
    SELF_RECORDS = Counter "h2trace_self_records_total" []
        "Records that the kernel programs wrote";
    SELF_PODS = Gauge "h2trace_self_pods" []
        "Pods of this node that are known; absent where nobody is asked for pods, as the next five";
    SELF_PODS_SOURCE = Gauge "h2trace_self_pods_source" ["source"]
        "1 for who names pods now: the API server (api), the container runtime (cri), or what was told before (none)";
    SELF_PODS_WAITING = Gauge "h2trace_self_pods_waiting" []
        "Containers with connections that wait for their names";
    SELF_POD_WATCH_ERRORS = Counter "h2trace_self_pod_watch_errors_total" ["reason"]
        "Failures of the watch of this node's pods, by reason: no_access, unauthorized, forbidden, expired, unreachable, other";
    SELF_UNNAMED_CONNECTIONS = Counter "h2trace_self_unnamed_connections_total" []
        "Connections of pods whose names were not known yet when they were opened";
    SELF_CRI_CALLS = Counter "h2trace_self_cri_calls_total" []
        "Times that the container runtime was asked for its containers";
    SELF_SELECTED_PODS = Gauge "h2trace_self_selected_pods" []
        "Pods of this node that --pod, --namespace, --selector and the like leave, and that are traced now; 0 without such options";
    SELF_SELECTION_KNOWN = Gauge "h2trace_self_selection_known" []
        "1 when it is known which pods those options select; while it is 0 no pod is traced that would have to be";
    SELF_PROGRAM_ATTACHED = Gauge "h2trace_self_program_attached" ["program"]
        "1 for every kernel program that is attached";
    SELF_PROGRAM_RUNS = Counter "h2trace_self_program_runs_total" ["program"]
        "Runs of a kernel program; counted only while the kernel's BPF statistics are on";
    SELF_PROGRAM_SECONDS = Counter "h2trace_self_program_run_seconds_total" ["program"]
        "Time spent in a kernel program; counted only while the kernel's BPF statistics are on";
    SELF_DRAIN_AGE = Gauge "h2trace_self_drain_age_seconds" []
        "Time since the records of the kernel programs were last read";
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

/// The README's table: a heading and one row a metric.
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

/// One row of the README's table.
#[must_use]
pub fn row(metric: &Metric) -> String {
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

    #[test]
    fn readme_has_a_row_for_each_metric() {
        let readme =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
        for metric in METRICS {
            assert!(
                readme.lines().any(|line| line == row(metric)),
                "README.md lacks the row of {} (print the table with: h2trace generate metrics)",
                metric.name
            );
        }
    }
}
