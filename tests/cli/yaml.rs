//! The rules and what deploys h2trace are YAML: what reads them otherwise needs root and peers.

use std::path::{Path, PathBuf};

use tracer_tests::workspace;

/// Every YAML file below `folder`, but for templates, which only Helm can fill in.
fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("cannot list a folder") {
        let path = entry.expect("cannot read an entry").path();
        if path.is_dir() {
            if !path.ends_with("templates") {
                yaml_files(&path, found);
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
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
