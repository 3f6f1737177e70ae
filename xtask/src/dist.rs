//! `cargo xtask dist`: everything that a release consists of, in `target/dist`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;

use crate::architecture::Architecture;
use crate::{bill, command, demo, image, notices};

/// What `cargo xtask dist` takes.
#[derive(Args)]
pub(crate) struct DistOptions {
    /// Without the image, which takes root, buildah and setcap
    #[arg(long)]
    no_image: bool,

    /// For these architectures [default: this machine's]
    #[arg(long, value_enum, num_args = 1.., value_name = "ARCHITECTURE")]
    architecture: Vec<Architecture>,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Shells, and where Debian looks for their completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/h2trace"),
    ("zsh", "usr/share/zsh/vendor-completions/_h2trace"),
    ("fish", "usr/share/fish/vendor_completions.d/h2trace.fish"),
];

const MAN: &str = "usr/share/man/man1";
const DOC: &str = "usr/share/doc/h2trace";

/// Builds all of it, and says what there is.
pub(crate) fn run(options: &DistOptions, root: &Path) -> anyhow::Result<ExitCode> {
    let own = Architecture::of_this_machine()?;
    // The first writes the manual pages and completions of all: a program for another architecture does not run here.
    let writer = image::binary(root, own)?;
    let dist = emptied(demo::target(root).join("dist"))?;
    let epoch = last_commit(root)?;
    let architectures = match options.architecture.as_slice() {
        [] => &[own][..],
        some => some,
    };
    for &architecture in architectures {
        let binary = if architecture == own {
            writer.clone()
        } else {
            image::binary(root, architecture)?
        };
        // What is packed, as it is installed.
        let tree = emptied(demo::target(root).join("dist-tree"))?;
        stage(root, architecture, &writer, &binary, &tree)?;
        archive(architecture, &tree, &dist, &epoch)?;
        package(architecture, &tree, &dist, &epoch)?;
        fs::remove_dir_all(&tree).ok();
        let name = format!("h2trace-{VERSION}-{}.cdx.json", architecture.name());
        write(&dist.join(name), bill::text(root, architecture)?)?;
        if options.no_image {
            println!("no image: --no-image");
            continue;
        }
        let made = image::archive(root, architecture, &binary, image::NAME)?;
        let name = format!("h2trace-{VERSION}-image-{}.tar", architecture.name());
        copy(&made, &dist.join(name))?;
    }
    checksums(&dist)?;
    println!("{}:", dist.display());
    command::run(Command::new("ls").args(["-l"]).arg(&dist))?;
    Ok(ExitCode::SUCCESS)
}

/// The folder, with nothing in it.
fn emptied(folder: PathBuf) -> anyhow::Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    make(&folder)?;
    Ok(folder)
}

fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn write(path: &Path, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        make(folder)?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The program, its completions and manual pages, licences and change log, as they are installed.
/// `writer` is the same program for this machine.
fn stage(
    root: &Path,
    architecture: Architecture,
    writer: &Path,
    binary: &Path,
    tree: &Path,
) -> anyhow::Result<()> {
    make(&tree.join("usr/bin"))?;
    copy(binary, &tree.join("usr/bin/h2trace"))?;
    for (shell, path) in COMPLETIONS {
        let script =
            command::output(Command::new(writer).args(["generate", "completions", shell]))?;
        write(&tree.join(path), script)?;
    }
    let man = tree.join(MAN);
    command::run(
        Command::new(writer)
            .args(["generate", "man", "--dir"])
            .arg(&man),
    )?;
    let doc = tree.join(DOC);
    make(&doc)?;
    write(&doc.join("copyright"), copyright(root)?)?;
    write(&doc.join("NOTICES"), notices::text(root, architecture)?)?;
    write(&doc.join(bill::NAME), bill::text(root, architecture)?)?;
    copy(
        &root.join("tracer-user/CHANGELOG.md"),
        &doc.join("changelog"),
    )?;
    copy(&root.join("README.md"), &doc.join("README.md"))?;
    let pages = fs::read_dir(&man).with_context(|| format!("cannot read {}", man.display()))?;
    let mut zip = Command::new("gzip");
    zip.args(["-9", "--no-name"])
        .args([doc.join("changelog"), doc.join("NOTICES")]);
    for page in pages {
        zip.arg(page?.path());
    }
    command::run(&mut zip)
}

/// The licences of the program and of the kernel programs in it.
fn copyright(root: &Path) -> anyhow::Result<String> {
    let mut text = "h2trace is licensed as MIT or Apache-2.0, at your choice.\n\
                    The kernel programs in it are licensed as MIT or GPL-2.0, at your choice.\n"
        .to_owned();
    for name in ["LICENSE-MIT", "LICENSE-APACHE", "LICENSE-GPL-2.0"] {
        let path = root.join(name);
        let licence =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text += &format!("\n==== {name} ====\n\n{licence}");
    }
    Ok(text)
}

/// The time that packed files carry, in seconds since 1970, so that the same sources give the same packages.
fn last_commit(root: &Path) -> anyhow::Result<String> {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(root);
    Ok(command::output(&mut git)?.trim().to_owned())
}

/// The tree as an archive, for systems without Debian's packages: to be unpacked in `/`.
fn archive(
    architecture: Architecture,
    tree: &Path,
    dist: &Path,
    epoch: &str,
) -> anyhow::Result<()> {
    let name = format!("h2trace-{VERSION}-{}.tar.gz", architecture.triple());
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--owner=0", "--group=0"])
        .args([
            "--numeric-owner",
            "--mode=u=rwX,go=rX",
            "--use-compress-program=gzip -9n",
        ])
        .arg(format!("--mtime=@{epoch}"))
        .arg("--file")
        .arg(dist.join(name))
        .arg("--directory")
        .arg(tree)
        .arg("usr");
    command::run(&mut tar)
}

/// Debian's package of the tree.
fn package(
    architecture: Architecture,
    tree: &Path,
    dist: &Path,
    epoch: &str,
) -> anyhow::Result<()> {
    let architecture = architecture.name();
    let bytes = fs::metadata(tree.join("usr/bin/h2trace"))?.len();
    let control = tree.join("DEBIAN");
    write(&control.join("control"), control_file(architecture, bytes))?;
    let mut build = Command::new("dpkg-deb");
    build
        .args(["--root-owner-group", "-Zxz", "--build"])
        .arg(tree)
        .arg(dist.join(format!("h2trace_{VERSION}_{architecture}.deb")))
        .env("SOURCE_DATE_EPOCH", epoch);
    command::run(&mut build)
}

/// deb-control(5). The program is static and depends on nothing.
fn control_file(architecture: &str, bytes: u64) -> String {
    format!(
        "Package: h2trace\n\
         Version: {VERSION}\n\
         Architecture: {architecture}\n\
         Maintainer: The h2trace authors <noreply@h2trace.invalid>\n\
         Section: net\n\
         Priority: optional\n\
         Installed-Size: {}\n\
         Homepage: {}\n\
         Description: follows HTTP/2 and gRPC streams from the kernel\n \
         An eBPF tracer that reads HTTP/2 from the sockets of running processes,\n \
         joins both sides of a proxy, and names the hop that broke a stream.\n",
        bytes.div_ceil(1024),
        env!("CARGO_PKG_REPOSITORY"),
    )
}

/// `SHA256SUMS`, as `sha256sum --check` reads it.
fn checksums(dist: &Path) -> anyhow::Result<()> {
    let mut names: Vec<PathBuf> = fs::read_dir(dist)
        .with_context(|| format!("cannot read {}", dist.display()))?
        .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
        .collect();
    names.sort();
    let sums = command::output(Command::new("sha256sum").args(&names).current_dir(dist))?;
    write(&dist.join("SHA256SUMS"), sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_file_has_a_description_whose_lines_are_indented() {
        let text = control_file("amd64", 1_025);
        assert!(text.contains("\nInstalled-Size: 2\n"), "{text}");
        let (fields, description) = text.split_once("\nDescription: ").unwrap();
        assert!(fields.lines().all(|line| line.contains(": ")), "{text}");
        assert!(
            description
                .lines()
                .skip(1)
                .all(|line| line.starts_with(" ")),
            "{text}"
        );
    }

    #[test]
    fn the_change_log_has_this_version() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = fs::read_to_string(root.join("tracer-user/CHANGELOG.md")).unwrap();
        assert!(text.contains(&format!("\n## {VERSION}")));
    }
}
