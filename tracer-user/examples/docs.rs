//! Prints the generated parts of the pages in `tracer-user/docs`, each between the markers that stand in its page.
//! `cargo xtask docs` runs this and puts them there.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use anyhow::Context as _;
use h2trace::cli::args;
use h2trace::confine;
use h2trace::export::{json, metrics};
use h2trace::unit::grouped;
use h2trace_core::anomaly::kind::Kind;
use h2trace_core::limits::{Limit, Unit};
use serde_json::{Map, Value};

fn main() -> anyhow::Result<()> {
    let mut text = String::new();
    for (name, content) in [
        ("findings", findings()?),
        ("metrics", metrics::markdown()),
        ("limits", limits()?),
        ("syscalls", syscalls()?),
        ("json", json_keys()?),
        ("commands", commands()?),
    ] {
        writeln!(
            text,
            "<!-- generated: {name} -->\n{}\n<!-- end -->",
            content.trim_end()
        )?;
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// A cell of a table: one line, and no bar that would end it.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn findings() -> Result<String, fmt::Error> {
    let mut table =
        String::from("| finding | verdict | tier | what it means |\n| --- | --- | --- | --- |\n");
    for kind in Kind::ALL {
        let verdicts: Vec<&str> = kind.verdicts().iter().map(|v| v.as_str()).collect();
        writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            kind.as_str(),
            verdicts.join(", "),
            kind.tier().as_str(),
            cell(kind.doc())
        )?;
    }
    Ok(table)
}

fn limits() -> Result<String, fmt::Error> {
    let mut table =
        String::from("| limit | bound | meaning | counter |\n| --- | --- | --- | --- |\n");
    for limit in Limit::ALL {
        let counter = limit.counter().map(|counter| format!("`{counter}`"));
        writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            limit.name(),
            bound(*limit),
            cell(limit.doc()),
            counter.unwrap_or_default()
        )?;
    }
    Ok(table)
}

/// A bound with its unit.
fn syscalls() -> Result<String, fmt::Error> {
    let mut table = String::from("| what for | system calls |\n| --- | --- |\n");
    for (what, calls) in confine::syscalls::allowed() {
        writeln!(table, "| {} | `{}` |", cell(what), calls.join("` `"))?;
    }
    Ok(table)
}

fn bound(limit: Limit) -> String {
    const MIB: u64 = 1 << 20;
    let value = limit.bound();
    match limit.unit() {
        Unit::Nanoseconds => match value / 1_000_000 {
            ms if ms >= 60_000 && ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
            ms if ms >= 1_000 && ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
            ms => format!("{ms} ms"),
        },
        Unit::Bytes if value >= MIB && value.is_multiple_of(MIB) => format!("{} MiB", value / MIB),
        Unit::Bytes | Unit::Count => grouped(value),
    }
}

/// The command that has the options which others share with it.
const SHARED: &str = "trace";

fn commands() -> anyhow::Result<String> {
    let mut cli = args::command();
    cli.build();
    let shared: Vec<clap::Arg> = cli
        .find_subcommand(SHARED)
        .context("there is no command trace")?
        .get_arguments()
        .filter(|arg| is_shown(arg))
        .cloned()
        .collect();
    let mut text = String::new();
    for command in cli
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        if command.get_name() == "help" {
            continue;
        }
        of_command(&mut text, command, "", &shared)?;
    }
    Ok(text)
}

fn is_shown(arg: &clap::Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

/// The section of a command, and those of its own commands.
fn of_command(
    text: &mut String,
    command: &clap::Command,
    above: &str,
    shared: &[clap::Arg],
) -> anyhow::Result<()> {
    let name = format!("{above}{}", command.get_name());
    let about = command.get_about().map(ToString::to_string);
    writeln!(text, "## {name}\n\n{}.\n", about.unwrap_or_default())?;
    let is_same = |arg: &clap::Arg| name != SHARED && shared.iter().any(|same| is_alike(same, arg));
    let (same, own): (Vec<&clap::Arg>, Vec<&clap::Arg>) = command
        .get_arguments()
        .filter(|arg| is_shown(arg))
        .partition(|arg| is_same(arg));
    if !own.is_empty() {
        writeln!(text, "| option | default | meaning |\n| --- | --- | --- |")?;
        for arg in own {
            writeln!(text, "{}", row(arg))?;
        }
        writeln!(text)?;
    }
    if !same.is_empty() {
        let names: Vec<String> = same
            .iter()
            .map(|arg| format!("`--{}`", arg.get_long().unwrap_or_default()))
            .collect();
        writeln!(
            text,
            "As for [{SHARED}](#{SHARED}): {}.\n",
            names.join(", ")
        )?;
    }
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        if below.get_name() != "help" {
            of_command(text, below, &format!("{name} "), shared)?;
        }
    }
    Ok(())
}

/// The same option with the same meaning.
fn is_alike(one: &clap::Arg, other: &clap::Arg) -> bool {
    one.get_long().is_some() && row(one) == row(other)
}

fn row(arg: &clap::Arg) -> String {
    let value = arg
        .get_value_names()
        .filter(|_| arg.get_action().takes_values())
        .map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>())
        .unwrap_or_default()
        .join(" ");
    let option = match (arg.get_long(), arg.get_short()) {
        (Some(long), Some(short)) => format!("--{long}, -{short} {value}"),
        (Some(long), None) => format!("--{long} {value}"),
        (None, _) => value,
    };
    let default: Vec<String> = if arg.get_action().takes_values() {
        arg.get_default_values()
    } else {
        &[]
    }
    .iter()
    .map(|value| format!("`{}`", value.to_string_lossy()))
    .collect();
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set() && arg.get_action().takes_values())
        .map(|value| {
            let about = value.get_help().map(|help| format!(" ({help})"));
            format!("`{}`{}", value.get_name(), about.unwrap_or_default())
        })
        .collect();
    if !values.is_empty() {
        meaning += &format!(". Values: {}", values.join(", "));
    }
    format!(
        "| `{}` | {} | {} |",
        cell(&option),
        default.join(", "),
        cell(&meaning)
    )
}

/// How many kinds of line must share a key for it to stand in the table of common keys.
const COMMON: usize = 3;

fn json_keys() -> anyhow::Result<String> {
    let schema: Value = serde_json::from_str(json::SCHEMA)?;
    let definitions = schema["$defs"].as_object().context("no $defs")?;
    let lines: Vec<&str> = schema["oneOf"]
        .as_array()
        .context("no oneOf")?
        .iter()
        .filter_map(|line| reference(line))
        .collect();
    let mut users: BTreeMap<String, usize> = BTreeMap::new();
    for line in &lines {
        for (key, value) in properties(&definitions[*line])? {
            *users.entry(format!("{key}{value}")).or_default() += 1;
        }
    }
    let is_common = |key: &str, value: &Value| {
        users
            .get(&format!("{key}{value}"))
            .is_some_and(|n| *n >= COMMON)
    };
    let mut common = Map::new();
    let mut sections = String::new();
    for line in &lines {
        let definition = &definitions[*line];
        writeln!(
            sections,
            "### `{line}`\n\n{}.\n",
            definition["description"].as_str().unwrap_or_default()
        )?;
        let (shared, own): (Vec<_>, Vec<_>) = properties(definition)?
            .iter()
            .filter(|(key, _)| *key != "type")
            .partition(|(key, value)| is_common(key, value));
        let names: Vec<String> = shared.iter().map(|(key, _)| format!("`{key}`")).collect();
        writeln!(sections, "Common keys: {}.\n", names.join(" "))?;
        table(&mut sections, own.into_iter())?;
        for (key, value) in shared {
            common.entry(key).or_insert_with(|| value.clone());
        }
    }
    let mut text =
        String::from("### Common keys\n\nThese mean the same on every line that has them.\n\n");
    table(&mut text, common.iter())?;
    text += &sections;
    for (name, definition) in definitions {
        if lines.contains(&name.as_str()) || name == "kind" {
            continue;
        }
        writeln!(text, "### Object `{name}`\n")?;
        table(&mut text, properties(definition)?.iter())?;
    }
    Ok(text)
}

fn reference(value: &Value) -> Option<&str> {
    value["$ref"].as_str()?.strip_prefix("#/$defs/")
}

/// The properties of an object, or of the object of a `oneOf` with null.
fn properties(definition: &Value) -> anyhow::Result<&Map<String, Value>> {
    object(definition)
        .and_then(|object| object["properties"].as_object())
        .with_context(|| format!("no properties in {definition}"))
}

/// The inline object that a value is, may be, or has as items.
fn object(value: &Value) -> Option<&Value> {
    if value["properties"].is_object() {
        return Some(value);
    }
    let alternatives = value["oneOf"].as_array().into_iter().flatten();
    alternatives.chain(value.get("items")).find_map(object)
}

fn table<'a>(
    text: &mut String,
    rows: impl Iterator<Item = (&'a String, &'a Value)>,
) -> fmt::Result {
    writeln!(text, "| key | value | meaning |\n| --- | --- | --- |")?;
    for (key, value) in rows {
        rows_of(text, key, value)?;
    }
    writeln!(text)
}

/// The row of a key, and those of the keys below it.
fn rows_of(text: &mut String, key: &str, value: &Value) -> fmt::Result {
    writeln!(
        text,
        "| `{key}` | {} | {} |",
        type_of(value),
        cell(description(value))
    )?;
    let Some(below) = object(value).and_then(|object| object["properties"].as_object()) else {
        return Ok(());
    };
    let each = if type_of(value).contains("array") {
        "[]"
    } else {
        ""
    };
    for (name, value) in below {
        rows_of(text, &format!("{key}{each}.{name}"), value)?;
    }
    Ok(())
}

/// What a value means, or else what the value means that it may be.
fn description(value: &Value) -> &str {
    let alternatives = value["oneOf"].as_array().into_iter().flatten();
    std::iter::once(value)
        .chain(alternatives)
        .find_map(|value| value["description"].as_str())
        .unwrap_or_default()
}

fn type_of(value: &Value) -> String {
    if let Some(name) = reference(value) {
        return match name {
            "kind" => "[finding](findings.md#all-findings)".to_owned(),
            "stream" => "[stream](#stream)".to_owned(),
            _ => format!("[{name}](#object-{name})"),
        };
    }
    if let Some(constant) = value.get("const") {
        return format!("`{constant}`");
    }
    if let Some(values) = value["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .map(|value| match value.as_str() {
                Some(text) => format!("`{text}`"),
                None => value.to_string(),
            })
            .collect();
        return values.join(", ");
    }
    if let Some(alternatives) = value["oneOf"].as_array() {
        let (null, other): (Vec<_>, Vec<_>) = alternatives
            .iter()
            .map(type_of)
            .partition(|name| name == "null");
        return other
            .into_iter()
            .chain(null)
            .collect::<Vec<_>>()
            .join(" or ");
    }
    match &value["type"] {
        Value::Array(types) => {
            let names: Vec<&str> = types.iter().filter_map(Value::as_str).collect();
            names.join(" or ")
        }
        Value::String(name) if name == "array" => match type_of(&value["items"]).as_str() {
            "" => "array".to_owned(),
            items => format!("array of {items}"),
        },
        Value::String(name) => name.clone(),
        _ => String::new(),
    }
}
