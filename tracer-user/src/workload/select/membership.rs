//! What has to be in the kernel's maps: the cgroups of the pods that are meant.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use h2trace_core::limits;

use super::cgroups::PodCgroups;
use super::selection::{PodPart, Selection};
use crate::workload::pods::Pods;
use crate::workload::waiting::Waiting;

/// How long somebody is asked for a pod that nobody has told of: its cgroup may be left from long ago.
const ASKED_FOR: Duration = Duration::from_secs(10);

/// The members, kept up to date with the pods and with the cgroups that there are.
#[derive(Debug)]
pub struct Membership {
    selection: Selection,
    pods: Arc<Pods>,
    cgroups: PodCgroups,
    /// Who is asked for pods that nobody has told of.
    waiting: Option<Arc<Waiting>>,
    /// Such pods that have a cgroup, since when. By uid.
    unknown: HashMap<String, Instant>,
    /// What was meant of each pod whose cgroup is there: it counts until that is gone, also when the pod is
    /// told of no more. By uid.
    decided: HashMap<String, PodPart>,
    members: BTreeSet<u64>,
    /// The pods of which something is traced, by uid.
    traced: HashSet<String>,
    version: Option<u64>,
    counts: PodCounts,
}

/// What a cgroup is a member of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupKind {
    /// Of those that are wanted.
    Pod,
    /// Of those that are not.
    Excluded,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodCounts {
    /// That are meant and known by name.
    pub matching: usize,
    /// That are meant and have a cgroup that is a member (or, where only some are excluded, is not one).
    pub traced: usize,
    /// The same at any time since the start.
    pub ever: u64,
    /// Members that had no room, and one when not all cgroups were searched.
    pub beyond: usize,
    /// All pods of this node were told at least once.
    pub known: bool,
}

/// How the members changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// New members.
    pub add: Vec<u64>,
    /// Members no more, though their cgroup is there.
    pub remove: Vec<u64>,
    /// Members no more: their cgroup is gone.
    pub forget: Vec<u64>,
}

impl Change {
    /// Nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }
}

impl Membership {
    /// The members for `selection` among `pods`, whose cgroups are below `root`. There are none yet.
    #[must_use]
    pub fn new(selection: Selection, pods: Arc<Pods>, root: PathBuf) -> Self {
        Membership {
            selection,
            pods,
            cgroups: PodCgroups::below(root),
            waiting: None,
            unknown: HashMap::new(),
            decided: HashMap::new(),
            members: BTreeSet::new(),
            traced: HashSet::new(),
            version: None,
            counts: PodCounts::default(),
        }
    }

    /// Asks there for pods that have a cgroup and that nobody has told of.
    #[must_use]
    pub fn asking(mut self, waiting: Arc<Waiting>) -> Self {
        self.waiting = Some(waiting);
        self
    }

    /// What a member is: wanted, or excluded.
    #[must_use]
    pub fn kind(&self) -> CgroupKind {
        if self.selection.is_positive() {
            CgroupKind::Pod
        } else {
            CgroupKind::Excluded
        }
    }

    /// Who are members now.
    #[must_use]
    pub const fn members(&self) -> &BTreeSet<u64> {
        &self.members
    }

    #[must_use]
    pub const fn counts(&self) -> PodCounts {
        self.counts
    }

    /// A pod is meant whose cgroup is not there yet.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.counts.matching > self.counts.traced
    }

    /// New cgroups are told, and need not be looked for.
    #[must_use]
    pub const fn is_watching(&self) -> bool {
        self.cgroups.is_watching()
    }

    /// Waits until cgroups or pods may have changed, or for `timeout`; false when they have not.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        self.cgroups.wait(timeout) || self.version != Some(self.pods.version())
    }

    /// Looks at pods and cgroups, and says what has changed of the members.
    pub fn refresh(&mut self) -> Change {
        // Before the pods are read: what is told meanwhile is looked at next time.
        self.version = Some(self.pods.version());
        self.counts.known = self.pods.is_complete();
        let by_container = !self.selection.containers.is_empty();
        let decided = &self.decided;
        self.cgroups
            .refresh(&|uid| by_container && decided.get(uid) != Some(&PodPart::None));
        if self.decide() && by_container {
            // Their containers were not looked for.
            self.version = None;
        }
        let (members, traced) = self.wanted();
        let new = traced.difference(&self.traced).count();
        self.counts.ever += u64::try_from(new).unwrap_or(0);
        self.counts.traced = traced.len();
        self.traced = traced;
        self.counts.matching = self
            .pods
            .all()
            .iter()
            .filter(|pod| self.selection.selects(pod))
            .count();
        let there = self.cgroups.found();
        let (forget, remove) = self
            .members
            .difference(&members)
            .partition(|id| !there.contains_key(id));
        let change = Change {
            add: members.difference(&self.members).copied().collect(),
            remove,
            forget,
        };
        self.members = members;
        change
    }

    /// What is meant of each pod whose cgroup is there. True when one is meant now of which nothing was.
    fn decide(&mut self) -> bool {
        let uids: HashSet<&str> = self
            .cgroups
            .found()
            .values()
            .map(|cgroup| cgroup.pod_uid.as_str())
            .collect();
        self.decided.retain(|uid, _| uids.contains(uid.as_str()));
        self.unknown.retain(|uid, _| uids.contains(uid.as_str()));
        let now = Instant::now();
        let (mut asks, mut is_new) = (false, false);
        for uid in uids {
            // A pod that is told of no more may still have processes.
            if let Some(pod) = self.pods.by_uid(uid) {
                self.unknown.remove(uid);
                let part = self.selection.part(&pod);
                let is_meant = part != PodPart::None;
                let before = self.decided.insert(uid.to_owned(), part);
                is_new |= is_meant && before == Some(PodPart::None);
            } else if !self.decided.contains_key(uid) {
                let since = self.unknown.entry(uid.to_owned()).or_insert(now);
                asks |= now.duration_since(*since) < ASKED_FOR;
            }
        }
        if let (true, Some(waiting)) = (asks, &self.waiting) {
            waiting.ask();
        }
        is_new
    }

    /// The ids that have to be members, and the pods of which something is traced.
    fn wanted(&mut self) -> (BTreeSet<u64>, HashSet<String>) {
        let mut members = BTreeSet::new();
        let mut traced = HashSet::new();
        let positive = self.selection.is_positive();
        for (id, cgroup) in self.cgroups.found() {
            let is_meant = match self.decided.get(&cgroup.pod_uid) {
                Some(PodPart::Whole) => true,
                Some(PodPart::Containers(ids)) => ids.contains(&cgroup.container_id),
                Some(PodPart::None) | None => false,
            };
            if is_meant {
                traced.insert(cgroup.pod_uid.clone());
            }
            // Where only some are excluded, one of which nothing is known may be one of them.
            if is_meant == positive {
                members.insert(*id);
            }
        }
        self.counts.beyond = members.len().saturating_sub(limits::SELECTED_CGROUPS)
            + usize::from(self.cgroups.is_cut_short());
        while members.len() > limits::SELECTED_CGROUPS {
            members.pop_last();
        }
        (members, traced)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::workload::pod::{Container, Pod};

    const IDS: [&str; 2] = [
        "5d3ae4a1b9e0d8f6c7b2a1908f7e6d5c4b3a29180f7e6d5c4b3a29181f2e3d4c",
        "6d3ae4a1b9e0d8f6c7b2a1908f7e6d5c4b3a29180f7e6d5c4b3a29181f2e3d4c",
    ];

    fn uid(n: u8) -> String {
        format!("2c48913c-b29f-11e7-9350-0209681477{n:02x}")
    }

    fn pod(n: u8, namespace: &str, containers: &[(&str, &str)]) -> Pod {
        Pod {
            uid: uid(n),
            namespace: namespace.into(),
            name: format!("cart-{n}"),
            labels: [("app".to_owned(), "cart".to_owned())].into(),
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

    /// A hierarchy in a folder.
    struct Host {
        folder: tempfile::TempDir,
        pods: Arc<Pods>,
    }

    impl Host {
        fn new() -> Host {
            Host {
                folder: tempfile::tempdir().unwrap(),
                pods: Arc::default(),
            }
        }

        fn membership(&self, selection: Selection) -> Membership {
            let root = self.folder.path().to_owned();
            Membership::new(selection, Arc::clone(&self.pods), root)
        }

        fn make(&self, n: u8, below: &str) -> u64 {
            let path = self.path(n).join(below);
            fs::create_dir_all(&path).unwrap();
            fs::metadata(path).unwrap().ino()
        }

        fn path(&self, n: u8) -> PathBuf {
            let pod = format!("kubepods/burstable/pod{}", uid(n));
            self.folder.path().join(pod)
        }
    }

    fn named(of: &[&str]) -> Vec<String> {
        of.iter().map(|name| (*name).to_owned()).collect()
    }

    fn of_shop() -> Selection {
        Selection {
            namespaces: named(&["shop"]),
            ..Selection::default()
        }
    }

    #[test]
    fn nobody_is_a_member_before_pods_are_known_and_those_that_match_are_afterwards() {
        let host = Host::new();
        let (cart, _db) = (host.make(1, ""), host.make(2, ""));
        let mut membership = host.membership(of_shop());
        assert_eq!(membership.kind(), CgroupKind::Pod);
        assert!(membership.refresh().is_empty());
        assert!(!membership.counts().known);
        host.pods.replace([
            pod(1, "shop", &[]),
            pod(2, "bank", &[]),
            pod(3, "shop", &[]),
        ]);
        assert!(membership.wait(Duration::ZERO));
        let change = membership.refresh();
        assert_eq!((change.add, change.remove), (vec![cart], vec![]));
        let counts = membership.counts();
        assert_eq!((counts.matching, counts.traced, counts.known), (2, 1, true));
        assert_eq!(counts.ever, 1);
        assert!(membership.is_waiting());
        // The third one's cgroup is made.
        let third = host.make(3, "");
        assert!(membership.wait(Duration::from_secs(5)));
        assert_eq!(membership.refresh().add, [third]);
        assert!(!membership.is_waiting());
        assert!(membership.refresh().is_empty());
    }

    #[test]
    fn pod_counts_until_its_cgroup_is_gone() {
        let host = Host::new();
        let cart = host.make(1, "");
        host.pods.replace([pod(1, "shop", &[])]);
        let mut membership = host.membership(of_shop());
        assert_eq!(membership.refresh().add, [cart]);
        host.pods.remove(&uid(1));
        assert!(membership.refresh().is_empty());
        assert_eq!(membership.counts().traced, 1);
        fs::remove_dir(host.path(1)).unwrap();
        let change = membership.refresh();
        assert_eq!((change.forget, change.remove), (vec![cart], vec![]));
        assert!(membership.members().is_empty());
    }

    #[test]
    fn pod_whose_labels_change_is_a_member_no_more() {
        let host = Host::new();
        let cart = host.make(1, "");
        host.pods.replace([pod(1, "shop", &[])]);
        let mut membership = host.membership(Selection {
            selectors: vec!["app=cart".parse().unwrap()],
            ..Selection::default()
        });
        assert_eq!(membership.refresh().add, [cart]);
        host.pods.put(Pod {
            labels: [("app".to_owned(), "quarantined".to_owned())].into(),
            ..pod(1, "shop", &[])
        });
        assert_eq!(membership.refresh().remove, [cart]);
    }

    #[test]
    fn container_is_taken_by_its_own_cgroup_as_soon_as_its_id_is_known() {
        let host = Host::new();
        let [app, envoy] = IDS;
        let (_whole, app_id, _envoy) = (host.make(1, ""), host.make(1, app), host.make(1, envoy));
        let mut membership = host.membership(Selection {
            containers: named(&["app"]),
            ..of_shop()
        });
        host.pods
            .replace([pod(1, "shop", &[("app", ""), ("envoy", envoy)])]);
        assert!(membership.refresh().is_empty());
        host.pods
            .put(pod(1, "shop", &[("app", app), ("envoy", envoy)]));
        assert_eq!(membership.refresh().add, [app_id]);
        // What is of no interest is not looked into, until it is.
        host.pods
            .put(pod(1, "bank", &[("app", app), ("envoy", envoy)]));
        assert_eq!(membership.refresh().remove, [app_id]);
        assert!(membership.refresh().is_empty());
        host.pods
            .put(pod(1, "shop", &[("app", app), ("envoy", envoy)]));
        membership.refresh();
        assert!(membership.wait(Duration::ZERO));
        membership.refresh();
        assert!(membership.members().contains(&app_id));
    }

    #[test]
    fn container_alone_in_its_pod_is_taken_by_the_pods_cgroup_before_it_starts() {
        let host = Host::new();
        let whole = host.make(1, "");
        let mut membership = host.membership(Selection {
            containers: named(&["app"]),
            ..of_shop()
        });
        let alone = |id: &str| Pod {
            is_specified: true,
            ..pod(1, "shop", &[("app", id)])
        };
        host.pods.replace([alone("")]);
        assert_eq!(membership.refresh().add, [whole]);
        let app = host.make(1, IDS[0]);
        assert_eq!(membership.refresh().add, [app]);
        host.pods.put(alone(IDS[0]));
        assert!(membership.refresh().is_empty());
    }

    #[test]
    fn what_is_not_known_is_excluded_until_it_is() {
        let host = Host::new();
        let (shop, system) = (host.make(1, ""), host.make(2, ""));
        let mut membership = host.membership(Selection {
            excluded_namespaces: named(&["kube-system"]),
            ..Selection::default()
        });
        assert_eq!(membership.kind(), CgroupKind::Excluded);
        let mut first = membership.refresh().add;
        first.sort_unstable();
        let mut both = [shop, system];
        both.sort_unstable();
        assert_eq!(first, both);
        host.pods
            .replace([pod(1, "shop", &[]), pod(2, "kube-system", &[])]);
        let change = membership.refresh();
        assert_eq!((change.add, change.remove), (vec![], vec![shop]));
        assert_eq!(membership.counts().traced, 1);
        let new = host.make(3, "");
        assert_eq!(membership.refresh().add, [new]);
    }
}
