//! The cgroups of pods that there are on this host, found below the v2 hierarchy's root wherever the kubelet
//! put them, and watched: a pod's cgroup is made before its first process is started.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use h2trace_core::limits;
use inotify::{Inotify, WatchDescriptor, WatchMask};

use crate::workload::cgroup::folders_in;
use crate::workload::container::{ContainerCgroup, of_path};

/// How deep below the root the kubelet's own cgroup may be.
const DEPTH_MAX: usize = 8;

/// How often the whole hierarchy is searched for a kubelet's cgroup that is new.
const SEARCH_EVERY: Duration = Duration::from_secs(5);

/// The same while there is none at all.
const SEARCH_WITHOUT_KUBELET_EVERY: Duration = Duration::from_millis(200);

/// The cgroups of pods, as they were found last.
pub struct PodCgroups {
    root: PathBuf,
    /// Directories that hold those of pods: the kubelet's and those of the QoS classes.
    parents: BTreeSet<PathBuf>,
    found: BTreeMap<u64, ContainerCgroup>,
    watch: Option<Inotify>,
    watched: HashMap<PathBuf, WatchDescriptor>,
    /// A watch that was asked for is not there.
    unwatched: bool,
    /// The last search did not come to its end.
    cut_short: bool,
    searched_at: Option<Instant>,
}

impl std::fmt::Debug for PodCgroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodCgroups")
            .field("root", &self.root)
            .field("found", &self.found.len())
            .finish_non_exhaustive()
    }
}

impl PodCgroups {
    /// Below `root`, where the v2 hierarchy is mounted. Nothing is looked at yet.
    #[must_use]
    pub fn below(root: PathBuf) -> Self {
        let watch = Inotify::init()
            .inspect_err(
                |error| tracing::warn!(%error, "cannot watch for new cgroups: they are polled"),
            )
            .ok();
        PodCgroups {
            root,
            parents: BTreeSet::new(),
            found: BTreeMap::new(),
            watch,
            watched: HashMap::new(),
            unwatched: false,
            cut_short: false,
            searched_at: None,
        }
    }

    /// By cgroup id.
    #[must_use]
    pub const fn found(&self) -> &BTreeMap<u64, ContainerCgroup> {
        &self.found
    }

    /// There are more cgroups than are searched ([`limits::CGROUPS_SEARCHED`]).
    #[must_use]
    pub const fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// New cgroups are told, and need not be looked for.
    #[must_use]
    pub const fn is_watching(&self) -> bool {
        self.watch.is_some() && !self.unwatched
    }

    /// Waits until a directory may be new or gone, or for `timeout`; false when nothing was told.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let Some(watch) = &mut self.watch else {
            std::thread::sleep(timeout);
            return false;
        };
        let mut wanted = libc::pollfd {
            fd: watch.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one pollfd, which lives as long as the call.
        if unsafe { libc::poll(&raw mut wanted, 1, timeout) } <= 0 {
            return false;
        }
        // What exactly has changed is looked up: an overflow of the queue then costs nothing.
        let mut buffer = [0; 4_096];
        while watch
            .read_events(&mut buffer)
            .is_ok_and(|events| events.count() > 0)
        {}
        true
    }

    /// Looks what there is now, also for the containers of those pods that `by_container` names.
    pub fn refresh(&mut self, by_container: &dyn Fn(&str) -> bool) {
        let now = Instant::now();
        let every = if self.parents.is_empty() {
            SEARCH_WITHOUT_KUBELET_EVERY
        } else {
            SEARCH_EVERY
        };
        if self
            .searched_at
            .is_none_or(|at| now.duration_since(at) >= every)
        {
            self.searched_at = Some(now);
            self.search();
        }
        self.unwatched = false;
        let mut found = BTreeMap::new();
        let mut seen = HashSet::new();
        let mut parents: Vec<PathBuf> = self.parents.iter().cloned().collect();
        while let Some(parent) = parents.pop() {
            // Watched before it is read, so that nothing is missed between the two.
            self.watch(&parent);
            let Ok(entries) = folders_in(&parent) else {
                self.parents.remove(&parent);
                continue;
            };
            seen.insert(parent.clone());
            for entry in entries {
                let path = parent.join(entry.file_name());
                match self.pod_at(&path) {
                    Some(pod) => {
                        if pod.container_id.is_empty() && by_container(&pod.pod_uid) {
                            self.watch(&path);
                            self.containers(&path, &mut found);
                            seen.insert(path);
                        }
                        found.insert(entry.ino(), pod);
                    }
                    None if holds_pods(&path) && self.parents.insert(path.clone()) => {
                        parents.push(path);
                    }
                    None => {}
                }
            }
        }
        // Without anything to watch nothing is told.
        self.unwatched |= seen.is_empty();
        self.unwatch(&seen);
        self.found = found;
    }

    fn containers(&self, pod: &Path, found: &mut BTreeMap<u64, ContainerCgroup>) {
        for entry in folders_in(pod).into_iter().flatten() {
            if let Some(container) = self.pod_at(&pod.join(entry.file_name()))
                && !container.container_id.is_empty()
            {
                found.insert(entry.ino(), container);
            }
        }
    }

    /// Searches the hierarchy for what holds pods; not inside of pods.
    fn search(&mut self) {
        let mut unvisited = vec![(self.root.clone(), 0)];
        let mut visited = 0;
        self.cut_short = false;
        while let Some((directory, depth)) = unvisited.pop() {
            visited += 1;
            if visited > limits::CGROUPS_SEARCHED {
                self.cut_short = true;
                return;
            }
            for entry in folders_in(&directory).into_iter().flatten() {
                let path = directory.join(entry.file_name());
                if self.pod_at(&path).is_some() {
                    self.parents.insert(directory.clone());
                } else {
                    if holds_pods(&path) {
                        self.parents.insert(path.clone());
                    }
                    if depth + 1 < DEPTH_MAX {
                        unvisited.push((path, depth + 1));
                    }
                }
            }
        }
    }

    fn pod_at(&self, path: &Path) -> Option<ContainerCgroup> {
        let below = path.strip_prefix(&self.root).ok()?.to_str()?;
        of_path(&format!("/{below}"))
    }

    /// The cgroup file system keeps a directory that was removed for as long as it is watched.
    fn unwatch(&mut self, seen: &HashSet<PathBuf>) {
        let Some(watch) = &self.watch else { return };
        for (_, gone) in self.watched.extract_if(|path, _| !seen.contains(path)) {
            if let Err(error) = watch.watches().remove(gone) {
                tracing::debug!(%error, "cannot end the watch of a cgroup that is gone");
            }
        }
    }

    fn watch(&mut self, path: &Path) {
        let Some(watch) = &self.watch else { return };
        if self.watched.contains_key(path) {
            return;
        }
        let mask = WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR;
        match watch.watches().add(path, mask) {
            Ok(watched) => {
                self.watched.insert(path.to_owned(), watched);
            }
            Err(error) => {
                self.unwatched = true;
                tracing::debug!(%error, path = %path.display(), "cannot watch a cgroup: it is polled");
            }
        }
    }
}

/// The kubelet's own cgroup, with any prefix of the systemd driver, or that of a QoS class in it.
fn holds_pods(path: &Path) -> bool {
    let name = |path: &Path| path.file_name().and_then(OsStr::to_str).map(str::to_owned);
    match name(path) {
        Some(name) if name.contains("kubepods") => true,
        Some(class) if class == "burstable" || class == "besteffort" => path
            .parent()
            .and_then(name)
            .is_some_and(|parent| parent == "kubepods"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
    const ID: &str = "5d3ae4a1b9e0d8f6c7b2a1908f7e6d5c4b3a29180f7e6d5c4b3a29181f2e3d4c";

    fn found(cgroups: &PodCgroups) -> Vec<(&str, &str)> {
        cgroups
            .found()
            .values()
            .map(|cgroup| (cgroup.pod_uid.as_str(), cgroup.container_id.as_str()))
            .collect()
    }

    /// Directories of any file system serve: only their names and numbers count.
    #[test]
    fn pods_of_any_layout_are_found_and_their_containers_when_wanted() {
        let uid_ = UID.replace('-', "_");
        for pod in [
            format!("kubepods/pod{UID}"),
            format!("kubepods/burstable/pod{UID}"),
            format!("node/kubepods/besteffort/pod{UID}"),
            format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice"),
            format!("kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{uid_}.slice"),
            format!("docker/{ID}/kubelet/kubepods/burstable/pod{UID}"),
        ] {
            let root = tempfile::tempdir().unwrap();
            let mut cgroups = PodCgroups::below(root.path().to_owned());
            fs::create_dir_all(root.path().join("system.slice/x.service")).unwrap();
            fs::create_dir_all(
                root.path()
                    .join(&pod)
                    .join(format!("cri-containerd-{ID}.scope")),
            )
            .unwrap();
            cgroups.refresh(&|_| false);
            assert_eq!(found(&cgroups), [(UID, "")], "{pod}");
            cgroups.refresh(&|uid| uid == UID);
            let mut both = found(&cgroups);
            both.sort_unstable();
            assert_eq!(both, [(UID, ""), (UID, ID)], "{pod}");
            fs::remove_dir_all(root.path().join(&pod)).unwrap();
            cgroups.refresh(&|_| true);
            assert_eq!(found(&cgroups), [], "{pod}");
        }
    }

    #[test]
    fn new_pod_wakes_whoever_waits_also_below_a_class_that_is_new() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("kubepods")).unwrap();
        let mut cgroups = PodCgroups::below(root.path().to_owned());
        cgroups.refresh(&|_| false);
        assert!(!cgroups.wait(Duration::from_millis(1)));
        fs::create_dir(root.path().join("kubepods/burstable")).unwrap();
        assert!(cgroups.wait(Duration::from_secs(5)));
        cgroups.refresh(&|_| false);
        let pod = root.path().join(format!("kubepods/burstable/pod{UID}"));
        fs::create_dir(&pod).unwrap();
        assert!(cgroups.wait(Duration::from_secs(5)));
        cgroups.refresh(&|_| true);
        assert_eq!(found(&cgroups), [(UID, "")]);
        // Its containers are watched now.
        fs::create_dir(pod.join(ID)).unwrap();
        assert!(cgroups.wait(Duration::from_secs(5)));
        cgroups.refresh(&|_| true);
        assert_eq!(cgroups.found().len(), 2);
        fs::remove_dir_all(&pod).unwrap();
        assert!(cgroups.wait(Duration::from_secs(5)));
        cgroups.refresh(&|_| true);
        assert_eq!(cgroups.found().len(), 0);
        // The same name again is another directory, and watched anew.
        fs::create_dir(&pod).unwrap();
        assert!(cgroups.wait(Duration::from_secs(5)));
        cgroups.refresh(&|_| true);
        fs::create_dir(pod.join(ID)).unwrap();
        assert!(cgroups.wait(Duration::from_secs(5)));
    }
}
