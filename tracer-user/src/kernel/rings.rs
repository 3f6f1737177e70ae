//! Who uses io_uring on this host: processes with an instance open.

use std::path::Path;

/// What the link of a descriptor in `/proc` shows for an io_uring instance (`anon_inode_getfile`, `io_uring/io_uring.c`).
const LINK: &str = "anon_inode:[io_uring]";

/// Whether processes may use it: `kernel.io_uring_disabled`, since Linux 6.6. None: the kernel does not say.
pub(super) fn disabled(sysctl: Option<&str>) -> Option<&'static str> {
    match sysctl? {
        "0" => Some("any process may use it"),
        "1" => Some("only processes with CAP_SYS_ADMIN or in kernel.io_uring_group may use it"),
        "2" => Some("off (kernel.io_uring_disabled=2)"),
        _ => None,
    }
}

/// The processes with an instance open, as `NAME (pid N)`, by pid. Those whose descriptors may not be read are left out.
pub(super) fn users(proc: &Path) -> Vec<String> {
    let mut pids: Vec<u32> = std::fs::read_dir(proc)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let uses = |pid: &u32| {
        let descriptors = std::fs::read_dir(proc.join(format!("{pid}/fd")));
        let mut links = descriptors
            .into_iter()
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.any(|link| link.as_os_str() == LINK)
    };
    let named = |pid| {
        let name = std::fs::read_to_string(proc.join(format!("{pid}/comm"))).unwrap_or_default();
        format!("{} (pid {pid})", name.trim())
    };
    pids.into_iter().filter(uses).map(named).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn processes_with_an_instance_are_found() {
        let proc = tempfile::TempDir::new().unwrap();
        for (pid, links) in [
            (30, vec!["/dev/null", LINK]),
            (4, vec![LINK]),
            (5, vec!["anon_inode:[eventpoll]"]),
        ] {
            let folder = proc.path().join(pid.to_string());
            std::fs::create_dir_all(folder.join("fd")).unwrap();
            std::fs::write(folder.join("comm"), format!("peer{pid}\n")).unwrap();
            for (n, link) in links.into_iter().enumerate() {
                symlink(link, folder.join(format!("fd/{n}"))).unwrap();
            }
        }
        std::fs::create_dir(proc.path().join("sys")).unwrap();
        assert_eq!(users(proc.path()), ["peer4 (pid 4)", "peer30 (pid 30)"]);
        assert!(users(&proc.path().join("none")).is_empty());
    }

    #[test]
    fn the_sysctl_is_read() {
        assert_eq!(
            disabled(Some("2")),
            Some("off (kernel.io_uring_disabled=2)")
        );
        assert!(disabled(Some("1")).is_some_and(|text| text.contains("CAP_SYS_ADMIN")));
        assert_eq!(disabled(None), None);
    }
}
