//! Network namespaces, named by the inode number of their file (namespaces(7)).

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::cgroup::{file_system, said};

/// `NSFS_MAGIC` of `include/uapi/linux/magic.h`.
const NSFS: i64 = 0x6e73_6673;

/// Why a network namespace cannot be traced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetnsError {
    /// The file cannot be read.
    #[error(
        "cannot read network namespace {given}: {cause} (give pid:PROCESS, a file such as /run/netns/NAME, or an inode number from lsns -t net)"
    )]
    Unreadable {
        given: String,
        /// What the system said.
        cause: String,
    },
    /// The file is something else.
    #[error(
        "{0} is no network namespace (give pid:PROCESS, a file such as /run/netns/NAME, or an inode number from lsns -t net)"
    )]
    NotNamespace(String),
}

/// The inode number of the namespace that `given` names: an inode number, a file, or `pid:PROCESS`.
/// An inode number is taken as it is: a namespace without a process has no file to check it with.
///
/// # Errors
/// The file cannot be read, or is none of a namespace.
pub fn inode_of(given: &str) -> Result<u32, NetnsError> {
    if let Ok(inode) = given.parse::<u32>() {
        return Ok(inode);
    }
    let path = match given.strip_prefix("pid:") {
        Some(pid) => format!("/proc/{pid}/ns/net"),
        None => given.to_owned(),
    };
    let unreadable = |error: &std::io::Error| NetnsError::Unreadable {
        given: given.to_owned(),
        cause: said(error),
    };
    let metadata = std::fs::metadata(&path).map_err(|error| unreadable(&error))?;
    if file_system(Path::new(&path)).map_err(|error| unreadable(&error))? != NSFS {
        return Err(NetnsError::NotNamespace(given.to_owned()));
    }
    u32::try_from(metadata.ino()).map_err(|_| NetnsError::NotNamespace(given.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_namespace_has_one_inode_however_it_is_named() {
        let by_path = inode_of("/proc/self/ns/net").unwrap();
        assert_eq!(
            inode_of(&format!("pid:{}", std::process::id())),
            Ok(by_path)
        );
        assert_eq!(inode_of(&by_path.to_string()), Ok(by_path));
    }

    #[test]
    fn what_is_no_namespace_is_refused_with_the_remedy() {
        assert_eq!(
            inode_of("/etc/passwd"),
            Err(NetnsError::NotNamespace("/etc/passwd".into()))
        );
        let missing = inode_of("pid:4294967295").unwrap_err().to_string();
        assert!(
            missing.contains("no such file") && missing.contains("lsns"),
            "{missing}"
        );
    }
}
