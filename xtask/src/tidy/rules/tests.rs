use super::*;

/// The breaches of a tree of these files.
fn breaches(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files
        .iter()
        .map(|(path, text)| Source::new(path, text.as_bytes()))
        .collect();
    check(&sources)
}

/// The tree has exactly one breach, and it says `what`.
fn assert_breach(files: &[(&str, &str)], what: &str) {
    let found = breaches(files);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(what), "{found:?}");
}

#[test]
fn a_tidy_tree_has_no_breach() {
    let found = breaches(&[
        ("README.md", "text\n"),
        ("LICENSE-MIT", "text"),
        (
            "tracer-user/core/src/limits/table.rs",
            "pub const STREAMS: usize = 1;\n",
        ),
        (
            "tracer-user/core/src/stream/mod.rs",
            "use crate::frame::Frame;\nuse crate::limits::STREAMS;\n",
        ),
        (
            "tracer-user/core/src/anomaly/kind.rs",
            "    EarlyResponseReset = \"early_response_reset\",\n",
        ),
        (
            "tracer-user/src/export/prometheus.rs",
            "let a = \"h2trace_streams_total\";\nuse crate::kernel::x;\n",
        ),
        (
            "tracer-ebpf/src/main.rs",
            "/// What it does.\n/// hook: sock_send_length(sk, ret, flags) 6.3..\n#[raw_tracepoint]\nfn a() {}\n",
        ),
    ]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn io_and_clock_in_a_pure_stage_are_breaches() {
    for code in [
        "let a = std::fs::read(b);\n",
        "use std::net::TcpStream;\n",
        "let a = Instant::now();\n",
        "use std::time::SystemTime;\n",
        "println!(\"{a}\");\n",
    ] {
        assert_breach(
            &[("tracer-user/core/src/frame/mod.rs", code)],
            "a pure stage names",
        );
        assert_eq!(
            breaches(&[("tracer-user/src/export/mod.rs", code)]),
            Vec::<String>::new()
        );
    }
}

#[test]
fn an_address_type_is_no_io_and_a_socket_is() {
    let event = "tracer-user/core/src/event/mod.rs";
    assert_eq!(
        breaches(&[(event, "use std::net::SocketAddr;\n")]),
        Vec::<String>::new()
    );
    assert_breach(&[(event, "use std::net::UdpSocket;\n")], "UdpSocket");
}

#[test]
fn tests_and_comments_of_a_pure_stage_may_name_anything() {
    let text =
        "//! no std::fs\n#[cfg(test)]\nmod tests {\n    fn a() { std::fs::read(b).unwrap(); }\n}\n";
    assert_eq!(
        breaches(&[("tracer-user/core/src/frame/mod.rs", text)]),
        Vec::<String>::new()
    );
}

#[test]
fn naming_a_later_stage_is_a_breach() {
    for code in [
        "use crate::anomaly::kind::Kind;\n",
        "use crate::{frame::Frame, anomaly::kind::Kind};\n",
        "use crate::{\n    frame::{Frame, Step},\n    anomaly,\n};\n",
        "fn a() -> crate::pipeline::Output {}\n",
    ] {
        assert_breach(
            &[("tracer-user/core/src/stream/mod.rs", code)],
            "stream names",
        );
    }
    assert_breach(
        &[("tracer-user/src/kernel/load.rs", "use crate::cli::args;\n")],
        "kernel names cli",
    );
    let earlier = "use crate::{connection::Endpoint, frame::{Frame, anomaly}};\n";
    assert_eq!(
        breaches(&[("tracer-user/core/src/stream/mod.rs", earlier)]),
        Vec::<String>::new()
    );
}

#[test]
fn an_unused_limit_is_a_breach() {
    let limits = (
        "tracer-user/core/src/limits/table.rs",
        "pub const STREAMS: usize = 1;\n",
    );
    let in_a_comment = (
        "tracer-user/core/src/stream/mod.rs",
        "// STREAMS\nlet a = STREAMS_PER_CONNECTION;\n",
    );
    assert_breach(&[limits, in_a_comment], "STREAMS is not used");
}

#[test]
fn unfinished_work_is_a_breach_everywhere() {
    for code in [
        "todo!();\n",
        "unimplemented!();\n",
        "#[ignore]\n",
        "// FIXME\n",
    ] {
        assert_breach(&[("tests/live/main.rs", code)], "tests/live/main.rs:1");
    }
}

#[test]
fn a_file_of_601_lines_is_a_breach() {
    assert_eq!(
        breaches(&[("xtask/src/x.rs", &"a\n".repeat(600))]),
        Vec::<String>::new()
    );
    assert_breach(
        &[("xtask/src/x.rs", &"a\n".repeat(601))],
        "longer than 600 lines",
    );
}

#[test]
fn a_stranger_at_the_top_level_is_a_breach() {
    assert_breach(&[("docs/a.md", "a\n")], "docs: not agreed at the top level");
}

#[test]
fn whitespace_at_the_end_of_a_line_is_a_breach() {
    assert_breach(&[("README.md", "a \n")], "README.md:1: whitespace");
    assert_breach(&[("README.md", "a")], "no line end");
}

#[test]
fn a_kernel_program_without_its_hook_is_a_breach() {
    let path = "tracer-ebpf/src/main.rs";
    assert_breach(
        &[(path, "/// Text.\n#[raw_tracepoint]\nfn a() {}\n")],
        "without \"/// hook:\"",
    );
    assert_breach(
        &[(
            path,
            "/// hook: x\nfn b() {}\n#[btf_tracepoint(function = \"x\")]\nfn a() {}\n",
        )],
        ":3:",
    );
}

#[test]
fn a_name_that_the_glossary_replaced_is_a_breach() {
    let path = "tracer-user/core/src/hop/mod.rs";
    assert_breach(&[(path, "struct Place {}\n")], "glossary replaced");
    assert_breach(&[(path, "self.heed(frame);\n")], "glossary replaced");
    assert_eq!(
        breaches(&[(
            path,
            "// The Place where it stood.\nlet proxy_heeded = 1;\n"
        )]),
        Vec::<String>::new()
    );
}

#[test]
fn five_types_of_one_name_are_a_breach() {
    let text = "pub(crate) struct Side {}\n";
    let paths = ["a", "b", "c", "d", "e"].map(|name| format!("tests/live/{name}.rs"));
    let mut files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), text)).collect();
    assert_breach(&files, "5 types are called Side");
    files.pop();
    assert_eq!(breaches(&files), Vec::<String>::new());
}
