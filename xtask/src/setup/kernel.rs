//! Kernels of Debian, unpacked and not installed, for the guests of `cargo xtask test --kernels`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::apt::Apt;
use crate::architecture::Architecture;

/// A kernel of Debian.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// The first two numbers of its release (`6.12`).
    pub(super) series: &'static str,
    pub(super) architecture: Architecture,
    /// What its release ends in, as Debian configures it in several ways.
    pub(super) flavour: &'static str,
    /// Debian's release that has it, where the machine's own need not have it.
    pub(super) suite: Option<&'static str>,
}

impl Kernel {
    pub(super) fn apt(&self, cache: &Path) -> Result<Apt> {
        match self.suite {
            Some(suite) => Ok(Apt::of_suite(self.architecture, suite, cache)),
            None => Apt::new(self.architecture, cache),
        }
    }
}

/// The newest package of a kernel that apt offers. None when it offers none, or there is no apt.
pub(super) fn offered(apt: &Apt, kernel: Kernel) -> Option<String> {
    apt.find(|apt| {
        let names = apt.names(&format!("linux-image-{}.", kernel.series))?;
        newest_first(&names, kernel)
            .into_iter()
            .find(|name| apt.offers(name))
    })
}

/// Signed kernel images of the series by version; their names carry an ABI that changes with every update.
fn newest_first(names: &str, kernel: Kernel) -> Vec<String> {
    let head = format!("linux-image-{}.", kernel.series);
    let tail = format!("-{}", kernel.flavour);
    let mut names: Vec<_> = names
        .lines()
        .filter(|name| name.starts_with(&head) && name.ends_with(&tail))
        .map(str::to_owned)
        .collect();
    names.sort_by_key(|name| std::cmp::Reverse(numbers(name)));
    names
}

/// The numbers in a name: `linux-image-6.1.0-56-cloud-amd64` is 6, 1, 0, 56, 64.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Fetches a kernel and a static busybox: `vmlinuz` and `busybox` in `folder`.
pub(super) fn fetch(apt: &Apt, kernel: Kernel, folder: &Path, log: &Path) -> Result<()> {
    let choose = || {
        let name = offered(apt, kernel)
            .with_context(|| format!("apt offers no kernel {}", kernel.series))?;
        Ok(vec![name, "busybox-static".to_owned()])
    };
    let (names, unpacked) = apt.unpack(choose, folder, log)?;
    let name = names.first().context("no package was chosen")?;
    let release = name.trim_start_matches("linux-image-");
    let kernel = unpacked.join(format!("boot/vmlinuz-{release}"));
    // Debian 12 has it in /bin, later ones in /usr/bin.
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked.join(path));
    let busybox = busybox.iter().find(|path| path.is_file());
    let busybox = busybox.context("the package busybox-static has no busybox")?;
    for (from, to) in [(&kernel, "vmlinuz"), (busybox, "busybox")] {
        fs::rename(from, folder.join(to))
            .with_context(|| format!("cannot take {} out of its package", from.display()))?;
    }
    fs::remove_dir_all(&unpacked).with_context(|| format!("cannot remove {}", unpacked.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_signed_image_of_a_series_comes_first() {
        let names = "\
linux-image-6.1.0-9-cloud-amd64
linux-image-6.1.0-56-cloud-amd64
linux-image-6.1.0-57-cloud-amd64-unsigned
linux-image-6.1.0-56-cloud-amd64-dbg
linux-image-6.1.0-58-amd64
linux-image-6.12.9+deb12-cloud-amd64
linux-image-6.12.117+deb12-cloud-amd64
linux-image-6.12.117+deb12-cloud-arm64
linux-image-6.12.107+deb13-arm64-16k
linux-image-6.12.117+deb13-arm64-16k
linux-image-6.12.117+deb13-arm64-16k-dbg
linux-image-6.12.117+deb13-arm64
";
        let newest_first = |series, flavour| {
            let kernel = Kernel {
                series,
                architecture: Architecture::Arm64,
                flavour,
                suite: None,
            };
            newest_first(names, kernel)
        };
        assert_eq!(
            newest_first("6.1", "cloud-amd64"),
            [
                "linux-image-6.1.0-56-cloud-amd64",
                "linux-image-6.1.0-9-cloud-amd64"
            ]
        );
        assert_eq!(
            newest_first("6.12", "cloud-amd64")[0],
            "linux-image-6.12.117+deb12-cloud-amd64"
        );
        assert_eq!(
            newest_first("6.12", "cloud-arm64"),
            ["linux-image-6.12.117+deb12-cloud-arm64"]
        );
        assert_eq!(
            newest_first("6.12", "arm64-16k")[0],
            "linux-image-6.12.117+deb13-arm64-16k"
        );
        assert!(newest_first("5.15", "cloud-amd64").is_empty());
    }
}
