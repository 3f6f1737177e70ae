//! Kernels of Debian, unpacked and not installed, for the guests of `cargo xtask test --kernels`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::command::{output, step};
use super::packages;

/// The architecture of the kernels, in Debian's words.
const ARCHITECTURE: &str = "amd64";

/// The newest kernel package of a series (`6.12`) that apt offers: of those for clouds, which are small and have what
/// a guest needs built in. None when it offers none, or there is no apt.
pub(super) fn offered(series: &str) -> Option<String> {
    look_up(series).or_else(|| {
        packages::update_once();
        look_up(series)
    })
}

fn look_up(series: &str) -> Option<String> {
    let names =
        output(Command::new("apt-cache").args(["pkgnames", &format!("linux-image-{series}.")]))?;
    newest_first(&names, series)
        .into_iter()
        .find(|name| packages::is_offered(name))
}

/// Signed kernel images of the series by version; their names carry an ABI that changes with every update.
fn newest_first(names: &str, series: &str) -> Vec<String> {
    let head = format!("linux-image-{series}.");
    let tail = format!("-cloud-{ARCHITECTURE}");
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
pub(super) fn fetch(series: &str, folder: &Path, log: &Path) -> Result<()> {
    let download = || {
        let name = offered(series).with_context(|| format!("apt offers no kernel {series}"))?;
        let words = ["download", "-q", &name, "busybox-static"];
        let mut download = Command::new("apt-get");
        step(download.args(words).current_dir(folder), log).map(|()| name)
    };
    let name = match download() {
        Ok(name) => name,
        Err(_) => {
            // A kernel that apt's lists still name may be replaced by a newer one.
            packages::update_once();
            download()?
        }
    };
    let unpacked = folder.join("unpacked");
    for package in files(folder)? {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").arg(&package).arg(&unpacked);
        step(&mut unpack, log)?;
        fs::remove_file(&package)
            .with_context(|| format!("cannot remove {}", package.display()))?;
    }
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

/// The packages in a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect())
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
        assert_eq!(
            newest_first(names, "6.1"),
            [
                "linux-image-6.1.0-56-cloud-amd64",
                "linux-image-6.1.0-9-cloud-amd64"
            ]
        );
        assert_eq!(
            newest_first(names, "6.12")[0],
            "linux-image-6.12.117+deb12-cloud-amd64"
        );
        assert!(newest_first(names, "5.15").is_empty());
    }
}
