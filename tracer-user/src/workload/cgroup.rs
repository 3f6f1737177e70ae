//! v2 cgroups: the kernel names them by id, people by path (`Documentation/admin-guide/cgroup-v2.rst`).
//!
//! A cgroup's id is the inode number of its directory (`cgroup_id`, `include/linux/cgroup.h`, 5.5 and
//! newer). On a hybrid host the v2 hierarchy is mounted beside the v1 controllers, mostly at
//! `/sys/fs/cgroup/unified`.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// `CGROUP2_SUPER_MAGIC` of `include/uapi/linux/magic.h`.
const CGROUP2: i64 = 0x6367_7270;
/// `CGROUP_SUPER_MAGIC`: a hierarchy of v1.
const CGROUP1: i64 = 0x0027_e0eb;

/// How deep the search for a cgroup's path goes. Deeper ones keep their number.
const DEPTH_MAX: usize = 32;

/// Why a cgroup cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The host has no v2 hierarchy.
    #[error(
        "this host has no cgroup v2 hierarchy (mount one: mount -t cgroup2 none /sys/fs/cgroup/unified; or use --pid)"
    )]
    NoHierarchy,
    /// The kubelet has made the cgroups of pods in v1 hierarchies.
    #[error(
        "the pods of this node are in cgroup v1 hierarchies ({parent}), and h2trace selects pods by their v2 cgroups \
         (trace one pod by a process of it: --pid, or --netns pid:PROCESS for all of its processes; or boot the node \
         with systemd.unified_cgroup_hierarchy=1)"
    )]
    PodsInV1 {
        /// The cgroup that holds them.
        parent: String,
    },
    /// It is of v1.
    #[error(
        "{path} is a cgroup of v1, and h2trace selects by v2 cgroups (use --pid, or --netns pid:PROCESS)"
    )]
    V1 {
        /// What was given.
        path: String,
    },
    /// The path cannot be read.
    #[error(
        "cannot read cgroup {path}: {cause} (give a directory below {root}, or its id; list them with: find {root} -type d)"
    )]
    Unreadable {
        /// What was given.
        path: String,
        /// Where v2 cgroups are.
        root: String,
        /// What the system said, without its number.
        cause: String,
    },
    /// It is a directory of another file system, such as a v1 controller.
    #[error("{path} is no cgroup of the v2 hierarchy (give a directory below {root}, or its id)")]
    NotV2 {
        /// What was given.
        path: String,
        /// Where v2 cgroups are.
        root: String,
    },
    /// No cgroup has this id.
    #[error(
        "no cgroup has the id {id} (give a directory below {root}; its id is its inode number: ls -id DIRECTORY)"
    )]
    NoSuchId {
        /// What was given.
        id: u64,
        /// Where v2 cgroups are.
        root: String,
    },
}

/// Where the v2 hierarchy is mounted; None when it is not.
#[must_use]
pub fn mount_point() -> Option<PathBuf> {
    mount_point_of(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

fn mount_point_of(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        // proc(5): "36 35 98:0 /root /mount-point options optional-fields - type source super-options".
        let (mount, file_system) = line.split_once(" - ")?;
        (file_system.split(' ').next() == Some("cgroup2")).then(|| {
            mount
                .split(' ')
                .nth(4)
                .map(|path| PathBuf::from(path.replace("\\040", " ")))
        })?
    })
}

/// The v2 hierarchy that pods are selected by.
///
/// # Errors
/// There is none, or the pods of this node are not in it.
pub fn hierarchy_of_pods() -> Result<PathBuf, CgroupError> {
    let root = mount_point();
    if root
        .as_deref()
        .is_none_or(|root| pod_parents_of(root).is_empty())
        && let Some(parent) = pod_parents_in_v1().into_iter().next()
    {
        let parent = parent.display().to_string();
        return Err(CgroupError::PodsInV1 { parent });
    }
    root.ok_or(CgroupError::NoHierarchy)
}

/// The id of the cgroup that `given` names: an id, a path of the file system, or a path below the v2
/// mount point (`/system.slice/x.service`, as `/proc/PID/cgroup` shows it).
///
/// # Errors
/// There is no such v2 cgroup, or it cannot be read.
pub fn id_of(given: &str) -> Result<u64, CgroupError> {
    let given_path = Path::new(given);
    let Some(root) = mount_point() else {
        return Err(match file_system(given_path) {
            Ok(CGROUP1) => CgroupError::V1 {
                path: given.to_owned(),
            },
            _ => CgroupError::NoHierarchy,
        });
    };
    let root_name = || root.display().to_string();
    if let Ok(id) = given.parse::<u64>() {
        return match path_below(&root, id, DEPTH_MAX) {
            Some(_) => Ok(id),
            None => Err(CgroupError::NoSuchId {
                id,
                root: root_name(),
            }),
        };
    }
    let below_root = root.join(given.trim_start_matches('/'));
    // What starts with the mount point is meant literally, also when it does not exist.
    let path = if given_path.starts_with(&root) || (given_path.exists() && !below_root.exists()) {
        given_path
    } else {
        below_root.as_path()
    };
    let unreadable = |error: &io::Error| CgroupError::Unreadable {
        path: given.to_owned(),
        root: root_name(),
        cause: said(error),
    };
    let metadata = fs::metadata(path).map_err(|error| unreadable(&error))?;
    let kind = file_system(path).map_err(|error| unreadable(&error))?;
    if kind == CGROUP1 {
        return Err(CgroupError::V1 {
            path: given.to_owned(),
        });
    }
    if !metadata.is_dir() || kind != CGROUP2 {
        return Err(CgroupError::NotV2 {
            path: given.to_owned(),
            root: root_name(),
        });
    }
    fs::read_dir(path).map_err(|error| unreadable(&error))?;
    Ok(metadata.ino())
}

/// The path of the cgroup `id` below the mount point, `/` for the root; None when there is none.
#[must_use]
pub fn path_of(id: u64) -> Option<String> {
    let root = mount_point()?;
    let path = path_below(&root, id, DEPTH_MAX)?;
    Some(format!("/{}", path.strip_prefix(&root).ok()?.display()))
}

/// This host has, or had, pods: there is a cgroup below which the kubelet makes theirs.
#[must_use]
pub fn has_pods() -> bool {
    !pod_parents().is_empty()
}

/// The cgroups below which the kubelet makes those of pods: `kubepods` of the cgroupfs driver, `kubepods.slice` of
/// the systemd driver, at any root that the kubelet may have been given. Of v1, where there is no v2.
#[must_use]
pub fn pod_parents() -> Vec<PathBuf> {
    let found = mount_point().map_or_else(Vec::new, |root| pod_parents_of(&root));
    if found.is_empty() {
        return pod_parents_in_v1();
    }
    found
}

fn pod_parents_of(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    pod_parents_below(root, POD_PARENT_DEPTH, &mut found);
    found
}

/// Those of the first v1 hierarchy that has some: the kubelet makes them in each.
fn pod_parents_in_v1() -> Vec<PathBuf> {
    let controllers = ["memory", "pids", "systemd"];
    let found = controllers.map(|controller| Path::new("/sys/fs/cgroup").join(controller));
    let mut found = found.iter().map(|root| pod_parents_of(root));
    found
        .find(|parents| !parents.is_empty())
        .unwrap_or_default()
}

/// How deep below the root the parent of all pods is looked for: kind's is at
/// `/system.slice/docker-ID.scope/kubelet.slice/kubelet-kubepods.slice`.
const POD_PARENT_DEPTH: usize = 4;

fn pod_parents_below(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Some(next) = depth.checked_sub(1) else {
        return;
    };
    for entry in folders_in(directory).into_iter().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "kubepods" || name == "kubepods.slice" || name.ends_with("-kubepods.slice") {
            found.push(entry.path());
        } else {
            pod_parents_below(&entry.path(), next, found);
        }
    }
}

fn path_below(directory: &Path, id: u64, depth: usize) -> Option<PathBuf> {
    if fs::metadata(directory).ok()?.ino() == id {
        return Some(directory.to_owned());
    }
    let next = depth.checked_sub(1)?;
    folders_in(directory)
        .ok()?
        .find_map(|entry| path_below(&entry.path(), id, next))
}

/// The cgroups right below one: its folders. Its other entries are its files.
pub(super) fn folders_in(
    directory: &Path,
) -> io::Result<impl Iterator<Item = fs::DirEntry> + use<>> {
    let entries = fs::read_dir(directory)?.flatten();
    Ok(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())))
}

/// The magic number of the file system that holds `path`.
pub(super) fn file_system(path: &Path) -> io::Result<i64> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut about = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `path` is a C string and `about` has room for a `struct statfs`.
    if unsafe { libc::statfs(path.as_ptr(), about.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zero is a value of every field of `struct statfs`, and the call has filled it.
    let about = unsafe { about.assume_init() };
    // The type of `f_type` differs between C libraries.
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "f_type is i64 here, u32 or i32 elsewhere"
    )]
    Ok(about.f_type as i64)
}

/// What the system says, in lower case and without "(os error N)".
pub(super) fn said(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_mount_point_is_found_among_v1_controllers() {
        let hybrid = "\
            23 22 0:20 / /sys rw - sysfs sysfs rw\n\
            30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro\n\
            31 30 0:27 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n\
            32 30 0:28 / /sys/fs/cgroup/unified rw shared:11 master:2 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            mount_point_of(hybrid),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            mount_point_of("31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"),
            None
        );
    }

    #[test]
    fn every_way_to_name_the_root_cgroup_gives_its_inode() {
        let Some(root) = mount_point() else { return };
        let inode = fs::metadata(&root).unwrap().ino();
        assert_eq!(id_of(root.to_str().unwrap()).unwrap(), inode);
        assert_eq!(id_of("/").unwrap(), inode);
        assert_eq!(id_of(&inode.to_string()).unwrap(), inode);
        assert_eq!(path_of(inode).as_deref(), Some("/"));
    }

    #[test]
    fn directory_of_another_file_system_is_refused() {
        let Some(_) = mount_point() else { return };
        let directory = tempfile::tempdir().unwrap();
        let error = id_of(directory.path().to_str().unwrap()).unwrap_err();
        assert!(matches!(error, CgroupError::NotV2 { .. }), "{error}");
        assert!(matches!(
            id_of("/no-such-cgroup").unwrap_err(),
            CgroupError::Unreadable { .. }
        ));
        assert!(matches!(
            id_of(&u64::MAX.to_string()).unwrap_err(),
            CgroupError::NoSuchId { .. }
        ));
    }
}
