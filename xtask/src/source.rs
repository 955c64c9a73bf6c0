//! The workspace's Rust sources, parsed: what the checks and figures read.
//!
//! May use `step`.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::Context;
use syn::spanned::Spanned;

use crate::step;

/// One Rust file.
pub(crate) struct SourceFile {
    /// Relative to the workspace's root, with `/`.
    pub(crate) path: String,
    /// The crate's folder: `mesh-api`.
    pub(crate) package: String,
    /// Its module path: `["decide", "balance"]`; empty for a crate's root.
    pub(crate) module: Vec<String>,
    /// Its text.
    pub(crate) text: String,
    /// Its syntax.
    pub(crate) syntax: syn::File,
    /// True if it is compiled for tests only.
    pub(crate) test: bool,
    /// True if a generator wrote it.
    pub(crate) generated: bool,
    test_lines: Vec<RangeInclusive<usize>>,
}

impl SourceFile {
    /// Its lines outside tests, with their numbers from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self
            .text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line));
        numbered.filter(|(at, _)| !self.test && !self.test_lines.iter().any(|r| r.contains(at)))
    }

    /// True if people wrote it and it ships: neither generated nor a test.
    pub(crate) fn ships(&self) -> bool {
        !self.test && !self.generated
    }

    /// True if it holds tests beside the code.
    pub(crate) fn has_inline_tests(&self) -> bool {
        !self.test_lines.is_empty()
    }

    /// The crate's first-level module it belongs to; `None` for a crate's root.
    pub(crate) fn top(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }
}

/// The members of the workspace, in the order of its manifest.
pub(crate) fn members() -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = read("Cargo.toml")?.parse()?;
    let members = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("members"))
        .and_then(toml::Value::as_array)
        .context("Cargo.toml names no members")?;
    Ok(members
        .iter()
        .filter_map(toml::Value::as_str)
        .map(str::to_owned)
        .collect())
}

/// Reads every Rust file of every member.
pub(crate) fn read_all() -> anyhow::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for package in members()? {
        for path in walk(&step::root().join(&package)) {
            if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(parse(&package, &path)?);
            }
        }
    }
    mark_tests(&mut files);
    Ok(files)
}

/// Parses `text` as the file at `path` of `package`; the path says which module it is.
pub(crate) fn parse_text(package: &str, path: &str, text: String) -> anyhow::Result<SourceFile> {
    let syntax = syn::parse_file(&text).with_context(|| path.to_owned())?;
    let test_lines = test_lines(&syntax);
    let within = path.strip_prefix(&format!("{package}/")).unwrap_or(path);
    let module = within
        .strip_prefix("src/")
        .map(module_of)
        .unwrap_or_default();
    Ok(SourceFile {
        path: path.to_owned(),
        package: package.to_owned(),
        test: within.starts_with("tests/") || module.last().is_some_and(|name| name == "tests"),
        generated: path.ends_with("/generated.rs"),
        module,
        text,
        syntax,
        test_lines,
    })
}

/// Every file below `folder` that belongs to the project, sorted.
pub(crate) fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !matches!(&*name, "target" | ".git" | ".mesh" | "book") {
                found.extend(walk(&path));
            }
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Reads a file by its path from the workspace's root.
pub(crate) fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(step::root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// A path from the workspace's root, with `/`.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(step::root())
        .unwrap_or(path)
        .to_string_lossy()
        .replace('\\', "/")
}

/// True if the attributes say `cfg(test)`, alone or among others.
pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        let condition = list.tokens.to_string();
        let words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
        list.path.is_ident("cfg")
            && !condition.contains("not")
            && words.into_iter().any(|w| w == "test")
    })
}

/// The attributes of an item.
pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn parse(package: &str, path: &Path) -> anyhow::Result<SourceFile> {
    let name = relative(path);
    parse_text(package, &name, read(&name)?)
}

/// `decide/balance.rs` is the module `decide::balance`; a crate's root has no name.
fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    if matches!(path, "lib" | "main") || path.starts_with("bin/") {
        return Vec::new();
    }
    path.split('/').map(str::to_owned).collect()
}

fn test_lines(syntax: &syn::File) -> Vec<RangeInclusive<usize>> {
    let tests = syntax.items.iter().filter(|item| is_test(attributes(item)));
    tests
        .map(|item| item.span().start().line..=item.span().end().line)
        .collect()
}

/// A file declared as `#[cfg(test)] mod name;` is a test, and so is all below it.
fn mark_tests(files: &mut [SourceFile]) {
    let mut tests = HashSet::new();
    for file in files.iter() {
        for item in &file.syntax.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && is_test(&module.attrs)
            {
                let mut path = file.module.clone();
                path.push(module.ident.to_string());
                tests.insert((file.package.clone(), path));
            }
        }
    }
    for file in files {
        let prefixes = (1..=file.module.len()).filter_map(|length| file.module.get(..length));
        for prefix in prefixes {
            file.test |= tests.contains(&(file.package.clone(), prefix.to_vec()));
        }
    }
}
