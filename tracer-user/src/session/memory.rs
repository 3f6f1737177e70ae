//! How much memory a run may use.

use std::fs;
use std::path::Path;

use h2trace_core::limits;

/// Bytes for all connections together: half of what is given, in MiB, or of the cgroup's limit. The other half is for the
/// maps of the kernel programs, the ring, pages, lines and names, and for what the allocator keeps.
#[must_use]
pub fn for_connections(given: Option<u32>) -> usize {
    let given = given.map(|mib| u64::from(mib) << 20);
    let whole = given.or_else(|| {
        let of_cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
        limit_of(&of_cgroups, Path::new("/sys/fs/cgroup"))
    });
    whole.map_or(limits::MEMORY, |bytes| {
        usize::try_from(bytes / 2).unwrap_or(limits::MEMORY)
    })
}

/// The lowest limit of the cgroups of `/proc/self/cgroup` (cgroups(7)), version 2 or 1, and of those above them.
fn limit_of(of_cgroups: &str, root: &Path) -> Option<u64> {
    let lowest = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (root, file) = if controllers.is_empty() {
            (root.to_owned(), "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            return None;
        };
        // In a container the path may be the host's: what is mounted is the container's own.
        Path::new(path.trim_start_matches('/'))
            .ancestors()
            .filter_map(|path| bytes_in(&root.join(path).join(file)))
            .min()
    };
    of_cgroups.lines().filter_map(lowest).min()
}

/// Bytes that stand in a file. "max" is none, and neither is what version 1 has for it.
fn bytes_in(file: &Path) -> Option<u64> {
    const UNLIMITED: u64 = 1 << 60;
    let bytes = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (bytes < UNLIMITED).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_lowest_limit_is_for_connections() {
        assert_eq!(for_connections(Some(256)), 128 << 20);
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("pods/one/memory.max", "max\n");
        write("pods/memory.max", "268435456\n");
        write("memory/job/memory.limit_in_bytes", "134217728\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        for (of_cgroups, want) in [
            ("0::/pods/one\n", Some(256 << 20)),
            ("0::/\n", None),
            ("0::/elsewhere\n", None),
            ("4:cpu,memory:/job\n0::/pods/one\n", Some(128 << 20)),
            ("4:memory:/host/path/job\n", None),
            ("nonsense\n", None),
        ] {
            assert_eq!(limit_of(of_cgroups, root.path()), want, "{of_cgroups}");
        }
    }
}
