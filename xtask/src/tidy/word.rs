//! Words and names that must not appear: paths of one person's machine, module names without a role.
//!
//! May use `source` and `step`.

use std::path::Path;

use super::Finding;
use crate::{source, step};

/// File names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 9] = [
    "util", "utils", "common", "helper", "helpers", "manager", "types", "misc", "stuff",
];

/// Where people keep their files; a text that names one describes one machine. Written in two
/// parts, so that this file does not name them.
const HOMES: [[&str; 2]; 4] = [
    ["/ho", "me/"],
    ["/ro", "ot/"],
    ["/Us", "ers/"],
    ["C:\\Us", "ers\\"],
];

/// What is read as text.
const TEXT: [&str; 10] = [
    "rs", "toml", "md", "yaml", "yml", "proto", "json", "sh", "html", "lock",
];

/// Refuses empty module names and machine paths in every text of the project.
pub(crate) fn check() -> anyhow::Result<Vec<Finding>> {
    let mut refused: Vec<String> = HOMES.iter().map(|parts| parts.concat()).collect();
    // A folder right under `/` has the name of a word, and words are in paths of URLs.
    if step::root().components().count() > 2 {
        refused.push(format!("{}/", step::root().display()));
    }
    let mut findings = Vec::new();
    for path in source::walk(&step::root()) {
        let name = source::relative(&path);
        if is_empty_name(&path) {
            findings.push(Finding::at(&name, 0, "name the module by its role"));
        }
        if is_text(&path) || name.starts_with(".ci/") {
            let text = source::read(&name)?;
            findings.extend(check_text(&name, &text, &refused));
        }
    }
    Ok(findings)
}

/// True if a path that starts with `folder` and goes on is in the line: `/home/` alone may be a URL's.
fn holds(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let (before, after) = (line.get(..at), line.get(at + folder.len()..));
        let part = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !before.is_some_and(|text| text.ends_with(part))
            && after.is_some_and(|text| text.starts_with(part))
    })
}

fn check_text(name: &str, text: &str, refused: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for word in refused.iter().filter(|word| holds(line, word)) {
            let message = format!("`{word}` is a path of one machine");
            findings.push(Finding::at(name, at + 1, message));
        }
    }
    findings
}

fn is_empty_name(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.extension().is_some_and(|e| e == "rs") && EMPTY_NAMES.contains(&&*stem)
}

fn is_text(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| TEXT.contains(&&*extension.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_and_empty_names_are_refused() {
        let refused = vec![HOMES[0].concat()];
        let text = format!(
            "see {0}ann/mesh\nsee docs/guide\nGET {0}\n",
            HOMES[0].concat()
        );
        assert_eq!(check_text("README.md", &text, &refused).len(), 1);
        assert!(is_empty_name(Path::new("src/util.rs")));
        assert!(!is_empty_name(Path::new("src/listener.rs")));
        assert!(!is_empty_name(Path::new("docs/types.md")));
    }
}
