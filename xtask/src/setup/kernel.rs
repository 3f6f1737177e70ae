//! Kernels of Debian, unpacked and not installed, for the guests of `cargo xtask test --kernels`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::apt::Apt;
use crate::architecture::Architecture;

/// The newest kernel package of a series (`6.12`) that apt offers: of those for clouds, which are small and have what
/// a guest needs built in. None when it offers none, or there is no apt.
pub(super) fn offered(apt: &Apt, series: &str) -> Option<String> {
    apt.find(|apt| {
        let names = apt.names(&format!("linux-image-{series}."))?;
        newest_first(&names, series, apt.architecture())
            .into_iter()
            .find(|name| apt.offers(name))
    })
}

/// Signed kernel images of the series by version; their names carry an ABI that changes with every update.
fn newest_first(names: &str, series: &str, architecture: Architecture) -> Vec<String> {
    let head = format!("linux-image-{series}.");
    let tail = format!("-cloud-{}", architecture.name());
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

/// Fetches a kernel of the series and a static busybox: `vmlinuz` and `busybox` in `folder`.
pub(super) fn fetch(apt: &Apt, series: &str, folder: &Path, log: &Path) -> Result<()> {
    let choose = || {
        let name =
            offered(apt, series).with_context(|| format!("apt offers no kernel {series}"))?;
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
";
        let newest_first = |series, architecture| newest_first(names, series, architecture);
        assert_eq!(
            newest_first("6.1", Architecture::Amd64),
            [
                "linux-image-6.1.0-56-cloud-amd64",
                "linux-image-6.1.0-9-cloud-amd64"
            ]
        );
        assert_eq!(
            newest_first("6.12", Architecture::Amd64)[0],
            "linux-image-6.12.117+deb12-cloud-amd64"
        );
        assert_eq!(
            newest_first("6.12", Architecture::Arm64),
            ["linux-image-6.12.117+deb12-cloud-arm64"]
        );
        assert!(newest_first("5.15", Architecture::Amd64).is_empty());
    }
}
