//! How much memory a run may use, and for what.

use std::fs;
use std::path::Path;

use h2trace_core::limits;

/// Maps of the kernel programs but for the ring: the kernel accounts them to the cgroup of whoever made them.
pub const KERNEL_MAPS: usize = 36 << 20;

/// The program itself, its stacks, and names of processes. (Whoever makes pods chooses how long a list of them is, so that
/// this has a share of its own.)
const PROGRAM: usize = 24 << 20;

/// What rules, joins and the diagnosis remember of connections and streams that have ended.
pub const REMEMBERED: usize = 48 << 20;

/// Series of connection ends, as they are counted: [`limits::SERIES`] of them.
const SERIES: usize = 16 << 20;

/// Lines for a slow reader, and those of the drain that makes them.
const LINES: usize = limits::OUTPUT_BACKLOG * 2;

/// What a run is for, which decides what else it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Metrics.
    Serve,
    /// Lines of output.
    Trace,
    /// The same, and a file with all bytes.
    Record,
}

/// Bytes for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The ring.
    pub ring: u32,
    /// What is accounted to connections. What joins the two sides of proxies, and what the allocator loses, take as much
    /// again at most (`tests/live/memory_limit.rs`).
    pub connections: usize,
    /// Packets that wait for findings.
    pub recorded: usize,
    /// Packets that wait for a slow file.
    pub written: usize,
}

impl Shares {
    /// Of `--memory-limit`, in MiB, or of the cgroup's limit; for a ring of `ring` bytes.
    #[must_use]
    pub fn of(given: Option<u32>, purpose: Purpose, ring: u32) -> Shares {
        let given = given.map(|mib| u64::from(mib) << 20);
        let whole = given.or_else(|| {
            let of_cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
            limit_of(&of_cgroups, Path::new("/sys/fs/cgroup"))
        });
        match whole {
            Some(bytes) => {
                Self::within(usize::try_from(bytes).unwrap_or(usize::MAX), purpose, ring)
            }
            None => Self::unlimited(ring),
        }
    }

    const fn unlimited(ring: u32) -> Shares {
        Shares {
            ring,
            connections: limits::MEMORY,
            recorded: limits::RECORD_WAITING,
            written: limits::RECORD_BACKLOG,
        }
    }

    fn within(whole: usize, purpose: Purpose, ring: u32) -> Shares {
        let mut shares = Self::unlimited(ring);
        if purpose == Purpose::Record {
            // A ring is a power of two, and has to hold a burst.
            let most = u32::try_from(whole / 8).unwrap_or(u32::MAX).max(8 << 20);
            shares.ring = ring.min(1 << most.ilog2());
            shares.recorded = shares.recorded.min(whole / 10);
            shares.written = shares.written.min(whole / 8);
        }
        let rest = whole.saturating_sub(shares.beside(purpose));
        // Below what all of it takes there is a little for connections all the same.
        shares.connections = (rest / 2).max(whole / 16);
        shares
    }

    /// What is not for connections.
    const fn beside(&self, purpose: Purpose) -> usize {
        let own = match purpose {
            Purpose::Serve => SERIES + limits::PAGES_BYTES,
            Purpose::Trace => LINES,
            Purpose::Record => LINES + self.recorded + self.written,
        };
        let names = limits::API_LIST_BYTES;
        KERNEL_MAPS + PROGRAM + REMEMBERED + names + self.ring as usize + own
    }
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
    fn all_shares_are_within_the_limit() {
        const MIB: usize = 1 << 20;
        for (mib, purpose, ring) in [
            (320, Purpose::Serve, 8),
            (256, Purpose::Trace, 8),
            (384, Purpose::Record, 64),
            (512, Purpose::Serve, 64),
            (1_024, Purpose::Record, 64),
            (4_096, Purpose::Record, 64),
        ] {
            let shares = Shares::of(Some(mib), purpose, ring << 20);
            let all = shares.beside(purpose) + shares.connections * 2;
            let whole = mib as usize * MIB;
            assert!(all <= whole, "{mib} {purpose:?}: {shares:?}");
            assert!(shares.ring.is_power_of_two() && shares.ring >= 8 << 20);
            assert!(shares.connections >= 16 * MIB, "{mib} {purpose:?}");
        }
        // Too small for all of it: there is still something for connections.
        let least = Shares::of(Some(32), Purpose::Serve, 8 << 20);
        assert_eq!(least.connections, 2 * MIB);
    }

    /// The chart's limit follows from the bounds: whatever they allow has room, and connections have a good part of it.
    #[test]
    fn chart_gives_as_much_as_the_bounds_allow() {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart/values.yaml");
        let values: serde_json::Value =
            serde_saphyr::from_str(&fs::read_to_string(chart).unwrap()).unwrap();
        let limit = values["resources"]["limits"]["memory"].as_str().unwrap();
        let mib = limit.strip_suffix("Mi").unwrap().parse().unwrap();
        let ring = values["ringMib"].as_u64().unwrap();
        let ring = u32::try_from(ring).unwrap() << 20;
        for purpose in [Purpose::Serve, Purpose::Trace, Purpose::Record] {
            let shares = Shares::of(Some(mib), purpose, ring);
            let all = shares.beside(purpose) + shares.connections * 2;
            assert!(all <= (mib as usize) << 20, "{purpose:?}: {shares:?}");
        }
        let shares = Shares::of(Some(mib), Purpose::Serve, ring);
        assert!(
            shares.connections >= ((mib as usize) << 20) / 8,
            "{shares:?}"
        );
    }

    #[test]
    fn lowest_limit_of_the_cgroups_counts() {
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
            ("0::/pods/one\n", Some(256_u64 << 20)),
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
