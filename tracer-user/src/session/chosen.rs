//! The pods that were chosen: found before the trace begins, or said why not.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::scope::Scope;
use crate::workload::cgroup;
use crate::workload::kubernetes::state::{Reach, Reason};
use crate::workload::kubernetes::{NOBODY, PodSource};
use crate::workload::pod::Pod;
use crate::workload::pods::Pods;
use crate::workload::select::{Membership, PodName};

/// How long somebody who waits for a trace waits for the names of pods.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long the container runtime has after the API server has refused.
const SECOND_CHANCE: Duration = Duration::from_secs(2);

/// How often it is looked whether the names are there.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Names that are proposed in place of one that there is not.
const PROPOSED: usize = 3;

/// The pods of a run that begins when they are known: `trace`, `record`. None when no pods are chosen.
///
/// # Errors
/// Nobody names the pods, or a pod that is named is not on this node; with the remedy.
pub fn now(scope: &Scope, source: Option<&PodSource>) -> anyhow::Result<Option<Membership>> {
    if !scope.is_by_pods() {
        return Ok(None);
    }
    cgroup::hierarchy_of_pods()?;
    let source = named_by(source)?;
    wait(source)?;
    for pod in &scope.selection.pods {
        find(pod, &scope.selection.namespaces, source)?;
    }
    let membership = membership(scope, source)?;
    let pods = source.pods.all();
    if let Some(container) = scope.selection.containers.iter().find(|container| {
        let mut meant = pods
            .iter()
            .filter(|pod| scope.selection.pods.iter().any(|name| name.is(pod)))
            .peekable();
        meant.peek().is_some()
            && !meant.any(|pod| pod.containers.iter().any(|other| other.name == **container))
    }) {
        bail!("{}", no_container(container, scope, &source.pods));
    }
    Ok(Some(membership))
}

/// The pods of a run that does not wait: `serve` traces none of them until they are known.
///
/// # Errors
/// Nobody would ever name them.
pub fn later(scope: &Scope, source: Option<&PodSource>) -> anyhow::Result<Option<Membership>> {
    if !scope.is_by_pods() {
        return Ok(None);
    }
    cgroup::hierarchy_of_pods()?;
    membership(scope, named_by(source)?).map(Some)
}

/// Why no pod that is selected is traced yet; None when they are known.
#[must_use]
pub fn unknown(scope: &Scope, source: Option<&PodSource>) -> Option<String> {
    if !scope.is_by_pods() || scope.selected.counts().known {
        return None;
    }
    let source = source?;
    let why = match (source.state.api(), source.state.cri()) {
        (Reach::Lost { why, .. }, _) | (_, Reach::Lost { why, .. }) => format!(": {why}"),
        _ => String::new(),
    };
    Some(if scope.selection.is_positive() {
        let what = scope.selection.in_words();
        format!("nothing is traced yet of {what}: the pods of this node are not known{why}")
    } else {
        format!("no pod is traced yet: which ones are excluded is not known{why}")
    })
}

fn named_by(source: Option<&PodSource>) -> anyhow::Result<&PodSource> {
    match source {
        Some(source) => Ok(source),
        None => bail!("{NOBODY}"),
    }
}

fn membership(scope: &Scope, source: &PodSource) -> anyhow::Result<Membership> {
    let root = cgroup::hierarchy_of_pods()?;
    Ok(
        Membership::new(scope.selection.clone(), Arc::clone(&source.pods), root)
            .asking(Arc::clone(&source.waiting)),
    )
}

/// Until all pods of the node are known.
fn wait(source: &PodSource) -> anyhow::Result<()> {
    let began = Instant::now();
    while !source.pods.is_complete() {
        let refused = match source.state.api() {
            Reach::Lost { why, .. }
                if began.elapsed() > PATIENCE
                    || matches!(
                        why.reason,
                        Reason::NoAccess | Reason::Unauthorized | Reason::Forbidden
                    ) && began.elapsed() > SECOND_CHANCE =>
            {
                Some(why.said)
            }
            _ if began.elapsed() > PATIENCE => Some(match source.state.cri() {
                Reach::Lost { why, .. } => why.said,
                _ if !source.asks_api() => format!(
                    "no API server is asked, and no container runtime answered within {} s (give --kubeconfig \
                     PATH, or run it in h2trace's own pod: kubectl h2trace)",
                    PATIENCE.as_secs()
                ),
                _ => format!("no answer within {} s", PATIENCE.as_secs()),
            }),
            _ => None,
        };
        if let Some(why) = refused {
            bail!("cannot find out which pods there are on this node: {why}");
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Makes sure that a pod that is named is on this node.
fn find(wanted: &PodName, namespaces: &[String], source: &PodSource) -> anyhow::Result<()> {
    let there = source.pods.all();
    let of = |pod: &Pod| namespaces.is_empty() || namespaces.contains(&pod.namespace);
    if there.iter().any(|pod| wanted.is(pod) && of(pod)) {
        return Ok(());
    }
    let in_namespaces: Vec<&str> = match &wanted.namespace {
        Some(namespace) => vec![namespace],
        None => namespaces.iter().map(String::as_str).collect(),
    };
    for namespace in &in_namespaces {
        match source.find(namespace, &wanted.name) {
            Ok(Some(pod)) if pod.node.is_empty() => bail!(
                "pod {namespace}/{} is on no node yet (kubectl describe pod {} -n {namespace}; or trace the pods of \
                 its labels as they start: --selector)",
                pod.name,
                pod.name
            ),
            Ok(Some(pod)) if *pod.node != *source.node => bail!(
                "pod {namespace}/{} runs on node {}, and this is {} (kubectl h2trace trace {} -n {namespace} traces \
                 it there; if they are one node, say --node-name {})",
                pod.name,
                pod.node,
                source.node,
                pod.name,
                pod.node
            ),
            // Made since, or gone since.
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(why) => tracing::debug!(%why, "cannot ask where the pod is"),
        }
    }
    let names: Vec<String> = there
        .iter()
        .map(|pod| format!("{}/{}", pod.namespace, pod.name))
        .collect();
    let full = format!("{}/{}", in_namespaces.join(","), wanted.name);
    bail!(
        "no pod {full} on node {}{}",
        source.node,
        proposals(&full, &names)
    )
}

fn no_container(container: &str, scope: &Scope, pods: &Pods) -> String {
    let mut names: Vec<String> = pods
        .all()
        .iter()
        .filter(|pod| scope.selection.pods.iter().any(|name| name.is(pod)))
        .flat_map(|pod| pod.containers.iter().map(|other| other.name.clone()))
        .collect();
    names.sort_unstable();
    names.dedup();
    format!(
        "{} has no container {container} (it has: {})",
        scope
            .selection
            .pods
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" or "),
        names.join(", ")
    )
}

/// The nearest names, as the end of a message.
fn proposals(wanted: &str, names: &[String]) -> String {
    if names.is_empty() {
        return " (no pod is there at all: is this its node's name? --node-name NAME)".to_owned();
    }
    let mut near: Vec<(usize, &String)> = names
        .iter()
        .map(|name| (distance(wanted, name), name))
        .collect();
    near.sort_unstable();
    let proposed: Vec<&str> = near
        .iter()
        .take(PROPOSED)
        .map(|(_, name)| name.as_str())
        .collect();
    let more = names.len().saturating_sub(proposed.len());
    let more = match more {
        0 => String::new(),
        1 => ", and 1 other".to_owned(),
        more => format!(", and {more} others"),
    };
    format!(" (there are: {}{more})", proposed.join(", "))
}

/// How much of one has to be changed for the other (Levenshtein); what follows a common beginning counts less: the
/// end of a pod's name is drawn by lot.
fn distance(a: &str, b: &str) -> usize {
    let common = a
        .bytes()
        .zip(b.bytes())
        .take_while(|(one, other)| one == other)
        .count();
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, one) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (other, above) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(one != other))
                .min(left + 1)
                .min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    (row.last().copied().unwrap_or_default() * 2).saturating_sub(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_are_proposed() {
        let names = [
            "shop/cart-7d9f-x2x4z",
            "shop/checkout-1",
            "bank/cart-1",
            "kube-system/dns-0",
        ]
        .map(str::to_owned);
        assert_eq!(
            proposals("shop/cart-7d9f-abcde", &names),
            " (there are: shop/cart-7d9f-x2x4z, shop/checkout-1, bank/cart-1, and 1 other)"
        );
        assert!(proposals("shop/x", &[]).contains("--node-name"));
        assert_eq!(distance("kitten", "sitting"), 6);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn without_anybody_who_names_pods_nothing_is_begun() {
        let mut scope = Scope::default();
        assert!(now(&scope, None).unwrap().is_none());
        scope.selection.namespaces.push("shop".into());
        for refused in [now(&scope, None), later(&scope, None)] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("kubectl h2trace"), "{error}");
        }
    }

    #[test]
    fn pod_that_is_not_there_is_said_with_those_that_are() {
        let source = PodSource::of_test();
        let pod = |name: &str| Pod {
            uid: name.into(),
            namespace: "shop".into(),
            name: name.into(),
            ..Pod::default()
        };
        source.pods.replace([pod("cart-1"), pod("cart-2")]);
        let named = |name: &str| PodName {
            namespace: Some("shop".into()),
            name: name.into(),
        };
        let mut scope = Scope::default();
        scope.selection.pods.push(named("cart-3"));
        let error = now(&scope, Some(&source)).unwrap_err().to_string();
        assert!(
            error
                .starts_with("no pod shop/cart-3 on node n1 (there are: shop/cart-1, shop/cart-2)"),
            "{error}"
        );
        if cgroup::mount_point().is_none() {
            return;
        }
        scope.selection.pods = vec![named("cart-1")];
        assert!(now(&scope, Some(&source)).unwrap().is_some());
        scope.selection.containers.push("app".into());
        let error = now(&scope, Some(&source)).unwrap_err().to_string();
        assert!(error.contains("no container app"), "{error}");
    }

    #[test]
    fn why_nothing_is_traced_yet_is_said() {
        let source = PodSource::of_test();
        let mut scope = Scope::default();
        assert_eq!(unknown(&scope, Some(&source)), None);
        scope.selection.namespaces.push("shop".into());
        assert_eq!(
            unknown(&scope, Some(&source)).unwrap(),
            "nothing is traced yet of pods of namespace shop: the pods of this node are not known"
        );
    }
}
