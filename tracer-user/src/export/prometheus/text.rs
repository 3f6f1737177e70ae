//! The text exposition format, version 0.0.4, of the series that are kept here.

use std::fmt::{Display, Write as _};

use crate::export::metrics::Metric;

/// Appends `name="value",`.
pub(super) fn label(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push_str("\",");
}

/// Writes the series of one metric.
pub(super) struct Family<'a> {
    out: &'a mut String,
    metric: &'a Metric,
    begun: bool,
}

impl<'a> Family<'a> {
    pub(super) fn new(out: &'a mut String, metric: &'a Metric) -> Self {
        Self {
            out,
            metric,
            begun: false,
        }
    }

    /// One series: `before` are labels as [`label`] writes them.
    pub(super) fn line(&mut self, before: &str, labels: &[(&str, &str)], value: impl Display) {
        self.sample("", before, labels, value);
    }

    /// The same, of a part of a histogram.
    pub(super) fn sample(
        &mut self,
        part: &str,
        before: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) {
        let Metric {
            name,
            metric_type,
            help,
            ..
        } = self.metric;
        if !self.begun {
            self.begun = true;
            let kind = metric_type.as_str();
            // A String takes whatever is written.
            writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
        }
        self.out.push_str(name);
        self.out.push_str(part);
        self.out.push('{');
        self.out.push_str(before);
        for (name, value) in labels {
            label(self.out, name, value);
        }
        // The format allows the last comma; most readers have never seen one.
        self.out.pop();
        writeln!(self.out, "}} {value}").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::metrics;

    #[test]
    fn values_are_escaped_and_the_head_comes_once() {
        let mut out = String::new();
        let mut before = String::new();
        label(&mut before, "comm", "a\"b\\c\nd");
        let mut family = Family::new(&mut out, &metrics::STREAMS_OPENED);
        family.line(&before, &[("role", "client")], 7);
        family.line(&before, &[], 0.5);
        assert_eq!(
            out,
            "# HELP h2trace_streams_opened_total Streams opened\n\
             # TYPE h2trace_streams_opened_total counter\n\
             h2trace_streams_opened_total{comm=\"a\\\"b\\\\c\\nd\",role=\"client\"} 7\n\
             h2trace_streams_opened_total{comm=\"a\\\"b\\\\c\\nd\"} 0.5\n"
        );
    }

    #[test]
    fn metric_without_series_has_no_head() {
        let mut out = String::new();
        Family::new(&mut out, &metrics::STREAMS_OPENED);
        assert_eq!(out, "");
    }
}
