//! A page: its parts, and the strict small format of its file.
//!
//! ```text
//! # NAME
//!
//! Group: one of the groups
//! Needs: what must be seen, on one line
//!
//! ## Meaning          paragraphs
//! ## Applications     paragraphs (may be missing)
//! ## Causes           items
//! ## Remedies         items
//! ## Seen             items; one in backquotes is a query, and is never wrapped
//! ## References       items
//! ```
//!
//! Sections stand in this order. An item begins with `- `; its further lines are indented by two.

use h2trace_core::anomaly::kind::Kind;

/// What findings have in common, for the list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// RST_STREAM: who, when, with which code.
    Resets,
    /// How a response or a request ended, and what stood in it.
    Completion,
    /// GOAWAY, PING, SETTINGS, and connections that closed.
    Connections,
    /// Windows, concurrency, and streams that hang.
    FlowControl,
    /// Frames and header fields that break the rules.
    Protocol,
    /// Floods and resets at a rate.
    Abuse,
    /// What a proxy did with a request, seen from both of its sides.
    Proxies,
}

impl Group {
    /// All of them, in the order of the list.
    pub const ALL: &'static [Group] = &[
        Group::Resets,
        Group::Completion,
        Group::Connections,
        Group::FlowControl,
        Group::Protocol,
        Group::Abuse,
        Group::Proxies,
    ];

    /// As in the files, and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Group::Resets => "resets",
            Group::Completion => "completion",
            Group::Connections => "connections",
            Group::FlowControl => "flow control",
            Group::Protocol => "protocol",
            Group::Abuse => "abuse",
            Group::Proxies => "proxies",
        }
    }

    /// The heading in the list.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Group::Resets => "Resets: who ended the stream, and when",
            Group::Completion => "Completion: how responses and requests ended",
            Group::Connections => "Connections: GOAWAY, PING, SETTINGS, close",
            Group::FlowControl => "Flow control, concurrency, and streams that hang",
            Group::Protocol => "Protocol: frames and header fields that break the rules",
            Group::Abuse => "Abuse: floods, and resets at a rate",
            Group::Proxies => "Proxies: both sides of one request",
        }
    }
}

/// What is known of a finding.
#[derive(Clone, Debug)]
pub struct Page {
    pub kind: Kind,
    /// Where it stands in the list.
    pub group: Group,
    /// What must be seen for it to be found, in words.
    pub needs: String,
    /// What it means: paragraphs.
    pub meaning: Vec<String>,
    /// What applications show of it, beside the known messages: paragraphs.
    pub applications: Vec<String>,
    /// What usually causes it.
    pub causes: Vec<String>,
    pub remedies: Vec<String>,
    /// How to see it: words, and queries.
    pub seen: Vec<Item>,
    /// Where it is written.
    pub references: Vec<String>,
}

/// One item of the section "Seen".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Text(String),
    /// A query in PromQL.
    Query(String),
}

/// A page's file breaks the format.
#[derive(Debug, thiserror::Error)]
#[error("the page of {kind} is malformed: {what}")]
pub struct PageError {
    kind: &'static str,
    what: String,
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// The text breaks the format.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, PageError> {
        let wrong = |what: &str| PageError {
            kind: kind.as_str(),
            what: what.to_owned(),
        };
        let mut sections = text.split("\n## ");
        let head = sections.next().unwrap_or_default();
        let mut lines = head.lines();
        if lines.next() != Some(&format!("# {}", kind.as_str())) {
            return Err(wrong("its title is not the name of the finding"));
        }
        let mut field = |name: &str| {
            lines
                .find(|line| !line.is_empty())
                .and_then(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
                .ok_or_else(|| wrong(&format!("no line {name:?} where it belongs")))
        };
        let group = field("Group")?;
        let group = Group::ALL
            .iter()
            .find(|of_all| of_all.as_str() == group)
            .ok_or_else(|| wrong("an unknown group"))?;
        let needs = field("Needs")?;
        if lines.any(|line| !line.is_empty()) {
            return Err(wrong("something between \"Needs\" and the first section"));
        }
        let mut sections = sections.peekable();
        let mut section = |name: &str| -> Option<&str> {
            let body = sections.peek()?.strip_prefix(name)?.strip_prefix('\n')?;
            sections.next();
            Some(body)
        };
        let missing = |name: &str| wrong(&format!("no section {name:?} where it belongs"));
        let meaning = section("Meaning").ok_or_else(|| missing("Meaning"))?;
        let applications = section("Applications").unwrap_or_default();
        let causes = section("Causes").ok_or_else(|| missing("Causes"))?;
        let remedies = section("Remedies").ok_or_else(|| missing("Remedies"))?;
        let seen = section("Seen").ok_or_else(|| missing("Seen"))?;
        let references = section("References").ok_or_else(|| missing("References"))?;
        if sections.next().is_some() {
            return Err(wrong("a section that is unknown, or not in order"));
        }
        let items = |body: &str| items(body).map_err(|what| wrong(&what));
        let page = Self {
            kind,
            group: *group,
            needs,
            meaning: paragraphs(meaning),
            applications: paragraphs(applications),
            causes: items(causes)?,
            remedies: items(remedies)?,
            seen: items(seen)?.into_iter().map(Item::new).collect(),
            references: items(references)?,
        };
        let empty = page.meaning.is_empty()
            || page.causes.is_empty()
            || page.remedies.is_empty()
            || page.seen.is_empty()
            || page.references.is_empty();
        if empty {
            return Err(wrong("an empty section"));
        }
        Ok(page)
    }
}

impl Item {
    fn new(text: String) -> Self {
        match text
            .strip_prefix('`')
            .and_then(|text| text.strip_suffix('`'))
        {
            Some(query) => Item::Query(query.to_owned()),
            None => Item::Text(text),
        }
    }
}

/// Runs of lines between empty ones, each as one line.
fn paragraphs(body: &str) -> Vec<String> {
    body.split("\n\n")
        .map(|lines| lines.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.is_empty())
        .collect()
}

fn items(body: &str) -> Result<Vec<String>, String> {
    let mut items: Vec<String> = Vec::new();
    for line in body.lines().filter(|line| !line.is_empty()) {
        if let Some(begun) = line.strip_prefix("- ") {
            items.push(begun.to_owned());
        } else if let (Some(more), Some(item)) = (line.strip_prefix("  "), items.last_mut()) {
            item.push(' ');
            item.push_str(more);
        } else {
            return Err(format!("no item: {line:?}"));
        }
    }
    Ok(items)
}
