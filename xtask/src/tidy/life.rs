//! The documented request path: each step of `docs/LIFE_OF_A_REQUEST.md` is a function that exists.
//!
//! A step is a numbered line whose first code span is `file::function`. May use `size` and `source`.

use super::{Finding, size};
use crate::source::{self, SourceFile};

/// The document.
pub(crate) const PAGE: &str = "docs/LIFE_OF_A_REQUEST.md";

/// More steps than this are not followed by a newcomer.
const MOST: usize = 12;

/// One step of the request path.
pub(crate) struct Hop {
    /// The file, from the workspace's root.
    pub(crate) file: String,
    /// The function, without its type.
    pub(crate) function: String,
    line: usize,
}

/// Refuses steps that do not exist, and too many of them.
pub(crate) fn check(files: &[SourceFile]) -> anyhow::Result<Vec<Finding>> {
    Ok(check_text(files, &source::read(PAGE)?))
}

/// The steps of the first numbered list of the document.
pub(crate) fn hops(text: &str) -> Vec<Hop> {
    let mut hops: Vec<Hop> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some((number, rest)) = line.split_once(". `") else {
            continue;
        };
        let expected = hops.len() + 1;
        if number.parse() == Ok(expected)
            && let Some((name, _)) = rest.split_once('`')
            && let Some((file, path)) = name.split_once("::")
        {
            let function = path.rsplit("::").next().unwrap_or(path).to_owned();
            hops.push(Hop {
                file: file.to_owned(),
                function,
                line: at + 1,
            });
        }
    }
    hops
}

fn check_text(files: &[SourceFile], text: &str) -> Vec<Finding> {
    let hops = hops(text);
    let mut findings = Vec::new();
    if hops.is_empty() || hops.len() > MOST {
        let message = format!("{} steps, there must be 1 to {MOST}", hops.len());
        findings.push(Finding::at(PAGE, 0, message));
    }
    for hop in &hops {
        let file = files.iter().find(|file| file.path == hop.file);
        let message = match file {
            None => format!("there is no file {}", hop.file),
            Some(file) if size::functions(file).iter().any(|f| f.name == hop.function) => continue,
            Some(_) => format!("{} has no function `{}`", hop.file, hop.function),
        };
        findings.push(Finding::at(PAGE, hop.line, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_must_exist() {
        let text = "fn f() {} struct S; impl S { fn g() {} }".to_owned();
        let file = source::parse_text("mesh-api", "mesh-api/src/name.rs", text).unwrap();
        let files = [file];
        let good = "1. `mesh-api/src/name.rs::f`: a\n2. `mesh-api/src/name.rs::S::g`: b\n";
        assert_eq!(check_text(&files, good).len(), 0);
        assert_eq!(
            check_text(&files, "1. `mesh-api/src/name.rs::h`: a\n").len(),
            1
        );
        assert_eq!(
            check_text(&files, "1. `mesh-api/src/lost.rs::f`: a\n").len(),
            1
        );
        assert_eq!(check_text(&files, "no steps\n").len(), 1);
    }
}
