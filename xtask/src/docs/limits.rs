//! The table of limits, from the source that declares them.

use anyhow::{Context as _, bail};

const MIB: u64 = 1 << 20;

/// One row a constant: its name, its value with a unit, what happens there, and its counter.
pub(super) fn table(source: &str) -> anyhow::Result<String> {
    let mut table =
        String::from("| limit | bound | meaning | counter |\n| --- | --- | --- | --- |\n");
    let mut comment = String::new();
    for line in joined(source) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
            continue;
        }
        if let Some(constant) = line.strip_prefix("pub const ") {
            table += &row(constant, comment.trim()).with_context(|| line.clone())?;
        }
        comment.clear();
    }
    if table.lines().count() < 3 {
        bail!("there are no limits");
    }
    Ok(table)
}

/// The lines of the source, each constant in one line.
fn joined(source: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in source.lines().map(str::trim) {
        match lines.last_mut() {
            Some(last) if last.starts_with("pub const ") && !last.ends_with(';') => {
                last.push(' ');
                last.push_str(line);
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

fn row(constant: &str, comment: &str) -> anyhow::Result<String> {
    let (name, rest) = constant.split_once(':').context("no type")?;
    let (_, value) = rest.split_once('=').context("no value")?;
    let value = value.trim_end_matches(';');
    let value = evaluate(value).with_context(|| format!("cannot read the value {value}"))?;
    let (meaning, counter) = without_counter(comment);
    Ok(format!(
        "| `{name}` | {} | {} | {counter} |\n",
        shown(name, value, &meaning),
        meaning.replace('|', "\\|")
    ))
}

/// Products and shifts of numbers: no constant needs more.
fn evaluate(expression: &str) -> Option<u64> {
    if let Some((left, right)) = expression.split_once("<<") {
        return evaluate(left)?.checked_shl(u32::try_from(evaluate(right)?).ok()?);
    }
    expression.split('*').try_fold(1_u64, |product, factor| {
        product.checked_mul(factor.trim().replace('_', "").parse().ok()?)
    })
}

fn shown(name: &str, value: u64, meaning: &str) -> String {
    if name.ends_with("_NS") {
        return match value / 1_000_000 {
            ms if ms >= 60_000 && ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
            ms if ms >= 1_000 && ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
            ms => format!("{ms} ms"),
        };
    }
    let is_bytes = ["bytes", "Bytes", "Largest packet"]
        .iter()
        .any(|word| meaning.contains(word));
    if is_bytes && value >= MIB && value.is_multiple_of(MIB) {
        format!("{} MiB", value / MIB)
    } else {
        with_commas(value)
    }
}

fn with_commas(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The comment without its sentence ``Counter `NAME`.``, and that name.
fn without_counter(comment: &str) -> (String, String) {
    let found = comment.split_once("Counter `").and_then(|(before, rest)| {
        let (name, after) = rest.split_once("`.")?;
        (!name.contains('`')).then(|| {
            let meaning = format!("{}{after}", before.trim_end());
            (meaning, format!("`{name}`"))
        })
    });
    found.unwrap_or_else(|| (comment.to_owned(), String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_becomes_a_row_with_its_unit() {
        for (source, want) in [
            (
                "/// Streams. The oldest goes.\n/// Counter `streams`.\npub const STREAMS: usize = 1_048_576;\n",
                "| `STREAMS` | 1,048,576 | Streams. The oldest goes. | `streams` |",
            ),
            (
                "/// How long.\npub const TTL_NS: u64 = 15 * 60 * 1_000_000_000;\n",
                "| `TTL_NS` | 15 min | How long. |  |",
            ),
            (
                "/// Bytes that wait.\npub const BACKLOG: usize =\n    256 << 20;\n",
                "| `BACKLOG` | 256 MiB | Bytes that wait. |  |",
            ),
            (
                "/// Waiting (counter `a`). Then.\npub const WAIT_NS: u64 = 100_000_000;\n",
                "| `WAIT_NS` | 100 ms | Waiting (counter `a`). Then. |  |",
            ),
        ] {
            let got = table(source).unwrap();
            assert_eq!(got.lines().nth(2), Some(want));
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        assert!(table("pub const A: usize = B + 1;\n").is_err());
        assert!(table("//! Nothing.\n").is_err());
    }
}
