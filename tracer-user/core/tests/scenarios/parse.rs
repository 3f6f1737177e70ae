//! A file of scenarios as text: what is said in it, and in which variants.

use std::iter::Peekable;

/// What begins a line that the runner writes.
pub(crate) const TOLD: &str = "    >";

/// One scenario of a file.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Its lines as they stand in the file, without what the runner writes.
    pub(crate) lines: Vec<String>,
    pub(crate) body: Vec<Node>,
    /// What varies: a name and its values. The scenario is played with each combination.
    pub(crate) axes: Vec<(String, Vec<String>)>,
}

/// A line that says what happens, or a block of them. `at` counts the lines of the scenario.
#[derive(Debug)]
pub(crate) enum Node {
    Line {
        at: usize,
        text: String,
    },
    For {
        name: String,
        values: Vec<u64>,
        body: Vec<Node>,
    },
    /// Played when `axis` has this value.
    Case {
        axis: String,
        label: String,
        body: Vec<Node>,
    },
    /// One call of `send` or `recv`.
    Together {
        body: Vec<Node>,
    },
}

/// What the names of a scenario stand for while it is played.
pub(crate) type Names = Vec<(String, String)>;

/// The lines before the first scenario, and the scenarios.
pub(crate) fn file(text: &str) -> (Vec<String>, Vec<Scenario>) {
    let mut head = Vec::new();
    let mut scenarios: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(TOLD)) {
        if let Some(name) = line.strip_prefix("=== ") {
            scenarios.push((name.to_owned(), Vec::new()));
        } else if let Some((_, lines)) = scenarios.last_mut() {
            lines.push(line.to_owned());
        } else {
            head.push(line.to_owned());
        }
    }
    (head, scenarios.into_iter().map(scenario).collect())
}

fn scenario((name, mut lines): (String, Vec<String>)) -> Scenario {
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    let mut axes = Vec::new();
    let said = lines.iter().enumerate().filter_map(|(at, line)| {
        let text = line.trim();
        let is_said = !text.is_empty() && !text.starts_with('#');
        is_said.then(|| (line.len() - line.trim_start().len(), at, text.to_owned()))
    });
    let mut said: Vec<_> = said.collect();
    said.retain(|(_, _, text)| match axis(text) {
        Some(axis) => {
            axes.push(axis);
            false
        }
        None => true,
    });
    let mut said = said.into_iter().peekable();
    let body = block(&mut said, 0, &mut axes);
    assert!(
        said.peek().is_none(),
        "{name}: indented without a block: {:?}",
        said.peek()
    );
    for (axis, label) in conditions(&body) {
        let known = axes.iter().find(|(name, _)| *name == axis);
        let is_known = known.is_some_and(|(_, values)| values.contains(&label));
        assert!(is_known, "{name}: {axis} is never {label}");
    }
    Scenario {
        name,
        lines,
        body,
        axes,
    }
}

/// What the blocks of the scenario are played on.
fn conditions(nodes: &[Node]) -> Vec<(String, String)> {
    let of = |node: &Node| match node {
        Node::Line { .. } => Vec::new(),
        Node::Case { axis, label, body } => {
            let mut found = conditions(body);
            found.push((axis.clone(), label.clone()));
            found
        }
        Node::For { body, .. } | Node::Together { body } => conditions(body),
    };
    nodes.iter().flat_map(of).collect()
}

/// `given code: NO_ERROR | CANCEL`, and `watched: client | server`.
fn axis(line: &str) -> Option<(String, Vec<String>)> {
    let (name, values) = line.split_once(": ")?;
    let name = match name.split_once(' ') {
        None if name == "watched" => name,
        Some(("given", name)) => name,
        _ => return None,
    };
    let values = values.split(" | ").map(|value| value.trim().to_owned());
    Some((name.to_owned(), values.collect()))
}

fn block(
    said: &mut Peekable<impl Iterator<Item = (usize, usize, String)>>,
    indent: usize,
    axes: &mut Vec<(String, Vec<String>)>,
) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut choice: Option<String> = None;
    while let Some((_, at, text)) = said.next_if(|(deep, ..)| *deep >= indent) {
        let inner = said.peek().map_or(0, |(deep, ..)| *deep);
        let opens = text.strip_suffix(':').filter(|_| inner > indent);
        let Some(opens) = opens else {
            choice = None;
            nodes.push(Node::Line { at, text });
            continue;
        };
        let body = block(said, inner, axes);
        if let Some(label) = opens.strip_prefix("case ") {
            let axis = choice.get_or_insert_with(|| format!("case {at}")).clone();
            match axes.iter_mut().find(|(name, _)| *name == axis) {
                Some((_, labels)) => labels.push(label.to_owned()),
                None => axes.push((axis.clone(), vec![label.to_owned()])),
            }
            nodes.push(Node::Case {
                axis,
                label: label.to_owned(),
                body,
            });
            continue;
        }
        choice = None;
        nodes.push(if let Some((axis, label)) = when(opens) {
            Node::Case { axis, label, body }
        } else if opens == "together" {
            Node::Together { body }
        } else if let Some(times) = opens.strip_prefix("repeat ") {
            let values = (0..number(times)).collect();
            Node::For {
                name: "nth".to_owned(),
                values,
                body,
            }
        } else if let Some(rest) = opens.strip_prefix("for ") {
            let (name, values) = rest.split_once(" in ").unwrap_or_else(|| panic!("{text}"));
            Node::For {
                name: name.to_owned(),
                values: values_of(values),
                body,
            }
        } else {
            panic!("no block begins so: {text}");
        });
    }
    nodes
}

/// `when place = 1`: of an axis that is given.
fn when(opens: &str) -> Option<(String, String)> {
    let (axis, label) = opens.strip_prefix("when ")?.split_once(" = ")?;
    Some((axis.to_owned(), label.to_owned()))
}

/// `1 3 5`, `0 .. 9` and `1 3 .. 99`.
fn values_of(text: &str) -> Vec<u64> {
    let Some((first, last)) = text.split_once(" .. ") else {
        return text.split(' ').map(number).collect();
    };
    let first: Vec<u64> = first.split(' ').map(number).collect();
    let (from, step) = match first[..] {
        [from] => (from, 1),
        [from, second] => (from, second - from),
        _ => panic!("{text}"),
    };
    let step = usize::try_from(step).unwrap();
    (from..=number(last)).step_by(step).collect()
}

/// A number; `_` may stand in it.
pub(crate) fn number(text: &str) -> u64 {
    let digits = text.replace('_', "");
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no number: {text:?}"))
}

/// Each combination of the axes' values.
pub(crate) fn variants(axes: &[(String, Vec<String>)]) -> Vec<Names> {
    let mut variants = vec![Names::new()];
    for (name, values) in axes {
        variants = variants
            .iter()
            .flat_map(|variant| {
                values.iter().map(move |value| {
                    let mut variant = variant.clone();
                    variant.push((name.clone(), value.clone()));
                    variant
                })
            })
            .collect();
    }
    variants
}

/// Puts values in the place of `$name` and `$(name*2+1)`.
pub(crate) fn fill(text: &str, names: &Names) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        if let Some(after) = after.strip_prefix('(') {
            let (sum, after) = after
                .split_once(')')
                .unwrap_or_else(|| panic!("no ): {text}"));
            filled.push_str(&calculate(sum, names).to_string());
            rest = after;
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (name, after) = after.split_at(end.unwrap_or(after.len()));
            filled.push_str(value(name, names));
            rest = after;
        }
    }
    filled + rest
}

fn value<'a>(name: &str, names: &'a Names) -> &'a str {
    let found = names.iter().rev().find(|(of, _)| of == name);
    found.map_or_else(|| panic!("nobody said what ${name} is"), |(_, value)| value)
}

/// From left to right, whatever the operators.
fn calculate(sum: &str, names: &Names) -> u64 {
    let operand = |text: &str| {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            number(text)
        } else {
            number(value(text, names))
        }
    };
    let next = |text: &str| text.find(['+', '-', '*', '/', '%']).unwrap_or(text.len());
    let (first, mut rest) = sum.split_at(next(sum));
    let mut result = operand(first);
    while let Some(operator) = rest.chars().next() {
        let (second, after) = rest[1..].split_at(next(&rest[1..]));
        let second = operand(second);
        result = match operator {
            '+' => result + second,
            '-' => result - second,
            '*' => result * second,
            '/' => result / second,
            _ => result % second,
        };
        rest = after;
    }
    result
}
