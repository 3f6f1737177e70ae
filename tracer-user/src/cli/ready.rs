//! The ready file: tells a script when the first byte would be seen.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context as _;

/// A ready file that is not written yet.
#[derive(Debug)]
pub struct ReadyFile {
    path: Option<PathBuf>,
}

impl ReadyFile {
    /// Removes what an earlier run left there, and finds out whether it can be written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn prepare(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self { path: None });
        };
        let unwritable = || {
            format!(
                "cannot write ready file {} (choose another with --ready-file PATH)",
                path.display()
            )
        };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(unwritable);
            }
            _ => {}
        }
        fs::write(unfinished(path), b"").with_context(unwritable)?;
        Ok(Self {
            path: Some(path.to_owned()),
        })
    }

    /// Writes it: one line of JSON with the process id and, for `serve`, the address. It is there whole or
    /// not at all.
    ///
    /// # Errors
    /// It cannot be written any more.
    pub fn write(mut self, listen: Option<std::net::SocketAddr>) -> anyhow::Result<()> {
        let Some(path) = self.path.take() else {
            return Ok(());
        };
        let line = serde_json::json!({ "v": 1, "pid": std::process::id(), "listen": listen });
        fs::write(unfinished(&path), format!("{line}\n"))
            .and_then(|()| fs::rename(unfinished(&path), &path))
            .with_context(|| format!("cannot write ready file {}", path.display()))
    }
}

impl Drop for ReadyFile {
    /// A run that does not come to its start leaves nothing behind.
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            drop(fs::remove_file(unfinished(path)));
        }
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
        ready
            .write(Some("127.0.0.1:9464".parse().unwrap()))
            .unwrap();
        let line: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(line["pid"], std::process::id());
        assert_eq!(line["listen"], "127.0.0.1:9464");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
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
