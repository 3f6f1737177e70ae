//! Every YAML file of the tree that is not a template is YAML: what reads them otherwise needs root and peers.

use std::path::{Path, PathBuf};

use tracer_tests::workspace;

/// Every YAML file below `folder`, but for templates, which only Helm or a test can fill in.
fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("cannot list a folder") {
        let path = entry.expect("cannot read an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !["templates", "node_modules", "target"].contains(&&*name) {
            yaml_files(&path, found);
        } else if name.ends_with(".yaml") || name.ends_with(".yml") {
            found.push(path);
        }
    }
}

#[test]
fn every_yaml_file_is_yaml() {
    let mut found = Vec::new();
    for folder in ["tests/rules", "tracer-user/deploy"] {
        yaml_files(&workspace().join(folder), &mut found);
    }
    assert!(found.len() >= 6, "{found:?}");
    for path in found {
        let text = std::fs::read_to_string(&path).expect("cannot read a file");
        let documents = serde_saphyr::from_multiple::<serde_json::Value>(&text);
        let documents = documents.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!documents.is_empty(), "{}", path.display());
    }
}
