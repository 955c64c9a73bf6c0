//! `cargo xtask tidy`: the shape of the code and of the documents, as checks that can fail.
//!
//! May use `codegen`, `source` and `step`.

pub(crate) mod comment;
pub(crate) mod dependency;
pub(crate) mod document;
pub(crate) mod fence;
pub(crate) mod layout;
pub(crate) mod licence;
pub(crate) mod life;
pub(crate) mod order;
pub(crate) mod reach;
pub(crate) mod size;
pub(crate) mod word;

use std::fmt;

use anyhow::bail;

use crate::source::{self, SourceFile};

/// One thing that is not as it should be.
pub(crate) struct Finding {
    /// The file, from the workspace's root.
    path: String,
    /// The line from 1; 0 for the whole file.
    line: usize,
    /// What is wrong, and what would be right.
    message: String,
    /// True if it is to be looked at, but fails nothing.
    mild: bool,
}

impl Finding {
    /// A fault at a line; 0 means the whole file.
    pub(crate) fn at(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
            mild: false,
        }
    }

    /// The same, as a warning.
    pub(crate) fn mild(self) -> Self {
        Self { mild: true, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.mild { "warning" } else { "error" };
        match self.line {
            0 => write!(f, "{kind}: {}: {}", self.path, self.message),
            line => write!(f, "{kind}: {}:{line}: {}", self.path, self.message),
        }
    }
}

/// Runs every check and prints what it found.
pub(crate) fn run() -> anyhow::Result<()> {
    let files = source::read_all()?;
    let findings = check(&files);
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings.iter().filter(|finding| !finding.mild).count();
    for fence::ByHand { page, line, reason } in fence::by_hand(&document::pages())? {
        println!("by hand: {page}:{line}: {reason}");
    }
    println!(
        "tidy: {} files, {errors} errors, {} warnings",
        files.len(),
        findings.len() - errors
    );
    if errors > 0 {
        bail!("{errors} findings");
    }
    Ok(())
}

/// Every check; one that cannot be made is a finding too, so that it hides no other.
fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = layout::check(files);
    findings.extend(size::check(files));
    findings.extend(reach::check(files));
    findings.extend(comment::check(files));
    for (about, found) in [
        ("words", word::check()),
        ("docs", document::check(files)),
        (life::PAGE, life::check(files)),
        ("dependencies", dependency::check()),
    ] {
        match found {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(Finding::at(
                about,
                0,
                format!("cannot be checked: {error:#}"),
            )),
        }
    }
    findings
}
