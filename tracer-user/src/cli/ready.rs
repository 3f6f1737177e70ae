//! The ready file: tells a script when the first byte would be seen.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A ready file that is not written yet.
#[derive(Debug)]
pub struct ReadyFile {
    unwritten: Option<Unwritten>,
}

#[derive(Debug)]
struct Unwritten {
    path: PathBuf,
    /// [`unfinished`], open since it was made.
    file: File,
}

/// What `serve` listens on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// For metrics.
    pub listen: Option<SocketAddr>,
    /// For probes alone.
    pub health: Option<SocketAddr>,
}

impl ReadyFile {
    /// Removes what an earlier run left there, and finds out whether it can be written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn prepare(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self { unwritten: None });
        };
        let unwritable = || {
            format!(
                "cannot write ready file {} (choose another with --ready-file PATH)",
                path.display()
            )
        };
        remove(path).with_context(unwritable)?;
        // Made anew and never opened as it stands: in a directory that others write to it could be their link.
        let unfinished = unfinished(path);
        let file = remove(&unfinished).and_then(|()| File::create_new(unfinished));
        Ok(Self {
            unwritten: Some(Unwritten {
                path: path.to_owned(),
                file: file.with_context(unwritable)?,
            }),
        })
    }

    /// Writes it: one line of JSON with the process id and, for `serve`, the addresses. It is there whole or
    /// not at all.
    ///
    /// # Errors
    /// It cannot be written any more.
    pub fn write(mut self, ports: Ports) -> anyhow::Result<()> {
        let Some(Unwritten { path, mut file }) = self.unwritten.take() else {
            return Ok(());
        };
        let (listen, health) = (ports.listen, ports.health);
        let pid = std::process::id();
        let line =
            serde_json::json!({ "v": 1, "pid": pid, "listen": listen, "health_listen": health });
        file.write_all(format!("{line}\n").as_bytes())
            .and_then(|()| fs::rename(unfinished(&path), &path))
            .with_context(|| format!("cannot write ready file {}", path.display()))
    }
}

impl Drop for ReadyFile {
    /// A run that does not come to its start leaves nothing behind.
    fn drop(&mut self) {
        if let Some(Unwritten { path, .. }) = &self.unwritten {
            drop(remove(&unfinished(path)));
        }
    }
}

/// Removes what stands there, if anything does.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_file_is_removed_and_the_new_one_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready");
        fs::write(&path, "stale").unwrap();
        let ready = ReadyFile::prepare(Some(&path)).unwrap();
        assert!(!path.exists());
        let ports = Ports {
            listen: Some("127.0.0.1:9464".parse().unwrap()),
            health: None,
        };
        ready.write(ports).unwrap();
        let line: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(line["pid"], std::process::id());
        assert_eq!(line["listen"], "127.0.0.1:9464");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_that_stand_there_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, precious) = (
            directory.path().join("ready"),
            directory.path().join("precious"),
        );
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        std::os::unix::fs::symlink(&precious, unfinished(&path)).unwrap();
        let ready = ReadyFile::prepare(Some(&path)).unwrap();
        // Whoever puts one there later changes nothing either.
        fs::remove_file(unfinished(&path)).unwrap();
        std::os::unix::fs::symlink(&precious, unfinished(&path)).unwrap();
        ready.write(Ports::default()).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }

    #[test]
    fn start_that_fails_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        drop(ReadyFile::prepare(Some(&directory.path().join("ready"))).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn unwritable_file_is_said_before_the_start() {
        let error = ReadyFile::prepare(Some(Path::new("/proc/no/such/ready"))).unwrap_err();
        assert!(format!("{error:#}").contains("--ready-file"), "{error:#}");
    }
}
