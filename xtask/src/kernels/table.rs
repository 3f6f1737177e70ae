//! What is shown of which kernel: the tables in the page about kernels, from the lists that the tests run by.

use super::{Hooks, KERNELS, Kernel, PAGES_KIB, steps};
use crate::architecture::Architecture;
use crate::test::older;

/// Something that users ask for, and what shows it.
struct Feature {
    what: &'static str,
    shown_by: By,
}

/// What shows a feature.
enum By {
    /// A test of `tests/kernel`, by its whole name.
    Test(&'static str),
    /// `h2trace demo`.
    Demo,
    /// The reference incident.
    Incident,
}

const fn feature(what: &'static str, test: &'static str) -> Feature {
    Feature {
        what,
        shown_by: By::Test(test),
    }
}

/// The features, in the order of the table.
const FEATURES: [Feature; 13] = [
    Feature {
        what: "`h2trace demo`: its findings are the calls that its client saw fail",
        shown_by: By::Demo,
    },
    Feature {
        what: "the reference case with real grpc-go, Envoy and grpc-js",
        shown_by: By::Incident,
    },
    feature(
        "HTTP/2 over TCP, with DATA counted and not copied",
        "ways::data_is_counted_and_not_copied",
    ),
    feature(
        "AF_UNIX, and the end of its connections",
        "ends::the_end_of_a_unix_socket_is_told_by_a_receive",
    ),
    feature(
        "connections that several threads use",
        "ways::threads_that_share_a_connection_are_seen",
    ),
    feature(
        "who closed a connection",
        "ends::a_close_in_order_tells_who_closed_first",
    ),
    feature(
        "who reset a connection",
        "ends::a_reset_is_told_at_both_ends",
    ),
    feature(
        "connections older than the tracer",
        "late::a_direction_in_the_middle_of_long_data_finds_the_next_frame",
    ),
    feature(
        "sendfile within DATA",
        "late::sendfile_within_data_is_a_normal_hole",
    ),
    feature(
        "splice from a socket shows as a gap",
        "late::bytes_spliced_from_a_socket_show_as_a_gap_and_cost_the_place",
    ),
    feature(
        "pods by their cgroups (v2)",
        "pods::pod_added_later_is_traced_from_its_first_byte_and_until_it_is_removed",
    ),
    feature(
        "io_uring's bytes are counted, and no other's are taken for them",
        "foreign::task_work::a_receive_that_completes_behind_the_send_that_fed_it_is_not_what_was_sent_last",
    ),
    feature(
        "bytes of 32-bit calls are counted",
        "foreign::compat::receives_of_32_bit_calls_are_right_or_counted",
    ),
];

/// The kernel of the machine that the tests run on.
const LIVE: &str = "6.18";

/// A column of the table.
enum Column {
    /// The machine that the tests run on, with its own hooks or with others.
    Live(Hooks),
    /// A guest.
    Guest(&'static Kernel),
    /// Kernels that nothing runs on.
    Other(Hooks),
}

fn columns() -> Vec<Column> {
    let guests = KERNELS.iter().map(Column::Guest);
    [
        Column::Live(Hooks::SocketTracepoints),
        Column::Live(Hooks::SystemCallExit),
    ]
    .into_iter()
    .chain(guests)
    .chain([
        Column::Other(Hooks::SocketTracepoints),
        Column::Other(Hooks::SystemCallExit),
    ])
    .collect()
}

impl Column {
    const fn hooks(&self) -> Hooks {
        match self {
            Column::Live(hooks) | Column::Other(hooks) => *hooks,
            Column::Guest(kernel) => kernel.hooks,
        }
    }

    fn heading(&self) -> String {
        match self {
            Column::Live(Hooks::SocketTracepoints) => format!("{LIVE} amd64"),
            Column::Live(Hooks::SystemCallExit) => format!("{LIVE} amd64, system call exit"),
            Column::Guest(kernel) if kernel.pages_kib != PAGES_KIB => format!(
                "{} {}, pages of {} KiB",
                kernel.series,
                kernel.architecture.name(),
                kernel.pages_kib
            ),
            Column::Guest(kernel) => format!("{} {}", kernel.series, kernel.architecture.name()),
            Column::Other(Hooks::SocketTracepoints) => "others with the tracepoints".to_owned(),
            Column::Other(Hooks::SystemCallExit) => "others without, from 5.15 on".to_owned(),
        }
    }

    /// `tested`, `derived` from the same code on another kernel, or `missing`.
    fn of(&self, feature: &Feature) -> &'static str {
        let is_run = match (self, &feature.shown_by) {
            // Its peers are those of the machine that the tests run on.
            (Column::Guest(kernel), By::Incident) => kernel.architecture == Architecture::Amd64,
            (Column::Other(_), _) => false,
            (_, By::Demo)
            | (Column::Live(_), By::Incident)
            | (Column::Live(Hooks::SocketTracepoints), By::Test(_)) => true,
            (Column::Live(Hooks::SystemCallExit), By::Test(test)) => !older::is_left_out(test),
            (Column::Guest(kernel), By::Test(test)) => {
                steps::core(kernel).iter().any(|(name, _)| name == test)
            }
        };
        match &feature.shown_by {
            _ if is_run => "tested",
            By::Test(test) if self.hooks() == Hooks::SystemCallExit && older::is_left_out(test) => {
                "missing"
            }
            _ => "derived",
        }
    }
}

/// The tables by the names that the pages have for them.
pub(crate) fn tables() -> Vec<(String, String)> {
    let columns = columns();
    let headings: Vec<_> = columns.iter().map(Column::heading).collect();
    let mut features = row("", &headings) + &row("---", &vec!["---".to_owned(); columns.len()]);
    for feature in &FEATURES {
        let cells: Vec<_> = columns
            .iter()
            .map(|column| column.of(feature).to_owned())
            .collect();
        features += &row(feature.what, &cells);
    }
    vec![("features by kernel".to_owned(), features)]
}

fn row(first: &str, cells: &[String]) -> String {
    format!("| {first} | {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(what: &str) -> Vec<&'static str> {
        let feature = FEATURES.iter().find(|feature| feature.what == what);
        let feature = feature.unwrap();
        columns().iter().map(|column| column.of(feature)).collect()
    }

    #[test]
    fn what_no_test_runs_is_not_tested() {
        assert_eq!(
            cells("io_uring's bytes are counted, and no other's are taken for them"),
            [
                "tested", "missing", "tested", "missing", "tested", "missing", "tested", "derived",
                "missing"
            ]
        );
        let sendfile = cells("sendfile within DATA");
        assert_eq!(sendfile[6..], ["tested", "derived", "derived"]);
        let incident = cells("the reference case with real grpc-go, Envoy and grpc-js");
        assert_eq!(
            incident[2..7],
            ["tested", "tested", "derived", "derived", "derived"]
        );
    }

    #[test]
    fn tests_that_show_features_are_there() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kernel");
        for feature in &FEATURES {
            let By::Test(name) = feature.shown_by else {
                continue;
            };
            let (module, function) = name.rsplit_once("::").unwrap();
            let path = folder.join(format!("{}.rs", module.replace("::", "/")));
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.contains(&format!("fn {function}()")), "{name}");
        }
    }
}
