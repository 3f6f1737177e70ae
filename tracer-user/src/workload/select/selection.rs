//! Which pods are meant: by name, namespace, labels and container.

use std::fmt;

use super::labels::LabelSelector;
use crate::workload::pod::Pod;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// Its namespace; None where those of [`Selection::namespaces`] are meant.
    pub namespace: Option<String>,
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl PodName {
    /// It is this pod's name.
    #[must_use]
    pub fn is(&self, pod: &Pod) -> bool {
        self.name == pod.name
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == pod.namespace)
    }
}

/// Which pods. Different members are joined by AND, values of one by OR; an empty member says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub pods: Vec<PodName>,
    /// Those of these namespaces.
    pub namespaces: Vec<String>,
    /// But none of these namespaces.
    pub excluded_namespaces: Vec<String>,
    /// Those that one of these selects.
    pub selectors: Vec<LabelSelector>,
    /// Of each pod only the containers of these names.
    pub containers: Vec<String>,
}

/// What of a pod is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodPart {
    None,
    Whole,
    /// The containers of these ids: none as long as they have not been started.
    Containers(Vec<String>),
}

impl Selection {
    /// Nothing is said about pods.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Selection::default()
    }

    /// Only what it selects is meant. Otherwise all is meant but what it excludes.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        !(self.pods.is_empty()
            && self.namespaces.is_empty()
            && self.selectors.is_empty()
            && self.containers.is_empty())
    }

    /// This pod is meant, or some containers of it are.
    #[must_use]
    pub fn selects(&self, pod: &Pod) -> bool {
        let any = |of: &[String], value: &String| of.is_empty() || of.contains(value);
        (self.pods.is_empty() || self.pods.iter().any(|name| name.is(pod)))
            && any(&self.namespaces, &pod.namespace)
            && !self.excluded_namespaces.contains(&pod.namespace)
            && (self.selectors.is_empty()
                || self
                    .selectors
                    .iter()
                    .any(|selector| selector.matches(&pod.labels)))
            && (self.containers.is_empty()
                || pod
                    .containers
                    .iter()
                    .any(|container| self.containers.contains(&container.name)))
    }

    /// What of this pod is meant.
    #[must_use]
    pub fn part(&self, pod: &Pod) -> PodPart {
        if !self.selects(pod) {
            return PodPart::None;
        }
        if self.containers.is_empty() {
            return PodPart::Whole;
        }
        let (named, others): (Vec<_>, Vec<_>) = pod
            .containers
            .iter()
            .partition(|container| self.containers.contains(&container.name));
        // Before they are started, and when they are started anew, their ids are not known yet. Where the pod
        // has no other container that need not be waited for.
        if others.is_empty() && pod.is_specified {
            return PodPart::Whole;
        }
        PodPart::Containers(
            named
                .into_iter()
                .filter(|container| !container.id.is_empty())
                .map(|container| container.id.clone())
                .collect(),
        )
    }

    /// In words: `pod shop/cart-1 (container app)`, `pods app=cart of namespace shop`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let pods: Vec<String> = self.pods.iter().map(ToString::to_string).collect();
        let which = match pods.as_slice() {
            [] => "pods".to_owned(),
            [one] => format!("pod {one}"),
            several => format!("pods {}", several.join(" or ")),
        };
        which + &self.conditions()
    }

    /// What it asks for beside names of pods, to be put behind which pods: ` with app=cart of namespace shop`.
    #[must_use]
    pub fn conditions(&self) -> String {
        let names = |of: &[String]| of.join(" or ");
        let mut words = String::new();
        if !self.selectors.is_empty() {
            let selectors: Vec<String> = self.selectors.iter().map(ToString::to_string).collect();
            words += &format!(" with {}", names(&selectors));
        }
        // A name with its namespace says it already.
        if !self.namespaces.is_empty() && self.pods.iter().all(|pod| pod.namespace.is_none()) {
            words += &format!(" of namespace {}", names(&self.namespaces));
        }
        if !self.excluded_namespaces.is_empty() {
            words += &format!(" not of namespace {}", names(&self.excluded_namespaces));
        }
        if !self.containers.is_empty() {
            words += &format!(" (container {})", names(&self.containers));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::pod::Container;

    pub(crate) fn pod(
        namespace: &str,
        name: &str,
        label: (&str, &str),
        containers: &[(&str, &str)],
    ) -> Pod {
        Pod {
            namespace: namespace.into(),
            name: name.into(),
            labels: [(label.0.to_owned(), label.1.to_owned())].into(),
            containers: containers
                .iter()
                .map(|(name, id)| Container {
                    name: (*name).into(),
                    id: (*id).into(),
                })
                .collect(),
            ..Pod::default()
        }
    }

    fn named(of: &[&str]) -> Vec<String> {
        of.iter().map(|name| (*name).to_owned()).collect()
    }

    fn cart() -> Pod {
        pod(
            "shop",
            "cart-1",
            ("app", "cart"),
            &[("app", "a1"), ("envoy", "e1")],
        )
    }

    /// A selection as text: `pod=shop/cart-1 not=bank`.
    fn selection(text: &str) -> Selection {
        let mut selection = Selection::default();
        for option in text.split(' ') {
            let (option, value) = option.split_once('=').unwrap();
            match (option, value.split_once('/')) {
                ("pod", name) => selection.pods.push(PodName {
                    namespace: name.map(|(namespace, _)| namespace.to_owned()),
                    name: name.map_or(value, |(_, name)| name).to_owned(),
                }),
                ("labels", _) => selection.selectors.push(value.parse().unwrap()),
                ("in", _) => selection.namespaces.push(value.to_owned()),
                ("not", _) => selection.excluded_namespaces.push(value.to_owned()),
                ("container", _) => selection.containers.push(value.to_owned()),
                other => panic!("{other:?}"),
            }
        }
        selection
    }

    #[test]
    fn different_options_are_joined_by_and_and_values_of_one_by_or() {
        for (text, selects) in [
            ("pod=shop/cart-1", true),
            ("pod=bank/cart-1", false),
            ("pod=shop/x pod=shop/cart-1", true),
            ("pod=cart-1 in=shop", true),
            ("pod=cart-1 in=bank", false),
            ("in=bank in=shop", true),
            ("labels=app=db labels=app=cart", true),
            ("labels=app=cart in=bank", false),
            ("not=shop", false),
            ("not=bank", true),
            ("in=shop not=shop", false),
            ("container=app", true),
            ("container=db", false),
        ] {
            assert_eq!(selection(text).selects(&cart()), selects, "{text}");
        }
    }

    #[test]
    fn container_is_meant_by_its_id_and_waited_for_until_that_is_known() {
        let app = selection("container=app");
        assert_eq!(app.part(&cart()), PodPart::Containers(named(&["a1"])));
        let starting = pod(
            "shop",
            "cart-1",
            ("app", "cart"),
            &[("app", ""), ("envoy", "e1")],
        );
        assert_eq!(app.part(&starting), PodPart::Containers(Vec::new()));
        // Alone in its pod the pod can be taken for it, if it is known to be alone.
        let alone = pod("shop", "cart-1", ("app", "cart"), &[("app", "a1")]);
        assert_eq!(app.part(&alone), PodPart::Containers(named(&["a1"])));
        let specified = Pod {
            is_specified: true,
            ..alone
        };
        assert_eq!(app.part(&specified), PodPart::Whole);
        let both = selection("container=app container=envoy");
        assert_eq!(
            both.part(&cart()),
            PodPart::Containers(named(&["a1", "e1"]))
        );
        assert_eq!(Selection::default().part(&cart()), PodPart::Whole);
    }

    #[test]
    fn selection_is_said_in_words() {
        for (text, words) in [
            (
                "pod=shop/cart-1 container=app",
                "pod shop/cart-1 (container app)",
            ),
            (
                "pod=shop/cart-1 pod=shop/db-0 in=shop",
                "pods shop/cart-1 or shop/db-0",
            ),
            (
                "labels=app=cart,tier!=db in=shop in=bank",
                "pods with app=cart,tier!=db of namespace shop or bank",
            ),
            ("not=kube-system", "pods not of namespace kube-system"),
        ] {
            assert_eq!(selection(text).in_words(), words);
        }
    }
}
