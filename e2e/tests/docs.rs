//! The documentation is true: its YAML means something, and its commands do what it shows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use e2e::{demo, guide, page, yaml};

#[test]
fn every_yaml_of_a_page_is_valid_or_refused_as_shown() {
    let pages = page::read_all().unwrap();
    let blocks = pages.iter().flat_map(|page| &page.blocks);
    let count = blocks.filter(|block| block.language == "yaml").count();
    assert!(count > 0, "the pages have no YAML at all");
    let faults: Vec<String> = pages.iter().flat_map(yaml::faults_of_page).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_manifest_beside_the_pages_is_valid() {
    let mut files = Vec::new();
    page::walk(&page::root().unwrap().join("docs"), &mut files).unwrap();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    // Reports of the Gateway API's suite are written by it, and no manifests.
    files.retain(|path| !path.iter().any(|part| part == "conformance"));
    let mut folders: BTreeMap<Option<&Path>, Vec<&Path>> = BTreeMap::new();
    for file in &files {
        folders.entry(file.parent()).or_default().push(file);
    }
    assert!(!folders.is_empty());
    for files in folders.into_values() {
        let faults = yaml::faults_of_files(files).unwrap();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

#[test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
fn every_command_of_a_page_does_what_it_shows() {
    let meshctl: PathBuf = demo::meshctl().unwrap();
    let mut failed = Vec::new();
    for page in page::read_all()
        .unwrap()
        .iter()
        .filter(|page| guide::has_commands(page))
    {
        match guide::run(page, &meshctl) {
            Ok(blocks) => println!("ok {}: {blocks} blocks", page.path),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
