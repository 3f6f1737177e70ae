//! What tasks write into the pages of `tracer-user/docs`: figures of a machine, which nothing can check.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::{END, next_region};

const BEGIN: &str = "<!-- measured: ";

/// Puts `text` into the region NAME of a page: between `<!-- measured: NAME -->` and `<!-- end -->`.
pub(crate) fn write(path: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let page =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let page = filled(&page, name, text).with_context(|| path.display().to_string())?;
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn filled(page: &str, name: &str, text: &str) -> anyhow::Result<String> {
    let mut rest = page;
    while let Some((_, found, content, after)) = next_region(rest, BEGIN)? {
        if found == name {
            let before = page.len() - after.len() - END.len() - content.len();
            let (before, text) = (&page[..before], text.trim());
            return Ok(format!("{before}\n{text}\n\n{END}{after}"));
        }
        rest = after;
    }
    bail!("there is no place for {name:?}")
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
