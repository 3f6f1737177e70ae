//! The rules. Each gets the whole tree and adds its breaches.

use std::collections::BTreeMap;

use super::source::{Source, has_word, is_word};

/// The pure stages. That they cannot name the binary crate, async or the kernel is up to the compiler.
const CORE: &str = "tracer-user/core/src/";

/// The binary crate.
const BINARY: &str = "tracer-user/src/";

/// The folders of a crate in an order: each may use those before it.
const ORDERS: [(&str, &[&str]); 2] = [
    (
        CORE,
        &[
            "attribution",
            "tls",
            "event",
            "connection",
            "field",
            "frame",
            "stream",
            "hop",
            "anomaly",
            "pipeline",
        ],
    ),
    (
        BINARY,
        &[
            "unit",
            "plain",
            "confine",
            "workload",
            "kernel",
            "key_scan",
            "capture",
            "diagnosis",
            "export",
            "explain",
            "session",
            "demo",
            "cli",
        ],
    ),
];

/// What a pure stage may not name of the standard library. An address is a value; what has to do with sockets is not.
const IMPURE: [&str; 12] = [
    "std::fs",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "ToSocketAddrs",
    "std::io",
    "std::process",
    "Instant::now",
    "SystemTime",
    "println",
    "eprintln",
    "print",
];

/// What must not stand anywhere, tests included.
const UNFINISHED: [&str; 4] = ["todo!", "unimplemented!", "#[ignore", "FIXME"];

/// What may stand at the top level; the licences beside them.
const TOP_LEVEL: [&str; 12] = [
    ".cargo",
    ".ci",
    ".github",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "deny.toml",
    "tests",
    "tracer-ebpf",
    "tracer-user",
    "xtask",
];

/// Names that the glossary of the architecture page has better words for.
const REPLACED: [&str; 10] = [
    "Place", "Asked", "Belongs", "Said", "Later", "Looks", "Standing", "Rung", "heed", "by_lot",
];

/// Types of one name at most: one name, one thing. The few that there are stand in different programs.
const TYPES_OF_ONE_NAME: usize = 4;

/// Lines of one Rust file at most.
const FILE_LINES: usize = 600;

/// Attributes of aya-ebpf that make a function a kernel program.
const PROGRAMS: [&str; 9] = [
    "raw_tracepoint",
    "tracepoint",
    "btf_tracepoint",
    "kprobe",
    "kretprobe",
    "fentry",
    "fexit",
    "uprobe",
    "uretprobe",
];

/// All breaches of all rules, as `path:line: what`.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    for source in sources {
        pure_stages_are_pure(source, &mut out);
        no_folder_names_a_later_one(source, &mut out);
        nothing_is_unfinished(source, &mut out);
        files_are_short(source, &mut out);
        no_trailing_whitespace(source, &mut out);
        programs_name_their_hook(source, &mut out);
        no_replaced_name_is_back(source, &mut out);
    }
    few_types_share_a_name(sources, &mut out);
    every_limit_is_used(sources, &mut out);
    top_level_is_agreed(sources, &mut out);
    out
}

/// The folder of the crate at `root` that a file belongs to.
fn folder<'a>(source: &'a Source, root: &str) -> Option<&'a str> {
    let below = source.path.strip_prefix(root)?;
    below
        .split('/')
        .next()
        .map(|name| name.strip_suffix(".rs").unwrap_or(name))
}

fn pure_stages_are_pure(source: &Source, out: &mut Vec<String>) {
    if !source.path.starts_with(CORE) {
        return;
    }
    for (number, line) in source.code_lines() {
        for word in IMPURE.iter().filter(|word| has_word(line, word)) {
            out.push(format!(
                "{}:{number}: a pure stage names {word}",
                source.path
            ));
        }
    }
}

fn no_folder_names_a_later_one(source: &Source, out: &mut Vec<String>) {
    for (root, order) in ORDERS {
        let own =
            folder(source, root).and_then(|folder| order.iter().position(|name| *name == folder));
        let Some(own) = own else {
            continue;
        };
        for (line, name) in crate_names(&source.code) {
            if order.iter().skip(own + 1).any(|later| *later == name) {
                out.push(format!(
                    "{}:{line}: {} names {name}, which comes after it",
                    source.path, order[own]
                ));
            }
        }
    }
}

/// The modules named by `crate::x` and `crate::{x::.., y}`, with the line of the `crate`.
fn crate_names(code: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push((line, rest.chars().take_while(|c| is_word(*c)).collect()));
            continue;
        };
        let mut depth = 1;
        let mut name = String::new();
        let mut is_head = true;
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => {
                    names.push((line, std::mem::take(&mut name)));
                    is_head = true;
                    continue;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if c == ':' {
                is_head = false;
            }
            if is_head && is_word(c) {
                name.push(c);
            }
        }
        names.push((line, name));
    }
    names
}

fn no_replaced_name_is_back(source: &Source, out: &mut Vec<String>) {
    for (number, line) in source.code_lines() {
        for word in REPLACED.iter().filter(|word| has_word(line, word)) {
            out.push(format!(
                "{}:{number}: {word} is a name that the glossary replaced",
                source.path
            ));
        }
    }
}

fn few_types_share_a_name(sources: &[Source], out: &mut Vec<String>) {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        // Those of tests count too.
        for (number, line) in source.text.lines().enumerate() {
            if let Some(name) = defined_type(line) {
                let place = format!("{}:{}", source.path, number + 1);
                places.entry(name).or_default().push(place);
            }
        }
    }
    for (name, places) in places {
        if let Some(last) = places.get(TYPES_OF_ONE_NAME) {
            let n = places.len();
            out.push(format!("{last}: {n} types are called {name}"));
        }
    }
}

/// The type that a line defines.
fn defined_type(line: &str) -> Option<&str> {
    if line.trim_start().starts_with("//") {
        return None;
    }
    let mut words = line.split(|c| !is_word(c)).filter(|word| !word.is_empty());
    let visibility = ["pub", "crate", "super", "in", "self"];
    let kind = words.find(|word| !visibility.contains(word))?;
    let name = words.next()?;
    (["struct", "enum", "trait", "union"].contains(&kind)).then_some(name)
}

fn nothing_is_unfinished(source: &Source, out: &mut Vec<String>) {
    // This file has to name them.
    if !source.path.ends_with(".rs") || source.path.starts_with("xtask/src/tidy/") {
        return;
    }
    for (number, line) in source.text.lines().enumerate() {
        for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
            out.push(format!("{}:{}: {word}", source.path, number + 1));
        }
    }
}

fn files_are_short(source: &Source, out: &mut Vec<String>) {
    let lines = source.text.lines().count();
    if source.path.ends_with(".rs") && lines > FILE_LINES {
        out.push(format!(
            "{}:{lines}: longer than {FILE_LINES} lines: split it by concern",
            source.path
        ));
    }
}

fn no_trailing_whitespace(source: &Source, out: &mut Vec<String>) {
    let is_ours = [
        ".rs", ".toml", ".md", ".sh", ".py", ".go", ".js", ".mjs", ".yaml", ".java", ".proto",
        "/run",
    ]
    .iter()
    .any(|end| source.path.ends_with(end));
    if !is_ours {
        return;
    }
    for (number, line) in source.text.lines().enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            out.push(format!(
                "{}:{}: whitespace at the end of the line",
                source.path,
                number + 1
            ));
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        out.push(format!(
            "{}: no line end at the end of the file",
            source.path
        ));
    }
}

fn programs_name_their_hook(source: &Source, out: &mut Vec<String>) {
    if !source.path.starts_with("tracer-ebpf/src/") {
        return;
    }
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    for (number, line) in lines.iter().enumerate() {
        let Some(name) = line
            .strip_prefix("#[")
            .map(|rest| rest.chars().take_while(|c| is_word(*c)).collect::<String>())
        else {
            continue;
        };
        if !PROGRAMS.contains(&name.as_str()) {
            continue;
        }
        let above = lines[..number]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("///") || line.starts_with("#["));
        if !above.into_iter().any(|line| line.starts_with("/// hook:")) {
            out.push(format!(
                "{}:{}: a kernel program without \"/// hook:\" above it",
                source.path,
                number + 1
            ));
        }
    }
}

fn every_limit_is_used(sources: &[Source], out: &mut Vec<String>) {
    const LIMITS: &str = "tracer-user/core/src/limits/table.rs";
    let Some(limits) = sources.iter().find(|source| source.path == LIMITS) else {
        return;
    };
    for (number, line) in limits.code_lines() {
        let Some(rest) = line.trim().strip_prefix("pub const ") else {
            continue;
        };
        let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
        let is_used = sources
            .iter()
            .any(|source| source.path != LIMITS && has_word(&source.code, &name));
        if !is_used {
            out.push(format!("{LIMITS}:{number}: {name} is not used"));
        }
    }
}

fn top_level_is_agreed(sources: &[Source], out: &mut Vec<String>) {
    let mut entries: Vec<&str> = sources
        .iter()
        .filter_map(|source| source.path.split('/').next())
        .collect();
    entries.sort_unstable();
    entries.dedup();
    for entry in entries {
        if !TOP_LEVEL.contains(&entry) && !entry.starts_with("LICENSE-") {
            out.push(format!("{entry}: not agreed at the top level"));
        }
    }
}

#[cfg(test)]
mod tests;
