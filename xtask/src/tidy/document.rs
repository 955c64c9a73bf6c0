//! Documents: every link leads somewhere, every page is in the book, every module in the code map,
//! every reason of `mesh-error` has its section.
//!
//! May use `fence`, `order`, `codegen` and `source`.

use std::collections::BTreeSet;

use super::{Finding, fence, order};
use crate::codegen::errors;
use crate::source::{self, SourceFile};
use crate::step;

const SUMMARY: &str = "docs/SUMMARY.md";
const CODE_MAP: &str = "docs/ARCHITECTURE.md";

/// What the section of a reason tells.
const PARTS: [&str; 4] = ["Seen", "Cause", "Look", "Fix"];

/// Refuses dead links, pages outside the book, paths of files that are gone, unmapped modules.
pub(crate) fn check(files: &[SourceFile]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let pages = pages();
    for page in &pages {
        let text = source::read(page)?;
        findings.extend(check_links(page, &text));
        findings.extend(check_paths(page, &text));
        findings.extend(fence::check(page, &text));
    }
    let summary = source::read(SUMMARY)?;
    for page in pages.iter().filter_map(|page| page.strip_prefix("docs/")) {
        if page != "SUMMARY.md" && !summary.contains(&format!("({page})")) {
            findings.push(Finding::at(
                SUMMARY,
                0,
                format!("{page} is not in the book"),
            ));
        }
    }
    findings.extend(check_map(files, &source::read(CODE_MAP)?));
    findings.extend(check_reasons(
        &errors::reasons()?,
        &source::read(errors::SECTIONS)?,
    ));
    Ok(findings)
}

/// Every reason has a section that says what is seen, why, what to run and what to change; and no
/// section is about a reason that is gone.
fn check_reasons(reasons: &[String], text: &str) -> Vec<Finding> {
    let at = |message| Finding::at(errors::SECTIONS, 0, message);
    let sections: Vec<&str> = text.split("\n## ").skip(1).collect();
    let title = |section: &str| {
        section
            .lines()
            .next()
            .unwrap_or_default()
            .trim_matches('`')
            .to_owned()
    };
    let mut findings = Vec::new();
    for reason in reasons {
        let Some(section) = sections.iter().find(|section| title(section) == *reason) else {
            findings.push(at(format!("{reason} has no section")));
            continue;
        };
        for part in PARTS
            .iter()
            .filter(|part| !section.contains(&format!("**{part}**")))
        {
            findings.push(at(format!("the section of {reason} has no **{part}**")));
        }
    }
    let named = sections
        .iter()
        .filter(|section| section.starts_with('`'))
        .map(|section| title(section));
    let gone = named.filter(|name| !reasons.contains(name));
    findings.extend(gone.map(|name| at(format!("no code answers {name}"))));
    findings
}

/// Every Markdown file of the project.
pub(crate) fn pages() -> Vec<String> {
    let files = source::walk(&step::root()).into_iter();
    let pages = files.filter(|path| path.extension().is_some_and(|e| e == "md"));
    pages.map(|path| source::relative(&path)).collect()
}

fn check_links(page: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, link) in links(text) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
        let path = if target.is_empty() {
            page.to_owned()
        } else {
            join(page, target)
        };
        let at = step::root().join(&path);
        if !at.exists() {
            findings.push(Finding::at(
                page,
                line,
                format!("the link leads nowhere: {link}"),
            ));
        } else if !anchor.is_empty() && at.is_file() {
            let text = std::fs::read_to_string(&at).unwrap_or_default();
            if !headings(&text).any(|heading| heading == anchor) {
                findings.push(Finding::at(page, line, format!("no such heading: {link}")));
            }
        }
    }
    findings
}

/// Paths of Rust files in backquotes, as in `mesh-api/src/error.rs`; functions are for `life`.
fn check_paths(page: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for path in line.split('`').skip(1).step_by(2) {
            let ours = order::ORDER.iter().any(|(name, _)| {
                path.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('/'))
            });
            if ours && path.strip_suffix(".rs").is_some() && !step::root().join(path).exists() {
                findings.push(Finding::at(
                    page,
                    at + 1,
                    format!("there is no file {path}"),
                ));
            }
        }
    }
    findings
}

/// Each first-level module of each crate is named, in backquotes, after its crate's heading.
fn check_map(files: &[SourceFile], map: &str) -> Vec<Finding> {
    let modules: BTreeSet<(&str, &str)> = files
        .iter()
        .filter(|file| !file.test)
        .filter_map(|file| Some((file.package.as_str(), file.top()?)))
        .collect();
    let missing = modules.into_iter().filter(|(package, module)| {
        let heading = format!("### `{package}`");
        let section = map.split_once(&heading).map_or("", |(_, rest)| rest);
        let section = section.split("\n### ").next().unwrap_or_default();
        !section.contains(&format!("`{module}`"))
    });
    missing
        .map(|(package, module)| {
            let message = format!("the code map does not name `{module}` of {package}");
            Finding::at(CODE_MAP, 0, message)
        })
        .collect()
}

/// The targets of Markdown links, outside code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for (index, part) in line.split("](").enumerate() {
            let quotes: usize = line
                .split("](")
                .take(index)
                .map(|before| before.matches('`').count())
                .sum();
            if index > 0 && quotes.is_multiple_of(2) {
                found.extend(part.split_once(')').map(|(link, _)| (at + 1, link)));
            }
        }
    }
    found
}

/// Headings as links name them: lower case, spaces as hyphens, no punctuation.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
}

/// `target` as seen from the folder of `page`.
fn join(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_outside_code_and_followed() {
        let text = "[a](README.md) [b](x/y.md#z)\n```\n[c](d)\n```\n`[e](f)`\n";
        assert_eq!(links(text), [(1, "README.md"), (1, "x/y.md#z")]);
        assert_eq!(
            join("docs/guide/a.md", "../concept/b.md"),
            "docs/concept/b.md"
        );
        assert_eq!(check_links("README.md", "[a](no-such-page.md)").len(), 1);
        assert_eq!(
            check_links("README.md", "[a](Cargo.toml) [b](https://example.com)").len(),
            0
        );
        let found: Vec<String> = headings("# How it works, in short\n").collect();
        assert_eq!(found, ["how-it-works-in-short"]);
    }

    #[test]
    fn a_reason_has_its_section_and_a_section_its_reason() {
        let reasons = ["cut".to_owned()];
        let whole = "# T\n\n## `cut`\n\n**Seen** a **Cause** b **Look** c **Fix** d\n\n## Other\n";
        assert_eq!(check_reasons(&reasons, whole).len(), 0);
        assert_eq!(
            check_reasons(&reasons, &whole.replace("**Look**", "")).len(),
            1
        );
        assert_eq!(
            check_reasons(&reasons, &whole.replace("`cut`", "`old`")).len(),
            2
        );
    }

    #[test]
    fn a_module_must_be_in_the_code_map() {
        let file = source::parse_text("mesh-api", "mesh-api/src/name.rs", String::new()).unwrap();
        let files = [file];
        assert_eq!(check_map(&files, "### `mesh-api`\n`name` names\n").len(), 0);
        assert_eq!(
            check_map(&files, "### `mesh-api`\n### `e2e`\n`name`\n").len(),
            1
        );
    }
}
