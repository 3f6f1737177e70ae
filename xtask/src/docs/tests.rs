use super::*;

/// Lines of the README at most: it is the way in, and the pages say the rest.
const README_LINES: usize = 200;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages, the README, and the files for contributors.
fn all_pages() -> Vec<PathBuf> {
    let mut all = pages(&root()).unwrap();
    for path in [
        "README.md",
        ".github/CONTRIBUTING.md",
        ".github/SECURITY.md",
        "tracer-user/CHANGELOG.md",
    ] {
        all.push(root().join(path));
    }
    all
}

/// The text without its code, where brackets and `#` mean other things.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if !is_code && !line.starts_with("    ") {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// The targets of a page's links and images.
fn targets(text: &str) -> Vec<String> {
    prose(text)
        .split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    prose(text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
                .collect::<String>()
                .replace(' ', "-")
        })
        .collect()
}

/// What is wrong with the links of the page at `path`.
fn broken_links(path: &Path, text: &str) -> Vec<String> {
    targets(text)
        .into_iter()
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .filter(|target| {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.to_owned(),
                file => path.parent().unwrap_or(path).join(file),
            };
            let has_anchor = || {
                std::fs::read_to_string(&file)
                    .is_ok_and(|text| anchors(&text).iter().any(|of_page| of_page == anchor))
            };
            !file.exists() || (!anchor.is_empty() && !has_anchor())
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut n_links = 0;
    for path in all_pages() {
        let text = read(&path).unwrap();
        let broken = broken_links(&path, &text);
        assert_eq!(broken, Vec::<String>::new(), "in {}", path.display());
        n_links += targets(&text).len();
    }
    assert!(n_links > 40, "only {n_links} links were found");
}

#[test]
fn a_link_to_nowhere_is_found() {
    let readme = root().join("README.md");
    let text = "[a](README.md) [b](absent.md) [c](#none) [d](https://example.org)\n\n```\n[e](no.md)\n```\n";
    assert_eq!(broken_links(&readme, text), ["absent.md", "#none"]);
}

#[test]
fn the_readme_is_short_and_its_index_has_every_page() {
    let readme = read(&root().join("README.md")).unwrap();
    let n_lines = readme.lines().count();
    assert!(n_lines <= README_LINES, "README.md has {n_lines} lines");
    let linked = targets(&readme);
    for page in pages(&root()).unwrap() {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        let target = format!("{PAGES}/{name}");
        assert!(linked.contains(&target), "README.md does not name {target}");
    }
}

#[test]
fn regions_are_replaced_and_nothing_else() {
    let page = "a\n<!-- generated: x -->\nold\n<!-- end -->\nb\n";
    let tables = regions("<!-- generated: x -->\nnew\n<!-- end -->\n").unwrap();
    let (text, used) = filled(page, &tables).unwrap();
    assert_eq!(text, "a\n<!-- generated: x -->\nnew\n<!-- end -->\nb\n");
    assert_eq!(used, ["x"]);
    assert_eq!(filled(&text, &tables).unwrap().0, text);
}

#[test]
fn a_page_with_a_wrong_marker_is_refused() {
    let tables = regions("<!-- generated: x -->\nnew\n<!-- end -->\n").unwrap();
    for page in [
        "<!-- generated: y -->\n<!-- end -->\n",
        "<!-- generated: x -->\n",
        "<!-- generated: x\n<!-- end -->\n",
        "<!-- generated: x -->\n<!-- generated: x -->\n<!-- end -->\n",
    ] {
        assert!(filled(page, &tables).is_err(), "{page}");
    }
}
