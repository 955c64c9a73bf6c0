//! Orphans: Rust files that no crate compiles.
//!
//! Follows `mod name;` from every root cargo knows. May use `source`.

use std::collections::BTreeSet;

use super::Finding;
use crate::source::SourceFile;

/// Refuses Rust files that no crate root reaches.
pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let orphans = orphans(files).into_iter();
    orphans
        .map(|path| Finding::at(path, 0, "no crate compiles this file"))
        .collect()
}

/// The files that no crate root reaches.
pub(crate) fn orphans(files: &[SourceFile]) -> Vec<&str> {
    let mut reached = BTreeSet::new();
    for file in files.iter().filter(|file| is_root(file)) {
        reached.insert(file.path.clone());
        follow(files, file, &mut reached);
    }
    let paths = files.iter().map(|file| file.path.as_str());
    paths.filter(|path| !reached.contains(*path)).collect()
}

/// `src/lib.rs`, `src/main.rs`, `src/bin/*.rs`, `build.rs`, and the files of `tests`, `benches` and
/// `examples`.
fn is_root(file: &SourceFile) -> bool {
    let within = file
        .path
        .strip_prefix(&format!("{}/", file.package))
        .unwrap_or_default();
    if matches!(within, "src/lib.rs" | "src/main.rs" | "build.rs") {
        return true;
    }
    ["src/bin/", "tests/", "benches/", "examples/"]
        .iter()
        .any(|folder| {
            // A program of several files has a folder with `main.rs`.
            within.strip_prefix(folder).is_some_and(|name| {
                !name.contains('/')
                    || (name.ends_with("/main.rs") && name.matches('/').count() == 1)
            })
        })
}

fn follow(files: &[SourceFile], file: &SourceFile, reached: &mut BTreeSet<String>) {
    for path in declared(&file.syntax.items, &folder(file)) {
        if let Some(next) = files.iter().find(|file| file.path == path)
            && reached.insert(path)
        {
            follow(files, next, reached);
        }
    }
}

/// Where the modules that a file declares lie.
fn folder(file: &SourceFile) -> String {
    let (parent, name) = file.path.rsplit_once('/').unwrap_or_default();
    if is_root(file) || name == "mod.rs" {
        return parent.to_owned();
    }
    file.path.strip_suffix(".rs").unwrap_or_default().to_owned()
}

fn declared(items: &[syn::Item], folder: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for item in items {
        let syn::Item::Mod(module) = item else {
            continue;
        };
        let below = format!("{folder}/{}", module.ident);
        match &module.content {
            Some((_, items)) => paths.extend(declared(items, &below)),
            None => paths.extend([format!("{below}.rs"), format!("{below}/mod.rs")]),
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source;

    #[test]
    fn a_file_that_nothing_declares_is_an_orphan() {
        let parse =
            |path: &str, text: &str| source::parse_text("mesh-api", path, text.to_owned()).unwrap();
        let files = [
            parse(
                "mesh-api/src/lib.rs",
                "pub mod decide;\nmod inline { mod deep; }",
            ),
            parse("mesh-api/src/decide.rs", "mod route;"),
            parse("mesh-api/src/decide/route.rs", ""),
            parse("mesh-api/src/inline/deep.rs", ""),
            parse("mesh-api/src/decide/lost.rs", ""),
            parse("mesh-api/tests/whole.rs", ""),
        ];
        assert_eq!(orphans(&files), ["mesh-api/src/decide/lost.rs"]);
    }
}
