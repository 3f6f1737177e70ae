//! A metrics page, as samples.

use std::collections::BTreeMap;

/// One line of the page.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Sample {
    /// A label, or nothing.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// All of a page.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(pub(crate) Vec<Sample>);

impl Metrics {
    /// Reads the text format of Prometheus; what it does not understand is left out.
    pub(crate) fn of(page: &str) -> Self {
        Metrics(page.lines().filter_map(sample).collect())
    }

    /// The samples of a metric that have these labels.
    pub(crate) fn with<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.label(label) == *value)
        })
    }

    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.with(name, labels).map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, rest) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.trim_end_matches(',');
    while let Some((label, after)) = rest.split_once("=\"") {
        // No value here has an escaped quote in it.
        let (text, after) = after.split_once('"')?;
        labels.insert(label.trim_start_matches(',').to_owned(), text.to_owned());
        rest = after;
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}
