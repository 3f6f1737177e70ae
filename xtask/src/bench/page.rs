//! What benches write into the pages of `tracer-user/docs`: figures of a machine, which nothing can check.

use std::path::Path;

use anyhow::{Context as _, bail};

const PAGE: &str = "tracer-user/docs/performance.md";

/// Puts `text` between `<!-- measured: NAME -->` and `<!-- measured end -->` of the page.
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
    let begin = format!("<!-- measured: {name} -->\n");
    let parts = page
        .split_once(&begin)
        .and_then(|(before, rest)| Some((before, rest.split_once("<!-- measured end -->")?.1)));
    let Some((before, after)) = parts else {
        bail!("{PAGE} has no place for \"{name}\"");
    };
    Ok(format!(
        "{before}{begin}\n{}\n\n<!-- measured end -->{after}",
        text.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_takes_the_place_of_the_one_before() {
        let page = "a\n<!-- measured: x -->\nold\n<!-- measured end -->\nb\n";
        let filled = filled(page, "x", "new\n").unwrap();
        assert_eq!(
            filled,
            "a\n<!-- measured: x -->\n\nnew\n\n<!-- measured end -->\nb\n"
        );
        assert!(super::filled(page, "y", "new").is_err());
    }
}
