//! What benches write into the page about performance.

use std::path::Path;

use anyhow::Context as _;

use crate::docs::measured;

const PAGE: &str = "tracer-user/docs/performance.md";

/// Puts `text` into the region NAME of the page.
pub(super) fn write(root: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    measured::write(&root.join(PAGE), name, text)
}

/// Writes a picture beside the page.
pub(super) fn write_picture(root: &Path, name: &str, picture: &str) -> anyhow::Result<()> {
    let path = root.join(PAGE).with_file_name(name);
    std::fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))
}
