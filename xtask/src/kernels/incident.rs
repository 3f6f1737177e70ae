//! The reference incident in a guest: the test of it, real grpc-go, Envoy and grpc-js, and what these load.
//!
//! They are the programs that the setup has installed for this machine, with the libraries that the loader of this
//! machine finds for them: so only guests of its architecture can run them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::initramfs::{Entry, PEERS};
use crate::{command, setup};

/// The pieces of the setup.
pub(super) const PIECES: [&str; 3] = ["node", "grpc-go", "envoy-1.40.0"];

/// The test, by its whole name.
pub(crate) const TEST: &str =
    "traced::envoy_1_40_attached_before_every_failed_call_is_named_and_no_other";

/// Programs of the pieces.
const PROGRAMS: [&str; 2] = ["envoy-1.40.0/envoy/_bin/envoy", "grpc-go/grpc-go-1.70.0"];
/// Folders of the pieces.
const MODULES: &str = "node/node_modules";
/// What the peers read of the source tree, where the tests look for it.
const SOURCES: [&str; 3] = ["tests/peers/node", "tests/peers/envoy", "tests/peers/proto"];

/// What a guest needs for it beside the test, or the piece that is not installed.
///
/// # Errors
/// When a program's libraries cannot be found.
pub(super) fn files(root: &Path) -> anyhow::Result<Result<Vec<Entry>, &'static str>> {
    for piece in PIECES {
        if setup::folder_of(root, piece)?.is_none() {
            return Ok(Err(piece));
        }
    }
    let node = on_the_path("node").context("node is not on the path")?;
    let mut entries = vec![Entry::new("bin/node", &node)];
    let mut programs = vec![node];
    for program in PROGRAMS {
        let (piece, rest) = program.split_once('/').context("a program of no piece")?;
        let folder = setup::folder_of(root, piece)?.context("a piece is gone")?;
        programs.push(folder.join(rest));
        entries.push(Entry::new(format!("{PEERS}/{program}"), folder.join(rest)));
    }
    let mut libraries = Vec::new();
    for program in &programs {
        let said = command::output(Command::new("ldd").arg(program))?;
        libraries.extend(loaded(&said));
    }
    libraries.sort();
    libraries.dedup();
    if libraries.is_empty() {
        bail!("ldd names no libraries of {programs:?}");
    }
    entries.extend(
        libraries
            .iter()
            .map(|path| Entry::new(in_guest(path), path)),
    );
    let (piece, rest) = MODULES.split_once('/').context("modules of no piece")?;
    let modules = setup::folder_of(root, piece)?.context("a piece is gone")?;
    below(
        &modules.join(rest),
        &format!("{PEERS}/{MODULES}"),
        &mut entries,
    )?;
    for source in SOURCES {
        let folder = root.join(source);
        below(&folder, &in_guest(&folder), &mut entries)?;
    }
    Ok(Ok(entries))
}

/// A path of this machine as the archive names it.
fn in_guest(path: &Path) -> String {
    path.display()
        .to_string()
        .trim_start_matches('/')
        .to_owned()
}

fn on_the_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    places.find(|file| file.is_file())
}

/// The files that `ldd` names: the loader, and every library by the path that the loader finds it at.
fn loaded(said: &str) -> Vec<PathBuf> {
    said.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

/// All files below a folder. Links are followed: an archive for the kernel could hold them, but needs none.
fn below(folder: &Path, path: &str, entries: &mut Vec<Entry>) -> anyhow::Result<()> {
    let names = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .with_context(|| format!("cannot read {}", folder.display()))?;
    for name in names {
        let from = name.path();
        let path = format!("{path}/{}", name.file_name().to_string_lossy());
        if from.is_dir() {
            below(&from, &path, entries)?;
        } else {
            entries.push(Entry::new(path, from));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let said = "\
\tlinux-vdso.so.1 (0x00007ffd)
\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f50)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f51)
";
        assert_eq!(
            loaded(said),
            [
                "/lib/x86_64-linux-gnu/libm.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
            .map(PathBuf::from)
        );
        assert!(loaded("\tnot a dynamic executable\n").is_empty());
    }

    #[test]
    fn pieces_and_the_test_are_there() {
        for piece in PIECES {
            assert!(setup::has_piece(piece), "{piece}");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (module, function) = TEST.split_once("::").unwrap();
        let text = std::fs::read_to_string(root.join(format!("tests/incident/{module}.rs")));
        assert!(text.unwrap().contains(&format!("fn {function}()")));
        for source in SOURCES {
            assert!(root.join(source).is_dir(), "{source}");
        }
    }
}
