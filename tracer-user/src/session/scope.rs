//! What is traced, and how that is said in words.

use tracer_ebpf::config::filter;

use super::Selected;
use crate::export::tally::SelectedPods;
use crate::kernel::Filter;
use crate::unit::count;
use crate::workload::process;
use crate::workload::select::Selection;

/// The filter, with all names resolved.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// What the kernel programs filter by. Pods are not looked up yet: none is a member.
    pub filter: Filter,
    /// Which pods.
    pub selection: Selection,
    /// How many those are, while it runs.
    pub selected: Selected,
    /// The cgroups as they were named.
    pub cgroup_names: Vec<String>,
}

impl Scope {
    /// True when nothing is filtered, but for what is excluded.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.filter.bits() & !filter::EXCLUDED == 0
    }

    /// It says whose connections: of which processes, cgroups, namespaces or pods.
    #[must_use]
    pub fn is_by_owner(&self) -> bool {
        let owners = filter::PID | filter::CGROUP | filter::NETNS | filter::POD;
        self.filter.bits() & owners != 0
    }

    /// Pods are selected or excluded.
    #[must_use]
    pub fn is_by_pods(&self) -> bool {
        !self.selection.is_empty()
    }

    /// The pods that are selected, for the end of the run.
    #[must_use]
    pub fn pods(&self) -> SelectedPods {
        let counts = self.selected.counts();
        SelectedPods {
            words: self.selection.in_words(),
            positive: self.selection.is_positive(),
            ever: counts.ever,
            now: counts.traced,
        }
    }

    /// The pods that are selected, as far as they are there now: `pod shop/cart-1`, `3 pods with app=cart`.
    fn pods_in_words(&self) -> String {
        if !self.selection.pods.is_empty() {
            return self.selection.in_words();
        }
        let traced = self.selected.counts().traced as u64;
        count(traced, "pod", "pods") + &self.selection.conditions()
    }

    /// What is traced, in words, as it is now: `3 processes`, `port 50051 of envoy`, `all processes`.
    #[must_use]
    pub fn in_words(&self) -> String {
        if self.is_all() {
            return if self.is_by_pods() {
                let but = self.selection.excluded_namespaces.join(" or ");
                format!("all processes but pods of namespace {but}")
            } else {
                "all processes".to_owned()
            };
        }
        let pids = &self.filter.pids;
        let mut parts = Vec::new();
        if self.is_by_pods() {
            parts.push(self.pods_in_words());
        }
        if !pids.is_empty() {
            let n_roots = pids.iter().filter(|pid| process::lives(**pid)).count();
            let n_now = n_roots + process::descendants(pids).len();
            parts.push(format!(
                "{n_now} {}",
                if n_now == 1 { "process" } else { "processes" }
            ));
        }
        let mut named = |one: &str, names: Vec<String>| {
            if !names.is_empty() {
                parts.push(format!("{one} {}", names.join(" or ")));
            }
        };
        named("process name", self.filter.comms.clone());
        named("cgroup", self.cgroup_names.clone());
        named(
            "network namespace",
            self.filter.netns.iter().map(ToString::to_string).collect(),
        );
        named(
            "port",
            self.filter.ports.iter().map(ToString::to_string).collect(),
        );
        parts.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_is_said_in_words() {
        assert_eq!(Scope::default().in_words(), "all processes");
        let filter = Filter {
            ports: vec![50_051, 8_080],
            comms: vec!["envoy".into()],
            ..Filter::default()
        };
        let scope = Scope {
            filter,
            ..Scope::default()
        };
        assert_eq!(
            scope.in_words(),
            "process name envoy and port 50051 or 8080"
        );
        let excluded = Scope {
            filter: Filter {
                excluded: Some(Vec::new()),
                ..Filter::default()
            },
            selection: Selection {
                excluded_namespaces: vec!["kube-system".into()],
                ..Selection::default()
            },
            ..Scope::default()
        };
        assert!(excluded.is_all());
        assert_eq!(
            excluded.in_words(),
            "all processes but pods of namespace kube-system"
        );
        let selected = Scope {
            filter: Filter {
                pods: Some(Vec::new()),
                ports: vec![80],
                ..Filter::default()
            },
            selection: Selection {
                namespaces: vec!["shop".into()],
                ..Selection::default()
            },
            ..Scope::default()
        };
        assert!(!selected.is_all());
        assert_eq!(selected.in_words(), "0 pods of namespace shop and port 80");
    }
}
