//! apt, asked for packages of an architecture, this machine's or another, to be unpacked and not installed.
//!
//! For another architecture it is an apt of its own, with lists and caches in a folder of ours: nothing on the machine
//! changes, and no foreign architecture is added to its dpkg.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::command::{output, step};
use super::packages;
use crate::architecture::Architecture;

/// apt for the packages of one architecture.
pub(super) struct Apt {
    architecture: Architecture,
    /// Where the lists and caches are, when they are not the machine's.
    own: Option<PathBuf>,
    /// The release of Debian whose packages it has, when they are not those of the machine's.
    suite: Option<&'static str>,
}

/// What Debian signs its lists with, as its package `debian-archive-keyring` has it.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

impl Apt {
    /// Keeps what it needs of its own below `cache`.
    pub(super) fn new(architecture: Architecture, cache: &Path) -> Result<Self> {
        let is_foreign = architecture != Architecture::of_this_machine()?;
        Ok(Apt {
            architecture,
            own: is_foreign.then(|| cache.join(format!("apt-{}", architecture.name()))),
            suite: None,
        })
    }

    /// For the packages of a release of Debian, from where the machine has its own.
    pub(super) fn of_suite(architecture: Architecture, suite: &'static str, cache: &Path) -> Self {
        let own = format!("apt-{}-{suite}", architecture.name());
        Apt {
            architecture,
            own: Some(cache.join(own)),
            suite: Some(suite),
        }
    }

    /// `apt-get` or `apt-cache`.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(own) = &self.own {
            let name = self.architecture.name();
            let options = [
                format!("APT::Architecture={name}"),
                format!("APT::Architectures::={name}"),
                format!("Dir::State={}", own.display()),
                format!("Dir::State::status={}", own.join("status").display()),
                format!("Dir::Cache={}", own.join("cache").display()),
                // Whoever runs the setup reads what is downloaded.
                "APT::Sandbox::User=".to_owned(),
            ];
            command.args(options.iter().flat_map(|option| ["-o", option]));
            if self.suite.is_some() {
                let parts = format!("Dir::Etc::sourceparts={}", parts(own).display());
                command.args(["-o", "Dir::Etc::sourcelist=/dev/null", "-o", &parts]);
            }
        }
        command
    }

    /// Brings the lists up to date.
    fn update(&self) {
        let Some(own) = &self.own else {
            return packages::update_once();
        };
        let made = ["lists/partial", "cache/archives/partial"]
            .iter()
            .try_for_each(|folder| fs::create_dir_all(own.join(folder)))
            .and_then(|()| fs::write(own.join("status"), ""))
            .and_then(|()| self.write_sources(own));
        if made.is_ok() {
            println!(
                "setup: fetching apt's lists for {}",
                self.architecture.name()
            );
            // What still is not there afterwards is said by the caller.
            let _said = output(self.command("apt-get").args(["update", "-q"]));
        }
    }

    /// Where the packages of another release of Debian are: where this machine has its own from.
    fn write_sources(&self, own: &Path) -> std::io::Result<()> {
        let Some(suite) = self.suite else {
            return Ok(());
        };
        fs::create_dir_all(parts(own))?;
        let format = "$(ORIGIN) $(LABEL) $(REPO_URI)";
        let mut ask = Command::new("apt-get");
        ask.args(["indextargets", "--format", format, "Created-By: Packages"]);
        let targets = output(&mut ask).unwrap_or_default();
        let source = archive(&targets)
            .map(|archive| format!("deb [signed-by={KEYRING}] {archive} {suite} main\n"));
        fs::write(parts(own).join("debian.list"), source.unwrap_or_default())
    }

    /// What `look` finds in the lists; once more with new ones when it finds nothing.
    pub(super) fn find<T>(&self, look: impl Fn(&Self) -> Option<T>) -> Option<T> {
        look(self).or_else(|| {
            self.update();
            look(self)
        })
    }

    /// The names of packages that begin with `head`.
    pub(super) fn names(&self, head: &str) -> Option<String> {
        output(self.command("apt-cache").args(["pkgnames", head]))
    }

    /// Whether a package can be fetched; `NAME=VERSION` is one in this version.
    pub(super) fn offers(&self, package: &str) -> bool {
        let (name, version) = match package.split_once('=') {
            Some((name, version)) => (name, Some(version)),
            None => (package, None),
        };
        let policy = output(self.command("apt-cache").args(["policy", name]));
        policy.is_some_and(|policy| match version {
            None => packages::has_candidate(&policy, name),
            Some(version) => has_version(&policy, version),
        })
    }

    /// Fetches the packages that `choose` names and unpacks them into `folder/unpacked`; gives their names. When that
    /// fails it tries once more with new lists: a package that apt's lists still name may be replaced by a newer one.
    pub(super) fn unpack(
        &self,
        choose: impl Fn() -> Result<Vec<String>>,
        folder: &Path,
        log: &Path,
    ) -> Result<(Vec<String>, PathBuf)> {
        let download = || {
            let names = choose()?;
            let mut download = self.command("apt-get");
            download.args(["download", "-q"]).args(&names);
            step(download.current_dir(folder), log).map(|()| names)
        };
        let names = match download() {
            Ok(names) => names,
            Err(_) => {
                self.update();
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
        Ok((names, unpacked))
    }
}

/// Where an apt of its own reads its sources.
fn parts(own: &Path) -> PathBuf {
    own.join("parts")
}

/// Debian's archive among lines of origin, label and address; not the one of security updates alone.
fn archive(targets: &str) -> Option<&str> {
    targets
        .lines()
        .find_map(|line| line.strip_prefix("Debian Debian "))
}

/// Whether `apt-cache policy` has this version in its table.
fn has_version(policy: &str, version: &str) -> bool {
    let table = policy
        .split_once("Version table:")
        .map_or("", |(_, table)| table);
    table
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("*** ").split(' ').next())
        .any(|word| word == version)
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
    fn another_architecture_has_lists_and_caches_of_its_own() {
        let own = Architecture::of_this_machine().unwrap();
        for architecture in Architecture::ALL {
            let apt = Apt::new(architecture, Path::new("/cache")).unwrap();
            let command = super::super::command::shown(&apt.command("apt-get"));
            if architecture == own {
                assert_eq!(command, "apt-get");
                continue;
            }
            let name = architecture.name();
            for option in [
                format!("APT::Architecture={name}"),
                format!("Dir::State=/cache/apt-{name}"),
                format!("Dir::Cache=/cache/apt-{name}/cache"),
            ] {
                assert!(command.contains(&option), "{command}");
            }
        }
    }

    #[test]
    fn another_release_comes_from_where_the_machines_own_does() {
        let apt = Apt::of_suite(Architecture::Arm64, "trixie", Path::new("/cache"));
        let command = super::super::command::shown(&apt.command("apt-get"));
        for option in [
            "APT::Architecture=arm64",
            "Dir::State=/cache/apt-arm64-trixie",
            "Dir::Etc::sourceparts=/cache/apt-arm64-trixie/parts",
        ] {
            assert!(command.contains(option), "{command}");
        }
        let targets = "\
Somebody Somebody http://packages.invalid/apt/
Debian Debian-Security http://mirror.invalid/debian-security/
Debian Debian http://mirror.invalid/debian/
Debian Debian http://other.invalid/debian/
";
        assert_eq!(archive(targets), Some("http://mirror.invalid/debian/"));
        assert_eq!(archive("Ubuntu Ubuntu http://mirror.invalid/"), None);
    }

    #[test]
    fn versions_are_whole_words_of_the_table() {
        let policy = "\
libstd-rust-web-dev:
  Installed: (none)
  Candidate: 1.97.0+dfsg1-1
  Version table:
     1.97.0+dfsg1-1 500
        500 http://deb.debian.org/debian-security bookworm-security/main arm64 Packages
 *** 1.96.0+dfsg1-1~deb12u2 500
";
        assert!(has_version(policy, "1.97.0+dfsg1-1"));
        assert!(has_version(policy, "1.96.0+dfsg1-1~deb12u2"));
        assert!(!has_version(policy, "1.96.0+dfsg1-1"));
        assert!(!has_version("", "1.97.0+dfsg1-1"));
    }
}
