//! Comments: every module says what it is for, and open work carries an issue number.
//!
//! May use `source`.

use super::Finding;
use crate::source::SourceFile;

/// Marks of open work. Only the first form is allowed, and only with an issue: `TODO(#12)`.
const MARKS: [&str; 3] = ["TODO", "FIXME", "XXX"];

/// Refuses modules without `//!` and open work without an issue.
pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| !file.generated) {
        if !file.test && !has_module_doc(file) {
            let message = "the module does not open with `//!`: what it is for, what it may use";
            findings.push(Finding::at(&file.path, 1, message));
        }
        for (line, text) in open_work(file) {
            if !has_issue(text) {
                findings.push(Finding::at(
                    &file.path,
                    line,
                    "open work has the form `TODO(#12)`",
                ));
            }
        }
    }
    findings
}

/// True if the module opens with `//!`.
pub(crate) fn has_module_doc(file: &SourceFile) -> bool {
    file.syntax
        .attrs
        .iter()
        .any(|attribute| attribute.path().is_ident("doc"))
}

/// The comments that speak of open work, with their lines.
pub(crate) fn open_work(file: &SourceFile) -> impl Iterator<Item = (usize, &str)> {
    let comments = file.text.lines().enumerate().filter_map(|(at, line)| {
        let (before, comment) = line.split_once("//")?;
        // An odd number of quotes before it: the slashes are part of a string.
        (before.matches('"').count().is_multiple_of(2)).then_some((at + 1, comment))
    });
    comments.filter(|(_, comment)| {
        let mut words = comment.split(|c: char| !c.is_alphanumeric());
        words.any(|word| MARKS.contains(&word))
    })
}

fn has_issue(comment: &str) -> bool {
    let number = comment
        .split_once("TODO(#")
        .and_then(|(_, rest)| rest.split_once(')'));
    number
        .is_some_and(|(digits, _)| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source;

    #[test]
    fn modules_speak_and_open_work_has_an_issue() {
        let found = |text: &str| {
            let file = source::parse_text("mesh-api", "mesh-api/src/name.rs", text.to_owned());
            check(&[file.unwrap()]).len()
        };
        assert_eq!(found("//! Names.\n"), 0);
        assert_eq!(found("fn f() {}\n"), 1);
        assert_eq!(found("//! Names.\n// TODO(#12): more\n"), 0);
        for mark in [
            "TODO: more",
            "TODO(#): more",
            "TODO(me): more",
            "FIXME more",
            "XXX",
        ] {
            assert_eq!(found(&format!("//! Names.\n// {mark}\n")), 1, "{mark}");
        }
        assert_eq!(found("//! Names.\nconst A: &str = \"// TODO\";\n"), 0);
    }
}
