//! What benches write into the pages of `tracer-user/docs`: figures of a machine, which nothing can check.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::docs::{self, END};

const PAGE: &str = "tracer-user/docs/performance.md";

const BEGIN: &str = "<!-- measured: ";

/// Puts `text` into the region NAME of the page: between `<!-- measured: NAME -->` and `<!-- end -->`.
pub(super) fn write(root: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = root.join(PAGE);
    let page = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let page = filled(&page, name, text)?;
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a picture beside the page.
pub(super) fn write_picture(root: &Path, name: &str, picture: &str) -> anyhow::Result<()> {
    let path = root.join(PAGE).with_file_name(name);
    std::fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))
}

fn filled(page: &str, name: &str, text: &str) -> anyhow::Result<String> {
    let mut rest = page;
    while let Some((_, found, content, after)) = docs::next_region(rest, BEGIN)? {
        if found == name {
            let before = page.len() - after.len() - END.len() - content.len();
            let (before, text) = (&page[..before], text.trim());
            return Ok(format!("{before}\n{text}\n\n{END}{after}"));
        }
        rest = after;
    }
    bail!("{PAGE} has no place for {name:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_takes_the_place_of_the_one_before() {
        let page = "a\n<!-- measured: x -->\nold\n<!-- end -->\nb\n";
        let filled = filled(page, "x", "new\n").unwrap();
        assert_eq!(
            filled,
            "a\n<!-- measured: x -->\n\nnew\n\n<!-- end -->\nb\n"
        );
        assert!(super::filled(page, "y", "new").is_err());
    }
}
