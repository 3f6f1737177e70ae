//! `cargo xtask setup`: installs everything that the tests need, once.
//!
//! What is built or fetched lands in `${XDG_CACHE_HOME:-~/.cache}/h2trace/peers/<piece>-<fingerprint of its pins>`,
//! so that every clone on a machine shares it; `target/peers/<piece>` is a link to it, and the only place the
//! tests look in (`H2TRACE_PEERS_DIR` names another). System packages come from apt.

mod apt;
mod command;
mod go;
mod kernel;
mod packages;
mod piece;
mod recipe;
mod rust_std;
mod stories;
mod system;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use piece::{Piece, State};

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args, Default)]
pub(crate) struct SetupOptions {
    /// Say what is installed and what would be, and do nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Only these pieces (names as `--list` shows them), and what they are built with.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// All pieces but these, if nothing else is built with them. What an earlier run installed of these stays in the
    /// cache, and the tests do not see it.
    #[arg(long, num_args = 1.., value_name = "NAME", conflicts_with = "only")]
    pub(crate) without: Vec<String>,
}

/// Where things are.
pub(crate) struct Places {
    /// The workspace.
    root: PathBuf,
    /// Where pieces are kept, by name and fingerprint.
    cache: PathBuf,
    /// Links to the pieces, by name: where the tests look.
    links: PathBuf,
}

impl Places {
    fn new(root: &Path) -> Result<Self> {
        let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => std::env::home_dir()
                .context("cannot find a cache folder: neither XDG_CACHE_HOME nor HOME is set")?
                .join(".cache"),
        };
        let links = std::env::var_os("H2TRACE_PEERS_DIR")
            .map_or_else(|| root.join("target/peers"), PathBuf::from);
        Ok(Places {
            root: root.to_owned(),
            cache: cache.join("h2trace/peers"),
            links,
        })
    }

    /// The sources of the peers.
    fn sources(&self) -> PathBuf {
        self.root.join("tests/peers")
    }
}

/// Installs what is missing.
///
/// # Errors
/// When a piece could not be installed: which one, and the command that failed. The others are installed all the same.
pub(crate) fn run(options: &SetupOptions, root: &Path) -> Result<ExitCode> {
    let places = Places::new(root)?;
    let pieces = chosen(&options.only, &options.without)?;
    if options.list {
        list(&places, &pieces)?;
        return Ok(ExitCode::SUCCESS);
    }
    fs::create_dir_all(&places.cache)
        .with_context(|| format!("cannot make {}", places.cache.display()))?;
    fs::create_dir_all(&places.links)
        .with_context(|| format!("cannot make {}", places.links.display()))?;
    let _lock = exclusive(&places.cache)?;

    let began = Instant::now();
    let (mut installed, mut skipped, mut failed) = (0, Vec::new(), Vec::new());
    for piece in &pieces {
        match piece.state(&places)? {
            State::Ready => {}
            State::Unavailable(why) => skipped.push((piece, why)),
            State::Missing(what) => {
                if let Some(absent) = lacks(piece, &skipped, &failed) {
                    skipped.push((
                        piece,
                        format!("it is built with {absent}, which is not in place"),
                    ));
                    continue;
                }
                println!("setup: {}: {what}", piece.name);
                let start = Instant::now();
                match piece.install(&places) {
                    Ok(()) => {
                        installed += 1;
                        println!(
                            "setup: {}: done in {} s",
                            piece.name,
                            start.elapsed().as_secs()
                        );
                    }
                    Err(why) => {
                        println!("setup: {}: FAILED: {why:#}", piece.name);
                        failed.push(piece.name);
                    }
                }
            }
        }
        piece.link(&places)?;
    }
    for piece in piece::all() {
        if options.without.iter().any(|name| name == piece.name)
            && pieces.iter().all(|chosen| chosen.name != piece.name)
        {
            piece.unlink(&places)?;
        }
    }
    for (piece, why) in &skipped {
        println!(
            "setup: {}: cannot be installed here: {why}; {}",
            piece.name, piece.without
        );
    }
    if !failed.is_empty() {
        bail!(
            "could not install {}; the reason is above, and `cargo xtask setup --only {}` tries again",
            failed.join(", "),
            failed.join(" ")
        );
    }
    if installed == 0 {
        println!(
            "setup: nothing to do, {} of {} pieces are in place",
            pieces.len() - skipped.len(),
            pieces.len()
        );
    } else {
        println!(
            "setup: {installed} pieces installed in {} s",
            began.elapsed().as_secs()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder of a piece that is in place.
///
/// # Errors
/// When neither the cache nor a home is known.
pub(crate) fn folder_of(root: &Path, name: &str) -> Result<Option<PathBuf>> {
    let folder = Places::new(root)?.links.join(name);
    Ok(folder.is_dir().then_some(folder))
}

/// Whether there is a piece of this name.
#[cfg(test)]
pub(crate) fn has_piece(name: &str) -> bool {
    piece::all().iter().any(|piece| piece.name == name)
}

/// What `piece` is built with, and could not be installed.
fn lacks(
    piece: &Piece,
    skipped: &[(&Piece, String)],
    failed: &[&'static str],
) -> Option<&'static str> {
    let absent =
        |name: &&str| failed.contains(name) || skipped.iter().any(|(p, _)| p.name == *name);
    piece.built_with.iter().copied().find(absent)
}

/// The pieces that were asked for, in the order of installation.
fn chosen(only: &[String], without: &[String]) -> Result<Vec<Piece>> {
    let all = piece::all();
    if let Some(unknown) = only
        .iter()
        .chain(without)
        .find(|name| all.iter().all(|p| p.name != **name))
    {
        let names: Vec<_> = all.iter().map(|p| p.name).collect();
        bail!(
            "there is no piece {unknown:?}; the pieces are {}",
            names.join(", ")
        );
    }
    let mut wanted: Vec<&str> = if only.is_empty() {
        let names = all.iter().map(|piece| piece.name);
        names
            .filter(|name| without.iter().all(|other| other != name))
            .collect()
    } else {
        only.iter().map(String::as_str).collect()
    };
    // What a piece is built with stands before it in the list.
    for piece in all.iter().rev() {
        if wanted.contains(&piece.name) {
            wanted.extend(piece.built_with);
        }
    }
    Ok(all
        .into_iter()
        .filter(|p| wanted.contains(&p.name))
        .collect())
}

fn list(places: &Places, pieces: &[Piece]) -> Result<()> {
    println!("kept in {}", places.cache.display());
    for piece in pieces {
        let state = match piece.state(places)? {
            State::Ready => "in place".to_owned(),
            State::Missing(what) => format!("missing: {what}"),
            State::Unavailable(why) => {
                format!("cannot be installed here: {why}; {}", piece.without)
            }
        };
        println!("{:<14} {}\n{:<14} {state}", piece.name, piece.what, "");
    }
    Ok(())
}

/// One setup at a time: two clones share the cache.
fn exclusive(cache: &Path) -> Result<File> {
    let path = cache.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    if file.try_lock().is_err() {
        println!("setup: another setup is running, waiting for it");
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str], without: &[&str]) -> Vec<&'static str> {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let pieces = chosen(&owned(only), &owned(without)).unwrap();
        pieces.iter().map(|piece| piece.name).collect()
    }

    #[test]
    fn chosen_pieces_come_with_what_they_are_built_with() {
        assert_eq!(names(&["node"], &[]), ["languages", "node"]);
        assert_eq!(names(&[], &[]).len(), piece::all().len());
    }

    #[test]
    fn what_is_left_out_stays_when_another_piece_is_built_with_it() {
        let without_etcd = names(&[], &["etcd", "languages"]);
        assert!(!without_etcd.contains(&"etcd"));
        assert!(without_etcd.contains(&"languages"));
    }

    #[test]
    fn what_is_left_out_no_test_sees() {
        let root = std::env::temp_dir().join(format!("h2trace-links-{}", std::process::id()));
        let places = Places {
            links: root.join("links"),
            cache: root.join("cache"),
            root: root.clone(),
        };
        let link = places.links.join("etcd");
        fs::create_dir_all(&places.links).unwrap();
        std::os::unix::fs::symlink(&root, &link).unwrap();
        let all = piece::all();
        let etcd = all.iter().find(|piece| piece.name == "etcd").unwrap();
        for _ in 0..2 {
            etcd.unlink(&places).unwrap();
            assert!(!link.is_symlink());
        }
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn unknown_pieces_are_refused() {
        for (only, without) in [
            (vec!["x".to_owned()], vec![]),
            (vec![], vec!["x".to_owned()]),
        ] {
            assert!(chosen(&only, &without).is_err());
        }
    }
}
