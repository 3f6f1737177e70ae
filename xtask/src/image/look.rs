//! Looks into an image that was made: what a node takes it for, and what it finds in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::{CAPABILITIES, LICENCES};
use crate::architecture::Architecture;
use crate::{bill, command};

/// Where its program stands.
const PROGRAM: &str = "h2trace";
/// Where its licences stand.
const LICENCES_FOLDER: &str = "licences";
const NOTICES: &str = "NOTICES";

/// Fails when the image is not for nodes of this architecture, or holds not `binary` with its capabilities, its licences
/// and its bill of materials, or holds anything else.
pub(super) fn look(
    archive: &Path,
    architecture: Architecture,
    binary: &Path,
) -> anyhow::Result<()> {
    let unpacked = Unpacked::of(archive)?;
    unpacked.is_for(architecture)?;
    unpacked.holds(binary)?;
    let program = unpacked.root.join(PROGRAM);
    let mut verify = Command::new("setcap");
    command::run(verify.args(["-q", "-v", CAPABILITIES]).arg(&program))
        .context("the program in the image has other capabilities")?;
    println!(
        "looked into it: linux/{}, the program with {CAPABILITIES}, licences and bill of materials, nothing else",
        architecture.name()
    );
    Ok(())
}

/// An archive as `docker save` makes them, unpacked.
struct Unpacked {
    /// What is removed at the end.
    folder: PathBuf,
    /// The root of a container of it.
    root: PathBuf,
    config: Value,
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

impl Unpacked {
    fn of(archive: &Path) -> anyhow::Result<Unpacked> {
        let folder = archive.with_extension("unpacked");
        let mut unpacked = Unpacked {
            root: folder.join("root"),
            folder,
            config: Value::Null,
        };
        fs::remove_dir_all(&unpacked.folder).ok();
        let parts = unpacked.folder.join("parts");
        extract(archive, &parts)?;
        let manifest = json(&parts.join("manifest.json"))?;
        let image = &manifest[0];
        let name = image["Config"].as_str().context("it has no config")?;
        unpacked.config = json(&parts.join(name))?;
        let layers = image["Layers"].as_array().context("it has no layers")?;
        for layer in layers {
            let layer = layer.as_str().context("a layer has no name")?;
            extract(&parts.join(layer), &unpacked.root)?;
        }
        Ok(unpacked)
    }

    /// A node pulls, of all images of a name, the one whose config names its architecture.
    fn is_for(&self, architecture: Architecture) -> anyhow::Result<()> {
        for (key, wanted) in [("architecture", architecture.name()), ("os", "linux")] {
            if self.config[key] != wanted {
                bail!("the image's {key} is {}, not {wanted}", self.config[key]);
            }
        }
        let entrypoint = &self.config["config"]["Entrypoint"][0];
        if *entrypoint != format!("/{PROGRAM}") {
            bail!("the image starts {entrypoint}, not /{PROGRAM}");
        }
        Ok(())
    }

    fn holds(&self, binary: &Path) -> anyhow::Result<()> {
        let program = self.root.join(PROGRAM);
        if read(&program)? != read(binary)? {
            bail!("the program in the image is not {}", binary.display());
        }
        let licences = [&[NOTICES], &LICENCES[..]].concat();
        let mut wanted: Vec<_> = licences
            .iter()
            .map(|name| format!("{LICENCES_FOLDER}/{name}"))
            .collect();
        wanted.extend([PROGRAM.to_owned(), bill::NAME.to_owned()]);
        wanted.sort();
        let mut found = Vec::new();
        files(&self.root, "", &mut found)?;
        found.sort();
        if found != wanted {
            bail!("the image holds {found:?}, not {wanted:?}");
        }
        for name in &found {
            if read(&self.root.join(name))?.is_empty() {
                bail!("{name} in the image is empty");
            }
        }
        Ok(())
    }
}

fn extract(archive: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--xattrs", "--xattrs-include=*"])
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(to);
    command::run(&mut tar)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn json(path: &Path) -> anyhow::Result<Value> {
    serde_json::from_slice(&read(path)?).with_context(|| format!("{} is no JSON", path.display()))
}

/// All that are no folders below `folder`, as paths from its root.
fn files(folder: &Path, path: &str, found: &mut Vec<String>) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = format!("{path}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            files(&entry.path(), &format!("{path}/"), found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of arm64, and the program in it; `change` spoils what is packed.
    fn image(name: &str, change: impl Fn(&Path, &mut Value)) -> (PathBuf, PathBuf) {
        let folder =
            std::env::temp_dir().join(format!("h2trace-look-{}-{name}", std::process::id()));
        fs::remove_dir_all(&folder).ok();
        let (layer, parts) = (folder.join("layer"), folder.join("parts"));
        fs::create_dir_all(layer.join(LICENCES_FOLDER)).unwrap();
        fs::create_dir_all(&parts).unwrap();
        let licences = LICENCES.map(|name| format!("{LICENCES_FOLDER}/{name}"));
        for file in [PROGRAM, bill::NAME, "licences/NOTICES"]
            .into_iter()
            .chain(licences.iter().map(String::as_str))
        {
            fs::write(layer.join(file), file).unwrap();
        }
        let binary = folder.join("binary");
        fs::write(&binary, PROGRAM).unwrap();
        let mut config = serde_json::json!({
            "architecture": "arm64", "os": "linux", "config": { "Entrypoint": ["/h2trace"] }
        });
        change(&layer, &mut config);
        fs::write(parts.join("c.json"), config.to_string()).unwrap();
        let manifest = r#"[{"Config": "c.json", "Layers": ["l.tar"]}]"#;
        fs::write(parts.join("manifest.json"), manifest).unwrap();
        let archive = folder.join("image.tar");
        for (file, from) in [(parts.join("l.tar"), &layer), (archive.clone(), &parts)] {
            let mut tar = Command::new("tar");
            tar.arg("--create").arg("--file").arg(file);
            command::run(tar.arg("--directory").arg(from).arg(".")).unwrap();
        }
        (archive, binary)
    }

    fn looked(name: &str, change: impl Fn(&Path, &mut Value)) -> anyhow::Result<()> {
        let (archive, binary) = image(name, change);
        let unpacked = Unpacked::of(&archive)?;
        let found = unpacked
            .is_for(Architecture::Arm64)
            .and_then(|()| unpacked.holds(&binary));
        drop(unpacked);
        let folder = archive.parent().unwrap();
        assert!(!archive.with_extension("unpacked").exists());
        fs::remove_dir_all(folder).unwrap();
        found
    }

    #[test]
    fn an_image_as_it_has_to_be_passes() {
        looked("whole", |_, _| {}).unwrap();
    }

    #[test]
    fn what_is_not_as_it_has_to_be_is_found() {
        let error = |name, change: &dyn Fn(&Path, &mut Value)| {
            looked(name, change).unwrap_err().to_string()
        };
        let other = error("other", &|_, config| {
            config["architecture"] = "amd64".into();
        });
        assert!(other.contains(r#""amd64", not arm64"#), "{other}");
        let starts = error("starts", &|_, config| {
            config["config"]["Entrypoint"] = serde_json::json!(["/bin/sh"]);
        });
        assert!(starts.contains("not /h2trace"), "{starts}");
        let program = error("program", &|layer, _| {
            fs::write(layer.join(PROGRAM), "amd64's").unwrap();
        });
        assert!(program.contains("is not "), "{program}");
        let notices = error("notices", &|layer, _| {
            fs::remove_file(layer.join("licences/NOTICES")).unwrap();
        });
        assert!(notices.contains("the image holds"), "{notices}");
        let more = error("more", &|layer, _| {
            fs::write(layer.join("licences/more"), "x").unwrap();
        });
        assert!(more.contains("licences/more"), "{more}");
        let empty = error("empty", &|layer, _| {
            fs::write(layer.join(bill::NAME), "").unwrap();
        });
        assert!(empty.contains("is empty"), "{empty}");
    }
}
