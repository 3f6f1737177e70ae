//! Images of containers, made from files of this machine: no registry.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

/// What goes into an image.
#[derive(Clone, Debug, Default)]
pub struct Image {
    name: String,
    files: Vec<(PathBuf, String)>,
    entrypoint: Vec<String>,
    environment: Vec<String>,
}

impl Image {
    /// An image by its name, like `localhost/h2trace-client:1`, which starts `entrypoint`.
    #[must_use]
    pub fn new(name: &str, entrypoint: &[&str]) -> Self {
        Image {
            name: name.to_owned(),
            entrypoint: entrypoint.iter().map(|&word| word.to_owned()).collect(),
            ..Image::default()
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a file, or a folder with all that is in it.
    #[must_use]
    pub fn with(mut self, source: impl Into<PathBuf>, path: &str) -> Self {
        self.files.push((source.into(), path.to_owned()));
        self
    }

    /// Adds a program with the shared libraries that it is linked to.
    ///
    /// # Panics
    /// When the program is not there.
    #[must_use]
    pub fn with_program(mut self, source: impl Into<PathBuf>, path: &str) -> Self {
        let source = source.into();
        assert!(source.is_file(), "{} is missing", source.display());
        for library in libraries(&source) {
            if self.files.iter().all(|(_, path)| *path != library) {
                self.files.push((PathBuf::from(&library), library));
            }
        }
        self.with(source, path)
    }

    /// Adds `NAME=VALUE` to the environment of what runs in it.
    #[must_use]
    pub fn environment(mut self, variable: &str) -> Self {
        self.environment.push(variable.to_owned());
        self
    }

    /// The archive as `docker save` makes it; made once, and again when one of the files has changed.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn archive(&self) -> PathBuf {
        let kept = crate::workspace().join("target/images");
        fs::create_dir_all(&kept).expect("cannot make a folder for images");
        let short: String = self
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let archive = kept.join(format!("{short}-{:016x}.tar", self.fingerprint()));
        if !archive.exists() {
            for entry in fs::read_dir(&kept).into_iter().flatten().flatten() {
                let old = entry.file_name().to_string_lossy().into_owned();
                if old.starts_with(&format!("{short}-")) && old.len() == short.len() + 21 {
                    drop(fs::remove_file(entry.path()));
                }
            }
            self.make(&archive);
        }
        archive
    }

    fn make(&self, archive: &Path) {
        let folder = TempDir::new_in(archive.parent().unwrap_or(archive)).expect("a folder");
        let root = folder.path().join("root");
        for (source, path) in &self.files {
            let place = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap_or(&root)).expect("cannot make a folder");
            let source = source
                .canonicalize()
                .unwrap_or_else(|error| panic!("{} is missing: {error}", source.display()));
            symlink(source, place).expect("cannot make a link");
        }
        fs::create_dir_all(root.join("tmp")).expect("cannot make a folder");
        let image = folder.path().join("image");
        fs::create_dir(&image).expect("cannot make a folder");
        let layer = image.join("layer.tar");
        tar(&root, &layer, &["--dereference"]);
        let digest = sha256(&layer);
        let mut environment = vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()];
        environment.extend_from_slice(&self.environment);
        let configuration = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Env": environment,
                "WorkingDir": "/",
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        });
        let manifest = json!([{
            "Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"],
        }]);
        fs::write(image.join("config.json"), configuration.to_string()).expect("cannot write");
        fs::write(image.join("manifest.json"), manifest.to_string()).expect("cannot write");
        // Whoever looks for it sees all of it, or nothing.
        let whole = folder.path().join("whole.tar");
        tar(&image, &whole, &[]);
        fs::rename(&whole, archive).expect("cannot move the image");
    }

    /// Changes when a file of it does.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.entrypoint, &self.environment, &self.name).hash(&mut hasher);
        for (source, path) in &self.files {
            path.hash(&mut hasher);
            add(source, &mut hasher);
        }
        hasher.finish()
    }
}

fn add(path: &Path, hasher: &mut DefaultHasher) {
    let Ok(metadata) = fs::metadata(path) else {
        return;
    };
    if metadata.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let entries: BTreeSet<_> = entries.map(|entry| entry.path()).collect();
        for entry in entries {
            add(&entry, hasher);
        }
    } else {
        (
            path,
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        )
            .hash(hasher);
    }
}

/// The shared libraries of a program, and its loader, by their paths; none for a static one.
fn libraries(program: &Path) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| {
            line.split_whitespace()
                .find(|word| word.starts_with('/'))
                .map(str::to_owned)
        })
        .collect()
}

fn tar(folder: &Path, archive: &Path, more: &[&str]) {
    let mut command = Command::new("tar");
    command
        .args([
            "--create",
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
        ])
        .args(more)
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(folder)
        .arg(".");
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{command:?} failed: {status:?}"
    );
}

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let digest = text.split_whitespace().next().unwrap_or_default();
    assert_eq!(digest.len(), 64, "sha256sum failed on {}", file.display());
    digest.to_owned()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
