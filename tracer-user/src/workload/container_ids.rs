//! Containers by the id of their v2 cgroup. The kernel's records carry the id alone, and the process may have gone
//! before anybody can ask `/proc` for the path.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use h2trace_core::limits;

use super::cgroup;
use super::container::{self, ContainerCgroup};

/// The cgroups are walked at most this often in a second: it takes some milliseconds on a full node.
const WALKS_PER_SECOND: u32 = 10;

/// The parents of all pods' cgroups are looked for this often while there are none.
const PARENTS_EVERY: Duration = Duration::from_secs(10);

/// How far below the parent of all pods: class, pod, container, and what a container makes for itself.
const DEPTH: usize = 6;

/// What a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Is {
    /// A container's, or a pod's.
    Container(ContainerCgroup),
    /// Neither.
    Host,
}

/// What is known of cgroups. Their ids are never given again as long as the host runs.
#[derive(Debug)]
pub(super) struct ContainerIds {
    known: HashMap<u64, Is>,
    /// Where v2 cgroups are.
    root: Option<PathBuf>,
    /// Where the kubelet makes those of pods.
    parents: Vec<PathBuf>,
    parents_at: Option<Instant>,
    /// The parents, and below them those of the classes: where a path out of a cgroup namespace may go on.
    bases: Vec<PathBuf>,
    /// Walks since then.
    walks: (Option<Instant>, u32),
}

impl Default for ContainerIds {
    fn default() -> Self {
        Self::below(cgroup::mount_point())
    }
}

impl ContainerIds {
    fn below(root: Option<PathBuf>) -> Self {
        Self {
            known: HashMap::new(),
            root,
            parents: Vec::new(),
            parents_at: None,
            bases: Vec::new(),
            walks: (None, 0),
        }
    }

    /// What `id` is, as far as it is known.
    pub(super) fn known(&self, id: u64) -> Option<Is> {
        self.known.get(&id).cloned()
    }

    /// `path` of the v2 hierarchy is the cgroup `id` now. Seen from a cgroup namespace it begins with `/..`, and
    /// goes on at the parent of all pods or of those of one class.
    pub(super) fn confirms(&mut self, id: u64, path: &str) -> bool {
        let Some(root) = &self.root else {
            return false;
        };
        if id == 0 {
            return false;
        }
        let is = |path: PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.ino() == id);
        let mut below = path.trim_start_matches('/');
        if !path.contains("/..") {
            return is(root.join(below));
        }
        while let Some(rest) = below.strip_prefix("..") {
            below = rest.trim_start_matches('/');
        }
        if below.is_empty() || below.contains("..") {
            return false;
        }
        self.find_parents(Instant::now());
        self.bases.iter().any(|base| is(base.join(below)))
    }

    /// Remembers what `id` is.
    pub(super) fn learn(&mut self, id: u64, is: Is) {
        if id == 0 {
            return;
        }
        if self.known.len() >= limits::CGROUPS_KNOWN {
            // All are found again when they are needed.
            self.known.clear();
        }
        self.known.insert(id, is);
    }

    /// Looks for the cgroup `id` among those of pods. At most ten times a second.
    pub(super) fn search(&mut self, id: u64) -> Option<ContainerCgroup> {
        let now = Instant::now();
        let of_this_second = self
            .walks
            .0
            .is_some_and(|since| now.duration_since(since) < Duration::from_secs(1));
        if !of_this_second {
            self.walks = (Some(now), 0);
        }
        if id == 0 || self.walks.1 >= WALKS_PER_SECOND {
            return None;
        }
        self.walks.1 += 1;
        self.walk(now);
        match self.known(id) {
            Some(Is::Container(found)) => Some(found),
            _ => None,
        }
    }

    fn find_parents(&mut self, now: Instant) {
        let stale = self
            .parents_at
            .is_none_or(|at| now.duration_since(at) > PARENTS_EVERY);
        if !stale || self.root.is_none() {
            return;
        }
        self.parents_at = Some(now);
        self.parents = cgroup::pod_parents();
        self.bases.clone_from(&self.parents);
        for parent in &self.parents {
            for entry in cgroup::folders_in(parent).into_iter().flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let name = name.strip_suffix(".slice").unwrap_or(&name);
                if name.ends_with("burstable") || name.ends_with("besteffort") {
                    self.bases.push(entry.path());
                }
            }
        }
    }

    fn walk(&mut self, now: Instant) {
        self.find_parents(now);
        let parents = std::mem::take(&mut self.parents);
        let mut room = limits::CGROUPS_KNOWN;
        for parent in &parents {
            self.walk_below(parent, DEPTH, &mut room);
        }
        self.parents = parents;
    }

    fn walk_below(&mut self, directory: &Path, depth: usize, room: &mut usize) {
        let Some(next) = depth.checked_sub(1) else {
            return;
        };
        for entry in cgroup::folders_in(directory).into_iter().flatten() {
            let Some(left) = room.checked_sub(1) else {
                return;
            };
            *room = left;
            let path = entry.path();
            if let Some(found) = container::of_path(&path.to_string_lossy()) {
                self.learn(entry.ino(), Is::Container(found));
            }
            self.walk_below(&path, next, room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5d3ae4a1b9e0d8f6c7b2a1908f7e6d5c4b3a29180f7e6d5c4b3a29181f2e3d4c";
    const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";

    #[test]
    fn containers_are_found_below_the_parents_of_pods_by_id_alone() {
        let folder = tempfile::tempdir().unwrap();
        let kubepods = folder.path().join("h2node/kubepods");
        let nested = kubepods.join(format!("burstable/pod{UID}/{ID}/init.scope"));
        fs::create_dir_all(&nested).unwrap();
        let id = fs::metadata(&nested).unwrap().ino();
        let mut ids = ContainerIds::below(None);
        ids.parents = vec![kubepods];
        let found = ids.search(id).unwrap();
        assert_eq!(
            (found.pod_uid.as_str(), found.container_id.as_str()),
            (UID, ID)
        );
        assert!(matches!(ids.known(id), Some(Is::Container(_))));
        assert_eq!(ids.search(0), None);
        // The pod's own cgroup too, once it has been walked.
        let of_pod = nested.parent().unwrap().parent().unwrap();
        let of_pod = fs::metadata(of_pod).unwrap().ino();
        assert!(
            matches!(ids.known(of_pod), Some(Is::Container(found)) if found.container_id.is_empty())
        );
    }

    #[test]
    fn walks_are_not_made_for_each_unknown_id() {
        let folder = tempfile::tempdir().unwrap();
        let mut ids = ContainerIds::below(None);
        ids.parents = vec![folder.path().to_owned()];
        assert_eq!(ids.search(1), None);
        for _ in 0..WALKS_PER_SECOND {
            ids.search(1);
        }
        let late = folder.path().join(format!("kubepods/pod{UID}/{ID}"));
        fs::create_dir_all(&late).unwrap();
        let id = fs::metadata(&late).unwrap().ino();
        assert_eq!(ids.search(id), None);
        ids.walks = (None, 0);
        assert!(ids.search(id).is_some());
    }

    #[test]
    fn path_is_confirmed_by_the_id_of_its_directory() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        let id = fs::metadata(folder.path().join("a")).unwrap().ino();
        let mut ids = ContainerIds::below(Some(folder.path().to_owned()));
        assert!(ids.confirms(id, "/a"));
        assert!(!ids.confirms(id + 1, "/a"));
        assert!(!ids.confirms(id, "/b"));
        // From a namespace: only below the parents of pods.
        ids.parents_at = Some(Instant::now());
        assert!(!ids.confirms(id, "/../a"));
        ids.bases = vec![folder.path().to_owned()];
        assert!(ids.confirms(id, "/../../a"));
        assert!(!ids.confirms(id, "/../.."));
        assert!(!ids.confirms(id, "/../b/../a"));
        assert!(!ContainerIds::below(None).confirms(id, "/a"));
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut ids = ContainerIds::below(None);
        for id in 1..=limits::CGROUPS_KNOWN as u64 + 1 {
            ids.learn(id, Is::Host);
        }
        assert_eq!(ids.known.len(), 1);
        ids.learn(0, Is::Host);
        assert_eq!(ids.known(0), None);
    }
}
